"""Files older than `keep` are deleted, those that the next run needs stay, and no number changes."""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import file_workspaces as files
import pyarrow.parquet as pq
import pytest

from heatsync.snapshots import data_health
from heatsync.snapshots import run as snapshot_run
from heatsync.workspace import config
from heatsync.workspace.config import Workspace

DAY = date(2026, 4, 5)
PROFILE = """\
version: 1
name: P
window: 7d
normalize: {target: 40}
events: [{event: Viewed, weight: 2}, {event: Paid, weight: 9}]
"""
MOVED = "version: 1\nmoved: {entity: user, profile: p, where: {level_change: {within: WITHIN}}}\n"


def write(folder: Path, keep: str = "", profile: str = PROFILE, audiences: str | None = None) -> Workspace:
    texts = {
        "heatsync.yml": f"version: 1\n{keep}\nsource: {{events: {{table: events.csv}}, users: {{table: users.csv}}}}\n",
        "mappings/profiles/p.yml": profile,
    }
    if audiences is not None:
        texts["mappings/audiences/own.yml"] = audiences
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    if not (folder / "events.csv").exists():
        (folder / "events.csv").write_text("\n".join(["user_id,account_id,event,timestamp", *_events(), ""]))
        (folder / "users.csv").write_text("user_id,email\n" + "".join(f"u{n},u{n}@x.com\n" for n in range(9)))
    return config.load(folder)


def _events() -> Iterator[str]:
    """Events of users whose accounts only their events name; the first three were active long ago."""
    chance = random.Random(3)
    for number in range(9):
        for back in range(260, 150 if number < 3 else -1, -1):
            if chance.random() < 0.4:
                at = datetime.combine(DAY - timedelta(days=back), time(9), UTC).isoformat()
                account = f"a{number % 2}" if chance.random() < 0.5 or number < 3 else ""
                yield f"u{number},{account},{chance.choice(['Viewed', 'Viewed', 'Paid'])},{at}"


def days_of(workspace: Workspace, pattern: str) -> list[str]:
    return sorted({path.stem for path in workspace.state.glob(pattern)})


def stored(workspace: Workspace, day: date) -> list[bytes]:
    return [
        snapshot_run.snapshot_path(workspace, "p", entity, day).read_bytes() for entity in ("user", "account")
    ]


def numbers(workspace: Workspace, day: date) -> list[dict[str, Any]]:
    """The rows of a day without the previous level, which a longer history knows for longer."""
    return [
        {name: value for name, value in row.items() if name not in ("level_previous", "level_changed_on")}
        for entity in ("user", "account")
        for row in pq.read_table(snapshot_run.snapshot_path(workspace, "p", entity, day)).to_pylist()
    ]


def back(*days: int) -> list[date]:
    return [DAY - timedelta(days=each) for each in sorted(days, reverse=True)]


def test_history_is_kept_for_400_days_by_default(tmp_path: Path) -> None:
    assert write(tmp_path).history_days == 400
    assert write(tmp_path, "keep: 13w").history_days == 91


@pytest.mark.parametrize("wrong", ["0d", "90", "forever", "1y"])
def test_an_invalid_keep_is_refused_with_its_place(tmp_path: Path, wrong: str) -> None:
    (problem,) = files.problems(tmp_path, heatsync=files.HEATSYNC + f"keep: {wrong}\n")
    assert problem.startswith("heatsync.yml:11:7: expected whole days or weeks such as 7d or 4w")


def test_older_days_are_deleted_and_the_oldest_kept_day_stays(tmp_path: Path) -> None:
    workspace = write(tmp_path, "keep: 60d")
    gone = workspace.state / "snapshots" / "no longer there" / "user" / f"{DAY - timedelta(days=90)}.parquet"
    gone.parent.mkdir(parents=True)
    gone.write_bytes(b"")
    for day in back(62, 61, 60, 1):
        snapshot_run.score(workspace, [day])
    before = {day: stored(workspace, day) for day in back(60, 1)}
    snapshot_run.score(workspace, [DAY])
    kept = [str(day) for day in back(60, 1, 0)]
    assert days_of(workspace, "snapshots/p/user/*") == days_of(workspace, "snapshots/p/account/*") == kept
    assert days_of(workspace, "snapshots/traits/user/*") == days_of(workspace, "health/*") == kept
    assert not gone.exists()
    assert {day: stored(workspace, day) for day in before} == before
    assert data_health.load(workspace, DAY) is not None


