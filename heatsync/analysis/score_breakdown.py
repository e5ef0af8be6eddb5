"""Why a score is what it is, why it changed, and what would raise it, for one entity, in plain numbers.

Before signals, every score is a sum of parts: `share * curve(points)`. A user of `weighted` or `engagement` has one
part, an account of `rollup: average` one per active user, and in `kpi` there is one per touchpoint. The same rules
explain all of them, and the explanations add up to the score.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

Curve = Callable[[float], float]
"""An increasing function from raw points to 0-100."""

BISECTION_STEPS = 200
"""Bisection steps in the search for the points that reach a score: more than a float has bits."""
ROUNDING = 1e-9
"""Raw scores that differ by less than this share are equal."""
SEARCH_LIMIT = 1e6
"""The search for a score stops at so many times the largest raw score."""


def score_curve(kind: str, benchmark: float | None, peers: Sequence[float] = ()) -> Curve:
    """How raw points become a score; `kind` is that of `normalize:`. `peers` are all raw scores above 0 of the day,
    in ascending order; only `percentile` needs them."""
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
    # Points that were added up again may differ in the last bits.
    below = bisect_left(peers, raw * (1 - ROUNDING))
    among = len(peers) if below < len(peers) and peers[below] <= raw * (1 + ROUNDING) else len(peers) + 1
    return 100.0 * below / (among - 1) if among > 1 else 0.0


@dataclass(frozen=True, slots=True)
class ScorePart:
    """Raw points per event, the curve that turns them into a score, and this part's share of the whole."""

    points: Mapping[str, float]
    curve: Curve
    share: float = 1.0

    @property
    def raw(self) -> float:
        """The sum of the raw points."""
        return sum(self.points.values())

    @property
    def score(self) -> float:
        """The part's points of the score."""
        return self.share * self.curve(self.raw)

    def contributions(self) -> dict[str, float]:
        """Points of the score per event: `S * w_e n_e / R`."""
        raw, score = self.raw, self.score
        return {name: score * points / raw for name, points in self.points.items()} if raw > 0 else {}


@dataclass(frozen=True, slots=True)
class ScoreParts:
    """The score of an entity on a day. `parts` are by name (a user, a touchpoint); `signals` are the points of each
    signal. All parts together weigh `activity_share`, 1 less the weights of the signals. `empty_curve` is the curve
    of a part that does not exist yet."""

    parts: Mapping[str, ScorePart]
    empty_curve: Curve
    signals: Mapping[str, float] = field(default_factory=dict)
    activity_share: float = 1.0

    @property
    def before_signals(self) -> float:
        """The score from events alone, 0 to 100."""
        return sum(part.score for part in self.parts.values())

    @property
    def score(self) -> float:
        """The unrounded score, signals included."""
        return self.activity_share * self.before_signals + sum(self.signals.values())

    def contributions(self) -> dict[str, float]:
        """Points of the score per event and signal; they add up to the score."""
        found: dict[str, float] = {}
        for part in self.parts.values():
            for name, points in part.contributions().items():
                found[name] = found.get(name, 0.0) + self.activity_share * points
        for name, points in self.signals.items():
            found[name] = found.get(name, 0.0) + points
        return found

    def shares(self) -> dict[str, float]:
        """Points of the score per part."""
        return {name: self.activity_share * part.score for name, part in self.parts.items()}


@dataclass(frozen=True, slots=True)
class ScoreChange:
    """A change of the unrounded score, in parts that add up to it. `behaviour` is per event; `mix` is what parts
    gained or lost because their share changed (in an account: because it has more or fewer active users); `signals`
    is per signal."""

    behaviour: Mapping[str, float]
    mix: float
    benchmark: float
    signals: Mapping[str, float]

    @property
    def total(self) -> float:
        """The change of the unrounded score."""
        return sum(self.behaviour.values()) + self.mix + self.benchmark + sum(self.signals.values())


def score_change(before: ScoreParts, after: ScoreParts) -> ScoreChange:
    """`behaviour = S(R1, B0) - S(R0, B0)` (with `mix`) and `benchmark = S(R1, B1) - S(R1, B0)`.

    The behaviour of a part is divided among the events in proportion to how much their points changed; an unchanged
    event gets none.
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
    # New or missing signals change the share that is left for activity.
    if after.activity_share != before.activity_share:
        mix += (after.activity_share - before.activity_share) * before.before_signals
    return ScoreChange(dict(sorted(behaviour.items())), mix, benchmark, signals)


def _idle(current: ScoreParts) -> ScorePart:
    """The part of an entity without activity: it weighs as much as the others, or 0 if there are none."""
    share = max((part.share for part in current.parts.values()), default=0.0)
    return ScorePart({}, current.empty_curve, share)


def _slope(along: Curve, old: float, new: float) -> float:
    """Points of the score per raw point, between two raw scores."""
    if new != old:
        return (along(new) - along(old)) / (new - old)
    step = max(old, 1.0) * 1e-6
    return (along(old + step) - along(old)) / step


def points_needed(current: ScoreParts, target: float, raised: Iterable[str]) -> float | None:
    """How many more raw points each of the `raised` parts needs for the score to reach `target`. For a single part
    and the exponential this is `-B * log10(1 - target/100) - R`. None if no number of points reaches it."""
    names = set(raised)

    def reached(more: float) -> bool:
        total = sum(
            part.share * part.curve(part.raw + (more if name in names else 0.0))
            for name, part in current.parts.items()
        )
        return current.activity_share * total + sum(current.signals.values()) >= target

    if reached(0.0):
        return 0.0
    high = 1.0
    while not reached(high):
        high *= 2
        if high > SEARCH_LIMIT * max(1.0, *(part.raw for part in current.parts.values()), 1.0):
            return None
    low = 0.0
    for _ in range(BISECTION_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def events_needed(points: float, weight: float) -> int:
    """How many events of a weight make at least so many raw points."""
    return max(0, ceil(points / weight - 1e-9))
