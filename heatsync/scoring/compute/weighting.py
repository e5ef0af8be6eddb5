"""What the events of each day are worth, and the totals of windows.

Entities, accounts and events are numbers here (`user_no`, `account_no`, `event_no`); their texts are joined at the
end. Several days are summed in one query as long as no user changes its account between them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from heatsync.scoring.compute import calendar
from heatsync.scoring.compute.arrow import load_arrow
from heatsync.scoring.compute.calendar import DECAY_UNIT
from heatsync.scoring.compute.compiled_profile import (
    DAY_CAP,
    LOG_UNIT,
    NANO,
    WEIGHT_UNIT,
    CompiledProfile,
    CountedItem,
)
from heatsync.scoring.compute.relations import DayCounts, PlacedCounts, Relation, create_table, create_view
from heatsync.scoring.compute.scores import escape_quotes

ENTITIES = ("user", "account")
RAW_COLUMNS = ("day", "key", "part", "raw")
"""The columns of raw scores."""
COMBINED = -1
"""The part that is summed up together; an item that is summed separately is a part of its own."""


def event_in(event_ids: Relation, events: Iterable[str]) -> str:
    """SQL: whether a row of the daily counts is one of these events."""
    names = ", ".join(f"'{escape_quotes(name)}'" for name in events) or "NULL"
    return f"event_no IN (SELECT no FROM {event_ids} WHERE id IN ({names}))"


def account_rows(relation: object, columns: str, placement: Relation) -> str:
    """SQL: key, user_no and `columns` of the rows of `relation` (user_no, account_no, `x.` columns) that belong to an
    account: those of its users and those that carry its id, each counted once."""
    return (
        f"SELECT p.account_no AS key, x.user_no, {columns} FROM {relation} x JOIN {placement} p USING (user_no)"
        f" UNION ALL SELECT x.account_no AS key, x.user_no, {columns} FROM {relation} x"
        f" LEFT JOIN {placement} p USING (user_no)"
        " WHERE x.account_no IS NOT NULL AND x.account_no IS DISTINCT FROM p.account_no"
    )


def scored_events(
    con: duckdb.DuckDBPyConnection, plan: CompiledProfile, counts: DayCounts, by_properties: Relation
) -> Relation:
    """`done`: user_no, account_no (on the event), item, weight, per_day, day, n, total of the items of a profile.

    `by_properties` (user_no, account_no, item, day, n, total) are the items that select events by properties.
    """
    named_items = load_arrow(con, "named_items", plan.event_table())
    items = create_table(
        con,
        "item_events",
        ("event_no", "item", "weight", "per_day"),
        f"SELECT no AS event_no, item, weight, per_day FROM {named_items} JOIN {counts.ids['event']} ON id = event",
    )
    return create_view(
        con,
        "done",
        ("user_no", "account_no", "item", "weight", "per_day", "day", "n", "total"),
        f"""
        SELECT user_no, account_no, item, weight, per_day, day, n, total FROM {counts.daily} JOIN {items} USING (event_no)
        UNION ALL
        SELECT user_no, account_no, item, 1000 AS weight, NULL AS per_day, day, n, total FROM {by_properties}
        """,
    )


def place_users(
    con: duckdb.DuckDBPyConnection, counts: DayCounts, roaming: Relation, day: int
) -> PlacedCounts:
    """The counts, with each user's account as of a day: that of the users table, else the one on the last event that
    carried one. `roaming`: user_no, account_no, day, last of users without an account in the table."""
    placement = create_table(
        con,
        "placement",
        ("user_no", "account_no"),
        f"""
        SELECT user_no, account_no FROM {counts.homes}
        UNION ALL
        SELECT user_no, arg_min(account_no, ROW(-epoch_us(last), id)) AS account_no
        FROM {roaming} JOIN {counts.ids["account"]} ON no = account_no WHERE day <= {day} GROUP BY user_no
        """,
    )
    return PlacedCounts(counts, placement)


def daily_worth(
    con: duckdb.DuckDBPyConnection,
    plan: CompiledProfile,
    entity: str,
    done: Relation,
    placement: Relation,
    days: tuple[int, int],
) -> Relation:
    """`{entity}_worth`: key, part, day, w, from the first to the last of `days`. `placement` says which account a
    user belongs to."""
    rows = _done_by(entity, done, placement, f"day BETWEEN {days[0]} AND {days[1]}")
    return create_table(con, f"{entity}_worth", ("key", "part", "day", "w"), _worth(plan, rows))


def _done_by(entity: str, done: Relation, placement: Relation, days: str) -> str:
    """SQL: key, item, weight, per_day, day, n, total of an entity; `days` is an SQL condition."""
    if entity == "user":
        return (
            f"SELECT user_no AS key, item, weight, per_day, day, n, total FROM {done}"
            f" WHERE user_no IS NOT NULL AND {days}"
        )
    return account_rows(
        f"(FROM {done} WHERE {days})", "x.item, x.weight, x.per_day, x.day, x.n, x.total", placement
    )


def _worth(plan: CompiledProfile, rows: str) -> str:
    if plan.model == "kpi":
        return f"SELECT key, item AS part, day, sum(total)::HUGEINT AS w FROM ({rows}) GROUP BY ALL"
    limited = any(item.per_day is not None for item in plan.items)
    counted = rows
    if limited:
        # A capped event is summed first: on one day it may carry the ids of several accounts.
        counted = (
            f"SELECT key, item, weight, day, n FROM ({rows}) WHERE per_day IS NULL UNION ALL"
            f" SELECT key, item, weight, day, least(sum(n)::BIGINT, per_day) AS n FROM ({rows})"
            " WHERE per_day IS NOT NULL GROUP BY key, item, weight, per_day, day"
        )
    if plan.model == "engagement":
        # The sum is rounded, not the parts: two days of log2(3) equal one of log2(9).
        return (
            f"SELECT key, {COMBINED} AS part, day, round({LOG_UNIT} * log2(1 + sum(n)::DOUBLE))::HUGEINT AS w"
            f" FROM ({counted}) GROUP BY key, day"
        )
    alone = ", ".join(str(item.place) for item in plan.items if item.per_window is not None)
    part = f"CASE WHEN item IN ({alone}) THEN item ELSE {COMBINED} END" if alone else str(COMBINED)
    worth = f"CASE WHEN item IN ({alone}) THEN n ELSE n * weight END" if alone else "n * weight"
    return (
        f"SELECT key, {part} AS part, day, least(sum({worth}), {DAY_CAP})::BIGINT AS w"
        f" FROM ({counted}) GROUP BY ALL"
    )


def sum_windows(
    con: duckdb.DuckDBPyConnection,
    plan: CompiledProfile,
    entity: str,
    worth: Relation,
    days: Sequence[int],
    among: str = "",
) -> Relation:
    """`{entity}_raw`: day, key, part, raw of the windows that end with each of the days. `among` is SQL that keeps
    the entities that count, appended to a relation with day and key.

    In `kpi` there is one row per part, in millionths of an event times 1/DECAY_UNIT. Otherwise there is one row per
    entity (part COMBINED), in billionths of a point, so that scores that are equal by definition are equal here and
    ties remain ties.
    """
    window, decay = plan.profile.window, plan.profile.decay
    alone, plain = len(days) == 1, decay.kind == "none"
    source = str(worth)
    if not (alone and plain):
        windows = load_arrow(con, "windows", calendar.window_days(days, window, decay))
        source = f"{source} JOIN {windows} USING (day)"
    source = f"{source} WHERE day BETWEEN {min(days) - window + 1} AND {max(days)}"
    total = f"(sum(w) * {DECAY_UNIT})" if plain else "sum(w::HUGEINT * factor)"
    several = plan.model == "kpi" or any(item.per_window is not None for item in plan.items)
    part = "part" if several else f"{COMBINED} AS part"
    target = f"{days[0]}::BIGINT" if alone else "target"
    groups = ", ".join(["key", *(["part"] if several else []), *([] if alone else ["target"])])
    summed = f"SELECT {target} AS day, key, {part}, {total}::HUGEINT AS raw FROM {source} GROUP BY {groups}"
    if plan.model == "weighted" and several:
        summed = (
            f"SELECT day, key, {COMBINED} AS part, sum(CASE part {_capped(plan.items)} ELSE raw END)::HUGEINT AS raw"
            f" FROM ({summed}) GROUP BY day, key"
        )
    if plan.model != "kpi":
        unit = DECAY_UNIT * (LOG_UNIT if plan.model == "engagement" else WEIGHT_UNIT) // NANO
        summed = f"SELECT day, key, part, ((raw + {unit // 2}) // {unit})::BIGINT AS raw FROM ({summed})"
    return create_table(con, f"{entity}_raw", RAW_COLUMNS, f"FROM ({summed}){among}")


def roll_up_users(
    con: duckdb.DuckDBPyConnection,
    user_raw: Relation,
    placement: Relation,
    most: Mapping[int, int],
    among: str = "",
) -> Relation:
    """`account_raw`: day, key, part, raw: the sum over the users of an account. `most` caps each user's raw score, by
    day."""
    raw, caps = "u.raw", ""
    if most:
        rows = ", ".join(f"({day}, {cap}::HUGEINT)" for day, cap in most.items())
        raw, caps = "least(u.raw, c.cap)", f" LEFT JOIN (VALUES {rows}) c(day, cap) ON c.day = u.day"
    return create_table(
        con,
        "account_raw",
        RAW_COLUMNS,
        f"FROM (SELECT u.day, p.account_no AS key, {COMBINED} AS part,"
        f" sum({raw})::HUGEINT AS raw FROM {user_raw} u JOIN {placement} p ON p.user_no = u.key{caps}"
        f" GROUP BY u.day, p.account_no){among}",
    )


def _capped(items: tuple[CountedItem, ...]) -> str:
    return " ".join(
        f"WHEN {item.place} THEN least(raw, {item.per_window * DECAY_UNIT}) * {item.weight}"
        for item in items
        if item.per_window is not None
    )


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of `length` days that end with each of `days`."""

    length: int
    days: Sequence[int]


