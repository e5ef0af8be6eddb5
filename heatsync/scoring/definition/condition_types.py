"""What a condition is made of, as values. scoring.conditions reads them from a file, scoring.judging makes SQL of them."""

import typing
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal, TypeAlias

from heatsync.scoring.definition.comparisons import Comparison

Route = tuple[str | int, ...]
"""The way from a condition to a part of it, as it is written."""


@dataclass(frozen=True, slots=True)
class Duration:
    """Before the as-of instant. Days and weeks are local calendar days, hours are elapsed time."""

    amount: int
    unit: Literal["h", "d", "w"]

    @property
    def days(self) -> int | None:
        """None for hours."""
        return None if self.unit == "h" else self.amount * (7 if self.unit == "w" else 1)

    @property
    def hours(self) -> int:
        """So many, were every day of 24 hours."""
        return self.amount if self.days is None else self.days * 24

    def __str__(self) -> str:
        return f"{self.amount}{self.unit}"


@dataclass(frozen=True, slots=True)
class All:
    """Every one of them; of none: true."""

    items: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Any:
    """At least one of them; of none: false."""

    items: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Not:
    item: "Condition"


@dataclass(frozen=True, slots=True)
class Trait:
    """A trait of the profile (`score`), or a column of the tables (`user.plan`, `account.plan`)."""

    name: str
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class Events:
    """How many events there are in [t - old, t - new), or in the first interval of `ratio` to the second.

    `names` is None for any event, and for those that the profile names: of a `tier`, or `scored`. `old` None: ever;
    `new` None: until t. Every comparison of `count` must hold.
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
    """An instant in [t - old, t - new), and not before the day `after`, and before the day `before`; without any of
    them: that it is known. Besides those of the grammar `field` may be `signed_up`."""

    field: str
    old: Duration | None = None
    new: Duration | None = None
    after: date | None = None
    before: date | None = None


@dataclass(frozen=True, slots=True)
class Users:
    """How many of an account's users a condition holds for, or with `share` how many in a hundred of them."""

    condition: "Condition"
    comparison: Comparison
    share: bool = False


@dataclass(frozen=True, slots=True)
class LevelChange:
    """A move that leaves `before` and arrives at `after`, through others in between or not; None: any."""

    before: str | None
    after: str | None
    within: Duration


@dataclass(frozen=True, slots=True)
class Member:
    """Who is in another audience of the same profile and entity."""

    key: str


Condition: TypeAlias = All | Any | Not | Trait | Events | Time | Users | LevelChange | Member


def children(condition: Condition) -> Iterator[tuple[Route, Condition]]:
    """The conditions that it is made of, with the way to each."""
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
    """The condition and all that is inside it, each with the way to it."""
    yield route, condition
    for step, inner in children(condition):
        yield from walk(inner, (*route, *step))


def canonical(condition: Condition) -> list[typing.Any]:
    """The condition as plain lists and texts: the same for the same meaning, for hashes."""

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
        # Their order says nothing.
        return [type(condition).__name__, sorted((canonical(item) for item in condition.items), key=repr)]
    if isinstance(condition, Events):
        names = None if condition.names is None else sorted(set(condition.names))
        rest = ("tier", "scored", "count", "old", "new", "where", "ratio")
        return ["Events", names, *(plain(getattr(condition, name)) for name in rest)]
    return [type(condition).__name__, *(plain(getattr(condition, name)) for name in condition.__slots__)]
