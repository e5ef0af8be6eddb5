"""What a clone promises: pinned versions, two commands, pages whose links and examples hold."""

import re
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pin) == 2 for pin in pins), "every line is name==version"
    return {canonicalize_name(name): version for name, version in pins}


def needed(name: str, extras: set[str], seen: dict[str, Requirement]) -> dict[str, Requirement]:
    """Every requirement of an installed distribution, those of its requirements included."""
    for text in metadata.requires(name) or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not any(
            requirement.marker.evaluate({"extra": extra}) for extra in extras | {""}
        ):
            continue
        key = canonicalize_name(requirement.name)
        if key not in seen or requirement.extras - seen[key].extras:
            seen[key] = requirement
            needed(requirement.name, requirement.extras, seen)
    return seen


def test_every_package_that_is_installed_is_pinned_to_one_version():
    pins = pinned()
    requirements = needed("heatsync", {"test", "real"}, {})
    requirements.pop("heatsync", None)
    assert sorted(set(requirements) - set(pins)) == []
    wrong = [str(each) for name, each in requirements.items() if pins[name] not in each.specifier]
    assert wrong == []


def test_the_makefile_explains_itself():
    answer = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("demo", "test", "lint", "bench"):
        assert f"make {target} " in answer


@pytest.mark.parametrize("python", ["", "no-such-python"])
def test_an_unsuitable_python_is_refused_with_a_message(tmp_path, python):
    command = ["make", "demo", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode != 0
    assert "heatsync needs Python 3.11, 3.12 or 3.13" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not (tmp_path / "venv").exists()


def test_continuous_integration_runs_the_tests_and_the_linters():
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text()
    assert "set -euo pipefail" in text
    assert "make test-all" in text
    assert "make lint" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("http"):
            continue
        file, _, heading = target.partition("#")
        place = (page.parent / file) if file else page
        assert place.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", place.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, (
                target
            )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_yaml_on_a_page_is_yaml(page):
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
        assert yaml.safe_load(block) is not None


def test_the_readme_names_every_page():
    readme = (ROOT / "README.md").read_text()
    assert [page.name for page in PAGES[2:] if f"docs/{page.name}" not in readme] == []
