"""A profile's file: valid content, and the messages for invalid content."""

from typing import Any

import pytest
from pydantic import ValidationError

from heatsync.scoring.definition.audiences import audience_keys
from heatsync.scoring.definition.profile import Profile
from heatsync.scoring.definition.value_types import snake

EVENTS = [{"event": f"Event {number}", "weight": str(number)} for number in range(1, 7)]
TREE: dict[str, Any] = {"version": "1", "name": "Health", "events": EVENTS}


def parsed(**more: Any) -> Profile:
    return Profile.model_validate({**TREE, **more})


def problem(**more: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        parsed(**more)
    (error,) = caught.value.errors()
    return str(error.get("ctx", {}).get("error", error["msg"]))


def test_a_short_profile_has_every_default() -> None:
    profile = parsed()
    assert (profile.window, profile.rollup, profile.normalize.kind) == (7, "average", "exponential")
    assert (profile.benchmark.kind, profile.decay.kind) == ("smoothed", "none")
    assert profile.levels.bands == (("Low", 0), ("Medium", 25), ("High", 50), ("Very High", 75))
    assert profile.warnings == ()


def test_a_tier_is_a_weight_and_a_weight_has_a_tier() -> None:
    events = [
        {"event": "A", "tier": "advanced"},
        {"event": "B", "weight": "6.5"},
        {"event": "C", "weight": "0"},
    ]
    profile = parsed(events=events)
    assert [(event.event, int(event.weight * 10), event.rank) for event in profile.events] == [
        ("A", 80, "advanced"),
        ("B", 65, "core"),
        ("C", 0, ""),
    ]
    assert [event.event for event in profile.scored] == ["A", "B"]


@pytest.mark.parametrize("count", [4, 21])
def test_few_and_many_events_are_a_warning(count: int) -> None:
    profile = parsed(events=[{"event": f"Event {number}", "weight": "1"} for number in range(count)])
    assert str(count) in profile.warnings[0][1]


def test_the_version_is_a_hash_of_what_changes_numbers() -> None:
    profile = parsed()
    assert parsed(window="1w", name="Other", events=EVENTS[::-1]).version == profile.version
    assert (
        parsed(events=[{**event, "weight": event["weight"] + ".0"} for event in EVENTS]).version
        == profile.version
    )
    for change in (
        {"window": "8d"},
        {"decay": {"half_life": "7d"}},
        {"events": [*EVENTS[1:], {**EVENTS[0], "passive": "true"}]},
        {"levels": {"bands": {"Low": "0", "High": "51"}}},
        {"ship": {"red_hot": "false"}},
        {"activation": {"user": [{"event": "Event 1"}]}},
    ):
        assert parsed(**change).version != profile.version


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model": "weigthed"}, "did you mean `weighted`"),
        ({"levels": "churm"}, "did you mean `churn`"),
        ({"levels": ["Low"]}, "{bands: {Low: 0, High: 50}} or churn"),
        (
            {"levels": {"bands": {"Low": "0"}, "churn": "true"}},
            "expected `bands` or `churn: true`, found both",
        ),
        ({"levels": {"bands": {"Low": "0"}, "hysteresis": "yes"}}, "true or false, found `yes`"),
        ({"levels": {"bands": {"Low": "101"}}}, "a lower bound from 0 to 100, found `101`"),
        ({"window": "12h"}, "whole days or weeks such as 7d"),
        ({"window": "0d"}, "whole days or weeks such as 7d"),
        ({"normalize": "exponental"}, "did you mean `exponential`"),
        ({"normalize": {"target": "0"}}, "a target above 0"),
        ({"benchmark": "frozen"}, "{frozen: 2026-01-31}"),
        ({"benchmark": {"frozen": "2026-02-30"}}, "a date such as"),
        ({"decay": "half_life"}, "{half_life: 14d}"),
        ({"rollup": "avg"}, "is not a rollup"),
        ({"name": "9 lives"}, "a letter first"),
        ({"events": [{"event": "A"}]}, "a `weight` from 0 to 10 or a `tier`"),
        ({"events": [{"event": "A", "weight": "11"}]}, "a weight from 0 to 10"),
        ({"events": [{"event": "A", "weight": "1.2345"}]}, "at most 3 digits"),
        ({"events": [{"event": "A", "weight": "1", "passive": "yes"}]}, "true or false, found `yes`"),
        ({"events": [{"event": "A", "tier": "corr"}]}, "did you mean `core`"),
        ({"events": [{"event": "A", "weight": "1"}] * 2}, "names `A` twice"),
        ({"events": [{"event": "A", "weight": "0"}]}, "no event with a weight above 0"),
        ({"events": []}, "no event with a weight above 0"),
        ({"levels": {"bands": {"Low": "0", "Mid": "0"}}}, "both begin at 0"),
        ({"levels": {"bands": {"Very High": "0", "very-high": "5"}}}, "too similar"),
        ({"ship": {"red_hto": "true"}}, "did you mean `red_hot`"),
        ({"activation": {"user": [{"event": "A", "count": {"lte": "2"}}]}}, "a step that is met stays met"),
        ({"activation": {"user": [{"event": "A", "within": "7d"}]}}, "`within`"),
        ({"activation": {"user": [{"trait": "plan"}]}}, "one comparison"),
        ({"activation": {"user": [{"trait": "plan", "eq": "a", "neq": "b"}]}}, "one comparison"),
        ({"activation": {"user": [{"event": "A", "trait": "b", "eq": "c"}]}}, "either `event` or `trait`"),
    ],
)
def test_a_mistake_is_reported_with_what_was_expected(change: dict[str, Any], sentence: str) -> None:
    assert sentence in problem(**change)


def test_an_unknown_key_is_rejected() -> None:
    assert "not permitted" in problem(windw="7d")


def test_a_number_that_is_not_text_is_rejected() -> None:
    assert "expected" in problem(window=7)


def test_every_level_and_trend_is_an_audience() -> None:
    profile = parsed()
    assert {"level_very_high", "trend_cooling", "red_hot", "all"} <= audience_keys(profile, "user")
    assert "multi_user_accounts" not in audience_keys(profile, "user")
    assert "multi_user_accounts" in audience_keys(profile, "account")


def test_suggested_audiences_are_shipped_except_active_today() -> None:
    shipped = {
        each.name
        for each in parsed(ship={"level_high": "true", "new": "false"}).builtin_audiences("account")
        if each.shipped
    }
    assert shipped == {
        "High",
        "Most Engaged",
        "Slightly Engaged",
        "Passive",
        "Least Engaged",
        "Recently Inactive",
        "Red Hot",
        "Ice Cold",
        "Mature",
        "Multi-User Accounts",
    }


def test_a_level_becomes_a_key() -> None:
    assert snake("Very High!") == "very_high"
