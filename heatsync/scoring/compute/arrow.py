"""Arrow data as tables of a DuckDB."""

from typing import Any

import duckdb


def take(con: duckdb.DuckDBPyConnection, name: str, data: Any) -> None:
    """Make, or make anew, a temporary table of Arrow data."""
    con.register("incoming", data)
    try:
        con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM incoming")
    finally:
        con.unregister("incoming")
