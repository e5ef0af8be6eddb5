"""What a comparison takes and answers."""

from dataclasses import dataclass

from connectors.types import Change, FieldType


@dataclass(frozen=True, slots=True)
class Column:
    """One field of the desired relation, `f0`, `f1`, ... in order, and the policies that decide about a write."""

    name: str
    type: FieldType
    clear: bool
    """Whether nothing on our side clears the field over there."""
    if_empty: bool = False
    tolerance: float | None = None
    tag: bool = False
    """A tag: true or not, and nothing is as good as false. One call writes it for many records."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a mapping's desired relation is like.

    The relation has the columns key, m0.., via, problem, level, f0..; see `heatsync.sync.mapping.query.build_query`.
    """

    columns: tuple[Column, ...]
    match: tuple[str, ...]
    definition_hash: str
    identity_hash: str = ""
    """What decides how records are found; a record that could not be found rests while this and its key stay."""
    needs_via: bool = False
    clear_on_exit: bool = False


@dataclass(slots=True)
class Counts:
    """Where every record went."""

    records: int = 0
    entered: int = 0
    changed: int = 0
    left: int = 0
    matched: int = 0
    unmatched: int = 0
    ambiguous: int = 0
    created: int = 0
    refused: int = 0
    skipped: int = 0
    parked: int = 0
    """Who is among the unmatched, ambiguous, refused or skipped since an older run, and rests until something changes."""
    cleared: int = 0
    """Records of which a field would be emptied."""

    @property
    def unchanged(self) -> int:
        touched = self.entered + self.changed + self.unmatched + self.ambiguous + self.refused + self.skipped
        return max(0, self.records - touched)


@dataclass(frozen=True, slots=True)
class Row:
    """A change with the digest and level that its standing takes when it is delivered."""

    change: Change
    digest: int | None
    level: str | None


@dataclass(slots=True)
class Scope:
    """Which records a run may look at; a scope makes nobody leave."""

    everything: bool = False
    only: str | None = None
    limit: int | None = None

    @property
    def partial(self) -> bool:
        return self.only is not None or self.limit is not None
