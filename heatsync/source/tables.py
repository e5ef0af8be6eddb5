"""The source's engine and its tables, opened through Ibis, with our names for their columns."""

import contextlib
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import ibis
import pyarrow as pa

from connectors.errors import ConfigurationError, as_sentence
from heatsync.scoring.definition.place import Place
from heatsync.source import backends
from heatsync.source.csv_files import first_line_not_utf8, infer_types, open_csv
from heatsync.workspace.config import SourceTable, Workspace
from heatsync.workspace.strict_yaml import suggest

MEMORY = "1500MB"
"""What each DuckDB of a scoring run may hold in memory before it spills to the state folder."""
FILES = (".parquet", ".csv", ".csv.gz", ".tsv")
_UNREADABLE = (duckdb.Error, ibis.IbisError, pa.ArrowInvalid, OSError, EOFError, zlib.error, UnicodeError)
_KIND = re.compile(r"^[A-Z][A-Za-z/ -]{1,30} Error: ")
_BESIDE = re.compile(
    r"^\s*(LINE \d+:|Possible [Ff]ix|Possible [Ss]olution|Stack Trace:).*", re.MULTILINE | re.DOTALL
)
"""What follows an engine's message: its own statement, options and stack, of no use to the person who named a file."""


def engine_settings(state: Path) -> dict[str, Any]:
    """The settings that every DuckDB of a scoring run is opened with. Raises ConfigurationError."""
    spill = state / "tmp"
    try:
        spill.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the state folder {spill} cannot be created: {error.strerror}: name another one with `state`, or let"
            " this user write there"
        ) from error
    return {"memory_limit": MEMORY, "temp_directory": str(spill)}


@contextmanager
def connect(workspace: Workspace) -> Iterator[Any]:
    """The Ibis backend of the source. Raises ConfigurationError."""
    engine, place = workspace.source.engine, workspace.source.engine_template.place
    scheme, _, rest = engine.partition("://")
    connection = backends.connect(engine, place) if scheme != "duckdb" else _embedded(workspace, rest, place)
    try:
        with warnings.catch_warnings():
            # Ibis 12 calls methods of DuckDB that 1.5 renamed.
            warnings.filterwarnings("ignore", r"fetch_\w+\(\) is deprecated", DeprecationWarning)
            yield connection
    finally:
        connection.disconnect()


def _embedded(workspace: Workspace, name: str, place: Place) -> Any:
    settings = engine_settings(workspace.state)
    if name in ("", ":memory:"):
        return ibis.duckdb.connect(**settings)
    path = workspace.folder / name
    if not path.is_file():
        raise ConfigurationError(f"{place}: there is no database file {path}: fix `engine`")
    try:
        return ibis.duckdb.connect(path, read_only=True, **settings)
    except duckdb.Error as error:
        raise ConfigurationError(f"{place}: {path} cannot be opened: {error_text(error)}") from error


@contextmanager
def explain_read_errors(folder: Path, *tables: SourceTable) -> Iterator[None]:
    """Raise an error of reading tables as a ConfigurationError that names them and says what to do."""
    try:
        yield
    except Exception as error:
        if not (isinstance(error, _UNREADABLE) or backends.is_driver_error(error)):
            raise
        names = [table.table for table in tables]
        if isinstance(error, backends.UNSUPPORTED):
            raise ConfigurationError(
                f"{tables[0].place}: {', '.join(names)} cannot be read as the settings need it: Ibis cannot express it for this"
                f" engine ({error_text(error)}). Leave out the setting that needs it, or score an export of the table in"
                " Parquet files"
            ) from error
        cause = error_text(error)
        if line := next(
            filter(None, (first_line_not_utf8(folder / name) for name in names if is_csv(name))), None
        ):
            cause = f"line {line} is not UTF-8: save the file as UTF-8"
        elif cure := backends.remedy(error):
            cause = f"{cause}. {cure}"
        elif not isinstance(error, duckdb.OutOfMemoryException) and any(is_file(name) for name in names):
            cause = f"{cause}. Fix the export, or write the file again"
        raise ConfigurationError(f"{tables[0].place}: {', '.join(names)} cannot be read: {cause}") from error


