"""The bounds of levels that are learned from churn."""

import math
import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

from .log import Log
from .numbers import BILLION, number_of, percentile
from .rules import Rules
from .scores import Scores

SUNDAY = 3
MONTH = 30
WEEKS = 17
FEW = 30
UNSURE = Fraction(3, 5)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimate of one Sunday; `low` is None when no training row had any E."""

    low: Fraction | None
    fallback: bool
    auc: Fraction | None
    churned: int
    stayed: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """Both are None when nothing was ever learned."""

    low: Fraction | None
    high: Fraction | None
    fallback: bool


class Churn:
    def __init__(self, log: Log, rules: Rules, scores: Scores) -> None:
        self.log, self.rules, self.scores = log, rules, scores
        self.estimates: dict[tuple[str, date], Estimate | None] = {}
        self.known: dict[tuple[str, date], Bounds] = {}

    def seen(self, entity: str, day: date) -> set[str]:
        """The entities with an event that is not passive in the thirty days that end with a day."""
        found = set()
        for _, event in self.log.window(day, MONTH):
            if event.name not in self.rules.passive:
                found |= self.log.owners(event, entity, day)
        return found

    def engagement(self, entity: str, day: date) -> dict[str, int]:
        """E above 0 in billionths, of all entities in the snapshot."""
        found = self.scores.raw.values(entity, day)[""] or {}
        return {key: round(value * BILLION) for key, value in found.items()}

    def rows(self, entity: str, sunday: date) -> tuple[list[int], list[int]] | None:
        """E of the entities that churned and of those that stayed; None without a training day."""
        churned: list[int] = []
        stayed: list[int] = []
        days = 0
        for week in range(WEEKS):
            day = sunday - timedelta(days=MONTH + 7 * week)
            if self.log.first_day is None or self.log.first_day > day - timedelta(days=MONTH):
                break
            days += 1
            done = self.engagement(entity, day)
            later = self.seen(entity, day + timedelta(days=MONTH))
            for key in self.seen(entity, day) & self.scores.raw.there(entity, day):
                (stayed if key in later else churned).append(done.get(key, 0))
        return (churned, stayed) if days else None

    def estimate(self, entity: str, sunday: date) -> Estimate | None:
        if (entity, sunday) not in self.estimates:
            rows = self.rows(entity, sunday)
            self.estimates[entity, sunday] = None if rows is None else learned(*rows)
        return self.estimates[entity, sunday]

    def bounds(self, entity: str, day: date) -> Bounds:
        sunday = day - timedelta(days=(number_of(day) - SUNDAY) % 7)
        if (entity, sunday) not in self.known:
            four = [self.estimate(entity, sunday - timedelta(days=7 * back)) for back in range(4)]
            lows = [each.low for each in four if each is not None and each.low is not None]
            done = sorted(self.engagement(entity, sunday).values())
            fallback = four[0] is None or four[0].fallback
            if lows:
                low: Fraction | None = Fraction(statistics.median(lows))
            else:
                low = quantile(done, 5) if done else None
            high = None if low is None else upper(done, low)
            self.known[entity, sunday] = Bounds(low, high, fallback)
        return self.known[entity, sunday]


def learned(churned: Sequence[int], stayed: Sequence[int]) -> Estimate:
    """Youden's bound, or the lower quartile of E > 0."""
    gone, there, auc = sorted(churned), sorted(stayed), None
    if gone and there:
        wins = sum(2 * len(there) - bisect_left(there, value) - bisect_right(there, value) for value in gone)
        auc = Fraction(wins, 2 * len(gone) * len(there))
    if auc is not None and len(gone) >= FEW and len(there) >= FEW and auc >= UNSURE:
        best, low = Fraction(-2), 0
        for value in sorted({*gone, *there}):
            gain = Fraction(bisect_right(gone, value), len(gone)) - Fraction(
                bisect_right(there, value), len(there)
            )
            if gain > best:
                best, low = gain, value
        return Estimate(Fraction(low), False, auc, len(gone), len(there))
    done = sorted(value for value in (*churned, *stayed) if value > 0)
    return Estimate(quantile(done, 5) if done else None, True, auc, len(churned), len(stayed))


def upper(done: Sequence[int], low: Fraction) -> Fraction:
    """Tukey's fence, unless few lie above it; always above the lower bound when any E is."""
    if not done:
        return low
    first, third = quantile(done, 5), quantile(done, 15)
    fence = third + Fraction(3, 2) * (third - first)
    if sum(value > fence for value in done) * 100 < len(done):
        fence = quantile(done, 19)
    if fence <= low:
        fence = Fraction(min((value for value in done if value > low), default=low))
    return fence


def quantile(ordered: Sequence[int], twentieths: int) -> Fraction:
    return Fraction(percentile([Fraction(value) for value in ordered], twentieths))


def level(done: int, seen: bool, bounds: Bounds) -> str | None:
    """The level of an E in billionths."""
    if not seen:
        return None
    if done == 0:
        return "None"
    if bounds.low is None or done <= bounds.low:
        return "Low"
    return "High" if bounds.high is not None and done > bounds.high else "Medium"


def edges(bounds: Bounds) -> dict[str, tuple[float | Fraction, float | Fraction]]:
    """The interval of each level."""
    low = math.inf if bounds.low is None else bounds.low
    high = math.inf if bounds.high is None else bounds.high
    return {"None": (0, 0), "Low": (0, low), "Medium": (low, high), "High": (high, math.inf)}
