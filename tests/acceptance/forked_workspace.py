"""A workspace whose commands are forked, and what is expected of one that was given something invalid."""

import csv
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cli_workspace import END, CliWorkspace, CommandResult
from forked_cli import ForkedCli

from heatsync.sandbox.server import Running

PROFILE = """version: 1
name: Health
model: weighted
window: 7d
events: [{event: Report Created, weight: 8}, {event: Logged In, weight: 1}]
normalize: {target: 50}
levels: {bands: {Low: 0, High: 50}}
"""
MAPPING = """version: 1
profile: health
destination: hubspot
object: contacts
match: {email: email}
create_fields: true
fields: {heatsync_role: user.role, heatsync_name: user.name}
"""
"""One profile and one mapping that are quickly done."""

Row = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkedWorkspace(CliWorkspace):
    """A workspace whose commands are forked."""

    fork: ForkedCli

    def run(self, *command: str, **environ: str) -> CommandResult:
        """An empty value takes a variable out of the environment."""
        merged = {name: value for name, value in (self.environ | environ).items() if value}
        code, out, err = self.fork.run(command, merged)
        assert "Traceback" not in out + err, err
        assert code != 70, err + Path(err.split()[-1]).read_text("utf-8")
        return CommandResult(code, out, err)

    def copy(self, folder: Path, sandbox: Running | None = None) -> "ForkedWorkspace":
        """The same workspace with its state, in another folder."""
        shutil.copytree(self.folder, folder)
        return replace(self, folder=folder, sandbox=sandbox or self.sandbox)

    def sync_with(self, **environ: str) -> CommandResult:
        return self.run("sync", "--date", END.isoformat(), "--yes", "--json", **environ)

    def replace(self, path: str, old: str, new: str) -> None:
        text = (self.folder / path).read_text("utf-8")
        assert old in text, f"{path} does not hold {old!r}"
        self.write(path, text.replace(old, new, 1))


def assert_refused(answer: CommandResult, code: int, *sentence: str) -> None:
    """Whether a command ended with this code, and said every part of the sentence."""
    said = answer.out + answer.err
    assert answer.code == code, said
    for part in sentence:
        assert part in said, f"{part!r} is missing in: {said}"


def rows(workspace: ForkedWorkspace, path: str = "data/users.csv") -> list[Row]:
    with (workspace.folder / path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contacts(workspace: ForkedWorkspace, name: str = "heatsync_role") -> dict[str, Any]:
    """What HubSpot's contacts hold in a property, by address; without those that hold nothing."""
    found = {
        c["properties"]["email"]: c["properties"].get(name)
        for c in workspace.sandbox.state()["hubspot"]["contacts"]
    }
    return {email: held for email, held in found.items() if held}


def failures(workspace: ForkedWorkspace) -> dict[str, Any]:
    return {group["code"]: group for group in workspace.run("failures", "--json").json}
