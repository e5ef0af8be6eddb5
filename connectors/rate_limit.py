"""One quota, shared: evenly spaced calls, wherever the slots are kept.

Each call takes the next free slot (the "virtual scheduling" form of the generic cell rate algorithm, ITU-T I.371). A
`QuotaStore` keeps the slots: in Redis, in the ledger, or in this process.
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from connectors.destination import Quota, Throttle
from connectors.errors import Unavailable

LONGEST_WAIT = 30.0
"""Seconds that a call waits by itself; a longer wait goes back to the ledger as `not_before`."""
MARGIN = 0.03
"""The share by which a window is taken to be longer than it is. Calls are spaced when they leave and counted when they
arrive: otherwise one late call and a hundred punctual ones could meet in one window. Three percent of ten seconds."""
CATCHING_UP = 0.01
"""The share of a window by which a missed slot may be made up for; it lies inside the margin."""


@dataclass(frozen=True, slots=True)
class SlotRequest:
    """A request for a slot, and for those of the next `ahead` seconds; `gap` seconds apart, the first one up to `late`
    seconds ago.

    `most` is how many calls there may be on `day`; None where calls a day are not limited.
    """

    name: str
    ahead: float
    gap: float
    late: float
    day: str = ""
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Slots:
    """`calls` slots, `gap` seconds apart, the first one in `wait` seconds. No calls when the wait is too long, or when the
    day's calls are `spent`."""

    wait: float
    calls: int
    gap: float
    spent: bool = False


class QuotaStore(Protocol):
    """The slots of many quotas, for all who share the store. Times are seconds from now."""

    ahead: float
    """Seconds for which slots are taken at once; 0 takes one slot a call. The cost of a request decides."""

    def take_slots(self, request: SlotRequest) -> Slots:
        """The next free slots, within LONGEST_WAIT."""

    def pause_calls(self, name: str, seconds: float) -> None:
        """Give out no slot for this long; a shorter pause does not shorten a longer one."""

    def paused_for(self, name: str) -> float:
        """Seconds until slots are given out again."""

    def set_gap(self, name: str, gap: float) -> None:
        """From now on, slots are at least this many seconds apart."""


