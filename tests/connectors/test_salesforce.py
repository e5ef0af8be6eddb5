import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlsplit

import contract
import pytest
from contract import Case
from fake_vendor import HANG_UP, RecordingThrottle, Reply, Request, answering
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import ConfigurationError, Misunderstood, Unauthorized, Unavailable
from connectors.salesforce.destination import METRICS, NAME_LENGTH, VENDOR, Salesforce
from connectors.salesforce.records import QUERY_LENGTH, decode, encode, fields, queries, quoted, whole_id
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
from heatsync.sandbox.vendors.salesforce import soql

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


MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)
VALUES = st.one_of(
    st.tuples(st.just(FieldType.TEXT), st.text(min_size=1)),
    st.tuples(st.just(FieldType.INTEGER), st.integers(-(2**63), 2**63)),
    st.tuples(
        st.just(FieldType.NUMBER), st.floats(allow_nan=False, allow_infinity=False) | st.integers(-999, 999)
    ),
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
        (7.0, FieldType.INTEGER, 7),
        (7.5, FieldType.INTEGER, "7.5"),
        (42.0, FieldType.TEXT, "42"),
        (True, FieldType.TEXT, "true"),
        ("2026-11-22T05:30:00.000+0000", FieldType.DATETIME, datetime(2026, 11, 22, 5, 30, tzinfo=UTC)),
        ("2026-11-22", FieldType.DATETIME, "2026-11-22"),
        ("soon", FieldType.DATE, "soon"),
        ("", FieldType.TEXT, None),
    ],
)
def test_a_current_value_of_another_type_is_read_as_text(raw: Any, type: FieldType, value: Value) -> None:
    assert decode(raw, type) == value


def test_values_are_stored_as_salesforce_stores_them_and_none_clears(sandbox: Running) -> None:
    seed(sandbox, {"Id": ONE, "Note__c": "old", "Industry": "Bees"})
    fields: dict[str, Value] = {
        "Score__c": 66.5,
        "Level__c": "High",
        "Seen__c": datetime(2026, 11, 22, 5, 30, tzinfo=UTC),
        "Since__c": date(2026, 2, 1),
        "Note__c": None,
        "Paying__c": True,
    }
    types = {
        "Score__c": FieldType.NUMBER,
        "Level__c": FieldType.TEXT,
        "Seen__c": FieldType.DATETIME,
        "Since__c": FieldType.DATE,
        "Note__c": FieldType.TEXT,
        "Paying__c": FieldType.BOOLEAN,
    }
    with org(sandbox.url) as destination:
        outcome = push(destination, change("a1", fields, ONE[:15]))["a1"]
        assert (outcome.status, outcome.remote_id) == (Status.DELIVERED, ONE)
        assert find(destination, lookup("a1", ONE), **types)["a1"].values == fields
    record = stored(sandbox, ONE)
    assert (record["Industry"], record["Name"]) == ("Bees", "Acme")


def test_the_account_is_named(sandbox: Running) -> None:
    with org(sandbox.url) as destination:
        account = destination.account()
    assert account.kind == "org"
    assert len(account.id) == 18
    assert account.name == "default"


def test_ids_of_fifteen_and_eighteen_characters_are_the_same() -> None:
    """Salesforce help: three characters behind the first fifteen tell their case."""
    assert whole_id("001A0000006Vm9r") == "001A0000006Vm9rIAC"
    assert whole_id("001A0000006Vm9rIAC") == "001A0000006Vm9rIAC"


@given(st.text(max_size=50))
def test_any_text_is_a_string_of_soql(text: str) -> None:
    parsed = soql.parse(f"SELECT Id FROM Account WHERE Name IN ({quoted(text)})")
    assert isinstance(parsed.where, soql.Comparison)
    assert parsed.where.value == (text,)


