"""Ranges of days: the same as day by day, cheap when unchanged, and compared with the same version after a change."""

import random
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from examples import TIMES

from heatsync.snapshots import run as snapshot_run
from heatsync.source.reader import Source
from heatsync.workspace import config
from heatsync.workspace.config import Workspace

DAY = date(2026, 4, 5)
"""A Sunday: learned levels are estimated again."""
MANY = 33
"""Days: more than a trend looks back."""
PROFILE = """\
version: 1
name: P
window: 7d
events: [{event: Viewed, weight: 2, per_day: 4}, {event: Paid, weight: 9}]
levels: {bands: {Low: 0, Medium: 25, High: 60}, hysteresis: true}
"""
OTHERS = {
    "habit": "version: 1\nname: Habit\nmodel: engagement\nlevels: churn\nevents: [{event: Viewed}, {event: Paid}]\n"
    "filter: {not: {event: Left, within: 5d}}\n",
    "touch": "version: 1\nname: Touch\nmodel: kpi\nwindow: 40d\ntouchpoints:\n"
    "  - {name: Views, event: Viewed, weight: 70}\n"
    "  - {name: Rate, ratio: {of: {event: Paid}, to: {event: Viewed}}, weight: 30}\n",
}
AUDIENCES = """\
version: 1
fell: {entity: user, profile: p, where: {level_change: {from: High, within: 20d}}}
busy: {entity: account, profile: p, where: {users: {event: Viewed, within: 36h}, gte: 2}}
"""


