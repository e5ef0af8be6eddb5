"""Find the records of candidates at the destination."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from connectors.errors import HeatsyncError
from connectors.types import Found, Lookup, Outcome, Status
from heatsync import ledger
from heatsync.ledger import Record, Run, Standing
from heatsync.sync.compare.diff import Comparison
from heatsync.sync.context import Context, OnProgress
from heatsync.sync.destinations import OpenDestination
from heatsync.sync.mapping.model import Mapping, MappingQuery


@dataclass(frozen=True, slots=True)
class _Refusals:
    """Where the outcomes go that are earned without sending anything."""

    book: ledger.Ledger
    bound: ledger.BoundMapping
    run: Run
    mapping: Mapping
    keep: bool

    def take(self, refused: Iterator[tuple[Outcome, int]]) -> None:
        recheck = time.time() + self.mapping.recheck_after.total_seconds()
        for chunk in ledger.chunks(refused):
            if not self.keep:
                continue
            self.book.save_unsent_outcomes(self.run, [outcome for outcome, _ in chunk])
            standings = [_refused_standing(outcome, digest, recheck) for outcome, digest in chunk]
            self.book.save_standings(self.bound, standings)


def _refused_standing(outcome: Outcome, digest: int, recheck: float) -> Standing:
    return Standing(
        outcome.key,
        digest,
        "rejected" if outcome.status is Status.REJECTED else "skipped",
        code=outcome.code,
        recheck_at=recheck if outcome.code in ledger.RECHECK_CODES else None,
    )


def _find(
    comparison: Comparison,
    context: Context,
    mapping: Mapping,
    opened: OpenDestination,
    rendered: MappingQuery,
    keep: bool,
    progress: OnProgress,
) -> None:
    """Look for the candidates that are not known yet."""
    types = {f.name: f.type for f in rendered.fields}
    done, of = 0, comparison.candidates()

    def take(asked: list[Lookup], answers: list[Found]) -> None:
        matched = comparison.found(answers, mapping.mode == "upsert")
        records = _learn(comparison, context, opened, asked, matched)
        if keep:
            context.ledger.remember_records(opened.bound, records)

    for chunk in comparison.lookups():
        step = max(opened.limits.lookups_per_call, 1) * 4
        for start in range(0, len(chunk), step):
            context.wait()
            asked = chunk[start : start + step]
            answers: list[Found] = []
            try:
                for found in opened.destination.find(mapping.object, asked, types):
                    answers.append(found)
            except HeatsyncError:
                # What was found before a call failed is not asked for again.
                take(asked, answers)
                raise
            _every_answer(asked, answers, mapping)
            take(asked, answers)
            done += len(asked)
            progress(mapping.name, "looking up", done, of)


def _refuse_clashes(
    comparison: Comparison, book: ledger.Ledger, bound: ledger.BoundMapping, refuse: _Refusals, keep: bool
) -> None:
    """Two of ours that are one record over there are both refused, and neither is taken for it any more."""
    clashing: list[str] = []

    def told() -> Iterator[tuple[Outcome, int]]:
        for outcome, digest in comparison.shared():
            clashing.append(outcome.key)
            yield outcome, digest

    refuse.take(told())
    if keep:
        book.forget_fields(bound, clashing)


def _every_answer(asked: list[Lookup], answers: list[Found], mapping: Mapping) -> None:
    if sorted(lookup.key for lookup in asked) != sorted(answer.key for answer in answers):
        raise AssertionError(f"{mapping.destination} did not answer every look-up exactly once")


def _learn(
    comparison: Comparison,
    context: Context,
    opened: OpenDestination,
    asked: list[Lookup],
    matched: list[Found],
) -> list[Record]:
    values = {lookup.key: lookup.match[0].value if lookup.match else None for lookup in asked}
    had = {
        row[0]: (row[3], json.loads(row[4]))
        for chunk in context.ledger.records(opened.bound, [found.key for found in matched])
        for row in chunk
    }
    rows: list[tuple[Any, ...]] = []
    records = []
    for found in matched:
        remote_id = found.remote_ids[0]
        version, fields = had.get(found.key, (0, {}))
        present = fields | {name: ledger.write_value(value) for name, value in found.values.items()}
        rows.append((found.key, remote_id, values[found.key], version, json.dumps(present), None))
        records.append(Record(found.key, remote_id, values[found.key], found.values, version))
    comparison.learn(rows)
    return records
