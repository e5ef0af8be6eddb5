"""The scores and levels of many days, and the changes of level between them.

Most entities do nothing on most days. A day stores only the entities with activity; an entity that existed and has no
row on a day had the default score and level of the model.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import duckdb

from heatsync.scoring.compute.churn_levels import CHURN_DAYS, LevelBounds
from heatsync.scoring.compute.compiled_profile import CompiledProfile
from heatsync.scoring.compute.relations import PlacedCounts, Relation, create_empty
from heatsync.scoring.compute.scores import HYSTERESIS, escape_quotes
from heatsync.scoring.compute.weighting import Windows, entities_with_events, event_in
from heatsync.scoring.definition.profile import Profile


@dataclass(frozen=True, slots=True)
class DefaultScore:
    """The score and the level (by its position) of an entity without a row on a day. `known` is false when they are
    not known: the profile's filter looks at events, and an absent entity may not have passed it."""

    score: int | None
    level: int | None
    known: bool = True


def default_score(profile: Profile, dynamic_filter: bool) -> DefaultScore:
    """The default score and level of a profile. `dynamic_filter`: the filter looks at events."""
    if dynamic_filter:
        return DefaultScore(None, None, known=False)
    if profile.model == "kpi":
        return DefaultScore(None, None)
    low = [place for place, (_, bound) in enumerate(profile.levels.bands) if bound <= 0]
    return DefaultScore(0, max(low, default=None))


@dataclass(frozen=True, slots=True)
class LevelTables:
    """The days that are being computed, of an entity.

    daily      key, day, score, level, fitting: levels by position; `fitting` is the level without hysteresis
    changes    key, day, level_before, level: by name
    """

    daily: Relation
    changes: Relation


def create_level_tables(con: duckdb.DuckDBPyConnection, entity: str) -> LevelTables:
    """`{entity}_long` and `{entity}_moves`, without rows."""
    return LevelTables(
        create_empty(
            con,
            f"{entity}_long",
            key="INTEGER",
            day="BIGINT",
            score="SMALLINT",
            level="TINYINT",
            fitting="TINYINT",
        ),
        create_empty(
            con, f"{entity}_moves", key="INTEGER", day="BIGINT", level_before="VARCHAR", level="VARCHAR"
        ),
    )


def seen_entities(
    con: duckdb.DuckDBPyConnection,
    entity: str,
    placed: PlacedCounts,
    days: Sequence[int],
    passive: Sequence[str],
    among: str = "",
) -> Relation:
    """`{entity}_seen`: day, key of the entities with an event that is not passive in the thirty days that end with
    each day."""
    only = f" AND NOT {event_in(placed.counts.ids['event'], passive)}" if passive else ""
    return entities_with_events(con, f"{entity}_seen", entity, placed, Windows(CHURN_DAYS, days), among, only)


@dataclass(frozen=True, slots=True)
class LevelInputs:
    """The scored days of an entity, whose levels are to be added.

    levels            the tables that they are added to
    scored            the scores of the days
    seen              day, key of the entities seen; only for learned levels
    born              key, day: since when an entity exists
    existing          SQL: day, key of the entities that exist on each day
    continued_days    the days whose previous day is known
    default           score and level of an entity without a row
    bounds            by day, the bounds of learned levels
    """

    plan: CompiledProfile
    days: Sequence[int]
    levels: LevelTables
    scored: Relation
    seen: Relation | None
    born: Relation
    existing: str
    continued_days: Collection[int]
    default: DefaultScore
    bounds: Mapping[int, LevelBounds]


def add_levels(con: duckdb.DuckDBPyConnection, inputs: LevelInputs) -> None:
    """Add scores and levels to the daily table. Hysteresis reads the previous day from it."""
    profile, levels = inputs.plan.profile, inputs.plan.profile.levels
    default_score_sql = "NULL" if inputs.plan.model == "kpi" else "0"
    rows = f"SELECT day, key, score, raw, false AS seen FROM {inputs.scored}"
    if inputs.seen is not None:
        rows = (
            "SELECT day, key, coalesce(s.score, 0) AS score, coalesce(s.raw, 0) AS raw, n.key IS NOT NULL AS seen"
            f" FROM {inputs.scored} s FULL JOIN {inputs.seen} n USING (day, key)"
        )
    if not inputs.default.known:
        rows = (
            f"SELECT e.day, e.key, coalesce(x.score, {default_score_sql}) AS score, x.raw, coalesce(x.seen, false) AS seen"
            f" FROM ({inputs.existing}) e LEFT JOIN ({rows}) x ON x.key = e.key AND x.day = e.day"
        )
    fitting = _fitting_band(profile)
    if levels.churn:
        fitting = _LEARNED_LEVEL
        rows = (
            f"SELECT x.*, b.low, b.high FROM ({rows}) x JOIN {_bounds_table(inputs.bounds)} ON b.day = x.day"
        )
    source = f"SELECT *, ({fitting})::TINYINT AS fitting FROM ({rows})"
    if not levels.hysteresis:
        con.execute(
            f"INSERT INTO {inputs.levels.daily} SELECT key, day, score, fitting, fitting FROM ({source})"
        )
        return
    for day in inputs.days:
        _add_day_with_hysteresis(con, inputs, day, f"SELECT * FROM ({source}) WHERE day = {day}")


