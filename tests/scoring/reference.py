"""The definitions of the weighted model again, in plain Python: loops, datetime and zoneinfo, nothing of ours.

`score` takes rows as dictionaries and answers every metric of every user and account on one day, as a first run
would store it. It is what the product's numbers are compared with.
"""

import math
import statistics
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

Row = Mapping[str, Any]
TIERS = {"advanced": 8.0, "core": 5.0, "common": 2.0}
DEFAULT_BANDS = {"Low": 0, "Medium": 25, "High": 50, "Very High": 75}
NOT_SHIPPED = {"All", "All Active", "Active Today"}


def score(
    events: Iterable[Row],
    users: Iterable[Row] | None,
    accounts: Iterable[Row] | None,
    profile_dict: Mapping[str, Any],
    time_zone: str | ZoneInfo,
    as_of: date,
) -> dict[str, dict[str, dict[str, Any]]]:
    """`{"user": {id: metrics}, "account": {id: metrics}}` of the snapshot of a day.

    Timestamps are datetimes (without a zone: UTC) or ISO text. `users` and `accounts` may be None. The profile is
    its file as a tree; numbers may be text.
    """
    zone = time_zone if isinstance(time_zone, ZoneInfo) else ZoneInfo(time_zone)
    return _World(events, users or (), accounts or (), _Rules(profile_dict), zone, as_of).snapshot(as_of)


class _Rules:
    def __init__(self, tree: Mapping[str, Any]) -> None:
        self.window = _days(tree.get("window", "7d"))
        self.weights: dict[str, float] = {}
        self.passive: set[str] = set()
        self.per_day: dict[str, float] = {}
        self.per_window: dict[str, float] = {}
        for entry in tree["events"]:
            name = entry["event"]
            weight = TIERS[entry["tier"]] if "tier" in entry else float(entry.get("weight", 0))
            if weight > 0:
                self.weights[name] = weight
            if str(entry.get("passive", "false")).lower() == "true":
                self.passive.add(name)
            self.per_day[name] = float(entry.get("per_day", math.inf))
            self.per_window[name] = float(entry.get("per_window", math.inf))
        activation = tree.get("activation", {})
        self.steps = {entity: list(activation.get(entity, [])) for entity in ("user", "account")}
        normalize = tree.get("normalize", "exponential")
        self.target = float(normalize["target"]) if isinstance(normalize, Mapping) else None
        self.normalize = "exponential" if isinstance(normalize, Mapping) else normalize
        benchmark = tree.get("benchmark", "smoothed")
        self.frozen = date.fromisoformat(benchmark["frozen"]) if isinstance(benchmark, Mapping) else None
        self.benchmark = "frozen" if isinstance(benchmark, Mapping) else benchmark
        self.decay = tree.get("decay", "none")
        self.rollup = tree.get("rollup", "average")
        bands = tree.get("levels", {}).get("bands", DEFAULT_BANDS)
        self.bands = sorted(((int(low), name) for name, low in bands.items()), reverse=True)
        self.ship = {key: str(value).lower() == "true" for key, value in tree.get("ship", {}).items()}

    def factor(self, age: int) -> float:
        if isinstance(self.decay, Mapping):
            if "half_life" in self.decay:
                return float(2 ** (-age / _days(self.decay["half_life"])))
            return max(0.0, 1 - age / _days(self.decay["linear"]))
        return 1.0

    def level(self, shown: int) -> str | None:
        return next((name for low, name in self.bands if shown >= low), None)


