"""Levels and their changes over the days that a first run stores, and the trend."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, timedelta
from fractions import Fraction

from . import churn
from .churn import Churn
from .conditions import Change
from .log import Log
from .rules import Rules
from .scores import Scores

Levels = dict[str, str | None]
DAY = timedelta(days=1)


class History:
    """`days` are the days that the same run is asked for."""

    def __init__(self, log: Log, rules: Rules, scores: Scores, days: Iterable[date]) -> None:
        self.rules, self.scores = rules, scores
        self.churn = Churn(log, rules, scores)
        self.stored = {day - back * DAY for day in days for back in range(rules.history + 1)}
        self.fitting: dict[tuple[str, date], Levels] = {}
        self.settled: dict[tuple[str, date], Levels] = {}
        for entity in ("user", "account"):
            for day in sorted(self.stored):
                self.settled[entity, day] = self.settle(entity, day)
        self.moves = {entity: self.moved(entity) for entity in ("user", "account")}

    def fits(self, entity: str, day: date) -> Levels:
        """The level without hysteresis."""
        if (entity, day) not in self.fitting:
            self.fitting[entity, day] = (
                self.learned(entity, day) if self.rules.churn else self.banded(entity, day)
            )
        return self.fitting[entity, day]

    def banded(self, entity: str, day: date) -> Levels:
        return {key: self.band(score.shown) for key, score in self.scores.of(entity, day).items()}

    def band(self, shown: int | None) -> str | None:
        if shown is None:
            return None
        return next((name for low, name in reversed(self.rules.bands) if shown >= low), None)

    def learned(self, entity: str, day: date) -> Levels:
        bounds = self.churn.bounds(entity, day)
        done, seen = self.churn.engagement(entity, day), self.churn.seen(entity, day)
        return {
            key: churn.level(done.get(key, 0), key in seen, bounds)
            for key in self.scores.raw.there(entity, day)
        }

    def settle(self, entity: str, day: date) -> Levels:
        now = self.fits(entity, day)
        if not self.rules.hysteresis or day - DAY not in self.stored:
            return now
        before, fitted = self.settled[entity, day - DAY], self.fits(entity, day - DAY)
        found = dict(now)
        for key, level in now.items():
            old = before.get(key)
            if level == old or None in (level, old) or (self.rules.churn and "None" in (level, old)):
                continue
            if fitted[key] == old and not self.beyond(entity, key, day, str(old)):
                found[key] = old
        return found

    def beyond(self, entity: str, key: str, day: date, old: str) -> bool:
        """Whether a score is beyond the bound of its old level by 5 %."""
        if self.rules.churn:
            number = self.churn.engagement(entity, day).get(key, 0)
            low, high = churn.edges(self.churn.bounds(entity, day))[old]
        else:
            number = self.scores.of(entity, day)[key].shown or 0
            starts = [low for low, _ in self.rules.bands]
            place = next(place for place, (_, name) in enumerate(self.rules.bands) if name == old)
            low = starts[place]
            high = starts[place + 1] if place + 1 < len(starts) else float("inf")
        return number < Fraction(95, 100) * low if number <= low else number >= scaled(high)

    def changes(self, entity: str, key: str, day: date) -> list[Change]:
        """The level changes up to a day, by time."""
        return [change for change in self.moves[entity].get(key, ()) if change[0] <= day]

    def moved(self, entity: str) -> dict[str, list[Change]]:
        """The changes from day to day; an entity that did not exist the day before has not changed."""
        found: dict[str, list[Change]] = defaultdict(list)
        for at in sorted(self.stored):
            before, now = self.settled.get((entity, at - DAY), {}), self.settled[entity, at]
            for key, level in now.items():
                if key in before and before[key] != level:
                    found[key].append((at, before[key], level))
        return found


def scaled(bound: float | Fraction) -> float | Fraction:
    return bound if bound == float("inf") else Fraction(105, 100) * Fraction(bound)


def trend(now: int | None, month_ago: int | None) -> str | None:
    """The trend of the shown scores."""
    if now is None and month_ago is None:
        return None
    if month_ago is None:
        return "New"
    moved = (now or 0) - month_ago
    steps = ["Cooling", "Neutral", "Heating", "Surging"]
    return steps[bisect_right([-9, 10, 25], moved)]
