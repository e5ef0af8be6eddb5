"""A second real log: what 23,570 people bought at CDNOW, all of them customers since the first quarter of 1997.

Published by Fader and Hardie ("Forecasting Repeat Sales at CDNOW", 2001), and kept as a file inside the package
lifetimes, whose code is not used. Each purchase is an event with its dollars as value and the number of CDs as a
property.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from examples import TIMES
from three_models import Row, compare, some
from worlds import World, written

from heatsync.workspace.config import Workspace

FEW, MANY = "Order", "Large order"
BUSY, LAST = date(1997, 5, 11), date(1998, 6, 30)
"""When the wave of first purchases has passed, and the last day of the log."""
EVENTS = [{"event": FEW, "weight": "4", "per_day": "2"}, {"event": MANY, "tier": "advanced"}]
PROFILES: Mapping[str, Row] = {
    "weighted": {"window": "30d", "events": EVENTS, "decay": {"half_life": "14d"}},
    "kpi": {
        "model": "kpi",
        "window": "60d",
        "touchpoints": [
            {"name": "Revenue", "event": [FEW, MANY], "weight": "50"},
            {"name": "Expensive", "event": MANY, "where": {"value": {"gte": "100"}}, "weight": "20"},
            {"name": "Share", "ratio": {"of": {"event": MANY}, "to": {"event": [FEW, MANY]}}, "weight": "20"},
            {"name": "Three", "event": FEW, "where": {"cds": {"eq": "3"}}, "weight": "10"},
        ],
    },
    "engagement": {"model": "engagement", "window": "60d", "events": EVENTS, "levels": "churn"},
}


def lines(name: str) -> list[list[str]]:
    """A file of the package, by words."""
    spec = importlib.util.find_spec("lifetimes")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    path = Path(next(iter(spec.submodule_search_locations))) / "datasets" / name
    return [line.split() for line in path.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def log() -> World:
    purchases = []
    for customer, day, number, dollars in lines("CDNOW_master.txt")[1:]:
        purchases.append(
            {
                "user_id": customer,
                "event": MANY if int(number) >= 4 else FEW,
                "timestamp": datetime.strptime(day, "%Y%m%d").replace(hour=12, tzinfo=UTC),
                "value": float(dollars),
                "properties": {"cds": int(number)},
            }
        )
    return World(purchases, None, None, "UTC", (LAST,))


def sample() -> set[str]:
    """The customers that most papers look at: a tenth."""
    return {customer for customer, *_ in lines("CDNOW_sample.txt")}


@pytest.fixture(scope="module")
def customers(log: World) -> World:
    """Everybody in a long run, the sample in an ordinary one."""
    if TIMES > 1:
        return log
    chosen = sample()
    return replace(log, events=[row for row in log.events if row["user_id"] in chosen])


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, customers: World) -> Workspace:
    return written(tmp_path_factory.mktemp("cdnow"), customers, PROFILES)


def test_the_log_has_the_published_counts(log: World) -> None:
    first: dict[str, datetime] = {}
    for row in log.events:
        first[row["user_id"]] = min(row["timestamp"], first.get(row["user_id"], row["timestamp"]))
    assert len(log.events) == 69_659
    assert len(first) == 23_570
    assert max(first.values()).date() == date(1997, 3, 25)
    assert max(row["timestamp"] for row in log.events).date() == LAST
    chosen = sample()
    assert len(chosen) == 2_357
    assert sum(row["user_id"] in chosen for row in log.events) == 6_919


@pytest.mark.parametrize("day", some(LAST, BUSY), ids=str)
@pytest.mark.parametrize("name", PROFILES)
def test_every_number_of_every_customer_is_what_the_definitions_say(
    workspace: Workspace, customers: World, name: str, day: date
) -> None:
    assert len(compare(customers, workspace, PROFILES, name, day)) == (23_570 if TIMES > 1 else 2_357)
