"""A destination's calls of a day can be capped: what is left over stays due, and the run says when it goes on."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from lease_owners import owner
from sync_stage import CONTACTS, HEATSYNC, Stage, numbered, planned

from connectors.errors import Unavailable
from connectors.hubspot.destination import VENDOR
from connectors.registry import VENDORS
from heatsync.sandbox.server import Running
from heatsync.sync import run as sync_run
from worker import batch_loop

CAPPED = HEATSYNC.replace('{token: "${HUBSPOT_TOKEN}"', '{token: "${HUBSPOT_TOKEN}", requests_per_day: 6')


@pytest.fixture
def stage(tmp_path: Path, sandbox: Running, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Eight contacts in batches of one: two calls find them, eight would write them, one asks for the account."""
    stage = Stage(tmp_path / "w", sandbox, CAPPED)
    stage.mapping("m", CONTACTS)
    stage.contacts(*numbered(8))
    stage.users(numbered(8))
    small = replace(VENDOR.limits({}), changes_per_push=1)
    monkeypatch.setitem(VENDORS, VENDOR.type, replace(VENDOR, limits=lambda _settings: small))
    return stage


def test_a_used_daily_budget_leaves_the_rest_pending_and_names_the_time_when_calls_resume(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = stage.sync()
    midnight = datetime.now(stage.opened().time_zone) + timedelta(days=1)
    assert (ended.code, ended.only["state"]) == (3, "failed")
    assert "6 calls on" in ended.only["cause"]
    assert f"Calls resume at {midnight:%Y-%m-%d} 00:00" in ended.only["cause"]
    assert "go out with the next sync" in ended.only["cause"]
    assert stage.calls() == 6
    written = sum(role is not None for role in stage.roles().values())
    assert 0 < written < 8
    stage.sync()
    assert stage.calls() == 0, "another run of the same day makes no call either"
    days = iter(range(1, 9))
    code = ended.code
    while code == 3:
        today = (f"day {next(days)}", midnight)
        monkeypatch.setattr("heatsync.sync.context.Context.today", lambda _, today=today: today)
        code = stage.sync().code
        assert stage.calls() <= 6
    assert stage.roles() == numbered(8)


def test_a_worker_claims_no_other_batch_of_a_run_that_waits_for_tomorrow(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage.context() as context:
        planned(context, "m", "r")
        turn = batch_loop.deliver_due(context, "r", "m")
        assert turn.stopped
        (error,) = turn.errors
        assert isinstance(error, Unavailable)
        assert context.ledger.due_batches("r", "m") == []
        when = context.ledger.next_due("r", "m")
        assert when is not None
        assert when > datetime.now().timestamp()
        (answer,) = sync_run.mapping_answers(context, "r")
        assert (answer["state"], answer["cause"]) == ("ready", str(error))


def test_a_rate_limit_does_not_count_as_an_attempt(stage: Stage) -> None:
    with stage.context() as context:
        planned(context, "m", "r")
        batch_loop.deliver_due(context, "r", "m")
        context.ledger.postpone("r", "m", 0.0, "")
        with context.ledger.database.writing() as connection:
            connection.exec_driver_sql("UPDATE batches SET not_before = 0")
        batch = context.ledger.due_batches("r", "m")[0]
        claimed = context.ledger.claim(batch, owner("me"))
        assert claimed is not None
        assert claimed.attempts == 1
