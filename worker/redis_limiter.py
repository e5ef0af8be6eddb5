"""Quotas of destinations, shared by all processes with the same Redis, by its clock."""

from typing import Any

import redis

from connectors.errors import Unavailable
from connectors.rate_limit import LONGEST_WAIT, SlotRequest, Slots

KEPT = 2 * 86_400_000
"""Milliseconds for which a quota is kept after its last call: longer than a day, for daily limits."""

# The arithmetic is that of connectors.rate_limit.QuotaState. Times are in microseconds.
_TAKE = """
local now = redis.call('TIME')
local at = now[1] * 1000000 + now[2]
local state = redis.call('HMGET', KEYS[1], 'free', 'until', 'gap', 'day', 'spent')
local gap, late = tonumber(ARGV[2]), tonumber(ARGV[3])
local day, most, patience = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
gap = math.max(gap, tonumber(state[3] or '0'))
local calls = math.max(1, math.floor(tonumber(ARGV[1]) / gap))
local first = math.max(at - late, tonumber(state[1] or '0'), tonumber(state[2] or '0'))
local wait = first - at
if wait > patience then return {string.format('%.0f', wait), 0, string.format('%.0f', gap), 0} end
if most >= 0 then
    local spent = state[4] == day and tonumber(state[5] or '0') or 0
    if spent >= most then return {string.format('%.0f', wait), 0, string.format('%.0f', gap), 1} end
    calls = math.min(calls, math.max(1, math.floor((most - spent) / 100)))
    redis.call('HSET', KEYS[1], 'day', day, 'spent', spent + calls)
end
redis.call('HSET', KEYS[1], 'free', string.format('%.0f', first + calls * gap))
redis.call('PEXPIRE', KEYS[1], ARGV[7])
return {string.format('%.0f', wait), calls, string.format('%.0f', gap), 0}
"""
_PAUSE = """
local now = redis.call('TIME')
local at = now[1] * 1000000 + now[2] + ARGV[1]
if at > tonumber(redis.call('HGET', KEYS[1], 'until') or '0') then
    redis.call('HSET', KEYS[1], 'until', string.format('%.0f', at))
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
"""
_PAUSED_FOR = """
local now = redis.call('TIME')
local at = now[1] * 1000000 + now[2]
return string.format('%.0f', tonumber(redis.call('HGET', KEYS[1], 'until') or '0') - at)
"""


class RedisQuotaStore:
    """A `connectors.rate_limit.QuotaStore` in Redis. Raises Unavailable if Redis cannot be reached."""

    ahead = 0.0

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._take = client.register_script(_TAKE)
        self._pause = client.register_script(_PAUSE)
        self._paused_for = client.register_script(_PAUSED_FOR)

    def close(self) -> None:
        self._client.close()

    def take_slots(self, request: SlotRequest) -> Slots:
        most = -1 if request.most is None else request.most
        arguments = [
            request.ahead * 1e6,
            request.gap * 1e6,
            request.late * 1e6,
            request.day,
            most,
            LONGEST_WAIT * 1e6,
            KEPT,
        ]
        wait, calls, gap, spent = self._run(self._take, request.name, arguments)
        return Slots(float(wait) / 1e6, int(calls), float(gap) / 1e6, bool(spent))

    def pause_calls(self, name: str, seconds: float) -> None:
        self._run(self._pause, name, [seconds * 1e6, KEPT])

    def paused_for(self, name: str) -> float:
        return float(self._run(self._paused_for, name, [])) / 1e6

    def set_gap(self, name: str, gap: float) -> None:
        try:
            self._client.hset(_key(name), "gap", str(gap * 1e6))
        except redis.RedisError as error:
            raise _unavailable(error) from None

    def _run(self, script: Any, name: str, arguments: list[Any]) -> Any:
        try:
            return script(keys=[_key(name)], args=arguments)
        except redis.RedisError as error:
            raise _unavailable(error) from None


def _key(name: str) -> str:
    return f"heatsync:rate_limit:{name}"


def _unavailable(error: redis.RedisError) -> Unavailable:
    return Unavailable(
        f"The broker, which holds the shared quotas, cannot be reached ({type(error).__name__}). Start Redis, or check"
        " `broker:` in heatsync.yml.",
        15.0,
    )


def connect(broker: str) -> RedisQuotaStore:
    """The quotas in the Redis at the URL `broker`."""
    return RedisQuotaStore(redis.Redis.from_url(broker))
