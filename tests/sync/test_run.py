"""A run in one process: approval, alerts, and mappings that do not wait for each other."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sync_stage import (
    CONTACTS,
    DAY,
    HEATSYNC,
    USERS,
    Stage,
    approve_automatically,
    numbered,
    planned,
    set_limits,
)

from connectors.errors import ConfigurationError, HeatsyncError, Unavailable
from connectors.hubspot.destination import HubSpot
from connectors.intercom.destination import Intercom
from connectors.segment import Segment
from connectors.types import Batch, Found, Lookup, Outcome
from heatsync.operations import alerts
from heatsync.sandbox.server import Running
from heatsync.sync import plan as planning
from heatsync.sync import run as sync_run
from heatsync.sync.compare.types import Scope
from heatsync.sync.context import PAUSED_BY_HAND, Context, Stopped
from heatsync.sync.plan import Plan
from heatsync.sync.run_batches import deliver_mapping

ALERTING = HEATSYNC + "alerts: {webhook: http://127.0.0.1:9/nobody}\n"


@pytest.fixture
def stage(tmp_path: Path, sandbox: Running) -> Stage:
    return Stage(tmp_path / "w", sandbox)


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was posted to the webhook."""
    texts: list[str] = []
    monkeypatch.setattr(alerts, "post", lambda _webhook, text: texts.append(text))
    return texts


def states(stage: Stage) -> dict[str, str]:
    """The state of every run there was, by name."""
    with stage.context() as context:
        return {run.run: run.state for run in context.ledger.runs()}


def small_batches(context: Context, name: str, size: int) -> None:
    set_limits(context, name, changes_per_push=size, concurrency=1)


def test_a_trial_with_one_record_approves_only_that_record(stage: Stage) -> None:
    stage.mapping("m", USERS)
    stage.users(numbered(3))
    assert stage.sync(scope=Scope(only="u1")).outcomes == {"delivered": 1}
    assert stage.sync(decide=approve_automatically).code == 4
    assert set(stage.sandbox.state()["segment"]["users"]) == {"u1"}


def test_a_trial_with_one_record_does_not_drop_a_held_run(stage: Stage) -> None:
    stage.mapping("m", USERS)
    stage.users(numbered(3))
    held = stage.sync(decide=approve_automatically)
    assert held.code == 4
    assert stage.sync(scope=Scope(only="u1")).code == 2
    assert states(stage)[held.run] == "held"
    assert stage.calls() == 0


def test_a_plan_that_a_person_declines_is_held_also_if_it_needs_no_approval(stage: Stage) -> None:
    stage.mapping("m", USERS)
    stage.users(numbered(3))
    stage.sync()
    stage.users(dict.fromkeys(numbered(3), "another"))
    asked: list[Plan] = []

    def decline(plan: Plan) -> bool:
        asked.append(plan)
        return False

    declined = stage.sync(decide=decline)
    assert [(plan.reasons, plan.run.state) for plan in asked] == [((), "planned")]
    assert (declined.code, states(stage)[declined.run]) == (4, "held")


def test_a_trial_is_not_the_run_of_the_day(stage: Stage) -> None:
    stage.mapping("m", USERS)
    stage.users(numbered(3))
    stage.sync(scope=Scope(limit=1))
    with stage.context() as context:
        assert context.ledger.latest_run("m", DAY.isoformat()) is None


def test_a_run_superseded_while_a_person_decides_is_not_done(stage: Stage) -> None:
    stage.mapping("m", USERS)
    stage.users(numbered(2))

    def asked_for_too_long(_plan: Plan) -> bool:
        with stage.context() as other:
            planned(other, "m", "later", release=False)
        return True

    ended = stage.sync(decide=asked_for_too_long)
    assert ended.code == 3
    assert states(stage) == {ended.run: "superseded", "later": "held"}
    assert stage.calls() == 0


def test_a_run_for_another_account_is_neither_sent_nor_done(stage: Stage) -> None:
    stage.mapping("m", USERS)
    stage.users(numbered(2))
    held = stage.sync(decide=approve_automatically, token="acme:t")
    with stage.context() as context:
        (run,) = context.ledger.runs(held.run)
        assert context.ledger.release(run)
        error = deliver_mapping(context, held.run, context.mappings["m"])
        assert isinstance(error, ConfigurationError)
        assert "another account" in error.delivery_message
    assert states(stage)[held.run] == "failed"
    assert stage.sandbox.state()["segment"]["users"] == stage.sandbox.state("acme")["segment"]["users"] == {}


