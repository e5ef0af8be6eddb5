"""Types of values in the YAML files: true or false, a number, a duration, a cron line, a time zone.

Each function takes the text and returns the value. It raises ValueError that says what was expected.
"""

import re
from datetime import timedelta
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import BeforeValidator

from heatsync.scoring.definition.value_types import day, flag, positive, whole
from heatsync.workspace.cron import check as check_cron_line
from heatsync.workspace.strict_yaml import nearest

__all__ = [
    "Cron",
    "Duration",
    "Flag",
    "Number",
    "Positive",
    "Share",
    "Text",
    "Zone",
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


def text(value: object) -> str:
    """A text. Raises ValueError with a message, as all of these do."""
    if not isinstance(value, str):
        found = "a list" if isinstance(value, list) else "keys with values"
        opener = "[" if isinstance(value, list) else "{"
        raise ValueError(f"expected text, found {found}; quote text that starts with `{opener}`")
    return value


def number(value: object) -> float:
    """A number."""
    word = text(value)
    if re.fullmatch(r"[+-]?(\d{1,300}(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?", word, re.ASCII) is None:
        raise ValueError(f"expected a number such as 2.5, found `{word}`")
    return float(word)


def share(value: object) -> float:
    """A share in percent, 0 to 100."""
    percent = number(value)
    if not 0 <= percent <= 100:
        raise ValueError(f"expected a share in percent, 0 to 100, found `{value}`")
    return percent


def duration(value: object) -> timedelta:
    """A duration such as 12h, 14d or 4w."""
    word = text(value)
    found = re.fullmatch(r"(\d{1,5})([hdw])", word, re.ASCII)
    if found is None or int(found.group(1)) == 0:
        raise ValueError(f"expected a duration such as 12h, 14d or 4w, found `{word}`")
    return timedelta(**{_UNITS[found.group(2)]: int(found.group(1))})


def zone(value: object) -> ZoneInfo:
    """A time zone of the IANA database."""
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
    """A cron line that is due at some time."""
    return check_cron_line(text(value))


Text = Annotated[str, BeforeValidator(text)]
Flag = Annotated[bool, BeforeValidator(flag)]
Positive = Annotated[int, BeforeValidator(positive)]
Number = Annotated[float, BeforeValidator(number)]
Share = Annotated[float, BeforeValidator(share)]
Duration = Annotated[timedelta, BeforeValidator(duration)]
Cron = Annotated[str, BeforeValidator(cron)]
Zone = Annotated[ZoneInfo, BeforeValidator(zone)]
