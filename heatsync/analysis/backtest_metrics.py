"""Whether a score is to be believed: what became of the entities that it was high or low for.

Activity is whatever makes an entity *seen*: an event that is not passive. The rows are those seen in the window before
a day; one has churned when it is not seen in the days after it, the horizon.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from heatsync.analysis import auc as auc_metrics
from heatsync.analysis.auc import Codes, Decile, Estimate, Flags, Numbers, Rate, Resampling

MIN_ROWS = 30
"""Rows that churned, or that stayed, below which there is no figure."""
MIN_PREDICTIVE_AUC = 0.60
"""The AUC below which a profile is not predictive."""
WEEK = 7


@dataclass(frozen=True, slots=True)
class Sample:
    """One line per entity and snapshot day, in columns of equal length.

    `points` are what rows of different days are compared by: the raw score, which is the same yardstick on every day,
    or the unrounded score where there is no raw one. `score` is the unrounded one, against the benchmark of its day,
    `recency` the days since the entity was last seen (0 on the day itself), `count` its events in the window, passive
    ones aside. `level` is that of the snapshot; nothing is an empty text.
    """

    entities: Codes
    days: Codes
    churned: Flags
    points: Numbers
    score: Numbers
    recency: Numbers
    count: Numbers
    level: npt.NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.churned)

    def only(self, chosen: Flags) -> "Sample":
        """The chosen lines; entities are numbered anew."""
        _, entities = np.unique(self.entities[chosen], return_inverse=True)
        return Sample(
            entities.astype(np.int64),
            self.days[chosen],
            self.churned[chosen],
            self.points[chosen],
            self.score[chosen],
            self.recency[chosen],
            self.count[chosen],
            self.level[chosen],
        )


@dataclass(frozen=True, slots=True)
class Stability:
    """How much a score moves by itself. `change` is the mean daily change of the shown score, in points; `flips` are
    changes of level per 100 entities and week. None without two days in a row."""

    change: float | None
    flips: float | None
    days: int


@dataclass(frozen=True, slots=True)
class Concentration:
    """How much hangs on little: the share of all raw points that the strongest event earned, and that the tenth of
    the entities with the most points did."""

    event: str
    event_share: float
    top_share: float


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch of the snapshot days by itself."""

    first: int
    last: int
    rows: int
    churned: int
    auc: Estimate


@dataclass(frozen=True, slots=True)
class Figures:
    """What a backtest found. AUCs are for telling who will churn: 1 is perfect, 0.5 is a coin. `auc` is that of the
    points, `shown` that of the scores against the benchmarks of their days, beside the two baselines."""

    auc: Estimate
    shown: Estimate
    recency: Estimate
    count: Estimate
    over_recency: Estimate
    over_count: Estimate
    early: Period | None
    late: Period | None
    lift: float
    deciles: tuple[Decile, ...]
    levels: tuple[Rate, ...]
    """Learnt levels are learnt once on the earlier half, and judged on the later one."""
    levels_shown: tuple[Rate, ...]
    """Learnt levels as they were on each day of the later half, learnt anew every week; else nothing."""
    levels_first: int
    """The first of the days that the levels were judged on."""

    @property
    def predictive(self) -> bool:
        return self.auc.value >= MIN_PREDICTIVE_AUC


@dataclass(frozen=True, slots=True)
class Backtest:
    """A profile, held against what happened. Without `figures`, `why` says what they lack.

    `first` and `last` are the first and the last snapshot day. `coverage` is the share of the rows with a score
    above 0, in percent.
    """

    profile: str
    entity: str
    audience: str | None
    window: int
    horizon: int
    first: date | None
    last: date | None
    snapshots: int
    rows: int
    entities: int
    churned: int
    figures: Figures | None
    why: str
    coverage: float | None = None
    stability: Stability | None = None
    concentration: Concentration | None = None


def snapshot_days(first: int, last: int, window: int, horizon: int, most: int) -> list[int]:
    """Weekly days with a whole window before and a whole horizon after them, the latest `most` of them, for events
    from the day `first` to the day `last`."""
    latest = last - horizon
    count = max(0, (latest - (first + window - 1)) // WEEK + 1)
    return [latest - WEEK * back for back in reversed(range(min(count, most)))]


def split_day(days: Sequence[int]) -> int:
    """The first day of the later half."""
    return days[len(days) // 2]


def too_few_reason(churned: int, rows: int, entity: str, horizon: int) -> str:
    """Why there is no figure; empty when there is."""
    stayed = rows - churned
    if churned >= MIN_ROWS and stayed >= MIN_ROWS:
        return ""
    what, found = ("churned", churned) if churned < MIN_ROWS else ("stayed", stayed)
    return (
        f"only {found} of {rows} {entity} rows {what} within {horizon} days, and {MIN_ROWS} are the least that a figure is"
        " made of: wait for more events, or choose another --horizon or --entity"
    )


def evaluate(
    sample: Sample,
    days: Sequence[int],
    levels: Sequence[str],
    learnt: npt.NDArray[np.object_] | None = None,
) -> Figures:
    """Every figure of a sample in which enough churned and enough stayed. `levels` are the names, the lowest first;
    `learnt` are the levels of the rows after bounds that were learnt on the earlier half."""
    resampling = Resampling(sample.entities)
    recent = -sample.recency
    gone = sample.churned
    split = split_day(days)
    late = sample.days >= split
    later = sample.only(late)
    shown: tuple[Rate, ...] = ()
    if learnt is None:
        rates = _by_level(sample, sample.level, levels)
    else:
        rates, shown = _by_level(later, learnt[late], levels), _by_level(later, later.level, levels)
    return Figures(
        auc=resampling.auc(gone, sample.points),
        shown=resampling.auc(gone, sample.score),
        recency=resampling.auc(gone, recent),
        count=resampling.auc(gone, sample.count),
        over_recency=resampling.difference(gone, sample.points, recent),
        over_count=resampling.difference(gone, sample.points, sample.count),
        early=_part(sample.only(~late)),
        late=_part(later),
        lift=auc_metrics.lift(gone, sample.score),
        deciles=auc_metrics.deciles(gone, sample.score),
        levels=rates,
        levels_shown=shown,
        levels_first=days[0] if learnt is None else split,
    )


def _by_level(sample: Sample, level: npt.NDArray[np.object_], names: Sequence[str]) -> tuple[Rate, ...]:
    if not len(sample):
        return ()
    return auc_metrics.churn_rates(sample.churned, level, (*names, ""), Resampling(sample.entities))


def _part(sample: Sample) -> Period | None:
    """Of a stretch in which enough churned and enough stayed."""
    churned = int(sample.churned.sum())
    if min(churned, len(sample) - churned) < MIN_ROWS:
        return None
    found = Resampling(sample.entities).auc(sample.churned, sample.points)
    return Period(int(sample.days.min()), int(sample.days.max()), len(sample), churned, found)


def rank_correlation(one: Numbers, other: Numbers) -> float | None:
    """Spearman's, ties with their mean rank; None where either never varies."""
    ranks = [_ranks(one), _ranks(other)]
    if any(not len(each) or each.std() == 0 for each in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: Numbers) -> Numbers:
    _, place, size = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(size) - (size - 1) / 2)[place], dtype=np.float64)


def top_share(points: Numbers, part: float = 0.1) -> float:
    """The share of all points that the tenth with the most has: at least one of them, the tenth rounded up."""
    total = float(points.sum())
    if total <= 0:
        return 0.0
    most = int(np.ceil(len(points) * part))
    return float(np.sort(points)[::-1][:most].sum() / total)
