"""The ledger: every test runs on SQLite and on PostgreSQL."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st
from lease_owners import owner

from connectors.errors import ConfigurationError
from connectors.types import Account, Change, FieldType, Kind, Match, NewField, Outcome, Status, Value
from heatsync.ledger import (
    EVERYTHING,
    Attempt,
    BatchTarget,
    BoundMapping,
    Ledger,
    Pause,
    PlanCounts,
    PlannedChange,
    Process,
    PushState,
    Record,
    Run,
    RunState,
    Standing,
    StandingState,
    read_value,
    tables,
    write_value,
)
from heatsync.sync.leases import lease_owner

BOUND = BoundMapping("contacts", "hubspot:1", "contacts")
RECHECK = 5_000_000_000.0
TYPES = {"score": FieldType.INTEGER, "seen": FieldType.DATE}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/ledger.db"
    database: str = request.getfixturevalue("postgres_database")
    return database


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    ledger = Ledger(url)
    yield ledger
    ledger.close()


def a_run(name: str = "r1") -> Run:
    return Run(
        run=name,
        mapping=BOUND.mapping,
        destination="hubspot",
        object=BOUND.object,
        account=BOUND.account,
        label="portal 1",
        as_of="2026-01-31",
        definition_hash="m1",
        state=RunState.PLANNING,
        cause="",
        planned=PlanCounts(records=2, writes=2),
        calls=0,
        seconds=0.0,
        created_at=time.time(),
        ended_at=None,
    )


def a_change(key: str, remote_id: str | None = "7", **fields: Value) -> PlannedChange:
    change = Change(
        kind=Kind.CHANGED,
        key=key,
        match=(Match("email", f"{key}@example.com"),),
        fields=fields or {"score": 5},
        remote_id=remote_id,
    )
    return PlannedChange(change, digest=hash(key), level="High")


def released(ledger: Ledger, *planned: PlannedChange, name: str = "r1") -> str:
    run = a_run(name)
    ledger.save_run(run)
    batch = ledger.add_batch(run, 1, planned, TYPES)
    ledger.update_run(replace(run, state=RunState.HELD))
    assert ledger.release(run)
    return batch


def records(ledger: Ledger) -> dict[str, tuple[str | None, int, str]]:
    return {row[0]: (row[1], row[3], row[4]) for chunk in ledger.records(BOUND) for row in chunk}


def standings(ledger: Ledger) -> dict[str, tuple[int | None, str]]:
    settled = {row[0]: (row[1], "settled") for chunk in ledger.settled_standings(BOUND) for row in chunk}
    return settled | {
        row[0]: (row[1], row[2]) for chunk in ledger.unsettled_standings(BOUND) for row in chunk
    }


def test_the_migration_creates_exactly_the_tables(ledger: Ledger, url: str) -> None:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    engine.dispose()


def test_a_ledger_that_is_opened_several_times_at_once_is_migrated_once(url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        for ledger in pool.map(Ledger, [url] * 4):
            assert ledger.find_pause("x") is None
            ledger.close()


def test_an_account_is_remembered_by_a_keyed_hash_and_no_secret_is_stored(ledger: Ledger, url: str) -> None:
    credential = ledger.credential_hash("hubspot", ["pat-secret"])
    assert ledger.known_account(credential) is None
    assert ledger.remember_account(credential, "hubspot", Account("portal", "1", "Acme")) == "hubspot:1"
    assert ledger.known_account(credential) == ("hubspot:1", Account("portal", "1", "Acme"))
    assert ledger.known_account(ledger.credential_hash("hubspot", ["pat-other"])) is None
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        for table in tables.metadata.sorted_tables:
            assert "pat-secret" not in str(connection.execute(sa.select(table)).all())
    engine.dispose()


def test_a_lock_has_one_owner_until_the_lease_ends(ledger: Ledger) -> None:
    assert ledger.lock("plan a", owner("one"))
    assert not ledger.lock("plan a", owner("two"))
    assert ledger.lock("plan b", owner("two"))
    assert ledger.lock("plan a", owner("one"), lease=0.0)
    assert ledger.lock("plan a", owner("two"))
    ledger.unlock("plan a", owner("one"))
    assert ledger.locked("plan a")
    ledger.unlock("plan a", owner("two"))
    assert not ledger.locked("plan a")


def test_a_batch_that_many_claim_at_once_goes_to_one_of_them(ledger: Ledger) -> None:
    batch = released(ledger, a_change("u1"))
    barrier = threading.Barrier(6)

    def claim(name: int) -> bool:
        barrier.wait()
        return ledger.claim(batch, owner(f"w{name}")) is not None

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(claim, range(6))) == 1


def test_a_batch_waits_until_its_run_is_released(ledger: Ledger) -> None:
    run = a_run()
    ledger.save_run(run)
    batch = ledger.add_batch(run, 1, [a_change("u1")], TYPES)
    assert ledger.claim(batch, owner("w")) is None
    assert not ledger.release(run)  # still being planned
    ledger.update_run(replace(run, state=RunState.HELD))
    assert ledger.mapping_state(BOUND).approved_hash is None
    assert ledger.release(run)
    assert not ledger.release(run)
    assert (ledger.mapping_state(BOUND).approved_hash, ledger.mapping_state(BOUND).records) == ("m1", 2)
    assert ledger.due_batches("r1") == [batch]
    assert ledger.claim(batch, owner("w")) is not None


def test_a_planned_run_that_is_held_waits_for_its_release(ledger: Ledger) -> None:
    run = replace(a_run(), state=RunState.PLANNED)
    ledger.save_run(run)
    assert ledger.pending_run(BOUND) == "r1"
    assert ledger.hold(run)
    assert not ledger.hold(run)
    assert [row.state for row in ledger.runs("r1")] == [RunState.HELD]
    assert ledger.release(run)
    assert not ledger.hold(run)


def test_a_batch_belongs_to_its_run_and_mapping_whatever_they_are_called(ledger: Ledger) -> None:
    run = replace(a_run("2026.1"), mapping="a.b.000001")
    ledger.save_run(run)
    batch = ledger.add_batch(run, 1, [a_change("u1")], TYPES)
    assert ledger.batch_target(batch) == BatchTarget("2026.1", "a.b.000001", BOUND.account, BOUND.object)
    assert ledger.batch_target("another") is None


def test_one_batch_of_each_run_is_enqueued(ledger: Ledger) -> None:
    for name in ("r1", "r2"):
        run = a_run(name)
        ledger.save_run(run)
        for number in (1, 2):
            ledger.add_batch(run, number, [a_change(f"u{number}")], TYPES)
        ledger.update_run(replace(run, state=RunState.PLANNED))
        assert ledger.release(run)
    assert ledger.first_due_batches(not_enqueued_for=60) == ["r1.contacts.000001", "r2.contacts.000001"]
    assert len(ledger.due_batches()) == 4


def test_the_counts_of_a_plan_are_read_back_as_they_were_written(ledger: Ledger) -> None:
    counts = PlanCounts(
        records=9, writes=3, partial=True, new_fields=(NewField("score", FieldType.INTEGER, "Wert €"),)
    )
    run = replace(a_run(), planned=counts)
    ledger.save_run(run)
    assert ledger.runs("r1") == [run]


@pytest.mark.parametrize(
    ("attempt", "state"),
    [
        (Attempt.NOT_SENT, PushState.NEVER),
        (Attempt.ANSWERED, PushState.ANSWERED),
        (Attempt.INTERRUPTED, PushState.IN_DOUBT),
    ],
)
def test_a_requeued_batch_keeps_whether_it_was_pushed(
    ledger: Ledger, attempt: Attempt, state: PushState
) -> None:
    batch = released(ledger, a_change("u1"))
    first = ledger.claim(batch, owner("a"))
    assert first is not None
    assert (first.push_state, first.pushed_at) == (PushState.NEVER, None)
    assert ledger.requeue(first, 0.0, attempt)
    second = ledger.claim(batch, owner("b"))
    assert second is not None
    assert second.push_state is state
    assert (second.pushed_at is not None) is (state is PushState.IN_DOUBT)
    assert ledger.requeue(second, 0.0, Attempt.NOT_SENT, count_attempt=False)
    third = ledger.claim(batch, owner("c"))
    assert third is not None
    assert (third.push_state, third.attempts) == (state, 2)


def test_only_delivered_values_become_known_values(ledger: Ledger) -> None:
    ledger.remember_records(BOUND, [Record("u1", "7", None, {"score": 1, "plan": "pro"}, 3)])
    batch = released(
        ledger, a_change("u1", score=5, seen=date(2026, 1, 2)), a_change("u2", None), a_change("u3")
    )
    claimed = ledger.claim(batch, owner("w"))
    assert claimed is not None
    assert claimed.batch.changes[0].fields == {"score": 5, "seen": date(2026, 1, 2)}
    outcomes = [
        Outcome("u1", Status.DELIVERED),
        Outcome("u2", Status.DELIVERED, remote_id="8"),
        Outcome("u3", Status.REJECTED, code="bad_value", cause="no", field="score", answer="INVALID"),
    ]
    assert ledger.finish_batch(claimed, outcomes, RECHECK, 0)
    held = records(ledger)
    assert held["u1"] == ("7", 4, '{"score": 5, "plan": "pro", "seen": "2026-01-02"}')
    assert held["u2"][:2] == ("8", 1)
    assert "u3" not in held
    assert {key: state for key, (_, state) in standings(ledger).items()} == {
        "u1": "settled",
        "u2": "settled",
        "u3": "rejected",
    }
    assert ledger.outcome_counts("r1", "contacts") == {
        "delivered": 2,
        "rejected": 1,
        "skipped": 0,
        "deferred": 0,
        "unknown": 0,
    }
    (failure,) = ledger.failures()
    assert (failure.entity, failure.code, failure.value, failure.answer) == (
        "u3",
        "bad_value",
        "5",
        "INVALID",
    )


def test_a_batch_that_is_claimed_again_holds_only_changes_without_an_outcome(ledger: Ledger) -> None:
    batch = released(ledger, a_change("u1"), a_change("u2"))
    claimed = ledger.claim(batch, owner("w"))
    assert claimed is not None
    ledger.save_outcomes(claimed, [Outcome("u1", Status.DELIVERED)], RECHECK)
    assert ledger.requeue(claimed, 0.0, Attempt.ANSWERED)
    again = ledger.claim(batch, owner("w2"))
    assert again is not None
    assert [planned.change.key for planned in again.planned] == ["u2"]
    assert again.attempts == 2


def test_a_batch_of_a_process_that_died_can_be_claimed_again(ledger: Ledger) -> None:
    batch = released(ledger, a_change("u1"))
    assert ledger.claim(batch, owner("x", pid=7)) is not None
    assert ledger.claim(batch, owner("w")) is None
    assert ledger.lease_holders() == {Process("elsewhere", 7)}
    ledger.end_leases_of(Process("elsewhere", 7))
    assert ledger.claim(batch, owner("w")) is not None


def test_a_requeued_batch_is_not_due_before_its_time(ledger: Ledger) -> None:
    batch = released(ledger, a_change("u1"))
    claimed = ledger.claim(batch, owner("w"))
    assert claimed is not None
    later = time.time() + 1000
    assert ledger.requeue(claimed, later, Attempt.ANSWERED)
    assert ledger.due_batches() == []
    assert ledger.claim(batch, owner("w")) is None
    assert ledger.next_due("r1", "contacts") == pytest.approx(later)


def test_a_batch_that_was_just_enqueued_is_not_enqueued_again(ledger: Ledger) -> None:
    batch = released(ledger, a_change("u1"))
    assert ledger.first_due_batches(not_enqueued_for=60) == [batch]
    ledger.mark_enqueued([batch])
    assert ledger.first_due_batches(not_enqueued_for=60) == []
    assert ledger.due_batches() == [batch]


def test_a_new_run_supersedes_the_pending_batches_of_the_previous_one(ledger: Ledger) -> None:
    batch = released(ledger, a_change("u1"))
    ledger.supersede(BOUND)
    assert ledger.claim(batch, owner("w")) is None
    assert [run.state for run in ledger.runs("r1")] == ["superseded"]


def test_a_new_run_learns_that_a_batch_is_still_being_delivered_and_supersedes_it_once_it_is_requeued(
    ledger: Ledger,
) -> None:
    claimed = ledger.claim(released(ledger, a_change("u1")), owner("w"))
    assert claimed is not None
    assert ledger.supersede(BOUND)
    assert ledger.requeue(claimed, 0.0, Attempt.ANSWERED)
    assert ledger.due_batches() == []
    assert ledger.next_due("r1", BOUND.mapping) is None
    assert not ledger.supersede(BOUND)
    assert not ledger.requeue(claimed, 0.0, Attempt.ANSWERED)


def test_a_batch_with_a_job_is_not_superseded_and_can_be_claimed_to_finish_the_job(ledger: Ledger) -> None:
    batch = released(ledger, a_change("u1"))
    claimed = ledger.claim(batch, owner("w"))
    assert claimed is not None
    assert ledger.save_job(claimed, "job 1")
    assert ledger.requeue(claimed, 0.0, Attempt.ANSWERED)
    assert ledger.supersede(BOUND)
    assert ledger.due_batches() == []
    assert [id for id, due in ledger.batches_with_job(BOUND) if due <= time.time()] == [batch]
    assert ledger.claim(batch, owner("x")) is None, "its run is over"
    finishing = ledger.claim(batch, owner("x"), finish_only=True)
    assert finishing is not None
    assert (finishing.job, finishing.batch.job) == ("job 1", "job 1")
    assert not ledger.save_job(claimed, "job 2"), "another owner holds it now"
    assert ledger.save_job(finishing, None)
    assert ledger.requeue(finishing, 0.0, Attempt.ANSWERED)
    assert not ledger.supersede(BOUND)
    assert (ledger.batches_with_job(BOUND), ledger.claim(batch, owner("y"), finish_only=True)) == ([], None)


def test_a_record_that_no_longer_exists_at_the_destination_is_looked_up_again(ledger: Ledger) -> None:
    ledger.remember_records(BOUND, [Record("u1", "7", None, {"score": 1}, 3)])
    batch = released(ledger, a_change("u1"))
    claimed = ledger.claim(batch, owner("w"))
    assert claimed is not None
    ledger.save_outcomes(claimed, [Outcome("u1", Status.REJECTED, code="not_found")], RECHECK)
    assert records(ledger)["u1"] == (None, 3, "{}")
    assert standings(ledger)["u1"] == (None, "unknown")


def test_a_record_delivered_as_left_has_that_standing(ledger: Ledger) -> None:
    left = a_change("u1", score=None)
    left = replace(left, change=replace(left.change, kind=Kind.LEFT), digest=None)
    claimed = ledger.claim(released(ledger, left), owner("w"))
    assert claimed is not None
    ledger.save_outcomes(claimed, [Outcome("u1", Status.DELIVERED)], RECHECK)
    assert standings(ledger)["u1"] == (None, "left")


def test_a_pause_for_refused_credentials_ends_with_other_credentials(ledger: Ledger) -> None:
    ledger.pause("contacts", "refused (401)", "old")
    assert ledger.find_pause("contacts", "old") == Pause("refused (401)", by_hand=False)
    assert ledger.find_pause("contacts", "new") is None
    ledger.pause(EVERYTHING, "paused by hand")
    assert ledger.find_pause("contacts", "new") == Pause("paused by hand", by_hand=True)
    assert ledger.resume(EVERYTHING)
    assert not ledger.resume(EVERYTHING)


def test_standings_and_records_of_another_account_are_not_seen(ledger: Ledger) -> None:
    ledger.remember_records(BOUND, [Record("u1", "7", None, {}, 0)])
    ledger.save_standings(BOUND, [Standing("u1", 1, StandingState.SETTLED)])
    other = replace(BOUND, account="hubspot:2")
    assert list(ledger.records(other)) == []
    assert list(ledger.settled_standings(other)) == []
    assert list(ledger.unsettled_standings(other)) == []
    assert ledger.record_owners(BOUND, ["7"], ["contacts"]) == {"7": {"u1": {"contacts"}}}
    assert ledger.record_owners(other, ["7"], ["contacts"]) == {}


def test_an_entity_that_left_or_is_skipped_keeps_no_record_up_to_date(ledger: Ledger) -> None:
    ledger.remember_records(BOUND, [Record(f"u{n}", "7", None, {}, 0) for n in range(4)])
    states = {"u0": StandingState.LEFT, "u1": StandingState.SKIPPED, "u2": StandingState.REJECTED}
    ledger.save_standings(BOUND, [Standing(key, 1, state) for key, state in states.items()])
    no_mapping: set[str] = set()
    assert ledger.record_owners(BOUND, ["7"], ["contacts"]) == {
        "7": {"u0": no_mapping, "u1": no_mapping, "u2": {"contacts"}, "u3": no_mapping}
    }
    ledger.forget_remote_ids(BOUND, ["u0", "u1", "u3"])
    assert ledger.record_owners(BOUND, ["7"], ["another"]) == {"7": {"u2": no_mapping}}


def test_a_run_ends_when_no_batch_is_open_and_fails_if_one_is_parked(ledger: Ledger) -> None:
    batch = released(ledger, a_change("u1"), a_change("u2"))
    assert not ledger.finish_run("r1", "contacts")
    assert ledger.outcome_counts("r1", "contacts")["deferred"] == 2
    claimed = ledger.claim(batch, owner("w"))
    assert claimed is not None
    ledger.save_outcomes(claimed, [Outcome("u1", Status.DELIVERED)], RECHECK)
    assert ledger.park_batch(claimed, "an answer that cannot be read")
    assert ledger.finish_run("r1", "contacts")
    (run,) = ledger.runs("r1")
    assert (run.state, run.cause) == ("failed", "an answer that cannot be read")


@pytest.mark.parametrize("address", ["mysql://x", "nonsense", "sqlite:////proc/nowhere/ledger.db"])
def test_a_ledger_that_cannot_be_opened_is_a_configuration_error(address: str) -> None:
    with pytest.raises(ConfigurationError, match="ledger"):
        Ledger(address)


def test_the_error_of_a_ledger_that_cannot_be_opened_hides_the_password() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Ledger("postgresql+psycopg://me:hidden@127.0.0.1:1/none")
    assert "hidden" not in str(caught.value)


def test_a_lease_owner_carries_its_process() -> None:
    one, other = lease_owner("x"), lease_owner("y")
    assert one.process == other.process
    assert one.process.pid == os.getpid()
    assert one.id != other.id


moments = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)
typed = st.one_of(
    st.tuples(st.just(FieldType.TEXT), st.text()),
    st.tuples(st.just(FieldType.INTEGER), st.integers()),
    st.tuples(st.just(FieldType.NUMBER), st.floats(allow_nan=False)),
    st.tuples(st.just(FieldType.BOOLEAN), st.booleans()),
    st.tuples(st.just(FieldType.DATE), st.dates()),
    st.tuples(st.just(FieldType.DATETIME), moments),
    st.tuples(st.just(FieldType.LIST), st.lists(st.text()).map(tuple)),
)


@given(typed)
def test_a_value_survives_the_ledger(case: tuple[FieldType, Value]) -> None:
    kind, value = case
    assert read_value(write_value(value), kind) == value


def test_a_contended_lock_has_one_owner_at_a_time(ledger: Ledger) -> None:
    held = 0
    most = 0
    guard = threading.Lock()

    def contend(name: str) -> int:
        nonlocal held, most
        won = 0
        for _ in range(60):
            if ledger.lock("busy", owner(name)):
                with guard:
                    held += 1
                    most = max(most, held)
                won += 1
                with guard:
                    held -= 1
                ledger.unlock("busy", owner(name))
        return won

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(contend, "abcd")) > 0
    assert most == 1


def test_what_a_pushed_batch_may_have_written_is_looked_up_again(ledger: Ledger) -> None:
    ledger.remember_records(BOUND, [Record("u1", "7", None, {"score": 1, "plan": "pro"}, 3)])
    batch = released(ledger, a_change("u1"), a_change("u2"))
    claimant = owner("w")
    claimed = ledger.claim(batch, claimant)
    assert claimed is not None
    assert ledger.mark_pushed(claimed)
    ledger.save_outcomes(claimed, [Outcome("u2", Status.DELIVERED)], RECHECK)
    ledger.end_leases_of(claimant.process)
    ledger.supersede(BOUND)
    assert records(ledger)["u1"] == ("7", 3, '{"plan": "pro"}')
    assert standings(ledger)["u1"] == (None, "unknown")
    assert standings(ledger)["u2"][1] == "settled"
    assert not ledger.extend(claimed)


def test_a_look_up_does_not_undo_what_was_delivered_in_the_meantime(ledger: Ledger) -> None:
    ledger.remember_records(BOUND, [Record("u1", "7", None, {"score": 1, "plan": "pro"}, 0)])
    claimed = ledger.claim(released(ledger, a_change("u1")), owner("w"))
    assert claimed is not None
    ledger.save_outcomes(claimed, [Outcome("u1", Status.DELIVERED)], RECHECK)
    ledger.remember_records(BOUND, [Record("u1", "7", None, {"region": "eu"}, 0)])
    assert records(ledger)["u1"] == ("7", 1, '{"score": 5, "plan": "pro", "region": "eu"}')


def test_a_claim_is_lost_once_another_owner_claims_the_batch(ledger: Ledger) -> None:
    batch = released(ledger, a_change("u1"))
    first = ledger.claim(batch, owner("a"), lease=0.0)
    second = ledger.claim(batch, owner("b"))
    assert first is not None
    assert second is not None
    assert not ledger.extend(first)
    assert not ledger.mark_pushed(first)
    assert not ledger.requeue(first, 0.0, Attempt.ANSWERED)
    assert not ledger.finish_batch(first, [], RECHECK, 0)
    assert ledger.finish_batch(second, [], RECHECK, 0)


def test_rejected_records_are_retried_by_code_and_by_run(ledger: Ledger) -> None:
    claimed = ledger.claim(released(ledger, a_change("u1"), a_change("u2")), owner("w"))
    assert claimed is not None
    ledger.save_outcomes(
        claimed,
        [
            Outcome("u1", Status.REJECTED, code="field_missing"),
            Outcome("u2", Status.REJECTED, code="bad_value"),
        ],
        RECHECK,
    )
    assert ledger.has_schema_rejections(BOUND)
    assert ledger.retry_rejected(BOUND, ["field_missing"]) == 1
    assert not ledger.has_schema_rejections(BOUND)
    assert ledger.retry_rejected(None, run="another") == 0
    assert ledger.retry_rejected(None, run="r1") == 1
    assert {state for _, state in standings(ledger).values()} == {"unknown"}


def test_a_run_that_was_released_is_not_cancelled(ledger: Ledger) -> None:
    run = a_run()
    ledger.save_run(run)
    ledger.update_run(replace(run, state=RunState.HELD))
    assert ledger.release(run)
    assert not ledger.cancel(run)
    assert [row.state for row in ledger.runs("r1")] == ["ready"]


def ended(ledger: Ledger, name: str, *outcomes: Outcome, **changes: object) -> None:
    """A run of 1000 seconds after 1970 with these outcomes, over since then."""
    claimed = ledger.claim(released(ledger, *(a_change(o.key) for o in outcomes), name=name), owner("w"))
    assert claimed is not None
    assert ledger.finish_batch(claimed, outcomes, RECHECK, 0)
    (run,) = ledger.runs(name)
    ledger.save_run(replace(run, created_at=1000.0, ended_at=1000.0, **changes))  # type: ignore[arg-type]


def test_a_run_that_ended_long_ago_is_forgotten_and_its_records_are_not(ledger: Ledger) -> None:
    ended(ledger, "old", Outcome("u1", Status.DELIVERED))
    before = records(ledger), standings(ledger), ledger.mapping_state(BOUND)
    ledger.forget_runs(900.0)
    assert len(ledger.planned_changes("old", BOUND.mapping)) == 1
    ledger.forget_runs(1001.0)
    assert ledger.runs() == []
    assert ledger.planned_changes("old", BOUND.mapping) == []
    assert ledger.outcome_counts("old", BOUND.mapping)["delivered"] == 0
    assert (records(ledger), standings(ledger), ledger.mapping_state(BOUND)) == before


def test_the_reason_of_a_record_that_is_still_rejected_is_never_forgotten(ledger: Ledger) -> None:
    ended(
        ledger,
        "old",
        Outcome("u1", Status.DELIVERED),
        Outcome("u2", Status.REJECTED, code="bad_value", cause="too long"),
        Outcome("u3", Status.REJECTED, code="bad_value", cause="too long"),
    )
    ended(ledger, "older", Outcome("u3", Status.DELIVERED))
    ledger.forget_runs(2000.0)
    assert [run.run for run in ledger.runs()] == ["old"]
    assert [(row.entity, row.cause) for row in ledger.failures()] == [("u2", "too long")]
    assert ledger.retry_rejected(None, run="old") == 1
    ledger.forget_runs(2000.0)
    assert [(row.entity, row.run) for row in ledger.failures()] == [("u2", "old")]
    assert ledger.outcome_counts("old", BOUND.mapping)["delivered"] == 0


@pytest.mark.parametrize("state", [RunState.PLANNING, RunState.PLANNED, RunState.HELD, RunState.READY])
def test_a_run_that_has_not_ended_is_never_forgotten(ledger: Ledger, state: RunState) -> None:
    run = replace(a_run(), created_at=1000.0)
    ledger.save_run(run)
    ledger.add_batch(run, 1, [a_change("u1")], TYPES)
    if state is not RunState.PLANNING:
        ledger.update_run(replace(run, state=RunState.HELD if state is RunState.READY else state))
    if state is RunState.READY:
        assert ledger.release(replace(run, state=RunState.HELD))
    ledger.forget_runs(2000.0)
    assert [row.state for row in ledger.runs()] == [state]
    assert len(ledger.planned_changes("r1", BOUND.mapping)) == 1


def test_a_superseded_run_is_kept_while_one_of_its_batches_is_claimed(ledger: Ledger) -> None:
    batch = released(ledger, a_change("u1"))
    claimed = ledger.claim(batch, owner("w"))
    assert claimed is not None
    assert ledger.supersede(BOUND)
    (run,) = ledger.runs("r1")
    ledger.save_run(replace(run, created_at=1000.0, ended_at=1000.0))
    ledger.forget_runs(2000.0)
    assert len(ledger.planned_changes("r1", BOUND.mapping)) == 1
    ledger.finish_batch(claimed, [], RECHECK, 0)
    ledger.forget_runs(2000.0)
    assert ledger.runs() == []
