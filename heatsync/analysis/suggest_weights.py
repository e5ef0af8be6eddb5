"""Suggested weights, learned from past events and compared with the profile's weights on later days."""

from dataclasses import dataclass
from datetime import date

import duckdb
import numpy as np

from connectors.errors import ConfigurationError
from heatsync.analysis import backtest_labels, backtest_metrics, weight_search
from heatsync.analysis.auc import Estimate, Numbers, Resampling
from heatsync.analysis.backtest import (
    BacktestRequest,
    OnProgress,
    find_profile,
    load_events,
    snapshot_weeks,
    too_short_reason,
)
from heatsync.analysis.backtest_metrics import Sample
from heatsync.scoring.compute import calendar
from heatsync.scoring.compute.relations import Relation
from heatsync.scoring.compute.scores import escape_quotes
from heatsync.scoring.definition.profile import Profile
from heatsync.snapshots.profile_run import ProfileRun
from heatsync.snapshots.session import open_session
from heatsync.workspace.config import Workspace


@dataclass(frozen=True, slots=True)
class SuggestedWeight:
    """An event, its current and its suggested weight, and how many training rows have the event."""

    event: str
    now: float
    suggested: float
    rows: int


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The result: learned from the rows up to `learned_until`, whose outcomes were known when the later part started,
    and evaluated on the rows from `evaluated_from` on. Without `weights`, `why` says what is missing. `gain` is the
    difference of the AUCs."""

    profile: str
    entity: str
    horizon: int
    learned_until: date | None
    evaluated_from: date | None
    learned_rows: int
    evaluated_rows: int
    weights: tuple[SuggestedWeight, ...]
    now: Estimate | None
    suggested: Estimate | None
    gain: Estimate | None
    why: str

    @property
    def better(self) -> bool:
        """Whether the suggested weights are better on the later days, by more than chance."""
        return self.gain is not None and self.gain.low > 0


def suggest_weights(workspace: Workspace, question: BacktestRequest, progress: OnProgress) -> Suggestion:
    """Suggest weights for a profile of `model: weighted`. Raises ConfigurationError."""
    profile = find_profile(workspace, question.profile)
    if profile.model != "weighted":
        raise ConfigurationError(
            f"mappings/profiles/{question.profile}.yml: weights can only be suggested for `model: weighted`, and this is"
            f" `model: {profile.model}`"
        )
    with open_session(workspace, question.until) as session:
        progress("reading the events", 0, 2)
        past = load_events(session, profile, question.entity, question.horizon)
        days = snapshot_weeks(past, profile, question.horizon)
        if past is None or not days:
            return _none(question, too_short_reason(past, profile, question.horizon))
        progress("learning", 1, 2)
        con = session.connection
        one_in = backtest_labels.sampling_rate(con, past.seen, len(days))
        labelled = backtest_labels.label_churn(con, past.seen, days, profile.window, question.horizon, one_in)
        if profile.filter is not None:
            scored = ProfileRun.of(session, question.profile).score_days(days)[question.entity]
            backtest_labels.apply_filter(con, profile, labelled, scored)
        return fit_weights(profile, question, days, _read_columns(con, profile, days, past.events, labelled))


def fit_weights(
    profile: Profile, question: BacktestRequest, days: list[int], rows: tuple[Sample, Numbers, Numbers]
) -> Suggestion:
    """Learn weights from the earlier days, and compare them with the profile's on the later ones. `rows` are a sample,
    the decayed counts of each scored event, and the same counts as the profile caps them."""
    split = backtest_metrics.split_day(days)
    # Only outcomes that were known when the later part started may be learned from.
    early = [day for day in days if day + question.horizon <= split]
    sample, plain, decayed = rows
    learned = np.isin(sample.days, early)
    evaluated = sample.days >= split
    for part, chosen in (("earlier", learned), ("later", evaluated)):
        lost = int(sample.churned[chosen].sum())
        why = backtest_metrics.too_few_reason(lost, int(chosen.sum()), question.entity, question.horizon)
        if why:
            return _none(question, f"in the {part} part, {why}")
    events = profile.scored
    fitted = weight_search.fit(np.log1p(plain[learned]), ~sample.churned[learned])
    found = weight_search.scale_weights(fitted.coefficients)
    now = np.array([float(event.weight) for event in events])
    gone = sample.churned[evaluated]
    resampling = Resampling(sample.only(evaluated).entities)
    before, after = decayed[evaluated] @ now, decayed[evaluated] @ found
    return Suggestion(
        profile=question.profile,
        entity=question.entity,
        horizon=question.horizon,
        learned_until=calendar.day_of(early[-1]),
        evaluated_from=calendar.day_of(split),
        learned_rows=int(learned.sum()),
        evaluated_rows=int(evaluated.sum()),
        weights=tuple(
            SuggestedWeight(
                event.event, float(event.weight), float(weight), int((plain[learned][:, position] > 0).sum())
            )
            for position, (event, weight) in enumerate(zip(events, found, strict=True))
        ),
        now=resampling.auc(gone, before),
        suggested=resampling.auc(gone, after),
        gain=resampling.difference(gone, after, before),
        why="" if found.any() else "no event goes with staying, so no weights are suggested",
    )


def _read_columns(
    con: duckdb.DuckDBPyConnection, profile: Profile, days: list[int], events: Relation, labelled: Relation
) -> tuple[Sample, Numbers, Numbers]:
    """The labelled rows, with a column per scored event: its decayed count, and the same count as the profile caps
    it."""
    values = ", ".join(
        f"({position}, '{escape_quotes(event.event)}', {event.per_day or 'NULL'}::BIGINT)"
        for position, event in enumerate(profile.scored)
    )
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE past_done AS
        WITH daily AS (
            SELECT c.key, w.position, c.day, sum(c.n) AS n, least(sum(c.n), any_value(w.per_day)) AS capped
            FROM {events} c JOIN (VALUES {values}) w(position, event, per_day) USING (event)
            GROUP BY c.key, c.user_no, w.position, c.day
        )
        SELECT d.key, s.target AS day, d.position, sum(d.n * s.factor) AS n, sum(d.capped * s.factor) AS capped
        FROM daily d JOIN {backtest_labels.decay_table(con, days, profile)} s USING (day) GROUP BY d.key, s.target, d.position
        """
    )
    chosen = ", ".join(
        f"coalesce(max(d.{column}) FILTER (d.position = {position}), 0)::DOUBLE AS {column}_{position}"
        for position in range(len(profile.scored))
        for column in ("n", "capped")
    )
    found = con.execute(
        f"""
        SELECT dense_rank() OVER (ORDER BY l.key) - 1 AS entity, l.day, any_value(l.churned) AS churned, {chosen}
        FROM {labelled} l LEFT JOIN past_done d ON d.key = l.key AND d.day = l.day
        GROUP BY l.key, l.day ORDER BY l.day, l.key
        """
    ).fetchnumpy()
    read = {name: np.ma.getdata(column) for name, column in found.items()}
    rows = len(read["day"])
    nothing = np.zeros(rows)
    sample = Sample(
        entities=read["entity"].astype(np.int64),
        days=read["day"].astype(np.int64),
        churned=read["churned"].astype(np.bool_),
        points=nothing,
        score=nothing,
        recency=nothing,
        count=nothing,
        level=np.full(rows, "", dtype=object),
    )
    plain = np.column_stack([read[f"n_{position}"] for position in range(len(profile.scored))])
    capped = np.column_stack([read[f"capped_{position}"] for position in range(len(profile.scored))])
    for position, event in enumerate(profile.scored):
        if event.per_window is not None:
            capped[:, position] = np.minimum(capped[:, position], event.per_window)
    return sample, plain, capped


def _none(question: BacktestRequest, why: str) -> Suggestion:
    return Suggestion(
        profile=question.profile,
        entity=question.entity,
        horizon=question.horizon,
        learned_until=None,
        evaluated_from=None,
        learned_rows=0,
        evaluated_rows=0,
        weights=(),
        now=None,
        suggested=None,
        gain=None,
        why=why,
    )
