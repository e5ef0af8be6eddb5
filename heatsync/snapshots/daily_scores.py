"""A profile day by day: benchmarks, scores and levels of the days before a snapshot, and of its own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from connectors.errors import ConfigurationError
from heatsync.scoring.compute import (
    benchmarks,
    calendar,
    churn_levels,
    entities,
    level_history,
    scores,
    snapshot_rows,
    weighting,
)
from heatsync.scoring.compute.arrow import take
from heatsync.scoring.compute.churn_levels import Bounds
from heatsync.scoring.compute.compiled_profile import NANO, Plan
from heatsync.scoring.compute.event_counts import Measure
from heatsync.scoring.compute.scores import Having
from heatsync.scoring.compute.weighting import ENTITIES
from heatsync.scoring.definition.value_types import suggest
from heatsync.snapshots.churn_training import ChurnTraining
from heatsync.snapshots.history_files import History, Values, kept
from heatsync.snapshots.profile_filter import ProfileFilter, counted
from heatsync.snapshots.session import Session

PERCENTILE, CAP = 18, 19
"""In twentieths: the 90th is the benchmark, and at the 95th `pooled` caps a user."""
ROWS = 30_000_000
"""So many rows may be in hand at once: days with few are taken together."""


@dataclass(slots=True)
class DailyScores:
    """What is computed stays in tables of `home`, named in scoring.worth, scores and history."""

    session: Session
    name: str
    plan: Plan
    histories: dict[str, History]
    stored: bool
    where: str
    passing: ProfileFilter = field(init=False)
    rests: level_history.Rest = field(init=False)
    signals: dict[str, list[Having]] = field(default_factory=dict)
    moved: frozenset[int] | None = None
    """The days on which somebody came into another account; None: nobody ever does."""
    together: int = 1
    """How many days are taken together."""
    weighed: set[str] = field(default_factory=set)
    placed: int | None = None
    """The last of the days for which the placement at home is."""

    def __post_init__(self) -> None:
        home = self.session.connection
        self.passing = ProfileFilter(self.session, self.plan.profile, self.name)
        take(home, "named_things", self.plan.named())
        home.execute(
            "CREATE OR REPLACE TEMP TABLE thing_events AS SELECT no AS event_no, thing, weight, per_day"
            " FROM named_things JOIN event_ids ON id = event"
        )

    # -- the days of a snapshot

    def reach(self, day: int, compared: int) -> list[int]:
        """Bring the history up to a day, which is computed anew; answers the days that were computed."""
        for each in self.histories.values():
            each.check(
                self.session.connection, [day - 1, day - snapshot_rows.TREND, day - self.plan.profile.window]
            )
        missing = [
            each
            for each in range(day - compared, day)
            if any(each not in self.histories[entity].days for entity in ENTITIES)
        ]
        block = list(range(min([*missing, day]), day + 1))
        self._settle(day)
        self._days(block, [])
        if self.stored:
            for entity in ENTITIES:
                hysteresis = self.plan.profile.levels.hysteresis
                self.histories[entity].add(self.session.connection, entity, block, hysteresis)
                self.histories[entity].keep()
        return block

    def finish(self, day: int) -> dict[str, Values]:
        """The benchmarks that the scores of a day were measured against, by entity and part."""
        return {entity: self.histories[entity].used.get(day, {}) for entity in ENTITIES}

    def learnt_on(self, entity: str, day: int) -> Bounds | None:
        """The bounds of learnt levels in force on a day that was scored; None where levels are not learnt."""
        return self.histories[entity].learnt.get(churn_levels.estimate_days(day)[-1])

    def compare(self, entity: str, day: int, block: Sequence[int]) -> None:
        """`{entity}_level`, `_month`, `_earlier` and `_changes` of a day."""
        home, names = self.session.connection, self.plan.profile.levels.names
        cases = " ".join(f"WHEN {place} THEN '{scores.quoted(name)}'" for place, name in enumerate(names))
        resting = "NULL" if self.rests.level is None else str(self.rests.level)
        home.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE {entity}_level AS
            SELECT b.key, CASE CASE WHEN l.key IS NULL THEN {resting} ELSE l.level END {cases} END AS level
            FROM {entity}_base b LEFT JOIN {entity}_long l ON l.key = b.key AND l.day = {day}
            """
        )
        for name, back in (("month", snapshot_rows.TREND), ("earlier", self.plan.profile.window)):
            then = day - back
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
                if not self.rests.known or self.rests.score is None
                else f"coalesce(f.score, {self.rests.score})"
            )
            there = f"b.day <= {then}" if self.rests.known else "true"
            home.execute(
                f"CREATE OR REPLACE TEMP TABLE {entity}_{name} AS SELECT b.key, {score}::BIGINT AS score"
                f" FROM {entity}_born b LEFT JOIN ({found}) f ON f.key = b.key WHERE {there}"
            )
        workspace = self.session.workspace
        back = kept(workspace.keep, self.plan.profile, workspace.audiences.get(self.name, ()))
        moves = self.histories[entity].moves_query(day - back, day, block)
        home.execute(
            f"CREATE OR REPLACE TEMP TABLE {entity}_changes AS"
            f" SELECT id AS key, day, level_before, level FROM {entity}_moves JOIN {entity}_ids ON no = key"
            f" UNION ALL SELECT id AS key, day, level_before, level FROM ({moves})"
        )

    def count(self, day: int, measures: Mapping[str, Sequence[Measure] | frozenset[Measure]]) -> None:
        """`{entity}_counts`: key, and per measure how many events, of everybody in the base."""
        home, zone = self.session.connection, self.session.workspace.time_zone
        asked = sorted({each for some in measures.values() for each in some}, key=lambda each: each.column)
        from_days = [each for each in asked if not each.from_events and each.old is not None]
        from_lives = [each for each in asked if not each.from_events and each.old is None]
        from_events = [(each, *each.interval(day, zone)) for each in asked if each.from_events]
        parts: list[str] = []
        if from_days:
            columns = ", ".join(
                f"{counted(each, 'day', str(day))}::BIGINT AS {each.column}" for each in from_days
            )
            reach = max(each.old.days or 0 for each in from_days if each.old is not None)
            parts.append(
                f"SELECT user_no, account_no, {columns} FROM daily WHERE day > {day - reach} AND day <= {day}"
                " GROUP BY user_no, account_no"
            )
        if from_lives:
            columns = ", ".join(
                f"count_{self.plan.counted.index(each.events)} AS {each.column}" for each in from_lives
            )
            parts.append(f"SELECT user_no, account_no, {columns} FROM life")
        if from_events:
            self.session.counts.measured(from_events, "measured_events")
            parts.append("FROM measured_events")
        if parts:
            home.execute(f"CREATE OR REPLACE TEMP TABLE counted AS {' UNION ALL BY NAME '.join(parts)}")
        for entity, some in measures.items():
            own = sorted(each.column for each in some)
            if not own:
                home.execute(
                    f"CREATE OR REPLACE TEMP TABLE {entity}_counts AS SELECT key FROM {entity}_base WHERE false"
                )
                continue
            columns = ", ".join(f"x.{each}" for each in own)
            found = (
                f"SELECT user_no AS key, {columns} FROM counted x WHERE user_no IS NOT NULL"
                if entity == "user"
                else weighting.own("counted", columns)
            )
            sums = "".join(f", coalesce(sum({each}), 0)::BIGINT AS {each}" for each in own)
            home.execute(
                f"CREATE OR REPLACE TEMP TABLE {entity}_counts AS SELECT b.key{sums} FROM {entity}_base b"
                f" LEFT JOIN ({found}) f ON f.key = b.key GROUP BY b.key"
            )

    # -- days by themselves

    def score_days(self, days: Sequence[int]) -> None:
        """`user_scores` and `account_scores`: key (text), day, account_id, active, raw, nano, score, level."""
        home = self.session.connection
        for entity in ENTITIES:
            home.execute(
                f"CREATE OR REPLACE TEMP TABLE {entity}_scores (key VARCHAR, day BIGINT, account_id VARCHAR, active BOOLEAN,"
                " raw HUGEINT, nano BIGINT, score BIGINT, level VARCHAR)"
            )
        self._settle(days[-1])
        self._days([], list(days))

    # -- how

    def _settle(self, day: int) -> None:
        """Who there is on the last day, and what stays the same on all of them."""
        home, counts = self.session.connection, self.session.counts
        assert counts.coverage is not None
        self._specials(day)
        weighting.prepare(home)
        home.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE roaming AS
            SELECT user_no, account_no, {entities.ALWAYS} AS day, last
            FROM read_parquet('{str(counts.folder / "carried.parquet").replace("'", "''")}') ANTI JOIN member_homes USING (user_no)
            UNION ALL
            SELECT user_no, account_no, day, max(last) FROM daily ANTI JOIN member_homes USING (user_no)
            WHERE user_no IS NOT NULL AND account_no IS NOT NULL GROUP BY user_no, account_no, day
            """
        )
        self.together = self._room()
        self.moved = self._moves()
        self.placed = None
        starts = [calendar.day_of(day)]
        for (known,) in home.execute("SELECT created_at FROM earliest").fetchall():
            if known is not None:
                zone = self.session.workspace.time_zone
                starts.append(calendar.local_day(max(known, datetime(1900, 1, 2)), zone))
        if counts.first_day is not None:
            starts.append(calendar.day_of(counts.first_day))
        bounds = calendar.bounds(min(starts), calendar.day_of(day), self.session.workspace.time_zone)
        take(home, "local_days", bounds)
        try:
            entities.listed(home, self.plan, self.session.traits)
        except ValueError as error:
            raise ConfigurationError(f"{self.where}: `activation`: {error}") from error
        self._signals()
        self.weighed.clear()
        self.place([day])
        counts.lives(self.plan, self.name, day, "life")
        entities.lay_out(
            home, self.plan, calendar.start(calendar.day_of(day + 1), self.session.workspace.time_zone)
        )

    def _specials(self, day: int) -> None:
        counts = self.session.counts
        assert counts.coverage is not None
        counts.specials(self.plan, counts.coverage.since if self.plan.model == "kpi" else day, day)

    def _room(self) -> int:
        """How many days may be taken together: by how many rows one of them has."""
        coverage = self.session.counts.coverage
        row = self.session.connection.execute(
            "SELECT (SELECT count(*) FROM daily), (SELECT count(*) FROM user_ids) + (SELECT count(*) FROM account_ids)"
        ).fetchone()
        assert row is not None
        assert coverage is not None
        daily = row[0] / max(1, coverage.until - coverage.since + 1)
        return max(1, int(ROWS / (1 + row[1] + daily * max(churn_levels.AWAY, self.plan.profile.window))))

    def _moves(self) -> frozenset[int] | None:
        """The days on which a user without a home came into another account."""
        home = self.session.connection
        row = home.execute("SELECT count(*) FROM roaming").fetchone()
        if row is None or not row[0]:
            return None
        if self.together == 1:
            return frozenset()
        found = home.execute(
            """
            WITH last AS (
                SELECT user_no, day, arg_min(account_no, ROW(-epoch_us(last), id)) AS account_no
                FROM roaming JOIN account_ids ON no = account_no GROUP BY user_no, day
            )
            SELECT DISTINCT day FROM (
                SELECT day, account_no, lag(account_no) OVER (PARTITION BY user_no ORDER BY day) AS before FROM last
            ) WHERE before IS DISTINCT FROM account_no
            """
        ).fetchall()
        return frozenset(day for (day,) in found)

    def chunks(self, days: Sequence[int]) -> Iterator[list[int]]:
        """Days that can be taken together: nobody comes into another account between them."""
        chunk: list[int] = []
        for day in days:
            apart = (
                self.moved is not None and any(chunk[-1] < each <= day for each in self.moved)
                if chunk
                else False
            )
            if chunk and (len(chunk) == self.together or apart):
                yield chunk
                chunk = []
            chunk.append(day)
        if chunk:
            yield chunk

    def place(self, days: Sequence[int]) -> None:
        """`placement` of days on which it is the same."""
        moved = self.placed is None or (
            self.moved is not None
            and (
                self.together == 1
                or any(min(self.placed, days[-1]) < each <= max(self.placed, days[-1]) for each in self.moved)
            )
        )
        if moved:
            weighting.place(self.session.connection, days[-1])
            self.weighed.discard("account")
        self.placed = days[-1]

    def _days(self, block: list[int], alone: list[int]) -> None:
        """DailyScores from the first day that anything needs to the last."""
        home, profile = self.session.connection, self.plan.profile
        wanted = sorted({*block, *alone})
        for entity in ENTITIES:
            level_history.begin(home, entity)
            if block and self._remembers(entity, block[0] - 1):
                self._recall(entity, block[0] - 1)
        roams = self.moved is not None
        needed = self._unmeasured(wanted)
        learning = ChurnTraining(self) if profile.levels.churn else None
        training = [] if learning is None else learning.days(wanted)
        self.passing.begin(self.plan, min([*needed, *wanted, *training]), wanted[-1], roams)
        if needed:
            needed = sorted({*needed, *self._start(needed, wanted[-1])})
        self.rests = level_history.rest(profile, self.passing.daily)
        if learning is not None:
            learning.learn(wanted)
        frozen = calendar.number(profile.benchmark.day) if profile.benchmark.day is not None else None
        if frozen in needed:
            # The days before it are measured against it too.
            for chunk in self.chunks([day for day in needed if day <= frozen]):
                self.sum(chunk)
                self._measure(chunk)
            needed = [day for day in needed if day > frozen]
        for chunk in self.chunks(sorted({*needed, *wanted})):
            self.sum(chunk)
            self._measure(chunk)
            scored = [day for day in chunk if day in wanted]
            if scored:
                self._score(scored, block)
                self._keep([day for day in scored if day in alone])
        self._leave(wanted[-1])

    def _leave(self, day: int) -> None:
        """What stays in the tables is of the last day, and of those who pass the filter on it."""
        home = self.session.connection
        self.passing.finish(day)
        for entity in ENTITIES:
            home.execute(f"DELETE FROM {entity}_scored WHERE day <> {day}")
            if self.plan.model == "kpi":
                home.execute(f"DELETE FROM {entity}_normal WHERE day <> {day}")
            if self.plan.profile.filter is not None:
                for table in ("base", "born"):
                    home.execute(
                        f"DELETE FROM {entity}_{table} WHERE key NOT IN (SELECT key FROM {entity}_passing)"
                    )
            home.execute(
                f"CREATE OR REPLACE TEMP VIEW {entity}_existing AS SELECT key FROM {entity}_born WHERE day <= {day}"
            )

    def _unmeasured(self, wanted: Sequence[int]) -> list[int]:
        """The days whose own benchmarks are needed, and not known."""
        profile = self.plan.profile
        if profile.normalize.kind in ("percentile", "target"):
            return []
        if profile.benchmark.day is not None:
            days = {calendar.number(profile.benchmark.day)}
            if max(days) > self.session.last:
                raise ConfigurationError(
                    f"{self.where}: the benchmark is frozen on {profile.benchmark.day}, which lies after"
                    f" {calendar.day_of(self.session.last)}, the last day to be scored: choose a day that is over"
                )
        elif profile.benchmark.kind == "rolling":
            days = set(wanted)
        else:
            days = {day - back for day in wanted for back in range(benchmarks.REACH)}
        first = self.session.counts.first_day
        known = [self.histories[entity].daily for entity in self._measured()]
        return sorted(
            day
            for day in days
            if first is not None and day >= first and any(day not in each for each in known)
        )

    def _measured(self) -> list[str]:
        """The entities that have benchmarks of their own."""
        averaged = self.plan.model == "weighted" and self.plan.profile.rollup == "average"
        return ["user"] if averaged else list(ENTITIES)

    def _start(self, needed: Sequence[int], last: int) -> list[int]:
        """Days before the needed ones that must be measured too: a day with few entities takes the last before it."""
        first, counts = self.session.counts.first_day, self.session.counts
        assert first is not None
        assert counts.coverage is not None
        begin = needed[0]
        if any(day < begin and any(values.values()) for day, values in self.histories["user"].daily.items()):
            return []
        self.sum([begin])
        found = [self._quantiles(entity, [begin])[begin] for entity in self._measured()]
        few = any(each is None or each.count < benchmarks.FEW for parts in found for each in parts.values())
        if not few and all(found):
            return []
        if counts.coverage.since > first:
            counts.count_days(first, counts.coverage.until)
            self._specials(last)
            self.weighed.clear()
        row = self.session.connection.execute(
            f"SELECT count(DISTINCT coalesce(user_no, -1 - account_no)), min(day) FROM done WHERE day <= {begin}"
        ).fetchone()
        if row is None or row[1] is None or row[1] >= begin:
            return []
        simple = self.plan.model == "weighted" and self.plan.profile.decay.kind != "linear"
        if row[0] < benchmarks.FEW and simple and self.plan.profile.filter is None and self.moved is None:
            # Nobody else can ever have been there: the first of all days decides, of users and of accounts.
            one = self.session.connection.execute(
                f"SELECT min(day) FROM done SEMI JOIN placement USING (user_no) WHERE day <= {begin}"
            ).fetchone()
            return sorted({row[1], *(day for day in one or () if day is not None and day < begin)})
        if self.passing.daily:
            self.passing.begin(self.plan, row[1], last, self.moved is not None)
        return list(range(row[1], begin))

    def sum(self, days: Sequence[int]) -> None:
        """What the windows that end with some days come to, for users and for accounts."""
        home, plan = self.session.connection, self.plan
        self.place(days)
        self.passing.judge(days)
        among = {entity: self.passing.among(entity) for entity in ENTITIES}
        self._weigh("user", days)
        weighting.add_up(home, plan, "user", days, among["user"])
        if plan.model == "weighted":
            if plan.profile.rollup != "average":
                most: dict[int, int] = {}
                if plan.profile.rollup == "pooled":
                    capped = benchmarks.quantiles(home, "user_raw", CAP, days)
                    most = {day: int(each.value) for day, each in capped.items()}
                weighting.roll_up(home, most, among["account"])
        else:
            self._weigh("account", days)
            weighting.add_up(home, plan, "account", days, among["account"])
        if plan.model == "kpi":
            for entity in ENTITIES:
                weighting.attend(home, f"{entity}_present", entity, plan.profile.window, days, among[entity])
                scores.tabulate(home, plan, entity)

    def _weigh(self, entity: str, days: Sequence[int]) -> None:
        """Weigh every day that there is once; for accounts whose users move, those of the windows each time."""
        if entity in self.weighed:
            return
        coverage = self.session.counts.coverage
        assert coverage is not None
        first, last = coverage.since, coverage.until
        if entity == "account" and self.moved is not None:
            first, last = days[0] - self.plan.profile.window + 1, days[-1]
        else:
            self.weighed.add(entity)
        weighting.weigh(self.session.connection, self.plan, entity, first, last)

    def _quantiles(
        self, entity: str, days: Sequence[int]
    ) -> dict[int, dict[int, benchmarks.Quantile | None]]:
        """By day and part."""
        home, plan = self.session.connection, self.plan
        parts = scores.parts(home, plan, entity, days)
        found = {
            part: benchmarks.quantiles(home, scores.measured(plan, entity, part), PERCENTILE, days)
            for part in sorted({part for some in parts.values() for part in some})
        }
        return {day: {part: found[part].get(day) for part in some} for day, some in parts.items()}

    def _measure(self, days: Sequence[int]) -> None:
        """The benchmarks of days, unless they are stored or none is used."""
        if self.plan.profile.normalize.kind in ("percentile", "target"):
            return
        for entity in self._measured():
            daily = self.histories[entity].daily
            missing = [day for day in days if day not in daily]
            if missing:
                self._measured_on(entity, missing, self._quantiles(entity, days))

    def _measured_on(
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
            every = range(len(scores.touchpoints(self.plan)) if self.plan.model == "kpi" else 1)
            daily[day] = {
                part: benchmarks.of_day(found[day].get(part), before.get(part, 0.0), unit) for part in every
            }

    def _used(self, entity: str, days: Sequence[int]) -> dict[int, Values]:
        """What the scores of days are measured against, by part."""
        profile, kept = self.plan.profile, self.histories[entity]
        if entity not in self._measured() and profile.normalize.kind not in ("percentile", "target"):
            return {day: self.histories["user"].used[day] for day in days}
        parts = scores.parts(self.session.connection, self.plan, entity, days)
        return {day: self._against(kept, day, some) for day, some in parts.items()}

    def _against(self, kept: History, day: int, parts: Sequence[int]) -> Values:
        profile = self.plan.profile
        if profile.normalize.target is not None:
            return dict.fromkeys(parts, float(profile.normalize.target))
        if profile.normalize.kind == "percentile":
            return dict.fromkeys(parts, 0.0) if self.plan.model == "kpi" else {}
        if profile.benchmark.day is not None:
            frozen = kept.daily.get(calendar.number(profile.benchmark.day), {})
            return {part: frozen.get(part, 0.0) for part in parts}
        if profile.benchmark.kind == "rolling":
            return {part: kept.daily.get(day, {}).get(part, 0.0) for part in parts}
        return {
            part: benchmarks.smoothed(
                day, {each: values.get(part, 0.0) for each, values in kept.daily.items()}
            )
            for part in parts
        }

    def _score(self, days: Sequence[int], block: Sequence[int]) -> None:
        home, plan = self.session.connection, self.plan
        for entity in ENTITIES:
            among = self.passing.among(entity)
            used = self._used(entity, days)
            self.histories[entity].used.update(used)
            scores.score(home, plan, entity, used, self.signals[entity], among)
            bounds: dict[int, Bounds] = {}
            if plan.profile.levels.churn:
                bounds = {
                    day: self.histories[entity].learnt[churn_levels.estimate_days(day)[-1]] for day in days
                }
                level_history.see(home, entity, days, plan.profile.passive, among)
            known = [
                day for day in days if day in block and (day - 1 in block or self._remembers(entity, day - 1))
            ]
            there = scores.existing(entity, days, among)
            of = level_history.Remembered(plan, entity, days, there, known, self.rests, bounds)
            level_history.remember(home, of)
            level_history.move(home, of)

    def _keep(self, days: Sequence[int]) -> None:
        """Add days to the scores that stand by themselves."""
        if not days:
            return
        names = self.plan.profile.levels.names
        cases = " ".join(f"WHEN {place} THEN '{scores.quoted(name)}'" for place, name in enumerate(names))
        for entity in ENTITIES:
            account = "h.id" if entity == "user" else "NULL"
            home = (
                "LEFT JOIN placement p ON p.user_no = l.key LEFT JOIN account_ids h ON h.no = p.account_no"
                if entity == "user"
                else ""
            )
            self.session.connection.execute(
                f"INSERT INTO {entity}_scores SELECT i.id, l.day, {account}, coalesce(s.active, false), s.raw,"
                f" coalesce(s.nano, 0), l.score, CASE l.level {cases} END"
                f" FROM {entity}_long l JOIN {entity}_ids i ON i.no = l.key"
                f" LEFT JOIN {entity}_scored s ON s.key = l.key AND s.day = l.day {home}"
                f" WHERE l.day IN ({', '.join(map(str, days))})"
            )

    # -- signals

    def _signals(self) -> None:
        """`{entity}_values` (key, value_N), and the SQL of each signal that an entity can have."""
        profile, home = self.plan.profile, self.session.connection
        self.signals = {entity: [] for entity in ENTITIES}
        if not profile.signals:
            return
        columns = self.session.traits.columns
        for table in ENTITIES:
            values: list[str] = []
            for place, signal in enumerate(profile.signals):
                for entity in ENTITIES:
                    found = signal.column_of(entity)
                    if found is None or found[0] != table:
                        continue
                    self._has(signal.trait, table, found[1])
                    kind = columns[table][found[1]]
                    number = f'try_cast(t."{found[1]}" AS DOUBLE)' if kind != "DOUBLE" else f't."{found[1]}"'
                    low, span = float(signal.low), float(signal.high - signal.low)
                    share = f"greatest(0.0, least(1.0, ({number} - {low!r}) / {span!r}))"
                    sql = f"CASE WHEN {number} IS NOT NULL AND NOT isnan({number}) THEN round(100e9 * {share})::BIGINT END"
                    if f"{sql} AS value_{place}" not in values:
                        values.append(f"{sql} AS value_{place}")
                    key = "k.key" if entity == table else "p.account_no"
                    having = f"(SELECT any_value(v.value_{place}) FROM {table}_values v WHERE v.key = {key})"
                    self.signals[entity].append(Having(signal, having))
            if values:
                home.execute(
                    f"CREATE OR REPLACE TEMP TABLE {table}_values AS SELECT no AS key, {', '.join(values)}"
                    f" FROM {table}s t JOIN {table}_ids ON id = t.{table}_id"
                )

    def _has(self, trait: str, table: str, column: str) -> None:
        known = self.session.traits.columns.get(table)
        if not known:
            raise ConfigurationError(
                f"{self.where}: `signals`: `{trait}` needs a table of {table}s, and the source names none"
            )
        if column not in known:
            raise ConfigurationError(
                f"{self.where}: `signals`: `{trait}`: there is no column `{column}` in {table}s{suggest(column, known)}"
            )

    # -- what is stored

    def _remembers(self, entity: str, day: int) -> bool:
        return self.histories[entity].of(day) is not None

    def _recall(self, entity: str, day: int) -> None:
        home, kept = self.session.connection, self.histories[entity]
        home.execute(
            f"CREATE OR REPLACE TEMP TABLE recalled AS SELECT no AS key, {day} AS day, h.* EXCLUDE (id)"
            f" FROM ({kept.score_query(day)}) h JOIN {entity}_ids USING (id)"
        )
        fitting = ", fitting" if self.plan.profile.levels.hysteresis else ""
        home.execute(
            f"INSERT INTO {entity}_long BY NAME SELECT key, day, score, level{fitting} FROM recalled"
        )
