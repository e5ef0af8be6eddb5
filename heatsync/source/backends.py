"""Engines beside DuckDB: how each is opened, for reading only, and where it differs from what Ibis expects.

Tests run against PostgreSQL. For the other engines they compile the queries and do not run them.
"""

import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlparse, urlsplit, urlunsplit

import ibis
import ibis.expr.datatypes as dt
import psycopg
from ibis.common.exceptions import (
    OperationNotDefinedError,
    TableNotFound,
    UnsupportedBackendType,
    UnsupportedOperationError,
)
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from connectors.errors import ConfigurationError
from heatsync.scoring.definition.place import Place
from heatsync.workspace.strict_yaml import suggest

CONNECT_SECONDS = 15
"""Seconds within which a server must accept a connection; `connect_timeout` in its URL overrides it."""
POSTGRES = ("postgres", "postgresql", "postgresql+psycopg")
EXPECTED = "postgres://USER:PASSWORD@HOST:PORT/DATABASE"
DRIVERS = frozenset(
    {"psycopg", "snowflake", "google", "databricks", "pyspark", "py4j", "trino", "clickhouse_connect"}
)
"""The packages whose errors are errors of a source."""


UNSUPPORTED = (OperationNotDefinedError, UnsupportedOperationError, UnsupportedBackendType)
"""Errors for what Ibis cannot express in an engine's SQL."""
NO_SUCH_TABLE = (TableNotFound,)
_REMEDIES = {
    "42501": "Let the user of `engine` read it: GRANT SELECT on the table, and USAGE on its schema",
    "25006": "Reading it writes something, and heatsync only reads: name a table, or a view without such functions",
    "57014": "The server ended the query: give the user of `engine` a longer statement_timeout",
    "57P01": "The server ended the connection: run this again",
    "22P02": "A value does not fit the type of its column: fix it, or name a view that leaves it out",
}


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine. `open` takes its URL and returns an Ibis backend. The `extra` of ibis-framework has its driver."""

    title: str
    extra: str
    open: Callable[[str], Any]


_NUMBER = r"^\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?\s*$"


def _connect(url: str) -> Any:
    return ibis.connect(url)


def _snowflake(url: str) -> Any:
    """Opened without the functions that Ibis would create in a database of its own."""
    return ibis.connect(url, create_object_udfs=False)


def _databricks(url: str) -> Any:
    """Opened without the volume that Ibis would create for in-memory tables, which are not used."""
    from ibis.backends.databricks import Backend

    # Without its driver mypy does not know the class.
    class Reading(Backend):  # type: ignore[misc]
        def _post_connect(self, *, memtable_volume: str) -> None:
            _ = memtable_volume
            with self.con.cursor() as cursor:
                cursor.execute("SET TIME ZONE 'UTC'")

    return Reading()._from_url(urlparse(url))


def _clickhouse(url: str) -> Any:
    return ibis.connect(url, settings={"session_timezone": "UTC"})


OTHERS = {
    "snowflake": Engine("Snowflake", "snowflake", _snowflake),
    "bigquery": Engine("BigQuery", "bigquery", _connect),
    "databricks": Engine("Databricks", "databricks", _databricks),
    "pyspark": Engine("Spark", "pyspark", _connect),
    "trino": Engine("Trino", "trino", _connect),
    "clickhouse": Engine("ClickHouse", "clickhouse", _clickhouse),
}


def connect(url: str, place: Place) -> Any:
    """The Ibis backend of a URL that is not DuckDB's. Raises ConfigurationError that starts with `place`."""
    scheme = url.partition("://")[0]
    if scheme in POSTGRES:
        return _postgres(url, place)
    if scheme not in OTHERS:
        found = "this is not the address of an engine"
        if "://" in url:
            near = suggest(scheme, ["duckdb", "postgres", *OTHERS])
            found = f"the engine `{scheme[:20]}` is not one that can be a source{near}"
        stop = "" if found.endswith("?") else "."
        raise ConfigurationError(f"{place}: {found}{stop} Expected duckdb:// for files, or {EXPECTED}")
    engine = OTHERS[scheme]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return engine.open(url)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"{place}: the engine `{scheme}` needs the driver of {engine.title}, which is not installed:"
            f" pip install 'ibis-framework[{engine.extra}]'"
        ) from error
    except Exception as error:
        # Each driver has its own errors, which cannot be imported where it is not installed.
        message = _last_line(_without(str(error), urlsplit(url).password or ""))
        raise ConfigurationError(
            f"{place}: {engine.title} cannot be opened: {message}: check the address, the user and the password in"
            " `engine`, and that this machine may reach it"
        ) from None


def address_of(url: str) -> str:
    """The address of a source without user and password: another password leaves it the same."""
    scheme, _, _ = url.partition("://")
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = "&".join(
        each for each in parts.query.split("&") if re.match(r"(host|hostaddr|port|dbname)=", each)
    )
    return urlunsplit(("postgres" if scheme in POSTGRES else scheme, host, parts.path, query, ""))


def is_driver_error(error: BaseException) -> bool:
    """Whether an error comes from the driver of an engine."""
    return type(error).__module__.partition(".")[0] in DRIVERS


def remedy(error: BaseException) -> str:
    """What to do about an error of an engine, where that is known; else empty."""
    return _REMEDIES.get(getattr(error, "sqlstate", None) or "", "")


def as_utc(engine: str, column: Any) -> Any:
    """A timestamp with a zone as one of UTC without. The casts of some engines would keep the local time."""
    if engine == "snowflake":
        column = _convert_timezone(ibis.literal("UTC"), column)
    if engine == "trino":
        column = _at_timezone(column, ibis.literal("UTC"))
    return column.cast(dt.Timestamp(scale=6))


