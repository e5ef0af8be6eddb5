"""The search for weights: a logistic regression of staying on what was done, with an L2 penalty.

Weights are never negative: an event that goes with churn gets 0, because users would not trust a score that falls
when they do more. The penalty applies to standardised columns, so that rare events are treated fairly.
"""

from dataclasses import dataclass

import numpy as np

from heatsync.analysis.auc import Flags, Numbers

MAX_WEIGHT = 10.0
"""The weight of the strongest event."""
PENALTY = 1.0
"""The factor of the squared length of the coefficients, relative to the summed log loss."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The log odds of staying: `intercept` plus a coefficient per unit of each column."""

    intercept: float
    coefficients: Numbers

    def odds(self, columns: Numbers) -> Numbers:
        """The log odds of each row."""
        return np.asarray(self.intercept + columns @ self.coefficients, dtype=np.float64)


def loss(parameters: Numbers, columns: Numbers, stayed: Numbers, penalty: float) -> tuple[float, Numbers]:
    """The mean log loss with its share of the penalty, and the gradient. The first parameter is the intercept, which
    has no penalty."""
    rows = len(stayed)
    slopes = parameters[1:]
    odds = parameters[0] + columns @ slopes
    # log(1 + e^z) - y z, without overflow.
    value = float(np.sum(np.logaddexp(0.0, odds) - stayed * odds) + penalty / 2 * slopes @ slopes)
    apart = np.exp(-np.logaddexp(0.0, -odds)) - stayed
    gradient = np.concatenate(([apart.sum()], columns.T @ apart + penalty * slopes))
    return value / rows, gradient / rows


def fit(columns: Numbers, stayed: Flags, penalty: float = PENALTY) -> Fit:
    """The best coefficients that are not negative. A column that never varies gets 0."""
    from scipy.optimize import minimize  # Imported here because it is large.

    spread = columns.std(axis=0)
    varies = spread > 0
    scale = np.where(varies, spread, 1.0)
    standard = np.where(varies, (columns - columns.mean(axis=0)) / scale, 0.0)
    share = float(np.clip(stayed.mean(), 1e-6, 1 - 1e-6))
    start = np.concatenate(([np.log(share / (1 - share))], np.zeros(columns.shape[1])))
    found = minimize(
        loss,
        start,
        args=(standard, stayed.astype(np.float64), penalty),
        jac=True,
        method="L-BFGS-B",
        bounds=[(None, None), *[(0.0, None)] * columns.shape[1]],
        options={"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-8},
    )
    slopes = np.where(varies, found.x[1:] / scale, 0.0)
    return Fit(float(found.x[0] - slopes @ columns.mean(axis=0)), slopes)


def scale_weights(coefficients: Numbers) -> Numbers:
    """Weights from 0 to 10 with one decimal; the strongest event gets 10. All 0 when no event goes with staying."""
    strongest = float(coefficients.max(initial=0.0))
    if strongest <= 0:
        return np.zeros(len(coefficients))
    return np.round(MAX_WEIGHT * coefficients / strongest, 1)
