"""The grammar of conditions, for audiences and filters, and their parser.

cond         := {all: [cond, ..]} | {any: [cond, ..]} | {not: cond} | trait | event | time | users
                | level_change | audience
trait        := {trait: NAME, OPERATOR: value}
event        := {event: NAME | [NAME, ..] | "*" | scored | {tier: TIER}, count: {OPERATOR: n}, within: DUR | ever,
                 between: [DUR, DUR], where: {PROPERTY: {OPERATOR: value}}, ratio_to: {within | between}}
time         := {time: FIELD, within: DUR | older_than: DUR | after: DATE | before: DATE | between: [DUR, DUR]}
users        := {users: cond, OPERATOR: n | share: {OPERATOR: percent}}
level_change := {level_change: {from: LEVEL, to: LEVEL, within: DUR}}
audience     := {audience: KEY}
DUR          := 12h | 14d | 4w
"""

import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

from pydantic import PlainValidator, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from heatsync.scoring.definition import comparisons, value_types
from heatsync.scoring.definition.comparisons import OPERATORS, Comparison
from heatsync.scoring.definition.condition_types import (
    All,
    Any,
    Condition,
    Duration,
    Events,
    LevelChange,
    Member,
    Not,
    Route,
    Time,
    Trait,
    Users,
)
from heatsync.scoring.definition.durations import parse_date, parse_duration

KINDS = ("all", "any", "not", "trait", "event", "time", "users", "level_change", "audience")
TIMES = ("first_seen", "last_seen", "last_active", "created_at", "level_changed_on")
TIERS = ("advanced", "core", "common")
WRONG_KEY = "condition_key"
WRONG_VALUE = "condition_value"
"""The types of errors: about a key, or about its value. `inside` in their context is how many steps of the location
lead from the condition to the error."""


def parse(tree: object) -> Condition:
    """Parse a condition from a tree of texts. Raises ValidationError with all problems, each with its location in the
    tree."""
    return _parse(tree, False)


def parse_filter(tree: object) -> Condition:
    """Parse a filter, which decides who is scored: it must not depend on scores. Raises ValidationError."""
    return _parse(tree, True)


def _parse(tree: object, is_filter: bool) -> Condition:
    parser = _Parser(is_filter)
    found = parser.condition(tree, ())
    parser.raise_if_any()
    assert found is not None
    return found


def parse_where(tree: object) -> tuple[tuple[str, Comparison], ...]:
    """Parse comparisons of event properties, by name: `{page: {eq: pricing}}`. Raises ValidationError."""
    parser = _Parser(False)
    found = parser.where(tree, ())
    parser.raise_if_any()
    return found


Written = Annotated[Condition, PlainValidator(parse)]
"""A condition in a Pydantic model; the locations of its errors include the path inside the condition."""
WrittenFilter = Annotated[Condition, PlainValidator(parse_filter)]
"""A filter in a Pydantic model."""
Where = Annotated[tuple[tuple[str, Comparison], ...], PlainValidator(parse_where)]
"""Comparisons of event properties in a Pydantic model."""

T = typing.TypeVar("T")


