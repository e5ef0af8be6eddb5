"""The condition parser: what each form means, and the message and location of each mistake."""

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from heatsync.scoring.definition import condition_types
from heatsync.scoring.definition.comparisons import OPERATORS, Comparison
from heatsync.scoring.definition.condition_parser import (
    Written,
    WrittenFilter,
    parse,
    parse_filter,
    parse_where,
)
from heatsync.scoring.definition.condition_types import (
    All,
    Condition,
    Duration,
    Events,
    LevelChange,
    Member,
    Not,
    Time,
    Trait,
    Users,
    canonical,
    walk,
)


def tree(text: str) -> Any:
    """YAML as in files: every scalar is text."""
    return yaml.load(text, yaml.BaseLoader)


def read(text: str) -> Condition:
    return parse(tree(text))


def mistakes(text: str, filtering: bool = False) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        (parse_filter if filtering else parse)(tree(text))
    return [(".".join(str(step) for step in error["loc"]), error["msg"]) for error in caught.value.errors()]


WRITTEN = {"between": "[1, 5]", "in": "[1, 5]", "not_in": "[1]", "exists": "false"}


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_compares_a_trait(operator: str) -> None:
    found = read(f"{{trait: user.seats, {operator}: {WRITTEN.get(operator, '3')}}}")
    assert isinstance(found, Trait)
    assert (found.name, found.comparison.operator) == ("user.seats", operator)
    expected: dict[str, Any] = {"between": ("1", "5"), "in": ("1", "5"), "not_in": ("1",), "exists": "false"}
    assert found.comparison.value == expected.get(operator, "3")


def test_values_keep_their_spelling() -> None:
    for text in ("on", "no", "12:30", "2026-01-01", "007", "1e5", "null", "~"):
        found = read(f"{{trait: user.x, eq: {text}}}")
        assert isinstance(found, Trait)
        assert found.comparison == Comparison("eq", text)


def test_all_any_and_not_nest() -> None:
    found = read("{all: [{any: [{audience: a}, {not: {audience: b}}]}, {audience: c}]}")
    assert found == All((condition_types.Any((Member("a"), Not(Member("b")))), Member("c")))
    assert [route for route, part in walk(found) if isinstance(part, Member)] == [
        ("all", 0, "any", 0),
        ("all", 0, "any", 1, "not"),
        ("all", 1),
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("{event: A}", Events(("A",))),
        ("{event: [B, A, A]}", Events(("A", "B"))),
        ('{event: "*", within: 12h}', Events(None, old=Duration(12, "h"))),
        ("{event: scored, within: 4w}", Events(None, scored=True, old=Duration(4, "w"))),
        ("{event: [scored]}", Events(("scored",))),
        ("{event: {tier: core}, within: ever}", Events(None, tier="core")),
        (
            "{event: A, between: [60d, 4w]}",
            Events(("A",), old=Duration(60, "d"), new=Duration(4, "w")),
        ),
        (
            "{event: A, count: {gte: 3, lt: 10}}",
            Events(("A",), count=(Comparison("gte", "3"), Comparison("lt", "10"))),
        ),
        (
            "{event: A, where: {page: {eq: pricing}, value: {gt: 5}}}",
            Events(("A",), where=(("page", Comparison("eq", "pricing")), ("value", Comparison("gt", "5")))),
        ),
        (
            "{event: A, within: 7d, ratio_to: {between: [14d, 7d]}, count: {gte: 1.5}}",
            Events(
                ("A",),
                count=(Comparison("gte", "1.5"),),
                old=Duration(7, "d"),
                ratio=(Duration(14, "d"), Duration(7, "d")),
            ),
        ),
        (
            "{event: A, within: 7d, ratio_to: {within: 28d}}",
            Events(("A",), old=Duration(7, "d"), ratio=(Duration(28, "d"), None)),
        ),
        ("{time: last_seen, within: 14d}", Time("last_seen", old=Duration(14, "d"))),
        ("{time: first_seen, older_than: 4w}", Time("first_seen", new=Duration(4, "w"))),
        (
            "{time: last_active, between: [60d, 30d]}",
            Time("last_active", old=Duration(60, "d"), new=Duration(30, "d")),
        ),
        ("{event: A, between: [2w, 0d]}", Events(("A",), old=Duration(2, "w"), new=Duration(0, "d"))),
        ("{time: created_at, after: 2026-01-31}", Time("created_at", after=date(2026, 1, 31))),
        ("{time: level_changed_on, before: 2026-01-31}", Time("level_changed_on", before=date(2026, 1, 31))),
        ("{users: {audience: new}, gte: 2}", Users(Member("new"), Comparison("gte", "2"))),
        (
            "{users: {audience: new}, share: {between: [12.5, 50]}}",
            Users(Member("new"), Comparison("between", ("12.5", "50")), True),
        ),
        (
            "{level_change: {from: High, to: Low, within: 7d}}",
            LevelChange("High", "Low", Duration(7, "d")),
        ),
        ("{level_change: {to: Low, within: 1w}}", LevelChange(None, "Low", Duration(1, "w"))),
        ("{level_change: {within: 1w}}", LevelChange(None, None, Duration(1, "w"))),
        ("{audience: at_risk}", Member("at_risk")),
    ],
)
def test_every_form_of_condition_is_parsed(written: str, meant: Condition) -> None:
    assert read(written) == meant


