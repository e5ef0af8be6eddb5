"""Cut changes into batches, and estimate their calls."""

from collections import Counter
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from itertools import chain

from connectors.destination import Limits
from connectors.types import Change, Kind
from heatsync.ledger import PlannedChange
from heatsync.sync.compare.diff import Changes
from heatsync.sync.compare.types import Departure


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """Changes that go out together, and how many calls they take where nothing goes wrong."""

    changes: tuple[PlannedChange, ...]
    calls: int


def cut(changes: Changes, limits: Limits, readable: bool) -> Iterator[PlannedBatch | Departure]:
    """Cut changes into batches of the size that the destination takes. Departures come as they are."""
    most = changes.most_writes()
    size, in_files = limits.batch_size(most), limits.uses_files(most)
    tags = {column.name for column in changes.shape.columns if column.tag}
    waiting: list[PlannedChange] = []

    def batch() -> PlannedBatch:
        calls = _estimated_calls(limits, [planned.change for planned in waiting], tags, in_files)
        return PlannedBatch(tuple(waiting), calls)

    for each in chain(changes.writes(), changes.departures(readable)):
        if isinstance(each, Departure):
            yield each
            continue
        waiting.append(each)
        if len(waiting) == size:
            yield batch()
            waiting.clear()
    if waiting:
        yield batch()


def creates_record(change: Change) -> bool:
    """Whether a change creates its record, as far as is known."""
    return change.remote_id is None and change.kind is not Kind.LEFT


def _estimated_calls(limits: Limits, changes: Iterable[Change], tags: Set[str], in_files: bool) -> int:
    """Calls that one batch takes where nothing goes wrong. Updates and creations never share a call, nor do two tags."""
    written: Counter[bool] = Counter()
    tagged: Counter[tuple[bool, str, bool]] = Counter()
    for change in changes:
        new = change.remote_id is None
        marks = change.fields.keys() & tags
        written[new] += new or len(marks) < len(change.fields)
        tagged.update((new, name, bool(change.fields[name])) for name in marks)
    return sum(limits.estimated_calls(count, in_files) for count in written.values()) + len(tagged)
