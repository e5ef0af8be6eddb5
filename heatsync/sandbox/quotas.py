"""Quotas as the vendors keep them: sliding windows, per account."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Calls per window and account, as documented by the vendors in 2026."""

    hubspot: int = 190
    """Per 10 s: Professional and Enterprise, per private app or service key."""
    hubspot_daily: int = 650_000
    hubspot_search: int = 5
    """Per second."""
    intercom: int = 1666
    """Per 10 s: 10,000 a minute, enforced in windows of 10 s."""
    segment: int = 1000
    """Per second."""
    salesforce_daily: int = 100_000
    """Per rolling 24 h: Enterprise without its licences' share."""
    salesforce_jobs: int = 15_000
    """Bulk jobs per rolling 24 h. Salesforce counts batches of 10,000 records (limits guide, 2026)."""


class Window:
    """At most `calls` in any `seconds`. Times are given and must not decrease."""

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
    """Take one call from every named window, or from none: then the full one, and seconds until it has room."""
    wanted = [(name, windows[name]) for name in names]
    for name, window in wanted:
        wait = window.free_in(now)
        if wait > 0:
            return name, wait
    for _, window in wanted:
        window.take(now)
    return None
