"""How well a number predicts churn: AUC, lift and rates of arrays of numbers.

A row is an entity on a day; `churned` says whether it churned afterwards. A high score should mean staying: entities
that churn are expected to have had lower scores. The rows of one entity depend on each other, so intervals come from
drawing whole entities with replacement (cluster bootstrap).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]
Codes: TypeAlias = npt.NDArray[np.int64]

DRAWS = 200
SEED = 20260101
BLOCK_CELLS = 4_000_000
"""How many cells of a block of draws are held in memory at once."""
PARTS = 10


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Decile:
    """A tenth of the rows, the lowest scores first. Rows with equal scores are divided evenly between the tenths, so
    `churned` may not be a whole number."""

    number: int
    rows: float
    churned: float
    lowest: float
    highest: float

    @property
    def rate(self) -> float:
        """The share of the rows that churned."""
        return self.churned / self.rows


@dataclass(frozen=True, slots=True)
class Rate:
    """The rows of a group, how many of them churned, and the share that did."""

    name: str
    rows: int
    churned: int
    share: Estimate


def auc(churned: Flags, score: Numbers) -> float:
    """The probability that a churned row had a lower score than a row that stayed; ties count half. NaN without a row
    of either kind."""
    gone = int(churned.sum())
    stayed = len(churned) - gone
    if not gone or not stayed:
        return float("nan")
    _, place, size = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(size)
    ranks = (last - (size - 1) / 2)[place]
    higher = ranks[~churned].sum() - stayed * (stayed + 1) / 2
    return float(higher / (gone * stayed))


@dataclass(frozen=True, slots=True)
class Resampling:
    """The same draws of entities for every estimate, so that the interval of a difference can be estimated too.

    `entities` has the number of each row's entity, from 0.
    """

    entities: Codes
    draws: int = DRAWS
    seed: int = SEED

    def weights(self) -> Iterator[Numbers]:
        """Blocks of draws: one line per draw, one column per row, how often the row's entity was drawn."""
        count = int(self.entities.max()) + 1 if len(self.entities) else 0
        random = np.random.default_rng(self.seed)
        size = max(1, BLOCK_CELLS // max(1, len(self.entities)))
        for begin in range(0, self.draws, size):
            block = min(size, self.draws - begin)
            drawn = np.stack(
                [np.bincount(random.integers(0, count, count), minlength=count) for _ in range(block)]
            )
            yield drawn[:, self.entities].astype(np.float64)

    def aucs(self, churned: Flags, score: Numbers) -> Numbers:
        """The AUC of each draw; NaN for a draw without churned rows or without rows that stayed."""
        order = np.argsort(score, kind="stable")
        ordered, gone = score[order], churned[order]
        starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        found = []
        for block in self.weights():
            drawn = block[:, order]
            lost = np.add.reduceat(np.where(gone, drawn, 0.0), starts, axis=1)
            kept = np.add.reduceat(np.where(gone, 0.0, drawn), starts, axis=1)
            below = np.cumsum(lost, axis=1) - lost / 2
            pairs = lost.sum(axis=1) * kept.sum(axis=1)
            with np.errstate(invalid="ignore", divide="ignore"):
                found.append((below * kept).sum(axis=1) / pairs)
        return np.concatenate(found)

    def shares(self, churned: Flags, chosen: Flags) -> Numbers:
        """The share of the chosen rows that churned, per draw."""
        found = []
        for block in self.weights():
            drawn = block[:, chosen]
            with np.errstate(invalid="ignore", divide="ignore"):
                found.append((drawn * churned[chosen]).sum(axis=1) / drawn.sum(axis=1))
        return np.concatenate(found)

    def auc(self, churned: Flags, score: Numbers) -> Estimate:
        """The AUC of `score`, with its interval."""
        return interval(auc(churned, score), self.aucs(churned, score))

    def difference(self, churned: Flags, score: Numbers, other: Numbers) -> Estimate:
        """By how much the AUC of `score` is higher than that of `other`."""
        value = auc(churned, score) - auc(churned, other)
        return interval(value, self.aucs(churned, score) - self.aucs(churned, other))

    def rate(self, name: str, churned: Flags, chosen: Flags) -> Rate:
        """The churn rate of the chosen rows, of which there is at least one."""
        rows, gone = int(chosen.sum()), int(churned[chosen].sum())
        return Rate(name, rows, gone, interval(gone / rows, self.shares(churned, chosen)))


def interval(value: float, draws: Numbers) -> Estimate:
    """A value with the interval that holds 95 % of the draws; NaN bounds if there is no draw."""
    known = draws[~np.isnan(draws)]
    if not len(known):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.percentile(known, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def deciles(churned: Flags, score: Numbers, parts: int = PARTS) -> tuple[Decile, ...]:
    """Tenths of the rows by score, the lowest first; fewer than ten parts when there are fewer rows."""
    rows = len(score)
    parts = min(parts, rows)
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    _, place, size = np.unique(ordered, return_inverse=True, return_counts=True)
    crowd = np.bincount(place, weights=churned[order]) / size
    gone = np.concatenate(([0.0], np.cumsum(crowd[place])))
    bounds = np.arange(parts + 1) * rows / parts
    reached = np.interp(bounds, np.arange(rows + 1), gone)
    return tuple(
        Decile(
            number=number + 1,
            rows=rows / parts,
            churned=float(reached[number + 1] - reached[number]),
            lowest=float(ordered[int(bounds[number])]),
            highest=float(ordered[min(rows, int(np.ceil(bounds[number + 1]))) - 1]),
        )
        for number in range(parts)
    )


def lift(churned: Flags, score: Numbers) -> float:
    """The churn rate of the lowest tenth divided by that of all rows; NaN when no row churned."""
    overall = float(churned.mean())
    return deciles(churned, score)[0].rate / overall if overall else float("nan")


def churn_rates(
    churned: Flags, names: npt.NDArray[np.object_], order: Sequence[str], resampling: Resampling
) -> tuple[Rate, ...]:
    """The churn rate of each named group that has rows, in the order of `order`."""
    groups = ((name, np.asarray(names == name, dtype=np.bool_)) for name in order)
    return tuple(resampling.rate(name, churned, chosen) for name, chosen in groups if chosen.any())
