"""The same events in files and in PostgreSQL give the same snapshots, to the last digit, and PostgreSQL is only read."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow.parquet as pq
import pytest
import yaml
from examples import examples
from hypothesis import HealthCheck, Phase, given, settings
from postgres_source import READER, PostgresSource, asking, look, stocked
from test_scoring_everything import Case, cases
from worlds import World, written

from connectors.errors import ConfigurationError
from heatsync.sandbox.demo_data import product
from heatsync.snapshots import run as snapshot_run
from heatsync.source.tables import connect
from heatsync.workspace.config import Workspace

END = date(2026, 11, 22)
ENTITIES = ("user", "account")
PROFILES: dict[str, Any] = {
    "weighted": {
        "model": "weighted",
        "events": [
            {"event": "Report Created", "weight": "8"},
            {"event": "Invited Teammate", "weight": "7", "per_day": "2"},
            {"event": "Dashboard Viewed", "weight": "4"},
            {"event": "Comment Added", "tier": "core"},
            {"event": "Logged In", "weight": "1", "passive": "true"},
        ],
        "activation": {
            "user": [{"event": "Invited Teammate"}, {"event": "Report Created", "count": {"gte": "3"}}],
            "account": [{"event": "Integration Connected"}],
        },
        "decay": {"half_life": "5d"},
        "filter": {"not": {"event": "Dashboard Viewed", "within": "36h", "count": {"gt": "20"}}},
    },
    "kpi": {
        "model": "kpi",
        "touchpoints": [
            {"name": "Reports", "event": "Report Created", "weight": "40"},
            {
                "name": "Seen",
                "event": "Dashboard Viewed",
                "where": {"page.type": {"eq": 'it\'s "new"'}},
                "weight": "35",
            },
            {
                "name": "Rate",
                "ratio": {
                    "of": {"event": "Comment Added", "where": {"amount": {"gte": "2"}}},
                    "to": {"event": "Comment Added"},
                },
                "weight": "25",
            },
        ],
    },
    "engagement": {
        "model": "engagement",
        "events": [
            {"event": "Report Created"},
            {"event": "Comment Added", "per_day": "20"},
            {"event": "Dashboard Viewed"},
            {"event": "Logged In", "weight": "0", "passive": "true"},
        ],
    },
}
AUDIENCES = {
    "busy": {"entity": "user", "where": {"event": "*", "within": "12h", "count": {"gte": "3"}}},
    "keen": {
        "entity": "account",
        "where": {
            "event": ["Dashboard Viewed", "Comment Added"],
            "within": "36h",
            "where": {"ok": {"eq": "true"}},
        },
    },
    "rising": {
        "entity": "user",
        "where": {
            "event": "scored",
            "within": "7d",
            "ratio_to": {"between": ["14d", "7d"]},
            "count": {"gte": "1.5"},
            "where": {"page.type": {"exists": "true"}},
        },
    },
    "idle": {"entity": "account", "where": {"not": {"event": "*", "between": ["60d", "12h"]}}},
}
FOLDERS = {
    "with zones": {},
    "without zones, in Berlin": {"timestamp": "timestamp"},
    "as texts": {"timestamp": "text", "properties": "text", "value": "text"},
    "ids as numbers": {
        "user_id": "numeric(20,0)",
        "account_id": "bigint",
        "properties": "json",
        "value": "numeric",
    },
}


@pytest.fixture
def database(postgres_database: str) -> PostgresSource:
    return stocked(postgres_database)


def rows(
    created: Workspace, name: str, entity: str, day: date, without: tuple[str, ...] = ()
) -> dict[str, str]:
    """A snapshot, each row to the last digit."""
    table = pq.read_table(snapshot_run.snapshot_path(created, name, entity, day)).drop_columns(list(without))
    return {row[f"{entity}_id"]: repr(row) for row in table.to_pylist()}


def differences(
    one: Workspace, other: Workspace, days: list[date], without: tuple[str, ...] = ()
) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for name in one.profiles:
        for entity in ENTITIES:
            for day in days:
                first, second = (rows(created, name, entity, day, without) for created in (one, other))
                found += [
                    (name, entity, day, key, first.get(key), second.get(key))
                    for key in sorted({*first, *second})
                    if first.get(key) != second.get(key)
                ]
    return found


def made_of_product(
    folder: Path, prepare: Callable[[duckdb.DuckDBPyConnection], None] | None = None
) -> Workspace:
    """The product's events, with values and properties, as Parquet files of a workspace with all three models."""
    product.write(folder / "raw", users=30, days=75, end=END)
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(
            f"""
            CREATE TABLE events AS
            SELECT user_id, account_id, event, timestamp, n::VARCHAR AS event_id,
                CASE n % 7 WHEN 0 THEN NULL WHEN 1 THEN -2.5 WHEN 2 THEN 0.0000005 WHEN 3 THEN 1e15 ELSE n % 5 END::DOUBLE AS value,
                CASE WHEN n % 6 > 0 THEN to_json({{'page.type': CASE n % 3 WHEN 0 THEN 'it''s "new"' WHEN 1 THEN 'old' END,
                    'amount': n % 4 + 0.5, 'ok': n % 2 = 0, 'page': {{'type': 'nested'}}}})::VARCHAR END AS properties
            FROM (SELECT *, row_number() OVER (ORDER BY timestamp, user_id, account_id, event) AS n
                  FROM '{folder}/raw/events.parquet')
            """
        )
        con.execute("INSERT INTO events FROM events WHERE event_id::BIGINT % 50 = 0")
        for entity in ENTITIES:
            con.execute(
                f"CREATE TABLE {entity}s AS SELECT * REPLACE (created_at::TIMESTAMPTZ AS created_at) FROM '{folder}/raw/{entity}s.csv'"
            )
        if prepare is not None:
            prepare(con)
        for name in ("events", "users", "accounts"):
            con.execute(f"COPY {name} TO '{folder}/{name}.parquet'")
    source = {
        "events": [{"table": "events.parquet"}],
        "users": {"table": "users.parquet"},
        "accounts": {"table": "accounts.parquet"},
        "time_zone": "Europe/Berlin",
    }
    for path, tree in {
        "heatsync.yml": {"version": "1", "time_zone": "Europe/Berlin", "source": source},
        **{
            f"mappings/profiles/{name}.yml": {"version": "1", "name": name, **tree}
            for name, tree in PROFILES.items()
        },
        **{
            f"mappings/audiences/{name}.yml": {
                "version": "1",
                **{f"{key}_{name}": {"profile": name, **each} for key, each in AUDIENCES.items()},
            }
            for name in PROFILES
        },
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(yaml.safe_dump(tree, sort_keys=False))
    return look(folder)


def numbered(con: duckdb.DuckDBPyConnection) -> None:
    for table, columns in {
        "events": ("user_id", "account_id"),
        "users": ("user_id", "account_id"),
        "accounts": ("account_id",),
    }.items():
        for column in columns:
            con.execute(f"UPDATE {table} SET {column} = regexp_replace({column}, '[^0-9]', '', 'g')")
            con.execute(
                f"ALTER TABLE {table} ALTER {column} TYPE BIGINT USING {column}::BIGINT + 9007199254740993"
            )


def local(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "ALTER TABLE events ALTER timestamp TYPE TIMESTAMP USING timezone('Europe/Berlin', timestamp)"
    )


def texts(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "ALTER TABLE events ALTER timestamp TYPE VARCHAR USING CASE event_id::BIGINT % 3"
        " WHEN 0 THEN strftime(timezone('UTC', timestamp), '%Y-%m-%dT%H:%M:%S.%fZ')"
        " WHEN 1 THEN strftime(timezone('Europe/Berlin', timestamp), ' %Y-%m-%d %H:%M:%S ')"
        " ELSE strftime(timezone('Asia/Kolkata', timestamp), '%Y-%m-%d %H:%M:%S.%f+05:30') END"
    )
    con.execute(
        "ALTER TABLE events ALTER value TYPE VARCHAR USING CASE WHEN value = 3 THEN 'three' ELSE value::VARCHAR END"
    )


PREPARED = {"without zones, in Berlin": local, "ids as numbers": numbered, "as texts": texts}


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(name, marks=[pytest.mark.long] if name in ("with zones", "as texts") else [])
        for name in FOLDERS
    ],
)
def test_every_model_scores_alike_from_files_and_from_postgresql(
    variant: str, tmp_path: Path, database: PostgresSource
) -> None:
    files = made_of_product(tmp_path / "files", PREPARED.get(variant))
    tables = database.copy(files, tmp_path / "tables", {"properties": "jsonb", **FOLDERS[variant]})
    days = [END]
    results = [snapshot_run.score(created, days) for created in (files, tables)]
    assert differences(files, tables, days) == []
    assert results[0].ignored == results[1].ignored
    assert results[0].ignored["duplicate_event_id"] > 0
    members = pq.read_table(
        snapshot_run.snapshot_path(tables, "weighted", "user", END), columns=["audiences"]
    )
    assert {key for row in members["audiences"].to_pylist() for key in row} >= {
        "busy_weighted",
        "rising_weighted",
    }


