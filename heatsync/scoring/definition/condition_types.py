"""The types of conditions. condition_parser reads them from a file, compute.condition_sql compiles them to SQL."""

import typing
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal, TypeAlias

from heatsync.scoring.definition.comparisons import Comparison

Route = tuple[str | int, ...]
"""The path from a condition to a part of it: keys and positions, as in the file."""


@dataclass(frozen=True, slots=True)
class Duration:
    """A duration before the as-of instant. Days and weeks are local calendar days, hours are elapsed time."""

    amount: int
    unit: Literal["h", "d", "w"]

    @property
    def days(self) -> int | None:
        """None for hours."""
        return None if self.unit == "h" else self.amount * (7 if self.unit == "w" else 1)

    @property
    def hours(self) -> int:
        """The number of hours, counting 24 for each day."""
        return self.amount if self.days is None else self.days * 24

    def __str__(self) -> str:
        return f"{self.amount}{self.unit}"


@dataclass(frozen=True, slots=True)
class All:
    """All conditions hold; true without conditions."""

    items: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Any:
    """At least one condition holds; false without conditions."""

    items: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """True where the condition is not true."""

    item: "Condition"


@dataclass(frozen=True, slots=True)
class Trait:
    """A trait of the profile (`score`), or a column of the tables (`user.plan`, `account.plan`)."""

    name: str
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class Events:
    """How many events lie in [t - old, t - new), or with `ratio` the ratio of that count to the count in a second
    interval.

    `names` is None for any event, and for the events of a `tier` or the `scored` ones, which the profile names. `old`
    None: ever; `new` None: until t. Every comparison of `count` must hold.
    """

    names: tuple[str, ...] | None
    tier: str | None = None
    scored: bool = False
    count: tuple[Comparison, ...] = (Comparison("gte", "1"),)
    old: Duration | None = None
    new: Duration | None = None
    where: tuple[tuple[str, Comparison], ...] = ()
    ratio: tuple[Duration | None, Duration | None] | None = None


@dataclass(frozen=True, slots=True)
class Time:
    """An instant lies in [t - old, t - new), on or after the day `after`, and before the day `before`; without any of
    them: it is known. `field` may also be `signed_up`, which is not part of the grammar."""

    field: str
    old: Duration | None = None
    new: Duration | None = None
    after: date | None = None
    before: date | None = None


@dataclass(frozen=True, slots=True)
class Users:
    """How many of an account's users meet a condition, or with `share` what percentage of them."""

    condition: "Condition"
    comparison: Comparison
    share: bool = False


@dataclass(frozen=True, slots=True)
class LevelChange:
    """A change of level from `before` to `after`, directly or through other levels; None: any level."""

    before: str | None
    after: str | None
    within: Duration


@dataclass(frozen=True, slots=True)
class Member:
    """Membership in another audience of the same profile and entity."""

    key: str


Condition: TypeAlias = All | Any | Not | Trait | Events | Time | Users | LevelChange | Member


def children(condition: Condition) -> Iterator[tuple[Route, Condition]]:
    """The direct parts of a condition, each with the path to it."""
    match condition:
        case All(items):
            yield from ((("all", position), item) for position, item in enumerate(items))
        case Any(items):
            yield from ((("any", position), item) for position, item in enumerate(items))
        case Not(item):
            yield ("not",), item
        case Users(inner):
            yield ("users",), inner
        case _:
            pass


def walk(condition: Condition, route: Route = ()) -> Iterator[tuple[Route, Condition]]:
    """The condition and all its parts, each with the path to it."""
    yield route, condition
    for step, inner in children(condition):
        yield from walk(inner, (*route, *step))


def canonical(condition: Condition) -> list[typing.Any]:
    """The condition as plain lists and texts for hashing; equivalent spellings give the same result."""

    def plain(value: typing.Any) -> typing.Any:
        match value:
            case Comparison(operator, written):
                several = list(written) if isinstance(written, tuple) else written
                return [operator, sorted(written) if operator in ("in", "not_in") else several]
            case Duration():
                return f"{value.amount}h" if value.days is None else f"{value.days}d"
            case date():
                return value.isoformat()
            case tuple():
                return [plain(each) for each in value]
            case None | str() | bool() | int():
                return value
        return canonical(value)

    if isinstance(condition, All | Any):
        # Their order does not matter.
        return [type(condition).__name__, sorted((canonical(item) for item in condition.items), key=repr)]
    if isinstance(condition, Events):
        names = None if condition.names is None else sorted(set(condition.names))
        others = ("tier", "scored", "count", "old", "new", "where", "ratio")
        return ["Events", names, *(plain(getattr(condition, name)) for name in others)]
    return [type(condition).__name__, *(plain(getattr(condition, name)) for name in condition.__slots__)]
