"""What is promised of every destination alike. Whatever one of them cannot keep is said at the test, with the reason."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from filed import pushed
from scripted import Asked, Said, Watched, answering

from connectors.destination import Destination, ReadableDestination
from connectors.errors import ConfigurationError, HeatsyncError, Misunderstood, Unauthorized, Unavailable
from connectors.registry import VENDORS
from connectors.types import Batch, Change, FieldType, Kind, Lookup, Match, NewField, Outcome, Status, Value
from heatsync.sandbox.server import Running, running

SECRET = "sk-4711-very-secret"
PERSON = "ada.lovelace@example.com"


@dataclass(frozen=True)
class Case:
    """One object of one vendor. Record `n` is there beforehand when `n` is below the number that is seeded."""

    vendor: str
    object: str
    settings: Mapping[str, str]
    records: Callable[[int], Any]
    definitions: Mapping[str, Any]
    match: Callable[[int], Match]
    id: Callable[[int], str | None]
    read: Callable[[dict[str, Any], int], Any]
    field: str
    bad: Value
    new: Mapping[str, Value] = field(default_factory=dict)
    """What a new record cannot do without."""
    way: str = ""

    def __str__(self) -> str:
        return f"{self.vendor} {self.object}{self.way}"

    @contextmanager
    def opened(self, url: str, watched: Watched | None = None, **more: str) -> Iterator[Destination]:
        watched = watched or Watched()
        settings = {**self.settings, "url": url, **more}
        destination = VENDORS[self.vendor].connect(settings, watched, watched.made)
        yield destination
        close = getattr(destination, "close", None)
        if close:
            close()

    def seed(self, sandbox: Running, known: int) -> None:
        records = {self.object: [self.records(n) for n in range(known)]} if self.definitions else {}
        state: dict[str, Any] = {self.vendor: records}
        if self.definitions:
            state["fields"] = {self.vendor: {self.object: self.definitions}}
        sandbox.seed(state)

    def change(self, n: int, value: Value, known: bool = False) -> Change:
        id = self.id(n) if known else None
        fields = {self.field: value} if id else {**self.new, self.field: value}
        return Change(Kind.CHANGED, f"u{n}", (self.match(n),), fields, remote_id=id)

    def batch(self, *changes: Change) -> Batch:
        return Batch("b1", self.vendor, self.object, changes)


def found(records: list[dict[str, Any]], name: str, value: str) -> dict[str, Any]:
    return next(each for each in records if each.get(name) == value)


HUBSPOT_CONTACTS = Case(
    "hubspot",
    "contacts",
    {"token": SECRET},
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
HUBSPOT_COMPANIES = Case(
    "hubspot",
    "companies",
    {"token": SECRET},
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
)
INTERCOM_CONTACTS = Case(
    "intercom",
    "contacts",
    {"token": SECRET},
    records=lambda n: {"id": f"c{n}", "external_id": f"u{n}", "custom_attributes": {}},
    definitions={"score": {"type": "integer"}},
    match=lambda n: Match("external_id", f"u{n}"),
    id=lambda n: f"c{n}",
    read=lambda state, n: found(state["intercom"]["contacts"], "external_id", f"u{n}")["custom_attributes"][
        "score"
    ],
    field="score",
    bad="many",
)
INTERCOM_COMPANIES = Case(
    "intercom",
    "companies",
    {"token": SECRET},
    records=lambda n: {"id": f"c{n}", "company_id": f"u{n}", "custom_attributes": {}},
    definitions={"score": {"type": "integer"}},
    match=lambda n: Match("company_id", f"u{n}"),
    id=lambda n: f"c{n}",
    read=lambda state, n: found(state["intercom"]["companies"], "company_id", f"u{n}")["custom_attributes"][
        "score"
    ],
    field="score",
    bad="many",
)
SALESFORCE_ACCOUNTS = Case(
    "salesforce",
    "Account",
    {"domain": "acme.my", "consumer_key": "key", "consumer_secret": SECRET},
    records=lambda n: {"Id": f"001{n:012}", "Name": f"Account {n}", "Heatsync_Id__c": f"u{n}"},
    definitions={
        "Heatsync_Id__c": {"type": "string", "length": 64, "externalId": True, "unique": True},
        "Score__c": {"type": "double"},
    },
    match=lambda n: Match("Heatsync_Id__c", f"u{n}"),
    id=lambda n: f"001{n:012}AAA",
    read=lambda state, n: found(state["salesforce"]["Account"], "Heatsync_Id__c", f"u{n}")["Score__c"],
    field="Score__c",
    bad="many",
    new={"Name": "New"},
)
SALESFORCE_FILES = replace(
    SALESFORCE_ACCOUNTS, settings={**SALESFORCE_ACCOUNTS.settings, "bulk_above": "1"}, way=" by files"
)
"""Two records are enough for a file."""
SEGMENT_USERS = Case(
    "segment",
    "users",
    {"write_key": SECRET},
    records=lambda n: {},
    definitions={},
    match=lambda n: Match("userId", f"u{n}"),
    id=lambda n: None,
    read=lambda state, n: state["segment"]["users"][f"u{n}"]["score"],
    field="score",
    bad="x" * 40_000,
)
SEGMENT_ACCOUNTS = Case(
    "segment",
    "accounts",
    {"write_key": SECRET},
    records=lambda n: {},
    definitions={},
    match=lambda n: Match("groupId", f"u{n}"),
    id=lambda n: None,
    read=lambda state, n: state["segment"]["groups"][f"u{n}"]["score"],
    field="score",
    bad="x" * 40_000,
)
CASES = [
    HUBSPOT_CONTACTS,
    HUBSPOT_COMPANIES,
    INTERCOM_CONTACTS,
    INTERCOM_COMPANIES,
    SALESFORCE_ACCOUNTS,
    SALESFORCE_FILES,
    SEGMENT_USERS,
    SEGMENT_ACCOUNTS,
]
READABLE = [case for case in CASES if VENDORS[case.vendor].readable]
each_case = pytest.mark.parametrize("case", CASES, ids=str)
each_readable = pytest.mark.parametrize("case", READABLE, ids=str)


def push(destination: Destination, batch: Batch) -> dict[str, Outcome]:
    outcomes = pushed(destination, batch).outcomes
    assert sorted(each.key for each in outcomes) == sorted(each.key for each in batch.changes)
    return {each.key: each for each in outcomes}


@each_case
def test_every_change_is_answered_exactly_once_and_delivered(case: Case, sandbox: Running) -> None:
    case.seed(sandbox, 3)
    changes = [case.change(n, 10 + n, known=n < 3) for n in range(6)]
    with case.opened(sandbox.url) as destination:
        outcomes = push(destination, case.batch(*changes))
    assert {each.status for each in outcomes.values()} == {Status.DELIVERED}
    state = sandbox.state()
    assert [case.read(state, n) for n in range(6)] == [10, 11, 12, 13, 14, 15]
    if VENDORS[case.vendor].readable:
        assert [outcomes[f"u{n}"].remote_id for n in range(3)] == [case.id(n) for n in range(3)]
        assert all(each.remote_id for each in outcomes.values())


@each_case
def test_pushing_twice_changes_nothing(case: Case, sandbox: Running) -> None:
    case.seed(sandbox, 2)
    changes = [case.change(n, 7, known=n < 2) for n in range(4)]
    with case.opened(sandbox.url) as destination:
        first = push(destination, case.batch(*changes))
        before = sandbox.state()
        if case is HUBSPOT_COMPANIES:
            # A company has no natural key: a create that is repeated makes it twice. The ledger remembers the ids.
            changes = [
                Change(Kind.CHANGED, each.key, each.match, each.fields, remote_id=first[each.key].remote_id)
                for each in changes
            ]
        again = push(destination, case.batch(*changes))
    assert {each.status for each in again.values()} == {Status.DELIVERED}
    assert {key: each.remote_id for key, each in again.items()} == {
        key: each.remote_id for key, each in first.items()
    }
    assert sandbox.state() == before


@each_case
def test_one_bad_record_does_not_sink_the_others(case: Case, sandbox: Running) -> None:
    case.seed(sandbox, 12)
    values: list[Value] = [case.bad if n in (3, 9, 14) else n for n in range(16)]
    changes = [case.change(n, value, known=n < 12) for n, value in enumerate(values)]
    with case.opened(sandbox.url) as destination:
        outcomes = push(destination, case.batch(*changes))
    rejected = {key: each for key, each in outcomes.items() if each.status is Status.REJECTED}
    assert sorted(rejected) == ["u14", "u3", "u9"]
    assert all(each.code in ("bad_value", "too_large") and each.cause for each in rejected.values())
    assert {each.status for key, each in outcomes.items() if key not in rejected} == {Status.DELIVERED}
    state = sandbox.state()
    assert [case.read(state, n) for n in (0, 8, 11, 12, 15)] == [0, 8, 11, 12, 15]


@each_readable
def test_a_field_that_is_not_there_is_named_for_all_who_carry_it(case: Case, sandbox: Running) -> None:
    case.seed(sandbox, 4)
    missing = "Nowhere__c" if case.vendor == "salesforce" else "nowhere"
    changes = [case.change(n, n, known=True) for n in range(2)] + [
        Change(Kind.CHANGED, f"u{n}", (case.match(n),), {missing: "x"}, remote_id=case.id(n)) for n in (2, 3)
    ]
    with case.opened(sandbox.url) as destination:
        outcomes = push(destination, case.batch(*changes))
    assert [outcomes[f"u{n}"].status for n in range(2)] == [Status.DELIVERED] * 2
    assert [(outcomes[f"u{n}"].code, outcomes[f"u{n}"].field) for n in (2, 3)] == [
        ("field_missing", missing)
    ] * 2


@each_readable
def test_a_record_that_is_gone_is_refused_and_never_made_again(case: Case, sandbox: Running) -> None:
    case.seed(sandbox, 1)
    with case.opened(sandbox.url) as destination:
        outcomes = push(destination, case.batch(case.change(0, 1, known=True), case.change(8, 1, known=True)))
    assert outcomes["u0"].status is Status.DELIVERED
    assert (outcomes["u8"].status, outcomes["u8"].code) == (Status.REJECTED, "not_found")
    assert len(sandbox.state()[case.vendor][case.object]) == 1


@each_readable
def test_find_answers_exactly_once_per_lookup(case: Case, sandbox: Running) -> None:
    case.seed(sandbox, 3)
    lookups = [
        Lookup("by key", (case.match(0),)),
        Lookup("by id", (), case.id(1)),
        Lookup("gone, then by key", (case.match(2),), case.id(7)),
        Lookup("unknown", (case.match(8),)),
        Lookup("unknown id", (), case.id(9)),
        Lookup("the same key again", (case.match(0),)),
        Lookup("nothing to find it by", ()),
    ]
    with case.opened(sandbox.url) as destination:
        push(destination, case.batch(*(case.change(n, 40 + n, known=True) for n in range(2))))
        answers = list(destination.find(case.object, lookups, {case.field: FieldType.INTEGER}))
    assert sorted(each.key for each in answers) == sorted(each.key for each in lookups)
    by_key = {each.key: each for each in answers}
    ids = {key: each.remote_ids for key, each in by_key.items()}
    assert ids == {
        "by key": (case.id(0),),
        "by id": (case.id(1),),
        "gone, then by key": (case.id(2),),
        "unknown": (),
        "unknown id": (),
        "the same key again": (case.id(0),),
        "nothing to find it by": (),
    }
    values = {key: each.values for key, each in by_key.items() if each.remote_ids}
    assert values == {
        "by key": {case.field: 40},
        "by id": {case.field: 41},
        "gone, then by key": {case.field: None},
        "the same key again": {case.field: 40},
    }
    assert by_key["by key"].matched_by == case.match(0).field


@pytest.mark.parametrize("case", [SEGMENT_USERS, SEGMENT_ACCOUNTS], ids=str)
def test_what_cannot_be_read_finds_nobody_and_asks_nothing(case: Case, sandbox: Running) -> None:
    watched = Watched()
    with case.opened(sandbox.url, watched) as destination:
        lookups = [Lookup(f"u{n}", (case.match(n),)) for n in range(3)]
        answers = list(destination.find(case.object, lookups, {case.field: FieldType.INTEGER}))
        assert not isinstance(destination, ReadableDestination)
    assert sorted(each.key for each in answers) == ["u0", "u1", "u2"]
    assert not any(each.remote_ids for each in answers)
    assert watched.calls == 0


@each_case
def test_no_call_is_larger_than_its_limits_and_none_is_made_in_vain(case: Case, sandbox: Running) -> None:
    watched = Watched()
    with case.opened(sandbox.url, watched) as destination:
        size = VENDORS[case.vendor].limits({}).records_per_call
        count = 2 * size + 1
        case.seed(sandbox, count)
        changes = [case.change(n, n, known=True) for n in range(count)]
        outcomes = push(destination, case.batch(*changes))
    assert {each.status for each in outcomes.values()} == {Status.DELIVERED}
    stats = sandbox.stats()[case.vendor]
    assert stats["refused"] == {}
    assert stats["calls"] == watched.calls == watched.acquired
    logins = 1 if case.vendor == "salesforce" else 0
    # A file takes as many calls, however many records it has.
    assert watched.calls - logins == (6 if case is SALESFORCE_FILES else 3)


@each_readable
def test_lookups_are_asked_for_many_at_a_time(case: Case, sandbox: Running) -> None:
    watched = Watched()
    with case.opened(sandbox.url, watched) as destination:
        count = 2 * VENDORS[case.vendor].limits({}).lookups_per_call
        case.seed(sandbox, count)
        lookups = [Lookup(f"u{n}", (case.match(n),)) for n in range(count)]
        answers = list(destination.find(case.object, lookups, {case.field: FieldType.INTEGER}))
    assert {each.key: each.remote_ids for each in answers} == {f"u{n}": (case.id(n),) for n in range(count)}
    # Intercom's companies are asked for one by one.
    assert watched.calls <= (count if case is INTERCOM_COMPANIES else 4)


@each_case
def test_refused_credentials_stop_the_line(case: Case) -> None:
    body = [{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}]
    with answering(lambda asked: Said(401, body)) as vendor, case.opened(vendor.url) as destination:
        with pytest.raises(Unauthorized):
            list(destination.push(case.batch(case.change(0, 1))))
        if case in READABLE:
            with pytest.raises(Unauthorized):
                destination.account()
            with pytest.raises(Unauthorized):
                list(destination.find(case.object, [Lookup("u0", (case.match(0),))], {}))
            with pytest.raises(Unauthorized):
                destination.fields(case.object)


@each_readable
def test_the_sandbox_refuses_what_the_vendor_would(case: Case, sandbox: Running) -> None:
    refused = {name: "refused" for name, value in case.settings.items() if value == SECRET}
    with case.opened(sandbox.url, **refused) as destination, pytest.raises(Unauthorized):
        destination.account()


def test_segment_takes_any_write_key_without_a_word(sandbox: Running) -> None:
    """Segment (2025-11): a bad write key is dropped silently behind a 200."""
    with SEGMENT_USERS.opened(sandbox.url, write_key="refused") as destination:
        outcomes = push(destination, SEGMENT_USERS.batch(SEGMENT_USERS.change(0, 1)))
    assert outcomes["u0"].status is Status.DELIVERED
    assert sandbox.state()["segment"]["users"] == {}


@each_case
def test_another_credential_is_another_account_and_the_same_one_the_same(
    case: Case, sandbox: Running
) -> None:
    def account(secret: str) -> str:
        name = next(name for name, value in case.settings.items() if value == SECRET)
        with case.opened(sandbox.url, **{name: secret}) as destination:
            return destination.account().label

    assert account("acme:one") == account("acme:one") != account("globex:one")


ECHOES = [
    Said(200, f"<html>{SECRET} of {PERSON} is not JSON"),
    Said(302, "", {"Location": f"https://elsewhere.example.com/?{SECRET}={PERSON}"}),
    Said(
        400,
        {
            "message": f"{SECRET} {PERSON}",
            "category": "VALIDATION_ERROR",
            "errors": [{"message": f"{SECRET} {PERSON}"}],
        },
    ),
    Said(400, [{"message": f"{SECRET} {PERSON}", "errorCode": "MALFORMED_QUERY"}]),
    Said(403, {"message": f"{SECRET} {PERSON}"}),
    Said(404, {"error": SECRET, "error_description": PERSON}),
]


@each_case
@pytest.mark.parametrize("said", ECHOES, ids=lambda said: str(said.status))
def test_no_token_and_no_address_is_in_what_is_said_of_an_error(case: Case, said: Said) -> None:
    def answer(asked: Asked) -> Said:
        if asked.path.startswith("/services/oauth2/token") and said.status != 404:
            return Said(200, {"access_token": SECRET, "instance_url": "https://acme.my.salesforce.com"})
        return said

    told: list[str] = []
    with answering(answer) as vendor, case.opened(vendor.url) as destination:
        lookups = [Lookup("u0", (Match(case.match(0).field, PERSON),))]
        for attempt in (
            lambda: [destination.account()],
            lambda: destination.find(case.object, lookups, {}),
            lambda: destination.push(case.batch(case.change(0, PERSON))),
            lambda: destination.push(case.batch(case.change(0, PERSON, known=True))),
            lambda: [destination.fields(case.object)] if case in READABLE else [],
        ):
            try:
                told += [repr(each) for each in attempt() if isinstance(each, Outcome)]
            except HeatsyncError as error:
                told += [str(error), getattr(error, "evidence", "")]
    assert told or case not in READABLE
    assert not any(SECRET in each or PERSON in each for each in told), told


@each_case
def test_an_answer_that_cannot_be_read_is_no_success(case: Case) -> None:
    def answer(asked: Asked) -> Said:
        if asked.path.startswith("/services/oauth2/token"):
            return Said(200, {"access_token": SECRET, "instance_url": "https://acme.my.salesforce.com"})
        return Said(200, "<html>All is well</html>", {"Content-Type": "text/html"})

    with answering(answer) as vendor, case.opened(vendor.url) as destination:
        with pytest.raises(Misunderstood, match="answer"):
            list(destination.push(case.batch(case.change(0, 1, known=True))))
        if case in READABLE:
            with pytest.raises(Misunderstood):
                destination.account()
            with pytest.raises(Misunderstood):
                list(destination.find(case.object, [Lookup("u0", (case.match(0),))], {}))


@each_case
def test_who_is_limited_for_long_says_when_to_come_back(case: Case) -> None:
    none_left = {
        "hubspot": {"day": 0},
        "intercom": {"burst": 0},
        "segment": {"burst": 0},
        "salesforce": {"day": 0},
    }
    watched = Watched()
    with running(limits=none_left) as sandbox, case.opened(sandbox.url, watched) as destination:
        with pytest.raises(Unavailable) as caught:
            list(destination.push(case.batch(case.change(0, 1, known=True))))
        assert sandbox.state()[case.vendor].get(case.object, []) in ([], {})
    assert caught.value.retry_after
    assert watched.pauses
    assert watched.calls == watched.acquired


@each_case
def test_who_is_not_there_is_unavailable_and_has_changed_nothing(case: Case, monkeypatch: Any) -> None:
    monkeypatch.setattr("connectors.http.ATTEMPTS", 1)
    with answering(lambda asked: Said()) as vendor:
        url = vendor.url
    with case.opened(url) as destination, pytest.raises(Unavailable):
        list(destination.push(case.batch(case.change(0, 1))))


MADE = [
    NewField(f"new_{type.value}", type, f"New {type.value}")
    for type in FieldType
    if type is not FieldType.LIST
]


@pytest.mark.parametrize(
    "case", [HUBSPOT_CONTACTS, HUBSPOT_COMPANIES, INTERCOM_CONTACTS, INTERCOM_COMPANIES], ids=str
)
def test_missing_fields_are_made_and_can_be_written(case: Case, sandbox: Running) -> None:
    case.seed(sandbox, 1)
    with case.opened(sandbox.url) as destination:
        destination.create_fields(case.object, MADE)
        destination.create_fields(case.object, MADE)
        known = destination.fields(case.object)
        assert known is not None
        assert {field.name for field in MADE} <= {name for name, field in known.items() if field.writable}
        values: dict[str, Value] = {"new_integer": 5, "new_boolean": True, "new_text": "a"}
        change = Change(Kind.CHANGED, "u0", (case.match(0),), values, remote_id=case.id(0))
        assert push(destination, case.batch(change))["u0"].status is Status.DELIVERED


def test_salesforce_says_which_fields_to_make_by_hand(sandbox: Running) -> None:
    with SALESFORCE_ACCOUNTS.opened(sandbox.url) as destination:
        destination.create_fields("Account", [])
        with pytest.raises(ConfigurationError, match=r"`permission_set`.*Score__c \(Number"):
            destination.create_fields("Account", [NewField("Score__c", FieldType.NUMBER, "Score")])


@each_case
def test_a_destination_that_needs_closing_can_be_closed_twice(case: Case, sandbox: Running) -> None:
    with case.opened(sandbox.url) as destination:
        destination.account()
        close = getattr(destination, "close", None)
        if close:
            close()


def test_opening_a_destination_makes_no_call() -> None:
    for case in CASES:
        watched = Watched()
        with case.opened("http://127.0.0.1:9", watched):
            pass
        assert watched.calls == watched.acquired == 0


def test_knowing_the_vendors_loads_none_of_their_libraries() -> None:
    heavy = "{'hubspot', 'intercom', 'segment', 'simple_salesforce', 'requests', 'httpx', 'urllib3', 'jwt'}"
    code = f"import sys, connectors.registry; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_registry_knows_each_vendor_by_its_type() -> None:
    assert list(VENDORS) == ["segment", "intercom", "hubspot", "salesforce"]
    for type, vendor in VENDORS.items():
        assert vendor.type == type
        assert vendor.modes[0] in ("update", "upsert")
        assert all(setting in vendor.settings for setting in vendor.account_settings)
        assert "url" in vendor.settings
        assert (vendor.field_name_pattern == ".+") == (vendor.field_name_rule == "")
        json.dumps(sorted(vendor.objects))
