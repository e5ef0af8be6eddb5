"""The daily job: score, plan, ask where it must be asked, deliver. In one process, or told step by step by a worker."""

import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from connectors.base import ConfigurationError, HeatsyncError, Unauthorized, Unavailable
from sync import alerts, delivery, planning
from sync.diff import Scope
from sync.fields import Mapping
from sync.house import House
from sync.ledger import Run
from sync.planning import Plan, Progress

PATIENCE = 90.0
"""Seconds that a run in one process waits for a destination; what takes longer stays due."""

BY_HAND = "paused by hand"
"""The cause of a pause that nobody needs to look at."""

Decide = Callable[[Plan], bool]
"""Asked about every plan that would write something: whether it may. One without `reasons` needs nobody's approval."""


def silent(_mapping: str, _doing: str, _done: int, _of: int) -> None:
    """A progress that nobody watches."""


@dataclass(slots=True)
class Told:
    """How one mapping fared: its run where it got so far, or the error that stopped it."""

    mapping: Mapping
    run: Run | None = None
    plan: Plan | None = None
    error: HeatsyncError | None = None
    paused: str | None = None


@dataclass(slots=True)
class Ending:
    """How a run ended."""

    run: str
    as_of: date
    told: list[Told] = field(default_factory=list)


def new_run(as_of: date) -> str:
    return f"{as_of:%Y%m%d}-{secrets.token_hex(3)}"


def plan_one(house: House, mapping: Mapping, run: str, as_of: date, scope: Scope, progress: Progress) -> Told:
    """Plan one mapping into the ledger; refused credentials pause it. Errors are told, not raised."""
    told = Told(mapping)
    try:
        told.paused = house.ledger.paused(mapping.name, house.credential(mapping))
        if told.paused is not None:
            return told
        told.plan = planning.plan(house, mapping, run, as_of, scope, progress)
        told.run = told.plan.run
    except Unauthorized as error:
        house.ledger.pause(mapping.name, str(error), house.credential(mapping))
        told.error = error
    except HeatsyncError as error:
        told.error = error
    if told.error is not None:
        fail(house, run, mapping, told.error.told)
    return told


def fail(house: House, run: str, mapping: Mapping, cause: str) -> None:
    """Note in the ledger that a run of a mapping came to nothing."""
    for row in house.ledger.runs(run):
        if row.mapping == mapping.name:
            house.ledger.update_run(replace(row, state="failed", cause=cause, ended_at=time.time()))


def sync(
    house: House,
    mappings: Sequence[Mapping],
    as_of: date,
    scope: Scope,
    decide: Decide,
    progress: Progress = silent,
) -> Ending:
    """Plan and deliver, here and now. A slow destination never holds up the others."""
    ending = Ending(new_run(as_of), as_of)
    groups: dict[str, list[Mapping]] = defaultdict(list)
    for mapping in mappings:
        groups[mapping.destination].append(mapping)
    with ThreadPoolExecutor(max(1, len(groups))) as pool:

        def plan_group(group: list[Mapping]) -> list[Told]:
            return [plan_one(house, mapping, ending.run, as_of, scope, progress) for mapping in group]

        for tolds in pool.map(plan_group, groups.values()):
            ending.told += tolds
        going: dict[str, list[Told]] = defaultdict(list)
        for told in ending.told:
            if told.plan is None or told.plan.run.state != "held":
                continue
            if decide(told.plan):
                house.ledger.release(told.plan.run)
                going[told.mapping.destination].append(told)

        def deliver_group(group: list[Told]) -> None:
            for told in group:
                told.error = deliver_run(house, ending.run, told.mapping, progress)

        list(pool.map(deliver_group, going.values()))
    alert(house, ending.run)
    return ending


def deliver_run(
    house: House, run: str, mapping: Mapping, progress: Progress = silent
) -> HeatsyncError | None:
    """Deliver every batch of a released run; answers what stopped it, if anything did."""
    try:
        reached = house.reach(mapping)
    except HeatsyncError as error:
        fail(house, run, mapping, error.told)
        return error
    started = time.monotonic()
    stopped: list[HeatsyncError] = []
    total = sum(r.planned.get("writes", 0) for r in house.ledger.runs(run) if r.mapping == mapping.name)
    done = 0

    def one(batch_id: str) -> None:
        nonlocal done
        if stopped:
            return
        result = delivery.deliver(house, batch_id)
        error = result.error
        if result.state == "later":
            wait = result.until - time.time()
            unreachable = isinstance(error, Unavailable) and error.retry_after is None
            if unreachable or wait > PATIENCE:
                error = error or Unavailable(f"the rest is due in {wait:.0f} s", wait)
            else:
                error = None
        if error is not None:
            stopped.append(error)
        done += reached.destination.limits.records
        progress(mapping.name, "delivering", min(done, total), total)

    with ThreadPoolExecutor(reached.destination.limits.concurrency) as pool:
        while not stopped:
            due = house.ledger.due_batches(run, mapping.name)
            if due:
                list(pool.map(one, due))
                continue
            when = house.ledger.next_due(run, mapping.name)
            if when is None:
                break
            time.sleep(min(max(0.05, when - time.time()), 5.0))
    house.ledger.add_calls(run, mapping.name, 0, time.monotonic() - started)
    if stopped:
        house.ledger.finish_run(run, mapping.name, stopped[0].told)
        return stopped[0]
    house.ledger.finish_run(run, mapping.name)
    return None


def answer(house: House, run: str) -> list[dict[str, Any]]:
    """What files.md promises of every mapping of a run, from the ledger."""
    answers = []
    for row in house.ledger.runs(run):
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
                "outcomes": house.ledger.outcome_counts(run, row.mapping),
                "calls": row.calls,
                "seconds": round(row.seconds, 3),
            }
        )
    return answers


def exit_code(house: House, ending: Ending) -> int:
    """0 done, 1 records newly rejected, 2 files or settings, 3 destination, 4 held; of several the first of 2, 3, 4, 1."""
    errors = [told.error for told in ending.told if told.error is not None]
    if any(isinstance(error, ConfigurationError) for error in errors):
        return 2
    if errors or any(told.paused not in (None, BY_HAND) for told in ending.told):
        return 3
    rows = house.ledger.runs(ending.run)
    if any(row.state == "held" for row in rows):
        return 4
    counts = [house.ledger.outcome_counts(ending.run, row.mapping) for row in rows]
    return 1 if any(count["rejected"] or count["unknown"] for count in counts) else 0


def alert(house: House, run: str) -> None:
    """Tell the webhook, if there is one, of what somebody must look at."""
    webhook = house.workspace.alerts_webhook
    lines = []
    for row in house.ledger.runs(run):
        rejected = house.ledger.outcome_counts(run, row.mapping)["rejected"]
        if row.state in ("held", "failed") or rejected:
            lines.append(f"{row.mapping}: {row.state}, {rejected} rejected. {row.cause}".strip())
    if webhook and lines:
        alerts.post(webhook, f"heatsync {run}\n" + "\n".join(lines))
