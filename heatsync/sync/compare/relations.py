"""The DuckDB connection of one comparison, and every table in it."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

CHUNK = 10_000
"""Rows that become Python objects at a time."""

_ARROW_TYPES = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "DOUBLE": pa.float64(),
    "VARCHAR[]": pa.list_(pa.string()),
}


@dataclass(frozen=True, slots=True)
class Relations:
    """Owns the tables of a comparison; they live as long as the connection.

    Every step of a comparison gets its tables from the step before it, and drops what nothing reads any more.
    """

    connection: duckdb.DuckDBPyConnection

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement."""
        self.connection.execute(sql, list(parameters))

    def create(self, table: str, query: str) -> None:
        """Materialise a query as a table."""
        self.connection.execute(f"CREATE OR REPLACE TABLE {table} AS {query}")

    def declare(self, table: str, columns: str) -> None:
        """An empty table with these columns and types."""
        self.connection.execute(f"CREATE OR REPLACE TABLE {table} ({columns})")

    def drop(self, *tables: str) -> None:
        """Drop tables that nothing reads any more."""
        for table in tables:
            self.connection.execute(f"DROP TABLE {table}")

    def remove(self, table: str, key: str, keys: str) -> None:
        """Delete the rows of a table whose `key` is among the keys of a query."""
        self.connection.execute(f"DELETE FROM {table} WHERE {key} IN ({keys})")

    def fill(self, table: str, chunks: Iterable[Sequence[Sequence[Any]]]) -> None:
        """Append chunks of rows."""
        schema = self.connection.table(table)
        names = schema.columns
        types = [_ARROW_TYPES[str(type)] for type in schema.types]
        for chunk in chunks:
            if not chunk:
                continue
            arrays = [
                pa.array(values, type=type)
                for values, type in zip(zip(*chunk, strict=True), types, strict=True)
            ]
            self.connection.register("incoming", pa.Table.from_arrays(arrays, names=names))
            self.connection.execute(f"INSERT INTO {table} SELECT * FROM incoming")
            self.connection.unregister("incoming")

    def rows(self, query: str) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of a query in chunks. On a cursor of its own, so that other statements may run in between."""
        reader = self.connection.cursor().execute(query).to_arrow_reader(CHUNK)
        for batch in reader:
            if batch.num_rows:
                yield list(zip(*(column.to_pylist() for column in batch.columns), strict=True))

    def all(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query that returns a few."""
        return self.connection.execute(query).fetchall()

    def count(self, table: str, where: str = "TRUE") -> int:
        """How many rows of a table meet an SQL condition."""
        ((number,),) = self.all(f"SELECT count(*) FROM {table} WHERE {where}")
        return int(number)


@contextmanager
def open_relations(folder: Path, memory_limit: str) -> Iterator[Relations]:
    """A connection that spills what does not fit into memory to files in `folder`. `memory_limit` is DuckDB's setting."""
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {"memory_limit": memory_limit, "temp_directory": str(folder)}
    connection = duckdb.connect(":memory:", config=config)
    try:
        connection.execute("SET preserve_insertion_order = false")
        yield Relations(connection)
    finally:
        connection.close()


def text_sql(value: str) -> str:
    """A text as SQL."""
    return "'" + value.replace("'", "''") + "'"


def digest_sql(parts: str) -> str:
    """A digest of some SQL expressions as SQL: 63 bits."""
    return f"CAST(md5_number_lower(concat_ws(chr(31), {parts})) >> 1 AS BIGINT)"
