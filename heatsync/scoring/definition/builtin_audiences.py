"""The audiences that every profile has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from heatsync.scoring.definition.comparisons import Comparison
from heatsync.scoring.definition.condition_types import (
    All,
    Any,
    Condition,
    Duration,
    Events,
    Not,
    Route,
    Time,
    Trait,
)
from heatsync.scoring.definition.place import Place
from heatsync.scoring.definition.value_types import snake

TRENDS = ("New", "Cooling", "Neutral", "Heating", "Surging")


@dataclass(frozen=True, slots=True)
class Audience:
    """An audience of users or of accounts. A `shipped` one is among the names of the Segments trait.

    `place` is where a custom audience is written, `places` where the parts of its condition are.
    """

    key: str
    name: str
    entity: str
    shipped: bool
    condition: Condition
    place: Place | None = None
    custom: bool = False
    places: Mapping[Route, Place] = field(default_factory=dict, compare=False, repr=False)

    def place_of(self, route: Route) -> Place | None:
        """Where a part of the condition, or the nearest part around it, is written; None for a built-in audience."""
        while route and route not in self.places:
            route = route[:-1]
        return self.places.get(route, self.place)


def builtin_audiences(
    entity: str, *, window: int, levels: Sequence[str], ship: Mapping[str, bool]
) -> tuple[Audience, ...]:
    """The built-in audiences of an entity (`user` or `account`), sorted by key.

    `window` is the profile's, in days; `levels` are the names of its levels; `ship` overrides by key which audiences
    are shipped. Score bands are half-open intervals of the shown score.
    """

    def audience(key: str, name: str, shipped: bool, condition: Condition) -> Audience:
        return Audience(key, name, entity, ship.get(key, shipped), condition)

    def band(key: str, name: str, low: int, high: int | None) -> Audience:
        items = [_trait("score", "gte", low)] if low else []
        if high is not None:
            items.append(_trait("score", "lt", high))
        return audience(key, name, True, All(tuple(items)))

    def days(count: int) -> Duration:
        return Duration(count, "d")

    long_ago = Any((Time("signed_up", new=days(180)), Not(Time("signed_up"))))
    """An entity whose sign-up time is unknown has always existed."""
    found = [
        audience("all", "All", False, All(())),
        audience("all_active", "All Active", False, _trait("frequency", "gt", 0)),
        audience("new", "New", True, Time("signed_up", old=days(window))),
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
    for trait, names in (("level", levels), ("trend", TRENDS)):
        found.extend(
            audience(f"{trait}_{snake(name)}", name, False, Trait(trait, Comparison("eq", name)))
            for name in names
        )
    return tuple(sorted(found, key=lambda each: each.key))


def _trait(name: str, operator: str, value: int) -> Trait:
    # Every caller passes a valid operator; mypy only sees a text.
    return Trait(name, Comparison(operator, str(value)))  # type: ignore[arg-type]
