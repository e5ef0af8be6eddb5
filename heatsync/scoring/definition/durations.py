"""Parsers of the durations and dates in conditions."""

import re
import typing
from datetime import date
from typing import Literal

from heatsync.scoring.definition import value_types
from heatsync.scoring.definition.condition_types import Duration

YEARS = (1900, 2200)
"""The first year, and the year after the last one; other dates are taken for typing errors."""


def parse_duration(value: object, least: int = 1) -> Duration:
    """Parse `12h`, `14d` or `4w` with a number of at least `least`. Raises ValueError."""
    found = value_types.text(value)
    parts = re.fullmatch(r"(\d{1,4})([hdw])", found, re.ASCII)
    if parts is None or int(parts.group(1)) < least:
        raise ValueError(f"expected hours, days or weeks such as 12h, 14d or 4w, found `{found}`")
    return Duration(int(parts.group(1)), typing.cast(Literal["h", "d", "w"], parts.group(2)))


def parse_date(value: object) -> date:
    """Parse a date. Raises ValueError, also for a year outside of YEARS."""
    found = value_types.day(value)
    if not YEARS[0] <= found.year < YEARS[1]:
        raise ValueError(f"expected a date from {YEARS[0]} to {YEARS[1] - 1}, found `{found}`")
    return found