slowly = settings(
    phases=(Phase.explicit, Phase.reuse, Phase.generate), suppress_health_check=list(HealthCheck)
)


def test_every_world_is_scored_alike_from_files_and_from_postgresql(database: PostgresSource) -> None:
    @settings(slowly, max_examples=examples(2))
    @given(cases(count=3))
    def law(case: Case) -> None:
        world, trees, own = case
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "files").mkdir()
            files = written(Path(folder) / "files", world, trees, own)
            tables = database.copy(files, Path(folder) / "tables", {"properties": "jsonb"})
            for each in (files, tables):
                snapshot_run.score(each, list(world.days))
            assert differences(files, tables, list(world.days)) == []

    law()


def test_a_morning_that_reads_the_last_days_equals_one_that_reads_everything(
    tmp_path: Path, database: PostgresSource
) -> None:
    """Except for the day of a level change: what was reported yesterday stays."""
    files = made_of_product(tmp_path / "files")
    tables = database.copy(files, tmp_path / "tables", {"properties": "jsonb"})
    yesterday = END - timedelta(days=1)
    snapshot_run.score(tables, [yesterday])
    late = datetime(END.year, END.month, END.day - 1, 11, tzinfo=UTC)
    with psycopg.connect(database.owner) as connection, duckdb.connect() as con:
        table = tables.source.events[0].table
        connection.execute(
            f"INSERT INTO {table} (user_id, event, timestamp, properties) SELECT user_id, 'Report Created', %s, '{{}}'"
            f" FROM {table} GROUP BY user_id ORDER BY count(*) DESC LIMIT 5",
            (late,),
        )
        rows = connection.execute(f"SELECT * FROM {table}").fetchall()
        con.execute(f"CREATE TABLE events AS FROM '{files.folder}/events.parquet' LIMIT 0")
        con.executemany(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)",
            [[*row[:6], json.dumps(row[6])] for row in rows[-5:]],
        )
        con.execute(f"INSERT INTO events FROM '{files.folder}/events.parquet'")
        con.execute(f"COPY events TO '{files.folder}/events.parquet'")
    for created in (files, tables):
        snapshot_run.score(created, [END])
    assert differences(files, tables, [END], without=("level_previous", "level_changed_on")) == []
    shutil.rmtree(tables.state)
    snapshot_run.score(tables, [END])
    assert differences(files, tables, [END]) == []


