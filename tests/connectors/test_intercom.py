import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from email.utils import format_datetime
from typing import Any

import contract
import pytest
from contract import Case
from fake_vendor import HANG_UP, RecordingThrottle, Reply, Request, answering
from hypothesis import given
from hypothesis import strategies as st

from connectors.answers import Answer
from connectors.errors import ConfigurationError, Misunderstood, Unauthorized, Unavailable
from connectors.intercom import client
from connectors.intercom import destination as intercom
from connectors.intercom.destination import Intercom
from connectors.intercom.records import decode, encode
from connectors.types import (
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


# the account


def test_the_workspace_is_identified_by_its_code(sandbox: Running) -> None:
    with workspace(sandbox.url) as mine, workspace(sandbox.url, token="acme:x") as theirs:
        assert mine.account().kind == "workspace"
        assert mine.account().id != theirs.account().id
        assert theirs.account().name == "acme"


def test_refused_credentials_are_unauthorized_in_every_call(sandbox: Running) -> None:
    with workspace(sandbox.url, token="refused") as destination:
        for ask in (
            destination.account,
            lambda: destination.fields("contacts"),
            lambda: find(destination, lookup("u1", email="a@b.co")),
            lambda: find(destination, lookup("a1", company_id="a1"), object="companies"),
            lambda: push(destination, change("u1", {SCORE: 1}, id="5f1")),
        ):
            with pytest.raises(Unauthorized):
                ask()


def test_a_region_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"'asia'.*us, eu, au"), workspace("", region="asia"):
        pass


def test_every_call_names_the_api_version() -> None:
    """python-intercom 5.0.1, probed: no Intercom-Version header, so that each workspace answers in its own."""

    def answer(request: Request) -> Reply:
        body = {"id": "5f1", "app": {"id_code": "x"}, "data": [], "pages": {}}
        return Reply(200, body)

    watched = RecordingThrottle()
    with answering(answer) as vendor, workspace(vendor.url, watched) as destination:
        destination.account()
        destination.fields("companies")
        destination.create_fields("contacts", [NewField("a", FieldType.TEXT, "A")])
        find(destination, lookup("u1", email="a@b.co"))
        find(destination, lookup("a1", id="c1"), object="companies")
        push(destination, change("u1", {SCORE: 1}, id="5f1"), change("u2", {SCORE: 1}, external_id="u2"))
        push(destination, change("a1", {SCORE: 1}, id="5f1"), object="companies")
    assert len(vendor.requests) == watched.calls == watched.acquired == 9
    assert {request.headers["intercom-version"] for request in vendor.requests} == {"2.14"}
    assert {request.headers["authorization"] for request in vendor.requests} == {f"Bearer {TOKEN}"}


# finding


def test_a_contact_is_found_by_external_id_before_email_and_its_values_are_read(sandbox: Running) -> None:
    custom = {SCORE: 71, SEEN: 1_764_000_000, LEVEL: "High", "paying": True, "share": 66.5}
    seed(
        sandbox,
        [
            {"id": "5f1", "external_id": "u1", "email": "ada@example.com", "custom_attributes": custom},
            {"id": "5f2", "external_id": "x", "email": "bob@example.com", "name": "Bob"},
            {"id": "5f3", "email": "twins@example.com", "external_id": "t1"},
            {"id": "5f4", "email": "Twins@Example.com", "external_id": "t2"},
        ],
    )
    watched = RecordingThrottle()
    with workspace(sandbox.url, watched) as destination:
        found = find(
            destination,
            lookup("u1", external_id="u1", email="bob@example.com"),
            lookup("u2", external_id="u2", email="Bob@example.com"),
            lookup("u3", external_id="u3", email="twins@example.com"),
            lookup("u4", external_id="u4", email="nobody@example.com"),
            **{
                SCORE: FieldType.INTEGER,
                SEEN: FieldType.DATETIME,
                LEVEL: FieldType.TEXT,
                "paying": FieldType.BOOLEAN,
                "share": FieldType.NUMBER,
                "name": FieldType.TEXT,
            },
        )
    assert watched.calls == 1
    assert (found["u1"].remote_ids, found["u1"].matched_by) == (("5f1",), "external_id")
    assert found["u1"].values == {
        SCORE: 71,
        SEEN: datetime(2025, 11, 24, 16, 0, tzinfo=UTC),
        LEVEL: "High",
        "paying": True,
        "share": 66.5,
        "name": None,
    }
    assert (found["u2"].remote_ids, found["u2"].matched_by) == (("5f2",), "email")
    assert (found["u2"].values["name"], found["u2"].values[SCORE]) == ("Bob", None)
    assert sorted(found["u3"].remote_ids) == ["5f3", "5f4"]
    assert found["u4"] == Found("u4", ())


