"""Intercom, raw and through its own SDK."""

import re

import httpx
import pytest
from intercom import (
    CreateContactRequestWithExternalId,
    CreateOrUpdateTagRequest,
    Intercom,
    SingleFilterSearchRequest,
)
from intercom.core.api_error import ApiError

FIELDS = {
    "contacts": {
        "score": {"type": "integer"},
        "ratio": {"type": "float"},
        "level": {"type": "string"},
        "hot": {"type": "boolean"},
        "seen": {"type": "date"},
        "tier": {"data_type": "options", "options": [{"value": "a"}, {"value": "b"}]},
    },
    "companies": {"account_score": {"type": "integer"}},
}


@pytest.fixture
def app(client):
    client.seed(
        intercom={
            "contacts": [
                {"id": "5f1", "external_id": "u1", "email": "ada@example.com", "custom_attributes": {}},
                {"id": "5f2", "external_id": "u2", "email": "bob@example.com", "custom_attributes": {}},
            ],
            "companies": [{"id": "c1", "company_id": "a1", "name": "Acme", "custom_attributes": {}}],
        },
        fields={"intercom": FIELDS},
    )
    return client


@pytest.fixture
def sdk(app):
    with httpx.Client(timeout=10) as http:
        yield Intercom(
            token=app.token, base_url=app.url, httpx_client=http, headers={"Intercom-Version": "2.14"}
        )


def custom(app, id="5f1"):
    return next(each["custom_attributes"] for each in app.state("intercom")["contacts"] if each["id"] == id)


def code(answer):
    assert answer.json()["type"] == "error.list"
    return answer.json()["errors"][0]["code"]


def find(app, query, **pagination):
    return app("POST", "/contacts/search", {"query": query, "pagination": pagination})


def where(field, operator, value):
    return {"field": field, "operator": operator, "value": value}


def group(operator, *parts):
    return {"operator": operator, "value": list(parts)}


def test_me_names_the_workspace(app):
    body = app("GET", "/me").json()
    assert body["type"] == "admin"
    assert body["app"]["name"] == app.account
    assert re.fullmatch(r"[0-9a-f]{8}", body["app"]["id_code"])


def test_a_refused_token_is_refused_as_intercom_does(app):
    answer = app("GET", "/me", headers={"Authorization": "Bearer refused"})
    assert answer.status_code == 401
    assert answer.json()["errors"] == [{"code": "unauthorized", "message": "Access Token Invalid"}]
    assert "X-RateLimit-Limit" not in answer.headers


def test_an_update_keeps_what_it_does_not_mention_and_null_clears(app):
    app("PUT", "/contacts/5f1", {"custom_attributes": {"score": 3, "level": "High"}})
    answer = app("PUT", "/contacts/5f1", {"custom_attributes": {"level": None, "hot": True}})
    assert answer.status_code == 200
    assert answer.json()["custom_attributes"] == {"score": 3, "hot": True}
    assert custom(app) == {"score": 3, "hot": True}


