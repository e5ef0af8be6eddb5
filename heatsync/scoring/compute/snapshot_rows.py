"""Stage 2, at home: the snapshot of a day, one row per entity that is in it.

Reads what scoring.rows, scoring.worth and scoring.scores left of the day, and

    {entity}_level      key, level: the name of the level of the day
    {entity}_month      key, score: 30 days ago, and {entity}_earlier: one window ago; where the day is known
    {entity}_changes    key (text), day, level_before, level: every move that is kept, this day's included
    {entity}_counts     key, a column per measure of conditions

and leaves `{entity}_snapshot`. Users come first: accounts count among them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from heatsync.scoring.compute import condition_sql, scores
from heatsync.scoring.compute.compiled_profile import NANO, Plan, thing_of
from heatsync.scoring.compute.condition_sql import Judged, Scope
from heatsync.scoring.compute.level_history import Rest
from heatsync.scoring.compute.scores import quoted
from heatsync.scoring.definition.builtin_audiences import Audience

DRIVERS = 3
TREND = 30
"""Days that a trend looks back."""


@dataclass(frozen=True, slots=True)
class Day:
    """The day of a snapshot, and the benchmark in points (nothing where there are several, or none)."""

    plan: Plan
    day: int
    benchmark: Mapping[str, float | None]
    weights: Mapping[str, Mapping[int, float]]
    """Of `kpi`, by entity: the share of each touchpoint that has data, by part."""
    ago_90: datetime
    """The instant 90 days before the end of the day."""
    tables: frozenset[str]
    """Which of `user` and `account` the source has a table of."""


@dataclass(frozen=True, slots=True)
class Members:
    """Audiences of an entity, judged: their SQL speaks of r, u, a, c and m (scoring.judging)."""

    audiences: Sequence[tuple[Audience, Judged]]

    @property
    def tables(self) -> frozenset[str]:
        return frozenset(table for _, judged in self.audiences for table in judged.tables)

    @property
    def counting(self) -> dict[str, Judged]:
        """Columns that count an account's users, with the condition on each of them."""
        return {column: inner for _, judged in self.audiences for column, inner in judged.members}


def judged(audiences: Iterable[Audience], scope: Scope) -> Members:
    """Raises scoring.judging.Refused; its `audience` is the one that does not fit."""
    found = []
    for audience in audiences:
        try:
            found.append((audience, condition_sql.judge(audience.condition, scope)))
        except condition_sql.Refused as error:
            raise Unfit(audience, error) from error
    return Members(found)


class Unfit(ValueError):
    """An audience whose condition does not fit the data."""

    def __init__(self, audience: Audience, fault: condition_sql.Refused) -> None:
        super().__init__(str(fault))
        self.audience, self.fault = audience, fault