def test_a_second_key_with_one_hit_settles_what_the_first_left_open(sandbox: Running) -> None:
    """Reported: users whose external ids differ may share an e-mail address."""
    seed(
        sandbox,
        [
            {"id": "5f1", "email": "twins@example.com", "external_id": "t1"},
            {"id": "5f2", "email": "twins@example.com", "external_id": "t2"},
        ],
    )
    with workspace(sandbox.url) as destination:
        found = find(destination, lookup("u1", email="twins@example.com", external_id="t2"))
    assert (found["u1"].remote_ids, found["u1"].matched_by) == (("5f2",), "external_id")


def test_a_remembered_contact_is_read_by_its_id_and_looked_up_by_key_when_it_is_gone(
    sandbox: Running,
) -> None:
    seed(sandbox, [{"id": "5f1", "email": "new@example.com"}, {"id": "5f2", "external_id": "u2"}])
    with workspace(sandbox.url) as destination:
        found = find(
            destination,
            lookup("u1", id="5f1", email="old@example.com"),
            lookup("u2", id="0", external_id="u2"),
        )
    assert (found["u1"].remote_ids, found["u1"].matched_by) == (("5f1",), "id")
    assert (found["u2"].remote_ids, found["u2"].matched_by) == (("5f2",), "external_id")


def test_150_contacts_are_found_in_one_call(sandbox: Running) -> None:
    seed(sandbox, ({"external_id": f"u{n}", "email": f"u{n}@example.com"} for n in range(400)))
    watched = RecordingThrottle()
    with workspace(sandbox.url, watched) as destination:
        found = find(
            destination,
            *(lookup(f"u{n}", external_id=f"u{n}", email=f"u{n}@example.com") for n in range(300)),
        )
    assert all(len(each.remote_ids) == 1 for each in found.values())
    assert watched.calls == 2


def test_hits_beyond_the_first_page_are_read(sandbox: Running) -> None:
    seed(sandbox, ({"external_id": f"u{n}", "email": "all@example.com"} for n in range(320)))
    watched = RecordingThrottle()
    with workspace(sandbox.url, watched) as destination:
        found = find(destination, lookup("u1", email="all@example.com"))
    assert len(found["u1"].remote_ids) == 320
    assert watched.calls == 3


def test_a_search_with_too_many_values_is_split() -> None:
    def answer(request: Request) -> Reply:
        values = request.body["query"]["value"]
        if len(values) > 15:
            return Reply(400, refusal("parameter_invalid", "too many values"))
        people = [{"id": f"i-{each}", "external_id": each} for each in values]
        return Reply(200, {"type": "list", "data": people, "pages": {"type": "pages"}})

    with answering(answer) as vendor, workspace(vendor.url) as destination:
        found = find(destination, *(lookup(f"u{n}", external_id=f"u{n}") for n in range(40)))
    assert {key: each.remote_ids for key, each in found.items()} == {f"u{n}": (f"i-u{n}",) for n in range(40)}
    assert len(vendor.requests) == 4


def test_companies_are_found_by_their_id_one_call_each(sandbox: Running) -> None:
    name = "Accoil_Health_Account_Score"
    seed(
        sandbox,
        companies=[
            {"id": "c1", "company_id": "a/1 ü", "plan": "Pro", "custom_attributes": {name: 40}},
            {"id": "c2", "company_id": "a2"},
        ],
    )
    watched = RecordingThrottle()
    with workspace(sandbox.url, watched) as destination:
        found = find(
            destination,
            lookup("a1", company_id="a/1 ü"),
            lookup("a2", id="c2", company_id="zzz"),
            lookup("a3", company_id="a3"),
            object="companies",
            **{name: FieldType.INTEGER, "plan": FieldType.TEXT},
        )
    assert found["a1"] == Found("a1", ("c1",), "company_id", {name: 40, "plan": "Pro"})
    assert found["a2"] == Found("a2", ("c2",), "id", {name: None, "plan": None})
    assert found["a3"] == Found("a3", ())
    assert watched.calls == 3


