"""A batch pushed as a delivery pushes it: the state of its job is kept, and it is pushed again until the job ends."""

from dataclasses import dataclass, field, replace

from connectors.destination import Destination
from connectors.errors import InProgress
from connectors.types import Batch, JobEnded, JobState, Outcome


@dataclass
class PushResult:
    """Outcomes of a batch, the states of its jobs (None: a job ended), and the seconds to wait for them."""

    outcomes: list[Outcome] = field(default_factory=list)
    jobs: list[str | None] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


def pushed(destination: Destination, batch: Batch, most: int = 30) -> PushResult:
    """Push until nothing is at work any more; raises what `push` raises but for `InProgress`."""
    result = PushResult()
    for _ in range(most):
        try:
            for word in destination.push(batch):
                if isinstance(word, JobState):
                    result.jobs.append(word.text)
                    batch = replace(batch, job=word.text)
                elif isinstance(word, JobEnded):
                    result.jobs.append(None)
                    batch = replace(batch, job=None)
                else:
                    result.outcomes.append(word)
                    left = tuple(change for change in batch.changes if change.key != word.key)
                    batch = replace(batch, changes=left)
        except InProgress as underway:
            result.waits.append(underway.retry_after or 0.0)
            continue
        return result
    raise AssertionError(f"at work for ever: {result.jobs}")
