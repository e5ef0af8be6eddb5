"""The quota that all processes share, on a real Redis."""

import subprocess
import sys
import time

import pytest
import redis

from connectors.base import Limits, Unavailable
from worker.limiter import SharedPace

LIMITS = Limits(records=1, lookups=1, calls=40, seconds=1.0)
CHILD = """
import sys, time, redis
from connectors.base import Limits
from worker.limiter import SharedPace
client = redis.Redis.from_url(sys.argv[1])
pace = SharedPace(client, "x", Limits(records=1, lookups=1, calls=40, seconds=1.0))
for _ in range(20):
    pace.acquire()
    print(time.time(), flush=True)
client.close()
"""


def test_processes_together_keep_to_one_pace(redis_url: str) -> None:
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD, redis_url], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    times = sorted(float(stamp) for child in children for stamp in child.communicate(timeout=60)[0].split())
    assert [child.returncode for child in children] == [0, 0, 0]
    assert len(times) == 60
    for first, last in zip(times, times[40:], strict=False):
        # Between taking a place and printing the time a busy machine may stop us: hence not exactly 1.
        assert last - first > 0.9


def test_a_pause_holds_everyone(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        one, two = SharedPace(client, "y", LIMITS), SharedPace(client, "y", LIMITS)
        one.acquire()
        one.pause(0.5)
        one.pause(0.1)  # a shorter pause does not shorten a longer one
        started = time.monotonic()
        two.acquire()
        assert time.monotonic() - started > 0.4


def test_a_long_pause_says_when_to_come_back(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        pace = SharedPace(client, "z", LIMITS)
        pace.pause(3600)
        with pytest.raises(Unavailable) as told:
            pace.acquire()
        assert (told.value.retry_after or 0) > 3500
