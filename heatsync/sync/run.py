"""The daily job: score, plan, ask where it must be asked, deliver. In one process, or told step by step by a worker."""

import logging
import secrets
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from connectors.errors import ConfigurationError, HeatsyncError, Misunderstood, Unauthorized, Unavailable
from heatsync.ledger import Run
from heatsync.operations import alerts
from heatsync.sync import deliver
from heatsync.sync import plan as planning
from heatsync.sync.compare.types import Scope
from heatsync.sync.context import Context, OnProgress, Paused
from heatsync.sync.mapping.model import Mapping
from heatsync.sync.plan import Plan

PATIENCE = 90.0
"""Seconds that a run in one process waits for a destination; what takes longer stays due."""

PAUSED_BY_HAND = "paused by hand"
"""The cause of a pause that nobody needs to look at."""

log = logging.getLogger("heatsync")

STANDSTILL = 900.0
"""Seconds without a batch done after which a run in one process goes no further."""

Decide = Callable[[Plan], bool]
"""Asked about every plan that would write something: whether it may. One without `reasons` needs nobody's approval."""


def no_progress(_mapping: str, _doing: str, _done: int, _of: int) -> None:
    """A progress that nobody watches."""


@dataclass(slots=True)
class MappingResult:
    """How one mapping fared: its run where it got so far, or the error that stopped it."""

    mapping: Mapping
    name: str = ""
    """Of the run, as the ledger knows it."""
    run: Run | None = None
    plan: Plan | None = None
    error: HeatsyncError | None = None
    paused: str | None = None


@dataclass(slots=True)
class RunResult:
    """How a run ended."""

    run: str
    as_of: date
    results: list[MappingResult] = field(default_factory=list)


def new_run_id(as_of: date) -> str:
    return f"{as_of:%Y%m%d}-{secrets.token_hex(3)}"


def plan_mapping(
    context: Context, mapping: Mapping, run: str, as_of: date, scope: Scope, progress: OnProgress
) -> MappingResult:
    """Plan one mapping into the ledger; refused credentials pause it. Errors are returned, not raised."""
    one = MappingResult(mapping, run)
    try:
        one.paused = context.ledger.pause_cause(mapping.name, context.credential(mapping))
        if one.paused is not None:
            return one
        one.plan = planning.plan(context, mapping, run, as_of, scope, progress)
        one.run = one.plan.run
    except Unauthorized as error:
        one.error = context.pause_unauthorized(mapping, error)
    except HeatsyncError as error:
        one.error = context.locate(mapping, error)
    except Exception as error:  # one mapping's surprise must not hold up the others
        one.error = _surprise(context, mapping, error)
    if one.error is not None:
        record_failure(context, run, mapping, as_of, one.error.delivery_message)
    return one


def _overtaken(context: Context, held: Run) -> HeatsyncError | None:
    """What became of a run while somebody was asked about it; None when another let it go."""
    now = next(row for row in context.ledger.runs(held.run) if row.mapping == held.mapping)
    if now.state not in ("superseded", "cancelled"):
        return None
    return Unavailable(f"{held.mapping}: the run was {now.state} while it waited. Nothing of it was sent.")


def _surprise(context: Context, mapping: Mapping, error: Exception) -> HeatsyncError:
    """A sentence in the place of a traceback, which is kept in a file."""
    folder = context.workspace.state / "errors"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}.log"
    path.write_text("".join(traceback.format_exception(error)), "utf-8")
    return Misunderstood(
        f"{mapping.name} failed in a way it should not ({type(error).__name__}). Details: {path}"
    )


