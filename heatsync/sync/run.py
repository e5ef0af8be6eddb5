"""A run: plan every mapping, ask where a person must decide, deliver. In one process, or step by step in a worker."""

import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from connectors.errors import ConfigurationError, HeatsyncError, Unauthorized, Unavailable
from heatsync.ledger import SCHEMA_CODES, UNRELEASED, Pause, Run, RunState
from heatsync.sync.compare.types import Scope
from heatsync.sync.context import Context, OnProgress, hold_lock, no_progress
from heatsync.sync.mapping.model import Mapping
from heatsync.sync.older_runs import finish_older_runs
from heatsync.sync.plan import Plan, PlanRequest, check_field_owners, make_plan, new_run
from heatsync.sync.remote_fields import schema_changed
from heatsync.sync.run_batches import deliver_mapping, unexpected_error

Decide = Callable[[Plan], bool]
"""Called for every plan that would write something: whether it may. A plan without `reasons` needs no approval."""


@dataclass(slots=True)
class MappingResult:
    """How the run of one mapping ended: its run where it got so far, or the error that stopped it."""

    mapping: Mapping
    run_id: str = ""
    run: Run | None = None
    plan: Plan | None = None
    error: HeatsyncError | None = None
    paused: Pause | None = None


@dataclass(slots=True)
class RunResult:
    """How a run ended."""

    run: str
    as_of: date
    results: list[MappingResult] = field(default_factory=list)


def new_run_id(as_of: date) -> str:
    """A name for a run, which begins with its day."""
    return f"{as_of:%Y%m%d}-{secrets.token_hex(3)}"


def plan_mapping(context: Context, request: PlanRequest, progress: OnProgress) -> MappingResult:
    """Plan one mapping into the ledger; refused credentials pause it. Errors are returned, not raised."""
    mapping = request.mapping
    result = MappingResult(mapping, request.run_id)
    try:
        result.paused = context.ledger.find_pause(mapping.name, context.credential(mapping))
        if result.paused is not None:
            return result
        result.plan = plan(context, request, progress)
        result.run = result.plan.run
    except Unauthorized as error:
        result.error = context.pause_unauthorized(mapping, error)
    except HeatsyncError as error:
        result.error = context.locate(mapping, error)
    except Exception as error:  # an unexpected error in one mapping must not stop the others
        result.error = unexpected_error(context, mapping, error)
    if result.error is not None:
        record_failure(context, request.run_id, mapping, request.as_of, result.error.delivery_message)
    return result


def plan(context: Context, request: PlanRequest, progress: OnProgress) -> Plan:
    """Plan one mapping into the ledger, once its older runs are over. The plan waits there for its release.

    Raises ConfigurationError, Unauthorized, Unavailable, Misunderstood.
    """
    mapping = request.mapping
    opened = context.open(mapping)
    check_field_owners(context, mapping, opened)
    with hold_lock(context, f"plan {mapping.name}"):
        pending = context.ledger.pending_run(opened.bound) if request.scope.partial else None
        if pending is not None:
            raise ConfigurationError(
                f"{mapping.name}: run {pending} of all its records is held or on its way. Approve or cancel it, or let"
                " it end, before you send single records."
            )
        lost = finish_older_runs(context, mapping, opened, progress)
        if schema_changed(context, mapping, opened):
            context.ledger.retry_rejected(opened.bound, SCHEMA_CODES)
        return make_plan(context, request, opened, progress, lost)


def _overtaken(context: Context, held: Run) -> HeatsyncError | None:
    """What became of a run while a person was asked about it; None when another process released it."""
    now = next(row for row in context.ledger.runs(held.run) if row.mapping == held.mapping)
    if now.state not in (RunState.SUPERSEDED, RunState.CANCELLED):
        return None
    return Unavailable(f"{held.mapping}: the run was {now.state} while it waited. Nothing of it was sent.")


