"""The bounds of `levels: churn`, learned from the entities that churned and those that stayed.

E is the engagement of an entity, in whole billionths. Two bounds are estimated each Sunday: E up to the lower one was
typical of entities that churned within a month, and E above the upper one is unusually high. Only counts and row
numbers are used and fractions are exact, so that all engines find the same bounds.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import duckdb

CHURN_DAYS = 30
"""An entity that is not seen for this many days has churned; only entities seen in the last so many days are
considered."""
MIN_ROWS = 30
"""With fewer churned or fewer stayed rows, nothing is learned."""
MIN_AUC = Fraction(60, 100)
"""With a lower AUC, E does not predict churn."""
ESTIMATES = 4
"""How many weekly estimates the lower bound is the median of."""
TRAINING_WEEKS = 17
"""How many weekly training days an estimate has: four months."""
SUNDAY = 3
"""Sundays, as remainder by seven of the days since 1970-01-01, which was a Thursday."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The lower bound of one week. `low` is None when no entity was engaged; `auc` is None when none churned or none
    stayed. A `fallback` is the lower quartile of E > 0."""

    low: Fraction | None
    fallback: bool
    auc: Fraction | None
    churned: int
    stayed: int


@dataclass(frozen=True, slots=True)
class LevelBounds:
    """Low up to `low`, High above `high`, Medium between them. Both are None when no entity is engaged; an engaged
    entity is then Low."""

    low: Fraction | None
    high: Fraction | None
    fallback: bool


def estimate_days(day: int) -> tuple[int, ...]:
    """The Sundays whose estimates apply on a day, the earliest first."""
    last = day - (day - SUNDAY) % 7
    return tuple(last - 7 * back for back in reversed(range(ESTIMATES)))


def training_days(week: int, first: int) -> tuple[int, ...]:
    """The training days of the estimate of `week`, the earliest first. The thirty days after each of them are over.
    `first` is the first day with events; a training day has at least thirty days of events before it."""
    days = (week - CHURN_DAYS - 7 * back for back in reversed(range(TRAINING_WEEKS)))
    return tuple(day for day in days if day - CHURN_DAYS >= first)


def estimate_lower_bound(con: duckdb.DuckDBPyConnection, relation: str) -> Estimate:
    """The lower bound that the training rows of one week give. `relation` has a whole number `e` from 0 and
    `churned`.

    It is the smallest E that maximises J(x) = P(E <= x | churned) - P(E <= x | stayed) (Youden, 1950).
    """
    churned, stayed, wins, best = _one(
        con,
        f"""
        WITH counted AS (
            SELECT e, count(*) FILTER (churned) AS gone, count(*) FILTER (NOT churned) AS here
            FROM {relation} GROUP BY e
        ), total AS (
            SELECT coalesce(sum(gone), 0) AS churned, coalesce(sum(here), 0) AS stayed FROM counted
        ), summed AS (
            SELECT e, gone, here, sum(gone) OVER upto AS gone_upto, sum(here) OVER upto AS here_upto
            FROM counted WINDOW upto AS (ORDER BY e ROWS UNBOUNDED PRECEDING)
        ), compared AS (
            SELECT e, gone_upto * stayed - here_upto * churned AS youden,
                   gone * (2 * (stayed - here_upto) + here) AS wins
            FROM summed CROSS JOIN total
        )
        SELECT churned, stayed, (SELECT sum(wins) FROM compared),
               (SELECT min(e) FROM compared WHERE youden = (SELECT max(youden) FROM compared))
        FROM total
        """,
    )
    # For each pair of a churned and a stayed row: 2 if the churned one has the lower E, 1 for a tie.
    auc = Fraction(int(wins), 2 * int(churned) * int(stayed)) if churned and stayed else None
    if churned < MIN_ROWS or stayed < MIN_ROWS or auc is None or auc < MIN_AUC:
        low = next(iter(_percentiles(con, relation, 25)), None)
        return Estimate(low, True, auc, int(churned), int(stayed))
    return Estimate(Fraction(int(best)), False, auc, int(churned), int(stayed))


def level_bounds(con: duckdb.DuckDBPyConnection, estimates: Sequence[Estimate], relation: str) -> LevelBounds:
    """The bounds that apply on a day. `estimates` are those of its weeks, the earliest first; `relation` has the `e`
    of all entities on the last of their Sundays.

    A week without training rows has an estimate without a bound; when no week has a bound, the lower quartile of that
    Sunday's E > 0 is used. The bounds are a fallback when the last week's estimate is one.
    """
    low = lower_bound(estimates)
    if low is None:
        low = next(iter(_percentiles(con, relation, 25)), None)
    high = None if low is None else upper_bound(con, relation, low)
    return LevelBounds(low, high, not estimates or estimates[-1].fallback)


def lower_bound(estimates: Sequence[Estimate]) -> Fraction | None:
    """The median of the estimates that have a bound; None without any."""
    known = [each.low for each in estimates if each.low is not None]
    return statistics.median(known) if known else None


def upper_bound(con: duckdb.DuckDBPyConnection, relation: str, low: Fraction) -> Fraction:
    """The upper bound, from the `e` of all entities on the day of the last estimate: Tukey's fence (Q3 + 1.5 * IQR of
    E > 0), or the 95th percentile when less than 1 % of E > 0 lies above the fence. It is above `low` if any E is."""
    percentiles = _percentiles(con, relation, 25, 75, 95)
    if not percentiles:
        return low
    quarter, three_quarters, nearly_all = percentiles
    high = three_quarters + Fraction(3, 2) * (three_quarters - quarter)
    size, above = _one(
        con, f"SELECT count(*), count(*) FILTER (e > {_whole(high)}) FROM {relation} WHERE e > 0"
    )
    if 100 * above < size:
        high = nearly_all
    if high > low:
        return high
    (following,) = _one(con, f"SELECT min(e) FROM {relation} WHERE e > 0 AND e > {_whole(low)}")
    return low if following is None else Fraction(int(following))


def _percentiles(con: duckdb.DuckDBPyConnection, relation: str, *percents: int) -> tuple[Fraction, ...]:
    """Percentiles of E > 0 (Hyndman and Fan, type 7); empty when no E is above 0."""
    (size,) = _one(con, f"SELECT count(*) FROM {relation} WHERE e > 0")
    if not size:
        return ()
    below = [(size - 1) * percent // 100 for percent in percents]
    wanted = sorted({min(place + more, size - 1) for place in below for more in (0, 1)})
    found = con.execute(
        f"""
        WITH ranked AS (SELECT e, row_number() OVER (ORDER BY e) - 1 AS place FROM {relation} WHERE e > 0)
        SELECT place, e FROM ranked WHERE place IN ({", ".join(map(str, wanted))})
        """
    ).fetchall()
    at = {place: int(e) for place, e in found}

    def between(place: int, percent: int) -> Fraction:
        above = ((size - 1) * percent) % 100
        return Fraction(at[place] * (100 - above) + at[min(place + 1, size - 1)] * above, 100)

    return tuple(map(between, below, percents))


def _whole(bound: Fraction) -> int:
    """The whole number that a whole E exceeds exactly when it exceeds the bound."""
    return bound.numerator // bound.denominator


def _one(con: duckdb.DuckDBPyConnection, query: str) -> tuple[int, ...]:
    found = con.execute(query).fetchone()
    assert found is not None
    return found
