"""The scores and levels of a profile, day by day: of the days before a snapshot, and of its own day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from connectors.errors import ConfigurationError
from heatsync.scoring.compute import (
    calendar,
    churn_levels,
    entities,
    level_history,
    scores,
    snapshot_rows,
)
from heatsync.scoring.compute.arrow import load_arrow
from heatsync.scoring.compute.churn_levels import LevelBounds
from heatsync.scoring.compute.compiled_profile import CompiledProfile
from heatsync.scoring.compute.condition_sql import level_changes_table
from heatsync.scoring.compute.entities import Entities
from heatsync.scoring.compute.level_history import LevelTables
from heatsync.scoring.compute.relations import Relation, create_empty, create_table, create_view
from heatsync.scoring.compute.scores import (
    EntityTotals,
    ExistingEntities,
    ScoreInputs,
    ScoreTables,
    SignalValue,
)
from heatsync.scoring.compute.signal_values import signal_values
from heatsync.scoring.compute.weighting import ENTITIES
from heatsync.snapshots import event_queries
from heatsync.snapshots.churn_training import ChurnTraining
from heatsync.snapshots.daily_counts import IDS
from heatsync.snapshots.day_benchmarks import DayBenchmarks
from heatsync.snapshots.history_files import History, Values, history_days
from heatsync.snapshots.profile_filter import ProfileFilter
from heatsync.snapshots.session import Session
from heatsync.snapshots.window_totals import WindowTotals


@dataclass(slots=True)
class DailyScores:
    """The scores of a profile in a session. `histories` are those of its entities; only with `stored` are they written.
    `where` is the profile's file, for messages."""

    session: Session
    name: str
    plan: CompiledProfile
    histories: dict[str, History]
    stored: bool
    where: str
    filter: ProfileFilter = field(init=False)
    totals: WindowTotals = field(init=False)
    benchmarks: DayBenchmarks = field(init=False)
    default: level_history.DefaultScore = field(init=False)
    """The score and level of an entity that exists and has no row on a day."""
    signals: dict[str, list[SignalValue]] = field(default_factory=dict)
    """By entity."""
    entities: dict[str, Entities] = field(default_factory=dict)
    """By entity, as of the last day; after `score_up_to` and `score_days` only those that pass the filter."""
    scored: dict[str, ScoreTables] = field(default_factory=dict)
    """By entity; after `score_up_to` and `score_days` of the last day only."""
    levels: dict[str, LevelTables] = field(default_factory=dict)
    """By entity: the days that were scored together."""
    local_days: Relation = field(init=False)
    life: Relation = field(init=False)
    """event_queries.accumulate, by the end of the last day."""

    def __post_init__(self) -> None:
        self.filter = ProfileFilter(self.session, self.plan.profile, self.name)
        self.totals = WindowTotals(self.session, self.plan, self.filter)
        self.benchmarks = DayBenchmarks(self.totals, self.histories, self.where)

    def score_up_to(self, day: int, compared: int) -> list[int]:
        """Score a day, and those of the `compared` days before it that are not stored. Returns the days that were
        scored, which follow each other. Raises ConfigurationError."""
        for each in self.histories.values():
            each.drop_unreadable(
                self.session.connection,
                [day - 1, day - snapshot_rows.TREND_DAYS, day - self.plan.profile.window],
            )
        missing = [
            each
            for each in range(day - compared, day)
            if any(each not in self.histories[entity].days for entity in ENTITIES)
        ]
        block = list(range(min([*missing, day]), day + 1))
        self._prepare(day)
        self._score_range(block, [], {})
        if self.stored:
            for entity in ENTITIES:
                hysteresis = self.plan.profile.levels.hysteresis
                self.histories[entity].add(
                    self.session.connection, self.levels[entity], IDS[entity], block, hysteresis
                )
                self.histories[entity].save_benchmarks()
        return block

    def score_days(self, days: Sequence[int]) -> dict[str, Relation]:
        """By entity, the scores of some days: key (text), day, account_id (of users), active, raw, nano, score, level (by
        name). Nothing of it is stored. Raises ConfigurationError."""
        self._prepare(days[-1])
        kept = {
            entity: create_empty(
                self.session.connection,
                f"{entity}_scores",
                key="VARCHAR",
                day="BIGINT",
                account_id="VARCHAR",
                active="BOOLEAN",
                raw="HUGEINT",
                nano="BIGINT",
                score="BIGINT",
                level="VARCHAR",
            )
            for entity in ENTITIES
        }
        self._score_range([], list(days), kept)
        return kept

    def used_benchmarks(self, day: int) -> dict[str, Values]:
        """The benchmarks that the scores of a day were measured against, by entity and part."""
        return {entity: self.histories[entity].used.get(day, {}) for entity in ENTITIES}

    def bounds_on(self, entity: str, day: int) -> LevelBounds | None:
        """The bounds of learned levels in force on a day that was scored; None where levels are not learned."""
        return self.histories[entity].level_bounds.get(churn_levels.estimate_days(day)[-1])

    @property
    def counts(self) -> event_queries.Counts:
        """The daily counts as this profile looks at them."""
        return event_queries.Counts(self.session.counts, self.plan, self.name, self.totals.by_properties)

    def included(self, entity: str) -> Relation | None:
        """key of the entities that pass the filter on the last day; None without a filter."""
        return self.filter.included.get(entity)

    def existing(self, entity: str, day: int) -> Relation:
        """`{entity}_existing`: key of the entities that exist on a day."""
        query = f"SELECT key FROM {self.entities[entity].born} WHERE day <= {day}"
        return create_view(self.session.connection, f"{entity}_existing", ("key",), query)

    def compare(self, entity: str, day: int, block: Sequence[int]) -> snapshot_rows.EarlierScores:
        """What a day is compared with; `block` are the days that were scored together with it."""
        con, long = self.session.connection, self.levels[entity].daily
        default = "NULL" if self.default.level is None else str(self.default.level)
        level = create_table(
            con,
            f"{entity}_level",
            ("key", "level"),
            f"""
            SELECT b.key, CASE CASE WHEN l.key IS NULL THEN {default} ELSE l.level END {self._level_names()} END AS level
            FROM {self.entities[entity].base} b LEFT JOIN {long} l ON l.key = b.key AND l.day = {day}
            """,
        )
        month = self._earlier_scores(entity, f"{entity}_month", day - snapshot_rows.TREND_DAYS, block)
        earlier = self._earlier_scores(entity, f"{entity}_earlier", day - self.plan.profile.window, block)
        workspace = self.session.workspace
        back = history_days(workspace.history_days, self.plan.profile, workspace.audiences.get(self.name, ()))
        moves = self.histories[entity].moves_query(day - back, day, block)
        changes = create_table(
            con,
            level_changes_table(entity),
            ("key", "day", "level_before", "level"),
            f"SELECT id AS key, day, level_before, level FROM {self.levels[entity].changes} JOIN {IDS[entity]} ON no = key"
            f" UNION ALL SELECT id AS key, day, level_before, level FROM ({moves})",
        )
        return snapshot_rows.EarlierScores(level, month, earlier, changes)

    def _earlier_scores(self, entity: str, table: str, then: int, block: Sequence[int]) -> Relation:
        """`table` (key, score) of an earlier day: from the days at hand, or from the history."""
        if then in block:
            found = f"SELECT key, score FROM {self.levels[entity].daily} WHERE day = {then}"
        else:
            query = self.histories[entity].score_query(then)
            found = (
                "SELECT NULL::INTEGER AS key, NULL::BIGINT AS score WHERE false"
                if query is None
                else f"SELECT no AS key, score FROM ({query}) JOIN {IDS[entity]} USING (id)"
            )
        score = (
            "f.score"
            if not self.default.known or self.default.score is None
            else f"coalesce(f.score, {self.default.score})"
        )
        existed = f"b.day <= {then}" if self.default.known else "true"
        return create_table(
            self.session.connection,
            table,
            ("key", "score"),
            f"SELECT b.key, {score}::BIGINT AS score FROM {self.entities[entity].born} b"
            f" LEFT JOIN ({found}) f ON f.key = b.key WHERE {existed}",
        )

    def _level_names(self) -> str:
        """SQL: the cases from the place of a level to its name."""
        return " ".join(
            f"WHEN {place} THEN '{scores.escape_quotes(name)}'"
            for place, name in enumerate(self.plan.profile.levels.names)
        )

    def _prepare(self, day: int) -> None:
        """The entities that exist on the last day, and everything that is the same on all days."""
        con, zone, traits = self.session.connection, self.session.workspace.time_zone, self.session.traits
        self.totals.prepare(day)
        bounds = calendar.day_bounds(calendar.day_of(self._first_day(day)), calendar.day_of(day), zone)
        self.local_days = load_arrow(con, "local_days", bounds)
        try:
            listed = entities.listed_entities(con, self.plan, traits, IDS)
        except ValueError as error:
            raise ConfigurationError(f"{self.where}: `activation`: {error}") from error
        try:
            self.signals = signal_values(con, self.plan.profile, traits, IDS)
        except ValueError as error:
            raise ConfigurationError(f"{self.where}: `signals`: {error}") from error
        self.totals.place_users([day])
        self.life = event_queries.accumulate(self.counts, day, "life")
        lives = entities.EntityInputs(self.life, listed, self.totals.placed, self.local_days)
        end = calendar.day_start(calendar.day_of(day + 1), zone)
        self.entities = entities.build_entities(con, self.plan, end, lives)

    def _first_day(self, day: int) -> int:
        """The first local day that anything happened on, up to `day`."""
        starts, zone = [day], self.session.workspace.time_zone
        if self.session.created_first is not None:
            created = max(self.session.created_first, datetime(1900, 1, 2))
            starts.append(calendar.day_number(calendar.local_day(created, zone)))
        if self.session.counts.first_day is not None:
            starts.append(self.session.counts.first_day)
        return min(starts)

    def _score_range(self, block: list[int], alone: list[int], kept: Mapping[str, Relation]) -> None:
        """Score days from the first that anything needs to the last: those of `block` follow each other and enter the
        history, those of `alone` are added to `kept`."""
        con, profile, last = self.session.connection, self.plan.profile, max([*block, *alone])
        wanted = sorted({*block, *alone})
        for entity in ENTITIES:
            self.levels[entity] = level_history.create_level_tables(con, entity)
            if block and self._is_stored(entity, block[0] - 1):
                self._restore(entity, block[0] - 1)
        needed = self.benchmarks.days_to_measure(wanted)
        training = ChurnTraining(self.totals, self.histories) if profile.levels.churn else None
        observed = [] if training is None else training.days(wanted)
        self.totals.prepare_filter(min([*needed, *wanted, *observed]), last, self.entities)
        if needed:
            needed = sorted({*needed, *self.benchmarks.earlier_days(needed, last, self.entities)})
        self.default = level_history.default_score(profile, self.filter.varies_by_day)
        if training is not None:
            training.learn(wanted)
        frozen = self.benchmarks.frozen_day
        if frozen is not None and frozen in needed:
            # The days before it are measured against it too.
            for chunk in self.totals.chunks([day for day in needed if day <= frozen]):
                self.benchmarks.measure(chunk, self.totals.add_up(chunk))
            needed = [day for day in needed if day > frozen]
        for chunk in self.totals.chunks(sorted({*needed, *wanted})):
            totals = self.totals.add_up(chunk)
            self.benchmarks.measure(chunk, totals)
            scored = [day for day in chunk if day in wanted]
            if scored:
                self._score(scored, block, totals)
                for entity, table in kept.items():
                    self._keep_scores(entity, [day for day in scored if day in alone], table)
        self._keep_only(last)

    def _keep_only(self, day: int) -> None:
        """Leave only the last day in the tables, and the entities that pass the filter on it."""
        con = self.session.connection
        self.filter.keep_day(day)
        for entity in ENTITIES:
            con.execute(f"DELETE FROM {self.scored[entity].scores} WHERE day <> {day}")
            if self.scored[entity].normal is not None:
                con.execute(f"DELETE FROM {self.scored[entity].normal} WHERE day <> {day}")
            included = self.included(entity)
            if included is not None:
                for table in (self.entities[entity].base, self.entities[entity].born):
                    con.execute(f"DELETE FROM {table} WHERE key NOT IN (SELECT key FROM {included})")

    def _score(self, days: Sequence[int], block: Sequence[int], totals: Mapping[str, EntityTotals]) -> None:
        con, plan, placed = self.session.connection, self.plan, self.totals.placed
        for entity in ENTITIES:
            included, born = self.filter.semi_join(entity), self.entities[entity].born
            history = self.histories[entity]
            used = self.benchmarks.used(entity, days, totals[entity])
            history.used.update(used)
            scoring = ScoreInputs(
                plan,
                entity,
                totals[entity],
                ExistingEntities(born, placed.placement),
                self.signals[entity],
                included,
                self.scored["user"] if entity == "account" else None,
            )
            self.scored[entity] = scores.compute_scores(con, scoring, used)
            bounds: dict[int, LevelBounds] = {}
            seen: Relation | None = None
            if plan.profile.levels.churn:
                bounds = {day: history.level_bounds[churn_levels.estimate_days(day)[-1]] for day in days}
                seen = level_history.seen_entities(con, entity, placed, days, plan.profile.passive, included)
            follows = [
                day for day in days if day in block and (day - 1 in block or self._is_stored(entity, day - 1))
            ]
            of = level_history.LevelInputs(
                plan=plan,
                days=days,
                levels=self.levels[entity],
                scored=self.scored[entity].scores,
                seen=seen,
                born=born,
                existing=scores.existing_entities(born, days, included),
                continued_days=follows,
                default=self.default,
                bounds=bounds,
            )
            level_history.add_levels(con, of)
            level_history.add_level_changes(con, of)

    def _keep_scores(self, entity: str, days: Sequence[int], table: Relation) -> None:
        """Add the scores of days to a table of `score_days`."""
        if not days:
            return
        account, home = "NULL", ""
        if entity == "user":
            account = "h.id"
            home = (
                f"LEFT JOIN {self.totals.placed.placement} p ON p.user_no = l.key"
                f" LEFT JOIN {IDS['account']} h ON h.no = p.account_no"
            )
        self.session.connection.execute(
            f"INSERT INTO {table} SELECT i.id, l.day, {account}, coalesce(s.active, false), s.raw,"
            f" coalesce(s.nano, 0), l.score, CASE l.level {self._level_names()} END"
            f" FROM {self.levels[entity].daily} l JOIN {IDS[entity]} i ON i.no = l.key"
            f" LEFT JOIN {self.scored[entity].scores} s ON s.key = l.key AND s.day = l.day {home}"
            f" WHERE l.day IN ({', '.join(map(str, days))})"
        )

    def _is_stored(self, entity: str, day: int) -> bool:
        return self.histories[entity].file_of(day) is not None

    def _restore(self, entity: str, day: int) -> None:
        """Take the scores and levels of a stored day into `{entity}_long`."""
        con, stored = self.session.connection, self.histories[entity].score_query(day)
        fitting = ", fitting" if self.plan.profile.levels.hysteresis else ""
        con.execute(
            f"INSERT INTO {self.levels[entity].daily} BY NAME SELECT no AS key, {day} AS day, score, level{fitting}"
            f" FROM ({stored}) h JOIN {IDS[entity]} USING (id)"
        )
