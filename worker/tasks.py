"""The doorbells. A task carries an id or a name; what is to be done stands in the ledger."""

import functools
import hashlib
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

from celery import shared_task

from connectors.errors import ConfigurationError, HeatsyncError
from heatsync.analysis import backtest_verdicts
from heatsync.ledger import Run
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
from worker.application import SWEEP_SECONDS, place
from worker.redis_limiter import shared

log = logging.getLogger("heatsync")

RETRY_SECONDS = 900.0
"""After a plan that failed, so long until the next try on the same day."""
SOON = 60.0
"""A wait below this is rung by Celery's countdown; a longer one by the sweep."""

_house: tuple[int, tuple[tuple[str, int], ...], Context] | None = None


def context() -> Context:
    """The context of this process: opened after the fork, and anew when somebody edited a file.

    While the files cannot be read, nothing is done: raises ConfigurationError.
    """
    global _house
    folder, config = place()
    files = [folder / config, *sorted((folder / "mappings").rglob("*.yml"))]
    seen = tuple((str(path), path.stat().st_mtime_ns) for path in files if path.exists())
    mine = _house if _house is not None and _house[0] == os.getpid() else None
    if mine is not None and mine[1] == seen:
        return mine[2]
    workspace = workspace_files.load(folder, config)
    if workspace.broker is None:
        raise ConfigurationError(
            "The broker was taken out of heatsync.yml: stop the workers, or put it back."
        )
    opened = Context(workspace, shared(workspace.broker))
    if mine is not None:
        mine[2].close()
    _house = (os.getpid(), seen, opened)
    return opened


def doorbell(name: str) -> Callable[[Callable[..., None]], Any]:
    """A Celery task whose errors are sentences in the log; what was to be done stays due in the ledger."""

    def register(do: Callable[..., None]) -> Any:
        @functools.wraps(do)
        def rung(*arguments: str | None) -> None:
            try:
                do(*arguments)
            except HeatsyncError as error:
                log.error("%s: %s", name, error.delivery_message)

        return shared_task(name=name)(rung)

    return register


@doorbell("heatsync.score")
def score() -> None:
    """Score the last complete day, then ring for the mappings that wait for it. Twice is harmless."""
    here = context()
    as_of = snapshot_run.last_complete_day(here.workspace)
    with _once(here, _scoring(as_of)) as first:
        if not first or here.ledger.scored_at(as_of.isoformat()) is not None:
            return
        try:
            scored = snapshot_run.score(here.workspace, [as_of])
        except HeatsyncError as error:
            # The lock of the failure is the pause until the next try.
            here.ledger.lock(_failed(as_of), lease_owner("failed"), RETRY_SECONDS)
            alerts.notify(here, f"heatsync could not score {as_of}: {error.delivery_message}")
            raise
        here.ledger.mark_scored(as_of.isoformat())
    for note in (*scored.notes, *backtest_verdicts.not_predictive_warnings(here.workspace)):
        log.warning("%s", note)
    sync_run.forget_old_runs(here, as_of)
    rows = {f"{s.profile} {s.entity}": s.rows for s in scored.snapshots if s.date == as_of}
    log.info("scored %s: %s", as_of, rows)
    _ring_due(here, as_of)


@doorbell("heatsync.plan")
def plan(mapping: str) -> None:
    """Plan a mapping for the last complete day, if that is scored and not planned yet; ring for its batches."""
    here = context()
    as_of = snapshot_run.last_complete_day(here.workspace)
    chosen = here.mappings.get(mapping)
    if chosen is None:
        return
    with _once(here, f"task plan {mapping}") as first:
        if not first or not _to_plan(here, chosen, as_of):
            return
        request = PlanRequest(chosen, _run(here, mapping, as_of), as_of)
        result = sync_run.plan_mapping(here, request, no_progress)
    if result.error is not None:
        log.error("%s: %s", mapping, result.error.delivery_message)
    if result.plan is not None and result.plan.run.state == "held":
        _let_go(here, result.plan.run)
    if result.run is not None or result.error is not None:
        alerts.report_run(here, result.run_id, mapping)


