"""What is older than `keep` goes, what the next morning needs stays, and no number changes by that."""

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
    made = {
        "heatsync.yml": f"version: 1\n{keep}\nsource: {{events: {{table: events.csv}}, users: {{table: users.csv}}}}\n",
        "mappings/profiles/p.yml": profile,
    }
    if audiences is not None:
        made["mappings/audiences/own.yml"] = audiences
    for name, text in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    if not (folder / "events.csv").exists():
        (folder / "events.csv").write_text("\n".join(["user_id,account_id,event,timestamp", *_events(), ""]))
        (folder / "users.csv").write_text("user_id,email\n" + "".join(f"u{n},u{n}@x.com\n" for n in range(9)))
    return config.load(folder)


def _events() -> Iterator[str]:
    """Users whose accounts only their events tell; the first of them were active long ago."""
    chance = random.Random(3)
    for number in range(9):
        for back in range(260, 150 if number < 3 else -1, -1):
            if chance.random() < 0.4:
                at = datetime.combine(DAY - timedelta(days=back), time(9), UTC).isoformat()
                account = f"a{number % 2}" if chance.random() < 0.5 or number < 3 else ""
                yield f"u{number},{account},{chance.choice(['Viewed', 'Viewed', 'Paid'])},{at}"


def days_of(made: Workspace, pattern: str) -> list[str]:
    return sorted({path.stem for path in made.state.glob(pattern)})


def stored(made: Workspace, day: date) -> list[bytes]:
    return [snapshot_run.snapshot_path(made, "p", entity, day).read_bytes() for entity in ("user", "account")]


def numbers(made: Workspace, day: date) -> list[dict[str, Any]]:
    """The rows of a day, but for the level before, which a longer history knows of longer."""
    return [
        {name: value for name, value in row.items() if name not in ("level_previous", "level_changed_on")}
        for entity in ("user", "account")
        for row in pq.read_table(snapshot_run.snapshot_path(made, "p", entity, day)).to_pylist()
    ]


def back(*days: int) -> list[date]:
    return [DAY - timedelta(days=each) for each in sorted(days, reverse=True)]


def test_history_is_kept_for_400_days_unless_somebody_says_otherwise(tmp_path: Path) -> None:
    assert write(tmp_path).history_days == 400
    assert write(tmp_path, "keep: 13w").history_days == 91


@pytest.mark.parametrize("wrong", ["0d", "90", "forever", "1y"])
def test_a_length_that_is_none_is_refused_with_its_place(tmp_path: Path, wrong: str) -> None:
    (problem,) = files.problems(tmp_path, heatsync=files.HEATSYNC + f"keep: {wrong}\n")
    assert problem.startswith("heatsync.yml:11:7: expected whole days or weeks such as 7d or 4w")


def test_what_is_older_than_that_is_dropped_and_the_last_day_that_is_not_stays(tmp_path: Path) -> None:
    made = write(tmp_path, "keep: 60d")
    gone = made.state / "snapshots" / "no longer there" / "user" / f"{DAY - timedelta(days=90)}.parquet"
    gone.parent.mkdir(parents=True)
    gone.write_bytes(b"")
    for day in back(62, 61, 60, 1):
        snapshot_run.score(made, [day])
    before = {day: stored(made, day) for day in back(60, 1)}
    snapshot_run.score(made, [DAY])
    kept = [str(day) for day in back(60, 1, 0)]
    assert days_of(made, "snapshots/p/user/*") == days_of(made, "snapshots/p/account/*") == kept
    assert days_of(made, "snapshots/traits/user/*") == days_of(made, "health/*") == kept
    assert not gone.exists()
    assert {day: stored(made, day) for day in before} == before
    assert data_health.load(made, DAY) is not None


def test_dropping_history_changes_no_number(tmp_path: Path) -> None:
    found = []
    for name, keep in (("short", "keep: 5d"), ("long", "")):
        (tmp_path / name).mkdir()
        made = write(tmp_path / name, keep)
        for day in back(70, 35, 8, 1, 0):
            snapshot_run.score(made, [day])
        found.append(stored(made, DAY))
        assert len(days_of(made, "snapshots/p/user/*")) == (2 if keep else 5)
    assert found[0] == found[1]


