"""HubSpot, raw and through its own SDK."""

import json
import re

import pytest
from hubspot import HubSpot
from hubspot.crm.properties.exceptions import ApiException
from urllib3.util.retry import Retry

FIELDS = {
    "score": {"type": "number"},
    "level": {"type": "enumeration", "options": ["low", "high"]},
    "tags": {"type": "enumeration", "fieldType": "checkbox", "options": ["a", "b", "c"]},
    "seen_on": {"type": "date"},
    "seen_at": {"type": "datetime"},
    "is_hot": {"type": "bool"},
    "note": {"type": "string"},
    "computed": {"type": "number", "calculated": True},
    "user_id": {"type": "string", "hasUniqueValue": True},
}
OBJECTS = "/crm/objects/2026-09/contacts"


@pytest.fixture
def crm(client):
    client.seed(
        hubspot={
            "contacts": [
                {"id": "101", "properties": {"email": "ada@example.com", "user_id": "u1", "tags": "a"}},
                {"id": "102", "properties": {"email": "bob@example.com", "user_id": "u2"}},
            ],
            "companies": [
                {"id": "101", "properties": {"name": "Acme", "domain": "acme.com"}},
                {"id": "102", "properties": {"name": "Acme again", "domain": "acme.com"}},
            ],
        },
        fields={"hubspot": {"contacts": FIELDS, "companies": {"score": {"type": "number"}}}},
    )
    return client


@pytest.fixture
def sdk(crm):
    return HubSpot(access_token=crm.token, host=crm.url, retry=Retry(total=0, raise_on_status=False))


def properties(crm, id="101"):
    return next(each["properties"] for each in crm.state("hubspot")["contacts"] if each["id"] == id)


def update(crm, *inputs):
    return crm("POST", f"{OBJECTS}/batch/update", {"inputs": list(inputs)})


@pytest.mark.parametrize(
    "path",
    ["/crm/v3/objects/contacts", "/crm/objects/2026-03/contacts", "/crm/objects/2026-09/contacts"],
)
def test_the_old_and_the_dated_paths_are_the_same_contacts(crm, path):
    answer = crm("GET", f"{path}/101?properties=email,score")
    assert answer.json()["properties"]["email"] == "ada@example.com"
    assert answer.json()["properties"]["score"] is None


def test_an_update_keeps_what_it_does_not_mention_and_answers_strings(crm):
    answer = update(crm, {"id": "101", "properties": {"score": 42, "is_hot": "TRUE", "note": ""}})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["results"][0]["id"]) == ("COMPLETE", "101")
    assert body["results"][0]["properties"]["score"] == "42"
    assert properties(crm) == {
        "email": "ada@example.com",
        "user_id": "u1",
        "tags": "a",
        "score": "42",
        "is_hot": "true",
    }


def test_an_empty_text_clears(crm):
    update(crm, {"id": "101", "properties": {"user_id": ""}})
    assert "user_id" not in properties(crm)


@pytest.mark.parametrize(
    ("field", "sent", "kept"),
    [
        ("score", "12.5", "12.5"),
        ("seen_on", "2026-11-22", "2026-11-22"),
        ("seen_on", "1795305600000", "2026-11-22"),
        ("seen_at", "2026-11-22T05:00:00Z", "2026-11-22T05:00:00Z"),
        ("seen_at", "2026-11-22T06:00:00.250+01:00", "2026-11-22T05:00:00.250Z"),
        ("seen_at", "1795323600000", "2026-11-22T05:00:00Z"),
        ("level", "high", "high"),
        ("tags", "b;c", "b;c"),
        ("tags", ";b", "a;b"),
        ("email", "Ada@Example.COM", "ada@example.com"),
        ("note", 'Łódź 🎉, "quoted"\nnext', 'Łódź 🎉, "quoted"\nnext'),
    ],
)
def test_values_are_kept_as_hubspot_keeps_them(crm, field, sent, kept):
    assert update(crm, {"id": "101", "properties": {field: sent}}).status_code == 200
    assert properties(crm)[field] == kept


