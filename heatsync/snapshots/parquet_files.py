"""Parquet files that are the same bytes for the same rows, written whole, with metadata of ours."""

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
class SnapshotMetadata:
    """The metadata of a snapshot: `version` of the profile, the `benchmark` it was scored against and the `daily` one of
    its day alone (points), and the version of each custom audience by key."""

    path: Path
    version: str
    benchmark: float | None
    daily: float | None
    audiences: Mapping[str, str] = field(default_factory=dict)


def read_metadata(path: Path) -> SnapshotMetadata | None:
    """The metadata of a snapshot; None where the file does not exist or cannot be read."""
    try:
        stored = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return None
    metadata = {
        key.decode(): value.decode() for key, value in stored.items() if key.startswith(_PREFIX.encode())
    }

    def number(name: str) -> float | None:
        text = metadata.get(_PREFIX + name, "")
        return float(text) if text else None

    return SnapshotMetadata(
        path,
        metadata.get(f"{_PREFIX}version", ""),
        number("benchmark"),
        number("daily_benchmark"),
        json.loads(metadata.get(f"{_PREFIX}audiences", "{}")),
    )


def write_parquet(con: duckdb.DuckDBPyConnection, query: str, path: Path, metadata: Mapping[str, str]) -> int:
    """Write the rows of a query, in its order, and return how many. The file appears only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    listed = ", ".join(
        f"'{_PREFIX}{key}': '{value.replace(chr(39), chr(39) * 2)}'"
        for key, value in sorted(metadata.items())
    )
    options = f", KV_METADATA {{{listed}}}" if listed else ""
    try:
        row = con.execute(
            f"COPY ({query}) TO '{str(part).replace(chr(39), chr(39) * 2)}'"
            f" (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROWS}{options})"
        ).fetchone()
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return int(row[0]) if row is not None else 0
