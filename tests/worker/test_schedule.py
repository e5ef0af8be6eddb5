"""When a mapping is due, what the sweep releases and enqueues, and what is reported: tasks called without a broker."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from lease_owners import owner
from sync_stage import CONTACTS, DAY, HEATSYNC, USERS, Stage, numbered, planned

from connectors.errors import Unavailable
from connectors.hubspot.destination import HubSpot
from heatsync.ledger import RunState, tables
from heatsync.operations import alerts
from heatsync.sandbox.server import Running
from heatsync.snapshots import run as snapshot_run
from heatsync.sync import run as sync_run
from heatsync.sync.compare.types import Scope
from heatsync.sync.context import Context
from heatsync.sync.run_batches import deliver_mapping
from worker import batch_loop, tasks


@pytest.fixture
def stage(tmp_path: Path, sandbox: Running) -> Stage:
    return Stage(tmp_path / "w", sandbox, HEATSYNC + "alerts: {webhook: http://127.0.0.1:9/nobody}\n")


@pytest.fixture
def enqueued(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The messages that were sent, as (task, argument)."""
    messages: list[tuple[str, ...]] = []
    monkeypatch.setattr(tasks.deliver, "delay", lambda batch: messages.append(("deliver", batch)))
    monkeypatch.setattr(tasks.plan, "delay", lambda mapping: messages.append(("plan", mapping)))
    monkeypatch.setattr(tasks.score, "delay", lambda: messages.append(("score",)))
    return messages


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    texts: list[str] = []
    monkeypatch.setattr(alerts, "post", lambda _webhook, text: texts.append(text))
    return texts


