"""The words every destination shares: what comes in, what goes out, and what can go wrong.

    HeatsyncError
      ConfigurationError        mend the file
      Unavailable(retry_after)  come back later
        Underway                they are at work on it
      Unauthorized              a person must look; the mapping pauses
        Aborted                 a person has stopped it over there
      Misunderstood             our bug or their change; the batch is parked with the evidence

A bad *record* is never an exception: it is an `Outcome`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Protocol

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
    `via` is the user through whom a Segment group call is made. `version` counts the acknowledged writes of
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

    `late`: its run is over. What is at work on it is heard out, nothing else is begun.
    """

    id: str
    destination: str
    object: str
    changes: tuple[Change, ...]
    note: str = ""
    late: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """What the connector wants to know of a batch when it is pushed again: what is at work on it over there.

    It is remembered before anything else is done. An empty text: nothing is at work any more, and whatever has no
    outcome by now was not done.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one change; `key` names it.

    `code` is stable and machine-readable, `cause` a sentence, `answer` the vendor's own words (no secrets).
    `until` is set for deferred ones. `remote_id` is set when the vendor named the record. One that is refused `partly` has
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
    partly: bool = False


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
    """A field as it exists over there; `type` is the vendor's own word, `takes` are ours that it has room for.

    `length` is in characters. Whoever has `options` takes these values only; `several` of them at once, with semicolons
    in between, where it says so. No record is made without a `required` one.
    """

    name: str
    type: str
    writable: bool = True
    unique: bool = False
    required: bool = False
    length: int | None = None
    options: tuple[str, ...] = ()
    several: bool = False
    takes: tuple[FieldType, ...] = tuple(FieldType)


@dataclass(frozen=True, slots=True)
class NewField:
    name: str
    type: FieldType
    label: str


@dataclass(frozen=True, slots=True)
class Files:
    """How a vendor takes many changes as one file: runs of more than `above`, up to `records` of them at once.

    `calls` is what one file takes, as far as that can be foretold.
    """

    above: int
    records: int
    calls: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may hold and how often one may call.

    `batch` is how many changes are handed over at once where that is not one call's worth.
    """

    records: int
    lookups: int
    calls: int
    seconds: float
    concurrency: int = 1
    bytes: int | None = None
    record_bytes: int | None = None
    batch: int | None = None
    files: Files | None = None

    @property
    def handed_over(self) -> int:
        """Changes that one `push` is given."""
        return self.batch or self.records

    def filed(self, changes: int) -> bool:
        """Whether a run of so many changes goes in files."""
        return self.files is not None and changes > self.files.above

    def cut(self, changes: int) -> int:
        """Changes that one `push` is given in a run of so many; those of a file are cut evenly."""
        if self.files is None or not self.filed(changes):
            return self.handed_over
        return -(-changes // -(-changes // self.files.records))

    def foretold(self, changes: int, filed: bool) -> int:
        """Calls that so many changes of one kind in one `push`, or their file, take where nothing goes wrong."""
        if filed and self.files is not None and changes:
            return self.files.calls
        return -(-changes // self.records)


@dataclass(frozen=True, slots=True)
class Quota:
    """What a vendor says of its quota beside an answer: `calls` in `seconds`, and how long to `wait` if none is left.

    `spent` says which one is used up and when there is room again, where that is not a matter of seconds.
    """

    calls: int | None = None
    seconds: float = 10.0
    wait: float = 0.0
    spent: str = field(default="", compare=False)


def there_already(key: str, title: str, id: str) -> Outcome:
    """What becomes of somebody who could not be made, being there, and to whom there is nothing to write: what stands
    there is not known, and is looked at."""
    cause = (
        f"{title} has it already ({id}), and showed it to no search: the next sync looks at what stands there"
    )
    return Outcome(key, Status.UNKNOWN, code="there_already", cause=cause)


class Throttle(Protocol):
    """The quota of one destination and credential, shared by whoever uses it."""

    def acquire(self) -> None:
        """Wait for the right to make one call. Raises what is to end the work when nothing is to be begun any more."""

    def pause(self, seconds: float) -> None:
        """Nobody calls for so long."""

    def told(self, quota: Quota) -> None:
        """What the vendor says of its quota: whoever shares this keeps to it."""

    def part(self, name: str, calls: int, seconds: float) -> "Throttle":
        """A quota that the vendor counts by itself, shared by the same people."""


class Destination(Protocol):
    """One account of one vendor, opened with one credential."""

    limits: Limits
    host: str
    """Where it is reached, to be shown before anything is written."""

    def close(self) -> None:
        """End its connections."""

    def account(self) -> Account:
        """Who is it? One call where the vendor can tell. Raises Unauthorized, Unavailable, Misunderstood."""

    def fields(self, object: str) -> Mapping[str, RemoteField] | None:
        """The fields of an object by name; None where the vendor cannot be read."""

    def room(self, object: str) -> int | None:
        """How many more fields of one's own the object can get; None where the vendor does not tell.

        Raises ConfigurationError where heatsync may make none.
        """

    def lacking(self, object: str, fields_too: bool) -> Sequence[str]:
        """The rights, in the vendor's words, that the credential has not and that writing records needs, or making
        `fields_too`; none where the vendor does not tell."""

    def archived(self, object: str) -> Mapping[str, RemoteField]:
        """Fields that somebody put away over there, by name: `create_fields` brings one back if it `takes` the type."""

    def create_fields(self, object: str, fields: Sequence[NewField]) -> None:
        """Make the fields that are missing. Raises ConfigurationError with the vendor's reason."""

    def find(
        self, object: str, lookups: Sequence[Lookup], fields: Mapping[str, FieldType]
    ) -> Iterator[Found]:
        """Exactly one `Found` per lookup, in any order, in the fewest calls. The first unique hit counts."""

    def push(self, batch: Batch) -> Iterator[Outcome | Note]:
        """Exactly one `Outcome` per change, as they are earned, and whatever is to be noted in between."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A key of a destination in heatsync.yml; whoever has `options` takes these only."""

    required: bool = False
    secret: bool = False
    default: str | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ObjectKind:
    """An object of a vendor: what we score for it, and how it is found when a mapping does not say.

    `match` pairs their key field with our column, in order. `mode` is the default.
    `keys` are the key fields that the vendor can look up by; None when any field may serve.
    """

    entity: Entity
    match: tuple[tuple[str, str], ...]
    keys: frozenset[str] | None = None
    lag: float = 0.0
    """Seconds within which a look-up may not find a record that was just made, and nothing else keeps it single."""
    named_by: str = ""
    """The field by which people know a record, where one is made without it all the same."""


@dataclass(frozen=True, slots=True)
class Vendor:
    """What a destination's type is and can, as data; `connect` is where its SDK is imported."""

    type: str
    title: str
    settings: Mapping[str, Setting]
    objects: Mapping[str, ObjectKind]
    connect: Callable[[Mapping[str, str], Throttle, Callable[[], None]], Destination]
    """settings (resolved), throttle, and what is told of every request made."""
    spell: Callable[[str, str, str, Entity], str]
    """(prefix, score name, metric, entity) -> their name for a standard trait."""
    readable: bool = True
    any_object: bool = False
    lag: float = 0.0
    """The `ObjectKind.lag` of objects that are not listed."""
    modes: tuple[str, ...] = ("update", "upsert")
    """The first is the default."""
    lists: bool = False
    """Takes lists as values; elsewhere they are joined."""
    field_name: str = r".+"
    """What the whole name of a field must match."""
    field_names: str = ""
    """The same, in words."""
    either: tuple[tuple[str, ...], ...] = ()
    """Groups of settings of which one must be whole; there is no more to say where this is empty."""
    account_settings: tuple[str, ...] = ()
    """The settings that make up a credential and decide which account it is; their keyed hash remembers it."""
    tags: bool = False
    """Has tags for many records at a time; a field whose name begins with `TAG` is one of them."""
    fields_need: str = ""
    """The setting of a destination without which it makes no fields."""


TAG = "tag:"
"""Begins the name of a field that stands for a tag, by the tag's name. It is true where the record has the tag; false
and nothing both mean that it has not."""

METRICS = {
    "score": "Score",
    "segments": "Segments",
    "activation": "Activation",
    "adoption_recent": "Adoption_Recent",
    "adoption_ever": "Adoption_Ever",
    "last_active": "LastActive",
    "frequency": "Frequency",
    "active_users": "ActiveUsers",
    "total_users": "TotalUsers",
}
"""The metrics that are shipped under a standard name, and how that name ends."""


def trait_name(prefix: str, score_name: str, metric: str) -> str:
    """The standard name of a trait, before a vendor's own spelling: `Accoil_Health_Score`."""
    return f"{prefix}_{''.join(score_name.split())}_{METRICS[metric]}"


class HeatsyncError(Exception):
    """A sentence for the person who must act: what, where, what was expected, what to do."""

    @property
    def said(self) -> str:
        """What happened, and what to do."""
        return str(self)

    @property
    def told(self) -> str:
        """The same for who was sending: besides, what becomes of what was to be sent."""
        return self.said


class ConfigurationError(HeatsyncError):
    """Mend the file. `about` is a setting of the destination, or the mapping's `object`, where it is about one."""

    def __init__(self, message: str, about: str = "") -> None:
        super().__init__(message)
        self.about = about


class Unavailable(HeatsyncError):
    """Come back later: after `retry_after` seconds where the vendor said so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    @property
    def said(self) -> str:
        return ended(str(self))

    @property
    def told(self) -> str:
        return f"{self.said} What was not sent stays due: the next sync sends it."


class Underway(Unavailable):
    """The vendor is at work on a batch, which was noted: look again after `retry_after` seconds. No error.

    `moved`: it got on since the last look.
    """

    def __init__(self, message: str, retry_after: float, moved: bool = False) -> None:
        super().__init__(message, retry_after)
        self.moved = moved


class Unauthorized(HeatsyncError):
    """The credentials are refused, or do not suffice; a person must look."""


class Aborted(Unauthorized):
    """Somebody stopped it over there: with the credentials nothing is wrong."""


class Misunderstood(HeatsyncError):
    """The answer cannot be read: our bug or their change. `evidence` is what was answered, shortened."""

    def __init__(self, message: str, evidence: str = "") -> None:
        super().__init__(message)
        self.evidence = evidence[:2000]

    @property
    def said(self) -> str:
        """Without the evidence, which may hold personal data."""
        start = self.evidence[:500].lower()
        page = "<html" in start or "<!doctype" in start
        found = (
            "It is a web page: is there a proxy or a login in between, or is `url` wrong?"
            if page
            else "Was it cut short on its way, or is there a newer version of heatsync?"
        )
        return f"{ended(str(self))} {found}"

    @property
    def told(self) -> str:
        return f"{self.said} Nothing of it counts as delivered: the next sync looks and sends again."


def ended(sentence: str) -> str:
    """A sentence with its full stop, which a vendor's words often lack."""
    return sentence if sentence.endswith((".", "?")) else f"{sentence}."
