"""Owners of leases, and threads that extend leases while work goes on."""

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
    """An owner of leases in this process. `name` distinguishes owners within the process."""
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

    def extend_until_done() -> None:
        while not done.wait(every):
            extend()

    thread = threading.Thread(target=extend_until_done, name="keeping a lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class LeaseKeeper:
    """One thread that extends every lease in use: a thread for each costs as much as a small batch."""

    def __init__(self, every: float = LEASE / 4) -> None:
        self._every = every
        self._extensions: dict[int, Callable[[], object]] = {}
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def keep(self, extend: Callable[[], object]) -> Iterator[None]:
        """Extend a lease as long as the block runs. `extend` may be called once more afterwards."""
        with self._lock:
            self._extensions[id(extend)] = extend
            if self._thread is None:
                self._thread = threading.Thread(target=self._extend_all, name="keeping leases", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                del self._extensions[id(extend)]

    def close(self) -> None:
        """End the thread."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _extend_all(self) -> None:
        while not self._done.wait(self._every):
            with self._lock:
                extensions = list(self._extensions.values())
            for extend in extensions:
                try:
                    extend()
                except Exception:
                    # It is tried again within the lease. If that fails, too, another worker takes the batch over.
                    log.exception("A lease could not be extended.")
