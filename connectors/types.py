"""What goes into a connector and comes out of it: changes, batches, outcomes, lookups, fields."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

Value = str | int | float | bool | date | datetime | tuple[str, ...] | None
"""A field's value on our side. A datetime is in UTC and in whole seconds."""


class FieldType(StrEnum):
    """The type of a field, as we send it."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"
    LIST = "list"


class Entity(StrEnum):
    """What is scored: a user or an account."""

    USER = "user"
    ACCOUNT = "account"


class Kind(StrEnum):
    """Why a record is sent: it is new to the mapping, has changed, or left its audience."""

    ENTERED = "entered"
    CHANGED = "changed"
    LEFT = "left"


class Status(StrEnum):
    """What became of a change. `deferred`: it is sent again later. `unknown`: it may have taken effect."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    DEFERRED = "deferred"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Match:
    """One way to find a record: the destination's key field and our value for it."""

    field: str
    value: str


@dataclass(frozen=True, slots=True)
class Change:
    """What a record at the destination should become.

    `key` is our entity id. `match` is in the mapping's order, without empty values. `fields` holds only what differs,
    `before` the current values as far as they are known. A change without `remote_id` creates the record (planned only in
    `mode: upsert`, or where the vendor cannot be read). `via` is the user through whom a group call is made.
    `version` counts the acknowledged writes of this record: it makes a message repeated after a crash recognisable, and a
    value that returns a new one.
    """

    kind: Kind
    key: str
    match: tuple[Match, ...]
    fields: Mapping[str, Value]
    before: Mapping[str, Value] = field(default_factory=dict)
    remote_id: str | None = None
    via: str | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes that are sent together. `id` is also the idempotency key.

    `job` is the last `JobState` of a job that works on it; None: there is no such job. `finish_only`: the batch's run is
    over, so its job is awaited and nothing new is started.
    """

    id: str
    destination: str
    object: str
    changes: tuple[Change, ...]
    job: str | None = None
    finish_only: bool = False


@dataclass(frozen=True, slots=True)
class JobState:
    """The state of a job at the destination that works on a batch, in the connector's own words.

    It is written down before anything else is done, and handed back in `Batch.job` when the batch is pushed again.
    """

    text: str


@dataclass(frozen=True, slots=True)
class JobEnded:
    """No job works on the batch any more. A change that has no outcome by now was not written."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one change; `key` names it.

    `code` is stable and machine-readable, `cause` a sentence, `answer` the vendor's own words (no secrets). `until` is set
    for deferred changes. `remote_id` is set when the vendor named the record. With `partly_written`, a rejected change was
    written in part: the record is read again before the next write.
    """

    key: str
    status: Status
    remote_id: str | None = None
    code: str = ""
    cause: str = ""
    field: str | None = None
    answer: str = ""
    until: datetime | None = None
    partly_written: bool = False


PushEvent = Outcome | JobState | JobEnded
"""What a push yields: one outcome for every change, and the states and the end of a job if there is one."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """A record to find: by its remote id where it is known, else by `match`, in order."""

    key: str
    match: tuple[Match, ...]
    remote_id: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to a `Lookup`: without a remote id it is unmatched, with one matched, with several ambiguous.

    `values` holds the current value of every requested field, None where it is empty; only when matched.
    """

    key: str
    remote_ids: tuple[str, ...]
    matched_by: str | None = None
    values: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Account:
    """The account that records belong to; `kind` is the vendor's word for it (portal, workspace, org, source)."""

    kind: str
    id: str
    name: str = ""

    @property
    def label(self) -> str:
        """The account as people see it: `portal 4711`."""
        return f"{self.kind} {self.id}"


@dataclass(frozen=True, slots=True)
class RemoteField:
    """A field at the destination: `type` is the vendor's own word, `accepts` lists our types that it can hold.

    `length` is in characters. With `options` it accepts only these values; with `multiple` several of them at once, separated
    by semicolons. A record cannot be created without a `required` field.
    """

    name: str
    type: str
    writable: bool = True
    unique: bool = False
    required: bool = False
    length: int | None = None
    options: tuple[str, ...] = ()
    multiple: bool = False
    accepts: tuple[FieldType, ...] = tuple(FieldType)


@dataclass(frozen=True, slots=True)
class NewField:
    """A field to create."""

    name: str
    type: FieldType
    label: str


TAG = "tag:"
"""The start of a field's name that stands for a tag; the tag's name follows. The value is true where the record has the
tag; false and None both mean that it does not."""