def test_weeks_that_nothing_looks_back_to_are_dropped_and_who_belonged_where_stays(tmp_path: Path) -> None:
    made = write(tmp_path, "keep: 30d")
    snapshot_run.score(made, back(130))
    first = min(days_of(made, "daily/[0-9]*"))
    snapshot_run.score(made, [DAY])
    assert min(days_of(made, "daily/[0-9]*")) > first
    told = stored(made, DAY)
    (tmp_path / "new").mkdir()
    fresh = write(tmp_path / "new")
    snapshot_run.score(fresh, [DAY])
    assert numbers(made, DAY) == numbers(fresh, DAY)
    snapshot_run.score(made, [DAY])
    assert told == stored(made, DAY)
    # What was dropped is counted again when it is wanted.
    (early,) = back(120)
    for each in (made, fresh):
        snapshot_run.score(each, [early])
    assert numbers(made, early) == numbers(fresh, early)


def test_moves_that_an_audience_asks_for_are_kept_for_as_long(tmp_path: Path) -> None:
    made = write(tmp_path, "keep: 5d", audiences=MOVED.replace("WITHIN", "160d"))
    for day in back(160, 100, 40, 0):
        snapshot_run.score(made, [day])
    kept = min(days_of(made, "history/p/user/*.moves.*"))
    assert kept.startswith(str(DAY - timedelta(days=190)))
    write(tmp_path, "keep: 5d", audiences=MOVED.replace("WITHIN", "7d"))
    snapshot_run.score(config.load(tmp_path), [DAY])
    assert min(days_of(made, "history/p/user/*.moves.*")) > kept


def test_an_event_that_happened_long_ago_only_may_still_be_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where the days that are counted do not reach back to it."""
    monkeypatch.setattr("heatsync.source.reader.SMALL", -1)
    asked = "version: 1\nshown: {entity: user, profile: p, where: {event: Demo, within: 300d}}\n"
    made = write(tmp_path, audiences=asked.replace("300d", "5d"))
    (at,) = back(250)
    with (tmp_path / "events.csv").open("a") as file:
        file.write(f"u1,,Demo,{at}T09:00:00Z\n")
    snapshot_run.score(made, [DAY])
    assert members(made, "shown") == set()
    made = write(tmp_path, audiences=asked)
    snapshot_run.score(made, [DAY])
    assert members(made, "shown") == {"u1"}


def members(made: Workspace, key: str) -> set[str]:
    table = pq.read_table(snapshot_run.snapshot_path(made, "p", "user", DAY))
    return {row["user_id"] for row in table.to_pylist() if key in row["audiences"]}


def test_history_of_a_profile_as_it_was_is_dropped(tmp_path: Path) -> None:
    made = write(tmp_path)
    snapshot_run.score(made, back(1))
    old = days_of(made, "history/p/user/*")
    changed = write(tmp_path, profile=PROFILE.replace("weight: 2", "weight: 3"))
    snapshot_run.score(changed, [DAY])
    assert not set(old) - {"benchmarks"} & set(days_of(changed, "history/p/user/*"))


def test_days_older_than_that_may_be_scored_and_it_is_said_that_they_will_go(tmp_path: Path) -> None:
    made = write(tmp_path, "keep: 30d")
    assert snapshot_run.score(made, [DAY]).notes == ()
    old = back(80, 79)
    (note,) = snapshot_run.score(made, old).notes
    assert note.startswith(
        f"heatsync.yml: {old[-1]} is more than 30 days before {DAY}: it and all earlier days are deleted"
    )
    assert set(map(str, old)) < set(days_of(made, "snapshots/p/user/*"))
    snapshot_run.score(made, [DAY])
    assert days_of(made, "snapshots/p/user/*") == [str(DAY)]
