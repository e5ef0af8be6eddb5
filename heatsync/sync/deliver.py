"""One batch from the ledger to the destination and back, safe to be rung twice, killed, or repeated."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from connectors.errors import (
    ConfigurationError,
    HeatsyncError,
    InProgress,
    Misunderstood,
    Unauthorized,
    Unavailable,
)
from connectors.types import Change, FieldType, JobState, Kind, Lookup, Outcome, Status
from heatsync.ledger import ClaimedBatch
from heatsync.sync.context import Context, Paused, Stopped, hold_lock
from heatsync.sync.destinations import OpenDestination
from heatsync.sync.leases import lease_owner
from heatsync.sync.mapping.model import Mapping
from heatsync.sync.record_owners import refuse_shared_records
from heatsync.sync.remote_fields import create_missing_fields, note_field_rejections

FLUSH = 1_000
"""Outcomes that are written together."""
LONGEST_WAIT = 3600.0
WAIT = 30.0
"""Seconds until a batch that creates asks again whether another's records are in the making."""
ORPHAN_WAIT = 600.0


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What became of a batch: `done`, `later` (at `until`), `stopped` (nobody should go on), or `gone`.

    A batch is gone when it was not to be had: done already, superseded, or somebody else's. `error` says why it
    is not simply done. `ended` tells that the whole run of the mapping ended with it, `moved` that a part of it is
    done, or that what is at work on it over there got on. `underway` says what that is.
    """

    state: str
    error: HeatsyncError | None = None
    until: float = 0.0
    ended: bool = False
    moved: bool = False
    underway: str = ""


def deliver(context: Context, batch_id: str, successor: Mapping | None = None) -> DeliveryResult:
    """Claim a batch, push it, and believe only what was answered.

    With an `successor` its run is over, and all that is wanted is what came of what is at work on it over there. The successor is
    the mapping that waits for it: that of the batch may be gone.
    """
    late = successor is not None
    claimed = context.ledger.claim(batch_id, lease_owner(secrets.token_hex(4)), late=late)
    if claimed is None:
        return DeliveryResult("gone")
    with context.lease_keeper.keep(lambda: context.ledger.extend(claimed)):
        delivery = _safely(context, claimed, successor)
    calls = context.call_counter(claimed.mapping).take()
    if calls:
        context.ledger.add_calls(claimed.run, claimed.mapping, calls, 0.0)
    parked = delivery.state == "done" and delivery.error is not None
    if parked and context.ledger.finish_run(claimed.run, claimed.mapping):
        return replace(delivery, ended=True)
    return delivery


def _safely(context: Context, claimed: ClaimedBatch, successor: Mapping | None) -> DeliveryResult:
    book = context.ledger
    mapping = context.mappings.get(claimed.mapping) or successor
    if mapping is None and claimed.note:
        # What is at work on it may still write: it is heard out by whoever next writes to this object.
        book.requeue(claimed, time.time() + ORPHAN_WAIT, burn=False, untouched=True)
        return DeliveryResult(
            "stopped", ConfigurationError(f"the mapping {claimed.mapping} is no longer there")
        )
    if mapping is None:
        book.park_batch(claimed, f"the mapping {claimed.mapping} is no longer there")
        return DeliveryResult("done", ended=book.finish_run(claimed.run, claimed.mapping))
    untouched = True
    try:
        try:
            opened = context.open(mapping)
        except ConfigurationError as error:
            # Something is missing here, not in the batch: another host may have it.
            book.requeue(claimed, time.time() + 60, burn=False, untouched=True)
            return DeliveryResult("stopped", error)
        _admit(context, mapping, opened, claimed)
        with _made_ready(context, mapping, opened, claimed, late=successor is not None) as ready:
            untouched = False
            return _push(context, mapping, opened, ready, late=successor is not None)
    except InProgress as underway:
        until = time.time() + (underway.retry_after or 0.0)
        book.requeue(claimed, until, burn=False, untouched=untouched)
        return DeliveryResult(
            "later", until=until, moved=underway.progressed, underway=underway.delivery_message
        )
    except Paused as error:
        book.requeue(claimed, time.time() + 60, burn=False, untouched=True)
        return DeliveryResult("stopped", error)
    except Stopped as error:
        # What was made without an outcome yet, like a contact that waits for its tags, is looked up.
        book.requeue(claimed, 0.0, burn=False, interrupted=not untouched, untouched=untouched)
        return DeliveryResult("stopped", error)
    except Unavailable as error:
        backoff = min(LONGEST_WAIT, 15 * 2 ** (claimed.attempts - 1))
        until = time.time() + (backoff if error.retry_after is None else error.retry_after)
        # To be told to wait burns no attempt.
        book.requeue(claimed, until, burn=error.retry_after is None, untouched=untouched)
        return DeliveryResult("later", error, until)
    except Unauthorized as error:
        book.requeue(claimed, time.time() + 60, untouched=untouched)
        return DeliveryResult("stopped", context.pause_unauthorized(mapping, error))
    except (Misunderstood, ConfigurationError) as error:
        if claimed.note and untouched:
            book.requeue(claimed, time.time() + 60, burn=False, untouched=True)
            return DeliveryResult("stopped", error)
        evidence = getattr(error, "evidence", "")
        book.park_batch(claimed, f"{error.delivery_message}\n{evidence}".strip(), mapping.vendor.readable)
        return DeliveryResult("done", error)
    except BaseException:
        book.requeue(claimed, 0.0, interrupted=True)
        raise


def _admit(context: Context, mapping: Mapping, opened: OpenDestination, claimed: ClaimedBatch) -> None:
    """Whether this batch may go to this account now. Raises ConfigurationError, Unavailable, Paused; and what making
    fields raises."""
    if opened.bound.account != claimed.account:
        raise ConfigurationError(
            f"run {claimed.run} of {mapping.name} was planned for another account than {opened.account.label}, which"
            " the credentials belong to now. Put the old ones back and sync again, or sync to the new account."
        )
    ours, cause = context.ledger.check_claim(claimed, opened.credential)
    if not ours:
        raise Unavailable(f"{claimed.id} was taken over by another process", 1)
    if cause is not None:
        raise Paused(cause)
    create_missing_fields(context, claimed.run, mapping, opened)


@contextmanager
def _made_ready(
    context: Context, mapping: Mapping, opened: OpenDestination, claimed: ClaimedBatch, late: bool
) -> Iterator[ClaimedBatch]:
    """A claimed batch as it is to be pushed: one that creates after the other, over all mappings of the object, and each
    with the ids that are known by then. Nobody is created twice.
    """
    if late or not mapping.vendor.readable or not any(_creates(p.change) for p in claimed.planned):
        yield claimed
        return
    lock = f"create {claimed.account} {claimed.object}"
    with context.creation_locks[lock], hold_lock(context, lock):
        ready = claimed
        # What is at work over there knows its records by what they had when it began.
        if not claimed.note:
            if (other := context.ledger.other_mapping_with_job(claimed)) is not None:
                raise InProgress(
                    f"What {mapping.name} is to make waits for {other}, which has {claimed.object} in the making. Resume"
                    f" {other} if it is paused, or sync it.",
                    WAIT,
                )
            ready = _with_known_ids(context, mapping, opened, claimed)
        if not context.ledger.mark_pushed(ready):
            raise Unavailable(f"{claimed.id} was taken over by another process", 1)
        yield ready


def _push(
    context: Context, mapping: Mapping, opened: OpenDestination, claimed: ClaimedBatch, late: bool = False
) -> DeliveryResult:
    """Push what has no outcome yet. The last outcomes are written together with the end of the batch.

    `late`, nothing is begun any more: what has no outcome when nothing is at work on it is left as it is.
    """
    recheck = time.time() + mapping.recheck_after.total_seconds()
    due: list[float] = []
    unanswered = {p.change.key for p in claimed.planned}
    earned: list[Outcome] = []

    def keep() -> None:
        nonlocal earned
        batch, earned = earned, []
        if batch:
            batch = refuse_shared_records(context, mapping, claimed, batch)
            context.ledger.save_outcomes(claimed, batch, recheck)
            note_field_rejections(context, mapping, opened, batch)

    try:
        batch = replace(claimed.batch, finish_only=late)
        for outcome in opened.destination.push(batch) if claimed.planned else ():
            if isinstance(outcome, JobState):
                keep()
                if not context.ledger.note(claimed, outcome.text):
                    raise Unavailable(f"{claimed.id} was taken over by another process", 1)
                if late and not outcome.text:
                    context.ledger.requeue(claimed, 0.0, burn=False)
                    return DeliveryResult("later")
                continue
            unanswered.remove(outcome.key)
            if outcome.status is Status.DEFERRED:
                due.append(outcome.until.timestamp() if outcome.until else time.time() + 60)
            if len(earned) >= FLUSH:
                keep()
            earned.append(outcome)
    except BaseException:
        keep()
        raise
    if unanswered:
        keep()
        raise Misunderstood(
            f"{mapping.destination} left {len(unanswered)} of {len(claimed.planned)} records without an answer",
            ", ".join(sorted(unanswered)[:20]),
        )
    if due:
        keep()
        # What was put off was not begun, and whatever else there was has its outcome.
        context.ledger.requeue(claimed, max(due), burn=False, untouched=True)
        return DeliveryResult("later", until=max(due), moved=len(due) < len(claimed.planned))
    calls = context.call_counter(mapping.name).take()
    earned = refuse_shared_records(context, mapping, claimed, earned)
    ended = context.ledger.finish_batch(claimed, earned, recheck, calls)
    note_field_rejections(context, mapping, opened, earned)
    return DeliveryResult("done", ended=ended)


def _creates(change: Change) -> bool:
    return change.remote_id is None and change.kind is not Kind.LEFT


def _with_known_ids(
    context: Context, mapping: Mapping, opened: OpenDestination, claimed: ClaimedBatch
) -> ClaimedBatch:
    """Fill in ids that became known since the plan: by another mapping, or by an attempt whose answer was lost."""
    wanted = [p.change for p in claimed.planned if _creates(p.change)]
    known: dict[str, str] = {}
    for chunk in context.ledger.records(opened.bound, [change.key for change in wanted]):
        known |= {row[0]: row[1] for row in chunk if row[1] is not None}
    doubtful: list[Outcome] = []
    if claimed.begun:
        lookups = [Lookup(change.key, change.match) for change in wanted if change.key not in known]
        types: dict[str, FieldType] = {}
        for found in opened.destination.find(claimed.object, lookups, types) if lookups else ():
            if len(found.remote_ids) == 1:
                known[found.key] = found.remote_ids[0]
            elif found.remote_ids:
                cause = f"{found.key} fits {len(found.remote_ids)} records over there: none is written, none made."
                doubtful.append(Outcome(found.key, Status.REJECTED, code="ambiguous", cause=cause))
            elif (wait := claimed.begun + mapping.search_lag - time.time()) > 0:
                raise Unavailable("records may have been made a moment ago, and cannot be found yet", wait)
        context.ledger.save_outcomes(claimed, doubtful, time.time() + mapping.recheck_after.total_seconds())
    told = {outcome.key for outcome in doubtful}
    planned = tuple(
        replace(p, change=replace(p.change, remote_id=known.get(p.change.key, p.change.remote_id)))
        for p in claimed.planned
        if p.change.key not in told
    )
    return replace(claimed, planned=planned)
