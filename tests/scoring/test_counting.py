"""Event counts at the source, event by event."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

import ibis
import pyarrow as pa
import pytest

from heatsync.scoring.compute import calendar, source_counts
from heatsync.scoring.compute.compiled_profile import CountedItem
from heatsync.scoring.definition.comparisons import Comparison

DAY = date(2026, 4, 5)


@pytest.mark.parametrize(
    ("operator", "value", "fitting"),
    [("gt", "1", 1), ("lte", "5", 2), ("neq", "5", 1), ("exists", "false", 2), ("exists", "true", 2)],
)
def test_a_nan_value_counts_as_missing(operator: str, value: str, fitting: int) -> None:
    """DuckDB and PostgreSQL sort it after all numbers."""
    rows = pa.table(
        {
            "user_id": pa.array(["u"] * 4),
            "account_id": pa.array([None] * 4, pa.string()),
            "event": pa.array(["Paid"] * 4),
            "timestamp": pa.array([datetime(2026, 4, 5, 9)] * 4, pa.timestamp("us")),
            "value": pa.array([float("nan"), None, 0.5, 5.0]),
        }
    )
    item = CountedItem(0, "Paid", ("Paid",), (("value", Comparison(operator, value)),))  # type: ignore[arg-type]
    bounds = calendar.day_bounds(DAY, DAY, ZoneInfo("UTC"))
    counted = source_counts.item_counts(item, ibis.memtable(rows), bounds).to_pyarrow().to_pylist()
    assert [row["n"] for row in counted] == [fitting]