def contributions(
    con: duckdb.DuckDBPyConnection, day: Day, entity: str, signals: Sequence[scores.Having]
) -> None:
    """`{entity}_parts`: key, contributions (largest first) and drivers. Contributions add up to the unrounded score."""
    plan = day.plan
    weighted_account = plan.model == "weighted" and entity == "account"
    if plan.model == "kpi":
        rows = [
            f"SELECT x.key, '{quoted(touchpoint.name)}' AS name,"
            f" coalesce(p.n, 0) AS n, x.s_{place} * {day.weights[entity][place]!r} / {NANO}.0 AS share, x.s_{place} * {day.weights[entity][place]!r} AS rank"
            f" FROM {entity}_normal x LEFT JOIN {entity}_points p ON p.key = x.key"
            f" AND p.thing = {thing_of(plan, touchpoint.of).place} WHERE x.s_{place} > 0"
            for place, touchpoint in enumerate(scores.touchpoints(plan))
            if place in day.weights[entity]
        ]
        shares = (
            " UNION ALL ".join(rows)
            or "SELECT NULL::INTEGER AS key, '' AS name, 0 AS n, 0.0 AS share, 0.0 AS rank WHERE false"
        )
    else:
        points = (
            "(SELECT l.account_no AS key, thing, sum(n)::BIGINT AS n, sum(points) AS points FROM user_points p"
            " JOIN placement l ON l.user_no = p.key SEMI JOIN user_scored u ON u.key = p.key GROUP BY ALL)"
            if weighted_account
            else f"{entity}_points"
        )
        names = " ".join(f"WHEN {thing.place} THEN '{quoted(thing.name)}'" for thing in plan.things)
        shares = (
            f"SELECT p.key, CASE p.thing {names} END AS name, p.n, s.base / {NANO}.0 * p.points::DOUBLE"
            f" / (sum(p.points) OVER (PARTITION BY p.key))::DOUBLE AS share, p.points AS rank"
            f" FROM {points} p JOIN {entity}_scored s ON s.key = p.key WHERE p.points > 0"
        )
    left = "1.0"
    judged_rows = ""
    if signals:
        weights = [float(having.signal.weight) / 100 for having in signals]
        given = ", ".join(f"{having.sql} AS signal_{place}" for place, having in enumerate(signals))
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE {entity}_judgements AS SELECT k.key, {given}"
            f" FROM {entity}_existing k LEFT JOIN placement p ON p.user_no = k.key"
        )
        present = " + ".join(
            f"(g.signal_{place} IS NOT NULL)::INTEGER * {weight!r}::DOUBLE"
            for place, weight in enumerate(weights)
        )
        left = f"(1 - ({present}))"
        judged_rows = "".join(
            f" UNION ALL SELECT g.key, '{quoted(having.signal.trait)}', NULL,"
            f" g.signal_{place} / {NANO}.0 * {weights[place]!r}, 0, true FROM {entity}_judgements g"
            f" WHERE g.signal_{place} IS NOT NULL"
            + (f" AND g.key IN (SELECT key FROM {entity}_scored)" if plan.model == "kpi" else "")
            for place, having in enumerate(signals)
        )
    beside = f" LEFT JOIN {entity}_judgements g ON g.key = s.key" if signals else ""
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {entity}_parts AS
        WITH shares AS ({shares}),
        entries AS (
            SELECT s.key, s.name, s.n, s.share * {left} AS points, s.rank, false AS signal FROM shares s{beside}
            {judged_rows}
        )
        SELECT key,
               list_transform(
                   list_sort(list({{'by': -round(points, 9), 'name': name, 'n': n::BIGINT, 'points': points::DOUBLE}})),
                   lambda each: {{'name': each.name, 'n': each.n, 'points': each.points}}
               ) AS contributions,
               array_to_string(list_transform(list_sort(
                   list({{'by': -round(rank, 9), 'name': name}}) FILTER (NOT signal))[1:{DRIVERS}],
                   lambda each: each.name), ', ') AS drivers
        FROM entries GROUP BY key
        """
    )


def full(con: duckdb.DuckDBPyConnection, day: Day, entity: str, rested: Rest) -> None:
    """`{entity}_full`: everything but the audiences."""
    plan = day.plan
    own = {
        "user": "b.account_no, home.id AS account_id",
        "account": """b.id AS account_id, coalesce(m.active_users, 0) AS active_users, coalesce(m.total_users, 0) AS total_users,
            CASE WHEN m.total_users > 0 THEN least(100.0::DOUBLE, 100.0::DOUBLE * m.active_users / m.total_users) END
                AS percent_active, m.member""",
    }[entity]
    joins = {
        "user": "LEFT JOIN account_ids home ON home.no = b.account_no",
        "account": "LEFT JOIN account_members m ON m.key = b.key",
    }[entity]
    if entity == "account":
        _members(con, day)
    steps = len(getattr(plan.profile.activation, entity))
    met = "b.steps" if entity == "user" else "b.steps | coalesce(m.met, 0)"
    rest_score = "NULL::BIGINT" if rested.score is None else f"{rested.score}::BIGINT"
    if not rested.known and plan.model != "kpi":
        rest_score = "0::BIGINT"
    exact = f"coalesce(s.nano, {'NULL' if plan.model == 'kpi' else 0}) / {NANO}.0"
    averaged = plan.model == "weighted" and entity == "account" and plan.profile.rollup == "average"
    raw = f"coalesce(s.raw, 0)::DOUBLE / {NANO}.0"
    if plan.model == "kpi" or averaged:
        raw = "NULL::DOUBLE"
    benchmark = day.benchmark.get(entity)
    shown = f"coalesce(s.score, {rest_score})"
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {entity}_full AS
        WITH changed AS (
            SELECT key, arg_max_null(level_before, day) AS level_previous,
                   DATE '1970-01-01' + max(day)::INTEGER AS level_changed_on
            FROM {entity}_changes WHERE day <= {day.day} GROUP BY key
        )
        SELECT b.id AS key, b.key AS no, b.id AS {"user_id" if entity == "user" else "id"}, {own},
               {shown} AS score, l.level, {_number(benchmark)} AS benchmark, {raw} AS raw, {exact} AS score_exact,
               b.first_seen, b.last_seen, b.last_active, b.signed_up, b.created_at,
               {_share(f"bit_count({met})", steps)} AS activation,
               {_adopted(plan, "d.recent")} AS adoption_recent, {_adopted(plan, "b.ever")} AS adoption_ever,
               ({_ones("d.days", plan.day_words)})::BIGINT AS frequency,
               c.level_previous, c.level_changed_on, p.drivers, coalesce(p.contributions, []) AS contributions,
               {shown} - month.score AS score_change, {shown} - earlier.score AS score_change_window,
               {scores.trend(shown, "month.score")} AS trend,
               CASE WHEN b.signed_up IS NOT NULL THEN ({day.day} - local.day + (b.signed_up = local.starts)::BIGINT)::BIGINT END
                   AS tenure_days
        FROM {entity}_base b
        LEFT JOIN {entity}_scored s ON s.key = b.key
        LEFT JOIN {entity}_level l ON l.key = b.key
        LEFT JOIN {entity}_days d ON d.key = b.key
        LEFT JOIN {entity}_parts p ON p.key = b.key
        LEFT JOIN changed c ON c.key = b.id
        LEFT JOIN {entity}_month month ON month.key = b.key
        LEFT JOIN {entity}_earlier earlier ON earlier.key = b.key
        LEFT JOIN local_days local ON local.utc_date = b.signed_up::DATE
            AND b.signed_up >= local.starts AND b.signed_up < local.ends
        {joins}
        """
    )


