"""The benchmarks of a profile by day: what the raw scores of a day are measured against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from connectors.errors import ConfigurationError
from heatsync.scoring.compute import benchmarks, calendar, scores
from heatsync.scoring.compute.compiled_profile import NANO, CompiledProfile
from heatsync.scoring.compute.entities import Entities
from heatsync.scoring.compute.scores import EntityTotals
from heatsync.scoring.compute.weighting import ENTITIES
from heatsync.snapshots.history_files import History, Values
from heatsync.snapshots.window_totals import WindowTotals

PERCENTILE = 18
"""In twentieths: the benchmark is the 90th percentile."""


@dataclass(slots=True)
class DayBenchmarks:
    """The benchmarks of a profile, kept in its histories. Benchmarks are in points, by day and part (0, or the place of
    a touchpoint). `where` is the profile's file, for messages."""

    totals: WindowTotals
    histories: Mapping[str, History]
    where: str

    @property
    def plan(self) -> CompiledProfile:
        """The compiled profile."""
        return self.totals.plan

    @property
    def frozen_day(self) -> int | None:
        """The day whose benchmark every day is measured against, if the profile names one."""
        day = self.plan.profile.benchmark.day
        return None if day is None else calendar.day_number(day)

    def days_to_measure(self, wanted: Sequence[int]) -> list[int]:
        """The days whose own benchmarks are needed to score the wanted days, and not stored.

        Raises ConfigurationError for a benchmark that is frozen on a day that is not over.
        """
        profile, session = self.plan.profile, self.totals.session
        if not self._measures:
            return []
        frozen = self.frozen_day
        if frozen is not None:
            days = {frozen}
            if frozen > session.last:
                raise ConfigurationError(
                    f"{self.where}: the benchmark is frozen on {profile.benchmark.day}, which is after"
                    f" {calendar.day_of(session.last)}, the last day to score: choose a day that is over"
                )
        elif profile.benchmark.kind == "rolling":
            days = set(wanted)
        else:
            days = {day - back for day in wanted for back in range(benchmarks.SMOOTHING_DAYS)}
        first = session.counts.first_day
        known = [self.histories[entity].daily for entity in self._entities]
        return sorted(
            day
            for day in days
            if first is not None and day >= first and any(day not in each for each in known)
        )

    def earlier_days(self, needed: Sequence[int], last: int, entities: Mapping[str, Entities]) -> list[int]:
        """The days before the needed ones that must be measured too: a day with few entities takes the benchmark of the
        last day before it that has one. More of the past is counted where this needs it."""
        session, totals = self.totals.session, self.totals
        first, begin = session.counts.first_day, needed[0]
        assert first is not None
        if any(day < begin and any(values.values()) for day, values in self.histories["user"].daily.items()):
            return []
        added = totals.add_up([begin])
        found = [self._quantiles(added[entity], [begin])[begin] for entity in self._entities]
        few = any(
            each is None or each.count < benchmarks.MIN_ENTITIES for parts in found for each in parts.values()
        )
        if not few and all(found):
            return []
        if session.counts.counted.since > first:
            session.counts.count_days(first, session.counts.counted.until)
            totals.count_properties(last)
        count, start = totals.first_events(begin)
        if start is None or start >= begin:
            return []
        plan = self.plan
        simple = plan.model == "weighted" and plan.profile.decay.kind != "linear"
        if (
            count < benchmarks.MIN_ENTITIES
            and simple
            and plan.profile.filter is None
            and not totals.users_move
        ):
            # No other entity can have existed before: the first of all days decides, of users and of accounts.
            account_start = totals.first_account_event(begin)
            return sorted(
                {start, *([account_start] if account_start is not None and account_start < begin else [])}
            )
        if totals.filter.varies_by_day:
            totals.prepare_filter(start, last, entities)
        return list(range(start, begin))

    def measure(self, days: Sequence[int], totals: Mapping[str, EntityTotals]) -> None:
        """Measure the benchmarks of days on their totals, unless they are stored or the profile uses none."""
        if not self._measures:
            return
        for entity in self._entities:
            daily = self.histories[entity].daily
            missing = [day for day in days if day not in daily]
            if missing:
                self._add(entity, missing, self._quantiles(totals[entity], days))

    def used(self, entity: str, days: Sequence[int], totals: EntityTotals) -> dict[int, Values]:
        """What the scores of days are measured against: by day and part."""
        kept = self.histories[entity]
        if entity not in self._entities and self._measures:
            return {day: self.histories["user"].used[day] for day in days}
        parts = scores.parts_with_data(self.totals.session.connection, self.plan, totals, days)
        return {day: self._used_on(kept, day, some) for day, some in parts.items()}

    @property
    def _measures(self) -> bool:
        """Whether raw scores are measured against those of other entities."""
        return self.plan.profile.normalize.kind not in ("percentile", "target")

    @property
    def _entities(self) -> list[str]:
        """The entities that have benchmarks of their own."""
        averaged = self.plan.model == "weighted" and self.plan.profile.rollup == "average"
        return ["user"] if averaged else list(ENTITIES)

    def _quantiles(
        self, totals: EntityTotals, days: Sequence[int]
    ) -> dict[int, dict[int, benchmarks.Quantile | None]]:
        """By day and part; None where no raw score is above 0."""
        con, plan = self.totals.session.connection, self.plan
        parts = scores.parts_with_data(con, plan, totals, days)
        found = {
            part: benchmarks.quantiles(con, scores.benchmark_relation(totals, part), PERCENTILE, days)
            for part in sorted({part for some in parts.values() for part in some})
        }
        return {day: {part: found[part].get(day) for part in some} for day, some in parts.items()}

    def _add(
        self,
        entity: str,
        days: Sequence[int],
        found: Mapping[int, Mapping[int, benchmarks.Quantile | None]],
    ) -> None:
        daily = self.histories[entity].daily
        unit = 1 if self.plan.model == "kpi" else NANO
        for day in days:
            before = {
                part: value
                for earlier in sorted(each for each in daily if each < day)
                for part, value in daily[earlier].items()
                if value
            }
            # A touchpoint without data on a day has the benchmark of the day before it.
            every = range(len(scores.weighted_touchpoints(self.plan)) if self.plan.model == "kpi" else 1)
            daily[day] = {
                part: benchmarks.day_benchmark(found[day].get(part), before.get(part, 0.0), unit)
                for part in every
            }

    def _used_on(self, kept: History, day: int, parts: Sequence[int]) -> Values:
        profile = self.plan.profile
        if profile.normalize.target is not None:
            return dict.fromkeys(parts, float(profile.normalize.target))
        if profile.normalize.kind == "percentile":
            return dict.fromkeys(parts, 0.0) if self.plan.model == "kpi" else {}
        if self.frozen_day is not None:
            frozen = kept.daily.get(self.frozen_day, {})
            return {part: frozen.get(part, 0.0) for part in parts}
        if profile.benchmark.kind == "rolling":
            return {part: kept.daily.get(day, {}).get(part, 0.0) for part in parts}
        return {
            part: benchmarks.smoothed(
                day, {each: values.get(part, 0.0) for each, values in kept.daily.items()}
            )
            for part in parts
        }
