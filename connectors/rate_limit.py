"""One quota, shared: evenly spaced calls, wherever the slots are kept.

Each call takes the next free slot (the "virtual scheduling" form of the generic cell rate algorithm, ITU-T I.371).
Where the slots are kept is a `QuotaStore`'s business: in Redis, in the ledger, or in this process.
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
"""Seconds that a call waits by itself; whatever takes longer goes back to the ledger as `not_before`."""
MARGIN = 0.03
"""By so much a window is taken for longer than it is. Calls are spaced when they leave, and counted when they arrive:
one that was late and a hundred that were not would else meet in one window. Three parts in a hundred of ten seconds."""
CATCHING_UP = 0.01
"""The share of a window that may be made up for when nobody took a slot in time; it lies inside the margin."""


@dataclass(frozen=True, slots=True)
class SlotRequest:
    """What is asked of a book: a slot, and those of the next `ahead` seconds; `gap` seconds apart, the first up to
    `late` seconds ago.

    `most` is how many calls there may be on `day`; None when nobody counts.
    """

    name: str
    ahead: float
    gap: float
    late: float
    day: str = ""
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Slots:
    """`calls` slots from `wait` seconds from now on, `gap` apart. None when the wait is too long, or the day `spent`."""

    wait: float
    calls: int
    gap: float
    spent: bool = False


class QuotaStore(Protocol):
    """Where the slots of many quotas are kept, for everyone who looks into it. Times are seconds from now."""

    ahead: float
    """Seconds for which slots are taken at once: 0 is one slot a call. What asking costs decides."""

    def take_slots(self, wish: SlotRequest) -> Slots:
        """The next free slots, within LONGEST_WAIT."""

    def pause_calls(self, name: str, seconds: float) -> None:
        """Nobody gets a slot for so long; a shorter one does not shorten a longer one."""

    def paused_for(self, name: str) -> float:
        """How much longer nobody gets a slot."""

    def set_gap(self, name: str, gap: float) -> None:
        """From now on slots are at least so many seconds apart."""


@dataclass(slots=True)
class QuotaState:
    """What a book keeps of one quota: the next free slot, the end of a pause, the vendor's own gap, and the day's calls."""

    free: float = 0.0
    until: float = 0.0
    gap: float = 0.0
    day: str = ""
    spent: int = 0

    def take_slots(self, wish: SlotRequest, now: float) -> Slots:
        gap = max(wish.gap, self.gap)
        first = max(now - wish.late, self.free, self.until)
        wait = first - now
        if wait > LONGEST_WAIT:
            return Slots(wait, 0, gap)
        calls = max(1, int(wish.ahead / gap))
        if wish.most is not None:
            if self.day != wish.day:
                self.day, self.spent = wish.day, 0
            left = wish.most - self.spent
            if left <= 0:
                return Slots(wait, 0, gap, spent=True)
            # Slots that nobody uses in the end count as well: of a small budget they are taken singly.
            calls = min(calls, max(1, left // 100))
            self.spent += calls
        self.free = first + calls * gap
        return Slots(wait, calls, gap)


class MemoryStore:
    """The book of one process."""

    ahead = 0.0

    def __init__(self) -> None:
        self._pages: dict[str, QuotaState] = {}
        self._lock = threading.Lock()

    def take_slots(self, wish: SlotRequest) -> Slots:
        with self._lock:
            return self._pages.setdefault(wish.name, QuotaState()).take_slots(wish, time.monotonic())

    def pause_calls(self, name: str, seconds: float) -> None:
        with self._lock:
            page = self._pages.setdefault(name, QuotaState())
            page.until = max(page.until, time.monotonic() + seconds)

    def paused_for(self, name: str) -> float:
        with self._lock:
            return self._pages.setdefault(name, QuotaState()).until - time.monotonic()

    def set_gap(self, name: str, gap: float) -> None:
        with self._lock:
            self._pages.setdefault(name, QuotaState()).gap = gap


def unavailable_for(why: str, seconds: float) -> Unavailable:
    """What to say when nobody may call for so long. `why` is a sentence."""
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    return Unavailable(f"{why} It is asked again from {at:%Y-%m-%d %H:%M} UTC on.", seconds)


@dataclass(frozen=True, slots=True)
class DailyBudget:
    """The most calls a day. `today` names the day and tells when it ends."""

    calls: int
    today: Callable[[], tuple[str, datetime]]


class RateLimiter:
    """A throttle: never more than `calls` in any `seconds`, over all who share the book under this name.

    Every call rests before it is made, if only for no time at all: whatever `rest` raises keeps it from being made.
    """

    def __init__(
        self,
        calls: int,
        seconds: float,
        book: QuotaStore | None = None,
        name: str = "",
        budget: DailyBudget | None = None,
        rest: Callable[[float], object] = time.sleep,
    ) -> None:
        self._name = name
        self._book: QuotaStore = book or MemoryStore()
        self._budget = budget
        self._rest = rest
        self._seconds = seconds
        self._gap = seconds * (1 + MARGIN) / calls
        self._told: Quota | None = None
        self._spent = ""
        self._slots = Slots(0.0, 0, 0.0)
        self._lock = threading.Lock()

    def sub_quota(self, name: str, calls: int, seconds: float) -> Throttle:
        return RateLimiter(calls, seconds, self._book, f"{self._name} {name}", rest=self._rest)

    def acquire(self) -> None:
        while True:
            with self._lock:
                wait = self._next()
            self._rest(max(0.0, wait))
            # Whoever waited may have slept into a pause.
            if wait <= 0 or self._book.paused_for(self._name) <= 0:
                return

    def pause(self, seconds: float) -> None:
        self._book.pause_calls(self._name, seconds)
        with self._lock:
            self._slots = Slots(0.0, 0, 0.0)

    def on_quota(self, quota: Quota) -> None:
        """Keep to a quota that is smaller than ours, and stop before one that is used up."""
        if quota.calls is not None and (self._told is None or self._told.calls != quota.calls):
            theirs = quota.seconds * (1 + MARGIN) / quota.calls
            self._told = quota
            self._book.set_gap(self._name, theirs if theirs > self._gap else 0.0)
        if quota.wait > 0:
            self._spent = quota.spent
            self.pause(quota.wait)

    def _next(self) -> float:
        """Seconds until the slot that is ours; 0 or less when it is now."""
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
        """Slots whose `wait` is by this process's clock."""
        day, end = self._budget.today() if self._budget else ("", None)
        most = self._budget.calls if self._budget else None
        slots = self._book.take_slots(SlotRequest(self._name, self._book.ahead, self._gap, late, day, most))
        if slots.spent and end is not None:
            seconds = (end - datetime.now(end.tzinfo)).total_seconds()
            raise Unavailable(
                f"The {most:,} calls of {day} are made (requests_per_day). It goes on at {end:%Y-%m-%d %H:%M %Z}.",
                max(1.0, seconds),
            )
        if not slots.calls:
            raise unavailable_for(
                self._spent or "The quota is used up, or the vendor asked to wait.", slots.wait
            )
        return replace(slots, wait=time.monotonic() + slots.wait)
