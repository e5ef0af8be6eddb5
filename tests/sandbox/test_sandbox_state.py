"""/_state and /_stats: a state is returned as it was loaded, and the counts are right."""

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from heatsync.sandbox.app import create
from heatsync.sandbox.state import Row, Table, World, fold, number_of

DOCUMENTED = {
    "hubspot": {
        "contacts": [{"id": "101", "properties": {"email": "ada@example.com", "plan": "pro"}}],
        "companies": [{"id": "9", "properties": {"name": "Acme"}}],
    },
    "intercom": {
        "contacts": [{"id": "5f1", "external_id": "u1", "email": "ada@example.com", "custom_attributes": {}}],
        "companies": [{"id": "c1", "company_id": "a1", "name": "Acme", "custom_attributes": {}}],
    },
    "segment": {"users": {"u1": {"email": "ada@example.com"}}, "groups": {"a1": {"name": "Acme"}}},
    "salesforce": {"Account": [{"Id": "001000000000001AAA", "Name": "Acme", "Heatsync_Id__c": "a1"}]},
    "fields": {
        "hubspot": {"contacts": {"plan": {"type": "string"}}, "companies": {}},
        "intercom": {"contacts": {}, "companies": {}},
        "salesforce": {
            "Account": {
                "Heatsync_Id__c": {"type": "string", "length": 64, "externalId": True, "unique": True},
                "Engagement_Score__c": {"type": "double"},
            }
        },
    },
}
EMPTY = {
    "hubspot": {"contacts": [], "companies": []},
    "intercom": {"contacts": [], "companies": []},
    "segment": {"users": {}, "groups": {}},
    "salesforce": {"Account": []},
    "fields": {
        "hubspot": {"contacts": {}, "companies": {}},
        "intercom": {"contacts": {}, "companies": {}},
        "salesforce": {"Account": {}},
    },
}


def documented(state):
    """The part of a state that belongs to the documented vendors."""
    fields = {vendor: each for vendor, each in state["fields"].items() if vendor in DOCUMENTED}
    return {name: part for name, part in state.items() if name in DOCUMENTED} | {"fields": fields}


def test_the_documented_state_is_returned_as_it_was_loaded(client):
    answer = client("PUT", f"/_state?account={client.account}", DOCUMENTED)
    assert answer.status_code == 200
    assert documented(answer.json()) == DOCUMENTED
    assert documented(client("GET", f"/_state?account={client.account}").json()) == DOCUMENTED


def test_parts_that_a_state_leaves_out_are_empty(client):
    client.seed(**DOCUMENTED)
    assert documented(client("PUT", f"/_state?account={client.account}", {}).json()) == EMPTY


def test_without_an_account_the_state_is_that_of_the_default_account(server):
    try:
        requests.put(f"{server.url}/_state", json={"segment": {"users": {"u1": {"a": 1}}}}, timeout=10)
        assert server.state()["segment"]["users"] == {"u1": {"a": 1}}
    finally:
        server.seed({})


def test_accounts_are_separate(client):
    client.seed(**DOCUMENTED)
    other = {"Authorization": "Bearer somebody:x"}
    answer = client("GET", "/crm/v3/objects/contacts/101", headers=other)
    assert answer.status_code == 404
    assert client("GET", "/crm/v3/objects/contacts/101").status_code == 200


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"hubspott": {}}, "hubspott"),
        ({"hubspot": {"deals": []}}, "deals"),
        ({"hubspot": {"contacts": {}}}, "hubspot.contacts"),
        ({"hubspot": {"contacts": [{"id": "1"}, {"id": "1"}]}}, "hubspot.contacts[1]"),
        ({"hubspot": {"contacts": [{"email": "a@b.c"}]}}, "properties"),
        ({"fields": {"hubspot": {"contacts": {"x": {"type": "nope"}}}}}, "fields.hubspot.contacts.x"),
        ({"fields": {"segment": {}}}, "segment"),
        ({"intercom": {"contacts": [{"emale": "x"}]}}, "emale"),
        ({"fields": {"intercom": {"contacts": {"x": {"type": "nope"}}}}}, "fields.intercom.contacts.x"),
        ({"salesforce": {"Account": [{"Id": "17"}]}}, "17"),
        ({"segment": {"people": {}}}, "people"),
    ],
)
def test_an_invalid_state_is_refused_and_changes_nothing(client, state, message):
    client.seed(**DOCUMENTED)
    answer = client("PUT", f"/_state?account={client.account}", state)
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert documented(client.server.state(client.account)) == DOCUMENTED


def test_a_state_that_is_not_json_is_refused(client):
    assert client.http.put(f"{client.url}/_state?account=x", data=b"{", timeout=10).status_code == 400


def test_records_without_an_id_get_one(client):
    client.seed(
        hubspot={"contacts": [{"properties": {"email": "a@b.co"}}]},
        intercom={"contacts": [{"email": "a@b.co"}]},
        salesforce={"Account": [{"Name": "Acme"}], "Invoice__c": [{"Name": "1"}]},
    )
    assert client.state("hubspot")["contacts"][0]["id"].isdigit()
    assert len(client.state("intercom")["contacts"][0]["id"]) == 24
    assert len(client.state("salesforce")["Account"][0]["Id"]) == 18
    assert client.state("salesforce")["Invoice__c"][0]["Id"][:3] not in ("001", "003")


