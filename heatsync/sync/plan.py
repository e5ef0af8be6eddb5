"""What one mapping would change: desired -> candidates -> resolved -> changes -> batches that wait for their release."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import chain
from typing import Any

from connectors.errors import ConfigurationError, HeatsyncError
from connectors.types import Kind, NewField
from heatsync.ledger import (
    BoundMapping,
    Ledger,
    PlanCounts,
    PlannedChange,
    Run,
    RunState,
    Standing,
    StandingState,
)
from heatsync.snapshots import data_health
from heatsync.sync import batching, guards, lookup
from heatsync.sync.compare import candidates, diff, identity
from heatsync.sync.compare.candidates import Candidates, Standings
from heatsync.sync.compare.diff import Changes
from heatsync.sync.compare.identity import Known
from heatsync.sync.compare.relations import Relations, open_relations
from heatsync.sync.compare.types import Column, Departure, Scope, Shape
from heatsync.sync.context import Context, OnProgress
from heatsync.sync.destinations import OpenDestination
from heatsync.sync.lookup import UnsentLog
from heatsync.sync.mapping import query
from heatsync.sync.mapping.model import Mapping, MappingQuery
from heatsync.sync.remote_fields import missing_fields

MEMORY = "400MB"
FEW_CANDIDATES = 50_000
"""Up to so many records are read from the ledger by id; beyond, reading the whole table is cheaper."""


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What is to be planned: one mapping for one day, as a part of a run.

    keep     write the plan to the ledger, where it waits for its release; without it nothing is written anywhere
    show     how many changes to keep in `Plan.shown`
    offline  do not contact the destination: candidates are what the ledger knows of them
    """

    mapping: Mapping
    run_id: str
    as_of: date
    scope: Scope = field(default_factory=Scope)
    keep: bool = True
    show: int = 0
    offline: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run of one mapping would do. `run.planned` has its counts, `reasons` are why it must wait for approval."""

    run: Run
    reasons: tuple[str, ...] = ()
    shown: tuple[PlannedChange, ...] = ()


@dataclass(frozen=True, slots=True)
class _Work:
    """What every step of a plan needs."""

    context: Context
    request: PlanRequest
    opened: OpenDestination
    run: Run
    progress: OnProgress

    @property
    def mapping(self) -> Mapping:
        return self.request.mapping

    @property
    def ledger(self) -> Ledger:
        return self.context.ledger

    @property
    def bound(self) -> BoundMapping:
        return self.opened.bound

    @property
    def reads_destination(self) -> bool:
        return self.mapping.vendor.readable and not self.request.offline


@dataclass(slots=True)
class _Totals:
    """What the batches of a plan come to."""

    writes: int = 0
    creates: int = 0
    left: int = 0
    calls: int = 0
    shown: list[PlannedChange] = field(default_factory=list)


def preview(context: Context, request: PlanRequest, progress: OnProgress) -> Plan:
    """Plan one mapping and write nothing, neither here nor at the destination.

    Raises ConfigurationError, Unauthorized, Unavailable, Misunderstood.
    """
    opened = context.open(request.mapping)
    check_field_owners(context, request.mapping, opened)
    return make_plan(context, replace(request, keep=False), opened, progress)


def check_field_owners(context: Context, mapping: Mapping, opened: OpenDestination) -> None:
    """One field has one owner, also where two destinations turn out to be one account.

    Raises ConfigurationError. Another destination that cannot be opened does not matter to this mapping.
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


def make_plan(
    context: Context, request: PlanRequest, opened: OpenDestination, progress: OnProgress, lost: int = 0
) -> Plan:
    """Plan one mapping. `lost` records of older runs turned out undelivered just before.

    Raises ConfigurationError, Unauthorized, Unavailable, Misunderstood.
    """
    started = time.monotonic()
    run = new_run(request.mapping, request.run_id, request.as_of, opened.bound, opened.account.label)
    work = _Work(context, request, opened, run, progress)
    with open_relations(context.workspace.state / "tmp", MEMORY) as relations:
        built = query.build_query(request.mapping, context.workspace, relations.connection, request.as_of)
        changes = _changes(work, relations, built)
        if request.keep:
            settled = changes.settled()
            work.ledger.save_standings(
                work.bound, (Standing(k, d, StandingState.SETTLED, level) for k, d, level in settled)
            )
        totals = _write_batches(work, changes)
        counts = replace(changes.counts, left=totals.left)
        levels, moves = query.level_moves(
            request.mapping, context.workspace, relations.connection, request.as_of
        )
    reasons = guards.reasons(_facts(work, counts, totals, levels, moves), _thresholds(work))
    planned = replace(
        counts,
        writes=totals.writes,
        calls=totals.calls,
        lost=lost,
        partial=request.scope.partial,
        new_fields=_new_fields(work, built) if totals.writes else (),
    )
    state = (RunState.HELD if reasons else RunState.PLANNED) if totals.writes else RunState.DONE
    ended = None if totals.writes else time.time()
    run = replace(work.run, planned=planned, cause="; ".join(reasons), state=state, ended_at=ended)
    if request.keep:
        work.ledger.update_run(run)
        work.ledger.add_calls(run.run, run.mapping, opened.calls.take(), time.monotonic() - started)
    return Plan(run, tuple(reasons), tuple(totals.shown))


