"""Stage 2, at home: from counted rows to a snapshot: score, level, trend, what changed, audiences.

Reads `user_rows` and `account_rows` (scoring.rows), `benchmark` (entity, day, value), `pooled` (day, cap; only for
`rollup: pooled`) and what is known of other days: `user_history`, `account_history` (key, day, score, level,
level_previous, level_changed_on) with `user_days`, `account_days` (day). Leaves `user_snapshot` and
`account_snapshot`, and adds them to the history.
"""

import duckdb

from scoring import scores
from scoring.audiences import builtin
from scoring.counting import POINT, Plan
from scoring.rows import ENTITIES
from scoring.scores import NANO, quoted

DRIVERS = 3
EMPTY_HISTORY = (
    "(key VARCHAR, day BIGINT, score BIGINT, level VARCHAR, level_previous VARCHAR, level_changed_on DATE)"
)


def compute(con: duckdb.DuckDBPyConnection, plan: Plan) -> None:
    """Fill `user_snapshot` and `account_snapshot` for every day of `instants`."""
    con.execute(_user_scores(plan))
    con.execute(_account_scores(plan))
    for entity in ENTITIES:
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE all_{entity}_scores AS"
            f" SELECT key, day, score FROM {entity}_history ANTI JOIN instants USING (day)"
            f" UNION ALL SELECT key, day, score FROM {entity}_scores"
        )
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE all_{entity}_days AS"
            f" SELECT day FROM {entity}_days UNION SELECT day FROM instants"
        )
        con.execute(_levels(entity))
        con.execute(_snapshot(plan, entity))
        con.execute(
            f"INSERT INTO {entity}_history BY NAME SELECT {entity}_id AS key, day, score, level, level_previous,"
            f" level_changed_on FROM {entity}_snapshot"
        )
        con.execute(f"CREATE OR REPLACE TEMP TABLE {entity}_days AS FROM all_{entity}_days")


def account_raw(plan: Plan, relation: str) -> str:
    """The raw scores of accounts from those of their members (day, account_id, raw). Those of `average` have none:
    it is unrounded scores that are averaged."""
    if plan.profile.rollup == "pooled":
        return (
            f"SELECT day, account_id, sum(least(raw, cap)) AS raw FROM {relation} JOIN pooled USING (day)"
            " WHERE account_id IS NOT NULL GROUP BY day, account_id"
        )
    return (
        f"SELECT day, account_id, sum(raw) AS raw FROM {relation} WHERE account_id IS NOT NULL"
        " GROUP BY day, account_id"
    )


def _user_scores(plan: Plan) -> str:
    nano = scores.normalized(plan.profile, "r.raw", "b.value", "r.day")
    active = " OR ".join(f"r.recent_{word} <> 0" for word in plan.event_words)
    return f"""
        CREATE OR REPLACE TEMP TABLE user_scores AS
        WITH measured AS (
            SELECT r.user_id AS key, r.day, r.account_id, ({active}) AS active, r.raw, b.value AS benchmark,
                   {nano} AS nano
            FROM user_rows r JOIN benchmark b ON b.entity = 'user' AND b.day = r.day
        ),
        rounded AS (SELECT *, {scores.shown("nano", "raw", "benchmark")} AS score FROM measured)
        SELECT *, {scores.level(plan.profile, "score")} AS level FROM rounded
    """


def _account_scores(plan: Plan) -> str:
    if plan.profile.rollup == "average":
        measured = """
            SELECT r.account_id AS key, r.day, NULL::DECIMAL(38, 0) AS raw, b.value AS benchmark,
                   coalesce(m.points, 0) AS points, coalesce(m.nano, 0) AS nano
            FROM account_rows r
            JOIN benchmark b ON b.entity = 'account' AND b.day = r.day
            LEFT JOIN (
                SELECT account_id, day, sum(raw) AS points,
                       ((sum(nano) + count(*) // 2) // count(*))::BIGINT AS nano
                FROM user_scores WHERE active AND account_id IS NOT NULL GROUP BY account_id, day
            ) m ON m.account_id = r.account_id AND m.day = r.day
        """
    else:
        nano = scores.normalized(plan.profile, "raw", "benchmark", "day")
        measured = f"""
            SELECT *, {nano} AS nano FROM (
                SELECT r.account_id AS key, r.day, coalesce(m.raw, 0) AS raw, b.value AS benchmark,
                       coalesce(m.raw, 0) AS points
                FROM account_rows r
                JOIN benchmark b ON b.entity = 'account' AND b.day = r.day
                LEFT JOIN ({account_raw(plan, "user_scores")}) m ON m.account_id = r.account_id AND m.day = r.day
            )
        """
    return f"""
        CREATE OR REPLACE TEMP TABLE account_scores AS
        WITH measured AS ({measured}),
        rounded AS (SELECT *, {scores.shown("nano", "points", "benchmark")} AS score FROM measured)
        SELECT *, {scores.level(plan.profile, "score")} AS level FROM rounded
    """


