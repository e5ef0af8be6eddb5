"""Stage 2, at home: who there is at the end of a day, and everything that was counted of each.

Reads `life` (user_no, account_no, first, last, last_active, ever_N, count_N: until the end of the day), the source's
tables `users` and `accounts` as they are today, `member_homes`, `placement`, `user_ids`, `account_ids` (no, id),
`local_days` (scoring.calendar.bounds) and leaves

    user_base, account_base    key, id, listed, created_at, signed_up, first_seen, last_seen, last_active, ever_N,
                               steps, and of users account_no, and `account_steps`: those of the
                               account that a user's own traits meet
    user_born, account_born    key, day
"""

from dataclasses import dataclass
from datetime import datetime

import duckdb

from heatsync.scoring.compute.compiled_profile import Plan
from heatsync.scoring.compute.weighting import ENTITIES, own
from heatsync.scoring.definition.activation import Step
from heatsync.scoring.definition.value_types import suggest

ALWAYS = -(10**6)
"""The day on which somebody signed up of whom nothing is known: always existed."""


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


def listed(con: duckdb.DuckDBPyConnection, plan: Plan, traits: Traits) -> None:
    """`user_listed`, `account_listed`: the source's tables by number, and which trait steps each meets today.

    Raises ValueError for a step that does not fit the tables.
    """
    flags: dict[str, list[str]] = {"user": [], "account": []}
    for entity in ENTITIES:
        for position, step in enumerate(getattr(plan.profile.activation, entity)):
            if step.trait is not None:
                table, comparison = traits.comparison(step, entity)
                flags[table].append(f"{comparison} AS {entity}_step_{position}")
    for table in ENTITIES:
        known = traits.columns.get(table, {})
        created = "created_at" if "created_at" in known else "NULL::TIMESTAMP AS created_at"
        source = (
            f"FROM {table}s JOIN {table}_ids ON id = {table}_id" if known else f"FROM {table}_ids WHERE false"
        )
        columns = ", ".join(["no AS key", created, "true AS listed", *flags[table]])
        con.execute(f"CREATE OR REPLACE TEMP TABLE {table}_listed AS SELECT {columns} {source}")