class _World:
    def __init__(
        self,
        events: Iterable[Row],
        users: Iterable[Row],
        accounts: Iterable[Row],
        rules: _Rules,
        zone: ZoneInfo,
        last: date,
    ) -> None:
        self.rules, self.zone = rules, zone
        self.users = {str(row["user_id"]): row for row in users if _id(row.get("user_id"))}
        self.accounts = {str(row["account_id"]): row for row in accounts if _id(row.get("account_id"))}
        self.events: list[tuple[datetime, str | None, str | None, str, date]] = []
        seen_ids: set[str] = set()
        rows = []
        for row in events:
            stamp = _instant(row.get("timestamp"))
            user, account = _id(row.get("user_id")), _id(row.get("account_id"))
            if stamp is None or (user is None and account is None) or stamp >= self.end(last):
                continue
            rows.append((stamp, user or "", account or "", str(row["event"]), _id(row.get("event_id"))))
        for stamp, user, account, name, event_id in sorted(rows, key=lambda row: row[:4]):
            if event_id is not None:
                if event_id in seen_ids:
                    continue
                seen_ids.add(event_id)
            day = stamp.astimezone(zone).date()
            self.events.append((stamp, user or None, account or None, name, day))
        self.per_user: dict[str, list[int]] = defaultdict(list)
        self.per_carried: dict[str, list[int]] = defaultdict(list)
        self.counts: dict[date, dict[tuple[str, str], int]] = defaultdict(lambda: defaultdict(int))
        for position, (_, user, account, name, day) in enumerate(self.events):
            if user is not None:
                self.per_user[user].append(position)
                if name in rules.weights:
                    self.counts[day][user, name] += 1
            if account is not None:
                self.per_carried[account].append(position)
        self.stamps = [event[0] for event in self.events]
        self.dailies: dict[str, dict[date, float]] = {"user": {}, "account": {}}
        self.points_of: dict[date, dict[str, dict[str, float]]] = {}
        self.scores_of: dict[date, dict[str, dict[str, tuple[float, int]]]] = {}

    # Days

    def end(self, day: date) -> datetime:
        """t: midnight at the end of the day."""
        return self.midnight(day + timedelta(days=1))

    def midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), tzinfo=self.zone).astimezone(UTC)

    def before(self, positions: list[int], day: date) -> list[int]:
        """Those of ascending positions whose event lies before t."""
        limit = bisect_left(self.stamps, self.end(day))
        return positions[: bisect_left(positions, limit)]

    # Raw scores

    def points(self, day: date) -> dict[str, dict[str, float]]:
        """Per user and event, the points of the window that ends with the day."""
        if day not in self.points_of:
            found: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
            for age in range(self.rules.window):
                factor = self.rules.factor(age)
                for (user, name), count in self.counts.get(day - timedelta(days=age), {}).items():
                    found[user][name] += min(count, self.rules.per_day[name]) * factor
            self.points_of[day] = {
                user: {
                    name: self.rules.weights[name] * min(value, self.rules.per_window[name])
                    for name, value in done.items()
                }
                for user, done in found.items()
            }
        return self.points_of[day]

    def raw(self, day: date) -> dict[str, float]:
        return {user: sum(done.values()) for user, done in self.points(day).items()}

    def account_raw(self, day: date) -> dict[str, float]:
        raw = self.raw(day)
        positive = sorted(value for value in raw.values() if value > 0)
        limit = _percentile(positive, 0.95) if self.rules.rollup == "pooled" and positive else math.inf
        found: dict[str, float] = defaultdict(float)
        for user, value in raw.items():
            account = self.account_of(user, day)
            if account is not None:
                found[account] += min(value, limit)
        return dict(found)

    # Who belongs where, and who is there

    def account_of(self, user: str, day: date) -> str | None:
        listed = _id(self.users.get(user, {}).get("account_id"))
        if listed is not None:
            return listed
        carried = [
            (self.events[position][0], self.events[position][2])
            for position in self.before(self.per_user.get(user, []), day)
            if self.events[position][2] is not None
        ]
        if not carried:
            return None
        last = max(stamp for stamp, _ in carried)
        return min(str(account) for stamp, account in carried if stamp == last)

    def signed_up(self, row: Row, first_seen: datetime | None) -> datetime | None:
        return min(filter(None, (_instant(row.get("created_at")), first_seen)), default=None)

    def account_events(self, day: date) -> dict[str, list[int]]:
        """The events of an account's users and those that carry its id, each once, before t."""
        found: dict[str, set[int]] = defaultdict(set)
        for user, positions in self.per_user.items():
            account = self.account_of(user, day)
            if account is not None:
                found[account].update(self.before(positions, day))
        for account, positions in self.per_carried.items():
            found[account].update(self.before(positions, day))
        return {account: sorted(positions) for account, positions in found.items()}

    def existing_users(self, day: date) -> dict[str, list[int]]:
        t = self.end(day)
        found = {}
        for user in {*self.users, *self.per_user}:
            positions = self.before(self.per_user.get(user, []), day)
            if user not in self.users and not positions:
                continue
            up = self.signed_up(self.users.get(user, {}), self.stamps[positions[0]] if positions else None)
            if up is None or up < t:
                found[user] = positions
        return found

    def existing_accounts(self, day: date) -> dict[str, list[int]]:
        t = self.end(day)
        events = self.account_events(day)
        listed = {*self.accounts, *filter(None, (_id(row.get("account_id")) for row in self.users.values()))}
        found = {}
        for account in {*listed, *events}:
            positions = events.get(account, [])
            if account not in listed and not positions:
                continue
            up = self.signed_up(
                self.accounts.get(account, {}), self.stamps[positions[0]] if positions else None
            )
            if up is None or up < t:
                found[account] = positions
        return found

    # Benchmarks and scores

    def daily(self, entity: str, day: date) -> float:
        """The benchmark of a day alone; a day with few takes the last one before it, else the largest."""
        known = self.dailies[entity]
        if not self.counts:
            return 0.0
        at = max(known) + timedelta(days=1) if known else min(self.counts)
        previous = known.get(at - timedelta(days=1), 0.0)
        while at <= day:
            raw = self.raw(at) if entity == "user" else self.account_raw(at)
            positive = sorted(value for value in raw.values() if value > 0)
            if len(positive) >= 20:
                previous = _percentile(positive, 0.9)
            elif previous == 0 and positive:
                previous = positive[-1]
            known[at] = previous
            at += timedelta(days=1)
        return known.get(day, 0.0)

    def benchmark(self, entity: str, day: date) -> float | None:
        rules = self.rules
        if rules.target is not None:
            return rules.target
        if rules.normalize == "percentile":
            return None
        if entity == "account" and rules.rollup == "average":
            entity = "user"
        if rules.frozen is not None:
            return self.daily(entity, rules.frozen)
        if rules.benchmark == "rolling":
            return self.daily(entity, day)
        recent = [self.daily(entity, day - timedelta(days=age)) for age in range(28)]
        return statistics.median([value for value in recent if value > 0] or [0.0])

    def normalized(self, raw: dict[str, float], benchmark: float | None) -> dict[str, float]:
        if benchmark is None:
            ranked = sorted(value for value in raw.values() if value > 0)
            below = {value: bisect_left(ranked, value) for value in ranked}
            return {
                key: 100 * below[value] / (len(ranked) - 1) if value > 0 and len(ranked) > 1 else 0.0
                for key, value in raw.items()
            }
        if benchmark == 0:
            return dict.fromkeys(raw, 0.0)
        if self.rules.normalize == "winsor":
            return {key: min(100.0, 100 * value / benchmark) for key, value in raw.items()}
        return {key: 100 * (1 - 10 ** (-value / benchmark)) for key, value in raw.items()}

    def scores(self, day: date) -> dict[str, dict[str, tuple[float, int]]]:
        """Unrounded and shown scores of everybody there is on a day."""
        if day in self.scores_of:
            return self.scores_of[day]
        users, accounts = self.existing_users(day), self.existing_accounts(day)
        points, raw = self.points(day), self.raw(day)
        user_benchmark = self.benchmark("user", day)
        user_exact = self.normalized({user: raw.get(user, 0.0) for user in users}, user_benchmark)
        found = {
            "user": {
                user: (exact, _shown(exact, raw.get(user, 0.0), user_benchmark))
                for user, exact in user_exact.items()
            }
        }
        account_benchmark = self.benchmark("account", day)
        if self.rules.rollup == "average":
            active: dict[str, list[str]] = defaultdict(list)
            for user in users:
                account = self.account_of(user, day)
                if user in points and account is not None:
                    active[account].append(user)
            found["account"] = {}
            for account in accounts:
                members = active.get(account, [])
                exact = sum(user_exact[user] for user in members) / len(members) if members else 0.0
                total = sum(raw[user] for user in members)
                found["account"][account] = exact, _shown(exact, total, account_benchmark)
        else:
            totals = self.account_raw(day)
            exacts = self.normalized(
                {account: totals.get(account, 0.0) for account in accounts}, account_benchmark
            )
            found["account"] = {
                account: (exact, _shown(exact, totals.get(account, 0.0), account_benchmark))
                for account, exact in exacts.items()
            }
        self.scores_of[day] = found
        return found

    # Steps

    def event_step(self, step: Row, positions: list[int]) -> bool:
        names = [step["event"]] if isinstance(step["event"], str) else step["event"]
        count = step.get("count", {"gte": 1})
        least = int(count["gte"]) if "gte" in count else int(count["gt"]) + 1
        return sum(self.events[position][3] in names for position in positions) >= least

    def user_step(self, step: Row, user: str, positions: list[int], day: date) -> bool:
        if "event" in step:
            return self.event_step(step, positions)
        table, _, column = step["trait"].rpartition(".")
        account = self.account_of(user, day) or ""
        row = self.accounts.get(account, {}) if table == "account" else self.users.get(user, {})
        return _compare(step, row.get(column))

    def account_step(
        self, step: Row, account: str, positions: list[int], members: list[str], day: date
    ) -> bool:
        if "trait" in step:
            table, _, column = step["trait"].rpartition(".")
            if table == "user":
                return any(_compare(step, self.users.get(user, {}).get(column)) for user in members)
            return _compare(step, self.accounts.get(account, {}).get(column))
        actors: dict[str | None, list[int]] = defaultdict(list)
        for position in positions:
            actors[self.events[position][1]].append(position)
        return any(self.event_step(step, done) for done in actors.values())

    # A snapshot

    def snapshot(self, day: date) -> dict[str, dict[str, dict[str, Any]]]:
        users, accounts = self.existing_users(day), self.existing_accounts(day)
        members: dict[str, list[str]] = defaultdict(list)
        for user in users:
            account = self.account_of(user, day)
            if account is not None:
                members[account].append(user)
        points = self.points(day)
        found: dict[str, dict[str, dict[str, Any]]] = {"user": {}, "account": {}}
        for user, positions in users.items():
            row = self.common("user", user, positions, self.users.get(user, {}), points.get(user, {}), day)
            row["account_id"] = self.account_of(user, day)
            steps = [self.user_step(step, user, positions, day) for step in self.rules.steps["user"]]
            row["activation"] = 100 * sum(steps) / len(steps) if steps else None
            found["user"][user] = self.audiences("user", row, day)
        for account, positions in accounts.items():
            mine = sorted(members.get(account, []))
            together: dict[str, float] = defaultdict(float)
            for user in mine:
                for name, value in points.get(user, {}).items():
                    together[name] += value
            row = self.common("account", account, positions, self.accounts.get(account, {}), together, day)
            last = {
                user: found["user"][user]["last_seen"] for user in mine if found["user"][user]["last_seen"]
            }
            since = self.midnight(day + timedelta(days=1 - 90))
            row["active_users"] = sum(user in points for user in mine)
            row["total_users"] = sum(stamp >= since for stamp in last.values())
            row["percent_active"] = (
                min(100.0, 100 * row["active_users"] / row["total_users"]) if row["total_users"] else None
            )
            latest = max(last.values(), default=None)
            row["member"] = min((user for user, stamp in last.items() if stamp == latest), default=None)
            steps = [
                self.account_step(step, account, positions, mine, day) for step in self.rules.steps["account"]
            ]
            row["activation"] = 100 * sum(steps) / len(steps) if steps else None
            found["account"][account] = self.audiences("account", row, day)
        return found

    def common(
        self,
        entity: str,
        key: str,
        positions: list[int],
        listed: Row,
        points: Mapping[str, float],
        day: date,
    ) -> dict[str, Any]:
        rules = self.rules
        own = [self.events[position] for position in positions]
        since = day - timedelta(days=rules.window - 1)
        scored = [(name, when) for _, _, _, name, when in own if name in rules.weights]
        recent = [(name, when) for name, when in scored if since <= when <= day]
        exact, shown = self.scores(day)[entity][key]
        row: dict[str, Any] = {
            "score": shown,
            "score_exact": exact,
            "benchmark": self.benchmark(entity, day),
            "first_seen": own[0][0] if own else None,
            "last_seen": own[-1][0] if own else None,
            "last_active": max(
                (stamp for stamp, _, _, name, _ in own if name not in rules.passive), default=None
            ),
            "adoption_recent": 100 * len({name for name, _ in recent}) / len(rules.weights),
            "adoption_ever": 100 * len({name for name, _ in scored}) / len(rules.weights),
            "frequency": len({when for _, when in recent}),
            "active_today": any(when == day for _, when in recent),
        }
        row["signed_up"] = self.signed_up(listed, row["first_seen"])
        row["tenure_days"] = None
        if row["signed_up"] is not None:
            up = row["signed_up"].astimezone(self.zone).date()
            row["tenure_days"] = (day - up).days + (row["signed_up"] == self.midnight(up))
        best = sorted(((-value, name) for name, value in points.items() if value > 0))[:3]
        row["drivers"] = ", ".join(name for _, name in best) or None
        month = self.shown_on(entity, key, day - timedelta(days=30))
        earlier = self.shown_on(entity, key, day - timedelta(days=rules.window))
        row["score_change"] = None if month is None else shown - month
        row["score_change_window"] = None if earlier is None else shown - earlier
        row["trend"] = _trend(shown, month)
        row["level"] = rules.level(shown)
        row |= self.level_change(entity, key, day)
        return row

    def shown_on(self, entity: str, key: str, day: date) -> int | None:
        found = self.scores(day)[entity].get(key)
        return None if found is None else found[1]

    def level_change(self, entity: str, key: str, day: date) -> dict[str, Any]:
        """The last move, in the days that a first run stores."""
        for back in range(max(30, self.rules.window)):
            at = day - timedelta(days=back)
            now = self.shown_on(entity, key, at)
            before = self.shown_on(entity, key, at - timedelta(days=1))
            if now is None or before is None:
                break
            if self.rules.level(now) != self.rules.level(before):
                return {"level_previous": self.rules.level(before), "level_changed_on": at}
        return {"level_previous": None, "level_changed_on": None}

    def audiences(self, entity: str, row: dict[str, Any], day: date) -> dict[str, Any]:
        def ago(days: int) -> datetime:
            return self.midnight(day + timedelta(days=1 - days))

        shown, up, active = row["score"], row["signed_up"], row["last_active"]
        moved = row["score_change_window"]
        inside = {
            "all": ("All", True),
            "all_active": ("All Active", row["frequency"] > 0),
            "new": ("New", up is not None and up >= ago(self.rules.window)),
            "most_engaged": ("Most Engaged", shown >= 75),
            "slightly_engaged": ("Slightly Engaged", 50 <= shown < 75),
            "passive": ("Passive", 25 <= shown < 50),
            "least_engaged": ("Least Engaged", shown < 25),
            "recently_inactive": ("Recently Inactive", active is not None and ago(60) <= active < ago(30)),
            "red_hot": ("Red Hot", moved is not None and moved >= 10),
            "ice_cold": ("Ice Cold", moved is not None and moved <= -10),
            "mature": ("Mature", up is None or up < ago(180)),
            "active_today": ("Active Today", row["active_today"]),
        }
        if entity == "account":
            inside["multi_user_accounts"] = ("Multi-User Accounts", row["active_users"] >= 2)
        shipped = {key: name not in NOT_SHIPPED for key, (name, _) in inside.items()}
        for _, name in self.rules.bands:
            inside["level_" + _snake(name)] = (name, row["level"] == name)
        for name in ("New", "Cooling", "Neutral", "Heating", "Surging"):
            inside["trend_" + _snake(name)] = (name, row["trend"] == name)
        shipped = {key: self.rules.ship.get(key, shipped.get(key, False)) for key in inside}
        row["audiences"] = sorted(key for key, (_, there) in inside.items() if there)
        row["segments"] = sorted({inside[key][0] for key in row["audiences"] if shipped[key]})
        return row


