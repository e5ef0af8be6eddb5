"""What one mapping would change: desired, known, found, compared, cut into batches that wait."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from connectors.base import (
    Change,
    ConfigurationError,
    Found,
    HeatsyncError,
    Kind,
    Limits,
    Lookup,
    NewField,
    Outcome,
    Status,
    Unavailable,
)
from sync import delivery, guards, health, holders, ledger, rendering
from sync.diff import Column, Counts, Diff, Row, Scope, Shape
from sync.fields import Mapping, Rendered
from sync.house import House, Reached, alone
from sync.ledger import Planned, Record, Run, Standing

Progress = Callable[[str, str, int, int], None]
"""Told of (mapping, what is being done, done, of how many)."""

MEMORY = "400MB"
SCHEMA_SECONDS = 900.0
"""How often the fields over there are asked for while records are rejected because of them."""
CHANGED_FEW = 50_000
"""Up to so many records are asked for by id; beyond, reading the whole table is cheaper."""
PATIENCE = 180.0
"""Seconds that a plan waits for the batches in flight of an older run."""


@dataclass(slots=True)
class Plan:
    """What a run of one mapping would do. `reasons` are why it must wait for approval."""

    run: Run
    counts: Counts
    calls: int
    """Estimated calls to deliver it."""
    reasons: list[str] = field(default_factory=list)
    shown: list[Row] = field(default_factory=list)
    new_fields: list[NewField] = field(default_factory=list)


def plan(
    house: House,
    mapping: Mapping,
    run_id: str,
    as_of: date,
    scope: Scope,
    progress: Progress,
    keep: bool = True,
    show: int = 0,
    offline: bool = False,
) -> Plan:
    """Plan one mapping. With `keep` the plan is written to the ledger and waits there as `held`.

    Raises ConfigurationError, Unauthorized, Unavailable, Misunderstood.
    """
    reached = house.reach(mapping)
    _own(house, mapping, reached)
    if not keep:
        return _plan(house, mapping, reached, run_id, as_of, scope, progress, False, show, offline)
    with alone(house, f"plan {mapping.name}"):
        pending = house.ledger.pending(reached.bound) if scope.partial else None
        if pending is not None:
            raise ConfigurationError(
                f"{mapping.name}: run {pending} of all its records waits or is on its way. Approve or cancel it, or"
                " let it end, before a few records are sent by themselves."
            )
        lost = _end_flights(house, mapping, reached, progress)
        if schema_changed(house, mapping, reached):
            house.ledger.reconsider(reached.bound, ledger.SCHEMA_CODES)
        return _plan(house, mapping, reached, run_id, as_of, scope, progress, True, show, offline, lost)


def _own(house: House, mapping: Mapping, reached: Reached) -> None:
    """One field has one owner, also where two destinations turn out to be one account.

    Raises ConfigurationError. Another destination that cannot be reached is no matter of this mapping.
    """
    mine = {field.name.casefold(): field for field in mapping.fields}
    for other in house.mappings.values():
        if other.destination == mapping.destination or (other.vendor.type, other.object.casefold()) != (
            mapping.vendor.type,
            mapping.object.casefold(),
        ):
            continue
        both = next((mine[f.name.casefold()] for f in other.fields if f.name.casefold() in mine), None)
        if both is None:
            continue
        try:
            account = house.reach(other).bound.account
        except HeatsyncError:
            continue
        if account == reached.bound.account:
            raise ConfigurationError(
                f"{both.where}: `{both.name}` of {mapping.object} is written by {other.name} as well:"
                f" {mapping.destination} and {other.destination} are both {reached.account.label}. One field has one"
                " owner: take it out of one of them, or give the destinations different credentials."
            )


def schema_changed(house: House, mapping: Mapping, reached: Reached) -> bool:
    """Whether the fields over there changed since records were rejected because of them; asked now and then, and
    only while there are such records."""
    book, bound = house.ledger, reached.bound
    if not mapping.vendor.readable or not book.waits_for_schema(bound):
        return False
    care = book.care(bound)
    if care.schema_at is not None and time.time() - care.schema_at < SCHEMA_SECONDS:
        return False
    if mapping.create_fields and care.fields_made != mapping.meaning:
        return True  # they are to be made anew
    present = reached.destination.fields(mapping.object) or {}
    names = sorted(field.name for field in mapping.fields if not field.tag)
    lacking = any(name not in present for name in names)
    wanted = {name: repr(present.get(name)) for name in names}
    schema = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()
    book.remember_care(bound, schema=schema, schema_at=time.time())
    # At the first look there is nothing to compare with; as long as a field is missing, there is no need to.
    return schema != care.schema and not (care.schema is None and lacking)


def _end_flights(house: House, mapping: Mapping, reached: Reached, progress: Progress) -> int:
    """Make older runs void: nobody may begin their batches any more, and whoever began is waited for.

    So is what is at work over there: it would overwrite newer values whenever it gets to it, also that of mappings
    which are no longer there. A batch that comes back unfinished meanwhile is void as well: hence in turns. Answers
    how many records were heard of that were not delivered: their own run is over, and nobody else would tell.
    """
    began, until, lost = time.time(), time.monotonic() + PATIENCE, 0
    still, why = f"{mapping.name}: an older run is still being delivered.", ""
    while house.ledger.supersede(reached.bound, house.mappings):
        house.bury_the_dead()
        for batch, due in house.ledger.noted(reached.bound, house.mappings):
            wait = due - time.time()
            if wait > PATIENCE:
                raise Unavailable(f"{still} {why}".strip(), wait)
            heard = delivery.deliver(house, batch, heir=mapping) if wait <= 0 else None
            if heard is not None and heard.error is not None and heard.state != "done":
                raise heard.error
            if heard is not None and heard.underway:
                why = heard.underway
            lost += house.ledger.lost(batch, began) if heard is not None and heard.state != "gone" else 0
        if time.monotonic() > until:
            raise Unavailable(f"{still} {why}".strip(), 60)
        progress(mapping.name, "waiting for an older run", 0, 0)
        house.rest(0.2)
    return lost


def _plan(
    house: House,
    mapping: Mapping,
    reached: Reached,
    run_id: str,
    as_of: date,
    scope: Scope,
    progress: Progress,
    keep: bool,
    show: int,
    offline: bool,
    lost: int = 0,
) -> Plan:
    """`lost` records of older runs turned out undelivered just before."""
    book, bound = house.ledger, reached.bound
    started = time.monotonic()
    readable = mapping.vendor.readable
    create = _creates(mapping)
    with _workbench(house.workspace.state) as con:
        rendered = rendering.render(mapping, house.workspace, con, as_of)
        comparison = Diff(con, shape(mapping, rendered))
        progress(mapping.name, "comparing", 0, 0)
        comparison.desire(rendered.sql)
        comparison.stand(book.settled(bound), book.unsettled(bound), time.time(), scope)
        run = Run(
            run=run_id,
            mapping=mapping.name,
            destination=mapping.destination,
            object=mapping.object,
            account=bound.account,
            label=reached.account.label,
            as_of=as_of.isoformat(),
            meaning=mapping.meaning,
            state="planning",
            cause="",
            planned={},
            calls=0,
            seconds=0.0,
            created_at=time.time(),
            ended_at=None,
        )
        if keep:
            book.begin_run(run)
        know(comparison, book, bound)
        refuse = _Refusals(book, bound, run, mapping, keep)
        refuse.take(comparison.refused())
        if readable and not offline:
            _find(comparison, house, mapping, reached, rendered, keep, progress)
            holders.claim(comparison, house, mapping, bound, keep)
            _refuse_clashes(comparison, book, bound, refuse, keep)
            if create and mapping.lag:
                doubtful = list(comparison.hesitant(time.time() - mapping.lag))
                if keep:
                    book.keep_outcomes(run, doubtful)
            refuse.take(comparison.unfound(create))
        comparison.compare(create, scope.everything)
        if keep:
            book.settle_standings(
                bound,
                (Standing(key, digest, "settled", level) for key, digest, level, _ in comparison.settled()),
            )
        shown, total, creates, calls = _cut(
            comparison, house, mapping, reached, run, rendered, keep, show, progress
        )
        counts = comparison.counts
        facts = _facts(house, mapping, con, bound, counts, total, creates, as_of)
        plan = Plan(run, counts, calls, guards.reasons(facts, _thresholds(house, mapping)), shown)
        made = book.care(bound).fields_made == mapping.meaning
        if total and mapping.create_fields and readable and not offline and not made:
            plan.new_fields = _missing_fields(mapping, reached, rendered)
            if keep and not plan.new_fields:
                book.remember_care(bound, fields_made=mapping.meaning)
        planned = _planned(counts, total, calls, plan.new_fields) | {"partial": scope.partial, "lost": lost}
        state, ended = ("held", None) if total else ("done", time.time())
        plan.run = replace(run, planned=planned, cause="; ".join(plan.reasons), state=state, ended_at=ended)
        if keep:
            book.update_run(plan.run)
            book.add_calls(run.run, run.mapping, reached.calls.take(), time.monotonic() - started)
        return plan


@contextmanager
def _workbench(state: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    spill = state / "tmp"
    spill.mkdir(parents=True, exist_ok=True)
    con = duckdb.connect(":memory:", config={"memory_limit": MEMORY, "temp_directory": str(spill)})
    try:
        con.execute("SET preserve_insertion_order = false")
        yield con
    finally:
        con.close()


def _creates(mapping: Mapping) -> bool:
    """Whether records are made over there that are not there, as far as that can be told apart."""
    return mapping.vendor.readable and mapping.mode == "upsert"


def shape(mapping: Mapping, rendered: Rendered) -> Shape:
    """What the comparison must know of a mapping."""
    return Shape(
        columns=tuple(
            Column(f.name, f.type, f.when_null == "clear", f.write == "if_empty", f.tolerance, f.tag)
            for f in rendered.fields
        ),
        match=rendered.match,
        meaning=mapping.meaning,
        identity=json.dumps([mapping.object, mapping.mode, list(rendered.match)]),
        needs_via=not mapping.vendor.readable and mapping.entity == "account" and not mapping.anonymous,
        clear_on_exit=mapping.on_exit == "clear",
    )


def know(comparison: Diff, book: ledger.Ledger, bound: ledger.Bound) -> None:
    """Hand the comparison what the ledger knows of its candidates; all of it, when they are many."""
    few = comparison.candidates() <= CHANGED_FEW
    if not few:
        comparison.know(book.records(bound))
    for keys in comparison.candidate_keys() if few or comparison.tolerant else ():
        if few:
            comparison.know(book.records(bound, keys))
        if comparison.tolerant:
            comparison.know_levels(book.levels(bound, keys))


@dataclass(frozen=True, slots=True)
class _Refusals:
    """Where the outcomes go that are earned without sending anything."""

    book: ledger.Ledger
    bound: ledger.Bound
    run: Run
    mapping: Mapping
    keep: bool

    def take(self, refused: Iterator[tuple[Outcome, int]]) -> None:
        recheck = time.time() + self.mapping.recheck_after.total_seconds()
        for chunk in ledger.chunks(refused):
            if not self.keep:
                continue
            self.book.keep_outcomes(self.run, [outcome for outcome, _ in chunk])
            standings = [_refused_standing(outcome, digest, recheck) for outcome, digest in chunk]
            self.book.settle_standings(self.bound, standings)


def _refused_standing(outcome: Outcome, digest: int, recheck: float) -> Standing:
    return Standing(
        outcome.key,
        digest,
        "rejected" if outcome.status is Status.REJECTED else "skipped",
        code=outcome.code,
        recheck_at=recheck if outcome.code in ledger.LOOKED_UP_AGAIN else None,
    )


def _find(
    comparison: Diff,
    house: House,
    mapping: Mapping,
    reached: Reached,
    rendered: Rendered,
    keep: bool,
    progress: Progress,
) -> None:
    """Look for the candidates that are not known yet."""
    types = {f.name: f.type for f in rendered.fields}
    done, of = 0, comparison.candidates()

    def take(asked: list[Lookup], answers: list[Found]) -> None:
        matched = comparison.found(answers, mapping.mode == "upsert")
        records = _learn(comparison, house, reached, asked, matched)
        if keep:
            house.ledger.remember_records(reached.bound, records)

    for chunk in comparison.lookups():
        step = max(reached.destination.limits.lookups, 1) * 4
        for start in range(0, len(chunk), step):
            house.rest()
            asked = chunk[start : start + step]
            answers: list[Found] = []
            try:
                for found in reached.destination.find(mapping.object, asked, types):
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
    comparison: Diff, book: ledger.Ledger, bound: ledger.Bound, refuse: _Refusals, keep: bool
) -> None:
    """Two of ours that are one record over there are both refused, and neither is taken for it any more."""
    clashing: list[str] = []

    def told() -> Iterator[tuple[Outcome, int]]:
        for outcome, digest in comparison.shared():
            clashing.append(outcome.key)
            yield outcome, digest

    refuse.take(told())
    if keep:
        book.dispute_records(bound, clashing)


def _every_answer(asked: list[Lookup], answers: list[Found], mapping: Mapping) -> None:
    if sorted(lookup.key for lookup in asked) != sorted(answer.key for answer in answers):
        raise AssertionError(f"{mapping.destination} did not answer every look-up exactly once")


def _learn(
    comparison: Diff, house: House, reached: Reached, asked: list[Lookup], matched: list[Found]
) -> list[Record]:
    values = {lookup.key: lookup.match[0].value if lookup.match else None for lookup in asked}
    had = {
        row[0]: (row[3], json.loads(row[4]))
        for chunk in house.ledger.records(reached.bound, [found.key for found in matched])
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


def _cut(
    comparison: Diff,
    house: House,
    mapping: Mapping,
    reached: Reached,
    run: Run,
    rendered: Rendered,
    keep: bool,
    show: int,
    progress: Progress,
) -> tuple[list[Row], int, int, int]:
    """Cut the changes into batches; answers the first `show` of them, how many there are, how many create, and how many
    calls they will take."""
    types = {f.name: f.type for f in rendered.fields}
    tags = {f.name for f in rendered.fields if f.tag}
    limits = reached.destination.limits
    most = comparison.most_writes()
    size = limits.cut(most)
    shown: list[Row] = []
    waiting: list[Planned] = []
    number = total = creates = calls = 0
    gone: list[Standing] = []

    def write() -> None:
        nonlocal number, waiting, calls
        calls += _foretold(limits, [planned.change for planned in waiting], tags, limits.filed(most))
        if waiting and keep:
            number += 1
            house.ledger.add_batch(run, number, waiting, types)
        waiting = []

    for row in _all_changes(comparison, mapping.vendor.readable):
        if isinstance(row, str):
            gone.append(Standing(row, None, "left"))
            continue
        total += 1
        creates += row.change.remote_id is None and row.change.kind is not Kind.LEFT
        if len(shown) < show:
            shown.append(row)
        waiting.append(Planned(row.change, row.digest, row.level))
        if len(waiting) == size:
            house.rest()
            write()
            progress(mapping.name, "planning", total, 0)
    write()
    if keep:
        house.ledger.settle_standings(reached.bound, gone)
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
    return sum(limits.foretold(count, filed) for count in written.values()) + len(tagged)


def _all_changes(comparison: Diff, readable: bool) -> Iterator[Row | str]:
    yield from comparison.changes()
    yield from comparison.leavers(readable)


def _facts(
    house: House,
    mapping: Mapping,
    con: duckdb.DuckDBPyConnection,
    bound: ledger.Bound,
    counts: Counts,
    total: int,
    creates: int,
    as_of: date,
) -> guards.Facts:
    care = house.ledger.care(bound)
    levels, moves = rendering.level_moves(mapping, house.workspace, con, as_of)
    return guards.Facts(
        approved=care.approved,
        meaning=mapping.meaning,
        records=counts.records,
        previous=care.records,
        cleared=counts.cleared,
        dropped=counts.left,
        writes=total,
        creates=creates,
        levels=levels,
        level_moves=moves,
        health=health.causes(house.workspace, as_of),
    )


def _thresholds(house: House, mapping: Mapping) -> guards.Thresholds:
    settings = house.workspace.guards
    return guards.Thresholds(
        first_run=settings.first_run == "hold",
        changed_meaning=settings.changed_meaning == "hold",
        empty_source=settings.empty_source == "hold",
        health=settings.health == "hold",
        clear_share=settings.max_clear_share,
        level_share=settings.max_level_share,
        shrink_share=settings.max_shrink_share,
        max_writes=mapping.max_writes,
        max_creates=mapping.max_creates,
    )


def _missing_fields(mapping: Mapping, reached: Reached, rendered: Rendered) -> list[NewField]:
    present = reached.destination.fields(mapping.object)
    if present is None:
        return []
    # A tag is made by the first call that names it.
    return [NewField(f.name, f.type, f.label) for f in rendered.fields if f.name not in present and not f.tag]


def _planned(counts: Counts, total: int, calls: int, new_fields: list[NewField]) -> dict[str, Any]:
    return {
        "records": counts.records,
        "entered": counts.entered,
        "changed": counts.changed,
        "left": counts.left,
        "unchanged": counts.unchanged,
        "matched": counts.matched,
        "unmatched": counts.unmatched,
        "ambiguous": counts.ambiguous,
        "created": counts.created,
        "refused": counts.refused,
        "skipped": counts.skipped,
        "parked": counts.parked,
        "writes": total,
        "calls": calls,
        "new_fields": [[f.name, f.type.value, f.label] for f in new_fields],
    }
