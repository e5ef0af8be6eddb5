"""Celery tasks. A message carries only an id or a name; the work is in the ledger.

So a lost message is sent again by the sweep, and a message that arrives twice finds nothing to do.
"""

import functools
import hashlib
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from celery import shared_task

from connectors.errors import ConfigurationError, HeatsyncError
from heatsync.analysis import backtest_verdicts
from heatsync.ledger import Run, RunState
from heatsync.operations import alerts
from heatsync.snapshots import run as snapshot_run
from heatsync.sync import run as sync_run
from heatsync.sync.context import Context, no_progress
from heatsync.sync.leases import keep_lease, lease_owner
from heatsync.sync.mapping.model import Mapping
from heatsync.sync.plan import PlanRequest
from heatsync.workspace import config as workspace_files
from heatsync.workspace import cron
from worker import batch_loop
from worker.application import SWEEP_SECONDS, workspace_location
from worker.redis_limiter import connect

log = logging.getLogger("heatsync")

RETRY_SECONDS = 900.0
"""Until a failed scoring or plan is tried again on the same day."""
COUNTDOWN_SECONDS = 60.0
"""A shorter wait is a countdown of Celery's; a longer one ends with a sweep."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """The context of a process, and the files that it was opened from."""

    pid: int
    files: tuple[tuple[str, int], ...]
    context: Context


_opened: _Opened | None = None


def context() -> Context:
    """The context of this process: opened after the fork, and again when a file of the workspace was edited.

    Raises ConfigurationError while the files are invalid: no task does anything then.
    """
    global _opened
    folder, config = workspace_location()
    paths = [folder / config, *sorted((folder / "mappings").rglob("*.yml"))]
    files = tuple((str(path), path.stat().st_mtime_ns) for path in paths if path.exists())
    ours = _opened if _opened is not None and _opened.pid == os.getpid() else None
    if ours is not None and ours.files == files:
        return ours.context
    workspace = workspace_files.load(folder, config)
    if workspace.broker is None:
        raise ConfigurationError(
            "The broker was removed from heatsync.yml. Stop the workers, or set `broker` again."
        )
    opened = Context(workspace, connect(workspace.broker))
    if ours is not None:
        ours.context.close()
    _opened = _Opened(os.getpid(), files, opened)
    return opened


def logged_task(name: str) -> Callable[[Callable[..., None]], Any]:
    """A Celery task that logs a HeatsyncError as one sentence. What it did not do is still pending in the ledger."""

    def register(work: Callable[..., None]) -> Any:
        @functools.wraps(work)
        def run(*arguments: str | None) -> None:
            try:
                work(*arguments)
            except HeatsyncError as error:
                log.error("%s: %s", name, error.delivery_message)

        return shared_task(name=name)(run)

    return register


@logged_task("heatsync.score")
def score() -> None:
    """Score the last complete day, then enqueue plans of the mappings that are due. Running twice is harmless."""
    here = context()
    as_of = snapshot_run.last_complete_day(here.workspace)
    with _try_lock(here, _scoring_lock(as_of)) as locked:
        if not locked or here.ledger.scored_at(as_of.isoformat()) is not None:
            return
        try:
            scored = snapshot_run.score(here.workspace, [as_of])
        except HeatsyncError as error:
            # This lock is never released: its lease is the wait until the next attempt.
            here.ledger.lock(_failure_lock(as_of), lease_owner("failed"), RETRY_SECONDS)
            alerts.notify(here, f"heatsync could not score {as_of}: {error.delivery_message}")
            raise
        here.ledger.mark_scored(as_of.isoformat())
    for note in (*scored.notes, *backtest_verdicts.not_predictive_warnings(here.workspace)):
        log.warning("%s", note)
    sync_run.forget_old_runs(here, as_of)
    rows = {f"{s.profile} {s.entity}": s.rows for s in scored.snapshots if s.date == as_of}
    log.info("scored %s: %s", as_of, rows)
    _enqueue_plans(here, as_of)


@logged_task("heatsync.plan")
def plan(mapping: str) -> None:
    """Plan a mapping for the last complete day if that is scored and not planned yet; enqueue its first batch."""
    here = context()
    as_of = snapshot_run.last_complete_day(here.workspace)
    chosen = here.mappings.get(mapping)
    if chosen is None:
        return
    with _try_lock(here, f"task plan {mapping}") as locked:
        if not locked or not needs_plan(here, chosen, as_of):
            return
        request = PlanRequest(chosen, _run_id(here, mapping, as_of), as_of)
        result = sync_run.plan_mapping(here, request, no_progress)
    if result.error is not None:
        log.error("%s: %s", mapping, result.error.delivery_message)
    planned = result.plan.run if result.plan is not None else None
    if planned is not None and planned.state is RunState.HELD:
        log.warning("%s is held: %s", planned.mapping, planned.cause)
    if planned is not None and planned.state is RunState.PLANNED:
        _release(here, planned)
    if result.run is not None or result.error is not None:
        alerts.report_run(here, result.run_id, mapping)


@logged_task("heatsync.deliver")
def deliver(batch: str) -> None:
    """Deliver due batches of this batch's run for up to 15 s, unless another worker does so for the same object.

    The worker that delivered enqueues the rest.
    """
    here = context()
    target = here.ledger.batch_target(batch)
    if target is None:
        return
    with _try_lock(here, delivery_lock(target.account, target.object)) as locked:
        if not locked:
            return
        started = time.monotonic()
        turn = batch_loop.deliver_due(here, target.run, target.mapping)
        here.ledger.add_calls(target.run, target.mapping, 0, time.monotonic() - started)
    for error in turn.errors:
        log.warning("%s: %s", batch, error.delivery_message)
    if turn.ended or turn.stopped:
        alerts.report_run(here, target.run, target.mapping)
    following = here.ledger.next_batch_for(target.account, target.object)
    if following is not None:
        _enqueue(here, [following])
        return
    when = here.ledger.next_due(target.run, target.mapping)
    if when is not None and when - time.time() < COUNTDOWN_SECONDS:
        deliver.apply_async((batch,), countdown=max(1.0, when - time.time()))


@logged_task("heatsync.sweep")
def sweep() -> None:
    """Enqueue again whatever is due and whose message was lost: scoring, plans, releases and batches."""
    here = context()
    as_of = snapshot_run.last_complete_day(here.workspace)
    here.end_dead_leases()
    for run in here.ledger.runs():
        if run.state is RunState.PLANNED and time.time() - run.created_at > COUNTDOWN_SECONDS:
            _release(here, run)
    _enqueue(here, here.ledger.first_due_batches(not_enqueued_for=4 * SWEEP_SECONDS))
    if here.ledger.scored_at(as_of.isoformat()) is not None:
        _enqueue_plans(here, as_of)
    elif was_due_today(here, here.workspace.score_cron) and not any(
        here.ledger.locked(name) for name in (_scoring_lock(as_of), _failure_lock(as_of))
    ):
        score.delay()


def needs_plan(here: Context, mapping: Mapping, as_of: date) -> bool:
    """Whether a mapping is to be planned now: the day is scored, it is not being planned, and no run of the day exists
    or the last one failed RETRY_SECONDS ago."""
    if here.ledger.scored_at(as_of.isoformat()) is None:
        return False
    if here.ledger.locked(f"plan {mapping.name}"):
        return False
    last = here.ledger.latest_run(mapping.name, as_of.isoformat())
    if last is None or last.state is RunState.PLANNING:
        return True
    return last.state is RunState.FAILED and time.time() - (last.ended_at or 0.0) > RETRY_SECONDS


def was_due_today(here: Context, line: str) -> bool:
    """Whether a cron line was due since midnight, in the workspace's time zone."""
    return cron.was_due_today(line, here.workspace.time_zone, datetime.now(UTC))


