"""The message log by all three models, each number of each student against the definitions."""

import csv
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from three_models import Row, compare, some
from worlds import World, written

from heatsync.sandbox.demo_data import collegemsg
from heatsync.workspace.config import Workspace

STARTED, SENT = collegemsg.STARTED, collegemsg.SENT
BUSY, LAST = date(2004, 6, 10), date(2004, 10, 25)
EVENTS = [{"event": STARTED, "weight": "8"}, {"event": SENT, "weight": "2", "per_day": "20"}]
PROFILES: Mapping[str, Row] = {
    "weighted": {"window": "30d", "events": EVENTS, "decay": {"half_life": "7d"}, "benchmark": "rolling"},
    "kpi": {
        "model": "kpi",
        "window": "30d",
        "touchpoints": [
            {"name": "Openings", "event": STARTED, "weight": "60"},
            {"name": "Share", "ratio": {"of": {"event": STARTED}, "to": {"event": SENT}}, "weight": "40"},
        ],
    },
    "engagement": {
        "model": "engagement",
        "events": EVENTS,
        "levels": {"churn": "true", "hysteresis": "true"},
    },
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("messages")
    collegemsg.write(folder)
    with (folder / "users.csv").open(newline="", encoding="utf-8") as file:
        people: list[Row] = [
            {"user_id": row["user_id"], "created_at": datetime.fromisoformat(row["created_at"])}
            for row in csv.DictReader(file)
        ]
    return World(pq.read_table(folder / "events.parquet").to_pylist(), people, None, "UTC", (LAST,))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, log: World) -> Workspace:
    return written(Path(tmp_path_factory.mktemp("w")), log, PROFILES)


@pytest.mark.parametrize("day", some(LAST, BUSY), ids=str)
@pytest.mark.parametrize("name", PROFILES)
def test_every_number_of_every_student_is_what_the_definitions_say(
    workspace: Workspace, log: World, name: str, day: date
) -> None:
    created = compare(log, workspace, PROFILES, name, day)
    assert len(created) == {BUSY: 1_675, LAST: 1_898}[day]
    assert len({row["level"] for row in created.values()}) >= 3