def write(folder: Path, profiles: dict[str, str], audiences: str = AUDIENCES) -> Workspace:
    files = {f"mappings/profiles/{name}.yml": text for name, text in profiles.items()}
    files |= {
        "heatsync.yml": "version: 1\nsource: {events: {table: events.csv}}\n",
        "mappings/audiences/own.yml": audiences,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    if not (folder / "events.csv").exists():
        (folder / "events.csv").write_text("\n".join(["user_id,account_id,event,timestamp", *_events(), ""]))
    return config.load(folder)


def _events() -> Iterator[str]:
    """Events of thirty users of four accounts; some users change accounts, and most are active every few days."""
    chance = random.Random(5)
    for number in range(30):
        begin, often = chance.randint(0, 120), chance.uniform(0.1, 0.9)
        for back in range(200 - begin, -1, -1):
            if chance.random() > often or 60 < back < 60 + number:
                continue
            account = f"a{(number + (back < 30) * (number % 3 == 0)) % 4}" if chance.random() < 0.7 else ""
            for name in chance.choices(
                ["Viewed", "Viewed", "Paid", "Left"], [5, 5, 1, 0.2], k=chance.randint(1, 5)
            ):
                at = datetime.combine(DAY - timedelta(days=back), time(chance.randint(0, 23), 7), UTC)
                yield f"u{number},{account},{name},{at.isoformat()}"


def days(count: int, until: date = DAY) -> list[date]:
    return [until - timedelta(days=back) for back in reversed(range(count))]


def stored(workspace: Workspace) -> dict[str, bytes]:
    folder = workspace.state / "snapshots"
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def times(workspace: Workspace) -> dict[str, int]:
    folder = workspace.state / "snapshots" / "p"
    return {path.stem: path.stat().st_mtime_ns for path in (folder / "user").glob("*.parquet")}


def rows(workspace: Workspace, day: date = DAY) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if key != "contributions"}
        for row in pq.read_table(snapshot_run.snapshot_path(workspace, "p", "user", day)).to_pylist()
    ]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Many days, scored at once; tests do not write to it."""
    workspace = write(tmp_path_factory.mktemp("many"), {"p": PROFILE})
    snapshot_run.score(workspace, days(MANY))
    return workspace


@pytest.fixture
def copy(many: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(many.folder, tmp_path / "w", copy_function=shutil.copy2)
    return config.load(tmp_path / "w")


@pytest.mark.parametrize(
    "one_by_one", [1, pytest.param(6 if TIMES == 1 else MANY - 1, marks=pytest.mark.long)]
)
def test_many_days_at_once_are_the_same_as_day_by_day(
    many: Workspace, tmp_path: Path, one_by_one: int
) -> None:
    workspace = write(tmp_path, {"p": PROFILE})
    first = MANY - one_by_one
    for some in (days(MANY)[:first], *([day] for day in days(MANY)[first:])):
        snapshot_run.score(workspace, some)
    found = stored(many)
    assert len(found) == 2 * MANY
    assert found == stored(workspace)
    moved = [row for row in rows(many) if "fell" in row["audiences"]]
    assert moved
    assert len({row["level"] for row in rows(many)}) == 3


def test_learned_levels_filters_and_touchpoints_are_the_same_at_once_as_day_by_day(tmp_path: Path) -> None:
    audiences = "version: 1\nloud: {entity: user, profile: habit, where: {event: Paid, within: 9d}}\n"
    found = []
    for name in ("at once", "day by day"):
        (tmp_path / name).mkdir()
        workspace = write(tmp_path / name, OTHERS, audiences)
        for some in [days(2)] if name == "at once" else [[day] for day in days(2)]:
            snapshot_run.score(workspace, some)
        found.append(stored(workspace))
    assert len(found[0]) == 8
    assert found[0] == found[1]


def test_a_second_run_over_a_range_changes_no_byte_and_reads_only_the_last_days(
    copy: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, touched = stored(copy), times(copy)
    asked: list[datetime | None] = []
    original = Source.events

    def events(self: Source, since: datetime | None, until: datetime) -> Any:
        asked.append(since)
        return original(self, since, until)

    monkeypatch.setattr(Source, "events", events)
    steps: list[tuple[str, int, int]] = []
    again = snapshot_run.score(copy, days(MANY), lambda *step: steps.append(step))
    assert stored(copy) == before
    assert {(each.entity, each.date) for each in again.snapshots} == {
        (entity, day) for entity in ("user", "account") for day in days(MANY)
    }
    assert [each.rows for each in again.snapshots if each.date == DAY and each.entity == "user"] == [30]
    news = datetime.combine(DAY - timedelta(days=3), time())
    assert asked
    # Conditions in hours read the events of their days.
    assert all(since is not None and since >= news - timedelta(days=2) for since in asked)
    rewritten = {day for day, at in times(copy).items() if at != touched[day]}
    assert rewritten == {str(day) for day in days(3)}
    assert steps[-1] == ("scoring p", MANY, MANY)
    assert [done for doing, done, _ in steps if doing == "scoring p"] == list(range(MANY + 1))


def test_missing_days_and_days_with_late_events_are_computed_again(copy: Workspace, tmp_path: Path) -> None:
    before, touched = stored(copy), times(copy)
    gone = DAY - timedelta(days=12)
    snapshot_run.snapshot_path(copy, "p", "account", gone).unlink()
    snapshot_run.score(copy, days(15))
    assert stored(copy) == before
    assert {day for day, at in times(copy).items() if at != touched[day]} == {str(gone), *map(str, days(3))}
    late = DAY - timedelta(days=8)
    with (copy.folder / "events.csv").open("a") as file:
        file.write(f"new user,,Paid,{late}T09:00:00+00:00\n")
    snapshot_run.score(copy, days(15))
    for day in days(15):
        there = any(row["user_id"] == "new user" for row in rows(copy, day))
        assert there == (day >= late), day


def test_a_range_is_computed_again_when_an_audience_changes(copy: Workspace) -> None:
    touched = times(copy)
    named = AUDIENCES.replace("{entity: user,", "{name: Fallen, entity: user,")
    changed = write(copy.folder, {"p": PROFILE}, named)
    snapshot_run.score(changed, days(8))
    assert {day for day, at in times(changed).items() if at != touched[day]} == set(map(str, days(8)))
    assert any("Fallen" in row["segments"] for row in rows(changed, DAY - timedelta(days=6)))


def test_after_a_change_of_profile_a_day_is_compared_with_days_of_the_same_version(
    copy: Workspace, tmp_path: Path
) -> None:
    old = stored(copy)
    changed = PROFILE.replace("weight: 2", "weight: 9").replace("weight: 9}]", "weight: 1}]")
    workspace = write(copy.folder, {"p": changed})
    snapshot_run.score(workspace, [DAY])
    (tmp_path / "always").mkdir()
    always = write(tmp_path / "always", {"p": changed})
    snapshot_run.score(always, [DAY])
    for entity in ("user", "account"):
        path = f"p/{entity}/{DAY}.parquet"
        assert stored(workspace)[path] == stored(always)[path] != old[path]
    assert {name for name, data in stored(workspace).items() if data != old[name]} == {
        f"p/{entity}/{DAY}.parquet" for entity in ("user", "account")
    }


def test_after_a_change_of_profile_trends_use_the_changed_profile(copy: Workspace) -> None:
    changed = PROFILE.replace("weight: 2", "weight: 9").replace("weight: 9}]", "weight: 1}]")
    workspace = write(copy.folder, {"p": changed})
    month = DAY - timedelta(days=30)
    old = {row["user_id"]: row["score"] for row in rows(workspace, month)}
    snapshot_run.score(workspace, [DAY])
    changes = {row["user_id"]: (row["score"], row["score_change"]) for row in rows(workspace)}
    snapshot_run.score(workspace, [month])
    new = {row["user_id"]: row["score"] for row in rows(workspace, month)}
    assert new != old
    for user, (score, change) in changes.items():
        assert change == (None if user not in new else score - new[user])


def test_the_day_after_a_backfill_has_the_level_changes_of_the_backfill(copy: Workspace) -> None:
    with duckdb.connect() as con:
        moves = con.execute(
            "SELECT id, max(day) FROM read_parquet(?) GROUP BY id",
            [str(copy.state / "history" / "p" / "user" / "*.moves.parquet")],
        ).fetchall()
    found = {row["user_id"]: row["level_changed_on"] for row in rows(copy)}
    assert len(moves) > 5
    for user, number in moves:
        assert found[user] == date(1970, 1, 1) + timedelta(days=number)