@pytest.mark.parametrize(
    ("written", "place", "message"),
    [
        ("score", "", "expected a condition such as {trait: activation, lt: 50}, found `score`"),
        ("[]", "", "found a list"),
        ("{}", "", "expected a condition: one of all, any, not, trait"),
        ("{tarit: score, gt: 5}", "tarit", "did you mean `trait`?"),
        ("{all: []}", "all", "`all` is empty"),
        ("{any: []}", "any", "`any` is empty"),
        ("{all: {audience: a}}", "all", "expects a list of conditions, found keys with values"),
        ("{all: [{audience: a}], audience: b}", "audience", "`all` and `audience` are two conditions"),
        ("{all: [{audience: a}, {nt: {audience: b}}]}", "all.1.nt", "did you mean `not`?"),
        ("{not: [{audience: a}]}", "not", "found a list"),
        ("{not: {audience: a}, within: 7d}", "within", "`within` does not belong here"),
        ("{trait: score}", "", "expected a comparison"),
        ("{trait: score, gtt: 5}", "gtt", "did you mean `gt`?"),
        ("{trait: score, gt: 5, lt: 8}", "lt", "two comparisons"),
        ('{trait: "", gt: 5}', "trait", "expected a name"),
        ("{trait: score, gt: [5]}", "gt", "expected text, found a list"),
        ("{trait: score, in: 5}", "in", "expects a list such as"),
        ("{trait: score, not_in: []}", "not_in", "expects a list such as"),
        ("{trait: score, between: [5]}", "between", "expects two values"),
        ("{trait: score, exists: maybe}", "exists", "expected true or false"),
        ("{event: []}", "event", "found an empty list"),
        ('{event: [A, "*"]}', "event.1", "must be alone"),
        ("{event: {tear: core}}", "event", "`tear` is not events; did you mean `tier`?"),
        ("{event: {tier: crore}}", "event.tier", "did you mean `core`?"),
        ("{event: A, count: 3}", "count", "expected a comparison such as {gte: 3}, found `3`"),
        ("{event: A, count: {}}", "count", "expected a comparison such as {gte: 3}"),
        ("{event: A, count: {gte: 1.5}}", "count.gte", "expected a whole number"),
        ("{event: A, count: {gte: -1}}", "count.gte", "expected a whole number from 0"),
        ("{event: A, count: {contains: 1}}", "count.contains", "does not belong here"),
        ("{event: A, count: {between: [5, 1]}}", "count.between", "from the lower to the upper"),
        ("{event: A, within: 7}", "within", "such as 12h, 14d or 4w, found `7`"),
        ("{event: A, within: 0d}", "within", "found `0d`"),
        ("{event: A, within: 7d, between: [60d, 30d]}", "between", "both give the interval"),
        ("{event: A, between: [30d, 60d]}", "between", "the earlier bound comes first: [60d, 30d]"),
        ("{event: A, between: [30d, 30d]}", "between", "is empty"),
        ("{event: A, between: 30d}", "between", "as in [60d, 30d]"),
        ("{event: A, between: [30d, x]}", "between.1", "found `x`"),
        ("{event: A, where: {}}", "where", "expected properties such as"),
        ("{event: A, where: {page: pricing}}", "where.page", "such as {eq: pro}, found `pricing`"),
        ("{event: A, where: {page: {eqq: x}}}", "where.page.eqq", "did you mean `eq`?"),
        ("{event: A, where: {page: {in: x}}}", "where.page.in", "expects a list"),
        ("{event: A, ratio_to: 7d}", "ratio_to", "{between: [14d, 7d]} or {within: 28d}"),
        ("{event: A, ratio_to: {wthin: 7d}}", "ratio_to.wthin", "did you mean `within`?"),
        (
            "{event: A, within: 7d, ratio_to: {within: 7d}, count: {gte: 0.1234567}}",
            "count.gte",
            "at most 6 digits after the point",
        ),
        ("{event: A, whithin: 7d}", "whithin", "did you mean `within`?"),
        ("{time: last_see, within: 7d}", "time", "did you mean `last_seen`?"),
        ("{time: signed_up, within: 7d}", "time", "is not a time"),
        ("{time: last_seen}", "", "expected an interval"),
        ("{time: last_seen, within: 7d, older_than: 3d}", "older_than", "both give the interval"),
        ("{time: last_seen, after: 7d}", "after", "expected a date such as 2026-01-31, found `7d`"),
        ("{time: last_seen, after: 0202-01-31}", "after", "expected a date from 1900 to 2199"),
        ("{users: {audience: a}}", "", "{users: {..}, gte: 2}"),
        ("{users: {audience: a}, gte: 1, share: {gte: 50}}", "share", "two comparisons"),
        ("{users: {audience: a}, gte: -1}", "gte", "a whole number from 0"),
        ("{users: {audience: a}, contains: 1}", "contains", "does not belong here"),
        ("{users: {audience: a}, share: 50}", "share", "such as {gte: 50}, found `50`"),
        ("{users: {audience: a}, share: {gte: 1, lt: 5}}", "share", "one comparison"),
        ("{level_change: High}", "level_change", "expected a change of level such as"),
        ("{level_change: {from: High}}", "level_change", "`within` is missing"),
        ("{level_change: {form: High, within: 7d}}", "level_change.form", "did you mean `from`?"),
        ("{level_change: {within: 12h}}", "level_change.within", "use days or weeks"),
        ("{audience: [a]}", "audience", "expected text, found a list"),
    ],
)
def test_a_mistake_is_reported_once_at_its_location(written: str, place: str, message: str) -> None:
    ((found, sentence),) = mistakes(written)
    assert found == place
    assert message in sentence


