"""Conditions compiled to SQL over the rows of one day.

The SQL is true or false, never NULL: a comparison with a missing value is false. It reads these aliases:

    r      a row: the columns of the snapshot, `key`, `signed_up` and `created_at`
    u, a   the row of the users table, and of the accounts table: the account's own, or that of the user's account
    c      one column per `EventCount`: the number of events, never missing
    m      only accounts: `users_all`, the number of users, and for each condition on users how many meet it

and the tables `user_changes` and `account_changes`: key, day, level_before, level.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from heatsync.scoring.compute import calendar
from heatsync.scoring.compute.event_counts import (
    EventCount,
    EventTerm,
    digest,
    event_names,
    instant_before,
    normalized_duration,
    scored_event_terms,
)
from heatsync.scoring.definition import comparisons, value_types
from heatsync.scoring.definition.comparisons import NEGATIVE, Comparison
from heatsync.scoring.definition.condition_types import (
    All,
    Any,
    Condition,
    Duration,
    Events,
    LevelChange,
    Member,
    Not,
    Route,
    Time,
    Trait,
    Users,
    canonical,
)
from heatsync.scoring.definition.profile import Profile

_BOTH = {
    "score": "BIGINT",
    "activation": "DOUBLE",
    "adoption_recent": "DOUBLE",
    "adoption_ever": "DOUBLE",
    "last_active": "TIMESTAMP",
    "frequency": "BIGINT",
    "level": "VARCHAR",
    "level_previous": "VARCHAR",
    "level_changed_on": "DATE",
    "trend": "VARCHAR",
    "score_change": "BIGINT",
    "score_change_window": "BIGINT",
    "tenure_days": "BIGINT",
    "benchmark": "DOUBLE",
    "drivers": "VARCHAR",
    "first_seen": "TIMESTAMP",
    "last_seen": "TIMESTAMP",
    "account_id": "VARCHAR",
}
TRAITS: Mapping[str, Mapping[str, str]] = {
    "user": {**_BOTH, "user_id": "VARCHAR"},
    "account": {**_BOTH, "active_users": "BIGINT", "total_users": "BIGINT", "percent_active": "DOUBLE"},
}
"""The traits of a row that a condition may compare, with their DuckDB types."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What the names in a condition refer to, and when it is evaluated: at the end of `day` (days since 1970-01-01)."""

    profile: Profile
    entity: str
    day: int
    zone: ZoneInfo
    columns: Mapping[str, Mapping[str, str]] | None
    """Name and DuckDB type of the columns of `user` and `account`. None: unknown, not checked."""
    traits: Mapping[str, str]
    """The traits of the row, with their DuckDB types; empty for a filter."""
    audiences: Mapping[str, Condition]
    """The audiences of this profile and entity, by key."""
    events: frozenset[str] | None
    """The names of all events. None: unknown, not checked."""
    users: "Scope | None" = None
    """For accounts: the scope of their users."""


@dataclass(frozen=True, slots=True)
class CompiledCondition:
    """A condition as SQL, and what it needs.

    `measures` are the columns of `c`, `members` those of `m`: each counts the account's users that meet a condition.
    `tables` are the tables (`user`, `account`) that it reads. `warnings` are the traits whose missing values may not
    be treated as intended: SQL that is true when the value is missing, and a message with `{count}` for the number of
    entities.
    """

    sql: str
    measures: frozenset[EventCount]
    members: frozenset[tuple[str, "CompiledCondition"]]
    tables: frozenset[str]
    warnings: tuple[tuple[str, str], ...]


class ConditionError(ValueError):
    """A condition that does not fit the profile or the data. `route` leads to the part that does not."""

    def __init__(self, route: Route, message: str) -> None:
        super().__init__(message)
        self.route = route


def level_changes_table(entity: str) -> str:
    """The table of level changes that compiled conditions read: key (text), day, level_before, level."""
    return f"{entity}_changes"


def compile_condition(condition: Condition, scope: Scope) -> CompiledCondition:
    """Compile a condition. Raises ConditionError, with the nearest valid name."""
    compiler = _Compiler(scope)
    sql = compiler.sql(condition, (), frozenset())
    if compiler.problems:
        raise ConditionError(*compiler.problems[0])
    return compiler.done(sql)