def delivery_lock(account: str, object: str) -> str:
    """The lock of the worker that delivers to an object of an account."""
    return f"deliver {account} {object}"


def _scoring_lock(as_of: date) -> str:
    return f"score {as_of}"


def _failure_lock(as_of: date) -> str:
    return f"score {as_of} failed"


@contextmanager
def _try_lock(here: Context, name: str) -> Iterator[bool]:
    """Hold a lock if it is available; gives whether it is held. If not, another task does the work."""
    owner = lease_owner(secrets.token_hex(4))
    if not here.ledger.lock(name, owner):
        yield False
        return
    try:
        with keep_lease(lambda: here.ledger.lock(name, owner)):
            yield True
    finally:
        here.ledger.unlock(name, owner)


def _release(here: Context, run: Run) -> None:
    """Release a planned run and enqueue its first batch."""
    if here.ledger.release(run):
        _enqueue(here, here.ledger.due_batches(run.run, run.mapping)[:1])


def _enqueue(here: Context, batches: list[str]) -> None:
    here.ledger.mark_enqueued(batches)
    for batch in batches:
        deliver.delay(batch)


def _enqueue_plans(here: Context, as_of: date) -> None:
    for mapping in here.mappings.values():
        due = was_due_today(here, mapping.schedule or here.workspace.score_cron)
        if due and needs_plan(here, mapping, as_of):
            plan.delay(mapping.name)


def _run_id(here: Context, mapping: str, as_of: date) -> str:
    """The run that a mapping's plan belongs to: one for all mappings of a scoring, so that one approval covers them.

    A second attempt of a mapping is a run of its own.
    """
    scored = repr(here.ledger.scored_at(as_of.isoformat()))
    morning = f"{as_of:%Y%m%d}-{hashlib.sha256(scored.encode()).hexdigest()[:6]}"
    tried = any(run.mapping == mapping for run in here.ledger.runs(morning))
    return sync_run.new_run_id(as_of) if tried else morning