def record_failure(context: Context, run: str, mapping: Mapping, as_of: date, cause: str) -> None:
    """Note in the ledger that a run of a mapping came to nothing, however early."""
    now = time.time()
    blank = Run(
        run=run,
        mapping=mapping.name,
        destination=mapping.destination,
        object=mapping.object,
        account="",
        label="",
        as_of=as_of.isoformat(),
        definition_hash=mapping.definition_hash,
        state="failed",
        cause=cause,
        planned={},
        calls=0,
        seconds=0.0,
        created_at=now,
        ended_at=now,
    )
    begun = next((row for row in context.ledger.runs(run) if row.mapping == mapping.name), None)
    if begun is None:
        context.ledger.save_run(blank)
    else:
        context.ledger.update_run(replace(begun, state="failed", cause=cause, ended_at=now))
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

    Whatever interrupts this lets the threads at work hear the answers to the calls that they made, and nothing more.
    """
    result = RunResult(new_run_id(as_of), as_of)
    groups: dict[str, list[Mapping]] = defaultdict(list)
    for mapping in mappings:
        groups[mapping.destination].append(mapping)
    deciding = threading.Lock()

    def one(mapping: Mapping) -> MappingResult:
        one = plan_mapping(context, mapping, result.run, as_of, scope, progress)
        if one.plan is None or one.plan.run.state != "held":
            return one
        with deciding:
            may = decide(one.plan)
        if may and context.ledger.release(one.plan.run):
            one.error = deliver_mapping(context, result.run, mapping, progress)
        elif may:
            one.error = _overtaken(context, one.plan.run)
        return one

    def group(mappings: Sequence[Mapping]) -> list[MappingResult]:
        return [one(mapping) for mapping in mappings]

    with ThreadPoolExecutor(max(1, len(groups))) as pool:
        try:
            found = {one.mapping.name: one for tolds in pool.map(group, groups.values()) for one in tolds}
        except BaseException:
            context.stop()
            raise
    result.results = [found[mapping.name] for mapping in mappings]
    alert(context, result.run)
    forget_old_runs(context, as_of)
    return result


def forget_old_runs(context: Context, as_of: date) -> None:
    """Drop what the ledger holds of runs that are over for longer than history is kept."""
    cut = as_of - timedelta(days=context.workspace.history_days)
    context.ledger.forget_runs(
        datetime.combine(cut, datetime.min.time(), context.workspace.time_zone).timestamp()
    )


def deliver_mapping(
    context: Context, run: str, mapping: Mapping, progress: OnProgress = no_progress
) -> HeatsyncError | None:
    """Deliver every batch of a released run; answers what stopped it, if anything did.

    A pause by hand is no failure: the run stays as it is, and what was not sent stays due.
    """
    try:
        opened = context.open(mapping)
    except HeatsyncError as error:
        context.ledger.finish_run(run, mapping.name, error.delivery_message)
        return error
    started = time.monotonic()
    stopped: list[HeatsyncError] = []
    total = sum(r.planned.get("writes", 0) for r in context.ledger.runs(run) if r.mapping == mapping.name)
    size = opened.limits.batch_size(total)
    done = 0
    moved = [started]
    underway = ""

    def one(batch_id: str) -> None:
        nonlocal done, underway
        if stopped:
            return
        try:
            context.wait()
            result = deliver.deliver(context, batch_id)
        except HeatsyncError as error:
            stopped.append(error)
            return
        except Exception as error:  # told like any other; the batch was given back
            stopped.append(_surprise(context, mapping, error))
            return
        reason = _reason(result)
        if reason is not None:
            stopped.append(reason)
        underway = result.underway
        if result.state == "done" or result.moved:
            moved[0] = time.monotonic()
        if result.state != "later":
            done += size
        progress(mapping.name, "delivering", min(done, total), total)

    with ThreadPoolExecutor(opened.limits.concurrency) as pool:
        while not stopped:
            if time.monotonic() - moved[0] > STANDSTILL:
                stopped.append(
                    Unavailable(
                        f"{mapping.name}: for {STANDSTILL:.0f} s no batch was done; the rest stays due."
                        f" {underway}".rstrip()
                    )
                )
            due = context.ledger.due_batches(run, mapping.name)
            if due:
                list(pool.map(one, due))
                continue
            when = context.ledger.next_due(run, mapping.name)
            if when is None:
                break
            try:
                context.wait(min(max(0.05, when - time.time()), 5.0))
            except HeatsyncError as error:
                stopped.append(error)
    context.ledger.add_calls(run, mapping.name, 0, time.monotonic() - started)
    # Refused credentials pause the mapping, and the other threads see the pause: the refusal says more.
    why = next((error for error in stopped if not isinstance(error, Paused)), stopped[0] if stopped else None)
    if isinstance(why, Paused) and why.delivery_message == PAUSED_BY_HAND:
        return None
    context.ledger.finish_run(run, mapping.name, why.delivery_message if why is not None else "")
    return why


def _reason(result: deliver.DeliveryResult) -> HeatsyncError | None:
    """Why a run in one process goes no further: the destination cannot be opened, or for long."""
    if result.state != "later":
        return result.error
    wait = result.until - time.time()
    unreachable = isinstance(result.error, Unavailable) and result.error.retry_after is None
    if unreachable or wait > PATIENCE:
        return result.error or Unavailable(f"the rest is due in {wait:.0f} s", wait)
    return None


def mapping_answers(context: Context, run: str) -> list[dict[str, Any]]:
    """What files.md promises of every mapping of a run, from the ledger."""
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
                "records": planned.get("records", 0),
                "planned": {
                    kind: planned.get(kind, 0) for kind in ("entered", "changed", "left", "unchanged")
                },
                "matched": planned.get("matched", 0),
                "unmatched": planned.get("unmatched", 0),
                "ambiguous": planned.get("ambiguous", 0),
                "created": planned.get("created", 0),
                "refused": planned.get("refused", 0),
                "skipped": planned.get("skipped", 0),
                "parked": planned.get("parked", 0),
                "outcomes": context.ledger.outcome_counts(run, row.mapping),
                "lost_earlier": planned.get("lost", 0),
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
    if errors or any(one.paused not in (None, PAUSED_BY_HAND) for one in result.results):
        return 3
    rows = context.ledger.runs(result.run)
    if any(row.state == "held" for row in rows):
        return 4
    return 1 if any(_lost(context, row) for row in rows) else 0


def _lost(context: Context, row: Run) -> int:
    """Records that did not arrive, of a mapping's share of a run or of what it heard of older ones."""
    counts = context.ledger.outcome_counts(row.run, row.mapping)
    return counts["rejected"] + counts["unknown"] + int(row.planned.get("lost", 0))


def alert(context: Context, run: str, mapping: str | None = None) -> None:
    """Tell the webhook, if there is one, of what somebody must look at: in a run, or in one mapping's share of it."""
    lines = []
    for row in context.ledger.runs(run):
        if mapping is not None and row.mapping != mapping:
            continue
        lost = _lost(context, row)
        if row.state in ("held", "failed") or lost:
            why = row.cause.partition("\n")[0]
            lines.append(f"{row.mapping}: {row.state}, {lost} not delivered. {why}".strip())
    if lines:
        alarm(context, f"heatsync {run}\n" + "\n".join(lines))


def alarm(context: Context, text: str) -> None:
    """Post a text to the webhook, if there is one. That it could not be posted stops nothing, and is said."""
    webhook = context.workspace.alerts_webhook
    if webhook is None:
        return
    try:
        alerts.post(webhook, text)
    except HeatsyncError as error:
        log.warning("%s", error)
