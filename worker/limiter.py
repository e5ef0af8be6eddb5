"""One quota for every process: evenly spaced calls, counted by Redis and on its clock."""

import time
from collections.abc import Callable

import redis

from connectors.base import Limits, Unavailable
from connectors.http import PATIENCE

_SLOT = """
local now = redis.call('TIME')
local at = now[1] * 1000000 + now[2]
local free = math.max(at, tonumber(redis.call('GET', KEYS[1]) or '0'))
local wait = free - at
if wait <= tonumber(ARGV[2]) then
    redis.call('SET', KEYS[1], string.format('%.0f', free + ARGV[1]), 'PX', math.ceil((wait + ARGV[1]) / 1000) + 1000)
end
return string.format('%.0f', wait)
"""
_PAUSE = """
local now = redis.call('TIME')
local until_ = now[1] * 1000000 + now[2] + ARGV[1]
if until_ > tonumber(redis.call('GET', KEYS[1]) or '0') then
    redis.call('SET', KEYS[1], string.format('%.0f', until_), 'PX', math.ceil(ARGV[1] / 1000) + 1000)
end
"""


class SharedPace:
    """The throttle of one destination and credential, shared through Redis.

    Each call takes the next free slot (the "virtual scheduling" form of the generic cell rate algorithm, ITU-T
    I.371, with no tolerance): never a burst, so never more than `calls` in any window.
    """

    def __init__(self, client: redis.Redis, name: str, limits: Limits) -> None:
        self._key = f"heatsync:pace:{name}"
        self._gap = 1_000_000 * limits.seconds / limits.calls
        self._slot = client.register_script(_SLOT)
        self._hold = client.register_script(_PAUSE)

    def acquire(self) -> None:
        wait = float(self._slot(keys=[self._key], args=[self._gap, PATIENCE * 1_000_000])) / 1_000_000
        if wait > PATIENCE:
            raise Unavailable(f"the quota is used up for another {wait:.0f} s", wait)
        if wait > 0:
            time.sleep(wait)

    def pause(self, seconds: float) -> None:
        self._hold(keys=[self._key], args=[seconds * 1_000_000])


def shared(broker: str) -> Callable[[str, Limits], SharedPace]:
    """Makes the throttles of a house out of the Redis at `broker`."""
    client = redis.Redis.from_url(broker)
    return lambda name, limits: SharedPace(client, name, limits)
