"""The grammar of audiences and filters, evaluated for one user or account at t."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from .log import Event, Log
from .numbers import compare, instant
from .rules import Rules, where

Tree = Mapping[str, Any]
Change = tuple[date, str | None, str | None]
OPERATORS = frozenset(
    "eq neq gt gte lt lte between in not_in contains starts_with exists".split()  # noqa: SIM905
)
INTERVALS = ("within", "older_than", "after", "before", "between")


@dataclass
class Subject:
    """The entity that a condition is evaluated for. A filter has no traits, changes, users or audiences."""

    entity: str
    key: str
    day: date
    own: Sequence[Event]
    traits: Mapping[str, Any] = field(default_factory=dict)
    changes: Sequence[Change] = ()
    users: Sequence["Subject"] = ()
    audiences: Mapping[str, Callable[["Subject"], bool]] = field(default_factory=dict)


class Judge:
    def __init__(self, log: Log, rules: Rules) -> None:
        self.log, self.rules = log, rules

    def holds(self, condition: Tree, subject: Subject) -> bool:
        (kind,) = {"all", "any", "not", "trait", "event", "time", "users", "level_change", "audience"} & {
            *condition
        }
        return bool(getattr(self, f"_{kind}")(condition, subject))

    def _all(self, condition: Tree, subject: Subject) -> bool:
        return all(self.holds(each, subject) for each in condition["all"])

    def _any(self, condition: Tree, subject: Subject) -> bool:
        return any(self.holds(each, subject) for each in condition["any"])

    def _not(self, condition: Tree, subject: Subject) -> bool:
        return not self.holds(condition["not"], subject)

    def _trait(self, condition: Tree, subject: Subject) -> bool:
        name = condition["trait"]
        found = (
            self.log.trait(subject.entity, subject.key, name, subject.day)
            if "." in name
            else subject.traits[name]
        )
        return all(compare(operator, condition[operator], found) for operator in OPERATORS & {*condition})

    def _event(self, condition: Tree, subject: Subject) -> bool:
        named, properties = condition["event"], where(condition.get("where", {}))

        def counts(event: Event) -> bool:
            if isinstance(named, Mapping):
                meant = self.rules.tier(event.name) == named["tier"]
            elif named == "*":
                meant = True
            elif named == "scored":
                meant = self.rules.scores(event)
            else:
                meant = event.name in ([named] if isinstance(named, str) else named)
            return meant and all(
                compare(operator, wanted, event.property(name)) for name, operator, wanted in properties
            )

        def number(tree: Tree) -> int:
            since, until = self.interval(tree, subject.day)
            return sum(
                (since is None or event.stamp >= since) and event.stamp < until and counts(event)
                for event in subject.own
            )

        found: float = number(condition)
        if "ratio_to" in condition:
            base = number(condition["ratio_to"])
            if base == 0:
                return False
            found /= base
        wanted = condition.get("count", {"gte": 1})
        return all(compare(operator, value, found) for operator, value in wanted.items())

    def interval(self, tree: Tree, day: date) -> tuple[datetime | None, datetime]:
        """[from, to) of `within` or `between`; without either: ever."""
        if "between" in tree:
            old, new = tree["between"]
            return self.ago(old, day), self.ago(new, day)
        within = tree.get("within", "ever")
        return None if within == "ever" else self.ago(within, day), self.log.end(day)

    def ago(self, duration: str, day: date) -> datetime:
        """Calendar days and weeks, or elapsed hours."""
        amount, unit = int(duration[:-1]), duration[-1]
        if unit == "h":
            return self.log.end(day) - timedelta(hours=amount)
        return self.log.ago(day, amount * (7 if unit == "w" else 1))

    def _time(self, condition: Tree, subject: Subject) -> bool:
        at = self.moment(condition["time"], subject)
        if at is None:
            return False
        for kind in {*INTERVALS} & {*condition}:
            value = condition[kind]
            if kind == "older_than":
                fits = at < self.ago(value, subject.day)
            elif kind == "after":
                fits = at >= self.log.midnight(date.fromisoformat(value))
            elif kind == "before":
                fits = at < self.log.midnight(date.fromisoformat(value))
            else:
                since, until = self.interval(condition, subject.day)
                fits = (since is None or at >= since) and at < until
            if not fits:
                return False
        return True

    def moment(self, name: str, subject: Subject) -> datetime | None:
        own = subject.own
        if name == "created_at":
            return instant(self.log.listed(subject.entity, subject.key).get("created_at"))
        if name == "level_changed_on":
            changed = subject.traits["level_changed_on"]
            return None if changed is None else self.log.midnight(changed)
        if name == "last_active":
            own = [event for event in own if event.name not in self.rules.passive]
        if not own:
            return None
        return own[0].stamp if name == "first_seen" else own[-1].stamp

    def _users(self, condition: Tree, subject: Subject) -> bool:
        inside = sum(self.holds(condition["users"], user) for user in subject.users)
        if "share" in condition:
            if not subject.users:
                return False
            share = 100 * inside / len(subject.users)
            return all(compare(operator, value, share) for operator, value in condition["share"].items())
        return all(compare(operator, condition[operator], inside) for operator in OPERATORS & {*condition})

    def _level_change(self, condition: Tree, subject: Subject) -> bool:
        wanted = condition["level_change"]
        length = int(wanted["within"][:-1]) * (7 if wanted["within"].endswith("w") else 1)
        recent = sorted(change for change in subject.changes if 0 <= (subject.day - change[0]).days < length)
        left = [day for day, before, _ in recent if wanted.get("from") in (None, before)]
        return any(
            wanted.get("to") in (None, after) and any(start <= day for start in left)
            for day, _, after in recent
        )

    def _audience(self, condition: Tree, subject: Subject) -> bool:
        return subject.audiences[condition["audience"]](subject)
