"""Backtests, suggested weights and what-if comparisons for a small product whose reports keep users."""

import itertools
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import leavers
import numpy as np
import pyarrow.parquet as pq
import pytest

from connectors.errors import ConfigurationError
from heatsync.analysis import backtest, backtest_verdicts, suggest_weights, what_if
from heatsync.analysis.auc import auc
from heatsync.analysis.backtest import BacktestRequest
from heatsync.workspace import config
from heatsync.workspace.config import Workspace

BACKWARDS = leavers.HEALTH.replace("weight: 8", "weight: 1").replace(
    "weight: 1}\nlevels", "weight: 8}\nlevels"
)


def silent(_doing: str, _done: int, _of: int) -> None:
    """Progress that is ignored."""


HABIT = "version: 1\nname: Habit\nmodel: engagement\nevents: [{event: Report Created}]\nlevels: churn\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    others = {"backwards": BACKWARDS.replace("Health", "Back")}
    return config.load(leavers.write(tmp_path_factory.mktemp("world"), others))


def by_hand(world: Workspace, window: int, horizon: int) -> tuple[list[bool], list[float], set[date]]:
    """Which entities churned and how many events each had, in one loop over all events."""
    table = pq.read_table(world.folder / "data" / "events.parquet").to_pylist()
    seen: dict[str, list[date]] = {}
    for row in table:
        seen.setdefault(row["user_id"], []).append(row["timestamp"].date())
    every = [day for days in seen.values() for day in days]
    churned, counts, days = [], [], set()
    day = max(every) - timedelta(days=horizon)
    while day - timedelta(days=window - 1) >= min(every):
        days.add(day)
        for mine in seen.values():
            inside = [each for each in mine if day - timedelta(days=window) < each <= day]
            if inside:
                churned.append(not any(day < each <= day + timedelta(days=horizon) for each in mine))
                counts.append(float(len(inside)))
        day -= timedelta(days=7)
    return churned, counts, days


def test_a_backtest_matches_a_loop_over_the_events(world: Workspace) -> None:
    churned, counts, days = by_hand(world, 14, 30)
    found = backtest.backtest(world, BacktestRequest("health", leavers.DAY), silent)
    assert (found.rows, found.churned, found.snapshots) == (len(churned), sum(churned), len(days))
    assert (found.first, found.last) == (min(days), max(days))
    assert found.figures is not None
    assert found.figures.count.value == pytest.approx(auc(np.array(churned), np.array(counts)))
    assert found.figures.auc.low < found.figures.auc.value < found.figures.auc.high
    assert sum(rate.rows for rate in found.figures.levels) == len(churned)
    assert found.coverage == 100.0


def test_a_source_that_ended_long_ago_is_evaluated_on_its_own_days(world: Workspace) -> None:
    then = backtest.backtest(world, BacktestRequest("health", leavers.DAY), silent)
    later = backtest.backtest(world, BacktestRequest("health", leavers.DAY + timedelta(days=120)), silent)
    assert later == then


def test_levels_learned_from_churn_are_evaluated_on_the_later_half(tmp_path: Path) -> None:
    world = config.load(leavers.write(tmp_path, {"habit": HABIT}))
    found = backtest.backtest(world, BacktestRequest("habit", leavers.DAY), silent).figures
    assert found is not None
    assert found.late is not None
    assert sum(rate.rows for rate in found.levels) == found.late.rows
    assert sum(rate.rows for rate in found.levels_shown) == found.late.rows


def test_with_too_few_churned_rows_the_result_gives_the_reason_and_no_figures(world: Workspace) -> None:
    found = backtest.backtest(world, BacktestRequest("health", leavers.DAY, entity="account"), silent)
    assert found.figures is None
    assert "churned within 30 days; at least 30 are needed" in found.why


def test_with_too_few_days_the_result_gives_the_reason_and_no_figures(world: Workspace) -> None:
    found = backtest.backtest(world, BacktestRequest("health", leavers.DAY, horizon=140), silent)
    assert found.figures is None
    assert "too few days for a window of 14 days and a horizon of 140" in found.why


def test_an_audience_is_evaluated_by_its_members_on_each_day(world: Workspace) -> None:
    overall = backtest.backtest(world, BacktestRequest("health", leavers.DAY), silent)
    low = backtest.backtest(world, BacktestRequest("health", leavers.DAY, audience="level_low"), silent)
    assert overall.figures is not None
    at_low = next(rate for rate in overall.figures.levels if rate.name == "Low")
    assert (low.rows, low.churned) == (at_low.rows, at_low.churned)


def test_an_unknown_name_is_reported_with_the_nearest_one(world: Workspace) -> None:
    with pytest.raises(ConfigurationError, match="did you mean `health`"):
        backtest.backtest(world, BacktestRequest("healt", leavers.DAY), silent)
    with pytest.raises(ConfigurationError, match="did you mean `level_low`"):
        backtest.backtest(world, BacktestRequest("health", leavers.DAY, audience="level_lo"), silent)


