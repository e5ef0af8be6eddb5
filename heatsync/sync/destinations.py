"""A destination opened for a mapping, and the calls made to it."""

import threading
from dataclasses import dataclass

from connectors.destination import Destination, Quota, Throttle
from connectors.types import Account
from heatsync.ledger import Bound


class Calls:
    """Counts the requests of one mapping; delivering threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made = 0

    def made(self) -> None:
        with self._lock:
            self._made += 1

    def take(self) -> int:
        """How many since the last time this was asked."""
        with self._lock:
            made, self._made = self._made, 0
        return made


@dataclass(frozen=True, slots=True)
class OpenDestination:
    """A destination, opened with a credential whose account is known."""

    destination: Destination
    bound: Bound
    account: Account
    credential: str
    calls: Calls


class _Late:
    """A throttle whose limits become known right after the destination was opened with it."""

    real: Throttle | None = None

    def acquire(self) -> None:
        assert self.real is not None
        self.real.acquire()

    def pause(self, seconds: float) -> None:
        assert self.real is not None
        self.real.pause(seconds)

    def on_quota(self, quota: Quota) -> None:
        assert self.real is not None
        self.real.on_quota(quota)

    def sub_quota(self, name: str, calls: int, seconds: float) -> Throttle:
        assert self.real is not None
        return self.real.sub_quota(name, calls, seconds)
