"""The ledger's words, and how they are written down."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from connectors.types import Batch, Change, FieldType, Kind, Outcome, Status, Value

T = TypeVar("T")
CHUNK = 5_000
RECHECK_CODES = frozenset({"unmatched", "ambiguous", "same_record"})
"""Codes of refusals that somebody over there may end at any time without our seeing it."""


@dataclass(frozen=True, slots=True)
class BoundMapping:
    """A mapping bound to the account over there."""

    mapping: str
    account: str
    object: str
    readable: bool = True
    """Whether what stands there can be looked up."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one of our entities stands with a mapping: about which desired record (`digest`), and how."""

    entity: str
    digest: int | None
    state: str
    level: str | None = None
    code: str | None = None
    recheck_at: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A record over there, as far as we were told."""

    entity: str
    remote_id: str | None
    match_value: str | None
    fields: Mapping[str, Value]
    version: int = 0


@dataclass(frozen=True, slots=True)
class RecordStatus:
    """What an account over there was told of one of our entities: the record as far as we know it, where it stands
    (settled, rejected, skipped, unknown or left), and the last outcome with the vendor's own words."""

    account: str
    label: str
    state: str
    code: str | None
    remote_id: str | None
    fields: Mapping[str, Any]
    updated_at: float | None
    status: str | None
    cause: str
    answer: str
    run: str | None
    at: float | None


@dataclass(frozen=True, slots=True)
class MappingState:
    """What the ledger remembers of a mapping as a whole. Hashes are definition hashes unless said otherwise."""

    approved_hash: str | None = None
    """Definition of the last run that was released."""
    records: int | None = None
    """Records of the last whole run."""
    fields_created_for: str | None = None
    """Definition whose fields exist at the destination."""
    schema_hash: str | None = None
    """Hash of the remote fields when they were last read for the sake of rejected records."""
    schema_read_at: float | None = None
    """When that was, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """A change with what its standing becomes once it is delivered."""

    change: Change
    digest: int | None
    level: str | None


@dataclass(frozen=True, slots=True)
class ClaimedBatch:
    """A batch that is ours for a while; `changes` are those without an outcome yet."""

    id: str
    owner: str
    run: str
    mapping: str
    account: str
    object: str
    destination: str
    attempts: int
    begun: float
    """When it was pushed last, 1 when that is of no concern any more; 0 when it never was."""
    types: Mapping[str, FieldType]
    planned: tuple[PlannedChange, ...]
    note: str = ""
    """What is at work on it over there."""

    @property
    def batch(self) -> Batch:
        changes = tuple(p.change for p in self.planned)
        return Batch(self.id, self.destination, self.object, changes, self.note)


@dataclass(frozen=True, slots=True)
class Run:
    """One mapping's share of a run."""

    run: str
    mapping: str
    destination: str
    object: str
    account: str
    label: str
    as_of: str
    definition_hash: str
    state: str
    cause: str
    planned: Mapping[str, Any]
    calls: int
    seconds: float
    created_at: float
    ended_at: float | None


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Lists of at most CHUNK items."""
    chunk: list[T] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def standing_row(bound: BoundMapping, standing: Standing, now: float) -> dict[str, Any]:
    return {
        "account": bound.account,
        "mapping": bound.mapping,
        "entity": standing.entity,
        "digest": standing.digest,
        "state": standing.state,
        "level": standing.level,
        "code": standing.code,
        "recheck_at": standing.recheck_at,
        "since": now,
    }


def standing_after(planned: PlannedChange, outcome: Outcome, recheck_at: float) -> Standing:
    digest, state, recheck = planned.digest, "rejected", None
    if outcome.status is Status.DELIVERED:
        state = "left" if planned.change.kind is Kind.LEFT else "settled"
    elif outcome.code == "not_found" or outcome.status is Status.UNKNOWN:
        digest, state = None, "unknown"
    elif outcome.status is Status.SKIPPED:
        state, recheck = "skipped", recheck_at
    elif outcome.code in RECHECK_CODES:
        recheck = recheck_at
    return Standing(outcome.key, digest, state, planned.level, outcome.code or None, recheck)


def read_run(row: sa.Row[Any]) -> Run:
    values = {name: getattr(row, name) for name in Run.__dataclass_fields__}
    return Run(**(values | {"planned": json.loads(row.planned)}))
