from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import contract
import pytest
from contract import Case
from fake_vendor import HANG_UP, RecordingThrottle, Reply, Request, answering
from salesforce_calls import ONE, TWO, change, find, is_login, lookup, org, push, refused, seed, stored, token

from connectors.errors import ConfigurationError, Misunderstood, Unavailable
from connectors.types import (
    Change,
    FieldType,
    Found,
    Kind,
    Lookup,
    Match,
    NewField,
    Status,
    Value,
)
from heatsync.sandbox.server import Running


def test_the_account_is_named(sandbox: Running) -> None:
    with org(sandbox.url) as destination:
        account = destination.account()
    assert account.kind == "org"
    assert len(account.id) == 18
    assert account.name == "default"


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
        created = push(destination, change("p1", {"Score__c": 4}, Name="One"), object="Plan__c")["p1"]
    assert stored(sandbox, id, "Contact")["Score__c"] == 3
    assert stored(sandbox, str(created.remote_id), "Plan__c") == {
        "Id": created.remote_id,
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


def test_fields_say_what_can_be_written(sandbox: Running) -> None:
    seed(sandbox)
    with org(sandbox.url) as destination:
        fields = destination.fields("Account")
    assert not fields["Id"].writable
    assert not fields["Sum__c"].writable
    assert fields["Heatsync_Id__c"].unique
    assert fields["Level__c"].options == ("Low", "High")
    assert fields["Note__c"].length == 10


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
