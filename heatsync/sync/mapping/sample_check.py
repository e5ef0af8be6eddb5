"""Measures on the newest snapshot what a mapping would send to a field, before anything is sent."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

import duckdb

from connectors.errors import ConfigurationError
from connectors.types import FieldType
from heatsync.sync.mapping import query
from heatsync.sync.mapping.model import Field, Mapping
from heatsync.workspace.config import Workspace

MAX_UNKNOWN = 20
"""The most values without an option that are reported."""


@dataclass(frozen=True, slots=True)
class FieldSample:
    """What would be sent to one field.

    `filled` of `records` have a value. `longest` is the length of the longest text, in characters, otherwise 0.
    `unsendable` records have a value that the field's type cannot hold, such as `example`. `unknown_options` are the
    first values that are not among the options.
    """

    type: FieldType
    records: int
    filled: int
    longest: int
    unsendable: int = 0
    example: str = ""
    unknown_options: tuple[str, ...] = ()


def newest_snapshot_day(workspace: Workspace, mapping: Mapping) -> date | None:
    """The day of the newest snapshot of the mapping's profile and entity; None if there is none."""
    folder = workspace.snapshot_path(mapping.profile, mapping.entity.value, date.min).parent
    days = sorted(path.stem for path in folder.glob("????-??-??.parquet"))
    return date.fromisoformat(days[-1]) if days else None


def measure(
    workspace: Workspace,
    mapping: Mapping,
    field: Field,
    day: date,
    options: Sequence[str] = (),
    multiple: bool = False,
) -> FieldSample:
    """Measure all values of one field, which need not be a field of the mapping.

    `multiple`: a text holds multiple options, separated by semicolons. Raises ConfigurationError if the field cannot be
    computed from its source, and SnapshotMissing if that needs `heatsync score` first.
    """
    con = duckdb.connect(":memory:")
    try:
        rendered = query.build_query(replace(mapping, fields=(field,)), workspace, con, day)
        type = rendered.fields[0].type
        length = "max(length(f0))" if type is FieldType.TEXT else "0"
        row = con.execute(
            f"SELECT count(*), count(f0), coalesce({length}, 0), count(problem), min(problem).value FROM ({rendered.sql})"
        ).fetchone()
        assert row is not None
        sent = FieldSample(type, row[0], row[1], row[2], row[3], row[4] or "")
        if not options or type is FieldType.LIST:
            return sent
        text = "CAST(f0 AS VARCHAR)"
        each = f"unnest(string_split({text}, ';'))" if multiple else text
        unknown_options = con.execute(
            f"SELECT DISTINCT v FROM (SELECT {each} AS v FROM ({rendered.sql}) WHERE f0 IS NOT NULL)"
            f" WHERE NOT list_contains(?, v) ORDER BY v LIMIT {MAX_UNKNOWN}",
            [list(options)],
        )
        return replace(sent, unknown_options=tuple(str(value) for (value,) in unknown_options.fetchall()))
    finally:
        con.close()


def errors(workspace: Workspace, mapping: Mapping) -> Iterator[str]:
    """The errors that a sync of the newest snapshot would stop with, as `file:line:column: message`. Reads no values."""
    day = newest_snapshot_day(workspace, mapping)
    if day is None:
        return
    con = duckdb.connect(":memory:")
    try:
        query.build_query(mapping, workspace, con, day)
    except query.SnapshotMissing:
        return
    except ConfigurationError as error:
        yield from str(error).splitlines()
    finally:
        con.close()