@given(st.lists(st.text(max_size=80), max_size=300))
def test_queries_fit_into_an_address_and_cover_every_value(values: list[str]) -> None:
    """help.salesforce.com 000386264 (2026-06): an address of more than 16,384 bytes is answered 414."""
    made = list(queries("Account", ["Id", "Score__c"], "Heatsync_Id__c", values))
    assert all(len(quote_plus(query)) <= QUERY_LENGTH for query in made)
    wheres = [soql.parse(query).where for query in made]
    assert [value for each in wheres if isinstance(each, soql.Comparison) for value in each.value] == values


def test_names_with_quotes_and_backslashes_are_found(sandbox: Running) -> None:
    names = ["O'Neil & Söhne", 'back\\slash "x"', "tab\there", "100% of_it", "emoji 🐝"]
    ids = [f"0010000000000{n:02}AAA" for n in range(len(names))]
    seed(sandbox, *({"Id": id, "Code__c": name} for id, name in zip(ids, names, strict=True)))
    with org(sandbox.url) as destination:
        found = find(destination, *(lookup(name, Code__c=name) for name in names))
    assert {key: each.remote_ids for key, each in found.items()} == {
        name: (id,) for name, id in zip(names, ids, strict=True)
    }


def test_the_first_key_with_one_hit_counts_and_several_are_ambiguous(sandbox: Running) -> None:
    seed(
        sandbox,
        {"Id": ONE, "Heatsync_Id__c": "a1", "Code__c": "same", "Score__c": 4},
        {"Id": TWO, "Heatsync_Id__c": "a2", "Code__c": "SAME"},
    )
    with org(sandbox.url) as destination:
        found = find(
            destination,
            lookup("a1", Code__c="same", Heatsync_Id__c="A1"),
            lookup("a2", Code__c="Same"),
            lookup("a3", Id=ONE[:15]),
            lookup("a4", "not an id", Heatsync_Id__c="a2"),
            Score__c=FieldType.INTEGER,
        )
    assert found["a1"] == Found("a1", (ONE,), "Heatsync_Id__c", {"Score__c": 4})
    assert sorted(found["a2"].remote_ids) == [ONE, TWO]
    assert found["a3"].remote_ids == (ONE,)
    assert found["a4"].remote_ids == (TWO,)


def test_a_hit_that_contradicts_an_earlier_key_is_no_match(sandbox: Running) -> None:
    three = "001000000000003AAA"
    seed(
        sandbox,
        {"Id": ONE, "Heatsync_Id__c": "a1", "Code__c": "same"},
        {"Id": TWO, "Heatsync_Id__c": "a2", "Code__c": "same"},
        {"Id": three, "Heatsync_Id__c": "a3", "Code__c": "other"},
    )
    with org(sandbox.url) as destination:
        found = find(
            destination,
            lookup("among", Code__c="same", Heatsync_Id__c="a2"),
            lookup("beside", Code__c="same", Heatsync_Id__c="a3"),
        )
    assert found["among"].remote_ids == (TWO,)
    assert sorted(found["beside"].remote_ids) == [ONE, TWO]


@pytest.mark.parametrize(
    ("settings", "reply"),
    [
        ({}, "consumer key and secret"),
        ({"session_id": "s3ss10n", "instance_url": "https://a.b"}, "session id"),
    ],
)
def test_refused_credentials_are_named_in_salesforces_words(settings: dict[str, str], reply: str) -> None:
    def answer(request: Request) -> Reply:
        return (
            token()
            if is_login(request)
            else Reply(401, [{"errorCode": "INVALID_SESSION_ID", "message": "no"}])
        )

    refusal = pytest.raises(Unauthorized, match=reply)
    with answering(answer) as vendor, org(vendor.url, **settings) as destination, refusal as caught:
        destination.account()
    assert "token" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "nillable", "defaulted", "createable", "required"),
    [
        ("LastName", False, False, True, True),
        ("OwnerId", False, True, True, False),
        ("Phone", True, False, True, False),
        ("CreatedDate", False, False, False, False),
    ],
)
def test_required_fields_are_those_without_a_default(
    name: str, nillable: bool, defaulted: bool, createable: bool, required: bool
) -> None:
    """Salesforce, describe: nillable, defaultedOnCreate, createable (SOAP guide, Field, 2026)."""
    flags = {"nillable": nillable, "defaultedOnCreate": defaulted, "createable": createable}
    assert fields([{"name": name, "type": "string", **flags}])[name].required is required