def test_all_mistakes_are_found_at_once() -> None:
    found = mistakes("{all: [{trait: a, gt: [1]}, {any: [{time: x, within: 1}, {event: A, count: 2}]}]}")
    assert [place for place, _ in found] == ["all.0.gt", "all.1.any.0.time", "all.1.any.1.count"]


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("{trait: score, gt: 5}", "trait"),
        ("{not: {audience: new}}", "not.audience"),
        ("{all: [{event: A}, {users: {event: A}, gte: 1}]}", "all.1.users"),
        ("{level_change: {within: 7d}}", "level_change"),
        ("{time: level_changed_on, within: 7d}", "time"),
    ],
)
def test_a_filter_cannot_use_what_depends_on_scores(written: str, place: str) -> None:
    ((found, sentence),) = mistakes(written, filtering=True)
    assert found == place
    assert sentence.startswith("a filter cannot use")


def test_a_filter_may_use_columns_events_and_times() -> None:
    written = (
        "{any: [{not: {trait: account.plan, eq: internal}}, {event: A}, {time: first_seen, within: 7d}]}"
    )
    assert parse_filter(tree(written)) == read(written)


def test_a_model_reports_the_location_of_a_mistake_inside_a_condition() -> None:
    class Model(BaseModel):
        where: Written
        filter: WrittenFilter | None = None

    with pytest.raises(ValidationError) as caught:
        Model.model_validate({"where": tree("{all: [{audience: a}, {trait: x, in: 5}]}")})
    assert [error["loc"] for error in caught.value.errors()] == [("where", "all", 1, "in")]
    assert caught.value.errors()[0]["ctx"]["inside"] == 3
    assert Model.model_validate({"where": {"audience": "a"}}).where == Member("a")


