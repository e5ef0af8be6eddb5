"""Days of a time zone as bounds in UTC, and what each day of a window counts.

No engine is asked about time zones: it joins these small tables. A day is a number, the days since 1970-01-01.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from zoneinfo import ZoneInfo

import pyarrow as pa

from scoring.profile import Decay

EPOCH = date(1970, 1, 1)
FULL = 10**12
"""What an event of the last day counts, decayed or not: counts are summed as whole numbers of 1/FULL."""
BITS = 62
"""Bits used of one 64-bit number; a larger set takes several numbers, its *words*."""
_EXACT = Context(prec=40)


def number(day: date) -> int:
    return (day - EPOCH).days


def day_of(number: int) -> date:
    return EPOCH + timedelta(days=number)


def start(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a local day, as a naive datetime in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC).replace(tzinfo=None)


def local_day(instant: datetime, zone: ZoneInfo) -> date:
    """The local day of a naive instant in UTC."""
    return instant.replace(tzinfo=UTC).astimezone(zone).date()


def bounds(first: date, last: date, zone: ZoneInfo) -> pa.Table:
    """One row per local day and UTC date that share an instant: utc_date, day, starts, ends.

    The UTC date makes it an equality join; an inequality join over all events is slow.
    """
    dates: list[date] = []
    days: list[int] = []
    starts: list[datetime] = []
    ends: list[datetime] = []
    begin = start(first, zone)
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        end = start(day + timedelta(days=1), zone)
        utc = begin.date()
        while begin < end and utc <= (end - timedelta.resolution).date():
            dates.append(utc)
            days.append(number(day))
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


def factor(decay: Decay, age: int) -> int:
    """What an event that is so many whole days old counts, in 1/FULL. A half-life never reaches nothing."""
    if decay.kind == "half_life":
        share = _EXACT.power(Decimal(2), _EXACT.divide(Decimal(-age), Decimal(decay.days)))
        return max(1, round(share * FULL))
    if decay.kind == "linear":
        return FULL * max(0, decay.days - age) // decay.days
    return FULL


def words(size: int) -> int:
    """How many numbers hold a set of so many bits."""
    return max(1, -(-size // BITS))


def spans(days: Iterable[int], window: int, decay: Decay) -> pa.Table:
    """The days of the window that ends with each of `days`: as_of, day, factor, and the day's bit in the window."""
    rows = [(as_of, age) for as_of in days for age in range(window)]
    factors = [factor(decay, age) for age in range(window)]
    return pa.table(
        {
            "as_of": pa.array([as_of for as_of, _ in rows], pa.int64()),
            "day": pa.array([as_of - age for as_of, age in rows], pa.int64()),
            "factor": pa.array([factors[age] for _, age in rows], pa.int64()),
            "day_word": pa.array([age // BITS for _, age in rows], pa.int64()),
            "day_bit": pa.array([1 << (age % BITS) for _, age in rows], pa.int64()),
        }
    )


def instants(days: Iterable[int], window: int, zone: ZoneInfo) -> pa.Table:
    """The instants that the rows of a snapshot are judged by, per day: `t` is midnight at its end."""

    def back(steps: int) -> pa.Array:
        return pa.array([start(day_of(each + 1 - steps), zone) for each in chosen], pa.timestamp("us"))

    chosen = sorted(days)
    return pa.table(
        {
            "day": pa.array(chosen, pa.int64()),
            "t": back(0),
            "today_start": back(1),
            "window_start": back(window),
            "ago_30": back(30),
            "ago_60": back(60),
            "ago_90": back(90),
            "ago_180": back(180),
        }
    )
