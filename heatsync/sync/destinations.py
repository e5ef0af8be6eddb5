"""A destination opened for a mapping, and the calls made to it."""

import threading
from dataclasses import dataclass

from connectors.destination import Destination, Limits
from connectors.types import Account
from heatsync.ledger import BoundMapping


class CallCounter:
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
    bound: BoundMapping
    account: Account
    credential: str
    calls: CallCounter
    limits: Limits
