"""Snapshots over days: stored days are kept, missing days and days of another version are computed."""

import os
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest

from heatsync.snapshots import run as snapshot_run
from heatsync.workspace import config as workspace_config
from heatsync.workspace.config import Workspace

DAY = date(2026, 4, 5)
PROFILE = "version: 1\nname: P\nevents:\n  - {event: Viewed, weight: 5}\n  - {event: Paid, weight: 1}\n"
Make = Callable[..., Workspace]


def happened(user: str, day: date, event: str = "Viewed") -> str:
    return f"{user},a1,{event},{datetime(day.year, day.month, day.day, 12, tzinfo=UTC).isoformat()}"


def daily(user: str, days: int, since: int = 0) -> list[str]:
    """One event on each of some days, the last of them `since` days ago."""
    return [happened(user, DAY - timedelta(days=since + back)) for back in range(days)]


def make_in(folder: Path) -> Make:
    def workspace(events: list[str], profile: str = PROFILE, config: str = "") -> Workspace:
        (folder / "mappings" / "profiles").mkdir(parents=True, exist_ok=True)
        (folder / "mappings" / "profiles" / "p.yml").write_text(profile)
        (folder / "events.csv").write_text("\n".join(["user_id,account_id,event,timestamp", *events]) + "\n")
        (folder / "heatsync.yml").write_text(
            f"version: 1\n{config}\nsource:\n  events: {{table: events.csv}}\n"
        )
        return workspace_config.load(folder, vendors={})

    return workspace


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return make_in(tmp_path)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, snapshot_run.ScoringResult]:
    """Sixty days of one user, of which DAY was scored; tests do not write to it."""
    workspace = make_in(tmp_path_factory.mktemp("first"))(daily("u1", 60))
    return workspace, snapshot_run.score(workspace, [DAY])


@pytest.fixture
def scored(first_run: tuple[Workspace, snapshot_run.ScoringResult], make: Make, tmp_path: Path) -> Workspace:
    """A copy of the first run."""
    shutil.copytree(first_run[0].folder, tmp_path, dirs_exist_ok=True)
    return make(daily("u1", 60))


def row(workspace: Workspace, user: str = "u1", day: date = DAY) -> dict[str, Any]:
    table = pq.read_table(snapshot_run.snapshot_path(workspace, "p", "user", day))
    return next(each for each in table.to_pylist() if each["user_id"] == user)


def stored(workspace: Workspace) -> dict[str, bytes]:
    folder = workspace.state / "snapshots"
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def history(workspace: Workspace, entity: str = "user") -> set[date]:
    """The days whose scores are kept."""
    days: set[date] = set()
    for path in (workspace.state / "history" / "p" / entity).glob("*_*.parquet"):
        if not path.name.endswith(".moves.parquet"):
            first, last = (date.fromisoformat(each) for each in path.stem.split("_"))
            days |= {first + timedelta(days=n) for n in range((last - first).days + 1)}
    return days


def test_the_first_run_stores_the_days_that_trends_need(
    first_run: tuple[Workspace, snapshot_run.ScoringResult],
) -> None:
    workspace, scored = first_run
    assert {each.date for each in scored.snapshots} == {DAY}
    assert {each.entity for each in scored.snapshots} == {"user", "account"}
    assert [each.rows for each in scored.snapshots] == [1, 1]
    assert all(
        each.path.is_file()
        and each.path == snapshot_run.snapshot_path(workspace, "p", each.entity, each.date)
        for each in scored.snapshots
    )
    for entity in ("user", "account"):
        assert history(workspace, entity) == {DAY - timedelta(days=back) for back in range(31)}


def test_a_longer_window_needs_more_days(make: Make) -> None:
    workspace = make(daily("u1", 60), PROFILE + "window: 40d\n")
    snapshot_run.score(workspace, [DAY])
    assert min(history(workspace)) == DAY - timedelta(days=40)


def test_the_next_run_computes_only_its_day(scored: Workspace) -> None:
    tomorrow = DAY + timedelta(days=1)
    assert {each.date for each in snapshot_run.score(scored, [tomorrow]).snapshots} == {tomorrow}


def test_scoring_again_gives_the_same_bytes(make: Make) -> None:
    events = daily("u1", 60) + daily("u2", 9) + daily("u3", 5, since=20)
    workspace = make(events)
    snapshot_run.score(workspace, [DAY])
    before = stored(workspace)
    snapshot_run.score(workspace, [DAY])
    assert stored(workspace) == before
    for path in workspace.state.rglob("*.parquet"):
        path.unlink()
    make(events[::-1])
    snapshot_run.score(workspace, [DAY])
    assert stored(workspace) == before


def test_day_after_day_gives_the_same_numbers_as_all_at_once(make: Make) -> None:
    workspace = make(daily("u1", 60) + daily("u2", 9) + daily("u3", 5, since=20))
    for back in (2, 1, 0):
        snapshot_run.score(workspace, [DAY - timedelta(days=back)])
    one_by_one = stored(workspace)
    for path in workspace.state.rglob("*.parquet"):
        path.unlink()
    snapshot_run.score(workspace, [DAY - timedelta(days=back) for back in range(3)])
    assert {name: data for name, data in stored(workspace).items() if "2026-04" in name} == {
        name: data for name, data in one_by_one.items() if "2026-04" in name
    }


def test_a_stored_benchmark_is_kept_when_events_come_late(make: Make) -> None:
    workspace = make(daily("u1", 40))
    snapshot_run.score(workspace, [DAY])
    before = row(workspace)
    make(daily("u1", 40) + [happened("u2", DAY)] * 50)
    snapshot_run.score(workspace, [DAY])
    assert row(workspace)["benchmark"] == before["benchmark"]
    assert row(workspace)["score"] == before["score"]
    assert row(workspace, "u2")["score"] == 100


