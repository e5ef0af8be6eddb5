"""What is odd about single vendors, against answers as they were documented or reported; the rest is in their own tests."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from fake_vendor import RecordingThrottle, Reply, Request, answering

from connectors.destination import Destination
from connectors.errors import Unavailable
from connectors.registry import VENDORS
from connectors.types import Batch, Change, FieldType, Kind, Lookup, Match, Outcome, Status, Value
from heatsync.sandbox.server import Running

SETTINGS: Mapping[str, Mapping[str, str]] = {
    "hubspot": {"token": "pat-4711"},
    "intercom": {"token": "tok-4711"},
    "segment": {"write_key": "key-4711"},
    "salesforce": {"session_id": "00D-4711", "instance_url": "https://acme.my.salesforce.com"},
}
ACCOUNT = "001000000000001AAA"


@contextmanager
def opened(vendor: str, url: str) -> Iterator[Destination]:
    watched = RecordingThrottle()
    destination = VENDORS[vendor].connect({**SETTINGS[vendor], "url": url}, watched, watched.on_request)
    yield destination
    destination.close()


def pushed(url: str, vendor: str, object: str, *changes: Change) -> list[Outcome]:
    with opened(vendor, url) as destination:
        return list(destination.push(Batch("b1", vendor, object, changes)))


def reply(
    answer: Reply | Callable[[Request], Reply], vendor: str, object: str, *changes: Change
) -> list[Outcome]:
    """What becomes of changes when the vendor answers like that."""
    answers = answer if callable(answer) else lambda _: answer
    with answering(answers) as scripted:
        return pushed(scripted.url, vendor, object, *changes)


def update(key: str, id: str, **fields: Value) -> Change:
    return Change(Kind.CHANGED, key, (), fields, remote_id=id)


# HubSpot


def test_an_administrators_rule_refuses_only_its_record() -> None:
    """HubSpot, write validation (live 2026-09-08): 400 MISSING_CONDITIONAL_REQUIRED_PROPERTY on dated paths."""

    def answer(request: Request) -> Reply:
        inputs = request.body["inputs"]
        if any(each["id"] == "2" for each in inputs):
            error = {
                "code": "MISSING_CONDITIONAL_REQUIRED_PROPERTY",
                "message": "industry is required when plan is set",
                "context": {"propertyName": ["industry"]},
            }
            return Reply(400, {"status": "error", "message": "Required", "errors": [error]})
        return Reply(200, {"status": "COMPLETE", "results": [{"id": each["id"]} for each in inputs]})

    outcomes = reply(answer, "hubspot", "contacts", *(update(f"u{n}", str(n), plan="pro") for n in range(4)))
    assert {each.key: each.status for each in outcomes if each.status is not Status.DELIVERED} == {
        "u2": Status.REJECTED
    }
    assert "Required" in next(each.answer for each in outcomes if each.key == "u2")


@pytest.mark.parametrize(
    "context", [{"ids": ["2"]}, {"objectWriteTraceId": ["b1-2"]}], ids=["by its id", "by its trace"]
)
def test_records_that_the_answer_names_cost_one_more_call(context: dict[str, list[str]]) -> None:
    """HubSpot, error guide (2026): `context` may tell ids or trace ids."""
    asked_for: list[int] = []

    def answer(request: Request) -> Reply:
        inputs = request.body["inputs"]
        asked_for.append(len(inputs))
        if any(each["id"] == "2" for each in inputs):
            body = {"status": "error", "category": "VALIDATION_ERROR", "message": "no", "context": context}
            return Reply(400, body)
        return Reply(200, {"status": "COMPLETE", "results": [{"id": each["id"]} for each in inputs]})

    outcomes = reply(answer, "hubspot", "contacts", *(update(f"u{n}", str(n), plan="pro") for n in range(8)))
    assert [each.key for each in outcomes if each.status is Status.REJECTED] == ["u2"]
    assert asked_for == [8, 7]


def test_an_update_may_be_answered_207_with_trace_ids() -> None:
    """HubSpot, specification of batch/update (2026): 207; without a trace among the errors a record was written."""

    def answer(request: Request) -> Reply:
        first, second = request.body["inputs"]
        error = {
            "status": "error",
            "category": "VALIDATION_ERROR",
            "message": "no",
            "context": {"objectWriteTraceId": [first["objectWriteTraceId"]]},
        }
        return Reply(
            207, {"status": "COMPLETE", "results": [{"id": second["id"]}], "numErrors": 1, "errors": [error]}
        )

    outcomes = reply(answer, "hubspot", "contacts", update("u1", "1", plan="a"), update("u2", "2", plan="b"))
    assert {each.key: each.status for each in outcomes} == {"u1": Status.REJECTED, "u2": Status.DELIVERED}


def test_a_time_in_a_date_property_is_blamed_on_its_record(sandbox: Running) -> None:
    """Reported: INVALID_DATE "1635535865 is at 22:18:55.865 UTC, not midnight!"."""
    fields = {"hubspot": {"contacts": {"since": {"type": "date"}}}}
    contacts = [{"id": str(n), "properties": {"email": f"u{n}@x.com"}} for n in range(3)]
    sandbox.seed({"hubspot": {"contacts": contacts}, "fields": fields})
    changes = [update(f"u{n}", str(n), since="1635535865" if n == 1 else "2026-01-02") for n in range(3)]
    outcomes = pushed(sandbox.url, "hubspot", "contacts", *changes)
    assert {each.key: each.code for each in outcomes if each.code} == {"u1": "bad_value"}
    assert sandbox.stats()["hubspot"]["calls"] == 2


@pytest.mark.parametrize("status", [503, 521, 526])
def test_a_temporary_error_is_retried(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """HubSpot, error guide (2026): 502, 503, 504 and 521 to 526 are to be retried after a pause."""
    monkeypatch.setattr("tenacity.nap.time", type("NoSleep", (), {"sleep": staticmethod(lambda _: None)}))
    asked_for: list[str] = []

    def answer(request: Request) -> Reply:
        asked_for.append(request.path)
        return (
            Reply(status, "<html>")
            if len(asked_for) < 3
            else Reply(200, {"status": "COMPLETE", "results": [{"id": "1"}]})
        )

    (outcome,) = reply(answer, "hubspot", "contacts", update("u1", "1", plan="a"))
    assert (outcome.status, len(asked_for)) == (Status.DELIVERED, 3)


# Intercom


@pytest.mark.parametrize("status", [408, 503])
def test_a_time_out_at_intercom_is_retried(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Intercom, errors (2026): request_timeout and service_unavailable are passing."""
    monkeypatch.setattr("tenacity.nap.time", type("NoSleep", (), {"sleep": staticmethod(lambda _: None)}))
    asked_for: list[str] = []
    error = {
        "type": "error.list",
        "request_id": None,
        "errors": [{"code": "request_timeout", "message": "x"}],
    }

    def answer(request: Request) -> Reply:
        asked_for.append(request.path)
        return Reply(status, error) if len(asked_for) == 1 else Reply(200, {"type": "contact", "id": "c1"})

    (outcome,) = reply(answer, "intercom", "contacts", update("u1", "c1", tier="a"))
    assert (outcome.status, len(asked_for)) == (Status.DELIVERED, 2)