def test_event_properties_can_be_parsed_on_their_own() -> None:
    found = parse_where({"page": {"starts_with": "/pricing"}, "ab": {"exists": "true"}})
    assert found == (("ab", Comparison("exists", "true")), ("page", Comparison("starts_with", "/pricing")))
    with pytest.raises(ValidationError) as caught:
        parse_where({"page": "x"})
    assert caught.value.errors()[0]["loc"] == ("page",)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{all: [{audience: a}, {audience: b}]}", "{all: [{audience: b}, {audience: a}]}"),
        ("{event: [A, B], within: 2w}", "{event: [B, A], within: 14d}"),
        ("{trait: x, in: [a, b]}", "{trait: x, in: [b, a]}"),
    ],
)
def test_equivalent_conditions_have_the_same_canonical_form(one: str, other: str) -> None:
    assert canonical(read(one)) == canonical(read(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{all: [{audience: a}]}", "{any: [{audience: a}]}"),
        ("{event: A, within: 24h}", "{event: A, within: 1d}"),
        ("{event: A, within: 1d}", "{event: A, between: [2d, 1d]}"),
        ("{trait: x, between: [1, 2]}", "{trait: x, in: [1, 2]}"),
        ('{event: "*"}', "{event: scored}"),
        ("{users: {audience: a}, gte: 5}", "{users: {audience: a}, share: {gte: 5}}"),
        ("{time: last_seen, after: 2026-01-01}", "{time: last_seen, before: 2026-01-01}"),
    ],
)
def test_different_conditions_have_different_canonical_forms(one: str, other: str) -> None:
    assert canonical(read(one)) != canonical(read(other))


MANUAL = (Path(__file__).parents[2] / "docs/audiences.md").read_text(encoding="utf-8")


def manual() -> list[str]:
    """The conditions in the manual: in blocks line by line, in the table of examples, and after `where`."""
    blocks = re.findall(r"^- (\{.*?\})(?: +#.*)?$", MANUAL, re.MULTILINE)
    table = re.findall(r"^\|[^|]*\| `(\{.*\})` \|$", MANUAL, re.MULTILINE)
    return [*blocks, *table, *re.findall(r"^where: (\{.*\})$", MANUAL, re.MULTILINE)]


@pytest.mark.parametrize("written", manual())
def test_every_condition_in_the_manual_can_be_parsed(written: str) -> None:
    read(written)


def test_the_manual_has_every_kind_of_condition_and_every_operator() -> None:
    assert len(manual()) >= 20
    kinds = {type(part) for written in manual() for _, part in walk(read(written))}
    assert kinds >= {All, condition_types.Any, Not, Trait, Events, Time, Users, LevelChange, Member}
    assert all(f"`{operator}" in MANUAL for operator in OPERATORS)


EXAMPLES = {
    "low_activation_and_gone": "{all: [{trait: activation, lt: 50}, {time: last_seen, older_than: 14d}]}",
    "core_but_no_teammate": "{all: [{event: {tier: core}}, {not: {event: Invited Teammate}}]}",
    "high_adoption_and_rising": "{all: [{trait: adoption_recent, gte: 70}, {trait: score_change, gt: 0}]}",
    "first_seen_long_ago": "{time: first_seen, older_than: 30d}",
    "active_this_week": "{time: last_active, within: 7d}",
    "not_activated": "{trait: activation, lt: 75}",
    "ran_a_report_this_week": "{event: Report Created, within: 7d}",
    "nobody_active": "{users: {time: last_active, within: 14d}, eq: 0}",
    "low_adoption": "{trait: adoption_recent, lt: 20}",
    "fell_from_high_to_low": "{level_change: {from: High, to: Low, within: 7d}}",
    "surging": "{audience: trend_surging}",
}


@pytest.mark.parametrize("written", EXAMPLES.values(), ids=EXAMPLES)
def test_every_common_audience_can_be_written_and_is_in_the_manual(written: str) -> None:
    assert written in manual()
