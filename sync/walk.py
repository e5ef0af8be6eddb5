"""A profile day by day: benchmarks, scores and levels of the days before a snapshot, and of its own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from connectors.base import ConfigurationError
from scoring import benchmarks, calendar, churn, history, judging, rows, scores, snapshot, terms, worth
from scoring.churn import Bounds
from scoring.measures import Measure
from scoring.plan import NANO, Plan
from scoring.scalars import suggest
from scoring.scores import Having
from scoring.worth import ENTITIES
from sync.histories import History, Values
from sync.workbench import take

if TYPE_CHECKING:
    from sync.session import Session

PERCENTILE, CAP = 18, 19
"""In twentieths: the 90th is the benchmark, and at the 95th `pooled` caps a user."""


@dataclass(slots=True)
class Walk:
    """What is computed stays in tables of `home`, named in scoring.worth, scores and history."""

    session: "Session"
    name: str
    plan: Plan
    histories: dict[str, History]
    stored: bool
    where: str
    dynamic: bool = False
    rests: history.Rest = field(init=False)
    signals: dict[str, list[Having]] = field(default_factory=dict)
    roams: bool = False
    weighed: dict[str, tuple[int, int]] = field(default_factory=dict)
    learnt: dict[tuple[str, int], Bounds] = field(default_factory=dict)
    trained: set[tuple[str, int]] = field(default_factory=set)
    passing: int | None = None

    def __post_init__(self) -> None:
        profile, home = self.plan.profile, self.session.home
        if profile.filter is not None:
            self.dynamic = any(
                isinstance(part, terms.Events | terms.Time) for _, part in terms.walk(profile.filter)
            )
        self.rests = history.rest(profile, self.dynamic)
        take(home, "named_things", self.plan.named())
        home.execute(
            "CREATE OR REPLACE TEMP TABLE thing_events AS SELECT no AS event_no, thing, weight, per_day"
            " FROM named_things JOIN event_ids ON id = event"
        )

    # -- the days of a snapshot

    def reach(self, day: int, compared: int) -> list[int]:
        """Bring the history up to a day, which is computed anew; answers the days that were computed."""
        missing = [
            each
            for each in range(day - compared, day)
            if any(each not in self.histories[entity].days for entity in ENTITIES)
        ]
        block = list(range(min([*missing, day]), day + 1))
        self._settle(day, block)
        self._days(block, [])
        if self.stored:
            for entity in ENTITIES:
                hysteresis = self.plan.profile.levels.hysteresis
                self.histories[entity].add(self.session.home, entity, block, hysteresis)
                self.histories[entity].keep()
        return block

    def finish(self, day: int) -> dict[str, Values]:
        """The benchmarks that the scores of a day were measured against, by entity and part."""
        return {entity: self.histories[entity].used.get(day, {}) for entity in ENTITIES}

    def learnt_on(self, entity: str, day: int) -> Bounds | None:
        """The bounds of learnt levels in force on a day that was scored; None where levels are not learnt."""
        return self.histories[entity].learnt.get(churn.estimate_days(day)[-1])

    def compare(self, entity: str, day: int, block: Sequence[int]) -> None:
        """`{entity}_level`, `_month`, `_earlier` and `_changes` of a day."""
        home, names = self.session.home, self.plan.profile.levels.names
        cases = " ".join(f"WHEN {place} THEN '{scores.quoted(name)}'" for place, name in enumerate(names))
        resting = "NULL" if self.rests.level is None else str(self.rests.level)
        home.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE {entity}_level AS
            SELECT b.key, CASE CASE WHEN l.key IS NULL THEN {resting} ELSE l.level END {cases} END AS level
            FROM {entity}_base b LEFT JOIN {entity}_long l ON l.key = b.key AND l.day = {day}
            """
        )
        for name, back in (("month", snapshot.TREND), ("earlier", self.plan.profile.window)):
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
        moves = self.histories[entity].moves_query(day, block)
        home.execute(
            f"CREATE OR REPLACE TEMP TABLE {entity}_changes AS"
            f" SELECT id AS key, day, level_before, level FROM {entity}_moves JOIN {entity}_ids ON no = key"
            f" UNION ALL SELECT id AS key, day, level_before, level FROM ({moves})"
        )

    def count(self, entity: str, day: int, t: datetime, measures: Iterable[Measure]) -> None:
        """`{entity}_counts`: key, and per measure how many events, of everybody in the base."""
        home, zone = self.session.home, self.session.workspace.time_zone
        asked = sorted(measures, key=lambda each: each.column)
        from_days = [each for each in asked if not each.from_events and each.old is not None]
        from_lives = [each for each in asked if not each.from_events and each.old is None]
        from_events = [(each, *each.interval(day, zone)) for each in asked if each.from_events]
        parts: list[str] = []
        if from_days:
            columns = ", ".join(
                f"sum(n) FILTER (day > {day - (each.old.days or 0)} AND day <= {day - ((each.new.days or 0) if each.new else 0)}"
                f"{self._among(each)})::BIGINT AS {each.column}"
                for each in from_days
                if each.old is not None
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
        sums = "".join(f", coalesce(sum({each.column}), 0)::BIGINT AS {each.column}" for each in asked)
        if not parts:
            home.execute(
                f"CREATE OR REPLACE TEMP TABLE {entity}_counts AS SELECT key FROM {entity}_base WHERE false"
            )
            return
        home.execute(f"CREATE OR REPLACE TEMP TABLE counted AS {' UNION ALL BY NAME '.join(parts)}")
        columns = ", ".join(f"x.{each.column}" for each in asked)
        found = (
            f"SELECT user_no AS key, {columns} FROM counted x WHERE user_no IS NOT NULL"
            if entity == "user"
            else worth.own("counted", columns)
        )
        home.execute(
            f"CREATE OR REPLACE TEMP TABLE {entity}_counts AS SELECT b.key{sums} FROM {entity}_base b"
            f" LEFT JOIN ({found}) f ON f.key = b.key GROUP BY b.key"
        )
        _ = t

    # -- days by themselves

    def scored(self, days: Sequence[int]) -> None:
        """`user_scores` and `account_scores`: key (text), day, account_id, active, raw, nano, score, level."""
        home = self.session.home
        for entity in ENTITIES:
            home.execute(
                f"CREATE OR REPLACE TEMP TABLE {entity}_scores (key VARCHAR, day BIGINT, account_id VARCHAR, active BOOLEAN,"
                " raw HUGEINT, nano BIGINT, score BIGINT, level VARCHAR)"
            )
        self._settle(days[-1], days)
        self._days([], list(days))

    # -- how

    def _settle(self, day: int, block: Sequence[int]) -> None:
        """Who there is on the last day, and what stays the same on all of them."""
        home, counts = self.session.home, self.session.counts
        first = min(block) - benchmarks.REACH - self.plan.profile.window
        assert counts.cover is not None
        earliest = counts.cover.since
        counts.specials(self.plan, max(earliest, first) if self.plan.model == "kpi" else day, day)
        worth.prepare(home)
        home.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE roaming AS
            SELECT user_no, account_no, {rows.ALWAYS} AS day, last
            FROM read_parquet('{str(counts.folder / "carried.parquet").replace("'", "''")}') ANTI JOIN member_homes USING (user_no)
            UNION ALL
            SELECT user_no, account_no, day, max(last) FROM daily ANTI JOIN member_homes USING (user_no)
            WHERE user_no IS NOT NULL AND account_no IS NOT NULL GROUP BY user_no, account_no, day
            """
        )
        row = home.execute("SELECT count(*) FROM roaming").fetchone()
        self.roams = bool(row and row[0])
        known = [
            row[0] for row in home.execute("SELECT created_at FROM earliest").fetchall() if row[0] is not None
        ]
        since = counts.first_day
        starts = [
            calendar.local_day(max(each, datetime(1900, 1, 2)), self.session.workspace.time_zone)
            for each in known
        ]
        if since is not None:
            starts.append(calendar.day_of(since))
        starts.append(calendar.day_of(day))
        take(
            home,
            "local_days",
            calendar.bounds(min(starts), calendar.day_of(day), self.session.workspace.time_zone),
        )
        try:
            rows.listed(home, self.plan, self.session.traits)
        except ValueError as error:
            raise ConfigurationError(f"{self.where}: `activation`: {error}") from error
        self._signals()
        self.weighed.clear()
        self._at(day)

    def _at(self, day: int) -> None:
        """Who there was at the end of a day."""
        worth.place(self.session.home, day)
        self.session.counts.lives(self.plan, self.name, day, "life")
        t = calendar.start(calendar.day_of(day + 1), self.session.workspace.time_zone)
        rows.lay_out(self.session.home, self.plan, t)

    def _days(self, block: list[int], alone: list[int]) -> None:
        """Walk from the first day that anything needs to the last."""
        home, profile = self.session.home, self.plan.profile
        wanted = sorted({*block, *alone})
        for entity in ENTITIES:
            history.begin(home, entity)
            if block and self._remembers(entity, block[0] - 1):
                self._recall(entity, block[0] - 1)
        needed = self._unmeasured(wanted)
        start = min([*needed, *wanted])
        first = self.session.counts.first_day
        if needed and first is not None:
            early = self._start(needed)
            needed = sorted({*needed, *early})
            start = min([start, *needed])
        if self.dynamic and self.session.counts.cover is not None:
            self.session.counts.lives(self.plan, self.name, start, "life", base=start - 1)
        frozen = calendar.number(profile.benchmark.day) if profile.benchmark.day is not None else None
        if frozen in needed:
            # The days before it are measured against it too.
            for day in [day for day in needed if day <= frozen]:
                self._sum(day)
                for entity in ENTITIES:
                    self._measure(entity, day)
        for day in sorted({*needed, *wanted}):
            self._sum(day)
            for entity in ENTITIES:
                self._measure(entity, day)
                if day in wanted:
                    self._score(entity, day, block)
            if day in alone:
                self._keep(day)
        if self.dynamic or profile.filter is not None:
            self._filter_base()

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

    def _start(self, needed: Sequence[int]) -> list[int]:
        """Days before the needed ones that must be measured too: a day with few entities takes the last before it."""
        first, counts = self.session.counts.first_day, self.session.counts
        assert first is not None
        assert counts.cover is not None
        begin = needed[0]
        if any(day < begin and any(values.values()) for day, values in self.histories["user"].daily.items()):
            return []
        self._sum(begin)
        few = any(
            found is None or found.count < benchmarks.FEW
            for entity in self._measured()
            for found in self._quantiles(entity).values()
        )
        if not few and all(self._quantiles(entity) for entity in self._measured()):
            return []
        if counts.cover.since > first:
            counts.extend(first, counts.cover.until)
            self.weighed.clear()
        row = self.session.home.execute(
            f"SELECT count(DISTINCT coalesce(user_no, -1 - account_no)), min(day) FROM done WHERE day <= {begin}"
        ).fetchone()
        if row is None or row[1] is None or row[1] >= begin:
            return []
        simple = self.plan.model == "weighted" and self.plan.profile.decay.kind != "linear"
        if row[0] < benchmarks.FEW and simple and self.plan.profile.filter is None and not self.roams:
            # Nobody else can ever have been there: the first of all days decides, of users and of accounts.
            found = self.session.home.execute(
                f"SELECT min(day) FROM done SEMI JOIN placement USING (user_no) WHERE day <= {begin}"
            ).fetchone()
            return sorted({row[1], *(day for day in found or () if day is not None and day < begin)})
        return list(range(row[1], begin))

    def _sum(self, day: int) -> None:
        """What the window that ends with a day comes to, for users and for accounts."""
        home, plan = self.session.home, self.plan
        window = plan.profile.window
        if self.roams or "placed" not in self.weighed:
            worth.place(home, day)
            self.weighed["placed"] = (day, day)
        self._pass(day)
        self._weigh("user", day)
        worth.add_up(home, plan, "user", day)
        self._only_passing("user", "raw")
        if plan.model == "weighted":
            if plan.profile.rollup != "average":
                self._roll_up()
        else:
            if self.roams:
                worth.weigh(home, plan, "account", day - window + 1, day)
            else:
                self._weigh("account", day)
            worth.add_up(home, plan, "account", day)
            self._only_passing("account", "raw")
        if plan.model == "kpi":
            for entity in ENTITIES:
                days = f"day BETWEEN {day - window + 1} AND {day}"
                found = f"SELECT DISTINCT user_no AS key FROM daily WHERE user_no IS NOT NULL AND {days}"
                if entity == "account":
                    pairs = f"(SELECT DISTINCT user_no, account_no FROM daily WHERE {days})"
                    found = f"SELECT DISTINCT key FROM ({worth.own(pairs, '1')})"
                home.execute(f"CREATE OR REPLACE TEMP TABLE {entity}_present AS {found}")
                self._only_passing(entity, "present")
                scores.tabulate(home, plan, entity)

    def _weigh(self, entity: str, day: int) -> None:
        """Weigh every day that there is once."""
        if entity not in self.weighed:
            cover = self.session.counts.cover
            assert cover is not None
            worth.weigh(self.session.home, self.plan, entity, self._earliest(), cover.until)
            self.weighed[entity] = (cover.since, cover.until)
        _ = day

    def _earliest(self) -> int:
        cover = self.session.counts.cover
        assert cover is not None
        return cover.since

    def _roll_up(self) -> None:
        raw = "u.raw"
        if self.plan.profile.rollup == "pooled":
            found = benchmarks.quantile(self.session.home, "user_raw", CAP)
            if found is not None:
                raw = f"least(u.raw, {int(found.value)}::HUGEINT)"
        self.session.home.execute(
            f"CREATE OR REPLACE TEMP TABLE account_raw AS SELECT p.account_no AS key, {worth.WHOLE} AS part,"
            f" sum({raw})::HUGEINT AS raw FROM user_raw u JOIN placement p ON p.user_no = u.key GROUP BY p.account_no"
        )
        self._only_passing("account", "raw")

    def _quantiles(self, entity: str) -> dict[int, benchmarks.Quantile | None]:
        return {
            part: benchmarks.quantile(self.session.home, relation, PERCENTILE)
            for part, relation in scores.parts(self.session.home, self.plan, entity).items()
        }

    def _measure(self, entity: str, day: int) -> None:
        """The benchmark of a day, unless it is stored or none is used."""
        if self.plan.profile.normalize.kind in ("percentile", "target") or entity not in self._measured():
            return
        daily = self.histories[entity].daily
        if day in daily:
            return
        unit = 1 if self.plan.model == "kpi" else NANO
        before = {
            part: value
            for earlier in sorted(each for each in daily if each < day)
            for part, value in daily[earlier].items()
            if value
        }
        daily[day] = {
            part: benchmarks.of_day(found, before.get(part, 0.0), unit)
            for part, found in self._quantiles(entity).items()
        }

    def _used(self, entity: str, day: int) -> Values:
        """What the scores of a day are measured against, by part."""
        profile, kept = self.plan.profile, self.histories[entity]
        parts = list(scores.parts(self.session.home, self.plan, entity))
        if profile.normalize.target is not None:
            return dict.fromkeys(parts, float(profile.normalize.target))
        if profile.normalize.kind == "percentile":
            return dict.fromkeys(parts, 0.0) if self.plan.model == "kpi" else {}
        if entity not in self._measured():
            return (
                self._used("user", day)
                if day not in self.histories["user"].used
                else self.histories["user"].used[day]
            )
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

    def _score(self, entity: str, day: int, block: Sequence[int]) -> None:
        home = self.session.home
        used = self._used(entity, day)
        self.histories[entity].used[day] = used
        home.execute(
            f"CREATE OR REPLACE TEMP VIEW {entity}_existing AS SELECT key FROM {entity}_born WHERE day <= {day}"
            + (
                f" AND key IN (SELECT key FROM {entity}_passing)"
                if self.plan.profile.filter is not None
                else ""
            )
        )
        scores.score(home, self.plan, entity, used, self.signals[entity])
        if entity == "account" and self.plan.model == "weighted" and self.plan.profile.rollup == "average":
            self._only_passing("account", "scored")
        bounds = None
        if self.plan.profile.levels.churn:
            bounds = self._bounds(entity, day)
            history.see(home, entity, day, self._passive())
            self._only_passing(entity, "seen")
        follows = day in block and (day - 1 in block or self._remembers(entity, day - 1))
        history.remember(home, self.plan, entity, day, bounds, self.rests, follows)
        if follows:
            history.move(home, self.plan, entity, day, self.rests)

    def _keep(self, day: int) -> None:
        """Add a day to the scores that stand by themselves."""
        names = self.plan.profile.levels.names
        cases = " ".join(f"WHEN {place} THEN '{scores.quoted(name)}'" for place, name in enumerate(names))
        for entity in ENTITIES:
            account = "h.id" if entity == "user" else "NULL"
            home = (
                "LEFT JOIN placement p ON p.user_no = l.key LEFT JOIN account_ids h ON h.no = p.account_no"
                if entity == "user"
                else ""
            )
            self.session.home.execute(
                f"INSERT INTO {entity}_scores SELECT i.id, {day}, {account}, coalesce(s.active, false), s.raw,"
                f" coalesce(s.nano, 0), l.score, CASE l.level {cases} END"
                f" FROM {entity}_long l JOIN {entity}_ids i ON i.no = l.key LEFT JOIN {entity}_scored s ON s.key = l.key {home}"
                f" WHERE l.day = {day}"
            )

    # -- filters

    def _pass(self, day: int) -> None:
        """`{entity}_passing` (key) of a day, where there is a filter."""
        condition = self.plan.profile.filter
        if condition is None or (not self.dynamic and self.passing is not None):
            return
        home = self.session.home
        if self.dynamic:
            self._at(day)
        for entity in ENTITIES:
            scope = judging.Scope(
                self.plan.profile,
                entity,
                day,
                self.session.workspace.time_zone,
                self.session.traits.columns,
                {},
                {},
                None,
            )
            found = judging.judge(condition, scope)
            t = calendar.start(calendar.day_of(day + 1), self.session.workspace.time_zone)
            self.count(entity, day, t, found.measures)
            account = (
                "h.id AS account_id FROM user_base b LEFT JOIN account_ids h ON h.no = b.account_no"
                if entity == "user"
                else "b.id AS account_id FROM account_base b"
            )
            base = (
                "SELECT b.key AS no, b.id AS key, b.id AS user_id, b.first_seen, b.last_seen, b.last_active, b.signed_up,"
                f" b.created_at, {account}"
            )
            home.execute(
                f"CREATE OR REPLACE TEMP TABLE {entity}_passing AS SELECT r.no AS key FROM ({base}) r"
                f" {snapshot.join_tables(entity, found.tables, frozenset(self.session.traits.columns))} WHERE {found.sql}"
            )
        self.passing = day

    def _only_passing(self, entity: str, table: str) -> None:
        if self.plan.profile.filter is not None:
            self.session.home.execute(
                f"DELETE FROM {entity}_{table} WHERE key NOT IN (SELECT key FROM {entity}_passing)"
            )

    def _filter_base(self) -> None:
        for entity in ENTITIES:
            self._only_passing(entity, "base")
            self._only_passing(entity, "born")

    # -- signals

    def _signals(self) -> None:
        """`{entity}_values` (key, value_N), and the SQL of each signal that an entity can have."""
        profile, home = self.plan.profile, self.session.home
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

    # -- levels learnt from churn

    def _passive(self) -> list[int]:
        names = self.plan.profile.passive
        if not names:
            return []
        quoted = ", ".join(f"'{scores.quoted(name)}'" for name in names)
        return [
            no
            for (no,) in self.session.home.execute(
                f"SELECT no FROM event_ids WHERE id IN ({quoted})"
            ).fetchall()
        ]

    def _bounds(self, entity: str, day: int) -> Bounds:
        """Where Low and High begin, after the Sundays before a day. They stand for a week, and are stored."""
        sundays = churn.estimate_days(day)
        kept = self.histories[entity].learnt
        if sundays[-1] not in kept:
            self._train(entity, sundays, day)
        return kept[sundays[-1]]

    def _train(self, entity: str, sundays: Sequence[int], day: int) -> None:
        home, first = self.session.home, self.session.counts.first_day
        assert first is not None
        home.execute(
            f"CREATE TEMP TABLE IF NOT EXISTS {entity}_training (w BIGINT, e BIGINT, churned BOOLEAN)"
        )
        weeks = {sunday: churn.training_days(sunday, first) for sunday in sundays}
        for w in sorted({w for days in weeks.values() for w in days}):
            if (entity, w) not in self.trained:
                self._sum(w + churn.AWAY)
                history.see(home, entity, w + churn.AWAY, self._passive())
                home.execute(f"CREATE OR REPLACE TEMP TABLE {entity}_after AS FROM {entity}_seen")
                self._sum(w)
                history.see(home, entity, w, self._passive())
                self._only_passing(entity, "seen")
                home.execute(
                    f"INSERT INTO {entity}_training SELECT {w}, coalesce(r.raw, 0)::BIGINT, a.key IS NULL FROM {entity}_seen s"
                    f" LEFT JOIN {entity}_raw r ON r.key = s.key LEFT JOIN {entity}_after a ON a.key = s.key"
                )
                self.trained.add((entity, w))
        estimates = []
        for sunday in sundays:
            days = ", ".join(map(str, weeks[sunday])) or "NULL"
            home.execute(
                f"CREATE OR REPLACE TEMP TABLE training AS SELECT e, churned FROM {entity}_training WHERE w IN ({days})"
            )
            estimates.append(churn.estimate(home, "training"))
        self._sum(sundays[-1])
        home.execute(f"CREATE OR REPLACE TEMP TABLE everybody AS SELECT raw::BIGINT AS e FROM {entity}_raw")
        self.histories[entity].learnt[sundays[-1]] = churn.bounds(home, estimates, "everybody")
        self._sum(day)
        self._restore(day)

    def _restore(self, day: int) -> None:
        """Scoring other days has left the tables of those."""
        for entity in ENTITIES:
            if day in self.histories[entity].used:
                scores.score(
                    self.session.home,
                    self.plan,
                    entity,
                    self.histories[entity].used[day],
                    self.signals[entity],
                )
                self._only_passing(entity, "scored")

    # -- what is stored

    def _remembers(self, entity: str, day: int) -> bool:
        return self.histories[entity].of(day) is not None

    def _recall(self, entity: str, day: int) -> None:
        home, kept = self.session.home, self.histories[entity]
        home.execute(
            f"CREATE OR REPLACE TEMP TABLE recalled AS SELECT no AS key, {day} AS day, h.* EXCLUDE (id)"
            f" FROM ({kept.score_query(day)}) h JOIN {entity}_ids USING (id)"
        )
        home.execute(f"INSERT INTO {entity}_long BY NAME SELECT key, day, score, level FROM recalled")
        if self.plan.profile.levels.hysteresis:
            home.execute(f"INSERT INTO {entity}_fitting BY NAME SELECT key, day, fitting FROM recalled")

    def _among(self, measure: Measure) -> str:
        if measure.events is None:
            return ""
        quoted = ", ".join(f"'{scores.quoted(name)}'" for name in measure.events)
        return f" AND event_no IN (SELECT no FROM event_ids WHERE id IN ({quoted}))"
