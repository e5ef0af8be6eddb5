"""The destination converges to the desired values, whatever happened before."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lease_owners import owner
from sync_stage import CONTACTS, DAY, USERS, Killed, Stage, approve_automatically, numbered, planned

from connectors.hubspot.destination import HubSpot
from connectors.segment import Segment
from connectors.types import Batch, Kind, Outcome, Status
from heatsync.ledger import BoundMapping, Ledger
from heatsync.sandbox.server import Running
from heatsync.sync import deliver
from heatsync.sync import run as sync_run
from heatsync.sync.compare.types import Scope
from heatsync.sync.context import Timeouts, no_progress
from heatsync.sync.plan import PlanRequest
from heatsync.sync.run_batches import deliver_mapping

CHEERS = "destination: segment\nobject: accounts\nfields: {plan: account.plan}\n"
INTERCOM = """\
destination: intercom
object: contacts
match: [{external_id: user_id}, {email: email}]
fields: {tier: user.role}
"""
TIER = {"intercom": {"contacts": {"tier": {"type": "string"}}}}


@pytest.fixture
def stage(tmp_path: Path, sandbox: Running) -> Stage:
    return Stage(tmp_path / "w", sandbox)


def killed_before_settling(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync whose process ends after the destination accepted its values, and before that is recorded."""

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        for name in ("save_outcomes", "finish_batch"):
            patch.setattr(Ledger, name, die)
        with pytest.raises(Killed):
            stage.sync()


def segment_roles(stage: Stage) -> dict[str, Any]:
    return {key: traits.get("role") for key, traits in stage.sandbox.state()["segment"]["users"].items()}


