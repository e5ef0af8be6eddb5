"""Commands on a workspace as a whole: create one, check it, score it, try it."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

import typer

from connectors.errors import ConfigurationError
from heatsync.analysis import backtest_verdicts
from heatsync.cli import check_output, options, run_output, terminal
from heatsync.cli.options import FILE, HERE, AsJson, Config, Day, Folder, exit_code
from heatsync.sandbox import faults as sandbox_faults
from heatsync.snapshots import run as snapshot_run
from heatsync.sync.live_check import LiveCheckResult, check_mapping
from heatsync.sync.mapping import files as mapping_files
from heatsync.workspace import config as workspace_files
from heatsync.workspace.config import Workspace


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (init, demo, check, score):
        app.command()(command)
    app.command(epilog=sandbox_faults.help_text())(sandbox)


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the new workspace.")],
    demo_data: Annotated[
        bool, typer.Option("--demo-data", help="Add the events of a small demo product.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create a new workspace with commented files."""
    from heatsync.cli import init_template

    written = init_template.write(folder)
    if demo_data:
        from heatsync.sandbox.demo_data import product

        product.write(folder / "data", end=date.today() - timedelta(days=1))
        written.append("data/")
    if as_json:
        terminal.data({"workspace": str(folder), "files": written})
        return
    terminal.show(f"Created a workspace in {folder}: " + ", ".join(written))
    terminal.show(
        f"Next: edit {folder / FILE}, then `heatsync check -w {folder}` and `heatsync plan -w {folder}`."
    )


def demo(
    real: Annotated[
        bool, typer.Option("--real", help="Use a real message log in place of demo data.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder", metavar="DIR", help="Its workspace. Default: .heatsync/demo in this folder."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the whole job on demo data against the built-in sandbox, and show what arrived."""
    from heatsync.cli import demo as demo_run

    raise typer.Exit(demo_run.run(folder or Path(".heatsync") / "demo", real, as_json))


def check(
    live: Annotated[
        bool, typer.Option("--live", help="Also compare the mappings with the fields at the destinations.")
    ] = False,
    folder: Folder = HERE,
    config: Config = FILE,
    as_json: AsJson = False,
) -> None:
    """List every problem in every file, as file:line:column."""
    checked = mapping_files.check(folder, config)
    inspected: list[LiveCheckResult] = []
    if live and not checked.problems:
        with options.context(folder, config, quiet=True) as context:
            for mapping in context.choose([]):
                found = check_mapping(context, mapping)
                error = context.locate(mapping, found.error) if found.error is not None else None
                inspected.append(replace(found, error=error))
    answer = check_output.answer(checked, inspected, live)
    if as_json:
        terminal.data(answer)
    else:
        check_output.show(answer)
    codes = [2] * bool(answer["problems"]) + [exit_code(each.error) for each in inspected if each.error]
    raise typer.Exit(min(codes, default=0))


def score(
    folder: Folder = HERE,
    config: Config = FILE,
    day: Day = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="The first day of a range.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="DAY", help="The last day of a range.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compute snapshots of scores."""
    workspace = workspace_files.load(folder, config)
    dates = _dates(workspace, day, since, until)
    with terminal.progress(as_json) as on_progress:
        scored = snapshot_run.score(
            workspace, dates, lambda doing, done, of: on_progress("scoring", doing, done, of)
        )
    if as_json:
        terminal.data(run_output.snapshots_answer(workspace, scored))
        return
    _warn(workspace, scored.notes)
    terminal.table(
        "Snapshots",
        ["profile", "entity", "date", "rows"],
        [[s.profile, str(s.entity), s.date.isoformat(), s.rows] for s in scored.snapshots],
    )
    for reason, count in scored.ignored.items():
        terminal.show(f"ignored: {count} events {reason}")
    for mark in backtest_verdicts.not_predictive_warnings(workspace):
        terminal.show(mark)


def sandbox(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="On loopback.")] = 8100,
    quotas: Annotated[str, typer.Option("--quotas", help="on or off: whether quotas are enforced.")] = "on",
    latency: Annotated[
        float, typer.Option("--latency", min=0, metavar="MS", help="Delay of each call in milliseconds.")
    ] = 0.0,
    faults: Annotated[
        str,
        typer.Option(
            "--faults", metavar="SPEC", help="KIND=RATE,...,seed=N: faults to inject, listed below."
        ),
    ] = "",
) -> None:
    """Serve the simulated destinations, to try things without an account."""
    from heatsync.sandbox import server

    if quotas not in ("on", "off"):
        raise ConfigurationError(f"--quotas must be on or off, not {quotas!r}.")
    place = f"http://127.0.0.1:{port}"
    try:
        server.serve(
            port,
            lambda: terminal.say(
                f"The sandbox answers at {place}. Its records: /_state, its counts of calls: /_stats."
            ),
            quotas=quotas == "on",
            latency_ms=latency,
            faults=faults or None,
        )
    except ValueError as error:
        raise ConfigurationError(f"--faults: {error}") from error
    except OSError as error:
        raise ConfigurationError(
            f"Port {port} is not free ({error.strerror}). Choose another with --port."
        ) from error


def _warn(workspace: Workspace, notes: tuple[str, ...]) -> None:
    for note in (*workspace.warnings, *notes):
        terminal.say(f"note: {note}")


def _dates(workspace: Workspace, day: str | None, since: str | None, until: str | None) -> list[date] | None:
    if since is None and until is None:
        return None if day is None else [options.complete(workspace, options.day(day, "--date"), "--date")]
    if day is not None or since is None or until is None:
        raise ConfigurationError("Give either --date DAY, or both --from DAY and --to DAY.")
    first, last = (
        options.day(since, "--from"),
        options.complete(workspace, options.day(until, "--to"), "--to"),
    )
    if first > last:
        raise ConfigurationError(f"--from {first} is later than --to {last}.")
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
