"""How values travel to HubSpot and back."""

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from fake_vendor import RecordingThrottle
from hubspot_calls import change, find, lookup, portal, push, seed, stored
from hypothesis import given
from hypothesis import strategies as st

from connectors.hubspot.destination import VENDOR
from connectors.hubspot.records import decode, encode
from connectors.types import Entity, FieldType, Status, Value
from heatsync.sandbox.server import Running

MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63)
VALUES = st.one_of(
    st.tuples(st.just(FieldType.TEXT), st.text(min_size=1)),
    st.tuples(st.just(FieldType.INTEGER), st.integers(-(2**63), 2**63)),
    st.tuples(st.just(FieldType.NUMBER), NUMBERS),
    st.tuples(st.just(FieldType.BOOLEAN), st.booleans()),
    st.tuples(st.just(FieldType.DATE), st.dates()),
    st.tuples(st.just(FieldType.DATETIME), MOMENTS),
    st.tuples(
        st.just(FieldType.LIST),
        st.lists(st.text(st.characters(exclude_characters=";"), min_size=1), min_size=1).map(tuple),
    ),
    st.tuples(st.sampled_from(FieldType), st.none()),
)


@given(VALUES)
def test_a_written_value_is_read_back_unchanged(typed: tuple[FieldType, Value]) -> None:
    type, value = typed
    assert decode(json.loads(json.dumps(encode(value))), type) == value


@pytest.mark.parametrize(
    ("raw", "type", "value"),
    [
        ("7.0", FieldType.INTEGER, 7),
        ("7.5", FieldType.INTEGER, "7.5"),
        ("many", FieldType.NUMBER, "many"),
        ("NaN", FieldType.NUMBER, "NaN"),
        ("1635465600000", FieldType.DATE, date(2021, 10, 29)),
        ("1635535865123", FieldType.DATETIME, datetime(2021, 10, 29, 19, 31, 5, tzinfo=UTC)),
        ("2026-11-22T05:30:00.123Z", FieldType.DATETIME, datetime(2026, 11, 22, 5, 30, tzinfo=UTC)),
        ("soon", FieldType.DATE, "soon"),
        ("perhaps", FieldType.BOOLEAN, "perhaps"),
        ("", FieldType.TEXT, None),
        (None, FieldType.INTEGER, None),
    ],
)
def test_a_current_value_of_another_type_is_read_as_text(raw: Any, type: FieldType, value: Value) -> None:
    assert decode(raw, type) == value


def test_values_are_stored_as_hubspot_stores_them_and_none_clears(sandbox: Running) -> None:
    """HubSpot, properties guide (2026): values are text, an empty text clears; null is not documented."""
    seed(sandbox, {"101": {"email": "ada@example.com", "note": "old", "plan": "x"}})
    fields: dict[str, Value] = {
        "score": 66.5,
        "level": "high",
        "seen": datetime(2026, 11, 22, 5, 30, tzinfo=UTC),
        "since": date(2026, 2, 1),
        "note": None,
        "paying": True,
    }
    types = {
        "score": FieldType.NUMBER,
        "level": FieldType.TEXT,
        "seen": FieldType.DATETIME,
        "since": FieldType.DATE,
        "note": FieldType.TEXT,
        "paying": FieldType.BOOLEAN,
    }
    with portal(sandbox.url) as destination:
        assert push(destination, change("u1", fields, "101"))["u1"].status is Status.DELIVERED
        assert find(destination, lookup("u1", "101"), **types)["u1"].values == fields
    assert stored(sandbox, "101") == {
        "email": "ada@example.com",
        "plan": "x",
        "score": "66.5",
        "level": "high",
        "seen": "2026-11-22T05:30:00Z",
        "since": "2026-02-01",
        "paying": "true",
    }


def test_nan_and_infinity_are_rejected_before_they_are_sent(sandbox: Running) -> None:
    watched = RecordingThrottle()
    with portal(sandbox.url, watched) as destination:
        outcomes = push(destination, change("u1", {"score": float("nan")}, "101"))
    assert (outcomes["u1"].code, outcomes["u1"].field, watched.calls) == ("bad_value", "score", 0)


def test_text_that_is_too_long_is_rejected_before_anything_is_sent(sandbox: Running) -> None:
    seed(sandbox, {"101": {"email": "a@x.com"}, "102": {"email": "b@x.com"}})
    watched = RecordingThrottle()
    with portal(sandbox.url, watched) as destination:
        outcomes = push(
            destination,
            change("u1", {"note": "x" * 65_537}, "101"),
            change("u2", {"note": "x" * 65_536}, "102"),
        )
    assert (outcomes["u1"].status, outcomes["u1"].code, outcomes["u1"].field) == (
        Status.REJECTED,
        "too_long",
        "note",
    )
    assert outcomes["u2"].status is Status.DELIVERED
    assert watched.calls == 1


def test_names_are_in_lower_case() -> None:
    """Segment cleanProp and Estuary docs: property names are lower case, digits, underscore, 100 characters."""
    assert VENDOR.name_trait("Accoil", "Health", "last_active", Entity.USER) == "accoil_health_lastactive"
    assert VENDOR.name_trait("Accoil", "My Score", "score", Entity.ACCOUNT) == "accoil_myscore_score"


def test_a_time_is_in_utc_whatever_its_offset() -> None:
    east = datetime.fromisoformat("2026-11-22T07:30:00+02:00")
    assert decode(east.isoformat(), FieldType.DATETIME) == east.astimezone(UTC) == east
    assert decode("2026-11-22T05:30:00", FieldType.DATETIME) == "2026-11-22T05:30:00"
