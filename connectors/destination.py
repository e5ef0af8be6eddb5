"""What a destination is: its protocol, its limits, and its vendor as data."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from connectors.types import (
    Account,
    Batch,
    Entity,
    FieldType,
    Found,
    Lookup,
    NewField,
    PushEvent,
    RemoteField,
)


@dataclass(frozen=True, slots=True)
class Files:
    """How a vendor accepts many changes as one file: for runs of more than `above` changes, up to `records` in one file.

    `calls` is the expected number of calls for one file.
    """

    above: int
    records: int
    calls: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may hold, and how often calls are allowed: `calls` in `seconds`.

    `changes_per_push` is how many changes one `push` gets, where that is not what one call holds.
    """

    records_per_call: int
    lookups_per_call: int
    calls: int
    seconds: float
    concurrency: int = 1
    bytes: int | None = None
    record_bytes: int | None = None
    changes_per_push: int | None = None
    files: Files | None = None

    @property
    def push_size(self) -> int:
        """How many changes one `push` gets."""
        return self.changes_per_push or self.records_per_call

    def uses_files(self, changes: int) -> bool:
        """Whether a run of this many changes is sent in files."""
        return self.files is not None and changes > self.files.above

    def batch_size(self, changes: int) -> int:
        """How many changes one `push` gets in a run of this many; files are cut evenly."""
        if self.files is None or not self.uses_files(changes):
            return self.push_size
        return -(-changes // -(-changes // self.files.records))

    def estimated_calls(self, changes: int, in_file: bool) -> int:
        """Calls for this many changes of one kind in one `push`, or in a file, if nothing goes wrong."""
        if in_file and self.files is not None and changes:
            return self.files.calls
        return -(-changes // self.records_per_call)


@dataclass(frozen=True, slots=True)
class Quota:
    """A vendor's quota as an answer shows it: `calls` in `seconds`, and how many seconds to `wait` if none is left.

    `spent` is a sentence: which quota is used up and when it returns, where that takes longer than seconds.
    """

    calls: int | None = None
    seconds: float = 10.0
    wait: float = 0.0
    spent: str = field(default="", compare=False)


class Throttle(Protocol):
    """The quota of one destination and credential, shared by all its users."""

    def acquire(self) -> None:
        """Wait for permission to make one call. Raises an exception when no call may be made any more."""

    def pause(self, seconds: float) -> None:
        """Allow no calls for this long."""

    def on_quota(self, quota: Quota) -> None:
        """Keep to the quota that the vendor reports."""

    def sub_quota(self, name: str, calls: int, seconds: float) -> "Throttle":
        """A quota that the vendor counts separately, shared in the same way."""


class Destination(Protocol):
    """One account of one vendor, opened with one credential. One whose fields can be read is a `ReadableDestination`."""

    host: str
    """The address that calls go to, shown before anything is written."""

    def close(self) -> None:
        """Close the connections."""

    def account(self) -> Account:
        """The account that the credential belongs to: at most one call.

        Raises Unauthorized, Unavailable, Misunderstood.
        """

    def find(
        self, object: str, lookups: Sequence[Lookup], fields: Mapping[str, FieldType]
    ) -> Iterator[Found]:
        """Look records up: exactly one `Found` per lookup, in any order, in the fewest calls.

        The first key with a single hit counts. A vendor that cannot be read finds nothing, without a call.
        """

    def push(self, batch: Batch) -> Iterator[PushEvent]:
        """Write a batch: exactly one `Outcome` per change, as soon as it is known; and where a job works on it,
        the job's states and its end.

        Raises InProgress, Unauthorized, Unavailable, Misunderstood, ConfigurationError; changes without an outcome by
        then were not acknowledged.
        """


@runtime_checkable
class ReadableDestination(Destination, Protocol):
    """A destination with the optional part: its fields can be read and created."""

    def fields(self, object: str) -> Mapping[str, RemoteField]:
        """The fields of an object, by name."""

    def fields_left(self, object: str) -> int | None:
        """How many more custom fields the object can get; None where the vendor does not say.

        Raises ConfigurationError where heatsync may not create any.
        """

    def missing_permissions(self, object: str, create_fields: bool) -> Sequence[str]:
        """The permissions, in the vendor's words, that the credential lacks for writing records, and with
        `create_fields` for creating fields; none where the vendor does not say."""

    def archived_fields(self, object: str) -> Mapping[str, RemoteField]:
        """Fields that were archived at the destination, by name: `create_fields` restores one if it accepts the type."""

    def create_fields(self, object: str, fields: Sequence[NewField]) -> None:
        """Create the missing fields. Raises ConfigurationError with the vendor's reason."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A key of a destination in heatsync.yml; with `options` it accepts only these."""

    required: bool = False
    secret: bool = False
    default: str | None = None
    options: tuple[str, ...] = ()
    whole_number: bool = False
    """Its value is a whole number from 1."""
    demo: str = "demo"
    """The value that `heatsync demo` gives to an environment variable that it is read from."""


@dataclass(frozen=True, slots=True)
class ObjectKind:
    """An object of a vendor: the entity that we score for it, and how its records are found by default.

    `match` pairs the vendor's key field with our column, in order. `keys` are the key fields that the vendor can look up by;
    None where it can look up by any field.
    """

    entity: Entity
    match: tuple[tuple[str, str], ...]
    keys: frozenset[str] | None = None
    search_lag: float = 0.0
    """Seconds for which a lookup may miss a new record, where nothing else prevents a second one."""
    name_field: str = ""
    """The field that shows people which record it is, where the vendor does not require it."""


@dataclass(frozen=True, slots=True)
class Vendor:
    """A type of destination as data; only `connect` imports its SDK."""

    type: str
    title: str
    settings: Mapping[str, Setting]
    objects: Mapping[str, ObjectKind]
    limits: Callable[[Mapping[str, str]], Limits]
    """resolved settings -> limits; needs no connection."""
    connect: Callable[[Mapping[str, str], Throttle, Callable[[], None]], Destination]
    """resolved settings, throttle, `on_request` (called for every request) -> the opened destination."""
    name_trait: Callable[[str, str, str, Entity], str]
    """(prefix, score name, metric, entity) -> the vendor's name of a standard trait."""
    readable: bool = True
    any_object: bool = False
    search_lag: float = 0.0
    """The `ObjectKind.search_lag` of objects that are not listed."""
    modes: tuple[str, ...] = ("update", "upsert")
    """The first is the default."""
    accepts_lists: bool = False
    """Whether it accepts lists as values; elsewhere they are joined."""
    field_name_pattern: str = r".+"
    """The pattern that the whole name of a field must match."""
    field_name_rule: str = ""
    """The same rule in words."""
    credential_groups: tuple[tuple[str, ...], ...] = ()
    """Groups of settings; the settings of one group must all be given. Empty: `Setting.required` says it all."""
    account_settings: tuple[str, ...] = ()
    """The settings that decide which account a credential belongs to; the ledger remembers it under their keyed hash."""
    id_field: str = "id"
    """The vendor's name, in lower case, for the id of a record as a key."""
    anonymous_accounts: bool = False
    """Accounts are sent through one of their members; `anonymous: true` sends those without one, too."""
    counts_profiles: bool = False
    """Bills by the profiles that are written: a plan says how many these are."""
    tags: bool = False
    """Whether it has tags; a field whose name starts with `TAG` stands for one."""
    create_fields_setting: str = ""
    """The setting that a destination needs before it can create fields."""

    @property
    def needed_settings(self) -> tuple[str, ...]:
        """The settings that a destination cannot do without, with the first of the ways to give a credential."""
        required = tuple(key for key, setting in self.settings.items() if setting.required)
        return required + (self.credential_groups[0] if self.credential_groups else ())


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
"""The metrics of the standard traits, and how their names end."""


def trait_name(prefix: str, score_name: str, metric: str) -> str:
    """The standard name of a trait, before a vendor's own spelling: `Accoil_Health_Score`."""
    return f"{prefix}_{''.join(score_name.split())}_{METRICS[metric]}"