def test_a_value_reverted_after_a_crash_is_reverted_at_the_destination(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.mapping("m", CONTACTS)
    stage.mapping("s", USERS)
    stage.contacts("u1", "u2")
    stage.users({"u1": "right", "u2": "other"})
    stage.sync()
    stage.users({"u1": "WRONG", "u2": "other"})
    killed_before_settling(stage, monkeypatch)
    assert "WRONG" in (stage.roles()["u1"], segment_roles(stage)["u1"])
    stage.users({"u1": "right", "u2": "other"})
    stage.sync()
    assert stage.roles() == segment_roles(stage) == {"u1": "right", "u2": "other"}
    stage.calls()
    stage.sync()
    assert stage.calls() == 0


def test_nothing_is_restored_at_a_destination_that_cannot_be_read(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.mapping("s", USERS.replace("user.role", "{from: user.role, when_null: clear}, mail: user.email"))
    stage.users({"u1": None})
    stage.sync()
    stage.users({"u1": "X"})
    killed_before_settling(stage, monkeypatch)
    stage.users({"u1": None})
    stage.sync()
    assert segment_roles(stage) == {"u1": None}


def test_a_value_sent_between_two_crashes_is_replaced_although_the_next_message_equals_an_earlier_one(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.mapping("s", USERS)
    for role in ("first", "between"):
        stage.users({"u1": role})
        killed_before_settling(stage, monkeypatch)
        assert segment_roles(stage) == {"u1": role}
    stage.users({"u1": "first"})
    stage.sync()
    assert segment_roles(stage) == {"u1": "first"}


def test_a_repeated_message_after_a_crash_is_recognised_as_a_repetition(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.mapping("s", USERS)
    stage.users({"u1": "role"})
    sent: list[Any] = []
    real = Ledger.claim

    def noted(self: Ledger, *arguments: Any, **options: Any) -> Any:
        claimed = real(self, *arguments, **options)
        assert claimed is not None
        sent.append(
            [(p.change.version, dict(p.change.fields), dict(p.change.before)) for p in claimed.planned]
        )
        return claimed

    monkeypatch.setattr(Ledger, "claim", noted)
    killed_before_settling(stage, monkeypatch)
    stage.sync()
    assert sent == [[(0, {"role": "role"}, {})]] * 2


def test_a_record_that_left_during_a_crash_and_came_back_gets_its_values_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.mapping("m", CONTACTS + "audience: all_active\non_exit: clear\n")
    stage.contacts("u1", "u2")
    inside = {"audiences": {"u1": ["all_active"], "u2": ["all_active"]}}
    stage.users(numbered(2), **inside)
    stage.sync()
    stage.users(numbered(2), audiences={"u2": ["all_active"]})
    killed_before_settling(stage, monkeypatch)
    assert not stage.roles()["u1"]
    stage.users(numbered(2), **inside)
    stage.sync()
    assert stage.roles() == {"u1": "role1", "u2": "role2"}


def test_a_record_shared_by_two_of_ours_is_not_written_when_one_of_them_changes(stage: Stage) -> None:
    stage.mapping("m", INTERCOM)
    contact = {"id": "c1", "external_id": "u1", "email": "shared@x.com", "custom_attributes": {}}
    stage.sandbox.seed({"intercom": {"contacts": [contact]}, "fields": TIER})
    emails = {"u2": "shared@x.com", "u3": "shared@x.com"}
    days: list[tuple[dict[str, str | None], Scope]] = [
        ({"u1": "r1", "u2": "r2"}, Scope()),
        ({"u1": "r1", "u2": "INTRUDER"}, Scope()),
        ({"u1": "r1", "u2": "INTRUDER"}, Scope(everything=True, only="u2")),
        ({"u1": "r1", "u3": "NEWCOMER"}, Scope(only="u3")),
    ]
    for roles, scope in days:
        stage.users(roles, email=emails)
        stage.sync(scope=scope)
        (found,) = stage.sandbox.state()["intercom"]["contacts"]
        assert found["custom_attributes"].get("tier") is None


def test_an_entity_that_shared_a_record_is_found_again_by_a_key_of_its_own(stage: Stage) -> None:
    stage.mapping("m", INTERCOM)
    contacts = [
        {"id": "c1", "external_id": "u1", "email": "shared@x.com", "custom_attributes": {}},
        {"id": "c2", "email": "u2@x.com", "custom_attributes": {}},
    ]
    stage.sandbox.seed({"intercom": {"contacts": contacts}, "fields": TIER})
    stage.users({"u1": "r1", "u2": "r2"}, email={"u2": "shared@x.com"})
    assert stage.sync().outcomes == {"rejected": 2}
    stage.users({"u1": "r1", "u2": "r2"})
    assert stage.sync().outcomes == {"delivered": 1}
    stage.users({"u1": "r1", "u2": "r2"}, email={"u1": "new@x.com"})
    assert stage.sync().outcomes == {"delivered": 1}
    found = stage.sandbox.state()["intercom"]["contacts"]
    assert {c["id"]: c["custom_attributes"].get("tier") for c in found} == {"c1": "r1", "c2": "r2"}


def refuse_leavers(monkeypatch: pytest.MonkeyPatch) -> None:
    real = HubSpot.push

    def push(self: HubSpot, batch: Batch) -> Iterator[Outcome]:
        outcomes = {outcome.key: outcome for outcome in real(self, batch)}
        for change in batch.changes:
            if change.kind is Kind.LEFT:
                yield Outcome(change.key, Status.REJECTED, code="refused", cause="no")
            else:
                yield outcomes[change.key]

    monkeypatch.setattr(HubSpot, "push", push)


def test_a_rejected_clearing_of_a_record_that_left_is_not_repeated_every_day(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.mapping("m", CONTACTS + "audience: all_active\non_exit: clear\n")
    stage.contacts("u1", "u2")
    stage.users(numbered(2), audiences={"u1": ["all_active"], "u2": ["all_active"]})
    assert stage.sync().code == 0
    stage.users(numbered(2), audiences={"u2": ["all_active"]})
    refuse_leavers(monkeypatch)
    assert stage.sync().code == 1
    stage.calls()
    assert stage.sync().code == 0
    assert stage.calls() == 0


def test_an_account_that_leaves_is_cleared_through_its_previous_member(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    through: list[str | None] = []
    real = Segment.push

    def push(self: Segment, batch: Batch) -> Iterator[Outcome]:
        through.extend(change.via for change in batch.changes)
        yield from real(self, batch)

    monkeypatch.setattr(Segment, "push", push)
    stage.mapping("m", CHEERS + "audience: all_active\non_exit: clear\n")
    stage.accounts({"a1": "pro", "a2": "free"}, audiences={"a1": ["all_active"]}, member={"a1": "u1"})
    stage.sync()
    stage.accounts({"a1": "pro", "a2": "free"}, member={"a1": "u1"})
    ended = stage.sync()
    assert ended.only["planned"]["left"] == 1
    assert ended.outcomes == {"delivered": 1}
    assert stage.sandbox.state()["segment"]["groups"]["a1"].get("plan") is None
    assert through == ["u1", "u1"]


def test_a_look_up_of_one_mapping_does_not_undo_what_another_delivers_meanwhile(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.mapping("a", CONTACTS)
    stage.contacts("u1", "u2")
    stage.users({"u1": "old", "u2": "other"})
    stage.sync()
    stage.mapping("b", CONTACTS.replace("role:", "other:"))
    stage.users({"u1": "MIDDLE", "u2": "other"})
    with stage.context() as context:
        planned(context, "a", "ra")
        real = context.ledger.remember_records

        def slowly(bound: BoundMapping, records: Any) -> None:
            for batch in context.ledger.due_batches("ra"):
                assert deliver.deliver(context, batch).state == "done"
            real(bound, records)

        monkeypatch.setattr(context.ledger, "remember_records", slowly)
        planned(context, "b", "rb")
    assert stage.roles()["u1"] == "MIDDLE"
    stage.users({"u1": "old", "u2": "other"})
    stage.sync()
    assert stage.roles()["u1"] == "old"


def test_a_batch_claimed_while_a_new_run_begins_does_not_arrive_after_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.mapping("m", CONTACTS)
    stage.contacts("u1", "u2")
    stage.users({"u1": "old", "u2": "other"})
    stage.sync()
    with stage.context() as context:
        stage.users({"u1": "STALE", "u2": "other"})
        planned(context, "m", "stale")
        (batch,) = context.ledger.due_batches("stale")
        stage.users({"u1": "FRESH", "u2": "other"})
        real, taken = context.ledger.supersede, []

        def a_worker_is_faster(bound: BoundMapping, mappings: Collection[str]) -> Any:
            if not taken:
                taken.append(context.ledger.claim(batch, owner("worker")))
            return real(bound, mappings)

        def the_worker_gets_on(seconds: float = 0.0) -> None:
            if not seconds:
                return
            (claimed,) = taken
            assert claimed is not None
            assert stage.roles()["u1"] != "FRESH"
            pushed = list(context.open(context.mappings["m"]).destination.push(claimed.batch))
            context.ledger.finish_batch(claimed, pushed, 0.0, 0)

        monkeypatch.setattr(context.ledger, "supersede", a_worker_is_faster)
        with monkeypatch.context() as patch:
            patch.setattr(context, "wait", the_worker_gets_on)
            plan = sync_run.plan(context, PlanRequest(context.mappings["m"], "fresh", DAY), no_progress)
        assert context.ledger.lease_holders() == set(), "the plan waited until the worker was through"
        assert context.ledger.release(plan.run)
        assert deliver_mapping(context, "fresh", context.mappings["m"]) is None
    assert stage.roles()["u1"] == "FRESH"


def test_an_account_is_sent_as_soon_as_it_has_a_member(stage: Stage) -> None:
    stage.mapping("m", CHEERS)
    stage.accounts({"a1": "pro", "a3": "pro"}, member={"a1": "u1"})
    assert stage.sync().outcomes == {"delivered": 1, "skipped": 1}
    stage.accounts({"a1": "pro", "a3": "pro"}, member={"a1": "u1", "a3": "u3"})
    assert stage.sync().outcomes == {"delivered": 1}
    assert set(stage.sandbox.state()["segment"]["groups"]) == {"a1", "a3"}


def test_another_member_alone_is_no_reason_to_send_an_account_again(stage: Stage) -> None:
    stage.mapping("m", CHEERS)
    stage.accounts({"a1": "pro"}, member={"a1": "u1"})
    stage.sync()
    stage.accounts({"a1": "pro"}, member={"a1": "u2"})
    assert stage.sync().outcomes == {}


def test_an_unmatched_record_is_not_looked_up_again_because_a_value_changed(stage: Stage) -> None:
    stage.mapping("m", CONTACTS)
    stage.mapping(
        "c",
        "destination: hubspot\nobject: companies\nmatch: {domain: domain}\nfields: {plan: account.plan}\n",
    )
    state = {
        "hubspot": {"companies": [{"id": str(n), "properties": {"domain": "a1.com"}} for n in (1, 2)]},
        "fields": {
            "hubspot": {"contacts": {"role": {"type": "string"}}, "companies": {"plan": {"type": "string"}}}
        },
    }
    stage.sandbox.seed(state)
    for day in range(3):
        stage.users({"u1": f"role of day {day}"})
        stage.accounts({"a1": f"plan of day {day}", "a2": f"plan of day {day}"})
        ended = stage.sync()
        assert (ended.code, stage.calls() > 0) == ((1, True) if day == 0 else (0, False))
        companies = ended.mappings["c"]
        assert (ended.mappings["m"]["unmatched"], companies["unmatched"], companies["ambiguous"]) == (1, 1, 1)


def test_an_unmatched_record_is_looked_up_again_when_its_key_or_the_mode_changes(stage: Stage) -> None:
    stage.mapping("m", CONTACTS)
    stage.contacts("u2")
    stage.users({"u1": "role"})
    assert stage.sync().outcomes == {"skipped": 1}
    stage.users({"u1": "role"}, email={"u1": "u2@x.com"})
    assert stage.sync().outcomes == {"delivered": 1}
    stage.users({"u9": "role"})
    assert stage.sync().outcomes == {"skipped": 1}
    stage.mapping("m", CONTACTS + "mode: upsert\n")
    assert stage.sync().outcomes == {"delivered": 1}


def test_an_empty_field_of_a_record_that_we_created_is_known_to_be_empty(stage: Stage) -> None:
    stage.mapping(
        "m", CONTACTS.replace("}\nfields: {", "}\nfields: {other: user.user_id, ") + "mode: upsert\n"
    )
    stage.contacts()
    stage.users({"u1": None, "u2": "role"})
    stage.sync()
    stage.users({"u1": "now", "u2": "role"})
    stage.calls()
    stage.sync()
    assert stage.calls() == 1, "one update, and no look-up"
    assert stage.roles() == {"u1": "now", "u2": "role"}


def test_a_refusal_does_not_make_a_small_move_worth_a_write(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.mapping("m", CONTACTS.replace("role: user.role", "score: {from: score, tolerance: 5}"))
    stage.sandbox.seed(
        {
            "hubspot": {"contacts": [{"id": "1", "properties": {"email": "u1@x.com"}}]},
            "fields": {"hubspot": {"contacts": {"score": {"type": "number"}}}},
        }
    )
    stage.users(numbered(1), score={"u1": 50})
    stage.sync()
    stage.users(numbered(1), score={"u1": 50}, email={"u1": ""})
    assert stage.sync().outcomes == {"skipped": 1}
    stage.users(numbered(1), score={"u1": 52})
    assert stage.sync().outcomes == {}
    assert stage.roles("score") == {"u1": "50"}


def test_a_record_that_stays_locked_ends_the_run_and_is_pending(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.mapping("m", CONTACTS)
    stage.contacts("u1")
    stage.users(numbered(1))

    def locked(_self: HubSpot, batch: Batch) -> Iterator[Outcome]:
        until = datetime.now(UTC) + timedelta(seconds=0.01)
        yield from (Outcome(c.key, Status.DEFERRED, code="locked", until=until) for c in batch.changes)

    with monkeypatch.context() as patch:
        patch.setattr(HubSpot, "push", locked)
        stage.timeouts = Timeouts(standstill=0.2)
        ended = stage.sync()
    assert ended.code == 3
    assert ended.only["state"] == "failed"
    assert stage.sync(decide=approve_automatically).outcomes == {"delivered": 1}
