"""The database of the ledger: SQLite or PostgreSQL, migrated when it is opened.

A writing transaction of SQLite begins IMMEDIATE: a deferred one that finds another writer fails at once instead of
waiting (sqlite.org/lang_transaction, 2.2).
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from connectors.errors import ConfigurationError
from heatsync.ledger.group_commit import GroupCommit

T = TypeVar("T")
STREAMED = 50_000
"""Rows that are read at a time."""


class Database:
    """The database at `url`, opened and migrated. Raises ConfigurationError if that fails."""

    def __init__(self, url: str) -> None:
        parsed = _parse(url)
        self.embedded = parsed.get_backend_name() == "sqlite"
        # SQLite takes one writer at a time and makes the others poll: a lock wakes them at once.
        self._write_lock = threading.Lock() if self.embedded else nullcontext()
        self.group_commit = GroupCommit(self.writing)
        """Of SQLite's writers; public for tests, which wait until work is queued."""
        self._statements: dict[str, CompiledStatement] = {}
        if self.embedded and parsed.database:
            _make_folder(Path(parsed.database).parent)
        self._engine = sa.create_engine(
            parsed, pool_pre_ping=not self.embedded, connect_args={"timeout": 60} if self.embedded else {}
        )
        if self.embedded:
            sa.event.listen(self._engine, "connect", _embedded_connect)
            sa.event.listen(self._engine, "begin", _embedded_begin)
        try:
            self._migrate()
        except sa.exc.DBAPIError as error:
            self.close()
            raise ConfigurationError(
                f"ledger: {parsed.render_as_string(hide_password=True)} cannot be opened: "
                f"{str(error.orig).splitlines()[0]}. Check `ledger:` in heatsync.yml and that the database runs."
            ) from error

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection whose transaction only reads."""
        with self._engine.connect() as connection:
            yield connection

    def stream(self, query: sa.Select[Any]) -> Iterator[Sequence[tuple[Any, ...]]]:
        """The rows of a query as plain tuples, in lists of up to STREAMED: whole tables are read this way."""
        bound = query.compile(self._engine, compile_kwargs={"render_postcompile": True})
        with self.reading() as connection:
            # A server-side cursor on PostgreSQL: psycopg's default one holds every row of the result.
            raw: Any = connection.connection
            cursor = raw.cursor() if self.embedded else raw.cursor(name="heatsync")
            try:
                values = (
                    bound.params
                    if not bound.positional
                    else tuple(bound.params[n] for n in bound.positiontup or ())
                )
                cursor.execute(str(bound), values)
                while rows := cursor.fetchmany(STREAMED):
                    yield rows
            finally:
                cursor.close()

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A connection with a writing transaction, committed at the end and rolled back on an exception."""
        with (
            self._write_lock,
            self._engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    def group_write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` in a writing transaction and return its result. SQLite's may be shared with other threads' work."""
        if self.embedded:
            return self.group_commit.write(work)
        with self.writing() as connection:
            return work(connection)

    def _migrate(self) -> None:
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.set_main_option("path_separator", "os")
        with self.writing() as connection:
            if not self.embedded:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(7311823)"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def insert(self, table: sa.Table) -> Any:
        """An INSERT that supports ON CONFLICT."""
        return sqlite.insert(table) if self.embedded else postgresql.insert(table)

    def is_in_list(self, column: sa.Column[Any], name: str) -> sa.ColumnElement[bool]:
        """Whether a column is one of the values of the list parameter `name`: one parameter for any number."""
        if self.embedded:
            values = sa.func.json_each(sa.bindparam(name)).table_valued("value")
            return column.in_(sa.select(values.c.value))
        return column == sa.any_(sa.bindparam(name, type_=sa.ARRAY(sa.Text)))

    def list_parameter(self, values: Sequence[str]) -> Any:
        """The value of a parameter of `is_in_list`."""
        return json.dumps(values) if self.embedded else list(values)

    def upsert(
        self,
        table: sa.Table,
        rows: Sequence[Mapping[str, Any]],
        connection: sa.Connection,
        keep: Sequence[str] = (),
    ) -> None:
        """Insert rows, or overwrite those with the same key. A column in `keep` is not overwritten with NULL."""
        if not rows:
            return
        keys = [column.name for column in table.primary_key]

        def statement() -> Any:
            insert = self.insert(table)
            changed = {
                name: sa.func.coalesce(insert.excluded[name], table.c[name])
                if name in keep
                else insert.excluded[name]
                for name in rows[0]
                if name not in keys
            }
            return insert.on_conflict_do_update(index_elements=keys, set_=changed)

        # In key order: two writers that lock rows in opposite orders deadlock on PostgreSQL.
        ordered = sorted(rows, key=itemgetter(*keys)) if len(rows) > 1 else rows
        self.execute_many(f"upsert {table.name} {','.join(rows[0])}", ordered, connection, statement)

    def execute_many(
        self,
        name: str,
        rows: Sequence[Mapping[str, Any]],
        connection: sa.Connection,
        statement: Callable[[], Any],
    ) -> None:
        """Execute a statement for rows that have the same columns. `name` is of this statement alone."""
        compiled = self._compiled(name, statement, list(rows[0]))
        connection.exec_driver_sql(compiled.text, [*map(compiled.values, rows)])

    def execute(
        self, name: str, values: Mapping[str, Any], connection: sa.Connection, statement: Callable[[], Any]
    ) -> sa.CursorResult[Any]:
        """Execute a statement with the values of its bound parameters. `name` is of this statement alone."""
        compiled = self._compiled(name, statement, None)
        return connection.exec_driver_sql(compiled.text, compiled.values({**compiled.constants, **values}))

    def _compiled(
        self, name: str, statement: Callable[[], Any], columns: list[str] | None
    ) -> "CompiledStatement":
        """Compile a statement once under its name: that takes as long as executing it for a hundred rows."""
        if name not in self._statements:
            compiled = statement().compile(dialect=self._engine.dialect, column_keys=columns)
            order = getattr(compiled, "positiontup", None)
            constants = {key: value for key, value in (compiled.params or {}).items() if value is not None}
            pick = _picker(order) if order else dict
            self._statements[name] = CompiledStatement(str(compiled), pick, constants)
        return self._statements[name]


class LedgerPart:
    """One subject of the ledger: its reads and writes over the ledger's database."""

    def __init__(self, database: Database) -> None:
        self.database = database


@dataclass(frozen=True, slots=True)
class CompiledStatement:
    """A statement as the driver takes it. `values` brings its parameters into the driver's form."""

    text: str
    values: Callable[[Mapping[str, Any]], Any]
    constants: dict[str, Any]


def _picker(order: Sequence[str]) -> Callable[[Mapping[str, Any]], Any]:
    if len(order) == 1:
        return lambda given: (given[order[0]],)
    return itemgetter(*order)


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise ConfigurationError(
            "ledger: not a database address. Expected sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME."
        ) from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigurationError(
            f"ledger: {parsed.get_backend_name()} is not supported. Use sqlite:///FILE or postgresql+psycopg://..."
        )
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed


def _embedded_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    # An acknowledged write must survive a power cut: NORMAL may lose the last commits (sqlite.org/pragma).
    connection.execute("PRAGMA synchronous=FULL")


def _embedded_begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"ledger: the folder {folder} cannot be created ({error.strerror}). Check `ledger:` in heatsync.yml."
        ) from error