@dataclass(slots=True)
class _Parser:
    """Parses a condition. It continues after a problem, so that all are found; what could not be parsed is None."""

    is_filter: bool
    problems: list[InitErrorDetails] = field(default_factory=list)

    def raise_if_any(self) -> None:
        if self.problems:
            raise ValidationError.from_exception_data("condition", self.problems)

    def report(self, route: Route, message: str, key: bool = False) -> None:
        # The message is not a template: its braces are literal.
        error = PydanticCustomError(
            WRONG_KEY if key else WRONG_VALUE,
            "{message}",
            {"message": message, "inside": len(route)},
        )
        self.problems.append(InitErrorDetails(type=error, loc=route, input=None))

    def read(self, function: typing.Callable[[typing.Any], T], value: object, route: Route) -> T | None:
        try:
            return function(value)
        except ValueError as error:
            self.report(route, str(error))
            return None

    def condition(self, node: object, route: Route) -> Condition | None:
        if not isinstance(node, dict):
            self.report(
                route,
                f"expected a condition such as {{trait: activation, lt: 50}}, found {value_types.kind(node)}",
            )
            return None
        kinds = [key for key in node if key in KINDS]
        if not kinds:
            self._no_kind(node, route)
            return None
        if len(kinds) > 1:
            self.report(
                (*route, kinds[1]),
                f"`{kinds[0]}` and `{kinds[1]}` are two conditions: write {{all: [..]}} or {{any: [..]}}"
                " around them, each with its own `{}`",
                key=True,
            )
            return None
        kind = kinds[0]
        if self.is_filter and kind in ("users", "level_change", "audience"):
            self.report(
                (*route, kind),
                f"a filter cannot use `{kind}`: it is only known after scoring, and the filter decides"
                " who is scored",
                key=True,
            )
            return None
        read: typing.Callable[[dict[str, typing.Any], Route], Condition | None] = getattr(self, f"_{kind}")
        return read(node, route)

    def _no_kind(self, node: dict[str, object], route: Route) -> None:
        for key in node:
            close = value_types.nearest(key, KINDS)
            if close is not None:
                self.report((*route, key), f"`{key}` is not a condition; did you mean `{close}`?", key=True)
                return
        self.report(route, f"expected a condition: one of {', '.join(KINDS)}")

    def _keys(self, node: dict[str, typing.Any], route: Route, known: Iterable[str]) -> None:
        names = tuple(known)
        for key in node:
            if key not in names:
                self.report(
                    (*route, key), f"`{key}` does not belong here{value_types.suggest(key, names)}", key=True
                )

    def _items(self, node: dict[str, typing.Any], route: Route, kind: str) -> tuple[Condition, ...] | None:
        self._keys(node, route, (kind,))
        written = node[kind]
        if not isinstance(written, list):
            self.report(
                (*route, kind), f"`{kind}` expects a list of conditions, found {value_types.kind(written)}"
            )
            return None
        if not written:
            self.report((*route, kind), f"`{kind}` is empty: add conditions or remove it")
            return None
        found = [self.condition(each, (*route, kind, place)) for place, each in enumerate(written)]
        whole = tuple(each for each in found if each is not None)
        return whole if len(whole) == len(found) else None

    def _all(self, node: dict[str, typing.Any], route: Route) -> Condition | None:
        items = self._items(node, route, "all")
        return None if items is None else All(items)

    def _any(self, node: dict[str, typing.Any], route: Route) -> Condition | None:
        items = self._items(node, route, "any")
        return None if items is None else Any(items)

    def _not(self, node: dict[str, typing.Any], route: Route) -> Condition | None:
        self._keys(node, route, ("not",))
        item = self.condition(node["not"], (*route, "not"))
        return None if item is None else Not(item)

    def _trait(self, node: dict[str, typing.Any], route: Route) -> Condition | None:
        self._keys(node, route, ("trait", *OPERATORS))
        name = self.read(value_types.word, node["trait"], (*route, "trait"))
        comparison = self._one(node, route, "{trait: activation, lt: 50}")
        if name is not None and self.is_filter and not name.startswith(("user.", "account.")):
            self.report(
                (*route, "trait"),
                f"a filter cannot use `{name}`: it decides who is scored, so it may only use columns of the"
                " tables (`user.plan`, `account.plan`), events and times",
            )
            return None
        return None if name is None or comparison is None else Trait(name, comparison)

    def _one(self, node: dict[str, typing.Any], route: Route, example: str) -> Comparison | None:
        """The single comparison of a trait."""
        given = [key for key in node if key in OPERATORS]
        if len(given) != 1:
            self._not_one(given, node, route, example)
            return None
        return self.read(partial(comparisons.read, given[0]), node[given[0]], (*route, given[0]))

    def _not_one(self, given: Sequence[str], node: dict[str, typing.Any], route: Route, example: str) -> None:
        if len(given) > 1:
            self.report(
                (*route, given[1]),
                f"`{given[0]}` and `{given[1]}` are two comparisons: write {{all: [..]}} around two conditions,"
                " or use `between`",
                key=True,
            )
        elif all(key in (*KINDS, "share") for key in node):
            self.report(route, f"expected a comparison, as in {example}: one of {', '.join(OPERATORS)}")

    def _number(self, node: object, route: Route, whole: bool, example: str) -> tuple[Comparison, ...] | None:
        """The comparisons of `{gte: 3, lt: 10}`."""
        if not isinstance(node, dict) or not node:
            self.report(route, f"expected a comparison such as {example}, found {value_types.kind(node)}")
            return None
        self._keys(node, route, comparisons.NUMERIC)
        found = [
            self.read(partial(comparisons.read_number, name, whole=whole), value, (*route, name))
            for name, value in node.items()
            if name in comparisons.NUMERIC
        ]
        whole_found = tuple(each for each in found if each is not None)
        return whole_found if len(whole_found) == len(node) else None

    def _event(self, node: dict[str, typing.Any], route: Route) -> Condition | None:
        self._keys(node, route, ("event", "count", "within", "between", "where", "ratio_to"))
        before = len(self.problems)
        names, tier, scored = self._names(node["event"], (*route, "event"))
        ratio = node.get("ratio_to")
        count: tuple[Comparison, ...] | None = Events(None).count
        if "count" in node:
            count = self._number(node["count"], (*route, "count"), ratio is None, "{gte: 3}")
        old, new = self._interval(node, route)
        where = self.where(node["where"], (*route, "where")) if "where" in node else ()
        second = None
        if ratio is not None:
            second = self._ratio(ratio, (*route, "ratio_to"))
        if len(self.problems) > before or count is None:
            return None
        return Events(names, tier, scored, count, old, new, where, second)

    def _names(self, node: object, route: Route) -> tuple[tuple[str, ...] | None, str | None, bool]:
        if isinstance(node, dict):
            found = self.read(lambda value: value_types.only_key(value, ("tier",), "events"), node, route)
            if found is not None:
                tier = self.read(
                    lambda value: value_types.one_of(value, TIERS, "a tier"), found[1], (*route, "tier")
                )
                return None, tier, False
            return None, None, False
        if isinstance(node, list):
            if not node:
                self.report(route, "expected an event or a list of events, found an empty list")
            names = [self.read(value_types.word, each, (*route, place)) for place, each in enumerate(node)]
            for place, name in enumerate(names):
                if name == "*":
                    self.report((*route, place), '`*` means any event and must be alone, as in {event: "*"}')
            return tuple(sorted({name for name in names if name is not None})), None, False
        name = self.read(value_types.word, node, route)
        if name == "*":
            return None, None, False
        if name == "scored":
            return None, None, True
        return (name or "",), None, False

    def _interval(self, node: dict[str, typing.Any], route: Route) -> tuple[Duration | None, Duration | None]:
        """The interval of `within` or `between`; without either: ever."""
        if "within" in node and "between" in node:
            self.report(
                (*route, "between"),
                "`within` and `between` both give the interval: remove one of them",
                key=True,
            )
            return None, None
        if "between" in node:
            return self._between(node["between"], (*route, "between"))
        if node.get("within", "ever") == "ever":
            return None, None
        return self.read(parse_duration, node["within"], (*route, "within")), None

    def _between(self, node: object, route: Route) -> tuple[Duration | None, Duration | None]:
        if not isinstance(node, list) or len(node) != 2:
            self.report(
                route,
                f"expected how long ago the interval starts and ends, as in [60d, 30d], found {value_types.kind(node)}",
            )
            return None, None
        old = self.read(parse_duration, node[0], (*route, 0))
        new = self.read(partial(parse_duration, least=0), node[1], (*route, 1))
        if old is not None and new is not None and old.hours <= new.hours:
            self.report(
                route,
                f"the earlier bound comes first: [{new}, {old}]"
                if old.hours < new.hours
                else f"the interval from {old} to {new} ago is empty",
            )
        return old, new

    def _ratio(self, node: object, route: Route) -> tuple[Duration | None, Duration | None] | None:
        if not isinstance(node, dict) or len(node) != 1:
            self.report(
                route,
                "expected the interval to compare with, as in {between: [14d, 7d]} or {within: 28d}, found"
                f" {value_types.kind(node)}",
            )
            return None
        self._keys(node, route, ("within", "between"))
        return self._interval(node, route)

    def where(self, node: object, route: Route) -> tuple[tuple[str, Comparison], ...]:
        if not isinstance(node, dict) or not node:
            self.report(
                route, f"expected properties such as {{plan: {{eq: pro}}}}, found {value_types.kind(node)}"
            )
            return ()
        found: list[tuple[str, Comparison]] = []
        for name, written in node.items():
            place = (*route, name)
            if not isinstance(written, dict) or not written:
                shown = value_types.kind(written)
                self.report(place, f"expected a comparison such as {{eq: pro}}, found {shown}")
                continue
            self._keys(written, place, OPERATORS)
            for operator, value in written.items():
                if operator in OPERATORS:
                    comparison = self.read(partial(comparisons.read, operator), value, (*place, operator))
                    if comparison is not None:
                        found.append((name, comparison))
        return tuple(sorted(found, key=lambda each: (each[0], each[1].operator)))

    def _time(self, node: dict[str, typing.Any], route: Route) -> Condition | None:
        ways = ("within", "older_than", "after", "before", "between")
        self._keys(node, route, ("time", *ways))
        before = len(self.problems)
        name = self.read(
            lambda value: value_types.one_of(value, TIMES, "a time"), node["time"], (*route, "time")
        )
        if name == "level_changed_on" and self.is_filter:
            self.report((*route, "time"), "a filter cannot use levels: it decides who is scored")
        given = [key for key in node if key in ways]
        if len(given) > 1:
            self.report(
                (*route, given[1]),
                f"`{given[0]}` and `{given[1]}` both give the interval: write {{all: [..]}} around two conditions",
                key=True,
            )
        elif not given and len(self.problems) == before:
            self.report(
                route,
                f"expected an interval, as in {{time: last_seen, within: 14d}}: one of {', '.join(ways)}",
            )
        if len(self.problems) > before or name is None:
            return None
        way, place = given[0], (*route, given[0])
        value = node[way]
        old = new = after = until = None
        if way == "between":
            old, new = self._between(value, place)
        elif way == "within":
            old = self.read(parse_duration, value, place)
        elif way == "older_than":
            new = self.read(parse_duration, value, place)
        elif way == "after":
            after = self.read(parse_date, value, place)
        else:
            until = self.read(parse_date, value, place)
        return None if len(self.problems) > before else Time(name, old, new, after, until)

    def _users(self, node: dict[str, typing.Any], route: Route) -> Condition | None:
        self._keys(node, route, ("users", "share", *comparisons.NUMERIC))
        before = len(self.problems)
        condition = self.condition(node["users"], (*route, "users"))
        given = [key for key in node if key in comparisons.NUMERIC]
        example = "{users: {..}, gte: 2} or {users: {..}, share: {gte: 50}}"
        if len(given) + ("share" in node) != 1:
            self._not_one([*given, *(["share"] if "share" in node else [])], node, route, example)
            return None
        if "share" in node:
            shares = self._number(node["share"], (*route, "share"), False, "{gte: 50}")
            if shares is not None and len(shares) > 1:
                self.report((*route, "share"), "expected one comparison: use `between` for two bounds")
            if condition is None or shares is None or len(self.problems) > before:
                return None
            return Users(condition, shares[0], True)
        comparison = self.read(
            partial(comparisons.read_number, given[0], whole=True), node[given[0]], (*route, given[0])
        )
        if condition is None or comparison is None or len(self.problems) > before:
            return None
        return Users(condition, comparison)

    def _level_change(self, node: dict[str, typing.Any], route: Route) -> Condition | None:
        self._keys(node, route, ("level_change",))
        place, inner = (*route, "level_change"), node["level_change"]
        before = len(self.problems)
        if not isinstance(inner, dict):
            self.report(
                place,
                f"expected a change of level such as {{from: High, to: Low, within: 7d}}, found {value_types.kind(inner)}",
            )
            return None
        self._keys(inner, place, ("from", "to", "within"))
        ends = [
            self.read(value_types.word, inner[end], (*place, end)) if end in inner else None
            for end in ("from", "to")
        ]
        if "within" not in inner and len(self.problems) == before:
            self.report(
                place, "`within` is missing: in which time must the level change, as in {within: 7d}?"
            )
        within = self.read(parse_duration, inner["within"], (*place, "within")) if "within" in inner else None
        if within is not None and within.days is None:
            self.report((*place, "within"), "levels change once a day: use days or weeks such as 7d")
        if len(self.problems) > before or within is None:
            return None
        return LevelChange(ends[0], ends[1], within)

    def _audience(self, node: dict[str, typing.Any], route: Route) -> Condition | None:
        self._keys(node, route, ("audience",))
        key = self.read(value_types.word, node["audience"], (*route, "audience"))
        return None if key is None else Member(key)
