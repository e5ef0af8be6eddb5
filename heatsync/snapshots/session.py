"""What scoring needs open: the source, the daily counts, and the DuckDB that everything is computed in."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime

import duckdb

from heatsync.scoring.compute import calendar
from heatsync.scoring.compute.entities import Traits
from heatsync.scoring.compute.relations import DayCounts, Relation, create_table
from heatsync.snapshots import daily_counts
from heatsync.snapshots.daily_counts import DAILY, IDS, DailyCounts
from heatsync.source import duckdb_session, reader
from heatsync.source.reader import Source
from heatsync.source.tables import explain_read_errors
from heatsync.workspace.config import Workspace


@dataclass(slots=True)
class Session:
    """An open source and the DuckDB that its days are scored in. `traits` are the users and accounts tables, `homes` is
    the account of each user by them, `created_first` the earliest of their `created_at`, and `last` the last day that
    may be scored."""

    workspace: Workspace
    source: Source
    connection: duckdb.DuckDBPyConnection
    counts: DailyCounts
    traits: Traits
    homes: Relation
    created_first: datetime | None
    last: int

    @property
    def ignored(self) -> Mapping[str, int]:
        """How many rows of the source never count, by reason."""
        return dict(sorted(self.source.ignored.items()))

    @property
    def day_counts(self) -> DayCounts:
        """The tables that scoring starts from."""
        return DayCounts(DAILY, IDS, self.homes)


@contextmanager
def open_session(workspace: Workspace, last: date) -> Iterator[Session]:
    """Everything that scoring days up to `last` needs; one process at a time. Raises ConfigurationError."""
    with (
        daily_counts.locked(workspace.state),
        reader.open_source(workspace) as source,
        duckdb_session.open_duckdb(workspace) as con,
    ):
        counts = DailyCounts(workspace, source, con)
        counts.load()
        traits = _fetch_traits(workspace, source, con, counts)
        homes = _find_homes(con, counts, traits)
        first = _first_created(con, traits)
        yield Session(workspace, source, con, counts, traits, homes, first, calendar.day_number(last))


def _fetch_traits(
    workspace: Workspace, source: Source, con: duckdb.DuckDBPyConnection, counts: DailyCounts
) -> Traits:
    """`users` and `accounts`, whose ids get numbers."""
    columns: dict[str, dict[str, str]] = {}
    tables: dict[str, Relation] = {}
    for entity, table, written in (
        ("user", source.users, workspace.source.users),
        ("account", source.accounts, workspace.source.accounts),
    ):
        if table is None or written is None:
            continue
        with explain_read_errors(workspace.folder, written):
            tables[entity] = duckdb_session.fetch_table(con, f"{entity}s", table)
        described = con.execute(f"DESCRIBE {tables[entity]}").fetchall()
        columns[entity] = {name: kind for name, kind, *_ in described}
        counts.number_ids(entity, f"(SELECT {entity}_id AS id FROM {tables[entity]})")
    return Traits(columns, tables)


def _find_homes(con: duckdb.DuckDBPyConnection, counts: DailyCounts, traits: Traits) -> Relation:
    """`member_homes`: user_no, account_no of the users table."""
    homes = "SELECT NULL::INTEGER AS user_no, NULL::INTEGER AS account_no WHERE false"
    if "account_id" in traits.columns.get("user", {}):
        users = traits.tables["user"]
        counts.number_ids("account", f"(SELECT account_id AS id FROM {users})")
        homes = (
            f"SELECT u.no AS user_no, a.no AS account_no FROM {users} JOIN {IDS['user']} u ON u.id = user_id"
            f" JOIN {IDS['account']} a ON a.id = account_id"
        )
    return create_table(con, "member_homes", ("user_no", "account_no"), homes)


def _first_created(con: duckdb.DuckDBPyConnection, traits: Traits) -> datetime | None:
    found: list[datetime] = []
    for entity, table in traits.tables.items():
        if "created_at" in traits.columns[entity]:
            row = con.execute(f"SELECT min(created_at) FROM {table}").fetchone()
            found += [row[0]] if row and row[0] else []
    return min(found, default=None)
