"""Only connectors, the sandbox's simulators, files of workspaces, tests and documentation name a vendor."""

import re
from pathlib import Path

import pytest

from connectors.registry import VENDORS

ROOT = Path(__file__).parents[2]
ROOMS = (
    "connectors/*.py",
    "heatsync/workspace",
    "heatsync/source",
    "heatsync/snapshots",
    "heatsync/ledger",
    "heatsync/sync",
    "heatsync/analysis",
    "heatsync/operations",
    "heatsync/cli",
    "heatsync/sandbox/*.py",
    "heatsync/sandbox/demo_data/*.py",
    "worker",
)
# A vendor itself, and the one line for each of them.
ALLOWED = {f"connectors/{type}.py" for type in VENDORS} | {"connectors/registry.py"}
"""The files of YAML that `heatsync init` and `heatsync demo` write lie outside these rooms, at the top of the repository
and in heatsync/sandbox/demo_data: an example of a destination has to name one."""
NAMES = {name for vendor in VENDORS.values() for name in (vendor.type, vendor.title)}
# A whole word, in any case and also between underscores: `segments`, a trait, is not the vendor.
NAME = re.compile(rf"(?<![a-z])({'|'.join(map(re.escape, sorted(NAMES)))})(?![a-z])", re.IGNORECASE)


def files(room: str) -> list[Path]:
    if room.endswith("*.py"):
        return sorted(ROOT.glob(room))
    return sorted(path for path in (ROOT / room).rglob("*") if path.suffix in (".py", ".html", ".js", ".sql"))


@pytest.mark.parametrize("room", ROOMS)
def test_no_vendor_is_named_where_every_destination_is_treated_alike(room: str) -> None:
    assert files(room)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files(room)
        if str(path.relative_to(ROOT)) not in ALLOWED
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if NAME.search(line)
    ]
    assert not found


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('vendor.type == "segment"', True),
        ("HUBSPOT_TOKEN", True),
        ("# Salesforce ignores case.", True),
        ("the segments trait", False),
        ("segmented", False),
    ],
)
def test_a_name_is_a_whole_word(line: str, named: bool) -> None:
    assert bool(NAME.search(line)) == named
