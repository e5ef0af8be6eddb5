"""What a piece of work has at hand: the workspace, its mappings, the ledger, and its destinations."""

import os
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from connectors.errors import Aborted, ConfigurationError, HeatsyncError, Unauthorized, Unavailable
from connectors.rate_limit import DailyBudget, QuotaStore, RateLimiter
from heatsync.ledger import BoundMapping, Ledger, Pause
from heatsync.sync.destinations import CallCounter, OpenDestination
from heatsync.sync.leases import LeaseKeeper, is_alive, keep_lease, lease_owner
from heatsync.sync.mapping import files as mapping_files
from heatsync.sync.mapping.model import Mapping as FieldMapping
from heatsync.workspace.config import Workspace

OnProgress = Callable[[str, str, int, int], None]
"""Called with (mapping, what is being done, done, of how many)."""


def no_progress(_mapping: str, _doing: str, _done: int, _of: int) -> None:
    """An `OnProgress` that does nothing."""


def how_to_resume(mapping: str) -> str:
    """A sentence: how a pause because of refused credentials ends."""
    return f"`heatsync resume {mapping}` ends the pause; another credential does so by itself."


class Stopped(HeatsyncError):
    """The process was asked to end."""


class Paused(HeatsyncError):
    """The mapping is paused; unsent changes go out with the next sync."""

    def __init__(self, pause: Pause) -> None:
        super().__init__(pause.cause)
        self.pause = pause


PAUSED_BY_HAND = "paused by hand"
"""The cause of a pause by hand, as it is shown."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long sync waits, in seconds."""

    older_run: float = 180.0
    """A plan waits for the batches in flight of an older run."""
    destination: float = 90.0
    """A run in one process waits for a destination; what takes longer stays pending."""
    standstill: float = 900.0
    """A run in one process waits for the next batch to be done."""
    creation: float = 30.0
    """A batch that creates records waits until it asks again whether another one is still creating some."""
    fields: float = 900.0
    """Between two looks at the fields at the destination, while records are rejected because of them."""


