"""Local days as intervals in UTC, and how much an event of each day of a window counts.

Engines differ about time zones, so none is asked: queries join these small tables. A day is the number of days since
1970-01-01.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from functools import cache
from zoneinfo import ZoneInfo

import pyarrow as pa

from heatsync.scoring.definition.profile import Decay

EPOCH = date(1970, 1, 1)
DECAY_UNIT = 10**12
"""The weight of an event of the last day, decayed or not: decayed counts are sums of whole numbers of 1/DECAY_UNIT."""
BITS = 62
"""How many bits of a 64-bit number are used; a larger set takes several numbers, called words."""
_EXACT = Context(prec=40)


def day_number(day: date) -> int:
    """A day as a number: days since EPOCH."""
    return (day - EPOCH).days


def day_of(number: int) -> date:
    """The day of a number."""
    return EPOCH + timedelta(days=number)


def day_start(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a local day, as a naive datetime in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC).replace(tzinfo=None)


def local_day(instant: datetime, zone: ZoneInfo) -> date:
    """The local day of a naive instant in UTC."""
    return instant.replace(tzinfo=UTC).astimezone(zone).date()


def day_bounds(first: date, last: date, zone: ZoneInfo) -> pa.Table:
    """One row for each pair of a local day and a UTC date that overlap: utc_date, day, starts, ends.

    With the UTC date the join is an equality join; an inequality join over all events is slow.
    """
    dates: list[date] = []
    days: list[int] = []
    starts: list[datetime] = []
    ends: list[datetime] = []
    begin = day_start(first, zone)
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        end = day_start(day + timedelta(days=1), zone)
        utc = begin.date()
        while begin < end and utc <= (end - timedelta.resolution).date():
            dates.append(utc)
            days.append(day_number(day))
            starts.append(begin)
            ends.append(end)
            utc += timedelta(days=1)
        begin = end
    return pa.table(
        {
            "utc_date": pa.array(dates, pa.date32()),
            "day": pa.array(days, pa.int64()),
            "starts": pa.array(starts, pa.timestamp("us")),
            "ends": pa.array(ends, pa.timestamp("us")),
        }
    )


def is_utc(bounds: pa.Table) -> bool:
    """Whether every day of `bounds` is a UTC date."""
    return all(
        start.date() == day and start.time() == time()
        for start, day in zip(bounds["starts"].to_pylist(), bounds["utc_date"].to_pylist(), strict=True)
    )


@dataclass(frozen=True, slots=True)
class DayRange:
    """A run of local days that ends at an instant. With `day` it is a single day on which the clocks change.
    Otherwise all its days have 24 hours: the day of an instant is its UTC date plus `ahead`, or one less before the
    `second` of that date."""

    ends: datetime
    day: int | None
    ahead: int = 0
    second: int = 0


def day_ranges(bounds: pa.Table) -> list[DayRange]:
    """The days of `bounds` as few ranges, the earliest first."""
    days = {row["day"]: (row["starts"], row["ends"]) for row in bounds.to_pylist()}
    found: list[DayRange] = []
    for day, (starts, ends) in days.items():
        if ends - starts != timedelta(days=1):
            found.append(DayRange(ends, day))
            continue
        second = starts.hour * 3600 + starts.minute * 60 + starts.second
        ahead = day - day_number(starts.date())
        if found and found[-1].day is None and (found[-1].ahead, found[-1].second) == (ahead, second):
            found.pop()
        found.append(DayRange(ends, None, ahead, second))
    return found


@cache
def decay_factor(decay: Decay, age: int) -> int:
    """The weight of an event that is `age` whole days old, in 1/DECAY_UNIT. With a half-life it never falls to 0."""
    if decay.kind == "half_life":
        share = _EXACT.power(Decimal(2), _EXACT.divide(Decimal(-age), Decimal(decay.days)))
        return max(1, round(share * DECAY_UNIT))
    if decay.kind == "linear":
        return DECAY_UNIT * max(0, decay.days - age) // decay.days
    return DECAY_UNIT


def window_days(days: Sequence[int], length: int, decay: Decay | None = None) -> pa.Table:
    """The windows of `length` days that end with each of `days`: day, target (the last day of the window) and factor
    (the weight of an event of the day there, as in `decay_factor`)."""
    shares = [DECAY_UNIT if decay is None else decay_factor(decay, age) for age in range(length)]
    return pa.table(
        {
            "day": pa.array([day - age for day in days for age in range(length)], pa.int64()),
            "target": pa.array([day for day in days for _ in range(length)], pa.int64()),
            "factor": pa.array(shares * len(days), pa.int64()),
        }
    )


def word_count(size: int) -> int:
    """How many 64-bit words hold `size` bits."""
    return max(1, -(-size // BITS))
