"""Which record each candidate resolves to: the only step of a plan that asks the destination for records."""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from connectors.errors import HeatsyncError
from connectors.types import Found, Lookup, Outcome, Status
from heatsync.ledger import (
    RECHECK_CODES,
    BoundMapping,
    Ledger,
    Record,
    Run,
    Standing,
    StandingState,
    chunks,
    write_value,
)
from heatsync.sync import record_owners
from heatsync.sync.compare.identity import Known, KnownRow, Located, Resolved, Search
from heatsync.sync.compare.types import Owners, Refusal
from heatsync.sync.context import Context, OnProgress
from heatsync.sync.destinations import OpenDestination
from heatsync.sync.mapping.model import Mapping


@dataclass(frozen=True, slots=True)
class UnsentLog:
    """Writes the outcomes of records that a run does not send to the ledger; only with `keep`."""

    ledger: Ledger
    bound: BoundMapping
    run: Run
    recheck_seconds: float
    """How long a refusal lasts that the destination may end at any time."""
    keep: bool

    def save(self, refusals: Iterable[Refusal]) -> None:
        """Outcomes, and the standings that they lead to."""
        if not self.keep:
            return
        recheck_at = time.time() + self.recheck_seconds
        for chunk in chunks(refusals):
            self.save_outcomes([refusal.outcome for refusal in chunk])
            self.ledger.save_standings(self.bound, [_standing(refusal, recheck_at) for refusal in chunk])

    def save_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Outcomes alone: the standings stay as they are."""
        if self.keep:
            self.ledger.save_unsent_outcomes(self.run, outcomes)


def resolve(
    known: Known,
    context: Context,
    mapping: Mapping,
    opened: OpenDestination,
    unsent: UnsentLog,
    progress: OnProgress,
) -> Resolved:
    """Look the candidates up, and refuse those that do not resolve to exactly one record of their own.

    With `unsent.keep`, what was found is remembered at once, also when a later call fails. Raises what `find` raises.
    """
    search = Search(known, mapping.creates_records)
    located = _search(search, known, context, mapping, opened, unsent.keep, progress)
    owned = located.assign_owners(_owners(located, context, mapping, opened, unsent.keep))
    unsent.save(owned.clashes())
    if unsent.keep:
        # If two entities resolve to one record, its values are taken for neither.
        context.ledger.forget_fields(opened.bound, [clash.outcome.key for clash in owned.clashes()])
    lag = mapping.search_lag if mapping.creates_records else 0.0
    resolved = owned.resolve(created_since=time.time() - lag if lag else None)
    unsent.save_outcomes(list(resolved.possibly_created()))
    unsent.save(resolved.unfound())
    return resolved


def _owners(
    located: Located, context: Context, mapping: Mapping, opened: OpenDestination, keep: bool
) -> Iterator[Owners]:
    """Other owners of the candidates' records; with `keep`, the ledger forgets those that are gone."""
    for remote_ids in located.remote_ids():
        owners = record_owners.find_owners(located, context, mapping, opened.bound, remote_ids)
        yield owners
        if keep:
            context.ledger.forget_remote_ids(opened.bound, owners.released)


def _search(
    search: Search,
    known: Known,
    context: Context,
    mapping: Mapping,
    opened: OpenDestination,
    keep: bool,
    progress: OnProgress,
) -> Located:
    """Look up the candidates that are not known yet."""
    done, of = 0, known.size
    step = max(opened.limits.lookups_per_call, 1) * 4

    def take(asked: list[Lookup], answers: list[Found]) -> None:
        rows, records = _found_records(context.ledger, opened.bound, asked, answers)
        search.add(answers, rows)
        if keep:
            context.ledger.remember_records(opened.bound, records)

    for chunk in known.lookups():
        for start in range(0, len(chunk), step):
            context.wait()
            asked = chunk[start : start + step]
            answers: list[Found] = []
            try:
                for found in opened.destination.find(mapping.object, asked, known.shape.types):
                    answers.append(found)
            except HeatsyncError:
                # What was found before a call failed is not asked for again.
                take(asked, answers)
                raise
            _check_answers(asked, answers, mapping)
            take(asked, answers)
            done += len(asked)
            progress(mapping.name, "looking up", done, of)
    return search.located()


def _check_answers(asked: list[Lookup], answers: list[Found], mapping: Mapping) -> None:
    if sorted(lookup.key for lookup in asked) != sorted(answer.key for answer in answers):
        raise AssertionError(f"{mapping.destination} did not answer every look-up exactly once")


def _found_records(
    ledger: Ledger, bound: BoundMapping, asked: list[Lookup], answers: list[Found]
) -> tuple[list[KnownRow], list[Record]]:
    """The records that were found exactly once: as rows of the comparison, and as the ledger remembers them."""
    matched = [answer for answer in answers if len(answer.remote_ids) == 1]
    values = {lookup.key: lookup.match[0].value if lookup.match else None for lookup in asked}
    had = {
        row[0]: (row[3], json.loads(row[4]))
        for chunk in ledger.records(bound, [found.key for found in matched])
        for row in chunk
    }
    rows: list[KnownRow] = []
    records = []
    for found in matched:
        remote_id = found.remote_ids[0]
        version, fields = had.get(found.key, (0, {}))
        present = fields | {name: write_value(value) for name, value in found.values.items()}
        rows.append((found.key, remote_id, values[found.key], version, json.dumps(present), None))
        records.append(Record(found.key, remote_id, values[found.key], found.values, version))
    return rows, records


def _standing(refusal: Refusal, recheck_at: float) -> Standing:
    outcome = refusal.outcome
    return Standing(
        outcome.key,
        refusal.digest,
        StandingState.REJECTED if outcome.status is Status.REJECTED else StandingState.SKIPPED,
        code=outcome.code,
        recheck_at=recheck_at if outcome.code in RECHECK_CODES else None,
    )
