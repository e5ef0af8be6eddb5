"""Workspaces, processes and expectations for the acceptance tests: real commands against the sandbox."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from heatsync.cli import init_template
from heatsync.sandbox.demo_data import product
from heatsync.sandbox.server import Running
from heatsync.workspace import config
from heatsync.workspace.env_vars import url_variable

END = date(2026, 10, 31)
"""The last day of the data, and the day that is scored."""
HEATSYNC = str(Path(sys.executable).with_name("heatsync"))
CELERY = str(Path(sys.executable).with_name("celery"))


@cache
def _repository() -> config.Workspace:
    """The workspace that `heatsync init` copies."""
    return config.load(Path(__file__).parents[2])


@cache
def _credentials() -> tuple[str, ...]:
    """The environment variables of its secrets."""
    return tuple(
        variable
        for destination in _repository().destinations.values()
        for variable, key in destination.credential_variables.items()
        if destination.vendor.settings[key].secret
    )


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def mapping(self, name: str) -> Any:
        (found,) = [mapping for mapping in self.json["mappings"] if mapping["mapping"] == name]
        return found


@dataclass(frozen=True, slots=True)
class CliWorkspace:
    """A workspace in a folder, and the sandbox that its destinations lead to."""

    folder: Path
    sandbox: Running
    token: str = "default:t"

    @property
    def environ(self) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")
        }
        return kept | {
            "HEATSYNC_WORKSPACE": str(self.folder),
            **dict.fromkeys(_credentials(), self.token),
            **{url_variable(name): self.sandbox.url for name in _repository().destinations},
        }

    def start(self, *command: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [HEATSYNC, *command],
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *command: str, **environ: str) -> CommandResult:
        with self.start(*command, **environ) as process:
            out, err = process.communicate(timeout=300)
        assert "Traceback" not in out + err, err
        return CommandResult(process.returncode, out, err)

    def sync(self, *options: str) -> CommandResult:
        return self.run("sync", "--date", END.isoformat(), "--json", *options)

    def write(self, path: str, text: str) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")

    def only(self, *mappings: str) -> None:
        """Leave just these mappings."""
        for path in (self.folder / "mappings").glob("*.yml"):
            if path.stem not in mappings:
                path.unlink()


def create_workspace(folder: Path, sandbox: Running, users: int = 120, days: int = 100) -> CliWorkspace:
    """The demo's workspace, smaller, with data that ends on END."""
    init_template.write(folder)
    product.write(folder / "data", users=users, days=days, end=END)
    return CliWorkspace(folder, sandbox)


def copy_workspace(source: CliWorkspace, folder: Path, sandbox: Running) -> CliWorkspace:
    """The same workspace without its state, leading to another sandbox."""
    shutil.copytree(source.folder, folder, ignore=shutil.ignore_patterns(".heatsync"))
    return CliWorkspace(folder, sandbox)


def calls(sandbox: Running) -> int:
    """How many requests the sandbox answered."""
    stats = sandbox.stats()
    return sum(destination["calls"] for destination in stats.values())
