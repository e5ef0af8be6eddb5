"""What the events of each window come to, for users and for accounts: the totals that scores are made of.

Several days are added up together as long as no user comes into another account between them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from heatsync.scoring.compute import benchmarks, churn_levels, entities, scores, weighting
from heatsync.scoring.compute.arrow import take
from heatsync.scoring.compute.compiled_profile import Plan
from heatsync.scoring.compute.weighting import ENTITIES
from heatsync.snapshots import event_queries
from heatsync.snapshots.profile_filter import ProfileFilter
from heatsync.snapshots.session import Session

CAP = 19
"""In twentieths: `pooled` caps a user at the 95th percentile."""
ROWS = 30_000_000
"""At most so many rows are added up at once: this decides how many days are taken together."""


@dataclass(slots=True)
class WindowTotals:
    """The totals of a profile's windows. `filter` decides which entities count."""

    session: Session
    plan: Plan
    filter: ProfileFilter
    days_together: int = 1
    move_days: frozenset[int] | None = None
    """The days on which a user comes into another account; None where no user ever does."""
    _weighted: set[str] = field(default_factory=set)
    """The entities whose worth of every day is computed."""
    _placed_on: int | None = None
    """The last of the days that `placement` is computed for."""

    def prepare(self, last: int) -> None:
        """Find the events of the profile up to the day `last`, and the accounts that users move between."""
        con, counts = self.session.connection, self.session.counts
        self.count_properties(last)
        take(con, "named_things", self.plan.named())
        con.execute(
            "CREATE OR REPLACE TEMP TABLE thing_events AS SELECT no AS event_no, thing, weight, per_day"
            " FROM named_things JOIN event_ids ON id = event"
        )
        weighting.prepare(con)
        con.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE roaming AS
            SELECT user_no, account_no, {entities.ALWAYS} AS day, last
            FROM read_parquet('{scores.quoted(str(counts.carried))}') ANTI JOIN member_homes USING (user_no)
            UNION ALL
            SELECT user_no, account_no, day, max(last) FROM daily ANTI JOIN member_homes USING (user_no)
            WHERE user_no IS NOT NULL AND account_no IS NOT NULL GROUP BY user_no, account_no, day
            """
        )
        self.days_together = self._fitting_days()
        self.move_days = self._find_moves()
        self._placed_on = None
        self._weighted.clear()

    @property
    def users_move(self) -> bool:
        return self.move_days is not None

    def count_properties(self, last: int) -> None:
        """Count again what touchpoints select by properties, up to the day `last`."""
        counted = self.session.counts.counted
        first = counted.since if self.plan.model == "kpi" else last
        event_queries.count_by_properties(self.session.counts, self.plan, first, last)
        self._weighted.clear()

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
            weighting.place(self.session.connection, day)
            self._weighted.discard("account")
        self._placed_on = day

    def add_up(self, days: Sequence[int]) -> None:
        """`user_raw` and `account_raw` of the windows that end with each of the days; for `kpi` also `user_x` and
        `account_x`, the touchpoints."""
        con, plan = self.session.connection, self.plan
        self.place_users(days)
        self.filter.evaluate(days)
        passing = {entity: self.filter.semi_join(entity) for entity in ENTITIES}
        self._weigh("user", days)
        weighting.add_up(con, plan, "user", days, passing["user"])
        if plan.model == "weighted":
            if plan.profile.rollup != "average":
                caps: dict[int, int] = {}
                if plan.profile.rollup == "pooled":
                    capped = benchmarks.quantiles(con, "user_raw", CAP, days)
                    caps = {day: int(each.value) for day, each in capped.items()}
                weighting.roll_up(con, caps, passing["account"])
        else:
            self._weigh("account", days)
            weighting.add_up(con, plan, "account", days, passing["account"])
        if plan.model == "kpi":
            for entity in ENTITIES:
                weighting.attend(con, f"{entity}_present", entity, plan.profile.window, days, passing[entity])
                scores.tabulate(con, plan, entity)

    def first_events(self, day: int) -> tuple[int, int | None]:
        """How many users and accounts have an event of the profile up to a day, and the day of the first one."""
        row = self.session.connection.execute(
            f"SELECT count(DISTINCT coalesce(user_no, -1 - account_no)), min(day) FROM done WHERE day <= {day}"
        ).fetchone()
        assert row is not None
        return int(row[0]), row[1]

    def first_account_event(self, day: int) -> int | None:
        """The day of the first event, up to a day, of a user in an account."""
        row = self.session.connection.execute(
            f"SELECT min(day) FROM done SEMI JOIN placement USING (user_no) WHERE day <= {day}"
        ).fetchone()
        assert row is not None
        return None if row[0] is None else int(row[0])

    def _moves_between(self, first: int, last: int) -> bool:
        """Whether a user comes into another account after the day `first`, up to `last`."""
        return self.move_days is not None and any(first < each <= last for each in self.move_days)

    def _weigh(self, entity: str, days: Sequence[int]) -> None:
        """Weigh every day once; for accounts whose users move, the days of the windows each time."""
        if entity in self._weighted:
            return
        counted = self.session.counts.counted
        first, last = counted.since, counted.until
        if entity == "account" and self.users_move:
            first, last = days[0] - self.plan.profile.window + 1, days[-1]
        else:
            self._weighted.add(entity)
        weighting.weigh(self.session.connection, self.plan, entity, first, last)

    def _fitting_days(self) -> int:
        """How many days may be taken together, by how many rows one of them has."""
        counted = self.session.counts.counted
        row = self.session.connection.execute(
            "SELECT (SELECT count(*) FROM daily), (SELECT count(*) FROM user_ids) + (SELECT count(*) FROM account_ids)"
        ).fetchone()
        assert row is not None
        daily = row[0] / max(1, counted.until - counted.since + 1)
        return max(1, int(ROWS / (1 + row[1] + daily * max(churn_levels.AWAY, self.plan.profile.window))))

    def _find_moves(self) -> frozenset[int] | None:
        """The days on which a user without an account in the users table comes into another account."""
        con = self.session.connection
        row = con.execute("SELECT count(*) FROM roaming").fetchone()
        if row is None or not row[0]:
            return None
        if self.days_together == 1:
            return frozenset()
        found = con.execute(
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