@pytest.mark.parametrize(
    ("field", "sent", "code"),
    [
        ("nope", "1", "PROPERTY_DOESNT_EXIST"),
        ("score", "many", "INVALID_FLOAT"),
        ("score", "NaN", "INVALID_FLOAT"),
        ("seen_on", "soon", "INVALID_LONG"),
        ("seen_on", "1635535865", "INVALID_DATE"),
        ("seen_at", "2026-11-22", "INVALID_LONG"),
        ("level", "middling", "INVALID_OPTION"),
        ("tags", "a;z", "INVALID_OPTION"),
        ("is_hot", "maybe", "INVALID_OPTION"),
        ("email", "not an address", "INVALID_EMAIL"),
        ("computed", "1", "READ_ONLY_VALUE"),
        ("hs_object_id", "1", "READ_ONLY_VALUE"),
        ("note", "x" * 65_537, "INVALID_STRING_LENGTH"),
    ],
)
def test_one_bad_value_refuses_the_whole_batch(crm, field, sent, code):
    before = crm.state("hubspot")
    answer = update(
        crm, {"id": "102", "properties": {"note": "fine"}}, {"id": "101", "properties": {field: sent}}
    )
    assert answer.status_code == 400
    body = answer.json()
    assert body["category"] == "VALIDATION_ERROR"
    assert body["errors"][0]["code"] == code
    assert body["errors"][0]["context"] == {"propertyName": [field]}
    problems = json.loads(body["message"].partition(": ")[2])
    assert (problems[0]["error"], problems[0]["name"]) == (code, field)
    assert crm.state("hubspot") == before


def test_the_words_about_a_time_that_is_not_midnight_are_hubspots(crm):
    body = update(crm, {"id": "101", "properties": {"seen_on": "1635535865"}}).json()
    assert "1635535865 is at 22:18:55.865 UTC, not midnight!" in body["message"]


def test_null_is_not_a_value(crm):
    assert update(crm, {"id": "101", "properties": {"score": None}}).status_code == 400


def test_an_id_may_be_in_a_batch_once(crm):
    answer = update(crm, {"id": "101", "properties": {}}, {"id": "101", "properties": {}})
    assert answer.status_code == 400
    assert answer.json()["context"] == {"ids": ["101"]}
    assert answer.json()["message"].startswith("Duplicate IDs found in batch input: [101]")


def test_a_batch_holds_at_most_a_hundred_records(crm):
    inputs = [{"id": str(i), "properties": {}} for i in range(101)]
    assert update(crm, *inputs).status_code == 400


def test_an_address_in_place_of_an_id_is_ignored_silently(crm):
    answer = update(crm, {"id": "ada@example.com", "properties": {"score": "1"}})
    assert (answer.status_code, answer.json()["results"]) == (200, [])
    assert "score" not in properties(crm)


def test_an_address_as_id_property_is_refused_for_an_update(crm):
    answer = update(crm, {"id": "ada@example.com", "idProperty": "email", "properties": {"score": "1"}})
    assert answer.status_code == 400
    assert "Unable to perform update by non-unique 0-1 property" in answer.json()["message"]


def test_a_unique_property_finds_the_record_to_update(crm):
    answer = update(crm, {"id": "u2", "idProperty": "user_id", "properties": {"score": "1"}})
    assert answer.json()["results"][0]["id"] == "102"


def test_a_deleted_record_is_named_and_the_others_are_written(crm):
    answer = update(
        crm, {"id": "999", "properties": {"score": "1"}}, {"id": "101", "properties": {"score": "1"}}
    )
    assert answer.status_code == 207
    body = answer.json()
    assert [each["id"] for each in body["results"]] == ["101"]
    assert body["numErrors"] == 1
    assert body["errors"][0]["category"] == "OBJECT_NOT_FOUND"
    assert body["errors"][0]["context"] == {"ids": ["999"]}


def test_a_unique_value_belongs_to_one_record(crm):
    answer = update(crm, {"id": "101", "properties": {"user_id": "u2"}})
    assert answer.status_code == 400
    assert "102 already has that value" in answer.json()["message"]
    twice = update(
        crm, {"id": "101", "properties": {"user_id": "u3"}}, {"id": "102", "properties": {"user_id": "u3"}}
    )
    assert twice.status_code == 400


def test_a_batch_read_by_address_names_the_missing(crm):
    body = {
        "idProperty": "email",
        "properties": ["score", "nope"],
        "propertiesWithHistory": [],
        "inputs": [{"id": "ADA@example.com"}, {"id": "nobody@example.com"}],
    }
    answer = crm("POST", f"{OBJECTS}/batch/read", body)
    assert answer.status_code == 207
    found = answer.json()["results"][0]
    assert found["id"] == "101"
    assert found["properties"].keys() == {
        "createdate",
        "hs_object_id",
        "lastmodifieddate",
        "score",
    }
    assert answer.json()["errors"][0]["context"] == {"ids": ["nobody@example.com"]}
    body["inputs"] = body["inputs"][:1]
    assert crm("POST", f"{OBJECTS}/batch/read", body).status_code == 200


