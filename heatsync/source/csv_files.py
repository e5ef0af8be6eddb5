"""CSV files, read strictly: the format is not guessed, and a column has a type only if every value has it."""

import codecs
import csv
import gzip
import io
import zlib
from pathlib import Path
from typing import Any

import ibis

from connectors.errors import ConfigurationError
from heatsync.workspace.config import SourceTable

_WHOLE = r"^(0|-?[1-9][0-9]{0,17})$"
_NUMBER = r"^(-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?|[Nn][Aa][Nn]|-?[Ii]nf(inity)?)$"
"""007 and +49 30 1234 are text."""
_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_FLAG = r"^([Tt]rue|[Ff]alse|TRUE|FALSE)$"
_CHUNK = 1 << 20  # bytes
_SHAPES = (("int64", _WHOLE), ("float64", _NUMBER), ("boolean", _FLAG), ("date", _DAY))


def open_csv(connection: Any, path: Path, table: SourceTable) -> ibis.Table:
    """Every column as text. Raises ConfigurationError when the first line does not name the columns, and what
    reading a file may raise."""
    separator, names = _header(path, table)
    if _packed(path):
        # DuckDB reads a truncated gzip file without an error: read it to its end first.
        with _raw(path) as file:
            while file.read(_CHUNK):
                pass
    opened: ibis.Table = connection.read_csv(
        path,
        auto_detect=False,
        header=True,
        sep=separator,
        quote='"',
        escape='"',
        columns=dict.fromkeys(names, "VARCHAR"),
    )
    return opened


def infer_types(plain: ibis.Table, texts: set[str]) -> ibis.Table:
    """The table with whole numbers, numbers, booleans and dates where every value of a column is one. Columns of
    `texts` stay text."""
    columns = [name for name in plain.columns if name not in texts]
    if not columns:
        return plain
    counts: dict[str, Any] = {}
    for place, name in enumerate(columns):
        value = plain[name].nullif("")
        counts[f"there_{place}"] = value.notnull().sum()
        for kind, shape in _SHAPES:
            counts[f"{kind}_{place}"] = (value.re_search(shape) & value.try_cast(kind).notnull()).sum()
    found = plain.aggregate(**counts).to_pyarrow().to_pylist()[0]
    kinds: dict[str, str] = {}
    for place, name in enumerate(columns):
        there = found[f"there_{place}"]
        fitting = next((kind for kind, _ in _SHAPES if there and found[f"{kind}_{place}"] == there), None)
        if fitting is not None:
            kinds[name] = fitting
    return plain.mutate(**{name: plain[name].nullif("").cast(kind) for name, kind in kinds.items()})


def first_line_not_utf8(path: Path) -> int | None:
    """The number of the first line that is not UTF-8, if there is one and the file can be read until there."""
    decoder, line = codecs.getincrementaldecoder("utf-8")(), 1
    try:
        with _raw(path) as file:
            while chunk := file.read(_CHUNK):
                decoder.decode(chunk)
                line += chunk.count(b"\n")
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        return line + error.object[: error.start].count(b"\n")
    except (OSError, EOFError, zlib.error):
        return None
    return None


def _packed(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _raw(path: Path) -> gzip.GzipFile | io.BufferedReader:
    """The bytes of a file, unpacked."""
    return gzip.open(path, "rb") if _packed(path) else path.open("rb")


def _header(path: Path, table: SourceTable) -> tuple[str, list[str]]:
    """The separator of the columns, and their names."""
    with io.TextIOWrapper(_raw(path), encoding="utf-8-sig", newline="") as file:
        line = file.readline(100_000)
    separator = max((",", ";", "\t", "|"), key=line.count)
    names = next(csv.reader([line], delimiter=separator), [])
    if not any(name.strip() for name in names):
        raise ConfigurationError(
            f"{table.place}: {table.table} is empty: expected a first line with the names of the columns"
        )
    for place, name in enumerate(names, 1):
        if not name.strip():
            raise ConfigurationError(
                f"{table.place}: {table.table}, line 1: column {place} has no name: give it one"
            )
        if name.casefold() in {each.casefold() for each in names[: place - 1]}:
            raise ConfigurationError(
                f"{table.place}: {table.table}, line 1: the column `{name}` occurs twice"
            )
    return separator, names