def test_deleting_history_changes_no_number(tmp_path: Path) -> None:
    found = []
    for name, keep in (("short", "keep: 5d"), ("long", "")):
        (tmp_path / name).mkdir()
        workspace = write(tmp_path / name, keep)
        for day in back(70, 35, 8, 1, 0):
            snapshot_run.score(workspace, [day])
        found.append(stored(workspace, DAY))
        assert len(days_of(workspace, "snapshots/p/user/*")) == (2 if keep else 5)
    assert found[0] == found[1]


def test_unused_weeks_are_deleted_and_the_accounts_of_users_stay(tmp_path: Path) -> None:
    workspace = write(tmp_path, "keep: 30d")
    snapshot_run.score(workspace, back(130))
    first = min(days_of(workspace, "daily/[0-9]*"))
    snapshot_run.score(workspace, [DAY])
    assert min(days_of(workspace, "daily/[0-9]*")) > first
    before = stored(workspace, DAY)
    (tmp_path / "new").mkdir()
    fresh = write(tmp_path / "new")
    snapshot_run.score(fresh, [DAY])
    assert numbers(workspace, DAY) == numbers(fresh, DAY)
    snapshot_run.score(workspace, [DAY])
    assert before == stored(workspace, DAY)
    # Deleted weeks are counted again when they are needed.
    (early,) = back(120)
    for each in (workspace, fresh):
        snapshot_run.score(each, [early])
    assert numbers(workspace, early) == numbers(fresh, early)


def test_level_changes_are_kept_as_long_as_an_audience_asks_for_them(tmp_path: Path) -> None:
    workspace = write(tmp_path, "keep: 5d", audiences=MOVED.replace("WITHIN", "160d"))
    for day in back(160, 100, 40, 0):
        snapshot_run.score(workspace, [day])
    kept = min(days_of(workspace, "history/p/user/*.moves.*"))
    assert kept.startswith(str(DAY - timedelta(days=190)))
    write(tmp_path, "keep: 5d", audiences=MOVED.replace("WITHIN", "7d"))
    snapshot_run.score(config.load(tmp_path), [DAY])
    assert min(days_of(workspace, "history/p/user/*.moves.*")) > kept


def test_an_audience_may_ask_for_an_event_from_before_the_counted_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the counted days do not reach back to it."""
    monkeypatch.setattr("heatsync.source.reader.SMALL", -1)
    asked = "version: 1\nshown: {entity: user, profile: p, where: {event: Demo, within: 300d}}\n"
    workspace = write(tmp_path, audiences=asked.replace("300d", "5d"))
    (at,) = back(250)
    with (tmp_path / "events.csv").open("a") as file:
        file.write(f"u1,,Demo,{at}T09:00:00Z\n")
    snapshot_run.score(workspace, [DAY])
    assert members(workspace, "shown") == set()
    workspace = write(tmp_path, audiences=asked)
    snapshot_run.score(workspace, [DAY])
    assert members(workspace, "shown") == {"u1"}


def members(workspace: Workspace, key: str) -> set[str]:
    table = pq.read_table(snapshot_run.snapshot_path(workspace, "p", "user", DAY))
    return {row["user_id"] for row in table.to_pylist() if key in row["audiences"]}


def test_history_of_an_old_version_of_a_profile_is_deleted(tmp_path: Path) -> None:
    workspace = write(tmp_path)
    snapshot_run.score(workspace, back(1))
    old = days_of(workspace, "history/p/user/*")
    changed = write(tmp_path, profile=PROFILE.replace("weight: 2", "weight: 3"))
    snapshot_run.score(changed, [DAY])
    assert not set(old) - {"benchmarks"} & set(days_of(changed, "history/p/user/*"))


def test_scoring_days_older_than_keep_notes_that_they_will_be_deleted(tmp_path: Path) -> None:
    workspace = write(tmp_path, "keep: 30d")
    assert snapshot_run.score(workspace, [DAY]).notes == ()
    old = back(80, 79)
    (note,) = snapshot_run.score(workspace, old).notes
    assert note.startswith(
        f"heatsync.yml: {old[-1]} is more than 30 days before {DAY}: it and all earlier days are deleted"
    )
    assert set(map(str, old)) < set(days_of(workspace, "snapshots/p/user/*"))
    snapshot_run.score(workspace, [DAY])
    assert days_of(workspace, "snapshots/p/user/*") == [str(DAY)]
