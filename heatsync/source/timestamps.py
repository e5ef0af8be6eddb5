"""Columns of the source that hold timestamps, as UTC without a zone.

`engine` is the name of an Ibis backend. Only DuckDB can try to read a text as a timestamp; for the others a pattern decides.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.datatypes as dt

from connectors.errors import ConfigurationError
from heatsync.source import backends
from heatsync.workspace.config import SourceTable

_ZONED = r":[0-9.:]+\s*([Zz]|UTC|[+-][0-9:]+)$"
"""A time of day that is followed by a zone."""
_READABLE = (
    r"^(\d{4}-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8]))"
    r"|(\d\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)"
    r"([T ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?\s*([Zz]|UTC|[+-](0\d|1[0-5])(:?[0-5]\d)?)?)?$"
)
"""A day that exists, and a time of it, with or without a zone."""
_UTC = dt.Timestamp(scale=6)
_AWARE = dt.Timestamp(timezone="UTC", scale=6)


@dataclass(frozen=True, slots=True)
class ParsedTimestamps:
    """A column as timestamps. `value` is NULL where a text cannot be read; `blank` and `naive` (without a zone) are
    booleans."""

    value: Any
    blank: Any
    naive: Any

    @property
    def unread(self) -> Any:
        """Whether a value is a text that cannot be read."""
        return ~self.blank & self.value.isnull()


def parse_timestamps(
    table: SourceTable, opened: ibis.Table, name: str, engine: str = "duckdb"
) -> ParsedTimestamps:
    """A column as timestamps. Raises ConfigurationError for a column of another type."""
    column = opened[name]
    kind = column.type()
    zone = ZoneInfo(table.time_zone or "UTC")
    if kind.is_timestamp() and kind.timezone is not None:
        return ParsedTimestamps(backends.as_utc(engine, column), column.isnull(), ibis.literal(False))
    if kind.is_timestamp() or kind.is_date():
        return ParsedTimestamps(_shifted(opened, column.cast(_UTC), zone), column.isnull(), column.notnull())
    if kind.is_string():
        text = _text(column)
        zoned = text.re_search(_ZONED)
        naive = _shifted(opened, _tried(text, _UTC, engine), zone)
        aware = _tried(text, _AWARE, engine)
        value = ibis.ifelse(zoned, backends.as_utc(engine, aware), naive)
        return ParsedTimestamps(value, column.isnull() | (text == ""), ~zoned & naive.notnull())
    raise ConfigurationError(
        f"{table.place}: {table.table}, column `{table.columns.get(name, name)}`: expected timestamps, found {kind}:"
        " export it as a timestamp, or as text such as 2026-01-31T12:00:00Z"
    )


def drop_older(opened: ibis.Table, name: str, since: datetime) -> ibis.Table:
    """The rows without those that are surely from before an instant. The column is compared as it is, so that an engine
    can use an index or leave out whole files and partitions. Rows whose timestamp cannot be read stay."""
    column = opened[name]
    kind = column.type()
    if kind.is_timestamp() and kind.timezone is not None:
        start = ibis.literal(since.replace(tzinfo=UTC), type=kind)
    elif kind.is_timestamp() or kind.is_date():
        # No zone is more than a day away from UTC.
        early = max(since, datetime(1900, 1, 3)) - timedelta(days=2)
        start = ibis.literal(early.date() if kind.is_date() else early, type=kind)
    else:
        return opened
    return opened.filter((column >= start) | column.isnull())


def refuse_unreadable(table: SourceTable, opened: ibis.Table, name: str, engine: str = "duckdb") -> None:
    """Raises ConfigurationError with the first text that is not a timestamp."""
    numbered = opened.select(row=ibis.row_number() + 1, found=opened[name], text=_text(opened[name]))
    unread = numbered.filter((numbered.text != "") & _tried(numbered.text, _AWARE, engine).isnull())
    first = unread.order_by("row").limit(1).to_pyarrow().to_pylist()[0]
    count = unread.count().to_pyarrow().as_py()
    raise ConfigurationError(
        f"{table.place}: {table.table}, row {first['row']}, column `{table.columns.get(name, name)}`: expected a"
        f" timestamp such as 2026-01-31T12:00:00Z, found `{first['found'][:40]}`"
        f" ({count} {'rows have' if count > 1 else 'row has'} this problem). Fix the export, or leave the value empty"
    )


def _tried(text: Any, kind: dt.Timestamp, engine: str) -> Any:
    if engine == "duckdb":
        return text.try_cast(kind)
    return ibis.ifelse(text.re_search(_READABLE), text, ibis.null("string")).cast(kind)


def _text(column: Any) -> Any:
    """A text without blanks around it, and with the seconds that DuckDB requires."""
    return column.strip().re_replace(r"^(\d{4}-\d\d-\d\d[T ]\d\d:\d\d)([^:\d].*)?$", r"\1:00\2")


def zone_note(table: SourceTable) -> str:
    """The note about timestamps without a zone."""
    if table.time_zone:
        return f"{table.table}: timestamps without a zone are read as {table.time_zone}"
    return f"{table.table}: timestamps without a zone are read as UTC; set `time_zone:` in the source if they are not"


def _shifted(opened: ibis.Table, naive: Any, zone: ZoneInfo) -> Any:
    """Local timestamps as UTC, by the offsets that were in force. Of an hour that occurs twice the first is taken."""
    if zone.key == "UTC":
        return naive
    span = opened.aggregate(low=naive.min(), high=naive.max()).to_pyarrow().to_pylist()[0]
    if span["low"] is None:
        return naive
    *earlier, (_, last) = _offsets(zone, span["low"], span["high"])
    seconds: Any = ibis.literal(last, "int64")
    if earlier:
        until = [(naive < ibis.literal(end, type="timestamp(6)"), offset) for end, offset in earlier]
        seconds = ibis.cases(*until, else_=last).cast("int64")
    return naive - seconds.as_interval("s")


def _offsets(zone: ZoneInfo, low: datetime, high: datetime) -> list[tuple[datetime, int]]:
    """The offsets from UTC of a zone's local time, in seconds, each with the local instant at which it ends."""

    def offset(local: datetime) -> int:
        shift = local.replace(tzinfo=zone).utcoffset()
        assert shift is not None
        return int(shift.total_seconds())

    low = max(low, datetime(1900, 1, 1))
    high = max(low, min(high, datetime(2200, 1, 1)))
    found: list[tuple[datetime, int]] = []
    at = low
    while at < high:
        step = min(at + timedelta(days=1), high)
        if offset(step) != offset(at):
            before, after = at, step
            while after - before > timedelta(seconds=1):
                middle = before + (after - before) // 2
                before, after = (middle, after) if offset(middle) == offset(at) else (before, middle)
            found.append((after.replace(microsecond=0), offset(at)))
        at = step
    return [*found, (datetime.max, offset(high))]
