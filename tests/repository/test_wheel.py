"""What the wheel holds, and that a workspace can be created from it without the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATE = "heatsync/cli/template"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unpacked wheel that was built from this checkout, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (file,) = folder.glob("heatsync-*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_wheel_brings_three_packages_and_no_other_name(wheel: Path) -> None:
    names = {path.name for path in wheel.iterdir() if path.suffix != ".dist-info"}
    assert names == {"heatsync", "connectors", "worker"}


@pytest.mark.parametrize("package", ["heatsync", "connectors", "worker"])
def test_the_wheel_holds_every_module_and_every_migration(wheel: Path, package: str) -> None:
    modules = {name for name in files(ROOT / package) if name.endswith(".py")}
    assert modules
    assert modules - files(wheel / package) == set()


def test_the_wheel_holds_the_files_of_a_new_workspace(wheel: Path) -> None:
    packaged = wheel / TEMPLATE
    assert (packaged / "heatsync.yml").read_bytes() == (ROOT / "heatsync.yml").read_bytes()
    assert files(packaged / "mappings") == files(ROOT / "mappings")
    assert files(packaged / "mappings")


def test_the_wheel_holds_the_license_and_the_command(wheel: Path) -> None:
    (information,) = wheel.glob("heatsync-*.dist-info")
    assert (information / "licenses/LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert "heatsync = heatsync.cli.commands:main" in (information / "entry_points.txt").read_text()


def test_a_workspace_is_created_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    # PYTHONPATH comes before the checkout that this environment may have installed in place; `-P` keeps the current
    # folder out.
    program = (
        "import heatsync, connectors\n"
        "from heatsync.cli import commands\n"
        "print(heatsync.__file__, connectors.__file__, sep='\\n', flush=True)\n"
        "commands.main()\n"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HEATSYNC_")}
    answer = subprocess.run(
        [sys.executable, "-P", "-c", program, "init", str(tmp_path / "new")],
        cwd=tmp_path,
        env=environ | {"PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[:2] == [
        str(wheel / "heatsync/__init__.py"),
        str(wheel / "connectors/__init__.py"),
    ]
    assert "heatsync.yml" in files(tmp_path / "new")
    mappings = {name for name in files(ROOT / "mappings") if name.endswith((".yml", ".md"))}
    assert files(tmp_path / "new/mappings") == mappings
