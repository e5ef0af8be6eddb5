"""Which snapshots of a range of days would come out as they are, so that a second run over it, or one after an
interruption, computes only what is missing.

    <state>/history/<profile>/made.json     per day, a hash of everything that its snapshots were computed from

The days that are read again every morning, for events that came late, are always computed, and so is the last day of a
range.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from heatsync.scoring.compute import calendar
from heatsync.scoring.compute.weighting import ENTITIES
from heatsync.scoring.definition import audiences
from heatsync.scoring.definition.builtin_audiences import Audience
from heatsync.snapshots.daily_counts import DAILY, digest
from heatsync.snapshots.history_files import History
from heatsync.snapshots.parquet_files import read_metadata
from heatsync.snapshots.session import Session

FORMAT = 1
"""Grows when snapshots hold something else; older ones are computed again."""


@dataclass(slots=True)
class UnchangedDays:
    """What the snapshots of a profile were computed from, and what they would be computed from now. `version` is that of
    the profile; `audiences` are its custom ones."""

    session: Session
    name: str
    version: str
    audiences: Sequence[Audience]
    histories: Mapping[str, History]
    hashes: dict[int, str] = field(default_factory=dict)
    """By day: the hash of what its snapshots were computed from."""
    _counted: list[tuple[int, str]] = field(default_factory=list)
    """Per day, and the first of them for all the time before: a hash of what was counted."""
    _counted_days: tuple[int, int] | None = None
    """The first and last day of `_counted`."""
    _timeless: str = ""
    """A hash of everything that does not depend on the day."""

    def load(self) -> "UnchangedDays":
        """Hash the present state, and read the hashes that are stored; returns itself."""
        self._timeless = self._hash_timeless()
        try:
            stored = json.loads(self._path.read_text("utf-8"))
            self.hashes = {
                calendar.day_number(date.fromisoformat(day)): str(text) for day, text in stored.items()
            }
        except (OSError, ValueError, AttributeError):
            self.hashes = {}
        return self

    def is_unchanged(self, day: int) -> bool:
        """Whether the snapshots of a day need not be computed again."""
        workspace, counts = self.session.workspace, self.session.counts
        if counts.coverage is None or day > counts.coverage.until - workspace.source.look_back:
            return False
        if self.hashes.get(day) != self._hash_of(day):
            return False
        for entity in ENTITIES:
            stored = read_metadata(workspace.snapshot_path(self.name, entity, calendar.day_of(day)))
            if stored is None or stored.version != self.version or day not in self.histories[entity].days:
                return False
        return True

    def save(self, days: Iterable[int]) -> None:
        """Remember what the snapshots of some days were computed from."""
        self.hashes |= {day: self._hash_of(day) for day in days}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_name(f".{self._path.name}")
        part.write_text(
            json.dumps({calendar.day_of(day).isoformat(): text for day, text in sorted(self.hashes.items())}),
            "utf-8",
        )
        os.replace(part, self._path)

    @property
    def _path(self) -> Path:
        return self.session.workspace.state / "history" / self.name / "made.json"

    def _hash_of(self, day: int) -> str:
        counted = self.session.counts.counted
        if self._counted_days != (counted.since, counted.until):
            self._counted_days = (counted.since, counted.until)
            self._counted = self._hash_counts(counted.since)
        return digest([self._timeless, [each for each in self._counted if each[0] <= day]])

    def _hash_counts(self, since: int) -> list[tuple[int, str]]:
        first = calendar.day_of(since).isoformat()
        before = {each: n for each, n in self.session.counts.counted.volumes.items() if each < first}
        found = self.session.connection.execute(
            f"SELECT day, sum(hash(d)::HUGEINT)::VARCHAR FROM {DAILY} d GROUP BY day ORDER BY day"
        ).fetchall()
        return [(since - 1, digest(before)), *((int(day), str(text)) for day, text in found)]

    def _hash_timeless(self) -> str:
        tables = {
            entity: self.session.connection.execute(
                f"SELECT count(*), sum(hash(t)::HUGEINT)::VARCHAR FROM {table} t"
            ).fetchone()
            for entity, table in self.session.traits.tables.items()
        }
        custom = sorted(
            [
                each.key,
                each.entity,
                each.name,
                str(each.shipped),
                str(audiences.audience_version(each.key, each.entity, self.audiences)),
            ]
            for each in self.audiences
        )
        return digest([FORMAT, self.version, custom, tables])
