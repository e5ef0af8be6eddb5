"""When a schedule is due: cron lines in a time zone, by the rules of Debian's cron.

- If the day of the month and the day of the week are both given, one of them is enough: `0 5 1 * mon` is due on the
  first of a month and on every Monday.
- An hour that daylight saving skips moves to the moment at which it ends: on that day, 02:30 is due at 03:00.
- An hour that comes twice counts once, the first time. A line is due in both if its minute or its hour begins with `*`.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_FIELDS = (
    ("a minute", "0 to 59"),
    ("an hour", "0 to 23"),
    ("a day of the month", "1 to 31"),
    ("a month", "1 to 12 or jan to dec"),
    ("a day of the week", "0 to 6 (0 is Sunday) or sun to sat"),
)
_RANGE_OF_ONE = re.compile(r"(?<!\w)(\w+)-\1/\d+", re.IGNORECASE)
"""`5-5/2` is 5 to cron, and 5, 7, 9, ... to cronsim."""
_ANY_DAY = datetime(2024, 1, 1)
_SHIFT = timedelta(hours=3)
"""Longer than any change of the clocks. cronsim starts from a local time without asking whether it is the first or the
second of its name, so a search starts this much earlier or later."""


def check(line: str) -> str:
    """The line in the form that the functions below take. Raises ValueError, which says which part is wrong and what was expected."""
    parts = line.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(
            "expected a cron line with minute, hour, day of the month, month, day of the week"
            f' such as "30 5 * * *", found `{line}`'
        )
    for position, (part, (name, allowed)) in enumerate(zip(parts, _FIELDS, strict=True)):
        alone = ["*"] * len(_FIELDS)
        alone[position] = part
        if not _is_valid(alone):
            raise ValueError(
                f"`{part}` is not {name} of a cron line: expected {allowed}, `*`, a range such as 1-5,"
                " a step such as */2, or a list such as 1,3"
            )
    if not _is_valid(parts):
        raise ValueError(f"`{line}` is never due: none of its months has such a day")
    return _RANGE_OF_ONE.sub(r"\1", " ".join(parts))


def _is_valid(parts: list[str]) -> bool:
    try:
        return next(CronSim(" ".join(parts), _ANY_DAY), None) is not None
    except CronSimError:
        return False


def next_due(line: str, zone: ZoneInfo, after: datetime) -> datetime:
    """The first time after a moment, in UTC, at which a checked line is due in a time zone."""
    return next(due for due in _due(line, zone, after - _SHIFT) if due > after)


def last_due(line: str, zone: ZoneInfo, until: datetime) -> datetime:
    """The last time up to a moment, in UTC, at which a checked line was due in a time zone."""
    return next(due for due in _due(line, zone, until + _SHIFT, reverse=True) if due <= until)


def was_due_today(line: str, zone: ZoneInfo, now: datetime) -> bool:
    """Whether a checked line was due since midnight in a time zone; `now` is in UTC."""
    return last_due(line, zone, now).astimezone(zone).date() == now.astimezone(zone).date()


def _due(line: str, zone: ZoneInfo, start: datetime, reverse: bool = False) -> Iterator[datetime]:
    # Between two times of one zone, Python compares and counts what the clocks show; only UTC is right.
    for due in CronSim(line, start.astimezone(zone), reverse):
        yield due.astimezone(UTC)
