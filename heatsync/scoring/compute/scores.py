"""From the totals of windows to the scores of days."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import duckdb

from heatsync.scoring.compute.calendar import DECAY_UNIT
from heatsync.scoring.compute.compiled_profile import NANO, VALUE_UNIT, CompiledProfile, item_of
from heatsync.scoring.compute.relations import Relation, create_table
from heatsync.scoring.definition.profile import Profile
from heatsync.scoring.definition.signals import Signal
from heatsync.scoring.definition.touchpoints import Touchpoint

RATE_PRIOR = 50
"""How many impressions at the pooled rate each entity's own rate is mixed with (shrinkage)."""
HYSTERESIS = Fraction(5, 100)
"""The share of a bound by which a score must be beyond it for the level to change at once."""

SCORE_COLUMNS = ("day", "key", "raw", "base", "nano", "points", "active", "score")
"""The columns of scores."""

Benchmarks = Mapping[int, Mapping[int, float]]
"""By day and part, in points; only parts with data."""


@dataclass(frozen=True, slots=True)
class SignalValue:
    """A signal of an entity, and the SQL of its value in billionths of a point. The SQL reads `k` (key) and `p`, the
    placement of users."""

    signal: Signal
    sql: str


@dataclass(frozen=True, slots=True)
class EntityTotals:
    """The totals of the windows of some days, of an entity.

    raw            day, key, part, raw (weighting.sum_windows); no rows for accounts whose score is the average of their users
    touchpoints    only `kpi`: day, key, x_N: the total of each touchpoint
    """

    raw: Relation
    touchpoints: Relation | None = None


@dataclass(frozen=True, slots=True)
class ExistingEntities:
    """The entities that exist: `born` (key, day: since when) and `placement` (user_no, account_no)."""

    born: Relation
    placement: Relation


@dataclass(frozen=True, slots=True)
class ScoreTables:
    """The scores of some days, of the entities that were active or have a signal.

    scores    day, key, raw, base (before signals), nano (unrounded, in billionths), points, active, score
    normal    only `kpi`: day, key, x_N, b_N, w_N and s_N, the score of each touchpoint in billionths
    """

    scores: Relation
    normal: Relation | None = None


def weighted_touchpoints(plan: CompiledProfile) -> tuple[Touchpoint, ...]:
    """The touchpoints with a weight. The position here is the part under which a benchmark is stored."""
    return tuple(each for each in plan.profile.touchpoints if each.weight > 0)


def touchpoint_totals(
    con: duckdb.DuckDBPyConnection, plan: CompiledProfile, entity: str, present: Relation, raw: Relation
) -> Relation:
    """`{entity}_x` of `kpi`: day, key, x_N: the total of each touchpoint, a decayed count or a shrunken rate (NULL
    when no entity has the denominator). `present`: day, key of the entities with an event in the window.

    A rate is (numerator + m * pooled rate) / (denominator + m), with m = RATE_PRIOR.
    """
    sums = ", ".join(
        f"coalesce(max(raw) FILTER (part = {item.place}), 0)::DOUBLE / {DECAY_UNIT * VALUE_UNIT}.0 AS sum_{item.place}"
        for item in plan.items
    )
    together = ", ".join(
        f"sum(sum_{item.place}::DECIMAL(38, 9))::DOUBLE AS all_{item.place}" for item in plan.items
    )
    shown = []
    for place, touchpoint in enumerate(weighted_touchpoints(plan)):
        above = item_of(plan, touchpoint.of).place
        if touchpoint.to is None:
            shown.append(f"sum_{above} AS x_{place}")
            continue
        below = item_of(plan, touchpoint.to).place
        shown.append(
            f"CASE WHEN all_{below} > 0 THEN CASE WHEN sum_{below} > 0 THEN"
            f" (sum_{above} + {RATE_PRIOR} * (all_{above} / all_{below})) / (sum_{below} + {RATE_PRIOR}) ELSE 0 END END"
            f" AS x_{place}"
        )
    columns = ["day", "key", *(f"x_{place}" for place in range(len(shown)))]
    return create_table(
        con,
        f"{entity}_x",
        columns,
        f"""
        WITH sums AS (
            SELECT p.day, p.key, {sums} FROM {present} p
            LEFT JOIN {raw} r ON r.key = p.key AND r.day = p.day GROUP BY p.day, p.key
        ),
        pooled AS (SELECT day, {together} FROM sums GROUP BY day)
        SELECT day, key, {", ".join(shown)} FROM sums JOIN pooled USING (day)
        """,
    )


