"""A mapping, read and checked: which of our traits go to which of their fields."""

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
    """Their key field and our column."""

    field: str
    column: Reference
    place: Place = dataclasses.field(compare=False)


@dataclass(frozen=True, slots=True)
class Field:
    """One of their fields. `sql` is a DuckDB expression over the aliases of `references`.

    `when_null` is keep or clear, `write` always or if_empty. A number that moved by less than `tolerance` is not
    written unless the level moved. `standard` are the names of what `standard_traits: true` adds.
    """

    name: str
    label: str
    sql: str
    references: tuple[Reference, ...]
    is_reference: bool
    """Whether it is a name alone, of which nothing can go wrong."""
    map: tuple[tuple[str, str], ...] = ()
    as_: FieldType | None = None
    join: str | None = None
    default: str | None = None
    when_null: str = "keep"
    write: str = "always"
    tolerance: float | None = None
    standard: bool = False
    tag: bool = False
    """Whether it is no field over there but a tag, for the members of an audience."""
    source: str = dataclasses.field(default="", compare=False)
    """What it is taken from, as the file says it."""
    place: Place = dataclasses.field(kw_only=True, compare=False)

    @property
    def audience(self) -> str | None:
        """The audience whose membership it tells, if it is that."""
        first = self.references[0] if self.is_reference else None
        return first.name if first is not None and first.origin is Origin.AUDIENCE else None


@dataclass(frozen=True, slots=True)
class Mapping:
    """One file under mappings/. `meaning` is a hash of everything that changes what is sent."""

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
    def search_lag(self) -> float:
        """Seconds within which a record that was just made may not be found."""
        kind = self.vendor.objects.get(self.object)
        return kind.search_lag if kind is not None else self.vendor.search_lag


@dataclass(frozen=True, slots=True)
class QueryField:
    """A column f0, f1, ... of the rendered relation. `guard` is the column that lets a small move through."""

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
    """A SELECT with the columns key, m0.., via, problem, level, f0..; one row per record."""

    sql: str
    fields: tuple[QueryField, ...]
    match: tuple[str, ...]
