"""What comes in and what goes out of a connector: changes, batches, outcomes, look-ups, fields."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

Value = str | int | float | bool | date | datetime | tuple[str, ...] | None
"""What a field may hold on our side. A datetime is in UTC and in whole seconds."""


class FieldType(StrEnum):
    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"
    LIST = "list"


class Entity(StrEnum):
    USER = "user"
    ACCOUNT = "account"


class Kind(StrEnum):
    """Why a record is sent: it came into the mapping's care, differs, or left its audience."""

    ENTERED = "entered"
    CHANGED = "changed"
    LEFT = "left"


class Status(StrEnum):
    DELIVERED = "delivered"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    DEFERRED = "deferred"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Match:
    """One way to find a record: their key field and our value for it."""

    field: str
    value: str


@dataclass(frozen=True, slots=True)
class Change:
    """What one record over there should become.

    `key` is our entity id. `match` is in the mapping's order, without empty values. `fields` holds only what
    differs. `before` holds the values known to stand there now. Without `remote_id` the record is created
    (the story only lets that through in `mode: upsert`, or where the vendor cannot be read).
    `via` is the user through whom a group call is made. `version` counts the acknowledged writes of
    this record, so that a message repeated after a crash is recognisable and a value that returns is not.
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
    """Changes that travel together. `id` is also the idempotency key. `note` is the last `Note` on it.

    `finish_only`: its run is over. What is at work on it is heard out, nothing else is begun.
    """

    id: str
    destination: str
    object: str
    changes: tuple[Change, ...]
    note: str = ""
    finish_only: bool = False


@dataclass(frozen=True, slots=True)
class JobState:
    """What the connector wants to know of a batch when it is pushed again: what is at work on it over there.

    It is remembered before anything else is done. An empty text: nothing is at work any more, and whatever has no
    outcome by now was not done.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one change; `key` names it.

    `code` is stable and machine-readable, `cause` a sentence, `answer` the vendor's own words (no secrets).
    `until` is set for deferred ones. `remote_id` is set when the vendor named the record. One that is refused and `partly_written` has
    some of it written: what stands there is read again before the next write.
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


@dataclass(frozen=True, slots=True)
class Lookup:
    """A record to be found: by its remote id where it is known, else by `match`, in order."""

    key: str
    match: tuple[Match, ...]
    remote_id: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to a `Lookup`: no remote id is unmatched, one is matched, several are ambiguous.

    `values` holds the present value of every field asked for, None where it is empty; only when matched.
    """

    key: str
    remote_ids: tuple[str, ...]
    matched_by: str | None = None
    values: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Account:
    """Whose records these are: `kind` is the vendor's word for it (portal, workspace, org, source)."""

    kind: str
    id: str
    name: str = ""

    @property
    def label(self) -> str:
        return f"{self.kind} {self.id}"


@dataclass(frozen=True, slots=True)
class RemoteField:
    """A field as it exists over there; `type` is the vendor's own word, `accepts` are ours that it has room for.

    `length` is in characters. Whoever has `options` takes these values only; `multiple` of them at once, with semicolons
    in between, where it says so. No record is made without a `required` one.
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
    name: str
    type: FieldType
    label: str


def already_exists(key: str, title: str, id: str) -> Outcome:
    """What becomes of somebody who could not be made, being there, and to whom there is nothing to write: what stands
    there is not known, and is looked at."""
    cause = (
        f"{title} has it already ({id}), and showed it to no search: the next sync looks at what stands there"
    )
    return Outcome(key, Status.UNKNOWN, code="there_already", cause=cause)


TAG = "tag:"
"""Begins the name of a field that stands for a tag, by the tag's name. It is true where the record has the tag; false
and nothing both mean that it has not."""