def test_with_trace_ids_each_new_record_fails_by_itself(crm):
    inputs = [
        {"objectWriteTraceId": "t1", "properties": {"email": "new@example.com", "score": "1"}},
        {"objectWriteTraceId": "t2", "properties": {"email": "ada@example.com"}},
        {"objectWriteTraceId": "t3", "properties": {"email": "x@example.com", "nope": "1"}},
        {"objectWriteTraceId": "t4", "properties": {"email": "new@example.com"}},
    ]
    answer = crm("POST", f"{OBJECTS}/batch/create", {"inputs": inputs})
    assert answer.status_code == 207
    body = answer.json()
    assert [each["objectWriteTraceId"] for each in body["results"]] == ["t1"]
    assert body["results"][0]["id"].isdigit()
    errors = {each["context"]["objectWriteTraceId"][0]: each for each in body["errors"]}
    assert errors["t2"]["category"] == "CONFLICT"
    assert errors["t2"]["message"] == "Contact already exists. Existing ID: 101"
    assert errors["t3"]["errors"][0]["code"] == "PROPERTY_DOESNT_EXIST"
    assert errors["t4"]["message"].endswith(body["results"][0]["id"])


def test_without_trace_ids_new_records_are_all_or_nothing(crm):
    inputs = [{"properties": {"email": "new@example.com"}}, {"properties": {"email": "ada@example.com"}}]
    answer = crm("POST", f"{OBJECTS}/batch/create", {"inputs": inputs})
    assert answer.status_code == 409
    assert re.fullmatch(r"Contact already exists. Existing ID: 101", answer.json()["message"])
    assert len(crm.state("hubspot")["contacts"]) == 2
    answer = crm("POST", f"{OBJECTS}/batch/create", {"inputs": inputs[:1]})
    assert answer.status_code == 201


def test_a_new_record_needs_an_identifying_property(crm):
    for object in ("contacts", "companies"):
        answer = crm("POST", f"/crm/v3/objects/{object}", {"properties": {"score": "1"}})
        assert answer.status_code == 400


def test_two_companies_may_share_a_domain(crm):
    answer = crm("POST", "/crm/v3/objects/companies", {"properties": {"domain": "acme.com"}})
    assert answer.status_code == 201
    search = {
        "filterGroups": [{"filters": [{"propertyName": "domain", "operator": "EQ", "value": "ACME.com"}]}]
    }
    assert crm("POST", "/crm/v3/objects/companies/search", search).json()["total"] == 3


def test_an_upsert_says_which_records_are_new(crm):
    inputs = [
        {"idProperty": "email", "id": "ada@example.com", "properties": {"score": "1"}},
        {"idProperty": "email", "id": "new@example.com", "properties": {"score": "2"}},
    ]
    answer = crm("POST", f"{OBJECTS}/batch/upsert", {"inputs": inputs})
    assert answer.status_code == 200
    results = {each["properties"].get("score"): each for each in answer.json()["results"]}
    assert (results["1"]["id"], results["1"]["new"]) == ("101", False)
    assert results["2"]["new"] is True
    assert properties(crm, results["2"]["id"]) == {"email": "new@example.com", "score": "2"}


def test_an_upsert_by_a_property_that_is_not_unique_is_refused(crm):
    inputs = [{"idProperty": "domain", "id": "acme.com", "properties": {}}]
    answer = crm("POST", "/crm/v3/objects/companies/batch/upsert", {"inputs": inputs})
    assert answer.status_code == 400
    assert "non-unique 0-2 property domain" in answer.json()["message"]


def test_patching_one_by_address_updates_only(crm):
    body = {"properties": {"score": "5"}}
    assert crm("PATCH", "/crm/v3/objects/contacts/ada@example.com?idProperty=email", body).status_code == 200
    missing = crm("PATCH", "/crm/v3/objects/contacts/no@example.com?idProperty=email", body)
    assert missing.status_code == 404
    assert missing.json()["category"] == "OBJECT_NOT_FOUND"