def test_a_value_outside_the_options_rejects_only_its_record(sandbox: Running) -> None:
    """Intercom-OpenAPI pull request 457 (2026-04-16): a value outside a list's options is a 400."""
    fields = {"intercom": {"contacts": {"plan": {"type": "string", "options": ["free", "pro"]}}}}
    contacts = [{"id": f"c{n}", "external_id": f"u{n}", "custom_attributes": {}} for n in range(2)]
    sandbox.seed({"intercom": {"contacts": contacts}, "fields": fields})
    outcomes = pushed(
        sandbox.url, "intercom", "contacts", update("u0", "c0", plan="gold"), update("u1", "c1", plan="pro")
    )
    assert [(each.status, each.code, each.field) for each in outcomes] == [
        (Status.REJECTED, "bad_value", "plan"),
        (Status.DELIVERED, "", None),
    ]


def test_only_a_user_has_an_external_id(sandbox: Running) -> None:
    """Reported: a lead cannot have an external_id; without `role` a contact with an address alone is one."""
    sandbox.seed({"fields": {"intercom": {"contacts": {"tier": {"type": "string"}}}}})
    created = Change(Kind.ENTERED, "u1", (Match("external_id", "u1"),), {"tier": "a"})
    pushed(sandbox.url, "intercom", "contacts", created)
    (contact,) = sandbox.state()["intercom"]["contacts"]
    assert (contact["role"], contact["external_id"]) == ("user", "u1")


