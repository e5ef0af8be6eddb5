"""Typical audiences on data with known answers, and the messages for typical mistakes."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
import yaml
from judged_worlds import PROFILE, World, fill, found, midnight, scope

from heatsync.scoring.compute.condition_sql import ConditionError, compile_condition, find_problems
from heatsync.scoring.compute.event_counts import EventCount
from heatsync.scoring.definition import audiences, builtin_audiences
from heatsync.scoring.definition.condition_parser import parse
from heatsync.scoring.definition.condition_types import All, Condition, Duration, Member, Not
from heatsync.scoring.definition.profile import Profile

DAY = date(2026, 10, 26)
"""The day after the clocks went back in Berlin."""
ZONE = "Europe/Berlin"
NUMBER = (DAY - date(1970, 1, 1)).days
END = DAY + timedelta(days=1)


def ago(days: int, seconds: int = 0) -> datetime:
    """Local midnight a number of days before the end of the day, plus some seconds."""
    return midnight(END - timedelta(days=days), ZONE) + timedelta(seconds=seconds)


def world(
    users: Mapping[str, Mapping[str, Any]] | None = None,
    accounts: Mapping[str, Mapping[str, Any]] | None = None,
    events: tuple[tuple[str, str, datetime] | tuple[str, str, datetime, dict[str, str]], ...] = (),
    changes: tuple[tuple[str, int, str | None, str | None], ...] = (),
) -> World:
    """Rows with these values; names that are not columns of a row are traits of the tables."""

    def row(key: str, values: Mapping[str, Any], traits: tuple[str, ...]) -> dict[str, Any]:
        return {"key": key, **values, "traits": {name: values.get(name) for name in traits}}

    of_users = ("plan", "seats", "vip", "Born On", "met", "tags")
    return World(
        DAY,
        ZONE,
        tuple(row(key, {"account_id": None, **values}, of_users) for key, values in (users or {}).items()),
        tuple(row(key, values, ("plan", "size")) for key, values in (accounts or {}).items()),
        tuple((*event[:3], event[3] if len(event) > 3 else {}) for event in events),  # type: ignore[misc]
        tuple((key, NUMBER - back, before, after) for key, back, before, after in changes),
    )


def read(text: str) -> Condition:
    return parse(yaml.load(text, yaml.BaseLoader))


def members(of: World, entity: str, text: str | Condition, own: Mapping[str, Condition] | None = None) -> str:
    """The keys of the rows that a condition holds for, joined into one text."""
    known = {
        kind: {each.key: each.condition for each in PROFILE.builtin_audiences(kind)} | dict(own or {})
        for kind in ("user", "account")
    }
    condition = read(text) if isinstance(text, str) else text
    with duckdb.connect() as con:
        fill(con, of)
        return " ".join(
            sorted(found(con, of, entity, [compile_condition(condition, scope(of, entity, known))])[0])
        )


def test_activation_below_half_and_not_seen_for_two_weeks() -> None:
    rows = {
        "yes": {"activation": 49.9, "last_seen": ago(14, -1)},
        "on_the_edge": {"activation": 49.9, "last_seen": ago(14)},
        "activated": {"activation": 50.0, "last_seen": ago(20)},
        "no_steps": {"activation": None, "last_seen": ago(20)},
        "never_seen": {"activation": 0.0, "last_seen": None},
    }
    text = "{all: [{trait: activation, lt: 50}, {time: last_seen, older_than: 14d}]}"
    assert members(world(rows), "user", text) == "yes"
    assert members(world(accounts=rows), "account", text) == "yes"


def test_used_a_core_feature_but_has_not_invited_a_teammate() -> None:
    events = (
        ("yes", "Invite", ago(5)),
        ("invited", "Invite", ago(5)),
        ("invited", "Report", ago(300)),
        ("neither", "Login", ago(5)),
    )
    of = world({"yes": {}, "invited": {}, "neither": {}}, events=events)
    # In this profile "Invite" is the core event, and "Report" stands for inviting a teammate.
    assert members(of, "user", "{all: [{event: {tier: core}}, {not: {event: Report}}]}") == "yes"


def test_high_adoption_and_a_rising_score() -> None:
    rows = {
        "yes": {"adoption_recent": 80.0, "score_change": 1},
        "falling": {"adoption_recent": 80.0, "score_change": -1},
        "low": {"adoption_recent": 69.9, "score_change": 20},
        "no_past": {"adoption_recent": 80.0, "score_change": None},
    }
    text = "{all: [{trait: adoption_recent, gte: 70}, {trait: score_change, gt: 0}]}"
    assert members(world(rows), "user", text) == "yes"


def test_first_seen_more_than_a_month_ago_by_local_days() -> None:
    rows = {
        "yes": {"first_seen": ago(30, -1)},
        "edge": {"first_seen": ago(30)},
        "never": {"first_seen": None},
    }
    assert members(world(rows), "user", "{time: first_seen, older_than: 30d}") == "yes"


def test_active_within_seven_days_ends_with_the_day() -> None:
    rows = {
        "first": {"last_active": ago(7)},
        "before": {"last_active": ago(7, -1)},
        "last": {"last_active": ago(0, -1)},
        "tomorrow": {"last_active": ago(0)},
    }
    assert members(world(rows), "user", "{time: last_active, within: 7d}") == "first last"


def test_days_are_local_and_hours_are_elapsed_time() -> None:
    # 25 October had 25 hours.
    rows = {"day": {"last_seen": ago(2)}, "hours": {"last_seen": ago(2, 3600)}}
    assert members(world(rows), "user", "{time: last_seen, within: 2d}") == "day hours"
    assert members(world(rows), "user", "{time: last_seen, within: 48h}") == "hours"
    assert members(world(rows), "user", "{time: last_seen, within: 49h}") == "day hours"


def test_not_yet_activated() -> None:
    rows = {"yes": {"activation": 74.9}, "done": {"activation": 75.0}, "no_steps": {"activation": None}}
    assert members(world(rows), "user", "{trait: activation, lt: 75}") == "yes"


def test_ran_a_report_this_week() -> None:
    events = (("yes", "Report", ago(7)), ("before", "Report", ago(7, -1)), ("other", "Login", ago(1)))
    of = world({"yes": {}, "before": {}, "other": {}, "idle": {}}, events=events)
    assert members(of, "user", "{event: Report, within: 7d}") == "yes"
    assert members(of, "user", "{event: Report, within: 7d, count: {lt: 1}}") == "before idle other"


def test_no_active_users_in_two_weeks() -> None:
    users = {
        "u1": {"account_id": "busy", "last_active": ago(14)},
        "u2": {"account_id": "busy", "last_active": None},
        "u3": {"account_id": "quiet", "last_active": ago(14, -1)},
        "u4": {"account_id": None, "last_active": ago(1)},
    }
    of = world(users, {"busy": {}, "quiet": {}, "empty": {}})
    assert members(of, "account", "{users: {time: last_active, within: 14d}, eq: 0}") == "empty quiet"
    assert (
        members(of, "account", "{users: {time: last_active, within: 14d}, share: {lte: 50}}") == "busy quiet"
    )
    assert members(of, "account", "{users: {time: last_active, within: 14d}, share: {eq: 0}}") == "quiet"


def test_low_adoption() -> None:
    rows = {"yes": {"adoption_recent": 19.9}, "edge": {"adoption_recent": 20.0}}
    assert members(world(rows), "user", "{trait: adoption_recent, lt: 20}") == "yes"


def test_fell_from_high_to_low_through_levels_in_between_or_at_once() -> None:
    changes = (
        ("at_once", 0, "High", "Low"),
        ("through", 6, "High", "Medium"),
        ("through", 2, "Medium", "Low"),
        ("too_early", 7, "High", "Low"),
        ("left_too_early", 7, "High", "Medium"),
        ("left_too_early", 1, "Medium", "Low"),
        ("rose", 5, "Low", "High"),
        ("wrong_order", 5, "Medium", "Low"),
        ("wrong_order", 4, "Low", "High"),
        ("wrong_order", 2, "High", "Medium"),
        ("tomorrow", -1, "High", "Low"),
        ("left", 3, "High", None),
        ("and_back", 6, "High", "Low"),
        ("and_back", 4, "Low", "High"),
        ("and_back", 2, "High", "Medium"),
    )
    of = world({change[0]: {} for change in changes} | {"steady": {}}, changes=changes)
    assert (
        members(of, "user", "{level_change: {from: High, to: Low, within: 7d}}") == "and_back at_once through"
    )
    assert (
        members(of, "user", "{level_change: {from: High, within: 1w}}")
        == "and_back at_once left through wrong_order"
    )
    assert members(of, "user", "{level_change: {to: High, within: 7d}}") == "and_back rose wrong_order"
    moved = "and_back at_once left left_too_early rose through wrong_order"
    assert members(of, "user", "{level_change: {within: 7d}}") == moved


def test_surging() -> None:
    rows = {"yes": {"trend": "Surging"}, "no": {"trend": "Heating"}, "none": {"trend": None}}
    assert members(world(rows), "user", "{audience: trend_surging}") == "yes"
    assert members(world(rows), "user", "{trait: trend, eq: Surging}") == "yes"


def test_a_ratio_to_the_week_before_does_not_hold_without_events_in_that_week() -> None:
    events = (
        *(("doubled", "Report", ago(3)) for _ in range(4)),
        *(("doubled", "Report", ago(10)) for _ in range(2)),
        *(("began", "Report", ago(3)) for _ in range(9)),
        *(("stopped", "Report", ago(10)) for _ in range(9)),
    )
    of = world({"doubled": {}, "began": {}, "stopped": {}}, events=events)
    text = "{{event: Report, within: 7d, ratio_to: {{between: [14d, 7d]}}, count: {{{}}}}}"
    assert members(of, "user", text.format("gte: 2")) == "doubled"
    assert members(of, "user", text.format("gt: 2")) == ""
    assert members(of, "user", text.format("lt: 2")) == "stopped"
    assert members(of, "user", text.format("neq: 2")) == "stopped"


def test_a_missing_event_property_does_not_match() -> None:
    events = (
        ("pricing", "Report", ago(3), {"page": "/pricing"}),
        ("other", "Report", ago(3), {"page": "/docs"}),
        ("bare", "Report", ago(3), {}),
    )
    of = world({"pricing": {}, "other": {}, "bare": {}}, events=events)
    assert members(of, "user", "{event: Report, where: {page: {starts_with: /pri}}}") == "pricing"
    assert members(of, "user", "{event: Report, where: {page: {neq: /pricing}}}") == "other"
    assert members(of, "user", "{event: Report, where: {page: {exists: false}}}") == "bare"


def test_every_comparison_with_a_missing_value_is_false() -> None:
    rows = {"pro": {"plan": "pro"}, "free": {"plan": "free"}, "empty": {"plan": ""}, "none": {"plan": None}}
    of = world(rows)
    assert members(of, "user", "{trait: user.plan, neq: pro}") == "free"
    assert members(of, "user", "{trait: user.plan, not_in: [pro, x]}") == "free"
    assert members(of, "user", "{not: {trait: user.plan, eq: pro}}") == "empty free none"
    assert members(of, "user", "{trait: user.plan, exists: false}") == "empty none"


def test_between_includes_both_ends() -> None:
    rows = {str(score): {"score": score} for score in (9, 10, 20, 21)}
    assert members(world(rows), "user", "{trait: score, between: [10, 20]}") == "10 20"


def test_an_audience_can_refer_to_another() -> None:
    rows = {
        "a": {"score": 80, "plan": "pro"},
        "b": {"score": 80, "plan": "free"},
        "c": {"score": 10, "plan": "pro"},
    }
    own = {
        "paying": read("{trait: user.plan, eq: pro}"),
        "best": read("{all: [{audience: paying}, {audience: most_engaged}]}"),
    }
    assert members(world(rows), "user", "{audience: best}", own) == "a"
    assert members(world(rows), "user", "{not: {audience: best}}", own) == "b c"


BUILTIN = {
    "all": "first last",
    "all_active": "first",
    "new": "last",
    "most_engaged": "first",
    "slightly_engaged": "",
    "passive": "",
    "least_engaged": "last",
    "recently_inactive": "first",
    "red_hot": "first",
    "ice_cold": "last",
    "mature": "first",
    "active_today": "last",
    "level_low": "last",
    "level_medium": "",
    "level_high": "",
    "level_very_high": "first",
    "trend_new": "",
    "trend_cooling": "last",
    "trend_neutral": "",
    "trend_heating": "first",
    "trend_surging": "",
}


def test_every_built_in_audience_matches_its_definition() -> None:
    rows = {
        "first": {"score": 75, "frequency": 1, "last_active": ago(60), "signed_up": None, "level": "Very High",
                  "score_change_window": 10, "trend": "Heating", "active_users": 2},
        "last": {"score": 24, "frequency": 0, "last_active": ago(30), "signed_up": ago(7), "level": "Low",
                 "score_change_window": -10, "trend": "Cooling", "active_users": 1},
    }  # fmt: skip
    events = (("first", "Report", ago(1, -1)), ("first", "Login", ago(1)), ("last", "Report", ago(1)))
    of = world(rows, rows, events)
    expected = {"user": BUILTIN, "account": {**BUILTIN, "multi_user_accounts": "first"}}
    for entity, keys in expected.items():
        created = {
            each.key: members(of, entity, each.condition) for each in PROFILE.builtin_audiences(entity)
        }
        assert created == keys


@pytest.mark.parametrize(
    ("key", "row", "inside"),
    [
        ("most_engaged", {"score": 100}, True),
        ("most_engaged", {"score": 74}, False),
        ("slightly_engaged", {"score": 74}, True),
        ("slightly_engaged", {"score": 75}, False),
        ("passive", {"score": 25}, True),
        ("passive", {"score": 50}, False),
        ("least_engaged", {"score": 0}, True),
        ("least_engaged", {"score": None}, False),
        ("new", {"signed_up": ago(7)}, True),
        ("new", {"signed_up": ago(7, -1)}, False),
        ("new", {"signed_up": None}, False),
        ("mature", {"signed_up": ago(180, -1)}, True),
        ("mature", {"signed_up": ago(180)}, False),
        ("recently_inactive", {"last_active": ago(60, -1)}, False),
        ("recently_inactive", {"last_active": ago(30, -1)}, True),
        ("recently_inactive", {"last_active": None}, False),
        ("red_hot", {"score_change_window": 9}, False),
        ("ice_cold", {"score_change_window": None}, False),
    ],
)
def test_the_bounds_of_built_in_audiences(key: str, row: dict[str, Any], inside: bool) -> None:
    assert members(world({"u": row}), "user", Member(key)) == ("u" if inside else "")


# Messages, and what compiled conditions need


def of(entity: str = "user", **more: Any) -> Any:
    return replace(scope(world(), entity, {"user": {}, "account": {}}), **more)


@pytest.mark.parametrize(
    ("entity", "text", "route", "message"),
    [
        ("user", "{trait: scor, gt: 5}", ("trait",), "`scor` is not a trait of users; did you mean `score`?"),
        ("user", "{trait: zzz, gt: 5}", ("trait",), "a column is written `user.zzz`"),
        ("user", "{trait: user.plam, eq: pro}", ("trait",), "no column `plam` in users; did you mean `user.plan`?"),
        ("user", "{trait: account.sizes, gt: 5}", ("trait",), "did you mean `account.size`?"),
        ("user", "{trait: user.plan, gt: 5}", ("gt",), "`gt` cannot compare `user.plan`, which is VARCHAR"),
        ("user", "{trait: user.seats, eq: many}", ("eq",), "expected a number"),
        ("user", "{trait: user.met, gt: 7d}", ("gt",), "expected a date such as 2026-01-31"),
        ("user", "{trait: user.seats, contains: 5}", ("contains",), "compares text"),
        ("user", "{trait: user.vip, gt: true}", ("gt",), "cannot compare"),
        ("user", "{trait: user.tags, eq: pro}", ("eq",), "which is VARCHAR[]"),
        ("user", "{any: [{event: Reprot}]}", ("any", 0, "event"), "no event `Reprot`; did you mean `Report`?"),
        ("user", "{level_change: {from: Hi, within: 7d}}", ("level_change", "from"), "did you mean `High`?"),
        ("user", "{not: {audience: nw}}", ("not", "audience"), "`nw` is not an audience of users"),
        ("account", "{users: {trait: user.plam, eq: x}, gte: 1}", ("users", "trait"), "did you mean `user.plan`?"),
        ("account", "{trait: user.plan, eq: x}", ("trait",), "an account has many users"),
    ],
)  # fmt: skip
def test_an_unknown_name_is_rejected_with_the_nearest_valid_one(
    entity: str, text: str, route: Any, message: str
) -> None:
    with pytest.raises(ConditionError) as caught:
        compile_condition(read(text), of(entity))
    assert caught.value.route == route
    assert message in str(caught.value)


def test_all_problems_are_found_at_once() -> None:
    text = "{all: [{trait: scor, gt: 5}, {not: {trait: user.plan, gt: 5}}, {event: Login}]}"
    assert [route for route, _ in find_problems(read(text), of())] == [
        ("all", 0, "trait"),
        ("all", 1, "not", "gt"),
    ]


def test_a_table_that_the_source_does_not_have_is_named() -> None:
    with pytest.raises(ConditionError, match="needs a table of accounts"):
        compile_condition(read("{trait: account.plan, eq: x}"), of(columns={"user": {"plan": "VARCHAR"}}))


def test_unknown_columns_and_events_are_not_checked() -> None:
    text = "{all: [{trait: account.anything, gt: 5}, {event: Never Heard Of}]}"
    assert find_problems(read(text), of(columns=None, events=None)) == []


def test_column_names_ignore_case() -> None:
    judged = compile_condition(read("{trait: user.PLAN, eq: x}"), of())
    assert 'u."plan"' in judged.sql
    assert judged.tables == {"user"}


def test_audiences_in_a_cycle_are_rejected_without_endless_recursion() -> None:
    circle = {"a": read("{not: {audience: b}}"), "b": read("{any: [{audience: a}]}")}
    with pytest.raises(ConditionError, match="in a cycle: b -> a -> b"):
        compile_condition(circle["a"], of(audiences=circle))
    assert audiences.find_cycle(circle, {}) == (("user", "a"), ("user", "b"), ("user", "a"))
    assert audiences.find_cycle({"a": All(()), "b": circle["b"]}, {}) == ()
    assert audiences.find_cycle({"a": All(())}, {"a": read("{users: {audience: a}, gte: 1}")}) == ()


def test_a_filter_sees_an_account_s_users_as_missing() -> None:
    filtering = of("account", traits={}, users=None)
    assert compile_condition(read("{not: {trait: user.plan, eq: x}}"), filtering).sql == "(NOT false)"
    assert compile_condition(read("{trait: user.plan, exists: false}"), filtering).sql == "true"
    for text in (
        "{trait: score, gt: 5}",
        "{audience: new}",
        "{level_change: {within: 7d}}",
        "{users: {event: Login}, gte: 1}",
    ):
        with pytest.raises(ConditionError):
            compile_condition(read(text), filtering)


def test_equal_event_counts_are_counted_once() -> None:
    text = "{any: [{event: [Report, Login], within: 2w}, {event: [Login, Report], within: 14d, count: {gte: 5}}]}"
    judged = compile_condition(read(text), of())
    assert judged.measures == {EventCount(("Login", "Report"), (), Duration(14, "d"))}
    (measure,) = judged.measures
    assert not measure.from_events
    assert judged.sql.count(measure.column) == 2
    assert measure.column == EventCount(("Login", "Report"), (), Duration(14, "d")).column


@pytest.mark.parametrize(
    ("text", "from_events"),
    [
        ("{event: Report}", False),
        ("{event: Report, between: [4w, 7d]}", False),
        ("{event: Report, within: 12h}", True),
        ("{event: Report, between: [2d, 12h]}", True),
        ("{event: Report, where: {page: {eq: x}}}", True),
    ],
)
def test_hours_and_properties_need_single_events(text: str, from_events: bool) -> None:
    (measure,) = compile_condition(read(text), of()).measures
    assert measure.from_events is from_events


def test_the_interval_of_an_event_count_is_in_utc() -> None:
    measure = EventCount(None, (), Duration(2, "d"), Duration(12, "h"))
    assert measure.interval(NUMBER, ZoneInfo(ZONE)) == (
        datetime(2026, 10, 24, 22),
        datetime(2026, 10, 26, 11),
    )
    assert EventCount(None).interval(NUMBER, ZoneInfo(ZONE)) == (None, datetime(2026, 10, 26, 23))


def test_a_warning_says_for_how_many_entities_the_trait_is_missing() -> None:
    rows = {"a": {"plan": "pro"}, "b": {"plan": ""}, "c": {"plan": None, "seats": 3.0}}
    created = world(rows)
    for text, sentence in (
        ("{trait: user.plan, neq: pro}", "`neq` excludes them"),
        ("{any: [{trait: user.plan, not_in: [pro]}]}", "`not_in` excludes them"),
        ("{not: {any: [{trait: user.plan, eq: pro}]}}", "`not` includes them"),
    ):
        judged = compile_condition(read(text), scope(created, "user", {"user": {}, "account": {}}))
        ((missing, message),) = judged.warnings
        assert message.startswith("`user.plan` is missing for {count} of the users, and " + sentence)
        with duckdb.connect() as con:
            fill(con, created)
            counted = con.execute(
                f"SELECT count(*) FILTER ({missing}) FROM r_user r LEFT JOIN u ON u.user_id = r.key"
            ).fetchone()
        assert counted == (2,)


@pytest.mark.parametrize(
    "text",
    [
        "{trait: user.plan, eq: pro}",
        "{not: {trait: user.plan, exists: true}}",
        "{all: [{trait: user.plan, exists: true}, {not: {trait: user.plan, eq: pro}}]}",
        "{any: [{trait: user.plan, exists: false}, {trait: user.plan, neq: pro}]}",
        "{not: {event: Report}}",
        "{not: {time: last_active, within: 7d}}",
        "{not: {audience: own}}",
    ],
)
def test_there_is_no_warning_when_missing_values_are_handled(text: str) -> None:
    own = {"own": read("{trait: user.plan, neq: pro}")}
    assert compile_condition(read(text), of(audiences=own)).warnings == ()


def test_an_entity_can_leave_a_level_and_return() -> None:
    changes = (("back", 5, "High", "Low"), ("back", 1, "Low", "High"), ("only_left", 5, "High", "Low"))
    of = world({"back": {}, "only_left": {}}, changes=changes)
    assert members(of, "user", "{level_change: {from: High, to: High, within: 7d}}") == "back"


def test_a_tier_without_events_counts_nothing() -> None:
    of = world({"u": {}}, events=(("u", "Report", ago(1)),))
    assert members(of, "user", "{event: {tier: common}}") == ""
    assert members(of, "user", "{event: {tier: common}, count: {eq: 0}}") == "u"
    assert members(of, "user", "{event: {tier: common}, ratio_to: {within: 7d}, count: {gte: 0}}") == ""


KPI = {
    "version": "1",
    "name": "Fit",
    "model": "kpi",
    "touchpoints": [
        {"name": "Reports", "event": "Report", "weight": "40", "where": {"page": {"exists": "true"}}},
        {
            "name": "Pricing",
            "event": ["Report", "Invite"],
            "weight": "40",
            "where": {"page": {"eq": "pricing"}},
        },
        {"name": "Logins", "ratio": {"of": {"event": "Login"}, "to": {"event": "Other"}}, "weight": "20"},
        {"name": "Others", "event": "Other", "weight": "0"},
    ],
}


def test_touchpoints_are_the_scored_events_of_kpi_and_each_event_counts_once() -> None:
    profile = Profile.model_validate(KPI)
    events = (
        ("both", "Report", ago(3), {"page": "pricing"}),
        ("one", "Report", ago(3), {"page": "docs"}),
        ("one", "Login", ago(3), {}),
        ("none", "Report", ago(3), {}),
        ("none", "Invite", ago(3), {"page": "docs"}),
        ("none", "Other", ago(3), {}),
    )
    created = world({"both": {}, "one": {}, "none": {}}, events=events)
    with duckdb.connect() as con:
        fill(con, created)
        for count, expected in ((1, {"both"}), (2, {"one"}), (0, {"none"})):
            text = f"{{event: scored, within: 7d, count: {{eq: {count}}}}}"
            kpi = replace(scope(created, "user", {"user": {}, "account": {}}), profile=profile)
            assert found(con, created, "user", [compile_condition(read(text), kpi)]) == [expected]


def test_touchpoints_have_no_tiers() -> None:
    kpi = of(profile=Profile.model_validate(KPI))
    ((route, message),) = find_problems(read("{event: {tier: core}}"), kpi)
    assert route == ("event",)
    assert "have no tiers" in message


def test_all_audiences_of_an_entity_are_sorted_by_key() -> None:
    own = (
        builtin_audiences.Audience("zebra", "Zebra", "user", True, All(()), custom=True),
        builtin_audiences.Audience("aardvark", "Aardvark", "user", True, Not(All(())), custom=True),
        builtin_audiences.Audience("beaver", "Beaver", "account", True, All(()), custom=True),
    )
    found = [each.key for each in audiences.all_audiences(PROFILE, "user", own)]
    assert found[0] == "aardvark"
    assert found[-1] == "zebra"
    assert found == sorted(found)
    assert "beaver" in audiences.audience_keys(PROFILE, "account", own)
