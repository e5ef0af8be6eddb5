"""How values, ids and queries travel to Salesforce."""

import json
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salesforce_calls import (
    ONE,
    change,
    find,
    lookup,
    org,
    push,
    seed,
    stored,
)

from connectors.salesforce.destination import METRICS, NAME_LENGTH, VENDOR
from connectors.salesforce.records import QUERY_LENGTH, decode, encode, fields, queries, quoted, whole_id
from connectors.types import Entity, FieldType, Status, Value
from heatsync.sandbox.server import Running
from heatsync.sandbox.vendors.salesforce import soql

MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)
VALUES = st.one_of(
    st.tuples(st.just(FieldType.TEXT), st.text(min_size=1)),
    st.tuples(st.just(FieldType.INTEGER), st.integers(-(2**63), 2**63)),
    st.tuples(
        st.just(FieldType.NUMBER), st.floats(allow_nan=False, allow_infinity=False) | st.integers(-999, 999)
    ),
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
        (7.0, FieldType.INTEGER, 7),
        (7.5, FieldType.INTEGER, "7.5"),
        (42.0, FieldType.TEXT, "42"),
        (True, FieldType.TEXT, "true"),
        ("2026-11-22T05:30:00.000+0000", FieldType.DATETIME, datetime(2026, 11, 22, 5, 30, tzinfo=UTC)),
        ("2026-11-22", FieldType.DATETIME, "2026-11-22"),
        ("soon", FieldType.DATE, "soon"),
        ("", FieldType.TEXT, None),
    ],
)
def test_a_current_value_of_another_type_is_read_as_text(raw: Any, type: FieldType, value: Value) -> None:
    assert decode(raw, type) == value


def test_values_are_stored_as_salesforce_stores_them_and_none_clears(sandbox: Running) -> None:
    seed(sandbox, {"Id": ONE, "Note__c": "old", "Industry": "Bees"})
    fields: dict[str, Value] = {
        "Score__c": 66.5,
        "Level__c": "High",
        "Seen__c": datetime(2026, 11, 22, 5, 30, tzinfo=UTC),
        "Since__c": date(2026, 2, 1),
        "Note__c": None,
        "Paying__c": True,
    }
    types = {
        "Score__c": FieldType.NUMBER,
        "Level__c": FieldType.TEXT,
        "Seen__c": FieldType.DATETIME,
        "Since__c": FieldType.DATE,
        "Note__c": FieldType.TEXT,
        "Paying__c": FieldType.BOOLEAN,
    }
    with org(sandbox.url) as destination:
        outcome = push(destination, change("a1", fields, ONE[:15]))["a1"]
        assert (outcome.status, outcome.remote_id) == (Status.DELIVERED, ONE)
        assert find(destination, lookup("a1", ONE), **types)["a1"].values == fields
    record = stored(sandbox, ONE)
    assert (record["Industry"], record["Name"]) == ("Bees", "Acme")


def test_ids_of_fifteen_and_eighteen_characters_are_the_same() -> None:
    """Salesforce help: three characters behind the first fifteen tell their case."""
    assert whole_id("001A0000006Vm9r") == "001A0000006Vm9rIAC"
    assert whole_id("001A0000006Vm9rIAC") == "001A0000006Vm9rIAC"


@given(st.text(max_size=50))
def test_any_text_is_a_string_of_soql(text: str) -> None:
    parsed = soql.parse(f"SELECT Id FROM Account WHERE Name IN ({quoted(text)})")
    assert isinstance(parsed.where, soql.Comparison)
    assert parsed.where.value == (text,)


@given(st.lists(st.text(max_size=80), max_size=300))
def test_queries_fit_into_an_address_and_cover_every_value(values: list[str]) -> None:
    """help.salesforce.com 000386264 (2026-06): an address of more than 16,384 bytes is answered 414."""
    created = list(queries("Account", ["Id", "Score__c"], "Heatsync_Id__c", values))
    assert all(len(quote_plus(query)) <= QUERY_LENGTH for query in created)
    wheres = [soql.parse(query).where for query in created]
    assert [value for each in wheres if isinstance(each, soql.Comparison) for value in each.value] == values


@pytest.mark.parametrize(
    ("name", "nillable", "defaulted", "createable", "required"),
    [
        ("LastName", False, False, True, True),
        ("OwnerId", False, True, True, False),
        ("Phone", True, False, True, False),
        ("CreatedDate", False, False, False, False),
    ],
)
def test_required_fields_are_those_without_a_default(
    name: str, nillable: bool, defaulted: bool, createable: bool, required: bool
) -> None:
    """Salesforce, describe: nillable, defaultedOnCreate, createable (SOAP guide, Field, 2026)."""
    flags = {"nillable": nillable, "defaultedOnCreate": defaulted, "createable": createable}
    assert fields([{"name": name, "type": "string", **flags}])[name].required is required


def test_trait_names_keep_their_ending_and_have_forty_characters_at_most() -> None:
    assert VENDOR.name_trait("Accoil", "Health", "score", Entity.ACCOUNT) == "Accoil_Health_Score__c"
    for prefix, name in (
        ("Accoil", "A very long name of a score, in München"),
        ("P", "q" * 60),
        ("A-B", "c_"),
    ):
        names = {VENDOR.name_trait(prefix, name, metric, Entity.ACCOUNT) for metric in METRICS}
        assert len(names) == len(METRICS)
        for metric, name_ in (
            (metric, VENDOR.name_trait(prefix, name, metric, Entity.USER)) for metric in METRICS
        ):
            assert len(name_) <= NAME_LENGTH
            assert name_.endswith(f"_{METRICS[metric]}__c")
            assert "__" not in name_.removesuffix("__c")
            assert name_.isascii()