# Salesforce


@pytest.mark.parametrize(
    ("code", "means"),
    [
        ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "a validation rule of the org refused the record"),
        ("DUPLICATES_DETECTED", "another record is the same"),
        ("ENTITY_IS_DELETED", "the record no longer exists"),
    ],
)
def test_a_result_may_lack_fields_and_id(code: str, means: str) -> None:
    """Salesforce REST guide: a failed result has no id, and its errors may have no fields."""
    body = [{"success": False, "errors": [{"statusCode": code, "message": "no"}]}]
    (outcome,) = reply(Reply(200, body), "salesforce", "Account", update("a1", ACCOUNT, Score__c=1))
    assert (outcome.status, outcome.field) == (Status.REJECTED, None)
    assert outcome.cause.startswith(means)


def test_a_value_of_several_records_is_ambiguous_and_none_is_chosen(sandbox: Running) -> None:
    """Salesforce REST guide: an external id need not be unique (300, DUPLICATE_EXTERNAL_ID)."""
    key = {"type": "string", "length": 64, "externalId": True}
    accounts = [{"Id": f"001{n:012}AAA", "Name": "x", "Key__c": "a1"} for n in range(2)]
    sandbox.seed(
        {"salesforce": {"Account": accounts}, "fields": {"salesforce": {"Account": {"Key__c": key}}}}
    )
    with opened("salesforce", sandbox.url) as destination:
        types: dict[str, FieldType] = {}
        (found,) = destination.find("Account", [Lookup("a1", (Match("Key__c", "a1"),))], types)
    assert len(found.remote_ids) == 2
    (outcome,) = pushed(
        sandbox.url,
        "salesforce",
        "Account",
        Change(Kind.ENTERED, "a1", (Match("Key__c", "a1"),), {"Name": "y"}),
    )
    assert outcome.status is Status.REJECTED
    assert {each["Name"] for each in sandbox.state()["salesforce"]["Account"]} == {"x"}


def test_none_clears_a_field(sandbox: Running) -> None:
    """Salesforce REST guide: in JSON null clears; in the CSV of Bulk 2.0 it is #N/A."""
    sandbox.seed(
        {
            "salesforce": {"Account": [{"Id": ACCOUNT, "Name": "x", "Score__c": 7}]},
            "fields": {"salesforce": {"Account": {"Score__c": {"type": "double"}}}},
        }
    )
    pushed(sandbox.url, "salesforce", "Account", update("a1", ACCOUNT, Score__c=None))
    assert sandbox.state()["salesforce"]["Account"] == [{"Id": ACCOUNT, "Name": "x"}]


# Segment


@pytest.mark.parametrize("status", [410, 460])
def test_a_status_that_the_sdk_retries_is_unavailable(status: int) -> None:
    """segment-analytics-python 2.4.0, probed: 408, 410, 429, 460 and most of 5xx are retried."""
    change = Change(Kind.ENTERED, "u1", (Match("userId", "u1"),), {"a": 1})
    with pytest.raises(Unavailable):
        reply(Reply(status, {"code": "x"}), "segment", "users", change)


def test_each_region_has_its_own_host() -> None:
    """Segment (2025-11): an EU workspace's events sent to the other host are answered 200 and never appear."""

    def host(region: str) -> str:
        watched = RecordingThrottle()
        settings: dict[str, Any] = {**SETTINGS["segment"], "region": region}
        return VENDORS["segment"].connect(settings, watched, watched.on_request).host

    assert (host("us"), host("eu")) == ("api.segment.io", "events.eu1.segmentapis.com")
