"""One profile over the days that are wanted, and over the days before them that they are compared with."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import ibis
import pyarrow as pa

from connectors.base import ConfigurationError
from scoring import benchmarks, calendar, counting, rows, snapshot
from scoring.counting import Plan
from scoring.profile import Profile
from sync.measuring import Measures, Measuring, cap_users
from sync.parquet import Stored, look, write
from sync.workbench import fetch, take
from sync.workspace import Workspace

BLOCK = 31
"""Days that are computed together: the first run of a daily profile is one block."""
TREND = 30

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One file: the rows of a profile, an entity (`user` or `account`) and a day."""

    profile: str
    entity: str
    date: date
    rows: int
    path: Path
    version: str


@dataclass(frozen=True, slots=True)
class ProfileRun:
    """`daily` and `members` are at the source, the other tables at home."""

    workspace: Workspace
    home: duckdb.DuckDBPyConnection
    daily: ibis.Table
    members: ibis.Table
    traits: rows.Traits
    name: str
    profile: Profile

    def compute(self, wanted: Sequence[int], progress: Progress) -> Iterator[Snapshot]:
        """Write the snapshots, the earliest first. Raises ConfigurationError."""
        plan = Plan(self.profile)
        stored = {entity: self._stored(entity, wanted) for entity in rows.ENTITIES}
        days = self._missing(wanted, stored)
        while damaged := self._remember(days, stored):
            for entity, day in damaged:
                del stored[entity][day]
            days = self._missing(wanted, stored)
        measuring = Measuring(self.home, self.daily, self.members, plan, self._file)
        label = f"scoring {self.name}"
        progress(label, 0, len(days))
        measures = measuring.of(days, stored, max(wanted))
        for begin in range(0, len(days), BLOCK):
            block = days[begin : begin + BLOCK]
            self._compute(plan, block, measures)
            for done, day in enumerate(block, begin + 1):
                for entity in rows.ENTITIES:
                    yield self._write(entity, day, measures)
                progress(label, done, len(days))

    @property
    def _file(self) -> str:
        return f"mappings/profiles/{self.name}.yml"

    @property
    def _version(self) -> str:
        """Days of another time zone are other days."""
        return f"{self.profile.version} {self.workspace.time_zone.key}"

    def _stored(self, entity: str, wanted: Sequence[int]) -> dict[int, Stored]:
        """The snapshots of this version that there are, by day, as far back as anything asks for them."""
        reach = max(TREND, self.profile.window) + max(TREND, self.profile.window, benchmarks.REACH)
        days = {back for day in wanted for back in range(day - reach, day + 1)}
        if self.profile.benchmark.day is not None:
            days.add(calendar.number(self.profile.benchmark.day))
        found: dict[int, Stored] = {}
        for day in sorted(days):
            there = look(self.workspace.snapshot(self.name, entity, calendar.day_of(day)))
            if there is not None and there.version == self._version:
                found[day] = there
        return found

    def _missing(self, wanted: Sequence[int], stored: dict[str, dict[int, Stored]]) -> list[int]:
        """The wanted days, always, and those before them that are not stored."""
        reach = max(TREND, self.profile.window)
        before = {day - back for day in wanted for back in range(1, reach + 1)}
        return sorted({*wanted, *(before - (stored["user"].keys() & stored["account"].keys()))})

    def _remember(self, days: Sequence[int], stored: dict[str, dict[int, Stored]]) -> list[tuple[str, int]]:
        """Load what the days are compared with from the snapshots that stand. Answers those that cannot be read."""
        damaged: list[tuple[str, int]] = []
        compared = {day - back for day in days for back in (1, TREND, self.profile.window)} - set(days)
        for entity in rows.ENTITIES:
            self.home.execute(f"CREATE OR REPLACE TEMP TABLE {entity}_history {snapshot.EMPTY_HISTORY}")
            self.home.execute(f"CREATE OR REPLACE TEMP TABLE {entity}_days (day BIGINT)")
            for day in sorted(compared & stored[entity].keys()):
                self.home.execute(f"INSERT INTO {entity}_days VALUES (?)", [day])
                try:
                    self.home.execute(
                        f"INSERT INTO {entity}_history BY NAME SELECT {entity}_id AS key, ?::BIGINT AS day, score,"
                        " level, level_previous, level_changed_on FROM read_parquet(?)",
                        [day, str(stored[entity][day].path)],
                    )
                except duckdb.OutOfMemoryException:
                    raise
                except duckdb.Error:
                    damaged.append((entity, day))
        return damaged

    def _compute(self, plan: Plan, block: Sequence[int], measures: Measures) -> None:
        """Stage 1 and stage 2 for some days."""
        profile = self.profile
        spans = calendar.spans(block, profile.window, profile.decay)
        direct = counting.direct(self.daily, self.members)
        for name, expression in (
            ("windows", counting.windows(plan, self.daily, spans)),
            ("direct_windows", counting.direct_windows(plan, direct, spans)),
            ("states", counting.states(plan, self.daily, block[0])),
            ("direct_states", counting.direct_states(plan, direct, block[0])),
            ("carried", counting.carried(self.daily, self.members, block[0])),
        ):
            fetch(self.home, name, expression)
        take(self.home, "instants", calendar.instants(block, profile.window, self.workspace.time_zone))
        pairs = [(entity, day) for entity in rows.ENTITIES for day in block]
        values = {
            "entity": pa.array([entity for entity, _ in pairs], pa.string()),
            "day": pa.array([day for _, day in pairs], pa.int64()),
            "value": pa.array([measures.used[entity].get(day) for entity, day in pairs], pa.float64()),
        }
        take(self.home, "benchmark", pa.table(values))
        if profile.rollup == "pooled":
            cap_users(self.home, f"(SELECT as_of AS day, {' + '.join(plan.points)} AS raw FROM windows)")
        try:
            rows.lay_out(self.home, plan, self.traits)
        except ValueError as error:
            raise ConfigurationError(f"{self._file}: `activation`: {error}") from error
        snapshot.compute(self.home, plan)

    def _write(self, entity: str, day: int, measures: Measures) -> Snapshot:
        when = calendar.day_of(day)
        path = self.workspace.snapshot(self.name, entity, when)
        used, daily = measures.used[entity].get(day), measures.daily[entity].get(day)
        words = {
            "version": self._version,
            "benchmark": "" if used is None else repr(used),
            "daily_benchmark": "" if daily is None else repr(daily),
        }
        query = f"SELECT * EXCLUDE (day) FROM {entity}_snapshot WHERE day = {day} ORDER BY {entity}_id"
        return Snapshot(
            self.name, entity, when, write(self.home, query, path, words), path, self.profile.version
        )
