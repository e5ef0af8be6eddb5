"""Salesforce's connector in tests: an org, its records, and calls with defaults."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fake_vendor import RecordingThrottle, Reply, Request

from connectors.salesforce.destination import Salesforce
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

SECRET = "E1D2-4711-SECRET"
APP = {"domain": "acme.my", "consumer_key": "key", "consumer_secret": SECRET}
FIELDS = {
    "Heatsync_Id__c": {"type": "string", "length": 64, "externalId": True, "unique": True},
    "Code__c": {"type": "string", "length": 20},
    "Exact__c": {"type": "string", "length": 20, "caseSensitive": True},
    "Score__c": {"type": "double"},
    "Level__c": {"type": "picklist", "restrictedPicklist": True, "picklistValues": ["Low", "High"]},
    "Seen__c": {"type": "datetime"},
    "Since__c": {"type": "date"},
    "Note__c": {"type": "string", "length": 10},
    "Paying__c": {"type": "boolean"},
    "Sum__c": {"type": "double", "calculated": True},
}
ONE, TWO = "001000000000001AAA", "001000000000002AAA"


@contextmanager
def org(url: str, watched: RecordingThrottle | None = None, **settings: str) -> Iterator[Salesforce]:
    watched = watched or RecordingThrottle()
    destination = Salesforce({**(settings or APP), "url": url}, watched, watched.on_request)
    yield destination
    destination.close()


def seed(sandbox: Running, *accounts: Mapping[str, Any], **objects: Any) -> None:
    records = {"Account": [{"Name": "Acme", **each} for each in accounts], **objects}
    sandbox.seed({"salesforce": records, "fields": {"salesforce": {"Account": FIELDS}}})


def stored(sandbox: Running, id: str, object: str = "Account") -> dict[str, Any]:
    return next(each for each in sandbox.state()["salesforce"][object] if each["Id"] == id)


def lookup(key: str, id: str | None = None, **match: str) -> Lookup:
    return Lookup(key, tuple(Match(field, value) for field, value in match.items()), id)


def change(key: str, fields: Mapping[str, Value], id: str | None = None, **match: str) -> Change:
    keys = tuple(Match(field, value) for field, value in match.items())
    return Change(Kind.CHANGED, key, keys, fields, remote_id=id)


def find(
    destination: Salesforce, *lookups: Lookup, object: str = "Account", **fields: FieldType
) -> dict[str, Found]:
    found = list(destination.find(object, lookups, fields))
    assert sorted(each.key for each in found) == sorted(each.key for each in lookups)
    return {each.key: each for each in found}


def push(destination: Salesforce, *changes: Change, object: str = "Account") -> dict[str, Outcome]:
    outcomes = list(destination.push(Batch("b1", "salesforce", object, changes)))
    assert sorted(each.key for each in outcomes) == sorted(each.key for each in changes)
    return {each.key: each for each in outcomes}


def token(session: str = "00D!session", host: str = "acme.my.salesforce.com") -> Reply:
    return Reply(200, {"access_token": session, "instance_url": f"https://{host}"})


def is_login(request: Request) -> bool:
    return request.path == "/services/oauth2/token"


def refused(code: str, message: str = "no", status: int = 400) -> Reply:
    return Reply(status, [{"errorCode": code, "message": message}])