def test_a_changed_profile_is_computed_again_under_its_version(
    first_run: tuple[Workspace, snapshot_run.ScoringResult], scored: Workspace, make: Make
) -> None:
    first = first_run[1]
    workspace = make(daily("u1", 60), PROFILE + "# only a comment\n")
    before = stored(workspace)
    snapshot_run.score(workspace, [DAY])
    assert stored(workspace) == before
    workspace = make(daily("u1", 60), PROFILE.replace("weight: 5", "weight: 6"))
    again = snapshot_run.score(workspace, [DAY])
    assert again.snapshots[0].version != first.snapshots[0].version
    metadata = pq.read_schema(again.snapshots[-1].path).metadata
    assert metadata[b"heatsync.version"].decode().startswith(again.snapshots[-1].version)
    for path in (workspace.state / "history").rglob("*_*.parquet"):
        kept = pq.read_schema(path).metadata[b"heatsync.version"].decode()
        assert kept.startswith(again.snapshots[-1].version), "the days before are of the new version too"
    assert row(workspace)["trend"] == "Neutral"


def test_another_time_zone_is_another_version(scored: Workspace, make: Make) -> None:
    workspace = make(daily("u1", 60), config="time_zone: Asia/Tokyo")
    snapshot_run.score(workspace, [DAY])
    for path in (workspace.state / "history").rglob("*_*.parquet"):
        assert pq.read_schema(path).metadata[b"heatsync.version"].endswith(b"Asia/Tokyo")


def test_a_change_of_level_is_kept_until_the_next_one(make: Make) -> None:
    loud = [happened("u1", DAY - timedelta(days=2))] * 40
    workspace = make([*daily("u1", 60, since=3), *loud], PROFILE + "normalize: {target: 100}\n")
    snapshot_run.score(workspace, [DAY - timedelta(days=3)])
    assert row(workspace, day=DAY - timedelta(days=3))["level"] == "High"
    for back in (2, 1, 0):
        day = DAY - timedelta(days=back)
        snapshot_run.score(workspace, [day])
        found = row(workspace, day=day)
        assert (found["level"], found["level_previous"]) == ("Very High", "High")
        assert found["level_changed_on"] == DAY - timedelta(days=2)


def test_the_trend_is_against_thirty_days_ago(make: Make) -> None:
    expected = {"u1": ("New", None), "u2": ("Neutral", 0), "u3": ("Cooling", -90), "u4": ("Surging", 90)}
    unscored = happened("u4", DAY - timedelta(days=50), "Other")
    events = [*daily("u1", 10), *daily("u2", 60), *daily("u3", 30, since=30), unscored, *daily("u4", 7)]
    workspace = make(events, PROFILE + "normalize: {target: 35}\n")
    snapshot_run.score(workspace, [DAY])
    for user, (trend, change) in expected.items():
        found = row(workspace, user)
        assert (found["trend"], found["score_change"]) == (trend, change)
        assert f"trend_{trend.lower()}" in found["audiences"]


@pytest.mark.parametrize("cut", [lambda data: data[: len(data) // 2], lambda _: b""])
def test_a_history_that_cannot_be_read_is_computed_again(
    scored: Workspace, cut: Callable[[bytes], bytes]
) -> None:
    before = row(scored)
    (path,) = [
        each
        for each in (scored.state / "history/p/user").glob("*_*.parquet")
        if not each.name.endswith(".moves.parquet")
    ]
    path.write_bytes(cut(path.read_bytes()))
    snapshot_run.score(scored, [DAY])
    assert row(scored) == before
    assert history(scored) == {DAY - timedelta(days=back) for back in range(31)}


def test_deleting_the_daily_counts_changes_no_byte(scored: Workspace) -> None:
    before = stored(scored)
    shutil.rmtree(scored.state / "daily")
    snapshot_run.score(scored, [DAY])
    assert stored(scored) == before


def test_no_partial_file_is_left_behind(first_run: tuple[Workspace, snapshot_run.ScoringResult]) -> None:
    workspace, _ = first_run
    assert {path.suffix for path in (workspace.state / "snapshots").rglob("*") if path.is_file()} == {
        ".parquet"
    }
    assert not any(
        name.startswith(".") for _, _, files in os.walk(workspace.state / "snapshots") for name in files
    )


def test_progress_is_reported_to_the_end(scored: Workspace) -> None:
    steps: list[tuple[str, int, int]] = []
    days = [DAY, DAY + timedelta(days=1)]
    snapshot_run.score(scored, days, lambda doing, done, of: steps.append((doing, done, of)))
    assert steps[0] == ("reading the source", 0, 1)
    assert steps[-1] == ("scoring p", 2, 2)


def test_the_last_complete_day_is_yesterday_in_the_zone_of_the_workspace(make: Make) -> None:
    workspace = make(daily("u1", 1), config="time_zone: Asia/Tokyo")
    now = datetime(2026, 4, 5, 15, 30, tzinfo=UTC)
    assert snapshot_run.last_complete_day(workspace, now) == DAY
    assert snapshot_run.last_complete_day(workspace, now.astimezone(ZoneInfo("America/New_York"))) == DAY
    assert snapshot_run.last_complete_day(workspace, now - timedelta(hours=1)) == DAY - timedelta(days=1)


def test_a_copy_of_traits_exists_only_where_the_source_has_the_table(make: Make) -> None:
    workspace = make(daily("u1", 1))
    snapshot_run.score(workspace, [DAY])
    assert snapshot_run.traits_path(workspace, "user", DAY) is None
