"""One quota for every process: slots that Redis gives out, by its own clock."""

from typing import Any

import redis

from connectors.errors import Unavailable
from connectors.rate_limit import LONGEST_WAIT, SlotRequest, Slots

KEPT = 2 * 86_400_000
"""Milliseconds for which a quota is remembered after its last call: longer than a day's budget."""

# The arithmetic is that of connectors.pace.QuotaState, which the ledger uses; times are in microseconds.
_TAKE = """
local now = redis.call('TIME')
local at = now[1] * 1000000 + now[2]
local page = redis.call('HMGET', KEYS[1], 'free', 'until', 'gap', 'day', 'spent')
local gap, late = tonumber(ARGV[2]), tonumber(ARGV[3])
local day, most, patience = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
gap = math.max(gap, tonumber(page[3] or '0'))
local calls = math.max(1, math.floor(tonumber(ARGV[1]) / gap))
local first = math.max(at - late, tonumber(page[1] or '0'), tonumber(page[2] or '0'))
local wait = first - at
if wait > patience then return {string.format('%.0f', wait), 0, string.format('%.0f', gap), 0} end
if most >= 0 then
    local spent = page[4] == day and tonumber(page[5] or '0') or 0
    if spent >= most then return {string.format('%.0f', wait), 0, string.format('%.0f', gap), 1} end
    calls = math.min(calls, math.max(1, math.floor((most - spent) / 100)))
    redis.call('HSET', KEYS[1], 'day', day, 'spent', spent + calls)
end
redis.call('HSET', KEYS[1], 'free', string.format('%.0f', first + calls * gap))
redis.call('PEXPIRE', KEYS[1], ARGV[7])
return {string.format('%.0f', wait), calls, string.format('%.0f', gap), 0}
"""
_HOLD = """
local now = redis.call('TIME')
local at = now[1] * 1000000 + now[2] + ARGV[1]
if at > tonumber(redis.call('HGET', KEYS[1], 'until') or '0') then
    redis.call('HSET', KEYS[1], 'until', string.format('%.0f', at))
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
"""
_HELD = """
local now = redis.call('TIME')
local at = now[1] * 1000000 + now[2]
return string.format('%.0f', tonumber(redis.call('HGET', KEYS[1], 'until') or '0') - at)
"""


class RedisQuotaStore:
    """A `connectors.rate_limit.QuotaStore` that every process with the same broker looks into. Raises Unavailable without it."""

    ahead = 0.0

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._take = client.register_script(_TAKE)
        self._hold = client.register_script(_HOLD)
        self._held = client.register_script(_HELD)

    def close(self) -> None:
        self._client.close()

    def take_slots(self, wish: SlotRequest) -> Slots:
        most = -1 if wish.most is None else wish.most
        asked = [wish.ahead * 1e6, wish.gap * 1e6, wish.late * 1e6, wish.day, most, LONGEST_WAIT * 1e6, KEPT]
        wait, calls, gap, spent = self._ask(self._take, wish.name, asked)
        return Slots(float(wait) / 1e6, int(calls), float(gap) / 1e6, bool(spent))

    def pause_calls(self, name: str, seconds: float) -> None:
        self._ask(self._hold, name, [seconds * 1e6, KEPT])

    def paused_for(self, name: str) -> float:
        return float(self._ask(self._held, name, [])) / 1e6

    def set_gap(self, name: str, gap: float) -> None:
        try:
            self._client.hset(_key(name), "gap", str(gap * 1e6))
        except redis.RedisError as error:
            raise _gone(error) from None

    def _ask(self, script: Any, name: str, asked: list[Any]) -> Any:
        try:
            return script(keys=[_key(name)], args=asked)
        except redis.RedisError as error:
            raise _gone(error) from None


def _key(name: str) -> str:
    return f"heatsync:pace:{name}"


def _gone(error: redis.RedisError) -> Unavailable:
    return Unavailable(
        f"The broker, over which quotas are shared, cannot be reached ({type(error).__name__}). Start Redis, or check"
        " `broker:` in heatsync.yml.",
        15.0,
    )


def shared(broker: str) -> RedisQuotaStore:
    """The book in the Redis at `broker`."""
    return RedisQuotaStore(redis.Redis.from_url(broker))
