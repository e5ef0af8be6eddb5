"""The search for weights, compared with finite differences and data with known answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from heatsync.analysis.weight_search import fit, loss, scale_weights

NUMBERS = st.floats(-3, 3, allow_nan=False, width=32)


@given(arrays(np.float64, 3, elements=NUMBERS), arrays(np.float64, (6, 2), elements=NUMBERS))
def test_the_gradient_is_that_of_the_loss(parameters, columns) -> None:
    stayed = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    _, gradient = loss(parameters, columns, stayed, 0.7)
    step = 1e-6
    for position in range(3):
        up, down = parameters.copy(), parameters.copy()
        up[position] += step
        down[position] -= step
        slope = (loss(up, columns, stayed, 0.7)[0] - loss(down, columns, stayed, 0.7)[0]) / (2 * step)
        assert gradient[position] == pytest.approx(slope, abs=1e-5)


def test_the_coefficients_behind_the_data_are_recovered() -> None:
    random = np.random.default_rng(11)
    columns = random.normal(size=(20_000, 3))
    stayed = random.random(20_000) < 1 / (1 + np.exp(-(0.5 + columns @ np.array([1.0, 0.5, 0.0]))))
    found = fit(columns, stayed)
    assert found.intercept == pytest.approx(0.5, abs=0.06)
    assert found.coefficients == pytest.approx([1.0, 0.5, 0.0], abs=0.06)
    assert list(scale_weights(found.coefficients)) == pytest.approx([10.0, 5.0, 0.0], abs=0.6)


def test_an_event_that_goes_with_churn_gets_no_weight() -> None:
    random = np.random.default_rng(12)
    columns = random.normal(size=(4_000, 2))
    stayed = random.random(4_000) < 1 / (1 + np.exp(-(columns @ np.array([1.0, -1.0]))))
    found = fit(columns, stayed)
    assert found.coefficients[1] == 0.0
    assert found.coefficients[0] > 0.5


def test_the_unit_of_a_column_changes_nothing_but_its_coefficient() -> None:
    random = np.random.default_rng(13)
    columns = random.normal(size=(500, 2))
    stayed = random.random(500) < 1 / (1 + np.exp(-columns[:, 0]))
    plain = fit(columns, stayed)
    inflated = fit(columns * np.array([1000.0, 1.0]) + 5.0, stayed)
    assert inflated.coefficients[0] * 1000 == pytest.approx(plain.coefficients[0], rel=1e-3)
    assert inflated.odds(columns * np.array([1000.0, 1.0]) + 5.0) == pytest.approx(
        plain.odds(columns), abs=1e-3
    )


def test_a_column_that_never_varies_gets_no_weight() -> None:
    columns = np.column_stack([np.full(100, 3.0), np.arange(100.0)])
    found = fit(columns, np.arange(100) > 50)
    assert found.coefficients[0] == 0.0
    assert found.coefficients[1] > 0


def test_without_a_protective_event_every_weight_is_zero() -> None:
    assert list(scale_weights(np.zeros(3))) == [0.0, 0.0, 0.0]


def test_separable_data_give_finite_weights() -> None:
    found = fit(np.arange(40.0).reshape(-1, 1), np.arange(40) >= 20)
    assert np.isfinite(found.coefficients).all()