@dataclass(slots=True)
class QuotaState:
    """What a store keeps of one quota: the next free slot, the end of a pause, the vendor's own gap, and the day's calls."""

    free: float = 0.0
    until: float = 0.0
    gap: float = 0.0
    day: str = ""
    spent: int = 0

    def take_slots(self, request: SlotRequest, now: float) -> Slots:
        """The next free slots after `now`, which are then taken."""
        gap = max(request.gap, self.gap)
        first = max(now - request.late, self.free, self.until)
        wait = first - now
        if wait > LONGEST_WAIT:
            return Slots(wait, 0, gap)
        calls = max(1, int(request.ahead / gap))
        if request.most is not None:
            if self.day != request.day:
                self.day, self.spent = request.day, 0
            left = request.most - self.spent
            if left <= 0:
                return Slots(wait, 0, gap, spent=True)
            # Slots that are never used count as well: from a small budget they are taken singly.
            calls = min(calls, max(1, left // 100))
            self.spent += calls
        self.free = first + calls * gap
        return Slots(wait, calls, gap)


class MemoryStore:
    """The quotas of one process."""

    ahead = 0.0

    def __init__(self) -> None:
        self._states: dict[str, QuotaState] = {}
        self._lock = threading.Lock()

    def take_slots(self, request: SlotRequest) -> Slots:
        with self._lock:
            return self._state(request.name).take_slots(request, time.monotonic())

    def pause_calls(self, name: str, seconds: float) -> None:
        with self._lock:
            state = self._state(name)
            state.until = max(state.until, time.monotonic() + seconds)

    def paused_for(self, name: str) -> float:
        with self._lock:
            return self._state(name).until - time.monotonic()

    def set_gap(self, name: str, gap: float) -> None:
        with self._lock:
            self._state(name).gap = gap

    def _state(self, name: str) -> QuotaState:
        return self._states.setdefault(name, QuotaState())


def unavailable_for(reason: str, seconds: float) -> Unavailable:
    """The error for calls that must wait for so long. `reason` is a sentence."""
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    return Unavailable(f"{reason} Calls resume at {at:%Y-%m-%d %H:%M} UTC.", seconds)


@dataclass(frozen=True, slots=True)
class DailyBudget:
    """The most calls a day. `today` returns the day's name and its end."""

    calls: int
    today: Callable[[], tuple[str, datetime]]


class RateLimiter:
    """A throttle: never more than `calls` in any `seconds`, over all who share the store under this name.

    `sleep` is called before every call, also for 0 seconds: an exception from it prevents the call.
    """

    def __init__(
        self,
        calls: int,
        seconds: float,
        store: QuotaStore | None = None,
        name: str = "",
        budget: DailyBudget | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._name = name
        self._store: QuotaStore = store or MemoryStore()
        self._budget = budget
        self._sleep = sleep
        self._seconds = seconds
        self._gap = seconds * (1 + MARGIN) / calls
        self._quota: Quota | None = None
        self._spent = ""
        self._slots = Slots(0.0, 0, 0.0)
        self._lock = threading.Lock()

    def sub_quota(self, name: str, calls: int, seconds: float) -> Throttle:
        return RateLimiter(calls, seconds, self._store, f"{self._name} {name}", sleep=self._sleep)

    def acquire(self) -> None:
        while True:
            with self._lock:
                wait = self._next()
            self._sleep(max(0.0, wait))
            # A pause may have begun during the wait.
            if wait <= 0 or self._store.paused_for(self._name) <= 0:
                return

    def pause(self, seconds: float) -> None:
        self._store.pause_calls(self._name, seconds)
        with self._lock:
            self._slots = Slots(0.0, 0, 0.0)

    def on_quota(self, quota: Quota) -> None:
        """Keep to a quota that is smaller than ours, and pause when one is used up."""
        if quota.calls is not None and (self._quota is None or self._quota.calls != quota.calls):
            theirs = quota.seconds * (1 + MARGIN) / quota.calls
            self._quota = quota
            self._store.set_gap(self._name, theirs if theirs > self._gap else 0.0)
        if quota.wait > 0:
            self._spent = quota.spent
            self.pause(quota.wait)

    def _next(self) -> float:
        """Seconds until our slot; 0 or less when it is now."""
        now = time.monotonic()
        late = self._seconds * CATCHING_UP
        mine = self._slots
        missed = 0
        if mine.calls and mine.wait < now - late:
            missed = min(mine.calls, math.ceil((now - late - mine.wait) / mine.gap))
        if mine.calls <= missed:
            mine, missed = self._take(late), 0
        first = mine.wait + missed * mine.gap
        self._slots = Slots(first + mine.gap, mine.calls - missed - 1, mine.gap)
        return first - time.monotonic()

    def _take(self, late: float) -> Slots:
        """New slots; their `wait` is by this process's clock. Raises Unavailable where the wait is too long."""
        day, end = self._budget.today() if self._budget else ("", None)
        most = self._budget.calls if self._budget else None
        slots = self._store.take_slots(SlotRequest(self._name, self._store.ahead, self._gap, late, day, most))
        if slots.spent and end is not None:
            seconds = (end - datetime.now(end.tzinfo)).total_seconds()
            raise Unavailable(
                f"Daily limit reached: {most:,} calls on {day} (requests_per_day). Calls resume at {end:%Y-%m-%d %H:%M %Z}.",
                max(1.0, seconds),
            )
        if not slots.calls:
            raise unavailable_for(
                self._spent or "The quota is used up, or the vendor asked to wait.", slots.wait
            )
        return replace(slots, wait=time.monotonic() + slots.wait)
