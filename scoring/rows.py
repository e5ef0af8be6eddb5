"""Stage 2, at home: a row per entity and day with everything that was counted, before it is scored.

Reads these tables of the connection, which stage 1 and the source filled:

    instants                          the days of the snapshots and their instants (scoring.calendar)
    users, accounts                   the source's tables, as they are today
    windows, direct_windows, states, direct_states, carried     scoring.counting
    local_days                        scoring.calendar.bounds, back to the first sign-up

and leaves `user_rows` and `account_rows`.
"""

from dataclasses import dataclass

import duckdb

from scoring.counting import Plan
from scoring.scalars import suggest
from scoring.steps import Step

ENTITIES = ("user", "account")


@dataclass(frozen=True, slots=True)
class Traits:
    """The columns of the users and accounts tables, by table and name, with their DuckDB types."""

    columns: dict[str, dict[str, str]]

    def comparison(self, step: Step, entity: str) -> tuple[str, str]:
        """The table that a trait step of an entity looks at, and its comparison as SQL over that table.

        Raises ValueError when there is no such table or column, or it cannot be compared.
        """
        table, column = step.column_of(entity)
        known = self.columns.get(table)
        if not known:
            raise ValueError(f"`{step.trait}` needs a table of {table}s, and the source names none")
        if column not in known:
            raise ValueError(
                f"`{step.trait}`: there is no column `{column}` in {table}s{suggest(column, known)}"
            )
        return table, step.sql(f'"{column.replace(chr(34), chr(34) * 2)}"', known[column])


def lay_out(con: duckdb.DuckDBPyConnection, plan: Plan, traits: Traits) -> None:
    """Fill `user_rows` and `account_rows`. Raises ValueError for a step that does not fit the tables."""
    _bases(con, plan, traits)
    _accumulate(con, plan, "states", "user_state", ("user_id",))
    _accumulate(con, plan, "direct_states", "direct_state", ("account_id", "user_id"))
    con.execute(_user_rows(plan))
    con.execute(_account_members(plan))
    con.execute(_account_direct(plan))
    con.execute(_account_rows(plan))


def membership(con: duckdb.DuckDBPyConnection) -> None:
    """`user_raw` and the account that each user is in on each day of `windows`: day, user_id, account_id, raw."""
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE member_raw AS
        SELECT w.day, w.user_id, coalesce(m.account_id, c.account_id) AS account_id, w.raw
        FROM user_raw w
        LEFT JOIN members m ON m.user_id = w.user_id
        ASOF LEFT JOIN carried c ON c.user_id = w.user_id AND w.day >= c.slot
        """
    )


def _words(prefix: str, words: range) -> list[str]:
    return [f"{prefix}_{word}" for word in words]


def _sets(plan: Plan) -> list[str]:
    return [*_words("recent", plan.event_words), *_words("days", plan.day_words)]


def _counts(plan: Plan) -> list[str]:
    return [f"count_{position}" for position in range(len(plan.counted))]


def _bases(con: duckdb.DuckDBPyConnection, plan: Plan, traits: Traits) -> None:
    """Who there is at all, and which trait steps each of them meets today."""
    flags: dict[str, list[str]] = {"user": [], "account": []}
    for entity in ENTITIES:
        for position, step in enumerate(getattr(plan.profile.activation, entity)):
            if step.trait is not None:
                table, comparison = traits.comparison(step, entity)
                flags[table].append(f"{comparison} AS {entity}_step_{position}")
    for table in ENTITIES:
        known = traits.columns.get(table, {})
        created = "created_at" if "created_at" in known else "NULL::TIMESTAMP AS created_at"
        source = f"FROM {table}s" if known else "WHERE false"
        key = f"{table}_id" if known else f"NULL::VARCHAR AS {table}_id"
        columns = ", ".join([key, created, "true AS listed", *flags[table]])
        con.execute(f"CREATE OR REPLACE TEMP TABLE {table}_listed AS SELECT {columns} {source}")
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE user_base AS
        SELECT l.*, m.account_id AS home FROM user_listed l LEFT JOIN members m USING (user_id)
        UNION ALL BY NAME
        SELECT DISTINCT user_id, false AS listed FROM states ANTI JOIN user_listed USING (user_id)
        """
    )


