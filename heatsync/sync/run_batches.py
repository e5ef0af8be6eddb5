"""The batches of a released run, delivered in one process until nothing is due any more."""

import secrets
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from connectors.errors import HeatsyncError, Misunderstood, Unavailable
from heatsync.sync import deliver
from heatsync.sync.context import Context, OnProgress, Paused, no_progress
from heatsync.sync.deliver import DeliveryResult, DeliveryState
from heatsync.sync.destinations import OpenDestination
from heatsync.sync.mapping.model import Mapping


def deliver_mapping(
    context: Context, run: str, mapping: Mapping, progress: OnProgress = no_progress
) -> HeatsyncError | None:
    """Deliver every batch of a mapping's released run; returns what stopped it, if anything did.

    A pause by hand is no failure: the run stays as it is, and unsent changes go out with the next sync.
    """
    try:
        opened = context.open(mapping)
    except HeatsyncError as error:
        context.ledger.finish_run(run, mapping.name, error.delivery_message)
        return error
    started = time.monotonic()
    total = sum(r.planned.writes for r in context.ledger.runs(run) if r.mapping == mapping.name)
    work = _Delivery(context, run, mapping, progress, total, opened.limits.batch_size(total), started)
    reason = work.deliver_all(opened)
    context.ledger.add_calls(run, mapping.name, 0, time.monotonic() - started)
    if isinstance(reason, Paused) and reason.pause.by_hand:
        return None
    context.ledger.finish_run(run, mapping.name, reason.delivery_message if reason is not None else None)
    return reason


def unexpected_error(context: Context, mapping: Mapping, error: Exception) -> HeatsyncError:
    """A sentence in the place of a traceback, which is kept in a file."""
    folder = context.workspace.state / "errors"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}.log"
    path.write_text("".join(traceback.format_exception(error)), "utf-8")
    return Misunderstood(
        f"{mapping.name} failed with an unexpected error ({type(error).__name__}). Details: {path}"
    )


@dataclass(slots=True)
class _Delivery:
    """The delivery of one mapping's run. Delivering threads share it."""

    context: Context
    run: str
    mapping: Mapping
    progress: OnProgress
    total: int
    size: int
    """Changes of one batch."""
    progressed_at: float
    """When a batch was done last, or a destination's job got on, on the monotonic clock."""
    done: int = 0
    in_progress: str = ""
    stopped: list[HeatsyncError] = field(default_factory=list)

    def deliver_all(self, opened: OpenDestination) -> HeatsyncError | None:
        """Deliver what is due, and what becomes due, until nothing is left or something stops it."""
        ledger, name = self.context.ledger, self.mapping.name
        with ThreadPoolExecutor(opened.limits.concurrency) as pool:
            while not self.stopped:
                self._check_standstill()
                due = ledger.due_batches(self.run, name)
                if due:
                    list(pool.map(self._deliver, due))
                    continue
                when = ledger.next_due(self.run, name)
                if when is None:
                    break
                try:
                    self.context.wait(min(max(0.05, when - time.time()), 5.0))
                except HeatsyncError as error:
                    self.stopped.append(error)
        # Refused credentials pause the mapping, and the other threads see the pause: the refusal says more.
        first = self.stopped[0] if self.stopped else None
        return next((error for error in self.stopped if not isinstance(error, Paused)), first)

    def _check_standstill(self) -> None:
        patience = self.context.timeouts.standstill
        if time.monotonic() - self.progressed_at > patience:
            text = f"{self.mapping.name}: for {patience:.0f} s no batch was done. {self.in_progress}"
            self.stopped.append(Unavailable(text.rstrip()))

    def _deliver(self, batch_id: str) -> None:
        if self.stopped:
            return
        try:
            self.context.wait()
            result = deliver.deliver(self.context, batch_id)
        except HeatsyncError as error:
            self.stopped.append(error)
            return
        except Exception as error:  # reported like any other; the batch was put back
            self.stopped.append(unexpected_error(self.context, self.mapping, error))
            return
        reason = self._stop_reason(result)
        if reason is not None:
            self.stopped.append(reason)
        self.in_progress = result.in_progress
        if result.state in (DeliveryState.DONE, DeliveryState.PARKED) or result.progressed:
            self.progressed_at = time.monotonic()
        if result.state is not DeliveryState.LATER:
            self.done += self.size
        self.progress(self.mapping.name, "delivering", min(self.done, self.total), self.total)

    def _stop_reason(self, result: DeliveryResult) -> HeatsyncError | None:
        """Why a run in one process goes no further: the destination cannot be reached, or for long."""
        if result.state is not DeliveryState.LATER:
            return result.error
        wait = result.until - time.time()
        unreachable = isinstance(result.error, Unavailable) and result.error.retry_after is None
        if unreachable or wait > self.context.timeouts.destination:
            return result.error or Unavailable(f"The remaining changes can go out in {wait:.0f} s.", wait)
        return None
