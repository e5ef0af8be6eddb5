"""The history of a profile in the state folder: scores, levels and moves of many days, and the daily benchmarks.

    <state>/history/<profile>/<user|account>/<first>_<last>.parquet         id, day, score, level (its place)
    <state>/history/<profile>/<user|account>/<first>_<last>.moves.parquet   id, day, level_before, level
    <state>/history/<profile>/<user|account>/benchmarks.json                by day, its own benchmarks and those used

A file holds days that were computed together. Of a day that is in several files, the one that begins latest counts.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb

from heatsync.scoring.compute import calendar
from heatsync.scoring.compute.benchmarks import SMOOTHING_DAYS
from heatsync.scoring.compute.churn_levels import LevelBounds
from heatsync.scoring.compute.level_history import LevelTables
from heatsync.scoring.compute.relations import Relation
from heatsync.scoring.compute.snapshot_rows import TREND_DAYS
from heatsync.scoring.definition import condition_types
from heatsync.scoring.definition.builtin_audiences import Audience
from heatsync.scoring.definition.profile import Profile
from heatsync.snapshots.parquet_files import read_metadata, write_parquet

Values = dict[int, float]
"""By part: benchmarks in points. A profile has one part (0); in `kpi` each touchpoint is one."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of scores and levels of the days from `first` to `last`."""

    path: Path
    first: int
    last: int

    @property
    def moves(self) -> Path:
        """The file of the level changes of the same days."""
        return self.path.with_suffix(".moves.parquet")


