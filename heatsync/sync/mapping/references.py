"""The names that a mapping may use, and what each refers to.

score                  a trait of the mapping's profile and entity
adoption.score         a trait of another profile
user.X, account.X      a column of the tables
account.health.score   a trait of the user's account
audience.KEY           whether the entity is in it
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from connectors.types import Entity, FieldType
from heatsync.scoring.definition import audiences
from heatsync.scoring.definition.builtin_audiences import Audience
from heatsync.scoring.definition.profile import Profile
from heatsync.workspace.strict_yaml import nearest, suggest


class Origin(StrEnum):
    """What a name refers to."""

    TRAIT = "trait"
    COLUMN = "column"
    AUDIENCE = "audience"


_BOTH = {
    "score": FieldType.INTEGER,
    "segments": FieldType.LIST,
    "activation": FieldType.NUMBER,
    "adoption_recent": FieldType.NUMBER,
    "adoption_ever": FieldType.NUMBER,
    "last_active": FieldType.DATETIME,
    "frequency": FieldType.INTEGER,
    "level": FieldType.TEXT,
    "level_previous": FieldType.TEXT,
    "level_changed_on": FieldType.DATE,
    "trend": FieldType.TEXT,
    "score_change": FieldType.INTEGER,
    "score_change_window": FieldType.INTEGER,
    "tenure_days": FieldType.INTEGER,
    "benchmark": FieldType.NUMBER,
    "drivers": FieldType.TEXT,
    "first_seen": FieldType.DATETIME,
    "last_seen": FieldType.DATETIME,
    "account_id": FieldType.TEXT,
}
TRAITS: Mapping[Entity, Mapping[str, FieldType]] = {
    Entity.USER: {**_BOTH, "user_id": FieldType.TEXT},
    Entity.ACCOUNT: {
        **_BOTH,
        "active_users": FieldType.INTEGER,
        "total_users": FieldType.INTEGER,
        "percent_active": FieldType.NUMBER,
    },
}
"""The columns of a snapshot that a mapping may name. `audiences` is another name of `segments`."""

_STANDARD = (
    "score",
    "segments",
    "activation",
    "adoption_recent",
    "adoption_ever",
    "last_active",
    "frequency",
)
STANDARD: Mapping[Entity, tuple[str, ...]] = {
    Entity.USER: _STANDARD,
    Entity.ACCOUNT: (*_STANDARD, "active_users", "total_users"),
}
"""The metrics of `standard_traits`, in the order in which they are shipped."""


def key_column(entity: Entity) -> str:
    """The column with the id of an entity: user_id or account_id."""
    return f"{entity.value}_id"


@dataclass(frozen=True, slots=True)
class Reference:
    """A resolved name. `profile` is empty for a column of a table."""

    origin: Origin
    entity: Entity
    profile: str
    name: str

    @property
    def alias(self) -> str:
        """Its name inside the query, in lower case: DuckDB ignores case."""
        if self.origin is Origin.COLUMN:
            return f"{self.entity.value}.{self.name}".lower()
        return f"{self.entity.value}.{self.profile}.{self.origin.value}.{self.name}".lower()

    @property
    def computed(self) -> bool:
        """Whether heatsync computes it; otherwise it is a column of a table."""
        return self.origin is not Origin.COLUMN

    @property
    def type(self) -> FieldType | None:
        """The type of a computed value; None for a column, because its type is in the data."""
        if self.origin is Origin.AUDIENCE:
            return FieldType.BOOLEAN
        return TRAITS[self.entity].get(self.name) if self.origin is Origin.TRAIT else None


@dataclass(frozen=True, slots=True)
class NameScope:
    """Resolves the names of one mapping.

    The `broken` profiles and `broken_audiences` exist, but are invalid. `broken_audiences` is None if any key may be
    one of them.
    """

    entity: Entity
    profile: str
    profiles: Mapping[str, Profile]
    tables: frozenset[Entity]
    broken: frozenset[str] = field(default=frozenset())
    audiences: Mapping[str, tuple[Audience, ...]] = field(default_factory=dict)
    broken_audiences: frozenset[str] | None = frozenset()

    def resolve(self, parts: tuple[str, ...]) -> Reference:
        """The reference of a name, by its parts between dots. Raises ValueError, with a similar name if there is one."""
        if any(part.strip() == "" for part in parts):
            raise ValueError(f"`{'.'.join(parts)}` is not a name: a part is missing")
        first, *rest = parts
        if not rest:
            return self._trait(first, self.profile, self.entity, "")
        if first == "audience":
            return self._audience(".".join(rest))
        if first in ("user", "account"):
            return self._table(Entity(first), rest)
        if first not in self.profiles and first not in self.broken:
            known = [*self.profiles, "user", "account", "audience"]
            raise ValueError(
                f"`{first}` is neither a profile nor user, account or audience{suggest(first, known)}"
            )
        return self._trait(".".join(rest), first, self.entity, f"{first}.")

    def column(self, name: str) -> Reference:
        """A column for `match`: of the entity's own table unless its name begins with `user.` or `account.`.

        Raises ValueError.
        """
        first, dot, rest = name.partition(".")
        if dot and first in ("user", "account"):
            return self._table(Entity(first), [rest])
        return self._table(self.entity, [name])

    def _trait(self, name: str, profile: str, entity: Entity, prefix: str) -> Reference:
        known = TRAITS[entity]
        wanted = "segments" if name.lower() == "audiences" else name.lower()
        if wanted in known:
            return Reference(Origin.TRAIT, entity, profile, wanted)
        close = nearest(name, [*known, "audiences"])
        if close is not None:
            raise ValueError(f"`{prefix}{name}` is not a trait; did you mean `{prefix}{close}`?")
        if name in self.profiles:
            raise ValueError(f"`{name}` is a profile: name one of its traits, such as `{name}.score`")
        raise ValueError(
            f"`{prefix}{name}` is not a trait: if it is a column, write `{entity.value}.{name}`;"
            f" traits: {', '.join(sorted({*known, 'audiences'}))}"
        )

    def _table(self, entity: Entity, rest: list[str]) -> Reference:
        if entity is Entity.USER and self.entity is Entity.ACCOUNT:
            raise ValueError("a mapping of accounts cannot use `user.` names: an account has many users")
        if len(rest) == 1:
            if rest[0].lower() == key_column(entity) and entity is self.entity:
                return Reference(Origin.TRAIT, entity, self.profile, key_column(entity))
            if entity not in self.tables:
                raise ValueError(
                    f"`{entity.value}.{rest[0]}` needs a table of {entity.value}s:"
                    f" heatsync.yml has no `source: {entity.value}s:`"
                )
            return Reference(Origin.COLUMN, entity, "", rest[0])
        profile, name = rest[0], ".".join(rest[1:])
        if profile not in self.profiles and profile not in self.broken:
            raise ValueError(f"`{profile}` is not a profile{suggest(profile, self.profiles)}")
        if entity is Entity.USER:
            raise ValueError(f"write a trait of the user without `user.`: `{profile}.{name}`")
        return self._trait(name, profile, entity, f"{entity.value}.{profile}.")

    def _audience(self, key: str) -> Reference:
        if self.profile not in self.broken:
            own = self.audiences.get(self.profile, ())
            known = audiences.audience_keys(self.profiles[self.profile], self.entity.value, own)
            doubtful = self.broken_audiences is None or key in self.broken_audiences
            if key not in known and not doubtful:
                raise ValueError(f"`{key}` is not an audience of {self.entity.value}s{suggest(key, known)}")
        return Reference(Origin.AUDIENCE, self.entity, self.profile, key)
