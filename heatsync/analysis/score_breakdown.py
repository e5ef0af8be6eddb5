"""Why a score is what it is, why it changed, and what would raise it. For one entity at a time, in plain numbers.

Every score, before signals, is a sum of parts: `share * curve(points)`. A user of `weighted` or `engagement` has one
part; an account of `rollup: average` has one per active user; in `kpi` there is one per touchpoint. So one set of rules
explains them all, and what it says adds up.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

Curve = Callable[[float], float]
"""From raw points to 0-100, growing."""

BISECTION_STEPS = 200
"""Halvings in the search for the points that reach a score: more than a double has bits."""
ROUNDING = 1e-9
"""The share of a raw score that is no difference."""
SEARCH_LIMIT = 1e6
"""Benchmarks beyond which a score is not searched for."""


def score_curve(kind: str, benchmark: float | None, peers: Sequence[float] = ()) -> Curve:
    """How raw points become a score: `kind` as in `normalize:`. `peers` are the raw scores above 0 of everybody on that
    day, in ascending order; only `percentile` needs them."""
    if kind == "percentile":
        return lambda raw: _percent_rank(raw, peers)
    if not benchmark:
        return lambda _: 0.0
    if kind == "winsor":
        return lambda raw: min(100.0, 100.0 * raw / benchmark) if raw > 0 else 0.0
    return lambda raw: 100.0 * (1.0 - 10.0 ** (-raw / benchmark)) if raw > 0 else 0.0


def _percent_rank(raw: float, peers: Sequence[float]) -> float:
    if raw <= 0 or not peers:
        return 0.0
    # Points that were put together again may be off by a hair.
    below = bisect_left(peers, raw * (1 - ROUNDING))
    among = len(peers) if below < len(peers) and peers[below] <= raw * (1 + ROUNDING) else len(peers) + 1
    return 100.0 * below / (among - 1) if among > 1 else 0.0


@dataclass(frozen=True, slots=True)
class ScorePart:
    """Raw points per event, how they become a score, and the share of the whole that this is."""

    points: Mapping[str, float]
    curve: Curve
    share: float = 1.0

    @property
    def raw(self) -> float:
        return sum(self.points.values())

    @property
    def score(self) -> float:
        return self.share * self.curve(self.raw)

    def contributions(self) -> dict[str, float]:
        """Score points per event: `S * w_e n_e / R`."""
        raw, score = self.raw, self.score
        return {name: score * points / raw for name, points in self.points.items()} if raw > 0 else {}


@dataclass(frozen=True, slots=True)
class ScoreParts:
    """An entity on a day. `parts` are by name (a member, a touchpoint); `signals` are the score points of each; all
    parts together weigh `rest`, a share of 1 less what the signals do. `spare` tells how raw points become a score for
    a part that there is none of."""

    parts: Mapping[str, ScorePart]
    empty_curve: Curve
    signals: Mapping[str, float] = field(default_factory=dict)
    activity_share: float = 1.0

    @property
    def before_signals(self) -> float:
        return sum(part.score for part in self.parts.values())

    @property
    def score(self) -> float:
        return self.activity_share * self.before_signals + sum(self.signals.values())

    def contributions(self) -> dict[str, float]:
        """Score points per event and signal; they add up to the score."""
        found: dict[str, float] = {}
        for part in self.parts.values():
            for name, points in part.contributions().items():
                found[name] = found.get(name, 0.0) + self.activity_share * points
        for name, points in self.signals.items():
            found[name] = found.get(name, 0.0) + points
        return found

    def shares(self) -> dict[str, float]:
        """Score points per part."""
        return {name: self.activity_share * part.score for name, part in self.parts.items()}


@dataclass(frozen=True, slots=True)
class ScoreChange:
    """A change of the unrounded score in what adds up to it. `behaviour` is per event; `mix` is what parts gained or
    lost by weighing more or less (in an account: by fewer or more active users); `signals` is per signal."""

    behaviour: Mapping[str, float]
    mix: float
    benchmark: float
    signals: Mapping[str, float]

    @property
    def total(self) -> float:
        return sum(self.behaviour.values()) + self.mix + self.benchmark + sum(self.signals.values())


def score_change(before: ScoreParts, after: ScoreParts) -> ScoreChange:
    """`behaviour = S(R1, B0) - S(R0, B0)` (with `mix`) and `benchmark = S(R1, B1) - S(R1, B0)`.

    The behaviour of a part is shared out by what each event's points changed, so that one that did not change has none.
    """
    behaviour: dict[str, float] = {}
    mix = benchmark = 0.0
    idle_before, idle_after = _idle(before), _idle(after)
    for name in sorted({*before.parts, *after.parts}):
        old, new = before.parts.get(name, idle_before), after.parts.get(name, idle_after)
        share = new.share if new.share else old.share
        then, now = old.curve(old.raw), old.curve(new.raw)
        slope = _slope(old.curve, old.raw, new.raw)
        for event in {*old.points, *new.points}:
            moved = new.points.get(event, 0.0) - old.points.get(event, 0.0)
            behaviour[event] = behaviour.get(event, 0.0) + after.activity_share * share * slope * moved
        mix += after.activity_share * (share - old.share) * then
        benchmark += after.activity_share * share * (new.curve(new.raw) - now)
    signals = {
        name: after.signals.get(name, 0.0) - before.signals.get(name, 0.0)
        for name in sorted({*before.signals, *after.signals})
    }
    # Signals that came or went leave more or less of the score to what was done.
    if after.activity_share != before.activity_share:
        mix += (after.activity_share - before.activity_share) * before.before_signals
    return ScoreChange(dict(sorted(behaviour.items())), mix, benchmark, signals)


def _idle(standing: ScoreParts) -> ScorePart:
    """The part of somebody who did nothing: it weighs what the others do, or nothing where there are none."""
    share = max((part.share for part in standing.parts.values()), default=0.0)
    return ScorePart({}, standing.empty_curve, share)


def _slope(along: Curve, old: float, new: float) -> float:
    """Score points per raw point on the way from one to the other."""
    if new != old:
        return (along(new) - along(old)) / (new - old)
    step = max(old, 1.0) * 1e-6
    return (along(old + step) - along(old)) / step


def points_needed(standing: ScoreParts, target: float, raised: Iterable[str]) -> float | None:
    """The raw points that each of the `raised` parts needs more for the score to reach `target`: for a single part and
    the exponential, `-B * log10(1 - target/100) - R`. None where no number of points would do."""
    names = set(raised)

    def reached(more: float) -> bool:
        total = sum(
            part.share * part.curve(part.raw + (more if name in names else 0.0))
            for name, part in standing.parts.items()
        )
        return standing.activity_share * total + sum(standing.signals.values()) >= target

    if reached(0.0):
        return 0.0
    high = 1.0
    while not reached(high):
        high *= 2
        if high > SEARCH_LIMIT * max(1.0, *(part.raw for part in standing.parts.values()), 1.0):
            return None
    low = 0.0
    for _ in range(BISECTION_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def events_needed(points: float, weight: float) -> int:
    """How many events of a weight make at least so many raw points."""
    return max(0, ceil(points / weight - 1e-9))