@dataclass(slots=True)
class History:
    """The history of a profile and an entity. Files of other versions are ignored. `daily` are the benchmarks measured on
    each day, `used` those that the scores of each day were measured against."""

    folder: Path
    version: str
    levels: tuple[str, ...]
    daily: dict[int, Values] = field(default_factory=dict)
    used: dict[int, Values] = field(default_factory=dict)
    level_bounds: dict[int, LevelBounds] = field(default_factory=dict)
    """The bounds of levels learned from churn, by the Sunday that they are in force after."""
    files: list[File] = field(default_factory=list)

    def load(self) -> "History":
        """Find the stored files of this version, and read the benchmarks and level bounds; returns itself."""
        found: list[File] = []
        for path in self.folder.glob("*_*.parquet"):
            if path.name.endswith(".moves.parquet"):
                continue
            first, _, last = path.stem.partition("_")
            stored = read_metadata(path)
            if (
                stored is not None
                and stored.version == self.version
                and read_metadata(path.with_suffix(".moves.parquet"))
            ):
                found.append(
                    File(
                        path,
                        calendar.day_number(date.fromisoformat(first)),
                        calendar.day_number(date.fromisoformat(last)),
                    )
                )
        self.files = sorted(found, key=lambda file: (file.first, -file.last))
        try:
            kept = json.loads((self.folder / "benchmarks.json").read_text())
        except (OSError, ValueError):
            kept = {}
        if kept.get("version") == self.version:
            self.daily, self.used = (
                {
                    calendar.day_number(date.fromisoformat(day)): {
                        int(part): value for part, value in values.items()
                    }
                    for day, values in kept.get(name, {}).items()
                }
                for name in ("daily", "used")
            )
            for day, (low, high, fallback) in kept.get("learnt", {}).items():
                self.level_bounds[calendar.day_number(date.fromisoformat(day))] = LevelBounds(
                    None if low is None else Fraction(low), None if high is None else Fraction(high), fallback
                )
        return self

    @property
    def days(self) -> frozenset[int]:
        """The days that are stored."""
        return frozenset(day for file in self.files for day in range(file.first, file.last + 1))

    def file_of(self, day: int) -> File | None:
        """The file that counts for a day; None where the day is not stored."""
        return next((file for file in reversed(self.files) if file.first <= day <= file.last), None)

    def drop_unreadable(self, con: duckdb.DuckDBPyConnection, days: Iterable[int]) -> None:
        """Delete the files of some days, and files of moves, that cannot be read to their end. They are computed again."""
        asked = {file for file in map(self.file_of, days) if file is not None}
        damaged = [file for file in asked if not _readable(con, [file.path])]
        if not _readable(con, [file.moves for file in self.files]):
            damaged += [file for file in self.files if not _readable(con, [file.moves])]
        for file in damaged:
            file.path.unlink(missing_ok=True)
            file.moves.unlink(missing_ok=True)
        self.files = [file for file in self.files if file not in damaged]

    def score_query(self, day: int) -> str | None:
        """SQL: id, score and level (place) of a day; with hysteresis also fitting. None where the day is not stored."""
        file = self.file_of(day)
        if file is None:
            return None
        return f"SELECT * EXCLUDE (day) FROM read_parquet('{_quoted(file.path)}') WHERE day = {day}"

    def moves_query(self, since: int, until: int, without: Iterable[int]) -> str:
        """SQL: id, day, level_before, level of the stored days from `since` to `until` that are not in `without`."""
        excluded = set(without)
        chosen: dict[File, list[int]] = {}
        for day in sorted(self.days):
            file = self.file_of(day)
            if since <= day <= until and day not in excluded and file is not None:
                chosen.setdefault(file, []).append(day)
        parts = [
            f"SELECT id, day, level_before, level FROM read_parquet('{_quoted(file.moves)}')"
            f" WHERE day IN ({', '.join(map(str, days))})"
            for file, days in chosen.items()
        ]
        nothing = "SELECT NULL::VARCHAR AS id, NULL::BIGINT AS day, NULL::VARCHAR AS level_before, NULL::VARCHAR AS level WHERE false"
        return " UNION ALL ".join([nothing, *parts])

    def add(
        self,
        con: duckdb.DuckDBPyConnection,
        levels: LevelTables,
        ids: Relation,
        days: Sequence[int],
        hysteresis: bool,
    ) -> None:
        """Store the scores, levels and moves of days that follow each other, with the texts of `ids` (no, id). With
        `hysteresis` also the fitting levels are stored."""
        name = f"{calendar.day_of(days[0]).isoformat()}_{calendar.day_of(days[-1]).isoformat()}"
        file = File(self.folder / f"{name}.parquet", days[0], days[-1])
        among = f"l.day BETWEEN {days[0]} AND {days[-1]}"
        queries = {
            file.moves: f"SELECT id, day, level_before, level FROM {levels.changes} l JOIN {ids} ON no = key"
            f" WHERE {among} ORDER BY day, id",
            file.path: f"SELECT id, l.day, score, level{', fitting' if hysteresis else ''} FROM {levels.daily} l"
            f" JOIN {ids} ON no = l.key WHERE {among}",
        }
        for path, query in queries.items():
            write_parquet(con, query, path, {"version": self.version})
        self.files = sorted(
            [*(each for each in self.files if each.path != file.path), file],
            key=lambda each: (each.first, -each.last),
        )

    def save_benchmarks(self) -> None:
        """Store the benchmarks."""
        self.folder.mkdir(parents=True, exist_ok=True)
        kept: dict[str, Any] = {"version": self.version}
        for name, values in (("daily", self.daily), ("used", self.used)):
            kept[name] = {
                calendar.day_of(day).isoformat(): {str(part): value for part, value in sorted(parts.items())}
                for day, parts in sorted(values.items())
            }
        kept["learnt"] = {
            calendar.day_of(day).isoformat(): [
                None if each is None else str(each) for each in (bounds.low, bounds.high)
            ]
            + [bounds.fallback]
            for day, bounds in sorted(self.level_bounds.items())
        }
        part = self.folder / ".benchmarks.json"
        part.write_text(json.dumps(kept))
        os.replace(part, self.folder / "benchmarks.json")

    def drop_before(self, before: int, but: int | None = None) -> None:
        """Delete files of days before `before`, files of other versions, and old benchmarks other than that of the day `but`."""
        kept = {file.path for file in self.files if file.last >= before}
        for path in self.folder.glob("*_*.parquet"):
            whole = path.with_name(path.name.replace(".moves.parquet", ".parquet"))
            if whole not in kept:
                path.unlink(missing_ok=True)
        self.files = [file for file in self.files if file.path in kept]
        for values in (self.daily, self.used):
            for day in [day for day in values if day < before - SMOOTHING_DAYS and day != but]:
                del values[day]
        for sunday in [sunday for sunday in self.level_bounds if sunday < before - SMOOTHING_DAYS]:
            del self.level_bounds[sunday]
        if self.daily or self.used:
            self.save_benchmarks()


def _readable(con: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> bool:
    if not paths:
        return True
    files = ", ".join(f"'{_quoted(path)}'" for path in paths)
    try:
        con.execute(f"SELECT sum(hash(h)::HUGEINT) FROM read_parquet([{files}]) h").fetchone()
    except duckdb.Error:
        return False
    return True


def history_days(keep: int, profile: Profile, own: Iterable[Audience]) -> int:
    """How many days of history are kept: `keep`, and at least those that scoring needs."""
    moves = [
        part.within.days or 1
        for audience in own
        for _, part in condition_types.walk(audience.condition)
        if isinstance(part, condition_types.LevelChange)
    ]
    return max(keep, TREND_DAYS + SMOOTHING_DAYS, profile.window + SMOOTHING_DAYS, *moves)


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