def test_case_matters_where_the_org_says_so() -> None:
    """Salesforce, describe: an external id may be caseSensitive; SOQL compares without case."""

    def answer(request: Request) -> Reply:
        if is_login(request):
            return token()
        if request.path.endswith("/describe"):
            exact = {"name": "Exact__c", "type": "string", "caseSensitive": True}
            return Reply(200, {"fields": [exact, {"name": "Code__c", "type": "string"}]})
        key = "Exact__c" if "Exact__c" in request.path else "Code__c"
        return Reply(200, {"done": True, "records": [{"Id": ONE, key: "ab"}, {"Id": TWO, key: "AB"}]})

    with answering(answer) as vendor, org(vendor.url) as destination:
        found = find(destination, lookup("a1", Exact__c="ab"), lookup("a2", Code__c="ab"))
    assert found["a1"].remote_ids == (ONE,)
    assert found["a2"].remote_ids == (ONE, TWO)


def test_every_page_of_an_answer_is_read(sandbox: Running) -> None:
    seed(sandbox, *({"Id": f"001{n:012}", "Code__c": "same"} for n in range(2100)))
    watched = RecordingThrottle()
    with org(sandbox.url, watched) as destination:
        found = find(destination, lookup("a1", Code__c="same"))
    assert len(set(found["a1"].remote_ids)) == 2100
    assert watched.calls == 3


def test_a_missing_column_reads_as_empty_and_the_rest_is_read(sandbox: Running) -> None:
    seed(sandbox, {"Id": ONE, "Heatsync_Id__c": "a1", "Score__c": 4})
    types = {"Nowhere__c": FieldType.TEXT, "Score__c": FieldType.INTEGER, "Neither__c": FieldType.DATE}
    with org(sandbox.url) as destination:
        others = [lookup(f"b{n}", Heatsync_Id__c=f"{n:060}") for n in range(300)]
        found = find(destination, lookup("a1", Heatsync_Id__c="a1"), *others, **types)
        with pytest.raises(ConfigurationError, match="Elsewhere__c"):
            find(destination, lookup("a1", Elsewhere__c="a1"))
    assert found["a1"].values == {"Nowhere__c": None, "Score__c": 4, "Neither__c": None}


def test_a_missing_object_is_a_configuration_error(sandbox: Running) -> None:
    with org(sandbox.url) as destination:
        with pytest.raises(ConfigurationError, match="Acount"):
            find(destination, lookup("a1", Name="x"), object="Acount")
        with pytest.raises(ConfigurationError):
            destination.fields("Acount")
        with pytest.raises(ConfigurationError):
            push(destination, change("a1", {"Name": "x"}, Name="x"), object="Acount")


def test_an_invalid_name_never_gets_into_a_query(sandbox: Running) -> None:
    watched = RecordingThrottle()
    with org(sandbox.url, watched) as destination:
        with pytest.raises(ConfigurationError, match="API name"):
            find(destination, lookup("a1", Name="x"), object="Account WHERE Name")
        with pytest.raises(ConfigurationError, match="API name"):
            find(destination, Lookup("a1", (Match("Name) OR (Id", "x"),)))
        with pytest.raises(ConfigurationError, match="API name"):
            push(destination, change("a1", {"Name": "x"}, ONE), object="../Account")
    assert watched.calls == 0