def test_a_remembered_company_that_is_gone_is_looked_up_by_key(sandbox: Running) -> None:
    seed(sandbox, companies=[{"id": "c1", "company_id": "a1"}])
    with workspace(sandbox.url) as destination:
        found = find(destination, lookup("a1", id="gone", company_id="a1"), object="companies")
    assert (found["a1"].remote_ids, found["a1"].matched_by) == (("c1",), "company_id")


def test_in_a_list_of_companies_only_the_requested_one_counts() -> None:
    listed = [{"type": "company", "id": "c1", "company_id": "a1"}, {"id": "c2", "company_id": "other"}]
    body = {"type": "list", "data": listed}
    with answering(lambda request: Reply(200, body)) as vendor, workspace(vendor.url) as destination:
        found = find(destination, lookup("a1", company_id="a1"), object="companies")
    assert found["a1"].remote_ids == ("c1",)


# writing


def test_an_update_writes_the_fields_and_nothing_else(sandbox: Running) -> None:
    before = {"id": "5f1", "external_id": "u1", "email": "ada@example.com", "phone": "+1"}
    seed(sandbox, [{**before, "custom_attributes": {LEVEL: "Low", "paying": True}}])
    with workspace(sandbox.url) as destination:
        fields: dict[str, Value] = {
            SCORE: 71,
            SEEN: datetime(2025, 11, 24, 16, 0, tzinfo=UTC),
            LEVEL: None,
            "share": 66.5,
            "name": "Ada",
        }
        outcomes = push(destination, change("u1", fields, id="5f1", external_id="u1"))
    assert outcomes["u1"] == Outcome("u1", Status.DELIVERED, "5f1")
    assert contact(sandbox, "5f1") == {
        **before,
        "name": "Ada",
        "custom_attributes": {SCORE: 71, SEEN: 1_764_000_000, "share": 66.5, "paying": True},
    }


def test_a_whole_number_fits_an_integer_attribute_and_a_date_is_midnight(sandbox: Running) -> None:
    """Intercom OpenAPI 2.14: dates are unix seconds; an integer attribute takes no 5.0."""
    seed(sandbox, [{"id": "5f1"}])
    with workspace(sandbox.url) as destination:
        push(destination, change("u1", {SCORE: 71.0, SEEN: date(2025, 11, 24)}, id="5f1"))
    assert contact(sandbox, "5f1")["custom_attributes"] == {SCORE: 71, SEEN: 1_763_942_400}


def test_a_new_contact_has_the_keys_that_find_it(sandbox: Running) -> None:
    seed(sandbox)
    with workspace(sandbox.url) as destination:
        outcome = push(destination, change("u1", {SCORE: 7}, external_id="u1", email="ada@example.com"))["u1"]
        assert outcome.remote_id
        found = find(destination, lookup("u1", external_id="u1"), **{SCORE: FieldType.INTEGER})
    assert found["u1"] == Found("u1", (outcome.remote_id,), "external_id", {SCORE: 7})
    assert contact(sandbox, outcome.remote_id)["email"] == "ada@example.com"


def test_a_contact_that_search_did_not_show_is_updated_and_not_created_twice(sandbox: Running) -> None:
    """Intercom OpenAPI 2.14: search may lag by minutes. Reported: 409 "A contact matching those details already exists with id=.."."""
    seed(sandbox, [{"id": "5f1", "external_id": "u1", "email": "first@example.com"}])
    with workspace(sandbox.url) as destination:
        outcomes = push(destination, change("u1", {SCORE: 7}, external_id="u1", email="ada@example.com"))
    assert outcomes["u1"] == Outcome("u1", Status.DELIVERED, "5f1")
    assert contact(sandbox, "5f1")["email"] == "first@example.com"
    assert contact(sandbox, "5f1")["custom_attributes"] == {SCORE: 7}


