"""Invalid source tables: each message says where, what was found, what was expected, and what to do."""

import gzip
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.errors import ConfigurationError
from heatsync.snapshots import run as snapshot_run
from heatsync.workspace import config

DAY = date(2026, 4, 5)
GOOD = "user_id,event,timestamp\nu1,Viewed,2026-04-05T10:00:00Z\n"
MEASURED = "version: 1\nname: P\nevents:\n  - {event: Viewed, weight: 5}\n"
PROFILE = MEASURED + "normalize: {target: 10}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mappings" / "profiles").mkdir(parents=True)
    (tmp_path / "mappings" / "profiles" / "p.yml").write_text(PROFILE)
    (tmp_path / "events.csv").write_text(GOOD)
    return tmp_path


def score(
    folder: Path, source: str = "  events: {table: events.csv}", zone: str = "UTC", profile: str = PROFILE
) -> Any:
    (folder / "heatsync.yml").write_text(f"version: 1\ntime_zone: {zone}\nsource:\n{source}\n")
    (folder / "mappings" / "profiles" / "p.yml").write_text(profile)
    reading = config.load_partial(folder, vendors={})
    reading.problems.raise_if_any()
    assert reading.workspace is not None
    return snapshot_run.score(reading.workspace, [DAY])


def rows(folder: Path, entity: str = "user") -> dict[str, dict[str, Any]]:
    table = pq.read_table(folder / f".heatsync/snapshots/p/{entity}/{DAY}.parquet")
    return {row[f"{entity}_id"]: row for row in table.to_pylist()}


