"""Numbers that other products in this field publish."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pytest
import tiny
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from heatsync.scoring.compute import benchmarks, scores, weighting
from heatsync.scoring.compute.compiled_profile import NANO, CompiledProfile
from heatsync.scoring.compute.relations import create_empty
from heatsync.scoring.definition.profile import Profile

DAY = date(2026, 4, 5)
RAW = [475, 89, 101, 7, 3, 21, 2, 149, 223, 1, 13, 9, 37]
EXPONENTIAL = [99, 63, 67, 7, 3, 21, 2, 81, 92, 1, 13, 9, 34]
WINSOR = [100, 43, 49, 3, 1, 10, 1, 72, 100, 1, 6, 4, 18]


def profile(**more: Any) -> dict[str, Any]:
    return {"version": "1", "name": "P", "events": [{"event": "Point", "weight": "1"}], **more}


def points(user: str, count: int, day: date = DAY, event: str = "Point") -> list[dict[str, Any]]:
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return [{"user_id": user, "event": event, "timestamp": noon} for _ in range(count)]


def measured(values: list[int], twentieths: int = 18) -> benchmarks.Quantile:
    with duckdb.connect() as con:
        con.execute("CREATE TABLE t AS SELECT 7::BIGINT AS day, unnest(?) AS raw", [values])
        alone = benchmarks.quantile(con, "t", twentieths)
        con.execute("INSERT INTO t SELECT 8, unnest(?) + 1", [values])
        con.execute("INSERT INTO t VALUES (7, 0), (9, 0)")
        together = benchmarks.quantiles(con, "t", twentieths, [7, 8, 9])
    assert alone is not None
    assert together == {7: alone, 8: replace(alone, value=alone.value + 1, largest=alone.largest + 1)}
    return alone


def test_the_documented_benchmark_is_208_2() -> None:
    assert measured(RAW) == benchmarks.Quantile(13, Fraction(1041, 5), Fraction(475))


@settings(max_examples=examples(40))
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=60), st.sampled_from([18, 19]))
def test_percentiles_are_hyndman_and_fans_type_7(values: list[int], twentieths: int) -> None:
    place = Fraction((len(values) - 1) * twentieths, 20)
    ordered = [*sorted(values), max(values)]
    low = int(place)
    expected = ordered[low] + (ordered[low + 1] - ordered[low]) * (place - low)
    assert measured(values, twentieths).value == expected


def test_the_worked_example_scores_187(tmp_path: Path) -> None:
    counts = {"A": (9, 3), "B": (7, 5), "C": (5, 10), "D": (3, 20), "E": (1, 15)}
    events = [event for name, (_, count) in counts.items() for event in points("u", count, event=name)]
    weights = [{"event": name, "weight": str(weight)} for name, (weight, _) in counts.items()]
    created = tiny.make(tmp_path, profile(events=weights), events)
    row = tiny.scored(created, DAY)["user"]["u"]
    assert row["raw"] == 187
    assert row["drivers"] == "D, C, B"


@pytest.mark.parametrize(("kind", "expected"), [("exponential", EXPONENTIAL), ("winsor", WINSOR)])
def test_the_documented_scores_are_reproduced(kind: str, expected: list[int]) -> None:
    plan = CompiledProfile(Profile.model_validate(profile(normalize=kind)))
    with duckdb.connect() as con:
        raw = create_empty(con, "user_raw", day="BIGINT", key="INTEGER", part="INTEGER", raw="BIGINT")
        born = create_empty(con, "user_born", key="INTEGER", day="BIGINT")
        placement = create_empty(con, "placement", user_no="INTEGER", account_no="INTEGER")
        con.executemany(
            f"INSERT INTO {raw} VALUES (7, ?, ?, ?)",
            [[n, weighting.COMBINED, raw * NANO] for n, raw in enumerate(RAW)],
        )
        scoring = scores.ScoreInputs(
            plan, "user", scores.EntityTotals(raw), scores.ExistingEntities(born, placement), []
        )
        scored = scores.compute_scores(con, scoring, {7: {0: 208.2}})
        found = con.execute(f"SELECT score FROM {scored.scores} ORDER BY key").fetchall()
    assert [score for (score,) in found] == expected


def test_a_day_with_twenty_scored_entities_has_its_own_percentile(tmp_path: Path) -> None:
    events = [event for number in range(1, 21) for event in points(f"u{number}", number)]
    created = tiny.make(tmp_path, profile(benchmark="rolling", normalize="winsor"), events)
    rows = tiny.scored(created, DAY)["user"]
    assert rows["u1"]["benchmark"] == pytest.approx(18.1)
    assert rows["u9"]["score"] == 50
    assert rows["u20"]["score"] == 100


def test_a_day_with_few_entities_takes_the_previous_benchmark(tmp_path: Path) -> None:
    crowd = [
        event for number in range(1, 21) for event in points(f"u{number}", number, DAY - timedelta(days=10))
    ]
    created = tiny.make(tmp_path, profile(benchmark="rolling"), [*crowd, *points("u1", 3)])
    assert tiny.scored(created, DAY)["user"]["u1"]["benchmark"] == pytest.approx(18.1)


def test_with_always_few_entities_the_largest_raw_score_of_the_first_day_is_the_benchmark(
    tmp_path: Path,
) -> None:
    created = tiny.make(tmp_path, profile(), [*points("u1", 7), *points("u2", 3)])
    rows = tiny.scored(created, DAY)["user"]
    assert rows["u1"]["benchmark"] == 7
    assert (rows["u1"]["score"], rows["u1"]["level"]) == (90, "Very High")


def test_every_score_is_zero_when_no_entity_ever_scored(tmp_path: Path) -> None:
    created = tiny.make(tmp_path, profile(), points("u1", 7, event="Something else"))
    row = tiny.scored(created, DAY)["user"]["u1"]
    assert (row["score"], row["benchmark"], row["level"], row["drivers"]) == (0, 0, "Low", None)


def test_the_smoothed_benchmark_is_the_median_of_the_days_that_have_one() -> None:
    assert benchmarks.smoothed(30, {30: 4.0, 29: 0.0, 28: 10.0, 3: 6.0, 2: 100.0}) == 6.0


def test_a_raw_score_above_zero_shows_at_least_1(tmp_path: Path) -> None:
    created = tiny.make(tmp_path, profile(normalize={"target": "100000"}), points("u1", 1))
    assert tiny.scored(created, DAY)["user"]["u1"]["score"] == 1


def test_halves_are_rounded_up(tmp_path: Path) -> None:
    """An account with users of 25 and 50 has 37.5."""
    events = [*points("u1", 4), *points("u2", 2), *points("u3", 1)]
    listed = [
        {"user_id": f"u{n}", "account_id": "a" if n > 1 else "b", "created_at": None} for n in (1, 2, 3)
    ]
    created = tiny.make(tmp_path, profile(normalize="winsor"), events, listed)
    row = tiny.scored(created, DAY)["account"]["a"]
    assert (row["score_exact"], row["score"]) == (37.5, 38)