def test_a_contact_that_search_did_not_show_is_read_again_when_there_is_nothing_to_write(
    sandbox: Running,
) -> None:
    seed(sandbox, [{"id": "5f1", "external_id": "u1", "email": "first@example.com"}])
    with workspace(sandbox.url) as destination:
        outcome = push(destination, change("u1", {}, external_id="u1", email="ada@example.com"))["u1"]
    assert (outcome.status, outcome.code) == (Status.UNKNOWN, "there_already")
    assert "5f1" in str(outcome.cause)


def test_an_archived_contact_is_not_written_and_reported_as_archived() -> None:
    """python-intercom pull request 543: an archived contact is a 409 with another message."""
    words = "An archived contact matching those details already exists with id=5ff25dc6"
    with (
        answering(lambda request: Reply(409, refusal("conflict", words))) as vendor,
        workspace(vendor.url) as destination,
    ):
        outcome = push(destination, change("u1", {SCORE: 7}, external_id="u1"))["u1"]
    assert (outcome.status, outcome.code, outcome.answer) == (Status.REJECTED, "conflict", words)
    assert "unarchive" in outcome.cause
    assert [request.method for request in vendor.requests] == ["POST"]


def test_a_merged_contact_is_written_as_the_remaining_one() -> None:
    """Intercom OpenAPI 2.14: 410 contact_merged, with the survivor in the Link header."""

    def answer(request: Request) -> Reply:
        if request.path == "/contacts/5f2":
            return Reply(200, {"type": "contact", "id": "5f2"})
        link = {"Link": '</contacts/5f2>; rel="canonical"'}
        return Reply(410, refusal("contact_merged", "The contact was merged"), link)

    with answering(answer) as vendor, workspace(vendor.url) as destination:
        outcomes = push(destination, change("u1", {SCORE: 7}, id="5f1"))
    assert outcomes["u1"] == Outcome("u1", Status.DELIVERED, "5f2")
    assert len(vendor.requests) == 2


def test_a_contact_merged_into_a_merged_one_is_followed_once() -> None:
    link = {"Link": '</contacts/5f2>; rel="canonical"'}
    reply = Reply(410, refusal("contact_merged", "The contact was merged"), link)
    with answering(lambda request: reply) as vendor, workspace(vendor.url) as destination:
        outcomes = push(destination, change("u1", {SCORE: 7}, id="5f1"))
    assert (outcomes["u1"].status, outcomes["u1"].code) == (Status.REJECTED, "not_found")
    assert len(vendor.requests) == 2


@pytest.mark.parametrize("object", ["contacts", "companies"])
def test_a_record_that_is_gone_is_not_created_again(sandbox: Running, object: str) -> None:
    seed(sandbox)
    with workspace(sandbox.url) as destination:
        outcomes = push(destination, change("u1", {"name": "x"}, id="gone"), object=object)
    assert (outcomes["u1"].status, outcomes["u1"].code) == (Status.REJECTED, "not_found")
    assert sandbox.state()["intercom"] == {"contacts": [], "companies": []}


def test_companies_are_created_and_updated(sandbox: Running) -> None:
    score = "Accoil_Health_Account_Score"
    seed(
        sandbox, companies=[{"id": "c1", "company_id": "a1", "name": "Acme", "custom_attributes": {score: 1}}]
    )
    with workspace(sandbox.url) as destination:
        outcomes = push(
            destination,
            change("a1", {score: None, "industry": "Bees"}, id="c1", company_id="a1"),
            change("a2", {score: 40, "plan": "Pro"}, company_id="a2"),
            object="companies",
        )
    assert [each.status for each in outcomes.values()] == [Status.DELIVERED] * 2
    made = company(sandbox, "a2")
    assert outcomes["a2"].remote_id == made["id"]
    assert (made["plan"], made["custom_attributes"]) == ("Pro", {score: 40})
    kept = company(sandbox, "a1")
    assert (kept["name"], kept["industry"], kept["custom_attributes"]) == ("Acme", "Bees", {})


