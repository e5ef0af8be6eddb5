"""The values of the ledger and the states that they can be in."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from connectors.types import Batch, Change, FieldType, NewField, Value

T = TypeVar("T")
CHUNK = 5_000
"""Rows that one statement reads or writes."""
RECHECK_CODES = frozenset({"unmatched", "ambiguous", "same_record"})
"""Codes of refusals that a change at the destination can end at any time; we do not see such a change."""


class RunState(StrEnum):
    """The state of a mapping's run. JSON answers spell it like this."""

    PLANNING = "planning"
    PLANNED = "planned"
    """It needs no approval and is about to be released."""
    HELD = "held"
    """It waits until someone approves or cancels it."""
    READY = "ready"
    """It is released: its batches may be delivered."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    """A newer run of the mapping took its place."""


UNRELEASED = (RunState.PLANNED, RunState.HELD)
"""States of a run that is planned in full and can be released."""
ENDED = (RunState.DONE, RunState.FAILED, RunState.CANCELLED, RunState.SUPERSEDED)


class BatchState(StrEnum):
    """The state of a batch."""

    PLANNED = "planned"
    """Its run is not released."""
    READY = "ready"
    """It can be claimed from `not_before` on."""
    CLAIMED = "claimed"
    """Its owner delivers it, until the lease ends."""
    DONE = "done"
    PARKED = "parked"
    """Its answer could not be read; it is kept with the evidence and never sent again."""
    SUPERSEDED = "superseded"


OPEN = (BatchState.PLANNED, BatchState.READY, BatchState.CLAIMED)
"""States of a batch that is still to be delivered."""


class StandingState(StrEnum):
    """Where one of our entities stands with a mapping. JSON answers spell it like this."""

    SETTLED = "settled"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"
    """It is looked up again before the next write."""
    LEFT = "left"


class PushState(StrEnum):
    """Whether a batch was pushed, and what is known of its changes that have no outcome."""

    NEVER = "never"
    """Nothing of it was sent."""
    ANSWERED = "answered"
    """It was pushed; a change without an outcome was not done by the last push."""
    IN_DOUBT = "in_doubt"
    """It was pushed; a change without an outcome may still have been done."""


class Attempt(StrEnum):
    """How far an attempt to deliver a batch got before the batch is put back."""

    NOT_SENT = "not_sent"
    """Nothing was sent: what was known of the batch before the claim holds."""
    ANSWERED = "answered"
    """Everything that was sent is answered for."""
    INTERRUPTED = "interrupted"
    """What has no outcome may still have been done."""


@dataclass(frozen=True, slots=True)
class BoundMapping:
    """A mapping bound to the account at the destination."""

    mapping: str
    account: str
    """Vendor and account id, as `accounts.account`."""
    object: str
    readable: bool = True
    """Whether current values can be looked up."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one of our entities stands with a mapping: about which desired record (`digest`), and how.

    `recheck_at` is in seconds since 1970: a rejected or skipped record is looked up again from then on.
    """

    entity: str
    digest: int | None
    state: StandingState
    level: str | None = None
    code: str | None = None
    recheck_at: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A record at the destination as far as it was acknowledged."""

    entity: str
    remote_id: str | None
    match_value: str | None
    fields: Mapping[str, Value]
    version: int = 0


@dataclass(frozen=True, slots=True)
class RecordStatus:
    """One of our entities at one account: the record as far as we know it, its standing, and its last outcome with the
    vendor's own words. Times are in seconds since 1970."""

    account: str
    label: str
    state: StandingState
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
    """A change, and what its standing becomes once it is delivered."""

    change: Change
    digest: int | None
    level: str | None


@dataclass(frozen=True, slots=True)
class PlanCounts:
    """What a run was planned to do, in records unless said otherwise. All zero while it is being planned."""

    records: int = 0
    """Records that the mapping covers."""
    entered: int = 0
    changed: int = 0
    left: int = 0
    unchanged: int = 0
    matched: int = 0
    unmatched: int = 0
    ambiguous: int = 0
    created: int = 0
    refused: int = 0
    skipped: int = 0
    parked: int = 0
    """Those among the unmatched, ambiguous, refused or skipped that an older run found, and that wait for a change."""
    cleared: int = 0
    """Records of which a field is emptied."""
    writes: int = 0
    """Changes in the run's batches."""
    calls: int = 0
    """Estimated calls to deliver them."""
    lost: int = 0
    """Records of older runs that turned out undelivered while this run was planned."""
    partial: bool = False
    """The run covers only some of the mapping's records."""
    new_fields: tuple[NewField, ...] = ()
    """Fields still to be created at the destination before the first batch."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Why a mapping is paused. `by_hand`: a person did it, so it is no failure."""

    cause: str
    by_hand: bool


@dataclass(frozen=True, slots=True)
class Process:
    """A process that can hold leases. `host` names the host since it started, and the container within it."""

    host: str
    pid: int


@dataclass(frozen=True, slots=True)
class LeaseOwner:
    """The owner of a lease. `id` is unique, also within the process."""

    id: str
    process: Process


@dataclass(frozen=True, slots=True)
class BatchTarget:
    """Where a batch belongs: the run and mapping it is of, and the account and object it goes to."""

    run: str
    mapping: str
    account: str
    object: str


@dataclass(frozen=True, slots=True)
class ClaimedBatch:
    """A batch under our lease. `planned` are its changes that have no outcome yet."""

    id: str
    owner: str
    """Id of the lease owner: of this claim alone."""
    run: str
    mapping: str
    account: str
    object: str
    destination: str
    attempts: int
    push_state: PushState
    """As it was before this claim."""
    pushed_at: float | None
    """When it was pushed last, in seconds since 1970; set if `push_state` is IN_DOUBT."""
    types: Mapping[str, FieldType]
    planned: tuple[PlannedChange, ...]
    job: str | None = None
    """State of the job that works on it at the destination, in the connector's own words; None: no such job."""

    @property
    def batch(self) -> Batch:
        """What the connector pushes."""
        changes = tuple(p.change for p in self.planned)
        return Batch(self.id, self.destination, self.object, changes, self.job)


@dataclass(frozen=True, slots=True)
class Run:
    """One mapping's share of a run. Times are in seconds since 1970; `as_of` is an ISO date."""

    run: str
    mapping: str
    destination: str
    object: str
    account: str
    label: str
    """The account as it is shown."""
    as_of: str
    definition_hash: str
    state: RunState
    cause: str
    """Why it is held, waits or failed, for people; empty if there is nothing to say."""
    planned: PlanCounts
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