def test_any_object_can_be_written(sandbox: Running) -> None:
    fields = {"Score__c": {"type": "double"}}
    sandbox.seed(
        {
            "salesforce": {
                "Contact": [{"Id": "003000000000001AAA", "LastName": "L", "Email": "ada@example.com"}]
            },
            "fields": {"salesforce": {"Contact": fields, "Plan__c": fields}},
        }
    )
    with org(sandbox.url) as destination:
        found = find(destination, lookup("u1", Email="Ada@Example.com"), object="Contact")
        (id,) = found["u1"].remote_ids
        assert push(destination, change("u1", {"Score__c": 3}, id), object="Contact")["u1"].remote_id == id
        made = push(destination, change("p1", {"Score__c": 4}, Name="One"), object="Plan__c")["p1"]
    assert stored(sandbox, id, "Contact")["Score__c"] == 3
    assert stored(sandbox, str(made.remote_id), "Plan__c") == {
        "Id": made.remote_id,
        "Name": "One",
        "Score__c": 4,
    }


def test_a_new_record_is_upserted_by_its_external_id(sandbox: Running) -> None:
    """Salesforce REST guide: Collections upsert by external id, without Id (v46 and later)."""
    seed(sandbox, {"Id": ONE, "Heatsync_Id__c": "a1"})
    new = [
        change("a1", {"Score__c": 1, "Note__c": None}, Heatsync_Id__c="a1", Code__c="c1"),
        change("a2", {"Score__c": 2, "Name": "Two"}, Code__c="c2", Heatsync_Id__c="a2"),
    ]
    with org(sandbox.url) as destination:
        first = push(destination, *new)
        assert push(destination, *new) == first
    assert first["a1"].remote_id == ONE
    assert len(sandbox.state()["salesforce"]["Account"]) == 2
    assert stored(sandbox, str(first["a2"].remote_id))["Code__c"] == "c2"


def test_a_create_whose_answer_is_lost_is_unknown_unless_an_external_id_makes_it_safe() -> None:
    def answer(request: Request) -> Reply:
        if is_login(request):
            return token()
        if request.path.endswith("/describe"):
            return Reply(200, {"fields": [{"name": "Ext__c", "externalId": True}, {"name": "Name"}]})
        if (
            request.method == "PATCH"
            and len([each for each in vendor.requests if each.method == "PATCH"]) > 1
        ):
            return Reply(200, [{"id": ONE, "success": True, "errors": [], "created": False}])
        return HANG_UP

    with answering(answer) as vendor, org(vendor.url) as destination:
        plain = push(destination, change("a1", {"Score__c": 1}, Name="One"))
        keyed = push(destination, change("a1", {"Score__c": 1}, Ext__c="One"))
    assert (plain["a1"].status, plain["a1"].code) == (Status.UNKNOWN, "no_answer")
    assert keyed["a1"].status is Status.DELIVERED
    assert [each.method for each in vendor.requests if "composite" in each.path] == ["POST", "PATCH", "PATCH"]


def test_each_kind_of_refusal_has_its_code(sandbox: Running) -> None:
    """Salesforce REST guide: 200 even if every record of a collection failed; errors are per record."""
    seed(sandbox, *({"Id": f"001{n:012}AAA", "Heatsync_Id__c": f"a{n}"} for n in range(9)))
    wrong: list[dict[str, Value]] = [
        {"Note__c": "x" * 11},
        {"Level__c": "Gold"},
        {"Sum__c": 1},
        {"Heatsync_Id__c": "a8"},
        {"Score__c": "many"},
        {"Nowhere__c": 1},
        {"Name": None},
        {"Score__c": float("inf")},
    ]
    changes = [change(f"a{n}", each, f"001{n:012}AAA") for n, each in enumerate(wrong)]
    with org(sandbox.url) as destination:
        outcomes = push(
            destination,
            *changes,
            change("a8", {"Score__c": 8}, f"001{8:012}AAA"),
            change("a9", {"Score__c": 9}, "001000000000099AAA"),
        )
    assert {key: (each.code, each.field) for key, each in sorted(outcomes.items())} == {
        "a0": ("too_long", "Note__c"),
        "a1": ("bad_value", "Level__c"),
        "a2": ("read_only", "Sum__c"),
        "a3": ("duplicate", "Heatsync_Id__c"),
        "a4": ("bad_value", "Score__c"),
        "a5": ("field_missing", "Nowhere__c"),
        "a6": ("refused", "Name"),
        "a7": ("bad_value", "Score__c"),
        "a8": ("", None),
        "a9": ("not_found", None),
    }


