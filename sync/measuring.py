"""The benchmarks of the days that are scored: those that are stored stand, the others are measured."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import ibis
import pyarrow as pa

from connectors.base import ConfigurationError
from scoring import benchmarks, calendar, counting, rows, snapshot
from scoring.counting import POINT, Plan
from sync.parquet import Stored
from sync.workbench import fetch, take

TOGETHER = 62
"""Days that are measured together."""

Values = Mapping[str, Mapping[int, float]]
"""Per entity and day."""


@dataclass(frozen=True, slots=True)
class Measures:
    """`daily` are those of each day alone, `used` those that its scores are measured against."""

    daily: Values
    used: Values


@dataclass(frozen=True, slots=True)
class Measuring:
    """One profile's benchmarks. `where` is its file, for people."""

    home: duckdb.DuckDBPyConnection
    daily: ibis.Table
    members: ibis.Table
    plan: Plan
    where: str

    def of(self, days: Sequence[int], stored: Mapping[str, Mapping[int, Stored]], last: int) -> Measures:
        """Those of some days. `last` is the last day that the events reach. Raises ConfigurationError."""
        profile = self.plan.profile
        nothing: dict[str, dict[int, float]] = {entity: {} for entity in rows.ENTITIES}
        if profile.normalize.target is not None:
            target = float(profile.normalize.target)
            return Measures(nothing, {entity: dict.fromkeys(days, target) for entity in rows.ENTITIES})
        if profile.normalize.kind == "percentile":
            return Measures(nothing, nothing)
        daily, used = dict(nothing), dict(nothing)
        for entity in rows.ENTITIES:
            if entity == "account" and profile.rollup == "average":
                # Unrounded scores of users are averaged: they have been measured.
                daily[entity], used[entity] = daily["user"], used["user"]
            else:
                daily[entity], used[entity] = self._entity(entity, days, stored[entity], last)
        return Measures(daily, used)

    def _entity(
        self, entity: str, days: Sequence[int], stored: Mapping[int, Stored], last: int
    ) -> tuple[dict[int, float], dict[int, float]]:
        benchmark = self.plan.profile.benchmark
        known = {day: there.daily for day, there in stored.items() if there.daily}
        if benchmark.day is not None:
            frozen = calendar.number(benchmark.day)
            if frozen > last:
                raise ConfigurationError(
                    f"{self.where}: the benchmark is frozen on {benchmark.day}, which lies after"
                    f" {calendar.day_of(last)}, the last day to be scored: choose a day that is over"
                )
            before = next((each.benchmark for _, each in sorted(stored.items()) if each.benchmark), None)
            if before is not None:
                return {}, dict.fromkeys(days, before)
            daily = self._daily(entity, [frozen], known)
            return daily, dict.fromkeys(days, daily.get(frozen, 0.0))
        if benchmark.kind == "rolling":
            daily = self._daily(entity, days, known)
            return daily, {day: daily.get(day, 0.0) for day in days}
        reach = {back for day in days for back in range(day - benchmarks.REACH + 1, day + 1)}
        daily = self._daily(entity, reach, known)
        return daily, {day: benchmarks.smoothed(day, daily) for day in days}

    def _daily(self, entity: str, days: Iterable[int], known: Mapping[int, float]) -> dict[int, float]:
        """Daily benchmarks; there is none before the first scored event."""
        first = counting.first_scored_day(self.plan, self.daily).to_pyarrow().as_py()
        needed = {day for day in days if first is not None and day >= first} - known.keys()
        if not needed:
            return dict(known)
        measured = self._measure(entity, sorted(needed))
        few = [day for day in sorted(needed) if day not in measured or measured[day].count < benchmarks.FEW]
        if few:
            # A day with few takes the last benchmark before it: every day back to one that stands is needed.
            since = max((day for day in known if day < few[0]), default=first - 1) + 1
            between = set(range(since, few[-1])) - needed - known.keys()
            measured |= self._measure(entity, sorted(between))
            needed |= between
        return benchmarks.chain(needed, measured, known, POINT)

    def _measure(self, entity: str, days: Sequence[int]) -> dict[int, benchmarks.Quantile]:
        profile = self.plan.profile
        found: dict[int, benchmarks.Quantile] = {}
        for begin in range(0, len(days), TOGETHER):
            some = days[begin : begin + TOGETHER]
            spans = calendar.spans(some, profile.window, profile.decay)
            fetch(self.home, "user_raw", counting.raw_scores(self.plan, self.daily, spans))
            if entity == "user":
                found |= benchmarks.quantiles(self.home, "user_raw", 18)
                continue
            fetch(self.home, "carried", counting.carried(self.daily, self.members, some[0]))
            rows.membership(self.home)
            if profile.rollup == "pooled":
                cap_users(self.home, "user_raw")
            found |= benchmarks.quantiles(self.home, f"({snapshot.account_raw(self.plan, 'member_raw')})", 18)
        return found


def cap_users(home: duckdb.DuckDBPyConnection, relation: str) -> None:
    """`pooled` (day, cap): the 95th percentile of users' raw scores, above which nobody carries an account."""
    found = benchmarks.quantiles(home, relation, 19)
    caps = {
        "day": pa.array(list(found), pa.int64()),
        "cap": pa.array([int(each.value) for each in found.values()], pa.decimal128(38, 0)),
    }
    take(home, "pooled", pa.table(caps))