def test_postgresql_is_only_read(tmp_path: Path, database: PostgresSource) -> None:
    """Even by a role that may write; the server itself refuses anything but reading."""
    files = made_of_product(tmp_path / "files")
    tables = asking(
        database.copy(files, tmp_path / "tables", {"properties": "jsonb"}),
        engine_template=replace(files.source.engine_template, text=database.owner),
    )
    before = state(database)
    snapshot_run.score(tables, [END])
    snapshot_run.score(tables, [END])
    assert state(database) == before
    with connect(tables) as connection:
        assert connection.raw_sql("SHOW transaction_read_only").fetchone() == ("on",)
        for statement in (
            "CREATE TEMPORARY TABLE t (n int)",
            "CREATE TABLE t (n int)",
            f"DELETE FROM {tables.source.events[0].table}",
            f"UPDATE {tables.source.events[0].table} SET value = 1",
        ):
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                connection.raw_sql(statement)
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), connection.begin() as cursor:
                cursor.execute(statement)


def state(database: PostgresSource) -> tuple[Any, ...]:
    """What is in the database, and how often any of it was written."""
    with psycopg.connect(database.owner) as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        return (
            connection.execute("SELECT oid, relname, relfilenode FROM pg_class ORDER BY oid").fetchall(),
            connection.execute(
                "SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables ORDER BY relid"
            ).fetchall(),
            connection.execute("SELECT oid, proname FROM pg_proc ORDER BY oid").fetchall(),
        )


