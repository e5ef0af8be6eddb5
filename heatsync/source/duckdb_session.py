"""The DuckDB that scores are computed in, and what is fetched into it from the source."""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import ibis

from heatsync.scoring.compute.arrow import load_arrow
from heatsync.scoring.compute.relations import Relation
from heatsync.source.tables import engine_settings
from heatsync.workspace.config import Workspace

ROWS = 50_000
"""Rows of another engine that are fetched at a time."""


@contextmanager
def open_duckdb(workspace: Workspace) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in memory, in UTC, that spills to the state folder. Raises ConfigurationError."""
    con = duckdb.connect(":memory:", config=engine_settings(workspace.state))
    try:
        con.execute("SET TimeZone = 'UTC'")
        yield con
    finally:
        con.close()


def fetch_table(con: duckdb.DuckDBPyConnection, name: str, expression: ibis.Table) -> Relation:
    """Run an expression at the source; its rows stream into a temporary table of ours."""
    # PostgreSQL's rows become Python's first: a million of them at once is more than everything else needs.
    size = {} if expression.get_backend().name == "duckdb" else {"chunk_size": ROWS}
    with expression.to_pyarrow_batches(**size) as reader:
        return load_arrow(con, name, reader)
