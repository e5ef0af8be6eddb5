"""A real message log: activity predicts which users stay as well as is known from elsewhere.

30 days of window and of horizon; weekly snapshots with a whole window before and a whole horizon after them; everybody
seen in the window is a row. Published of this log: an AUC of .729 for plain counts, .738 for the sum of the daily
logarithms, .775 for a half-life of 7 days; 57, 20 and 0 % churn for low, medium and high engagement.
"""

from pathlib import Path

import pytest

from heatsync.analysis import backtest, backtest_charts
from heatsync.analysis.backtest import BacktestRequest
from heatsync.analysis.backtest_metrics import Backtest, Figures
from heatsync.sandbox.demo_data import collegemsg
from heatsync.workspace import config
from heatsync.workspace.config import Workspace

EVENTS = "events: [{event: conversation_started, weight: 1}, {event: message_sent, weight: 1}]\n"
PROFILES = {
    "plain": f"version: 1\nname: Plain\nmodel: weighted\nwindow: 30d\n{EVENTS}",
    "fading": f"version: 1\nname: Fading\nmodel: weighted\nwindow: 30d\ndecay: {{half_life: 7d}}\n{EVENTS}",
    "habit": f"version: 1\nname: Habit\nmodel: engagement\nlevels: churn\n{EVENTS}",
}
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("log")
    collegemsg.init(folder)
    for name, text in PROFILES.items():
        (folder / "mappings" / "profiles" / f"{name}.yml").write_text(text)
    return config.load(folder)


def looked_back(log: Workspace, name: str) -> tuple[Backtest, Figures]:
    found = backtest.backtest(
        log, BacktestRequest(name, collegemsg.LAST_DAY), lambda _doing, _done, _of: None
    )
    assert found.figures is not None
    return found, found.figures


def test_plain_counts_reach_the_known_auc(log: Workspace) -> None:
    found, figures = looked_back(log, "plain")
    assert (found.snapshots, found.window, found.horizon) == (20, 30, 30)
    assert figures.auc.low < 0.729 < figures.auc.high
    # With weights of 1 the score is the count.
    assert figures.auc == figures.count
    assert (figures.over_count.low, figures.over_count.high) == (0.0, 0.0)
    # Recency alone does better here, and the report does not hide it.
    assert figures.over_recency.high < 0


def test_a_half_life_of_a_week_predicts_better(log: Workspace, tmp_path: Path) -> None:
    found, figures = looked_back(log, "fading")
    assert figures.auc.low < 0.775 < figures.auc.high
    assert figures.over_count.low > 0
    assert figures.over_recency.low > 0
    assert figures.lift > 1.5
    rates = [each.rate for each in figures.deciles]
    assert rates == sorted(rates, reverse=True)
    for ending in (".png", ".svg"):
        backtest_charts.draw(found, tmp_path / f"plot{ending}")
        assert (tmp_path / f"plot{ending}").stat().st_size > 10_000
    again = tmp_path / "again.svg"
    backtest_charts.draw(found, again)
    assert again.read_bytes() == (tmp_path / "plot.svg").read_bytes()


def test_learnt_levels_separate_low_medium_and_high_churn(log: Workspace) -> None:
    _, figures = looked_back(log, "habit")
    assert figures.auc.low < 0.738 < figures.auc.high
    assert [each.name for each in figures.levels] == ["Low", "Medium", "High"]
    for rate, known in zip(figures.levels, (0.57, 0.20, 0.00), strict=True):
        assert rate.share.low <= known <= rate.share.high
        assert rate.share.value == pytest.approx(known, abs=0.03)
    # The levels as they were on each day, learned again every week, differ as well.
    low, medium, high = (rate.share for rate in figures.levels_shown)
    assert low.low > medium.high
    assert medium.low > high.high
