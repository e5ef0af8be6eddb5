"""Every vendor stands between the registry and what the vendors share, and none of them knows another."""

import tomllib
from pathlib import Path

import grimp
import pytest

from connectors.registry import VENDORS

ROOT = Path(__file__).parents[2]


def shared() -> set[str]:
    """The modules of the floors below the vendors, as pyproject.toml has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (contract,) = [each for each in contracts if each.get("containers") == ["connectors"]]
    return {name.strip() for floor in contract["layers"] for name in floor.split("|")} - {"registry"}


def vendors() -> set[str]:
    return {vendor.name_trait.__module__.split(".")[1] for vendor in VENDORS.values()}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("connectors")


def test_every_module_is_the_registry_a_vendor_or_shared(graph: grimp.ImportGraph) -> None:
    children = {name.split(".")[1] for name in graph.find_children("connectors")}
    assert children == {"registry"} | vendors() | shared()


@pytest.mark.parametrize("vendor", sorted(vendors()))
def test_a_vendor_imports_only_what_is_shared(graph: grimp.ImportGraph, vendor: str) -> None:
    own = f"connectors.{vendor}"
    imported = {
        name
        for module in {own, *graph.find_descendants(own)}
        for name in graph.find_modules_directly_imported_by(module)
        if name != own and not name.startswith(f"{own}.")
    }
    assert {name.split(".")[1] for name in imported} <= shared()


def test_nothing_that_is_shared_imports_a_vendor(graph: grimp.ImportGraph) -> None:
    for name in shared():
        imported = graph.find_modules_directly_imported_by(f"connectors.{name}")
        assert {each.split(".")[1] for each in imported} <= shared(), name
