"""Which entities churned: the rows that a backtest evaluates, from past events and scores.

Relations are passed as values. `scores` are those of `ProfileRun.score_days`: key, day, raw, nano, score, level; an
entity without a row has a score of 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heatsync.analysis.backtest_metrics import Concentration, Sample, Stability, top_share
from heatsync.scoring.compute import calendar, churn_levels
from heatsync.scoring.compute.arrow import load_arrow
from heatsync.scoring.compute.compiled_profile import NANO
from heatsync.scoring.compute.relations import Relation
from heatsync.scoring.compute.scores import escape_quotes
from heatsync.scoring.definition import condition_types
from heatsync.scoring.definition.levels import CHURN
from heatsync.scoring.definition.profile import Profile
from heatsync.snapshots.profile_run import ScoredDays

MAX_ROWS = 2_000_000
"""The most rows that are evaluated; with more, whole entities are left out by a hash of their key."""
STABILITY_DAYS = 28
"""Over how many days the stability of a score is measured."""
ACTIVE_DAYS = 30
"""An entity that is not seen for so many days has no learned level."""


@dataclass(frozen=True, slots=True)
class PastEvents:
    """An entity's events as far back as a backtest looks.

    first, last    the first and the last day with an event of any kind
    events         key, user_no, event, day, n, passive
    seen           key, day, n: events not marked passive
    """

    first: int
    last: int
    events: Relation
    seen: Relation


def default_level(profile: Profile, recency: str) -> str:
    """SQL: the level of an entity without a row in the scores, whose score is 0."""
    if profile.levels.kind == "churn":
        return f"CASE WHEN {recency} < {ACTIVE_DAYS} THEN 'None' ELSE '' END"
    name = next((name for name, low in profile.levels.bands if low <= 0), "")
    return f"'{escape_quotes(name)}'"


def raw_decides_score(profile: Profile, entity: str) -> bool:
    """Whether raw scores can stand for scores: not when a score consists of several raw scores, or of signals too."""
    averaged = entity == "account" and profile.model == "weighted" and profile.rollup == "average"
    return profile.model != "kpi" and not profile.signals and not averaged


def decay_table(con: duckdb.DuckDBPyConnection, days: Sequence[int], profile: Profile) -> str:
    """SQL: target, day and factor of the days of the windows that end with each of `days`. `target` is the last day of
    a window, `factor` (0 to 1) what an event of `day` counts there after decay."""
    windows = load_arrow(con, "windows", calendar.window_days(days, profile.window, profile.decay))
    return f"(SELECT target, day, factor::DOUBLE / {calendar.DECAY_UNIT} AS factor FROM {windows})"


def sampling_rate(con: duckdb.DuckDBPyConnection, seen: Relation, snapshots: int) -> int:
    """N where one of N entities is evaluated, so that `snapshots` days have at most MAX_ROWS rows."""
    (count,) = con.execute(f"SELECT count(DISTINCT key) FROM {seen}").fetchone() or (0,)
    return max(1, -(-int(count) * snapshots // MAX_ROWS))


def label_churn(
    con: duckdb.DuckDBPyConnection,
    seen: Relation,
    days: Sequence[int],
    window: int,
    horizon: int,
    one_in: int = 1,
) -> Relation:
    """`labelled`: key, day, count, recency, churned; a row for each entity seen in the window that ends with each day.

    `count` is how many events it had in the window, `recency` how many days ago the last one was; it has churned when
    it is not seen in the `horizon` days after. Of the entities, one in `one_in` is taken, by a hash of its key.
    """
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE labelled AS
        WITH around AS (
            SELECT as_of, as_of + step AS day
            FROM (SELECT unnest(?::BIGINT[]) AS as_of)
            CROSS JOIN (SELECT unnest(range(?::BIGINT, ?::BIGINT)) AS step)
        )
        SELECT s.key, a.as_of AS day, sum(s.n) FILTER (s.day <= a.as_of)::DOUBLE AS count,
               a.as_of - max(s.day) FILTER (s.day <= a.as_of) AS recency,
               NOT bool_or(s.day > a.as_of) AS churned
        FROM {seen} s JOIN around a USING (day)
        WHERE hash(s.key) % {one_in} = 0
        GROUP BY s.key, a.as_of HAVING count(*) FILTER (s.day <= a.as_of) > 0
        """,
        [list(days), 1 - window, horizon + 1],
    )
    return Relation("labelled", ("key", "day", "count", "recency", "churned"))


def apply_filter(
    con: duckdb.DuckDBPyConnection, profile: Profile, labelled: Relation, scored: ScoredDays
) -> None:
    """Delete the rows of `labelled` that do not pass the profile's filter. With a filter that looks at events, only
    entities with a score are known to pass."""
    if profile.filter is None:
        return
    if any(
        isinstance(part, condition_types.Events | condition_types.Time)
        for _, part in condition_types.walk(profile.filter)
    ):
        con.execute(
            f"DELETE FROM {labelled} WHERE (key, day) NOT IN (SELECT (key, day) FROM {scored.scores})"
        )
    else:
        con.execute(f"DELETE FROM {labelled} WHERE key NOT IN (SELECT id FROM {scored.base})")


