"""Scores every user and account of a workspace and stores the snapshots: a Parquet file per profile, entity and day.

    <state>/snapshots/<profile>/<user|account>/<day>.parquet
    <state>/snapshots/traits/<user|account>/<day>.parquet     the source's tables as they were when that day was scored

A file is written whole and then renamed. It carries the version of its profile: a snapshot of another version is
computed again. A benchmark that is stored is not measured again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from connectors.errors import ConfigurationError
from heatsync.scoring.compute import calendar
from heatsync.snapshots import data_health, retention
from heatsync.snapshots.parquet_files import write_parquet
from heatsync.snapshots.profile_run import OnProgress, ProfileRun, Snapshot
from heatsync.snapshots.session import open_session
from heatsync.workspace.config import Workspace

__all__ = ["ScoringResult", "Snapshot", "last_complete_day", "score", "snapshot_path", "traits_path"]


@dataclass(frozen=True, slots=True)
class ScoringResult:
    """The snapshots that a scoring run wrote, how many rows of the source never count, by reason, and notes for the
    person who runs it."""

    snapshots: tuple[Snapshot, ...]
    ignored: dict[str, int]
    notes: tuple[str, ...]


def last_complete_day(workspace: Workspace, now: datetime | None = None) -> date:
    """Yesterday, in the workspace's time zone. `now` is aware."""
    return (now or datetime.now(UTC)).astimezone(workspace.time_zone).date() - timedelta(days=1)


def snapshot_path(workspace: Workspace, profile: str, entity: str, day: date) -> Path:
    """The file of the snapshot of a day, whether it exists or not."""
    return workspace.snapshot_path(profile, entity, day)


def traits_path(workspace: Workspace, entity: str, day: date) -> Path | None:
    """The copy of the users or accounts table from when a day was scored; None where the source has no such table, or
    the day was not scored."""
    table = workspace.source.users if entity == "user" else workspace.source.accounts
    path = workspace.traits_path(entity, day)
    return path if table is not None and path.is_file() else None


def score(
    workspace: Workspace, dates: Sequence[date] | None = None, on_progress: OnProgress | None = None
) -> ScoringResult:
    """Compute the snapshots of `dates` (default: the last complete day) for every profile, and those of the days
    before that they are compared with, where these are missing or of another version.

    `on_progress` is called with what is being done, how much of it is done, and of how much. Raises ConfigurationError.
    """
    if not workspace.profiles:
        raise ConfigurationError(
            f"{workspace.folder} has no profile to score by: write one, mappings/profiles/health.yml"
        )
    report = on_progress or _ignore
    days = sorted(set(dates or [last_complete_day(workspace)]))
    wanted = [calendar.day_number(day) for day in days]
    report("reading the source", 0, 1)
    with open_session(workspace, days[-1]) as session:
        report("reading the source", 1, 1)
        written: list[Snapshot] = []
        notes: list[str] = []
        for name in sorted(workspace.profiles):
            run = ProfileRun.of(session, name)
            written.extend(run.write_snapshots(wanted, report))
            notes.extend(run.notes)
        for entity, table in session.traits.tables.items():
            for day in days:
                query = f"SELECT * FROM {table} ORDER BY {entity}_id"
                write_parquet(session.connection, query, workspace.traits_path(entity, day), {})
        for day in days:
            found = data_health.measure(session, day)
            data_health.save(workspace, found)
            notes.extend(found.problems)
        notes.extend(retention.drop_old_files(session, days))
        return ScoringResult(tuple(written), dict(session.ignored), (*session.source.notes, *notes))


def _ignore(doing: str, done: int, of: int) -> None:
    """Progress that no caller asked for."""
    _ = doing, done, of
