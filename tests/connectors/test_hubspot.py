import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import contract
import pytest
import requests
from contract import Case
from fake_vendor import HANG_UP, RecordingThrottle, Reply, Request, answering
from hypothesis import given
from hypothesis import strategies as st

from connectors.answers import Answer
from connectors.errors import ConfigurationError, Unauthorized, Unavailable
from connectors.hubspot.client import wait
from connectors.hubspot.destination import VENDOR, HubSpot
from connectors.hubspot.records import decode, encode
from connectors.types import (
    Account,
    Batch,
    Change,
    Entity,
    FieldType,
    Found,
    Kind,
    Lookup,
    Match,
    NewField,
    Outcome,
    Status,
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


def test_every_request_uses_a_dated_path() -> None:
    """HubSpot, changelog (2026): v1 to v3 lose support in September 2027; the SDK 12.0.0 speaks v3 only."""

    def answer(request: Request) -> Reply:
        if request.method == "GET":
            return Reply(200, {"portalId": 7, "results": []})
        return results(request) if "/objects/" in request.path else Reply(201, {"results": []})

    with answering(answer) as vendor, portal(vendor.url) as destination:
        push(destination, change("u1", {"score": 1}, "101"))
        destination.fields("contacts")
        destination.create_fields("companies", [NewField("a", FieldType.TEXT, "A")])
        destination.account()
    assert [request.path.split("?")[0] for request in vendor.requests] == [
        "/crm/objects/2026-09/contacts/batch/update",
        "/crm/properties/2026-09/contacts",
        "/crm/properties/2026-09/companies/groups",
        "/crm/properties/2026-09/companies/batch/create",
        "/account-info/v3/details",
    ]
    assert {request.headers["authorization"] for request in vendor.requests} == {f"Bearer {TOKEN}"}


def test_the_account_is_named(sandbox: Running) -> None:
    with portal(sandbox.url) as destination:
        account = destination.account()
        assert account == destination.account()
    assert isinstance(account, Account)
    assert account.kind == "portal"
    assert account.id.isdigit()


def test_each_invalid_value_of_a_full_batch_costs_at_most_one_more_call(sandbox: Running) -> None:
    seed(sandbox, {str(100 + n): {"email": f"u{n}@example.com"} for n in range(100)})
    watched = RecordingThrottle()
    changes = [change(f"u{n}", {"score": n, "level": "low"}, str(100 + n)) for n in range(97)]
    changes += [
        change("u97", {"score": "much"}, "197"),
        change("u98", {"level": "gold"}, "198"),
        change("u99", {"locked": 1}, "199"),
    ]
    with portal(sandbox.url, watched) as destination:
        outcomes = push(destination, *changes)
    rejected = {key: (each.code, each.field) for key, each in outcomes.items() if each.code}
    assert rejected == {
        "u97": ("bad_value", "score"),
        "u98": ("bad_value", "level"),
        "u99": ("read_only", "locked"),
    }
    assert watched.calls <= 1 + 3


def test_a_value_that_is_listed_as_allowed_is_not_blamed() -> None:
    """Reported: INVALID_OPTION "x was not one of the allowed options: [..]"."""
    reply = "gold was not one of the allowed options: [low was first, high]"
    problem = {"isValid": False, "message": reply, "error": "INVALID_OPTION", "name": "level"}

    def answer(request: Request) -> Reply:
        if "gold" not in request.text:
            return results(request)
        message = f"Property values were not valid: {json.dumps([problem])}"
        return Reply(400, {"status": "error", "category": "VALIDATION_ERROR", "message": message})

    with answering(answer) as vendor, portal(vendor.url) as destination:
        outcomes = push(
            destination, *(change(level, {"level": level}, id) for level, id in (("low", "1"), ("gold", "2")))
        )
    assert outcomes["low"].status is Status.DELIVERED
    assert (outcomes["gold"].code, outcomes["gold"].answer) == ("bad_value", reply)


def test_a_refusal_that_names_no_record_is_narrowed_down_by_halving() -> None:
    """HubSpot, error guide (2026): without trace ids a batch is all or nothing, and every field of an error is optional."""
    body = {"status": "error", "category": "VALIDATION_ERROR", "message": "A rule of the portal says no"}

    def answer(request: Request) -> Reply:
        return Reply(400, body) if '"13"' in request.text else results(request)

    with answering(answer) as vendor, portal(vendor.url) as destination:
        outcomes = push(destination, *(change(f"u{n}", {"score": 50}, str(n)) for n in range(100, 116)))
        assert not any(each.code for each in outcomes.values())
        outcomes = push(destination, *(change(f"u{n}", {"score": n}, str(100 + n)) for n in range(16)))
    assert {key: each.code for key, each in outcomes.items() if each.code} == {"u13": "refused"}
    assert outcomes["u13"].answer == "A rule of the portal says no"
    assert len(vendor.requests) <= 1 + 2 * 5


def test_a_record_that_no_answer_names_is_not_delivered() -> None:
    """hubspot-api-nodejs issue 548 (2024): 200 with empty results and no errors, and nothing written."""
    empty = {"status": "COMPLETE", "results": []}
    with answering(lambda request: Reply(200, empty)) as vendor, portal(vendor.url) as destination:
        outcomes = push(
            destination,
            change("old", {"score": 1}, "101"),
            change("new", {"score": 1}, email="new@example.com"),
        )
    assert (outcomes["old"].status, outcomes["old"].code) == (Status.UNKNOWN, "unanswered")
    # It may exist: the next run looks it up before creating it.
    assert (outcomes["new"].status, outcomes["new"].code) == (Status.UNKNOWN, "unanswered")
    assert "COMPLETE" in outcomes["old"].answer


def test_results_are_matched_in_any_order_and_with_or_without_a_trace() -> None:
    """HubSpot, batch endpoints (2026): the order of the results is not promised."""

    def answer(request: Request) -> Reply:
        done = [
            {"id": each.get("id") or "9" + each["properties"]["email"][1], "properties": each["properties"]}
            for each in request.body["inputs"]
        ]
        return Reply(200, {"status": "COMPLETE", "results": done[::-1]})

    with answering(answer) as vendor, portal(vendor.url) as destination:
        outcomes = push(
            destination,
            *(change(f"u{n}", {"score": n}, str(100 + n)) for n in range(3)),
            *(change(f"u{n}", {"score": n}, email=f"U{n}@example.com") for n in range(3, 6)),
        )
    assert {key: each.remote_id for key, each in outcomes.items()} == {
        **{f"u{n}": str(100 + n) for n in range(3)},
        **{f"u{n}": f"9{n}" for n in range(3, 6)},
    }


def test_a_create_whose_answer_is_lost_is_unknown_and_not_repeated() -> None:
    for lost in (HANG_UP, Reply(502, "Bad Gateway"), Reply(504, "")):
        with answering(lambda request, lost=lost: lost) as vendor, portal(vendor.url) as destination:  # type: ignore[misc]
            outcomes = push(destination, change("u1", {"score": 1}, email="new@example.com"))
        assert (outcomes["u1"].status, outcomes["u1"].code) == (Status.UNKNOWN, "no_answer")
        assert len(vendor.requests) == 1


def test_an_update_whose_answer_is_lost_is_repeated() -> None:
    def answer(request: Request) -> Reply:
        return HANG_UP if len(vendor.requests) == 1 else results(request)

    watched = RecordingThrottle()
    with answering(answer) as vendor, portal(vendor.url, watched) as destination:
        outcomes = push(destination, change("u1", {"score": 1}, "101"))
    assert outcomes["u1"].status is Status.DELIVERED
    assert len(vendor.requests) == watched.calls == watched.acquired == 2


def test_a_contact_that_already_exists_is_updated_and_not_created_twice(sandbox: Running) -> None:
    """Reported (2024): 409 CONFLICT "Contact already exists. Existing ID: 123"."""
    seed(sandbox, {"101": {"email": "ada@example.com", "note": "mine"}})
    with portal(sandbox.url) as destination:
        outcomes = push(
            destination,
            change("u1", {"score": 5}, email="ADA@example.com"),
            change("u2", {"score": 6}, email="new@example.com"),
        )
    assert {each.status for each in outcomes.values()} == {Status.DELIVERED}
    assert outcomes["u1"].remote_id == "101"
    assert stored(sandbox, "101") == {"email": "ada@example.com", "note": "mine", "score": "5"}
    assert len(sandbox.state()["hubspot"]["contacts"]) == 2


def test_a_contact_that_already_exists_is_read_again_when_there_is_nothing_to_write(sandbox: Running) -> None:
    seed(sandbox, {"101": {"email": "ada@example.com", "score": "5"}})
    with portal(sandbox.url) as destination:
        outcome = push(destination, change("u1", {}, email="ada@example.com"))["u1"]
    assert (outcome.status, outcome.code) == (Status.UNKNOWN, "there_already")
    assert "101" in str(outcome.cause)


def test_a_new_record_can_be_found_again_by_every_key(sandbox: Running) -> None:
    seed(sandbox)
    with portal(sandbox.url) as destination:
        made = push(
            destination,
            change("u1", {"score": 5, "note": None}, our_id="U-1", email="ada@example.com", hs_object_id="7"),
        )
        by_id = find(destination, lookup("u1", our_id="U-1"))
        by_mail = find(destination, lookup("u1", email="ada@example.com"))
    assert by_id["u1"].remote_ids == by_mail["u1"].remote_ids == (made["u1"].remote_id,)
    assert "note" not in stored(sandbox, str(made["u1"].remote_id))


def test_the_first_key_with_one_hit_counts(sandbox: Running) -> None:
    seed(
        sandbox,
        {
            "101": {"email": "ada@example.com", "our_id": "u1"},
            "102": {"email": "bob@example.com"},
            "103": {"email": "eve@example.com"},
        },
    )
    with portal(sandbox.url) as destination:
        found = find(
            destination,
            lookup("u1", our_id="u1", email="bob@example.com"),
            lookup("u2", our_id="u2", email="Bob@Example.com "),
            lookup("u3", our_id="u3", email="nobody@example.com"),
            lookup("u4", hs_object_id="103"),
            lookup("u5", our_id="u5", email="not an address"),
        )
    assert {key: (each.remote_ids, each.matched_by) for key, each in found.items()} == {
        "u1": (("101",), "our_id"),
        "u2": (("102",), "email"),
        "u3": ((), None),
        "u4": (("103",), "hs_object_id"),
        "u5": ((), None),
    }


def test_a_contact_is_found_by_a_secondary_address_and_after_a_merge_by_its_former_id() -> None:
    """HubSpot, contacts guide (2026): e-mail includes hs_additional_emails; a merged id leads to the surviving record."""
    properties = {
        "email": "ada@example.com",
        "hs_additional_emails": "ada@old.example.com;a@example.com",
        "hs_merged_object_ids": "55;56",
        "score": "7",
    }

    def answer(request: Request) -> Reply:
        alias = "hs_additional_emails" if request.body.get("idProperty") else "hs_merged_object_ids"
        assert alias in request.body["properties"]
        return Reply(200, {"results": [{"id": "101", "properties": properties}]})

    with answering(answer) as vendor, portal(vendor.url) as destination:
        found = find(
            destination,
            lookup("u1", email="ada@old.example.com"),
            lookup("u2", "56"),
            score=FieldType.INTEGER,
        )
    assert {key: each.remote_ids for key, each in found.items()} == {"u1": ("101",), "u2": ("101",)}
    assert found["u2"].values == {"score": 7}


def test_a_merged_contact_is_found_and_written_as_the_remaining_one(sandbox: Running) -> None:
    """HubSpot, contacts guide (2026); hs_merged_object_ids and hs_additional_emails as a merge leaves them."""
    was = {"hs_merged_object_ids": "55;56", "hs_additional_emails": "ada@old.example.com"}
    sandbox.seed(
        {
            "hubspot": {"contacts": [{"id": "101", "properties": {"email": "ada@example.com", **was}}]},
            "fields": {"hubspot": {"contacts": {"score": {"type": "number"}}}},
        }
    )
    with portal(sandbox.url) as destination:
        found = find(destination, lookup("u1", email="ada@old.example.com"), lookup("u2", "56"))
        outcomes = push(destination, Change(Kind.CHANGED, "u2", (), {"score": 7}, remote_id="56"))
    assert {key: each.remote_ids for key, each in found.items()} == {"u1": ("101",), "u2": ("101",)}
    assert outcomes["u2"] == Outcome("u2", Status.DELIVERED, "101")
    (contact,) = sandbox.state()["hubspot"]["contacts"]
    assert contact["properties"]["score"] == "7"


def test_one_unreadable_key_does_not_prevent_the_other_lookups() -> None:
    def answer(request: Request) -> Reply:
        ids = [each["id"] for each in request.body["inputs"]]
        if "bad@example.com" in ids:
            return Reply(400, {"status": "error", "category": "VALIDATION_ERROR", "message": "Invalid"})
        return Reply(200, {"results": [{"id": id[1:3], "properties": {"email": id}} for id in ids]})

    mails = ["bad@example.com", *(f"u{n}@example.com" for n in range(10, 20))]
    with answering(answer) as vendor, portal(vendor.url) as destination:
        found = find(destination, *(lookup(mail, email=mail) for mail in mails))
    assert {key for key, each in found.items() if not each.remote_ids} == {"bad@example.com"}


def test_matching_by_a_property_without_unique_values_is_a_configuration_error(sandbox: Running) -> None:
    seed(sandbox)
    with portal(sandbox.url) as destination, pytest.raises(ConfigurationError, match="unique"):
        find(destination, lookup("u1", note="x"))


def test_a_domain_of_two_companies_is_ambiguous(sandbox: Running) -> None:
    """HubSpot, companies guide (2026): the domain is a hint; the API makes a second company with the same one."""
    companies = {"9": {"domain": "acme.com", "score": "3"}, "10": {"domain": "twice.com"}}
    seed(sandbox, companies=companies | {"11": {"domain": "twice.com"}})
    with portal(sandbox.url) as destination:
        found = find(
            destination,
            lookup("a1", domain="ACME.com"),
            lookup("a2", domain="twice.com"),
            lookup("a3", domain="none.com"),
            object="companies",
            score=FieldType.INTEGER,
        )
    assert found["a1"] == Found("a1", ("9",), "domain", {"score": 3})
    assert sorted(found["a2"].remote_ids) == ["10", "11"]
    assert found["a2"].values == {}
    assert found["a3"].remote_ids == ()


def test_a_search_stays_within_hubspots_length_and_reads_all_pages() -> None:
    """HubSpot, search guide (2026): bodies of up to 3,000 characters, 200 results a page."""

    def answer(request: Request) -> Reply:
        (values,) = (each["filters"][0]["values"] for each in request.body["filterGroups"])
        assert len(values) <= 100
        assert len(request.text) <= 3000
        start = int(request.body.get("after", 0))
        shown = [
            {"id": str(domains.index(v)), "properties": {"domain": v}} for v in values[start : start + 40]
        ]
        more = {"paging": {"next": {"after": str(start + 40)}}} if start + 40 < len(values) else {}
        return Reply(200, {"total": len(values), "results": shown, **more})

    domains = [f"{'long-' * (n % 9)}{n}.example.com" for n in range(150)]
    fields = {f"accoil_health_{n}": FieldType.TEXT for n in range(9)}
    with answering(answer) as vendor, portal(vendor.url) as destination:
        found = find(destination, *(lookup(d, domain=d) for d in domains), object="companies", **fields)
    assert all(len(each.remote_ids) == 1 for each in found.values())


def test_a_record_that_is_twice_in_a_batch_takes_two_calls_and_the_later_change_wins(
    sandbox: Running,
) -> None:
    """Reported: "Duplicate IDs found in batch input: [..]. IDs must be unique" refuses the whole batch."""
    seed(sandbox, {"101": {"email": "ada@example.com"}})
    watched = RecordingThrottle()
    with portal(sandbox.url, watched) as destination:
        outcomes = push(
            destination, change("u1", {"score": 1, "note": "a"}, "101"), change("u2", {"score": 2}, "101")
        )
    assert {each.status for each in outcomes.values()} == {Status.DELIVERED}
    assert stored(sandbox, "101") == {"email": "ada@example.com", "score": "2", "note": "a"}
    assert watched.calls == 2


def test_a_unique_value_that_another_record_has_is_a_duplicate(sandbox: Running) -> None:
    """Reported: "Cannot set PropertyValueCoordinates{..}. 123 already has that value"."""
    seed(sandbox, {"101": {"email": "a@example.com", "our_id": "1"}, "102": {"email": "b@example.com"}})
    with portal(sandbox.url) as destination:
        outcomes = push(destination, change("u1", {"score": 1}, "101"), change("u2", {"our_id": "1"}, "102"))
    assert outcomes["u1"].status is Status.DELIVERED
    assert (outcomes["u2"].code, outcomes["u2"].field) == ("duplicate", "our_id")


def test_a_record_that_left_and_does_not_exist_is_skipped(sandbox: Running) -> None:
    watched = RecordingThrottle()
    with portal(sandbox.url, watched) as destination:
        left = Change(Kind.LEFT, "u1", (Match("email", "ada@example.com"),), {"score": None})
        assert push(destination, left)["u1"].status is Status.SKIPPED
    assert watched.calls == 0


def test_nan_and_infinity_are_rejected_before_they_are_sent(sandbox: Running) -> None:
    watched = RecordingThrottle()
    with portal(sandbox.url, watched) as destination:
        outcomes = push(destination, change("u1", {"score": float("nan")}, "101"))
    assert (outcomes["u1"].code, outcomes["u1"].field, watched.calls) == ("bad_value", "score", 0)


def test_a_missing_scope_is_named() -> None:
    """HubSpot, error guide (2026): 403 MISSING_SCOPES."""
    scopes = {"requiredGranularScopes": ["crm.objects.contacts.write"]}
    body = {"status": "error", "category": "MISSING_SCOPES", "message": "no", "errors": [{"context": scopes}]}
    with answering(lambda request: Reply(403, body)) as vendor, portal(vendor.url) as destination:
        with pytest.raises(Unauthorized, match=r"crm\.objects\.contacts\.write"):
            push(destination, change("u1", {"score": 1}, "101"))
        with pytest.raises(ConfigurationError, match="create_fields"):
            destination.create_fields("contacts", [NewField("a", FieldType.TEXT, "A")])


@pytest.mark.parametrize(
    ("scope", "reply"),
    [
        ("crm.objects.contacts.write", "crm.objects.contacts.write"),
        ("crm.objects.contacts.read,crm.schemas.contacts.read", "crm.objects.contacts.read"),
    ],
)
def test_a_token_without_a_scope_is_refused_with_its_name(sandbox: Running, scope: str, reply: str) -> None:
    def look_and_write(destination: HubSpot) -> None:
        list(destination.find("contacts", [Lookup("u1", (Match("email", "ada@example.com"),))], {}))
        push(destination, change("u1", {"firstname": "Ada"}, "101"))

    with portal(sandbox.url, token=f"default:lacks.{scope}") as destination:
        assert destination.missing_permissions("contacts", True) == (reply,)
        assert destination.missing_permissions("companies", True) == ()
        with pytest.raises(Unauthorized, match=re.escape(f"Grant the scope {reply}, or use another token")):
            look_and_write(destination)


def test_without_the_scope_no_property_is_created(sandbox: Running) -> None:
    with portal(sandbox.url, token="default:lacks.crm.schemas.contacts.write") as destination:
        assert destination.missing_permissions("contacts", False) == ()
        assert destination.missing_permissions("contacts", True) == ("crm.schemas.contacts.write",)
        with pytest.raises(ConfigurationError, match=r"grant the token crm\.schemas\.contacts\.write"):
            destination.create_fields("contacts", [NewField("a", FieldType.TEXT, "A")])


@pytest.mark.parametrize("reply", [Reply(401, {}), Reply(403, {}), Reply(404, "no"), Reply(200, ["what"])])
def test_a_token_whose_scopes_hubspot_does_not_tell_lacks_none(reply: Reply) -> None:
    with answering(lambda request: reply) as vendor, portal(vendor.url) as destination:
        assert destination.missing_permissions("contacts", True) == ()


def test_a_portal_that_is_being_moved_says_when_to_come_back() -> None:
    """HubSpot, error guide (2026): 477 with Retry-After, up to 24 h."""
    moved = Reply(477, {"status": "error"}, {"Retry-After": "86400"})
    with (
        answering(lambda request: moved) as vendor,
        portal(vendor.url) as destination,
        pytest.raises(Unavailable) as caught,
    ):
        push(destination, change("u1", {"score": 1}, "101"))
    assert caught.value.retry_after == 86_400
    assert len(vendor.requests) == 1


def test_a_lock_is_waited_for() -> None:
    """HubSpot, error guide (2026): 423, and a lock lasts two seconds."""

    def answer(request: Request) -> Reply:
        return Reply(423, {"message": "locked"}) if len(vendor.requests) == 1 else results(request)

    with answering(answer) as vendor, portal(vendor.url) as destination:
        assert push(destination, change("u1", {"score": 1}, "101"))["u1"].status is Status.DELIVERED


@pytest.mark.parametrize(
    ("body", "headers", "seconds"),
    [
        ({"policyName": "DAILY"}, {"retry-after": "1"}, 3600.0),
        ({"policyName": "SECONDLY"}, {}, 1.0),
        (
            {"policyName": "TEN_SECONDLY_ROLLING"},
            {"x-hubspot-ratelimit-interval-milliseconds": "10000"},
            10.0,
        ),
        ({"policyName": "TEN_SECONDLY_ROLLING"}, {"retry-after": "4"}, 4.0),
        ("Too many requests", {}, None),
    ],
)
def test_the_spent_quota_decides_how_long_to_wait(
    body: Any, headers: Mapping[str, str], seconds: float | None
) -> None:
    """HubSpot, usage guidelines (2026): policyName tells the window; no Retry-After is promised."""
    assert wait(Answer(429, headers, body)) == seconds


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


def test_the_sdk_does_not_hide_a_rate_limit() -> None:
    def answer(request: Request) -> Reply:
        limited = Reply(429, {"policyName": "SECONDLY"}, {"Retry-After": "1"})
        return limited if len(vendor.requests) <= 2 else Reply(200, {"results": []})

    watched = RecordingThrottle()
    with answering(answer) as vendor, portal(vendor.url, watched) as destination:
        destination.fields("contacts")
    assert len(vendor.requests) == watched.calls == watched.acquired == 3
    assert watched.pauses == [1.0, 1.0]


class Latin(str):
    def encode(self, *_: Any) -> bytes:  # type: ignore[override]
        return str.encode(self, "latin-1")


def test_the_page_of_a_proxy_that_is_not_utf_8_is_still_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """hubspot-api-client 12.0.0, read: its error handling decodes the body as UTF-8."""
    monkeypatch.setattr("connectors.http.ATTEMPTS", 1)
    page = Reply(502, Latin("<h1>Überlastet</h1>"))
    with (
        answering(lambda request: page) as vendor,
        portal(vendor.url) as destination,
        pytest.raises(Unavailable, match="502"),
    ):
        destination.account()


def test_an_archived_property_that_is_restored_with_another_type_is_reported(sandbox: Running) -> None:
    """Observed live by a third party (2026-09-29): making an archived name restores the old property."""
    with portal(sandbox.url) as destination:
        destination.create_fields("contacts", [NewField("mood", FieldType.TEXT, "Mood")])
        requests.delete(
            f"{sandbox.url}/crm/v3/properties/contacts/mood", headers={"Authorization": "Bearer x"}, timeout=5
        )
        assert "mood" not in destination.fields("contacts")
        with pytest.raises(ConfigurationError, match="archived property 'mood'"):
            destination.create_fields("contacts", [NewField("mood", FieldType.NUMBER, "Mood")])


def test_properties_are_created_in_their_own_group_and_in_one_call(sandbox: Running) -> None:
    watched = RecordingThrottle()
    new = [NewField(f"made_{type.value}", type, type.value.title()) for type in FieldType]
    with portal(sandbox.url, watched) as destination:
        destination.create_fields("companies", new)
        destination.create_fields("companies", [])
    made = sandbox.state()["fields"]["hubspot"]["companies"]
    assert {name: (each["type"], each["fieldType"]) for name, each in made.items()} == {
        "made_text": ("string", "text"),
        "made_list": ("string", "text"),
        "made_integer": ("number", "number"),
        "made_number": ("number", "number"),
        "made_boolean": ("bool", "booleancheckbox"),
        "made_date": ("date", "date"),
        "made_datetime": ("datetime", "date"),
    }
    assert {each["groupName"] for each in made.values()} == {"heatsync"}
    assert watched.calls == 2


def test_fields_say_what_can_be_written(sandbox: Running) -> None:
    seed(sandbox)
    with portal(sandbox.url) as destination:
        fields = destination.fields("contacts")
    assert not fields["locked"].writable
    assert not fields["hs_object_id"].writable
    assert fields["our_id"].unique
    assert fields["email"].unique
    assert fields["level"].options == ("low", "high")
    assert (fields["score"].type, fields["note"].length) == ("number", 65_536)


def test_names_are_in_lower_case() -> None:
    """Segment cleanProp and Estuary docs: property names are lower case, digits, underscore, 100 characters."""
    assert VENDOR.name_trait("Accoil", "Health", "last_active", Entity.USER) == "accoil_health_lastactive"
    assert VENDOR.name_trait("Accoil", "My Score", "score", Entity.ACCOUNT) == "accoil_myscore_score"


def test_a_time_is_in_utc_whatever_its_offset() -> None:
    east = datetime.fromisoformat("2026-11-22T07:30:00+02:00")
    assert decode(east.isoformat(), FieldType.DATETIME) == east.astimezone(UTC) == east
    assert decode("2026-11-22T05:30:00", FieldType.DATETIME) == "2026-11-22T05:30:00"


def test_a_proxy_from_the_environment_is_not_used_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example.com:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.example.com:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    for host, proxy in (
        ("https://api.hubapi.com", "http://proxy.example.com:3128"),
        ("http://127.0.0.1:9", None),
    ):
        with portal(host) as destination:
            assert destination._client._client.configuration.proxy == proxy


# What every destination promises

CONTACTS = Case(
    "hubspot",
    "contacts",
    {"token": contract.SECRET},
    records=lambda n: {"id": str(100_000 + n), "properties": {"email": f"u{n}@example.com"}},
    definitions={"score": {"type": "number"}},
    match=lambda n: Match("email", f"u{n}@example.com"),
    id=lambda n: str(100_000 + n),
    read=lambda state, n: int(
        next(
            each["properties"]["score"]
            for each in state["hubspot"]["contacts"]
            if each["properties"]["email"] == f"u{n}@example.com"
        )
    ),
    field="score",
    bad="many",
)
COMPANIES = Case(
    "hubspot",
    "companies",
    {"token": contract.SECRET},
    records=lambda n: {"id": str(200_000 + n), "properties": {"domain": f"u{n}.example.com"}},
    definitions={"score": {"type": "number"}, "our_id": {"type": "string", "hasUniqueValue": True}},
    match=lambda n: Match("domain", f"u{n}.example.com"),
    id=lambda n: str(200_000 + n),
    read=lambda state, n: int(
        next(
            each["properties"]["score"]
            for each in state["hubspot"]["companies"]
            if each["properties"]["domain"] == f"u{n}.example.com"
        )
    ),
    field="score",
    bad="many",
    # A company has no natural key.
    create_repeats=False,
)
CONTRACT = (CONTACTS, COMPANIES)
