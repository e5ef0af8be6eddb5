"""A PostgreSQL that holds what the files of a workspace hold, and a workspace that asks it in their place."""

import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import yaml
from psycopg import sql

from heatsync.workspace import config
from heatsync.workspace.config import Workspace

KINDS = {
    "VARCHAR": "text",
    "DOUBLE": "double precision",
    "BIGINT": "bigint",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
}
READER = "reader"


@dataclass(frozen=True)
class PostgresSource:
    """`url` is the engine's, of a role that may only read; `owner` that of a role that may do everything.
    Every stocked folder has a schema of its own."""

    url: str
    owner: str

    def copy(self, created: Workspace, folder: Path, kinds: Mapping[str, str] | None = None) -> Workspace:
        """The same workspace, without its state, on tables with the rows of its files. `kinds` are the types of
        columns there."""
        schema = f"s{uuid.uuid4().hex[:12]}"
        shutil.copytree(created.folder, folder, ignore=shutil.ignore_patterns(".heatsync"))
        tree = yaml.safe_load((folder / "heatsync.yml").read_text())
        source = tree["source"]
        for table in (*source["events"], source.get("users"), source.get("accounts")):
            if table is not None:
                name = f"{schema}.{Path(table['table']).stem}"
                self.fill(name, folder / table["table"], kinds or {})
                table["table"] = name
        source["engine"] = self.url
        (folder / "heatsync.yml").write_text(yaml.safe_dump(tree))
        return look(folder)

    def fill(self, name: str, path: Path, kinds: Mapping[str, str]) -> None:
        schema, _, table = name.partition(".")
        with duckdb.connect() as files, psycopg.connect(self.owner) as connection:
            files.execute("SET TimeZone = 'UTC'")
            found = files.execute(f"FROM '{path}'")
            columns = [(column, str(kind)) for column, kind, *_ in found.description]
            target = sql.Identifier(schema, table)
            typed = [
                sql.SQL("{} {}").format(
                    sql.Identifier(column), sql.SQL(kinds.get(column) or KINDS.get(kind, "jsonb"))
                )
                for column, kind in columns
            ]
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
            connection.execute(sql.SQL("CREATE TABLE {} ({})").format(target, sql.SQL(", ").join(typed)))
            grant = "GRANT USAGE ON SCHEMA {0} TO {1}; GRANT SELECT ON ALL TABLES IN SCHEMA {0} TO {1}"
            connection.execute(sql.SQL(grant).format(sql.Identifier(schema), sql.Identifier(READER)))
            # A struct comes as the JSON that says the same.
            shown = ", ".join(
                f'"{column}"' if kind in KINDS else f'to_json("{column}") AS "{column}"'
                for column, kind in columns
            )
            plain = path.with_suffix(".plain")
            files.execute(
                f"COPY (SELECT {shown} FROM '{path}') TO '{plain}' (FORMAT csv, HEADER false, NULLSTR '\\N')"
            )
            copy = sql.SQL("COPY {} FROM STDIN (FORMAT csv, NULL '\\N')").format(target)
            with connection.cursor().copy(copy) as copied:
                copied.write(plain.read_bytes())


def stocked(database: str) -> PostgresSource:
    """A database (its SQLAlchemy URL), with a reader."""
    owner = database.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(owner, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (READER,)).fetchone():
            connection.execute(f"CREATE ROLE {READER} LOGIN")
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("REVOKE TEMPORARY, CREATE ON DATABASE {} FROM PUBLIC").format(name))
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    return PostgresSource(owner.replace("postgresql://postgres@", f"postgres://{READER}@"), owner)


def look(folder: Path) -> Workspace:
    reading = config.load_partial(folder, vendors={})
    reading.problems.raise_if_any()
    assert reading.workspace is not None
    return reading.workspace


def asking(created: Workspace, **changed: Any) -> Workspace:
    """The same workspace with another source."""
    return replace(created, source=replace(created.source, **changed))
