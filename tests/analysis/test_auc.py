"""The AUC and its interval, compared with counting by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatsync.analysis import auc as auc_metrics
from heatsync.analysis.auc import Resampling, auc, deciles, interval, lift

ROWS = st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=1, max_size=30)


def columns(rows: list[tuple[bool, int]]) -> tuple[auc_metrics.Flags, auc_metrics.Numbers]:
    return np.array([gone for gone, _ in rows]), np.array([float(score) for _, score in rows])


def by_hand(rows: list[tuple[bool, int]]) -> float:
    """Counts every pair of a churned row and a row that stayed."""
    pairs = [(gone, kept) for is_gone, gone in rows if is_gone for is_lost, kept in rows if not is_lost]
    if not pairs:
        return float("nan")
    return sum(1.0 if gone < kept else 0.5 if gone == kept else 0.0 for gone, kept in pairs) / len(pairs)


@given(ROWS)
def test_auc_is_the_share_of_pairs_in_the_right_order_with_ties_half(rows: list[tuple[bool, int]]) -> None:
    assert auc(*columns(rows)) == pytest.approx(by_hand(rows), nan_ok=True)


@given(ROWS, st.lists(st.integers(0, 6), min_size=30, max_size=30))
def test_a_draw_is_the_auc_of_the_rows_of_the_drawn_entities(
    rows: list[tuple[bool, int]], names: list[int]
) -> None:
    _, entities = np.unique(names[: len(rows)], return_inverse=True)
    churned, score = columns(rows)
    resampling = Resampling(entities.astype(np.int64), draws=5)
    weights = np.concatenate(list(resampling.weights()))
    expected = [
        by_hand([row for row, times in zip(rows, drawn, strict=True) for _ in range(int(times))])
        for drawn in weights
    ]
    assert resampling.aucs(churned, score) == pytest.approx(np.array(expected), nan_ok=True)


def test_draws_do_not_depend_on_the_size_of_their_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    churned, score = random.random(50) < 0.5, random.random(50)
    entities = np.arange(50) // 2
    together = Resampling(entities).aucs(churned, score)
    monkeypatch.setattr(auc_metrics, "BLOCK_CELLS", 60)
    assert np.array_equal(Resampling(entities).aucs(churned, score), together)


def test_an_entity_is_drawn_with_all_of_its_rows() -> None:
    entities = np.array([0, 1, 0, 2, 1, 0])
    for block in Resampling(entities, draws=20).weights():
        assert (block[:, 0] == block[:, 2]).all()
        assert (block[:, 1] == block[:, 4]).all()
        assert (block[:, [0, 1, 3]].sum(axis=1) == 3).all()


def test_the_interval_covers_the_true_value_about_95_percent_of_the_time() -> None:
    # Two normal distributions one standard deviation apart: the AUC is Phi(1 / sqrt(2)) = 0.7602.
    truth, covered, tries = 0.76025, 0, 120
    random = np.random.default_rng(7)
    for _ in range(tries):
        churned = np.repeat(random.random(90) < 0.5, 2)
        score = np.repeat(random.normal(size=90), 2) + np.where(churned, 0.0, 1.0)
        found = Resampling(np.arange(180) // 2, seed=int(random.integers(1 << 30))).auc(churned, score)
        covered += found.low <= truth <= found.high
    assert 0.88 <= covered / tries <= 1.0


def test_more_rows_of_the_same_entities_do_not_narrow_the_interval() -> None:
    random = np.random.default_rng(3)
    churned, score = random.random(60) < 0.5, random.random(60)
    once = Resampling(np.arange(60)).auc(churned, score)
    ten_times = Resampling(np.repeat(np.arange(60), 10)).auc(np.repeat(churned, 10), np.repeat(score, 10))
    assert (ten_times.low, ten_times.high) == pytest.approx((once.low, once.high))


def test_a_difference_is_estimated_on_the_same_draws() -> None:
    random = np.random.default_rng(5)
    churned, score = random.random(80) < 0.5, random.random(80)
    same = Resampling(np.arange(80)).difference(churned, score, 2 * score)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


@given(ROWS)
def test_deciles_divide_all_rows_and_all_churned_rows(rows: list[tuple[bool, int]]) -> None:
    churned, score = columns(rows)
    found = deciles(churned, score)
    assert sum(each.rows for each in found) == pytest.approx(len(rows))
    assert sum(each.churned for each in found) == pytest.approx(churned.sum())
    assert all(-1e-9 <= each.rate <= 1 + 1e-9 for each in found)
    assert [each.lowest for each in found] == sorted(each.lowest for each in found)


@given(ROWS, st.randoms(use_true_random=False))
def test_deciles_do_not_depend_on_the_order_of_the_rows(rows: list[tuple[bool, int]], random) -> None:
    shuffled = random.sample(rows, len(rows))
    assert deciles(*columns(rows)) == pytest.approx(deciles(*columns(shuffled)))


def test_without_ties_a_decile_is_a_tenth_of_the_rows_in_order() -> None:
    churned = np.array([True] * 10 + [False] * 90)
    score = np.arange(100.0)
    found = deciles(churned, score)
    assert [round(each.rate, 9) for each in found] == [1.0, *[0.0] * 9]
    assert (found[0].lowest, found[0].highest, found[9].lowest, found[9].highest) == (0.0, 9.0, 90.0, 99.0)
    assert lift(churned, score) == pytest.approx(10.0)


def test_rows_with_equal_scores_are_divided_evenly_between_deciles() -> None:
    churned = np.array([True, False] * 10)
    assert [each.rate for each in deciles(churned, np.zeros(20))] == pytest.approx([0.5] * 10)


def test_fewer_rows_than_ten_have_fewer_parts() -> None:
    assert len(deciles(np.array([True, False, False]), np.array([1.0, 2.0, 3.0]))) == 3


def test_a_group_has_a_rate_with_its_interval() -> None:
    churned = np.array([True, True, False, False, False, True])
    names = np.array(["Low", "Low", "High", "High", "High", "High"], dtype=object)
    low, high = auc_metrics.churn_rates(churned, names, ("Low", "Middle", "High"), Resampling(np.arange(6)))
    assert (low.name, low.rows, low.churned, low.share.value) == ("Low", 2, 2, 1.0)
    assert (high.name, high.rows, high.churned, high.share.value) == ("High", 4, 1, 0.25)
    assert high.share.low <= 0.25 <= high.share.high


def test_an_interval_without_known_draws_is_nan() -> None:
    found = interval(0.5, np.array([np.nan]))
    assert np.isnan(found.low)
    assert np.isnan(found.high)
