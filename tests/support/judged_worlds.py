"""A small world of users, accounts and events. Plain Python and compiled SQL evaluate conditions in it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any as Anything
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa

from heatsync.scoring.compute.condition_sql import TRAITS, CompiledCondition, Scope
from heatsync.scoring.compute.event_counts import EventCount
from heatsync.scoring.definition.comparisons import Comparison
from heatsync.scoring.definition.condition_types import (
    All,
    Any,
    Condition,
    Duration,
    Events,
    LevelChange,
    Member,
    Not,
    Time,
    Trait,
    Users,
)
from heatsync.scoring.definition.profile import Profile

PROFILE = Profile.model_validate(
    {
        "version": "1",
        "name": "Health",
        "events": [
            {"event": "Report", "weight": "8"},
            {"event": "Invite", "weight": "5"},
            {"event": "Login", "weight": "0", "passive": "true"},
        ],
    }
)
NAMES = ("Report", "Invite", "Login", "Other")
TIERS = {"advanced": ("Report",), "core": ("Invite",), "common": ()}
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")
DAYS = (date(2026, 3, 30), date(2026, 10, 26), date(2026, 11, 2), date(2026, 6, 15))
"""Berlin changes its clocks on 29 March and 25 October, New York on 1 November."""
LEVELS = (None, "Low", "Medium", "High")
COLUMNS = {
    "user": {"user_id": "VARCHAR", "plan": "VARCHAR", "seats": "DOUBLE", "vip": "BOOLEAN", "Born On": "DATE",
             "met": "TIMESTAMP", "tags": "VARCHAR[]"},
    "account": {"account_id": "VARCHAR", "plan": "VARCHAR", "size": "BIGINT"},
}  # fmt: skip
_ROW = (
    "key VARCHAR, account_id VARCHAR, score BIGINT, activation DOUBLE, level VARCHAR, level_changed_on DATE,"
    " last_seen TIMESTAMP, first_seen TIMESTAMP, last_active TIMESTAMP, created_at TIMESTAMP, signed_up TIMESTAMP,"
    " adoption_recent DOUBLE, score_change BIGINT, score_change_window BIGINT, trend VARCHAR, frequency BIGINT,"
    " active_users BIGINT"
)
_CHANGES = "key VARCHAR, day BIGINT, level_before VARCHAR, level VARCHAR"
CREATE = {
    "r_user": _ROW,
    "r_account": _ROW,
    "user_changes": _CHANGES,
    "account_changes": _CHANGES,
    "u": ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS["user"].items()),
    "a": ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS["account"].items()),
}


@dataclass(frozen=True)
class World:
    """Users, their accounts, events and level changes, and the day of the evaluation."""

    day: date
    zone: str
    users: tuple[dict[str, Anything], ...]
    accounts: tuple[dict[str, Anything], ...]
    events: tuple[tuple[str, str, datetime, Mapping[str, str]], ...]
    changes: tuple[tuple[str, int, str | None, str | None], ...]


# The definition, in plain Python


def midnight(day: date, zone: str) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC).replace(tzinfo=None)


class Truth:
    """Evaluates a condition as the definition says, section by section."""

    def __init__(self, world: World, entity: str, audiences: Mapping[str, Mapping[str, Condition]]) -> None:
        self.world, self.entity, self.audiences = world, entity, audiences

    def back(self, duration: Duration | None) -> datetime:
        after = self.world.day + timedelta(days=1)
        if duration is None:
            return midnight(after, self.world.zone)
        if duration.unit == "h":
            return midnight(after, self.world.zone) - timedelta(hours=duration.amount)
        days = duration.amount * (7 if duration.unit == "w" else 1)
        return midnight(after - timedelta(days=days), self.world.zone)

    def holds(self, condition: Condition, row: dict[str, Anything]) -> bool:
        match condition:
            case All(items):
                return all(self.holds(item, row) for item in items)
            case Any(items):
                return any(self.holds(item, row) for item in items)
            case Not(item):
                return not self.holds(item, row)
            case Trait(name, comparison):
                return compares(self.value(name, row), comparison, self.world.zone)
            case Member(key):
                return self.holds(self.audiences[self.entity][key], row)
            case Events():
                return self.events(condition, row)
            case Time():
                return self.time(condition, row)
            case Users(inner, comparison, share):
                of = Truth(self.world, "user", self.audiences)
                mine = [each for each in self.world.users if each["account_id"] == row["key"]]
                count = sum(of.holds(inner, each) for each in mine)
                if not share:
                    return number(Fraction(count), comparison)
                return bool(mine) and number(Fraction(100 * count, len(mine)), comparison)
            case LevelChange(before, after, within):
                return self.moved(row["key"], before, after, within.days or 0)
        raise AssertionError

    def value(self, name: str, row: dict[str, Anything]) -> Anything:
        table, dot, column = name.partition(".")
        if not dot:
            return row["key"] if name == f"{self.entity}_id" else row[name]
        if table == "user":
            return row["traits"][column]
        key = row["key"] if self.entity == "account" else row["account_id"]
        found = next((each for each in self.world.accounts if each["key"] == key), None)
        return None if found is None else found["traits"].get(column)

    def count(self, events: Events, key: str, old: Duration | None, new: Duration | None) -> int:
        if events.scored:
            names: tuple[str, ...] | None = ("Report", "Invite")
        elif events.tier:
            names = TIERS[events.tier]
        else:
            names = events.names
        count = 0
        for owner, name, at, properties in self.world.events:
            inside = (old is None or at >= self.back(old)) and at < self.back(new)
            fits = all(compares(properties.get(each), how, "UTC") for each, how in events.where)
            count += owner == key and inside and fits and (names is None or name in names)
        return count

    def events(self, events: Events, row: dict[str, Anything]) -> bool:
        count = Fraction(self.count(events, row["key"], events.old, events.new))
        if events.ratio is not None:
            of = self.count(events, row["key"], *events.ratio)
            if of == 0:
                return False
            count /= of
        return all(number(count, comparison) for comparison in events.count)

    def time(self, time: Time, row: dict[str, Anything]) -> bool:
        at = row[time.field]
        if at is None:
            return False
        if time.field == "level_changed_on":
            at = midnight(at, self.world.zone)
        zone = self.world.zone
        return not (
            (time.old is not None and not self.back(time.old) <= at < self.back(None))
            or (time.new is not None and at >= self.back(time.new))
            or (time.after is not None and at < midnight(time.after, zone))
            or (time.before is not None and at >= midnight(time.before, zone))
        )

    def moved(self, key: str, before: str | None, after: str | None, days: int) -> bool:
        last = (self.world.day - date(1970, 1, 1)).days
        mine = [each for each in self.world.changes if each[0] == key and last - days < each[1] <= last]
        return any(
            (before is None or left[2] == before) and (after is None or come[3] == after)
            for left in mine
            for come in mine
            if come[1] >= left[1] and (come == left or (before is not None and after is not None))
        )


def compares(value: Anything, comparison: Comparison, zone: str) -> bool:
    missing = value is None or value == "" or (isinstance(value, float) and math.isnan(value))
    if comparison.operator == "exists":
        return missing == (comparison.value == "false")
    if missing:
        return False
    written = comparison.values
    if isinstance(value, bool):
        among = str(value).lower() in written
        return not among if comparison.operator in ("neq", "not_in") else among
    if isinstance(value, list):
        return written[0] in value
    if comparison.operator == "contains":
        return written[0] in value
    if comparison.operator == "starts_with":
        return bool(value.startswith(written[0]))
    if isinstance(value, str):
        return value not in written if comparison.operator in ("neq", "not_in") else value in written
    if isinstance(value, datetime):
        value = value.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).date()
    if isinstance(value, date):
        return ordered(value, comparison.operator, [date.fromisoformat(each) for each in written])
    if isinstance(value, float):
        return ordered(value, comparison.operator, [float(each) for each in written])
    return number(Fraction(value), comparison)


def number(value: Fraction, comparison: Comparison) -> bool:
    return ordered(value, comparison.operator, [Fraction(each) for each in comparison.values])


def ordered(value: Anything, operator: str, written: list[Anything]) -> bool:
    answers = {
        "eq": value == written[0],
        "neq": value != written[0],
        "gt": value > written[0],
        "gte": value >= written[0],
        "lt": value < written[0],
        "lte": value <= written[0],
        "between": written[0] <= value <= written[-1],
        "in": value in written,
        "not_in": value not in written,
    }
    return bool(answers[operator])


# The SQL, over tables of the same world


def scope(world: World, entity: str, audiences: Mapping[str, Mapping[str, Condition]]) -> Scope:
    users = Scope(
        profile=PROFILE,
        entity="user",
        day=(world.day - date(1970, 1, 1)).days,
        zone=ZoneInfo(world.zone),
        columns=COLUMNS,
        traits=TRAITS["user"],
        audiences=audiences["user"],
        events=frozenset(NAMES),
    )
    if entity == "user":
        return users
    return replace(
        users, entity="account", traits=TRAITS["account"], audiences=audiences["account"], users=users
    )


def counted(world: World, measure: EventCount, key: str) -> int:
    """As the source counts: in the interval of the count."""
    since, until = measure.interval((world.day - date(1970, 1, 1)).days, ZoneInfo(world.zone))
    return sum(
        owner == key
        and (since is None or at >= since)
        and at < until
        and (measure.events is None or name in measure.events)
        and all(compares(properties.get(each), how, "UTC") for each, how in measure.where)
        for owner, name, at, properties in world.events
    )


def put(con: duckdb.DuckDBPyConnection, table: str, rows: Iterable[Iterable[Anything]]) -> None:
    several = [list(row) for row in rows]
    if several:
        marks = f"({', '.join('?' for _ in several[0])})"
        values = [value for row in several for value in row]
        con.execute(f"INSERT INTO {table} VALUES {', '.join(marks for _ in several)}", values)


def fill(con: duckdb.DuckDBPyConnection, world: World) -> None:
    for name, columns in CREATE.items():
        con.execute(f"CREATE OR REPLACE TABLE {name} ({columns})")
    names = [column.split()[0] for column in CREATE["r_user"].split(", ")]
    put(con, "r_user", ([each.get(name) for name in names] for each in world.users))
    put(con, "r_account", ([each.get(name) for name in names] for each in world.accounts))
    put(con, "u", ([each["key"], *each["traits"].values()] for each in world.users))
    put(con, "a", ([each["key"], *each["traits"].values()] for each in world.accounts))
    for entity in ("user", "account"):
        put(con, f"{entity}_changes", world.changes)


def found(
    con: duckdb.DuckDBPyConnection, world: World, entity: str, judged: list[CompiledCondition]
) -> list[set[str]]:
    """The keys that each SQL condition holds for; the SQL must never be NULL."""
    members = dict(member for each in judged for member in each.members)
    inside = (
        dict(zip(members, found(con, world, "user", list(members.values())), strict=True)) if members else {}
    )
    keys = [each["key"] for each in (world.users if entity == "user" else world.accounts)]
    measures = {measure.column: measure for each in judged for measure in each.measures}
    counts = {"key": pa.array(keys, pa.string())} | {
        column: pa.array([counted(world, measure, key) for key in keys], pa.int64())
        for column, measure in measures.items()
    }
    of = {key: {each["key"] for each in world.users if each["account_id"] == key} for key in keys}
    totals = {"key": pa.array(keys, pa.string())} | {
        column: pa.array([len(of[key] & some) for key in keys], pa.int64())
        for column, some in {"users_all": set().union(*of.values()), **inside}.items()
    }
    con.register("c_counts", pa.table(counts))
    con.register("m_counts", pa.table(totals))
    account = "r.account_id" if entity == "user" else "r.key"
    answers = con.execute(
        f"SELECT r.key, {', '.join(each.sql for each in judged)} FROM r_{entity} r"
        f" LEFT JOIN u ON u.user_id = r.key LEFT JOIN a ON a.account_id = {account}"
        " LEFT JOIN c_counts c ON c.key = r.key LEFT JOIN m_counts m ON m.key = r.key"
    ).fetchall()
    con.unregister("c_counts")
    con.unregister("m_counts")
    assert all(isinstance(answer, bool) for _, *row in answers for answer in row)
    return [{row[0] for row in answers if row[place]} for place in range(1, len(judged) + 1)]