def gather(
    con: duckdb.DuckDBPyConnection, day: Day, entity: str, members: Members, inner: Mapping[str, Judged]
) -> None:
    """`{entity}_snapshot`: the rows with their audiences. For accounts `inner` are the counted conditions on users."""
    if entity == "account" and inner:
        _count_users(con, day, inner)
    by_name: dict[str, list[str]] = {}
    for audience, found in members.audiences:
        if audience.shipped:
            by_name.setdefault(audience.name, []).append(found.sql)
    keys = ", ".join(f"CASE WHEN {found.sql} THEN '{quoted(a.key)}' END" for a, found in members.audiences)
    names = ", ".join(
        f"CASE WHEN {' OR '.join(by_name[name])} THEN '{quoted(name)}' END" for name in sorted(by_name)
    )
    present = "list_filter([{}]::VARCHAR[], lambda each: each IS NOT NULL)"
    shown = {
        "user": "r.user_id, r.account_id",
        "account": "r.account_id, r.active_users, r.total_users, r.percent_active, r.member",
    }[entity]
    con.execute(
        f"""
        CREATE OR REPLACE TEMP VIEW {entity}_snapshot AS
        SELECT {shown}, r.score, {present.format(names)} AS segments, r.activation, r.adoption_recent, r.adoption_ever,
               r.last_active, r.frequency, r.level, r.level_previous, r.level_changed_on, r.trend, r.score_change,
               r.score_change_window, r.tenure_days, r.benchmark, r.drivers, r.first_seen, r.last_seen, r.signed_up,
               {present.format(keys)} AS audiences, r.raw, r.score_exact, r.contributions
        FROM {entity}_full r {beside(day, entity, members.tables)}
        {"LEFT JOIN account_users m ON m.key = r.no" if entity == "account" and inner else ""}
        """
    )