@pytest.fixture
def at_work(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """The context of a worker on the morning after the day that the snapshots are of; all is scored."""
    stage.mapping("m", USERS)
    stage.users(numbered(2))
    monkeypatch.setattr(snapshot_run, "last_complete_day", lambda _workspace: DAY)
    with stage.context() as context:
        monkeypatch.setattr(tasks, "context", lambda: context)
        context.ledger.mark_scored(DAY.isoformat())
        yield context


def older(context: Context, seconds: float) -> None:
    """Make all runs older by so many seconds."""
    c = tables.runs.c
    with context.ledger.database.writing() as connection:
        connection.execute(
            tables.runs.update().values(created_at=c.created_at - seconds, ended_at=c.ended_at - seconds)
        )


def approved(context: Context) -> None:
    """The mapping had one run, which was released and delivered."""
    planned(context, "m", "first")
    assert deliver_mapping(context, "first", context.mappings["m"]) is None


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Santiago", "Pacific/Kiritimati"])
@pytest.mark.parametrize("line", ["0 0 * * *", "* * * * *"])
def test_a_schedule_at_midnight_was_due_all_day(zone: str, line: str) -> None:
    here: Any = SimpleNamespace(workspace=SimpleNamespace(time_zone=ZoneInfo(zone)))
    assert tasks.was_due_today(here, line)


def test_a_schedule_later_today_was_not_due_yet() -> None:
    here: Any = SimpleNamespace(workspace=SimpleNamespace(time_zone=UTC))
    now = datetime.now(UTC)
    soon = now + timedelta(minutes=5)
    # Five minutes before midnight there is no later today; the day after tomorrow does as well.
    day = "*" if soon.date() == now.date() else str((now + timedelta(days=2)).day)
    assert not tasks.was_due_today(here, f"{soon.minute} {soon.hour} {day} * *")


def test_the_sweep_releases_a_plan_that_needs_no_approval(
    at_work: Context, stage: Stage, enqueued: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "was_due_today", lambda *_: True)
    approved(at_work)
    stage.users({"u1": "new", "u2": "newer"})
    plan = planned(at_work, "m", "orphan", release=False)
    assert not plan.reasons
    older(at_work, 2 * tasks.COUNTDOWN_SECONDS)
    tasks.sweep()
    assert enqueued == [("deliver", "orphan.m.000001")]
    assert at_work.ledger.runs("orphan")[0].state == "ready"


def test_the_sweep_does_not_release_a_plan_that_waits_for_approval(
    at_work: Context, enqueued: list[tuple[str, ...]]
) -> None:
    plan = planned(at_work, "m", "first", release=False)
    assert plan.reasons
    older(at_work, 2 * tasks.COUNTDOWN_SECONDS)
    tasks.sweep()
    assert enqueued == []
    assert at_work.ledger.runs("first")[0].state == "held"


def test_two_messages_for_one_mapping_make_one_plan(
    at_work: Context, enqueued: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sync_run.plan_mapping

    def while_planning(*arguments: Any) -> sync_run.MappingResult:
        tasks.plan("m")
        return real(*arguments)

    monkeypatch.setattr(sync_run, "plan_mapping", while_planning)
    tasks.plan("m")
    tasks.plan("m")
    assert [run.state for run in at_work.ledger.runs()] == ["held"]


def test_all_mappings_of_a_scoring_are_one_run_and_a_second_attempt_is_another(
    at_work: Context,
    stage: Stage,
    enqueued: list[tuple[str, ...]],
    posted: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "was_due_today", lambda *_: True)
    stage.mapping("n", CONTACTS.replace("role: user.role", "place: user.role"))
    with stage.context() as context:
        monkeypatch.setattr(tasks, "context", lambda: context)
        tasks.sweep()
        tasks.plan("m")
        tasks.sweep()
        tasks.plan("n")
        assert enqueued == [("plan", "m"), ("plan", "n"), ("plan", "n")]
        (morning,) = {run.run for run in context.ledger.runs()}
        for run in context.ledger.runs():
            context.ledger.update_run(replace(run, state=RunState.FAILED, ended_at=0.0))
        tasks.plan("m")
        (again,) = {run.run for run in context.ledger.runs()} - {morning}
        assert [run.state for run in context.ledger.runs(again)] == ["held"]


def test_a_plan_that_failed_is_not_tried_again_at_once(
    at_work: Context, stage: Stage, posted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.mapping("m", CONTACTS)
    asked: list[int] = []

    def account(_self: HubSpot) -> Any:
        asked.append(1)
        raise Unavailable("HubSpot cannot be reached")

    monkeypatch.setattr(HubSpot, "account", account)
    with stage.context() as context:
        monkeypatch.setattr(tasks, "context", lambda: context)
        tasks.plan("m")
        tasks.plan("m")
        assert len(asked) == len(posted) == 1
        older(context, 2 * tasks.RETRY_SECONDS)
        tasks.plan("m")
        assert len(asked) == 2


def test_a_partial_sync_by_hand_does_not_replace_the_plan_of_the_day(
    at_work: Context, enqueued: list[tuple[str, ...]]
) -> None:
    chosen = at_work.choose([])
    sync_run.sync(at_work, chosen, DAY, Scope(only="u1"), lambda _plan: True)
    assert tasks.needs_plan(at_work, chosen[0], DAY)
    sync_run.sync(at_work, chosen, DAY, Scope(), lambda _plan: True)
    assert not tasks.needs_plan(at_work, chosen[0], DAY)


def test_records_that_are_rejected_at_delivery_are_reported(
    at_work: Context, stage: Stage, posted: list[str]
) -> None:
    stage.users({"u1": "role", "u2": "x" * 40_000})
    planned(at_work, "m", "r")
    for batch in at_work.ledger.due_batches("r"):
        tasks.deliver(batch)
    (text,) = posted
    assert "m: done, 1 not delivered" in text


def test_one_worker_at_a_time_delivers_to_an_object_and_enqueues_what_is_left(
    at_work: Context, enqueued: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned(at_work, "m", "r").run
    (batch,) = at_work.ledger.due_batches("r", "m")
    lock = tasks.delivery_lock(run.account, run.object)
    assert at_work.ledger.lock(lock, owner("another"))
    tasks.deliver(batch)
    assert at_work.ledger.due_batches("r", "m") == [batch]
    at_work.ledger.unlock(lock, owner("another"))
    with monkeypatch.context() as patch:
        patch.setattr(batch_loop, "deliver_due", lambda *_: batch_loop.Turn())
        tasks.deliver(batch)
    assert enqueued == [("deliver", batch)], "the turn ended before the batch was done"
    tasks.deliver(batch)
    assert at_work.ledger.outcome_counts("r", "m")["delivered"] == 2
    assert enqueued == [("deliver", batch)]