def entities_with_events(
    con: duckdb.DuckDBPyConnection,
    name: str,
    entity: str,
    placed: PlacedCounts,
    windows: Windows,
    among: str = "",
    only: str = "",
) -> Relation:
    """The table `name` (day, key): the entities with an event in each of the windows. `only` is SQL that selects rows
    of the daily counts (` AND ...`), `among` SQL that keeps entities."""
    days, length = windows.days, windows.length
    source, target = str(placed.counts.daily), f"{days[0]}::BIGINT"
    if len(days) > 1:
        spans = load_arrow(con, "windows", calendar.window_days(days, length))
        source, target = f"{source} JOIN {spans} USING (day)", "target"
    rows = (
        f"(SELECT DISTINCT {target} AS target, user_no, account_no FROM {source}"
        f" WHERE day BETWEEN {min(days) - length + 1} AND {max(days)}{only})"
    )
    found = f"SELECT DISTINCT target AS day, user_no AS key FROM {rows} WHERE user_no IS NOT NULL"
    if entity == "account":
        found = (
            f"SELECT DISTINCT target AS day, key FROM ({account_rows(rows, 'x.target', placed.placement)})"
        )
    return create_table(con, name, ("day", "key"), f"FROM ({found}){among}")


def event_points(
    con: duckdb.DuckDBPyConnection,
    plan: CompiledProfile,
    entity: str,
    done: Relation,
    placement: Relation,
    day: int,
) -> tuple[Relation, Relation]:
    """The window that ends with a day, as two relations.

    {entity}_points    key, item, n (events), points (in billionths; not used by `kpi`)
    {entity}_days      key, recent_N (bits of the items that were done), days_N (bits of the days with activity; bit 0 is
                       the last day)
    """
    window, decay = plan.profile.window, plan.profile.decay
    rows = _done_by(entity, done, placement, f"day BETWEEN {day - window + 1} AND {day}")
    windows = load_arrow(con, "windows", calendar.window_days([day], window, decay))
    counted = create_table(
        con,
        f"{entity}_done",
        ("key", "item", "weight", "day", "n", "counted", "total"),
        "SELECT key, item, weight, day, sum(n)::BIGINT AS n,"
        " least(sum(n)::BIGINT, coalesce(per_day, sum(n)::BIGINT)) AS counted,"
        f" sum(total)::DOUBLE AS total FROM ({rows}) GROUP BY key, item, weight, per_day, day",
    )
    if plan.model == "engagement":
        worth = (
            "log2(1 + sum(counted) OVER (PARTITION BY key, day)::DOUBLE) * counted"
            " / nullif(sum(counted) OVER (PARTITION BY key, day), 0)"
        )
    else:
        worth = "counted"
    found = create_table(
        con,
        f"{entity}_points",
        ("key", "item", "n", "points"),
        f"""
        SELECT key, item, sum(n)::BIGINT AS n, {_weighted(plan)} AS points
        FROM (SELECT key, item, weight, n, {worth} AS worth, factor FROM {counted} JOIN {windows} USING (day))
        GROUP BY key, item, weight
        """,
    )
    return found, _done_days(con, plan, entity, counted, day)


