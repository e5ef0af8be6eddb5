"""Stage 1, at the source: what was done, counted per day and entity, as Ibis expressions.

`daily` counts the events. From it come, for one profile and the days that are wanted:

    windows          per user and day, the decayed and capped points of each event in the window
    direct_windows   the same sets for accounts whose id is on an event that is not a member's
    states           per user and day on which something happened, what accumulates over a whole life
    direct_states    the same for those accounts, per actor

All sums are of whole numbers, so that they are the same however they are parallelised.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import ibis
import pyarrow as pa
from ibis import Table

from scoring.calendar import BITS, FULL, words
from scoring.profile import Profile

WEIGHT = 1000
"""Weights are counted in thousandths."""
POINT = FULL * WEIGHT
"""One point of a raw score."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the columns of stage 1 stand for."""

    profile: Profile

    @property
    def event_words(self) -> range:
        return range(words(len(self.profile.scored)))

    @property
    def day_words(self) -> range:
        return range(words(self.profile.window))

    @property
    def points(self) -> tuple[str, ...]:
        """A column per scored event: its points in the window."""
        return tuple(f"points_{position}" for position in range(len(self.profile.scored)))

    @property
    def counted(self) -> tuple[tuple[str, ...], ...]:
        """The sets of events that steps count, each a column `count_N`."""
        steps = (*self.profile.activation.user, *self.profile.activation.account)
        return tuple(sorted({tuple(sorted(set(step.event))) for step in steps if step.event is not None}))

    def weights(self) -> pa.Table:
        """The events of the profile: which are scored, with their bit, and which are passive."""
        scored = {event.event: position for position, event in enumerate(self.profile.scored)}
        events = sorted(self.profile.events, key=lambda event: event.event)
        positions = [scored.get(event.event) for event in events]
        return pa.table(
            {
                "event": pa.array([event.event for event in events], pa.string()),
                "position": pa.array(positions, pa.int64()),
                "event_word": pa.array([None if p is None else p // BITS for p in positions], pa.int64()),
                "event_bit": pa.array(
                    [None if p is None else 1 << (p % BITS) for p in positions], pa.int64()
                ),
                "per_day": pa.array([event.per_day for event in events], pa.int64()),
                "passive": pa.array([event.passive for event in events], pa.bool_()),
            }
        )


def daily(events: Table, bounds: pa.Table, until: datetime, before: int) -> Table:
    """Events before `until`, counted per user, account on the event, event and local day.

    `events` has user_id, account_id, event and timestamp (UTC without zone). What lies before the calendar is put
    on the day `before`.
    """
    calendar = ibis.memtable(bounds)
    past = events.filter(events.timestamp < ibis.literal(until, type="timestamp(6)"))
    past = past.mutate(utc_date=past.timestamp.date())
    dated = past.left_join(
        calendar,
        [
            past.utc_date == calendar.utc_date,
            past.timestamp >= calendar.starts,
            past.timestamp < calendar.ends,
        ],
    )
    dated = dated.select(
        "user_id",
        "account_id",
        "event",
        "timestamp",
        day=ibis.coalesce(calendar.day, ibis.literal(before, "int64")),
    )
    return dated.group_by("user_id", "account_id", "event", "day").agg(
        n=dated.count(), first=dated.timestamp.min(), last=dated.timestamp.max()
    )


def windows(plan: Plan, daily: Table, spans: pa.Table) -> Table:
    """Per user and day of `spans`, where a scored event is in the window: points, events done, days active."""
    spread = _spread(plan, daily, spans)
    worths = spread.group_by("user_id", "as_of").agg(**_worths(spread, plan), **_sets(spread, plan))
    return worths.mutate(**_points(worths, plan))


def raw_scores(plan: Plan, daily: Table, spans: pa.Table) -> Table:
    """Per user and day of `spans`, the raw score in 1/POINT: all that a benchmark needs."""
    spread = _spread(plan, daily, spans)
    worths = spread.group_by("user_id", "as_of").agg(**_worths(spread, plan))
    points = list(_points(worths, plan).values())
    total = points[0]
    for each in points[1:]:
        total = total + each
    return worths.select("user_id", day=worths.as_of, raw=total.cast("decimal(38,0)"))


def direct_windows(plan: Plan, direct: Table, spans: pa.Table) -> Table:
    """Per account and day of `spans`: events done and days active, of the events that only its id joins to it."""
    weights = _scored(plan)
    done = direct.join(weights, direct.event == weights.event)
    done = done.select("account_id", "day", "event_word", "event_bit").distinct()
    span = ibis.memtable(spans)
    spread = done.join(span, done.day == span.day)
    return spread.group_by("account_id", "as_of").agg(**_sets(spread, plan))


def direct(daily: Table, members: Table) -> Table:
    """The counts that carry the id of an account which is not their user's account in the users table."""
    carrying = daily.filter(daily.account_id.notnull())
    homes = members.select(member_id=members.user_id, home=members.account_id)
    joined = carrying.left_join(homes, carrying.user_id == homes.member_id)
    apart = joined.home.isnull() | (joined.home != joined.account_id)
    return joined.filter(apart).select("user_id", "account_id", "event", "day", "n", "first", "last")


def states(plan: Plan, daily: Table, first_day: int) -> Table:
    """Per user and day: first and last event, last one not passive, events ever scored, counts for steps. What
    lies before `first_day` is put on it."""
    return _states(plan, daily.filter(daily.user_id.notnull()), first_day, ("user_id",))


def direct_states(plan: Plan, direct: Table, first_day: int) -> Table:
    """The same per account and actor: the user, or nobody."""
    return _states(plan, direct, first_day, ("account_id", "user_id"))


def carried(daily: Table, members: Table, first_day: int) -> Table:
    """Per user without an account in the users table, and day: the account id on the last event that had one."""
    there = daily.filter(daily.account_id.notnull() & daily.user_id.notnull())
    homes = members.filter(members.account_id.notnull()).select(member_id=members.user_id)
    there = there.anti_join(homes, there.user_id == homes.member_id)
    there = there.mutate(slot=ibis.greatest(there.day, ibis.literal(first_day, "int64")))
    last = there.group_by("user_id", "slot", "account_id").agg(last=there.last.max())
    order = ibis.window(
        group_by=[last.user_id, last.slot], order_by=[last["last"].desc(), last.account_id.asc()]
    )
    ranked = last.mutate(place=ibis.row_number().over(order))
    return ranked.filter(ranked.place == 0).select("user_id", "slot", "account_id")


def first_scored_day(plan: Plan, daily: Table) -> Any:
    """The day of the first scored event of a user, as a value."""
    names = [event.event for event in plan.profile.scored]
    return daily.filter(daily.user_id.notnull() & daily.event.isin(names)).day.min()


def _scored(plan: Plan) -> Table:
    table = ibis.memtable(plan.weights())
    return table.filter(table.position.notnull())


def _spread(plan: Plan, daily: Table, spans: pa.Table) -> Table:
    """A row per user, scored event, day it was done on and day that looks back on it; `worth` is in 1/FULL."""
    weights = _scored(plan)
    done = daily.filter(daily.user_id.notnull())
    done = done.join(weights, done.event == weights.event)
    keys = ("user_id", "day", "position", "event_word", "event_bit", "per_day")
    per_day = done.group_by(*keys).agg(n=done.n.sum())
    per_day = per_day.mutate(n=ibis.least(per_day.n, ibis.coalesce(per_day.per_day, per_day.n)))
    span = ibis.memtable(spans)
    spread = per_day.join(span, per_day.day == span.day)
    return spread.mutate(worth=spread.n * spread.factor)


def _worths(spread: Table, plan: Plan) -> dict[str, Any]:
    return {
        name: ibis.ifelse(spread.position == position, spread.worth, 0).sum()
        for position, name in enumerate(plan.points)
    }


def _points(worths: Table, plan: Plan) -> dict[str, Any]:
    """Weighted, and capped: `per_window` limits the decayed count."""
    points: dict[str, Any] = {}
    for name, event in zip(plan.points, plan.profile.scored, strict=True):
        worth = worths[name].cast("decimal(38,0)")
        if event.per_window is not None:
            worth = ibis.least(worth, ibis.literal(event.per_window * FULL, "int64").cast("decimal(38,0)"))
        points[name] = (worth * int(event.weight * WEIGHT)).cast("decimal(38,0)")
    return points


def _sets(spread: Table, plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for word in plan.event_words:
        found[f"recent_{word}"] = ibis.ifelse(spread.event_word == word, spread.event_bit, 0).bit_or()
    for word in plan.day_words:
        found[f"days_{word}"] = ibis.ifelse(spread.day_word == word, spread.day_bit, 0).bit_or()
    return found


def _states(plan: Plan, done: Table, first_day: int, keys: tuple[str, ...]) -> Table:
    weights = ibis.memtable(plan.weights())
    known = done.left_join(weights, done.event == weights.event)
    known = known.select(
        *[done[key] for key in keys],
        done.event,
        done.n,
        done["first"],
        done["last"],
        slot=ibis.greatest(done.day, ibis.literal(first_day, "int64")),
        event_word=ibis.coalesce(weights.event_word, 0),
        event_bit=ibis.coalesce(weights.event_bit, 0),
        passive=ibis.coalesce(weights.passive, False),
    )
    columns: dict[str, Any] = {
        "first": known["first"].min(),
        "last": known["last"].max(),
        "last_active": ibis.ifelse(known.passive, ibis.null("timestamp(6)"), known["last"]).max(),
    }
    for word in plan.event_words:
        columns[f"ever_{word}"] = ibis.ifelse(known.event_word == word, known.event_bit, 0).bit_or()
    for position, names in enumerate(plan.counted):
        counted = ibis.ifelse(known.event.isin(names), known.n, 0).sum()
        # DuckDB sums whole numbers into 128 bits; Ibis takes it for 64 and would hand over the wrong type.
        columns[f"count_{position}"] = counted.cast("decimal(38,0)")
    return known.group_by(*keys, "slot").agg(**columns)