def test_creating_a_company_twice_creates_one(sandbox: Running) -> None:
    """Intercom OpenAPI 2.14: POST /companies matches by company_id, which never changes."""
    seed(sandbox)
    with workspace(sandbox.url) as destination:
        made = change("a1", {"name": "Acme"}, company_id="a1")
        first = push(destination, made, object="companies")
        assert push(destination, made, object="companies") == first
    assert len(sandbox.state()["intercom"]["companies"]) == 1


def test_a_missing_attribute_is_named_and_costs_one_call(sandbox: Running) -> None:
    """Reported: 400 parameter_invalid "Custom attribute 'x' does not exist" (API 2.0 changelog: only /data_attributes makes them)."""
    seed(sandbox, ({"id": f"5f{n}"} for n in range(4)))
    watched = RecordingThrottle()
    with workspace(sandbox.url, watched) as destination:
        outcomes = push(
            destination,
            change("u0", {SCORE: 1, "nowhere": 1}, id="5f0"),
            change("u1", {SCORE: 1}, id="5f1"),
            change("u2", {"nowhere": 2}, id="5f2"),
        )
    for key in ("u0", "u2"):
        assert (outcomes[key].status, outcomes[key].code) == (Status.REJECTED, "field_missing")
        assert outcomes[key].field == "nowhere"
    assert outcomes["u0"].answer == "Custom attribute 'nowhere' does not exist"
    assert outcomes["u1"].status is Status.DELIVERED
    assert watched.calls == 2


@pytest.mark.parametrize(
    ("field", "value"), [(SCORE, "many"), ("paying", 3), ("size_class", "huge"), ("owner_id", "Bob")]
)
def test_one_refused_value_does_not_affect_other_records(sandbox: Running, field: str, value: Value) -> None:
    seed(sandbox, [{"id": "5f1"}, {"id": "5f2"}])
    with workspace(sandbox.url) as destination:
        outcomes = push(
            destination,
            change("u1", {field: value, LEVEL: "x"}, id="5f1"),
            change("u2", {LEVEL: "x"}, id="5f2"),
        )
    assert (outcomes["u1"].status, outcomes["u1"].code, outcomes["u1"].field) == (
        Status.REJECTED,
        "bad_value",
        field,
    )
    assert outcomes["u1"].answer
    assert outcomes["u2"].status is Status.DELIVERED


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


# attributes


def test_missing_attributes_are_created_with_their_types(sandbox: Running) -> None:
    new = [NewField(f"new_{type}", type, f"New {type}") for type in FieldType]
    with workspace(sandbox.url) as destination:
        destination.create_fields("companies", new)
        fields = destination.fields("companies")
    assert {each.name: fields[each.name].type for each in new} == {
        "new_text": "string",
        "new_integer": "integer",
        "new_number": "float",
        "new_boolean": "boolean",
        "new_date": "date",
        "new_datetime": "date",
        "new_list": "string",
    }


def test_an_attribute_that_someone_created_meanwhile_is_accepted(sandbox: Running) -> None:
    with workspace(sandbox.url) as destination:
        for _ in range(2):
            destination.create_fields("contacts", [NewField("score", FieldType.INTEGER, "Score")])


def test_an_archived_attribute_is_restored_with_its_values(sandbox: Running) -> None:
    """Intercom OpenAPI 2.14: PUT /data_attributes/{id} with `archived: false`; a name is taken all the same."""
    put_away = {"share": {"type": "float", "archived": True}, "mood": {"type": "string"}}
    sandbox.seed({"intercom": {"contacts": [{"id": "5f1"}]}, "fields": {"intercom": {"contacts": put_away}}})
    with workspace(sandbox.url) as destination:
        assert "share" not in destination.fields("contacts")
        assert list(destination.archived_fields("contacts")) == ["share"]
        destination.create_fields("contacts", [NewField("share", FieldType.NUMBER, "Share")])
        assert destination.fields("contacts")["share"].type == "float"
        assert destination.archived_fields("contacts") == {}
        assert push(destination, change("u1", {"share": 66.5}, id="5f1"))["u1"].status is Status.DELIVERED


