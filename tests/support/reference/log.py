"""The inputs: events, users and accounts; days and their ends; accounts of users, and existing entities."""

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from .numbers import instant, text_id

Row = Mapping[str, Any]
ENTITIES = ("user", "account")


@dataclass(frozen=True, eq=False, slots=True)
class Event:
    stamp: datetime
    user: str | None
    account: str | None
    name: str
    day: date
    value: float | None
    properties: Mapping[str, Any]

    def property(self, name: str) -> Any:
        return self.value if name == "value" else self.properties.get(name)


class Log:
    """`last` is the last day of any question: later events never count."""

    def __init__(
        self, events: Iterable[Row], users: Iterable[Row], accounts: Iterable[Row], zone: ZoneInfo, last: date
    ) -> None:
        self.zone = zone
        self.ends: dict[date, datetime] = {}
        self.users = {str(row["user_id"]): row for row in users if text_id(row.get("user_id"))}
        self.accounts = {str(row["account_id"]): row for row in accounts if text_id(row.get("account_id"))}
        self.events = list(self.counted(events, self.end(last)))
        self.by_day: dict[date, list[Event]] = defaultdict(list)
        self.of_user: dict[str, list[Event]] = defaultdict(list)
        self.carried: dict[str, list[Event]] = defaultdict(list)
        self.moves: dict[str, list[Event]] = defaultdict(list)
        for event in self.events:
            self.by_day[event.day].append(event)
            if event.user is not None:
                self.of_user[event.user].append(event)
                if event.account is not None:
                    self.moves[event.user].append(event)
            if event.account is not None:
                self.carried[event.account].append(event)
        self.stamps = {id(events): [event.stamp for event in events] for events in self.lists()}
        self.belonging = {
            *self.moves,
            *(key for key, row in self.users.items() if text_id(row.get("account_id"))),
        }
        self.owns: dict[tuple[str, date], dict[str, list[Event]]] = {}

    def counted(self, rows: Iterable[Row], end: datetime) -> Iterator[Event]:
        """The events that count, by time; of events with the same id on the same day, the first."""
        found = []
        for row in rows:
            stamp = instant(row.get("timestamp"))
            user, account = text_id(row.get("user_id")), text_id(row.get("account_id"))
            if stamp is not None and stamp < end and (user is not None or account is not None):
                found.append((stamp, user or "", account or "", str(row["event"]), row))
        ids: set[tuple[str, date]] = set()
        for stamp, user, account, name, row in sorted(found, key=lambda each: each[:4]):
            day, event_id = stamp.astimezone(self.zone).date(), text_id(row.get("event_id"))
            if event_id is not None:
                if (event_id, day) in ids:
                    continue
                ids.add((event_id, day))
            properties = row.get("properties") or {}
            if isinstance(properties, str):
                properties = json.loads(properties)
            yield Event(stamp, user or None, account or None, name, day, row.get("value"), properties)

    def lists(self) -> Iterator[list[Event]]:
        for lists in (self.of_user, self.carried, self.moves):
            yield from lists.values()

    # Days

    def end(self, day: date) -> datetime:
        """t: midnight at the end of the day."""
        if day not in self.ends:
            self.ends[day] = self.midnight(day + timedelta(days=1))
        return self.ends[day]

    def midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), tzinfo=self.zone).astimezone(UTC)

    def ago(self, day: date, number: int) -> datetime:
        """Local midnight a number of days before t."""
        return self.midnight(day + timedelta(days=1 - number))

    def window(self, day: date, length: int) -> Iterator[tuple[int, Event]]:
        """Age in whole days, and event, of the days that end with a day."""
        for age in range(length):
            for event in self.by_day.get(day - timedelta(days=age), ()):
                yield age, event

    @property
    def first_day(self) -> date | None:
        return self.events[0].day if self.events else None

    # Users and their accounts

    def home(self, user: str, day: date) -> str | None:
        """The account in the table, otherwise the account that the user's last event names."""
        if user not in self.belonging:
            return None
        listed = text_id(self.users[user].get("account_id")) if user in self.users else None
        if listed is not None or user not in self.moves:
            return listed
        carrying = self.before(self.moves[user], day)
        if not carrying:
            return None
        last = carrying[-1].stamp
        return min(str(event.account) for event in carrying if event.stamp == last)

    def owners(self, event: Event, entity: str, day: date) -> set[str]:
        """The entity of an event, as of the end of a day."""
        if entity == "user":
            return {event.user} if event.user is not None else set()
        home = None if event.user is None else self.home(event.user, day)
        return {account for account in (home, event.account) if account is not None}

    def before(self, events: list[Event], day: date) -> list[Event]:
        return events[: bisect_left(self.stamps[id(events)], self.end(day))]

    def own(self, entity: str, day: date) -> Mapping[str, list[Event]]:
        """By entity, its events before t, each once, by time."""
        if (entity, day) not in self.owns:
            found: dict[str, list[Event]] = {}
            if entity == "user":
                found = {user: self.before(events, day) for user, events in self.of_user.items()}
            else:
                together: dict[str, set[Event]] = defaultdict(set)
                for user in sorted(self.belonging):
                    home = self.home(user, day)
                    if home is not None and user in self.of_user:
                        together[home].update(self.before(self.of_user[user], day))
                for account, events in self.carried.items():
                    together[account].update(self.before(events, day))
                found = {
                    account: sorted(mine, key=lambda event: event.stamp) for account, mine in together.items()
                }
            self.owns[entity, day] = {key: events for key, events in found.items() if events}
        return self.owns[entity, day]

    # Existing entities

    def listed(self, entity: str, key: str) -> Row:
        return (self.users if entity == "user" else self.accounts).get(key, {})

    def named(self, entity: str) -> set[str]:
        """The entities in the tables."""
        if entity == "user":
            return set(self.users)
        homes = (text_id(row.get("account_id")) for row in self.users.values())
        return {*self.accounts, *filter(None, homes)}

    def signed_up(self, entity: str, key: str, first: datetime | None) -> datetime | None:
        """The earlier of `created_at` and the first event; None has always existed."""
        listed = self.listed(entity, key)
        if not listed:
            return first
        return min(filter(None, (instant(listed.get("created_at")), first)), default=None)

    def firsts(self, entity: str, day: date) -> dict[str, datetime]:
        """By entity, its first event before t."""
        if entity == "account":
            return {account: events[0].stamp for account, events in self.own("account", day).items()}
        t = self.end(day)
        return {user: events[0].stamp for user, events in self.of_user.items() if events[0].stamp < t}

    def existing(self, entity: str, day: date) -> list[str]:
        firsts, t = self.firsts(entity, day), self.end(day)
        found = []
        for key in {*self.named(entity), *firsts}:
            up = self.signed_up(entity, key, firsts.get(key))
            if up is None or up < t:
                found.append(key)
        return sorted(found)

    def trait(self, entity: str, key: str, name: str, day: date) -> Any:
        """`user.X` and `account.X`; a name without a dot is a column of the entity's own table."""
        table, _, column = name.rpartition(".")
        if (table or entity) == entity:
            return self.listed(entity, key).get(column)
        if entity == "user":
            return self.accounts.get(self.home(key, day) or "", {}).get(column)
        return None
