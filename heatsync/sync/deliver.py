"""One batch from the ledger to the destination and back. Safe to be started twice, killed, or repeated."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum

from connectors.errors import (
    ConfigurationError,
    HeatsyncError,
    InProgress,
    Misunderstood,
    Unauthorized,
    Unavailable,
)
from connectors.types import FieldType, JobEnded, JobState, Lookup, Outcome, Status
from heatsync.ledger import Attempt, ClaimedBatch, PushState
from heatsync.sync.batching import creates_record
from heatsync.sync.context import Context, Paused, Stopped, hold_lock
from heatsync.sync.destinations import OpenDestination
from heatsync.sync.leases import lease_owner
from heatsync.sync.mapping.model import Mapping
from heatsync.sync.record_owners import refuse_shared_records
from heatsync.sync.remote_fields import create_missing_fields, note_field_rejections

FLUSH = 1_000
"""Outcomes that are written together."""
LONGEST_WAIT = 3600.0
ORPHAN_WAIT = 600.0


class DeliveryState(StrEnum):
    """What became of a batch."""

    DONE = "done"
    """Every record has its outcome."""
    LATER = "later"
    """It goes on at `until`."""
    STOPPED = "stopped"
    """The other batches of the run must wait, too."""
    PARKED = "parked"
    """It cannot be delivered as it is, and is not tried again. The evidence is kept with it."""
    GONE = "gone"
    """It was not available: done already, superseded, or claimed by another worker."""


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What became of a batch.

    error        why it is not done
    until        when it goes on, in seconds since 1970
    run_ended    the mapping's whole run ended with it
    progressed   a part of it is done, or the destination's job got on
    in_progress  a sentence about the destination's job on it
    """

    state: DeliveryState
    error: HeatsyncError | None = None
    until: float = 0.0
    run_ended: bool = False
    progressed: bool = False
    in_progress: str = ""


def deliver(context: Context, batch_id: str, successor: Mapping | None = None) -> DeliveryResult:
    """Claim a batch, push it, and believe only what was answered.

    With a `successor` the batch's run is over: the destination's job on it is only followed to its end. The successor is
    the mapping that waits for it; the batch's own mapping may be gone.
    """
    finish_only = successor is not None
    claimed = context.ledger.claim(batch_id, lease_owner(secrets.token_hex(4)), finish_only=finish_only)
    if claimed is None:
        return DeliveryResult(DeliveryState.GONE)
    with context.lease_keeper.keep(lambda: context.ledger.extend(claimed)):
        result = _deliver_claimed(context, claimed, successor)
    calls = context.call_counter(claimed.mapping).take()
    if calls:
        context.ledger.add_calls(claimed.run, claimed.mapping, calls, 0.0)
    parked = result.state is DeliveryState.PARKED
    if parked and context.ledger.finish_run(claimed.run, claimed.mapping):
        return replace(result, run_ended=True)
    return result


def _deliver_claimed(context: Context, claimed: ClaimedBatch, successor: Mapping | None) -> DeliveryResult:
    """Deliver a claimed batch; whatever happens, its claim ends."""
    ledger = context.ledger
    mapping = context.mappings.get(claimed.mapping) or successor
    if mapping is not None:
        return _attempt(context, mapping, claimed, finish_only=successor is not None)
    if claimed.job is not None:
        # The destination's job on it may still write: the next mapping to write to this object follows it to its end.
        ledger.requeue(claimed, time.time() + ORPHAN_WAIT, Attempt.NOT_SENT, count_attempt=False)
        error = ConfigurationError(f"The mapping {claimed.mapping} no longer exists.")
        return DeliveryResult(DeliveryState.STOPPED, error)
    ledger.park_batch(claimed, f"The mapping {claimed.mapping} no longer exists.")
    return DeliveryResult(DeliveryState.PARKED)


