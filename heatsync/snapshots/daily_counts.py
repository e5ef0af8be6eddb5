"""What each day counted, kept in the state folder, so that a run reads only the last days of the source.

    <state>/daily/ids/{user,account,event}-N.parquet   no, id: the numbers in place of texts
    <state>/daily/<week>.parquet                       user_no, account_no, event_no, day, n, total, first, last
    <state>/daily/carried.parquet                      user_no, account_no, last: accounts on events before the first day
    <state>/daily/cover.json                           which days, of which source

Deleting the folder costs only time. One process at a time uses it.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import ibis

from connectors.errors import ConfigurationError
from heatsync.scoring.compute import calendar, source_counts
from heatsync.scoring.compute.compiled_profile import CountedItem
from heatsync.scoring.compute.relations import Relation, create_table
from heatsync.source import backends
from heatsync.source.duckdb_session import fetch_table
from heatsync.source.reader import Source
from heatsync.source.tables import explain_read_errors
from heatsync.workspace.config import Workspace

FORMAT = 1
"""Grows when the files mean something else; older ones are written again."""
KINDS = ("user", "account", "event")
IDS = {kind: Relation(f"{kind}_ids", ("no", "id")) for kind in KINDS}
"""The numbers in place of ids and event names, by kind. `DailyCounts` keeps these tables up to date."""
DAILY = Relation("daily", ("user_no", "account_no", "event_no", "day", "n", "total", "first", "last"))
"""What each day counted, per user, account and event. `DailyCounts` keeps this view up to date."""
WEEK = 7
EARLIEST = date(1900, 1, 1)
"""Days before it count as one."""
FEW_DAYS = 2000
"""Days of a small source that are counted at once."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """The days from `since` to `until` are counted, of a source (a hash of what the counts depend on); `first` is the
    timestamp of its first event (ISO 8601)."""

    source: str
    since: int
    until: int
    first: str | None
    volumes: dict[str, int] = field(default_factory=dict)
    """Events per UTC date, as the source had them."""


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Use the daily counts of a state folder alone; waits for another process that does. Raises ConfigurationError."""
    folder = state / "daily"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
    except OSError as error:
        raise ConfigurationError(
            f"the state folder {folder} cannot be created: {error.strerror}: name another one with `state`, or let"
            " this user write there"
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True, slots=True)
class PropertyCounts:
    """What items that select events by properties counted from the day `first` to `last`: `table` (user_no, account_no,
    item, day, n, total)."""

    items: tuple[CountedItem, ...]
    first: int
    last: int
    table: Relation


