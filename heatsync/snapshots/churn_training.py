"""Where learned levels begin: estimated every Sunday from the entities that stayed away, for users and for accounts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from heatsync.scoring.compute import churn_levels, level_history
from heatsync.scoring.compute.churn_levels import Estimate
from heatsync.scoring.compute.relations import Relation, create_empty, create_table
from heatsync.scoring.compute.weighting import ENTITIES
from heatsync.snapshots.history_files import History
from heatsync.snapshots.window_totals import WindowTotals


@dataclass(frozen=True, slots=True)
class Observed:
    """What levels are learned from, of an entity.

    raw           day, key, raw: the raw scores of the training days
    seen          day, key: the entities that were seen in the thirty days up to a training day
    seen_later    day, key: those that were seen in the thirty days after it
    """

    raw: Relation
    seen: Relation
    seen_later: Relation


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
                        sunday, churn_levels.LevelBounds(None, None, True)
                    )
            return
        for entity, observed in self._observe(days).items():
            learned = self.histories[entity].level_bounds
            for sunday in sundays:
                if sunday not in learned:
                    estimates = [
                        self._estimate(entity, each, first, observed)
                        for each in churn_levels.estimate_days(sunday)
                    ]
                    scored = f"(SELECT raw::BIGINT AS e FROM {observed.raw} WHERE day = {sunday} AND raw > 0)"
                    learned[sunday] = churn_levels.level_bounds(
                        self.totals.session.connection, estimates, scored
                    )

    def _sundays(self, wanted: Sequence[int]) -> list[int]:
        found = {churn_levels.estimate_days(day)[-1] for day in wanted}
        return sorted(
            sunday
            for sunday in found
            if any(sunday not in self.histories[entity].level_bounds for entity in ENTITIES)
        )

    def _observe(self, days: Sequence[int]) -> dict[str, Observed]:
        """By entity, what is seen on the days and thirty days after each of them."""
        totals, con = self.totals, self.totals.session.connection
        passive = totals.plan.profile.passive
        found = {
            entity: Observed(
                create_empty(con, f"{entity}_worths", day="BIGINT", key="INTEGER", raw="HUGEINT"),
                create_empty(con, f"{entity}_looks", day="BIGINT", key="INTEGER"),
                create_empty(con, f"{entity}_afters", day="BIGINT", key="INTEGER"),
            )
            for entity in ENTITIES
        }
        later = {day + churn_levels.CHURN_DAYS for day in days}
        for chunk in totals.chunks(sorted({*days, *later})):
            now = [day for day in chunk if day in days]
            after = [day for day in chunk if day in later]
            added = totals.add_up(now) if now else {}
            if not now:
                totals.place_users(chunk)
            for entity, of in found.items():
                if now:
                    con.execute(f"INSERT INTO {of.raw} SELECT day, key, raw FROM {added[entity].raw}")
                    included = totals.filter.semi_join(entity)
                    seen = level_history.seen_entities(con, entity, totals.placed, now, passive, included)
                    con.execute(f"INSERT INTO {of.seen} SELECT day, key FROM {seen}")
                if after:
                    seen = level_history.seen_entities(con, entity, totals.placed, after, passive)
                    con.execute(
                        f"INSERT INTO {of.seen_later} SELECT day - {churn_levels.CHURN_DAYS}, key FROM {seen}"
                    )
        return found

    def _estimate(self, entity: str, sunday: int, first: int, of: Observed) -> Estimate:
        if (entity, sunday) not in self.estimates:
            con = self.totals.session.connection
            days = ", ".join(map(str, churn_levels.training_days(sunday, first))) or "NULL"
            training = create_table(
                con,
                "training",
                ("e", "churned"),
                f"""
                SELECT coalesce(r.raw, 0)::BIGINT AS e, a.key IS NULL AS churned
                FROM (FROM {of.seen} WHERE day IN ({days})) s
                LEFT JOIN {of.raw} r ON r.key = s.key AND r.day = s.day
                LEFT JOIN {of.seen_later} a ON a.key = s.key AND a.day = s.day
                """,
            )
            self.estimates[entity, sunday] = churn_levels.estimate_lower_bound(con, str(training))
        return self.estimates[entity, sunday]
