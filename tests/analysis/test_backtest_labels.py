"""The rows of a backtest, compared with loops over a few events."""

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatsync.analysis import backtest_labels
from heatsync.scoring.compute.relations import Relation
from heatsync.scoring.definition.profile import Profile

HEALTH = {
    "version": "1",
    "name": "Health",
    "events": [{"event": "A", "weight": "5"}],
    "levels": {"bands": {"Low": "0", "High": "50"}},
}
SEEN = Relation("seen", ("key", "day", "n"))
SCORES = Relation("user_scores", ("key", "day", "raw", "nano", "score", "level"))
EVENTS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40), st.integers(1, 3)), max_size=20)


def home(
    seen: list[tuple[str, int, int]], scores: list[tuple[str, int, int, str]] = ()
) -> duckdb.DuckDBPyConnection:
    """`scores` are key, day, shown score, level."""
    con = duckdb.connect()
    con.execute("CREATE TABLE seen (key VARCHAR, day BIGINT, n BIGINT)")
    con.execute(
        "CREATE TABLE user_scores (key VARCHAR, day BIGINT, raw DECIMAL(38, 0), nano BIGINT, score BIGINT, level VARCHAR)"
    )
    for row in seen:
        con.execute("INSERT INTO seen VALUES (?, ?, ?)", row)
    for key, day, score, level in scores:
        con.execute(
            "INSERT INTO user_scores VALUES (?, ?, ?, ?, ?, ?)",
            [key, day, 2 * score, score * 10**9, score, level],
        )
    return con


def profile(**changed: object) -> Profile:
    return Profile.model_validate(HEALTH | changed)


@given(EVENTS, st.integers(1, 10), st.integers(1, 10))
def test_rows_are_entities_seen_in_the_window_and_churned_when_not_seen_in_the_horizon(
    seen, window, horizon
) -> None:
    days = [12, 19, 26]
    expected = set()
    for day in days:
        for key in "abc":
            before = [(at, n) for who, at, n in seen if who == key and day - window < at <= day]
            after = [at for who, at, _ in seen if who == key and day < at <= day + horizon]
            if before:
                recency = day - max(at for at, _ in before)
                expected.add((key, day, float(sum(n for _, n in before)), recency, not after))
    with home(seen) as con:
        labelled = backtest_labels.label_churn(con, SEEN, days, window, horizon)
        found = con.execute(f"SELECT key, day, count, recency, churned FROM {labelled}").fetchall()
    assert len(found) == len(expected)
    assert set(found) == expected


def test_an_entity_without_a_row_in_the_scores_has_a_score_of_zero_and_its_level() -> None:
    with home([("a", 10, 1), ("b", 10, 1)], [("a", 10, 60, "High")]) as con:
        labelled = backtest_labels.label_churn(con, SEEN, [10], 5, 5)
        found = backtest_labels.read_sample(con, profile(), "user", labelled, SCORES)
    assert list(found.score) == [60.0, 0.0]
    assert list(found.points) == [120.0, 0.0]
    assert list(found.level) == ["High", "Low"]
    assert list(found.entities) == [0, 1]


def test_rows_of_one_entity_have_one_number() -> None:
    with home([("a", 10, 1), ("b", 10, 1), ("a", 17, 1), ("b", 17, 2)]) as con:
        labelled = backtest_labels.label_churn(con, SEEN, [10, 17], 5, 5)
        found = backtest_labels.read_sample(con, profile(), "user", labelled, SCORES)
    assert list(found.entities) == [0, 1, 0, 1]
    assert list(found.days) == [10, 10, 17, 17]


def test_stability_counts_entities_that_appear_and_disappear() -> None:
    scores = [("a", 1, 40, "Low"), ("a", 2, 60, "High"), ("a", 3, 60, "High"), ("b", 2, 10, "Low")]
    with home([], scores) as con:
        found = backtest_labels.measure_stability(con, profile(), SCORES)
    # Day 2: a +20 and a change of level, b +10 from nothing. Day 3: a 0, b -10.
    assert found.change == pytest.approx(10.0)
    assert found.flips == pytest.approx(100 * 7 / 4)
    assert found.days == 2


def test_stability_needs_consecutive_days() -> None:
    with home([], [("a", 1, 40, "Low"), ("a", 8, 60, "High")]) as con:
        assert backtest_labels.measure_stability(con, profile(), SCORES).change is None


def test_concentration_names_the_strongest_event_and_the_share_of_the_top_tenth() -> None:
    with duckdb.connect() as con:
        con.execute(
            "CREATE TABLE points AS SELECT * FROM (VALUES ('a', 'X', 60), ('a', 'Y', 20), ('b', 'Y', 20)) t(key, event, points)"
        )
        found = backtest_labels.concentration(con, "points")
        assert backtest_labels.concentration(con, "(SELECT * FROM points WHERE false)") is None
    assert found is not None
    assert (found.event, found.event_share, found.top_share) == ("X", pytest.approx(0.6), pytest.approx(0.8))


def test_with_too_many_rows_whole_entities_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backtest_labels, "MAX_ROWS", 50)
    with home([(f"u{number}", day, 1) for number in range(40) for day in (10, 17)]) as con:
        one_in = backtest_labels.sampling_rate(con, SEEN, 2)
        assert one_in == 2
        labelled = backtest_labels.label_churn(con, SEEN, [10, 17], 5, 5, one_in)
        rows = con.execute(f"SELECT key, count(*) FROM {labelled} GROUP BY key").fetchall()
    assert 0 < len(rows) < 40
    assert {count for _, count in rows} == {2}
