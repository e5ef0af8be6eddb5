"""Parquet files that are the same bytes for the same rows, written whole, with a few words of their own."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 100_000
"""Rows of a group: always cut alike, however the engine hands them over."""
_PREFIX = "heatsync."


@dataclass(frozen=True, slots=True)
class Stored:
    """What a snapshot says of itself; the benchmarks are those it was scored against, and of its day alone."""

    path: Path
    version: str
    benchmark: float | None
    daily: float | None


def look(path: Path) -> Stored | None:
    """What a snapshot says of itself; None when there is none, or it cannot be read."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return None
    words = {
        key.decode(): value.decode() for key, value in metadata.items() if key.startswith(_PREFIX.encode())
    }

    def number(name: str) -> float | None:
        text = words.get(_PREFIX + name, "")
        return float(text) if text else None

    return Stored(path, words.get(f"{_PREFIX}version", ""), number("benchmark"), number("daily_benchmark"))


def write(con: duckdb.DuckDBPyConnection, query: str, path: Path, words: Mapping[str, str]) -> int:
    """Write the rows of a query, in its order, and answer how many. Nobody ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    reader = con.execute(query).to_arrow_reader(ROWS)
    metadata = {f"{_PREFIX}{key}": value for key, value in sorted(words.items())}
    schema = reader.schema.with_metadata(metadata)
    written = 0
    try:
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            for table in _cut(reader):
                writer.write_table(table.replace_schema_metadata(metadata), row_group_size=ROWS)
                written += table.num_rows
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return written


def _cut(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """The rows in pieces of exactly ROWS, but for the last; one without rows where there are none."""
    waiting = reader.schema.empty_table()
    pieces = 0
    for batch in reader:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch])])
        while waiting.num_rows >= ROWS:
            yield waiting.slice(0, ROWS).combine_chunks()
            waiting, pieces = waiting.slice(ROWS), pieces + 1
    if waiting.num_rows or not pieces:
        yield waiting.combine_chunks()
