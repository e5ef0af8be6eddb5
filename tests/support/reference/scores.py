"""Benchmarks, and the way from raw scores to 0-100."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from .log import Log
from .numbers import half_up, missing, percent_ranks, percentile
from .raw import Raw, Values
from .rules import Rules

FEW = 20
"""A day with fewer scored entities has no percentile of its own."""


@dataclass(frozen=True, slots=True)
class Score:
    """`behaviour` is the score before signals, `exact` the score after them, `shown` the shown score."""

    raw: float | None
    behaviour: float | None
    signals: tuple[tuple[str, float, float], ...]
    exact: float | None
    shown: int | None


class Scores:
    def __init__(self, log: Log, rules: Rules) -> None:
        self.log, self.rules, self.raw = log, rules, Raw(log, rules)
        self.dailies: dict[tuple[str, str, date], float] = {}
        self.benchmarks: dict[tuple[str, str, date], float | None] = {}
        self.known: dict[tuple[str, date], dict[str, Score]] = {}

    # Benchmarks

    def daily(self, entity: str, series: str, day: date) -> float:
        """The benchmark of a single day: that of the last day up to it with enough scored entities, otherwise the
        largest raw score of the first day with any."""
        passed, largest, found = [], 0.0, None
        at, first = day, self.log.first_day
        while found is None and first is not None and at >= first:
            found = self.dailies.get((entity, series, at))
            if found is None:
                passed.append(at)
                values = sorted((self.raw.values(entity, at)[series] or {}).values())
                if len(values) >= FEW:
                    found = percentile(values, 18)
                    self.dailies[entity, series, at] = found
                at -= timedelta(days=1)
        for at in reversed(passed):
            if found is None or found == 0:
                values = sorted((self.raw.values(entity, at)[series] or {}).values())
                largest = values[-1] if values else 0.0
                found = largest
            self.dailies.setdefault((entity, series, at), found)
        return found or 0.0

    def benchmark(self, entity: str, day: date, series: str = "") -> float | None:
        if (entity, series, day) not in self.benchmarks:
            self.benchmarks[entity, series, day] = self.measured(entity, day, series)
        return self.benchmarks[entity, series, day]

    def measured(self, entity: str, day: date, series: str) -> float | None:
        rules = self.rules
        if rules.target is not None:
            return rules.target
        if rules.normalize == "percentile":
            return None
        if entity == "account" and rules.model == "weighted" and rules.rollup == "average":
            entity = "user"
        if rules.frozen is not None:
            return self.daily(entity, series, rules.frozen)
        if rules.benchmark == "rolling":
            return self.daily(entity, series, day)
        month = [self.daily(entity, series, day - timedelta(days=age)) for age in range(28)]
        return statistics.median([value for value in month if value > 0] or [0.0])

    def normalized(self, values: Values, benchmark: float | None) -> Values:
        if benchmark is None:
            return percent_ranks(values)
        if benchmark == 0:
            return dict.fromkeys(values, 0.0)
        if self.rules.normalize == "winsor":
            return {key: min(100.0, 100 * value / benchmark) for key, value in values.items()}
        return {key: 100 * (1 - 10 ** (-value / benchmark)) for key, value in values.items()}

    # Scores

    def of(self, entity: str, day: date) -> Mapping[str, Score]:
        """All entities in the snapshot of a day."""
        if (entity, day) not in self.known:
            if self.rules.model == "kpi":
                self.known[entity, day] = self.touched(entity, day)
            else:
                self.known[entity, day] = self.summed(entity, day)
        return self.known[entity, day]

    def summed(self, entity: str, day: date) -> dict[str, Score]:
        raw = self.raw.values(entity, day)[""] or {}
        benchmark = self.benchmark(entity, day)
        averaged = entity == "account" and self.rules.model == "weighted" and self.rules.rollup == "average"
        exact = self.averages(day) if averaged else self.normalized(raw, benchmark)
        found = {}
        for key in self.raw.there(entity, day):
            reached = raw.get(key, 0.0)
            zero = reached == 0 or benchmark == 0
            own = None if averaged else reached
            found[key] = self.shown(entity, key, day, own, exact.get(key, 0.0), zero)
        return found

    def averages(self, day: date) -> Values:
        """The average over the account's active users, before signals."""
        users, active = self.of("user", day), self.raw.active("user", day)
        found = {}
        for account, mine in self.raw.members(day).items():
            there = [users[user].behaviour or 0.0 for user in mine if user in active]
            if there:
                found[account] = math.fsum(there) / len(there)
        return found

    def touchpoints(self, entity: str, day: date) -> dict[str, tuple[float, Values]]:
        """By touchpoint with data: its share of the score, and each entity's part of 0-100."""
        series = self.raw.values(entity, day)
        kept = [point for point in self.rules.touchpoints if series[point.name] is not None]
        together = sum(point.weight for point in kept)
        found = {}
        for point in kept:
            values = series[point.name] or {}
            parts = self.normalized(values, self.benchmark(entity, day, point.name))
            found[point.name] = point.weight / together if together else 0.0, parts
        return found

    def touched(self, entity: str, day: date) -> dict[str, Score]:
        touchpoints, busy = self.touchpoints(entity, day), self.raw.busy(entity, day)
        found = {}
        for key in self.raw.there(entity, day):
            if key in busy:
                exact = math.fsum(share * parts.get(key, 0.0) for share, parts in touchpoints.values())
                found[key] = self.shown(entity, key, day, None, exact, round(exact, 9) == 0)
            else:
                found[key] = Score(None, None, (), None, None)
        return found

    def shown(
        self, entity: str, key: str, day: date, raw: float | None, behaviour: float, zero: bool
    ) -> Score:
        signals = self.signals(entity, key, day)
        share = sum(weight for _, weight, _ in signals)
        exact = (1 - share) * behaviour + sum(weight * value for _, weight, value in signals)
        if signals:
            zero = round(exact, 9) == 0
        return Score(raw, behaviour, signals, exact, 0 if zero else max(1, half_up(exact)))

    def signals(self, entity: str, key: str, day: date) -> tuple[tuple[str, float, float], ...]:
        """The signals that an entity has: trait, share of the score, and 0 to 100."""
        found = []
        for signal in self.rules.signals:
            value = self.log.trait(entity, key, signal.trait, day)
            if isinstance(value, str):
                try:
                    value = float(value)
                except ValueError:
                    continue
            if not missing(value):
                reached = (value - signal.low) / (signal.high - signal.low)
                found.append((signal.trait, signal.share, 100 * min(1.0, max(0.0, reached))))
        return tuple(found)
