"""A destination opened for a mapping, and the calls made to it."""

import threading
from dataclasses import dataclass

from connectors.destination import Destination, Limits
from connectors.types import Account
from heatsync.ledger import BoundMapping


class CallCounter:
    """Counts the requests of one mapping. Delivering threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0

    def count(self) -> None:
        """Count one request."""
        with self._lock:
            self._number += 1

    def take(self) -> int:
        """How many requests since this was last called."""
        with self._lock:
            number, self._number = self._number, 0
        return number


@dataclass(frozen=True, slots=True)
class OpenDestination:
    """A destination, opened for a mapping with a credential whose account is known.

    `bound` is the mapping bound to that account, `credential` its keyed hash.
    """

    destination: Destination
    bound: BoundMapping
    account: Account
    credential: str
    calls: CallCounter
    limits: Limits
