"""Which snapshots of a range of days would come out as they are, so that a second run over it, or one after an
interruption, computes only what is missing.

    <state>/history/<profile>/made.json     per day, a hash of everything that its snapshots were made of

The days that are read again every morning, for events that came late, are always computed, and so is the last day of a
range.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from heatsync.scoring.compute import calendar
from heatsync.scoring.compute.weighting import ENTITIES
from heatsync.scoring.definition import audiences
from heatsync.snapshots.history_files import History
from heatsync.snapshots.parquet_files import read_metadata

if TYPE_CHECKING:
    from heatsync.snapshots.profile_run import ProfileRun

FORMAT = 1
"""Grows when snapshots hold something else; older ones are computed again."""


@dataclass(slots=True)
class UnchangedDays:
    """What the snapshots of a profile were made of, and what they would be made of now."""

    run: "ProfileRun"
    made: dict[int, str] = field(default_factory=dict)
    histories: dict[str, History] = field(default_factory=dict)
    counted: list[tuple[int, str]] = field(default_factory=list)
    """Per day, and the first of them for all the time before: a hash of what was counted."""
    coverage: tuple[int, int] | None = None
    """The days that `counted` is of."""
    rest: str = ""
    """A hash of whatever does not depend on the day."""

    def open(self) -> "UnchangedDays":
        self.histories = self.run.histories()
        self.rest = self._rest()
        try:
            kept = json.loads(self._path.read_text("utf-8"))
            self.made = {calendar.number(date.fromisoformat(day)): str(text) for day, text in kept.items()}
        except (OSError, ValueError, AttributeError):
            self.made = {}
        return self

    def stands(self, day: int) -> bool:
        """Whether the snapshots of a day need not be computed again."""
        workspace, counts = self.run.session.workspace, self.run.session.counts
        if counts.coverage is None or day > counts.coverage.until - workspace.source.look_back:
            return False
        if self.made.get(day) != self._of(day):
            return False
        for entity in ENTITIES:
            stored = read_metadata(workspace.snapshot(self.run.name, entity, calendar.day_of(day)))
            if stored is None or stored.version != self.run.version or day not in self.histories[entity].days:
                return False
        return True

    def keep(self, days: Iterable[int]) -> None:
        """Remember what the snapshots of some days were made of."""
        self.made |= {day: self._of(day) for day in days}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_name(f".{self._path.name}")
        part.write_text(
            json.dumps({calendar.day_of(day).isoformat(): text for day, text in sorted(self.made.items())}),
            "utf-8",
        )
        os.replace(part, self._path)

    @property
    def _path(self) -> Path:
        return self.run.session.workspace.state / "history" / self.run.name / "made.json"

    def _of(self, day: int) -> str:
        coverage = self.run.session.counts.coverage
        assert coverage is not None
        if self.coverage != (coverage.since, coverage.until):
            self.coverage, self.counted = (coverage.since, coverage.until), self._counted(coverage.since)
        return _hash([self.rest, [each for each in self.counted if each[0] <= day]])

    def _counted(self, since: int) -> list[tuple[int, str]]:
        session = self.run.session
        assert session.counts.coverage is not None
        first = calendar.day_of(since).isoformat()
        before = {each: n for each, n in session.counts.coverage.volumes.items() if each < first}
        found = session.connection.execute(
            "SELECT day, sum(hash(d)::HUGEINT)::VARCHAR FROM daily d GROUP BY day ORDER BY day"
        ).fetchall()
        return [(since - 1, _hash(before)), *((int(day), str(text)) for day, text in found)]

    def _rest(self) -> str:
        session = self.run.session
        tables = {
            entity: session.connection.execute(
                f"SELECT count(*), sum(hash(t)::HUGEINT)::VARCHAR FROM {entity}s t"
            ).fetchone()
            for entity in session.traits.columns
        }
        own = sorted(
            [
                each.key,
                each.entity,
                each.name,
                str(each.shipped),
                str(audiences.version(each.key, each.entity, self.run.own)),
            ]
            for each in self.run.own
        )
        return _hash([FORMAT, self.run.version, own, tables])


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]
