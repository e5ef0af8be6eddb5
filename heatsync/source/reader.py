"""The events, users and accounts of the source, checked and brought into one form.

Ids are text, timestamps are UTC without a zone, columns have our names. What cannot be read is a ConfigurationError that
says where it is and what to do; rows that never count are counted as ignored.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import ibis

from connectors.errors import ConfigurationError
from heatsync.scoring.compute import calendar, source_counts
from heatsync.source import backends
from heatsync.source.tables import connect, explain_read_errors, is_file, open_table, require_columns
from heatsync.source.timestamps import drop_older, parse_timestamps, refuse_unreadable, zone_note
from heatsync.workspace.config import SourceTable, Workspace

SMALL = 4 * 2**20
"""Events in files of at most so many bytes together are read whole, and once."""


@dataclass(slots=True)
class Source:
    """An open source. `users` and `accounts` have their key, created_at (if the table has it) and every other column.
    `notes` are sentences for the person who runs the scoring."""

    connection: Any
    workspace: Workspace
    users: ibis.Table | None = None
    accounts: ibis.Table | None = None
    notes: list[str] = field(default_factory=list)
    _ignored: dict[tuple[str, str], int] = field(default_factory=dict)
    _latest: dict[str, datetime] = field(default_factory=dict)
    _all: tuple[ibis.Table, datetime | None, datetime] | None = None
    """Of small files: every event before an instant, as a table of the engine; the first timestamp; and the instant."""
    _volumes: dict[datetime, dict[str, int]] = field(default_factory=dict)

    @property
    def ignored(self) -> dict[str, int]:
        """How many rows were read that never count, by reason."""
        found: dict[str, int] = {}
        for (_, reason), count in sorted(self._ignored.items(), key=lambda each: each[0][1]):
            if count:
                found[reason] = found.get(reason, 0) + count
        return found

    def events(self, since: datetime | None, until: datetime) -> tuple[ibis.Table, datetime | None]:
        """The events from `since` (None: all) to before `until`, each once: user_id, account_id, event, timestamp, and
        where a table has them value and properties; and the first timestamp of all events before `until`, as far as it
        is known. Instants are naive, in UTC. Raises ConfigurationError."""
        if self._all is None or self._all[2] < until:
            if not self.small:
                return self._read(since, until)
            events, first = self._read(None, until)
            with explain_read_errors(self.workspace.folder, *self.workspace.source.events):
                kept = self.connection.create_table("heatsync_events", events, temp=True, overwrite=True)
            self._all = kept, first, until
        events, first, end = self._all
        if since is not None:
            events = events.filter(events.timestamp >= ibis.literal(since, type="timestamp(6)"))
        if until < end:
            events = events.filter(events.timestamp < ibis.literal(until, type="timestamp(6)"))
        return events, None if first is None or first >= until else first

    @property
    def small(self) -> bool:
        """Whether the events are in a few small files, which are read whole, and once."""
        tables = [table.table for table in self.workspace.source.events]
        if not (self.embedded and all(map(is_file, tables))):
            return False
        paths = [self.workspace.folder / table for table in tables]
        return sum(path.stat().st_size for path in paths if path.is_file()) <= SMALL

    def _read(self, since: datetime | None, until: datetime) -> tuple[ibis.Table, datetime | None]:
        written = self.workspace.source.events
        read = [_read_events(self, table, since, until) for table in written]
        if not any(each.rows for each in read):
            names = ", ".join(table.table for table in written)
            raise ConfigurationError(
                f"{written[0].place}: {names} has no event at all, and an empty table cannot be scored: check"
                " the export that fills it"
            )
        shared = [name for name in ("value", "properties") if any(name in each.kept.columns for each in read)]
        parts = [_with_columns(each.kept, shared, self.engine) for each in read]
        first = min(filter(None, (each.first for each in read)), default=None)
        return (ibis.union(*parts) if len(parts) > 1 else parts[0]), first

    @property
    def engine(self) -> str:
        """The name of the Ibis backend."""
        return str(self.connection.name)

    @property
    def embedded(self) -> bool:
        """Whether the engine is the DuckDB of this process, which reads files."""
        return self.engine == "duckdb"

    def column_types(self) -> list[list[list[str]]]:
        """The columns of each table of events, and their types."""
        return [
            [
                [name, str(kind)]
                for name, kind in open_table(self.connection, self.workspace.folder, table, as_text=True)
                .schema()
                .items()
            ]
            for table in self.workspace.source.events
        ]

    def volumes(self, until: datetime) -> dict[str, int]:
        """How many rows with a timestamp before `until` there are, per UTC date (YYYY-MM-DD)."""
        if until not in self._volumes:
            self._volumes[until] = self._count(until)
        return self._volumes[until]

    def _count(self, until: datetime) -> dict[str, int]:
        found: dict[str, int] = {}
        for table in self.workspace.source.events:
            there = open_table(self.connection, self.workspace.folder, table, as_text=True)
            with explain_read_errors(self.workspace.folder, table):
                stamp = there.select(at=parse_timestamps(table, there, "timestamp", self.engine).value)
                past = stamp.filter(stamp["at"] < ibis.literal(until, type="timestamp(6)"))
                dated = past.group_by(date=past["at"].date()).agg(n=past.count())
                for row in dated.to_pyarrow().to_pylist():
                    found[row["date"].isoformat()] = found.get(row["date"].isoformat(), 0) + row["n"]
        return dict(sorted(found.items()))

    def ignore(self, table: SourceTable, reason: str, count: int | None) -> None:
        """Count rows as ignored. A table is read several times, whole or in part: the largest count is kept."""
        if count:
            known = self._ignored.get((table.table, reason), 0)
            self._ignored[table.table, reason] = max(known, int(count))

    def ignore_after(self, table: SourceTable, until: datetime, count: int | None) -> None:
        """Count the events at or after an instant as ignored; the count of the latest instant is kept."""
        if until >= self._latest.get(table.table, until):
            self._latest[table.table] = until
            self._ignored[table.table, "after_as_of"] = int(count or 0)

    def note_zone(self, table: SourceTable, naive: int | None) -> None:
        """Note once how timestamps without a zone are read, if the table has any."""
        if naive and zone_note(table) not in self.notes:
            self.notes.append(zone_note(table))

    def aggregate(self, table: SourceTable, there: ibis.Table, **questions: Any) -> Mapping[str, Any]:
        """The one row of an aggregation over a table, by name. Raises ConfigurationError."""
        with explain_read_errors(self.workspace.folder, table):
            answer: Mapping[str, Any] = there.aggregate(**questions).to_pyarrow().to_pylist()[0]
        return answer


@contextmanager
def open_source(workspace: Workspace) -> Iterator[Source]:
    """The source of a workspace. Raises ConfigurationError."""
    with connect(workspace) as connection:
        source = Source(connection, workspace)
        source.users = read_entities(source, "user", workspace.source.users)
        source.accounts = read_entities(source, "account", workspace.source.accounts)
        yield source


@dataclass(frozen=True, slots=True)
class _EventTable:
    """One table of events: those that count, the first timestamp of them, and how many rows were read."""

    kept: ibis.Table
    first: datetime | None
    rows: int


def _read_events(source: Source, table: SourceTable, since: datetime | None, until: datetime) -> _EventTable:
    opened = open_table(source.connection, source.workspace.folder, table, as_text=True)
    require_columns(table, opened, "event", "timestamp")
    if "account_id" not in opened.columns:
        require_columns(table, opened, "user_id")
    newer = opened if since is None else drop_older(opened, "timestamp", since)
    read = _with_our_columns(source, table, newer)
    if since is not None:
        # A row without a readable timestamp is read again every day, so that it is never passed over in silence.
        read = read.filter(
            (read.timestamp >= ibis.literal(since, type="timestamp(6)")) | read.timestamp.isnull()
        )
    named = read.user_id.notnull() | read.account_id.notnull()
    counts = ~read.blank & named
    past = counts & (read.timestamp < ibis.literal(until, type="timestamp(6)"))
    questions = {
        "rows": read.count(),
        "unread": read.unread.sum(),
        "naive": read.naive.sum(),
        "without_timestamp": read.blank.sum(),
        "without_user_and_account": (~read.blank & ~named).sum(),
        "after_as_of": (counts & ~past).sum(),
        "first": read.timestamp.min(where=past),
    }
    if "event_id" in opened.columns:
        questions["with_id"] = (past & read.event_id.notnull()).sum()
        if source.embedded:
            # Other engines are not asked whether an id occurs twice: that costs as much as dropping the second one.
            questions["ids"] = read.event_id.nunique(where=past)
    facts = {"with_id": 0, "ids": 0, **source.aggregate(table, read, **questions)}
    if facts["unread"]:
        refuse_unreadable(table, newer, "timestamp", source.engine)
    source.note_zone(table, facts["naive"])
    for reason in ("without_timestamp", "without_user_and_account"):
        source.ignore(table, reason, facts[reason])
    source.ignore_after(table, until, facts["after_as_of"])
    kept = read.filter(past)
    if (facts["with_id"] or 0) > (facts["ids"] or 0):
        kept = _each_once(source, table, kept, facts["first"], until)
    rows = facts["rows"]
    if since is not None and not rows:
        rows = source.aggregate(table, opened, rows=opened.count())["rows"]
    columns = [name for name in ("properties", "value") if name in kept.columns]
    return _EventTable(
        kept.select("user_id", "account_id", "event", "timestamp", *columns), facts["first"], rows
    )


def _with_our_columns(source: Source, table: SourceTable, opened: ibis.Table) -> ibis.Table:
    """user_id, account_id, event, event_id, timestamp (and whether it is blank, naive, unread), and what the table has of
    properties and value."""
    with explain_read_errors(source.workspace.folder, table):
        stamps = parse_timestamps(table, opened, "timestamp", source.engine)
    more = {name: opened[name] for name in ("properties",) if name in opened.columns}
    if "value" in opened.columns:
        more["value"] = backends.as_number(source.engine, opened.value)
    return opened.select(
        user_id=_id(table, opened, "user_id"),
        account_id=_id(table, opened, "account_id"),
        event=opened.event.cast("string"),
        event_id=_id(table, opened, "event_id"),
        timestamp=stamps.value,
        blank=stamps.blank,
        naive=stamps.naive,
        unread=stamps.unread,
        **more,
    )


def _each_once(
    source: Source, table: SourceTable, kept: ibis.Table, first: datetime, until: datetime
) -> ibis.Table:
    """The events without those whose id an earlier one of the same local day has. A run that reads only the last days
    must drop the same events as one that reads all of them."""
    zone = source.workspace.time_zone
    last = calendar.local_day(until - timedelta(microseconds=1), zone)
    begin = max(calendar.local_day(max(first, datetime(1900, 1, 2)), zone), date(1900, 1, 1))
    bounds = calendar.day_bounds(begin, last, zone)
    if source.embedded:
        days = ibis.memtable(bounds)
        beside = kept.mutate(utc_date=kept.timestamp.date())
        dated = beside.left_join(
            days,
            [
                beside.utc_date == days.utc_date,
                beside.timestamp >= days.starts,
                beside.timestamp < days.ends,
            ],
        ).select(*(beside[name] for name in kept.columns), day=days.day)
    else:
        dated = kept.mutate(day=source_counts.local_day(kept.timestamp, bounds))
    # Engines differ in where they sort NULL: an empty text comes first in all of them.
    names = ("user_id", "account_id", "event")
    texts = (backends.sorted_bytewise(source.engine, ibis.coalesce(dated[name], "")) for name in names)
    order = [dated.timestamp, *texts]
    window = ibis.window(group_by=[dated.event_id, dated.day], order_by=order)
    placed = dated.mutate(place=ibis.row_number().over(window))
    once = placed.event_id.isnull() | (placed.place == 0)
    source.ignore(table, "duplicate_event_id", source.aggregate(table, placed, twice=(~once).sum())["twice"])
    return placed.filter(once)


def _with_columns(kept: ibis.Table, columns: list[str], engine: str) -> ibis.Table:
    """The events with the columns that any table has, which are empty where this one has none."""
    if "properties" in columns and "properties" not in kept.columns:
        kept = kept.mutate(properties=backends.as_json(engine, ibis.null("string")))
    elif "properties" in columns and not kept.properties.type().is_struct():
        kept = kept.mutate(properties=backends.as_json(engine, kept.properties))
    if "value" in columns and "value" not in kept.columns:
        kept = kept.mutate(value=ibis.null("float64"))
    return kept.select("user_id", "account_id", "event", "timestamp", *columns)


def read_entities(source: Source, entity: str, table: SourceTable | None) -> ibis.Table | None:
    """The users or accounts table, one row per id, with our types; None where the source has no such table.

    Raises ConfigurationError for a table that is empty, or has an id twice.
    """
    if table is None:
        return None
    key = f"{entity}_id"
    there = open_table(source.connection, source.workspace.folder, table)
    require_columns(table, there, key)
    columns: dict[str, Any] = {
        name: backends.with_portable_type(source.engine, there[name]) for name in there.columns
    }
    for name in columns.keys() & {"user_id", "account_id"}:
        columns[name] = _id(table, there, name)
    if "created_at" in columns:
        columns["created_at"] = _created(source, table, there)
    read = there.select(**columns)
    facts = source.aggregate(
        table, read, rows=read.count(), with_id=read[key].notnull().sum(), ids=read[key].nunique()
    )
    if not facts["with_id"]:
        raise ConfigurationError(
            f"{table.place}: {table.table} has no {entity} at all, and an empty table would change every"
            f" record: check the export that fills it, or leave `{entity}s` out of the source"
        )
    source.ignore(table, f"{entity}s_without_id", facts["rows"] - facts["with_id"])
    if facts["with_id"] > facts["ids"]:
        refuse_duplicates(table, read, key)
    return read.filter(read[key].notnull())


def _created(source: Source, table: SourceTable, there: ibis.Table) -> Any:
    with explain_read_errors(source.workspace.folder, table):
        stamps = parse_timestamps(table, there, "created_at", source.engine)
    beside = there.select(unread=stamps.unread, naive=stamps.naive)
    facts = source.aggregate(table, beside, unread=beside.unread.sum(), naive=beside.naive.sum())
    if facts["unread"]:
        refuse_unreadable(table, there, "created_at", source.engine)
    source.note_zone(table, facts["naive"])
    return stamps.value


def _id(table: SourceTable, there: ibis.Table, name: str) -> Any:
    """An id as text; NULL for an empty one, or where the table has no such column."""
    if name not in there.columns:
        return ibis.null("string")
    kind = there[name].type()
    whole = kind.is_integer() or (kind.is_decimal() and not kind.scale)
    if not (kind.is_string() or whole or kind.is_uuid() or kind.is_unknown()):
        raise ConfigurationError(
            f"{table.place}: {table.table}, column `{table.columns.get(name, name)}`: expected ids as text or whole"
            f" numbers, found {kind}, which cannot hold ids exactly: export the column as text"
        )
    return there[name].cast("string").nullif("")


def refuse_duplicates(table: SourceTable, read: ibis.Table, key: str) -> None:
    """Raises ConfigurationError with the first id that two rows have."""
    numbered = read.select(row=ibis.row_number() + 1, id=read[key])
    numbered = numbered.filter(numbered.id.notnull())
    doubled = numbered.group_by("id").agg(
        first=numbered.row.min(), last=numbered.row.max(), rows=numbered.count()
    )
    doubled = doubled.filter(doubled.rows > 1)
    first = doubled.order_by("first").limit(1).to_pyarrow().to_pylist()
    if not first:
        # Some engines only estimate the number of distinct ids.
        return
    found = first[0]
    many = doubled.count().to_pyarrow().as_py()
    raise ConfigurationError(
        f"{table.place}: {table.table}, rows {found['first']} and {found['last']}, column"
        f" `{table.columns.get(key, key)}`: found `{found['id']}` twice, expected each id once"
        f" ({many} {'ids occur' if many > 1 else 'id occurs'} more than once). Keep one row per id"
    )