def parts_with_data(
    con: duckdb.DuckDBPyConnection, plan: CompiledProfile, totals: EntityTotals, days: Sequence[int]
) -> dict[int, tuple[int, ...]]:
    """By day, the parts with data: part 0 alone, but in `kpi` one part per touchpoint."""
    if totals.touchpoints is None:
        return dict.fromkeys(days, (0,))
    there = ", ".join(
        f"count(*) FILTER ({f'x_{place} > 0' if touchpoint.to is None else f'x_{place} IS NOT NULL'})"
        for place, touchpoint in enumerate(weighted_touchpoints(plan))
    )
    found: dict[int, tuple[int, ...]] = dict.fromkeys(days, ())
    for day, *counts in con.execute(f"SELECT day, {there} FROM {totals.touchpoints} GROUP BY day").fetchall():
        found[day] = tuple(place for place, count in enumerate(counts) if count)
    return found


def benchmark_relation(totals: EntityTotals, part: int) -> str:
    """SQL: the relation (day, raw) that the benchmark of a part is measured on."""
    if totals.touchpoints is None:
        return str(totals.raw)
    return f"(SELECT day, x_{part} AS raw FROM {totals.touchpoints})"


@dataclass(frozen=True, slots=True)
class ScoreInputs:
    """The input of `compute_scores`. `users`, for accounts, are the scores of their users on the same days. `among`
    is SQL that keeps the entities that count, appended to a relation with day and key."""

    plan: CompiledProfile
    entity: str
    totals: EntityTotals
    existing: ExistingEntities
    signals: Sequence[SignalValue]
    among: str = ""
    users: ScoreTables | None = None


def compute_scores(
    con: duckdb.DuckDBPyConnection, inputs: ScoreInputs, benchmarks: Benchmarks
) -> ScoreTables:
    """`{entity}_scored` of the days of the benchmarks; for `kpi` also `{entity}_normal`.

    With signals, the score is (1 - W) * S + sum of w_i * signal_i, where W is the total weight of the signals that
    the entity has.
    """
    base, normal = _base(con, inputs, benchmarks)
    name = f"{inputs.entity}_scored"
    if not inputs.signals:
        scored = create_table(
            con,
            name,
            SCORE_COLUMNS,
            f"SELECT day, key, raw, base, base AS nano, points, true AS active,"
            f" {_shown('base', 'points > 0 AND something')} AS score FROM ({base}){inputs.among}",
        )
        return ScoreTables(scored, normal)
    given = ", ".join(f"{having.sql} AS signal_{place}" for place, having in enumerate(inputs.signals))
    weights = [float(having.signal.weight / Decimal(100)) for having in inputs.signals]
    present = [f"(signal_{place} IS NOT NULL)" for place in range(len(inputs.signals))]
    share = " + ".join(
        f"{present[place]}::INTEGER * {weight!r}::DOUBLE" for place, weight in enumerate(weights)
    )
    added = " + ".join(
        f"coalesce(signal_{place}, 0) * {weight!r}::DOUBLE" for place, weight in enumerate(weights)
    )
    join = "JOIN" if inputs.plan.model == "kpi" else "LEFT JOIN"
    scored = create_table(
        con,
        name,
        SCORE_COLUMNS,
        f"""
        WITH with_signals AS (
            SELECT k.day, k.key, {given} FROM ({existing_entities(inputs.existing.born, list(benchmarks), inputs.among)}) k
            LEFT JOIN {inputs.existing.placement} p ON p.user_no = k.key
        ),
        beside AS (
            SELECT h.*, b.raw, b.points, b.something, coalesce(b.base, 0) AS base, b.key IS NOT NULL AS active,
                   ({" OR ".join(present)}) AS has_signal
            FROM with_signals h {join} ({base}) b ON b.key = h.key AND b.day = h.day
        ),
        mixed AS (
            SELECT *, round((1 - ({share})) * base + {added})::BIGINT AS nano FROM beside
        )
        SELECT day, key, raw, base, nano, points, active,
               {_shown("nano", "NOT has_signal AND points > 0 AND something")} AS score
        FROM mixed WHERE active OR has_signal
        """,
    )
    return ScoreTables(scored, normal)


