"""Group commit: work that arrives during a transaction is written together in the next one."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

T = TypeVar("T")
Work = Callable[[sa.Connection], Any]


@dataclass(slots=True)
class _Request:
    work: Work
    done: bool = False
    result: Any = None
    error: Exception | None = None


class GroupCommit:
    """Group commit for a database that takes one writer at a time. `writing` opens a transaction."""

    def __init__(self, writing: Callable[[], AbstractContextManager[sa.Connection]]) -> None:
        self._writing = writing
        self._queue: list[_Request] = []
        self._queue_lock = threading.Lock()
        self._write_lock = threading.Lock()

    def __len__(self) -> int:
        """Requests that wait for the next transaction."""
        return len(self._queue)

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` in a transaction that others may share, and return its result.

        If the transaction fails, the work of each is tried in a transaction of its own, and the error goes to the one
        that caused it. Raises what `work` raises, and RuntimeError if the thread that wrote for all was interrupted.
        """
        request = _Request(work)
        with self._queue_lock:
            self._queue.append(request)
        with self._write_lock:
            if not request.done:
                self._write_queue()
        if not request.done:
            raise RuntimeError("the transaction that this was to be written in was interrupted")
        if request.error is not None:
            raise request.error
        result: T = request.result
        return result

    def _write_queue(self) -> None:
        with self._queue_lock:
            requests, self._queue = self._queue, []
        try:
            self._write(requests)
        except Exception:
            for request in requests:
                try:
                    self._write([request])
                except Exception as error:
                    request.error, request.done = error, True

    def _write(self, requests: list[_Request]) -> None:
        with self._writing() as connection:
            results = [request.work(connection) for request in requests]
        for request, result in zip(requests, results, strict=True):
            request.result, request.done = result, True