def error_text(error: Exception) -> str:
    """An engine's message, without its advice."""
    words = _BESIDE.sub("", _KIND.sub("", str(error)))
    lines = [line.strip()[:160] for line in words.splitlines() if line.strip()]
    return " ".join(lines[:4]).rstrip(".") or type(error).__name__


def is_file(name: str) -> bool:
    """Whether a table is a file of the workspace; otherwise it is a table of the engine."""
    return name.lower().endswith(FILES) or "/" in name


def is_csv(name: str) -> bool:
    """Whether a table is a CSV file."""
    return is_file(name) and not name.lower().endswith(".parquet")


def open_table(connection: Any, folder: Path, table: SourceTable, as_text: bool = False) -> ibis.Table:
    """A file of the workspace or a table of the engine, with our names for its columns. With `as_text` every column of a
    CSV file is text.

    Raises ConfigurationError for a table that does not exist or cannot be read, and for a column that it lacks.
    """
    if is_file(table.table) and connection.name != "duckdb":
        raise ConfigurationError(
            f"{table.place}: {table.table} is a file, and the engine is {connection.name}: name a table of that engine, or"
            " write `engine: duckdb://` and have every table in files"
        )
    with explain_read_errors(folder, table):
        if is_file(table.table):
            opened = _file(connection, folder / table.table, table, as_text)
        else:
            opened = _stored(connection, table)
    for ours, theirs in table.columns.items():
        if theirs not in opened.columns:
            raise ConfigurationError(
                f"{table.place}: {table.table} has no column `{theirs}`, which `columns` names for `{ours}`"
                f"{suggest(theirs, opened.columns)}"
            )
    ours_of = {theirs: ours for ours, theirs in table.columns.items()}
    return opened.select(
        **{
            ours_of.get(name, name): opened[name]
            for name in opened.columns
            if name in ours_of or name not in table.columns
        }
    )


def require_columns(table: SourceTable, opened: ibis.Table, *names: str) -> None:
    """Raises ConfigurationError unless the table has these columns."""
    for name in names:
        if name not in opened.columns:
            missing = f"{table.place}: {table.table} has no column `{name}`{suggest(name, opened.columns)}"
            raise ConfigurationError(
                f"{as_sentence(missing)} If the table has it under another name, write"
                f" `columns: {{{name}: THEIR_NAME}}`"
            )


def _file(connection: Any, path: Path, table: SourceTable, as_text: bool) -> ibis.Table:
    if path.is_dir():
        raise ConfigurationError(f"{table.place}: {table.table} is a folder: name a Parquet or CSV file")
    if not path.is_file():
        near = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = suggest(path.name, near) if near else f": there is no folder {path.parent}"
        raise ConfigurationError(f"{table.place}: the file {table.table} does not exist{hint}")
    name = path.name.lower()
    if not name.endswith(FILES):
        raise ConfigurationError(
            f"{table.place}: {table.table} is neither Parquet (.parquet) nor CSV (.csv, .csv.gz, .tsv)"
        )
    if name.endswith(".parquet"):
        return connection.read_parquet(path)
    plain = open_csv(connection, path, table)
    # Ids and timestamps are read by our own rules.
    ours = {table.columns.get(each, each) for each in ("user_id", "account_id", "created_at")}
    return plain if as_text else infer_types(plain, ours)


def _stored(connection: Any, table: SourceTable) -> ibis.Table:
    schema, _, name = table.table.rpartition(".")
    if connection.name != "duckdb":
        # Some kinds of views are not in the list of tables.
        with contextlib.suppress(*backends.NO_SUCH_TABLE):
            return connection.table(name, database=schema or None)
    known = connection.list_tables(database=schema or None)
    if name not in known:
        raise ConfigurationError(
            f"{table.place}: there is no table `{table.table}` in the source{suggest(name, known)}"
            f" ({_ELSEWHERE if connection.name != 'duckdb' else _FILE})"
        )
    return connection.table(name, database=schema or None)


_FILE = f"a file ends in {', '.join(FILES)}"
_ELSEWHERE = "one of another schema is written SCHEMA.TABLE"
