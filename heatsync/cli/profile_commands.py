"""`heatsync profile ...`: commands on the file of one profile."""

from pathlib import Path
from typing import Annotated

import typer

from heatsync.cli import terminal
from heatsync.workspace import profile_reset

app = typer.Typer(help="Commands on the file of one profile.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def reset(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The name of its file, without folder and .yml.")
    ],
    folder: Annotated[
        Path,
        typer.Option("--workspace", "-w", envvar="HEATSYNC_WORKSPACE", help="The folder of the workspace."),
    ] = Path("."),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Restore the default touchpoints and weights of a profile with `model: kpi`."""
    done = profile_reset.reset(folder, name)
    if as_json:
        changes = [{"touchpoint": each.name, "old": each.old, "new": each.new} for each in done.changes]
        terminal.data({"profile": done.profile, "file": done.file, "changes": changes})
        return
    if not done.changes:
        terminal.show(f"{done.file} already has the default touchpoints: nothing changed.")
        return
    terminal.table(
        f"Touchpoints of {done.profile}",
        ["touchpoint", "old", "new"],
        [[each.name, each.old, each.new] for each in done.changes],
    )
    terminal.show(
        f"{done.file} has the default touchpoints again. The next run scores the last 30 days with them."
    )
