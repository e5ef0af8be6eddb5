"""Event counts as Ibis expressions, computed in the engine of the source.

`events` has user_id, account_id (texts, or their numbers), event, timestamp (UTC without zone) and, if the source has
them, `value` and `properties`.

    daily_counts       per user, account on the event, event and local day: n, total, first, last
    item_counts        the same for an item that selects events by their properties
    lifetime_counts    per user and account on the event: what accumulates over a lifetime
    last_accounts      per user: the account on the last event that carried one
    interval_counts    per user and account on the event: how many events lie in some intervals

All sums are sums of whole numbers, so that parallel runs give the same result.

`embedded` is our own DuckDB, which joins small tables of days and events. In other engines nothing may be written,
not even a temporary table: the same rules are part of the expression, which is slower and equally exact.
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
"""A larger value counts as this one."""
MAX_FINITE = 1.7976931348623157e308
"""The largest finite number. Not every engine has a name for infinity."""


def _extract(document: Any, pointer: Any) -> Any:
    """A part of a JSON document: DuckDB's function of this name."""


_pointed = ibis.udf.scalar.builtin(_extract, name="json_extract", signature=((dt.json, dt.string), dt.json))


def daily_counts(events: Table, bounds: pa.Table, embedded: bool = True) -> Table:
    """The daily counts of the days of `bounds` (calendar.day_bounds). `total` is in millionths."""
    dated = _dated(events, bounds, embedded)
    return dated.group_by("user_id", "account_id", "event", "day").agg(
        n=dated.count(), total=_total(dated), first=dated.timestamp.min(), last=dated.timestamp.max()
    )


def item_counts(item: CountedItem, events: Table, bounds: pa.Table, embedded: bool = True) -> Table:
    """Per user, account and day, the events that match an item: n, total."""
    fitting = events.filter(events.event.isin(item.events) & _fits(events, item.where, embedded))
    dated = _dated(fitting, bounds, embedded)
    return dated.group_by("user_id", "account_id", "day").agg(n=dated.count(), total=_total(dated))


def event_times(measure: EventCount, events: Table, bounds: pa.Table | None, embedded: bool = True) -> Table:
    """Per user and account, the events of a count: n at `happened`, which is the instant, or with `bounds` the local
    day."""
    kind = events if measure.events is None else events.filter(events.event.isin(measure.events))
    fitting = kind.filter(_fits(kind, measure.where, embedded))
    if bounds is None:
        return fitting.group_by("user_id", "account_id", happened=fitting.timestamp).agg(n=fitting.count())
    dated = _dated(fitting, bounds, embedded)
    return dated.group_by("user_id", "account_id", happened=dated.day).agg(n=dated.count())


def lifetime_counts(plan: CompiledProfile, events: Table, embedded: bool = True) -> Table:
    """Per user and account: first, last, last_active (last event that is not passive), ever_N (bits of the items ever
    done) and count_N (events of each counted set)."""
    known = _marked(plan, events) if embedded else events
    passive = known.passive if embedded else known.event.isin(plan.profile.passive)
    # In `kpi` an event with a value of 0 does not count as adoption.
    valued = plan.model == "kpi" and "value" in events.columns
    worth = _worth(known) > 0 if valued else ibis.literal(True)
    summed: dict[str, Any] = {
        "first": known.timestamp.min(),
        "last": known.timestamp.max(),
        "last_active": ibis.ifelse(passive, ibis.null("timestamp(6)"), known.timestamp).max(),
    }
    for word in plan.item_words:
        several = [item for item in plan.items if item.word == word and (item.where or not embedded)]
        bits = {
            item.bit: worth & known.event.isin(item.events) & _fits(known, item.where, embedded)
            for item in several
        }
        if embedded:
            any_of = ibis.ifelse(worth, known[f"mask_{word}"], 0)
            for bit, fits in bits.items():
                any_of = any_of | ibis.ifelse(fits, bit, 0)
            summed[f"ever_{word}"] = any_of.bit_or()
        else:
            # Not every engine has bit_or; a sum of distinct bits is the same.
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
    """The events, with their item bits, counted sets and whether they are passive."""
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
    """Per user: account_id on the last event that carried one, and `last`, when that was. Several rows if several
    accounts were carried at the same instant: engines sort texts differently."""
    carrying = events.filter(events.account_id.notnull() & events.user_id.notnull())
    last = carrying.group_by("user_id", "account_id").agg(last=carrying.timestamp.max())
    order = ibis.window(group_by=last.user_id, order_by=last["last"].desc())
    ranked = last.mutate(place=ibis.rank().over(order))
    return ranked.filter(ranked.place == 0).select("user_id", "account_id", "last")


def interval_counts(
    measures: Iterable[tuple[EventCount, datetime | None, datetime]], events: Table, embedded: bool = True
) -> Table:
    """Per user and account, a column per count: the events in [from, until). From None: ever."""
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
    """The events with their local day. In UTC it is the date; other engines are never asked about time zones."""
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
    """The local day of an instant within `bounds`, as an expression that needs no table of days."""
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
    """A sum as a 128-bit number. DuckDB sums whole numbers into 128 bits, Ibis expects 64 and would return the wrong
    type."""
    return column.sum().cast("decimal(38,0)")


def _worth(events: Table) -> Any:
    """The value of an event in millionths, 1 if it has none. Negative values and infinity count as 0.

    Engines differ in how they sort NaN, in the minimum of a value and NULL, and in how they round halves; this
    expression depends on none of it.
    """
    value = events.value.cast("float64")
    number = ~value.isnan()
    plain = ibis.ifelse(number & (value >= 0) & (value <= MAX_VALUE), value, 0.0)
    return ibis.cases(
        (value.isnull(), VALUE_UNIT),
        (number & (value > MAX_VALUE) & (value <= MAX_FINITE), MAX_VALUE * VALUE_UNIT),
        else_=(plain * VALUE_UNIT + 0.5).floor().cast("int64"),
    ).cast("int64")


def _fits(events: Table, where: Sequence[tuple[str, Comparison]], embedded: bool) -> Any:
    """Whether every comparison holds. A missing property only fits `exists: false`."""
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
    """A property as text, number and flag; each is NULL if the property has another type."""
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
    # DuckDB reads a dot in a name as a path; a JSON pointer does not.
    found = (
        _pointed(document, "/" + name.replace("~", "~0").replace("/", "~1")) if embedded else document[name]
    )
    return found.unwrap_as("string"), found.unwrap_as("float64"), found.unwrap_as("boolean")


def _numeric(column: Any) -> Any:
    """A number, or NULL for NaN: DuckDB and PostgreSQL sort NaN as the largest number."""
    number = column.cast("float64")
    return ibis.ifelse(number.isnan(), ibis.null("float64"), number)


def _is_number(value: str) -> bool:
    try:
        value_types.decimal(value)
    except ValueError:
        return False
    return True
