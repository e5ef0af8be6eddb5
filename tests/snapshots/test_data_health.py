"""The runs of a day that lost many events wait for approval."""

from datetime import date, timedelta
from pathlib import Path

import file_workspaces as files
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatsync.snapshots import data_health
from heatsync.snapshots.data_health import DataHealth
from heatsync.sync.guards import Facts, Thresholds, reasons

SUNDAY = date(2026, 11, 22)
COUNTS = st.integers(0, 1000)


def test_a_day_with_less_than_half_of_the_usual_events_says_the_numbers() -> None:
    (cause,) = DataHealth(SUNDAY, 120, (700, 660, 680, 900)).problems
    assert "2026-11-22 has 120 events, 83 % fewer than 690, the median of the 4 Sundays before" in cause


def test_exactly_half_of_the_usual_events_is_enough() -> None:
    assert DataHealth(SUNDAY, 50, (100,)).problems == ()
    assert DataHealth(SUNDAY, 49, (100,)).problems != ()


def test_a_first_week_has_no_problems() -> None:
    assert DataHealth(SUNDAY, 0).problems == ()


@given(COUNTS, st.lists(COUNTS, min_size=1, max_size=4))
def test_a_day_has_a_problem_below_half_of_the_median(today: int, before: list[int]) -> None:
    ordered = sorted(before)
    middle = (ordered[(len(before) - 1) // 2] + ordered[len(before) // 2]) / 2
    assert bool(DataHealth(SUNDAY, today, tuple(before)).problems) == (today < middle / 2)


def test_weeks_before_the_first_event_are_left_out() -> None:
    counts = {SUNDAY: 5, SUNDAY - timedelta(7): 20, SUNDAY - timedelta(14): 30, SUNDAY - timedelta(21): 40}
    found = data_health.from_counts(SUNDAY, counts, first=SUNDAY - timedelta(20))
    assert found.before == (20, 30)
    assert data_health.from_counts(SUNDAY, counts, first=None).before == ()
    assert data_health.from_counts(SUNDAY, counts, first=SUNDAY - timedelta(100)).before == (20, 30, 40, 0)


def test_an_empty_table_is_a_problem_of_its_own() -> None:
    (cause,) = data_health.from_counts(SUNDAY, {SUNDAY: 5}, SUNDAY, ["data/calls.parquet"]).problems
    assert "data/calls.parquet is empty" in cause


def test_a_stored_health_is_loaded_for_the_runs_of_its_day(tmp_path: Path) -> None:
    workspace = files.opened(tmp_path)
    found = DataHealth(SUNDAY, 1, (10, 12), ("t",))
    data_health.save(workspace, found)
    assert data_health.load(workspace, SUNDAY) == found
    assert data_health.problems(workspace, SUNDAY) == found.problems
    assert data_health.problems(workspace, SUNDAY - timedelta(1)) == ()


def test_an_unreadable_health_file_is_a_problem(tmp_path: Path) -> None:
    workspace = files.opened(tmp_path)
    data_health.save(workspace, DataHealth(SUNDAY, 12, (10, 12)))
    (workspace.state / "health" / "2026-11-22.json").write_text("{")
    (cause,) = data_health.problems(workspace, SUNDAY)
    assert "heatsync score --date 2026-11-22" in cause


@pytest.mark.parametrize(("limits", "held"), [(Thresholds(), True), (Thresholds(health=False), False)])
def test_problems_of_a_day_hold_its_runs_unless_the_limit_is_off(limits: Thresholds, held: bool) -> None:
    calm = Facts("m", "m", 100, 100, 0, 0, 10, 0, 100, 0, health=("half of it is missing",))
    assert ("half of it is missing" in reasons(calm, limits)) is held
