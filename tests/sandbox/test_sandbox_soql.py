"""SOQL: read as Salesforce reads it, so that a query that works here also works there."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatsync.sandbox.vendors.salesforce.soql import (
    Comparison,
    Logic,
    Malformed,
    Order,
    Query,
    fields_of,
    keys,
    matcher,
    parse,
)

ROWS = [
    {"Id": "1", "Name": "Acme", "Score": 7.0, "On": "2026-11-22", "At": "2026-11-22T05:00:00.000+0000"},
    {"Id": "2", "Name": "beta", "Score": None, "Hot": True},
    {"Id": "3", "Name": "O'Neil \\ Söhne\n", "Score": 9.0},
]


def matching(where):
    passes = matcher(parse(f"SELECT Id FROM Account WHERE {where}").where)
    return "".join(row["Id"] for row in ROWS if passes(row.get))


def test_a_query_is_parsed():
    text = (
        "select Id, Name from Account where (A__c IN ('x','y') or B__c = null) and not C__c > 5 "
        "order by Name desc nulls last, Id limit 10 offset 5"
    )
    assert parse(text) == Query(
        fields=("Id", "Name"),
        object="Account",
        where=Logic(
            "AND",
            (
                Logic("OR", (Comparison("A__c", "IN", ("x", "y")), Comparison("B__c", "=", None))),
                Logic("NOT", (Comparison("C__c", ">", 5),)),
            ),
        ),
        order=(Order("Name", True, True), Order("Id", False, False)),
        limit=10,
        offset=5,
    )
    assert fields_of(parse(text)) == ["Id", "Name", "A__c", "B__c", "C__c", "Name", "Id"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-5.5", -5.5),
        ("TRUE", True),
        ("null", None),
        ("2026-11-22", date(2026, 11, 22)),
        ("2026-11-22T06:00:00+01:00", datetime(2026, 11, 22, 5, tzinfo=UTC)),
        ("2026-11-22T05:00:00Z", datetime(2026, 11, 22, 5, tzinfo=UTC)),
        (r"'a\'b\\c\nd\"e'", "a'b\\c\nd\"e"),
        ("''", ""),
        ("'Łódź 🎉 AND (OR)'", "Łódź 🎉 AND (OR)"),
    ],
)
def test_literals(text, value):
    assert parse(f"SELECT Id FROM A WHERE b = {text}").where == Comparison("b", "=", value)


@given(st.text())
def test_any_text_survives_quoting(text):
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    assert parse(f"SELECT Id FROM A WHERE b IN ('{quoted}')").where == Comparison("b", "IN", (text,))


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("Name = 'ACME'", "1"),
        ("Name != 'acme'", "23"),
        ("Name <> 'acme'", "23"),
        ("Name IN ('acme', 'Beta')", "12"),
        ("Name NOT IN ('acme', 'Beta')", "3"),
        (r"Name = 'o\'neil \\ söhne" + "\n'", "3"),
        ("Name LIKE 'a%'", "1"),
        ("Name LIKE '_eta'", "2"),
        ("Score = null", "2"),
        ("Score != null", "13"),
        ("Score > 7", "3"),
        ("Score >= 7", "13"),
        ("Score < 9", "1"),
        ("Score <= 9", "13"),
        ("Score = 7", "1"),
        ("Score > 'x'", ""),
        ("Hot = true", "2"),
        ("On = 2026-11-22", "1"),
        ("On > 2026-11-01", "1"),
        ("At = 2026-11-22T06:00:00+01:00", "1"),
        ("NOT Name = 'acme'", "23"),
        ("Score > 1 AND Name LIKE 'a%'", "1"),
        ("Score = null OR Name = 'acme'", "12"),
        ("(Score = null OR Name = 'acme') AND Id IN ('2', '3')", "2"),
    ],
)
def test_conditions(where, ids):
    assert matching(where) == ids


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SELECT",
        "SELECT Id",
        "SELECT Id, FROM Account",
        "SELECT Id FROM Account WHERE",
        "SELECT Id FROM Account WHERE Name",
        "SELECT Id FROM Account WHERE Name = ",
        "SELECT Id FROM Account WHERE Name = x",
        "SELECT Id FROM Account WHERE Name = (",
        "SELECT Id FROM Account WHERE Name IN ()",
        "SELECT Id FROM Account WHERE Name IN 'x'",
        "SELECT Id FROM Account WHERE Name = 'it's'",
        "SELECT Id FROM Account WHERE a = 1 AND b = 2 OR c = 3",
        "SELECT Id FROM Account WHERE (a = 1",
        "SELECT Id FROM Account LIMIT many",
        "SELECT Id FROM Account LIMIT 1 Nonsense",
        "SELECT Id, id FROM Account",
        "SELECT Id FROM Account WHERE On = 2026-13-45",
        "UPDATE Account SET Name = 'x'",
        "SELECT Id; FROM Account",
    ],
)
def test_invalid_soql_is_refused(text):
    with pytest.raises(Malformed):
        parse(text)


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("a = 'x'", ("a", ("x",))),
        ("a IN ('x', 'y')", ("a", ("x", "y"))),
        ("a IN ('x') AND b > 1", ("a", ("x",))),
        ("b > 1 AND a = 'x'", ("a", ("x",))),
        ("a = 'x' OR A = 'y'", ("a", ["x", "y"])),
        ("a = 'x' OR b = 'y'", None),
        ("a = 'x' OR b > 1", None),
        ("NOT a = 'x'", None),
        ("a != 'x'", None),
    ],
)
def test_a_search_is_narrowed_only_where_that_loses_no_record(where, found):
    assert keys(parse(f"SELECT Id FROM A WHERE {where}").where) == found
