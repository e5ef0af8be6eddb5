"""Stage 2, at home: what each day was worth to an entity, and what the days of a window come to.

Entities, accounts and events are numbers here (`user_no`, `account_no`, `event_no`); their texts come back at the
end. Reads these tables of the connection:

    daily            user_no, account_no, event_no, day, n, total, first, last   (scoring.counting.daily)
    special_daily    user_no, account_no, thing, day, n, total                   (scoring.counting.special)
    thing_events     event_no, thing, weight, per_day                            (scoring.plan.Plan.named)
    member_homes     user_no, account_no: whose user is whose, by the users table
    roaming          user_no, account_no, day, last: the accounts on the events of users without a home

and leaves `placement` (user_no, account_no: the account that each user is in on a day), `user_worth`,
`account_worth` (key, part, day, w), `user_raw`, `account_raw` (day, key, part, raw).

What is summed up is so for several days at once, as long as nobody changes places between them.
"""

from collections.abc import Iterable, Mapping, Sequence

import duckdb

from heatsync.scoring.compute import calendar
from heatsync.scoring.compute.arrow import take
from heatsync.scoring.compute.calendar import FULL
from heatsync.scoring.compute.compiled_profile import LOGARITHM, MOST, NANO, WEIGHT, Plan, Thing
from heatsync.scoring.compute.scores import quoted

ENTITIES = ("user", "account")
WHOLE = -1
"""The part of what is summed up together; a thing that is kept by itself is a part of its own."""


def named(events: Iterable[str]) -> str:
    """Whether a row of the daily counts is of one of some events, as SQL."""
    names = ", ".join(f"'{quoted(name)}'" for name in events) or "NULL"
    return f"event_no IN (SELECT no FROM event_ids WHERE id IN ({names}))"


def own(relation: str, columns: str) -> str:
    """What is an account's own, as `key`: what its users did, and what carries its id, each once."""
    return (
        f"SELECT p.account_no AS key, x.user_no, {columns} FROM {relation} x JOIN placement p USING (user_no)"
        f" UNION ALL SELECT x.account_no AS key, x.user_no, {columns} FROM {relation} x"
        " LEFT JOIN placement p USING (user_no)"
        " WHERE x.account_no IS NOT NULL AND x.account_no IS DISTINCT FROM p.account_no"
    )


def prepare(con: duckdb.DuckDBPyConnection) -> None:
    """`done`: what was done of the things of the profile, per user, account on the event, and day."""
    con.execute(
        """
        CREATE OR REPLACE TEMP VIEW done AS
        SELECT user_no, account_no, thing, weight, per_day, day, n, total FROM daily JOIN thing_events USING (event_no)
        UNION ALL
        SELECT user_no, account_no, thing, 1000 AS weight, NULL AS per_day, day, n, total FROM special_daily
        """
    )


