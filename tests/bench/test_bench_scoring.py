"""What heatsync is measured against must come to the same: a ratio of different results means nothing."""

from pathlib import Path

import duckdb
import pytest

from bench import handwritten, product_log, scoring

EVENTS = 20_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    scoring.prepare(folder, EVENTS)
    scoring.run("full", folder)
    scoring.run("by hand", folder)
    return folder


def test_by_hand_every_row_and_column_is_the_same(folder: Path) -> None:
    rows = scoring.differing(folder)
    assert {entity: other for entity, (_, other) in rows.items()} == {"user": 0, "account": 0}
    assert rows["user"][0] > EVENTS * product_log.USERS * 0.9
    assert rows["account"][0] == EVENTS * product_log.USERS // product_log.PER_ACCOUNT


def test_a_row_that_differs_is_counted(folder: Path) -> None:
    file = handwritten.path(folder, "account")
    before = file.read_bytes()
    try:
        duckdb.execute(f"COPY (SELECT * REPLACE (frequency + 1 AS frequency) FROM '{file}') TO '{file}'")
        count, other = scoring.differing(folder)["account"]
        assert other == count
        duckdb.execute(f"COPY (SELECT * EXCLUDE (drivers) FROM '{file}') TO '{file}'")
        assert scoring.differing(folder)["account"] == (count, count)
    finally:
        file.write_bytes(before)


def test_the_log_says_something_about_every_column(folder: Path) -> None:
    """Otherwise equal columns would prove little."""
    for entity in ("user", "account"):
        file = handwritten.path(folder, entity)
        columns = [name for name, *_ in duckdb.execute(f"DESCRIBE FROM '{file}'").fetchall()]
        distinct = duckdb.execute(
            f"SELECT {', '.join(f'count(DISTINCT {name})' for name in columns)} FROM '{file}'"
        ).fetchone()
        assert distinct is not None
        alike = {name for name, count in zip(columns, distinct, strict=True) if count < 2}
        # An account's raw score is empty where the roll-up is the average, and a dozen people do everything once.
        assert alike == ({"benchmark"} if entity == "user" else {"benchmark", "raw", "adoption_ever"})


def test_the_same_seed_makes_the_same_log(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        product_log.write(tmp_path / name, EVENTS, seed)

    def rows(name: str) -> list[tuple[object, ...]]:
        return duckdb.execute(f"FROM '{tmp_path / name / 'events.parquet'}'").fetchall()

    assert rows("a") == rows("b") != rows("c")
    assert [row[2] for row in rows("a")] == sorted(row[2] for row in rows("a"))


def test_users_come_in_sessions_and_rest_on_weekends(folder: Path) -> None:
    log = f"'{folder / 'events.parquet'}'"
    events, pairs, weekend, first = duckdb.execute(
        f"SELECT count(*), count(DISTINCT (user_id, timestamp::DATE)), count(*) FILTER (isodow(timestamp) > 5),"
        f" min(timestamp)::DATE FROM {log}"
    ).fetchone() or (0, 0, 0, None)
    assert abs(events - EVENTS) < EVENTS * 0.05
    assert events / pairs > 5
    assert 0 < weekend / events < 0.15
    assert first == product_log.FIRST
