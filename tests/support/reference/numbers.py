"""Percentiles, medians, rounding and comparisons, as defined."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

BILLION = 1_000_000_000


def percentile(ordered: Sequence[Any], twentieths: int) -> Any:
    """Hyndman and Fan's type 7 of ascending values, in twentieths (5 %)."""
    place, over = divmod((len(ordered) - 1) * twentieths, 20)
    if over == 0:
        return ordered[place]
    return ordered[place] + (ordered[place + 1] - ordered[place]) * over / 20


def half_up(value: float) -> int:
    """The nearest integer; halves are rounded up, also when a sum of floats is just below."""
    return math.floor(round(value, 9) + 0.5)


def percent_ranks(values: Mapping[str, float]) -> dict[str, float]:
    """The percent rank, 0 to 100, among the values above 0; equal values have equal ranks, a single value has 0."""
    near = {key: round(value, 9) for key, value in values.items() if value > 0}
    found = dict.fromkeys(values, 0.0)
    if len(near) > 1:
        ordered = sorted(near.values())
        below: dict[float, int] = {}
        for place, value in enumerate(ordered):
            below.setdefault(value, place)
        for key, value in near.items():
            found[key] = 100 * below[value] / (len(ordered) - 1)
    return found


def missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def compare(operator: str, wanted: Any, found: Any) -> bool:
    """True or false: a missing value only satisfies `exists: false`."""
    if operator == "exists":
        return missing(found) != (str(wanted).lower() == "true")
    if missing(found):
        return False
    mine: Any = found
    like: Callable[[Any], Any] = float
    if isinstance(found, bool):
        mine, like = str(found).lower(), _word
    elif not isinstance(found, int | float):
        mine, like = str(found), str
    if operator in ("in", "not_in"):
        return (mine in [like(each) for each in wanted]) == (operator == "in")
    if operator == "between":
        return bool(like(wanted[0]) <= mine <= like(wanted[1]))
    if operator == "contains":
        return str(wanted) in str(found)
    if operator == "starts_with":
        return str(found).startswith(str(wanted))
    other = like(wanted)
    found = {
        "eq": mine == other,
        "neq": mine != other,
        "gt": mine > other,
        "gte": mine >= other,
        "lt": mine < other,
        "lte": mine <= other,
    }
    return bool(found[operator])


def _word(value: Any) -> str:
    return str(value).lower()


def text_id(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def instant(value: Any) -> datetime | None:
    """A time with a zone; without one it is UTC."""
    if value is None or value == "":
        return None
    stamp = datetime.fromisoformat(value) if isinstance(value, str) else value
    return stamp.replace(tzinfo=UTC) if stamp.tzinfo is None else stamp.astimezone(UTC)


def days(text: str) -> int:
    """`14d` or `2w`."""
    return int(text[:-1]) * (7 if text.endswith("w") else 1)


def number_of(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - date(1970, 1, 1)).days


def truth(value: Any) -> bool:
    return str(value).lower() == "true"


def snake(name: str) -> str:
    return name.lower().replace(" ", "_")
