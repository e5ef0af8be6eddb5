"""Delivering due batches of one run for a limited time, several at once."""

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from connectors.errors import HeatsyncError, Unavailable
from heatsync.sync import deliver
from heatsync.sync.context import Context
from heatsync.sync.deliver import DeliveryState

TURN_SECONDS = 15.0
"""Seconds after which no further batch is started: other runs wait, and a worker that stops must not take long."""
LONG_WAIT = 60.0
"""From this many seconds on, a wait that a destination asks for holds for all batches of the run."""


@dataclass(slots=True)
class Turn:
    """What a turn came to: errors without repeats, whether the run ended, and whether no more of it can be sent now."""

    errors: list[HeatsyncError] = field(default_factory=list)
    ended: bool = False
    stopped: bool = False


def deliver_due(context: Context, run: str, mapping: str, seconds: float = TURN_SECONDS) -> Turn:
    """Deliver due batches of a mapping's run, as many at once as the destination allows."""
    turn = Turn()
    end = time.monotonic() + seconds
    due = deque(context.ledger.due_batches(run, mapping))

    def work(_: int) -> None:
        while not turn.stopped and time.monotonic() < end:
            try:
                batch = due.popleft()
            except IndexError:
                return
            _add(context, run, mapping, deliver.deliver(context, batch), turn)

    if due:
        width = min(len(due), _concurrency(context, mapping))
        with ThreadPoolExecutor(width) as pool:
            list(pool.map(work, range(width)))
    return turn


def _add(context: Context, run: str, mapping: str, result: deliver.DeliveryResult, turn: Turn) -> None:
    turn.ended = turn.ended or result.run_ended
    if result.error is not None and str(result.error) not in map(str, turn.errors):
        turn.errors.append(result.error)
    if result.state is DeliveryState.STOPPED:
        turn.stopped = True
    asked_to_wait = isinstance(result.error, Unavailable) and result.error.retry_after is not None
    if result.state is DeliveryState.LATER and asked_to_wait and result.until - time.time() > LONG_WAIT:
        turn.stopped = True
        context.ledger.postpone(run, mapping, result.until, str(result.error))


def _concurrency(context: Context, mapping: str) -> int:
    """How many batches at once; 1 if the destination cannot be opened: the delivery itself reports that best."""
    chosen = context.mappings.get(mapping)
    try:
        return context.open(chosen).limits.concurrency if chosen is not None else 1
    except HeatsyncError:
        return 1
