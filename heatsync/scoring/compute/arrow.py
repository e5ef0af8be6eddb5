"""Arrow data as temporary tables of DuckDB."""

from typing import Any

import duckdb

from heatsync.scoring.compute.relations import Relation


def load_arrow(con: duckdb.DuckDBPyConnection, name: str, data: Any) -> Relation:
    """Create or replace a temporary table from Arrow data: a table, or a reader of record batches."""
    columns = tuple(data.schema.names)
    con.register("incoming", data)
    try:
        con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM incoming")
    finally:
        con.unregister("incoming")
    return Relation(name, columns)
