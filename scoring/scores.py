"""Stage 2, at home: from what a window comes to, to the score and the level of one day.

Reads `{entity}_raw` (scoring.worth), `placement`, `{entity}_signals` (key, and `signal_N` in billionths of a point or
nothing), for kpi `{entity}_present` (key: who has an event in the window), and leaves

    {entity}_scored   key, raw, nano (unrounded, in billionths), base (the same before signals), points, score

of everybody who has something to say: who was active, and with signals everybody who has one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import duckdb

from scoring.calendar import FULL
from scoring.plan import NANO, VALUE, Plan, thing_of
from scoring.profile import Profile
from scoring.signals import Signal
from scoring.touchpoints import Touchpoint

SHRINK = 50
"""Impressions of the pooled rate that each entity's own rate is mixed with."""
HYSTERESIS = 0.05
"""Share of a bound by which a score must lie beyond it, for the level to be left at once."""


@dataclass(frozen=True, slots=True)
class Having:
    """A signal that an entity can have, and the SQL of its value in billionths of a point, over `k` (key)."""

    signal: Signal
    sql: str


def touchpoints(plan: Plan) -> tuple[Touchpoint, ...]:
    """Those that weigh anything: their place here is the part that their benchmark is kept under."""
    return tuple(each for each in plan.profile.touchpoints if each.weight > 0)


def tabulate(con: duckdb.DuckDBPyConnection, plan: Plan, entity: str) -> None:
    """`{entity}_x` of `kpi`: key, and what each touchpoint comes to, `x_N`: decayed counts, or a shrunken rate."""
    sums = {
        thing.place: f"coalesce(max(raw) FILTER (part = {thing.place}), 0)::DOUBLE / {FULL * VALUE}.0"
        for thing in plan.things
    }
    columns = ", ".join(f"{sql} AS sum_{place}" for place, sql in sums.items())
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {entity}_sums AS SELECT p.key, {columns}"
        f" FROM {entity}_present p LEFT JOIN {entity}_raw r ON r.key = p.key GROUP BY p.key"
    )
    shown = []
    for place, touchpoint in enumerate(touchpoints(plan)):
        above = f"sum_{thing_of(plan, touchpoint.of).place}"
        if touchpoint.to is None:
            shown.append(f"{above} AS x_{place}")
            continue
        below = f"sum_{thing_of(plan, touchpoint.to).place}"
        pooled = con.execute(
            f"SELECT sum({above}::DECIMAL(38, 9))::DOUBLE, sum({below}::DECIMAL(38, 9))::DOUBLE FROM {entity}_sums"
        ).fetchone()
        counted, of = pooled if pooled is not None and pooled[1] else (0.0, 0.0)
        rate = counted / of if of else 0.0
        shown.append(
            f"CASE WHEN {below} > 0 THEN ({above} + {SHRINK * rate!r}) / ({below} + {SHRINK}) ELSE 0 END AS x_{place}"
            if of
            else f"NULL::DOUBLE AS x_{place}"
        )
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {entity}_x AS SELECT key, {', '.join(shown)} FROM {entity}_sums"
    )


def parts(con: duckdb.DuckDBPyConnection, plan: Plan, entity: str) -> dict[int, str]:
    """What benchmarks are measured of: per part a relation with `raw`. One part, but for `kpi`: there those with data."""
    if plan.model != "kpi":
        return {0: f"{entity}_raw"}
    found: dict[int, str] = {}
    for place, touchpoint in enumerate(touchpoints(plan)):
        below = None if touchpoint.to is None else f"sum_{thing_of(plan, touchpoint.to).place}"
        there = f"x_{place} > 0" if below is None else f"x_{place} IS NOT NULL"
        row = con.execute(f"SELECT count(*) FROM {entity}_x WHERE {there}").fetchone()
        if row is not None and row[0]:
            found[place] = f"(SELECT x_{place} AS raw FROM {entity}_x)"
    return found


