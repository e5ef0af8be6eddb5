"""What the source tells: its events, users and accounts, checked and brought into one form.

Ids are text, instants are UTC without a zone, columns have our names. What cannot be understood is a
ConfigurationError that says where it stands and what to do; what never counts is counted as ignored.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import ibis

from connectors.base import ConfigurationError
from sync.instants import instants, mention, refuse
from sync.opening import connected, need, open_table, reading
from sync.workspace import Table, Workspace


@dataclass(frozen=True, slots=True)
class Source:
    """`events` has user_id, account_id, event and timestamp, of the events that lie before the as-of instant;
    `first` is the first of these. `users` and `accounts` have their key, created_at (if there is one) and every
    other column."""

    connection: Any
    events: ibis.Table
    users: ibis.Table | None
    accounts: ibis.Table | None
    first: datetime | None
    ignored: Mapping[str, int]
    notes: tuple[str, ...]


@contextmanager
def opened(workspace: Workspace, until: datetime) -> Iterator[Source]:
    """The source of a workspace, read as of an instant (UTC without a zone). Raises ConfigurationError."""
    with connected(workspace) as connection:
        yield _Reader(connection, workspace, until).source()


@dataclass(slots=True)
class _Reader:
    connection: Any
    workspace: Workspace
    until: datetime
    ignored: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def source(self) -> Source:
        written = self.workspace.source
        parts: list[ibis.Table] = []
        first: datetime | None = None
        rows = 0
        for table in written.events:
            part, facts = self._events(table)
            parts.append(part)
            rows += facts["rows"]
            first = min(filter(None, (first, facts["first"])), default=None)
        if rows == 0:
            names = ", ".join(table.table for table in written.events)
            raise ConfigurationError(
                f"{written.events[0].where}: {names} has no event at all, and nobody is scored by an empty table:"
                " check the export that fills it"
            )
        users = self._entities("user", written.users)
        accounts = self._entities("account", written.accounts)
        return Source(
            connection=self.connection,
            events=ibis.union(*parts) if len(parts) > 1 else parts[0],
            users=users,
            accounts=accounts,
            first=first,
            ignored={reason: count for reason, count in sorted(self.ignored.items()) if count},
            notes=tuple(self.notes),
        )

    def _events(self, table: Table) -> tuple[ibis.Table, Mapping[str, Any]]:
        """The events that count, and how many rows of which kind the table has."""
        there = open_table(self.connection, self.workspace.folder, table, as_text=True)
        need(table, there, "event", "timestamp")
        if "account_id" not in there.columns:
            need(table, there, "user_id")
        with reading(self.workspace.folder, table):
            stamps = instants(table, there, "timestamp")
        read = there.select(
            user_id=_id(table, there, "user_id"),
            account_id=_id(table, there, "account_id"),
            event=there.event.cast("string"),
            event_id=_id(table, there, "event_id"),
            timestamp=stamps.value,
            blank=stamps.blank,
            naive=stamps.naive,
            unread=stamps.unread,
        )
        somebody = read.user_id.notnull() | read.account_id.notnull()
        counts = ~read.blank & somebody
        past = counts & (read.timestamp < ibis.literal(self.until, type="timestamp(6)"))
        facts = self._ask(
            table,
            read,
            rows=read.count(),
            unread=read.unread.sum(),
            naive=read.naive.sum(),
            without_timestamp=read.blank.sum(),
            without_user_and_account=(~read.blank & ~somebody).sum(),
            after_as_of=(counts & ~past).sum(),
            with_id=(past & read.event_id.notnull()).sum(),
            ids=read.event_id.nunique(where=past),
            first=read.timestamp.min(where=past),
        )
        if facts["unread"]:
            refuse(table, there, "timestamp")
        self._mention(table, facts["naive"])
        for reason in ("without_timestamp", "without_user_and_account", "after_as_of"):
            self._ignore(reason, facts[reason])
        kept = read.filter(past)
        twice = (facts["with_id"] or 0) - (facts["ids"] or 0)
        if twice:
            self._ignore("duplicate_event_id", twice)
            order = [kept.timestamp, kept.user_id, kept.account_id, kept.event]
            window = ibis.window(group_by=kept.event_id, order_by=order)
            placed = kept.mutate(place=ibis.row_number().over(window))
            kept = placed.filter(placed.event_id.isnull() | (placed.place == 0))
        return kept.select("user_id", "account_id", "event", "timestamp"), facts

    def _entities(self, entity: str, table: Table | None) -> ibis.Table | None:
        if table is None:
            return None
        key = f"{entity}_id"
        there = open_table(self.connection, self.workspace.folder, table)
        need(table, there, key)
        columns: dict[str, Any] = {name: there[name] for name in there.columns}
        for name in columns.keys() & {"user_id", "account_id"}:
            columns[name] = _id(table, there, name)
        if "created_at" in columns:
            columns["created_at"] = self._created(table, there)
        read = there.select(**columns)
        facts = self._ask(
            table, read, rows=read.count(), with_id=read[key].notnull().sum(), ids=read[key].nunique()
        )
        if not facts["with_id"]:
            raise ConfigurationError(
                f"{table.where}: {table.table} has no {entity} at all, and what an empty table says would go to"
                f" everybody: check the export that fills it, or leave `{entity}s` out of the source"
            )
        self._ignore(f"{entity}s_without_id", facts["rows"] - facts["with_id"])
        if facts["with_id"] > facts["ids"]:
            _refuse_twice(table, read, key)
        return read.filter(read[key].notnull())

    def _created(self, table: Table, there: ibis.Table) -> Any:
        with reading(self.workspace.folder, table):
            stamps = instants(table, there, "created_at")
        beside = there.select(unread=stamps.unread, naive=stamps.naive)
        facts = self._ask(table, beside, unread=beside.unread.sum(), naive=beside.naive.sum())
        if facts["unread"]:
            refuse(table, there, "created_at")
        self._mention(table, facts["naive"])
        return stamps.value

    def _ask(self, table: Table, there: ibis.Table, **questions: Any) -> Mapping[str, Any]:
        """The one row of an aggregation."""
        with reading(self.workspace.folder, table):
            answer: Mapping[str, Any] = there.aggregate(**questions).to_pyarrow().to_pylist()[0]
        return answer

    def _ignore(self, reason: str, count: int | None) -> None:
        self.ignored[reason] = self.ignored.get(reason, 0) + int(count or 0)

    def _mention(self, table: Table, naive: int | None) -> None:
        if naive and mention(table) not in self.notes:
            self.notes.append(mention(table))


def _id(table: Table, there: ibis.Table, name: str) -> Any:
    """An id as text; nothing for an empty one, or where there is no such column."""
    if name not in there.columns:
        return ibis.null("string")
    kind = there[name].type()
    if not (kind.is_string() or kind.is_integer() or kind.is_uuid()):
        raise ConfigurationError(
            f"{table.where}: {table.table}, column `{table.columns.get(name, name)}`: expected ids as text or whole"
            f" numbers, found {kind}, which cannot name anybody exactly: export the column as text"
        )
    return there[name].cast("string").nullif("")


def _refuse_twice(table: Table, read: ibis.Table, key: str) -> None:
    """Raises ConfigurationError with the first id that stands in two rows."""
    numbered = read.select(row=ibis.row_number() + 1, id=read[key])
    numbered = numbered.filter(numbered.id.notnull())
    doubled = numbered.group_by("id").agg(
        first=numbered.row.min(), last=numbered.row.max(), rows=numbered.count()
    )
    doubled = doubled.filter(doubled.rows > 1)
    found = doubled.order_by("first").limit(1).to_pyarrow().to_pylist()[0]
    many = doubled.count().to_pyarrow().as_py()
    raise ConfigurationError(
        f"{table.where}: {table.table}, rows {found['first']} and {found['last']}, column"
        f" `{table.columns.get(key, key)}`: found `{found['id']}` more than once, expected each id once"
        f" ({many} {'ids are' if many > 1 else 'id is'} like that). Keep one row per id"
    )