@pytest.mark.parametrize("definition", [{"type": "string"}, {"type": "integer", "api_writable": False}])
def test_an_archived_attribute_of_another_type_is_reported_before_any_is_created(
    sandbox: Running, definition: dict[str, Any]
) -> None:
    before = {"score": {**definition, "archived": True}}
    sandbox.seed({"fields": {"intercom": {"contacts": before}}})
    new = [NewField("fresh", FieldType.TEXT, "Fresh"), NewField("score", FieldType.INTEGER, "Score")]
    refusal = pytest.raises(ConfigurationError, match=r"archived contact attribute 'score'.*another name")
    with workspace(sandbox.url) as destination, refusal:
        destination.create_fields("contacts", new)
    assert sandbox.state()["fields"]["intercom"]["contacts"] == before


def test_an_attribute_that_stays_archived_is_an_error() -> None:
    old = {"id": 37, "name": "score", "data_type": "integer", "custom": True, "archived": True}

    def answer(request: Request) -> Reply:
        return Reply(200, {"type": "list", "data": [old]} if request.method == "GET" else old)

    refusal = pytest.raises(ConfigurationError, match=r"does not unarchive .* 'score'")
    with answering(answer) as vendor, workspace(vendor.url) as destination, refusal:
        destination.create_fields("contacts", [NewField("score", FieldType.INTEGER, "Score")])


def test_archived_attributes_do_not_count_towards_the_limit(sandbox: Running) -> None:
    sandbox.seed({"fields": {"intercom": {"contacts": {"a": {"archived": True}, "b": {}}}}})
    with workspace(sandbox.url) as destination:
        assert destination.fields_left("contacts") == 249


def test_a_name_that_companies_use_is_refused_with_the_remedy(sandbox: Running) -> None:
    """Intercom OpenAPI 2.14: "You already have 'X' in your company data. To save this as new people data, .."."""
    with workspace(sandbox.url) as destination:
        destination.create_fields("companies", [NewField("score", FieldType.INTEGER, "Score")])
        with pytest.raises(ConfigurationError) as caught:
            destination.create_fields("contacts", [NewField("score", FieldType.INTEGER, "Score")])
    assert "You already have 'score' in your company data" in str(caught.value)
    assert "another name in this mapping" in str(caught.value)


def test_a_name_with_forbidden_characters_is_refused_with_the_reason(sandbox: Running) -> None:
    """Intercom OpenAPI 2.14: alphanumeric characters, currency symbols and hyphens."""
    with workspace(sandbox.url) as destination, pytest.raises(ConfigurationError, match="alphanumeric"):
        destination.create_fields("contacts", [NewField("!nv@l!d", FieldType.TEXT, "Invalid")])


def test_fields_have_type_length_and_options(sandbox: Running) -> None:
    seed(sandbox)
    with workspace(sandbox.url) as destination:
        contacts, companies = destination.fields("contacts"), destination.fields("companies")
    assert (contacts[SCORE].type, contacts[SCORE].writable) == ("integer", True)
    assert (contacts[LEVEL].type, contacts[LEVEL].length) == ("string", 255)
    assert contacts["size_class"].options == ("small", "large")
    assert contacts["external_id"].unique
    assert contacts["phone"].writable
    assert "nowhere" not in contacts
    assert SCORE not in companies
    assert companies["plan"].writable
    assert not companies["company_id"].writable


# the line


def test_a_rate_limit_pauses_all_calls_until_the_time_that_intercom_names() -> None:
    """Intercom, rate limiting (2026): X-RateLimit-Reset is a moment in unix seconds; no Retry-After."""
    now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    headers = {"date": format_datetime(now, usegmt=True), "x-ratelimit-reset": str(int(now.timestamp()) + 7)}
    assert client.wait(Answer(429, headers, {})) == 7.0
    assert client.wait(Answer(429, {**headers, "x-ratelimit-reset": "12"}, {})) == 1.0
    assert client.wait(Answer(429, {}, {})) is None


def test_a_rate_limited_call_is_repeated() -> None:
    """python-intercom 5.0.1, probed: max_retries up to 2 do not retry at all; retries are ours."""
    answers = iter(
        [Reply(429, refusal("rate_limit_exceeded", "Exceeded rate limit")), Reply(200, {"id": "5f1"})]
    )
    watched = RecordingThrottle()
    with answering(lambda request: next(answers)) as vendor, workspace(vendor.url, watched) as destination:
        assert push(destination, change("u1", {SCORE: 7}, id="5f1"))["u1"].status is Status.DELIVERED
    assert len(watched.pauses) == 1
    assert watched.calls == len(vendor.requests) == 2


