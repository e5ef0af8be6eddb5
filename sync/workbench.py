"""A DuckDB for stage 2 of scoring, and what comes home from the source into it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Any

import duckdb
import ibis
import pyarrow as pa

from scoring import calendar, counting
from scoring.rows import Traits
from sync.opening import engine_settings, reading
from sync.source import Source
from sync.workspace import Workspace

EARLIEST = date(1900, 1, 1)
"""Days before it are not told apart."""


@contextmanager
def workbench(workspace: Workspace) -> Iterator[duckdb.DuckDBPyConnection]:
    con = duckdb.connect(":memory:", config=engine_settings(workspace.state))
    try:
        con.execute("SET TimeZone = 'UTC'")
        yield con
    finally:
        con.close()


def take(home: duckdb.DuckDBPyConnection, name: str, data: Any) -> None:
    """Make a table of Arrow data."""
    home.register("incoming", data)
    try:
        home.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM incoming")
    finally:
        home.unregister("incoming")


def fetch(home: duckdb.DuckDBPyConnection, name: str, expression: ibis.Table) -> None:
    """Run an expression at the source; its rows stream into a table at home."""
    with expression.to_pyarrow_batches() as reader:
        take(home, name, reader)


def count_daily(workspace: Workspace, source: Source, last: date) -> ibis.Table:
    """The events per user, event and day until the end of `last`, kept at the source for all profiles.
    Raises ConfigurationError."""
    zone = workspace.time_zone
    first = _first_day(source.first, last, workspace)
    bounds = calendar.bounds(first, last, zone)
    until = calendar.start(last + timedelta(days=1), zone)
    daily = counting.daily(source.events, bounds, until, calendar.number(first))
    with reading(workspace.folder, *workspace.source.events):
        kept: ibis.Table = source.connection.create_table("heatsync_daily", daily, temp=True, overwrite=True)
    return kept


def members(source: Source) -> ibis.Table:
    """Whose user is whose, by the users table: user_id, account_id."""
    users = source.users
    if users is None:
        none = pa.array([], pa.string())
        return ibis.memtable(pa.table({"user_id": none, "account_id": none}))
    account = users.account_id if "account_id" in users.columns else ibis.null("string")
    return users.select(user_id=users.user_id, account_id=account)


def bring_tables(home: duckdb.DuckDBPyConnection, workspace: Workspace, source: Source, last: date) -> None:
    """Users and accounts, `members`, and the local days since the first of them signed up (`local_days`)."""
    first = source.first
    for name, table, written in (
        ("users", source.users, workspace.source.users),
        ("accounts", source.accounts, workspace.source.accounts),
    ):
        if table is None or written is None:
            continue
        with reading(workspace.folder, written):
            fetch(home, name, table)
        if "created_at" in table.columns:
            row = home.execute(f"SELECT min(created_at) FROM {name}").fetchone()
            first = min(filter(None, (first, row[0] if row else None)), default=None)
    fetch(home, "members", members(source))
    take(home, "local_days", calendar.bounds(_first_day(first, last, workspace), last, workspace.time_zone))


def traits(home: duckdb.DuckDBPyConnection, source: Source) -> Traits:
    """The columns that steps may look at."""
    known: dict[str, dict[str, str]] = {}
    for entity, table in (("user", source.users), ("account", source.accounts)):
        if table is not None:
            described = home.execute(f"DESCRIBE {entity}s").fetchall()
            known[entity] = {name: kind for name, kind, *_ in described}
    return Traits(known)


def _first_day(first: datetime | None, last: date, workspace: Workspace) -> date:
    if first is None:
        return last
    floor = datetime(EARLIEST.year, EARLIEST.month, EARLIEST.day + 1)
    return min(last, calendar.local_day(max(first, floor), workspace.time_zone))
