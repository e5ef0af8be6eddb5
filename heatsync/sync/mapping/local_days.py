"""The days of a time zone as bounds in UTC.

DuckDB needs an extension for timestamps with a time zone, which may not be installed.
"""

from datetime import date, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa

from heatsync.scoring.compute.calendar import day_start

TABLE = "heatsync_calendar"
FIRST = date(1950, 1, 1)
LAST = date(2100, 1, 1)
"""Days outside count as days in UTC."""


def prepare(connection: duckdb.DuckDBPyConnection, zone: ZoneInfo) -> None:
    """Create the temporary table `heatsync_calendar`: day, starts, ends (timestamps in UTC)."""
    days = _days(zone)
    connection.register("heatsync_days", days)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {TABLE} AS SELECT * FROM heatsync_days")
    connection.unregister("heatsync_days")


@lru_cache(maxsize=4)
def _days(zone: ZoneInfo) -> pa.Table:
    count = (LAST - FIRST).days + 1
    days = [FIRST + timedelta(days=number) for number in range(count)]
    starts = [day_start(day, zone) for day in days]
    return pa.table(
        {
            "day": pa.array(days[:-1], pa.date32()),
            "starts": pa.array(starts[:-1], pa.timestamp("us")),
            "ends": pa.array(starts[1:], pa.timestamp("us")),
        }
    )