@pytest.fixture
def happened(tmp_path: Path, database: PostgresSource) -> Workspace:
    """A workspace on a small table of events in PostgreSQL."""
    with psycopg.connect(database.owner) as connection:
        connection.execute("CREATE SCHEMA shop")
        connection.execute("CREATE TABLE shop.happened (uid text, event text, at timestamptz)")
        connection.execute("INSERT INTO shop.happened VALUES ('u1', 'Viewed', '2026-11-22 10:00:00Z')")
        connection.execute(
            "CREATE MATERIALIZED VIEW shop.seen AS SELECT uid AS user_id, event, at AS timestamp FROM shop.happened"
        )
        connection.execute("CREATE TABLE shop.hidden (user_id text, event text, timestamp timestamptz)")
        connection.execute(f"GRANT USAGE ON SCHEMA shop TO {READER}")
        connection.execute(f"GRANT SELECT ON shop.happened, shop.seen TO {READER}")
    (tmp_path / "mappings" / "profiles").mkdir(parents=True)
    (tmp_path / "mappings/profiles/p.yml").write_text(
        "version: 1\nname: P\nevents: [{event: Viewed, weight: 5}]\n"
    )
    return engine(tmp_path, database.url)


def engine(
    folder: Path,
    url: str,
    events: str = "{table: shop.happened, columns: {user_id: uid, timestamp: at}}",
) -> Workspace:
    text = f"version: 1\nsource:\n  engine: '{url}'\n  events: {events}\n"
    (folder / "heatsync.yml").write_text(text)
    return look(folder)


def refusal(created: Workspace) -> str:
    with pytest.raises(ConfigurationError) as caught:
        snapshot_run.score(created, [END])
    return str(caught.value)


def test_views_and_materialised_views_are_read(happened: Workspace) -> None:
    snapshot_run.score(happened, [END])
    assert set(rows(happened, "p", "user", END)) == {"u1"}
    seen = engine(happened.folder, happened.source.engine, "{table: shop.seen}")
    snapshot_run.score(seen, [END])
    assert set(rows(seen, "p", "user", END)) == {"u1"}