def test_a_value_that_cannot_be_read_costs_two_more_calls(sandbox: Running) -> None:
    """Salesforce: JSON_PARSER_ERROR refuses the whole request, whichever record holds the value."""
    seed(sandbox, *({"Id": f"001{n:012}AAA"} for n in range(200)))
    watched = RecordingThrottle()
    changes = [change(f"a{n}", {"Score__c": "many" if n == 77 else n}, f"001{n:012}AAA") for n in range(200)]
    with org(sandbox.url, watched) as destination:
        outcomes = push(destination, *changes)
    assert {key: each.code for key, each in outcomes.items() if each.code} == {"a77": "bad_value"}
    assert watched.calls == 1 + 3


def test_a_missing_field_costs_one_more_call(sandbox: Running) -> None:
    """Salesforce: INVALID_FIELD "No such column" refuses the whole request; a field without permission looks the same."""
    seed(sandbox, *({"Id": f"001{n:012}AAA"} for n in range(200)))
    watched = RecordingThrottle()
    fields: list[dict[str, Value]] = [{"Nowhere__c": 1} if n % 2 else {"Score__c": n} for n in range(200)]
    with org(sandbox.url, watched) as destination:
        outcomes = push(
            destination, *(change(f"a{n}", each, f"001{n:012}AAA") for n, each in enumerate(fields))
        )
    assert {each.code for key, each in outcomes.items() if int(key[1:]) % 2} == {"field_missing"}
    assert {each.status for key, each in outcomes.items() if not int(key[1:]) % 2} == {Status.DELIVERED}
    assert watched.calls == 1 + 2