def _attempt(context: Context, mapping: Mapping, claimed: ClaimedBatch, finish_only: bool) -> DeliveryResult:
    """Push a batch, or put it back into the queue with the reason."""
    ledger = context.ledger
    attempt = Attempt.NOT_SENT
    try:
        try:
            opened = context.open(mapping)
        except ConfigurationError as error:
            # Something is missing here, not in the batch: another host may have it.
            ledger.requeue(claimed, time.time() + 60, attempt, count_attempt=False)
            return DeliveryResult(DeliveryState.STOPPED, error)
        _admit(context, mapping, opened, claimed)
        with _prepared(context, mapping, opened, claimed, finish_only) as ready:
            attempt = Attempt.ANSWERED
            return _push(context, mapping, opened, ready, finish_only)
    except InProgress as job:
        until = time.time() + (job.retry_after or 0.0)
        ledger.requeue(claimed, until, attempt, count_attempt=False)
        return DeliveryResult(
            DeliveryState.LATER, until=until, progressed=job.progressed, in_progress=job.delivery_message
        )
    except Paused as error:
        ledger.requeue(claimed, time.time() + 60, Attempt.NOT_SENT, count_attempt=False)
        return DeliveryResult(DeliveryState.STOPPED, error)
    except Stopped as error:
        # A record that was created and has no outcome yet, like a contact that waits for its tags, is looked up.
        stopped = Attempt.NOT_SENT if attempt is Attempt.NOT_SENT else Attempt.INTERRUPTED
        ledger.requeue(claimed, 0.0, stopped, count_attempt=False)
        return DeliveryResult(DeliveryState.STOPPED, error)
    except Unavailable as error:
        backoff = min(LONGEST_WAIT, 15 * 2 ** (claimed.attempts - 1))
        until = time.time() + (backoff if error.retry_after is None else error.retry_after)
        # A wait that the vendor asks for is not a failed attempt.
        ledger.requeue(claimed, until, attempt, count_attempt=error.retry_after is None)
        return DeliveryResult(DeliveryState.LATER, error, until)
    except Unauthorized as error:
        ledger.requeue(claimed, time.time() + 60, attempt)
        return DeliveryResult(DeliveryState.STOPPED, context.pause_unauthorized(mapping, error))
    except (Misunderstood, ConfigurationError) as error:
        if claimed.job is not None and attempt is Attempt.NOT_SENT:
            ledger.requeue(claimed, time.time() + 60, attempt, count_attempt=False)
            return DeliveryResult(DeliveryState.STOPPED, error)
        evidence = getattr(error, "evidence", "")
        ledger.park_batch(claimed, error.delivery_message, evidence, mapping.vendor.readable)
        return DeliveryResult(DeliveryState.PARKED, error)
    except BaseException:
        ledger.requeue(claimed, 0.0, Attempt.INTERRUPTED)
        raise


def _admit(context: Context, mapping: Mapping, opened: OpenDestination, claimed: ClaimedBatch) -> None:
    """Check that this batch may go to this account now, and create the fields that it needs.

    Raises ConfigurationError, Unavailable, Paused, and what creating fields raises.
    """
    if opened.bound.account != claimed.account:
        raise ConfigurationError(
            f"run {claimed.run} of {mapping.name} was planned for another account. The credentials now belong to"
            f" {opened.account.label}. Restore the previous credentials and sync again, or sync to the new account."
        )
    ours, pause = context.ledger.check_claim(claimed, opened.credential)
    if not ours:
        raise Unavailable(f"{claimed.id} was taken over by another process", 1)
    if pause is not None:
        raise Paused(pause)
    create_missing_fields(context, claimed.run, mapping, opened)


@contextmanager
def _prepared(
    context: Context, mapping: Mapping, opened: OpenDestination, claimed: ClaimedBatch, finish_only: bool
) -> Iterator[ClaimedBatch]:
    """A claimed batch as it is to be pushed.

    Batches that create records go out one after the other, over all mappings of the object, each with the ids that are
    known by then: no record is created twice.
    """
    creates = any(creates_record(planned.change) for planned in claimed.planned)
    if finish_only or not mapping.vendor.readable or not creates:
        yield claimed
        return
    lock = f"create {claimed.account} {claimed.object}"
    with context.creation_locks[lock], hold_lock(context, lock):
        ready = claimed
        # The destination's job knows its records by what they had when it began.
        if claimed.job is None:
            if (other := context.ledger.other_mapping_with_job(claimed)) is not None:
                raise InProgress(
                    f"{mapping.name} cannot create {claimed.object} yet: {other} is still creating some. Resume {other}"
                    " if it is paused, or sync it.",
                    context.timeouts.creation,
                )
            ready = _with_known_ids(context, mapping, opened, claimed)
        if not context.ledger.mark_pushed(ready):
            raise Unavailable(f"{claimed.id} was taken over by another process", 1)
        yield ready