def test_the_quota_of_a_small_workspace_is_kept(sandbox: Running) -> None:
    from heatsync.sandbox.server import running

    with running(limits={"intercom": {"burst": 3}}) as small:
        small.seed({"intercom": {"contacts": [{"id": f"5f{n}"} for n in range(5)]}})
        watched = RecordingThrottle()
        with workspace(small.url, watched) as destination, pytest.raises(Unavailable) as caught:
            push(destination, *(change(f"u{n}", {"name": "x"}, id=f"5f{n}") for n in range(5)))
        assert 0 < (caught.value.retry_after or 0) <= 11
        assert all(1 <= pause <= 11 for pause in watched.pauses)


def test_an_update_whose_answer_is_lost_is_sent_again() -> None:
    answers = iter([HANG_UP, Reply(200, {"id": "5f1"})])
    with answering(lambda request: next(answers)) as vendor, workspace(vendor.url) as destination:
        assert push(destination, change("u1", {SCORE: 7}, id="5f1"))["u1"].status is Status.DELIVERED
    assert len(vendor.requests) == 2


def test_a_create_whose_answer_is_lost_is_unknown_and_the_rest_goes_on() -> None:
    answers = iter([HANG_UP, Reply(200, {"id": "5f2"})])
    with answering(lambda request: next(answers)) as vendor, workspace(vendor.url) as destination:
        outcomes = push(
            destination, change("u1", {SCORE: 7}, external_id="u1"), change("u2", {SCORE: 7}, id="5f2")
        )
    assert outcomes["u1"].status is Status.UNKNOWN
    assert outcomes["u2"].status is Status.DELIVERED
    assert len(vendor.requests) == 2


def test_outcomes_are_kept_when_the_next_call_fails() -> None:
    def answer(request: Request) -> Reply:
        return Reply(200, {"id": "5f1"}) if "5f1" in request.path else Reply(503, "", {"Retry-After": "60"})

    earned: list[Outcome] = []
    changes = (change("u1", {SCORE: 1}, id="5f1"), change("u2", {SCORE: 1}, id="5f2"))
    with answering(answer) as vendor, workspace(vendor.url) as destination:
        with pytest.raises(Unavailable) as caught:
            earned.extend(destination.push(Batch("b1", "intercom", "contacts", changes)))
        assert caught.value.retry_after == 60.0
    assert [each.key for each in earned] == ["u1"]


def test_a_closed_port_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.http.ATTEMPTS", 1)
    with answering(lambda request: Reply()) as vendor:
        pass
    with workspace(vendor.url) as destination, pytest.raises(Unavailable, match="cannot be reached"):
        destination.account()


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, "<html>hello</html>"),
        Reply(200, []),
        Reply(200, {"type": "contact"}),
        Reply(200, {"type": "list", "data": [{}]}),
        Reply(200, {"type": "list", "data": "none"}),
        Reply(200, "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")),
        Reply(302, "", {"Location": "/elsewhere"}),
        Reply(404, f"no such page {TOKEN}"),
        Reply(418, {"teapot": True}),
    ],
)
def test_an_unreadable_answer_is_not_a_success(reply: Reply) -> None:
    with answering(lambda request: reply) as vendor, workspace(vendor.url) as destination:
        for ask in (
            destination.account,
            lambda: destination.fields("contacts"),
            lambda: find(destination, lookup("u1", email="a@b.co")),
            lambda: find(destination, lookup("a1", id="c1"), object="companies"),
            lambda: find(destination, lookup("a1", company_id="a1"), object="companies"),
            lambda: push(destination, change("u1", {SCORE: 1}, id="5f1")),
            lambda: push(destination, change("u1", {SCORE: 1}, external_id="u1")),
            lambda: push(destination, change("a1", {SCORE: 1}, id="c1"), object="companies"),
        ):
            with pytest.raises(Misunderstood) as caught:
                ask()
            assert TOKEN not in str(caught.value) + caught.value.evidence