def test_an_unknown_attribute_is_refused_by_name(app):
    for method, path in (("PUT", "/contacts/5f1"), ("POST", "/contacts"), ("POST", "/companies")):
        body = {"external_id": "n", "company_id": "n", "custom_attributes": {"nope": 1}}
        answer = app(method, path, body)
        assert (answer.status_code, code(answer)) == (400, "parameter_invalid")
        assert answer.json()["errors"][0]["message"] == "Custom attribute 'nope' does not exist"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("score", "many"),
        ("score", 1.5),
        ("score", True),
        ("ratio", "1"),
        ("hot", 1),
        ("seen", "2026-11-22"),
        ("level", 5),
        ("level", ["a"]),
        ("level", "x" * 256),
        ("tier", "z"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(app, name, value):
    answer = app("PUT", "/contacts/5f1", {"custom_attributes": {name: value}})
    assert (answer.status_code, code(answer)) == (400, "parameter_invalid")
    assert custom(app) == {}


def test_creating_an_existing_contact_is_a_conflict_that_names_it(app):
    for body in ({"external_id": "u1"}, {"email": "ADA@example.com"}):
        answer = app("POST", "/contacts", body)
        assert (answer.status_code, code(answer)) == (409, "conflict")
        message = answer.json()["errors"][0]["message"]
        assert message == "A contact matching those details already exists with id=5f1"
    answer = app("PUT", "/contacts/5f2", {"external_id": "u1"})
    assert answer.status_code == 409


def test_users_with_different_external_ids_may_share_an_address(app):
    answer = app("POST", "/contacts", {"external_id": "u3", "email": "ada@example.com"})
    assert answer.status_code == 200
    found = find(app, where("email", "=", "ada@example.com")).json()
    assert found["total_count"] == 2


@pytest.mark.parametrize("body", [{}, {"name": "x"}, {"role": "king"}, {"role": "lead", "external_id": "x"}])
def test_an_invalid_contact_is_refused(app, body):
    assert app("POST", "/contacts", body).status_code == 400


def test_a_contact_is_found_by_its_external_id(app):
    answer = app("GET", "/contacts/find_by_external_id/u2")
    assert (answer.status_code, answer.json()["id"]) == (200, "5f2")
    missing = app("GET", "/contacts/find_by_external_id/none")
    assert (missing.status_code, code(missing)) == (404, "not_found")
    assert app("GET", "/contacts/nobody").status_code == 404


def test_search_takes_many_values_at_once(app):
    body = find(app, where("external_id", "IN", ["u2", "u1", "none"])).json()
    assert body["type"] == "list"
    assert body["total_count"] == 2
    assert {each["external_id"] for each in body["data"]} == {"u1", "u2"}
    assert body["pages"] == {"type": "pages", "page": 1, "per_page": 50, "total_pages": 1}


def test_search_groups_may_be_nested_twice(app):
    either = group("OR", where("external_id", "=", "u1"), where("email", "=", "bob@example.com"))
    assert find(app, either).json()["total_count"] == 2
    both = group("AND", either, where("email", "~", "ada"))
    assert [each["id"] for each in find(app, both).json()["data"]] == ["5f1"]
    answer = find(app, group("AND", both))
    assert (answer.status_code, code(answer)) == (400, "parameter_invalid")


def test_a_search_group_has_fifteen_filters_at_most(app):
    filters = [where("external_id", "=", f"u{i}") for i in range(16)]
    assert find(app, group("OR", *filters[:15])).status_code == 200
    assert find(app, group("OR", *filters)).status_code == 400


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        (where("custom_attributes.score", ">", 5), ["5f2"]),
        (where("custom_attributes.score", "<=", 5), ["5f1"]),
        (where("custom_attributes.score", "=", 5), ["5f1"]),
        (where("custom_attributes.score", "!=", 5), ["5f2", "5f3"]),
        (where("custom_attributes.score", "=", None), ["5f3"]),
        (where("id", "IN", ["5f3", "5f1", "5f9"]), ["5f1", "5f3"]),
        (where("external_id", "NIN", ["u1"]), ["5f2", "5f3"]),
        (where("email_domain", "=", "example.com"), ["5f1"]),
        (where("email", "^", "bob"), ["5f2"]),
        (where("email", "$", ".org"), ["5f2"]),
        (where("email", "!~", "ada"), ["5f2", "5f3"]),
        (where("custom_attributes.seen", "=", 1_795_348_800), ["5f1"]),
        (where("custom_attributes.seen", ">", 1_795_305_600), ["5f2"]),
        (where("custom_attributes.seen", "<", 1_795_392_000), ["5f1"]),
    ],
)
def test_search_operators(app, query, ids):
    people = [
        {"id": "5f1", "external_id": "u1", "email": "ada@example.com"},
        {"id": "5f2", "external_id": "u2", "email": "bob@other.org"},
        {"id": "5f3", "external_id": "u3"},
    ]
    people[0]["custom_attributes"] = {"score": 5, "seen": 1_795_323_600}
    people[1]["custom_attributes"] = {"score": 9, "seen": 1_795_400_000}
    app.seed(intercom={"contacts": people}, fields={"intercom": FIELDS})
    body = find(app, query).json()
    assert sorted(each["id"] for each in body["data"]) == ids


