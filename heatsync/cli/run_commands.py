"""Commands on runs: plan, sync, and everything that happens to a run afterwards."""

import select
import sys
from datetime import date
from typing import Annotated, Any

import typer

from connectors.errors import ConfigurationError, HeatsyncError
from heatsync.analysis import backtest_verdicts
from heatsync.cli import options, run_output, terminal
from heatsync.cli.options import FILE, HERE, AsJson, Config, Day, Folder, exit_code
from heatsync.ledger import EVERYTHING, UNRELEASED
from heatsync.operations import alerts
from heatsync.snapshots import run as snapshot_run
from heatsync.sync import run as sync_run
from heatsync.sync.compare.types import Scope
from heatsync.sync.context import PAUSED_BY_HAND, Context, OnProgress
from heatsync.sync.plan import Plan, PlanRequest, preview
from heatsync.sync.run_batches import deliver_mapping
from heatsync.workspace.config import Workspace

Names = Annotated[list[str] | None, typer.Argument(metavar="[MAPPING]...", help="Default: every mapping.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="As `heatsync runs` shows it.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (plan, sync, runs, show, failures, approve, cancel, retry, pause, resume):
        app.command()(command)


# wide: one parameter per option of the command
def plan(
    names: Names = None,
    folder: Folder = HERE,
    config: Config = FILE,
    day: Day = None,
    show: Annotated[
        int, typer.Option("--show", metavar="N", help="Show the first N changes, old -> new.")
    ] = 0,
    offline: Annotated[bool, typer.Option("--offline", help="Do not contact the destinations.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a sync would change. Sends nothing and stores nothing."""
    with options.context(folder, config) as context, terminal.progress(as_json) as on_progress:
        chosen = context.choose(names or [])
        as_of = _score(context.workspace, day, on_progress)
        plans: list[dict[str, Any]] = []
        errors: list[HeatsyncError] = []
        for mapping in chosen:
            try:
                request = PlanRequest(mapping, "plan", as_of, show=show, offline=offline)
                planned = preview(context, request, on_progress)
                plans.append(run_output.plan_answer(context, planned, bool(show)))
            except HeatsyncError as error:
                errors.append(error)
                cause = context.locate(mapping, error).delivery_message
                plans.append({"mapping": mapping.name, "state": "failed", "cause": cause})
    if as_json:
        terminal.data({"run": None, "state": "planned", "as_of": as_of.isoformat(), "mappings": plans})
    else:
        run_output.print_plans(plans, as_of)
    raise typer.Exit(min((exit_code(error) for error in errors), default=0))


# wide: one parameter per option of the command
def sync(
    names: Names = None,
    folder: Folder = HERE,
    config: Config = FILE,
    day: Day = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Send at most N changed records.")
    ] = None,
    only: Annotated[str | None, typer.Option("--only", metavar="KEY", help="One user or account.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Send every mapped value, also unchanged ones.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Approve every run that would be held.")] = False,
    as_json: AsJson = False,
) -> None:
    """Score the last complete day, plan and deliver, here and now."""
    with options.context(folder, config) as context:
        chosen = context.choose(names or [])
        if not chosen:
            terminal.say(f"note: {context.workspace.folder / 'mappings'} has no mapping: nothing is sent.")
        with terminal.progress(as_json) as on_progress:
            as_of = _score(context.workspace, day, on_progress)
        with terminal.progress(as_json or _asks(yes)) as on_progress:
            result = sync_run.sync(
                context,
                chosen,
                as_of,
                Scope(everything, only, limit),
                _decide(context, yes, as_json),
                on_progress,
            )
        alerts.report_run(context, result.run)
        if only is not None and all(
            one.plan is not None and not one.plan.run.planned.records for one in result.results
        ):
            raise ConfigurationError(
                f"No mapping has a user or an account {only!r}. --only takes our id, not an e-mail address."
            )
        answer = run_output.run_answer(context, result)
        code = sync_run.exit_code(context, result)
    if as_json:
        terminal.data(answer)
    else:
        run_output.print_run(answer)
    raise typer.Exit(code)


def runs(folder: Folder = HERE, config: Config = FILE, as_json: AsJson = False) -> None:
    """List the runs, newest first."""
    with options.context(folder, config) as context:
        listed = run_output.runs_answer(context)
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


def show(
    run: RunId,
    folder: Folder = HERE,
    config: Config = FILE,
    number: Annotated[int, typer.Option("--show", metavar="N", help="Show N changes per mapping.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show one run in full: counts, changes old -> new, and their outcomes."""
    with options.context(folder, config) as context:
        run_output.find_run(context, run)
        shown = run_output.run_details(context, run, number)
    if as_json:
        terminal.data(shown)
    else:
        run_output.print_run_details(shown)


def failures(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Default: all currently rejected records.")
    ] = None,
    folder: Folder = HERE,
    config: Config = FILE,
    csv: Annotated[bool, typer.Option("--csv", help="Every record, as CSV on stdout.")] = False,
    as_json: AsJson = False,
) -> None:
    """List rejected records by cause, with a remedy."""
    with options.context(folder, config) as context:
        if run is not None:
            run_output.find_run(context, run)
        if csv:
            run_output.print_failures_csv(context, run)
            return
        grouped = run_output.failures_answer(context, run)
    if as_json:
        terminal.data(grouped)
    else:
        run_output.print_failures(grouped)


def approve(run: RunId, folder: Folder = HERE, config: Config = FILE, as_json: AsJson = False) -> None:
    """Approve a held run: exactly what it showed is sent, here or by the workers."""
    with options.context(folder, config) as context:
        held = [row for row in run_output.find_run(context, run) if row.state in UNRELEASED]
        if not held:
            raise ConfigurationError(f"Run {run} has nothing waiting for approval.")
        result = sync_run.RunResult(run, date.fromisoformat(held[0].as_of))
        context.choose([row.mapping for row in held])
        for row in held:
            mapping = context.choose([row.mapping])[0]
            opened = context.open(mapping)
            if opened.bound.account != row.account:
                raise ConfigurationError(
                    f"Run {run} of {row.mapping} is for {row.label}, but the credentials belong to"
                    f" {opened.account.label}. Nothing more is sent."
                )
            terminal.say(f"{row.mapping} -> {row.destination} {row.label} at {opened.destination.host}")
            if context.ledger.release(row):
                result.results.append(sync_run.MappingResult(mapping, run, row))
            else:
                terminal.say(
                    f"{row.mapping} is no longer held: a newer run replaced it, or someone else has already approved it."
                )
        if context.workspace.broker is None:
            with terminal.progress(as_json) as on_progress:
                for one in result.results:
                    one.error = deliver_mapping(context, run, one.mapping, on_progress)
        else:
            terminal.say("Approved; the workers deliver it.")
        answer = run_output.run_answer(context, result)
        code = sync_run.exit_code(context, result)
    if as_json:
        terminal.data(answer)
    else:
        run_output.print_run(answer)
    raise typer.Exit(code)


def cancel(run: RunId, folder: Folder = HERE, config: Config = FILE, as_json: AsJson = False) -> None:
    """Drop a held run. Nothing of it is sent."""
    with options.context(folder, config) as context:
        held = [row for row in run_output.find_run(context, run) if row.state in UNRELEASED]
        if not held:
            raise ConfigurationError(f"Run {run} has nothing to cancel.")
        names = [row.mapping for row in held if context.ledger.cancel(row)]
        late = [row.mapping for row in held if row.mapping not in names]
    if as_json:
        terminal.data({"run": run, "cancelled": names})
    else:
        terminal.show(f"Cancelled: {', '.join(names) or 'nothing'}. Nothing of it was sent.")
        if late:
            terminal.show(f"Not cancelled, because already approved or superseded: {', '.join(late)}.")


def retry(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Default: all currently rejected records.")
    ] = None,
    folder: Folder = HERE,
    config: Config = FILE,
    as_json: AsJson = False,
) -> None:
    """Send the rejected records again with the next sync."""
    with options.context(folder, config) as context:
        if run is not None:
            run_output.find_run(context, run)
        count = context.ledger.retry_rejected(None, run=run)
    if as_json:
        terminal.data({"due": count})
    else:
        terminal.show(f"{count} rejected records go out again with the next `heatsync sync`.")


def pause(
    mapping: Annotated[str | None, typer.Argument(metavar="[MAPPING]", help="Default: all mappings.")] = None,
    folder: Folder = HERE,
    config: Config = FILE,
) -> None:
    """Pause one mapping, or all of them, until you resume."""
    with options.context(folder, config) as context:
        if mapping is not None:
            context.choose([mapping])
        context.ledger.pause(mapping or EVERYTHING, PAUSED_BY_HAND)
    terminal.show(
        f"{mapping or 'Everything'} is paused. Resume with `heatsync resume{f' {mapping}' if mapping else ''}`."
    )


def resume(
    mapping: Annotated[str | None, typer.Argument(metavar="[MAPPING]", help="Default: all mappings.")] = None,
    folder: Folder = HERE,
    config: Config = FILE,
) -> None:
    """Resume after a pause."""
    with options.context(folder, config) as context:
        if mapping is not None:
            context.choose([mapping])
        names = [mapping] if mapping else [EVERYTHING, *context.mappings]
        ended = [name for name in names if context.ledger.resume(name)]
    terminal.show(
        f"Resumed: {', '.join('all mappings' if n == EVERYTHING else n for n in ended)}."
        if ended
        else "Nothing was paused."
    )


def _score(workspace: Workspace, day: str | None, on_progress: OnProgress) -> date:
    as_of = options.complete(workspace, None if day is None else options.day(day, "--date"), "--date")
    scored = snapshot_run.score(
        workspace, [as_of], lambda doing, done, of: on_progress("scoring", doing, done, of)
    )
    for note in (*scored.notes, *backtest_verdicts.not_predictive_warnings(workspace)):
        terminal.say(f"note: {note}")
    return as_of


def _asks(yes: bool) -> bool:
    return not yes and sys.stdin.isatty() and terminal.messages.is_terminal


def _decide(context: Context, yes: bool, as_json: bool) -> sync_run.Decide:
    def decide(plan: Plan) -> bool:
        if not as_json:
            terminal.say(run_output.target_line(context, plan))
            for reason in plan.reasons:
                terminal.say(f"  held: {reason}")
        if yes or not plan.reasons:
            return True
        return _asks(yes) and _confirmed(context)

    return decide


def _confirmed(context: Context) -> bool:
    """Ask on the terminal. A thread blocked in a read cannot be stopped, so it reads only when there is input."""
    terminal.messages.print("  Send it? [y/N]: ", end="", markup=False)
    while not select.select([sys.stdin], [], [], 0.0)[0]:
        context.wait(0.1)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
