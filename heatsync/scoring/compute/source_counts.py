"""Stage 1, at the source, in whatever engine the events are: counts, as Ibis expressions.

`events` has user_id, account_id (texts, or the numbers that stand for them), event, timestamp (UTC without zone), and
where the source has them `value` and `properties`.

    daily      per user, account on the event, event and local day: n, total, first, last
    special    the same for a thing that is told by the properties of its events
    lives      per user and account on the event, what accumulates over a whole life
    homes      per user, the account on the last event that carried one
    measured   per user and account on the event, how many events of some kinds in some intervals

All sums are of whole numbers, so that they are the same however they are parallelised.

`embedded` is our own DuckDB, which joins small tables of days and events. Elsewhere nothing may be written, not even a
temporary table: what these tables say stands in the expression, which is slower and as exact.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import ibis
import ibis.expr.datatypes as dt
import pyarrow as pa
from ibis import Table

from heatsync.scoring.compute import calendar
from heatsync.scoring.compute.compiled_profile import VALUE_UNIT, CompiledProfile, CountedItem
from heatsync.scoring.compute.event_counts import EventCount
from heatsync.scoring.definition import value_types
from heatsync.scoring.definition.comparisons import NEGATIVE, Comparison

MAX_VALUE = 10**12
"""A value beyond it counts as it."""
MAX_FINITE = 1.7976931348623157e308
"""Beyond it there is only infinity; not every engine can ask for that by name."""


def _extract(document: Any, pointer: Any) -> Any:
    """A part of a JSON document, by DuckDB's function of this name."""


_pointed = ibis.udf.scalar.builtin(_extract, name="json_extract", signature=((dt.json, dt.string), dt.json))


def daily_counts(events: Table, bounds: pa.Table, embedded: bool = True) -> Table:
    """The events of the days of `bounds` (scoring.calendar.bounds), counted. `total` is in millionths."""
    dated = _dated(events, bounds, embedded)
    return dated.group_by("user_id", "account_id", "event", "day").agg(
        n=dated.count(), total=_total(dated), first=dated.timestamp.min(), last=dated.timestamp.max()
    )


def item_counts(thing: CountedItem, events: Table, bounds: pa.Table, embedded: bool = True) -> Table:
    """Per user, account and day, the events that fit a thing."""
    fitting = events.filter(events.event.isin(thing.events) & _fits(events, thing.where, embedded))
    dated = _dated(fitting, bounds, embedded)
    return dated.group_by("user_id", "account_id", "day").agg(n=dated.count(), total=_total(dated))


def event_times(measure: EventCount, events: Table, bounds: pa.Table | None, embedded: bool = True) -> Table:
    """Per user, account and `happened`, the events that a measure counts: that is the instant, or with the bounds of days the
    local day."""
    kind = events if measure.events is None else events.filter(events.event.isin(measure.events))
    fitting = kind.filter(_fits(kind, measure.where, embedded))
    if bounds is None:
        return fitting.group_by("user_id", "account_id", happened=fitting.timestamp).agg(n=fitting.count())
    dated = _dated(fitting, bounds, embedded)
    return dated.group_by("user_id", "account_id", happened=dated.day).agg(n=dated.count())


def lifetime_counts(plan: CompiledProfile, events: Table, embedded: bool = True) -> Table:
    """Per user and account: first and last event, the last one not passive, things ever done, counts of sets."""
    known = _marked(plan, events) if embedded else events
    passive = known.passive if embedded else known.event.isin(plan.profile.passive)
    # In `kpi` an event that is worth nothing adopts nothing.
    valued = plan.model == "kpi" and "value" in events.columns
    worth = _worth(known) > 0 if valued else ibis.literal(True)
    summed: dict[str, Any] = {
        "first": known.timestamp.min(),
        "last": known.timestamp.max(),
        "last_active": ibis.ifelse(passive, ibis.null("timestamp(6)"), known.timestamp).max(),
    }
    for word in plan.item_words:
        told = [thing for thing in plan.items if thing.word == word and (thing.where or not embedded)]
        bits = {
            thing.bit: worth & known.event.isin(thing.events) & _fits(known, thing.where, embedded)
            for thing in told
        }
        if embedded:
            any_of = ibis.ifelse(worth, known[f"mask_{word}"], 0)
            for bit, fits in bits.items():
                any_of = any_of | ibis.ifelse(fits, bit, 0)
            summed[f"ever_{word}"] = any_of.bit_or()
        else:
            # Not every engine unites bits; a sum of different ones does.
            parts = [ibis.ifelse(fits, bit, 0).cast("int64").max() for bit, fits in bits.items()]
            summed[f"ever_{word}"] = sum(parts, ibis.literal(0, "int64"))
    for position, some in enumerate(plan.counted):
        if embedded:
            inside = known[f"in_{position}"]
        else:
            inside = ibis.literal(1) if some is None else ibis.ifelse(known.event.isin(some), 1, 0)
        summed[f"count_{position}"] = _sum(inside) if embedded or some is not None else known.count()
    return known.group_by("user_id", "account_id").agg(**summed)


