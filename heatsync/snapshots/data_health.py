"""Whether the events of a day look complete. A day that lost half of its events is scored, but its runs wait for
approval: a broken export would change every record.

    <state>/health/<day>.json     what was found when that day was scored
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

from heatsync.scoring.compute import calendar
from heatsync.snapshots.daily_counts import DAILY
from heatsync.snapshots.session import Session
from heatsync.source.tables import explain_read_errors, open_table
from heatsync.workspace.config import Workspace

WEEKS = 4
"""A day is compared with the same weekday of so many weeks before it."""
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class DataHealth:
    """The number of events of a day, those of the same weekday of the weeks before it (the latest first), and the tables
    without a row."""

    day: date
    events: int
    before: tuple[int, ...] = ()
    empty: tuple[str, ...] = ()

    @property
    def usual(self) -> float | None:
        """The median of the weeks before; None where there is none."""
        return statistics.median(self.before) if self.before else None

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the runs of the day must wait for approval, as sentences."""
        found = [f"the table {table} is empty: check the export that fills it" for table in self.empty]
        usual = self.usual
        if usual is not None and 2 * self.events < usual:
            weekday = WEEKDAYS[self.day.weekday()]
            weeks = len(self.before)
            compared = (
                f"the median of the {weeks} {weekday}s before" if weeks > 1 else f"the {weekday} before"
            )
            found.append(
                f"{self.day} has {self.events} events, {100 * (1 - self.events / usual):.0f} % fewer than {usual:g},"
                f" {compared}: check that the day's data is complete"
            )
        return tuple(found)


def compared_days(day: date) -> list[date]:
    """The days whose events are counted: the day itself, and the same weekday of the weeks before it."""
    return [day - timedelta(weeks=back) for back in range(WEEKS + 1)]


def from_counts(
    day: date, counts: Mapping[date, int], first: date | None, empty: Sequence[str] = ()
) -> DataHealth:
    """The health of a day, from the number of events by day; a day that is not in `counts` has none. Weeks before the
    `first` event are left out."""
    today, *before = compared_days(day)
    reached = [each for each in before if first is not None and each >= first]
    return DataHealth(
        today, counts.get(today, 0), tuple(counts.get(each, 0) for each in reached), tuple(empty)
    )


def measure(session: Session, day: date) -> DataHealth:
    """The health of a day that was scored in a session."""
    counted = [calendar.day_number(each) for each in compared_days(day)]
    rows = session.connection.execute(
        f"SELECT day, sum(n)::BIGINT FROM {DAILY} WHERE list_contains(?::BIGINT[], day) GROUP BY day",
        [counted],
    ).fetchall()
    first = session.counts.first_day
    counts = {calendar.day_of(number): int(count) for number, count in rows}
    return from_counts(day, counts, None if first is None else calendar.day_of(first), _empty(session))


def _empty(session: Session) -> list[str]:
    """The tables of events without a row. Where all of them are empty, scoring fails before."""
    workspace = session.workspace
    found = []
    for table in workspace.source.events:
        with explain_read_errors(workspace.folder, table):
            there = open_table(session.source.connection, workspace.folder, table, as_text=True)
            if not there.limit(1).count().to_pyarrow().as_py():
                found.append(table.table)
    return found


def save(workspace: Workspace, health: DataHealth) -> None:
    """Store the health of a day, for its runs."""
    path = _path(workspace, health.day)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".new")
    part.write_text(json.dumps(asdict(health) | {"day": health.day.isoformat()}), "utf-8")
    part.replace(path)


def load(workspace: Workspace, day: date) -> DataHealth | None:
    """The stored health of a day; None where it does not exist or cannot be read."""
    try:
        read = json.loads(_path(workspace, day).read_text("utf-8"))
        return DataHealth(day, int(read["events"]), tuple(map(int, read["before"])), tuple(read["empty"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def problems(workspace: Workspace, day: date) -> tuple[str, ...]:
    """Why the runs of a day must wait for approval, as sentences; empty for a day without a stored health."""
    found = load(workspace, day)
    if found is not None:
        return found.problems
    if _path(workspace, day).exists():
        return (
            f"{_path(workspace, day)} cannot be read: score the day again, `heatsync score --date {day}`",
        )
    return ()


def _path(workspace: Workspace, day: date) -> Path:
    return workspace.state / "health" / f"{day.isoformat()}.json"