def test_a_locked_record_is_deferred_and_the_others_are_not() -> None:
    """Salesforce: UNABLE_TO_LOCK_ROW per record, also wrapped in CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY."""
    locked = {
        "statusCode": "UNABLE_TO_LOCK_ROW",
        "message": "unable to obtain exclusive access",
        "fields": [],
    }
    wrapped = {"statusCode": "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "message": "x: UNABLE_TO_LOCK_ROW, y"}

    def answer(request: Request) -> Reply:
        if is_login(request):
            return token()
        done = [{"id": each["id"], "success": True, "errors": []} for each in request.body["records"]]
        done[0] = {"success": False, "errors": [locked]}
        done[1] = {"success": False, "errors": [wrapped]}
        return Reply(200, done)

    with answering(answer) as vendor, org(vendor.url) as destination:
        outcomes = push(destination, *(change(f"a{n}", {"Score__c": 1}, f"001{n:012}AAA") for n in range(3)))
    assert [each.status for _, each in sorted(outcomes.items())] == [
        Status.DEFERRED,
        Status.DEFERRED,
        Status.DELIVERED,
    ]
    for each in (outcomes["a0"], outcomes["a1"]):
        assert each.until is not None
        assert timedelta(0) < each.until - datetime.now(UTC) < timedelta(minutes=1)


@pytest.mark.parametrize(
    "results",
    [
        [{"id": ONE, "success": True, "errors": []}],
        [{"id": TWO, "success": True, "errors": []}, {"id": ONE, "success": True, "errors": []}],
        [{"id": ONE, "success": True, "errors": []}, {"success": True, "errors": []}],
        [{"id": ONE, "success": True, "errors": []}, "well"],
        [],
        {"success": True},
    ],
    ids=["too few", "out of order", "without an id", "no result", "nothing", "no list"],
)
def test_results_that_do_not_fit_the_records_are_not_a_success(results: Any) -> None:
    def answer(request: Request) -> Reply:
        return token() if is_login(request) else Reply(200, results)

    with (
        answering(answer) as vendor,
        org(vendor.url) as destination,
        pytest.raises(Misunderstood, match="2 records"),
    ):
        push(destination, change("a1", {"Score__c": 1}, ONE), change("a2", {"Score__c": 1}, TWO))


def test_a_record_that_is_twice_in_a_batch_takes_two_calls_and_the_later_change_wins(
    sandbox: Running,
) -> None:
    """Reported: the same id twice in a request fails both with DUPLICATE_VALUE."""
    seed(sandbox, {"Id": ONE})
    with org(sandbox.url) as destination:
        outcomes = push(
            destination,
            change("a1", {"Score__c": 1, "Note__c": "a"}, ONE),
            change("a2", {"Score__c": 2}, ONE[:15]),
            change("a3", {"Score__c": 3, "Name": "x"}, Heatsync_Id__c="new"),
            change("a4", {"Score__c": 4, "Name": "x"}, Heatsync_Id__c="NEW"),
        )
    assert {each.status for each in outcomes.values()} == {Status.DELIVERED}
    assert (stored(sandbox, ONE)["Score__c"], stored(sandbox, ONE)["Note__c"]) == (2, "a")
    assert outcomes["a3"].remote_id == outcomes["a4"].remote_id
    assert stored(sandbox, str(outcomes["a3"].remote_id))["Score__c"] == 4


def test_a_record_that_left_and_does_not_exist_is_skipped(sandbox: Running) -> None:
    watched = RecordingThrottle()
    with org(sandbox.url, watched) as destination:
        left = Change(Kind.LEFT, "a1", (Match("Heatsync_Id__c", "a1"),), {"Score__c": None})
        assert push(destination, left)["a1"].status is Status.SKIPPED
    assert watched.calls == 0


def test_an_expired_session_is_renewed_once_for_all_threads() -> None:
    """Salesforce: 401 INVALID_SESSION_ID; neither flow has a refresh token."""
    ended = threading.Event()
    together = threading.Barrier(4)

    def answer(request: Request) -> Reply:
        if is_login(request):
            return token("second" if ended.is_set() else "first")
        if ended.is_set() and request.headers["authorization"] == "Bearer first":
            together.wait(10)
            return refused("INVALID_SESSION_ID", "Session expired or invalid", 401)
        return Reply(200, {"done": True, "records": [{"Id": ONE, "Name": "Acme"}]})

    watched = RecordingThrottle()
    with answering(answer) as vendor, org(vendor.url, watched) as destination:
        destination.account()
        ended.set()
        threads = [threading.Thread(target=destination.account) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len([each for each in vendor.requests if is_login(each)]) == 2
    assert len(vendor.requests) == 2 + 1 + 4 + 4 == watched.calls == watched.acquired


def test_a_session_that_is_always_refused_is_requested_twice_at_most() -> None:
    def answer(request: Request) -> Reply:
        return token() if is_login(request) else refused("INVALID_SESSION_ID", status=401)

    with answering(answer) as vendor, org(vendor.url) as destination, pytest.raises(Unauthorized):
        destination.account()
    assert len([each for each in vendor.requests if is_login(each)]) == 2
    assert len(vendor.requests) == 4


def test_a_session_from_the_settings_is_not_renewed(sandbox: Running) -> None:
    own = {"session_id": "00D!one", "instance_url": "https://acme.my.salesforce.com"}
    with org(sandbox.url, **own) as destination:
        assert destination.account().kind == "org"
    watched = RecordingThrottle()
    own["session_id"] = "refused"
    with org(sandbox.url, watched, **own) as destination, pytest.raises(Unauthorized):
        destination.account()
    assert watched.calls == 1


def private_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    return (
        rsa.generate_private_key(public_exponent=65537, key_size=2048)
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def test_a_private_key_works_in_one_line_or_many(sandbox: Running) -> None:
    key = private_key()
    for text in (key, key.replace("\n", "\\n")):
        with org(sandbox.url, username="a@acme", consumer_key="key", private_key=text) as destination:
            assert destination.account().kind == "org"


def test_an_invalid_private_key_is_a_configuration_error() -> None:
    settings = {"username": "a@acme", "consumer_key": "key", "private_key": "-----BEGIN nothing"}
    watched = RecordingThrottle()
    with pytest.raises(ConfigurationError, match="private_key"):
        VENDOR.connect(settings, watched, watched.on_request)
    assert watched.calls == 0


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"domain": "acme.my"},
        {"consumer_key": "k", "consumer_secret": "s"},
        {"consumer_key": "k", "consumer_secret": "s", "domain": "login"},
        {"username": "u", "private_key": "p"},
        {"session_id": "s"},
    ],
    ids=str,
)
def test_settings_that_cannot_log_in_are_a_configuration_error(settings: dict[str, str]) -> None:
    watched = RecordingThrottle()
    with pytest.raises(ConfigurationError, match="Salesforce"):
        VENDOR.connect(settings, watched, watched.on_request)
    assert watched.calls == 0


