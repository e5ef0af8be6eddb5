"""The figures of a backtest, on rows with known answers."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from heatsync.analysis import backtest_metrics
from heatsync.analysis.backtest_metrics import (
    Sample,
    evaluate,
    rank_correlation,
    snapshot_days,
    split_day,
    too_few_reason,
    top_share,
)


def sample(rows: int = 400, seed: int = 1) -> Sample:
    """Half of the rows churn. The score predicts it with an AUC of about .76; recency and count do not predict it."""
    random = np.random.default_rng(seed)
    churned = random.random(rows) < 0.5
    score = np.where(churned, 0.0, 1.0) + random.normal(size=rows)
    return Sample(
        entities=np.arange(rows) // 4,
        days=np.array([100, 107, 114, 121] * (rows // 4)),
        churned=churned,
        points=np.exp(score),
        score=score,
        recency=random.integers(0, 30, rows).astype(np.float64),
        count=random.integers(1, 9, rows).astype(np.float64),
        level=np.where(score > 0.5, "High", "Low").astype(object),
    )


DAYS = [100, 107, 114, 121]


def test_snapshot_days_have_a_whole_window_before_and_a_whole_horizon_after() -> None:
    assert snapshot_days(first=1, last=100, window=30, horizon=30, most=52) == list(range(35, 71, 7))
    assert snapshot_days(first=1, last=60, window=30, horizon=30, most=52) == [30]
    assert snapshot_days(first=1, last=59, window=30, horizon=30, most=52) == []
    assert snapshot_days(first=1, last=100, window=30, horizon=30, most=2) == [63, 70]


@given(st.integers(-50, 50), st.integers(0, 400), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_no_snapshot_day_looks_beyond_the_events(
    first: int, length: int, window: int, horizon: int, most: int
) -> None:
    days = snapshot_days(first, first + length, window, horizon, most)
    assert len(days) <= most
    assert all(later - earlier == 7 for earlier, later in itertools.pairwise(days))
    assert all(day - window + 1 >= first and day + horizon <= first + length for day in days)


def test_fewer_than_thirty_churned_rows_give_a_reason_and_no_figure() -> None:
    assert too_few_reason(30, 60, "user", 30) == ""
    assert "only 29 of 100 user rows churned" in too_few_reason(29, 100, "user", 30)
    assert "only 12 of 100 user rows stayed" in too_few_reason(88, 100, "user", 30)


def test_a_good_score_is_better_than_its_baselines() -> None:
    found = evaluate(sample(), DAYS, ("Low", "High"))
    assert found.auc.low < 0.76 < found.auc.high
    assert found.recency.low < 0.5 < found.recency.high
    assert found.over_count.low > 0
    assert found.predictive
    assert found.shown == found.auc
    assert found.lift > 1.3


def test_a_random_score_is_not_predictive() -> None:
    rows = sample()
    coin = np.random.default_rng(9).random(len(rows))
    blind = replace(rows, points=coin)
    assert not evaluate(blind, DAYS, ("Low", "High")).predictive


def test_learned_levels_are_evaluated_on_the_later_half() -> None:
    rows = sample()
    plain = evaluate(rows, DAYS, ("Low", "High"))
    learned = evaluate(rows, DAYS, ("Low", "High"), np.full(400, "High", dtype=object))
    assert sum(rate.rows for rate in plain.levels) == 400
    assert [(rate.name, rate.rows) for rate in learned.levels] == [("High", 200)]
    assert sum(rate.rows for rate in learned.levels_shown) == 200
    assert plain.levels_shown == ()
    assert learned.levels_first == split_day(DAYS) == 114


def test_the_halves_are_reported_beside_each_other() -> None:
    found = evaluate(sample(), DAYS, ("Low", "High"))
    assert found.early is not None
    assert found.late is not None
    assert (found.early.first, found.early.last, found.late.first, found.late.last) == (100, 107, 114, 121)
    assert found.early.rows + found.late.rows == 400


def test_a_half_with_too_few_has_no_figure() -> None:
    assert evaluate(sample(80), DAYS, ("Low", "High")).early is None


def test_entities_without_a_level_are_a_group_of_their_own() -> None:
    rows = sample()
    rows.level[:100] = ""
    found = evaluate(rows, DAYS, ("Low", "High"))
    assert [rate.name for rate in found.levels] == ["Low", "High", ""]
    assert found.levels[2].rows == 100


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=20))
def test_rank_correlation_is_spearmans(pairs: list[tuple[int, int]]) -> None:
    one, other = (np.array(values, dtype=np.float64) for values in zip(*pairs, strict=True))
    found = rank_correlation(one, other)
    if one.std() == 0 or other.std() == 0:
        assert found is None
    else:
        assert found == pytest.approx(spearmanr(one, other).statistic)


def test_the_top_tenth_is_at_least_one() -> None:
    assert top_share(np.array([6.0, 3.0, 1.0])) == pytest.approx(0.6)
    assert top_share(np.array([5.0, 4.0, *[0.1] * 10])) == pytest.approx(0.9)
    assert top_share(np.zeros(4)) == 0.0


def test_the_learned_bound_matches_its_definition() -> None:
    assert backtest_metrics.MIN_PREDICTIVE_AUC == 0.60
    assert backtest_metrics.MIN_ROWS == 30
