import logging
from datetime import UTC, datetime
from email.utils import format_datetime

import contract
import pytest
from contract import Case
from fake_vendor import HANG_UP, RecordingThrottle, Reply, Request, answering
from intercom_calls import (
    LEVEL,
    SCORE,
    SEEN,
    TOKEN,
    change,
    company,
    contact,
    find,
    lookup,
    push,
    refusal,
    seed,
    workspace,
)

from connectors.answers import Answer
from connectors.errors import ConfigurationError, Misunderstood, Unauthorized, Unavailable
from connectors.intercom import client
from connectors.intercom import destination as intercom
from connectors.types import (
    Batch,
    Entity,
    FieldType,
    Found,
    Match,
    NewField,
    Outcome,
    Status,
    Value,
)
from heatsync.sandbox.server import Running

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
    created = company(sandbox, "a2")
    assert outcomes["a2"].remote_id == created["id"]
    assert (created["plan"], created["custom_attributes"]) == ("Pro", {score: 40})
    kept = company(sandbox, "a1")
    assert (kept["name"], kept["industry"], kept["custom_attributes"]) == ("Acme", "Bees", {})


def test_creating_a_company_twice_creates_one(sandbox: Running) -> None:
    """Intercom OpenAPI 2.14: POST /companies matches by company_id, which never changes."""
    seed(sandbox)
    with workspace(sandbox.url) as destination:
        created = change("a1", {"name": "Acme"}, company_id="a1")
        first = push(destination, created, object="companies")
        assert push(destination, created, object="companies") == first
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


# limits, lost answers, permissions


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