def beside(day: Day, entity: str, tables: frozenset[str]) -> str:
    """The joins that put u, a and c beside r."""
    return join_tables(entity, tables, day.tables, (f"{entity}_counts", "key"))


def join_tables(
    entity: str, tables: frozenset[str], known: frozenset[str], counts: tuple[str, str] | None
) -> str:
    """`counts` are the relation and the column of its key."""
    joins = [] if counts is None else [f"LEFT JOIN {counts[0]} c ON c.{counts[1]} = r.no"]
    if "user" in tables and entity == "user" and "user" in known:
        joins.append("LEFT JOIN users u ON u.user_id = r.user_id")
    if "account" in tables and "account" in known:
        joins.append("LEFT JOIN accounts a ON a.account_id = r.account_id")
    return " ".join(joins)


def _count_users(con: duckdb.DuckDBPyConnection, day: Day, inner: Mapping[str, Judged]) -> None:
    tables = frozenset(table for each in inner.values() for table in each.tables)
    counts = ", ".join(f"count(*) FILTER ({each.sql}) AS {column}" for column, each in inner.items())
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE account_users AS SELECT r.account_no AS key, count(*) AS users_all, {counts}"
        f" FROM user_full r {beside(day, 'user', tables)} WHERE r.account_no IS NOT NULL GROUP BY r.account_no"
    )


def _members(con: duckdb.DuckDBPyConnection, day: Day) -> None:
    """`account_members`: what an account has of the users that are in the snapshot."""
    plan = day.plan
    active = " OR ".join(f"coalesce(d.recent_{word}, 0) <> 0" for word in plan.thing_words)
    if plan.model == "kpi":
        active = " OR ".join(f"coalesce(d.days_{word}, 0) <> 0" for word in plan.day_words)
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE account_members AS
        SELECT b.account_no AS key, count(*) FILTER ({active}) AS active_users,
               count(*) FILTER (b.last_seen >= TIMESTAMP '{day.ago_90}') AS total_users,
               arg_min(b.id, ROW(-epoch_us(b.last_seen), b.id)) FILTER (b.last_seen IS NOT NULL) AS member,
               bit_or(b.account_steps) AS met
        FROM user_base b LEFT JOIN user_days d ON d.key = b.key WHERE b.account_no IS NOT NULL GROUP BY b.account_no
        """
    )


def _number(value: float | None) -> str:
    return "NULL::DOUBLE" if value is None else f"{value!r}::DOUBLE"


def _share(part: str, whole: int) -> str:
    return f"100.0::DOUBLE * ({part}) / {whole}" if whole else "NULL::DOUBLE"


def _ones(prefix: str, words: range) -> str:
    return " + ".join(f"coalesce(bit_count({prefix}_{word}), 0)" for word in words)


def _adopted(plan: Plan, prefix: str) -> str:
    if plan.model != "kpi":
        return _share(_ones(prefix, plan.thing_words), len(plan.things))
    touched = scores.touchpoints(plan)
    bits = " + ".join(
        f"coalesce(({prefix}_{thing.word} >> {thing.place % 62}) & 1, 0)"
        for thing in (thing_of(plan, touchpoint.of) for touchpoint in touched)
    )
    return _share(bits, len(touched)) if bits else "NULL::DOUBLE"
