"""The filter of a profile: which entities pass it on each day, by what had happened by the end of that day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from heatsync.scoring.compute import condition_sql, snapshot_rows, weighting
from heatsync.scoring.compute.compiled_profile import CompiledProfile
from heatsync.scoring.compute.entities import Entities
from heatsync.scoring.compute.event_counts import EventCount
from heatsync.scoring.compute.relations import PlacedCounts, Relation, create_table
from heatsync.scoring.compute.weighting import ENTITIES
from heatsync.scoring.definition import condition_types
from heatsync.scoring.definition.profile import Profile
from heatsync.snapshots import event_queries
from heatsync.snapshots.session import Session


@dataclass(frozen=True, slots=True)
class Population:
    """The entities that may pass, on the last of the days; the counts with users placed; what touchpoints count that
    select events by properties; and whether users come into other accounts between the days."""

    entities: Mapping[str, Entities]
    placed: PlacedCounts
    by_properties: Relation
    users_move: bool


@dataclass(slots=True)
class ProfileFilter:
    """Which entities pass the filter of a profile; all of them where it has none."""

    session: Session
    profile: Profile
    name: str
    varies_by_day: bool = False
    """Whether the same entity may pass on one day and not on another."""
    included: dict[str, Relation] = field(default_factory=dict)
    """By entity: key of the entities that pass, and where this varies by day also day."""
    _measures: tuple[EventCount, ...] = ()
    _base: int = 0
    """The day by the end of which `_before` had accumulated."""
    _population: Population | None = None
    _before: Relation = field(init=False)
    """user_no, account_no, first, last, last_active, and a column per measure of the whole past."""
    _occurred: Relation = field(init=False)
    """event_queries.list_occurrences."""

    def prepare(self, plan: CompiledProfile, first: int, last: int, population: Population) -> None:
        """Get ready for the days from `first` to `last`. Raises ConfigurationError."""
        condition, self._population = self.profile.filter, population
        if condition is None:
            return
        parts = [part for _, part in condition_types.walk(condition)]
        moving = population.users_move and any(
            isinstance(each, condition_types.Trait) and each.name.startswith("account.") for each in parts
        )
        self.varies_by_day = moving or any(
            isinstance(each, condition_types.Events | condition_types.Time) for each in parts
        )
        con = self.session.connection
        if not self.varies_by_day:
            for entity in ENTITIES:
                self.included[entity] = create_table(
                    con, f"{entity}_included", ("key",), self._included_now(entity, last)
                )
            return
        measures = frozenset().union(*(self._compile(entity, last).measures for entity in ENTITIES))
        self._measures = tuple(sorted(measures, key=lambda each: each.column))
        self._base = first - 1
        counts = event_queries.Counts(self.session.counts, plan, self.name, population.by_properties)
        life = event_queries.accumulate(counts, self._base, "base_life", base=self._base)
        ever = [each for each in self._measures if each.old is None and not each.from_events]
        columns = "".join(f", count_{plan.counted.index(each.events)} AS {each.column}" for each in ever)
        self._before = create_table(
            con,
            "life_before",
            ("user_no", "account_no", "first", "last", "last_active", *(each.column for each in ever)),
            f"SELECT user_no, account_no, first, last, last_active{columns} FROM {life}",
        )
        zone = self.session.workspace.time_zone
        self._occurred = event_queries.list_occurrences(
            self.session.counts,
            {
                each: (each.interval(first, zone)[0], each.interval(last, zone)[1])
                for each in self._measures
                if each.from_events
            },
        )

    def semi_join(self, entity: str) -> str:
        """SQL that picks the entities that pass, behind a relation with day and key."""
        if self.profile.filter is None:
            return ""
        return f" SEMI JOIN {self.included[entity]} USING ({'day, ' if self.varies_by_day else ''}key)"

    def evaluate(self, days: Sequence[int], placed: PlacedCounts) -> None:
        """Find the entities that pass on each of the days, on all of which users are placed alike."""
        if not self.varies_by_day:
            return
        con, growth = self.session.connection, self._grow(days)
        for entity in ENTITIES:
            frame = self._frame(entity, days, growth, placed)
            each = " UNION ALL ".join(self._included_on(entity, day, frame) for day in days)
            self.included[entity] = create_table(con, f"{entity}_included", ("day", "key"), each)

    def keep_day(self, day: int) -> None:
        """Keep the entities that pass on one of the evaluated days."""
        if self.varies_by_day:
            for entity, included in self.included.items():
                self.included[entity] = create_table(
                    self.session.connection,
                    included.name,
                    ("key",),
                    f"SELECT key FROM {included} WHERE day = {day}",
                )
            self.varies_by_day = False

    @property
    def _known(self) -> Population:
        assert self._population is not None
        return self._population

    def _compile(self, entity: str, day: int) -> condition_sql.CompiledCondition:
        workspace, columns = self.session.workspace, self.session.traits.columns
        assert self.profile.filter is not None
        scope = condition_sql.Scope(self.profile, entity, day, workspace.time_zone, columns, {}, {}, None)
        return condition_sql.compile_condition(self.profile.filter, scope)

    def _included_on(self, entity: str, day: int, frame: Relation) -> str:
        """SQL: day, key of the entities that pass on a day."""
        found = self._compile(entity, day)
        rows = f"(FROM {frame} WHERE day = {day})"
        joins = snapshot_rows.join_tables(entity, found.tables, self.session.traits.tables, (rows, "no"))
        return f"SELECT {day}::BIGINT AS day, r.no AS key FROM {rows} r {joins} WHERE {found.sql}"

    def _included_now(self, entity: str, day: int) -> str:
        """SQL: key of the entities that pass by what does not depend on the day."""
        found = self._compile(entity, day)
        ids = self._known.placed.counts.ids
        account = "h.id" if entity == "user" else "b.id"
        homes = f"LEFT JOIN {ids['account']} h ON h.no = b.account_no" if entity == "user" else ""
        base = (
            f"(SELECT b.key AS no, b.id AS user_id, {account} AS account_id"
            f" FROM {self._known.entities[entity].base} b {homes})"
        )
        joins = snapshot_rows.join_tables(entity, found.tables, self.session.traits.tables, None)
        return f"SELECT r.no AS key FROM {base} r {joins} WHERE {found.sql}"

    def _grow(self, days: Sequence[int]) -> Relation:
        """`growth`: target (day), user_no, account_no, first, last, last_active by the end of the day, and a column per
        measure with what it counts."""
        counts, zone = self._known.placed.counts, self.session.workspace.time_zone
        events = counts.ids["event"]
        targets = f"(VALUES {', '.join(f'({day}::BIGINT)' for day in days)}) t(day)"
        ever = [each for each in self._measures if each.old is None and not each.from_events]
        recent = [each for each in self._measures if each.old is not None and not each.from_events]
        active = f"NOT {weighting.event_in(events, self.profile.passive)}"
        news = "".join(
            f", sum(n) FILTER ({event_queries.matches(each, events)}) AS {each.column}" for each in ever
        )
        parts = [
            f"SELECT t.day AS target, l.* FROM {self._before} l CROSS JOIN {targets}",
            f"SELECT t.day AS target, user_no, account_no, min(first) AS first, max(last) AS last,"
            f" max(last) FILTER ({active}) AS last_active{news} FROM {counts.daily} d JOIN {targets} ON d.day <= t.day"
            f" WHERE d.day BETWEEN {self._base + 1} AND {max(days)} GROUP BY t.day, user_no, account_no",
        ]
        if recent:
            shown = "".join(
                f", {event_queries.counted_by(each, events, 'd.day', 't.day')} AS {each.column}"
                for each in recent
            )
            reach = max(each.old.days or 0 for each in recent if each.old is not None)
            parts.append(
                f"SELECT t.day AS target, user_no, account_no{shown} FROM {counts.daily} d"
                f" JOIN {targets} ON d.day > t.day - {reach} AND d.day <= t.day"
                f" WHERE d.day BETWEEN {min(days) - reach + 1} AND {max(days)} GROUP BY t.day, user_no, account_no"
            )
        for each in self._measures:
            if each.from_events:
                bounds = []
                for day in days:
                    since, until = each.interval(day, zone)
                    shown = "NULL" if since is None else f"'{since}'"
                    bounds.append(f"({day}::BIGINT, {shown}::TIMESTAMP, '{until}'::TIMESTAMP)")
                parts.append(
                    f"SELECT t.day AS target, user_no, account_no, sum(n) AS {each.column} FROM {self._occurred} o"
                    f" JOIN (VALUES {', '.join(bounds)}) t(day, since, until)"
                    f" ON o.happened < t.until AND (t.since IS NULL OR o.happened >= t.since)"
                    f" WHERE o.measure = '{each.column}' GROUP BY t.day, user_no, account_no"
                )
        columns = ("target", "user_no", "account_no", "first", "last", "last_active")
        return create_table(
            self.session.connection,
            "growth",
            (*columns, *(each.column for each in self._measures)),
            " UNION ALL BY NAME ".join(parts),
        )

    def _frame(self, entity: str, days: Sequence[int], growth: Relation, placed: PlacedCounts) -> Relation:
        """`{entity}_frame`: the entities that exist on each of the days, with everything that a condition may look at."""
        measures, ids = [each.column for each in self._measures], placed.counts.ids
        columns = ", ".join(f"x.{each}" for each in ("target", "first", "last", "last_active", *measures))
        source = (
            f"SELECT user_no AS key, {columns} FROM {growth} x WHERE user_no IS NOT NULL"
            if entity == "user"
            else weighting.account_rows(growth, columns, placed.placement)
        )
        summed = "".join(f", sum({each})::BIGINT AS {each}" for each in measures)
        shown = "".join(f", coalesce(f.{each}, 0) AS {each}" for each in measures)
        account = "h.id" if entity == "user" else "i.id"
        homes = (
            f"LEFT JOIN {placed.placement} p ON p.user_no = n.key LEFT JOIN {ids['account']} h ON h.no = p.account_no"
            if entity == "user"
            else ""
        )
        targets = ", ".join(f"({day}::BIGINT)" for day in days)
        found = self._known.entities[entity]
        seen = ("first_seen", "last_seen", "last_active", "signed_up", "created_at")
        return create_table(
            self.session.connection,
            f"{entity}_frame",
            ("day", "no", "key", "user_id", "account_id", *seen, *measures),
            f"""
            WITH f AS (
                SELECT target AS day, key, min(first) AS first_seen, max(last) AS last_seen,
                       max(last_active) AS last_active{summed}
                FROM ({source}) GROUP BY target, key
            )
            SELECT t.day, n.key AS no, i.id AS key, i.id AS user_id, {account} AS account_id, f.first_seen, f.last_seen,
                   f.last_active, least(l.created_at, f.first_seen) AS signed_up, l.created_at{shown}
            FROM {found.born} n JOIN (VALUES {targets}) t(day) ON n.day <= t.day
            JOIN {ids[entity]} i ON i.no = n.key
            LEFT JOIN {found.listed} l ON l.key = n.key
            LEFT JOIN f ON f.key = n.key AND f.day = t.day {homes}
        """,
        )