@doorbell("heatsync.deliver")
def deliver(batch: str) -> None:
    """Take a turn at the run of a batch, unless somebody is at work there: whoever is rings for what is left."""
    here = context()
    lane = here.ledger.batch_target(batch)
    if lane is None:
        return
    run, _, rest = batch.partition(".")
    mapping = rest.rpartition(".")[0]
    with _once(here, "deliver {} {}".format(*lane)) as first:
        if not first:
            return
        started = time.monotonic()
        turn = batch_loop.take(here, run, mapping)
        here.ledger.add_calls(run, mapping, 0, time.monotonic() - started)
    for error in turn.told:
        log.warning("%s: %s", batch, error.delivery_message)
    if turn.ended or turn.stopped:
        alerts.report_run(here, run, mapping)
    following = here.ledger.next_batch_for(*lane)
    if following is not None:
        _ring(here, [following])
        return
    when = here.ledger.next_due(run, mapping)
    if when is not None and when - time.time() < SOON:
        deliver.apply_async((batch,), countdown=max(1.0, when - time.time()))


@doorbell("heatsync.sweep")
def sweep() -> None:
    """Ring again for whatever is due and was lost: the scoring, plans, releases and batches."""
    here = context()
    as_of = snapshot_run.last_complete_day(here.workspace)
    here.end_dead_leases()
    for run in here.ledger.runs():
        if run.state == "held" and not run.cause and time.time() - run.created_at > SOON:
            _let_go(here, run)
    _ring(here, _one_each(here.ledger.due_batches(not_enqueued_for=4 * SWEEP_SECONDS)))
    if here.ledger.scored_at(as_of.isoformat()) is not None:
        _ring_due(here, as_of)
    elif _was_due_today(here, here.workspace.score_cron) and not any(
        here.ledger.locked(name) for name in (_scoring(as_of), _failed(as_of))
    ):
        score.delay()


@contextmanager
def _once(here: Context, name: str) -> Iterator[bool]:
    """Hold a lock if it is free; tells whether it was. Who comes second need not wait: the first does the work."""
    me = lease_owner(secrets.token_hex(4))
    if not here.ledger.lock(name, me):
        yield False
        return
    try:
        with keep_lease(lambda: here.ledger.lock(name, me)):
            yield True
    finally:
        here.ledger.unlock(name, me)


def _let_go(here: Context, run: Run) -> None:
    """Release a planned run that needs nobody's approval, and ring for its batches."""
    if run.cause:
        log.warning("%s is held: %s", run.mapping, run.cause)
    elif here.ledger.release(run):
        _ring(here, _one_each(here.ledger.due_batches(run.run, run.mapping)))


def _one_each(batches: list[str]) -> list[str]:
    """A batch of every mapping's run: whoever is rung takes what else is due."""
    return list({batch.rpartition(".")[0]: batch for batch in reversed(batches)}.values())


def _ring(here: Context, batches: list[str]) -> None:
    here.ledger.mark_enqueued(batches)
    for batch in batches:
        deliver.delay(batch)


def _run(here: Context, mapping: str, as_of: date) -> str:
    """The name of a mapping's run. That of a morning is one for all, whoever rings, so that one approval does for them."""
    scored = repr(here.ledger.scored_at(as_of.isoformat()))
    morning = f"{as_of:%Y%m%d}-{hashlib.sha256(scored.encode()).hexdigest()[:6]}"
    tried = any(run.mapping == mapping for run in here.ledger.runs(morning))
    return sync_run.new_run_id(as_of) if tried else morning


def _ring_due(here: Context, as_of: date) -> None:
    for mapping in here.mappings.values():
        if _was_due_today(here, mapping.schedule or here.workspace.score_cron) and _to_plan(
            here, mapping, as_of
        ):
            plan.delay(mapping.name)


def _scoring(as_of: date) -> str:
    return f"score {as_of}"


def _failed(as_of: date) -> str:
    return f"score {as_of} failed"


def _was_due_today(here: Context, line: str) -> bool:
    """Whether a cron line was due since midnight, in the workspace's time zone."""
    return cron.was_due_today(line, here.workspace.time_zone, datetime.now(UTC))


def _to_plan(here: Context, mapping: Mapping, as_of: date) -> bool:
    if here.ledger.scored_at(as_of.isoformat()) is None:
        return False
    if here.ledger.locked(f"plan {mapping.name}"):
        return False
    last = here.ledger.latest_run(mapping.name, as_of.isoformat())
    if last is None or last.state == "planning":
        return True
    return last.state == "failed" and time.time() - (last.ended_at or 0.0) > RETRY_SECONDS
