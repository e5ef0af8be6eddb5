"""`heatsync audience KEY`: its members."""

import csv
import json
import sys
from itertools import islice
from typing import Annotated, Any

import typer

from connectors.errors import ConfigurationError
from heatsync.cli import options, terminal
from heatsync.cli.options import AsJson, Config, Folder
from heatsync.snapshots import audience_members
from heatsync.snapshots.audience_members import AudienceMembers
from heatsync.workspace import config as workspace_files

SHOWN = 50
"""Members shown on a terminal."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(audience)


# wide: one parameter per option of the command
def audience(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="A custom audience, or a built-in one such as most_engaged.")
    ],
    folder: Folder = options.HERE,
    config: Config = options.FILE,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile", metavar="PROFILE", help="If several profiles have an audience with this key."
        ),
    ] = None,
    entity: Annotated[
        str | None, typer.Option("--entity", help="user or account, if both have an audience with this key.")
    ] = None,
    day: Annotated[
        str | None,
        typer.Option("--date", metavar="DAY", help="A day that was scored. Default: the last one."),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print all members as CSV on stdout.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the members of an audience, and count how many entered and left since the day before."""
    if as_csv and as_json:
        raise ConfigurationError("Give either --csv or --json.")
    if entity not in (None, "user", "account"):
        raise ConfigurationError(f"--entity must be user or account, not {entity!r}.")
    workspace = workspace_files.load(folder, config)
    on = None if day is None else options.complete(workspace, options.day(day, "--date"), "--date")
    found = audience_members.find(workspace, key, profile, entity, on)
    for note in found.notes:
        terminal.say(f"note: {note}")
    if as_csv:
        _csv(found)
    elif as_json:
        _json(found)
    else:
        _show(found)


def _csv(found: AudienceMembers) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(found.columns)
    for rows in found.rows():
        writer.writerows(rows)


def _json(found: AudienceMembers) -> None:
    """One JSON document, written while the members are read, because there may be many."""
    head: dict[str, Any] = {
        "audience": found.audience.key,
        "name": found.audience.name,
        "profile": found.profile,
        "entity": found.audience.entity,
        "date": found.day.isoformat(),
        "count": found.count,
        "since": None if found.since is None else found.since.isoformat(),
        "entered": found.entered,
        "left": found.left,
    }
    sys.stdout.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "members": [')
    between = ""
    for rows in found.rows():
        members = (dict(zip(found.columns, row, strict=True)) for row in rows)
        sys.stdout.write(between + ", ".join(json.dumps(each, ensure_ascii=False) for each in members))
        between = ", "
    sys.stdout.write("]}\n")


def _show(found: AudienceMembers) -> None:
    kind = found.audience.entity
    members = f"1 {kind} is" if found.count == 1 else f"{found.count} {kind}s are"
    moved = (
        f"{found.entered} entered and {found.left} left since {found.since}."
        if found.since is not None
        else f"Entries and exits are unknown: {found.not_compared}."
    )
    terminal.show(f"{members} in {found.audience.name} ({found.profile}) on {found.day}. {moved}")
    if not found.count:
        return
    rows = list(islice((row for rows in found.rows() for row in rows), SHOWN))
    filled = [
        place
        for place, name in enumerate(found.columns)
        if name in audience_members.SCORES or any(row[place] is not None for row in rows)
    ]
    terminal.table(
        "Members",
        [found.columns[place] for place in filled],
        [[row[place] for place in filled] for row in rows],
    )
    if found.count > len(rows):
        terminal.show(f"... and {found.count - len(rows)} more: --csv lists all of them.")