def find_problems(condition: Condition, scope: Scope) -> list[tuple[Route, str]]:
    """All problems of a condition, each with the route to its part. References to other audiences are only checked by
    key."""
    compiler = _Compiler(scope, shallow=True)
    compiler.sql(condition, (), frozenset())
    return compiler.problems


@dataclass(slots=True)
class _Compiler:
    """Compiles a condition. It continues after a problem, so that all are found; a part with a problem becomes
    `false`."""

    scope: Scope
    path: tuple[str, ...] = ()
    """The audiences that are being expanded."""
    shallow: bool = False
    problems: list[tuple[Route, str]] = field(default_factory=list)
    measures: set[EventCount] = field(default_factory=set)
    members: dict[str, CompiledCondition] = field(default_factory=dict)
    tables: set[str] = field(default_factory=set)
    warnings: list[tuple[str, str]] = field(default_factory=list)

    def done(self, sql: str) -> CompiledCondition:
        return CompiledCondition(
            sql,
            frozenset(self.measures),
            frozenset(self.members.items()),
            frozenset(self.tables),
            tuple(dict.fromkeys(self.warnings)),
        )

    def report(self, route: Route, message: str) -> str:
        self.problems.append((route, message))
        return "false"

    def sql(self, condition: Condition, route: Route, tested: frozenset[str], negated: bool = False) -> str:
        """`tested` are the traits whose absence a condition beside this one handles."""
        match condition:
            case All(items) | Any(items):
                word = "all" if isinstance(condition, All) else "any"
                tested |= {name for item in items if (name := _existence(item)) is not None}
                parts = [
                    self.sql(item, (*route, word, place), tested, negated) for place, item in enumerate(items)
                ]
                if not parts:
                    return "true" if word == "all" else "false"
                return f"({(' AND ' if word == 'all' else ' OR ').join(parts)})"
            case Not(item):
                return f"(NOT {self.sql(item, (*route, 'not'), tested, True)})"
            case Trait():
                return self._trait(condition, route, tested, negated)
            case Events():
                return self._events(condition, route)
            case Time():
                return self._time(condition)
            case Users():
                return self._users(condition, route)
            case LevelChange():
                return self._level_change(condition, route)
            case Member(key):
                return self._member(key, route)

    def _trait(self, trait: Trait, route: Route, tested: frozenset[str], negated: bool) -> str:
        found = self._column(trait.name, (*route, "trait"))
        if found is None:
            return str(trait.comparison == Comparison("exists", "false")).lower()
        column, kind = found
        comparison = trait.comparison
        if kind is None:
            return "false"
        try:
            compared = comparisons.sql(comparison, trait.name, column, kind, self._midnight)
        except ValueError as error:
            return self.report((*route, comparison.operator), str(error))
        doubtful = negated or comparison.operator in NEGATIVE
        if doubtful and comparison.operator != "exists" and trait.name not in tested:
            then = "`not` includes them" if negated else f"`{comparison.operator}` excludes them"
            self.warnings.append(
                (
                    f"NOT {comparisons.is_present(column, kind)}",
                    f"`{trait.name}` is missing for {{count}} of the {self.scope.entity}s, and {then}: state"
                    f" what you mean with {{trait: {trait.name}, exists: true}} or `exists: false` beside it",
                )
            )
        return compared

    def _column(self, name: str, route: Route) -> tuple[str, str | None] | None:
        """A trait as SQL, and its type (None if the type is unknown or the trait invalid). None: the trait is always
        missing."""
        scope = self.scope
        table, dot, column = name.partition(".")
        if not dot:
            return self._own(name, route), scope.traits.get(name)
        if table not in ("user", "account"):
            self.report(
                route,
                f"`{name}`: an audience can use the traits of its own profile (`{column}`), and `user.` and"
                " `account.` columns",
            )
            return "", None
        if table == "user" and scope.entity == "account":
            if not scope.traits:
                return None
            self.report(
                route,
                f"`{name}`: an account has many users; count those that match, as in"
                f" {{users: {{trait: {name}, eq: ..}}, gte: 1}}",
            )
            return "", None
        alias = table[0]
        if scope.columns is None:
            return f"{alias}.{_quoted(column)}", None
        known = scope.columns.get(table)
        if not known:
            self.report(route, f"`{name}` needs a table of {table}s, but the source has none")
            return "", None
        folded = {each.casefold(): each for each in known}
        exact = column if column in known else folded.get(column.casefold())
        if exact is None:
            close = value_types.nearest(column, known)
            hint = f"; did you mean `{table}.{close}`?" if close else value_types.suggest(column, known)
            self.report(route, f"`{name}`: there is no column `{column}` in {table}s{hint}")
            return "", None
        self.tables.add(table)
        return f"{alias}.{_quoted(exact)}", known[exact]

    def _own(self, name: str, route: Route) -> str:
        scope = self.scope
        if name == f"{scope.entity}_id":
            return "r.key"
        if name not in scope.traits:
            if not scope.traits:
                message = f"a filter cannot use `{name}`: it decides who is scored"
            elif name in ("segments", "audiences"):
                message = f"`{name}` lists audiences: test for one of them, as in {{audience: new}}"
            elif name in ("created_at", "signed_up"):
                message = f"`{name}` is a time: write {{time: created_at, within: 30d}}"
            else:
                close = value_types.nearest(name, scope.traits)
                hint = f"; did you mean `{close}`?" if close else ""
                message = f"`{name}` is not a trait of {scope.entity}s{hint}"
                if not close:
                    message += f": a column is written `{scope.entity}.{name}`; traits: {', '.join(sorted(scope.traits))}"
            self.report(route, message)
        return f"r.{_quoted(name)}"

    def _events(self, events: Events, route: Route) -> str:
        try:
            counted = self._counted(events)
        except ValueError as error:
            return self.report((*route, "event"), str(error))
        number = self._count(counted, events.old, events.new)
        if events.ratio is None:
            return "(" + " AND ".join(comparisons.compare_counts(each, number) for each in events.count) + ")"
        of = self._count(counted, *events.ratio)
        compared = " AND ".join(comparisons.compare_counts(each, number, of) for each in events.count)
        return f"({of} > 0 AND {compared})"

    def _count(self, parts: Iterable[EventTerm], old: Duration | None, new: Duration | None) -> str:
        number = ""
        for part in parts:
            measure = EventCount(part.events, part.where, normalized_duration(old), normalized_duration(new))
            self.measures.add(measure)
            sign = " - " if part.sign < 0 else " + " if number else ""
            number += f"{sign}c.{_quoted(measure.column)}"
        return f"({number})" if " " in number else number or "0::BIGINT"

    def _counted(self, events: Events) -> list[EventTerm]:
        """The events of a condition. Raises ValueError for an unknown one."""
        profile = self.scope.profile
        if events.scored:
            return scored_event_terms(profile, events.where)
        if events.tier is not None:
            if profile.model == "kpi":
                raise ValueError("the touchpoints of `model: kpi` have no tiers: list the events")
            names = tuple(sorted(each.event for each in profile.events if each.rank == events.tier))
            return [EventTerm(names, events.where)] if names else []
        if events.names is None:
            return [EventTerm(None, events.where)]
        if self.scope.events is not None:
            known = self.scope.events | event_names(profile)
            unknown = next((name for name in events.names if name not in known), None)
            if unknown is not None:
                raise ValueError(
                    f"there is no event `{unknown}`{value_types.suggest(unknown, sorted(known))}"
                )
        return [EventTerm(tuple(sorted(set(events.names))), events.where)]

    def _time(self, time: Time) -> str:
        column = f"r.{_quoted(time.field)}"
        parts = [f"{column} IS NOT NULL"]
        bounds: list[tuple[str, datetime]] = []
        if time.old is not None:
            bounds.append((">=", instant_before(time.old, self.scope.day, self.scope.zone)))
        if time.new is not None:
            bounds.append(("<", instant_before(time.new, self.scope.day, self.scope.zone)))
        elif time.old is not None:
            bounds.append(("<", calendar.day_start(calendar.day_of(self.scope.day + 1), self.scope.zone)))
        if time.after is not None:
            bounds.append((">=", self._midnight(time.after)))
        if time.before is not None:
            bounds.append(("<", self._midnight(time.before)))
        for sign, at in bounds:
            # A level changes at the start of a day.
            dated = time.field == "level_changed_on"
            value = f"DATE '{self._begins(at)}'" if dated else comparisons.instant(at)
            parts.append(f"{column} {sign} {value}")
        return f"({' AND '.join(parts)})"

    def _users(self, users: Users, route: Route) -> str:
        scope = self.scope.users
        if self.scope.entity != "account" or scope is None:
            return self.report(
                (*route, "users"),
                "`users` counts the users of an account: only an audience of accounts can use it",
            )
        inner = _Compiler(scope, shallow=self.shallow)
        sql = inner.sql(users.condition, (), frozenset())
        self.problems += [((*route, "users", *way), message) for way, message in inner.problems]
        column = f"users_{digest(canonical(_resolved(users.condition, scope.audiences)))}"
        self.members[column] = inner.done(sql)
        number = f"coalesce(m.{_quoted(column)}, 0)"
        if not users.share:
            return f"({comparisons.compare_counts(users.comparison, number)})"
        everyone = 'coalesce(m."users_all", 0)'
        return f"({everyone} > 0 AND {comparisons.compare_counts(users.comparison, number, everyone, 100)})"

    def _level_change(self, change: LevelChange, route: Route) -> str:
        if not self.scope.traits:
            return self.report(
                (*route, "level_change"), "a filter cannot use levels: it decides who is scored"
            )
        known = self.scope.profile.levels.names
        for end, name in (("from", change.before), ("to", change.after)):
            if name is not None and name not in known:
                self.report(
                    (*route, "level_change", end),
                    f"`{name}` is not a level of this profile{value_types.suggest(name, known)}",
                )
        days = change.within.days or 0
        left = [] if change.before is None else [f"level_before = {comparisons.literal(change.before)}"]
        arrived = [] if change.after is None else [f"level = {comparisons.literal(change.after)}"]
        among = f" AND ({' OR '.join([*left, *arrived])})" if left or arrived else ""
        both = (
            f" GROUP BY key HAVING min(day) FILTER ({left[0]}) <= max(day) FILTER ({arrived[0]})"
            if left and arrived
            else ""
        )
        return (
            f"(r.key IN (SELECT key FROM {level_changes_table(self.scope.entity)}"
            f" WHERE day > {self.scope.day - days} AND day <= {self.scope.day}{among}{both}))"
        )

    def _member(self, key: str, route: Route) -> str:
        place = (*route, "audience")
        if not self.scope.traits:
            return self.report(place, "a filter cannot use audiences: it decides who is scored")
        condition = self.scope.audiences.get(key)
        if condition is None:
            kind = self.scope.entity
            return self.report(
                place,
                f"`{key}` is not an audience of {kind}s{value_types.suggest(key, sorted(self.scope.audiences))}",
            )
        if self.shallow:
            return "true"
        if key in self.path:
            circle = " -> ".join((*self.path[self.path.index(key) :], key))
            return self.report(place, f"audiences that refer to each other in a cycle: {circle}")
        inner = replace(self, path=(*self.path, key), problems=[], warnings=[])
        sql = inner.sql(condition, (), frozenset())
        if inner.problems:
            self.report(place, f"the audience `{key}`: {inner.problems[0][1]}")
        return sql

    def _begins(self, at: datetime) -> date:
        """The first local day that starts at or after an instant."""
        day = calendar.local_day(at, self.scope.zone)
        return day if calendar.day_start(day, self.scope.zone) >= at else day + timedelta(days=1)

    def _midnight(self, day: date) -> datetime:
        try:
            return calendar.day_start(day, self.scope.zone)
        except OverflowError:
            return datetime.min if day.year == 1 else datetime.max


def _existence(condition: Condition) -> str | None:
    """The trait whose existence a condition tests."""
    inner = condition.item if isinstance(condition, Not) else condition
    return inner.name if isinstance(inner, Trait) and inner.comparison.operator == "exists" else None


def _resolved(condition: Condition, audiences: Mapping[str, Condition]) -> Condition:
    """The condition, with the audiences that it names replaced by their conditions."""
    match condition:
        case All(items):
            return All(tuple(_resolved(item, audiences) for item in items))
        case Any(items):
            return Any(tuple(_resolved(item, audiences) for item in items))
        case Not(item):
            return Not(_resolved(item, audiences))
        case Member(key):
            others = {each: there for each, there in audiences.items() if each != key}
            return _resolved(audiences[key], others) if key in audiences else condition
    return condition


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
