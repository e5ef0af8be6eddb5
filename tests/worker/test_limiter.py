"""One quota for all callers, with its slots kept in this process, in the ledger, or in a real Redis."""

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from connectors.destination import Quota
from connectors.errors import Unavailable
from connectors.rate_limit import (
    LONGEST_WAIT,
    DailyBudget,
    MemoryStore,
    QuotaState,
    QuotaStore,
    RateLimiter,
    SlotRequest,
)
from heatsync.ledger import Ledger
from worker.redis_limiter import RedisQuotaStore, connect

CHILD = """
import sys, time
from connectors.rate_limit import RateLimiter
from heatsync.ledger import Ledger
from worker.redis_limiter import connect
store = connect(sys.argv[1]) if sys.argv[1].startswith("redis") else Ledger(sys.argv[1])
limiter = RateLimiter(40, 1.0, store, "x")
for _ in range(20):
    limiter.acquire()
    print(time.time(), flush=True)
store.close()
"""
TOMORROW = datetime.now(UTC) + timedelta(days=1)
Opened = Callable[[], QuotaStore]


@pytest.fixture(params=["ledger", "redis"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of the store over which processes share a quota."""
    if request.param == "redis":
        url: str = request.getfixturevalue("redis_url")
        return url
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def opened(store_url: str) -> Iterator[Opened]:
    """Opens the store once more, as another process does."""
    stores: list[RedisQuotaStore | Ledger] = []

    def another() -> QuotaStore:
        store = connect(store_url) if store_url.startswith("redis") else Ledger(store_url)
        stores.append(store)
        return store

    yield another
    for store in stores:
        store.close()


def test_processes_together_keep_to_one_rate(store_url: str, opened: Opened) -> None:
    opened()  # otherwise all three would migrate the ledger
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD, store_url], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    times = sorted(float(stamp) for child in children for stamp in child.communicate(timeout=60)[0].split())
    assert [child.returncode for child in children] == [0, 0, 0]
    assert len(times) == 60
    for first, last in zip(times, times[40:], strict=False):
        # Between taking a slot and printing the time a busy machine may stop the process: hence not exactly 1.
        assert last - first > 0.9


def test_threads_of_one_process_keep_to_one_rate(opened: Opened) -> None:
    limiter = RateLimiter(100, 1.0, opened(), "threads")
    times: list[float] = []

    def call() -> None:
        for _ in range(15):
            limiter.acquire()
            times.append(time.monotonic())

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(times) == 60
    assert max(times) - min(times) > 0.5


def test_a_pause_holds_every_process(opened: Opened) -> None:
    one, two = (RateLimiter(40, 1.0, opened(), "y") for _ in range(2))
    one.acquire()
    one.pause(0.5)
    one.pause(0.1)  # a shorter pause does not shorten a longer one
    started = time.monotonic()
    two.acquire()
    assert time.monotonic() - started > 0.4


def test_a_pause_also_holds_a_call_that_already_waits_for_its_slot(opened: Opened) -> None:
    mine, theirs = (RateLimiter(5, 1.0, opened(), "w") for _ in range(2))
    mine.acquire()
    acquired = threading.Event()
    waiting = threading.Thread(target=lambda: (mine.acquire(), acquired.set()))
    started = time.monotonic()
    waiting.start()
    theirs.pause(0.8)
    waiting.join()
    assert time.monotonic() - started > 0.7


def test_a_long_pause_raises_an_error_with_the_time_to_wait(opened: Opened) -> None:
    limiter = RateLimiter(40, 1.0, opened(), "z")
    limiter.pause(3600)
    with pytest.raises(Unavailable) as caught:
        limiter.acquire()
    assert (caught.value.retry_after or 0) > 3500


def test_every_process_keeps_to_a_smaller_quota_that_the_vendor_reports(opened: Opened) -> None:
    one, two = (RateLimiter(1000, 1.0, opened(), "smaller") for _ in range(2))
    one.on_quota(Quota(calls=10, seconds=1.0))
    one.acquire()
    two.acquire()
    started = time.monotonic()
    two.acquire()
    one.acquire()
    assert time.monotonic() - started > 0.1


def test_a_vendors_quota_larger_than_ours_changes_nothing() -> None:
    store = MemoryStore()
    limiter = RateLimiter(10, 1.0, store, "mine")
    limiter.on_quota(Quota(calls=10_000, seconds=1.0))
    assert store.take_slots(SlotRequest("mine", 0.0, 0.1, 0.0)).gap == pytest.approx(0.1)


def test_a_sub_quota_has_slots_and_pauses_of_its_own(opened: Opened) -> None:
    whole = RateLimiter(10_000, 1.0, opened(), "portal")
    one, two = (
        whole.sub_quota("search", 10, 1.0),
        RateLimiter(10_000, 1.0, opened(), "portal").sub_quota("search", 10, 1.0),
    )
    started = time.monotonic()
    one.acquire()
    two.acquire()
    assert time.monotonic() - started > 0.09  # ten slots a second are a tenth of a second apart
    one.pause(3600)
    whole.acquire()
    with pytest.raises(Unavailable):
        two.acquire()


def test_a_daily_budget_is_shared_and_starts_again_with_the_day(opened: Opened) -> None:
    day = ["2026-11-22"]
    budget = DailyBudget(5, lambda: (day[0], TOMORROW))
    one, two = (RateLimiter(10_000, 1.0, opened(), "budget", budget) for _ in range(2))
    for limiter in (one, two, one, two, one):
        limiter.acquire()
    for limiter in (one, two):
        with pytest.raises(Unavailable) as caught:
            limiter.acquire()
        assert "5 calls on 2026-11-22" in str(caught.value)
        assert f"Calls resume at {TOMORROW:%Y-%m-%d %H:%M} UTC" in str(caught.value)
        assert 0 < (caught.value.retry_after or 0) <= 86_400
    day[0] = "2026-11-23"
    two.acquire()


def test_a_broker_that_cannot_be_reached_is_an_error_that_names_redis() -> None:
    with redis.Redis.from_url("redis://127.0.0.1:1/0") as client:
        limiter = RateLimiter(10, 1.0, RedisQuotaStore(client), "gone")
        with pytest.raises(Unavailable, match=r"Start Redis") as caught:
            limiter.acquire()
        assert caught.value.retry_after  # so it does not count as an attempt


def test_a_rate_limiter_never_lets_more_calls_through_than_the_window_holds() -> None:
    limiter = RateLimiter(20, 1.0)
    times = []
    for _ in range(12):
        limiter.acquire()
        times.append(time.monotonic())
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert sum(gaps) >= 0.05 * 11 - 0.02


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "after a wait"])
def test_a_call_that_is_stopped_while_it_waits_is_not_made(waits: bool) -> None:
    def stop(seconds: float) -> None:
        assert (seconds > 0) is waits
        raise InterruptedError

    limiter = RateLimiter(10, 1.0, sleep=stop)
    limiter.pause(5.0 if waits else 0.0)
    for each in (limiter, limiter.sub_quota("search", 10, 1.0)):
        if each is not limiter:
            each.pause(5.0 if waits else 0.0)
        with pytest.raises(InterruptedError):
            each.acquire()


def test_a_quota_never_gives_more_slots_than_the_window_holds() -> None:
    import random

    seed = 20261122
    print(f"seed {seed}")
    draw = random.Random(seed)
    gap, late = 10.3 / 19, 0.1
    for _ in range(50):
        quota, now, slots = QuotaState(), 0.0, list[float]()
        for _ in range(200):
            now += draw.choice([0.0, 0.01, 0.3, 3.0])
            taken = quota.take_slots(SlotRequest("p", gap * draw.randint(1, 4), gap, late), now)
            slots += [max(now, now + taken.wait + n * gap) for n in range(taken.calls)]
        for first, last in zip(slots, slots[19:], strict=False):
            assert last - first >= 10.0


def test_a_call_refused_for_a_long_pause_takes_no_slot() -> None:
    limiter = RateLimiter(10, 1.0)
    limiter.pause(LONGEST_WAIT * 2)
    with pytest.raises(Unavailable) as caught:
        limiter.acquire()
    assert LONGEST_WAIT < (caught.value.retry_after or 0.0) <= LONGEST_WAIT * 2


def test_slots_are_taken_ahead_for_a_time_and_not_by_number() -> None:
    quota = QuotaState(gap=0.05)
    assert quota.take_slots(SlotRequest("a", 0.2, 0.0001, 0.0), 100.0).calls == 4
