"""Who passes the filter of a profile: judged on each day by itself, with what had happened by the end of it.

Leaves `user_passing` and `account_passing` at home: key, and where it takes the day into account also day.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from heatsync.scoring.compute import condition_sql, snapshot_rows, weighting
from heatsync.scoring.compute.compiled_profile import Plan
from heatsync.scoring.compute.event_counts import Measure
from heatsync.scoring.compute.weighting import ENTITIES
from heatsync.scoring.definition import condition_types
from heatsync.scoring.definition.profile import Profile
from heatsync.snapshots import event_queries
from heatsync.snapshots.session import Session


@dataclass(slots=True)
class ProfileFilter:
    """`varies_by_day`: whether the same entity may pass on one day and not on another."""

    session: Session
    profile: Profile
    name: str
    varies_by_day: bool = False
    measures: frozenset[Measure] = field(default_factory=frozenset)
    base: int = 0
    """The day by the end of which `life_before` had accumulated."""

    def prepare(self, plan: Plan, first: int, last: int, roams: bool) -> None:
        """Get ready for the days from `first` to `last`; what there is on the last of them is laid out."""
        condition = self.profile.filter
        if condition is None:
            return
        parts = [part for _, part in condition_types.walk(condition)]
        moving = roams and any(
            isinstance(each, condition_types.Trait) and each.name.startswith("account.") for each in parts
        )
        self.varies_by_day = moving or any(
            isinstance(each, condition_types.Events | condition_types.Time) for each in parts
        )
        if not self.varies_by_day:
            for entity in ENTITIES:
                self.session.connection.execute(
                    f"CREATE OR REPLACE TEMP TABLE {entity}_passing AS {self._judged(entity, last)}"
                )
            return
        self.measures = frozenset().union(*(self._scoped(entity, last).measures for entity in ENTITIES))
        self.base = first - 1
        event_queries.accumulate(self.session.counts, plan, self.name, self.base, "base_life", base=self.base)
        ever = "".join(
            f", count_{plan.counted.index(each.events)} AS {each.column}"
            for each in self._asked
            if each.old is None and not each.from_events
        )
        self.session.connection.execute(
            "CREATE OR REPLACE TEMP TABLE life_before AS"
            f" SELECT user_no, account_no, first, last, last_active{ever} FROM base_life"
        )
        zone = self.session.workspace.time_zone
        event_queries.list_occurrences(
            self.session.counts,
            {
                each: (each.interval(first, zone)[0], each.interval(last, zone)[1])
                for each in self._asked
                if each.from_events
            },
            "occurred",
        )

    def semi_join(self, entity: str) -> str:
        """What picks those who pass, behind a relation with day and key."""
        if self.profile.filter is None:
            return ""
        return f" SEMI JOIN {entity}_passing USING ({'day, ' if self.varies_by_day else ''}key)"

    def evaluate(self, days: Sequence[int]) -> None:
        """Of days on which everybody is in the same place."""
        if not self.varies_by_day:
            return
        home = self.session.connection
        self._grow(days)
        for entity in ENTITIES:
            home.execute(f"CREATE OR REPLACE TEMP TABLE {entity}_frame AS {self._frame(entity, days)}")
            each = " UNION ALL ".join(self._judged(entity, day) for day in days)
            home.execute(f"CREATE OR REPLACE TEMP TABLE {entity}_passing AS {each}")

    def keep_day(self, day: int) -> None:
        """Keep those of a day only."""
        if self.varies_by_day:
            for entity in ENTITIES:
                self.session.connection.execute(
                    f"CREATE OR REPLACE TEMP TABLE {entity}_passing AS SELECT key FROM {entity}_passing WHERE day = {day}"
                )
            self.varies_by_day = False

    @property
    def _asked(self) -> list[Measure]:
        return sorted(self.measures, key=lambda each: each.column)

    def _scoped(self, entity: str, day: int) -> condition_sql.Judged:
        workspace, columns = self.session.workspace, self.session.traits.columns
        assert self.profile.filter is not None
        scope = condition_sql.Scope(self.profile, entity, day, workspace.time_zone, columns, {}, {}, None)
        return condition_sql.judge(self.profile.filter, scope)

    def _judged(self, entity: str, day: int) -> str:
        """Who passes on a day."""
        found = self._scoped(entity, day)
        known = frozenset(self.session.traits.columns)
        if self.varies_by_day:
            rows_of = f"(FROM {entity}_frame WHERE day = {day})"
            joins = snapshot_rows.join_tables(entity, found.tables, known, (rows_of, "no"))
            return f"SELECT {day}::BIGINT AS day, r.no AS key FROM {rows_of} r {joins} WHERE {found.sql}"
        account = "h.id" if entity == "user" else "b.id"
        homes = "LEFT JOIN account_ids h ON h.no = b.account_no" if entity == "user" else ""
        base = f"(SELECT b.key AS no, b.id AS user_id, {account} AS account_id FROM {entity}_base b {homes})"
        joins = snapshot_rows.join_tables(entity, found.tables, known, None)
        return f"SELECT r.no AS key FROM {base} r {joins} WHERE {found.sql}"

    def _grow(self, days: Sequence[int]) -> None:
        """`growth`: per day, user and account, what had happened by the end of the day, and what each measure counts."""
        zone = self.session.workspace.time_zone
        targets = f"(VALUES {', '.join(f'({day}::BIGINT)' for day in days)}) t(day)"
        ever = [each for each in self._asked if each.old is None and not each.from_events]
        recent = [each for each in self._asked if each.old is not None and not each.from_events]
        active = f"NOT {weighting.named(self.profile.passive)}"
        news = "".join(f", sum(n) FILTER ({event_queries.matches(each)}) AS {each.column}" for each in ever)
        parts = [
            "SELECT t.day AS target, l.* FROM life_before l CROSS JOIN " + targets,
            f"SELECT t.day AS target, user_no, account_no, min(first) AS first, max(last) AS last,"
            f" max(last) FILTER ({active}) AS last_active{news} FROM daily d JOIN {targets} ON d.day <= t.day"
            f" WHERE d.day BETWEEN {self.base + 1} AND {max(days)} GROUP BY t.day, user_no, account_no",
        ]
        if recent:
            shown = "".join(
                f", {event_queries.counted_by(each, 'd.day', 't.day')} AS {each.column}" for each in recent
            )
            reach = max(each.old.days or 0 for each in recent if each.old is not None)
            parts.append(
                f"SELECT t.day AS target, user_no, account_no{shown} FROM daily d"
                f" JOIN {targets} ON d.day > t.day - {reach} AND d.day <= t.day"
                f" WHERE d.day BETWEEN {min(days) - reach + 1} AND {max(days)} GROUP BY t.day, user_no, account_no"
            )
        for each in self._asked:
            if each.from_events:
                bounds = []
                for day in days:
                    since, until = each.interval(day, zone)
                    shown = "NULL" if since is None else f"'{since}'"
                    bounds.append(f"({day}::BIGINT, {shown}::TIMESTAMP, '{until}'::TIMESTAMP)")
                parts.append(
                    f"SELECT t.day AS target, user_no, account_no, sum(n) AS {each.column} FROM occurred o"
                    f" JOIN (VALUES {', '.join(bounds)}) t(day, since, until)"
                    f" ON o.happened < t.until AND (t.since IS NULL OR o.happened >= t.since)"
                    f" WHERE o.measure = '{each.column}' GROUP BY t.day, user_no, account_no"
                )
        self.session.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE growth AS {' UNION ALL BY NAME '.join(parts)}"
        )

    def _frame(self, entity: str, days: Sequence[int]) -> str:
        """Everybody who is there on the days, with what a condition may look at."""
        counts = [each.column for each in self._asked]
        columns = ", ".join(f"x.{each}" for each in ("target", "first", "last", "last_active", *counts))
        source = (
            f"SELECT user_no AS key, {columns} FROM growth x WHERE user_no IS NOT NULL"
            if entity == "user"
            else weighting.own("growth", columns)
        )
        summed = "".join(f", sum({each})::BIGINT AS {each}" for each in counts)
        shown = "".join(f", coalesce(f.{each}, 0) AS {each}" for each in counts)
        account = "h.id" if entity == "user" else "i.id"
        homes = (
            "LEFT JOIN placement p ON p.user_no = n.key LEFT JOIN account_ids h ON h.no = p.account_no"
            if entity == "user"
            else ""
        )
        targets = ", ".join(f"({day}::BIGINT)" for day in days)
        return f"""
            WITH f AS (
                SELECT target AS day, key, min(first) AS first_seen, max(last) AS last_seen,
                       max(last_active) AS last_active{summed}
                FROM ({source}) GROUP BY target, key
            )
            SELECT t.day, n.key AS no, i.id AS key, i.id AS user_id, {account} AS account_id, f.first_seen, f.last_seen,
                   f.last_active, least(l.created_at, f.first_seen) AS signed_up, l.created_at{shown}
            FROM {entity}_born n JOIN (VALUES {targets}) t(day) ON n.day <= t.day
            JOIN {entity}_ids i ON i.no = n.key
            LEFT JOIN {entity}_listed l ON l.key = n.key
            LEFT JOIN f ON f.key = n.key AND f.day = t.day {homes}
        """