def _levels(entity: str) -> str:
    """The last change of level before or on each day. Somebody who was not there the day before starts anew."""
    return f"""
        CREATE OR REPLACE TEMP TABLE {entity}_levels AS
        WITH days AS (
            SELECT key, day, level, false AS known, NULL::VARCHAR AS level_previous, NULL::DATE AS level_changed_on
            FROM {entity}_scores
            UNION ALL
            SELECT key, day, level, true, level_previous, level_changed_on
            FROM {entity}_history ANTI JOIN instants USING (day)
        ),
        beside AS (
            SELECT *, lag(day) OVER life AS day_before, lag(level) OVER life AS level_before FROM days
            WINDOW life AS (PARTITION BY key ORDER BY day)
        ),
        marked AS (
            SELECT key, day, known,
                   CASE WHEN known THEN {{'previous': level_previous, 'changed_on': level_changed_on}}
                        WHEN day_before IS DISTINCT FROM day - 1 THEN {{'previous': NULL, 'changed_on': NULL}}
                        WHEN level IS DISTINCT FROM level_before
                        THEN {{'previous': level_before, 'changed_on': DATE '1970-01-01' + day::INTEGER}}
                   END AS mark
            FROM beside
        ),
        carried AS (
            SELECT key, day, known, last_value(mark IGNORE NULLS) OVER life AS mark FROM marked
            WINDOW life AS (PARTITION BY key ORDER BY day ROWS UNBOUNDED PRECEDING)
        )
        SELECT key, day, mark.previous AS level_previous, mark.changed_on AS level_changed_on
        FROM carried WHERE NOT known
    """


def _share(part: str, whole: int) -> str:
    return f"100.0::DOUBLE * ({part}) / {whole}" if whole else "NULL::DOUBLE"


def _ones(prefix: str, words: range) -> str:
    return " + ".join(f"bit_count({prefix}_{word})" for word in words)


def _drivers(plan: Plan, raw: str) -> str:
    """The events that contribute most points, by name where they are alike."""
    contributions = ", ".join(
        f"{{'points': -r.{column}, 'event': '{quoted(event.event)}'}}"
        for column, event in zip(plan.points, plan.profile.scored, strict=True)
    )
    return (
        f"CASE WHEN {raw} > 0 THEN array_to_string(list_transform(list_slice(list_sort(list_filter("
        f"[{contributions}], lambda e: e.points < 0)), 1, {DRIVERS}), lambda e: e.event), ', ') END"
    )


def _members(plan: Plan, entity: str) -> tuple[str, str]:
    """The keys of the audiences that a row is in, and the names of those that are shipped, as lists of SQL."""
    audiences = builtin(plan.profile, entity)
    keys = ", ".join(f"CASE WHEN {each.condition} THEN '{each.key}' END" for each in audiences)
    by_name: dict[str, list[str]] = {}
    for each in audiences:
        if each.shipped:
            by_name.setdefault(each.name, []).append(each.condition)
    names = ", ".join(
        f"CASE WHEN {' OR '.join(by_name[name])} THEN '{quoted(name)}' END" for name in sorted(by_name)
    )
    present = "list_filter([{}]::VARCHAR[], lambda each: each IS NOT NULL)"
    return present.format(keys), present.format(names)


def _snapshot(plan: Plan, entity: str) -> str:
    key = f"{entity}_id"
    window = plan.profile.window
    own = {
        "user": "r.account_id,",
        "account": """r.active_users, r.total_users,
            CASE WHEN r.total_users > 0 THEN least(100.0::DOUBLE, 100.0::DOUBLE * r.active_users / r.total_users) END
                AS percent_active,
            r.member,""",
    }[entity]
    steps = len(getattr(plan.profile.activation, entity))
    points = "s.raw" if entity == "user" else "s.points"
    keys, names = _members(plan, entity)
    shown = {
        "user": f"{key}, account_id",
        "account": f"{key}, active_users, total_users, percent_active, member",
    }[entity]
    return f"""
        CREATE OR REPLACE TEMP TABLE {entity}_snapshot AS
        WITH compared AS (
            SELECT r.{key}, r.day, {own} s.score, s.level, s.benchmark, s.raw::DOUBLE / {POINT}.0 AS raw,
                   s.nano / {NANO}.0 AS score_exact, r.first_seen, r.last_seen, r.last_active, r.signed_up,
                   {_share("bit_count(r.steps)", steps)} AS activation,
                   {_share(_ones("r.recent", plan.event_words), len(plan.profile.scored))} AS adoption_recent,
                   {_share(_ones("r.ever", plan.event_words), len(plan.profile.scored))} AS adoption_ever,
                   ({_ones("r.days", plan.day_words)})::BIGINT AS frequency,
                   (r.days_0 & 1) = 1 AS active_today,
                   {_drivers(plan, points)} AS drivers,
                   l.level_previous, l.level_changed_on,
                   s.score - month.score AS score_change, s.score - earlier.score AS score_change_window,
                   CASE WHEN month_known.day IS NOT NULL THEN {scores.trend("s.score", "month.score")} END AS trend,
                   (r.day - local.day + (r.signed_up = local.starts)::BIGINT)::BIGINT AS tenure_days
            FROM {entity}_rows r
            JOIN {entity}_scores s ON s.key = r.{key} AND s.day = r.day
            JOIN {entity}_levels l ON l.key = r.{key} AND l.day = r.day
            LEFT JOIN all_{entity}_scores month ON month.key = r.{key} AND month.day = r.day - 30
            LEFT JOIN all_{entity}_scores earlier ON earlier.key = r.{key} AND earlier.day = r.day - {window}
            LEFT JOIN all_{entity}_days month_known ON month_known.day = r.day - 30
            LEFT JOIN local_days local ON local.utc_date = r.signed_up::DATE
                AND r.signed_up >= local.starts AND r.signed_up < local.ends
        )
        SELECT {shown}, c.day, score, {names} AS segments, activation, adoption_recent, adoption_ever, last_active,
               frequency, level, level_previous, level_changed_on, trend, score_change, score_change_window,
               tenure_days, benchmark, drivers, first_seen, last_seen, signed_up, {keys} AS audiences, raw,
               score_exact
        FROM compared c JOIN instants i ON i.day = c.day
    """
