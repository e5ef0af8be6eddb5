"""Relations of a DuckDB connection as values, so that what a step reads and writes is in its signature."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb


@dataclass(frozen=True, slots=True)
class Relation:
    """A temporary table or view of a connection, and its columns. In SQL text it is its name."""

    name: str
    columns: tuple[str, ...]

    def __str__(self) -> str:
        return self.name


def create_table(con: duckdb.DuckDBPyConnection, name: str, columns: Sequence[str], query: str) -> Relation:
    """Create or replace a temporary table with these columns of a query; the query must have each of them."""
    con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT {_listed(columns)} FROM ({query})")
    return Relation(name, tuple(columns))


def create_view(con: duckdb.DuckDBPyConnection, name: str, columns: Sequence[str], query: str) -> Relation:
    """Create or replace a temporary view with these columns of a query; the query must have each of them."""
    con.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT {_listed(columns)} FROM ({query})")
    return Relation(name, tuple(columns))


def create_empty(con: duckdb.DuckDBPyConnection, name: str, **types: str) -> Relation:
    """Create or replace a temporary table without rows, of columns with these DuckDB types."""
    listed = ", ".join(f'"{column}" {kind}' for column, kind in types.items())
    con.execute(f"CREATE OR REPLACE TEMP TABLE {name} ({listed})")
    return Relation(name, tuple(types))


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


@dataclass(frozen=True, slots=True)
class DayCounts:
    """What was counted, with numbers in place of texts.

    daily    user_no, account_no, event_no, day, n, total, first, last
    ids      by `user`, `account` and `event`: no, id
    homes    user_no, account_no: the account of a user by the users table
    """

    daily: Relation
    ids: Mapping[str, Relation]
    homes: Relation


@dataclass(frozen=True, slots=True)
class PlacedCounts:
    """The counts, and `placement` (user_no, account_no): the account that each user is in on some days."""

    counts: DayCounts
    placement: Relation
