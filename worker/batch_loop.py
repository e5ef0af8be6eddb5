"""A worker's turn: for a while, several batches of one mapping's run at once, and nobody else at the same object."""

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from connectors.errors import HeatsyncError, Unavailable
from heatsync.sync import deliver
from heatsync.sync.context import Context

TURN = 15.0
"""Seconds after which no further batch is begun: others want their turn, and a worker that is to stop must not wait."""
LONG = 60.0
"""From this wait on, the other batches of the run wait as well instead of asking one by one."""


@dataclass(slots=True)
class Turn:
    """How it went: what was said of batches that were not simply done, and whether the run ended with one of them."""

    told: list[HeatsyncError] = field(default_factory=list)
    ended: bool = False
    stopped: bool = False


def take(context: Context, run: str, mapping: str, seconds: float = TURN) -> Turn:
    """Deliver what is due of a run, as many batches at once as the destination takes."""
    turn = Turn()
    end = time.monotonic() + seconds
    due = deque(context.ledger.due_batches(run, mapping))

    def work(_: int) -> None:
        while not turn.stopped and time.monotonic() < end:
            try:
                batch = due.popleft()
            except IndexError:
                return
            _note(context, run, mapping, deliver.deliver(context, batch), turn)

    if due:
        width = min(len(due), _width(context, mapping))
        with ThreadPoolExecutor(width) as pool:
            list(pool.map(work, range(width)))
    return turn


def _note(context: Context, run: str, mapping: str, result: deliver.DeliveryResult, turn: Turn) -> None:
    turn.ended = turn.ended or result.run_ended
    if result.error is not None and str(result.error) not in map(str, turn.told):
        turn.told.append(result.error)
    if result.state is deliver.DeliveryState.STOPPED:
        turn.stopped = True
    limited = isinstance(result.error, Unavailable) and result.error.retry_after is not None
    if result.state is deliver.DeliveryState.LATER and limited and result.until - time.time() > LONG:
        turn.stopped = True
        context.ledger.postpone(run, mapping, result.until, str(result.error))


def _width(context: Context, mapping: str) -> int:
    """How many calls at once; 1 where the destination cannot be opened, which the delivery itself tells best."""
    chosen = context.mappings.get(mapping)
    try:
        return context.open(chosen).limits.concurrency if chosen is not None else 1
    except HeatsyncError:
        return 1
