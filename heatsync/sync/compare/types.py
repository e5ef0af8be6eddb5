"""What a comparison takes and returns."""

from dataclasses import dataclass
from enum import StrEnum

from connectors.types import FieldType, Outcome


@dataclass(frozen=True, slots=True)
class Column:
    """One field of the desired relation, `f0`, `f1`, ... in order, and the policies that decide about a write."""

    name: str
    type: FieldType
    clear: bool
    """Whether an empty value on our side clears the field at the destination."""
    if_empty: bool = False
    tolerance: float | None = None
    tag: bool = False
    """A tag is true or not: an empty value is as good as false. One call writes it for many records."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a mapping's desired relation is like.

    The relation has the columns key, m0.., via, problem, level, f0..; see `heatsync.sync.mapping.query.build_query`.
    `problem` is a struct, see `heatsync.sync.value_problems`.
    """

    columns: tuple[Column, ...]
    match: tuple[str, ...]
    definition_hash: str
    identity_hash: str = ""
    """What decides how records are found. A record that was not found is left alone while this and its key stay."""
    needs_via: bool = False
    clear_on_exit: bool = False

    @property
    def tolerant(self) -> bool:
        """Whether a field has a tolerance, so that the level of the last write matters."""
        return any(column.tolerance is not None for column in self.columns)

    @property
    def types(self) -> dict[str, FieldType]:
        """The fields and their types."""
        return {column.name: column.type for column in self.columns}

    @property
    def has_no_key(self) -> str:
        """SQL: whether a row of the desired relation has none of the mapping's keys."""
        return " AND ".join(f"m{i} IS NULL" for i in range(len(self.match)))


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that is not sent: its outcome, and the digest that its standing is about."""

    outcome: Outcome
    digest: int


@dataclass(frozen=True, slots=True)
class Departure:
    """A record that left the mapping, and of which nothing is to be cleared."""

    key: str


class Presence(StrEnum):
    """What the comparison does with a record of the desired relation."""

    PENDING = "pending"
    """It is a candidate for a write."""
    UNTOUCHED = "untouched"
    """It stays as it is."""


@dataclass(frozen=True, slots=True)
class Owners:
    """Which of our entities own remote records besides the candidates.

    `owned` pairs a remote id and our key. The records of `released` keys have no owner any more: nothing of them is
    cleared.
    """

    owned: tuple[tuple[str, str], ...]
    released: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """Which records a run may look at. A record outside the scope does not count as one that left."""

    everything: bool = False
    only: str | None = None
    limit: int | None = None

    @property
    def partial(self) -> bool:
        """Whether it leaves records out."""
        return self.only is not None or self.limit is not None
