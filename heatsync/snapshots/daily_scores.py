"""The scores and levels of a profile, day by day: of the days before a snapshot, and of its own day."""

from collections.abc import Sequence
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
from heatsync.scoring.compute.arrow import take
from heatsync.scoring.compute.churn_levels import Bounds
from heatsync.scoring.compute.compiled_profile import Plan
from heatsync.scoring.compute.scores import Having
from heatsync.scoring.compute.signal_values import signal_values
from heatsync.scoring.compute.weighting import ENTITIES
from heatsync.snapshots import event_queries
from heatsync.snapshots.churn_training import ChurnTraining
from heatsync.snapshots.day_benchmarks import DayBenchmarks
from heatsync.snapshots.history_files import History, Values, kept
from heatsync.snapshots.profile_filter import ProfileFilter
from heatsync.snapshots.session import Session
from heatsync.snapshots.window_totals import WindowTotals


@dataclass(slots=True)
class DailyScores:
    """The scores of a profile in a session. `histories` are those of its entities; only with `stored` are they written.
    `where` is the profile's file, for messages."""

    session: Session
    name: str
    plan: Plan
    histories: dict[str, History]
    stored: bool
    where: str
    filter: ProfileFilter = field(init=False)
    totals: WindowTotals = field(init=False)
    benchmarks: DayBenchmarks = field(init=False)
    default: level_history.Rest = field(init=False)
    """The score and level of an entity that exists and has no row on a day."""
    signals: dict[str, list[Having]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.filter = ProfileFilter(self.session, self.plan.profile, self.name)
        self.totals = WindowTotals(self.session, self.plan, self.filter)
        self.benchmarks = DayBenchmarks(self.totals, self.histories, self.where)

    def score_up_to(self, day: int, compared: int) -> list[int]:
        """Score a day, and those of the `compared` days before it that are not stored. Returns the days that were
        scored, which follow each other. Raises ConfigurationError."""
        for each in self.histories.values():
            each.drop_unreadable(
                self.session.connection, [day - 1, day - snapshot_rows.TREND, day - self.plan.profile.window]
            )
        missing = [
            each
            for each in range(day - compared, day)
            if any(each not in self.histories[entity].days for entity in ENTITIES)
        ]
        block = list(range(min([*missing, day]), day + 1))
        self._prepare(day)
        self._score_range(block, [])
        if self.stored:
            for entity in ENTITIES:
                hysteresis = self.plan.profile.levels.hysteresis
                self.histories[entity].add(self.session.connection, entity, block, hysteresis)
                self.histories[entity].save_benchmarks()
        return block

    def score_days(self, days: Sequence[int]) -> None:
        """`user_scores` and `account_scores` of some days: key (text), day, account_id, active, raw, nano, score, level.

        Nothing of it is stored. Raises ConfigurationError.
        """
        for entity in ENTITIES:
            self.session.connection.execute(
                f"CREATE OR REPLACE TEMP TABLE {entity}_scores (key VARCHAR, day BIGINT, account_id VARCHAR,"
                " active BOOLEAN, raw HUGEINT, nano BIGINT, score BIGINT, level VARCHAR)"
            )
        self._prepare(days[-1])
        self._score_range([], list(days))

    def used_benchmarks(self, day: int) -> dict[str, Values]:
        """The benchmarks that the scores of a day were measured against, by entity and part."""
        return {entity: self.histories[entity].used.get(day, {}) for entity in ENTITIES}

    def bounds_on(self, entity: str, day: int) -> Bounds | None:
        """The bounds of learned levels in force on a day that was scored; None where levels are not learned."""
        return self.histories[entity].level_bounds.get(churn_levels.estimate_days(day)[-1])

    def compare(self, entity: str, day: int, block: Sequence[int]) -> None:
        """`{entity}_level` (key, level: by name), `{entity}_month` and `{entity}_earlier` (key, score: 30 days and one
        window ago), and `{entity}_changes` (key as text, day, level_before, level: every move that is kept)."""
        con = self.session.connection
        default = "NULL" if self.default.level is None else str(self.default.level)
        con.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE {entity}_level AS
            SELECT b.key, CASE CASE WHEN l.key IS NULL THEN {default} ELSE l.level END {self._level_names()} END AS level
            FROM {entity}_base b LEFT JOIN {entity}_long l ON l.key = b.key AND l.day = {day}
            """
        )
        for name, back in (("month", snapshot_rows.TREND), ("earlier", self.plan.profile.window)):
            self._earlier_scores(entity, f"{entity}_{name}", day - back, block)
        workspace = self.session.workspace
        back = kept(workspace.history_days, self.plan.profile, workspace.audiences.get(self.name, ()))
        moves = self.histories[entity].moves_query(day - back, day, block)
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE {entity}_changes AS"
            f" SELECT id AS key, day, level_before, level FROM {entity}_moves JOIN {entity}_ids ON no = key"
            f" UNION ALL SELECT id AS key, day, level_before, level FROM ({moves})"
        )

    def _earlier_scores(self, entity: str, table: str, then: int, block: Sequence[int]) -> None:
        """Create `table` (key, score) of an earlier day: from the days at hand, or from the history."""
        if then in block:
            found = f"SELECT key, score FROM {entity}_long WHERE day = {then}"
        else:
            query = self.histories[entity].score_query(then)
            found = (
                "SELECT NULL::INTEGER AS key, NULL::BIGINT AS score WHERE false"
                if query is None
                else f"SELECT no AS key, score FROM ({query}) JOIN {entity}_ids USING (id)"
            )
        score = (
            "f.score"
            if not self.default.known or self.default.score is None
            else f"coalesce(f.score, {self.default.score})"
        )
        existed = f"b.day <= {then}" if self.default.known else "true"
        self.session.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT b.key, {score}::BIGINT AS score"
            f" FROM {entity}_born b LEFT JOIN ({found}) f ON f.key = b.key WHERE {existed}"
        )

    def _level_names(self) -> str:
        """SQL: the cases from the place of a level to its name."""
        return " ".join(
            f"WHEN {place} THEN '{scores.quoted(name)}'"
            for place, name in enumerate(self.plan.profile.levels.names)
        )

    def _prepare(self, day: int) -> None:
        """The entities that exist on the last day, and everything that is the same on all days."""
        con, zone = self.session.connection, self.session.workspace.time_zone
        self.totals.prepare(day)
        take(
            con,
            "local_days",
            calendar.bounds(calendar.day_of(self._first_day(day)), calendar.day_of(day), zone),
        )
        try:
            entities.listed(con, self.plan, self.session.traits)
        except ValueError as error:
            raise ConfigurationError(f"{self.where}: `activation`: {error}") from error
        try:
            self.signals = signal_values(con, self.plan.profile, self.session.traits.columns)
        except ValueError as error:
            raise ConfigurationError(f"{self.where}: `signals`: {error}") from error
        self.totals.place_users([day])
        event_queries.accumulate(self.session.counts, self.plan, self.name, day, "life")
        entities.lay_out(con, self.plan, calendar.start(calendar.day_of(day + 1), zone))

    def _first_day(self, day: int) -> int:
        """The first local day that anything happened on, up to `day`."""
        starts, zone = [day], self.session.workspace.time_zone
        if self.session.created_first is not None:
            created = max(self.session.created_first, datetime(1900, 1, 2))
            starts.append(calendar.number(calendar.local_day(created, zone)))
        if self.session.counts.first_day is not None:
            starts.append(self.session.counts.first_day)
        return min(starts)

    def _score_range(self, block: list[int], alone: list[int]) -> None:
        """Score days from the first that anything needs to the last: those of `block` follow each other and enter the
        history, those of `alone` are kept by themselves."""
        con, profile = self.session.connection, self.plan.profile
        wanted = sorted({*block, *alone})
        for entity in ENTITIES:
            level_history.begin(con, entity)
            if block and self._is_stored(entity, block[0] - 1):
                self._restore(entity, block[0] - 1)
        needed = self.benchmarks.days_to_measure(wanted)
        training = ChurnTraining(self.totals, self.histories) if profile.levels.churn else None
        observed = [] if training is None else training.days(wanted)
        self.filter.prepare(self.plan, min([*needed, *wanted, *observed]), wanted[-1], self.totals.users_move)
        if needed:
            needed = sorted({*needed, *self.benchmarks.earlier_days(needed, wanted[-1])})
        self.default = level_history.rest(profile, self.filter.varies_by_day)
        if training is not None:
            training.learn(wanted)
        frozen = self.benchmarks.frozen_day
        if frozen is not None and frozen in needed:
            # The days before it are measured against it too.
            for chunk in self.totals.chunks([day for day in needed if day <= frozen]):
                self.totals.add_up(chunk)
                self.benchmarks.measure(chunk)
            needed = [day for day in needed if day > frozen]
        for chunk in self.totals.chunks(sorted({*needed, *wanted})):
            self.totals.add_up(chunk)
            self.benchmarks.measure(chunk)
            scored = [day for day in chunk if day in wanted]
            if scored:
                self._score(scored, block)
                self._keep_scores([day for day in scored if day in alone])
        self._keep_only(wanted[-1])

    def _keep_only(self, day: int) -> None:
        """Leave only the last day in the tables, and the entities that pass the filter on it."""
        con = self.session.connection
        self.filter.keep_day(day)
        for entity in ENTITIES:
            con.execute(f"DELETE FROM {entity}_scored WHERE day <> {day}")
            if self.plan.model == "kpi":
                con.execute(f"DELETE FROM {entity}_normal WHERE day <> {day}")
            if self.plan.profile.filter is not None:
                for table in ("base", "born"):
                    con.execute(
                        f"DELETE FROM {entity}_{table} WHERE key NOT IN (SELECT key FROM {entity}_passing)"
                    )
            con.execute(
                f"CREATE OR REPLACE TEMP VIEW {entity}_existing AS SELECT key FROM {entity}_born WHERE day <= {day}"
            )

    def _score(self, days: Sequence[int], block: Sequence[int]) -> None:
        con, plan = self.session.connection, self.plan
        for entity in ENTITIES:
            passing = self.filter.semi_join(entity)
            history = self.histories[entity]
            used = self.benchmarks.used(entity, days)
            history.used.update(used)
            scores.score(con, plan, entity, used, self.signals[entity], passing)
            bounds: dict[int, Bounds] = {}
            if plan.profile.levels.churn:
                bounds = {day: history.level_bounds[churn_levels.estimate_days(day)[-1]] for day in days}
                level_history.see(con, entity, days, plan.profile.passive, passing)
            follows = [
                day for day in days if day in block and (day - 1 in block or self._is_stored(entity, day - 1))
            ]
            existing = scores.existing(entity, days, passing)
            of = level_history.Remembered(plan, entity, days, existing, follows, self.default, bounds)
            level_history.remember(con, of)
            level_history.move(con, of)

    def _keep_scores(self, days: Sequence[int]) -> None:
        """Add days to `user_scores` and `account_scores`."""
        if not days:
            return
        for entity in ENTITIES:
            account = "h.id" if entity == "user" else "NULL"
            home = (
                "LEFT JOIN placement p ON p.user_no = l.key LEFT JOIN account_ids h ON h.no = p.account_no"
                if entity == "user"
                else ""
            )
            self.session.connection.execute(
                f"INSERT INTO {entity}_scores SELECT i.id, l.day, {account}, coalesce(s.active, false), s.raw,"
                f" coalesce(s.nano, 0), l.score, CASE l.level {self._level_names()} END"
                f" FROM {entity}_long l JOIN {entity}_ids i ON i.no = l.key"
                f" LEFT JOIN {entity}_scored s ON s.key = l.key AND s.day = l.day {home}"
                f" WHERE l.day IN ({', '.join(map(str, days))})"
            )

    def _is_stored(self, entity: str, day: int) -> bool:
        return self.histories[entity].file_of(day) is not None

    def _restore(self, entity: str, day: int) -> None:
        """Take the scores and levels of a stored day into `{entity}_long`."""
        con, stored = self.session.connection, self.histories[entity].score_query(day)
        fitting = ", fitting" if self.plan.profile.levels.hysteresis else ""
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE recalled AS SELECT no AS key, {day} AS day, h.* EXCLUDE (id)"
            f" FROM ({stored}) h JOIN {entity}_ids USING (id)"
        )
        con.execute(f"INSERT INTO {entity}_long BY NAME SELECT key, day, score, level{fitting} FROM recalled")
