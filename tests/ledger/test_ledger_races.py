"""Many threads on one ledger at once, on SQLite and on PostgreSQL."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from lease_owners import owner

from connectors.types import Change, FieldType, Kind, Outcome, Status
from heatsync.ledger import (
    Attempt,
    BoundMapping,
    ClaimedBatch,
    Ledger,
    PlanCounts,
    PlannedChange,
    Record,
    Run,
    RunState,
    outcomes,
    tables,
)
from heatsync.ledger.group_commit import GroupCommit

ACCOUNT, OBJECT = "hubspot:1", "contacts"
KEYS = [f"u{number}" for number in range(30)]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    database: str = request.getfixturevalue("postgres_database")
    return database


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield ledger
    ledger.close()


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    ledger = Ledger(url)
    yield ledger
    ledger.close()


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """Call all at the same moment; what each returns."""
    ready = threading.Barrier(len(acts))

    def act(do: Callable[[], Any]) -> Any:
        ready.wait(30)
        return do()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(act, acts))


def claimed(ledger: Ledger, name: str, mapping: str, field: str, keys: list[str]) -> ClaimedBatch:
    run = Run(
        run=name,
        mapping=mapping,
        destination="hubspot",
        object=OBJECT,
        account=ACCOUNT,
        label="portal 1",
        as_of="2026-01-31",
        definition_hash="m1",
        state=RunState.PLANNING,
        cause="",
        planned=PlanCounts(),
        calls=0,
        seconds=0.0,
        created_at=time.time(),
        ended_at=None,
    )
    ledger.save_run(run)
    changes = [
        Change(kind=Kind.CHANGED, key=key, match=(), fields={field: name}, remote_id=f"r-{key}")
        for key in keys
    ]
    batch = ledger.add_batch(
        run, 1, [PlannedChange(change, 1, None) for change in changes], {field: FieldType.TEXT}
    )
    ledger.update_run(replace(run, state=RunState.HELD))
    assert ledger.release(run)
    taken = ledger.claim(batch, owner(mapping))
    assert taken is not None
    return taken


def test_a_lock_that_two_ask_for_at_once_goes_to_one_of_them(ledger: Ledger) -> None:
    for turn in range(25):
        assert sorted(at_once(*(partial(ledger.lock, f"lock {turn}", owner(me)) for me in "ab"))) == [
            False,
            True,
        ]


def test_the_first_processes_of_a_ledger_agree_on_its_key(url: str) -> None:
    books = [Ledger(url) for _ in range(4)]
    try:
        assert len(set(at_once(*(partial(each.credential_hash, "hubspot", ["x"]) for each in books)))) == 1
    finally:
        for each in books:
            each.close()


def test_two_mappings_that_write_outcomes_of_the_same_records_at_once_lose_no_field(ledger: Ledger) -> None:
    for turn in range(8):
        # Other records each time: a row that is not there yet cannot be locked.
        keys = [f"{key}-{turn // 2}" for key in KEYS]
        one = claimed(ledger, f"r{turn}", "one", "f_one", keys)
        other = claimed(ledger, f"r{turn}", "other", "f_other", keys[::-1])

        def save(batch: ClaimedBatch) -> None:
            ledger.save_outcomes(batch, [Outcome(p.change.key, Status.DELIVERED) for p in batch.planned], 0.0)

        at_once(partial(save, one), partial(save, other))
        for chunk in ledger.records(BoundMapping("one", ACCOUNT, OBJECT), keys):
            for row in chunk:
                assert json.loads(row[4]) == {"f_one": f"r{turn}", "f_other": f"r{turn}"}


def test_a_look_up_and_a_delivery_at_once_lose_neither(ledger: Ledger) -> None:
    bound = BoundMapping("one", ACCOUNT, OBJECT)
    for turn in range(8):
        keys = [f"{key}-{turn}" for key in KEYS]
        batch = claimed(ledger, f"r{turn}", "one", "f_one", keys)
        found = [Record(key, f"r-{key}", None, {"plan": "pro"}) for key in keys[::-1]]
        at_once(
            lambda: ledger.save_outcomes(batch, [Outcome(key, Status.DELIVERED) for key in keys], 0.0),  # noqa: B023
            lambda: ledger.remember_records(bound, found),  # noqa: B023
        )
        for chunk in ledger.records(bound, keys):
            for row in chunk:
                assert json.loads(row[4]) == {"f_one": f"r{turn}", "plan": "pro"}
                assert row[3] == 1


def test_a_claim_beside_a_new_run_either_fails_or_is_known_to_the_run(ledger: Ledger) -> None:
    bound = BoundMapping("one", ACCOUNT, OBJECT)
    for turn in range(15):
        first = claimed(ledger, f"r{turn}", "one", "f_one", ["u1"])
        assert ledger.requeue(first, 0.0, Attempt.ANSWERED)
        remaining, taken = at_once(
            lambda: ledger.supersede(bound),
            lambda: ledger.claim(first.id, owner("w")),  # noqa: B023
        )
        assert remaining is (taken is not None)
        if taken is not None:
            ledger.finish_batch(taken, [], 0.0, 0)


def test_an_error_in_a_shared_transaction_goes_to_its_cause_and_the_others_are_written(
    embedded: Ledger,
) -> None:
    first, go = threading.Event(), threading.Event()
    transactions: list[int] = []

    @contextmanager
    def writing() -> Iterator[sa.Connection]:
        transactions.append(1)
        with embedded.database.writing() as connection:
            yield connection

    together = GroupCommit(writing)

    def add(n: int) -> int:
        def work(connection: sa.Connection) -> int:
            if n == 0:
                first.set()
                assert go.wait(10)
            if n == 3:
                raise ValueError("three")
            connection.execute(tables.secrets.insert().values(name=str(n), value="x"))
            return n

        return together.write(work)

    with ThreadPoolExecutor(6) as pool:
        leading = pool.submit(add, 0)
        assert first.wait(10)
        others = [pool.submit(add, n) for n in range(1, 6)]
        while len(together) < 5:
            time.sleep(0)  # until all wait; the leader holds the turn
        go.set()
        assert leading.result(10) == 0
        results = {n: other.exception(10) or other.result() for n, other in enumerate(others, 1)}
    assert isinstance(results.pop(3), ValueError)
    assert results == {1: 1, 2: 2, 4: 4, 5: 5}
    with embedded.database.reading() as connection:
        assert set(connection.scalars(sa.select(tables.secrets.c.name))) == {"0", "1", "2", "4", "5"}
    # The leader alone, then five at once, which fails; then each by itself.
    assert len(transactions) == 1 + 1 + 5


def test_ctrl_c_in_a_shared_transaction_is_not_lost(embedded: Ledger) -> None:

    def work(_: sa.Connection) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        embedded.database.group_write(work)
    assert embedded.database.group_write(lambda _: "written") == "written"


def test_work_whose_shared_transaction_is_interrupted_raises_an_error(embedded: Ledger) -> None:
    leading, go = threading.Event(), threading.Event()

    def interrupted(_: sa.Connection) -> None:
        if leading.is_set():
            raise KeyboardInterrupt
        leading.set()
        assert go.wait(10)

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(embedded.database.group_write, interrupted)
        assert leading.wait(10)
        others = [pool.submit(embedded.database.group_write, interrupted) for _ in range(2)]
        while len(embedded.database.group_commit) < 2:
            time.sleep(0)  # until both wait; the leader holds the turn
        go.set()
        assert first.result(10) is None
        results = {type(other.exception(10)) for other in others}
    assert results == {KeyboardInterrupt, RuntimeError}


def test_two_mappings_that_partly_write_the_same_records_do_not_deadlock(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = claimed(ledger, "r1", "one", "f_one", ["u1", "u2"])
    two = claimed(ledger, "r2", "two", "f_two", ["u1", "u2"])
    for batch in (one, two):
        ledger.save_outcomes(
            batch, [Outcome(key, Status.DELIVERED, remote_id="1") for key in ("u1", "u2")], 0.0
        )
    real, both = outcomes.update_record, threading.Barrier(2)

    def update(*arguments: Any) -> None:
        # A transaction that waits for the other one does not get here.
        with suppress(threading.BrokenBarrierError):
            both.wait(1)
        real(*arguments)

    monkeypatch.setattr(outcomes, "update_record", update)

    def finish(batch: ClaimedBatch, good: str, bad: str) -> bool:
        refused = Outcome(bad, Status.REJECTED, code="bad_value", partly_written=True)
        return ledger.finish_batch(batch, [Outcome(good, Status.DELIVERED, remote_id="1"), refused], 0.0, 1)

    at_once(lambda: finish(one, "u1", "u2"), lambda: finish(two, "u2", "u1"))
    (rows,) = ledger.records(BoundMapping("one", ACCOUNT, OBJECT), ["u1", "u2"])
    assert {row[0]: json.loads(row[4]) for row in rows} == {"u1": {"f_one": "r1"}, "u2": {"f_two": "r2"}}
