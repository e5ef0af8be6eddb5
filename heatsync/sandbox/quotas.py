"""Quotas as the vendors keep them: sliding windows, per account."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `calls` in any `seconds`."""

    calls: int
    seconds: float


class Window:
    """At most `calls` in any `seconds`. Times are arguments, in unix seconds, and must not decrease."""

    def __init__(self, calls: int, seconds: float) -> None:
        self.calls = calls
        self.seconds = seconds
        self._taken: deque[float] = deque()

    def used(self, now: float) -> int:
        while self._taken and self._taken[0] <= now - self.seconds:
            self._taken.popleft()
        return len(self._taken)

    def free_in(self, now: float) -> float:
        """Seconds until one more call fits; 0.0 when it fits now."""
        if self.used(now) < self.calls:
            return 0.0
        return self._taken[-self.calls] + self.seconds - now if self.calls else self.seconds

    def resets_at(self, now: float) -> float:
        """When the oldest call in the window leaves it."""
        return self._taken[0] + self.seconds if self.used(now) else now + self.seconds

    def take(self, now: float) -> None:
        self._taken.append(now)


def admit(windows: Mapping[str, Window], names: Iterable[str], now: float) -> tuple[str, float] | None:
    """Count one call in every named window, and return None; or count it in none, and return the full window with the
    seconds until it has room."""
    wanted = [(name, windows[name]) for name in names]
    for name, window in wanted:
        wait = window.free_in(now)
        if wait > 0:
            return name, wait
    for _, window in wanted:
        window.take(now)
    return None