def test_a_token_that_may_not_read_is_unauthorized() -> None:
    reply = Reply(403, refusal("api_plan_restricted", "Active subscription needed."))
    with answering(lambda request: reply) as vendor, workspace(vendor.url) as destination:
        for ask in (
            destination.account,
            lambda: destination.fields("contacts"),
            lambda: find(destination, lookup("u1", email="a@b.co")),
            lambda: find(destination, lookup("a1", company_id="a1"), object="companies"),
        ):
            with pytest.raises(Unauthorized, match="Active subscription needed"):
                ask()


def test_a_refused_permission_is_reported_and_other_records_are_written() -> None:
    def answer(request: Request) -> Reply:
        if "5f1" in request.path:
            return Reply(403, refusal("api_plan_restricted", "Active subscription needed."))
        return Reply(200, {"id": "5f2"})

    with answering(answer) as vendor, workspace(vendor.url) as destination:
        outcomes = push(destination, change("u1", {SCORE: 1}, id="5f1"), change("u2", {SCORE: 1}, id="5f2"))
    assert (outcomes["u1"].code, outcomes["u1"].answer) == ("permission", "Active subscription needed.")
    assert outcomes["u2"].status is Status.DELIVERED


def test_the_log_contains_no_token_and_no_address(sandbox: Running, caplog: pytest.LogCaptureFixture) -> None:
    seed(sandbox)
    with caplog.at_level(logging.DEBUG), workspace(sandbox.url) as destination:
        destination.account()
        find(destination, lookup("u1", email="ada@example.com"))
        push(destination, change("u1", {SCORE: 1}, external_id="u1", email="ada@example.com"))
    assert TOKEN not in caplog.text
    assert "ada@example.com" not in caplog.text


# names and values


def test_companies_have_their_own_trait_names() -> None:
    """Intercom OpenAPI 2.14: contacts and companies share their names of attributes."""
    spell = intercom.VENDOR.name_trait
    assert spell("Accoil", "Big Health", "score", Entity.USER) == "Accoil_BigHealth_Score"
    assert (
        spell("Accoil", "Big Health", "last_active", Entity.ACCOUNT) == "Accoil_BigHealth_Account_LastActive"
    )


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


def test_a_hit_that_contradicts_an_earlier_key_is_no_match(sandbox: Running) -> None:
    seed(
        sandbox,
        [
            {"id": "c1", "external_id": "u1", "email": "same@x.com"},
            {"id": "c2", "external_id": "u2", "email": "same@x.com"},
            {"id": "c3", "external_id": "u3", "email": "other@x.com"},
        ],
    )
    with workspace(sandbox.url) as destination:
        found = find(
            destination,
            lookup("among", email="same@x.com", external_id="u2"),
            lookup("beside", email="same@x.com", external_id="u3"),
        )
    assert found["among"].remote_ids == ("c2",)
    assert sorted(found["beside"].remote_ids) == ["c1", "c2"]


# What every destination promises

CONTACTS = Case(
    "intercom",
    "contacts",
    {"token": contract.SECRET},
    records=lambda n: {"id": f"c{n}", "external_id": f"u{n}", "custom_attributes": {}},
    definitions={"score": {"type": "integer"}},
    match=lambda n: Match("external_id", f"u{n}"),
    id=lambda n: f"c{n}",
    read=lambda state, n: contract.found(state["intercom"]["contacts"], "external_id", f"u{n}")[
        "custom_attributes"
    ]["score"],
    field="score",
    bad="many",
)
COMPANIES = Case(
    "intercom",
    "companies",
    {"token": contract.SECRET},
    records=lambda n: {"id": f"c{n}", "company_id": f"u{n}", "custom_attributes": {}},
    definitions={"score": {"type": "integer"}},
    match=lambda n: Match("company_id", f"u{n}"),
    id=lambda n: f"c{n}",
    read=lambda state, n: contract.found(state["intercom"]["companies"], "company_id", f"u{n}")[
        "custom_attributes"
    ]["score"],
    field="score",
    bad="many",
    # Companies are looked up one by one.
    lookups_together=False,
)
CONTRACT = (CONTACTS, COMPANIES)
