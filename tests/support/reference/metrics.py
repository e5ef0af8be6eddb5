"""Every metric of every user and account on a day."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from .audiences import Audiences
from .conditions import Subject
from .contributions import Contributions
from .levels import History, trend
from .log import ENTITIES, Event, Log, Row
from .numbers import compare
from .raw import worth
from .rules import Rules
from .scores import Scores

Metrics = dict[str, Any]


class Snapshots:
    """`days` are the days of one run."""

    def __init__(
        self, log: Log, rules: Rules, days: Iterable[date], audiences: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self.log, self.rules = log, rules
        self.scores = Scores(log, rules)
        self.history = History(log, rules, self.scores, days)
        self.audiences = {
            entity: Audiences(log, rules, self.scores.raw.judge, entity, audiences) for entity in ENTITIES
        }

    def of(self, day: date) -> dict[str, dict[str, Metrics]]:
        own = {entity: self.log.own(entity, day) for entity in ENTITIES}
        found: dict[str, dict[str, Metrics]] = {"user": {}, "account": {}}
        subjects: dict[str, dict[str, Subject]] = {"user": {}, "account": {}}
        members = self.scores.raw.members(day)
        active = self.scores.raw.active("user", day)
        for entity in ENTITIES:
            contributions = Contributions(self.scores, entity, day)
            for key in sorted(self.scores.raw.there(entity, day)):
                mine = own[entity].get(key, [])
                row = self.common(entity, key, mine, day)
                row["drivers"], row["contributions"] = contributions.drivers(key), contributions.of(key)
                users = (
                    [subjects["user"][user] for user in members.get(key, [])] if entity == "account" else []
                )
                if entity == "user":
                    row["account_id"] = self.log.home(key, day)
                    met = [self.user_step(step, key, mine, day) for step in self.rules.steps["user"]]
                else:
                    row |= self.of_users(users, active, day)
                    met = [
                        self.account_step(step, key, mine, [user.key for user in users])
                        for step in self.rules.steps["account"]
                    ]
                row["activation"] = 100 * sum(met) / len(met) if met else None
                changes = self.history.changes(entity, key, day)
                subjects[entity][key] = Subject(entity, key, day, mine, row, changes, users)
                found[entity][key] = row
            for key, who in subjects[entity].items():
                found[entity][key] |= self.audiences[entity].of(who)
        return found

    def common(self, entity: str, key: str, own: Sequence[Event], day: date) -> Metrics:
        log, rules = self.log, self.rules
        score = self.scores.of(entity, day)[key]
        since = day - timedelta(days=rules.window - 1)
        scored = [event for event in own if rules.scores(event)]
        recent = [event for event in scored if event.day >= since]
        active = [event for event in own if event.name not in rules.passive]
        first = own[0].stamp if own else None
        row: Metrics = {
            "score": score.shown,
            "score_exact": score.exact,
            "raw": score.raw,
            "benchmark": None if rules.model == "kpi" else self.scores.benchmark(entity, day),
            "first_seen": first,
            "last_seen": own[-1].stamp if own else None,
            "last_active": active[-1].stamp if active else None,
            "adoption_recent": self.adoption([event for event in own if event.day >= since]),
            "adoption_ever": self.adoption(own),
            "frequency": len({event.day for event in recent}),
            "active_today": any(event.day == day for event in recent),
            "signed_up": log.signed_up(entity, key, first),
            "tenure_days": None,
        }
        if row["signed_up"] is not None:
            up = row["signed_up"].astimezone(log.zone).date()
            row["tenure_days"] = (day - up).days + (row["signed_up"] == log.midnight(up))
        month = self.shown_on(entity, key, day - timedelta(days=30))
        earlier = self.shown_on(entity, key, day - timedelta(days=rules.window))
        row["score_change"] = difference(score.shown, month)
        row["score_change_window"] = difference(score.shown, earlier)
        row["trend"] = trend(score.shown, month)
        row["level"] = self.history.settled[entity, day][key]
        changes = self.history.changes(entity, key, day)
        row["level_changed_on"], row["level_previous"] = changes[-1][:2] if changes else (None, None)
        return row

    def shown_on(self, entity: str, key: str, day: date) -> int | None:
        found = self.scores.of(entity, day).get(key)
        return None if found is None else found.shown

    def adoption(self, own: Iterable[Event]) -> float:
        """The share of scored events, or of touchpoints, that were done."""
        if self.rules.model != "kpi":
            done = {event.name for event in own} & {*self.rules.weights}
            return 100 * len(done) / len(self.rules.weights)
        points = [point for point in self.rules.touchpoints if point.weight > 0]
        own = list(own)
        met = sum(any(worth(event.value) > 0 and point.of.has(event) for event in own) for point in points)
        return 100 * met / len(points)

    def of_users(self, users: Sequence[Subject], active: set[str], day: date) -> Metrics:
        """The metrics that an account takes from its users."""
        last = {user.key: user.own[-1].stamp for user in users if user.own}
        since = self.log.ago(day, 90)
        busy = sum(user.key in active for user in users)
        total = sum(stamp >= since for stamp in last.values())
        latest = max(last.values(), default=None)
        return {
            "active_users": busy,
            "total_users": total,
            "percent_active": min(100.0, 100 * busy / total) if total else None,
            "member": min((user for user, stamp in last.items() if stamp == latest), default=None),
        }

    # Activation

    def event_step(self, step: Row, own: Sequence[Event]) -> bool:
        names = [step["event"]] if isinstance(step["event"], str) else step["event"]
        number = sum(event.name in names for event in own)
        return all(
            compare(operator, wanted, number) for operator, wanted in step.get("count", {"gte": 1}).items()
        )

    def trait_step(self, step: Row, found: Any) -> bool:
        return all(
            compare(operator, wanted, found) for operator, wanted in step.items() if operator != "trait"
        )

    def user_step(self, step: Row, user: str, own: Sequence[Event], day: date) -> bool:
        if "event" in step:
            return self.event_step(step, own)
        return self.trait_step(step, self.log.trait("user", user, step["trait"], day))

    def account_step(self, step: Row, account: str, own: Sequence[Event], users: Sequence[str]) -> bool:
        """Whether a user of the account meets the step, or an event that carried the account's id did."""
        if "trait" in step:
            table, _, column = step["trait"].rpartition(".")
            if table == "user":
                return any(self.trait_step(step, self.log.users.get(user, {}).get(column)) for user in users)
            return self.trait_step(step, self.log.accounts.get(account, {}).get(column))
        actors: dict[str | None, list[Event]] = defaultdict(list)
        for event in own:
            actors[event.user].append(event)
        return any(self.event_step(step, mine) for mine in actors.values())


def difference(now: int | None, before: int | None) -> int | None:
    return None if now is None or before is None else now - before