def _push(
    context: Context, mapping: Mapping, opened: OpenDestination, claimed: ClaimedBatch, finish_only: bool
) -> DeliveryResult:
    """Push the changes without an outcome. The last outcomes are written together with the end of the batch.

    `finish_only`: no call begins anything new. Changes without an outcome once the destination's job has ended stay as
    they are.
    """
    recheck = time.time() + mapping.recheck_after.total_seconds()
    deferred_until: list[float] = []
    unanswered = {p.change.key for p in claimed.planned}
    unsaved: list[Outcome] = []

    def save_outcomes() -> None:
        nonlocal unsaved
        batch, unsaved = unsaved, []
        if batch:
            batch = refuse_shared_records(context, mapping, claimed, batch)
            context.ledger.save_outcomes(claimed, batch, recheck)
            note_field_rejections(context, mapping, opened, batch)

    try:
        batch = replace(claimed.batch, finish_only=finish_only)
        for outcome in opened.destination.push(batch) if claimed.planned else ():
            if isinstance(outcome, JobState | JobEnded):
                save_outcomes()
                _save_job(context, claimed, outcome)
                if finish_only and isinstance(outcome, JobEnded):
                    context.ledger.requeue(claimed, 0.0, Attempt.ANSWERED, count_attempt=False)
                    return DeliveryResult(DeliveryState.LATER)
                continue
            unanswered.remove(outcome.key)
            if outcome.status is Status.DEFERRED:
                deferred_until.append(outcome.until.timestamp() if outcome.until else time.time() + 60)
            if len(unsaved) >= FLUSH:
                save_outcomes()
            unsaved.append(outcome)
    except BaseException:
        save_outcomes()
        raise
    if unanswered:
        save_outcomes()
        raise Misunderstood(
            f"{mapping.destination} left {len(unanswered)} of {len(claimed.planned)} records without an answer",
            ", ".join(sorted(unanswered)[:20]),
        )
    if deferred_until:
        save_outcomes()
        # Deferred changes were not begun, and all others have their outcomes.
        context.ledger.requeue(claimed, max(deferred_until), Attempt.NOT_SENT, count_attempt=False)
        return DeliveryResult(
            DeliveryState.LATER,
            until=max(deferred_until),
            progressed=len(deferred_until) < len(claimed.planned),
        )
    calls = context.call_counter(mapping.name).take()
    unsaved = refuse_shared_records(context, mapping, claimed, unsaved)
    ended = context.ledger.finish_batch(claimed, unsaved, recheck, calls)
    note_field_rejections(context, mapping, opened, unsaved)
    return DeliveryResult(DeliveryState.DONE, run_ended=ended)


def _save_job(context: Context, claimed: ClaimedBatch, job: JobState | JobEnded) -> None:
    """Record the destination's job on its batch. Raises Unavailable if another process has the batch by now."""
    if not context.ledger.save_job(claimed, job.text if isinstance(job, JobState) else None):
        raise Unavailable(f"{claimed.id} was taken over by another process", 1)


def _with_known_ids(
    context: Context, mapping: Mapping, opened: OpenDestination, claimed: ClaimedBatch
) -> ClaimedBatch:
    """Fill in ids that became known since the plan: from another mapping, or from an attempt whose answer was lost."""
    wanted = [p.change for p in claimed.planned if creates_record(p.change)]
    known: dict[str, str] = {}
    for chunk in context.ledger.records(opened.bound, [change.key for change in wanted]):
        known |= {row[0]: row[1] for row in chunk if row[1] is not None}
    doubtful: list[Outcome] = []
    if claimed.push_state is not PushState.NEVER:
        lookups = [Lookup(change.key, change.match) for change in wanted if change.key not in known]
        types: dict[str, FieldType] = {}
        for found in opened.destination.find(claimed.object, lookups, types) if lookups else ():
            if len(found.remote_ids) == 1:
                known[found.key] = found.remote_ids[0]
            elif found.remote_ids:
                cause = f"{found.key} matches {len(found.remote_ids)} records at the destination: none is written or created."
                doubtful.append(Outcome(found.key, Status.REJECTED, code="ambiguous", cause=cause))
            elif (wait := (claimed.pushed_at or 0.0) + mapping.search_lag - time.time()) > 0:
                raise Unavailable(
                    "Records were possibly created moments ago, and a search does not show them yet.", wait
                )
        context.ledger.save_outcomes(claimed, doubtful, time.time() + mapping.recheck_after.total_seconds())
    refused = {outcome.key for outcome in doubtful}
    planned = tuple(
        replace(p, change=replace(p.change, remote_id=known.get(p.change.key, p.change.remote_id)))
        for p in claimed.planned
        if p.change.key not in refused
    )
    return replace(claimed, planned=planned)
