"""What of a profile is counted: the things that it scores, and how the columns of the counts are called."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pyarrow as pa

from heatsync.scoring.compute.calendar import BITS, word_count
from heatsync.scoring.definition.comparisons import Comparison
from heatsync.scoring.definition.profile import Profile

WEIGHT_UNIT = 1000
"""Weights are counted in thousandths."""
VALUE_UNIT = 10**6
"""Values of events are counted in millionths."""
NANO = 10**9
"""Scores, raw and shown, are counted in billionths of a point, so that they add up alike everywhere."""
LOG_UNIT = 10**12
"""Logarithms are counted in so many parts."""
DAY_CAP = 9 * 10**9
"""What one day may count at most, in thousandths of a point: nine million points."""


@dataclass(frozen=True, slots=True)
class CountedItem:
    """Something that is counted: an event of the profile, or one side of a touchpoint.

    `place` is its bit in a set of things. `alone`: its sum over the window is capped, and kept by itself. `done` says
    that it makes an entity active; what only stands below the line of a ratio does not.
    """

    place: int
    name: str
    events: tuple[str, ...]
    where: tuple[tuple[str, Comparison], ...] = ()
    weight: int = WEIGHT_UNIT
    per_day: int | None = None
    per_window: int | None = None
    done: bool = True

    @property
    def word(self) -> int:
        return self.place // BITS

    @property
    def bit(self) -> int:
        return 1 << (self.place % BITS)


@dataclass(frozen=True, slots=True)
class CompiledProfile:
    """A profile, and the sets of events whose counts over a whole life are asked for beside it (None: any event)."""

    profile: Profile
    extra_counts: tuple[tuple[str, ...] | None, ...] = ()
    items: tuple[CountedItem, ...] = field(init=False)

    def __post_init__(self) -> None:
        made = _touched(self.profile) if self.profile.model == "kpi" else _events(self.profile)
        object.__setattr__(self, "items", made)

    @property
    def model(self) -> str:
        return self.profile.model

    @property
    def item_words(self) -> range:
        return range(word_count(len(self.items)))

    @property
    def day_words(self) -> range:
        return range(word_count(self.profile.window))

    @property
    def ever(self) -> tuple[str, ...]:
        return tuple(f"ever_{word}" for word in self.item_words)

    @property
    def counted(self) -> tuple[tuple[str, ...] | None, ...]:
        """The sets of events that are counted over a whole life, each a column `count_N`."""
        steps = (*self.profile.activation.user, *self.profile.activation.account)
        sets = {tuple(sorted(set(step.event))) for step in steps if step.event is not None}
        return tuple(sorted({*sets, *self.extra_counts}, key=lambda each: (each is None, each or ())))

    @property
    def counts(self) -> tuple[str, ...]:
        return tuple(f"count_{position}" for position in range(len(self.counted)))

    @property
    def life(self) -> dict[str, Any]:
        """What the counts over a whole life depend on, and nothing else."""
        return {
            "things": [
                [t.place, t.events, [[k, c.operator, c.value] for k, c in t.where]] for t in self.items
            ],
            "passive": self.profile.passive,
            "counted": self.counted,
            "values": self.model == "kpi",
        }

    def event_table(self) -> pa.Table:
        """The events of things that are told by their names alone: event, thing, weight, per_day."""
        rows = [(event, thing) for thing in self.items if not thing.where for event in thing.events]
        return pa.table(
            {
                "event": pa.array([event for event, _ in rows], pa.string()),
                "thing": pa.array([thing.place for _, thing in rows], pa.int64()),
                "weight": pa.array([thing.weight for _, thing in rows], pa.int64()),
                "per_day": pa.array([thing.per_day for _, thing in rows], pa.int64()),
            }
        )

    def event_masks(self) -> pa.Table:
        """Per event that is named at all: is it passive, its bits among the things, and in which counted sets."""
        names = {event for thing in self.items if not thing.where for event in thing.events}
        names |= {*self.profile.passive, *(event for some in self.counted for event in some or ())}
        events = sorted(names)
        columns: dict[str, Any] = {
            "event": pa.array(events, pa.string()),
            "passive": pa.array([event in self.profile.passive for event in events], pa.bool_()),
        }
        for word in self.item_words:
            bits = [
                sum(t.bit for t in self.items if t.word == word and not t.where and event in t.events)
                for event in events
            ]
            columns[f"mask_{word}"] = pa.array(bits, pa.int64())
        for position, some in enumerate(self.counted):
            inside = [int(some is None or event in some) for event in events]
            columns[f"in_{position}"] = pa.array(inside, pa.int64())
        return pa.table(columns)


def _events(profile: Profile) -> tuple[CountedItem, ...]:
    return tuple(
        CountedItem(
            place,
            event.event,
            (event.event,),
            weight=int(event.weight * WEIGHT_UNIT),
            per_day=event.per_day,
            per_window=event.per_window,
        )
        for place, event in enumerate(profile.scored)
    )


def _touched(profile: Profile) -> tuple[CountedItem, ...]:
    sides: dict[Any, tuple[str, bool]] = {}
    for touchpoint in profile.touchpoints:
        if touchpoint.weight > Decimal(0):
            for side, done in ((touchpoint.of, True), (touchpoint.to, False)):
                if side is not None:
                    name, before = sides.get(_side(side), (touchpoint.name, False))
                    sides[_side(side)] = (name, before or done)
    return tuple(
        CountedItem(place, name, events, where, done=done)
        for place, ((events, where), (name, done)) in enumerate(sorted(sides.items(), key=repr))
    )


def _side(counted: Any) -> tuple[tuple[str, ...], tuple[tuple[str, Comparison], ...]]:
    return counted.events, counted.where


def item_of(plan: CompiledProfile, counted: Any) -> CountedItem:
    """The thing that a side of a touchpoint counts."""
    return next(thing for thing in plan.items if (thing.events, thing.where) == _side(counted))
