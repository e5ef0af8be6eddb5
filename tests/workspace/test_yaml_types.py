from collections.abc import Callable
from datetime import date, timedelta

import pytest
from celery.schedules import crontab
from hypothesis import given
from hypothesis import strategies as st

from heatsync.workspace import yaml_types


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "True", "FALSE", "1", "0", "", " true"])
def test_only_true_and_false_are_booleans(word: str) -> None:
    assert yaml_types.flag("true") is True
    assert yaml_types.flag("false") is False
    with pytest.raises(ValueError, match="expected true or false"):
        yaml_types.flag(word)


@pytest.mark.parametrize(
    ("reader", "good", "value"),
    [
        (yaml_types.whole, "-12", -12),
        (yaml_types.positive, "500", 500),
        (yaml_types.number, "2.5", 2.5),
        (yaml_types.number, "1e3", 1000.0),
        (yaml_types.share, "100", 100.0),
        (yaml_types.duration, "12h", timedelta(hours=12)),
        (yaml_types.duration, "4w", timedelta(weeks=4)),
        (yaml_types.day, "2024-02-29", date(2024, 2, 29)),
        (yaml_types.cron, "*/15  0-6,12 1 JAN,feb mon-fri", "*/15 0-6,12 1 1,2 1-5"),
        (yaml_types.cron, "0-30/10 * * * 0", "0-30/10 * * * 0"),
    ],
)
def test_a_good_text_is_its_value(reader: Callable[[object], object], good: str, value: object) -> None:
    assert reader(good) == value


@pytest.mark.parametrize(
    ("reader", "bad"),
    [
        *((yaml_types.whole, bad) for bad in ("1.0", "1_000", "0x10", "", "1 000", "١٢", "9" * 30)),
        *((yaml_types.positive, bad) for bad in ("0", "-1")),
        *((yaml_types.number, bad) for bad in ("nan", "inf", "-Infinity", "1_0", "1,5", ".", "1e999")),
        *((yaml_types.share, bad) for bad in ("-1", "100.1", "20 %")),
        *((yaml_types.duration, bad) for bad in ("0d", "7", "7 d", "7days", "1m", "-1d", "P7D")),
        *((yaml_types.day, bad) for bad in ("2025-02-29", "20250101", "01.02.2025")),
        *((yaml_types.zone, bad) for bad in ("CEST+2", "../etc/passwd", "")),
        *(
            (yaml_types.cron, bad)
            for bad in ("daily", "@daily", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *",
                        "* * * * 7", "*/0 * * * *", "5/2 * * * *", "30-10 * * * *", "a * * * *", "1, * * * *", "* * * * fun")
        ),
    ],
)  # fmt: skip
def test_a_bad_text_says_what_was_expected(reader: Callable[[object], object], bad: str) -> None:
    with pytest.raises(ValueError, match=r"expected|not a|is no|must be|needs|begins after"):
        reader(bad)


_bounds = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


@st.composite
def _cron_parts(draw: st.DrawFn, low: int, high: int) -> str:
    first = draw(st.integers(low, high))
    last = draw(st.integers(first, high))
    step = draw(st.integers(1, high - low))
    shapes = ("*", str(first), f"{first}-{last}", f"*/{step}", f"{first}-{last}/{step}", f"{first},{last}")
    return draw(st.sampled_from(shapes))


@given(st.tuples(*(_cron_parts(low, high) for low, high in _bounds)))
def test_every_cron_line_that_is_accepted_is_one_for_the_scheduler(parts: tuple[str, ...]) -> None:
    try:
        accepted = yaml_types.cron("  ".join(parts))
    except ValueError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:  # such as the 30th of February
        assert "never comes" in refused
        return
    assert accepted == " ".join(parts)
    assert crontab.from_string(accepted).hour


def test_what_is_no_text_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"starts with `\{` wants quotes"):
        yaml_types.text({"a": "b"})
    with pytest.raises(ValueError, match=r"starts with `\[` wants quotes"):
        yaml_types.number(["a"])


def test_a_cron_line_that_never_comes_is_refused() -> None:
    with pytest.raises(ValueError, match="never comes"):
        yaml_types.cron("0 5 30 2 *")
    assert yaml_types.cron("0 5 29 2 *") == "0 5 29 2 *"
    assert yaml_types.cron("0 5 31 2,mar *") == "0 5 31 2,3 *"
