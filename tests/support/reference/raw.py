"""The raw scores of a window: one value per entity for `weighted` and `engagement`, one per touchpoint for `kpi`; and
the part of each event."""

import math
from collections import defaultdict
from collections.abc import Mapping
from datetime import date, timedelta

from .conditions import Judge, Subject
from .log import Event, Log
from .numbers import percentile
from .rules import Counted, Rules, Touchpoint

Values = dict[str, float]
Part = tuple[int, float]
"""How many events, and their total value."""
PRIOR = 50
"""m: the weight of the pooled rate, in impressions."""


class Raw:
    def __init__(self, log: Log, rules: Rules) -> None:
        self.log, self.rules, self.judge = log, rules, Judge(log, rules)
        self.matching: dict[tuple[Counted, date], list[tuple[Event, float]]] = {}
        self.theres: dict[tuple[str, date], frozenset[str]] = {}
        self.known: dict[tuple[str, date], dict[str, Values | None]] = {}
        self.known_parts: dict[tuple[str, date], dict[str, dict[str, Part]]] = {}

    def there(self, entity: str, day: date) -> frozenset[str]:
        """The entities with a row: those that exist and pass the filter as of that day."""
        if (entity, day) not in self.theres:
            found = self.log.existing(entity, day)
            if self.rules.filter is not None:
                own = self.log.own(entity, day)
                condition = self.rules.filter
                found = [
                    key
                    for key in found
                    if self.judge.holds(condition, Subject(entity, key, day, own.get(key, [])))
                ]
            self.theres[entity, day] = frozenset(found)
        return self.theres[entity, day]

    def members(self, day: date) -> dict[str, list[str]]:
        """The users of each account that have a row."""
        found: dict[str, list[str]] = defaultdict(list)
        for user in sorted(self.there("user", day) & self.log.belonging):
            home = self.log.home(user, day)
            if home is not None:
                found[home].append(user)
        return found

    def active(self, entity: str, day: date) -> set[str]:
        """The entities with a scored event in the window."""
        found = set()
        for _, event in self.log.window(day, self.rules.window):
            if self.rules.scores(event):
                found |= self.log.owners(event, entity, day)
        return found

    def busy(self, entity: str, day: date) -> set[str]:
        """The entities with any event in the window."""
        found = set()
        for _, event in self.log.window(day, self.rules.window):
            found |= self.log.owners(event, entity, day)
        return found

    def values(self, entity: str, day: date) -> dict[str, Values | None]:
        """By touchpoint (or under "" for the whole): the raw scores above 0 of all entities in the snapshot. None: a
        touchpoint without data."""
        if (entity, day) not in self.known:
            if self.rules.model == "kpi":
                found = {point.name: self.touched(point, entity, day) for point in self.rules.touchpoints}
            elif entity == "account" and self.rules.model == "weighted":
                found = {"": self.rolled_up(day)}
            else:
                found = {"": self.summed(entity, day)}
            there = self.there(entity, day)
            self.known[entity, day] = {
                name: None
                if values is None
                else {key: value for key, value in values.items() if value > 0 and key in there}
                for name, values in found.items()
            }
        return self.known[entity, day]

    # weighted and engagement

    def summed(self, entity: str, day: date) -> Values:
        return {
            key: math.fsum(value for _, value in done.values())
            for key, done in self.parts(entity, day).items()
        }

    def parts(self, entity: str, day: date) -> Mapping[str, Mapping[str, Part]]:
        """By key and event: the points of `weighted`, the shares of E of `engagement`."""
        if (entity, day) not in self.known_parts:
            counts: dict[str, dict[int, dict[str, int]]] = {}
            for age, event in self.log.window(day, self.rules.window):
                if event.name in self.rules.weights:
                    for key in self.log.owners(event, entity, day):
                        done = counts.setdefault(key, {}).setdefault(age, {})
                        done[event.name] = done.get(event.name, 0) + 1
            shared = self.points if self.rules.model == "weighted" else self.logarithms
            self.known_parts[entity, day] = {key: shared(done) for key, done in counts.items()}
        return self.known_parts[entity, day]

    def points(self, counts: Mapping[int, Mapping[str, int]]) -> dict[str, Part]:
        rules = self.rules
        left: dict[str, list[float]] = defaultdict(list)
        for age, done in counts.items():
            for name, number in done.items():
                left[name].append(min(number, rules.per_day[name]) * rules.factor(age))
        return {
            name: (
                sum(done.get(name, 0) for done in counts.values()),
                rules.weights[name] * min(math.fsum(values), rules.per_window[name]),
            )
            for name, values in left.items()
        }

    def logarithms(self, counts: Mapping[int, Mapping[str, int]]) -> dict[str, Part]:
        rules = self.rules
        shares: dict[str, list[float]] = defaultdict(list)
        for age, done in counts.items():
            capped = {name: min(number, rules.per_day[name]) for name, number in done.items()}
            together = sum(capped.values())
            for name, number in capped.items():
                part = number / together if together else 0.0
                shares[name].append(math.log2(1 + together) * rules.factor(age) * part)
        return {
            name: (sum(done.get(name, 0) for done in counts.values()), math.fsum(values))
            for name, values in shares.items()
        }

    def rolled_up(self, day: date) -> Values:
        """The sum of the raw scores of an account's users; with `pooled`, each is at most the 95th percentile."""
        users = self.values("user", day)[""] or {}
        limit = math.inf
        if self.rules.rollup == "pooled" and users:
            limit = percentile(sorted(users.values()), 19)
        return {
            account: math.fsum(min(users.get(user, 0.0), limit) for user in mine)
            for account, mine in self.members(day).items()
        }

    # kpi

    def touched(self, point: Touchpoint, entity: str, day: date) -> Values | None:
        done = self.added(point.of, entity, day)
        if point.to is None:
            return done if any(value > 0 for value in done.values()) else None
        shown = self.added(point.to, entity, day)
        together = math.fsum(shown.values())
        if together == 0:
            return None
        rate = math.fsum(done.values()) / together
        return {
            key: (done.get(key, 0.0) + PRIOR * rate) / (number + PRIOR)
            for key, number in shown.items()
            if number > 0
        }

    def added(self, counted: Counted, entity: str, day: date) -> Values:
        """The decayed values of all entities in the snapshot."""
        there = self.there(entity, day)
        found: dict[str, list[float]] = defaultdict(list)
        for age in range(self.rules.window):
            factor = self.rules.factor(age)
            for event, value in self.of_day(counted, day - timedelta(days=age)):
                for key in self.log.owners(event, entity, day) & there:
                    found[key].append(value * factor)
        return {key: math.fsum(values) for key, values in found.items()}

    def of_day(self, counted: Counted, day: date) -> list[tuple[Event, float]]:
        """The events of a day that a touchpoint counts, and their values."""
        if (counted, day) not in self.matching:
            events = self.log.by_day.get(day, ())
            self.matching[counted, day] = [
                (event, worth(event.value)) for event in events if counted.has(event)
            ]
        return self.matching[counted, day]

    def counted(self, counted: Counted, entity: str, day: date) -> dict[str, int]:
        found: dict[str, int] = defaultdict(int)
        for _, event in self.log.window(day, self.rules.window):
            if counted.has(event):
                for key in self.log.owners(event, entity, day):
                    found[key] += 1
        return found


def worth(value: float | None) -> float:
    """An event's value: 1 without one, 0 when it is not a number or negative."""
    if value is None:
        return 1.0
    return value if 0 <= value < math.inf else 0.0
