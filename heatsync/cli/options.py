"""Options that several commands share: the workspace, its file, days."""

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from connectors.errors import ConfigurationError, HeatsyncError, Misunderstood, Unauthorized, Unavailable
from heatsync.cli import terminal
from heatsync.snapshots import run as snapshot_run
from heatsync.sync.context import Context
from heatsync.workspace import config as workspace_files
from heatsync.workspace.config import Workspace
from worker.redis_limiter import connect

Folder = Annotated[
    Path, typer.Option("--workspace", "-w", envvar="HEATSYNC_WORKSPACE", help="The folder of the workspace.")
]
Config = Annotated[
    str, typer.Option("--config", envvar="HEATSYNC_CONFIG", help="Another settings file beside heatsync.yml.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]

Day = Annotated[
    str | None,
    typer.Option("--date", metavar="DAY", help="The day to score. Default: the last complete one."),
]

HERE = Path(".")
FILE = "heatsync.yml"
EARLIEST = date(1970, 1, 1)


def context(folder: Path, config: str, quiet: bool = False) -> Context:
    """Open a workspace. `quiet` suppresses the warnings of its files."""
    workspace = workspace_files.load(folder, config)
    opened = Context(workspace, connect(workspace.broker) if workspace.broker is not None else None)
    for warning in () if quiet else workspace.warnings:
        terminal.say(f"warning: {warning}")
    return opened


def day(text: str, option: str) -> date:
    """Parse an option's day. Raises ConfigurationError if it is not a day that can be scored."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{option}: expected a day such as 2026-01-31, found {text!r}.") from None
    if found < EARLIEST:
        raise ConfigurationError(
            f"{option} {found} is before {EARLIEST}, the earliest day that can be scored."
        )
    return found


def complete(workspace: Workspace, found: date | None, option: str) -> date:
    """The day, by default the last complete one. Raises ConfigurationError if it is not over yet."""
    latest = snapshot_run.last_complete_day(workspace)
    if found is not None and found > latest:
        raise ConfigurationError(f"{option} {found} is not over yet: the last complete day is {latest}.")
    return found or latest


def exit_code(error: HeatsyncError) -> int:
    """2: fix a file or a setting. 3: a destination could not be reached or refused the credentials."""
    return 3 if isinstance(error, Unavailable | Unauthorized | Misunderstood) else 2