def test_the_ids_of_an_account_are_unique_and_stable(client):
    def ids(account):
        headers = {"Authorization": f"Bearer {account}:x"}
        portal = client("GET", "/account-info/v3/details", headers=headers).json()["portalId"]
        app = client("GET", "/me", headers=headers).json()["app"]["id_code"]
        org = client("GET", "/services/oauth2/userinfo", headers=headers).json()["organization_id"]
        return portal, app, org

    assert ids("acme") == ids("acme")
    assert all(a != b for a, b in zip(ids("acme"), ids("other"), strict=True))


def test_stats_count_calls_records_and_refusals(client):
    client.seed(hubspot={"contacts": [{"id": "1", "properties": {}}, {"id": "2", "properties": {}}]})
    path = "/crm/v3/objects/contacts/batch/update"
    inputs = [{"id": id, "properties": {"firstname": "A"}} for id in "12"]
    client("POST", path, {"inputs": inputs})
    client("POST", path, {"inputs": [{"id": "1", "properties": {"nope": "A"}}]})
    client("GET", "/account-info/v3/details")
    stats = client("GET", f"/_stats?account={client.account}").json()
    assert stats["hubspot"] == {
        "calls": 3,
        "records": 2,
        "refused": {"400": 1},
        "peak_window": 3,
        "window_seconds": 10.0,
        "endpoints": {
            "GET account-info/details": {
                "calls": 1,
                "records": 0,
                "refused": {},
                "peak_window": 1,
                "window_seconds": 10.0,
            },
            "POST contacts/batch/update": {
                "calls": 2,
                "records": 2,
                "refused": {"400": 1},
                "peak_window": 2,
                "window_seconds": 10.0,
            },
        },
    }
    assert {name: each["calls"] for name, each in stats.items() if each["calls"]} == {"hubspot": 3}
    assert {"intercom", "segment", "salesforce"} <= set(stats)


def test_deleting_the_stats_sets_them_to_zero(client):
    client("GET", "/me")
    assert client.stats("intercom")["calls"] == 1
    answer = client("DELETE", f"/_stats?account={client.account}")
    assert answer.json()["intercom"]["calls"] == 0
    assert client.stats("intercom")["endpoints"] == {}


def test_reading_the_state_does_not_count_as_a_call(client):
    client("GET", f"/_state?account={client.account}")
    assert all(each["calls"] == 0 for each in client.server.stats(client.account).values())


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/crm/v3/objects/contacts/1/2/3", "status"),
        ("/crm/v4/objects/contacts/search", "status"),
        ("/contacts/1/2/3", "errors"),
        ("/v1/identify", "code"),
        ("/services/data/v59.0/nothing", 0),
    ],
)
def test_an_unknown_path_is_refused_in_its_vendors_words(client, path, where):
    answer = client("POST", path, {})
    assert answer.status_code == 404
    assert answer.json()[where]


def test_a_path_of_no_vendor_is_refused(client):
    answer = client("GET", "/nobody")
    assert answer.status_code == 404
    assert "/nobody" in answer.json()["error"]


def test_an_invalid_first_state_is_an_error_at_the_start():
    with pytest.raises(ValueError, match="hubspott"):
        create(state={"hubspott": {}})


values = st.one_of(st.none(), st.text("aAbB7", max_size=2), st.integers(6, 8), st.booleans(), st.just(7.0))
steps = st.lists(st.tuples(st.integers(0, 4), st.sampled_from("xy"), values), max_size=30)


@given(steps, st.frozensets(st.sampled_from("xy")))
def test_an_index_finds_the_same_records_as_a_full_scan(steps, exact):
    table = Table(exact)
    for id, field, value in steps:
        table.having(field, "warm up the index")
        row = table.rows.get(str(id))
        if row is None:
            kept = {} if value is None else {field: value}
            table.add(Row(str(id), kept, 0.0, 0.0))
        else:
            table.change(row, {field: value}, 1.0)
        for each in "xy":
            for wanted in ("a", "A", "7", 7, True):
                found = {row.id for row in table.having(each, wanted)}
                same = str if each in exact else fold
                scanned = {r.id for r in table if each in r.values and same(r.values[each]) == same(wanted)}
                assert found == scanned


@given(st.text(), st.integers(2, 12))
def test_a_number_derived_from_words_has_its_digits_and_is_stable(word, digits):
    assert len(str(number_of("x", word, digits=digits))) == digits
    assert number_of("x", word, digits=digits) == number_of("x", word, digits=digits)


def test_a_new_account_is_empty():
    class Nothing:
        def __init__(self, name):
            pass

        def dump(self):
            return {}

        def dump_fields(self):
            return None

    assert World({"v": Nothing}).dump("new") == {"v": {}, "fields": {}}
