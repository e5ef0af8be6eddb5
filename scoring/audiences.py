"""Audiences: groups that are worked out anew with every snapshot. The built-in ones of a profile, and one's own."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scoring.comparisons import Comparison
from scoring.scalars import snake
from scoring.terms import (
    All,
    Any,
    Condition,
    Duration,
    Events,
    Member,
    Not,
    Route,
    Time,
    Trait,
    meaning,
    walk,
)

if TYPE_CHECKING:
    from scoring.profile import Profile

TRENDS = ("New", "Cooling", "Neutral", "Heating", "Surging")


@dataclass(frozen=True, slots=True)
class Audience:
    """One audience of users or of accounts. One that is `shipped` is among the names of the Segments trait.

    `where` is `file:line:column` of one's own, and `places` has that of the parts of its condition.
    """

    key: str
    name: str
    entity: str
    shipped: bool
    condition: Condition
    where: str = ""
    own: bool = False
    places: Mapping[Route, str] = field(default_factory=dict, compare=False, repr=False)

    def place(self, route: Route) -> str:
        """Where a part of the condition is written, or what is around it."""
        while route and route not in self.places:
            route = route[:-1]
        return self.places.get(route, self.where)


def builtin(profile: "Profile", entity: str) -> tuple[Audience, ...]:
    """Those of an entity (`user` or `account`), by key. Bands are half-open, on the shown score."""

    def audience(key: str, name: str, shipped: bool, condition: Condition) -> Audience:
        return Audience(key, name, entity, profile.ship.get(key, shipped), condition)

    def band(key: str, name: str, low: int, high: int | None) -> Audience:
        items = [_trait("score", "gte", low)] if low else []
        if high is not None:
            items.append(_trait("score", "lt", high))
        return audience(key, name, True, All(tuple(items)))

    def days(count: int) -> Duration:
        return Duration(count, "d")

    long_ago = Any((Time("signed_up", new=days(180)), Not(Time("signed_up"))))
    """Who signed up at an unknown time always existed."""
    found = [
        audience("all", "All", False, All(())),
        audience("all_active", "All Active", False, _trait("frequency", "gt", 0)),
        audience("new", "New", True, Time("signed_up", old=days(profile.window))),
        band("most_engaged", "Most Engaged", 75, None),
        band("slightly_engaged", "Slightly Engaged", 50, 75),
        band("passive", "Passive", 25, 50),
        band("least_engaged", "Least Engaged", 0, 25),
        audience(
            "recently_inactive",
            "Recently Inactive",
            True,
            Time("last_active", old=days(60), new=days(30)),
        ),
        audience("red_hot", "Red Hot", True, _trait("score_change_window", "gte", 10)),
        audience("ice_cold", "Ice Cold", True, _trait("score_change_window", "lte", -10)),
        audience("mature", "Mature", True, long_ago),
        audience("active_today", "Active Today", False, Events(None, scored=True, old=days(1))),
    ]
    if entity == "account":
        found.append(
            audience("multi_user_accounts", "Multi-User Accounts", True, _trait("active_users", "gte", 2))
        )
    for trait, names in (("level", profile.levels.names), ("trend", TRENDS)):
        found.extend(
            audience(f"{trait}_{snake(name)}", name, False, Trait(trait, Comparison("eq", name)))
            for name in names
        )
    return tuple(sorted(found, key=lambda each: each.key))


def of(profile: "Profile", entity: str, own: Iterable[Audience] = ()) -> tuple[Audience, ...]:
    """All of an entity, by key: the built-in ones, and one's own of the profile."""
    mine = (each for each in own if each.entity == entity)
    return tuple(sorted((*builtin(profile, entity), *mine), key=lambda each: each.key))


def keys(profile: "Profile", entity: str, own: Iterable[Audience] = ()) -> frozenset[str]:
    """The keys of every audience of an entity, for `audience.KEY` in mappings."""
    return frozenset(each.key for each in of(profile, entity, own))


def version(key: str, entity: str, own: Iterable[Audience]) -> str | None:
    """A hash of everything that decides who is in one of one's own, but for the profile: its condition, and those of
    the others that it names. None for a built-in one, which the profile's version covers."""
    conditions = {(each.entity, each.key): each.condition for each in own}
    said: dict[str, object] = {}
    waiting = [(entity, key)]
    while waiting:
        kind, name = waiting.pop()
        condition = conditions.get((kind, name))
        if condition is not None and f"{kind} {name}" not in said:
            said[f"{kind} {name}"] = meaning(condition)
            waiting.extend(_members(condition, kind))
    if not said:
        return None
    # Under which key it stands says nothing of who is in it.
    text = json.dumps([said.pop(f"{entity} {key}"), said], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def circle(
    of_user: Mapping[str, Condition], of_account: Mapping[str, Condition]
) -> tuple[tuple[str, str], ...]:
    """Audiences that need each other in a circle, as entity and key, the first again at the end; empty when none
    do."""
    known = {"user": of_user, "account": of_account}
    done: set[tuple[str, str]] = set()

    def visit(entity: str, key: str, path: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        here = (entity, key)
        if here in path:
            return (*path[path.index(here) :], here)
        if here in done or key not in known[entity]:
            return ()
        for kind, other in _members(known[entity][key], entity):
            found = visit(kind, other, (*path, here))
            if found:
                return found
        done.add(here)
        return ()

    for entity, conditions in known.items():
        for key in sorted(conditions):
            found = visit(entity, key, ())
            if found:
                return found
    return ()


def _members(condition: Condition, entity: str) -> Iterator[tuple[str, str]]:
    """The audiences that a condition names: entity, key."""
    for route, part in walk(condition):
        if isinstance(part, Member):
            yield ("user" if "users" in route else entity), part.key


def _trait(name: str, operator: str, value: int) -> Trait:
    # Every caller writes an operator; mypy sees any text.
    return Trait(name, Comparison(operator, str(value)))  # type: ignore[arg-type]