@pytest.mark.parametrize(
    ("reply", "error", "seconds"),
    [
        (Reply(400, {"error": "unknown_error", "error_description": "retry your request"}), Unavailable, 60),
        (
            Reply(400, {"error": "invalid_grant", "error_description": "login rate exceeded"}),
            Unavailable,
            3600,
        ),
        (
            Reply(400, {"error": "invalid_client_id", "error_description": "client invalid"}),
            Unauthorized,
            None,
        ),
        (Reply(404, "<html>There is no such domain</html>"), Misunderstood, None),
        (Reply(200, {"token": "none"}), Misunderstood, None),
    ],
    ids=["passing", "too many", "wrong", "empty", "strange"],
)
def test_a_login_that_fails_says_what_to_do(
    reply: Reply, error: type[Exception], seconds: float | None
) -> None:
    with (
        answering(lambda request: reply) as vendor,
        org(vendor.url) as destination,
        pytest.raises(error) as caught,
    ):
        destination.account()
    assert getattr(caught.value, "retry_after", None) == seconds
    assert len(vendor.requests) == 1


def test_daily_and_concurrent_limits_are_told_apart() -> None:
    """Salesforce: REQUEST_LIMIT_EXCEEDED is of the day (TotalRequests) or of the moment (ConcurrentRequests)."""
    reply = [
        refused("REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded.", 403)
    ]

    def answer(request: Request) -> Reply:
        if is_login(request):
            return token()
        return reply.pop() if reply else Reply(200, {"done": True, "records": [{"Id": ONE, "Name": "Acme"}]})

    watched = RecordingThrottle()
    with answering(answer) as vendor, org(vendor.url, watched) as destination:
        assert destination.account().id == ONE
        reply.append(refused("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", 403))
        with pytest.raises(Unavailable) as caught:
            destination.account()
    assert caught.value.retry_after == 3600
    assert watched.pauses == [15.0, 3600.0]


def test_a_missing_permission_is_unauthorized() -> None:
    def answer(request: Request) -> Reply:
        return token() if is_login(request) else refused("API_DISABLED_FOR_ORG", "API is not enabled", 403)

    with (
        answering(answer) as vendor,
        org(vendor.url) as destination,
        pytest.raises(Unauthorized, match="API is not enabled"),
    ):
        destination.account()


def test_a_query_that_takes_too_long_is_unavailable() -> None:
    def answer(request: Request) -> Reply:
        return (
            token()
            if is_login(request)
            else refused("QUERY_TIMEOUT", "Your query request was running too long")
        )

    with (
        answering(answer) as vendor,
        org(vendor.url) as destination,
        pytest.raises(Unavailable, match="too long"),
    ):
        find(destination, lookup("a1", Name="Acme"))