def _accumulate(
    con: duckdb.DuckDBPyConnection, plan: Plan, states: str, name: str, keys: tuple[str, ...]
) -> None:
    """What happened on each day, added up over all days until then."""
    running = [
        "min(first) OVER life AS first_seen",
        "max(last) OVER life AS last_seen",
        "max(last_active) OVER life AS last_active",
        *(f"bit_or({each}) OVER life AS {each}" for each in _words("ever", plan.event_words)),
        *(f"sum({each}) OVER life AS {each}" for each in _counts(plan)),
    ]
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {name} AS
        SELECT {", ".join(keys)}, slot, {", ".join(running)} FROM {states}
        WINDOW life AS (PARTITION BY {", ".join(keys)} ORDER BY slot ROWS UNBOUNDED PRECEDING)
        """
    )


def _met(plan: Plan, entity: str, position: int, step: Step, counts: str, flags: str) -> str:
    """Whether a step is met, over a row with the counts; the flag of a trait step stands in `flags`."""
    if step.event is not None:
        column = plan.counted.index(tuple(sorted(set(step.event))))
        return f"coalesce({counts}.count_{column}, 0) >= {step.count}"
    # Somebody who is in no table has no trait, which only `exists: false` asks for.
    absent = step.operator == "exists" and step.value == "false"
    return f"coalesce({flags}.{entity}_step_{position}, {str(absent).lower()})"


def _bits(conditions: dict[int, str]) -> str:
    """Conditions as the bits of a number."""
    bits = [f"(({condition})::BIGINT << {position})" for position, condition in conditions.items()]
    return " | ".join(bits) if bits else "0::BIGINT"


def _user_rows(plan: Plan) -> str:
    activation = plan.profile.activation
    tables = {"user": "g", "account": "f"}
    own = {
        position: _met(
            plan, "user", position, step, "s", tables[step.column_of("user")[0]] if step.trait else ""
        )
        for position, step in enumerate(activation.user)
    }
    # What an account's own table says is asked once, of the account.
    shared = {
        position: _met(plan, "account", position, step, "s", "g")
        for position, step in enumerate(activation.account)
        if step.event is not None or step.column_of("account")[0] == "user"
    }
    numbers = [*plan.points, *_sets(plan)]
    return f"""
        CREATE OR REPLACE TEMP TABLE user_rows AS
        WITH grid AS (SELECT b.*, i.day, i.t, i.ago_90 FROM user_base b CROSS JOIN instants i),
        placed AS (
            SELECT g.*, coalesce(g.home, c.account_id) AS account_id
            FROM grid g ASOF LEFT JOIN carried c ON c.user_id = g.user_id AND g.day >= c.slot
        )
        SELECT g.user_id, g.account_id, g.day, s.first_seen, s.last_seen, s.last_active,
               least(g.created_at, s.first_seen) AS signed_up,
               coalesce(s.last_seen >= g.ago_90, false) AS recent,
               {", ".join(f"coalesce(s.{each}, 0) AS {each}" for each in _words("ever", plan.event_words))},
               {", ".join(f"coalesce(w.{each}, 0) AS {each}" for each in numbers)},
               {" + ".join(f"coalesce(w.{each}, 0)" for each in plan.points)} AS raw,
               {_bits(own)} AS steps,
               {_bits(shared)} AS account_steps
        FROM placed g
        ASOF LEFT JOIN user_state s ON s.user_id = g.user_id AND g.day >= s.slot
        LEFT JOIN windows w ON w.user_id = g.user_id AND w.as_of = g.day
        LEFT JOIN account_listed f ON f.account_id = g.account_id
        WHERE (g.listed OR s.first_seen IS NOT NULL) AND coalesce(least(g.created_at, s.first_seen) < g.t, true)
    """


def _account_members(plan: Plan) -> str:
    """What an account has of its members on each day."""
    either = [*_words("ever", plan.event_words), *_sets(plan), "account_steps"]
    active = " OR ".join(f"{each} <> 0" for each in _words("recent", plan.event_words))
    return f"""
        CREATE OR REPLACE TEMP TABLE account_members AS
        SELECT account_id, day, min(first_seen) AS first_seen, max(last_seen) AS last_seen,
               max(last_active) AS last_active,
               count(*) FILTER ({active}) AS active_users,
               count(*) FILTER (recent) AS total_users,
               arg_min(user_id, ROW(-epoch_us(last_seen), user_id)) FILTER (last_seen IS NOT NULL) AS member,
               {", ".join(f"bit_or({each}) AS {each}" for each in either)},
               {", ".join(f"sum({each}) AS {each}" for each in plan.points)}
        FROM user_rows WHERE account_id IS NOT NULL GROUP BY account_id, day
    """


def _account_direct(plan: Plan) -> str:
    """What an account has of events that carry its id, on each day."""
    ever = _words("ever", plan.event_words)
    steps = {
        position: _met(plan, "account", position, step, "s", "")
        for position, step in enumerate(plan.profile.activation.account)
        if step.event is not None
    }
    return f"""
        CREATE OR REPLACE TEMP TABLE account_direct AS
        WITH lived AS (SELECT coalesce(user_id, '') AS actor, * EXCLUDE (user_id) FROM direct_state),
        actors AS (SELECT DISTINCT account_id, actor FROM lived),
        grid AS (SELECT a.*, i.day FROM actors a CROSS JOIN instants i)
        SELECT g.account_id, g.day, min(s.first_seen) AS first_seen, max(s.last_seen) AS last_seen,
               max(s.last_active) AS last_active, {", ".join(f"bit_or(s.{each}) AS {each}" for each in ever)},
               bit_or({_bits(steps)}) AS account_steps
        FROM grid g
        ASOF JOIN lived s ON s.account_id = g.account_id AND s.actor = g.actor AND g.day >= s.slot
        GROUP BY g.account_id, g.day
    """


def _account_rows(plan: Plan) -> str:
    steps = {
        position: _met(plan, "account", position, step, "", "g")
        for position, step in enumerate(plan.profile.activation.account)
        if step.trait is not None and step.column_of("account")[0] == "account"
    }
    ever = [
        f"(coalesce(m.{each}, 0) | coalesce(d.{each}, 0)) AS {each}"
        for each in _words("ever", plan.event_words)
    ]
    sets = [f"(coalesce(m.{each}, 0) | coalesce(w.{each}, 0)) AS {each}" for each in _sets(plan)]
    return f"""
        CREATE OR REPLACE TEMP TABLE account_rows AS
        WITH named AS (
            SELECT DISTINCT account_id FROM members WHERE account_id IS NOT NULL
        ),
        seen AS (
            SELECT account_id FROM account_members UNION SELECT account_id FROM account_direct
        ),
        base AS (
            SELECT * FROM account_listed
            UNION ALL BY NAME
            SELECT account_id, true AS listed FROM named ANTI JOIN account_listed USING (account_id)
            UNION ALL BY NAME
            SELECT account_id, false AS listed FROM seen
            ANTI JOIN account_listed USING (account_id) ANTI JOIN named USING (account_id)
        ),
        grid AS (SELECT b.*, i.day, i.t FROM base b CROSS JOIN instants i)
        SELECT g.account_id, g.day, least(m.first_seen, d.first_seen) AS first_seen,
               greatest(m.last_seen, d.last_seen) AS last_seen,
               greatest(m.last_active, d.last_active) AS last_active,
               least(g.created_at, m.first_seen, d.first_seen) AS signed_up,
               coalesce(m.active_users, 0) AS active_users, coalesce(m.total_users, 0) AS total_users, m.member,
               {", ".join([*ever, *sets])},
               {", ".join(f"coalesce(m.{each}, 0) AS {each}" for each in plan.points)},
               coalesce(m.account_steps, 0) | coalesce(d.account_steps, 0) | {_bits(steps)} AS steps
        FROM grid g
        LEFT JOIN account_members m ON m.account_id = g.account_id AND m.day = g.day
        LEFT JOIN account_direct d ON d.account_id = g.account_id AND d.day = g.day
        LEFT JOIN direct_windows w ON w.account_id = g.account_id AND w.as_of = g.day
        WHERE (g.listed OR m.first_seen IS NOT NULL OR d.first_seen IS NOT NULL)
          AND coalesce(least(g.created_at, m.first_seen, d.first_seen) < g.t, true)
    """