def test_two_destinations_of_one_account_do_not_write_one_field_in_turns(stage: Stage) -> None:
    stage.heatsync = HEATSYNC.replace(
        "  intercom:",
        '  hub2: {type: hubspot, token: "${HUBSPOT_TOKEN}", requests_per_10s: 100000}\n  intercom:',
    )
    stage.mapping("a", CONTACTS)
    stage.mapping("b", CONTACTS.replace("hubspot", "hub2").replace("user.role", "user.email"))
    stage.mapping("c", CONTACTS.replace("hubspot", "hub2").replace("role:", "other:"))
    stage.contacts("u1")
    stage.users(numbered(1))
    ended = stage.sync()
    assert ended.code == 2
    assert {name: answer["state"] for name, answer in ended.mappings.items()} == {
        "a": "failed",
        "b": "failed",
        "c": "done",
    }
    assert "hubspot and hub2 are both portal" in ended.mappings["a"]["cause"]
    assert stage.roles() == {"u1": None}
    assert stage.roles("other") == {"u1": "role1"}


def test_a_second_destination_that_is_not_configured_does_not_stop_the_first(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.heatsync = HEATSYNC.replace(
        "  intercom:", '  hub2: {type: hubspot, token: "${NOT_SET}"}\n  intercom:'
    )
    stage.unset = ("NOT_SET",)
    stage.mapping("a", CONTACTS)
    stage.mapping("b", CONTACTS.replace("hubspot", "hub2"))
    stage.contacts("u1")
    stage.users(numbered(1))
    ended = stage.sync()
    assert ended.code == 2
    assert [ended.mappings[name]["state"] for name in "ab"] == ["done", "failed"]
    assert stage.roles() == {"u1": "role1"}


def test_an_alert_that_cannot_be_sent_does_not_affect_the_sync(stage: Stage) -> None:
    stage.heatsync = ALERTING
    stage.mapping("m", USERS)
    stage.users({"u1": "role", "u2": "x" * 40_000})
    ended = stage.sync()
    assert ended.code == 1
    assert ended.outcomes == {"delivered": 1, "rejected": 1}


def test_refused_credentials_are_reported_counted_and_recorded(stage: Stage, posted: list[str]) -> None:
    stage.heatsync = ALERTING
    stage.mapping("m", CONTACTS)
    stage.users(numbered(1))
    ended = stage.sync(token="refused")
    assert ended.code == 3
    assert ended.only["state"] == "failed"
    assert ended.only["calls"] == stage.calls() == 1
    (text,) = posted
    assert "m: failed" in text
    assert "401" in text
    again = stage.sync(token="refused")
    assert (again.code, stage.calls()) == (3, 0)
    assert stage.sync().outcomes == {"skipped": 1}


def test_a_held_run_is_reported(stage: Stage, posted: list[str]) -> None:
    stage.heatsync = ALERTING
    stage.mapping("m", USERS)
    stage.users(numbered(1))
    assert stage.sync(decide=approve_automatically).code == 4
    assert "m: held" in posted[0]
    assert stage.sync().code == 0
    assert len(posted) == 1


def test_requests_of_a_plan_that_failed_are_counted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.mapping("m", CONTACTS)
    stage.contacts("u1")
    stage.users(numbered(1))
    real = HubSpot.find

    def find(self: HubSpot, *arguments: Any) -> Iterator[Any]:
        list(real(self, *arguments))
        raise Unavailable("HubSpot answered 503")
        yield

    monkeypatch.setattr(HubSpot, "find", find)
    ended = stage.sync()
    assert ended.code == 3
    assert ended.only["calls"] == stage.calls() > 1


def test_records_found_before_a_call_failed_are_not_looked_up_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.mapping(
        "m",
        "destination: intercom\nobject: companies\nmatch: {company_id: account_id}\nfields: {plan: account.plan}\n",
    )
    stage.sandbox.seed(
        {
            "intercom": {
                "companies": [{"id": f"o{n}", "company_id": f"a{n}", "name": "x"} for n in range(9)]
            },
            "fields": {"intercom": {"companies": {"plan": {"type": "string"}}}},
        }
    )
    stage.accounts({f"a{n}": "pro" for n in range(9)})
    asked: list[str] = []
    failing, real = [True], Intercom._find_company

    def find(self: Intercom, lookup: Lookup, *arguments: Any) -> Found:
        asked.append(lookup.key)
        if lookup.key == "a0" and failing:
            raise Unavailable("Intercom answered 503")
        return real(self, lookup, *arguments)

    monkeypatch.setattr(Intercom, "_find_company", find)
    assert stage.sync().code == 3
    found = set(asked) - {"a0"}
    asked.clear()
    failing.clear()
    assert stage.sync().outcomes == {"delivered": 9}
    assert found
    assert sorted(asked) == sorted({f"a{n}" for n in range(9)} - found)


def test_a_bug_in_one_mapping_does_not_reach_the_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.mapping("bug", CONTACTS)
    stage.mapping("fine", CONTACTS.replace("role:", "other:"))
    stage.mapping("far", USERS)
    stage.contacts("u1")
    stage.users(numbered(1))
    real = planning.shape

    def shape(mapping: Any, rendered: Any) -> Any:
        if mapping.name == "bug":
            raise KeyError("a bug")
        return real(mapping, rendered)

    monkeypatch.setattr(planning, "shape", shape)
    ended = stage.sync()
    assert ended.code == 3
    assert {name: answer["state"] for name, answer in ended.mappings.items()} == {
        "bug": "failed",
        "fine": "done",
        "far": "done",
    }
    assert "KeyError" in ended.mappings["bug"]["cause"]
    (kept,) = (stage.folder / ".heatsync" / "errors").iterdir()
    assert "a bug" in kept.read_text("utf-8")
    assert stage.roles("other") == {"u1": "role1"}


def test_a_slow_look_up_does_not_hold_up_another_destination(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.mapping("a_slow", CONTACTS)
    stage.mapping("b_fast", USERS)
    stage.contacts("u1")
    stage.users(numbered(1))
    real_find, real_push, arrived = HubSpot.find, Segment.push, threading.Event()

    def find(self: HubSpot, *arguments: Any) -> Iterator[Any]:
        assert arrived.wait(30), "Segment waits for HubSpot"
        yield from real_find(self, *arguments)

    def push(self: Segment, batch: Batch) -> Iterator[Outcome]:
        yield from real_push(self, batch)
        arrived.set()

    monkeypatch.setattr(HubSpot, "find", find)
    monkeypatch.setattr(Segment, "push", push)
    ended = stage.sync()
    assert ended.code == 0
    assert {answer["state"] for answer in ended.mappings.values()} == {"done"}


@pytest.mark.parametrize("how", ["asked to stop", "interrupted"])
def test_a_stopped_sync_finishes_the_current_batch_and_no_other(stage: Stage, how: str) -> None:
    stage.mapping("m", USERS)
    stage.users(numbered(20))
    with stage.context() as context:
        small_batches(context, "m", 2)

        def after_the_first_batch(_mapping: str, doing: str, _done: int, _of: int) -> None:
            if doing == "delivering" and how == "interrupted":
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                # This thread would be through before the main one wakes up.
                assert context._stopping.wait(30)
            elif doing == "delivering":
                context.stop()

        def go() -> sync_run.RunResult:
            return sync_run.sync(
                context, context.choose([]), DAY, Scope(), lambda _plan: True, after_the_first_batch
            )

        if how == "interrupted":
            with pytest.raises(KeyboardInterrupt):
                go()
        else:
            assert isinstance(go().results[0].error, Stopped)
    assert len(stage.sandbox.state()["segment"]["users"]) == 2
    assert stage.sync(decide=approve_automatically).outcomes == {"delivered": 18}


def test_a_stopped_plan_looks_up_nothing_more(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.mapping("m", CONTACTS)
    stage.contacts()
    stage.users(numbered(9))
    asked: list[int] = []
    with stage.context() as context:
        set_limits(context, "m", lookups_per_call=1)
        destination: Any = context.open(context.mappings["m"]).destination
        real = destination.find

        def find(object: str, lookups: list[Lookup], fields: Any) -> Iterator[Any]:
            asked.append(len(lookups))
            context.stop()
            yield from real(object, lookups, fields)

        monkeypatch.setattr(destination, "find", find)
        with pytest.raises(Stopped):
            planned(context, "m", "r")
    assert asked == [4]


def test_a_pause_by_hand_is_no_failure_and_the_rest_stays_pending(stage: Stage, posted: list[str]) -> None:
    stage.heatsync = ALERTING
    stage.mapping("m", USERS)
    stage.users(numbered(6))
    with stage.context() as context:
        small_batches(context, "m", 2)

        def pause(_mapping: str, doing: str, _done: int, _of: int) -> None:
            if doing == "delivering":
                context.ledger.pause("m", PAUSED_BY_HAND)

        result = sync_run.sync(context, context.choose([]), DAY, Scope(), lambda _plan: True, pause)
        assert sync_run.exit_code(context, result) == 0
        (run,) = context.ledger.runs(result.run)
        assert (run.state, run.cause) == ("ready", "")
        assert context.ledger.resume("m")
    assert posted == []
    assert stage.sync().outcomes == {"delivered": 4}


def test_refused_credentials_in_the_middle_are_a_failure_and_pause_the_mapping(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.mapping("m", CONTACTS)
    stage.contacts("u1", "u2")
    stage.users(numbered(2))
    with stage.context() as context:
        plan = planned(context, "m", "r")
        assert plan.run.planned.writes == 2
        context.ledger.pause(
            "m", "HubSpot refused the credentials (401).", context.credential(context.mappings["m"])
        )
        error = deliver_mapping(context, "r", context.mappings["m"])
        assert isinstance(error, HeatsyncError)
        (run,) = context.ledger.runs("r")
        assert (run.state, run.cause) == ("failed", "HubSpot refused the credentials (401).")
    assert stage.sync().code == 3