def _base(
    con: duckdb.DuckDBPyConnection, inputs: ScoreInputs, benchmarks: Benchmarks
) -> tuple[str, Relation | None]:
    """SQL: day, key, raw, points, base (the score before signals, in billionths), something; for `kpi` also the
    scores of the touchpoints."""
    plan, bench = inputs.plan, _benchmark_values(inputs.plan, benchmarks)
    if inputs.totals.touchpoints is not None:
        normal = _normalize_touchpoints(con, inputs, bench)
        mean = " + ".join(
            f"s_{part} * coalesce(w_{part}, 0.0)" for part in range(len(weighted_touchpoints(plan)))
        )
        return (
            f"SELECT day, key, NULL::HUGEINT AS raw, base, base AS points, true AS something FROM"
            f" (SELECT *, round({mean or '0.0'})::BIGINT AS base FROM {normal})"
        ), normal
    if plan.model == "weighted" and inputs.entity == "account" and plan.profile.rollup == "average":
        assert inputs.users is not None
        return (
            f"""
            SELECT u.day, p.account_no AS key, sum(u.raw)::HUGEINT AS raw, sum(u.raw)::HUGEINT AS points,
                   ((sum(u.base) + count(*) // 2) // count(*))::BIGINT AS base,
                   coalesce(any_value(b.b_0), 1.0) <> 0 AS something
            FROM {inputs.users.scores} u JOIN {inputs.existing.placement} p ON p.user_no = u.key JOIN {bench} ON b.day = u.day
            WHERE u.active GROUP BY u.day, p.account_no
        """,
            None,
        )
    something = "true" if plan.profile.normalize.kind == "percentile" else "b.b_0 <> 0"
    return (
        f"SELECT r.day, key, raw, raw AS points, {normalized(plan.profile, 'raw', f'{NANO}.0', 'b.b_0')} AS base,"
        f" {something} AS something FROM {inputs.totals.raw} r JOIN {bench} ON b.day = r.day"
    ), None


def existing_entities(born: Relation, days: Sequence[int], among: str = "") -> str:
    """SQL: day, key of the entities that exist on each day."""
    rows = ", ".join(f"({day}::BIGINT)" for day in days)
    return f"FROM (SELECT t.day, n.key FROM {born} n JOIN (VALUES {rows}) t(day) ON n.day <= t.day){among}"