@pytest.mark.parametrize(
    "query",
    [
        None,
        {},
        where("nope", "=", "x"),
        where("custom_attributes.nope", "=", "x"),
        where("created_at", "IN", [1]),
        where("created_at", ">=", 1),
        where("email", "IN", "x"),
        where("email", "=", ["x"]),
        where("email", ">", "x"),
        where("custom_attributes.score", "<", "many"),
        group("XOR", where("email", "=", "x")),
        group("AND"),
    ],
)
def test_an_unsupported_search_is_refused(app, query):
    assert find(app, query).status_code == 400


def test_search_pages_until_everything_was_seen(app):
    app.seed(intercom={"contacts": [{"external_id": f"u{i}"} for i in range(75)]})
    seen, after = [], None
    for page in (1, 2, 3):
        body = find(app, where("role", "=", None), per_page=30, starting_after=after).json()
        assert body["pages"]["page"] == page
        seen += [each["id"] for each in body["data"]]
        after = body["pages"].get("next", {}).get("starting_after")
    assert after is None
    assert len(set(seen)) == 75
    assert find(app, where("role", "=", None), per_page=151).status_code == 400


def test_a_company_is_upserted_by_its_company_id(app):
    body = {
        "company_id": "a1",
        "plan": "pro",
        "monthly_spend": 9.9,
        "custom_attributes": {"account_score": 5},
    }
    answer = app("POST", "/companies", body)
    assert (answer.status_code, answer.json()["id"]) == (200, "c1")
    assert answer.json()["plan"]["name"] == "pro"
    assert app.state("intercom")["companies"] == [
        {
            "id": "c1",
            "company_id": "a1",
            "name": "Acme",
            "plan": "pro",
            "monthly_spend": 9,
            "custom_attributes": {"account_score": 5},
        }
    ]
    new = app("POST", "/companies", {"company_id": "a2"}).json()
    assert new["id"] != "c1"
    assert app("GET", "/companies?company_id=a2").json()["id"] == new["id"]
    assert app("POST", "/companies", {}).status_code == 400


def test_an_update_changes_an_existing_company_and_creates_none(app):
    missing = app("GET", "/companies?company_id=none")
    assert (missing.status_code, code(missing)) == (404, "company_not_found")
    answer = app("PUT", "/companies/c1", {"custom_attributes": {"account_score": 7}})
    assert answer.json()["custom_attributes"] == {"account_score": 7}
    assert app("PUT", "/companies/none", {}).status_code == 404
    assert app("PUT", "/companies/c1", {"company_id": "other"}).status_code == 400
    assert app("GET", "/companies/c1").json()["company_id"] == "a1"


def test_a_company_is_listed_once_it_has_a_contact(app):
    assert app("GET", "/companies").json()["total_count"] == 0
    assert app("POST", "/contacts/5f1/companies", {"id": "c1"}).status_code == 200
    assert app("GET", "/companies").json()["total_count"] == 1
    assert app("GET", "/companies/c1").json()["user_count"] == 1
    assert app("GET", "/contacts/5f1/companies").json()["data"][0]["id"] == "c1"
    assert app("POST", "/contacts/5f1/companies", {"id": "none"}).status_code == 404
    assert app.state("intercom")["contacts"][0]["companies"] == ["c1"]


def attribute(app, **body):
    return app("POST", "/data_attributes", {"model": "contact", "data_type": "string", **body})


def test_a_new_attribute_can_be_written_at_once(app):
    answer = attribute(app, name="Accoil_Health_Score", data_type="integer")
    assert answer.status_code == 200
    assert answer.json()["full_name"] == "custom_attributes.Accoil_Health_Score"
    write = app("PUT", "/contacts/5f1", {"custom_attributes": {"Accoil_Health_Score": 5}})
    assert write.status_code == 200
    listed = app("GET", "/data_attributes?model=contact").json()["data"]
    assert {each["model"] for each in listed} == {"contact"}
    assert next(e for e in listed if e["name"] == "Accoil_Health_Score")["data_type"] == "integer"
    assert next(e for e in listed if e["name"] == "email")["custom"] is False


