"""Whether a score predicts churn: figures about the entities that had high or low scores.

An entity is seen when it has an event that is not passive. The rows are the entities seen in the window before a day;
one has churned when it is not seen in the `horizon` days after.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from heatsync.analysis import auc as auc_metrics
from heatsync.analysis.auc import Codes, Decile, Estimate, Flags, Numbers, Rate, Resampling

MIN_ROWS = 30
"""With fewer rows that churned, or that stayed, there are no figures."""
MIN_PREDICTIVE_AUC = 0.60
"""With a lower AUC, a profile is not predictive."""
WEEK = 7


@dataclass(frozen=True, slots=True)
class Sample:
    """One line per entity and snapshot day, in arrays of equal length.

    `points` compare rows of different days: the raw score, which has the same scale on every day, or the unrounded
    score if there is no raw one. `score` is the unrounded score, measured against the benchmark of its day; `recency`
    the days since the entity was last seen (0 on the day itself); `count` its events in the window, without passive
    ones; `level` that of the snapshot, empty without one.
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
        """The chosen lines, with new entity numbers."""
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
    """How much a score moves from day to day. `change` is the mean daily change of the shown score, in points;
    `flips` are changes of level per 100 entities and week. None without two consecutive days."""

    change: float | None
    flips: float | None
    days: int


@dataclass(frozen=True, slots=True)
class Concentration:
    """The share of all raw points that the strongest event earned, and the share of the tenth of the entities with
    the most points."""

    event: str
    event_share: float
    top_share: float


@dataclass(frozen=True, slots=True)
class Period:
    """The AUC of some of the snapshot days, from `first` to `last`."""

    first: int
    last: int
    rows: int
    churned: int
    auc: Estimate


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a backtest. AUCs are for predicting churn: 1 is perfect, 0.5 is chance. `auc` uses the raw
    points, `shown` the scores against the benchmarks of their days; `recency` and `count` are the two baselines."""

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
    """The churn rate per level. Learned levels are learned from the earlier half and evaluated on the later half."""
    levels_shown: tuple[Rate, ...]
    """The learned levels as they were on each day of the later half, learned again every week; empty for bands."""
    levels_first: int
    """The first day that the levels were evaluated on."""

    @property
    def predictive(self) -> bool:
        """Whether the AUC is high enough to call the score predictive."""
        return self.auc.value >= MIN_PREDICTIVE_AUC


@dataclass(frozen=True, slots=True)
class Backtest:
    """The result of a backtest. Without `figures`, `why` says what is missing.

    `first` and `last` are the first and the last snapshot day. `coverage` is the percentage of rows with a score
    above 0.
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
    """Weekly days with a whole window before and a whole horizon after them, for events from the day `first` to the
    day `last`: the latest `most` of them."""
    latest = last - horizon
    count = max(0, (latest - (first + window - 1)) // WEEK + 1)
    return [latest - WEEK * back for back in reversed(range(min(count, most)))]


def split_day(days: Sequence[int]) -> int:
    """The first day of the later half."""
    return days[len(days) // 2]


def too_few_reason(churned: int, rows: int, entity: str, horizon: int) -> str:
    """The reason why there are no figures; empty when there are."""
    stayed = rows - churned
    if churned >= MIN_ROWS and stayed >= MIN_ROWS:
        return ""
    what, found = ("churned", churned) if churned < MIN_ROWS else ("stayed", stayed)
    return (
        f"only {found} of {rows} {entity} rows {what} within {horizon} days; at least {MIN_ROWS} are needed"
        " for a figure: wait for more events, or choose another --horizon or --entity"
    )


def evaluate(
    sample: Sample,
    days: Sequence[int],
    levels: Sequence[str],
    learned: npt.NDArray[np.object_] | None = None,
) -> Figures:
    """All figures of a sample with enough rows that churned and that stayed. `levels` are the names, the lowest
    first; `learned` are the levels of the rows by bounds learned from the earlier half."""
    resampling = Resampling(sample.entities)
    recent = -sample.recency
    gone = sample.churned
    split = split_day(days)
    late = sample.days >= split
    later = sample.only(late)
    shown: tuple[Rate, ...] = ()
    if learned is None:
        rates = _by_level(sample, sample.level, levels)
    else:
        rates, shown = _by_level(later, learned[late], levels), _by_level(later, later.level, levels)
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
        levels_first=days[0] if learned is None else split,
    )


def _by_level(sample: Sample, level: npt.NDArray[np.object_], names: Sequence[str]) -> tuple[Rate, ...]:
    if not len(sample):
        return ()
    return auc_metrics.churn_rates(sample.churned, level, (*names, ""), Resampling(sample.entities))


def _part(sample: Sample) -> Period | None:
    """The AUC of a sample; None with too few rows that churned or stayed."""
    churned = int(sample.churned.sum())
    if min(churned, len(sample) - churned) < MIN_ROWS:
        return None
    found = Resampling(sample.entities).auc(sample.churned, sample.points)
    return Period(int(sample.days.min()), int(sample.days.max()), len(sample), churned, found)


def rank_correlation(one: Numbers, other: Numbers) -> float | None:
    """Spearman's rank correlation; ties have their mean rank. None when either side never varies."""
    ranks = [_ranks(one), _ranks(other)]
    if any(not len(each) or each.std() == 0 for each in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: Numbers) -> Numbers:
    _, place, size = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(size) - (size - 1) / 2)[place], dtype=np.float64)


def top_share(points: Numbers, part: float = 0.1) -> float:
    """The share of all points that the tenth with the most points has; the tenth is rounded up, to at least one."""
    total = float(points.sum())
    if total <= 0:
        return 0.0
    most = int(np.ceil(len(points) * part))
    return float(np.sort(points)[::-1][:most].sum() / total)
