"""What the commands have in common: where the workspace is, and what days are."""

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from connectors.errors import ConfigurationError
from heatsync.cli import terminal
from heatsync.snapshots import run as snapshot_run
from heatsync.sync.context import Context
from heatsync.workspace import config as workspace_files
from heatsync.workspace.config import Workspace
from worker.redis_limiter import shared

Folder = Annotated[
    Path, typer.Option("--workspace", "-w", envvar="HEATSYNC_WORKSPACE", help="The workspace's folder.")
]
Config = Annotated[
    str, typer.Option("--config", envvar="HEATSYNC_CONFIG", help="Its file, beside heatsync.yml.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Pure JSON on stdout.")]

HERE = Path(".")
FILE = "heatsync.yml"
EARLIEST = date(1970, 1, 1)


def context(folder: Path, config: str, quiet: bool = False) -> Context:
    """Opened; with `quiet`, without the files' warnings."""
    workspace = workspace_files.load(folder, config)
    opened = Context(workspace, shared(workspace.broker) if workspace.broker is not None else None)
    for warning in () if quiet else workspace.warnings:
        terminal.say(f"warning: {warning}")
    return opened


def day(text: str, option: str) -> date:
    """Raises ConfigurationError for what is no day that can be scored."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{option} wants a day like 2026-01-31, not {text!r}.") from None
    if found < EARLIEST:
        raise ConfigurationError(
            f"{option} {found} lies before {EARLIEST}, the earliest day that can be scored."
        )
    return found


def complete(workspace: Workspace, found: date | None, option: str) -> date:
    """The day, or the last complete one. Raises ConfigurationError for one that is not over yet."""
    latest = snapshot_run.last_complete_day(workspace)
    if found is not None and found > latest:
        raise ConfigurationError(f"{option} {found} is not over yet: the last complete day is {latest}.")
    return found or latest
