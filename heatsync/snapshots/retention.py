"""How long history is kept. Files older than `keep` days before the day that was scored are deleted, except those that
the next run needs.

    <state>/snapshots, <state>/health    files of an older day
    <state>/history                      files that lie wholly before it, and files of other versions of a profile
    <state>/daily                        weeks that no profile looks back to
"""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

from heatsync.scoring.compute import calendar
from heatsync.scoring.compute.snapshot_rows import TREND_DAYS
from heatsync.scoring.compute.weighting import ENTITIES
from heatsync.snapshots.event_queries import KEPT_LIVES
from heatsync.snapshots.history_files import History, history_days
from heatsync.snapshots.session import Session
from heatsync.workspace.config import Workspace


def drop_old_files(session: Session, scored: Sequence[date]) -> list[str]:
    """Delete the files that are of no use after the last of the scored days; returns notes for the person who runs it.

    Snapshots are deleted day by day, the rest file by file. Days that were just scored stay until the next run.
    """
    workspace, day = session.workspace, max(scored)
    cut = min(day - timedelta(days=workspace.history_days), *scored)
    latest = day
    for path, of in _dated(workspace):
        latest = max(latest, of)
        if of < cut:
            path.unlink(missing_ok=True)
    for name, profile in workspace.profiles.items():
        before = calendar.day_number(day) - history_days(
            workspace.history_days, profile, workspace.audiences.get(name, ())
        )
        frozen = None if profile.benchmark.day is None else calendar.day_number(profile.benchmark.day)
        for entity in ENTITIES:
            version = f"{profile.version} {workspace.time_zone.key}"
            folder = workspace.state / "history" / name / entity
            History(folder, version, profile.levels.names).load().drop_before(before, frozen)
    session.counts.drop_before(calendar.day_number(cut))
    for path in (workspace.state / "daily" / "lives").glob("*/*.parquet"):
        if path.stem.isdigit() and int(path.stem) < calendar.day_number(day) - max(TREND_DAYS, KEPT_LIVES):
            path.unlink(missing_ok=True)
    soon = [each for each in scored if each < latest - timedelta(days=workspace.history_days)]
    if not soon:
        return []
    return [
        f"{workspace.config_file}: {max(soon)} is more than {workspace.history_days} days before {latest}: it and all"
        " earlier days are deleted when a later day is scored. `keep: 800d` keeps more"
    ]


def _dated(workspace: Workspace) -> Iterator[tuple[Path, date]]:
    """The files that hold one day, with the day; also those of profiles that no longer exist."""
    for pattern in ("snapshots/*/*/*.parquet", "health/*.json"):
        for path in workspace.state.glob(pattern):
            try:
                yield path, date.fromisoformat(path.stem)
            except ValueError:
                continue
    for path in (workspace.state / "history").glob("*/*/*.parquet"):
        if path.parents[1].name not in workspace.profiles:
            try:
                yield path, date.fromisoformat(path.stem.partition(".")[0].partition("_")[2])
            except ValueError:
                continue
