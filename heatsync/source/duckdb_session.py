"""A DuckDB for stage 2 of scoring, and what comes home from the source into it."""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import ibis

from heatsync.scoring.compute.arrow import take
from heatsync.source.tables import engine_settings
from heatsync.workspace.config import Workspace

ROWS = 50_000
"""Rows of another engine that come home at a time."""


@contextmanager
def workbench(workspace: Workspace) -> Iterator[duckdb.DuckDBPyConnection]:
    con = duckdb.connect(":memory:", config=engine_settings(workspace.state))
    try:
        con.execute("SET TimeZone = 'UTC'")
        yield con
    finally:
        con.close()


def fetch(home: duckdb.DuckDBPyConnection, name: str, expression: ibis.Table) -> None:
    """Run an expression at the source; its rows stream into a table at home."""
    # PostgreSQL's rows become Python's first: a million of them at once is more than everything else needs.
    size = {} if expression.get_backend().name == "duckdb" else {"chunk_size": ROWS}
    with expression.to_pyarrow_batches(**size) as reader:
        take(home, name, reader)