def test_calls_go_to_the_url_and_do_not_reassign_owners() -> None:
    """Salesforce REST guide: without Sforce-Auto-Assign: false, rules may change the owner."""

    def answer(request: Request) -> Reply:
        if is_login(request):
            return token(host="eu42.salesforce.com")
        if request.path.endswith("/composite/sobjects"):
            return Reply(200, [{"id": ONE, "success": True, "errors": []}])
        return Reply(200, {"done": True, "records": [{"Id": ONE, "Name": "Acme"}]})

    with answering(answer) as vendor, org(vendor.url, **APP, api_version="v61.0") as destination:
        destination.account()
        push(destination, change("a1", {"Score__c": 1}, ONE))
    login, query, write = vendor.requests
    assert login.text == "grant_type=client_credentials"
    assert login.headers["authorization"].startswith("Basic ")
    parts = urlsplit(query.path)
    assert (parts.path, parse_qs(parts.query)) == (
        "/services/data/v61.0/query/",
        {"q": ["SELECT Id, Name FROM Organization"]},
    )
    assert write.headers["sforce-auto-assign"] == "FALSE"
    assert write.body == {
        "allOrNone": False,
        "records": [{"attributes": {"type": "Account"}, "id": ONE, "Score__c": 1}],
    }


def test_fields_say_what_can_be_written(sandbox: Running) -> None:
    seed(sandbox)
    with org(sandbox.url) as destination:
        fields = destination.fields("Account")
    assert not fields["Id"].writable
    assert not fields["Sum__c"].writable
    assert fields["Heatsync_Id__c"].unique
    assert fields["Level__c"].options == ("Low", "High")
    assert fields["Note__c"].length == 10


def test_trait_names_keep_their_ending_and_have_forty_characters_at_most() -> None:
    assert VENDOR.name_trait("Accoil", "Health", "score", Entity.ACCOUNT) == "Accoil_Health_Score__c"
    for prefix, name in (
        ("Accoil", "A very long name of a score, in München"),
        ("P", "q" * 60),
        ("A-B", "c_"),
    ):
        names = {VENDOR.name_trait(prefix, name, metric, Entity.ACCOUNT) for metric in METRICS}
        assert len(names) == len(METRICS)
        for metric, name_ in (
            (metric, VENDOR.name_trait(prefix, name, metric, Entity.USER)) for metric in METRICS
        ):
            assert len(name_) <= NAME_LENGTH
            assert name_.endswith(f"_{METRICS[metric]}__c")
            assert "__" not in name_.removesuffix("__c")
            assert name_.isascii()


# What every destination promises

ACCOUNTS = Case(
    "salesforce",
    "Account",
    {"domain": "acme.my", "consumer_key": "key", "consumer_secret": contract.SECRET},
    records=lambda n: {"Id": f"001{n:012}", "Name": f"Account {n}", "Heatsync_Id__c": f"u{n}"},
    definitions={
        "Heatsync_Id__c": {"type": "string", "length": 64, "externalId": True, "unique": True},
        "Score__c": {"type": "double"},
    },
    match=lambda n: Match("Heatsync_Id__c", f"u{n}"),
    id=lambda n: f"001{n:012}AAA",
    read=lambda state, n: contract.found(state["salesforce"]["Account"], "Heatsync_Id__c", f"u{n}")[
        "Score__c"
    ],
    field="Score__c",
    bad="many",
    new={"Name": "New"},
    missing="Nowhere__c",
    logins=1,
    login=(
        "/services/oauth2/token",
        Reply(200, {"access_token": contract.SECRET, "instance_url": "https://acme.my.salesforce.com"}),
    ),
)

FILES = replace(
    ACCOUNTS,
    settings={**ACCOUNTS.settings, "bulk_above": "1"},
    way=" by files",
    # However many records a file has.
    calls_for_three=6,
)
"""Two records are enough for a file."""
CONTRACT = (ACCOUNTS, FILES)


def test_salesforce_says_which_fields_to_create_by_hand(sandbox: Running) -> None:
    with ACCOUNTS.opened(sandbox.url) as destination:
        destination.create_fields("Account", [])
        with pytest.raises(ConfigurationError, match=r"`permission_set`.*Score__c \(Number"):
            destination.create_fields("Account", [NewField("Score__c", FieldType.NUMBER, "Score")])
