"""Explanations add up to the score, and the points that they name reach it."""

from math import log10

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from heatsync.analysis.score_breakdown import (
    ScorePart,
    ScoreParts,
    events_needed,
    points_needed,
    score_change,
    score_curve,
)

KINDS = st.sampled_from(["exponential", "winsor", "target"])
POINTS = st.dictionaries(st.sampled_from(["report", "invite", "login"]), st.floats(0, 500), max_size=3)
BENCHMARK = st.floats(1, 300)
SIGNALS = st.dictionaries(st.sampled_from(["nps", "csm"]), st.floats(0, 15), max_size=2)
MEMBERS = st.dictionaries(st.sampled_from(["u1", "u2", "u3"]), POINTS, max_size=3)


@st.composite
def standings(draw: st.DrawFn, kind: str = "exponential") -> ScoreParts:
    """An account of `rollup: average`, or a user if there is one part."""
    benchmark = draw(BENCHMARK)
    members = draw(MEMBERS)
    along = score_curve(kind, benchmark)
    parts = {name: ScorePart(points, along, 1 / len(members)) for name, points in members.items()}
    signals = draw(SIGNALS)
    return ScoreParts(parts, along, signals, 1 - 0.15 * len(signals))


@given(standings())
def test_contributions_add_up_to_the_score(standing: ScoreParts) -> None:
    assert sum(standing.contributions().values()) == pytest.approx(standing.score)


@given(standings())
def test_the_shares_of_members_and_signals_add_up_to_the_score(standing: ScoreParts) -> None:
    assert sum(standing.shares().values()) + sum(standing.signals.values()) == pytest.approx(standing.score)


@given(KINDS.flatmap(lambda kind: st.tuples(standings(kind), standings(kind))))
def test_behaviour_and_benchmark_add_up_to_the_change(pair: tuple[ScoreParts, ScoreParts]) -> None:
    before, after = pair
    assert score_change(before, after).total == pytest.approx(after.score - before.score, abs=1e-6)


@given(KINDS, POINTS, POINTS, BENCHMARK, BENCHMARK)
def test_both_parts_of_a_change_match_the_definition(kind, old, new, b0, b1) -> None:
    then, now = score_curve(kind, b0), score_curve(kind, b1)
    found = score_change(
        ScoreParts({"": ScorePart(old, then)}, then), ScoreParts({"": ScorePart(new, now)}, now)
    )
    r0, r1 = sum(old.values()), sum(new.values())
    assert sum(found.behaviour.values()) == pytest.approx(then(r1) - then(r0), abs=1e-6)
    assert found.benchmark == pytest.approx(now(r1) - then(r1), abs=1e-9)
    assert found.mix == 0


@given(POINTS, POINTS, BENCHMARK)
def test_an_unchanged_event_explains_none_of_the_change(old, new, benchmark) -> None:
    along = score_curve("exponential", benchmark)
    old, new = {**old, "same": 7.0}, {**new, "same": 7.0}
    found = score_change(
        ScoreParts({"": ScorePart(old, along)}, along), ScoreParts({"": ScorePart(new, along)}, along)
    )
    assert found.behaviour["same"] == 0


def formula(benchmark: float, raw: float, target: float) -> float:
    """The missing raw points for the exponential, as defined."""
    return -benchmark * log10(1 - target / 100) - raw


@given(POINTS, BENCHMARK, st.integers(1, 99))
def test_the_points_of_the_formula_reach_the_next_band(points, benchmark, target) -> None:
    along = score_curve("exponential", benchmark)
    standing = ScoreParts({"": ScorePart(points, along)}, along)
    assume(standing.score < target)
    more = points_needed(standing, target, [""])
    assert more == pytest.approx(formula(benchmark, sum(points.values()), target), rel=1e-6, abs=1e-6)


@given(standings(), st.integers(1, 99))
def test_the_points_needed_for_a_score_reach_it(standing: ScoreParts, target: int) -> None:
    more = points_needed(standing, target, standing.parts)
    if more is None:
        assert (
            not standing.parts
            or standing.activity_share * 100 + sum(standing.signals.values()) <= target + 1e-6
        )
        return
    raised = {
        name: ScorePart({**part.points, "more": more}, part.curve, part.share)
        for name, part in standing.parts.items()
    }
    assert (
        ScoreParts(raised, standing.empty_curve, standing.signals, standing.activity_share).score
        >= target - 1e-6
    )


def test_the_exponential_never_reaches_100() -> None:
    along = score_curve("exponential", 10.0)
    assert points_needed(ScoreParts({"": ScorePart({"a": 5.0}, along)}, along), 100.1, [""]) is None


def test_a_new_active_user_takes_a_share_from_the_others() -> None:
    along = score_curve("exponential", 10.0)
    before = ScoreParts({"u1": ScorePart({"a": 10.0}, along, 1.0)}, along)
    after = ScoreParts(
        {"u1": ScorePart({"a": 10.0}, along, 0.5), "u2": ScorePart({"b": 10.0}, along, 0.5)}, along
    )
    found = score_change(before, after)
    assert found.behaviour == pytest.approx({"a": 0.0, "b": 45.0})
    assert found.mix == pytest.approx(-45.0)


def test_an_account_without_activity_loses_its_whole_score() -> None:
    along = score_curve("exponential", 10.0)
    before = ScoreParts({"u1": ScorePart({"a": 10.0}, along, 1.0)}, along)
    found = score_change(before, ScoreParts({}, along))
    assert found.behaviour == pytest.approx({"a": -90.0})
    assert found.mix == 0


def test_the_percentile_is_the_rank_among_the_peers() -> None:
    along = score_curve("percentile", None, [1.0, 2.0, 2.0, 5.0])
    assert [along(raw) for raw in (0.0, 1.0, 2.0, 5.0)] == pytest.approx([0.0, 0.0, 100 / 3, 100.0])
    # A new raw score is ranked among one more.
    assert along(3.0) == pytest.approx(75.0)


def test_without_a_benchmark_every_score_is_zero() -> None:
    assert score_curve("exponential", 0.0)(5.0) == 0.0
    assert score_curve("winsor", None)(5.0) == 0.0


def test_numbers_of_events_are_rounded_up_except_for_rounding_errors() -> None:
    assert [
        events_needed(8.0, 8.0),
        events_needed(8.1, 8.0),
        events_needed(24.000000000001, 8.0),
        events_needed(-3.0, 8.0),
    ] == [1, 2, 3, 0]
