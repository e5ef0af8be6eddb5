"""Intercom's connector in tests: a workspace, its records, and calls with defaults."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fake_vendor import RecordingThrottle

from connectors.intercom.destination import Intercom
from connectors.types import (
    Batch,
    Change,
    FieldType,
    Found,
    Kind,
    Lookup,
    Match,
    Outcome,
    Value,
)
from heatsync.sandbox.server import Running

TOKEN = "dG9rOjQ3MTE="
SCORE, SEEN, LEVEL = "Accoil_Health_Score", "Accoil_Health_LastActive", "Accoil_Health_Level"
FIELDS = {
    "contacts": {
        SCORE: {"type": "integer"},
        SEEN: {"type": "date"},
        LEVEL: {"type": "string"},
        "share": {"type": "float"},
        "paying": {"type": "boolean"},
        "size_class": {"type": "string", "options": ["small", "large"]},
    },
    "companies": {"Accoil_Health_Account_Score": {"type": "integer"}},
}


@contextmanager
def workspace(url: str, watched: RecordingThrottle | None = None, **settings: str) -> Iterator[Intercom]:
    watched = watched or RecordingThrottle()
    destination = Intercom({"token": TOKEN, "url": url, **settings}, watched, watched.on_request)
    yield destination
    destination.close()


def seed(sandbox: Running, contacts: Any = (), companies: Any = ()) -> None:
    records = {"contacts": list(contacts), "companies": list(companies)}
    sandbox.seed({"intercom": records, "fields": {"intercom": FIELDS}})


def contact(sandbox: Running, id: str) -> dict[str, Any]:
    (found,) = (each for each in sandbox.state()["intercom"]["contacts"] if each["id"] == id)
    return dict(found)


def company(sandbox: Running, company_id: str) -> dict[str, Any]:
    companies = sandbox.state()["intercom"]["companies"]
    (found,) = (each for each in companies if each["company_id"] == company_id)
    return dict(found)


def lookup(key: str, id: str | None = None, **match: str) -> Lookup:
    return Lookup(key, tuple(Match(field, value) for field, value in match.items()), id)


def change(key: str, fields: Mapping[str, Value], id: str | None = None, **match: str) -> Change:
    keys = tuple(Match(field, value) for field, value in match.items())
    return Change(Kind.CHANGED, key, keys, fields, remote_id=id)


def find(
    destination: Intercom, *lookups: Lookup, object: str = "contacts", **fields: FieldType
) -> dict[str, Found]:
    found = list(destination.find(object, lookups, fields))
    assert sorted(each.key for each in found) == sorted(each.key for each in lookups)
    return {each.key: each for each in found}


def push(destination: Intercom, *changes: Change, object: str = "contacts") -> dict[str, Outcome]:
    outcomes = list(destination.push(Batch("b1", "intercom", object, changes)))
    assert [each.key for each in outcomes] == [each.key for each in changes]
    return {each.key: each for each in outcomes}


def refusal(code: str, message: str, **more: str) -> dict[str, Any]:
    return {"type": "error.list", "request_id": "r", "errors": [{"code": code, "message": message, **more}]}