def _done_days(
    con: duckdb.DuckDBPyConnection, plan: CompiledProfile, entity: str, counted: Relation, day: int
) -> Relation:
    """`{entity}_days`: key, recent_N, days_N of what was done in a window, by key, item and day."""
    doing = ", ".join(str(item.place) for item in plan.items if item.done) or "NULL"
    happened = "total > 0" if plan.model == "kpi" else "n > 0"
    words = [
        *(
            f"bit_or(CASE WHEN {happened} AND item // 62 = {word} THEN 1::BIGINT << (item % 62)::INTEGER ELSE 0 END)"
            f" AS recent_{word}"
            for word in plan.item_words
        ),
        *(
            f"bit_or(CASE WHEN item IN ({doing}) AND ({day} - day) // 62 = {word}"
            f" THEN 1::BIGINT << (({day} - day) % 62)::INTEGER ELSE 0 END) AS days_{word}"
            for word in plan.day_words
        ),
    ]
    names = [f"recent_{word}" for word in plan.item_words] + [f"days_{word}" for word in plan.day_words]
    return create_table(
        con,
        f"{entity}_days",
        ("key", *names),
        f"SELECT key, {', '.join(words)} FROM {counted} GROUP BY key",
    )


def _weighted(plan: CompiledProfile) -> str:
    """SQL: points as whole numbers, so that sums do not depend on their order."""
    total = (
        "sum(round(worth * factor)::HUGEINT)"
        if plan.model == "engagement"
        else "sum(worth::HUGEINT * factor)"
    )
    unit = DECAY_UNIT // NANO
    if plan.model == "weighted":
        unit *= WEIGHT_UNIT
        caps = " ".join(
            f"WHEN {item.place} THEN {item.per_window * DECAY_UNIT}::HUGEINT"
            for item in plan.items
            if item.per_window is not None
        )
        capped = f"least({total}, CASE item {caps} ELSE {total} END)" if caps else total
        total = f"{capped} * weight"
    return f"(({total} + {unit // 2}) // {unit})::BIGINT"
