"""The event counts that conditions need: how many events of an entity lie in an interval before the as-of instant."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations
from zoneinfo import ZoneInfo

from heatsync.scoring.compute import calendar
from heatsync.scoring.definition.comparisons import Comparison
from heatsync.scoring.definition.condition_types import Duration
from heatsync.scoring.definition.profile import Profile

Where = tuple[tuple[str, Comparison], ...]


@dataclass(frozen=True, slots=True)
class EventTerm:
    """A set of events whose count is added (`sign` 1) or subtracted (-1). `events` None: any event. `where` compares
    their properties."""

    events: tuple[str, ...] | None
    where: Where
    sign: int = 1


@dataclass(frozen=True, slots=True)
class EventCount:
    """How many events of an entity lie in [t - old, t - new). `events` are sorted, None: any. An event counts when
    every comparison of `where` holds for its properties. `old` None: ever; `new` None: until t."""

    events: tuple[str, ...] | None
    where: Where = ()
    old: Duration | None = None
    new: Duration | None = None

    @property
    def column(self) -> str:
        """The name of its column: equal counts have equal names."""
        return f"events_{digest([self.events, repr(self.where), str(self.old), str(self.new)])}"

    @property
    def from_events(self) -> bool:
        """Whether single events must be read: daily counts have neither properties nor hours."""
        return bool(self.where) or any(
            each is not None and each.days is None for each in (self.old, self.new)
        )

    def interval(self, day: int, zone: ZoneInfo) -> tuple[datetime | None, datetime]:
        """Start (None: ever) and end, as instants in UTC, for the snapshot of a day."""
        return (
            None if self.old is None else instant_before(self.old, day, zone),
            calendar.day_start(calendar.day_of(day + 1), zone)
            if self.new is None
            else instant_before(self.new, day, zone),
        )


def instant_before(duration: Duration, day: int, zone: ZoneInfo) -> datetime:
    """The instant a duration before the end of a day, in UTC: a local midnight, or a number of hours earlier."""
    if duration.days is None:
        return calendar.day_start(calendar.day_of(day + 1), zone) - timedelta(hours=duration.amount)
    return calendar.day_start(calendar.day_of(day + 1 - duration.days), zone)


def event_names(profile: Profile) -> frozenset[str]:
    """All events that a profile names."""
    counted = [side for each in profile.touchpoints for side in (each.of, each.to) if side is not None]
    return frozenset(each.event for each in profile.events) | {
        name for side in counted for name in side.events
    }


def scored_event_terms(profile: Profile, where: Where) -> list[EventTerm]:
    """The events with a weight, or of a touchpoint with a weight. An event that fits several touchpoints counts once:
    by inclusion and exclusion, what fits two of them is counted and subtracted."""
    wheres: dict[str, set[Where]] = {event.event: {()} for event in profile.scored}
    for touchpoint in profile.touchpoints:
        if touchpoint.weight > 0:
            for name in touchpoint.of.events:
                wheres.setdefault(name, set()).add(touchpoint.of.where)
    alike: dict[frozenset[Where], list[str]] = {}
    for name, several in sorted(wheres.items()):
        alike.setdefault(frozenset({()} if () in several else several), []).append(name)
    parts: list[EventTerm] = []
    for among, names in alike.items():
        ways = sorted(among, key=repr)
        for size in range(1, len(ways) + 1):
            for some in combinations(ways, size):
                together = {each for way in (*some, where) for each in way}
                found = tuple(sorted(together, key=lambda each: (each[0], repr(each[1]))))
                parts.append(EventTerm(tuple(names), found, 1 if size % 2 else -1))
    return parts


def normalized_duration(duration: Duration | None) -> Duration | None:
    """The duration in days where it is one, so that equal intervals have equal counts: 2w is 14d, and 0 is None."""
    if duration is None or duration.amount == 0:
        return None
    return duration if duration.days is None else Duration(duration.days, "d")


def digest(value: object) -> str:
    """A short hash of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()[:10]
