"""HubSpot's connector in tests: a portal, its records, and calls with defaults."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fake_vendor import RecordingThrottle, Reply, Request

from connectors.hubspot.destination import HubSpot
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

TOKEN = "pat-eu1-4711"
FIELDS = {
    "contacts": {
        "score": {"type": "number"},
        "level": {"type": "enumeration", "options": ["low", "high"]},
        "seen": {"type": "datetime"},
        "since": {"type": "date"},
        "note": {"type": "string"},
        "paying": {"type": "bool"},
        "locked": {"type": "number", "modificationMetadata": {"readOnlyValue": True}},
        "our_id": {"type": "string", "hasUniqueValue": True},
    },
    "companies": {"score": {"type": "number"}, "our_id": {"type": "string", "hasUniqueValue": True}},
}


@contextmanager
def portal(url: str, watched: RecordingThrottle | None = None, token: str = TOKEN) -> Iterator[HubSpot]:
    watched = watched or RecordingThrottle()
    destination = HubSpot({"token": token, "url": url}, watched, watched.on_request)
    yield destination
    destination.close()


def seed(
    sandbox: Running,
    contacts: Mapping[str, Mapping[str, Any]] | None = None,
    companies: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    records = {
        "contacts": [{"id": id, "properties": each} for id, each in (contacts or {}).items()],
        "companies": [{"id": id, "properties": each} for id, each in (companies or {}).items()],
    }
    sandbox.seed({"hubspot": records, "fields": {"hubspot": FIELDS}})


def stored(sandbox: Running, id: str, object: str = "contacts") -> dict[str, Any]:
    return next(each["properties"] for each in sandbox.state()["hubspot"][object] if each["id"] == id)


def lookup(key: str, id: str | None = None, **match: str) -> Lookup:
    return Lookup(key, tuple(Match(field, value) for field, value in match.items()), id)


def change(key: str, fields: Mapping[str, Value], id: str | None = None, **match: str) -> Change:
    keys = tuple(Match(field, value) for field, value in match.items())
    return Change(Kind.CHANGED, key, keys, fields, remote_id=id)


def find(
    destination: HubSpot, *lookups: Lookup, object: str = "contacts", **fields: FieldType
) -> dict[str, Found]:
    found = list(destination.find(object, lookups, fields))
    assert sorted(each.key for each in found) == sorted(each.key for each in lookups)
    return {each.key: each for each in found}


def push(destination: HubSpot, *changes: Change, object: str = "contacts") -> dict[str, Outcome]:
    outcomes = list(destination.push(Batch("b1", "hubspot", object, changes)))
    assert sorted(each.key for each in outcomes) == sorted(each.key for each in changes)
    return {each.key: each for each in outcomes}


def results(request: Request, **more: Any) -> Reply:
    """What HubSpot answers when all went well."""
    done = [
        {"id": each.get("id", f"9{n}"), "properties": each["properties"]}
        | {"objectWriteTraceId": each["objectWriteTraceId"]}
        for n, each in enumerate(request.body["inputs"])
    ]
    return Reply(200, {"status": "COMPLETE", "results": done, **more})
