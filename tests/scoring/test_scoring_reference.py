"""The scores of the product, compared with the definitions in plain Python."""

import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import reference
import tiny
from examples import examples
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

AS_OF = date(2026, 4, 5)
EVENTS = ("Report Created", "Invited", "Viewed", "Logged In", "Paid", "Unknown")
PROFILE: dict[str, Any] = {
    "version": "1",
    "name": "P",
    "window": "7d",
    "events": [
        {"event": "Report Created", "weight": "8"},
        {"event": "Invited", "tier": "advanced", "per_day": "2"},
        {"event": "Viewed", "weight": "0.5", "per_window": "4"},
        {"event": "Logged In", "weight": "1", "passive": "true"},
        {"event": "Paid", "weight": "0", "passive": "true"},
    ],
    "activation": {
        "user": [
            {"event": "Invited"},
            {"event": ["Report Created", "Viewed"], "count": {"gte": "3"}},
            {"trait": "user.plan", "in": ["pro", "team"]},
            {"trait": "account.plan", "neq": "free"},
            {"trait": "seats", "gte": "2.5"},
        ],
        "account": [
            {"event": "Report Created", "count": {"gt": "1"}},
            {"trait": "account.plan", "eq": "pro"},
            {"trait": "user.plan", "exists": "true"},
            {"trait": "plan", "exists": "false"},
        ],
    },
}
users = st.sampled_from([f"u{number}" for number in range(6)])
accounts = st.sampled_from(["a", "b", "c"])
# Around boundaries: midnights of the zones below, both clock changes, the ends of windows, and months ago.
edges = st.sampled_from(
    [
        datetime(2026, 4, 5, 22, 0, tzinfo=UTC),
        datetime(2026, 4, 5, 21, 59, 59, 999999, tzinfo=UTC),
        datetime(2026, 4, 6, 0, 0, tzinfo=UTC),
        datetime(2026, 3, 29, 22, 0, tzinfo=UTC),
        datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
        datetime(2026, 3, 28, 23, 0, tzinfo=UTC),
        datetime(2026, 3, 30, 0, 0, tzinfo=UTC),
        datetime(2026, 3, 8, 4, 59, 59, tzinfo=UTC),
        datetime(2026, 2, 4, 23, 30, tzinfo=UTC),
        datetime(2026, 1, 5, 22, 0, tzinfo=UTC),
        datetime(2025, 10, 7, 22, 0, tzinfo=UTC),
    ]
)
anytime = st.one_of(
    edges,
    st.integers(0, 45 * 24 * 60).map(
        lambda minutes: datetime(2026, 4, 6, 12, tzinfo=UTC) - timedelta(minutes=minutes)
    ),
    st.integers(0, 400).map(lambda days: datetime(2026, 4, 5, 3, tzinfo=UTC) - timedelta(days=days)),
)
event = st.fixed_dictionaries(
    {
        "user_id": st.one_of(users, users, st.none()),
        "account_id": st.one_of(st.none(), accounts),
        "event": st.sampled_from(EVENTS),
        "timestamp": st.one_of(anytime, anytime, anytime, st.none()),
        "event_id": st.one_of(st.none(), st.none(), st.integers(0, 5).map(str)),
    }
)
user = st.fixed_dictionaries(
    {
        "account_id": st.one_of(st.none(), accounts),
        "created_at": st.one_of(st.none(), anytime),
        "plan": st.sampled_from([None, "pro", "team", "free", ""]),
        "seats": st.sampled_from([None, 2.5, 1.0, float("nan")]),
    }
)
account = st.fixed_dictionaries(
    {"created_at": st.one_of(st.none(), anytime), "plan": st.sampled_from([None, "pro", "free"])}
)
choices = st.fixed_dictionaries(
    {
        "window": st.sampled_from(["7d", "1d", "2w", "40d"]),
        "normalize": st.sampled_from(["exponential", "winsor", "percentile", {"target": "20"}]),
        "benchmark": st.sampled_from(["smoothed", "rolling", {"frozen": "2026-04-01"}]),
        "decay": st.sampled_from(["none", {"half_life": "3d"}, {"linear": "5d"}]),
        "rollup": st.sampled_from(["average", "total", "pooled"]),
        "levels": st.sampled_from(
            [{"bands": {"Cold": "0", "Hot": "60"}}, {"bands": {"Some": "10", "Very Hot": "90"}}]
        ),
        "ship": st.sampled_from([{}, {"level_cold": "true"}, {"trend_new": "true", "new": "false"}]),
    }
)