def _marked(plan: CompiledProfile, events: Table) -> Table:
    """With what a plan says of each event."""
    masks = ibis.memtable(plan.event_masks())
    columns = [name for name in ("value", "properties") if name in events.columns]
    known = events.left_join(masks, events.event == masks.event)
    return known.select(
        events.user_id,
        events.account_id,
        events.event,
        events.timestamp,
        *(events[name] for name in columns),
        passive=ibis.coalesce(masks.passive, False),
        **{f"mask_{word}": ibis.coalesce(masks[f"mask_{word}"], 0) for word in plan.item_words},
        **{
            f"in_{position}": ibis.coalesce(masks[f"in_{position}"], int(some is None))
            for position, some in enumerate(plan.counted)
        },
    )


def last_accounts(events: Table) -> Table:
    """Per user, the account on the last event that carried one, and when that was; several, if they carried it at
    the same instant: engines sort texts differently."""
    carrying = events.filter(events.account_id.notnull() & events.user_id.notnull())
    last = carrying.group_by("user_id", "account_id").agg(last=carrying.timestamp.max())
    order = ibis.window(group_by=last.user_id, order_by=last["last"].desc())
    ranked = last.mutate(place=ibis.rank().over(order))
    return ranked.filter(ranked.place == 0).select("user_id", "account_id", "last")


def interval_counts(
    measures: Iterable[tuple[EventCount, datetime | None, datetime]], events: Table, embedded: bool = True
) -> Table:
    """Per user and account, a column per measure: the events in [from, until); from None: ever."""
    asked = list(measures)
    columns: dict[str, Any] = {}
    anything: Any = ibis.literal(False)
    for measure, since, until in asked:
        fits = events.timestamp < ibis.literal(until, type="timestamp(6)")
        if since is not None:
            fits = fits & (events.timestamp >= ibis.literal(since, type="timestamp(6)"))
        if measure.events is not None:
            fits = fits & events.event.isin(measure.events)
        fits = fits & _fits(events, measure.where, embedded)
        columns[measure.column] = _sum(ibis.ifelse(fits, 1, 0))
        anything = anything | fits
    return events.filter(anything).group_by("user_id", "account_id").agg(**columns)


def _dated(events: Table, bounds: pa.Table, embedded: bool) -> Table:
    """With the local day. In UTC it is the date; elsewhere no engine is asked about time zones."""
    kept = ["user_id", "account_id", "event", "timestamp", *(["value"] if "value" in events.columns else [])]
    if not embedded or calendar.is_utc(bounds):
        first, last = bounds["starts"][0].as_py(), bounds["ends"][-1].as_py()
        inside = events.filter(
            (events.timestamp >= ibis.literal(first, type="timestamp(6)"))
            & (events.timestamp < ibis.literal(last, type="timestamp(6)"))
        )
        return inside.select(*kept, day=local_day(inside.timestamp, bounds))
    days = ibis.memtable(bounds)
    beside = events.mutate(utc_date=events.timestamp.date())
    dated = beside.join(
        days,
        [beside.utc_date == days.utc_date, beside.timestamp >= days.starts, beside.timestamp < days.ends],
    )
    return dated.select(*kept, day=days.day)


def local_day(instant: Any, bounds: pa.Table) -> Any:
    """The number of the local day of an instant that lies in the days of `bounds`, without a table of them."""
    number = instant.date().delta(ibis.date(1970, 1, 1), unit="day").cast("int64")
    second = instant.hour().cast("int64") * 3600 + instant.minute() * 60 + instant.second()
    *earlier, last = [
        (
            ibis.literal(stretch.ends, type="timestamp(6)"),
            _in_stretch(stretch, number, second),
        )
        for stretch in calendar.day_ranges(bounds)
    ]
    if not earlier:
        return last[1]
    return ibis.cases(*((instant < ends, day) for ends, day in earlier), else_=last[1])