def read_sample(
    con: duckdb.DuckDBPyConnection,
    profile: Profile,
    entity: str,
    labelled: Relation,
    scores: Relation,
    where: str = "true",
) -> Sample:
    """The labelled rows with the scores that they had. `where` is SQL over l (labelled) and s (the scores)."""
    found = con.execute(
        f"""
        SELECT dense_rank() OVER (ORDER BY l.key) - 1 AS entity, l.day, l.churned, coalesce(s.nano, 0) / {NANO}.0 AS score,
               coalesce(s.{"raw" if raw_decides_score(profile, entity) else "nano"}, 0)::DOUBLE AS points,
               l.recency::DOUBLE AS recency, l.count,
               coalesce(CASE WHEN s.key IS NULL THEN {default_level(profile, "l.recency")} ELSE s.level END, '') AS level
        FROM {labelled} l LEFT JOIN {scores} s ON s.key = l.key AND s.day = l.day
        WHERE {where} ORDER BY l.day, l.key
        """
    ).fetchnumpy()
    plain = {name: np.ma.getdata(values) for name, values in found.items()}
    return Sample(
        entities=plain["entity"].astype(np.int64),
        days=plain["day"].astype(np.int64),
        churned=plain["churned"].astype(np.bool_),
        points=plain["points"].astype(np.float64),
        score=plain["score"].astype(np.float64),
        recency=plain["recency"].astype(np.float64),
        count=plain["count"].astype(np.float64),
        level=plain["level"].astype(object),
    )


def learned_levels(con: duckdb.DuckDBPyConnection, sample: Sample, split: int) -> npt.NDArray[np.object_]:
    """The level of each row, by bounds learned from the rows before the day `split`."""
    early = sample.days < split
    rows = pa.table({"e": sample.points[early].astype(np.int64), "churned": sample.churned[early]})
    learning = str(load_arrow(con, "learning", rows))
    bounds = churn_levels.level_bounds(con, [churn_levels.estimate_lower_bound(con, learning)], learning)
    low = np.inf if bounds.low is None else float(bounds.low)
    high = np.inf if bounds.high is None else float(bounds.high)
    none, lowest, middle, highest = CHURN
    engaged = np.where(sample.points <= low, lowest, np.where(sample.points <= high, middle, highest))
    found = np.where(sample.points > 0, engaged, np.where(sample.recency < ACTIVE_DAYS, none, ""))
    return found.astype(object)


def measure_stability(con: duckdb.DuckDBPyConnection, profile: Profile, scores: Relation) -> Stability:
    """How much scores move from one day to the next, among the entities with a row on either day."""
    default = default_level(profile, str(ACTIVE_DAYS))
    found = con.execute(
        f"""
        WITH days AS (SELECT DISTINCT day FROM {scores}),
        pairs AS (
            SELECT coalesce(a.day, b.day + 1) AS day, coalesce(a.score, 0) - coalesce(b.score, 0) AS moved,
                   coalesce(CASE WHEN a.key IS NULL THEN {default} ELSE a.level END, '')
                   <> coalesce(CASE WHEN b.key IS NULL THEN {default} ELSE b.level END, '') AS flipped
            FROM {scores} a FULL JOIN {scores} b ON a.key = b.key AND a.day = b.day + 1
        )
        SELECT avg(abs(moved)), avg(flipped::BIGINT), count(DISTINCT day) FROM pairs
        WHERE day IN (SELECT day FROM days) AND day - 1 IN (SELECT day FROM days)
        """
    ).fetchone()
    if found is None or found[0] is None:
        return Stability(None, None, 0)
    return Stability(float(found[0]), 100 * 7 * float(found[1]), int(found[2]))


def concentration(con: duckdb.DuckDBPyConnection, relation: str) -> Concentration | None:
    """How much of all raw points the strongest event and the top tenth of entities have. `relation` has key, event
    and points. None without points."""
    strongest = con.execute(
        f"SELECT event, sum(points) AS points, sum(sum(points)) OVER () FROM {relation} GROUP BY event"
        " ORDER BY points DESC, event LIMIT 1"
    ).fetchone()
    if strongest is None or not strongest[2]:
        return None
    points = con.execute(
        f"SELECT sum(points)::DOUBLE AS points FROM {relation} GROUP BY key HAVING sum(points) > 0"
    ).fetchnumpy()["points"]
    share = float(strongest[1]) / float(strongest[2])
    return Concentration(str(strongest[0]), share, top_share(np.asarray(np.ma.getdata(points))))