def search(crm, *filters, object="contacts", **more):
    body = {"filterGroups": [{"filters": list(filters)}], **more}
    return crm("POST", f"/crm/objects/2026-09/{object}/search", body)


def test_search_finds_several_values_at_once(crm):
    wanted = {"propertyName": "domain", "operator": "IN", "values": ["acme.com", "other.com"]}
    answer = search(crm, wanted, object="companies", properties=["name", "domain"])
    assert answer.json()["total"] == 2
    assert {each["properties"]["name"] for each in answer.json()["results"]} == {"Acme", "Acme again"}


def test_search_compares_the_values_of_in_with_lower_case(crm):
    wanted = {"propertyName": "domain", "operator": "IN", "values": ["ACME.com"]}
    assert search(crm, wanted, object="companies").json()["total"] == 0


def test_search_pages(crm):
    crm.seed(hubspot={"contacts": [{"properties": {"email": f"u{i}@example.com"}} for i in range(25)]})
    seen, after = [], None
    for _ in range(3):
        page = search(
            crm,
            {"propertyName": "email", "operator": "HAS_PROPERTY"},
            limit=10,
            after=after,
            sorts=[{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
        ).json()
        seen += [each["id"] for each in page["results"]]
        after = page.get("paging", {}).get("next", {}).get("after")
    assert len(set(seen)) == page["total"] == 25
    assert after is None
    assert seen == sorted(seen, key=int)


@pytest.mark.parametrize(
    ("filter", "ids"),
    [
        ({"operator": "EQ", "value": "2"}, ["102"]),
        ({"operator": "NEQ", "value": "2"}, ["101"]),
        ({"operator": "GT", "value": "9"}, ["101"]),
        ({"operator": "LTE", "value": "9"}, ["102"]),
        ({"operator": "NOT_IN", "values": ["2"]}, ["101", "103"]),
        ({"operator": "NOT_HAS_PROPERTY"}, ["103"]),
    ],
)
def test_search_filters(crm, filter, ids):
    crm.seed(
        hubspot={
            "contacts": [
                {"id": "101", "properties": {"score": "10"}},
                {"id": "102", "properties": {"score": "2"}},
                {"id": "103", "properties": {}},
            ]
        },
        fields={"hubspot": {"contacts": FIELDS}},
    )
    answer = search(crm, {"propertyName": "score", **filter})
    assert [each["id"] for each in answer.json()["results"]] == ids


def test_search_keeps_its_limits(crm):
    one = {"propertyName": "email", "operator": "HAS_PROPERTY"}
    groups = [{"filters": [one]}] * 6
    path = "/crm/v3/objects/contacts/search"
    assert crm("POST", path, {"filterGroups": groups}).status_code == 400
    assert search(crm, *[one] * 7).status_code == 400
    assert search(crm, one, limit=201).status_code == 400
    assert search(crm, one, limit=200, after="9900").status_code == 400
    assert search(crm, {**one, "propertyName": "nope"}).status_code == 400


def test_a_refused_token_is_refused_as_hubspot_does(crm):
    for token in ("Bearer refused", "Bearer acme:refused", ""):
        answer = crm("GET", "/account-info/v3/details", headers={"Authorization": token})
        assert (answer.status_code, answer.json()["category"]) == (401, "INVALID_AUTHENTICATION")


def test_what_is_not_json_is_refused(crm):
    path = f"{crm.url}{OBJECTS}/batch/update"
    for body in (b"{", b"[]", b'{"inputs": NaN}', b"\xff"):
        answer = crm.http.post(path, data=body, timeout=10)
        assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")


def test_the_sdk_defines_properties(sdk):
    core, batch = sdk.crm.properties.core_api, sdk.crm.properties.batch_api
    group = {"name": "heatsync", "label": "heatsync"}
    assert sdk.crm.properties.groups_api.create("contacts", group).name == "heatsync"
    new = {"name": "pql", "label": "PQL", "type": "number", "fieldType": "number", "groupName": "heatsync"}
    assert core.create("contacts", new).name == "pql"
    names = {each.name for each in core.get_all("contacts").results}
    assert {"pql", "email", "score"} <= names
    found = core.get_by_name("contacts", "pql")
    assert (found.type, found.hubspot_defined, found.modification_metadata.read_only_value) == (
        "number",
        False,
        False,
    )
    with pytest.raises(ApiException) as conflict:
        core.create("contacts", new)
    assert conflict.value.status == 409
    assert "PROPERTY_WITH_NAME_EXISTS" in conflict.value.body
    created = batch.create("contacts", {"inputs": [{**new, "name": "two"}, new]}, _preload_content=False)
    body = json.loads(created.data)
    assert created.status == 207
    assert [each["name"] for each in body["results"]] == ["two"]
    assert body["errors"][0]["category"] == "OBJECT_ALREADY_EXISTS"


@pytest.mark.parametrize(
    "change",
    [
        {"type": "nope"},
        {"fieldType": "checkbox"},
        {"groupName": "nowhere"},
        {"name": "1st"},
        {"name": "a-b"},
        {"label": ""},
        {"type": "enumeration", "fieldType": "select"},
    ],
)
def test_an_invalid_property_is_refused(crm, change):
    body = {
        "name": "x",
        "label": "X",
        "type": "string",
        "fieldType": "text",
        "groupName": "contactinformation",
    }
    answer = crm("POST", "/crm/properties/2026-09/contacts", {**body, **change})
    assert answer.status_code == 400


def test_an_archived_property_comes_back_as_it_was(crm):
    path = "/crm/v3/properties/contacts"
    assert crm("DELETE", f"{path}/level").status_code == 204
    assert crm("GET", f"{path}/level").status_code == 404
    assert update(crm, {"id": "101", "properties": {"level": "high"}}).status_code == 400
    body = {
        "name": "level",
        "label": "L",
        "type": "string",
        "fieldType": "text",
        "groupName": "contactinformation",
    }
    again = crm("POST", path, body)
    assert (again.status_code, again.json()["type"]) == (201, "enumeration")


def test_options_are_replaced_as_a_whole(crm):
    path = "/crm/v3/properties/contacts/level"
    options = [{"label": "Very high", "value": "very_high"}]
    assert crm("PATCH", path, {"options": options}).status_code == 200
    assert update(crm, {"id": "101", "properties": {"level": "high"}}).status_code == 400
    assert update(crm, {"id": "101", "properties": {"level": "very_high"}}).status_code == 200
    assert crm("PATCH", path, {"label": "Level"}).json()["options"][0]["value"] == "very_high"


def test_a_seeded_standard_property_keeps_its_type(crm):
    crm.seed(fields={"hubspot": {"contacts": {"email": {"type": "string"}}}})
    body = {"properties": {"email": "ada@example.com"}}
    assert crm("POST", "/crm/v3/objects/contacts", body).status_code == 201
    assert crm("POST", "/crm/v3/objects/contacts", body).status_code == 409


def test_limits_and_usage_are_shown(crm):
    limits = crm("GET", "/crm/v3/limits/custom-properties").json()
    assert limits["overallUsage"] == len(FIELDS) + 1
    assert crm("GET", "/crm/limits/2026-09/custom-properties").json() == limits
    usage = crm("GET", "/account-info/v3/api-usage/daily/private-apps").json()["results"][0]
    assert usage["usageLimit"] == 650_000


def test_the_sdk_reads_updates_and_upserts(sdk, crm):
    batch = sdk.crm.contacts.batch_api
    read = batch.read(
        {
            "idProperty": "email",
            "properties": ["score"],
            "propertiesWithHistory": [],
            "inputs": [{"id": "ada@example.com"}, {"id": "no@example.com"}],
        }
    )
    assert (read.num_errors, read.results[0].id) == (1, "101")
    done = batch.update({"inputs": [{"id": "101", "properties": {"score": "9"}}]})
    assert (done.status, done.results[0].properties["score"]) == ("COMPLETE", "9")
    new = batch.upsert({"inputs": [{"id": "n@x.io", "idProperty": "email", "properties": {"score": "1"}}]})
    assert new.results[0].new is True
    assert sdk.crm.companies.search_api.do_search({"limit": 1}).total == 2
    with pytest.raises(Exception, match="PROPERTY_DOESNT_EXIST") as bad:
        batch.update({"inputs": [{"id": "101", "properties": {"nope": "9"}}]})
    assert bad.value.status == 400


def test_a_life_cycle_stage_does_not_go_back(crm):
    update(crm, {"id": "101", "properties": {"lifecyclestage": "customer"}})
    assert update(crm, {"id": "101", "properties": {"lifecyclestage": "lead"}}).status_code == 200
    assert properties(crm)["lifecyclestage"] == "customer"