def test_a_name_belongs_to_one_model(app):
    answer = attribute(app, name="score", model="company")
    assert (answer.status_code, code(answer)) == (400, "parameter_invalid")
    assert answer.json()["errors"][0]["message"] == (
        "You already have 'score' in your people data. "
        "To save this as new company data, use a different name."
    )


@pytest.mark.parametrize(
    "body",
    [
        {"name": "a.b"},
        {"name": "a b"},
        {"name": ""},
        {"name": "x", "data_type": "nope"},
        {"name": "x", "model": "conversation"},
        {"name": "x", "data_type": "options", "options": [{"value": "only"}]},
        {"name": "score"},
        {"name": "email"},
    ],
)
def test_an_invalid_attribute_is_refused(app, body):
    answer = attribute(app, **body)
    assert (answer.status_code, code(answer)) == (400, "parameter_invalid")


def test_a_datetime_attribute_reads_back_as_date_and_options_as_a_list(app):
    assert attribute(app, name="when", data_type="datetime").json()["data_type"] == "date"
    options = [{"value": "a"}, {"value": "b"}]
    answer = attribute(app, name="which", data_type="options", options=options).json()
    assert (answer["data_type"], answer["options"]) == ("string", ["a", "b"])


def test_an_archived_attribute_keeps_its_name_cannot_be_written_and_can_be_restored(app):
    id = attribute(app, name="mood").json()["id"]
    path, write = f"/data_attributes/{id}", {"custom_attributes": {"mood": "x"}}
    assert app("PUT", path, {"archived": True}).json()["archived"] is True
    assert "mood" not in {each["name"] for each in app("GET", "/data_attributes").json()["data"]}
    listed = app("GET", "/data_attributes?include_archived=true").json()["data"]
    assert [each["name"] for each in listed if each["archived"]] == ["mood"]
    assert (attribute(app, name="mood").status_code, app("PUT", "/contacts/5f1", write).status_code) == (
        400,
        400,
    )
    assert app("PUT", path, {"archived": False}).json()["archived"] is False
    assert app("PUT", "/contacts/5f1", write).status_code == 200
    gone = app("PUT", "/data_attributes/4711", {"archived": False})
    assert (gone.status_code, code(gone)) == (404, "field_not_found")


def test_the_number_of_attributes_is_limited(app):
    app.seed(fields={"intercom": {"contacts": {f"a{i}": {"type": "string"} for i in range(250)}}})
    assert attribute(app, name="one_more").status_code == 400


def test_what_is_not_json_is_refused(app):
    answer = app.http.put(f"{app.url}/contacts/5f1", data=b"{", timeout=10)
    assert (answer.status_code, code(answer)) == (400, "bad_request")


def test_the_sdk_works_with_the_sandbox(app, sdk):
    assert sdk.admins.identify().app.id_code
    new = sdk.contacts.create(request=CreateContactRequestWithExternalId(external_id="u9"))
    assert sdk.contacts.update(contact_id=new.id, custom_attributes={"score": 4}).custom_attributes == {
        "score": 4
    }
    assert sdk.contacts.show_contact_by_external_id("u9").id == new.id
    pager = sdk.contacts.search(
        query=SingleFilterSearchRequest(field="external_id", operator="=", value="u9")
    )
    assert [each.id for each in pager] == [new.id]
    company = sdk.companies.create_or_update(request={"company_id": "a9", "name": "Nine"})
    assert sdk.companies.update(company.id, request={"name": "Ten"}).name == "Ten"
    assert sdk.companies.attach_contact(new.id, company_id=company.id).id == company.id
    created = sdk.data_attributes.create(request={"name": "z", "model": "contact", "data_type": "float"})
    assert created.name == "z"
    assert "z" in {each.name for each in sdk.data_attributes.list(model="contact").data}
    with pytest.raises(ApiError) as gone:
        sdk.contacts.find(contact_id="none")
    assert gone.value.status_code == 404
    with pytest.raises(ApiError) as bad:
        sdk.contacts.update(contact_id=new.id, custom_attributes={"nope": 4})
    assert bad.value.status_code == 400


