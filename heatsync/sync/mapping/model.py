"""A resolved mapping: which of our values go to which fields of a destination."""

import dataclasses
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from connectors.destination import Vendor
from connectors.types import Entity, FieldType
from heatsync.scoring.definition.place import Place
from heatsync.sync.mapping.references import Origin, Reference


@dataclass(frozen=True, slots=True)
class MatchKey:
    """A field of the destination that finds a record, and our column with its value."""

    field: str
    column: Reference
    place: Place = dataclasses.field(compare=False)


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the destination. `sql` is a DuckDB expression over the aliases of `references`.

    `when_null` is keep or clear, `write` is always or if_empty. A change of a number by less than `tolerance` is only
    written if the level changed too. `standard` fields come from `standard_traits: true`.
    """

    name: str
    label: str
    sql: str
    references: tuple[Reference, ...]
    is_reference: bool
    """Whether `sql` is a single name, so that it cannot fail."""
    map: tuple[tuple[str, str], ...] = ()
    as_: FieldType | None = None
    join: str | None = None
    default: str | None = None
    when_null: str = "keep"
    write: str = "always"
    tolerance: float | None = None
    standard: bool = False
    tag: bool = False
    """Whether it is a tag at the destination, for the members of an audience."""
    source: str = dataclasses.field(default="", compare=False)
    """The `from` or `sql` of the file."""
    place: Place = dataclasses.field(kw_only=True, compare=False)

    @property
    def audience(self) -> str | None:
        """The key of the audience if the field holds membership in one, otherwise None."""
        first = self.references[0] if self.is_reference else None
        return first.name if first is not None and first.origin is Origin.AUDIENCE else None


@dataclass(frozen=True, slots=True)
class Mapping:
    """One file under mappings/. `definition_hash` is a hash of everything that decides what it sends."""

    name: str
    path: Path
    destination: str
    vendor: Vendor
    object: str
    entity: Entity
    profile: str
    audience: str | None
    on_exit: str | None
    match: tuple[MatchKey, ...]
    mode: str
    fields: tuple[Field, ...]
    create_fields: bool
    max_writes: int | None
    max_creates: int | None
    recheck_after: timedelta
    anonymous: bool
    schedule: str | None
    definition_hash: str
    place: Place = dataclasses.field(compare=False)
    """Where its `object` is written."""

    @property
    def creates_records(self) -> bool:
        """Whether missing records may be created: upsert mode, readable vendor."""
        return self.vendor.readable and self.mode == "upsert"

    @property
    def search_lag(self) -> float:
        """Seconds during which a search may not find a record that was just created."""
        kind = self.vendor.objects.get(self.object)
        return kind.search_lag if kind is not None else self.vendor.search_lag


@dataclass(frozen=True, slots=True)
class QueryField:
    """A column f0, f1, ... of a mapping's query. If the column `guard` changed, `tolerance` does not count."""

    name: str
    type: FieldType
    when_null: str
    write: str
    tolerance: float | None
    guard: str | None
    label: str
    tag: bool = False


@dataclass(frozen=True, slots=True)
class MappingQuery:
    """A SELECT with one row per record, ready to be compared with what was delivered.

    key      our id of the entity
    m0..     the values that find the record, in the order of `match`; NULL if there is none
    via      for a destination that cannot be read, the user that an account is sent with; otherwise NULL
    problem  why a value cannot be sent, a struct as in `heatsync.sync.value_problems`; otherwise NULL
    level    the entity's level
    f0..     the values of `fields`
    """

    sql: str
    fields: tuple[QueryField, ...]
    match: tuple[str, ...]
