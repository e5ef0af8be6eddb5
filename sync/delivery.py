"""One batch from the ledger to the destination and back, safe to be rung twice, killed, or repeated."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from connectors.base import (
    Change,
    ConfigurationError,
    FieldType,
    HeatsyncError,
    Kind,
    Lookup,
    Misunderstood,
    NewField,
    Outcome,
    Status,
    Unauthorized,
    Unavailable,
)
from sync.fields import Mapping
from sync.house import House, Reached, owner
from sync.ledger import LEASE, Claimed

FLUSH = 100
"""Outcomes that are written together."""
LONGEST_WAIT = 3600.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a batch: `done`, `later` (at `until`), `stopped` (nobody should go on), or `gone`.

    A batch is gone when it was not to be had: done already, superseded, or somebody else's. `error` says why it
    is not simply done.
    """

    state: str
    error: HeatsyncError | None = None
    until: float = 0.0


def deliver(house: House, batch_id: str) -> Delivery:
    """Claim a batch, push it, and believe only what was answered."""
    claimed = house.ledger.claim(batch_id, owner())
    if claimed is None:
        return Delivery("gone")
    mapping = house.mappings.get(claimed.mapping)
    if mapping is None:
        house.ledger.finish_batch(batch_id, "parked", f"the mapping {claimed.mapping} is no longer there")
        return _ended(house, claimed, Delivery("done"))
    try:
        return _ended(house, claimed, _deliver(house, mapping, claimed))
    except Unavailable as error:
        wait = (
            error.retry_after
            if error.retry_after is not None
            else min(LONGEST_WAIT, 15 * 2**claimed.attempts)
        )
        until = time.time() + wait
        house.ledger.give_back(batch_id, until)
        return Delivery("later", error, until)
    except Unauthorized as error:
        house.ledger.give_back(batch_id, 0.0)
        house.ledger.pause(mapping.name, str(error), house.credential(mapping))
        return Delivery("stopped", error)
    except (Misunderstood, ConfigurationError) as error:
        evidence = getattr(error, "evidence", "")
        house.ledger.finish_batch(batch_id, "parked", f"{error.told}\n{evidence}".strip())
        return _ended(house, claimed, Delivery("done", error))
    except BaseException:
        house.ledger.give_back(batch_id, 0.0)
        raise
    finally:
        reached = house.reached(mapping.name)
        calls = reached.calls.take() if reached else 0
        house.ledger.add_calls(claimed.run, claimed.mapping, calls, 0.0)


def _ended(house: House, claimed: Claimed, delivery: Delivery) -> Delivery:
    if delivery.state == "done":
        house.ledger.finish_run(claimed.run, claimed.mapping)
    return delivery


def _deliver(house: House, mapping: Mapping, claimed: Claimed) -> Delivery:
    reached = house.reach(mapping)
    if reached.bound.account != claimed.account:
        house.ledger.finish_batch(claimed.id, "superseded")
        return Delivery("done")
    cause = house.ledger.paused(mapping.name, reached.credential)
    if cause is not None:
        house.ledger.give_back(claimed.id, time.time() + 60)
        return Delivery("stopped", Unauthorized(cause))
    make_fields(house, claimed.run, mapping, reached)
    creating = any(_creates(p.change) for p in claimed.planned) and mapping.vendor.readable
    lock, me = f"create {claimed.account} {claimed.object}", owner(claimed.id)
    if creating and not house.ledger.lock(lock, me):
        # Another batch creates records of this object: one after the other, so that nobody is created twice.
        until = time.time() + 1
        house.ledger.give_back(claimed.id, until)
        return Delivery("later", until=until)
    try:
        if creating:
            claimed = _with_known_ids(house, reached, claimed)
        deferred = _push(house, mapping, reached, claimed)
    finally:
        if creating:
            house.ledger.unlock(lock, me)
    if deferred:
        house.ledger.give_back(claimed.id, deferred)
        return Delivery("later", until=deferred)
    house.ledger.finish_batch(claimed.id)
    return Delivery("done")


def _push(house: House, mapping: Mapping, reached: Reached, claimed: Claimed) -> float:
    """Push what has no outcome yet; answers when the deferred ones are due, 0 when none is."""
    recheck = time.time() + mapping.recheck_after.total_seconds()
    due: list[float] = []
    unanswered = {p.change.key for p in claimed.planned}
    earned: list[Outcome] = []
    claimed_at = time.monotonic()

    def keep() -> None:
        nonlocal earned
        batch, earned = earned, []
        if batch:
            house.ledger.settle(claimed, batch, recheck)

    try:
        for outcome in _outcomes(reached, claimed):
            unanswered.remove(outcome.key)
            if outcome.status is Status.DEFERRED:
                due.append(outcome.until.timestamp() if outcome.until else time.time() + 60)
            earned.append(outcome)
            if len(earned) >= FLUSH:
                keep()
            if time.monotonic() - claimed_at > LEASE / 4:
                keep()
                house.ledger.extend(claimed.id, owner())
                claimed_at = time.monotonic()
    finally:
        keep()
    if unanswered:
        raise Misunderstood(
            f"{mapping.destination} left {len(unanswered)} of {len(claimed.planned)} records without an answer",
            ", ".join(sorted(unanswered)[:20]),
        )
    return max(due, default=0.0)


def _outcomes(reached: Reached, claimed: Claimed) -> Iterator[Outcome]:
    batch = claimed.batch
    if batch.changes:
        yield from reached.destination.push(batch)


def _creates(change: Change) -> bool:
    return change.remote_id is None and change.kind is not Kind.LEFT


def _with_known_ids(house: House, reached: Reached, claimed: Claimed) -> Claimed:
    """Fill in ids that became known since the plan: by another mapping, or by an attempt whose answer was lost."""
    wanted = [p.change for p in claimed.planned if _creates(p.change)]
    known: dict[str, str] = {}
    for chunk in house.ledger.records(reached.bound, [change.key for change in wanted]):
        known |= {row[0]: row[1] for row in chunk if row[1] is not None}
    if claimed.attempts > 1:
        lookups = [Lookup(change.key, change.match) for change in wanted if change.key not in known]
        types: dict[str, FieldType] = {}
        for found in reached.destination.find(claimed.object, lookups, types) if lookups else ():
            if len(found.remote_ids) == 1:
                known[found.key] = found.remote_ids[0]
    planned = tuple(
        replace(p, change=replace(p.change, remote_id=known[p.change.key])) if p.change.key in known else p
        for p in claimed.planned
    )
    return replace(claimed, planned=planned)


def make_fields(house: House, run_id: str, mapping: Mapping, reached: Reached) -> None:
    """Make the fields that the plan of this run found missing, once, whoever comes first."""
    run = next((r for r in house.ledger.runs(run_id) if r.mapping == mapping.name), None)
    if run is None or not run.planned.get("new_fields"):
        return
    lock, me = f"fields {reached.bound.account} {mapping.object}", owner(secrets.token_hex(4))
    if not house.ledger.lock(lock, me):
        raise Unavailable("another process is making the fields", 1)
    try:
        wanted = [NewField(name, FieldType(type), label) for name, type, label in run.planned["new_fields"]]
        present = reached.destination.fields(mapping.object) or {}
        missing = [new for new in wanted if new.name not in present]
        if missing:
            reached.destination.create_fields(mapping.object, missing)
        house.ledger.update_run(replace(run, planned={**run.planned, "new_fields": []}))
    finally:
        house.ledger.unlock(lock, me)
