from collections.abc import Callable
from datetime import date, timedelta

import pytest

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
        (yaml_types.cron, "*/15  0-6,12 1 JAN,feb mon-fri", "*/15 0-6,12 1 JAN,feb mon-fri"),
        (yaml_types.cron, "0-30/10 * * * 0", "0-30/10 * * * 0"),
    ],
)
def test_a_valid_text_gives_its_value(reader: Callable[[object], object], good: str, value: object) -> None:
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
                        "* * * * 8", "*/0 * * * *", "30-10 * * * *", "a * * * *", "1, * * * *", "* * * * fun")
        ),
    ],
)  # fmt: skip
def test_an_invalid_text_says_what_was_expected(reader: Callable[[object], object], bad: str) -> None:
    with pytest.raises(ValueError, match=r"expected|is not a"):
        reader(bad)


def test_a_value_that_is_not_a_text_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"quote text that starts with `\{`"):
        yaml_types.text({"a": "b"})
    with pytest.raises(ValueError, match=r"quote text that starts with `\[`"):
        yaml_types.number(["a"])
