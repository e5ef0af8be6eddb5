"""The snapshots of one profile: of the days that are wanted, and the scores of the days before that they need."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq

from connectors.errors import ConfigurationError
from heatsync.scoring.compute import (
    calendar,
    churn_levels,
    compiled_audiences,
    condition_sql,
    scores,
    snapshot_rows,
    weighting,
)
from heatsync.scoring.compute.benchmarks import SMOOTHING_DAYS
from heatsync.scoring.compute.compiled_profile import CompiledProfile
from heatsync.scoring.compute.event_counts import EventCount, event_names
from heatsync.scoring.compute.relations import Relation
from heatsync.scoring.compute.weighting import ENTITIES
from heatsync.scoring.definition import audiences as groups
from heatsync.scoring.definition import condition_types
from heatsync.scoring.definition.builtin_audiences import Audience
from heatsync.scoring.definition.profile import Profile
from heatsync.snapshots import event_queries
from heatsync.snapshots.daily_counts import IDS
from heatsync.snapshots.daily_scores import DailyScores
from heatsync.snapshots.history_files import History
from heatsync.snapshots.parquet_files import write_parquet
from heatsync.snapshots.session import Session
from heatsync.snapshots.skip_unchanged import UnchangedDays

TREND = snapshot_rows.TREND_DAYS

OnProgress = Callable[[str, int, int], None]


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
class ScoredDays:
    """The scores of some days, of an entity.

    scores    key (text), day, account_id (of users), active, raw, nano, score, level: of entities with something to say
    base      key, id and more (entities.Entities) of the entities that exist on the last day and pass the filter
    """

    scores: Relation
    base: Relation


@dataclass(slots=True)
class ProfileRun:
    """A profile in a session. `custom` are its custom audiences. Without `stored`, its history and snapshots are neither read
    nor written. `notes` are sentences for the person who runs the scoring."""

    session: Session
    name: str
    profile: Profile
    custom: tuple[Audience, ...] = ()
    stored: bool = True
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, session: Session, name: str, changed: Profile | None = None) -> "ProfileRun":
        """The run of a profile of the workspace. With `changed`, the run of that profile in its place; its history and
        snapshots are not stored."""
        workspace = session.workspace
        profile = changed or workspace.profiles[name]
        return cls(session, name, profile, tuple(workspace.audiences.get(name, ())), stored=changed is None)

    def write_snapshots(self, wanted: Sequence[int], on_progress: OnProgress) -> Iterator[Snapshot]:
        """Write the snapshots of the wanted days (numbers), the earliest first, and yield each. Raises ConfigurationError."""
        label = f"scoring {self.name}"
        days = sorted(set(wanted))
        unchanged: UnchangedDays | None = None
        if len(days) > 1:
            # The source is read once for all days.
            self.session.counts.count_days(self._reach(days[0]), days[-1])
            unchanged = UnchangedDays(
                self.session, self.name, self.version, self.custom, self.histories()
            ).load()
        computed: list[int] = []
        for done, day in enumerate(days):
            on_progress(label, done, len(days))
            if unchanged is not None and day != days[-1] and unchanged.is_unchanged(day):
                yield from (self._written(entity, day) for entity in ENTITIES)
                continue
            # Only the notes of the last day are kept: every day of a range would repeat them.
            self.notes.clear()
            for entity, rows in self.build_snapshot(day).items():
                yield self._write(entity, day, rows)
            computed.append(day)
            if unchanged is not None:
                unchanged.save([day])
        if unchanged is not None:
            # More of the past may have been counted since, which changes the hashes.
            unchanged.save(computed)
        on_progress(label, len(days), len(days))

    def score_days(self, days: Sequence[int]) -> dict[str, ScoredDays]:
        """By entity, the scores of some days (numbers). Nothing is stored. Raises ConfigurationError."""
        plan, _ = self._prepare(max(days), min(days))
        daily = self._scores(plan)
        kept = daily.score_days(sorted(set(days)))
        return {entity: ScoredDays(kept[entity], daily.entities[entity].base) for entity in ENTITIES}

    def build_snapshot(self, day: int) -> dict[str, Relation]:
        """By entity, the rows of the snapshot of a day (snapshot_rows.SNAPSHOT_COLUMNS). Raises ConfigurationError."""
        plan, compiled = self._prepare(day, day)
        daily = self._scores(plan)
        block = daily.score_up_to(day, max(TREND, self.profile.window))
        used = daily.used_benchmarks(day)
        of = snapshot_rows.SnapshotDay(
            plan,
            day,
            {entity: used[entity].get(0) if plan.model != "kpi" else None for entity in ENTITIES},
            {
                entity: scores.touchpoint_shares(plan, used[entity]) if plan.model == "kpi" else {}
                for entity in ENTITIES
            },
            calendar.day_start(calendar.day_of(day + 1 - 90), self.session.workspace.time_zone),
            self.session.traits.tables,
            daily.totals.placed,
            daily.local_days,
        )
        measures = {entity: self._measures(compiled, entity) for entity in ENTITIES}
        bases = {entity: found.base for entity, found in daily.entities.items()}
        subjects = event_queries.Subjects(daily.life, bases, daily.totals.placed.placement)
        counts = event_queries.count_measures(daily.counts, day, measures, subjects)
        snapshots: dict[str, Relation] = {}
        inputs: snapshot_rows.RowInputs | None = None
        users: tuple[snapshot_rows.EntityRows, dict[str, condition_sql.CompiledCondition]] | None = None
        for entity in ENTITIES:
            inputs = self._inputs(daily, of, entity, block, counts[entity], inputs)
            con = self.session.connection
            parts = snapshot_rows.build_contributions(con, of, inputs)
            rows = snapshot_rows.EntityRows(
                snapshot_rows.build_rows(con, of, inputs, parts, daily.default), counts[entity]
            )
            snapshots[entity] = snapshot_rows.build_snapshot(con, of, rows, compiled[entity], users)
            self._note_doubts(entity, compiled[entity], of, rows)
            self._note_fallback(entity, daily.bounds_on(entity, day))
            users = rows, compiled["account"].counting
        return snapshots

    def _inputs(
        self,
        daily: DailyScores,
        of: snapshot_rows.SnapshotDay,
        entity: str,
        block: Sequence[int],
        counts: Relation,
        users: snapshot_rows.RowInputs | None,
    ) -> snapshot_rows.RowInputs:
        """The tables that the rows of an entity are built from."""
        con, placement = self.session.connection, of.placed.placement
        points, days = weighting.event_points(con, of.plan, entity, daily.totals.done, placement, of.day)
        included = daily.included(entity)
        if included is not None:
            con.execute(f"DELETE FROM {points} WHERE key NOT IN (SELECT key FROM {included})")
        return snapshot_rows.RowInputs(
            entity=entity,
            entities=daily.entities[entity],
            scored=daily.scored[entity],
            signals=daily.signals[entity],
            existing=daily.existing(entity, of.day),
            points=points,
            days=days,
            compared=daily.compare(entity, of.day, block),
            counts=counts,
            users=users,
        )

    def _prepare(
        self, last: int, first: int
    ) -> tuple[CompiledProfile, dict[str, compiled_audiences.CompiledAudiences]]:
        """Count what the days need, and compile the audiences for the last of them."""
        filtering = self._filtering()
        need = self._reach(first)
        counts = self.session.counts
        counts.count_days(need, self.session.last)
        parts = [part for audience in self.custom for _, part in condition_types.walk(audience.condition)]
        named = {
            name for part in parts if isinstance(part, condition_types.Events) for name in part.names or ()
        }
        counts.number_events(named - event_names(self.profile), self.session.last)
        compiled = {entity: self._compile(entity, last) for entity in ENTITIES}
        measures = {
            measure for entity in ENTITIES for measure in self._measures(compiled, entity)
        } | filtering
        # The filter applies on every day that is scored or measured, audiences on the last one only.
        back = [last - each.old.days + 1 for each in measures if each.old is not None and each.old.days]
        back += [need - each.old.days for each in filtering if each.old is not None and each.old.days]
        if back and min(back) < need:
            counts.count_days(min(back), self.session.last)
        asked = {measure.events for measure in measures if measure.old is None and not measure.from_events}
        return CompiledProfile(
            self.profile, tuple(sorted(asked, key=lambda each: (each is None, each or ())))
        ), compiled

    def _reach(self, first: int) -> int:
        """The first day whose events the scores of a day, and of the days before it, may need."""
        profile = self.profile
        reach = max(TREND, profile.window) + SMOOTHING_DAYS + profile.window
        if profile.levels.churn:
            learning = (
                churn_levels.TRAINING_WEEKS * 7
                + 4 * 7
                + 2 * churn_levels.CHURN_DAYS
                + max(churn_levels.CHURN_DAYS, profile.window)
            )
            reach = max(reach, max(TREND, profile.window) + learning)
        need = first - reach
        if profile.benchmark.day is not None:
            need = min(need, calendar.day_number(profile.benchmark.day) - profile.window)
        return need

    def _scores(self, plan: CompiledProfile) -> DailyScores:
        return DailyScores(self.session, self.name, plan, self.histories(), self.stored, self._file)

    @property
    def version(self) -> str:
        """The version in the files of snapshots and history of the profile as it is now."""
        return f"{self.profile.version} {self.session.workspace.time_zone.key}"

    def histories(self) -> dict[str, History]:
        """The histories by entity, as far as they are stored."""
        folder = self.session.workspace.state / "history" / self.name
        found = {
            entity: History(folder / entity, self.version, self.profile.levels.names) for entity in ENTITIES
        }
        if self.stored:
            for each in found.values():
                each.load()
        return found

    def _compile(self, entity: str, day: int) -> compiled_audiences.CompiledAudiences:
        try:
            return compiled_audiences.compile_audiences(
                groups.all_audiences(self.profile, entity, self.custom), self._scope(entity, day)
            )
        except compiled_audiences.AudienceError as error:
            place = error.audience.place_of(error.problem.route) or self._file
            raise ConfigurationError(f"{place}: `{error.audience.key}`: {error}") from error

    def _scope(self, entity: str, day: int) -> condition_sql.Scope:
        con = self.session.connection
        events = frozenset(name for (name,) in con.execute(f"SELECT id FROM {IDS['event']}").fetchall())
        return condition_sql.Scope(
            profile=self.profile,
            entity=entity,
            day=day,
            zone=self.session.workspace.time_zone,
            columns=self.session.traits.columns,
            traits=condition_sql.TRAITS[entity],
            audiences={
                each.key: each.condition for each in groups.all_audiences(self.profile, entity, self.custom)
            },
            events=events | event_names(self.profile),
            users=self._scope("user", day) if entity == "account" else None,
        )

    def _measures(
        self, compiled: dict[str, compiled_audiences.CompiledAudiences], entity: str
    ) -> frozenset[EventCount]:
        """The measures of the entity's audiences; of users also those of accounts that count users."""
        own = {measure for _, each in compiled[entity].audiences for measure in each.measures}
        if entity == "user":
            for each in compiled["account"].counting.values():
                own |= each.measures
        return frozenset(own)

    def _note_doubts(
        self,
        entity: str,
        members: compiled_audiences.CompiledAudiences,
        day: snapshot_rows.SnapshotDay,
        rows: snapshot_rows.EntityRows,
    ) -> None:
        """Note how many entities lack a trait whose absence may decide otherwise than was meant."""
        for audience, found in members.audiences:
            for missing, sentence in found.warnings if audience.custom else ():
                beside = snapshot_rows.trait_joins(day, entity, found.tables, rows.counts)
                row = self.session.connection.execute(
                    f"SELECT count(*) FROM {rows.full} r {beside} WHERE {missing}"
                ).fetchone()
                if row is not None and row[0]:
                    self.notes.append(
                        f"{audience.place}: `{audience.key}`: {sentence.replace('{count}', str(row[0]))}"
                    )

    def _note_fallback(self, entity: str, bounds: churn_levels.LevelBounds | None) -> None:
        """Note where levels could not be learned."""
        if bounds is not None and bounds.fallback:
            self.notes.append(
                f"{self._file}: the levels of {entity}s use a fallback: too few of them left or stayed to learn from,"
                f" or their scores hardly predict leaving (an AUC below {float(churn_levels.MIN_AUC):.2f})"
            )

    def _filtering(self) -> frozenset[EventCount]:
        """The measures of the filter. Raises ConfigurationError where the filter does not fit the data."""
        found: set[EventCount] = set()
        if self.profile.filter is None:
            return frozenset()
        for entity in ENTITIES:
            scope = condition_sql.Scope(
                self.profile,
                entity,
                self.session.last,
                self.session.workspace.time_zone,
                self.session.traits.columns,
                {},
                {},
                None,
            )
            try:
                found |= condition_sql.compile_condition(self.profile.filter, scope).measures
            except condition_sql.ConditionError as error:
                raise ConfigurationError(f"{self._file}: `filter`: {error}") from error
        return frozenset(found)

    @property
    def _file(self) -> str:
        return f"mappings/profiles/{self.name}.yml"

    def _write(self, entity: str, day: int, rows: Relation) -> Snapshot:
        when = calendar.day_of(day)
        path = self.session.workspace.snapshot_path(self.name, entity, when)
        words = {"version": self.version}
        own = {
            each.key: str(groups.audience_version(each.key, entity, self.custom))
            for each in self.custom
            if each.entity == entity
        }
        if own:
            words["audiences"] = json.dumps(own, sort_keys=True)
        query = f"SELECT * FROM {rows} ORDER BY {entity}_id"
        count = write_parquet(self.session.connection, query, path, words)
        return Snapshot(self.name, entity, when, count, path, self.profile.version)

    def _written(self, entity: str, day: int) -> Snapshot:
        """A snapshot that is already stored."""
        when = calendar.day_of(day)
        path = self.session.workspace.snapshot_path(self.name, entity, when)
        rows = pq.read_metadata(path).num_rows
        return Snapshot(self.name, entity, when, rows, path, self.profile.version)