# tags


def shown(app, id):
    return app("GET", f"/contacts/{id}").json()["tags"]


def test_a_tag_is_created_by_its_name_which_ignores_case(app):
    tag = app("POST", "/tags", {"name": "VIP"}).json()
    assert tag == {"type": "tag", "id": tag["id"], "name": "VIP"}
    assert app("POST", "/tags", {"name": "vip", "users": [{"id": "5f1"}]}).json() == tag
    assert app("GET", "/tags").json() == {"type": "list", "data": [tag]}
    assert app("GET", "/contacts/5f1/tags").json()["data"] == [tag]
    assert app.state("intercom")["contacts"][0]["tags"] == ["VIP"]


def test_many_records_are_tagged_and_untagged_at_once_and_the_answer_names_none(app):
    both = [{"id": "5f1"}, {"id": "5f2"}]
    answer = app("POST", "/tags", {"name": "VIP", "users": both}).json()
    assert set(answer) == {"type", "id", "name"}
    assert [shown(app, each["id"])["total_count"] for each in both] == [1, 1]
    app("POST", "/tags", {"name": "VIP", "users": [{"id": "5f1", "untag": True}]})
    assert [shown(app, each["id"])["total_count"] for each in both] == [0, 1]
    app("POST", "/tags", {"name": "VIP", "companies": [{"company_id": "a1"}]})
    assert [each["name"] for each in app("GET", "/companies/c1").json()["tags"]["tags"]] == ["VIP"]
    app("POST", "/tags", {"name": "VIP", "companies": [{"id": "c1", "untag": True}]})
    assert app("GET", "/companies/c1").json()["tags"]["tags"] == []


@pytest.mark.parametrize(
    ("list", "id", "expected"), [("users", "5f1", "not_found"), ("companies", "c1", "company_not_found")]
)
def test_no_record_is_tagged_where_one_does_not_exist(app, list, id, expected):
    """intercom-node issue 263 (2020)."""
    answer = app("POST", "/tags", {"name": "VIP", list: [{"id": id}, {"id": "gone"}]})
    assert (answer.status_code, code(answer)) == (404, expected)
    assert not any("tags" in each for each in app.state("intercom")["contacts"])
    assert not any("tags" in each for each in app.state("intercom")["companies"])


@pytest.mark.parametrize("body", [{"test": "invalid"}, {"name": "a", "users": {}}, {"name": "a", "users": [], "companies": []}])  # fmt: skip
def test_an_empty_request_about_tags_is_refused(app, body):
    answer = app("POST", "/tags", body)
    assert (answer.status_code, code(answer)) == (400, "parameter_invalid")


def test_a_contact_shows_ten_tags_by_their_ids_and_lists_them_all(app):
    """OpenAPI description 2.14."""
    for n in range(12):
        app("POST", "/tags", {"name": f"tag {n}", "users": [{"id": "5f1"}]})
    tags = shown(app, "5f1")
    assert (len(tags["data"]), tags["total_count"], tags["has_more"]) == (10, 12, True)
    assert set(tags["data"][0]) == {"type", "id", "url"}
    assert len(app("GET", "/contacts/5f1/tags").json()["data"]) == 12
    assert find(app, where("external_id", "=", "u1")).json()["data"][0]["tags"] == tags


def test_one_contact_is_tagged_and_untagged_through_the_sdk(app, sdk):
    tag = sdk.tags.create(request=CreateOrUpdateTagRequest(name="VIP"))
    sdk.tags.tag_contact("5f1", tag_id=tag.id)
    assert shown(app, "5f1")["total_count"] == 1
    sdk.tags.untag_contact("5f1", tag.id)
    assert shown(app, "5f1")["total_count"] == 0
    with pytest.raises(ApiError) as refused:
        sdk.tags.untag_contact("5f1", tag.id)
    assert refused.value.status_code == 404
