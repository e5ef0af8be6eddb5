"""What a raw score is measured against: a high percentile of the day, and the days before it."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import duckdb

FEW = 20
"""With fewer scored entities a day has no percentile of its own."""
REACH = 28
"""Days whose benchmarks a smoothed one is the median of."""


@dataclass(frozen=True, slots=True)
class Quantile:
    """A percentile of the values above 0 of a day, by Hyndman and Fan's type 7, and the largest of them."""

    count: int
    value: Fraction
    largest: int


def quantiles(con: duckdb.DuckDBPyConnection, relation: str, twentieths: int) -> dict[int, Quantile]:
    """Per day of a relation with `day` and a whole `raw`; 18 twentieths are the 90th percentile. Days without a
    value above 0 are not in the answer. Only row numbers are used: percentile functions differ between engines."""
    found = con.execute(
        f"""
        WITH ranked AS (
            SELECT day, raw, row_number() OVER (PARTITION BY day ORDER BY raw) - 1 AS place,
                   count(*) OVER (PARTITION BY day) AS size
            FROM {relation} WHERE raw > 0
        )
        SELECT day, any_value(size), max(raw)::VARCHAR,
               max(raw) FILTER (place = ((size - 1) * {twentieths}) // 20)::VARCHAR,
               max(raw) FILTER (place = least(((size - 1) * {twentieths}) // 20 + 1, size - 1))::VARCHAR
        FROM ranked GROUP BY day
        """
    ).fetchall()
    answer: dict[int, Quantile] = {}
    for day, size, largest, low, high in found:
        above = ((size - 1) * twentieths) % 20
        value = Fraction(int(low) * (20 - above) + int(high) * above, 20)
        answer[day] = Quantile(size, value, int(largest))
    return answer


def chain(
    days: Iterable[int], measured: Mapping[int, Quantile], known: Mapping[int, float], unit: int
) -> dict[int, float]:
    """The daily benchmarks of days in ascending order, in points of `unit`.

    What is `known` stands. A day with few scored entities takes the last benchmark before it, else the largest raw
    score of the day; 0 when there is none.
    """
    answer = dict(known)
    last = 0.0
    for day in sorted({*days, *known}):
        if day not in answer:
            own = measured.get(day)
            if own is not None and own.count >= FEW:
                answer[day] = float(own.value / unit)
            else:
                answer[day] = last or (float(Fraction(own.largest, unit)) if own is not None else 0.0)
        last = answer[day] or last
    return answer


def smoothed(day: int, daily: Mapping[int, float]) -> float:
    """The median of the last daily benchmarks above 0; where there is none, the last one before them."""
    recent = [value for each in range(day - REACH + 1, day + 1) if (value := daily.get(each, 0.0)) > 0]
    return statistics.median(recent) if recent else 0.0
