"""The snapshot of a day: one row per entity. Users come first, because accounts count their users."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from heatsync.scoring.compute import scores
from heatsync.scoring.compute.compiled_audiences import CompiledAudiences
from heatsync.scoring.compute.compiled_profile import NANO, CompiledProfile, item_of
from heatsync.scoring.compute.condition_sql import CompiledCondition
from heatsync.scoring.compute.entities import Entities
from heatsync.scoring.compute.level_history import DefaultScore
from heatsync.scoring.compute.relations import PlacedCounts, Relation, create_table, create_view
from heatsync.scoring.compute.scores import escape_quotes

MAX_DRIVERS = 3
TREND_DAYS = 30
"""How many days a trend looks back."""
KEY_COLUMNS = {
    "user": ("user_id", "account_id"),
    "account": ("account_id", "active_users", "total_users", "percent_active", "member"),
}
"""The first columns of a snapshot."""
SNAPSHOT_COLUMNS = [
    "score",
    "segments",
    "activation",
    "adoption_recent",
    "adoption_ever",
    "last_active",
    "frequency",
    "level",
    "level_previous",
    "level_changed_on",
    "trend",
    "score_change",
    "score_change_window",
    "tenure_days",
    "benchmark",
    "drivers",
    "first_seen",
    "last_seen",
    "signed_up",
    "audiences",
    "raw",
    "score_exact",
    "contributions",
]
"""The other columns of a snapshot."""
_FULL = [
    "score",
    "level",
    "benchmark",
    "raw",
    "score_exact",
    "first_seen",
    "last_seen",
    "last_active",
    "signed_up",
    "created_at",
    "activation",
    "adoption_recent",
    "adoption_ever",
    "frequency",
    "level_previous",
    "level_changed_on",
    "drivers",
    "contributions",
    "score_change",
    "score_change_window",
    "trend",
    "tenure_days",
]
ROW_COLUMNS = {
    "user": ("key", "no", "user_id", "account_no", "account_id", *_FULL),
    "account": ("key", "no", "id", *KEY_COLUMNS["account"], *_FULL),
}
"""The columns of the rows before audiences are added."""


@dataclass(frozen=True, slots=True)
class SnapshotDay:
    """The day of a snapshot. `benchmark` is in points by entity, None when there are several or none."""

    plan: CompiledProfile
    day: int
    benchmark: Mapping[str, float | None]
    weights: Mapping[str, Mapping[int, float]]
    """Only `kpi`, by entity and part: the share of each touchpoint that has data."""
    ago_90: datetime
    """The instant 90 days before the end of the day."""
    tables: Mapping[str, Relation]
    """The users and accounts tables that the source has, by `user` and `account`."""
    placed: PlacedCounts
    local_days: Relation
    """calendar.day_bounds: utc_date, day, starts, ends."""


@dataclass(frozen=True, slots=True)
class EarlierScores:
    """The levels and earlier scores that the rows of a snapshot show, of an entity.

    level      key, level: the name of the level on the day
    month      key, score: 30 days ago, if that day is known
    earlier    key, score: one window ago, if that day is known
    changes    key (text), day, level_before, level: every stored change of level, including this day's
    """

    level: Relation
    month: Relation
    earlier: Relation
    changes: Relation


@dataclass(frozen=True, slots=True)
class RowInputs:
    """The input of the rows of an entity, on the day of a snapshot.

    existing        key: the entities that exist on the day
    points, days    of the window that ends with the day (weighting.event_points)
    counts          key, a column per event count of conditions
    users           for accounts: the input of the users' rows
    """

    entity: str
    entities: Entities
    scored: scores.ScoreTables
    signals: Sequence[scores.SignalValue]
    existing: Relation
    points: Relation
    days: Relation
    compared: EarlierScores
    counts: Relation
    users: "RowInputs | None" = None


def build_contributions(con: duckdb.DuckDBPyConnection, day: SnapshotDay, inputs: RowInputs) -> Relation:
    """`{entity}_parts`: key, contributions (largest first: name, n events, points) and drivers (text). Contributions
    add up to the unrounded score."""
    entity = inputs.entity
    shares, scored = _shares(day, inputs), inputs.scored.scores
    left = "1.0"
    judged_rows = ""
    joined = ""
    if inputs.signals:
        weights = [float(having.signal.weight) / 100 for having in inputs.signals]
        given = ", ".join(f"{having.sql} AS signal_{place}" for place, having in enumerate(inputs.signals))
        judgements = create_table(
            con,
            f"{entity}_judgements",
            ("key", *(f"signal_{place}" for place in range(len(inputs.signals)))),
            f"SELECT k.key, {given} FROM {inputs.existing} k LEFT JOIN {day.placed.placement} p ON p.user_no = k.key",
        )
        joined = f" LEFT JOIN {judgements} g ON g.key = s.key"
        present = " + ".join(
            f"(g.signal_{place} IS NOT NULL)::INTEGER * {weight!r}::DOUBLE"
            for place, weight in enumerate(weights)
        )
        left = f"(1 - ({present}))"
        judged_rows = "".join(
            f" UNION ALL SELECT g.key, '{escape_quotes(having.signal.trait)}', NULL,"
            f" g.signal_{place} / {NANO}.0 * {weights[place]!r}, 0, true FROM {judgements} g"
            f" WHERE g.signal_{place} IS NOT NULL"
            + (f" AND g.key IN (SELECT key FROM {scored})" if day.plan.model == "kpi" else "")
            for place, having in enumerate(inputs.signals)
        )
    return create_table(
        con,
        f"{entity}_parts",
        ("key", "contributions", "drivers"),
        f"""
        WITH shares AS ({shares}),
        entries AS (
            SELECT s.key, s.name, s.n, s.share * {left} AS points, s.rank, false AS signal FROM shares s{joined}
            {judged_rows}
        )
        SELECT key,
               list_transform(
                   list_sort(list({{'by': -round(points, 9), 'name': name, 'n': n::BIGINT, 'points': points::DOUBLE}})),
                   lambda each: {{'name': each.name, 'n': each.n, 'points': each.points}}
               ) AS contributions,
               array_to_string(list_transform(list_sort(
                   list({{'by': -round(rank, 9), 'name': name}}) FILTER (NOT signal))[1:{MAX_DRIVERS}],
                   lambda each: each.name), ', ') AS drivers
        FROM entries GROUP BY key
        """,
    )


def _shares(day: SnapshotDay, inputs: RowInputs) -> str:
    """SQL: key, name, n events, share (in points of the score before signals) and rank of all that is scored."""
    plan, weights = day.plan, day.weights[inputs.entity]
    if inputs.scored.normal is not None:
        rows = [
            f"SELECT x.key, '{escape_quotes(touchpoint.name)}' AS name, coalesce(p.n, 0) AS n,"
            f" x.s_{place} * {weights[place]!r} / {NANO}.0 AS share, x.s_{place} * {weights[place]!r} AS rank"
            f" FROM {inputs.scored.normal} x LEFT JOIN {inputs.points} p ON p.key = x.key"
            f" AND p.item = {item_of(plan, touchpoint.of).place} WHERE x.s_{place} > 0"
            for place, touchpoint in enumerate(scores.weighted_touchpoints(plan))
            if place in weights
        ]
        return (
            " UNION ALL ".join(rows)
            or "SELECT NULL::INTEGER AS key, '' AS name, 0 AS n, 0.0 AS share, 0.0 AS rank WHERE false"
        )
    points = str(inputs.points)
    if plan.model == "weighted" and inputs.users is not None:
        points = (
            f"(SELECT l.account_no AS key, item, sum(n)::BIGINT AS n, sum(points) AS points FROM {inputs.users.points} p"
            f" JOIN {day.placed.placement} l ON l.user_no = p.key"
            f" SEMI JOIN {inputs.users.scored.scores} u ON u.key = p.key GROUP BY ALL)"
        )
    names = " ".join(f"WHEN {item.place} THEN '{escape_quotes(item.name)}'" for item in plan.items)
    return (
        f"SELECT p.key, CASE p.item {names} END AS name, p.n, s.base / {NANO}.0 * p.points::DOUBLE"
        f" / (sum(p.points) OVER (PARTITION BY p.key))::DOUBLE AS share, p.points AS rank"
        f" FROM {points} p JOIN {inputs.scored.scores} s ON s.key = p.key WHERE p.points > 0"
    )


def build_rows(
    con: duckdb.DuckDBPyConnection,
    day: SnapshotDay,
    inputs: RowInputs,
    parts: Relation,
    default: DefaultScore,
) -> Relation:
    """`{entity}_full`: ROW_COLUMNS, the columns of the snapshot without audiences, and the numbers of the entity
    (`no`) and, for users, of its account (`account_no`). `parts`: key, contributions, drivers."""
    plan, entity = day.plan, inputs.entity
    ids, compared = day.placed.counts.ids, inputs.compared
    own = {
        "user": "b.account_no, home.id AS account_id",
        "account": """b.id AS account_id, coalesce(m.active_users, 0) AS active_users, coalesce(m.total_users, 0) AS total_users,
            CASE WHEN m.total_users > 0 THEN least(100.0::DOUBLE, 100.0::DOUBLE * m.active_users / m.total_users) END
                AS percent_active, m.member""",
    }[entity]
    joins = f"LEFT JOIN {ids['account']} home ON home.no = b.account_no"
    if inputs.users is not None:
        joins = f"LEFT JOIN {_members(con, day, inputs.users)} m ON m.key = b.key"
    steps = len(getattr(plan.profile.activation, entity))
    met = "b.steps" if entity == "user" else "b.steps | coalesce(m.met, 0)"
    exact = f"coalesce(s.nano, {'NULL' if plan.model == 'kpi' else 0}) / {NANO}.0"
    raw, benchmark = _raw(plan, entity), day.benchmark.get(entity)
    shown = _shown_score(plan, default)
    return create_table(
        con,
        f"{entity}_full",
        ROW_COLUMNS[entity],
        f"""
        WITH changed AS (
            SELECT key, arg_max_null(level_before, day) AS level_previous,
                   DATE '1970-01-01' + max(day)::INTEGER AS level_changed_on
            FROM {compared.changes} WHERE day <= {day.day} GROUP BY key
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
        FROM {inputs.entities.base} b
        LEFT JOIN {inputs.scored.scores} s ON s.key = b.key
        LEFT JOIN {compared.level} l ON l.key = b.key
        LEFT JOIN {inputs.days} d ON d.key = b.key
        LEFT JOIN {parts} p ON p.key = b.key
        LEFT JOIN changed c ON c.key = b.id
        LEFT JOIN {compared.month} month ON month.key = b.key
        LEFT JOIN {compared.earlier} earlier ON earlier.key = b.key
        LEFT JOIN {day.local_days} local ON local.utc_date = b.signed_up::DATE
            AND b.signed_up >= local.starts AND b.signed_up < local.ends
        {joins}
        """,
    )


@dataclass(frozen=True, slots=True)
class EntityRows:
    """The rows of an entity (`full`), and `counts` (key, a column per event count of conditions)."""

    full: Relation
    counts: Relation


def build_snapshot(
    con: duckdb.DuckDBPyConnection,
    day: SnapshotDay,
    rows: EntityRows,
    members: CompiledAudiences,
    users: tuple[EntityRows, Mapping[str, CompiledCondition]] | None = None,
) -> Relation:
    """`{entity}_snapshot`: the columns of a snapshot, with the audiences that the rows are in. For accounts, `users`
    are the users' rows, and by column the conditions that count users."""
    entity = "user" if users is None else "account"
    counted = _count_users(con, day, *users) if users is not None and users[1] else None
    by_name: dict[str, list[str]] = {}
    for audience, found in members.audiences:
        if audience.shipped:
            by_name.setdefault(audience.name, []).append(found.sql)
    keys = ", ".join(
        f"CASE WHEN {found.sql} THEN '{escape_quotes(a.key)}' END" for a, found in members.audiences
    )
    names = ", ".join(
        f"CASE WHEN {' OR '.join(by_name[name])} THEN '{escape_quotes(name)}' END" for name in sorted(by_name)
    )
    present = "list_filter([{}]::VARCHAR[], lambda each: each IS NOT NULL)"
    shown = ", ".join(f"r.{column}" for column in KEY_COLUMNS[entity])
    return create_view(
        con,
        f"{entity}_snapshot",
        (*KEY_COLUMNS[entity], *SNAPSHOT_COLUMNS),
        f"""
        SELECT {shown}, r.score, {present.format(names)} AS segments, r.activation, r.adoption_recent, r.adoption_ever,
               r.last_active, r.frequency, r.level, r.level_previous, r.level_changed_on, r.trend, r.score_change,
               r.score_change_window, r.tenure_days, r.benchmark, r.drivers, r.first_seen, r.last_seen, r.signed_up,
               {present.format(keys)} AS audiences, r.raw, r.score_exact, r.contributions
        FROM {rows.full} r {trait_joins(day, entity, members.tables, rows.counts)}
        {"" if counted is None else f"LEFT JOIN {counted} m ON m.key = r.no"}
        """,
    )


def trait_joins(day: SnapshotDay, entity: str, tables: frozenset[str], counts: Relation) -> str:
    """SQL: the joins that add u (users), a (accounts) and c (`counts`) to r."""
    return join_tables(entity, tables, day.tables, (str(counts), "key"))


def join_tables(
    entity: str, tables: frozenset[str], known: Mapping[str, Relation], counts: tuple[str, str] | None
) -> str:
    """SQL: the joins of the `known` tables that conditions read. `counts` are a relation and its key column."""
    joins = [] if counts is None else [f"LEFT JOIN {counts[0]} c ON c.{counts[1]} = r.no"]
    if "user" in tables and entity == "user" and "user" in known:
        joins.append(f"LEFT JOIN {known['user']} u ON u.user_id = r.user_id")
    if "account" in tables and "account" in known:
        joins.append(f"LEFT JOIN {known['account']} a ON a.account_id = r.account_id")
    return " ".join(joins)


def _count_users(
    con: duckdb.DuckDBPyConnection,
    day: SnapshotDay,
    users: EntityRows,
    inner: Mapping[str, CompiledCondition],
) -> Relation:
    """`account_users`: key, users_all, and per condition how many users of an account meet it."""
    tables = frozenset(table for each in inner.values() for table in each.tables)
    counts = ", ".join(f"count(*) FILTER ({each.sql}) AS {column}" for column, each in inner.items())
    return create_table(
        con,
        "account_users",
        ("key", "users_all", *inner),
        f"SELECT r.account_no AS key, count(*) AS users_all, {counts} FROM {users.full} r"
        f" {trait_joins(day, 'user', tables, users.counts)} WHERE r.account_no IS NOT NULL GROUP BY r.account_no",
    )


def _members(con: duckdb.DuckDBPyConnection, day: SnapshotDay, users: RowInputs) -> Relation:
    """`account_members`: what an account takes from its users: key, active_users, total_users, member (the user seen
    last), met."""
    plan = day.plan
    active = " OR ".join(f"coalesce(d.recent_{word}, 0) <> 0" for word in plan.item_words)
    if plan.model == "kpi":
        active = " OR ".join(f"coalesce(d.days_{word}, 0) <> 0" for word in plan.day_words)
    return create_table(
        con,
        "account_members",
        ("key", "active_users", "total_users", "member", "met"),
        f"""
        SELECT b.account_no AS key, count(*) FILTER ({active}) AS active_users,
               count(*) FILTER (b.last_seen >= TIMESTAMP '{day.ago_90}') AS total_users,
               arg_min(b.id, ROW(-epoch_us(b.last_seen), b.id)) FILTER (b.last_seen IS NOT NULL) AS member,
               bit_or(b.account_steps) AS met
        FROM {users.entities.base} b LEFT JOIN {users.days} d ON d.key = b.key
        WHERE b.account_no IS NOT NULL GROUP BY b.account_no
        """,
    )


def _raw(plan: CompiledProfile, entity: str) -> str:
    """SQL: the raw score in points; NULL for a model without one, and for accounts with an average of their users."""
    averaged = plan.model == "weighted" and entity == "account" and plan.profile.rollup == "average"
    return "NULL::DOUBLE" if plan.model == "kpi" or averaged else f"coalesce(s.raw, 0)::DOUBLE / {NANO}.0"


def _shown_score(plan: CompiledProfile, default: DefaultScore) -> str:
    """SQL: the shown score of a row, with the default for an entity without a score."""
    score = default.score
    if not default.known and plan.model != "kpi":
        score = 0
    return f"coalesce(s.score, {'NULL' if score is None else score}::BIGINT)"


def _number(value: float | None) -> str:
    return "NULL::DOUBLE" if value is None else f"{value!r}::DOUBLE"


def _share(part: str, whole: int) -> str:
    return f"100.0::DOUBLE * ({part}) / {whole}" if whole else "NULL::DOUBLE"


def _ones(prefix: str, words: range) -> str:
    return " + ".join(f"coalesce(bit_count({prefix}_{word}), 0)" for word in words)


def _adopted(plan: CompiledProfile, prefix: str) -> str:
    if plan.model != "kpi":
        return _share(_ones(prefix, plan.item_words), len(plan.items))
    touched = scores.weighted_touchpoints(plan)
    bits = " + ".join(
        f"coalesce(({prefix}_{item.word} >> {item.place % 62}) & 1, 0)"
        for item in (item_of(plan, touchpoint.of) for touchpoint in touched)
    )
    return _share(bits, len(touched)) if bits else "NULL::DOUBLE"
