"""What a scoring needs open: the source, the daily counts, and a DuckDB at home."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime

import duckdb

from heatsync.scoring.compute import calendar
from heatsync.scoring.compute.entities import Traits
from heatsync.snapshots import daily_counts
from heatsync.snapshots.daily_counts import DailyCounts
from heatsync.source import duckdb_session, reader
from heatsync.source.reader import Source
from heatsync.source.tables import reading
from heatsync.workspace.config import Workspace


@dataclass(slots=True)
class Session:
    """`connection` has `users` and `accounts`, `member_homes`, `local_days`, and what sync.aggregates makes."""

    workspace: Workspace
    source: Source
    connection: duckdb.DuckDBPyConnection
    counts: DailyCounts
    traits: Traits
    created_first: datetime | None
    last: int

    @property
    def ignored(self) -> Mapping[str, int]:
        return dict(sorted(self.source.ignored.items()))


@contextmanager
def open_session(workspace: Workspace, last: date) -> Iterator[Session]:
    """Everything that scoring days up to `last` needs. Raises ConfigurationError."""
    with (
        daily_counts.locked(workspace.state),
        reader.opened(workspace) as opened,
        duckdb_session.workbench(workspace) as home,
    ):
        counts = DailyCounts(workspace, opened, home)
        counts.load()
        traits, created_first = _tables(workspace, opened, home, counts)
        yield Session(workspace, opened, home, counts, traits, created_first, calendar.number(last))


def _tables(
    workspace: Workspace, opened: Source, home: duckdb.DuckDBPyConnection, counts: DailyCounts
) -> tuple[Traits, datetime | None]:
    """Users and accounts, who is whose, and when the first of them was created."""
    columns: dict[str, dict[str, str]] = {}
    first: datetime | None = None
    for entity, table, written in (
        ("user", opened.users, workspace.source.users),
        ("account", opened.accounts, workspace.source.accounts),
    ):
        if table is None or written is None:
            continue
        with reading(workspace.folder, written):
            duckdb_session.fetch(home, f"{entity}s", table)
        columns[entity] = {name: kind for name, kind, *_ in home.execute(f"DESCRIBE {entity}s").fetchall()}
        counts.number_ids(entity, f"(SELECT {entity}_id AS id FROM {entity}s)")
        if "created_at" in columns[entity]:
            row = home.execute(f"SELECT min(created_at) FROM {entity}s").fetchone()
            first = min(filter(None, (first, row[0] if row else None)), default=None)
    homes = "SELECT NULL::INTEGER AS user_no, NULL::INTEGER AS account_no WHERE false"
    if "account_id" in columns.get("user", {}):
        counts.number_ids("account", "(SELECT account_id AS id FROM users)")
        homes = (
            "SELECT u.no AS user_no, a.no AS account_no FROM users JOIN user_ids u ON u.id = user_id"
            " JOIN account_ids a ON a.id = account_id"
        )
    home.execute(f"CREATE OR REPLACE TEMP TABLE member_homes AS {homes}")
    return Traits(columns), first