class Context(AbstractContextManager["Context"]):
    """Everything at hand for one workspace.

    Quotas are shared with other processes in `quota_store`; without one, in the ledger.
    """

    def __init__(
        self,
        workspace: Workspace,
        quota_store: QuotaStore | None = None,
        environ: Mapping[str, str] = os.environ,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.workspace = workspace
        self.timeouts = timeouts or Timeouts()
        self.mappings: dict[str, FieldMapping] = mapping_files.load(workspace)
        self.ledger = Ledger(workspace.ledger_url)
        self.lease_keeper = LeaseKeeper()
        self._calls: defaultdict[str, CallCounter] = defaultdict(CallCounter)
        self._stopping = threading.Event()
        self.creation_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        """Taken before the ledger's locks for creating records: threads of one process then wait without asking the ledger."""
        self.fields_complete: set[tuple[str, str]] = set()
        """(Run, mapping) pairs that have no missing fields, or whose missing fields were created."""
        self._environ = environ
        self._quota_store: QuotaStore = quota_store or self.ledger
        self._limiters: dict[str, RateLimiter] = {}
        self._opened: dict[str, OpenDestination] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def close(self) -> None:
        """Close the destinations that were opened, and the ledger."""
        for opened in self._opened.values():
            opened.destination.close()
        self._opened.clear()
        self.lease_keeper.close()
        self.ledger.close()

    def stop(self) -> None:
        """Ask every thread at work to end: no new call is made, and the answers of earlier calls are waited for."""
        self._stopping.set()

    def wait(self, seconds: float = 0.0) -> None:
        """Wait. Raises Stopped once the process was asked to end."""
        if self._stopping.wait(seconds):
            raise Stopped("Stopped. Unsent changes go out with the next sync.")

    def call_counter(self, mapping: str) -> CallCounter:
        """Counts the requests of a mapping, also if its destination cannot be opened."""
        return self._calls[mapping]

    def choose(self, names: list[str]) -> list[FieldMapping]:
        """The named mappings; without names, all. Raises ConfigurationError for an unknown name."""
        unknown = [name for name in names if name not in self.mappings]
        if unknown:
            known = ", ".join(sorted(self.mappings)) or "none"
            raise ConfigurationError(f"There is no mapping {unknown[0]!r}. Mappings here: {known}.")
        return [self.mappings[name] for name in names] if names else list(self.mappings.values())

    def credential(self, mapping: FieldMapping) -> str:
        """A keyed hash of the settings that decide which account a mapping goes to."""
        config = self.workspace.destinations[mapping.destination]
        settings = config.settings(self._environ)
        vendor = config.vendor
        named = [settings.get(name, "") for name in ("url", *vendor.account_settings)]
        return self.ledger.credential_hash(vendor.type, named)

    def calls_per_day(self, mapping: FieldMapping) -> int | None:
        """The most calls a day that heatsync.yml allows for the mapping's destination."""
        most = (
            self.workspace.destinations[mapping.destination].settings(self._environ).get("requests_per_day")
        )
        return int(most) if most else None

    def open(self, mapping: FieldMapping) -> OpenDestination:
        """The mapping's destination, opened, and its account, which is asked once per credential.

        Raises ConfigurationError, Unauthorized, Unavailable, Misunderstood.
        """
        with self._locks[mapping.destination]:
            if mapping.name in self._opened:
                return self._opened[mapping.name]
            config = self.workspace.destinations[mapping.destination]
            settings = config.settings(self._environ)
            credential = self.credential(mapping)
            calls = self._calls[mapping.name]
            limits = config.vendor.limits(settings)
            if credential not in self._limiters:
                most = self.calls_per_day(mapping)
                budget = DailyBudget(most, self.today) if most else None
                self._limiters[credential] = RateLimiter(
                    limits.calls, limits.seconds, self._quota_store, credential, budget, self.wait
                )
            try:
                destination = config.vendor.connect(settings, self._limiters[credential], calls.count)
            except ConfigurationError as error:
                raise ConfigurationError(f"{config.place}: {error}") from None
            known = self.ledger.known_account(credential)
            if known is None:
                account = destination.account()
                name = self.ledger.remember_account(credential, config.vendor.type, account)
            else:
                name, account = known
            opened = OpenDestination(
                destination,
                BoundMapping(mapping.name, name, mapping.object, config.vendor.readable),
                account,
                credential,
                calls,
                limits,
            )
            self._opened[mapping.name] = opened
            return opened

    def locate(self, mapping: FieldMapping, error: HeatsyncError) -> HeatsyncError:
        """The error with the place in the file that it is about, if there is one."""
        if isinstance(error, Unauthorized) and not isinstance(error, Aborted):
            return Unauthorized(
                f"{error} {self.workspace.destinations[mapping.destination].credential_sources}"
            )
        if not isinstance(error, ConfigurationError):
            return error
        written = self.workspace.destinations[mapping.destination].templates.get(error.about)
        if written is not None:
            return ConfigurationError(f"{written.place}: {error}")
        return ConfigurationError(f"{mapping.place}: {error}") if error.about == "object" else error

    def pause_unauthorized(self, mapping: FieldMapping, error: Unauthorized) -> HeatsyncError:
        """Pause a mapping whose credentials were refused. Returns the error to report."""
        located = self.locate(mapping, error)
        self.ledger.pause(mapping.name, str(located), self.credential(mapping))
        return Unauthorized(f"{located} {mapping.name} is paused now: {how_to_resume(mapping.name)}")

    def already_open(self, mapping: str) -> OpenDestination | None:
        """The destination of a mapping if it was opened already."""
        return self._opened.get(mapping)

    def today(self) -> tuple[str, datetime]:
        """The day in the workspace's time zone as an ISO date, and its end."""
        now = datetime.now(self.workspace.time_zone)
        end = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), self.workspace.time_zone)
        return now.date().isoformat(), end

    def end_dead_leases(self) -> None:
        """End the leases of processes of this host that no longer exist."""
        for process in self.ledger.lease_holders():
            if not is_alive(process):
                self.ledger.end_leases_of(process)


@contextmanager
def hold_lock(context: Context, name: str, patience: float = 180.0) -> Iterator[None]:
    """Hold a lock of the ledger; wait for it up to `patience` seconds. Raises Unavailable after that."""
    me = lease_owner(secrets.token_hex(4))
    until = time.monotonic() + patience
    context.end_dead_leases()
    while not context.ledger.lock(name, me):
        if time.monotonic() > until:
            raise Unavailable(f"Another process holds the lock “{name}”. Try again when it is done.", 60)
        context.wait(0.2)
    try:
        with keep_lease(lambda: context.ledger.lock(name, me)):
            yield
    finally:
        context.ledger.unlock(name, me)
