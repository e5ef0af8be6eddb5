"""A profile compiled for counting: the items that it scores, and the names of the columns of their counts."""

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
"""Scores, raw and shown, are counted in billionths of a point, so that sums are the same on all engines."""
LOG_UNIT = 10**12
"""Logarithms are counted in 1/LOG_UNIT."""
DAY_CAP = 9 * 10**9
"""The most that one day may count, in thousandths of a point: nine million points."""


@dataclass(frozen=True, slots=True)
class CountedItem:
    """One item that is counted: an event of the profile, or one side of a touchpoint.

    `place` is its bit in a set of items. An item with `per_window` is summed separately, because its sum over the
    window is capped. `done`: doing it makes an entity active; the denominator of a ratio alone does not.
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
        """The word that holds the bit of the item."""
        return self.place // BITS

    @property
    def bit(self) -> int:
        """The bit of the item within its word."""
        return 1 << (self.place % BITS)


@dataclass(frozen=True, slots=True)
class CompiledProfile:
    """A profile with its items. `extra_counts` are further sets of events whose lifetime counts are needed (None: any
    event)."""

    profile: Profile
    extra_counts: tuple[tuple[str, ...] | None, ...] = ()
    items: tuple[CountedItem, ...] = field(init=False)

    def __post_init__(self) -> None:
        items = _touchpoint_items(self.profile) if self.profile.model == "kpi" else _event_items(self.profile)
        object.__setattr__(self, "items", items)

    @property
    def model(self) -> str:
        """The model of the profile."""
        return self.profile.model

    @property
    def item_words(self) -> range:
        """The words that hold a bit for each item."""
        return range(word_count(len(self.items)))

    @property
    def day_words(self) -> range:
        """The words that hold a bit for each day of the window."""
        return range(word_count(self.profile.window))

    @property
    def ever(self) -> tuple[str, ...]:
        """The columns `ever_N`: bits of the items that were ever done."""
        return tuple(f"ever_{word}" for word in self.item_words)

    @property
    def counted(self) -> tuple[tuple[str, ...] | None, ...]:
        """The sets of events with a lifetime count, each in a column `count_N`."""
        steps = (*self.profile.activation.user, *self.profile.activation.account)
        sets = {tuple(sorted(set(step.event))) for step in steps if step.event is not None}
        return tuple(sorted({*sets, *self.extra_counts}, key=lambda each: (each is None, each or ())))

    @property
    def counts(self) -> tuple[str, ...]:
        """The columns `count_N`: lifetime counts of the sets in `counted`."""
        return tuple(f"count_{position}" for position in range(len(self.counted)))

    @property
    def life(self) -> dict[str, Any]:
        """Everything that the lifetime counts depend on, and nothing else, for hashing."""
        return {
            "things": [
                [t.place, t.events, [[k, c.operator, c.value] for k, c in t.where]] for t in self.items
            ],
            "passive": self.profile.passive,
            "counted": self.counted,
            "values": self.model == "kpi",
        }

    def event_table(self) -> pa.Table:
        """The events of the items that are selected by name alone: event, item, weight, per_day. `item` is the
        item's `place`."""
        rows = [(event, item) for item in self.items if not item.where for event in item.events]
        return pa.table(
            {
                "event": pa.array([event for event, _ in rows], pa.string()),
                "item": pa.array([item.place for _, item in rows], pa.int64()),
                "weight": pa.array([item.weight for _, item in rows], pa.int64()),
                "per_day": pa.array([item.per_day for _, item in rows], pa.int64()),
            }
        )

    def event_masks(self) -> pa.Table:
        """For each event that the profile names: event, passive, mask_N (the bits of its items) and in_N (1 if it is
        in the counted set N)."""
        names = {event for item in self.items if not item.where for event in item.events}
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


def _event_items(profile: Profile) -> tuple[CountedItem, ...]:
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


def _touchpoint_items(profile: Profile) -> tuple[CountedItem, ...]:
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
    """The item that one side of a touchpoint counts."""
    return next(item for item in plan.items if (item.events, item.where) == _side(counted))