def test_the_engine_url_may_name_a_schema(happened: Workspace) -> None:
    address = happened.source.engine.replace("?", "/shop?")
    created = engine(happened.folder, address, "{table: seen}")
    snapshot_run.score(created, [END])
    assert set(rows(created, "p", "user", END)) == {"u1"}


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (
            "{table: shop.hapened}",
            ("there is no table `shop.hapened` in the source; did you mean `happened`?", "SCHEMA.TABLE"),
        ),
        (
            "{table: shop.happened}",
            ("shop.happened has no column `timestamp`", "columns: {timestamp: THEIR_NAME}"),
        ),
        (
            "{table: shop.happened, columns: {user_id: uidd, timestamp: at}}",
            ("no column `uidd`, which `columns` names for `user_id`; did you mean `uid`?",),
        ),
        (
            "{table: shop.happened, columns: {user_id: uid, event: at, timestamp: event}}",
            ("row 1, column `event`: expected a timestamp such as 2026-01-31T12:00:00Z, found `Viewed`",),
        ),
        (
            "{table: shop.hidden}",
            ("shop.hidden cannot be read: permission denied for table hidden", "GRANT SELECT on the table"),
        ),
        (
            "{table: data/events.parquet}",
            ("data/events.parquet is a file, and the engine is postgres", "engine: duckdb://"),
        ),
    ],
)
def test_a_problem_with_a_table_is_reported_where_the_table_is_named(
    events: str, words: tuple[str, ...], happened: Workspace
) -> None:
    said = refusal(engine(happened.folder, happened.source.engine, events))
    assert said.startswith("heatsync.yml:4:")
    for each in words:
        assert each in said


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgres://reader:s3cret@127.0.0.1:1/shop", "PostgreSQL at 127.0.0.1:1 does not answer"),
        ("postgres://reader:s3cret@nowhere.invalid/shop", "there is no host nowhere.invalid"),
        ("postgres://reader:s3@cret@127.0.0.1/shop", "the address cannot be read"),
        ("postgres://reader:s3/cret@127.0.0.1/shop", "the address cannot be read"),
        ("postgres://reader:s3%cret@127.0.0.1/shop", "the address cannot be read"),
        ("postgres://reader:s3cret@127.0.0.1:port/shop", "the address cannot be read"),
        ("mysql://reader:s3cret@db/shop", "the engine `mysql` is not one that can be a source"),
        ("reader:s3cret@db/shop", "this is not the address of an engine"),
        ("snowflake://reader:s3cret@db/shop", "pip install 'ibis-framework[snowflake]'"),
        ("bigquery://project/data", "pip install 'ibis-framework[bigquery]'"),
        ("databricks://:s3cret@host?http_path=x", "pip install 'ibis-framework[databricks]'"),
        ("pyspark://", "pip install 'ibis-framework[pyspark]'"),
        ("trino://reader:s3cret@db/shop", "pip install 'ibis-framework[trino]'"),
        ("clickhouse://reader:s3cret@db/shop", "pip install 'ibis-framework[clickhouse]'"),
    ],
)
def test_an_engine_that_cannot_be_opened_says_why_without_the_password(
    url: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "mappings" / "profiles").mkdir(parents=True)
    (tmp_path / "mappings/profiles/p.yml").write_text(
        "version: 1\nname: P\nevents: [{event: Viewed, weight: 5}]\n"
    )
    said = refusal(engine(tmp_path, url, "{table: happened}"))
    assert said.startswith("heatsync.yml:3:11: ")
    assert words in said
    assert "s3" not in said
    assert "cret" not in said


def test_a_table_that_the_server_refuses_is_named(happened: Workspace, database: PostgresSource) -> None:
    for old, new, words in (
        (f"{READER}@", "nobody_at_all@", "has no such user"),
        ("/test_", "/toast_", "has no such database"),
    ):
        said = refusal(engine(happened.folder, database.url.replace(old, new)))
        assert said.startswith("heatsync.yml:3:11: PostgreSQL at ")
        assert words in said


def test_a_refused_password_is_not_printed(happened: Workspace, database: PostgresSource) -> None:
    with passwords(database):
        said = refusal(engine(happened.folder, database.url.replace(f"{READER}@", f"{READER}:s3cret@")))
    assert "refused the user or the password: check both in `engine`" in said
    assert "s3cret" not in said


