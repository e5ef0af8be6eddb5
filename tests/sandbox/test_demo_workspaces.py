"""The two workspaces of the repository are read without a problem, and the pages name every setting."""

from pathlib import Path

import pytest

from connectors import registry
from heatsync.cli.remedies import REMEDIES
from heatsync.sandbox.demo_data import collegemsg
from heatsync.sandbox.registry import SIMULATORS
from heatsync.sync.mapping import files as mapping_files
from heatsync.sync.mapping.references import TRAITS
from heatsync.workspace import config
from heatsync.workspace.schema import Guards

ROOT = Path(__file__).parents[2]


def stems(folder: Path) -> set[str]:
    return {file.stem for file in (folder / "mappings").glob("*.yml")}


def test_the_repository_is_a_workspace_that_uses_every_destination_it_names():
    loaded = config.load(ROOT)
    mappings = mapping_files.load(loaded)
    assert set(mappings) == stems(ROOT)
    assert {each.destination for each in mappings.values()} == set(loaded.destinations)
    assert loaded.warnings == ()


def test_the_real_log_has_a_workspace(tmp_path):
    collegemsg.init(tmp_path)
    loaded = config.load(tmp_path)
    mappings = mapping_files.load(loaded)
    assert set(mappings) == stems(tmp_path)
    assert {each.destination for each in mappings.values()} == set(loaded.destinations)


def test_every_trait_is_on_the_page():
    page = (ROOT / "docs/scoring.md").read_text()
    keys = {"user_id", "account_id"}
    assert [
        name for traits in TRAITS.values() for name in set(traits) - keys if f"`{name}`" not in page
    ] == []


def test_every_guard_is_on_the_page_with_its_default():
    page = (ROOT / "docs/operations.md").read_text()
    for name, field in Guards.model_fields.items():
        default = f"{field.default:g}" if isinstance(field.default, float) else field.default
        assert any(f"`{name}`" in line and f"| `{default}` |" in line for line in page.splitlines()), name


def test_every_destination_and_its_settings_are_on_the_page():
    page = (ROOT / "docs/destinations.md").read_text()
    for vendor in registry.VENDORS.values():
        assert f"## {vendor.title}\n" in page
        missing = [name for name, each in vendor.settings.items() if each.required and f"{name}:" not in page]
        assert missing == []


@pytest.mark.parametrize(
    "code", ["field_missing", "bad_value", "ambiguous", "duplicate_key", "permission", "unmatched"]
)
def test_the_codes_on_the_page_exist(code):
    assert code in REMEDIES
    assert f"| `{code}` |" in (ROOT / "docs/operations.md").read_text()


def test_every_vendor_has_a_simulator_with_its_name_and_title():
    assert {each.type: each.title for each in registry.VENDORS.values()} == {
        name: simulator.title for name, simulator in SIMULATORS.items()
    }
