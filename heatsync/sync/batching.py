"""Cut changes into batches, and estimate their calls."""

from collections import Counter
from collections.abc import Iterator

from connectors.destination import Limits
from connectors.types import Change, Kind
from heatsync.ledger import PlannedChange, Run, Standing
from heatsync.sync.compare.diff import Comparison
from heatsync.sync.compare.types import Row
from heatsync.sync.context import Context, OnProgress
from heatsync.sync.destinations import OpenDestination
from heatsync.sync.mapping.model import Mapping, MappingQuery


def _creates(mapping: Mapping) -> bool:
    """Whether records are made over there that are not there, as far as that can be told apart."""
    return mapping.vendor.readable and mapping.mode == "upsert"


def _cut(
    comparison: Comparison,
    context: Context,
    mapping: Mapping,
    opened: OpenDestination,
    run: Run,
    rendered: MappingQuery,
    keep: bool,
    show: int,
    progress: OnProgress,
) -> tuple[list[Row], int, int, int]:
    """Cut the changes into batches; answers the first `show` of them, how many there are, how many create, and how many
    calls they will take."""
    types = {f.name: f.type for f in rendered.fields}
    tags = {f.name for f in rendered.fields if f.tag}
    limits = opened.limits
    most = comparison.most_writes()
    size = limits.batch_size(most)
    shown: list[Row] = []
    waiting: list[PlannedChange] = []
    number = total = creates = calls = 0
    gone: list[Standing] = []

    def write() -> None:
        nonlocal number, waiting, calls
        calls += _foretold(limits, [planned.change for planned in waiting], tags, limits.uses_files(most))
        if waiting and keep:
            number += 1
            context.ledger.add_batch(run, number, waiting, types)
        waiting = []

    for row in _all_changes(comparison, mapping.vendor.readable):
        if isinstance(row, str):
            gone.append(Standing(row, None, "left"))
            continue
        total += 1
        creates += row.change.remote_id is None and row.change.kind is not Kind.LEFT
        if len(shown) < show:
            shown.append(row)
        waiting.append(PlannedChange(row.change, row.digest, row.level))
        if len(waiting) == size:
            context.wait()
            write()
            progress(mapping.name, "planning", total, 0)
    write()
    if keep:
        context.ledger.save_standings(opened.bound, gone)
    return shown, total, creates if _creates(mapping) else 0, calls


def _foretold(limits: Limits, changes: list[Change], tags: set[str], filed: bool) -> int:
    """Calls that one batch takes where nothing goes wrong. What is there and what is made never go together, nor do two
    tags."""
    written: Counter[bool] = Counter()
    tagged: Counter[tuple[bool, str, bool]] = Counter()
    for change in changes:
        new = change.remote_id is None
        marks = change.fields.keys() & tags
        written[new] += new or len(marks) < len(change.fields)
        tagged.update((new, name, bool(change.fields[name])) for name in marks)
    return sum(limits.estimated_calls(count, filed) for count in written.values()) + len(tagged)


def _all_changes(comparison: Comparison, readable: bool) -> Iterator[Row | str]:
    yield from comparison.changes()
    yield from comparison.leavers(readable)
