"""The entities that exist at the end of a day, with their lifetime counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import duckdb

from heatsync.scoring.compute.compiled_profile import CompiledProfile
from heatsync.scoring.compute.relations import PlacedCounts, Relation, create_table
from heatsync.scoring.compute.weighting import ENTITIES, account_rows
from heatsync.scoring.definition.activation import Step
from heatsync.scoring.definition.value_types import suggest

ALWAYS_EXISTED = -(10**6)
"""The sign-up day of an entity about which nothing is known: it has always existed."""


@dataclass(frozen=True, slots=True)
class Traits:
    """The users and accounts tables that the source has, by `user` and `account`: as relations, and their columns by
    name with their DuckDB types."""

    columns: dict[str, dict[str, str]]
    tables: Mapping[str, Relation]

    def comparison(self, step: Step, entity: str) -> tuple[str, str]:
        """The table that a trait step of an entity reads, and its comparison as SQL over that table.

        Raises ValueError when the table or column does not exist or cannot be compared.
        """
        table, column = step.column_of(entity)
        known = self.columns.get(table)
        if not known:
            raise ValueError(f"`{step.trait}` needs a table of {table}s, but the source has none")
        if column not in known:
            raise ValueError(
                f"`{step.trait}`: there is no column `{column}` in {table}s{suggest(column, known)}"
            )
        return table, step.sql(f'"{column.replace(chr(34), chr(34) * 2)}"', known[column])


@dataclass(frozen=True, slots=True)
class Entities:
    """The entities of a kind (`user` or `account`).

    listed    key, created_at, listed, and a flag per trait step of the activation: the source's table, by number
    base      key, id, listed, created_at, signed_up, known_from, first_seen, last_seen, last_active, ever_N, count_N,
              steps (bits of the activation steps met); of users also account_no and account_steps: the steps of the
              account that the user's own traits meet
    born      key, day: the day since which it exists
    """

    listed: Relation
    base: Relation
    born: Relation


def listed_entities(
    con: duckdb.DuckDBPyConnection, plan: CompiledProfile, traits: Traits, ids: Mapping[str, Relation]
) -> dict[str, Relation]:
    """`user_listed` and `account_listed`: the source's tables by number, with a flag for each trait step that a row
    meets today.

    Raises ValueError for a step that does not fit the tables.
    """
    flags: dict[str, list[str]] = {"user": [], "account": []}
    names: dict[str, list[str]] = {"user": [], "account": []}
    for entity in ENTITIES:
        for position, step in enumerate(getattr(plan.profile.activation, entity)):
            if step.trait is not None:
                table, comparison = traits.comparison(step, entity)
                flags[table].append(f"{comparison} AS {entity}_step_{position}")
                names[table].append(f"{entity}_step_{position}")
    found: dict[str, Relation] = {}
    for table in ENTITIES:
        known = traits.columns.get(table, {})
        created = "created_at" if "created_at" in known else "NULL::TIMESTAMP AS created_at"
        source = (
            f"FROM {traits.tables[table]} JOIN {ids[table]} ON id = {table}_id"
            if known
            else f"FROM {ids[table]} WHERE false"
        )
        columns = ", ".join(["no AS key", created, "true AS listed", *flags[table]])
        found[table] = create_table(
            con,
            f"{table}_listed",
            ("key", "created_at", "listed", *names[table]),
            f"SELECT {columns} {source}",
        )
    return found


@dataclass(frozen=True, slots=True)
class EntityInputs:
    """The input of `build_entities`.

    life          user_no, account_no, first, last, last_active, ever_N, count_N: until the end of the day
    listed        by entity, the tables of `listed_entities`
    placed        the counts, and the account of each user
    local_days    calendar.day_bounds
    """

    life: Relation
    listed: Mapping[str, Relation]
    placed: PlacedCounts
    local_days: Relation


def build_entities(
    con: duckdb.DuckDBPyConnection, plan: CompiledProfile, t: datetime, inputs: EntityInputs
) -> dict[str, Entities]:
    """The users and accounts that existed at the instant `t` (naive, in UTC), by `user` and `account`."""
    until = f"TIMESTAMP '{t}'"
    queries = {"user": _users(plan, until, inputs), "account": _accounts(plan, until, inputs)}
    seen = ("created_at", "first_seen", "last_seen", "last_active", "signed_up", "known_from")
    own = {"user": ("account_no", "account_steps"), "account": ()}
    found: dict[str, Entities] = {}
    for entity in ENTITIES:
        columns = (
            "key",
            "id",
            "listed",
            *own[entity][:1],
            *seen,
            *plan.ever,
            *plan.counts,
            "steps",
            *own[entity][1:],
        )
        base = create_table(con, f"{entity}_base", columns, queries[entity])
        # An entity that is listed without a date has existed since before the first event.
        born = create_table(
            con,
            f"{entity}_born",
            ("key", "day"),
            f"""
            SELECT key, CASE WHEN listed AND created_at IS NULL THEN {ALWAYS_EXISTED} ELSE coalesce(d.day, {ALWAYS_EXISTED}) END AS day
            FROM {base} b LEFT JOIN {inputs.local_days} d
            ON d.utc_date = b.known_from::DATE AND b.known_from >= d.starts AND b.known_from < d.ends
            """,
        )
        found[entity] = Entities(inputs.listed[entity], base, born)
    return found


def _lived(plan: CompiledProfile) -> list[str]:
    return [
        "min(first) AS first_seen",
        "max(last) AS last_seen",
        "max(last_active) AS last_active",
        *(f"bit_or({each}) AS {each}" for each in plan.ever),
        *(f"sum({each})::BIGINT AS {each}" for each in plan.counts),
    ]


def _met(plan: CompiledProfile, entity: str, position: int, step: Step, counts: str, flags: str) -> str:
    """SQL: whether a step is met. `counts` is the alias of a row with the counts, `flags` that of a row with the
    flags of trait steps."""
    if step.event is not None:
        column = plan.counted.index(tuple(sorted(set(step.event))))
        return f"coalesce({counts}.count_{column}, 0) >= {step.count}"
    # An entity that is in no table has no traits; only `exists: false` holds for it.
    absent = step.operator == "exists" and step.value == "false"
    return f"coalesce({flags}.{entity}_step_{position}, {str(absent).lower()})"


def _bits(conditions: dict[int, str]) -> str:
    """SQL: conditions as the bits of a number."""
    bits = [f"(({condition})::BIGINT << {position})" for position, condition in conditions.items()]
    return " | ".join(bits) if bits else "0::BIGINT"


def _users(plan: CompiledProfile, until: str, inputs: EntityInputs) -> str:
    tables = {"user": "b", "account": "f"}
    own_steps = {
        position: _met(
            plan, "user", position, step, "s", tables[step.column_of("user")[0]] if step.trait else ""
        )
        for position, step in enumerate(plan.profile.activation.user)
    }
    # Steps that the account's own table decides are evaluated once, for the account.
    shared = {
        position: _met(plan, "account", position, step, "s", "b")
        for position, step in enumerate(plan.profile.activation.account)
        if step.trait is not None and step.column_of("account")[0] == "user"
    }
    lived = ", ".join(_lived(plan))
    ever = ", ".join(f"coalesce(s.{each}, 0) AS {each}" for each in plan.ever)
    counts = "".join(f", coalesce(s.{each}, 0) AS {each}" for each in plan.counts)
    return f"""
        WITH s AS (SELECT user_no AS key, {lived} FROM {inputs.life} WHERE user_no IS NOT NULL GROUP BY user_no),
        b AS (
            SELECT * FROM {inputs.listed["user"]} UNION ALL BY NAME
            SELECT key, false AS listed FROM s ANTI JOIN {inputs.listed["user"]} USING (key)
        )
        SELECT b.key, i.id, b.listed, p.account_no, b.created_at, s.first_seen, s.last_seen, s.last_active,
               least(b.created_at, s.first_seen) AS signed_up, least(b.created_at, s.first_seen) AS known_from, {ever}{counts},
               {_bits(own_steps)} AS steps, {_bits(shared)} AS account_steps
        FROM b JOIN {inputs.placed.counts.ids["user"]} i ON i.no = b.key
        LEFT JOIN s ON s.key = b.key
        LEFT JOIN {inputs.placed.placement} p ON p.user_no = b.key
        LEFT JOIN {inputs.listed["account"]} f ON f.key = p.account_no
        WHERE (b.listed OR s.first_seen IS NOT NULL) AND coalesce(least(b.created_at, s.first_seen) < {until}, true)
    """


def _accounts(plan: CompiledProfile, until: str, inputs: EntityInputs) -> str:
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
        WITH o AS (
            SELECT key, user_no, {lived} FROM ({account_rows(inputs.life, ", ".join(f"x.{each}" for each in columns), inputs.placed.placement)})
            GROUP BY key, user_no
        ),
        s AS (
            SELECT key, min(first_seen) AS first_seen, max(last_seen) AS last_seen, max(last_active) AS last_active,
                   {", ".join(f"bit_or({each}) AS {each}" for each in plan.ever)},
                   {"".join(f"sum({each})::BIGINT AS {each}, " for each in plan.counts)}
                   bit_or({_bits(event_steps)}) AS met
            FROM o GROUP BY key
        ),
        named AS (SELECT DISTINCT account_no AS key FROM {inputs.placed.counts.homes}),
        -- What a user did before an event placed it here did not make the account exist back then.
        k AS (
            SELECT account_no AS key, min(first) AS first FROM (
                SELECT h.account_no, l.first FROM {inputs.life} l JOIN {inputs.placed.counts.homes} h USING (user_no)
                UNION ALL SELECT account_no, first FROM {inputs.life} WHERE account_no IS NOT NULL
            ) GROUP BY account_no
        ),
        b AS (
            SELECT * FROM {inputs.listed["account"]} UNION ALL BY NAME
            SELECT key, true AS listed FROM named ANTI JOIN {inputs.listed["account"]} USING (key) UNION ALL BY NAME
            SELECT key, false AS listed FROM s ANTI JOIN {inputs.listed["account"]} USING (key) ANTI JOIN named USING (key)
        )
        SELECT b.key, i.id, b.listed, b.created_at, s.first_seen, s.last_seen, s.last_active,
               least(b.created_at, s.first_seen) AS signed_up, least(b.created_at, k.first) AS known_from, {ever}{counts},
               coalesce(s.met, 0) | {_bits(table_steps)} AS steps
        FROM b JOIN {inputs.placed.counts.ids["account"]} i ON i.no = b.key
        LEFT JOIN s ON s.key = b.key LEFT JOIN k ON k.key = b.key
        WHERE (b.listed OR s.first_seen IS NOT NULL) AND coalesce(least(b.created_at, s.first_seen) < {until}, true)
    """