def check(
    events: Any, listed: Any, firms: Any, profile: dict[str, Any], zone: str, day: date = AS_OF
) -> None:
    people = None if listed is None else [{"user_id": key, **row} for key, row in listed.items()]
    companies = None if firms is None else [{"account_id": key, **row} for key, row in firms.items()]
    if "level_cold" in profile["ship"] and "Cold" not in profile["levels"]["bands"]:
        profile = {**profile, "ship": {}}
    if people is None or companies is None:
        profile = {**profile, "activation": {"user": PROFILE["activation"]["user"][:2]}}
    with tempfile.TemporaryDirectory() as folder:
        created = tiny.scored(tiny.make(Path(folder), profile, events, people, companies, zone), day)
    expected = reference.score(events, people, companies, profile, zone, day)
    assert tiny.differences(created, expected) == []


# A case takes a second: shrinking a failing one would take minutes.
@settings(
    max_examples=examples(5),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@example(
    [{"user_id": "u0", "event": "Viewed", "timestamp": datetime(2026, 4, 5, 22, tzinfo=UTC)}],
    {"u0": {"plan": "", "account_id": "c", "seats": 1.0, "created_at": None}},
    {"b": {"plan": None, "created_at": None}},
    {
        "window": "7d",
        "normalize": "percentile",
        "benchmark": "rolling",
        "decay": "none",
        "rollup": "pooled",
        "levels": {"bands": {"Cold": "0"}},
        "ship": {},
    },
    "America/New_York",
)
@given(
    st.lists(event, min_size=1, max_size=60),
    st.one_of(st.none(), st.dictionaries(users, user, min_size=1, max_size=5)),
    st.one_of(st.none(), st.dictionaries(accounts, account, min_size=1, max_size=3)),
    choices,
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia"]),
)
def test_every_metric_matches_the_definitions(
    events: Any, listed: Any, firms: Any, chosen: Any, zone: str
) -> None:
    check(events, listed, firms, {**PROFILE, **chosen}, zone)


def test_every_metric_matches_the_definitions_for_many_entities() -> None:
    """Enough users for a percentile. They come and go, some without an account and some with several."""
    events = []
    for number in range(60):
        for step in range(number % 17 * 3):
            stamp = datetime(2026, 4, 5, 20, tzinfo=UTC) - timedelta(hours=7 * step * (1 + number % 5))
            events.append(
                {
                    "user_id": f"u{number}",
                    "account_id": [None, "a", f"a{number % 9}"][step % 3] if number % 4 == 0 else None,
                    "event": EVENTS[(number + step * step) % len(EVENTS)],
                    "timestamp": stamp,
                }
            )
    listed = {
        f"u{number}": {
            "account_id": f"a{number % 9}" if number % 3 else None,
            "created_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number * 2)
            if number % 5
            else None,
            "plan": ["pro", None, "free"][number % 3],
            "seats": float(number % 4),
        }
        for number in range(70)
    }
    firms = {
        f"a{number}": {"created_at": None, "plan": "pro" if number % 2 else "free"} for number in range(7)
    }
    for chosen in (
        {"window": "7d", "decay": {"half_life": "14d"}, "rollup": "average", "normalize": "exponential"},
        {"window": "30d", "decay": "none", "rollup": "pooled", "normalize": "winsor"},
    ):
        profile = {
            **PROFILE,
            "benchmark": "smoothed",
            "levels": {"bands": {"Low": "0", "High": "50"}},
            "ship": {},
        }
        check(events, listed, firms, {**profile, **chosen}, "Europe/Berlin")


def test_a_window_can_have_more_days_than_a_number_has_bits() -> None:
    events = [
        {
            "user_id": "u1",
            "account_id": "a",
            "event": "Viewed",
            "timestamp": datetime(2026, 4, 5, 9, tzinfo=UTC) - timedelta(days=days),
        }
        for days in range(0, 140, 3)
    ]
    profile = {**PROFILE, "window": "100d", "ship": {}, "levels": {"bands": {"Low": "0"}}}
    check(events, None, None, profile, "Europe/Berlin")


def test_a_profile_can_have_more_events_than_a_number_has_bits() -> None:
    names = [f"Event {number}" for number in range(70)]
    profile = {
        "version": "1",
        "name": "P",
        "events": [{"event": name, "weight": "1"} for name in names],
        "ship": {},
        "levels": {"bands": {"Low": "0"}},
    }
    events = [
        {
            "user_id": f"u{number % 3}",
            "account_id": "a",
            "event": name,
            "timestamp": datetime(2026, 4, 1, 9, tzinfo=UTC),
        }
        for number, name in enumerate(names)
    ]
    check(events, None, None, profile, "UTC")
