"""How values travel to Intercom and back."""

from datetime import UTC, date
from typing import Any

import pytest
from fake_vendor import RecordingThrottle
from hypothesis import given
from hypothesis import strategies as st
from intercom_calls import LEVEL, SCORE, SEEN, change, contact, push, seed, workspace

from connectors.intercom.records import decode, encode
from connectors.types import FieldType, Status, Value
from heatsync.sandbox.server import Running


def test_a_whole_number_fits_an_integer_attribute_and_a_date_is_midnight(sandbox: Running) -> None:
    """Intercom OpenAPI 2.14: dates are unix seconds; an integer attribute takes no 5.0."""
    seed(sandbox, [{"id": "5f1"}])
    with workspace(sandbox.url) as destination:
        push(destination, change("u1", {SCORE: 71.0, SEEN: date(2025, 11, 24)}, id="5f1"))
    assert contact(sandbox, "5f1")["custom_attributes"] == {SCORE: 71, SEEN: 1_763_942_400}


@pytest.mark.parametrize(
    ("value", "code"), [("x" * 256, "too_long"), (float("nan"), "bad_value"), (("a", "b"), "bad_value")]
)
def test_values_that_intercom_cannot_hold_are_rejected_before_anything_is_sent(
    sandbox: Running, value: Value, code: str
) -> None:
    """Reported: no lists or objects as values; older documentation: 255 characters."""
    watched = RecordingThrottle()
    with workspace(sandbox.url, watched) as destination:
        outcome = push(destination, change("u1", {LEVEL: value}, id="5f1"))["u1"]
    assert (outcome.status, outcome.code, outcome.field) == (Status.REJECTED, code, LEVEL)
    assert watched.calls == 0


def test_255_characters_of_any_kind_are_accepted(sandbox: Running) -> None:
    seed(sandbox, [{"id": "5f1"}])
    with workspace(sandbox.url) as destination:
        assert push(destination, change("u1", {LEVEL: "🐝" * 255}, id="5f1"))["u1"].status is Status.DELIVERED


moments = st.datetimes(timezones=st.just(UTC)).map(lambda each: each.replace(microsecond=0))
VALUES: dict[FieldType, st.SearchStrategy[Any]] = {
    # An empty text is an empty attribute.
    FieldType.TEXT: st.text(min_size=1),
    FieldType.INTEGER: st.integers(),
    FieldType.NUMBER: st.floats(allow_nan=False, allow_infinity=False),
    FieldType.BOOLEAN: st.booleans(),
    FieldType.DATE: st.dates(),
    FieldType.DATETIME: moments,
}


@pytest.mark.parametrize("type", VALUES)
@given(data=st.data())
def test_an_unchanged_value_is_read_back_equal(type: FieldType, data: st.DataObject) -> None:
    value = data.draw(st.none() | VALUES[type])
    assert decode(encode(value), type) == value


@pytest.mark.parametrize(
    ("raw", "type", "value"),
    [
        ("soon", FieldType.DATE, "soon"),
        (1e300, FieldType.DATETIME, "1e+300"),
        (7.5, FieldType.INTEGER, "7.5"),
        (7.0, FieldType.INTEGER, 7),
        ("7", FieldType.INTEGER, "7"),
        (1, FieldType.BOOLEAN, "1"),
        (True, FieldType.TEXT, "true"),
        (True, FieldType.INTEGER, "true"),
        ("", FieldType.TEXT, None),
    ],
)
def test_a_value_of_another_type_is_read_as_text(raw: Any, type: FieldType, value: Value) -> None:
    found = decode(raw, type)
    assert (found, found.__class__) == (value, value.__class__)