def record_failure(context: Context, run: str, mapping: Mapping, as_of: date, cause: str) -> None:
    """Record in the ledger that a mapping's run failed, however early."""
    begun = next((row for row in context.ledger.runs(run) if row.mapping == mapping.name), None)
    failed = replace(
        begun or new_run(mapping, run, as_of), state=RunState.FAILED, cause=cause, ended_at=time.time()
    )
    if begun is None:
        context.ledger.save_run(failed)
    else:
        context.ledger.update_run(failed)
    context.ledger.add_calls(run, mapping.name, context.call_counter(mapping.name).take(), 0.0)


def sync(
    context: Context,
    mappings: Sequence[Mapping],
    as_of: date,
    scope: Scope,
    decide: Decide,
    progress: OnProgress = no_progress,
) -> RunResult:
    """Plan and deliver, here and now. A slow destination never holds up the others.

    When this is interrupted, the threads at work wait for the answers to the calls that they made, and call no more.
    """
    result = RunResult(new_run_id(as_of), as_of)
    groups: dict[str, list[Mapping]] = defaultdict(list)
    for mapping in mappings:
        groups[mapping.destination].append(mapping)
    deciding = threading.Lock()

    def run_mapping(mapping: Mapping) -> MappingResult:
        one = plan_mapping(context, PlanRequest(mapping, result.run, as_of, scope), progress)
        if one.plan is None or one.plan.run.state not in UNRELEASED:
            return one
        with deciding:
            may = decide(one.plan)
        if may and context.ledger.release(one.plan.run):
            one.error = deliver_mapping(context, result.run, mapping, progress)
        elif may:
            one.error = _overtaken(context, one.plan.run)
        else:
            context.ledger.hold(one.plan.run)
        return one

    def run_group(mappings: Sequence[Mapping]) -> list[MappingResult]:
        return [run_mapping(mapping) for mapping in mappings]

    with ThreadPoolExecutor(max(1, len(groups))) as pool:
        try:
            found = {one.mapping.name: one for some in pool.map(run_group, groups.values()) for one in some}
        except BaseException:
            context.stop()
            raise
    result.results = [found[mapping.name] for mapping in mappings]
    forget_old_runs(context, as_of)
    return result


def forget_old_runs(context: Context, as_of: date) -> None:
    """Delete runs from the ledger that ended before the history that is kept. `as_of` is its last day."""
    first = as_of - timedelta(days=context.workspace.history_days)
    context.ledger.forget_runs(
        datetime.combine(first, datetime.min.time(), context.workspace.time_zone).timestamp()
    )


def mapping_answers(context: Context, run: str) -> list[dict[str, Any]]:
    """What `--json` shows of every mapping of a run, from the ledger."""
    answers = []
    for row in context.ledger.runs(run):
        planned = row.planned
        answers.append(
            {
                "mapping": row.mapping,
                "destination": row.destination,
                "account": row.label,
                "object": row.object,
                "state": row.state,
                "cause": row.cause,
                "records": planned.records,
                "planned": {
                    kind: getattr(planned, kind) for kind in ("entered", "changed", "left", "unchanged")
                },
                "matched": planned.matched,
                "unmatched": planned.unmatched,
                "ambiguous": planned.ambiguous,
                "created": planned.created,
                "refused": planned.refused,
                "skipped": planned.skipped,
                "parked": planned.parked,
                "outcomes": context.ledger.outcome_counts(run, row.mapping),
                "lost_earlier": planned.lost,
                "calls": row.calls,
                "seconds": round(row.seconds, 3),
            }
        )
    return answers


def exit_code(context: Context, result: RunResult) -> int:
    """0 done, 1 records newly rejected, 2 files or settings, 3 destination, 4 held; of several the first of 2, 3, 4, 1."""
    errors = [one.error for one in result.results if one.error is not None]
    if any(isinstance(error, ConfigurationError) for error in errors):
        return 2
    if errors or any(one.paused is not None and not one.paused.by_hand for one in result.results):
        return 3
    rows = context.ledger.runs(result.run)
    if any(row.state is RunState.HELD for row in rows):
        return 4
    return 1 if any(undelivered(context, row) for row in rows) else 0


def undelivered(context: Context, row: Run) -> int:
    """Records that did not arrive: those of a mapping's run, and those of older runs that it learned of."""
    counts = context.ledger.outcome_counts(row.run, row.mapping)
    return counts["rejected"] + counts["unknown"] + row.planned.lost
