"""What one mapping would change: desired, known, found, compared, cut into batches that wait."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from connectors.errors import ConfigurationError, HeatsyncError, Unavailable
from connectors.types import NewField
from heatsync import ledger
from heatsync.ledger import Run, Standing
from heatsync.snapshots import data_health
from heatsync.sync import deliver, guards, record_owners
from heatsync.sync.batching import _creates, _cut
from heatsync.sync.compare.diff import Comparison
from heatsync.sync.compare.types import Column, Counts, Row, Scope, Shape
from heatsync.sync.context import Context, OnProgress, hold_lock
from heatsync.sync.destinations import OpenDestination
from heatsync.sync.lookup import _find, _Refusals, _refuse_clashes
from heatsync.sync.mapping import query
from heatsync.sync.mapping.model import Mapping, MappingQuery
from heatsync.sync.remote_fields import missing_fields, schema_changed

MEMORY = "400MB"
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
    context: Context,
    mapping: Mapping,
    run_id: str,
    as_of: date,
    scope: Scope,
    progress: OnProgress,
    keep: bool = True,
    show: int = 0,
    offline: bool = False,
) -> Plan:
    """Plan one mapping. With `keep` the plan is written to the ledger and waits there as `held`.

    Raises ConfigurationError, Unauthorized, Unavailable, Misunderstood.
    """
    opened = context.open(mapping)
    _own(context, mapping, opened)
    if not keep:
        return _plan(context, mapping, opened, run_id, as_of, scope, progress, False, show, offline)
    with hold_lock(context, f"plan {mapping.name}"):
        pending = context.ledger.pending_run(opened.bound) if scope.partial else None
        if pending is not None:
            raise ConfigurationError(
                f"{mapping.name}: run {pending} of all its records waits or is on its way. Approve or cancel it, or"
                " let it end, before a few records are sent by themselves."
            )
        lost = _end_flights(context, mapping, opened, progress)
        if schema_changed(context, mapping, opened):
            context.ledger.retry_rejected(opened.bound, ledger.SCHEMA_CODES)
        return _plan(context, mapping, opened, run_id, as_of, scope, progress, True, show, offline, lost)


def _own(context: Context, mapping: Mapping, opened: OpenDestination) -> None:
    """One field has one owner, also where two destinations turn out to be one account.

    Raises ConfigurationError. Another destination that cannot be opened is no matter of this mapping.
    """
    mine = {field.name.casefold(): field for field in mapping.fields}
    for other in context.mappings.values():
        if other.destination == mapping.destination or (other.vendor.type, other.object.casefold()) != (
            mapping.vendor.type,
            mapping.object.casefold(),
        ):
            continue
        both = next((mine[f.name.casefold()] for f in other.fields if f.name.casefold() in mine), None)
        if both is None:
            continue
        try:
            account = context.open(other).bound.account
        except HeatsyncError:
            continue
        if account == opened.bound.account:
            raise ConfigurationError(
                f"{both.place}: `{both.name}` of {mapping.object} is written by {other.name} as well:"
                f" {mapping.destination} and {other.destination} are both {opened.account.label}. One field has one"
                " owner: take it out of one of them, or give the destinations different credentials."
            )


def _end_flights(context: Context, mapping: Mapping, opened: OpenDestination, progress: OnProgress) -> int:
    """Make older runs void: nobody may begin their batches any more, and whoever began is waited for.

    So is what is at work over there: it would overwrite newer values whenever it gets to it, also that of mappings
    which are no longer there. A batch that comes back unfinished meanwhile is void as well: hence in turns. Answers
    how many records were heard of that were not delivered: their own run is over, and nobody else would tell.
    """
    began, until, lost = time.time(), time.monotonic() + PATIENCE, 0
    still, why = f"{mapping.name}: an older run is still being delivered.", ""
    while context.ledger.supersede(opened.bound, context.mappings):
        context.end_dead_leases()
        for batch, due in context.ledger.batches_with_job(opened.bound, context.mappings):
            wait = due - time.time()
            if wait > PATIENCE:
                raise Unavailable(f"{still} {why}".strip(), wait)
            heard = deliver.deliver(context, batch, successor=mapping) if wait <= 0 else None
            if heard is not None and heard.error is not None and heard.state != "done":
                raise heard.error
            if heard is not None and heard.underway:
                why = heard.underway
            lost += (
                context.ledger.count_undelivered(batch, began)
                if heard is not None and heard.state != "gone"
                else 0
            )
        if time.monotonic() > until:
            raise Unavailable(f"{still} {why}".strip(), 60)
        progress(mapping.name, "waiting for an older run", 0, 0)
        context.wait(0.2)
    return lost


def _plan(
    context: Context,
    mapping: Mapping,
    opened: OpenDestination,
    run_id: str,
    as_of: date,
    scope: Scope,
    progress: OnProgress,
    keep: bool,
    show: int,
    offline: bool,
    lost: int = 0,
) -> Plan:
    """`lost` records of older runs turned out undelivered just before."""
    book, bound = context.ledger, opened.bound
    started = time.monotonic()
    readable = mapping.vendor.readable
    create = _creates(mapping)
    with _workbench(context.workspace.state) as con:
        rendered = query.build_query(mapping, context.workspace, con, as_of)
        comparison = Comparison(con, shape(mapping, rendered))
        progress(mapping.name, "comparing", 0, 0)
        comparison.desire(rendered.sql)
        comparison.stand(book.settled_standings(bound), book.unsettled_standings(bound), time.time(), scope)
        run = Run(
            run=run_id,
            mapping=mapping.name,
            destination=mapping.destination,
            object=mapping.object,
            account=bound.account,
            label=opened.account.label,
            as_of=as_of.isoformat(),
            definition_hash=mapping.definition_hash,
            state="planning",
            cause="",
            planned={},
            calls=0,
            seconds=0.0,
            created_at=time.time(),
            ended_at=None,
        )
        if keep:
            book.save_run(run)
        know(comparison, book, bound)
        refuse = _Refusals(book, bound, run, mapping, keep)
        refuse.take(comparison.refused())
        if readable and not offline:
            _find(comparison, context, mapping, opened, rendered, keep, progress)
            record_owners.find_owners(comparison, context, mapping, bound, keep)
            _refuse_clashes(comparison, book, bound, refuse, keep)
            if create and mapping.search_lag:
                doubtful = list(comparison.hesitant(time.time() - mapping.search_lag))
                if keep:
                    book.save_unsent_outcomes(run, doubtful)
            refuse.take(comparison.unfound(create))
        comparison.compare(create, scope.everything)
        if keep:
            book.save_standings(
                bound,
                (Standing(key, digest, "settled", level) for key, digest, level, _ in comparison.settled()),
            )
        shown, total, creates, calls = _cut(
            comparison, context, mapping, opened, run, rendered, keep, show, progress
        )
        counts = comparison.counts
        facts = _facts(context, mapping, con, bound, counts, total, creates, as_of)
        plan = Plan(run, counts, calls, guards.reasons(facts, _thresholds(context, mapping)), shown)
        made = book.mapping_state(bound).fields_created_for == mapping.definition_hash
        if total and mapping.create_fields and readable and not offline and not made:
            plan.new_fields = missing_fields(mapping, opened, rendered)
            if keep and not plan.new_fields:
                book.update_mapping_state(bound, fields_created_for=mapping.definition_hash)
        planned = _planned(counts, total, calls, plan.new_fields) | {"partial": scope.partial, "lost": lost}
        state, ended = ("held", None) if total else ("done", time.time())
        plan.run = replace(run, planned=planned, cause="; ".join(plan.reasons), state=state, ended_at=ended)
        if keep:
            book.update_run(plan.run)
            book.add_calls(run.run, run.mapping, opened.calls.take(), time.monotonic() - started)
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


def shape(mapping: Mapping, rendered: MappingQuery) -> Shape:
    """What the comparison must know of a mapping."""
    return Shape(
        columns=tuple(
            Column(f.name, f.type, f.when_null == "clear", f.write == "if_empty", f.tolerance, f.tag)
            for f in rendered.fields
        ),
        match=rendered.match,
        definition_hash=mapping.definition_hash,
        identity_hash=json.dumps([mapping.object, mapping.mode, list(rendered.match)]),
        needs_via=not mapping.vendor.readable and mapping.entity == "account" and not mapping.anonymous,
        clear_on_exit=mapping.on_exit == "clear",
    )


def know(comparison: Comparison, book: ledger.Ledger, bound: ledger.BoundMapping) -> None:
    """Hand the comparison what the ledger knows of its candidates; all of it, when they are many."""
    few = comparison.candidates() <= CHANGED_FEW
    if not few:
        comparison.know(book.records(bound))
    for keys in comparison.candidate_keys() if few or comparison.tolerant else ():
        if few:
            comparison.know(book.records(bound, keys))
        if comparison.tolerant:
            comparison.know_levels(book.levels(bound, keys))


def _facts(
    context: Context,
    mapping: Mapping,
    con: duckdb.DuckDBPyConnection,
    bound: ledger.BoundMapping,
    counts: Counts,
    total: int,
    creates: int,
    as_of: date,
) -> guards.Facts:
    state = context.ledger.mapping_state(bound)
    levels, moves = query.level_moves(mapping, context.workspace, con, as_of)
    return guards.Facts(
        approved=state.approved_hash,
        definition_hash=mapping.definition_hash,
        records=counts.records,
        previous=state.records,
        cleared=counts.cleared,
        dropped=counts.left,
        writes=total,
        creates=creates,
        levels=levels,
        level_moves=moves,
        health=data_health.problems(context.workspace, as_of),
    )


def _thresholds(context: Context, mapping: Mapping) -> guards.Thresholds:
    settings = context.workspace.guards
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