def _add_day_with_hysteresis(
    con: duckdb.DuckDBPyConnection, inputs: LevelInputs, day: int, source: str
) -> None:
    """Add a day with hysteresis: an entity leaves its level only when the score is clearly beyond the bound, or
    beyond it on two days in a row."""
    default_level = "NULL" if inputs.default.level is None else str(inputs.default.level)
    if day not in inputs.continued_days:
        con.execute(
            f"INSERT INTO {inputs.levels.daily} SELECT key, day, score, fitting, fitting FROM ({source})"
        )
        return
    compared = "b.key IS NOT NULL"
    if inputs.default.known:
        compared = f"(b.key IS NOT NULL OR coalesce(o.day <= {day - 1}, false))"
    stays = _beyond_bound(inputs.plan.profile, inputs.bounds.get(day))
    con.execute(
        f"""
        INSERT INTO {inputs.levels.daily}
        WITH beside AS (
            SELECT f.*, {compared} AS compared,
                   CASE WHEN b.key IS NULL THEN {default_level} ELSE b.level END AS held,
                   CASE WHEN b.key IS NULL THEN {default_level} ELSE b.fitting END AS fitted
            FROM ({source}) f
            LEFT JOIN (FROM {inputs.levels.daily} WHERE day = {day - 1}) b ON b.key = f.key
            LEFT JOIN {inputs.born} o ON o.key = f.key
        )
        SELECT key, {day}, score,
               CASE WHEN NOT compared OR fitting IS NULL OR held IS NULL OR fitting = held
                         OR fitted IS DISTINCT FROM held OR ({stays})
                    THEN fitting ELSE held END, fitting
        FROM beside
        """
    )


def add_level_changes(con: duckdb.DuckDBPyConnection, inputs: LevelInputs) -> None:
    """Add the changes of level since the previous day, for the days whose previous day is known."""
    days = [day for day in inputs.days if day in inputs.continued_days]
    if not days:
        return
    names = inputs.plan.profile.levels.names
    default_level = "NULL" if inputs.default.level is None else str(inputs.default.level)

    def name(place: str) -> str:
        cases = " ".join(f"WHEN {n} THEN '{escape_quotes(each)}'" for n, each in enumerate(names))
        return f"CASE {place} {cases} END"

    among = ", ".join(map(str, days))
    alive = (
        f"JOIN {inputs.born} b ON b.key = changed.key AND b.day < changed.day"
        if inputs.default.known
        else "WHERE was AND is_now"
    )
    con.execute(
        f"""
        INSERT INTO {inputs.levels.changes}
        WITH beside AS (
            SELECT coalesce(x.key, y.key) AS key, coalesce(x.day, y.day) AS day,
                   x.key IS NOT NULL AS was, y.key IS NOT NULL AS is_now,
                   CASE WHEN x.key IS NULL THEN {default_level} ELSE x.level END AS before,
                   CASE WHEN y.key IS NULL THEN {default_level} ELSE y.level END AS now
            FROM (SELECT key, day + 1 AS day, level FROM {inputs.levels.daily} WHERE day + 1 IN ({among})) x
            FULL JOIN (SELECT key, day, level FROM {inputs.levels.daily} WHERE day IN ({among})) y
            ON x.key = y.key AND x.day = y.day
        ),
        changed AS (FROM beside WHERE before IS DISTINCT FROM now)
        SELECT changed.key, changed.day, {name("before")}, {name("now")} FROM changed {alive}
        """
    )


def _fitting_band(profile: Profile) -> str:
    cases = " ".join(
        f"WHEN score >= {low} THEN {place}"
        for place, (_, low) in reversed(list(enumerate(profile.levels.bands)))
    )
    return f"CASE {cases} END"


_LEARNED_LEVEL = (
    "CASE WHEN NOT seen THEN NULL WHEN coalesce(raw, 0) = 0 THEN 0 WHEN low IS NULL OR high IS NULL OR raw <= low THEN 1"
    " WHEN raw > high THEN 3 ELSE 2 END"
)
"""The position of a learned level; without bounds, an engaged entity is Low."""


def _bounds_table(bounds: Mapping[int, LevelBounds]) -> str:
    """Bounds as a relation `b`: day, low, high. A raw score is a whole number: it is above a bound when it is above
    the whole part."""
    shown = {
        day: [
            "NULL" if bound is None else str(bound.numerator // bound.denominator)
            for bound in (each.low, each.high)
        ]
        for day, each in bounds.items()
    }
    rows = ", ".join(
        f"({day}::BIGINT, {low}::HUGEINT, {high}::HUGEINT)" for day, (low, high) in shown.items()
    )
    return f"(VALUES {rows}) b(day, low, high)"


def _beyond_bound(profile: Profile, bounds: LevelBounds | None) -> str:
    """SQL: whether the score is so far beyond the bound of its level that the entity leaves the level at once."""
    crossed: dict[int, tuple[Fraction | int | None, Fraction | int | None]]
    if profile.levels.churn:
        if bounds is None or bounds.low is None or bounds.high is None:
            return "true"
        crossed = {1: (None, bounds.low), 2: (bounds.low, bounds.high), 3: (bounds.high, None)}
        number, cases = "raw", ["fitting = 0", "held = 0"]
    else:
        lows: list[int | None] = [low for _, low in profile.levels.bands]
        crossed = dict(enumerate(zip(lows, [*lows[1:], None], strict=True)))
        number, cases = "score", ["false"]
    for place, (below, above) in crossed.items():
        # Scores are whole numbers: at or above a bound means at or above the next whole number.
        if above is not None:
            cases.append(
                f"(held = {place} AND fitting > held AND {number} >= {ceil(above * (1 + HYSTERESIS))})"
            )
        if below is not None:
            cases.append(
                f"(held = {place} AND fitting < held AND {number} < {ceil(below * (1 - HYSTERESIS))})"
            )
    return " OR ".join(cases)
