"""A batch pushed as the ledger would have it pushed: noted, and looked after until it is over."""

from dataclasses import dataclass, field, replace

from connectors.destination import Destination
from connectors.errors import InProgress
from connectors.types import Batch, JobState, Outcome


@dataclass
class Filed:
    """What a batch came to: its outcomes, the notes on it, and how often it was at work over there."""

    outcomes: list[Outcome] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


def pushed(destination: Destination, batch: Batch, most: int = 30) -> Filed:
    """Push until nothing is at work any more; raises what `push` raises but for `InProgress`."""
    filed = Filed()
    for _ in range(most):
        try:
            for word in destination.push(batch):
                if isinstance(word, JobState):
                    filed.notes.append(word.text)
                    batch = replace(batch, note=word.text)
                else:
                    filed.outcomes.append(word)
                    left = tuple(change for change in batch.changes if change.key != word.key)
                    batch = replace(batch, changes=left)
        except InProgress as underway:
            filed.waits.append(underway.retry_after or 0.0)
            continue
        return filed
    raise AssertionError(f"at work for ever: {filed.notes}")