def _in_stretch(stretch: calendar.DayRange, number: Any, second: Any) -> Any:
    if stretch.day is not None:
        return ibis.literal(stretch.day, "int64")
    day = number + stretch.ahead
    return day if stretch.second == 0 else day - ibis.ifelse(second < stretch.second, 1, 0)


def _total(events: Table) -> Any:
    if "value" not in events.columns:
        return events.count() * VALUE_UNIT
    return _sum(_worth(events))


def _sum(column: Any) -> Any:
    """DuckDB sums whole numbers into 128 bits; Ibis takes it for 64 and would hand over the wrong type."""
    return column.sum().cast("decimal(38,0)")


def _worth(events: Table) -> Any:
    """What an event is worth in millionths: its value, or 1. Nothing below zero, and no infinity, counts.

    Engines differ about the order of what is not a number, about the smaller of nothing and something, and about
    halves: nothing here depends on them."""
    value = events.value.cast("float64")
    number = ~value.isnan()
    plain = ibis.ifelse(number & (value >= 0) & (value <= MAX_VALUE), value, 0.0)
    return ibis.cases(
        (value.isnull(), VALUE_UNIT),
        (number & (value > MAX_VALUE) & (value <= MAX_FINITE), MAX_VALUE * VALUE_UNIT),
        else_=(plain * VALUE_UNIT + 0.5).floor().cast("int64"),
    ).cast("int64")


def _fits(events: Table, where: Sequence[tuple[str, Comparison]], embedded: bool) -> Any:
    """Whether every comparison holds; what is missing fits nothing but `exists: false`."""
    fits: Any = ibis.literal(True)
    for name, comparison in where:
        fits = fits & ibis.coalesce(_compared(events, name, comparison, embedded), ibis.literal(False))
    return fits


def _compared(events: Table, name: str, comparison: Comparison, embedded: bool) -> Any:
    text, number, flag = _property(events, name, embedded)
    operator, values = comparison.operator, comparison.values
    there = text.notnull() | number.notnull() | flag.notnull()
    if operator == "exists":
        wanted = value_types.flag(values[0])
        return there if wanted else ~there
    if operator == "contains":
        return text.contains(values[0])
    if operator == "starts_with":
        return text.startswith(values[0])
    if operator in ("eq", "neq", "in", "not_in"):
        same: Any = ibis.literal(False)
        for value in values:
            same = same | ibis.coalesce(text == ibis.literal(value), False)
            if _is_number(value):
                same = same | ibis.coalesce(number == ibis.literal(float(value)), False)
            if value in ("true", "false"):
                same = same | ibis.coalesce(flag == ibis.literal(value == "true"), False)
        return there & ~same if operator in NEGATIVE else same
    low = float(value_types.decimal(values[0]))
    match operator:
        case "gt":
            return number > low
        case "gte":
            return number >= low
        case "lt":
            return number < low
        case "lte":
            return number <= low
    return (number >= low) & (number <= float(value_types.decimal(values[1])))


def _property(events: Table, name: str, embedded: bool) -> tuple[Any, Any, Any]:
    """A property as text, number and flag: what it is not is missing."""
    nothing = ibis.null("string"), ibis.null("float64"), ibis.null("boolean")
    if name == "value" and "value" in events.columns:
        return nothing[0], _numeric(events.value), nothing[2]
    if "properties" not in events.columns:
        return nothing
    properties = events.properties
    kind = properties.type()
    if kind.is_struct():
        if name not in kind.names:
            return nothing
        column = properties[name]
        inner = column.type()
        if inner.is_boolean():
            return nothing[0], nothing[1], column
        if inner.is_numeric():
            return nothing[0], _numeric(column), nothing[2]
        return column.cast("string"), nothing[1], nothing[2]
    document = properties if kind.is_json() else properties.cast("json")
    # DuckDB takes a dot in a name for a way further down; a pointer has no such signs.
    found = (
        _pointed(document, "/" + name.replace("~", "~0").replace("/", "~1")) if embedded else document[name]
    )
    return found.unwrap_as("string"), found.unwrap_as("float64"), found.unwrap_as("boolean")


def _numeric(column: Any) -> Any:
    """What is not a number is none: DuckDB and PostgreSQL would take it for the largest."""
    number = column.cast("float64")
    return ibis.ifelse(number.isnan(), ibis.null("float64"), number)


def _is_number(value: str) -> bool:
    try:
        value_types.decimal(value)
    except ValueError:
        return False
    return True