@contextmanager
def passwords(database: PostgresSource) -> Iterator[None]:
    """The server asks the reader for one."""
    with psycopg.connect(database.owner, autocommit=True) as connection:
        file = Path(connection.execute("SHOW hba_file").fetchone()[0])  # type: ignore[index]
        before = file.read_text()
        connection.execute(f"ALTER ROLE {READER} PASSWORD 'another'")
        try:
            file.write_text(f"local all {READER} scram-sha-256\n{before}")
            connection.execute("SELECT pg_reload_conf()")
            wait_for(connection, f"SELECT count(*) FROM pg_hba_file_rules WHERE '{READER}' = ANY (user_name)")
            yield
        finally:
            file.write_text(before)
            connection.execute("SELECT pg_reload_conf()")


def wait_for(connection: psycopg.Connection[Any], question: str) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = connection.execute(question).fetchone()
        if found is not None and found[0]:
            return
    raise AssertionError(question)


def test_texts_are_sorted_and_compared_alike_in_any_collation(
    tmp_path: Path, database: PostgresSource
) -> None:
    """Of two events with one id the earlier counts, and at the same instant the one of the smaller user id.

    The columns are in the collation of a language where the server has one; packages carry servers without."""
    with psycopg.connect(database.owner) as connection:
        natural = connection.execute(
            "SELECT collname FROM pg_collation WHERE collname ILIKE 'en%' ORDER BY collname LIMIT 1"
        ).fetchone()
    words = 'text COLLATE "{}"'.format(natural[0] if natural else "default")
    stamp = datetime(2026, 11, 20, 10, tzinfo=UTC)
    event = {"account_id": None, "event": "Viewed", "timestamp": stamp, "value": None, "properties": None}
    world = World(
        [{**event, "user_id": user, "event_id": "1"} for user in ("a", "B", "ä", "Z")]
        + [{**event, "user_id": "Z", "account_id": account, "event_id": None} for account in ("b", "A")],
        None,
        None,
        "UTC",
        (END,),
    )
    tree = {"events": [{"event": "Viewed", "weight": "5"}]}
    (tmp_path / "files").mkdir()
    files = written(tmp_path / "files", world, {"p": tree})
    tables = database.copy(
        files, tmp_path / "tables", {"user_id": words, "account_id": words, "event": words}
    )
    for created in (files, tables):
        snapshot_run.score(created, [END])
    assert differences(files, tables, [END]) == []
    assert set(rows(tables, "p", "user", END)) == {"B", "Z"}


def test_columns_of_database_types_are_read_as_text(happened: Workspace, database: PostgresSource) -> None:
    with psycopg.connect(database.owner) as connection:
        connection.execute("CREATE TYPE shop.mood AS ENUM ('glad')")
        connection.execute("CREATE DOMAIN shop.code AS text")
        connection.execute(
            "CREATE TABLE shop.people (user_id shop.code, mood shop.mood, at inet, tags text[], more jsonb, one uuid,"
            " rate numeric, exact numeric(9, 2), huge numeric(60, 20), since interval, day date, noon time, place point)"
        )
        connection.execute(
            "INSERT INTO shop.people VALUES ('u1', 'glad', '10.0.0.1', '{a,b}', '{\"a\": 1}', gen_random_uuid(),"
            " 0.1, 12.50, 1.5, '1 day', '2026-01-01', '12:00', '(1,2)')"
        )
        connection.execute(f"GRANT SELECT ON shop.people TO {READER}")
    created = engine(
        happened.folder, happened.source.engine + "'\n  users: {table: shop.people}\n  time_zone: 'UTC"
    )
    snapshot_run.score(created, [END])
    path = snapshot_run.traits_path(created, "user", END)
    assert path is not None
    (row,) = pq.read_table(path).to_pylist()
    assert row["mood"] == "glad"
    assert (row["rate"], str(row["exact"]), row["huge"], row["day"]) == (0.1, "12.50", 1.5, date(2026, 1, 1))
    assert row["tags"] == "{a,b}"
    assert row["more"] == '{"a": 1}'