def lay_out(con: duckdb.DuckDBPyConnection, plan: Plan, t: datetime) -> None:
    """Who existed at the instant `t`."""
    until = f"TIMESTAMP '{t}'"
    con.execute(_users(plan, until))
    con.execute(_accounts(plan, until))
    for entity in ENTITIES:
        # Who is listed without a date had always existed, as far as was known before the first event.
        con.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE {entity}_born AS
            SELECT key, CASE WHEN listed AND created_at IS NULL THEN {ALWAYS} ELSE coalesce(d.day, {ALWAYS}) END AS day
            FROM {entity}_base b
            LEFT JOIN local_days d ON d.utc_date = b.known_from::DATE AND b.known_from >= d.starts AND b.known_from < d.ends
            """
        )


def _lived(plan: Plan) -> list[str]:
    return [
        "min(first) AS first_seen",
        "max(last) AS last_seen",
        "max(last_active) AS last_active",
        *(f"bit_or({each}) AS {each}" for each in plan.ever),
        *(f"sum({each})::BIGINT AS {each}" for each in plan.counts),
    ]


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


def _users(plan: Plan, until: str) -> str:
    tables = {"user": "b", "account": "f"}
    own_steps = {
        position: _met(
            plan, "user", position, step, "s", tables[step.column_of("user")[0]] if step.trait else ""
        )
        for position, step in enumerate(plan.profile.activation.user)
    }
    # What an account's own table says is asked once, of the account.
    shared = {
        position: _met(plan, "account", position, step, "s", "b")
        for position, step in enumerate(plan.profile.activation.account)
        if step.trait is not None and step.column_of("account")[0] == "user"
    }
    lived = ", ".join(_lived(plan))
    ever = ", ".join(f"coalesce(s.{each}, 0) AS {each}" for each in plan.ever)
    counts = "".join(f", coalesce(s.{each}, 0) AS {each}" for each in plan.counts)
    return f"""
        CREATE OR REPLACE TEMP TABLE user_base AS
        WITH s AS (SELECT user_no AS key, {lived} FROM life WHERE user_no IS NOT NULL GROUP BY user_no),
        b AS (
            SELECT * FROM user_listed UNION ALL BY NAME
            SELECT key, false AS listed FROM s ANTI JOIN user_listed USING (key)
        )
        SELECT b.key, i.id, b.listed, p.account_no, b.created_at, s.first_seen, s.last_seen, s.last_active,
               least(b.created_at, s.first_seen) AS signed_up, least(b.created_at, s.first_seen) AS known_from, {ever}{counts},
               {_bits(own_steps)} AS steps, {_bits(shared)} AS account_steps
        FROM b JOIN user_ids i ON i.no = b.key
        LEFT JOIN s ON s.key = b.key
        LEFT JOIN placement p ON p.user_no = b.key
        LEFT JOIN account_listed f ON f.key = p.account_no
        WHERE (b.listed OR s.first_seen IS NOT NULL) AND coalesce(least(b.created_at, s.first_seen) < {until}, true)
    """


def _accounts(plan: Plan, until: str) -> str:
    table_steps = {
        position: _met(plan, "account", position, step, "", "b")
        for position, step in enumerate(plan.profile.activation.account)
        if step.trait is not None and step.column_of("account")[0] == "account"
    }
    event_steps = {
        position: _met(plan, "account", position, step, "o", "")
        for position, step in enumerate(plan.profile.activation.account)
        if step.event is not None
    }
    columns = ["first", "last", "last_active", *plan.ever, *plan.counts]
    lived = ", ".join(_lived(plan))
    ever = ", ".join(f"coalesce(s.{each}, 0) AS {each}" for each in plan.ever)
    counts = "".join(f", coalesce(s.{each}, 0) AS {each}" for each in plan.counts)
    return f"""
        CREATE OR REPLACE TEMP TABLE account_base AS
        WITH o AS (
            SELECT key, user_no, {lived} FROM ({own("life", ", ".join(f"x.{each}" for each in columns))})
            GROUP BY key, user_no
        ),
        s AS (
            SELECT key, min(first_seen) AS first_seen, max(last_seen) AS last_seen, max(last_active) AS last_active,
                   {", ".join(f"bit_or({each}) AS {each}" for each in plan.ever)},
                   {"".join(f"sum({each})::BIGINT AS {each}, " for each in plan.counts)}
                   bit_or({_bits(event_steps)}) AS met
            FROM o GROUP BY key
        ),
        named AS (SELECT DISTINCT account_no AS key FROM member_homes),
        -- What a user did before an event placed him here did not make the account exist back then.
        k AS (
            SELECT account_no AS key, min(first) AS first FROM (
                SELECT h.account_no, l.first FROM life l JOIN member_homes h USING (user_no)
                UNION ALL SELECT account_no, first FROM life WHERE account_no IS NOT NULL
            ) GROUP BY account_no
        ),
        b AS (
            SELECT * FROM account_listed UNION ALL BY NAME
            SELECT key, true AS listed FROM named ANTI JOIN account_listed USING (key) UNION ALL BY NAME
            SELECT key, false AS listed FROM s ANTI JOIN account_listed USING (key) ANTI JOIN named USING (key)
        )
        SELECT b.key, i.id, b.listed, b.created_at, s.first_seen, s.last_seen, s.last_active,
               least(b.created_at, s.first_seen) AS signed_up, least(b.created_at, k.first) AS known_from, {ever}{counts},
               coalesce(s.met, 0) | {_bits(table_steps)} AS steps
        FROM b JOIN account_ids i ON i.no = b.key
        LEFT JOIN s ON s.key = b.key LEFT JOIN k ON k.key = b.key
        WHERE (b.listed OR s.first_seen IS NOT NULL) AND coalesce(least(b.created_at, s.first_seen) < {until}, true)
    """
