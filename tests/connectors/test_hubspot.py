import json

import contract
import pytest
from contract import Case
from fake_vendor import HANG_UP, RecordingThrottle, Reply, Request, answering
from hubspot_calls import change, find, lookup, portal, push, results, seed, stored

from connectors.errors import ConfigurationError
from connectors.types import (
    Account,
    Change,
    FieldType,
    Found,
    Kind,
    Match,
    Outcome,
    Status,
)
from heatsync.sandbox.server import Running


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
        created = push(
            destination,
            change("u1", {"score": 5, "note": None}, our_id="U-1", email="ada@example.com", hs_object_id="7"),
        )
        by_id = find(destination, lookup("u1", our_id="U-1"))
        by_mail = find(destination, lookup("u1", email="ada@example.com"))
    assert by_id["u1"].remote_ids == by_mail["u1"].remote_ids == (created["u1"].remote_id,)
    assert "note" not in stored(sandbox, str(created["u1"].remote_id))


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
    natural_key=False,
)
CONTRACT = (CONTACTS, COMPANIES)