def new_run(
    mapping: Mapping, run_id: str, as_of: date, bound: BoundMapping | None = None, label: str = ""
) -> Run:
    """A mapping's share of a run, before it is planned. `bound` and `label` name the account, where it is known."""
    return Run(
        run=run_id,
        mapping=mapping.name,
        destination=mapping.destination,
        object=mapping.object,
        account=bound.account if bound is not None else "",
        label=label,
        as_of=as_of.isoformat(),
        definition_hash=mapping.definition_hash,
        state=RunState.PLANNING,
        cause="",
        planned=PlanCounts(),
        calls=0,
        seconds=0.0,
        created_at=time.time(),
        ended_at=None,
    )


def _changes(work: _Work, relations: Relations, built: MappingQuery) -> Changes:
    """The chain from the desired relation to the changes. With `keep`, the run and what is refused are written."""
    mapping, request, ledger, bound = work.mapping, work.request, work.ledger, work.bound
    work.progress(mapping.name, "comparing", 0, 0)
    desired = candidates.materialise(relations, shape(mapping, built), built.sql)
    standings = Standings(ledger.settled_standings(bound), ledger.unsettled_standings(bound), time.time())
    found = candidates.select(desired, standings, request.scope)
    if request.keep:
        ledger.save_run(work.run)
    unsent = UnsentLog(ledger, bound, work.run, mapping.recheck_after.total_seconds(), request.keep)
    unsent.save(found.refusals())
    known = recall(found, ledger, bound)
    resolved = (
        lookup.resolve(known, work.context, mapping, work.opened, unsent, work.progress)
        if work.reads_destination
        else known.unresolved()
    )
    return diff.compare(resolved, mapping.creates_records, request.scope.everything)


def shape(mapping: Mapping, built: MappingQuery) -> Shape:
    """What the comparison must know of a mapping."""
    return Shape(
        columns=tuple(
            Column(f.name, f.type, f.when_null == "clear", f.write == "if_empty", f.tolerance, f.tag)
            for f in built.fields
        ),
        match=built.match,
        definition_hash=mapping.definition_hash,
        identity_hash=json.dumps([mapping.object, mapping.mode, list(built.match)]),
        needs_via=not mapping.vendor.readable and mapping.entity == "account" and not mapping.anonymous,
        clear_on_exit=mapping.on_exit == "clear",
    )


def recall(found: Candidates, ledger: Ledger, bound: BoundMapping) -> Known:
    """Add what the ledger knows of the candidates; of all records, when there are many candidates."""
    few = found.size <= FEW_CANDIDATES
    by_id: Iterator[Any] = chain.from_iterable(ledger.records(bound, keys) for keys in found.key_chunks())
    levels: Iterator[Any] = chain.from_iterable(ledger.levels(bound, keys) for keys in found.key_chunks())
    return identity.recall(
        found, by_id if few else ledger.records(bound), levels if found.shape.tolerant else ()
    )


def _write_batches(work: _Work, changes: Changes) -> _Totals:
    """Cut the changes into batches; with `keep`, write them to the ledger."""
    mapping, keep = work.mapping, work.request.keep
    totals, number = _Totals(), 0
    departed: list[Standing] = []
    for each in batching.cut(changes, work.opened.limits, mapping.vendor.readable):
        if isinstance(each, Departure):
            departed.append(Standing(each.key, None, StandingState.LEFT))
            continue
        work.context.wait()
        number += 1
        totals.writes += len(each.changes)
        totals.calls += each.calls
        totals.left += sum(planned.change.kind is Kind.LEFT for planned in each.changes)
        if mapping.creates_records:
            totals.creates += sum(batching.creates_record(planned.change) for planned in each.changes)
        totals.shown.extend(each.changes[: max(0, work.request.show - len(totals.shown))])
        if keep:
            work.ledger.add_batch(work.run, number, each.changes, changes.shape.types)
        work.progress(mapping.name, "planning", totals.writes, 0)
    if keep:
        work.ledger.save_standings(work.bound, departed)
    return totals


def _new_fields(work: _Work, built: MappingQuery) -> tuple[NewField, ...]:
    """The fields that the first delivery creates. That none is missing is remembered with `keep`."""
    mapping = work.mapping
    known = work.ledger.mapping_state(work.bound).fields_created_for == mapping.definition_hash
    if not mapping.create_fields or not work.reads_destination or known:
        return ()
    missing = tuple(missing_fields(mapping, work.opened, built))
    if work.request.keep and not missing:
        work.ledger.update_mapping_state(work.bound, fields_created_for=mapping.definition_hash)
    return missing


def _facts(work: _Work, counts: PlanCounts, totals: _Totals, levels: int, moves: int) -> guards.Facts:
    state = work.ledger.mapping_state(work.bound)
    return guards.Facts(
        approved=state.approved_hash,
        definition_hash=work.mapping.definition_hash,
        records=counts.records,
        previous=state.records,
        cleared=counts.cleared,
        dropped=counts.left,
        writes=totals.writes,
        creates=totals.creates,
        levels=levels,
        level_moves=moves,
        health=data_health.problems(work.context.workspace, work.request.as_of),
    )


def _thresholds(work: _Work) -> guards.Thresholds:
    settings = work.context.workspace.guards
    return guards.Thresholds(
        first_run=settings.first_run == "hold",
        changed_definition=settings.changed_meaning == "hold",
        empty_source=settings.empty_source == "hold",
        health=settings.health == "hold",
        clear_share=settings.max_clear_share,
        level_share=settings.max_level_share,
        shrink_share=settings.max_shrink_share,
        max_writes=work.mapping.max_writes,
        max_creates=work.mapping.max_creates,
    )
