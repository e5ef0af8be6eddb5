"""One transaction for many: whoever comes while others are written is written next, with all who came meanwhile."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

T = TypeVar("T")
Work = Callable[[sa.Connection], Any]


@dataclass(slots=True)
class _Waiting:
    work: Work
    done: bool = False
    answer: Any = None
    error: Exception | None = None


class GroupCommit:
    """Group commit, for a database that takes one writer at a time. `writing` opens a transaction."""

    def __init__(self, writing: Callable[[], AbstractContextManager[sa.Connection]]) -> None:
        self._writing = writing
        self._waiting: list[_Waiting] = []
        self._coming = threading.Lock()
        self._turn = threading.Lock()

    def __len__(self) -> int:
        """How many wait for the next transaction."""
        return len(self._waiting)

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Do some work in a transaction, which others may share: if it fails, each of them is tried by itself."""
        mine = _Waiting(work)
        with self._coming:
            self._waiting.append(mine)
        with self._turn:
            if not mine.done:
                self._write_all()
        if not mine.done:
            raise RuntimeError("the transaction that this was to be written in was broken off")
        if mine.error is not None:
            raise mine.error
        answer: T = mine.answer
        return answer

    def _write_all(self) -> None:
        with self._coming:
            some, self._waiting = self._waiting, []
        try:
            self._write(some)
        except Exception:
            for one in some:
                try:
                    self._write([one])
                except Exception as error:
                    one.error, one.done = error, True

    def _write(self, some: list[_Waiting]) -> None:
        with self._writing() as connection:
            answers = [one.work(connection) for one in some]
        for one, answer in zip(some, answers, strict=True):
            one.answer, one.done = answer, True