def refusal(folder: Path, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        score(folder, *args, **kwargs)
    assert "Traceback" not in str(caught.value)
    return str(caught.value)


def with_users(table: str = "users.csv") -> str:
    return f"  events: {{table: events.csv}}\n  users: {{table: {table}}}"


def test_a_missing_file_is_named_with_the_nearest_name(folder: Path) -> None:
    message = refusal(folder, "  events: {table: event.csv}")
    assert message.startswith(
        "heatsync.yml:4:19: the file event.csv does not exist; did you mean `events.csv`?"
    )


def test_a_missing_folder_is_named(folder: Path) -> None:
    assert "there is no folder" in refusal(folder, "  events: {table: data/events.csv}")


def test_a_file_of_another_type_is_refused(folder: Path) -> None:
    (folder / "events.xlsx").write_text("x")
    (folder / "data").mkdir()
    (folder / "data" / "events.xlsx").write_text("x")
    assert "neither Parquet" in refusal(folder, "  events: {table: data/events.xlsx}")
    assert "there is no table `events.xlsx`" in refusal(folder, "  events: {table: events.xlsx}")


def test_a_folder_in_place_of_a_file_is_refused(folder: Path) -> None:
    (folder / "users.csv").mkdir()
    assert "users.csv is a folder" in refusal(folder, with_users())


def test_a_state_folder_that_cannot_be_created_is_named(folder: Path) -> None:
    (folder / ".heatsync").write_text("a file")
    message = refusal(folder)
    assert ".heatsync" in message
    assert "name another one with `state`" in message


def broken(whole: bytes) -> Any:
    """An end that is missing, a page of `event` that is damaged, and something else altogether."""
    page = pq.ParquetFile(pa.BufferReader(whole)).metadata.row_group(0).column(1).dictionary_page_offset
    damaged = whole[: page + 30] + b"\xff" * 40 + whole[page + 70 :]
    return whole[: len(whole) // 2], damaged, b"this is not Parquet"


def test_a_broken_parquet_file_is_refused_without_sql_in_the_message(folder: Path) -> None:
    count = 100
    stamp = datetime(2026, 4, 5, 10, tzinfo=UTC)
    columns = {
        "user_id": ["u1"] * count,
        "event": [f"Event {n}" for n in range(count)],
        "timestamp": [stamp] * count,
    }
    path = folder / "events.parquet"
    pq.write_table(pa.table(columns), path)
    for content in broken(path.read_bytes()):
        path.write_bytes(content)
        message = refusal(folder, "  events: {table: events.parquet}")
        assert "events.parquet cannot be read: " in message
        assert message.endswith("Fix the export, or write the file again")
        assert "LINE 1" not in message


@pytest.mark.parametrize(
    "line", [b'u2,"Viewed,2026-04-05T10:00:00Z', b"u2,Viewed,2026-04-05,more", b"u2\xff,Viewed,"]
)
def test_a_broken_csv_file_is_refused_with_its_line(folder: Path, line: bytes) -> None:
    (folder / "events.csv").write_bytes(GOOD.encode() + line + b"\n")
    message = refusal(folder)
    assert "events.csv cannot be read: " in message
    assert "line 3" in message.casefold().replace("line: ", "line ")
    assert "Possible" not in message
    assert message.endswith(
        ("Fix the export, or write the file again", "is not UTF-8: save the file as UTF-8")
    )


def test_a_file_that_is_not_utf8_is_refused_with_its_first_such_line(folder: Path) -> None:
    lines = [f"u{n},Präsident" for n in range(3000)]
    (folder / "users.csv").write_bytes("\n".join(["user_id,role", *lines]).encode("latin-1"))
    assert "users.csv cannot be read: line 2 is not UTF-8" in refusal(folder, with_users())
    (folder / "users.csv").write_bytes("user_id,role\nu1,Präsident\n".encode("utf-16"))
    assert "users.csv cannot be read: line 1 is not UTF-8" in refusal(folder, with_users())


def test_a_truncated_gzip_file_is_refused(folder: Path) -> None:
    whole = gzip.compress((GOOD + "u2,Viewed,2026-04-05T10:00:00Z\n" * 5000).encode())
    for content in (whole[:60], whole[:-4], b"no gzip", whole[:30] + b"\xff" * 20 + whole[50:]):
        (folder / "events.csv.gz").write_bytes(content)
        message = refusal(folder, "  events: {table: events.csv.gz}")
        assert "events.csv.gz cannot be read: " in message
        assert message.endswith("Fix the export, or write the file again")


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_csv_file_may_have_another_separator_and_be_compressed(folder: Path, separator: str) -> None:
    (folder / "events.csv.gz").write_bytes(gzip.compress(GOOD.replace(",", separator).encode()))
    score(folder, "  events: {table: events.csv.gz}")
    assert rows(folder)["u1"]["raw"] == 5


@pytest.mark.parametrize("content", ["", "user_id,event,timestamp\n"])
def test_an_empty_events_table_is_refused(folder: Path, content: str) -> None:
    (folder / "events.csv").write_text(content)
    message = refusal(folder)
    assert "events.csv is empty" in message or "events.csv has no event at all" in message


@pytest.mark.parametrize("lines", ["", ",a@example.com\n"])
def test_an_empty_users_table_is_refused(folder: Path, lines: str) -> None:
    (folder / "users.csv").write_text(f"user_id,email\n{lines}")
    message = refusal(folder, with_users())
    assert "users.csv has no user at all" in message
    assert "check the export that fills it, or leave `users` out of the source" in message


def test_a_missing_column_is_named_with_the_nearest_name_and_the_fix(folder: Path) -> None:
    (folder / "events.csv").write_text("user_id,event,timestmp\nu1,Viewed,2026-04-05T10:00:00Z\n")
    message = refusal(folder)
    assert "events.csv has no column `timestamp`; did you mean `timestmp`?" in message
    assert "columns: {timestamp: THEIR_NAME}" in message


def test_a_missing_renamed_column_is_named(folder: Path) -> None:
    message = refusal(folder, "  events: {table: events.csv, columns: {user_id: userid}}")
    assert "no column `userid`, which `columns` names for `user_id`; did you mean `user_id`?" in message


def test_an_unreadable_timestamp_is_shown_with_its_row(folder: Path) -> None:
    (folder / "events.csv").write_text(GOOD + "u2,Viewed,yesterday\nu3,Viewed,2026-13-01T00:00:00Z\n")
    message = refusal(folder)
    assert "events.csv, row 2, column `timestamp`" in message
    assert "found `yesterday` (2 rows have this problem)" in message


def test_a_number_is_not_a_timestamp(folder: Path) -> None:
    table = pa.table({"user_id": ["u1"], "event": ["Viewed"], "timestamp": [1775383200]})
    pq.write_table(table, folder / "events.parquet")
    message = refusal(folder, "  events: {table: events.parquet}")
    assert "column `timestamp`: expected timestamps, found int64" in message


def test_a_fraction_is_not_an_id(folder: Path) -> None:
    stamp = datetime(2026, 4, 5, 10, tzinfo=UTC)
    pq.write_table(
        pa.table({"uid": [1.0, float("nan")], "event": ["Viewed"] * 2, "timestamp": [stamp] * 2}),
        folder / "events.parquet",
    )
    message = refusal(folder, "  events: {table: events.parquet, columns: {user_id: uid}}")
    assert "column `uid`: expected ids as text or whole numbers, found float64" in message


def test_64_bit_ids_and_leading_zeros_are_kept(folder: Path) -> None:
    (folder / "events.csv").write_text(
        "user_id,event,timestamp\n9007199254740993,Viewed,2026-04-05T10:00:00Z\n007,Viewed,2026-04-05T10:00:00Z\n"
    )
    (folder / "users.csv").write_text(
        'user_id,phone,zip,seats\n007,+49 30 1,01234,3\n"a ""b"", 😀\nc",1,99999,4\n'
    )
    score(folder, with_users())
    assert set(rows(folder)) == {"9007199254740993", "007", 'a "b", 😀\nc'}
    traits = pq.read_table(folder / f".heatsync/snapshots/traits/user/{DAY}.parquet").to_pylist()
    assert traits[0] == {"user_id": "007", "phone": "+49 30 1", "zip": "01234", "seats": 3}


def test_a_duplicate_id_is_shown_with_its_rows(folder: Path) -> None:
    (folder / "users.csv").write_text("user_id,email\nu1,a@example.com\nu2,b@example.com\nu1,c@example.com\n")
    message = refusal(folder, with_users())
    assert "users.csv, rows 1 and 3, column `user_id`: found `u1` twice" in message


def test_rows_of_users_without_an_id_are_reported(folder: Path) -> None:
    (folder / "users.csv").write_text("user_id,email\nu1,a@example.com\n,b@example.com\n,c@example.com\n")
    assert score(folder, with_users()).ignored == {"users_without_id": 2}


def test_events_that_never_count_are_reported_by_reason(folder: Path) -> None:
    (folder / "events.csv").write_text(
        "user_id,account_id,event,timestamp,event_id\n"
        "u1,,Viewed,2026-04-05T10:00:00Z,1\n"
        "u1,,Viewed,2026-04-05T10:00:00Z,1\n"
        "u1,,Viewed,2026-04-05T10:00:00Z,\n"
        "u1,,Viewed,,2\n"
        ",,Viewed,2026-04-05T10:00:00Z,3\n"
        "u1,,Viewed,2026-04-06T00:00:00Z,4\n"
        "u2,,Viewed,2999-01-01T00:00:00Z,5\n"
        ",a1,Viewed,2026-04-05T10:00:00Z,6\n"
    )
    ignored = score(folder).ignored
    assert ignored == {
        "after_as_of": 2,
        "duplicate_event_id": 1,
        "without_timestamp": 1,
        "without_user_and_account": 1,
    }
    assert {key: row["raw"] for key, row in rows(folder).items()} == {"u1": 10.0}
    assert rows(folder, "account")["a1"]["frequency"] == 1


def test_timestamps_without_a_zone_are_noted_once(folder: Path) -> None:
    (folder / "events.csv").write_text(
        "user_id,event,timestamp\nu1,Viewed,2026-04-05 10:00:00\nu1,Viewed,2026-04-04\n"
    )
    scored = score(folder)
    assert scored.notes == (
        "events.csv: timestamps without a zone are read as UTC; set `time_zone:` in the source if they are not",
    )
    assert rows(folder)["u1"]["last_seen"] == datetime(2026, 4, 5, 10)


def test_the_source_can_set_the_zone_of_its_timestamps(folder: Path) -> None:
    instants = {
        "2026-03-29 01:59:59": datetime(2026, 3, 29, 0, 59, 59),
        "2026-03-29 03:00:00": datetime(2026, 3, 29, 1),
        "2025-10-26 02:30:00": datetime(2025, 10, 26, 0, 30),
        "2025-10-26 03:00:00": datetime(2025, 10, 26, 2),
        "2026-01-01 00:00:00+05:30": datetime(2025, 12, 31, 18, 30),
        "2026-01-01T00:00Z": datetime(2026, 1, 1),
        "2024-07-01 12:00:00": datetime(2024, 7, 1, 10),
    }
    lines = [f"{written},Viewed,{written}\n" for written in instants]
    (folder / "events.csv").write_text("".join(["user_id,event,timestamp\n", *lines]))
    score(folder, "  events: {table: events.csv, time_zone: Europe/Berlin}")
    assert {written: row["last_seen"] for written, row in rows(folder).items()} == instants


def test_several_tables_of_events_are_read_as_one(folder: Path) -> None:
    """Numbers of events are each table's own."""
    (folder / "a.csv").write_text("user_id,event,timestamp,event_id\nu1,Viewed,2026-04-05T10:00:00Z,1\n")
    (folder / "b.csv").write_text("account_id,event,timestamp,event_id\na1,Viewed,2026-04-05T11:00:00Z,1\n")
    score(folder, "  events: [{table: a.csv}, {table: b.csv}]")
    assert set(rows(folder)) == {"u1"}
    assert set(rows(folder, "account")) == {"a1"}


def test_tables_of_a_duckdb_file_are_read(folder: Path) -> None:
    with duckdb.connect(folder / "product.duckdb") as con:
        con.execute(
            "CREATE TABLE happened AS SELECT 'u1' AS uid, 'Viewed' AS event, TIMESTAMPTZ '2026-04-05 10:00:00Z' AS timestamp"
        )
    source = "  engine: duckdb://product.duckdb\n  events: {table: happened, columns: {user_id: uid}}"
    score(folder, source)
    assert rows(folder)["u1"]["last_seen"] == datetime(2026, 4, 5, 10)
    message = refusal(folder, source.replace("table: happened", "table: hapened"))
    assert "there is no table `hapened` in the source; did you mean `happened`?" in message


def test_an_engine_without_its_driver_is_refused_by_name(folder: Path) -> None:
    message = refusal(folder, "  engine: snowflake://x/y\n  events: {table: happened}")
    assert "the engine `snowflake` needs the driver of Snowflake, which is not installed" in message


def test_an_activation_step_on_a_missing_column_is_refused(folder: Path) -> None:
    (folder / "users.csv").write_text("user_id,plan,seats\nu1,pro,3\n")
    step = PROFILE + "activation: {user: [{trait: user.%s}]}\n"
    message = refusal(folder, with_users(), profile=step % "plann, eq: pro")
    assert message.startswith(
        "mappings/profiles/p.yml: `activation`: `user.plann`: there is no column `plann` in users"
    )
    assert "did you mean `plan`" in message
    assert "expected a number" in refusal(folder, with_users(), profile=step % "seats, gt: many")
    assert "`gt` cannot compare `user.plan`" in refusal(folder, with_users(), profile=step % "plan, gt: pro")
    assert "needs a table of users" in refusal(folder, profile=step % "plan, eq: pro")


def test_a_benchmark_cannot_be_frozen_in_the_future(folder: Path) -> None:
    message = refusal(folder, profile=MEASURED + "benchmark: {frozen: 2026-04-06}\n")
    assert "the benchmark is frozen on 2026-04-06, which is after 2026-04-05" in message


def test_a_workspace_without_a_profile_is_refused(folder: Path) -> None:
    (folder / "heatsync.yml").write_text("version: 1\nsource:\n  events: {table: events.csv}\n")
    (folder / "mappings" / "profiles" / "p.yml").unlink()
    reading = config.load_partial(folder, vendors={})
    assert reading.workspace is not None
    with pytest.raises(ConfigurationError, match="has no profile to score by"):
        snapshot_run.score(reading.workspace, [DAY])
