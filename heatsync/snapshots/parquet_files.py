"""Parquet files that are the same bytes for the same rows, written whole, with a few words of their own."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 100_000
"""Rows of a group."""
_PREFIX = "heatsync."


@dataclass(frozen=True, slots=True)
class Stored:
    """What a snapshot says of itself; the benchmarks are those it was scored against, and of its day alone.
    `audiences` are one's own that it knows, by key: the version of each (scoring.audiences)."""

    path: Path
    version: str
    benchmark: float | None
    daily: float | None
    audiences: Mapping[str, str] = field(default_factory=dict)


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

    return Stored(
        path,
        words.get(f"{_PREFIX}version", ""),
        number("benchmark"),
        number("daily_benchmark"),
        json.loads(words.get(f"{_PREFIX}audiences", "{}")),
    )


def write(con: duckdb.DuckDBPyConnection, query: str, path: Path, words: Mapping[str, str]) -> int:
    """Write the rows of a query, in its order, and answer how many. Nobody ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    metadata = ", ".join(
        f"'{_PREFIX}{key}': '{value.replace(chr(39), chr(39) * 2)}'" for key, value in sorted(words.items())
    )
    options = f", KV_METADATA {{{metadata}}}" if metadata else ""
    try:
        row = con.execute(
            f"COPY ({query}) TO '{str(part).replace(chr(39), chr(39) * 2)}'"
            f" (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROWS}{options})"
        ).fetchone()
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return int(row[0]) if row is not None else 0
