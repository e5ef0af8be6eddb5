"""What the events of each window come to, for users and for accounts: the totals that scores are computed from.

Several days are added up together as long as no user comes into another account between them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from heatsync.scoring.compute import benchmarks, churn_levels, entities, scores, weighting
from heatsync.scoring.compute.compiled_profile import CompiledProfile
from heatsync.scoring.compute.entities import Entities
from heatsync.scoring.compute.relations import PlacedCounts, Relation, create_empty, create_table
from heatsync.scoring.compute.scores import EntityTotals
from heatsync.scoring.compute.weighting import ENTITIES
from heatsync.snapshots import event_queries
from heatsync.snapshots.profile_filter import Population, ProfileFilter
from heatsync.snapshots.session import Session

CAP = 19
"""In twentieths: `pooled` caps a user at the 95th percentile."""
ROWS = 30_000_000
"""At most so many rows are added up at once: this decides how many days are taken together."""


@dataclass(slots=True)
class WindowTotals:
    """The totals of a profile's windows. `filter` decides which entities count."""

    session: Session
    plan: CompiledProfile
    filter: ProfileFilter
    days_together: int = 1
    move_days: frozenset[int] | None = None
    """The days on which a user comes into another account; None where no user ever does."""
    by_properties: Relation = field(init=False)
    """What touchpoints count that select events by properties (event_queries.count_by_properties)."""
    done: Relation = field(init=False)
    _roaming: Relation = field(init=False)
    """user_no, account_no, day, last: the accounts on the events of users without one in the users table."""
    _placed: PlacedCounts | None = None
    _placed_on: int | None = None
    """The last of the days that users are placed for."""
    _worth: dict[str, Relation] = field(default_factory=dict)
    """By entity: the worth of every day."""

    def prepare(self, last: int) -> None:
        """Find the events of the profile up to the day `last`, and the accounts that users move between. Raises
        ConfigurationError."""
        con, counts, base = self.session.connection, self.session.counts, self.session.day_counts
        self.count_properties(last)
        self.done = weighting.scored_events(con, self.plan, base, self.by_properties)
        self._roaming = create_table(
            con,
            "roaming",
            ("user_no", "account_no", "day", "last"),
            f"""
            SELECT user_no, account_no, {entities.ALWAYS_EXISTED} AS day, last
            FROM read_parquet('{scores.escape_quotes(str(counts.carried))}') ANTI JOIN {base.homes} USING (user_no)
            UNION ALL
            SELECT user_no, account_no, day, max(last) FROM {base.daily} ANTI JOIN {base.homes} USING (user_no)
            WHERE user_no IS NOT NULL AND account_no IS NOT NULL GROUP BY user_no, account_no, day
            """,
        )
        self.days_together = self._fitting_days()
        self.move_days = self._find_moves()
        self._placed_on = None
        self._worth.clear()

    @property
    def placed(self) -> PlacedCounts:
        """The counts, with users placed by the last `place_users` or `add_up`."""
        assert self._placed is not None
        return self._placed

    @property
    def users_move(self) -> bool:
        """Whether users come into other accounts between the days."""
        return self.move_days is not None

    def count_properties(self, last: int) -> None:
        """Count again what touchpoints select by properties, up to the day `last`."""
        counted = self.session.counts.counted
        first = counted.since if self.plan.model == "kpi" else last
        self.by_properties = event_queries.count_by_properties(self.session.counts, self.plan, first, last)
        self._worth.clear()

    def chunks(self, days: Sequence[int]) -> Iterator[list[int]]:
        """Days that can be taken together: no user comes into another account between them."""
        chunk: list[int] = []
        for day in days:
            if chunk and (len(chunk) == self.days_together or self._moves_between(chunk[-1], day)):
                yield chunk
                chunk = []
            chunk.append(day)
        if chunk:
            yield chunk

    def place_users(self, days: Sequence[int]) -> None:
        """Put users into their accounts as of the days, on all of which they are the same."""
        day, before = days[-1], self._placed_on
        if (
            before is None
            or (self.users_move and self.days_together == 1)
            or self._moves_between(min(before, day), max(before, day))
        ):
            con = self.session.connection
            self._placed = weighting.place_users(con, self.session.day_counts, self._roaming, day)
            self._worth.pop("account", None)
        self._placed_on = day

    def prepare_filter(self, first: int, last: int, found: Mapping[str, Entities]) -> None:
        """Get the filter ready for the days from `first` to `last`, of the entities that were found."""
        population = Population(found, self.placed, self.by_properties, self.users_move)
        self.filter.prepare(self.plan, first, last, population)

    def add_up(self, days: Sequence[int]) -> dict[str, EntityTotals]:
        """By entity, the totals of the windows that end with each of the days."""
        con, plan = self.session.connection, self.plan
        self.place_users(days)
        self.filter.evaluate(days, self.placed)
        included = {entity: self.filter.semi_join(entity) for entity in ENTITIES}
        raw = {
            "user": weighting.sum_windows(
                con, plan, "user", self._weigh("user", days), days, included["user"]
            )
        }
        if plan.model != "weighted":
            worth = self._weigh("account", days)
            raw["account"] = weighting.sum_windows(con, plan, "account", worth, days, included["account"])
        elif plan.profile.rollup == "average":
            raw["account"] = create_empty(
                con, "account_raw", day="BIGINT", key="INTEGER", part="INTEGER", raw="HUGEINT"
            )
        else:
            caps: dict[int, int] = {}
            if plan.profile.rollup == "pooled":
                capped = benchmarks.quantiles(con, str(raw["user"]), CAP, days)
                caps = {day: int(each.value) for day, each in capped.items()}
            raw["account"] = weighting.roll_up_users(
                con, raw["user"], self.placed.placement, caps, included["account"]
            )
        if plan.model != "kpi":
            return {entity: EntityTotals(raw[entity]) for entity in ENTITIES}
        found: dict[str, EntityTotals] = {}
        for entity in ENTITIES:
            windows = weighting.Windows(plan.profile.window, days)
            present = weighting.entities_with_events(
                con, f"{entity}_present", entity, self.placed, windows, included[entity]
            )
            found[entity] = EntityTotals(
                raw[entity], scores.touchpoint_totals(con, plan, entity, present, raw[entity])
            )
        return found

    def first_events(self, day: int) -> tuple[int, int | None]:
        """How many users and accounts have an event of the profile up to a day, and the day of the first one."""
        row = self.session.connection.execute(
            f"SELECT count(DISTINCT coalesce(user_no, -1 - account_no)), min(day) FROM {self.done} WHERE day <= {day}"
        ).fetchone()
        assert row is not None
        return int(row[0]), row[1]

    def first_account_event(self, day: int) -> int | None:
        """The day of the first event, up to a day, of a user in an account."""
        row = self.session.connection.execute(
            f"SELECT min(day) FROM {self.done} SEMI JOIN {self.placed.placement} USING (user_no) WHERE day <= {day}"
        ).fetchone()
        assert row is not None
        return None if row[0] is None else int(row[0])

    def _moves_between(self, first: int, last: int) -> bool:
        """Whether a user comes into another account after the day `first`, up to `last`."""
        return self.move_days is not None and any(first < each <= last for each in self.move_days)

    def _weigh(self, entity: str, days: Sequence[int]) -> Relation:
        """Weigh every day once; for accounts whose users move, the days of the windows each time."""
        if entity in self._worth:
            return self._worth[entity]
        con, counted = self.session.connection, self.session.counts.counted
        moving = entity == "account" and self.users_move
        first, last = counted.since, counted.until
        if moving:
            first, last = days[0] - self.plan.profile.window + 1, days[-1]
        worth = weighting.daily_worth(con, self.plan, entity, self.done, self.placed.placement, (first, last))
        if not moving:
            self._worth[entity] = worth
        return worth

    def _fitting_days(self) -> int:
        """How many days may be taken together, by how many rows one of them has."""
        counted = self.session.counts.counted
        base = self.session.day_counts
        row = self.session.connection.execute(
            f"SELECT (SELECT count(*) FROM {base.daily}), (SELECT count(*) FROM {base.ids['user']})"
            f" + (SELECT count(*) FROM {base.ids['account']})"
        ).fetchone()
        assert row is not None
        daily = row[0] / max(1, counted.until - counted.since + 1)
        return max(
            1, int(ROWS / (1 + row[1] + daily * max(churn_levels.CHURN_DAYS, self.plan.profile.window)))
        )

    def _find_moves(self) -> frozenset[int] | None:
        """The days on which a user without an account in the users table comes into another account."""
        con = self.session.connection
        row = con.execute(f"SELECT count(*) FROM {self._roaming}").fetchone()
        if row is None or not row[0]:
            return None
        if self.days_together == 1:
            return frozenset()
        found = con.execute(
            f"""
            WITH last AS (
                SELECT user_no, day, arg_min(account_no, ROW(-epoch_us(last), id)) AS account_no
                FROM {self._roaming} JOIN {self.session.day_counts.ids["account"]} ON no = account_no GROUP BY user_no, day
            )
            SELECT DISTINCT day FROM (
                SELECT day, account_no, lag(account_no) OVER (PARTITION BY user_no ORDER BY day) AS before FROM last
            ) WHERE before IS DISTINCT FROM account_no
            """
        ).fetchall()
        return frozenset(day for (day,) in found)
