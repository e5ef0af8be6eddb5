"""The bounds of `levels: churn`, compared with the same definitions in plain Python."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from fractions import Fraction
from itertools import pairwise

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heatsync.scoring.compute import churn_levels
from heatsync.scoring.compute.churn_levels import Estimate

Row = tuple[int, bool]
UNIT = 10**9


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def estimated(con: duckdb.DuckDBPyConnection, rows: Sequence[Row]) -> Estimate:
    con.execute("CREATE OR REPLACE TEMP TABLE training (e BIGINT, churned BOOLEAN)")
    if rows:
        con.execute(
            "INSERT INTO training SELECT unnest(?), unnest(?)",
            [list(each) for each in zip(*rows, strict=True)],
        )
    return churn_levels.estimate_lower_bound(con, "training")


def fenced(con: duckdb.DuckDBPyConnection, values: Sequence[int], low: Fraction) -> Fraction:
    con.execute("CREATE OR REPLACE TEMP TABLE entities (e BIGINT)")
    if values:
        con.execute("INSERT INTO entities SELECT unnest(?)", [list(values)])
    return churn_levels.upper_bound(con, "entities", low)


def percentile(values: Sequence[int], percent: int) -> Fraction:
    """A percentile of type 7, as defined."""
    ordered = sorted(values)
    place = Fraction((len(ordered) - 1) * percent, 100)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def plain_estimate(rows: Sequence[Row]) -> Estimate:
    gone = [e for e, churned in rows if churned]
    here = [e for e, churned in rows if not churned]
    auc = None
    if gone and here:
        pairs = [
            Fraction(1) if g < h else Fraction(1, 2) if g == h else Fraction(0) for g in gone for h in here
        ]
        auc = sum(pairs, Fraction(0)) / len(pairs)
    if len(gone) >= 30 and len(here) >= 30 and auc is not None and auc >= Fraction(6, 10):

        def youden(x: int) -> Fraction:
            return Fraction(sum(g <= x for g in gone), len(gone)) - Fraction(
                sum(h <= x for h in here), len(here)
            )

        values = sorted({e for e, _ in rows})
        best = max(map(youden, values))
        low = next(x for x in values if youden(x) == best)
        return Estimate(Fraction(low), False, auc, len(gone), len(here))
    engaged = [e for e, _ in rows if e > 0]
    return Estimate(percentile(engaged, 25) if engaged else None, True, auc, len(gone), len(here))


def plain_upper(values: Sequence[int], low: Fraction) -> Fraction:
    engaged = [e for e in values if e > 0]
    if not engaged:
        return low
    quarter, three_quarters = percentile(engaged, 25), percentile(engaged, 75)
    high = three_quarters + Fraction(3, 2) * (three_quarters - quarter)
    if sum(e > high for e in engaged) < Fraction(len(engaged), 100):
        high = percentile(engaged, 95)
    if high > low:
        return high
    return Fraction(min((e for e in engaged if e > low), default=low))


@st.composite
def training(draw: st.DrawFn) -> list[Row]:
    """Rows, sometimes with few distinct values (so there are ties), sometimes with lower values for churned entities."""
    most = draw(st.sampled_from([3, 40, 10**15]))
    value = st.integers(0, most)
    less = st.integers(0, max(1, most // draw(st.integers(1, 4))))
    gone = draw(st.lists(less, max_size=60))
    here = draw(st.lists(value, max_size=60))
    return [(e, True) for e in gone] + [(e, False) for e in here]


@settings(max_examples=200, deadline=None)
@given(rows=training())
def test_an_estimate_matches_its_definition(con: duckdb.DuckDBPyConnection, rows: list[Row]) -> None:
    assert estimated(con, rows) == plain_estimate(rows)


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(st.one_of(st.integers(0, 20), st.integers(0, 10**15)), max_size=150),
    low=st.fractions(0, 30, max_denominator=100),
)
def test_the_upper_bound_matches_its_definition(
    con: duckdb.DuckDBPyConnection, values: list[int], low: Fraction
) -> None:
    found = fenced(con, values, low)
    assert found == plain_upper(values, low)
    assert found >= low
    assert found > low or not any(e > low for e in values)


def test_a_worked_example_gives_its_documented_bound(con: duckdb.DuckDBPyConnection) -> None:
    """Thirty of forty churned entities had an E of at most 2, but only four of forty that stayed: the two shares
    differ most at 2."""
    gone = [0] * 10 + [1] * 10 + [2] * 10 + [9] * 10
    here = [2] * 4 + [9] * 16 + [20] * 20
    rows = [(e * UNIT, True) for e in gone] + [(e * UNIT, False) for e in here]
    found = estimated(con, rows)
    assert found.low == 2 * UNIT
    assert (found.fallback, found.churned, found.stayed) == (False, 40, 40)
    # Pairs in order, ties half: 20 * 40 + 10 * (36 + 2) + 10 * (20 + 8) of 1600.
    assert found.auc == Fraction(1460, 1600)


def test_the_smaller_of_two_equally_good_bounds_is_used(con: duckdb.DuckDBPyConnection) -> None:
    rows = [(1, True)] * 30 + [(5, True)] * 30 + [(5, False)] * 30 + [(9, False)] * 30
    assert estimated(con, rows).low == 1


def test_the_bound_may_be_no_engagement_at_all(con: duckdb.DuckDBPyConnection) -> None:
    assert estimated(con, [(0, True)] * 30 + [(7, False)] * 30).low == 0


@pytest.mark.parametrize(
    ("rows", "low", "auc"),
    [
        # Too few churned, although the groups are perfectly separated.
        ([(1, True)] * 29 + [(5, False)] * 30, 1, Fraction(1)),
        # Too few stayed.
        ([(1, True)] * 30 + [(5, False)] * 29, 1, Fraction(1)),
        # The groups do not differ.
        ([(e, churned) for e in (0, 4, 8, 12, 16) for churned in (True, False)] * 10, 7, Fraction(1, 2)),
        # The entities that did more are those that churned.
        ([(5, True)] * 30 + [(1, False)] * 30, 1, Fraction(0)),
        # None stayed, so there is nothing to learn.
        ([(0, True), (2, True), (4, True)], Fraction(5, 2), None),
        # No entity did anything.
        ([(0, True), (0, False)], None, Fraction(1, 2)),
        ([], None, None),
    ],
)
def test_the_lower_quartile_is_the_bound_when_nothing_can_be_learned(
    con: duckdb.DuckDBPyConnection, rows: list[Row], low: Fraction | None, auc: Fraction | None
) -> None:
    found = estimated(con, rows)
    assert found.fallback
    assert (found.low, found.auc) == (low, auc)


def test_an_auc_of_exactly_sixty_percent_is_enough(con: duckdb.DuckDBPyConnection) -> None:
    """Of 50 churned rows, 10 have a lower E than all others and 40 the same: (10 + 40/2) / 50."""
    rows = [(1, True)] * 10 + [(5, True)] * 40 + [(5, False)] * 50
    found = estimated(con, rows)
    assert found.auc == Fraction(3, 5)
    assert (found.low, found.fallback) == (1, False)


def test_large_numbers_stay_exact(con: duckdb.DuckDBPyConnection) -> None:
    far = 10**17
    rows = [(far + 1, True)] * 30 + [(far + 2, False)] * 30
    assert estimated(con, rows).low == far + 1


def test_the_upper_bound_is_tukeys_fence_when_enough_lie_above_it(con: duckdb.DuckDBPyConnection) -> None:
    # Quartiles of 1..8 and 100: 3 and 7.
    assert fenced(con, [*range(1, 9), 100], Fraction(2)) == 13


def test_the_upper_bound_is_the_95th_percentile_when_few_lie_above_the_fence(
    con: duckdb.DuckDBPyConnection,
) -> None:
    assert fenced(con, [0, 0, *range(1, 102)], Fraction(2)) == 96


def test_one_in_a_hundred_above_the_fence_is_enough(con: duckdb.DuckDBPyConnection) -> None:
    assert fenced(con, [1] * 50 + [2] * 49 + [90], Fraction(0)) == Fraction(7, 2)
    assert fenced(con, [1] * 50 + [2] * 50 + [90], Fraction(0)) == 2


def test_the_upper_bound_is_above_the_lower_bound_when_any_score_is(con: duckdb.DuckDBPyConnection) -> None:
    assert fenced(con, [1, 1, 1, 1, 50, 60], Fraction(58)) == 60
    assert fenced(con, [1, 1, 1, 1, 50, 60], Fraction(70)) == 70
    assert fenced(con, [], Fraction(70)) == 70
    assert fenced(con, [0, 0], Fraction(70)) == 70


def low(value: Fraction | int | None, fallback: bool = False) -> Estimate:
    return Estimate(None if value is None else Fraction(value), fallback, None, 0, 0)


def test_the_lower_bound_is_the_median_of_the_last_four_weeks() -> None:
    assert churn_levels.lower_bound([low(1), low(9), low(2), low(4)]) == 3
    assert churn_levels.lower_bound([low(1), low(2)]) == Fraction(3, 2)
    assert churn_levels.lower_bound(
        [
            low(None),
            low(None),
            low(5),
            low(8),
        ]
    ) == Fraction(13, 2)
    assert churn_levels.lower_bound([low(None)]) is None
    assert churn_levels.lower_bound([]) is None


def in_force(
    con: duckdb.DuckDBPyConnection, estimates: Sequence[Estimate], values: Sequence[int]
) -> churn_levels.LevelBounds:
    fenced(con, values, Fraction(0))
    return churn_levels.level_bounds(con, estimates, "entities")


def test_both_bounds_of_a_day_come_from_its_weeks_and_its_last_sunday(con: duckdb.DuckDBPyConnection) -> None:
    values = [0, *range(1, 9), 100]
    assert in_force(con, [low(1), low(2)], values) == churn_levels.LevelBounds(
        Fraction(3, 2), Fraction(13), False
    )
    assert in_force(con, [low(1), low(40)], values) == churn_levels.LevelBounds(
        Fraction(41, 2), Fraction(100), False
    )


def test_bounds_are_a_fallback_when_the_last_week_was_one(con: duckdb.DuckDBPyConnection) -> None:
    assert in_force(con, [low(1), low(2, fallback=True)], [5]).fallback
    assert not in_force(con, [low(1, fallback=True), low(2)], [5]).fallback


def test_the_lower_quartile_of_the_sunday_is_used_before_anything_can_be_learned(
    con: duckdb.DuckDBPyConnection,
) -> None:
    for estimates in ([], [low(None, fallback=True)] * 4):
        assert in_force(con, estimates, [0, *range(1, 9), 100]) == churn_levels.LevelBounds(
            Fraction(3), Fraction(13), True
        )
        assert in_force(con, estimates, [0, 0]) == churn_levels.LevelBounds(None, None, True)


@given(st.integers(0, 40_000))
def test_a_day_uses_the_estimates_of_the_last_four_sundays(day: int) -> None:
    days = churn_levels.estimate_days(day)
    assert len(days) == 4
    assert [late - early for early, late in pairwise(days)] == [7, 7, 7]
    assert day - 7 < days[-1] <= day
    assert {(date(1970, 1, 1) + timedelta(days=each)).isoweekday() for each in days} == {7}


def test_an_estimate_uses_four_months_with_known_outcomes() -> None:
    days = churn_levels.training_days(1000, first=0)
    assert (len(days), days[0], days[-1]) == (17, 858, 970)
    assert {late - early for early, late in pairwise(days)} == {7}


def test_an_estimate_reaches_back_as_far_as_the_events() -> None:
    assert churn_levels.training_days(1000, first=940) == (970,)
    assert churn_levels.training_days(1000, first=941) == ()
    assert churn_levels.training_days(1000, first=933) == (963, 970)
