"""The command line. Each command is a thin skin over a function of the same name below it."""

import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from connectors.errors import ConfigurationError, HeatsyncError, Misunderstood, Unauthorized, Unavailable
from connectors.registry import VENDORS
from heatsync.analysis import backtest_verdicts
from heatsync.cli import (
    analysis_commands,
    audience_commands,
    check_output,
    options,
    profile_commands,
    run_output,
    terminal,
)
from heatsync.cli.options import FILE, HERE, AsJson, Config, Folder
from heatsync.sandbox import faults as sandbox_faults
from heatsync.snapshots import run as snapshot_run
from heatsync.sync import plan as planning
from heatsync.sync import run as sync_run
from heatsync.sync.compare.types import Scope
from heatsync.sync.context import Context, OnProgress
from heatsync.sync.live_check import LiveCheckResult, check_mapping
from heatsync.sync.mapping import files as mapping_files
from heatsync.workspace import config as workspace_files
from heatsync.workspace.config import Workspace

_TITLES = [vendor.title for vendor in VENDORS.values()]

app = typer.Typer(
    name="heatsync",
    help=(
        "Scores users and accounts by their product events, and keeps"
        f" {', '.join(_TITLES[:-1])} and {_TITLES[-1]} up to date."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(profile_commands.app, name="profile")
audience_commands.register(app)
analysis_commands.register(app)


Names = Annotated[list[str] | None, typer.Argument(metavar="[MAPPING]...", help="Default: every mapping.")]
Day = Annotated[
    str | None,
    typer.Option("--date", metavar="DAY", help="The day to score. Default: the last complete one."),
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="As `heatsync runs` shows it.")]
STOPS = (signal.SIGINT, signal.SIGTERM)
STOPPED = 130
"""The exit code of whoever was asked to stop, as shells have it."""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the new workspace.")],
    demo_data: Annotated[
        bool, typer.Option("--demo-data", help="With a small, made-up product's events.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a new workspace, commented."""
    from heatsync.cli import init_template

    written = init_template.write(folder)
    if demo_data:
        from heatsync.sandbox.demo_data import product

        product.write(folder / "data", end=date.today() - timedelta(days=1))
        written.append("data/")
    if as_json:
        terminal.data({"workspace": str(folder), "files": written})
        return
    terminal.show(f"A workspace in {folder}: " + ", ".join(written))
    terminal.show(
        f"Next: edit {folder / FILE}, then `heatsync check -w {folder}` and `heatsync plan -w {folder}`."
    )


@app.command()
def demo(
    real: Annotated[
        bool, typer.Option("--real", help="A real message log in place of made-up data.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option("--folder", metavar="DIR", help="Where to make it. Default: .heatsync/demo here."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the whole job on demo data against the built-in sandbox, and show what arrived."""
    from heatsync.cli import demo as demo_run

    raise typer.Exit(demo_run.run(folder or Path(".heatsync") / "demo", real, as_json))


@app.command()
def check(
    live: Annotated[
        bool, typer.Option("--live", help="Also ask the destinations whether the mappings fit what is there.")
    ] = False,
    folder: Folder = HERE,
    config: Config = FILE,
    as_json: AsJson = False,
) -> None:
    """Name every problem in every file at once, as file:line:column."""
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
    codes = [2] * bool(answer["problems"]) + [_code(each.error) for each in inspected if each.error]
    raise typer.Exit(min(codes, default=0))


@app.command()
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
    with terminal.progress(as_json) as told:
        scored = snapshot_run.score(
            workspace, dates, lambda doing, done, of: told("scoring", doing, done, of)
        )
    if as_json:
        terminal.data(run_output.scored(workspace, scored))
        return
    _warn(workspace, scored.notes)
    terminal.table(
        "Snapshots",
        ["profile", "entity", "date", "rows"],
        [[s.profile, str(s.entity), s.date.isoformat(), s.rows] for s in scored.snapshots],
    )
    for reason, count in scored.ignored.items():
        terminal.show(f"ignored: {count} events {reason}")
    for mark in backtest_verdicts.marks(workspace):
        terminal.show(mark)


@app.command()
def plan(
    names: Names = None,
    folder: Folder = HERE,
    config: Config = FILE,
    day: Day = None,
    show: Annotated[
        int, typer.Option("--show", metavar="N", help="Show the first N changes, old -> new.")
    ] = 0,
    offline: Annotated[bool, typer.Option("--offline", help="Read nothing over there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell what a sync would change. Sends nothing and keeps nothing."""
    with options.context(folder, config) as context, terminal.progress(as_json) as told:
        chosen = context.choose(names or [])
        as_of = _score(context.workspace, day, told)
        plans: list[dict[str, Any]] = []
        errors: list[HeatsyncError] = []
        for mapping in chosen:
            try:
                made = planning.plan(
                    context, mapping, "plan", as_of, Scope(), told, keep=False, show=show, offline=offline
                )
                plans.append(run_output.planned(context, made, bool(show)))
            except HeatsyncError as error:
                errors.append(error)
                cause = context.locate(mapping, error).delivery_message
                plans.append({"mapping": mapping.name, "state": "failed", "cause": cause})
    if as_json:
        terminal.data({"run": None, "state": "planned", "as_of": as_of.isoformat(), "mappings": plans})
    else:
        run_output.print_plans(plans, as_of)
    raise typer.Exit(min((_code(error) for error in errors), default=0))


@app.command()
def sync(
    names: Names = None,
    folder: Folder = HERE,
    config: Config = FILE,
    day: Day = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most so many changed records.")
    ] = None,
    only: Annotated[str | None, typer.Option("--only", metavar="KEY", help="One user or account.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Send every mapped value, changed or not.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Approve what would otherwise be held.")] = False,
    as_json: AsJson = False,
) -> None:
    """Score the last complete day, plan and deliver, here and now."""
    with options.context(folder, config) as context:
        chosen = context.choose(names or [])
        if not chosen:
            terminal.say(
                f"note: there is no mapping in {context.workspace.folder / 'mappings'}: nothing is sent."
            )
        with terminal.progress(as_json) as told:
            as_of = _score(context.workspace, day, told)
        with terminal.progress(as_json or _asks(yes)) as told:
            result = sync_run.sync(
                context, chosen, as_of, Scope(everything, only, limit), _decide(context, yes, as_json), told
            )
        if only is not None and all(
            told.plan is not None and not told.plan.counts.records for told in result.results
        ):
            raise ConfigurationError(
                f"No mapping has a user or an account {only!r}. --only takes our id, not an address."
            )
        answer = run_output.ended(context, result)
        code = sync_run.exit_code(context, result)
    if as_json:
        terminal.data(answer)
    else:
        run_output.print_ended(answer)
    raise typer.Exit(code)


@app.command()
def runs(folder: Folder = HERE, config: Config = FILE, as_json: AsJson = False) -> None:
    """List what was done, newest first."""
    with options.context(folder, config) as context:
        listed = run_output.history(context)
    if as_json:
        terminal.data(listed)
        return
    terminal.table(
        "Runs",
        ["run", "at", "as of", "mapping", "state", "writes", "calls", "cause"],
        [
            [r["run"], r["at"], r["as_of"], r["mapping"], r["state"], r["writes"], r["calls"], r["cause"]]
            for r in listed
        ],
    )


@app.command()
def show(
    run: RunId,
    folder: Folder = HERE,
    config: Config = FILE,
    number: Annotated[int, typer.Option("--show", metavar="N", help="So many changes per mapping.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show one run in full: counts, changes old -> new, and what became of them."""
    with options.context(folder, config) as context:
        run_output.known(context, run)
        shown = run_output.in_full(context, run, number)
    if as_json:
        terminal.data(shown)
    else:
        run_output.print_in_full(shown)


@app.command()
def failures(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Default: whatever stands rejected now.")
    ] = None,
    folder: Folder = HERE,
    config: Config = FILE,
    csv: Annotated[bool, typer.Option("--csv", help="Every record, as CSV on stdout.")] = False,
    as_json: AsJson = False,
) -> None:
    """List rejected records by cause, with the cure."""
    with options.context(folder, config) as context:
        if run is not None:
            run_output.known(context, run)
        if csv:
            run_output.print_failures_csv(context, run)
            return
        grouped = run_output.failures(context, run)
    if as_json:
        terminal.data(grouped)
    else:
        run_output.print_failures(grouped)


@app.command()
def approve(run: RunId, folder: Folder = HERE, config: Config = FILE, as_json: AsJson = False) -> None:
    """Release exactly what a held run showed; without a broker it is delivered here and now."""
    with options.context(folder, config) as context:
        held = [row for row in run_output.known(context, run) if row.state == "held"]
        if not held:
            raise ConfigurationError(f"Nothing of run {run} is held: there is nothing to approve.")
        result = sync_run.RunResult(run, date.fromisoformat(held[0].as_of))
        context.choose([row.mapping for row in held])
        for row in held:
            mapping = context.choose([row.mapping])[0]
            opened = context.open(mapping)
            if opened.bound.account != row.account:
                raise ConfigurationError(
                    f"Run {run} of {row.mapping} is for {row.label}, but the credentials belong to"
                    f" {opened.account.label}. Nothing more was released."
                )
            terminal.say(f"{row.mapping} -> {row.destination} {row.label} at {opened.destination.host}")
            if context.ledger.release(row):
                result.results.append(sync_run.MappingResult(mapping, run, row))
            else:
                terminal.say(
                    f"{row.mapping} is no longer held: a newer run took its place, or somebody was faster."
                )
        if context.workspace.broker is None:
            with terminal.progress(as_json) as told:
                for one in result.results:
                    one.error = sync_run.deliver_mapping(context, run, one.mapping, told)
        else:
            terminal.say("Released; the workers deliver it.")
        answer = run_output.ended(context, result)
        code = sync_run.exit_code(context, result)
    if as_json:
        terminal.data(answer)
    else:
        run_output.print_ended(answer)
    raise typer.Exit(code)


@app.command()
def cancel(run: RunId, folder: Folder = HERE, config: Config = FILE, as_json: AsJson = False) -> None:
    """Drop a held run; nothing of it is sent."""
    with options.context(folder, config) as context:
        held = [row for row in run_output.known(context, run) if row.state == "held"]
        if not held:
            raise ConfigurationError(f"Nothing of run {run} is held: there is nothing to cancel.")
        names = [row.mapping for row in held if context.ledger.cancel(row)]
        late = [row.mapping for row in held if row.mapping not in names]
    if as_json:
        terminal.data({"run": run, "cancelled": names})
    else:
        terminal.show(f"Cancelled: {', '.join(names) or 'nothing'}. Nothing of it was sent.")
        if late:
            terminal.show(f"Released or superseded meanwhile, and not cancelled: {', '.join(late)}.")


@app.command()
def retry(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Default: whatever stands rejected now.")
    ] = None,
    folder: Folder = HERE,
    config: Config = FILE,
    as_json: AsJson = False,
) -> None:
    """Let the next sync send the rejected records again."""
    with options.context(folder, config) as context:
        if run is not None:
            run_output.known(context, run)
        count = context.ledger.retry_rejected(None, run=run)
    if as_json:
        terminal.data({"due": count})
    else:
        terminal.show(f"{count} rejected records are due again: the next `heatsync sync` sends them.")


@app.command()
def pause(
    mapping: Annotated[str | None, typer.Argument(metavar="[MAPPING]", help="Default: everything.")] = None,
    folder: Folder = HERE,
    config: Config = FILE,
) -> None:
    """Let one mapping, or everything, rest until it is resumed."""
    with options.context(folder, config) as context:
        if mapping is not None:
            context.choose([mapping])
        context.ledger.pause(mapping or "*", sync_run.PAUSED_BY_HAND)
    terminal.show(
        f"{mapping or 'Everything'} rests. `heatsync resume{f' {mapping}' if mapping else ''}` ends it."
    )


@app.command()
def resume(
    mapping: Annotated[str | None, typer.Argument(metavar="[MAPPING]", help="Default: everything.")] = None,
    folder: Folder = HERE,
    config: Config = FILE,
) -> None:
    """End a pause."""
    with options.context(folder, config) as context:
        if mapping is not None:
            context.choose([mapping])
        names = [mapping] if mapping else ["*", *context.mappings]
        ended = [name for name in names if context.ledger.resume(name)]
    terminal.show(
        f"Resumed: {', '.join('everything' if n == '*' else n for n in ended)}."
        if ended
        else "Nothing was paused."
    )


@app.command(epilog=sandbox_faults.help_text())
def sandbox(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="On loopback.")] = 8100,
    quotas: Annotated[str, typer.Option("--quotas", help="on or off: whether windows are enforced.")] = "on",
    latency: Annotated[
        float, typer.Option("--latency", min=0, metavar="MS", help="Milliseconds that each call takes.")
    ] = 0.0,
    faults: Annotated[
        str,
        typer.Option("--faults", metavar="SPEC", help="KIND=RATE,...,seed=N: what goes wrong on purpose."),
    ] = "",
) -> None:
    """Serve the four destinations, simulated, to try things without an account."""
    from heatsync.sandbox import server

    if quotas not in ("on", "off"):
        raise ConfigurationError(f"--quotas is on or off, not {quotas!r}.")
    place = f"http://127.0.0.1:{port}"
    try:
        server.serve(
            port,
            lambda: terminal.say(
                f"The sandbox answers at {place}; what it holds: /_state, what it was asked: /_stats."
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
        raise ConfigurationError(f"--from {first} lies after --to {last}.")
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _score(workspace: Workspace, day: str | None, told: OnProgress) -> date:
    dates = _dates(workspace, day, None, None)
    as_of = dates[0] if dates else snapshot_run.last_complete_day(workspace)
    scored = snapshot_run.score(workspace, [as_of], lambda doing, done, of: told("scoring", doing, done, of))
    for note in (*scored.notes, *backtest_verdicts.marks(workspace)):
        terminal.say(f"note: {note}")
    return as_of


def _asks(yes: bool) -> bool:
    return not yes and sys.stdin.isatty() and terminal.talk.is_terminal


def _decide(context: Context, yes: bool, as_json: bool) -> sync_run.Decide:
    def decide(made: planning.Plan) -> bool:
        if not as_json:
            terminal.say(run_output.where(context, made))
            for reason in made.reasons:
                terminal.say(f"  held: {reason}")
        if yes or not made.reasons:
            return True
        return _asks(yes) and _confirmed(context)

    return decide


def _confirmed(context: Context) -> bool:
    """Ask on the terminal. A thread that reads cannot be stopped: it reads when there is something to be read."""
    terminal.talk.print("  Send it? [y/N]: ", end="", markup=False)
    while not select.select([sys.stdin], [], [], 0.0)[0]:
        context.wait(0.1)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _code(error: HeatsyncError) -> int:
    return 3 if isinstance(error, Unavailable | Unauthorized | Misunderstood) else 2


@contextmanager
def _stoppable() -> Iterator[None]:
    """Tell an interrupt, whatever it was made into on its way here: typer makes an exit of it, and DuckDB an error.

    A block that comes to its end all the same, as the sandbox does, has come to its end.
    """
    asked = False

    def stop(_signal: int, _frame: FrameType | None) -> NoReturn:
        nonlocal asked
        asked = True
        # Who asks twice does not want to wait for answers: the next sync looks up what may have arrived.
        for each in STOPS:
            signal.signal(each, signal.SIG_DFL)
        raise KeyboardInterrupt

    for each in STOPS:
        # Whoever was started to ignore it, like a job in the background, does.
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, stop)
    try:
        yield
    except BaseException as error:
        if not asked or (isinstance(error, SystemExit) and not error.code):
            raise
        terminal.say(
            "Stopped. What was sent is noted, the rest stays due: the next `heatsync sync` sends it."
        )
        sys.exit(STOPPED)


def main() -> None:
    """The entry point: every error becomes a sentence and an exit code, never a traceback."""
    try:
        with _stoppable():
            app()
    except HeatsyncError as error:
        terminal.say(f"error: {error.delivery_message}")
        sys.exit(_code(error))
    except OSError as error:
        sys.exit(_unusable(error) if error.filename else _unexpected())
    except BrokenPipeError:
        sys.exit(0)
    except Exception:
        sys.exit(_unexpected())


def _unusable(error: OSError) -> int:
    """A file or folder that cannot be read or written."""
    terminal.say(
        f"error: {error.filename}: {error.strerror}. Check that its folder is there, that this user may write to it,"
        " and that the disk has room; then run the command again: what was not sent stays due."
    )
    return 2


def _unexpected() -> int:
    """Keep the traceback in a file for whoever mends it, and say where it is."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix=f"heatsync-{datetime.now():%Y%m%d-%H%M%S}-", suffix=".log", delete=False
    ) as file:
        traceback.print_exc(file=file)
    kind = sys.exc_info()[0]
    terminal.say(
        f"error: heatsync failed in a way it should not ({kind.__name__ if kind else '?'}). Details: {file.name}"
    )
    return 70