def _trend(shown: int, month: int | None) -> str:
    if month is None:
        return "New"
    moved = shown - month
    if moved <= -10:
        return "Cooling"
    if moved < 10:
        return "Neutral"
    return "Heating" if moved <= 24 else "Surging"


def _shown(exact: float, raw: float, benchmark: float | None) -> int:
    if raw <= 0 or benchmark == 0:
        return 0
    return max(1, math.floor(round(exact, 9) + 0.5))


def _percentile(ordered: list[float], share: float) -> float:
    """Hyndman and Fan's type 7."""
    place = (len(ordered) - 1) * share
    low = math.floor(place + 1e-9)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * max(0.0, place - low)


def _compare(step: Row, found: Any) -> bool:
    operator, wanted = next((key, value) for key, value in step.items() if key != "trait")
    missing = found is None or found == "" or (isinstance(found, float) and math.isnan(found))
    if operator == "exists":
        return missing != (str(wanted).lower() == "true")
    if missing:
        return False
    like = float if isinstance(found, int | float) and not isinstance(found, bool) else str

    def value(written: Any) -> Any:
        return like(written)

    mine = value(found) if like is float else (str(found).lower() if isinstance(found, bool) else str(found))
    if operator in ("in", "not_in"):
        return (mine in [value(each) for each in wanted]) == (operator == "in")
    if operator == "between":
        return bool(value(wanted[0]) <= mine <= value(wanted[1]))
    if operator == "contains":
        return str(wanted) in str(found)
    if operator == "starts_with":
        return str(found).startswith(str(wanted))
    other = value(wanted)
    return {
        "eq": mine == other,
        "neq": mine != other,
        "gt": mine > other,
        "gte": mine >= other,
        "lt": mine < other,
        "lte": mine <= other,
    }[operator]


def _id(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _instant(value: Any) -> datetime | None:
    if value is None or value == "":
        return None
    stamp = datetime.fromisoformat(value) if isinstance(value, str) else value
    return stamp.replace(tzinfo=UTC) if stamp.tzinfo is None else stamp.astimezone(UTC)


def _days(text: str) -> int:
    return int(text[:-1]) * (7 if text.endswith("w") else 1)


def _snake(name: str) -> str:
    return name.lower().replace(" ", "_")