def test_a_profile_that_does_not_predict_is_marked_until_it_changes(world: Workspace) -> None:
    found = backtest.backtest(world, BacktestRequest("health", leavers.DAY), silent)
    assert found.figures is not None
    backtest_verdicts.save_verdict(world, found)
    assert backtest_verdicts.not_predictive_warnings(world) == []
    coin = replace(found.figures, auc=replace(found.figures.auc, value=0.55))
    backtest_verdicts.save_verdict(world, replace(found, figures=coin, audience="level_low"))
    assert backtest_verdicts.load_verdicts(world, "health")["user"].predictive
    backtest_verdicts.save_verdict(world, replace(found, figures=coin))
    assert not backtest_verdicts.load_verdicts(world, "health")["user"].predictive
    assert (
        "health is not predictive for users: in the last backtest its AUC was 0.55"
        in backtest_verdicts.not_predictive_warnings(world)[0]
    )
    changed = {**world.profiles, "health": world.profiles["backwards"]}
    assert backtest_verdicts.not_predictive_warnings(replace(world, profiles=changed)) == []
    (world.state / "verdicts" / "health.json").unlink()


def test_the_event_that_goes_with_staying_gets_the_highest_weight(world: Workspace) -> None:
    found = suggest_weights.suggest_weights(
        world, BacktestRequest("backwards", leavers.DAY, horizon=14), silent
    )
    suggested = {each.event: each.suggested for each in found.weights}
    assert suggested["Report Created"] == 10.0
    assert all(0 <= weight <= 10 for weight in suggested.values())
    assert found.learned_until is not None
    assert found.evaluated_from is not None
    assert found.learned_until + timedelta(days=14) <= found.evaluated_from
    assert found.gain is not None
    assert found.gain.value > 0


def test_good_weights_are_not_reported_as_improvable(world: Workspace) -> None:
    found = suggest_weights.suggest_weights(world, BacktestRequest("health", leavers.DAY, horizon=14), silent)
    assert found.why == ""
    assert not found.better


def test_weights_are_only_suggested_for_the_weighted_model(tmp_path: Path) -> None:
    world = config.load(leavers.write(tmp_path, {"habit": HABIT}))
    with pytest.raises(ConfigurationError, match="`model: engagement`"):
        suggest_weights.suggest_weights(world, BacktestRequest("habit", leavers.DAY), silent)


def test_an_unchanged_profile_would_change_no_level(world: Workspace) -> None:
    found = what_if.what_if(world, world.folder / "mappings/profiles/health.yml", leavers.DAY, silent)
    assert found.same
    assert [moves.moved for moves in found.moves] == [0, 0]
    assert all(not moves.movers and moves.correlation == pytest.approx(1.0) for moves in found.moves)
    assert all((sent.changed, sent.entered, sent.left) == (0, 0, 0) for sent in found.sent)
    auc = found.moves[0].auc
    assert auc is not None
    assert (auc[2].value, auc[2].low, auc[2].high) == (0.0, 0.0, 0.0)


def test_a_changed_profile_shows_level_moves_and_records_to_send(world: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "health.yml"
    file.write_text(BACKWARDS)
    before = {path: path.read_bytes() for path in world.state.rglob("*.parquet") if "snapshots" in path.parts}
    found = what_if.what_if(world, file, leavers.DAY, silent)
    users = found.moves[0]
    assert users.moved == sum(count for old, new, count in users.matrix if old != new) > 0
    assert users.rows == sum(count for _, _, count in users.matrix) == leavers.USERS
    assert users.movers
    assert all(
        abs((one.after or 0) - (one.before or 0)) >= abs((other.after or 0) - (other.before or 0))
        for one, other in itertools.pairwise(users.movers)
    )
    assert users.correlation is not None
    assert users.correlation < 1
    assert users.auc is not None
    assert users.auc[2].value < 0
    (sent,) = found.sent
    assert sent.records == leavers.USERS
    assert 0 < sent.changed <= leavers.USERS
    # Nothing is kept.
    assert not list((world.state / "tmp").glob("whatif-*"))
    after = {path: path.read_bytes() for path in world.state.rglob("*.parquet") if "snapshots" in path.parts}
    assert before.items() <= after.items()


def test_a_mistake_in_the_changed_file_is_reported_with_its_location(
    world: Workspace, tmp_path: Path
) -> None:
    file = tmp_path / "health.yml"
    file.write_text(leavers.HEALTH.replace("window: 14d", "windw: 14d"))
    with pytest.raises(ConfigurationError, match=r"health\.yml:4:1: .*did you mean `window`"):
        what_if.what_if(world, file, leavers.DAY, silent)
    with pytest.raises(ConfigurationError, match="There is no file"):
        what_if.what_if(world, tmp_path / "nothing.yml", leavers.DAY, silent)


def test_a_changed_file_is_compared_with_the_profile_of_its_name(world: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "new-weights.yml"
    file.write_text(leavers.HEALTH)
    assert what_if.load_changed_profile(world, file)[0] == "health"
    file.write_text(leavers.HEALTH.replace("Health", "Unheard"))
    with pytest.raises(ConfigurationError, match="no profile `new-weights` to compare it with"):
        what_if.load_changed_profile(world, file)
