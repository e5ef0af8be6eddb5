"""Where learned levels begin: estimated every Sunday from the entities that stayed away, for users and for accounts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from heatsync.scoring.compute import churn_levels, level_history
from heatsync.scoring.compute.churn_levels import Estimate
from heatsync.scoring.compute.weighting import ENTITIES
from heatsync.snapshots.history_files import History
from heatsync.snapshots.window_totals import WindowTotals


@dataclass(slots=True)
class ChurnTraining:
    """Bounds are in force for a week, and stored in the histories: only Sundays without stored bounds are estimated."""

    totals: WindowTotals
    histories: Mapping[str, History]
    estimates: dict[tuple[str, int], Estimate] = field(default_factory=dict)
    """By entity and Sunday."""

    def days(self, wanted: Sequence[int]) -> list[int]:
        """The days whose totals the training of the wanted days looks at."""
        first = self.totals.session.counts.first_day
        sundays = self._sundays(wanted)
        if first is None or not sundays:
            return []
        weeks = [
            week
            for sunday in sundays
            for each in churn_levels.estimate_days(sunday)
            for week in churn_levels.training_days(each, first)
        ]
        return sorted({*weeks, *sundays})

    def learn(self, wanted: Sequence[int]) -> None:
        """Estimate the bounds of every Sunday that is in force on one of the wanted days."""
        sundays, days = self._sundays(wanted), self.days(wanted)
        first = self.totals.session.counts.first_day
        if first is None or not sundays:
            for entity in ENTITIES:
                for sunday in sundays:
                    self.histories[entity].level_bounds.setdefault(
                        sunday, churn_levels.Bounds(None, None, True)
                    )
            return
        self._observe(days)
        for entity in ENTITIES:
            learned = self.histories[entity].level_bounds
            for sunday in sundays:
                if sunday not in learned:
                    estimates = [
                        self._estimate(entity, each, first) for each in churn_levels.estimate_days(sunday)
                    ]
                    everybody = (
                        f"(SELECT raw::BIGINT AS e FROM {entity}_worths WHERE day = {sunday} AND raw > 0)"
                    )
                    learned[sunday] = churn_levels.bounds(
                        self.totals.session.connection, estimates, everybody
                    )

    def _sundays(self, wanted: Sequence[int]) -> list[int]:
        found = {churn_levels.estimate_days(day)[-1] for day in wanted}
        return sorted(
            sunday
            for sunday in found
            if any(sunday not in self.histories[entity].level_bounds for entity in ENTITIES)
        )

    def _observe(self, days: Sequence[int]) -> None:
        """`{entity}_worths` (day, key, raw) of the days; the entities seen on them, `{entity}_looks` (day, key), and
        thirty days later, `{entity}_afters`."""
        totals, con = self.totals, self.totals.session.connection
        passive = totals.plan.profile.passive
        for entity in ENTITIES:
            con.execute(
                f"CREATE OR REPLACE TEMP TABLE {entity}_worths (day BIGINT, key INTEGER, raw HUGEINT)"
            )
            for table in ("looks", "afters"):
                con.execute(f"CREATE OR REPLACE TEMP TABLE {entity}_{table} (day BIGINT, key INTEGER)")
        later = {day + churn_levels.AWAY for day in days}
        for chunk in totals.chunks(sorted({*days, *later})):
            now = [day for day in chunk if day in days]
            after = [day for day in chunk if day in later]
            if now:
                totals.add_up(now)
            else:
                totals.place_users(chunk)
            for entity in ENTITIES:
                if now:
                    con.execute(f"INSERT INTO {entity}_worths SELECT day, key, raw FROM {entity}_raw")
                    level_history.see(con, entity, now, passive, totals.filter.semi_join(entity))
                    con.execute(f"INSERT INTO {entity}_looks SELECT day, key FROM {entity}_seen")
                if after:
                    level_history.see(con, entity, after, passive)
                    con.execute(
                        f"INSERT INTO {entity}_afters SELECT day - {churn_levels.AWAY}, key FROM {entity}_seen"
                    )

    def _estimate(self, entity: str, sunday: int, first: int) -> Estimate:
        if (entity, sunday) not in self.estimates:
            con = self.totals.session.connection
            days = ", ".join(map(str, churn_levels.training_days(sunday, first))) or "NULL"
            con.execute(
                f"""
                CREATE OR REPLACE TEMP TABLE training AS
                SELECT coalesce(r.raw, 0)::BIGINT AS e, a.key IS NULL AS churned
                FROM (FROM {entity}_looks WHERE day IN ({days})) s
                LEFT JOIN {entity}_worths r ON r.key = s.key AND r.day = s.day
                LEFT JOIN {entity}_afters a ON a.key = s.key AND a.day = s.day
                """
            )
            self.estimates[entity, sunday] = churn_levels.estimate(con, "training")
        return self.estimates[entity, sunday]