def normalized(profile: Profile, raw: str, unit: str, benchmark: str) -> str:
    """SQL: the unrounded score in billionths of a point. `raw` is SQL over the rows `r` of a day, `unit` how many
    units make a point, `benchmark` (B) is SQL in points.

    `exponential` and `target`: 100 * (1 - 10^(-R/B)). `winsor`: min(100, 100 * R/B). `percentile`: 100 * percent_rank
    among R > 0.
    """
    if profile.normalize.kind == "percentile":
        # Values that are equal by definition must tie here; raw scores are whole billionths already.
        order = raw if unit != "1.0" else f"round({raw}, 9)"
        ranked = f"(PARTITION BY r.day, {raw} > 0 ORDER BY {order})"
        return f"CASE WHEN {raw} > 0 THEN round(100e9 * percent_rank() OVER {ranked})::BIGINT ELSE 0 END"
    ratio = f"({raw}::DOUBLE / {unit} / {benchmark})"
    found = (
        f"least(100e9, 100e9 * {ratio})"
        if profile.normalize.kind == "winsor"
        else f"100e9 * (1 - pow(10.0, -{ratio}))"
    )
    return f"CASE WHEN {raw} > 0 AND {benchmark} > 0 THEN round({found})::BIGINT ELSE 0 END"


def touchpoint_shares(plan: CompiledProfile, benchmarks: Mapping[int, float]) -> dict[int, float]:
    """By part, the share of the score that each touchpoint with data makes up; the shares add up to 1."""
    weights = {place: weighted_touchpoints(plan)[place].weight for place in benchmarks}
    total = sum(weights.values(), Decimal(0))
    return {place: float(weight / total) for place, weight in weights.items()}


def _benchmark_values(plan: CompiledProfile, benchmarks: Benchmarks) -> str:
    """The benchmarks as a relation `b`: day, b_N, and in `kpi` the share of each part, w_N."""
    known = range(len(weighted_touchpoints(plan)) if plan.model == "kpi" else 1)
    rows = []
    for day, values in benchmarks.items():
        share = touchpoint_shares(plan, values) if plan.model == "kpi" else {}
        cells = [values.get(part) for part in known] + [
            share.get(part) for part in known if plan.model == "kpi"
        ]
        shown = ["NULL::DOUBLE" if cell is None else f"{cell!r}::DOUBLE" for cell in cells]
        rows.append(f"({day}::BIGINT, {', '.join(shown)})")
    names = [f"b_{part}" for part in known] + [f"w_{part}" for part in known if plan.model == "kpi"]
    return f"(VALUES {', '.join(rows)}) b(day, {', '.join(names)})"


def _normalize_touchpoints(con: duckdb.DuckDBPyConnection, inputs: ScoreInputs, bench: str) -> Relation:
    """`{entity}_normal`: the touchpoints with benchmarks, shares and scores (s_N, in billionths)."""
    known = range(len(weighted_touchpoints(inputs.plan)))
    normal = "".join(
        f", {normalized(inputs.plan.profile, f'x_{part}', '1.0', f'b_{part}')} AS s_{part}" for part in known
    )
    columns = ["day", "key", *(f"{each}_{part}" for each in "xbws" for part in known)]
    return create_table(
        con,
        f"{inputs.entity}_normal",
        columns,
        f"SELECT r.*, b.* EXCLUDE (day){normal} FROM {inputs.totals.touchpoints} r JOIN {bench} ON b.day = r.day",
    )


def _shown(nano: str, something: str) -> str:
    """SQL: the shown score, a whole number: halves are rounded up, and a raw score above 0 shows at least 1."""
    rounded = f"({nano} + {NANO // 2}) // {NANO}"
    return f"CASE WHEN {nano} > 0 OR ({something}) THEN greatest(1, {rounded}) ELSE 0 END::BIGINT"


def trend(score: str, before: str) -> str:
    """SQL: the trend of the shown score over 30 days."""
    change = f"(coalesce({score}, 0) - {before})"
    return (
        f"CASE WHEN {before} IS NULL THEN CASE WHEN {score} IS NOT NULL THEN 'New' END"
        f" WHEN {change} <= -10 THEN 'Cooling' WHEN {change} < 10 THEN 'Neutral'"
        f" WHEN {change} < 25 THEN 'Heating' ELSE 'Surging' END"
    )


def escape_quotes(text: str) -> str:
    """A text as it is written between single quotes in SQL."""
    return text.replace("'", "''")
