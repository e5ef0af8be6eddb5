"""Compiled conditions: their SQL over small tables, compared with an evaluation in plain Python written from the
definition."""

import math
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any as Anything

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from judged_worlds import DAYS, LEVELS, NAMES, ZONES, Truth, World, fill, found, midnight, scope

from heatsync.scoring.compute.condition_sql import compile_condition
from heatsync.scoring.definition.comparisons import NUMERIC, Comparison
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


@pytest.fixture(scope="module")
def con() -> Anything:
    connection = duckdb.connect()
    yield connection
    connection.close()


# Generated data


def instants(day: date, zone: str) -> st.SearchStrategy[datetime]:
    """Instants on both sides of the bounds that matter."""
    near = st.sampled_from([timedelta(microseconds=-1), timedelta(0), timedelta(microseconds=1)])
    steps = st.sampled_from([0, 1, 2, 3, 7, 14, 30])
    hours = st.sampled_from([0, 1, 12, 23, 24, 25])
    return st.builds(
        lambda off, days, back: midnight(day + timedelta(days=1 - days), zone) - timedelta(hours=back) + off,
        near,
        steps,
        hours,
    )


def optional(strategy: st.SearchStrategy[Anything]) -> st.SearchStrategy[Anything]:
    return st.none() | strategy


PLANS = st.sampled_from(["pro", "free", "", "pro plus", "Pro", "o'neil \U0001f642"])


@st.composite
def worlds(draw: st.DrawFn) -> World:
    day, zone = draw(st.sampled_from(DAYS)), draw(st.sampled_from(ZONES))
    instant = instants(day, zone)
    known = draw(st.lists(st.sampled_from(["a1", "a2", "a3"]), unique=True, min_size=1))

    def row(key: str, account: str | None, traits: dict[str, Anything]) -> dict[str, Anything]:
        times = ("last_seen", "first_seen", "last_active", "created_at", "signed_up")
        return {
            "key": key,
            "account_id": account,
            "score": draw(optional(st.integers(0, 100))),
            "activation": draw(optional(st.sampled_from([0.0, 33.3, 50.0, 100.0, math.nan]))),
            "level": draw(st.sampled_from(LEVELS)),
            "level_changed_on": draw(
                optional(st.sampled_from([day - timedelta(days=n) for n in (0, 6, 7, 8)]))
            ),
            **{name: draw(optional(instant)) for name in times},
            "traits": traits,
        }

    users = []
    for number in range(draw(st.integers(1, 4))):
        traits = {
            "plan": draw(optional(PLANS)),
            "seats": draw(optional(st.sampled_from([0.5, 3.0, 5.0, math.nan, math.inf, -2.5]))),
            "vip": draw(optional(st.booleans())),
            "Born On": draw(optional(st.sampled_from([day, day - timedelta(days=1)]))),
            "met": draw(optional(instant)),
            "tags": draw(optional(st.lists(PLANS, max_size=2))),
        }
        users.append(row(f"u{number}", draw(optional(st.sampled_from(["a1", "a2", "gone"]))), traits))
    accounts = [
        row(key, None, {"plan": draw(optional(PLANS)), "size": draw(optional(st.integers(-3, 9)))})
        for key in known
    ]
    keys = st.sampled_from([each["key"] for each in (*users, *accounts)])
    properties = st.fixed_dictionaries({}, optional={"page": PLANS})
    event = st.tuples(keys, st.sampled_from(NAMES), instant, properties)
    last = (day - date(1970, 1, 1)).days
    change = st.tuples(
        keys, st.integers(last - 9, last + 2), st.sampled_from(LEVELS), st.sampled_from(LEVELS)
    ).filter(lambda each: each[2] != each[3])
    return World(
        day,
        zone,
        tuple(users),
        tuple(accounts),
        tuple(draw(st.lists(event, max_size=12))),
        tuple(draw(st.lists(change, max_size=5, unique_by=lambda each: (each[0], each[1])))),
    )


def comparison(operators: tuple[str, ...], values: st.SearchStrategy[str]) -> st.SearchStrategy[Comparison]:
    def of(operator: str) -> st.SearchStrategy[Comparison]:
        if operator in ("in", "not_in"):
            return st.lists(values, min_size=1, max_size=3).map(
                lambda some: Comparison(operator, tuple(some))
            )
        if operator == "between":
            return st.tuples(values, values).map(lambda some: Comparison(operator, some))
        if operator == "exists":
            return st.sampled_from([Comparison("exists", "true"), Comparison("exists", "false")])
        return values.map(lambda value: Comparison(operator, value))

    return st.sampled_from(operators).flatmap(of)


NUMBERS = st.sampled_from(["0", "3", "50", "0.5", "-2.5", "33.3", "100", "5"])
TEXTS = st.sampled_from(["pro", "free", "Pro", "pr", "o'neil \U0001f642", "High", "Low"])
DATES = st.sampled_from([(each - timedelta(days=back)).isoformat() for each in DAYS for back in (0, 1, 7)])
ANY = (*NUMERIC, "exists")
DURATIONS = st.builds(Duration, st.sampled_from([1, 2, 7, 12, 14]), st.sampled_from(["d", "h", "w"]))
WHOLE_DAYS = st.builds(Duration, st.sampled_from([1, 2, 7, 8]), st.sampled_from(["d", "w"]))


def intervals(durations: st.SearchStrategy[Duration]) -> st.SearchStrategy[Anything]:
    pairs = st.tuples(durations, durations).filter(lambda pair: pair[0].hours > pair[1].hours)
    return st.just((None, None)) | durations.map(lambda old: (old, None)) | pairs


