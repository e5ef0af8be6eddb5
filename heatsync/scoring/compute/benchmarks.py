"""Benchmarks: the percentile of a day's raw scores that scores are measured against, and how days are smoothed."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import duckdb

MIN_ENTITIES = 20
"""A day with fewer scored entities has no percentile of its own."""
SMOOTHING_DAYS = 28
"""How many days a smoothed benchmark is the median of."""


@dataclass(frozen=True, slots=True)
class Quantile:
    """A percentile of the values above 0 (Hyndman and Fan, type 7), how many there are, and the largest of them."""

    count: int
    value: Fraction
    largest: Fraction


def quantile(con: duckdb.DuckDBPyConnection, relation: str, twentieths: int) -> Quantile | None:
    """The percentile of the column `raw` of a relation; 18 twentieths are the 90th percentile. None without a value
    above 0.

    Engines interpolate differently: the two neighbouring values are read by their position, and the interpolation
    between them is computed here in exact fractions.
    """
    found = con.execute(f"SELECT count(*), max(raw)::VARCHAR FROM {relation} WHERE raw > 0").fetchone()
    assert found is not None
    size, largest = found
    if not size:
        return None
    place = ((size - 1) * twentieths) // 20
    # quantile_disc(q) of n values is the value at position ceil(q * n), counted from 1.
    places = [(each + 0.5) / size for each in (place, min(place + 1, size - 1))]
    row = con.execute(
        f"SELECT quantile_disc(raw, {places[0]!r})::VARCHAR, quantile_disc(raw, {places[1]!r})::VARCHAR"
        f" FROM {relation} WHERE raw > 0"
    ).fetchone()
    assert row is not None
    low, high = row
    return _between(size, twentieths, low, high, largest)


def quantiles(
    con: duckdb.DuckDBPyConnection, relation: str, twentieths: int, days: Sequence[int]
) -> dict[int, Quantile]:
    """By day, the percentile of a relation with `day` and `raw`; a day without a value above 0 is left out."""
    if len(days) == 1:
        found = quantile(con, relation, twentieths)
        return {} if found is None else {days[0]: found}
    rows = con.execute(
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
    return {day: _between(size, twentieths, low, high, largest) for day, size, largest, low, high in rows}


def _between(size: int, twentieths: int, low: str, high: str, largest: str) -> Quantile:
    above = ((size - 1) * twentieths) % 20
    return Quantile(size, (Fraction(low) * (20 - above) + Fraction(high) * above) / 20, Fraction(largest))


def day_benchmark(measured: Quantile | None, before: float, unit: int) -> float:
    """The benchmark of a day in points; `unit` is how many units of a raw score make a point. A day with few scored
    entities takes the previous benchmark above 0 (`before`), else its largest raw score. 0 when there is neither."""
    if measured is None:
        return before
    if measured.count >= MIN_ENTITIES:
        return float(measured.value / unit)
    return before or float(measured.largest / unit)


def smoothed(day: int, daily: Mapping[int, float]) -> float:
    """The median of the daily benchmarks above 0 of the last SMOOTHING_DAYS days; 0 without any."""
    recent = [
        value for each in range(day - SMOOTHING_DAYS + 1, day + 1) if (value := daily.get(each, 0.0)) > 0
    ]
    return statistics.median(recent) if recent else 0.0