def place(con: duckdb.DuckDBPyConnection, day: int) -> None:
    """`placement` on a day: the account in the users table, else the one on the last event that carried one."""
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE placement AS
        SELECT user_no, account_no FROM member_homes
        UNION ALL
        SELECT user_no, arg_min(account_no, ROW(-epoch_us(last), id)) AS account_no
        FROM roaming JOIN account_ids ON no = account_no WHERE day <= {day} GROUP BY user_no
        """
    )


def weigh(con: duckdb.DuckDBPyConnection, plan: Plan, entity: str, first: int, last: int) -> None:
    """`{entity}_worth` of some days; for accounts as the users are placed now."""
    days = f"day BETWEEN {first} AND {last}"
    if entity == "user":
        rows = f"SELECT user_no AS key, thing, weight, per_day, day, n, total FROM done WHERE user_no IS NOT NULL AND {days}"
    else:
        rows = own(f"(FROM done WHERE {days})", "x.thing, x.weight, x.per_day, x.day, x.n, x.total")
    con.execute(f"CREATE OR REPLACE TEMP TABLE {entity}_worth AS {_worth(plan, rows)}")


def _worth(plan: Plan, rows: str) -> str:
    if plan.model == "kpi":
        return f"SELECT key, thing AS part, day, sum(total)::HUGEINT AS w FROM ({rows}) GROUP BY ALL"
    limited = any(thing.per_day is not None for thing in plan.things)
    counted = rows
    if limited:
        # An event that is capped is added up first: it may carry several accounts' ids on one day.
        counted = (
            f"SELECT key, thing, weight, day, n FROM ({rows}) WHERE per_day IS NULL UNION ALL"
            f" SELECT key, thing, weight, day, least(sum(n)::BIGINT, per_day) AS n FROM ({rows})"
            " WHERE per_day IS NOT NULL GROUP BY key, thing, weight, per_day, day"
        )
    if plan.model == "engagement":
        # Rounded as a sum, later: two days of log2(3) are one of log2(9).
        return (
            f"SELECT key, {WHOLE} AS part, day, round({LOGARITHM} * log2(1 + sum(n)::DOUBLE))::HUGEINT AS w"
            f" FROM ({counted}) GROUP BY key, day"
        )
    alone = ", ".join(str(thing.place) for thing in plan.things if thing.per_window is not None)
    part = f"CASE WHEN thing IN ({alone}) THEN thing ELSE {WHOLE} END" if alone else str(WHOLE)
    worth = f"CASE WHEN thing IN ({alone}) THEN n ELSE n * weight END" if alone else "n * weight"
    return (
        f"SELECT key, {part} AS part, day, least(sum({worth}), {MOST})::BIGINT AS w"
        f" FROM ({counted}) GROUP BY ALL"
    )


def add_up(
    con: duckdb.DuckDBPyConnection, plan: Plan, entity: str, days: Sequence[int], among: str = ""
) -> None:
    """`{entity}_raw` of the windows that end with some days; `among` is what picks those that count, over (day, key).

    In `kpi` one row per part, in millionths of an event and 1/FULL; else one row per entity (part WHOLE), in
    billionths of a point: what is equal by the definition is equal here, and ties stay ties.
    """
    window, decay = plan.profile.window, plan.profile.decay
    alone, plain = len(days) == 1, decay.kind == "none"
    source = f"{entity}_worth"
    if not (alone and plain):
        take(con, "windows", calendar.spans(days, window, decay))
        source = f"{source} JOIN windows USING (day)"
    source = f"{source} WHERE day BETWEEN {min(days) - window + 1} AND {max(days)}"
    total = f"(sum(w) * {FULL})" if plain else "sum(w::HUGEINT * factor)"
    several = plan.model == "kpi" or any(thing.per_window is not None for thing in plan.things)
    part = "part" if several else f"{WHOLE} AS part"
    target = f"{days[0]}::BIGINT" if alone else "target"
    groups = ", ".join(["key", *(["part"] if several else []), *([] if alone else ["target"])])
    summed = f"SELECT {target} AS day, key, {part}, {total}::HUGEINT AS raw FROM {source} GROUP BY {groups}"
    if plan.model == "weighted" and several:
        summed = (
            f"SELECT day, key, {WHOLE} AS part, sum(CASE part {_capped(plan.things)} ELSE raw END)::HUGEINT AS raw"
            f" FROM ({summed}) GROUP BY day, key"
        )
    if plan.model != "kpi":
        unit = FULL * (LOGARITHM if plan.model == "engagement" else WEIGHT) // NANO
        summed = f"SELECT day, key, part, ((raw + {unit // 2}) // {unit})::BIGINT AS raw FROM ({summed})"
    con.execute(f"CREATE OR REPLACE TEMP TABLE {entity}_raw AS FROM ({summed}){among}")


def roll_up(con: duckdb.DuckDBPyConnection, most: Mapping[int, int], among: str = "") -> None:
    """`account_raw`: what the users in it have together, each on a day at most so much."""
    raw, caps = "u.raw", ""
    if most:
        rows = ", ".join(f"({day}, {cap}::HUGEINT)" for day, cap in most.items())
        raw, caps = "least(u.raw, c.cap)", f" LEFT JOIN (VALUES {rows}) c(day, cap) ON c.day = u.day"
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE account_raw AS FROM (SELECT u.day, p.account_no AS key, {WHOLE} AS part,"
        f" sum({raw})::HUGEINT AS raw FROM user_raw u JOIN placement p ON p.user_no = u.key{caps}"
        f" GROUP BY u.day, p.account_no){among}"
    )


def _capped(things: tuple[Thing, ...]) -> str:
    return " ".join(
        f"WHEN {thing.place} THEN least(raw, {thing.per_window * FULL}) * {thing.weight}"
        for thing in things
        if thing.per_window is not None
    )


def attend(
    con: duckdb.DuckDBPyConnection,
    table: str,
    entity: str,
    length: int,
    days: Sequence[int],
    among: str = "",
    only: str = "",
) -> None:
    """`table` (day, key): who has an event in so many days that end with each of some; `only` says of which kind."""
    source, target = "daily", f"{days[0]}::BIGINT"
    if len(days) > 1:
        take(con, "windows", calendar.spans(days, length))
        source, target = "daily JOIN windows USING (day)", "target"
    rows = (
        f"(SELECT DISTINCT {target} AS target, user_no, account_no FROM {source}"
        f" WHERE day BETWEEN {min(days) - length + 1} AND {max(days)}{only})"
    )
    found = f"SELECT DISTINCT target AS day, user_no AS key FROM {rows} WHERE user_no IS NOT NULL"
    if entity == "account":
        found = f"SELECT DISTINCT target AS day, key FROM ({own(rows, 'x.target')})"
    con.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS FROM ({found}){among}")


def points(con: duckdb.DuckDBPyConnection, plan: Plan, entity: str, day: int) -> None:
    """`{entity}_points`: per entity and thing, n events in the window and the points that they make, in billionths
    (in `kpi` nothing is made of them); `{entity}_days`: the bits of what was done, and of the days on which something
    was (`today` with bit 0)."""
    window, decay = plan.profile.window, plan.profile.decay
    days = f"day BETWEEN {day - window + 1} AND {day}"
    if entity == "user":
        rows = f"SELECT user_no AS key, thing, weight, per_day, day, n, total FROM done WHERE user_no IS NOT NULL AND {days}"
    else:
        rows = own(f"(FROM done WHERE {days})", "x.thing, x.weight, x.per_day, x.day, x.n, x.total")
    take(con, "windows", calendar.spans([day], window, decay))
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {entity}_done AS"
        f" SELECT key, thing, weight, day, sum(n)::BIGINT AS n, least(sum(n)::BIGINT, coalesce(per_day, sum(n)::BIGINT)) AS counted,"
        f" sum(total)::DOUBLE AS total FROM ({rows}) GROUP BY key, thing, weight, per_day, day"
    )
    if plan.model == "engagement":
        worth = (
            "log2(1 + sum(counted) OVER (PARTITION BY key, day)::DOUBLE) * counted"
            " / nullif(sum(counted) OVER (PARTITION BY key, day), 0)"
        )
    else:
        worth = "counted"
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {entity}_points AS
        SELECT key, thing, sum(n)::BIGINT AS n, {_weighted(plan)} AS points
        FROM (SELECT key, thing, weight, n, {worth} AS worth, factor FROM {entity}_done JOIN windows USING (day))
        GROUP BY key, thing, weight
        """
    )
    doing = ", ".join(str(thing.place) for thing in plan.things if thing.done) or "NULL"
    happened = "total > 0" if plan.model == "kpi" else "n > 0"
    words = [
        *(
            f"bit_or(CASE WHEN {happened} AND thing // 62 = {word} THEN 1::BIGINT << (thing % 62)::INTEGER ELSE 0 END)"
            f" AS recent_{word}"
            for word in plan.thing_words
        ),
        *(
            f"bit_or(CASE WHEN thing IN ({doing}) AND ({day} - day) // 62 = {word}"
            f" THEN 1::BIGINT << (({day} - day) % 62)::INTEGER ELSE 0 END) AS days_{word}"
            for word in plan.day_words
        ),
    ]
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {entity}_days AS SELECT key, {', '.join(words)} FROM {entity}_done GROUP BY key"
    )


def _weighted(plan: Plan) -> str:
    """Whole numbers, so that they are the same however they are added up."""
    total = (
        "sum(round(worth * factor)::HUGEINT)"
        if plan.model == "engagement"
        else "sum(worth::HUGEINT * factor)"
    )
    unit = FULL // NANO
    if plan.model == "weighted":
        unit *= WEIGHT
        caps = " ".join(
            f"WHEN {thing.place} THEN {thing.per_window * FULL}::HUGEINT"
            for thing in plan.things
            if thing.per_window is not None
        )
        capped = f"least({total}, CASE thing {caps} ELSE {total} END)" if caps else total
        total = f"{capped} * weight"
    return f"(({total} + {unit // 2}) // {unit})::BIGINT"