TRAIT = st.one_of(
    st.builds(Trait, st.sampled_from(["score", "activation"]), comparison(ANY, NUMBERS)),
    st.builds(
        Trait,
        st.sampled_from(["level", "account.plan", "ACCOUNT_ID"]).map(str.lower),
        comparison(("eq", "neq", "in", "not_in", "exists", "contains", "starts_with"), TEXTS),
    ),
    st.builds(Trait, st.sampled_from(["last_seen", "level_changed_on"]), comparison(ANY, DATES)),
    st.builds(Trait, st.just("account.SIZE"), comparison(ANY, NUMBERS)).map(
        lambda trait: replace(trait, name="account.size")
    ),
)
OF_USERS = st.one_of(
    st.builds(Trait, st.just("user.seats"), comparison(ANY, NUMBERS)),
    st.builds(
        Trait,
        st.just("user.plan"),
        comparison(("eq", "neq", "in", "not_in", "exists", "contains", "starts_with"), TEXTS),
    ),
    st.builds(
        Trait,
        st.just("user.vip"),
        comparison(("eq", "neq", "in", "not_in", "exists"), st.sampled_from(["true", "false"])),
    ),
    st.builds(Trait, st.sampled_from(["user.Born On", "user.met"]), comparison(ANY, DATES)),
    st.builds(Trait, st.just("user.tags"), comparison(("contains",), TEXTS)),
)
COUNTS = st.lists(comparison(NUMERIC, st.sampled_from(["0", "1", "2", "3"])), min_size=1, max_size=2).map(
    tuple
)
RATIOS = st.lists(
    comparison(NUMERIC, st.sampled_from(["0", "0.333333", "0.5", "1", "1.5", "2"])), min_size=1, max_size=2
).map(tuple)
WHERE = st.just(()) | comparison(("eq", "neq", "contains", "exists", "in"), TEXTS).map(
    lambda each: (("page", each),)
)


def _events(
    names: Anything, interval: Anything, where: Anything, counts: Anything, ratio: Anything
) -> Events:
    count, ratios = counts
    kind, chosen = names
    return Events(
        chosen if kind == "names" else None,
        chosen if kind == "tier" else None,
        kind == "scored",
        count if ratio is None else ratios,
        *interval,
        where,
        ratio,
    )


EVENTS = st.builds(
    _events,
    st.one_of(
        st.tuples(st.just("names"), st.lists(st.sampled_from(NAMES), min_size=1, unique=True).map(tuple)),
        st.tuples(st.just("names"), st.none()),
        st.tuples(st.just("tier"), st.sampled_from(["advanced", "core", "common"])),
        st.tuples(st.just("scored"), st.none()),
    ),
    intervals(DURATIONS),
    WHERE,
    st.tuples(COUNTS, RATIOS),
    st.none() | intervals(DURATIONS),
)
FIELDS = st.sampled_from(["first_seen", "last_seen", "last_active", "created_at", "signed_up"])


def _time(field: str, bounds: dict[str, Anything]) -> Time:
    return Time(field, **bounds)


def _bounds(durations: st.SearchStrategy[Duration]) -> st.SearchStrategy[dict[str, Anything]]:
    return st.one_of(
        intervals(durations).map(lambda pair: {"old": pair[0], "new": pair[1]}),
        durations.map(lambda new: {"new": new}),
        DATES.map(lambda day: {"after": date.fromisoformat(day)}),
        DATES.map(lambda day: {"before": date.fromisoformat(day)}),
    )


TIME = st.builds(_time, FIELDS, _bounds(DURATIONS)) | st.builds(
    _time, st.just("level_changed_on"), _bounds(DURATIONS)
)
CHANGE = st.builds(LevelChange, st.sampled_from(LEVELS), st.sampled_from(LEVELS), WHOLE_DAYS)
SINGLE = st.one_of(TRAIT, EVENTS, TIME, CHANGE, st.just(Member("own")))


def nested(single: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    return st.recursive(
        single,
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=3).map(lambda items: All(tuple(items))),
            st.lists(inner, min_size=1, max_size=3).map(lambda items: Any(tuple(items))),
            inner.map(Not),
        ),
        max_leaves=4,
    )


USER = nested(SINGLE | OF_USERS)
USERS = st.one_of(
    st.builds(Users, USER, comparison(NUMERIC, st.sampled_from(["0", "1", "2"]))),
    st.builds(
        Users, USER, comparison(NUMERIC, st.sampled_from(["0", "33.333333", "50", "100"])), st.just(True)
    ),
)
ACCOUNT = nested(SINGLE | USERS)
OWN = nested(SINGLE.filter(lambda each: not isinstance(each, Member)))
BATCH = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def agree(con: Anything, world: World, entity: str, conditions: list[Condition], own: Condition) -> None:
    audiences = {kind: {"own": own} for kind in ("user", "account")}
    fill(con, world)
    truth = Truth(world, entity, audiences)
    entities = world.users if entity == "user" else world.accounts
    judged = [compile_condition(condition, scope(world, entity, audiences)) for condition in conditions]
    for condition, sql, answer in zip(conditions, judged, found(con, world, entity, judged), strict=True):
        meant = {each["key"] for each in entities if truth.holds(condition, each)}
        assert answer == meant, (condition, sql.sql)


@BATCH
@given(worlds(), st.lists(USER, min_size=4, max_size=8), OWN)
def test_a_condition_on_users_matches_the_definition(
    con: Anything, world: World, conditions: Anything, own: Condition
) -> None:
    agree(con, world, "user", conditions, own)


@BATCH
@given(worlds(), st.lists(ACCOUNT, min_size=4, max_size=8), OWN)
def test_a_condition_on_accounts_matches_the_definition(
    con: Anything, world: World, conditions: Anything, own: Condition
) -> None:
    agree(con, world, "account", conditions, own)
