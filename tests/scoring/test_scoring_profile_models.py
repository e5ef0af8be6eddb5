"""The three models of a profile, and the parts that all models share: signals, filter and levels."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from heatsync.scoring.definition import audiences
from heatsync.scoring.definition.comparisons import Comparison
from heatsync.scoring.definition.condition_types import Not, Trait
from heatsync.scoring.definition.profile import Decay, Profile
from heatsync.scoring.definition.touchpoints import DEFAULT_TOUCHPOINTS

Row = Mapping[str, Any]
HEAD: dict[str, Any] = {"version": "1", "name": "Health"}
KPI = {**HEAD, "model": "kpi"}
WEIGHTED = {
    **HEAD,
    "model": "weighted",
    "events": [{"event": f"Event {number}", "weight": "5"} for number in range(6)],
}
ENGAGEMENT = {
    **HEAD,
    "model": "engagement",
    "events": [{"event": "Report Created"}, {"event": "Comment Added"}],
}
CALLS = {"name": "Calls", "event": "Call Logged", "weight": "100"}
NPS = {"trait": "account.nps", "from": "0", "to": "10", "weight": "15"}
INTERNAL = {"not": {"trait": "account.plan", "eq": "internal"}}


def parsed(tree: Row, **more: Any) -> Profile:
    return Profile.model_validate({**tree, **more})


def problems(tree: Row, **more: Any) -> list[tuple[tuple[str | int, ...], str]]:
    """The path to each invalid value, and the message about it."""
    with pytest.raises(ValidationError) as caught:
        parsed(tree, **more)
    found = []
    for error in caught.value.errors():
        context = error.get("ctx", {})
        found.append((error["loc"], str(context.get("error", context.get("sentence", error["msg"])))))
    return found


def problem(tree: Row, **more: Any) -> tuple[tuple[str | int, ...], str]:
    (found,) = problems(tree, **more)
    return found


def test_each_model_has_its_own_window_and_decay() -> None:
    assert (parsed(WEIGHTED).window, parsed(WEIGHTED).decay) == (7, Decay())
    assert (parsed(KPI).window, parsed(KPI).decay) == (90, Decay("half_life", 30))
    assert (parsed(ENGAGEMENT).window, parsed(ENGAGEMENT).decay) == (30, Decay())
    assert parsed(KPI, window="30d", decay="none").decay == Decay()


def test_kpi_has_the_eleven_touchpoints_by_default() -> None:
    profile = parsed(KPI)
    assert len(profile.touchpoints) == 11
    assert sum(each.weight for each in profile.touchpoints) == 100
    assert [int(each["weight"]) for each in DEFAULT_TOUCHPOINTS] == [3, 10, 17, 5, 5, 15, 10, 15, 5, 5, 10]
    assert profile.version == parsed(KPI, touchpoints=list(DEFAULT_TOUCHPOINTS)).version
    assert [each.name for each in parsed(KPI, touchpoints=[CALLS]).touchpoints] == ["Calls"]


def test_a_touchpoint_counts_events_or_divides_two_counts() -> None:
    by_name = {each.name: each for each in parsed(KPI).touchpoints}
    pages = by_name["Visits to high-intent pages"]
    assert (pages.weight, pages.to) == (Decimal(15), None)
    assert pages.of.events == ("Page Viewed",)
    assert pages.of.where == (("page_type", Comparison("eq", "high_intent")),)
    rate = by_name["LinkedIn click-through rate"]
    assert rate.to is not None
    assert (rate.of.events, rate.to.events) == (("LinkedIn Ad Click",), ("LinkedIn Ad Impression",))


def test_a_touchpoint_of_one_event_takes_its_name() -> None:
    (touchpoint,) = parsed(KPI, touchpoints=[{"event": "Call Logged", "weight": "100"}]).touchpoints
    assert touchpoint.name == "Call Logged"


def test_a_touchpoint_may_count_several_events() -> None:
    (touchpoint,) = parsed(KPI, touchpoints=[{**CALLS, "event": ["Call Made", "Call Answered"]}]).touchpoints
    assert touchpoint.of.events == ("Call Answered", "Call Made")


@pytest.mark.parametrize(
    "weights", [("33.333333",) * 3, ("33.3333331",) * 2 + ("33.333333",), ("0", "40", "60")]
)
def test_weights_add_up_to_a_hundred_within_a_millionth(weights: Sequence[str]) -> None:
    touchpoints = [{**CALLS, "name": str(place), "weight": each} for place, each in enumerate(weights)]
    assert len(parsed(KPI, touchpoints=touchpoints).touchpoints) == 3


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        (("40", "50.5"), "add up to 90.5, but must add up to 100: 9.5 are missing"),
        (("40", "63"), "add up to 103, but must add up to 100: 3 too many"),
        (("40", "60.000002"), "add up to 100.000002, but must add up to 100: 0.000002 too many"),
        (("33.33", "66.66"), "0.01 are missing"),
    ],
)
def test_weights_that_do_not_add_up_are_rejected_with_the_difference(
    weights: Sequence[str], sentence: str
) -> None:
    touchpoints = [{**CALLS, "name": str(place), "weight": each} for place, each in enumerate(weights)]
    place, message = problem(KPI, touchpoints=touchpoints)
    assert place == ("touchpoints",)
    assert sentence in message


@given(st.lists(st.decimals(0, 100, places=3), min_size=1, max_size=8))
def test_a_sum_of_weights_is_rejected_exactly_when_it_is_not_a_hundred(weights: list[Decimal]) -> None:
    touchpoints = [{**CALLS, "name": str(place), "weight": f"{each:f}"} for place, each in enumerate(weights)]
    tree = {**KPI, "touchpoints": touchpoints}
    if sum(weights) == 100:
        assert Profile.model_validate(tree).model == "kpi"
    else:
        with pytest.raises(ValidationError, match="add up to"):
            Profile.model_validate(tree)
    rest = Decimal(100) - sum(weights)
    if rest >= 0:
        tree = {**tree, "touchpoints": [*touchpoints, {**CALLS, "weight": f"{rest:f}"}]}
        assert len(Profile.model_validate(tree).touchpoints) == len(weights) + 1


@pytest.mark.parametrize(
    ("touchpoint", "place", "sentence"),
    [
        ({"weight": "101"}, ("weight",), "in percent, from 0 to 100, found `101`"),
        ({"weight": "-1"}, ("weight",), "in percent, from 0 to 100, found `-1`"),
        ({"weight": "ten"}, ("weight",), "a number such as 2.5, found `ten`"),
        ({"event": []}, ("event",), "found an empty list"),
        ({"event": "*"}, ("event",), "a touchpoint must list its events"),
        ({"where": {"page_type": "demo"}}, ("where", "page_type"), "a comparison such as {eq: pro}"),
        ({"where": {"page_type": {"eqq": "demo"}}}, ("where", "page_type", "eqq"), "did you mean `eq`"),
        ({"ratio": {"of": {"event": "A"}}}, (), "either `event` or `ratio`"),
        ({"wheight": "3"}, ("wheight",), "not permitted"),
    ],
)
def test_an_invalid_touchpoint_is_reported_with_its_location(
    touchpoint: Row, place: tuple[str, ...], sentence: str
) -> None:
    found, message = problem(KPI, touchpoints=[{**CALLS, **touchpoint}])
    assert found == ("touchpoints", 0, *place)
    assert sentence in message


@pytest.mark.parametrize(
    ("ratio", "place", "sentence"),
    [
        ({"of": {"event": "A"}}, ("ratio", "to"), "required"),
        (
            {"of": {"event": "A"}, "to": {"event": "B", "where": {}}},
            ("ratio", "to", "where"),
            "properties such as",
        ),
        ({"of": {"event": "A"}, "to": {"events": "B"}}, ("ratio", "to", "event"), "required"),
    ],
)
def test_an_invalid_ratio_is_reported_with_its_location(
    ratio: Row, place: tuple[str, ...], sentence: str
) -> None:
    found = dict(problems(KPI, touchpoints=[{"name": "Rate", "ratio": ratio, "weight": "100"}]))
    assert sentence in found["touchpoints", 0, *place]


def test_a_ratio_has_its_where_inside() -> None:
    ratio = {"of": {"event": "A"}, "to": {"event": "B"}}
    touchpoint = {"name": "Rate", "ratio": ratio, "where": {"a": {"eq": "1"}}, "weight": "100"}
    assert "each side of a ratio" in problem(KPI, touchpoints=[touchpoint])[1]


def test_an_empty_list_and_duplicate_names_of_touchpoints_are_rejected() -> None:
    assert "remove `touchpoints`" in problem(KPI, touchpoints=[])[1]
    place, message = problem(KPI, touchpoints=[{**CALLS, "weight": "50"}] * 2)
    assert place == ("touchpoints", 1, "name")
    assert "names `Calls` twice" in message


def test_in_kpi_events_may_only_be_marked_passive() -> None:
    profile = parsed(KPI, events=[{"event": "LinkedIn Ad Impression", "passive": "true"}])
    assert profile.passive == ("LinkedIn Ad Impression",)
    assert profile.scored == ()
    place, message = problem(KPI, events=[{"event": "Call Logged", "weight": "5"}])
    assert place == ("events",)
    assert "its `touchpoints` say what counts" in message
    place, message = problem(KPI, events=[{"event": "Call Logged", "tier": "core", "passive": "true"}])
    assert place == ("events", 0, "tier")
    assert "has no effect in `model: kpi`" in message


def test_an_engagement_action_needs_no_weight() -> None:
    events = [
        {"event": "Report Created"},
        {"event": "Comment Added", "tier": "core", "per_day": "5"},
        {"event": "Logged In", "weight": "0"},
        {"event": "Invoice Paid", "passive": "true"},
    ]
    profile = parsed(ENGAGEMENT, events=events)
    assert [(each.event, each.weight) for each in profile.scored] == [
        ("Comment Added", 5),
        ("Report Created", 1),
    ]
    assert profile.passive == ("Invoice Paid",)
    assert profile.warnings == ()


@pytest.mark.parametrize(
    ("tree", "more", "place", "sentence"),
    [
        (WEIGHTED, {"touchpoints": [CALLS]}, ("touchpoints",), "belongs to `model: kpi`, and this is `model: weighted`"),
        (HEAD, {"touchpoints": [CALLS]}, ("touchpoints",), "(no `model` is named): remove it, or write `model: kpi`"),
        (ENGAGEMENT, {"touchpoints": [CALLS]}, ("touchpoints",), "and this is `model: engagement`"),
        (KPI, {"rollup": "pooled"}, ("rollup",), "belongs to `model: weighted`, and this is `model: kpi`"),
        (ENGAGEMENT, {"rollup": "average"}, ("rollup",), "an account is scored by its own events"),
        (ENGAGEMENT, {"events": [{"event": "A", "per_window": "9"}]}, ("events", 0, "per_window"), "or use `per_day`"),
        (ENGAGEMENT, {"events": [{"event": "A", "weight": "0"}]}, ("events",), "no event with a weight above 0"),
        (ENGAGEMENT, {"events": []}, ("events",), "no event with a weight above 0"),
        (WEIGHTED, {"levels": "churn"}, ("levels", "churn"), "need `model: engagement`, and this is `model: weighted`"),
        (KPI, {"levels": {"churn": "true"}}, ("levels", "churn"), "use `levels: {bands: {...}}`"),
        (WEIGHTED, {"events": [{"event": "A"}]}, ("events", 0), "a `weight` from 0 to 10 or a `tier`"),
    ],
)  # fmt: skip
def test_keys_of_another_model_are_rejected(
    tree: Row, more: Row, place: tuple[str | int, ...], sentence: str
) -> None:
    found = dict(problems(tree, **more))
    assert place in found
    assert sentence in found[place]


def test_events_are_required_except_in_kpi() -> None:
    for model in ("weighted", "engagement"):
        assert problem(HEAD, model=model) == (("events",), "Field required")


def test_an_invalid_model_is_the_only_problem_reported() -> None:
    assert problem(HEAD, model="kpis", touchpoints=[CALLS])[0] == ("model",)
    context = {"unread": frozenset({("model",)})}
    tree = {**HEAD, "touchpoints": [CALLS], "levels": "churn", "events": [{"event": "A"}]}
    Profile.model_validate(tree, context=context)


def test_signals_are_columns_with_a_range_of_values() -> None:
    reversed_ = {"trait": "user.tickets", "from": "20", "to": "0", "weight": "2.5"}
    bare = {"trait": "csm_mood", "from": "-1", "to": "1", "weight": "5"}
    nps, tickets, mood = parsed(WEIGHTED, signals=[NPS, reversed_, bare]).signals
    assert (nps.trait, nps.low, nps.high, nps.weight) == ("account.nps", 0, 10, 15)
    assert (tickets.low, tickets.high, tickets.weight) == (20, 0, Decimal("2.5"))
    assert [nps.column_of(entity) for entity in ("user", "account")] == [("account", "nps")] * 2
    assert [tickets.column_of(entity) for entity in ("user", "account")] == [("user", "tickets"), None]
    assert [mood.column_of(entity) for entity in ("user", "account")] == [
        ("user", "csm_mood"),
        ("account", "csm_mood"),
    ]


@pytest.mark.parametrize("tree", [WEIGHTED, KPI, ENGAGEMENT])
def test_every_model_allows_signals_up_to_half_of_the_score(tree: Row) -> None:
    signals = [{**NPS, "weight": "25"}, {**NPS, "trait": "account.csat", "weight": "25"}]
    assert len(parsed(tree, signals=signals).signals) == 2
    place, message = problem(tree, signals=[*signals, {**NPS, "trait": "account.fit", "weight": "0.5"}])
    assert place == ("signals",)
    assert "add up to 50.5; the most is 50" in message


@pytest.mark.parametrize(
    ("signal", "place", "sentence"),
    [
        ({"weight": "0"}, ("weight",), "above 0, and at most 50, found `0`"),
        ({"weight": "51"}, ("weight",), "above 0, and at most 50, found `51`"),
        ({"to": "0"}, ("to",), "`from` and `to` are both 0"),
        ({"from": "low"}, ("from",), "a number such as 2.5, found `low`"),
        ({"trait": " "}, ("trait",), "found an empty text"),
        ({"form": "0"}, ("form",), "not permitted"),
    ],
)
def test_an_invalid_signal_is_reported_with_its_location(
    signal: Row, place: tuple[str, ...], sentence: str
) -> None:
    found, message = problem(WEIGHTED, signals=[{**NPS, **signal}])
    assert found == ("signals", 0, *place)
    assert sentence in message


def test_duplicate_signals_are_rejected() -> None:
    place, message = problem(WEIGHTED, signals=[NPS, NPS])
    assert place == ("signals", 1, "trait")
    assert "names `account.nps` twice" in message


def test_a_filter_is_a_condition_on_what_is_known_before_scoring() -> None:
    assert parsed(WEIGHTED).filter is None
    assert parsed(WEIGHTED, filter=INTERNAL).filter == Not(
        Trait("account.plan", Comparison("eq", "internal"))
    )
    place, message = problem(WEIGHTED, filter={"all": [INTERNAL, {"trait": "score", "gte": "50"}]})
    assert place == ("filter", "all", 1, "trait")
    assert "a filter cannot use `score`" in message


def test_levels_are_bands_or_learned_from_churn() -> None:
    assert parsed(WEIGHTED).levels.names == ("Low", "Medium", "High", "Very High")
    assert parsed(WEIGHTED, levels="bands").levels == parsed(WEIGHTED).levels
    for levels in ("churn", {"churn": "true"}):
        churn = parsed(ENGAGEMENT, levels=levels).levels
        assert (churn.kind, churn.bands, churn.hysteresis) == ("churn", (), False)
        assert churn.names == ("None", "Low", "Medium", "High")


@pytest.mark.parametrize("levels", [{"churn": "true"}, {"bands": {"Low": "0", "High": "50"}}, {}])
def test_both_kinds_of_levels_may_have_hysteresis(levels: Row) -> None:
    assert parsed(ENGAGEMENT, levels={**levels, "hysteresis": "true"}).levels.hysteresis
    assert not parsed(ENGAGEMENT, levels=levels).levels.hysteresis


def test_levels_learned_from_churn_are_audiences() -> None:
    keys = audiences.audience_keys(parsed(ENGAGEMENT, levels="churn"), "account")
    assert {"level_none", "level_low", "level_medium", "level_high"} <= keys
    assert "level_very_high" not in keys


def same(tree: Row, one: Row, other: Row) -> bool:
    return parsed(tree, **one).version == parsed(tree, **other).version


def test_the_version_does_not_depend_on_spelling_and_order() -> None:
    other = {**NPS, "trait": "account.csat"}
    assert same(
        WEIGHTED, {"signals": [NPS, other]}, {"signals": [other, {**NPS, "to": "10.0", "weight": "15.00"}]}
    )
    assert same(
        KPI,
        {},
        {"touchpoints": [{**each, "weight": f"{each['weight']}.0"} for each in DEFAULT_TOUCHPOINTS[::-1]]},
    )
    assert same(KPI, {}, {"window": "90d", "decay": {"half_life": "30d"}, "events": []})
    assert same(
        ENGAGEMENT,
        {},
        {"window": "30d", "events": [{**each, "weight": "1"} for each in ENGAGEMENT["events"]]},
    )
    assert same(ENGAGEMENT, {"levels": "churn"}, {"levels": {"churn": "true", "hysteresis": "false"}})
    one, two = {"trait": "user.plan", "in": ["a", "b"]}, {"event": ["A", "B"], "within": "2w"}
    turned = {"all": [{**two, "event": ["B", "A"], "within": "14d"}, {**one, "in": ["b", "a"]}]}
    assert same(WEIGHTED, {"filter": {"all": [one, two]}}, {"filter": turned})


@pytest.mark.parametrize(
    ("tree", "change"),
    [
        (WEIGHTED, {"filter": INTERNAL}),
        (WEIGHTED, {"signals": [NPS]}),
        (WEIGHTED, {"levels": {"hysteresis": "true"}}),
        (WEIGHTED, {"model": "engagement"}),
        (KPI, {"touchpoints": [{**DEFAULT_TOUCHPOINTS[0], "weight": "4"}, {**DEFAULT_TOUCHPOINTS[1], "weight": "9"}, *DEFAULT_TOUCHPOINTS[2:]]}),
        (KPI, {"touchpoints": [{**DEFAULT_TOUCHPOINTS[0], "event": "Ad Seen"}, *DEFAULT_TOUCHPOINTS[1:]]}),
        (KPI, {"touchpoints": [{**DEFAULT_TOUCHPOINTS[0], "where": {"ad": {"eq": "x"}}}, *DEFAULT_TOUCHPOINTS[1:]]}),
        (KPI, {"events": [{"event": "Page Viewed", "passive": "true"}]}),
        (KPI, {"decay": "none"}),
        (ENGAGEMENT, {"levels": "churn"}),
        (ENGAGEMENT, {"events": [{"event": "Report Created"}, {"event": "Comment Added", "per_day": "5"}]}),
    ],
)  # fmt: skip
def test_the_version_depends_on_everything_that_changes_a_number(tree: Row, change: Row) -> None:
    assert not same(tree, {}, change)


@pytest.mark.parametrize("change", [{"from": "1"}, {"to": "9"}, {"weight": "16"}, {"trait": "account.csat"}])
def test_every_part_of_a_signal_changes_the_version(change: Row) -> None:
    assert not same(WEIGHTED, {"signals": [NPS]}, {"signals": [{**NPS, **change}]})


PAGE = (Path(__file__).parents[2] / "docs" / "scoring.md").read_text("utf-8")


def test_the_examples_in_the_docs_are_valid_profiles() -> None:
    kpi, engagement, signals = (
        yaml.load(text, Loader=yaml.BaseLoader) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    )
    assert len(parsed(HEAD, **kpi).touchpoints) == 3
    assert [each.event for each in parsed(HEAD, **engagement).scored] == ["Comment Added", "Report Created"]
    assert parsed(HEAD, **engagement).levels.churn
    assert len(parsed(WEIGHTED, **signals).signals) == 2


def test_the_docs_list_the_eleven_touchpoints() -> None:
    rows = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.count("|") == 4]
    shown = {row[0]: row[2] for row in rows if row[-1].isdigit()}
    assert shown == {each["name"]: each["weight"] for each in DEFAULT_TOUCHPOINTS}