def as_number(engine: str, column: Any) -> Any:
    """A column as numbers; NULL where a text is not a number."""
    if not column.type().is_string():
        return column.cast("float64")
    if engine == "duckdb":
        return column.try_cast("float64")
    return ibis.ifelse(column.re_search(_NUMBER), column, ibis.null("string")).cast("float64")


def as_json(engine: str, column: Any) -> Any:
    """JSON, in one form for all tables of a source: text in DuckDB, a document in other engines, where some casts would
    make a document of just the text."""
    if engine == "duckdb":
        return column.cast("string")
    if not column.type().is_string():
        return column.cast(dt.JSON(binary=engine == "postgres"))
    parse = _PARSE.get(engine)
    return column.cast(dt.JSON(binary=engine == "postgres")) if parse is None else parse(column)


def with_portable_type(engine: str, column: Any) -> Any:
    """A column of users or accounts in a type that Arrow keeps as it is; any other type becomes text."""
    kind = column.type()
    if engine == "duckdb" or kind.is_string() or kind.is_boolean() or kind.is_integer() or kind.is_floating():
        return column
    if kind.is_timestamp() or kind.is_date():
        return column
    if kind.is_decimal():
        exact = kind.scale is not None and (kind.precision or 99) <= 38
        return column if exact else column.cast("float64")
    return column.cast("string")


def sorted_bytewise(engine: str, text: Any) -> Any:
    """A text as a value that sorts byte by byte, as DuckDB sorts texts."""
    return _convert_to(text, ibis.literal("UTF8")) if engine == "postgres" else text


def _builtin(name: str, takes: tuple[dt.DataType, ...], gives: dt.DataType) -> Callable[..., Any]:
    """A function of the engine, of one value or two."""

    def one(first: Any) -> Any: ...

    def two(first: Any, second: Any) -> Any: ...

    function = one if len(takes) == 1 else two
    builtin: Callable[..., Any] = ibis.udf.scalar.builtin(function, name=name, signature=(takes, gives))
    return builtin


_ZONED = dt.Timestamp("UTC", 6)
_convert_timezone = _builtin("convert_timezone", (dt.string, _ZONED), _ZONED)
_at_timezone = _builtin("at_timezone", (_ZONED, dt.string), _ZONED)
_convert_to = _builtin("convert_to", (dt.string, dt.string), dt.binary)
_PARSE = {
    engine: _builtin(name, (dt.string,), dt.json)
    for engine, name in (
        ("bigquery", "parse_json"),
        ("databricks", "parse_json"),
        ("snowflake", "parse_json"),
        ("trino", "json_parse"),
    )
}


def _postgres(url: str, place: Place) -> Any:
    """A connection whose transactions only read: the server refuses anything else."""
    try:
        asked: dict[str, Any] = dict(conninfo_to_dict(f"postgresql://{url.partition('://')[2]}"))
    except (psycopg.Error, ValueError):
        asked = {"host": "@"}
    host, port, database = (str(asked.get(key) or "") for key in ("host", "port", "dbname"))
    # The error of the library for such an address quotes from the password.
    if "@" in host + database or re.search(r"[^0-9,]", port):
        raise ConfigurationError(
            f"{place}: the address cannot be read: expected {EXPECTED}. In the password, signs such as @ : / ? # %"
            " are written %40 %3A %2F %3F %23 %25"
        ) from None
    database, _, schema = database.partition("/")
    asked |= {"dbname": database or None, "application_name": asked.get("application_name") or "heatsync"}
    if "PGCONNECT_TIMEOUT" not in os.environ:
        asked.setdefault("connect_timeout", CONNECT_SECONDS)
    try:
        connection = psycopg.connect(make_conninfo(**asked), autocommit=True)
    except psycopg.Error as error:
        server = f"{host or 'this machine'}{f':{port}' if port else ''}"
        message = _without(str(error), str(asked.get("password") or ""))
        raise ConfigurationError(f"{place}: {_refused(message, server)}") from None
    try:
        connection.read_only = True
        connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        if schema:
            connection.execute("SELECT set_config('search_path', %s, false)", (schema,))
        return ibis.postgres.from_connection(connection)
    except BaseException:
        connection.close()
        raise


_REFUSALS = (
    (
        r"password authentication failed|no password supplied",
        "refused the user or the password: check both in `engine`",
    ),
    (r"role .* does not exist", "has no such user: check the user in `engine`"),
    (r"database .* does not exist", "has no such database: check the name at the end of `engine`"),
    (
        r"no pg_hba.conf entry",
        "does not admit this user from this machine: allow it in pg_hba.conf, or add `?sslmode=require` to `engine`",
    ),
    (
        r"refused|time(d )?out|No such file|No route|unreachable|closed the connection",
        "does not answer: check that it runs there and that this machine may reach it",
    ),
)


def _refused(message: str, place: str) -> str:
    """Why PostgreSQL could not be opened, and what to do."""
    if re.search(
        r"resolve host|translate host name|Name or service not known|No address associated", message
    ):
        return f"there is no host {place}: check the host in `engine`"
    for words, sentence in _REFUSALS:
        if re.search(words, message):
            return f"PostgreSQL at {place} {sentence}"
    return f"PostgreSQL at {place} cannot be opened: {_last_line(message)}: check `engine`"


def _without(message: str, secret: str) -> str:
    """An engine's message without the password."""
    for each in sorted({secret, unquote(secret), quote(secret, safe="")} - {""}, key=len, reverse=True):
        message = message.replace(each, "***")
    return message


def _last_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1][:300].rstrip(".") if lines else "it gave no reason"
