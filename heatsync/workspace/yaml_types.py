"""What a text in a file may stand for: true or false, a number, a duration, a time of day, a cron line, a zone.

Each reader takes the text and answers the value, or raises ValueError with a sentence that says what was expected.
"""

import re
from calendar import monthrange
from datetime import time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import BeforeValidator

from heatsync.scoring.definition.value_types import day, flag, positive, whole
from heatsync.workspace.strict_yaml import nearest

__all__ = [
    "Clock",
    "Cron",
    "Duration",
    "Flag",
    "Number",
    "Positive",
    "Share",
    "Text",
    "Zone",
    "clock",
    "cron",
    "day",
    "duration",
    "flag",
    "number",
    "positive",
    "share",
    "text",
    "whole",
    "zone",
]

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_CRON: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 6, _DAYS),
)


def text(value: object) -> str:
    if not isinstance(value, str):
        found = "a list" if isinstance(value, list) else "keys with values"
        opener = "[" if isinstance(value, list) else "{"
        raise ValueError(f"expected text, found {found}; text that starts with `{opener}` wants quotes")
    return value


def number(value: object) -> float:
    word = text(value)
    if re.fullmatch(r"[+-]?(\d{1,300}(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?", word, re.ASCII) is None:
        raise ValueError(f"expected a number such as 2.5, found `{word}`")
    return float(word)


def share(value: object) -> float:
    percent = number(value)
    if not 0 <= percent <= 100:
        raise ValueError(f"expected a share in percent, 0 to 100, found `{value}`")
    return percent


def duration(value: object) -> timedelta:
    word = text(value)
    found = re.fullmatch(r"(\d{1,5})([hdw])", word, re.ASCII)
    if found is None or int(found.group(1)) == 0:
        raise ValueError(f"expected a duration such as 12h, 14d or 4w, found `{word}`")
    return timedelta(**{_UNITS[found.group(2)]: int(found.group(1))})


def clock(value: object) -> time:
    word = text(value)
    found = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)", word, re.ASCII)
    if found is None:
        raise ValueError(f'expected a time of day such as "04:30", found `{word}`')
    return time(int(found.group(1)), int(found.group(2)))


def zone(value: object) -> ZoneInfo:
    word = text(value)
    try:
        return ZoneInfo(word)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        known = available_timezones()
    close = nearest(word, known) or nearest(word, (name.rpartition("/")[2] for name in known))
    full = next((name for name in sorted(known) if name.rpartition("/")[2] == close), close)
    hint = f"; did you mean `{full}`?" if full else ": expected a name such as Europe/Berlin"
    raise ValueError(f"`{word}` is not a time zone{hint}")


def cron(value: object) -> str:
    """The cron line in numbers, with single spaces; Sunday is 0."""
    word = text(value)
    parts = word.lower().split()
    if len(parts) != len(_CRON):
        raise ValueError(
            "expected a cron line with minute, hour, day of the month, month, day of the week"
            f' such as "30 5 * * *", found `{word}`'
        )
    numbers = [
        ",".join(_cron_piece(piece, *field) for piece in part.split(","))
        for part, field in zip(parts, _CRON, strict=True)
    ]
    longest = max(monthrange(2024, month)[1] for month in _cron_values(numbers[3], 1, 12))
    if min(_cron_values(numbers[2], 1, 31)) > longest:
        raise ValueError(f"`{word}` never comes: none of its months has such a day")
    return " ".join(numbers)


def _cron_values(part: str, low: int, high: int) -> list[int]:
    """The numbers that a field of a checked cron line stands for."""
    found: list[int] = []
    for piece in part.split(","):
        span, _, step = piece.partition("/")
        first, _, last = span.partition("-")
        start = low if span == "*" else int(first)
        end = high if span == "*" else int(last or first)
        found += range(start, end + 1, int(step or 1))
    return found


def _cron_piece(piece: str, name: str, low: int, high: int, names: tuple[str, ...]) -> str:
    span, slash, step = piece.partition("/")
    first, dash, last = span.partition("-")
    bounds = [
        str(names.index(bound) + low) if bound in names else bound
        for bound in (first, last)[: 1 + bool(dash)]
    ]
    known = all(re.fullmatch(r"\d{1,2}", bound, re.ASCII) and low <= int(bound) <= high for bound in bounds)
    if span != "*" and not known:
        allowed = f"{low} to {high}" + (f" or {names[0]} to {names[-1]}" if names else "")
        raise ValueError(f"`{piece}` is no {name} of a cron line: expected *, {allowed}, a-b, */n or a list")
    if slash and (re.fullmatch(r"\d{1,2}", step, re.ASCII) is None or int(step) == 0):
        raise ValueError(f"`{piece}`: the step of the {name} must be a number from 1, as in */15")
    if slash and span != "*" and not dash:
        raise ValueError(f"`{piece}`: a step of the {name} needs * or a range, as in {low}-{high}/{step}")
    if dash and int(bounds[0]) > int(bounds[1]):
        raise ValueError(f"`{piece}`: the {name} begins after it ends")
    return "-".join(bounds) + slash + step


Text = Annotated[str, BeforeValidator(text)]
Flag = Annotated[bool, BeforeValidator(flag)]
Positive = Annotated[int, BeforeValidator(positive)]
Number = Annotated[float, BeforeValidator(number)]
Share = Annotated[float, BeforeValidator(share)]
Duration = Annotated[timedelta, BeforeValidator(duration)]
Clock = Annotated[time, BeforeValidator(clock)]
Cron = Annotated[str, BeforeValidator(cron)]
Zone = Annotated[ZoneInfo, BeforeValidator(zone)]
