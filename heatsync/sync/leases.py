"""Who holds a lease, and keeping it."""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from heatsync.ledger import LEASE, LeaseOwner, Process

log = logging.getLogger("heatsync")


def lease_owner(name: str) -> LeaseOwner:
    """An owner of leases in this process. `name` tells owners within the process apart."""
    process = Process(_host(), os.getpid())
    return LeaseOwner(f"{name}@{process.host}:{process.pid}", process)


@cache
def _host() -> str:
    """Where a process id is unique: a host since it started, and a container within it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")[:8]
        numbers = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()}/{boot}/{numbers}"


def is_alive(process: Process) -> bool:
    """Whether a process may be alive. Of another host or container nothing is known: its leases run out by themselves."""
    if process.host != _host():
        return True
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def keep_lease(extend: Callable[[], object], every: float = LEASE / 4) -> Iterator[None]:
    """Extend a lease as long as the block runs."""
    done = threading.Event()

    def hold_on() -> None:
        while not done.wait(every):
            extend()

    holder = threading.Thread(target=hold_on, name="keeping a lease", daemon=True)
    holder.start()
    try:
        yield
    finally:
        done.set()
        holder.join()


class LeaseKeeper:
    """One thread that extends every lease at work: a thread for each costs as much as a small batch."""

    def __init__(self, every: float = LEASE / 4) -> None:
        self._every = every
        self._held: dict[int, Callable[[], object]] = {}
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def keep(self, extend: Callable[[], object]) -> Iterator[None]:
        """Extend a lease as long as the block runs. Once more after it must be harmless."""
        with self._lock:
            self._held[id(extend)] = extend
            if self._thread is None:
                self._thread = threading.Thread(target=self._hold_on, name="keeping leases", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                del self._held[id(extend)]

    def close(self) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _hold_on(self) -> None:
        while not self._done.wait(self._every):
            with self._lock:
                held = list(self._held.values())
            for extend in held:
                try:
                    extend()
                except Exception:
                    # The next quarter of the lease is another chance; without one the batch is somebody else's.
                    log.exception("a lease could not be extended")