def score(
    con: duckdb.DuckDBPyConnection,
    plan: Plan,
    entity: str,
    benchmarks: Mapping[int, float],
    signals: Sequence[Having],
) -> None:
    """`{entity}_scored` of one day. `benchmarks` are in points, by part; in `kpi` of the parts that have data."""
    if plan.model == "kpi":
        base = _touched(con, plan, entity, benchmarks)
        something = "true"
    elif plan.model == "weighted" and entity == "account" and plan.profile.rollup == "average":
        base = """
            SELECT p.account_no AS key, sum(u.raw)::HUGEINT AS raw, sum(u.raw)::HUGEINT AS points,
                   ((sum(u.base) + count(*) // 2) // count(*))::BIGINT AS base
            FROM user_scored u JOIN placement p ON p.user_no = u.key WHERE u.active GROUP BY p.account_no
        """
        something = f"{benchmarks.get(0, 1.0)!r} <> 0"
    else:
        bench = benchmarks.get(0, 0.0)
        base = (
            f"SELECT key, raw, raw AS points, {normalized(plan.profile, 'raw', f'{NANO}.0', bench)} AS base"
            f" FROM {entity}_raw"
        )
        something = f"{bench!r} <> 0" if plan.profile.normalize.kind != "percentile" else "true"
    if not signals:
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE {entity}_scored AS"
            f" SELECT key, raw, base, base AS nano, points, true AS active, {_shown('base', f'points > 0 AND {something}')} AS score"
            f" FROM ({base})"
        )
        return
    given = ", ".join(f"{having.sql} AS signal_{place}" for place, having in enumerate(signals))
    weights = [float(having.signal.weight / Decimal(100)) for having in signals]
    present = [f"(signal_{place} IS NOT NULL)" for place in range(len(signals))]
    share = " + ".join(
        f"{present[place]}::INTEGER * {weight!r}::DOUBLE" for place, weight in enumerate(weights)
    )
    added = " + ".join(
        f"coalesce(signal_{place}, 0) * {weight!r}::DOUBLE" for place, weight in enumerate(weights)
    )
    anybody = "JOIN" if plan.model == "kpi" else "LEFT JOIN"
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {entity}_scored AS
        WITH having_it AS (SELECT k.key, {given} FROM {entity}_existing k LEFT JOIN placement p ON p.user_no = k.key),
        beside AS (
            SELECT h.*, b.raw, b.points, coalesce(b.base, 0) AS base, b.key IS NOT NULL AS active,
                   ({" OR ".join(present)}) AS judged
            FROM having_it h {anybody} ({base}) b ON b.key = h.key
        ),
        mixed AS (
            SELECT *, round((1 - ({share})) * base + {added})::BIGINT AS nano FROM beside
        )
        SELECT key, raw, base, nano, points, active,
               {_shown("nano", f"NOT judged AND points > 0 AND {something}")} AS score
        FROM mixed WHERE active OR judged
        """
    )


def normalized(profile: Profile, raw: str, unit: str, benchmark: float) -> str:
    """The unrounded score in billionths, among the rows of the relation."""
    if profile.normalize.kind == "percentile":
        ranked = f"(PARTITION BY {raw} > 0 ORDER BY {raw})"
        return f"CASE WHEN {raw} > 0 THEN round(100e9 * percent_rank() OVER {ranked})::BIGINT ELSE 0 END"
    if not benchmark:
        return "0::BIGINT"
    ratio = f"({raw}::DOUBLE / {unit} / {benchmark!r})"
    found = (
        f"least(100e9, 100e9 * {ratio})"
        if profile.normalize.kind == "winsor"
        else f"100e9 * (1 - pow(10.0, -{ratio}))"
    )
    return f"CASE WHEN {raw} > 0 THEN round({found})::BIGINT ELSE 0 END"


def shares(plan: Plan, benchmarks: Mapping[int, float]) -> dict[int, float]:
    """What part of the score each touchpoint with data makes up."""
    weights = {place: touchpoints(plan)[place].weight for place in benchmarks}
    total = sum(weights.values(), Decimal(0))
    return {place: float(weight / total) for place, weight in weights.items()}


def _touched(con: duckdb.DuckDBPyConnection, plan: Plan, entity: str, benchmarks: Mapping[int, float]) -> str:
    """The weighted mean of the touchpoints that have data; leaves `{entity}_normal` with each as `s_N`."""
    normal = "".join(
        f", {normalized(plan.profile, f'x_{place}', '1.0', bench)} AS s_{place}"
        for place, bench in benchmarks.items()
    )
    con.execute(f"CREATE OR REPLACE TEMP TABLE {entity}_normal AS SELECT *{normal} FROM {entity}_x")
    mean = " + ".join(f"s_{place} * {share!r}::DOUBLE" for place, share in shares(plan, benchmarks).items())
    return (
        f"SELECT *, NULL::HUGEINT AS raw, base AS points FROM"
        f" (SELECT *, round({mean or '0.0'})::BIGINT AS base FROM {entity}_normal)"
    )


def _shown(nano: str, something: str) -> str:
    """The score as people see it: a whole number, halves rounded up, at least 1 for anything at all."""
    rounded = f"({nano} + {NANO // 2}) // {NANO}"
    return f"CASE WHEN {nano} > 0 OR ({something}) THEN greatest(1, {rounded}) ELSE 0 END::BIGINT"


def band(profile: Profile, score: str) -> str:
    """The name of the highest band that begins at or below the score."""
    cases = " ".join(
        f"WHEN {score} >= {low} THEN '{quoted(name)}'" for name, low in reversed(profile.levels.bands)
    )
    return f"CASE {cases} END" if cases else "NULL::VARCHAR"


def trend(score: str, before: str) -> str:
    """What became of the shown score in 30 days."""
    change = f"(coalesce({score}, 0) - {before})"
    return (
        f"CASE WHEN {before} IS NULL THEN CASE WHEN {score} IS NOT NULL THEN 'New' END"
        f" WHEN {change} <= -10 THEN 'Cooling' WHEN {change} < 10 THEN 'Neutral'"
        f" WHEN {change} < 25 THEN 'Heating' ELSE 'Surging' END"
    )


def quoted(text: str) -> str:
    return text.replace("'", "''")
