"""Where learnt levels begin: estimated every Sunday from who stayed away, for users and for accounts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from heatsync.scoring.compute import churn_levels, level_history
from heatsync.scoring.compute.churn_levels import Estimate
from heatsync.scoring.compute.weighting import ENTITIES

if TYPE_CHECKING:
    from heatsync.snapshots.daily_scores import DailyScores


@dataclass(slots=True)
class ChurnTraining:
    """Bounds stand for a week, and are stored: only Sundays that are not known are learnt."""

    walk: "DailyScores"
    estimates: dict[tuple[str, int], Estimate] = field(default_factory=dict)

    def days(self, wanted: Sequence[int]) -> list[int]:
        """Whom levels are learnt from is looked at on these days."""
        first = self.walk.session.counts.first_day
        sundays = self._sundays(wanted)
        if first is None or not sundays:
            return []
        weeks = [
            w
            for sunday in sundays
            for each in churn_levels.estimate_days(sunday)
            for w in churn_levels.training_days(each, first)
        ]
        return sorted({*weeks, *sundays})

    def learn(self, wanted: Sequence[int]) -> None:
        """Learn the bounds of every Sunday that is in force on one of the days."""
        sundays, days = self._sundays(wanted), self.days(wanted)
        first = self.walk.session.counts.first_day
        if first is None or not sundays:
            for entity in ENTITIES:
                for sunday in sundays:
                    self.walk.histories[entity].learnt.setdefault(
                        sunday, churn_levels.Bounds(None, None, True)
                    )
            return
        self._look(days)
        for entity in ENTITIES:
            learnt = self.walk.histories[entity].learnt
            for sunday in sundays:
                if sunday not in learnt:
                    estimates = [
                        self._estimate(entity, each, first) for each in churn_levels.estimate_days(sunday)
                    ]
                    everybody = (
                        f"(SELECT raw::BIGINT AS e FROM {entity}_worths WHERE day = {sunday} AND raw > 0)"
                    )
                    learnt[sunday] = churn_levels.bounds(self.walk.session.connection, estimates, everybody)

    def _sundays(self, wanted: Sequence[int]) -> list[int]:
        found = {churn_levels.estimate_days(day)[-1] for day in wanted}
        return sorted(
            sunday
            for sunday in found
            if any(sunday not in self.walk.histories[entity].learnt for entity in ENTITIES)
        )

    def _look(self, days: Sequence[int]) -> None:
        """`{entity}_worths` (day, key, raw), and who was seen, `{entity}_looks` (day, key), and thirty days later,
        `{entity}_afters`."""
        walk, home = self.walk, self.walk.session.connection
        for entity in ENTITIES:
            home.execute(
                f"CREATE OR REPLACE TEMP TABLE {entity}_worths (day BIGINT, key INTEGER, raw HUGEINT)"
            )
            for table in ("looks", "afters"):
                home.execute(f"CREATE OR REPLACE TEMP TABLE {entity}_{table} (day BIGINT, key INTEGER)")
        later = {day + churn_levels.AWAY for day in days}
        for chunk in walk.chunks(sorted({*days, *later})):
            now = [day for day in chunk if day in days]
            after = [day for day in chunk if day in later]
            if now:
                walk.sum(now)
            else:
                walk.place(chunk)
            for entity in ENTITIES:
                if now:
                    among = walk.passing.among(entity)
                    home.execute(f"INSERT INTO {entity}_worths SELECT day, key, raw FROM {entity}_raw")
                    level_history.see(home, entity, now, walk.plan.profile.passive, among)
                    home.execute(f"INSERT INTO {entity}_looks SELECT day, key FROM {entity}_seen")
                if after:
                    level_history.see(home, entity, after, walk.plan.profile.passive)
                    home.execute(
                        f"INSERT INTO {entity}_afters SELECT day - {churn_levels.AWAY}, key FROM {entity}_seen"
                    )

    def _estimate(self, entity: str, sunday: int, first: int) -> Estimate:
        if (entity, sunday) not in self.estimates:
            days = ", ".join(map(str, churn_levels.training_days(sunday, first))) or "NULL"
            self.walk.session.connection.execute(
                f"""
                CREATE OR REPLACE TEMP TABLE training AS
                SELECT coalesce(r.raw, 0)::BIGINT AS e, a.key IS NULL AS churned
                FROM (FROM {entity}_looks WHERE day IN ({days})) s
                LEFT JOIN {entity}_worths r ON r.key = s.key AND r.day = s.day
                LEFT JOIN {entity}_afters a ON a.key = s.key AND a.day = s.day
                """
            )
            self.estimates[entity, sunday] = churn_levels.estimate(self.walk.session.connection, "training")
        return self.estimates[entity, sunday]