@dataclass(slots=True)
class DailyCounts:
    """The daily counts of a workspace. It owns `IDS` and `DAILY` in the DuckDB of the connection, and keeps them up to
    date."""

    workspace: Workspace
    source: Source
    connection: duckdb.DuckDBPyConnection
    coverage: Coverage | None = None
    fresh: bool = False
    """Whether the last days have been read again in this session."""
    by_properties: PropertyCounts | None = None
    asked: int | None = None
    """The first day that was asked for in this session."""

    @property
    def folder(self) -> Path:
        """The folder of all daily counts."""
        return self.workspace.state / "daily"

    @property
    def counted(self) -> Coverage:
        """The days that are counted. Ask `count_days` first."""
        assert self.coverage is not None
        return self.coverage

    @property
    def carried(self) -> Path:
        """The file of the accounts that users' events carried before the first counted day."""
        return self.folder / "carried.parquet"

    @property
    def first_day(self) -> int | None:
        """The local day of the first event of the source; None without any."""
        if self.coverage is None or self.coverage.first is None:
            return None
        return calendar.day_number(self.local_date(datetime.fromisoformat(self.coverage.first)))

    def load(self) -> None:
        """Load what is stored, if it is of this source; else delete it."""
        self.coverage = self._load_coverage()
        if self.coverage is None and self.folder.exists():
            for path in self.folder.iterdir():
                if path.name != "lock":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        for kind in KINDS:
            self.connection.execute(f"CREATE OR REPLACE TEMP TABLE {IDS[kind]} (no INTEGER, id VARCHAR)")
            files = sorted(str(path) for path in (self.folder / "ids").glob(f"{kind}-*.parquet"))
            if files:
                self.connection.execute(
                    f"INSERT INTO {IDS[kind]} SELECT no, id FROM read_parquet(?)", [files]
                )
        self._show()

    def count_days(self, first: int, last: int) -> None:
        """Count the days from `first` to `last` that are not counted. The last of them are read again once a session, for
        events that came late. Raises ConfigurationError."""
        self.asked = first if self.asked is None else min(first, self.asked)
        if self.coverage is None or first < self._reach(self.coverage):
            first = min(first, self._beginning(last))
            last = last if self.coverage is None else max(last, self.coverage.until)
            self._count(None, first, last)
        elif last > self.coverage.until or (last == self.coverage.until and not self.fresh):
            again = self.coverage.until - self.workspace.source.look_back + 1
            changed = self._changed()
            if changed is not None and changed < self.coverage.since:
                self._count(None, self.coverage.since, last)
            else:
                self._count(max(self.coverage.since, min(again, changed or again)), self.coverage.since, last)
        else:
            return
        self.fresh = True

    def drop_before(self, before: int) -> None:
        """Delete the weeks that lie wholly before a day and that nothing asked for. The last account on the events of their
        users is kept."""
        coverage = self.coverage
        bound = before if self.asked is None else min(before, self.asked)
        old = [path for path in self._weeks() if (int(path.stem) + 1) * WEEK <= bound]
        since = (max((int(path.stem) for path in old), default=0) + 1) * WEEK
        if coverage is None or not old or since > coverage.until:
            return
        files = ", ".join(f"'{_quoted(path)}'" for path in (self.carried, *old))
        self.write(
            f"SELECT user_no, account_no, max(last) AS last FROM read_parquet([{files}], union_by_name = true)"
            " WHERE user_no IS NOT NULL AND account_no IS NOT NULL GROUP BY user_no, account_no"
            " QUALIFY rank() OVER (PARTITION BY user_no ORDER BY max(last) DESC) = 1 ORDER BY user_no, account_no",
            self.carried,
        )
        self.coverage = replace(coverage, since=since)
        self._save_coverage()
        for path in old:
            path.unlink()
        self._show()

    def _beginning(self, last: int) -> int:
        """The first day to count. Small files are counted as a whole, so that they need not be read again."""
        if not self.source.small:
            return last
        _, first = self.events(None, last)
        begins = last if first is None else calendar.day_number(self.local_date(first))
        return begins if begins > last - FEW_DAYS else last

    def _changed(self) -> int | None:
        """The first day whose events in the source differ from those that were counted; None if there is none. Only files
        are compared, where counting events costs little."""
        assert self.coverage is not None
        if not self.source.embedded:
            return None
        until = calendar.day_start(calendar.day_of(self.coverage.until + 1), self.workspace.time_zone)
        now = self.source.volumes(until)
        dates = {
            each
            for each in {*now, *self.coverage.volumes}
            if now.get(each, 0) != self.coverage.volumes.get(each, 0)
        }
        if not dates:
            return None
        # A local day may begin on the previous UTC date.
        changed = calendar.day_number(date.fromisoformat(min(dates))) - 1
        for path in (self.folder / "lives").glob("*/*.parquet"):
            if int(path.stem) >= changed:
                path.unlink()
        return changed

    def number_ids(self, kind: str, ids: str) -> None:
        """Give numbers to the ids of a relation (SQL, with `id`) that have none yet."""
        self.connection.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE new_ids AS
            SELECT (SELECT coalesce(max(no), -1) FROM {IDS[kind]}) + row_number() OVER (ORDER BY id) AS no, id
            FROM (SELECT DISTINCT id FROM {ids} WHERE id IS NOT NULL) ANTI JOIN {IDS[kind]} USING (id)
            """
        )
        row = self.connection.execute("SELECT count(*), min(no) FROM new_ids").fetchone()
        if row is not None and row[0]:
            self.connection.execute(f"INSERT INTO {IDS[kind]} FROM new_ids")
            self.write(
                "SELECT * FROM new_ids ORDER BY no", self.folder / "ids" / f"{kind}-{row[1]:012d}.parquet"
            )

    def number_events(self, events: Collection[str], last: int) -> None:
        """Give numbers also to those of some events that occurred only before the counted days. Raises
        ConfigurationError."""
        known = {name for (name,) in self.connection.execute(f"SELECT id FROM {IDS['event']}").fetchall()}
        missing = sorted({*events} - known)
        if missing:
            ever, _ = self.events(None, last)
            names = ever.filter(ever.event.isin(missing)).select(id=ever.event).distinct()
            self.number_ids("event", str(self.fetch("incoming_ids", names)))

    def _count(self, again: int | None, since: int, last: int) -> None:
        """Read and count the days from `again` to `last`; with None those from `since`, and the accounts before it."""
        start = since if again is None else again
        events, first = self.events(None if again is None else calendar.day_of(again), last)
        if again is not None and self.coverage is not None and self.coverage.first is not None:
            before = datetime.fromisoformat(self.coverage.first)
            first = before if first is None else min(first, before)
        zone = self.workspace.time_zone
        begin = calendar.day_start(calendar.day_of(start), zone)
        bounds = calendar.day_bounds(calendar.day_of(start), calendar.day_of(last), zone)
        recent = events.filter(events.timestamp >= ibis.literal(begin, type="timestamp(6)"))
        columns = ["event", "day", "n", "total", "first", "last"]
        query = source_counts.daily_counts(self._coded(recent), bounds, self.source.embedded)
        daily = self.number_rows(self.fetch("read_daily", query), columns, coded=self.source.embedded)
        if again is None:
            earlier = events.filter(events.timestamp < ibis.literal(begin, type="timestamp(6)"))
            homes = self.number_rows(self.fetch("read_homes", source_counts.last_accounts(earlier)), ["last"])
            self.write(f"FROM {homes}", self.carried)
            for path in self._weeks():
                path.unlink()
        for week in range(start // WEEK, last // WEEK + 1):
            path = self.folder / f"{week}.parquet"
            old = (
                f"SELECT * FROM read_parquet('{_quoted(path)}') WHERE day < {start} UNION ALL BY NAME"
                if path.exists()
                else ""
            )
            self.write(
                f"{old} SELECT * FROM {daily} WHERE day BETWEEN {week * WEEK} AND {week * WEEK + WEEK - 1}",
                path,
            )
        end = calendar.day_start(calendar.day_of(last + 1), zone)
        volumes = self.source.volumes(end) if self.source.embedded else {}
        self.coverage = Coverage(
            self._source(), since, last, None if first is None else first.isoformat(), volumes
        )
        self._save_coverage()
        self._show()

    def _save_coverage(self) -> None:
        assert self.coverage is not None
        part = self.folder / ".cover.json"
        part.write_text(json.dumps(asdict(self.coverage)))
        os.replace(part, self.folder / "cover.json")

    def events(self, since: date | None, last: int) -> tuple[ibis.Table, datetime | None]:
        """The events from the start of a day (None: all) to the end of `last`, and the first timestamp (Source.events)."""
        zone = self.workspace.time_zone
        return self.source.events(
            None if since is None else calendar.day_start(since, zone),
            calendar.day_start(calendar.day_of(last + 1), zone),
        )

    def _coded(self, events: ibis.Table) -> ibis.Table:
        """The events with numbers in place of ids and names, in DuckDB: grouping many rows by numbers takes a third of the
        time. Of other engines the texts are fetched and numbered afterwards."""
        if not self.source.embedded:
            return events
        connection = self.source.connection
        coded = events
        for kind in KINDS:
            column = "event" if kind == "event" else f"{kind}_id"
            incoming = self.fetch("incoming_ids", events.select(id=events[column]).distinct())
            self.number_ids(kind, str(incoming))
            known = self.connection.execute(
                f"FROM {IDS[kind]} SEMI JOIN {incoming} USING (id)"
            ).to_arrow_table()
            connection.create_table(f"heatsync_{kind}_ids", known, temp=True, overwrite=True)
            ids = connection.table(f"heatsync_{kind}_ids")
            kept = [name for name in coded.columns if name != column]
            joined = coded.left_join(ids, coded[column] == ids.id)
            coded = joined.select(*(coded[name] for name in kept), **{column: ids.no})
        return coded

    def number_rows(self, table: Relation, columns: list[str], coded: bool = False) -> Relation:
        """What was fetched, with numbers in place of its ids: user_no, account_no, the columns, and event_no in place
        of `event`. With `coded` the numbers are there already, under the names of the ids."""
        con = self.connection
        names = ("user_no", "account_no", *("event_no" if each == "event" else each for each in columns))
        if coded:
            for old, new in (("user_id", "user_no"), ("account_id", "account_no"), ("event", "event_no")):
                con.execute(f"ALTER TABLE {table} RENAME {old} TO {new}")
            return Relation(table.name, names)
        first = self.first_day
        whole = self.fresh and self.coverage is not None and (first is None or self.coverage.since <= first)
        for kind in ("user", "account", *(["event"] if "event" in columns else [])) if not whole else ():
            column = "event" if kind == "event" else f"{kind}_id"
            self.number_ids(kind, f"(SELECT {column} AS id FROM {table})")
        event = f"LEFT JOIN {IDS['event']} e ON e.id = i.event" if "event" in columns else ""
        listed = ", ".join("e.no AS event_no" if each == "event" else f"i.{each}" for each in columns)
        return create_table(
            con,
            table.name,
            names,
            f"SELECT u.no AS user_no, a.no AS account_no, {listed}"
            f" FROM {table} i LEFT JOIN {IDS['user']} u ON u.id = i.user_id"
            f" LEFT JOIN {IDS['account']} a ON a.id = i.account_id {event}",
        )

    def fetch(self, name: str, expression: ibis.Table) -> Relation:
        """The rows of an expression over the source's events, as a table. Raises ConfigurationError."""
        with explain_read_errors(self.workspace.folder, *self.workspace.source.events):
            return fetch_table(self.connection, name, expression)

    def _load_coverage(self) -> Coverage | None:
        try:
            found = Coverage(**json.loads((self.folder / "cover.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None
        if found.source != self._source():
            return None
        weeks = {int(path.stem) for path in self._weeks()}
        whole = set(range(found.since // WEEK, found.until // WEEK + 1)) <= weeks
        return found if whole and (self.carried).exists() else None

    def _reach(self, coverage: Coverage) -> int:
        """The first day that is counted: every day, if the counts begin at or before the first event."""
        first = self.first_day
        return -(10**9) if first is None or coverage.since <= first else coverage.since

    def _weeks(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.parquet") if path.stem.isdigit())

    def _show(self) -> None:
        files = [str(path) for path in self._weeks()]
        nothing = (
            "SELECT NULL::INTEGER AS user_no, NULL::INTEGER AS account_no, NULL::INTEGER AS event_no,"
            " NULL::BIGINT AS day, NULL::BIGINT AS n, NULL::DECIMAL(38, 0) AS total, NULL::TIMESTAMP AS first,"
            " NULL::TIMESTAMP AS last WHERE false"
        )
        source = f"read_parquet([{', '.join(repr(each) for each in files)}])" if files else f"({nothing})"
        if files and self.source.small:
            self.connection.execute(f"CREATE OR REPLACE TEMP TABLE daily_rows AS FROM {source}")
            source = "daily_rows"
        self.connection.execute(f"CREATE OR REPLACE TEMP VIEW {DAILY} AS FROM {source}")

    def _source(self) -> str:
        """A hash of what the counts depend on: the tables, their columns, and the time zone."""
        written = self.workspace.source
        tables = [[each.table, sorted(each.columns.items()), each.time_zone] for each in written.events]
        return digest(
            [
                FORMAT,
                backends.address_of(written.engine),
                tables,
                self.source.column_types(),
                self.workspace.time_zone.key,
            ]
        )

    def write(self, query: str, path: Path) -> None:
        """Write the rows of a query to a Parquet file, which appears only when it is complete."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        self.connection.execute(f"COPY ({query}) TO '{_quoted(part)}' (FORMAT parquet, COMPRESSION snappy)")
        os.replace(part, path)

    def local_date(self, instant: datetime) -> date:
        """The local date of an instant (naive, UTC), at least the day after `EARLIEST`."""
        floor = datetime(EARLIEST.year, EARLIEST.month, EARLIEST.day + 1)
        return calendar.local_day(max(instant, floor), self.workspace.time_zone)


def digest(value: Any) -> str:
    """A short hash of a value of JSON types: 16 hex digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
