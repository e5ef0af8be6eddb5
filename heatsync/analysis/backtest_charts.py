"""A backtest as a chart: churn by score, and churn by level."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from connectors.errors import ConfigurationError
from heatsync.analysis.backtest_metrics import Backtest, Figures
from heatsync.scoring.compute.calendar import day_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENDINGS = (".png", ".svg", ".pdf")
# Two colours of Okabe and Ito, distinguishable with any kind of colour vision.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#555555"
LABEL = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}


def check_path(path: Path) -> None:
    """Raises ConfigurationError if a chart cannot be written there."""
    if path.suffix.lower() not in ENDINGS:
        raise ConfigurationError(f"--plot {path}: the file must end in {', '.join(ENDINGS)}.")
    if not path.absolute().parent.is_dir():
        raise ConfigurationError(f"--plot {path}: the folder {path.absolute().parent} does not exist.")


def draw(found: Backtest, path: Path) -> None:
    """Write the chart of a backtest that has figures. Raises ConfigurationError."""
    check_path(path)
    figures = found.figures
    assert figures is not None
    # Imported here because it is large. Without pyplot there is no window and no global state.
    import matplotlib as mpl
    from matplotlib.figure import Figure as Picture

    with mpl.rc_context({"svg.hashsalt": "heatsync", "svg.fonttype": "none", "font.size": 10}):
        picture = Picture(figsize=(12, 5.4), layout="constrained")
        left, right = picture.subplots(1, 2, sharey=True)
        picture.suptitle(_title(found, figures), fontsize=12)
        overall = 100 * found.churned / found.rows
        _deciles(left, figures, overall)
        _levels(right, found, figures, overall)
        left.set_ylabel(f"churned within {found.horizon} days, %")
        left.set_ylim(0, _top(figures))
        plain: dict[str, Any] = {"Date": None} if path.suffix.lower() == ".svg" else {}
        picture.savefig(path, dpi=150, metadata=plain)


def _top(figures: Figures) -> float:
    """The end of the axis, in percent: room for the highest bar, its interval and its label."""
    shares = [each.rate for each in figures.deciles] + [each.share.high for each in figures.levels]
    return min(104.0, max(2.0, 120 * max(shares, default=1.0)))


def _title(found: Backtest, figures: Figures) -> str:
    entities = f"{found.entity}s" + (f" in the audience {found.audience}" if found.audience else "")
    auc = figures.auc
    return (
        f"{found.profile}: does the score predict which {entities} churn?   AUC {auc.value:.3f}"
        f" ({auc.low:.3f} to {auc.high:.3f})\n"
        f"{found.snapshots} weekly snapshots from {found.first} to {found.last};"
        f" {found.rows:,} rows of {found.entities:,} {found.entity}s, {found.churned:,} churned"
    )


def _percent(value: float) -> str:
    return f"{value:.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def _deciles(axes: "Axes", figures: Figures, overall: float) -> None:
    rates = [100 * each.rate for each in figures.deciles]
    places = range(len(rates))
    bars = axes.bar(places, rates, color=[ORANGE, *[BLUE] * (len(rates) - 1)], width=0.8)
    axes.bar_label(bars, fmt=_percent, padding=2, bbox=LABEL, zorder=5)
    axes.set_xticks(
        list(places),
        [f"{each.number}\n{each.lowest:.0f}-{each.highest:.0f}" for each in figures.deciles],
    )
    axes.set_xlabel("tenths of the rows by score, the lowest first (below: their scores)")
    axes.set_title(f"Churn by score: the lowest tenth {figures.lift:.2f} times as often as average")
    _frame(axes, overall)


def _levels(axes: "Axes", found: Backtest, figures: Figures, overall: float) -> None:
    rates = [100 * each.share.value for each in figures.levels]
    below = [rate - 100 * each.share.low for rate, each in zip(rates, figures.levels, strict=True)]
    above = [100 * each.share.high - rate for rate, each in zip(rates, figures.levels, strict=True)]
    places = range(len(rates))
    if rates:
        error: dict[str, Any] = {"ecolor": GREY, "capsize": 4}
        bars = axes.bar(
            places,
            rates,
            yerr=[[max(0.0, each) for each in below], [max(0.0, each) for each in above]],
            color=BLUE,
            width=0.6,
            error_kw=error,
        )
        axes.bar_label(bars, fmt=_percent, padding=2, bbox=LABEL, zorder=5)
    axes.set_xticks(
        list(places), [f"{each.name or 'no level'}\nn = {each.rows:,}" for each in figures.levels]
    )
    first = day_of(figures.levels_first)
    learned = (
        f"level by bounds learned before {first}"
        if figures.levels_shown
        else "level on the day of the snapshot"
    )
    axes.set_xlabel(learned)
    since = f" from {first} on" if first != found.first else ""
    axes.set_title(f"Churn by level{since}, with 95 % intervals")
    rows = sum(each.rows for each in figures.levels)
    _frame(axes, 100 * sum(each.churned for each in figures.levels) / rows if rows else overall)


def _frame(axes: "Axes", overall: float) -> None:
    label = f"average: {_percent(overall)} %"
    axes.axhline(overall, color=GREY, linestyle="--", linewidth=1, label=label)
    axes.legend(loc="upper right", frameon=False, labelcolor=GREY)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
