"""Salesforce, raw and through simple-salesforce."""

import base64
import json

import pytest
import requests
from requests.adapters import HTTPAdapter
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import (
    SalesforceAuthenticationFailed,
    SalesforceMalformedRequest,
    SalesforceMoreThanOneRecord,
    SalesforceResourceNotFound,
)

FIELDS = {
    "Heatsync_Id__c": {"type": "string", "length": 64, "externalId": True, "unique": True},
    "Legacy__c": {"type": "string", "externalId": True},
    "Score__c": {"type": "double", "precision": 5, "scale": 1},
    "Count__c": {"type": "int"},
    "Level__c": {"type": "string", "length": 6},
    "Tier__c": {"type": "picklist", "picklistValues": ["a", "b"], "restrictedPicklist": True},
    "Hot__c": {"type": "boolean"},
    "Seen_On__c": {"type": "date"},
    "Seen_At__c": {"type": "datetime"},
    "Computed__c": {"type": "double", "calculated": True},
}
ONE, TWO = "001000000000001AAA", "001000000000002AAA"
DATA = "/services/data/v59.0"
COLLECTION = f"{DATA}/composite/sobjects"


@pytest.fixture
def org(client):
    client.seed(
        salesforce={
            "Account": [
                {"Id": ONE, "Name": "Acme", "Heatsync_Id__c": "a1", "Legacy__c": "same"},
                {"Id": TWO, "Name": "Beta", "Heatsync_Id__c": "a2", "Legacy__c": "same"},
            ]
        },
        fields={"salesforce": {"Account": FIELDS}},
    )
    return client


class Loopback(HTTPAdapter):
    """simple-salesforce speaks https only; this brings it to the sandbox."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.host = url.removeprefix("http://")

    def send(self, request, **more):
        _, _, rest = request.url.partition("://")
        request.url = f"http://{self.host}/{rest.partition('/')[2]}"
        return super().send(request, **more)


@pytest.fixture
def session(org):
    with requests.Session() as session:
        session.mount("https://", Loopback(org.url))
        yield session


@pytest.fixture
def sdk(org, session):
    key = f"{org.account}:key"
    return Salesforce(consumer_key=key, consumer_secret="secret", domain="acme.my", session=session)


def account(org, id=ONE):
    return next(each for each in org.state("salesforce")["Account"] if each["Id"] == id)


def save(org, *records, path="", method="PATCH", **more):
    return org(method, COLLECTION + path, {"allOrNone": False, "records": list(records), **more})


def update(org, *records, **more):
    return save(org, *({"attributes": {"type": "Account"}, **each} for each in records), **more)


def upsert(org, *records, field="Heatsync_Id__c", **more):
    return save(org, *records, path=f"/Account/{field}", **more)


def failure(result):
    assert result["success"] is False
    return result["errors"][0]["statusCode"]


def query(org, soql, **more):
    return org("GET", f"{DATA}/query", params={"q": soql}, **more)


def login(org, **form):
    return org.http.post(
        f"{org.url}/services/oauth2/token", data=form, headers={"Authorization": ""}, timeout=10
    )


def test_the_token_of_client_credentials_names_their_account(org):
    pairs = [("acme:key", "secret"), ("key", "acme:secret"), ("acme:key", "acme:secret")]
    for key, secret in pairs:
        basic = base64.b64encode(f"{key}:{secret}".encode()).decode()
        in_header = org.http.post(
            f"{org.url}/services/oauth2/token",
            data={"grant_type": "client_credentials"},
            headers={"Authorization": f"Basic {basic}"},
            timeout=10,
        )
        in_form = login(org, grant_type="client_credentials", client_id=key, client_secret=secret)
        for answer in (in_header, in_form):
            body = answer.json()
            assert body["access_token"].startswith("acme:00D")
            assert (body["token_type"], body["instance_url"]) == ("Bearer", org.url)
            user = org(
                "GET",
                "/services/oauth2/userinfo",
                headers={"Authorization": f"Bearer {body['access_token']}"},
            )
            assert user.json()["organization_id"] in body["access_token"]


def test_an_existing_account_is_recognised_in_either_position(org):
    for account, pair in (("client7", "client7:abc:def"), ("client7", "abc:client7:def")):
        org.server.seed({}, account)
        basic = base64.b64encode(pair.encode()).decode()
        answer = org.http.post(
            f"{org.url}/services/oauth2/token",
            data={"grant_type": "client_credentials"},
            headers={"Authorization": f"Basic {basic}"},
            timeout=10,
        )
        assert answer.json()["access_token"].startswith(f"{account}:00D")


def test_a_token_without_an_account_belongs_to_the_default_account(org):
    body = login(org, grant_type="client_credentials", client_id="key", client_secret="secret").json()
    assert body["access_token"].startswith("00D")


@pytest.mark.parametrize(
    "form",
    [
        {"grant_type": "client_credentials", "client_id": "refused", "client_secret": "x"},
        {"grant_type": "client_credentials", "client_id": "x", "client_secret": "refused"},
        {"grant_type": "client_credentials", "client_id": "acme:refused", "client_secret": "x"},
        {"grant_type": "client_credentials"},
    ],
)
def test_refused_credentials_get_no_token(org, form):
    answer = login(org, **form)
    assert answer.status_code == 400
    assert answer.json() == {"error": "invalid_grant", "error_description": "authentication failure"}


def test_an_unknown_grant_is_refused(org):
    assert login(org, grant_type="magic", client_id="x").json()["error"] == "unsupported_grant_type"


def test_a_jwt_names_the_account_by_its_issuer(org):
    claims = base64.urlsafe_b64encode(json.dumps({"iss": "acme:key", "sub": "me@x"}).encode()).decode()
    grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    body = login(org, grant_type=grant, assertion=f"e30.{claims.rstrip('=')}.sig").json()
    assert body["access_token"].startswith("acme:")
    assert login(org, grant_type=grant, assertion="nonsense").status_code == 400


def test_a_refused_session_is_refused_as_salesforce_does(org):
    for session in ("Bearer refused", "Bearer acme:refused", ""):
        answer = org("GET", f"{DATA}/limits", headers={"Authorization": session})
        assert answer.status_code == 401
        assert answer.json() == [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]


def test_the_versions_are_shown_without_a_session(org):
    found = org("GET", "/services/data/", headers={"Authorization": ""}).json()
    assert found[-1]["version"] == "68.0"
    assert org("GET", "/services/data/v99.0/limits").status_code == 404


def test_describe_shows_what_a_field_accepts(org):
    fields = {each["name"]: each for each in org("GET", f"{DATA}/sobjects/Account/describe").json()["fields"]}
    key = fields["Heatsync_Id__c"]
    assert (key["type"], key["length"], key["externalId"], key["unique"], key["idLookup"]) == (
        "string",
        64,
        True,
        True,
        True,
    )
    assert [each["value"] for each in fields["Tier__c"]["picklistValues"]] == ["a", "b"]
    assert fields["Computed__c"]["updateable"] is False
    assert (fields["Name"]["nillable"], fields["Id"]["updateable"]) == (False, False)
    assert org("GET", f"{DATA}/sobjects/Nothing/describe").status_code == 404


def test_updates_are_answered_in_order_and_one_by_one(org):
    records = [
        {"id": ONE, "Score__c": 7, "Hot__c": True},
        {"id": "001000000000009AAA", "Score__c": 7},
        {"id": "nonsense", "Score__c": 7},
        {"Score__c": 7},
        {"id": TWO[:15], "Level__c": "much too long"},
    ]
    answer = update(org, *records)
    assert answer.status_code == 200
    first, *others = answer.json()
    assert first == {"id": ONE, "success": True, "errors": []}
    assert [failure(each) for each in others] == [
        "INVALID_CROSS_REFERENCE_KEY",
        "MALFORMED_ID",
        "MISSING_ARGUMENT",
        "STRING_TOO_LONG",
    ]
    assert others[-1]["errors"][0]["fields"] == ["Level__c"]
    assert account(org)["Score__c"] == 7.0
    assert "Level__c" not in account(org, TWO)


def test_an_id_of_fifteen_characters_is_the_same_record(org):
    assert update(org, {"Id": ONE[:15], "Count__c": 3}).json()[0]["id"] == ONE


def test_null_and_an_empty_text_clear(org):
    update(org, {"id": ONE, "Score__c": 7, "Level__c": "x", "Hot__c": True})
    update(org, {"id": ONE, "Score__c": None, "Level__c": "", "Hot__c": None})
    assert account(org).keys() == {"Id", "Name", "Heatsync_Id__c", "Legacy__c", "Hot__c"}
    assert account(org)["Hot__c"] is False


def test_an_unknown_field_refuses_the_whole_request(org):
    answer = update(org, {"id": ONE, "Score__c": 7}, {"id": TWO, "Nope__c": 1})
    assert answer.status_code == 400
    assert answer.json() == [
        {"message": "No such column 'Nope__c' on sobject of type Account", "errorCode": "INVALID_FIELD"}
    ]
    assert "Score__c" not in account(org)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Score__c", "many"),
        ("Score__c", True),
        ("Count__c", 1.5),
        ("Count__c", 2**31),
        ("Hot__c", "maybe"),
        ("Seen_On__c", "soon"),
        ("Seen_At__c", "soon"),
        ("Level__c", {"a": 1}),
    ],
)
def test_a_value_of_the_wrong_kind_refuses_the_whole_request(org, field, value):
    answer = update(org, {"id": ONE, field: value})
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "JSON_PARSER_ERROR")


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("Level__c", "1234567", "STRING_TOO_LONG"),
        ("Score__c", 10_000, "NUMBER_OUTSIDE_VALID_RANGE"),
        ("Tier__c", "z", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
        ("Computed__c", 1, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ("CreatedDate", "2026-01-01", "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ("Name", None, "REQUIRED_FIELD_MISSING"),
        ("Heatsync_Id__c", "A2", "DUPLICATE_VALUE"),
    ],
)
def test_a_bad_value_refuses_its_record_alone(org, field, value, code):
    before = account(org)
    bad, good = update(org, {"id": ONE, field: value}, {"id": TWO, "Score__c": 1}).json()
    assert failure(bad) == code
    assert good["success"] is True
    assert account(org) == before
    assert account(org, TWO)["Score__c"] == 1.0


@pytest.mark.parametrize(
    ("field", "sent", "read"),
    [
        ("Score__c", 7, 7.0),
        ("Score__c", 7.25, 7.3),
        ("Score__c", "7.5", 7.5),
        ("Count__c", 7, 7),
        ("Level__c", "Łódź", "Łódź"),
        ("Seen_On__c", "2026-11-22", "2026-11-22"),
        ("Seen_At__c", "2026-11-22T05:00:00Z", "2026-11-22T05:00:00.000+0000"),
        ("Seen_At__c", "2026-11-22T06:00:00+01:00", "2026-11-22T05:00:00.000+0000"),
        ("hot__C", True, True),
    ],
)
def test_values_are_kept_as_salesforce_keeps_them(org, field, sent, read):
    assert update(org, {"id": ONE, field: sent}).json()[0]["success"]
    name = next(each for each in FIELDS if each.lower() == field.lower())
    found = query(org, f"SELECT {field} FROM Account WHERE Id = '{ONE}'").json()["records"][0]
    assert found[name] == read


def test_all_or_none_rolls_back_the_valid_records(org):
    answer = update(org, {"id": ONE, "Score__c": 7}, {"id": TWO, "Tier__c": "z"}, allOrNone=True)
    assert [failure(each) for each in answer.json()] == [
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
    ]
    assert "Score__c" not in account(org)


def test_a_collection_holds_at_most_two_hundred_records(org):
    records = [{"Heatsync_Id__c": f"n{i}", "Name": "x"} for i in range(201)]
    assert upsert(org, *records).status_code == 400
    assert len(upsert(org, *records[:200]).json()) == 200


@pytest.mark.parametrize("body", [{}, {"records": [1]}, {"records": {}}])
def test_a_malformed_collection_is_refused(org, body):
    assert org("PATCH", COLLECTION, body).status_code == 400


def test_a_record_without_a_type_is_refused(org):
    assert save(org, {"id": ONE}).json()[0]["errorCode"] == "INVALID_TYPE"


def test_an_upsert_creates_missing_records(org):
    old, new = upsert(
        org, {"Heatsync_Id__c": "A1", "Score__c": 1}, {"Heatsync_Id__c": "a3", "Name": "C"}
    ).json()
    assert old == {"id": ONE, "success": True, "errors": [], "created": False}
    assert new["created"] is True
    assert account(org, new["id"]) == {"Id": new["id"], "Heatsync_Id__c": "a3", "Name": "C"}
    assert len(new["id"]) == 18


def test_an_external_id_may_be_in_a_request_once(org):
    first, second, third = upsert(
        org, {"Heatsync_Id__c": "a1"}, {"Heatsync_Id__c": "A1"}, {"Heatsync_Id__c": "a2", "Score__c": 2}
    ).json()
    assert failure(first) == failure(second) == "DUPLICATE_VALUE"
    assert first["errors"][0]["message"] == "Duplicate external id specified: a1"
    assert third["success"] is True


def test_an_external_id_of_several_records_is_ambiguous(org):
    (result,) = upsert(org, {"Legacy__c": "same", "Score__c": 1}, field="Legacy__c").json()
    assert failure(result) == "DUPLICATE_EXTERNAL_ID"
    assert ONE in result["errors"][0]["message"]


def test_an_upsert_needs_its_external_id_and_no_other(org):
    results = upsert(org, {"Name": "x"}, {"id": ONE, "Heatsync_Id__c": "a1"}, {"Heatsync_Id__c": "a7"}).json()
    assert [failure(each) for each in results] == [
        "MISSING_ARGUMENT",
        "INVALID_FIELD",
        "REQUIRED_FIELD_MISSING",
    ]
    assert upsert(org, {"Level__c": "x"}, field="Level__c").status_code == 404
    assert upsert(org, {"Nope__c": "x"}, field="Nope__c").status_code == 404


def test_records_are_created_in_a_collection(org):
    answer = save(org, {"attributes": {"type": "Contact"}, "LastName": "L", "Email": "l@x.io"}, method="POST")
    (result,) = answer.json()
    assert result["id"].startswith("003")
    assert org.state("salesforce")["Contact"][0]["Email"] == "l@x.io"
    bad = save(org, {"attributes": {"type": "Contact"}, "LastName": "L", "Email": "nope"}, method="POST")
    assert failure(bad.json()[0]) == "INVALID_EMAIL_ADDRESS"


def test_records_are_retrieved_by_id_in_order(org):
    body = {"ids": [TWO, "001000000000009AAA", ONE], "fields": ["Name"]}
    second, missing, first = org("POST", f"{COLLECTION}/Account", body).json()
    assert (second["Name"], missing, first["Id"]) == ("Beta", None, ONE)
    assert org("POST", f"{COLLECTION}/Account", {**body, "fields": ["Nope"]}).status_code == 400


def test_a_long_query_comes_in_pages(org):
    people = [{"Name": f"n{i}", "Heatsync_Id__c": f"a{i}"} for i in range(4500)]
    org.seed(salesforce={"Account": people}, fields={"salesforce": {"Account": FIELDS}})
    body, seen, sizes = query(org, "SELECT Name FROM Account").json(), [], []
    while True:
        seen += [each["Name"] for each in body["records"]]
        sizes.append(len(body["records"]))
        if body["done"]:
            break
        assert body["totalSize"] == 4500
        body = org("GET", body["nextRecordsUrl"]).json()
    assert sizes == [2000, 2000, 500]
    assert len(set(seen)) == 4500
    assert org("GET", f"{DATA}/query/01gNONE-2000").status_code == 400
    small = query(org, "SELECT Name FROM Account", headers={"Sforce-Query-Options": "batchSize=200"})
    assert len(small.json()["records"]) == 200


def test_an_address_that_is_too_long_is_refused(org):
    names = ", ".join(f"'name number {i}'" for i in range(1000))
    answer = query(org, f"SELECT Id FROM Account WHERE Name IN ({names})")
    assert answer.status_code == 414


@pytest.mark.parametrize(
    ("soql", "code"),
    [
        ("SELECT Nope__c FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE Nope__c = 1", "INVALID_FIELD"),
        ("SELECT Id FROM Account ORDER BY Nope__c", "INVALID_FIELD"),
        ("SELECT Id FROM Nothing", "INVALID_TYPE"),
        ("SELECT FROM Account", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE Name = 'x", "MALFORMED_QUERY"),
    ],
)
def test_an_invalid_query_is_refused(org, soql, code):
    answer = query(org, soql)
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, code)


def test_the_organization_can_be_queried(org):
    (found,) = query(org, "SELECT Id, Name FROM Organization").json()["records"]
    assert (found["Id"][:3], found["Name"]) == ("00D", org.account)


def test_system_fields_can_be_read(org):
    (found,) = query(org, f"SELECT Id, CreatedDate, IsDeleted FROM Account WHERE Id = '{ONE}'").json()[
        "records"
    ]
    assert found["IsDeleted"] is False
    assert found["CreatedDate"].endswith("+0000")


def test_simple_salesforce_logs_in_and_does_the_work(org, sdk, session):
    assert sdk.session_id.startswith(f"{org.account}:00D")
    assert {"Score__c"} <= {each["name"] for each in sdk.Account.describe()["fields"]}
    done = sdk.restful(
        "composite/sobjects/Account/Heatsync_Id__c",
        method="PATCH",
        json={"allOrNone": False, "records": [{"Heatsync_Id__c": "a1", "Score__c": 3}]},
    )
    assert done[0]["success"] is True
    found = sdk.query_all("SELECT Id, Score__c FROM Account WHERE Heatsync_Id__c IN ('a1', 'a2')")
    assert {each["Id"]: each["Score__c"] for each in found["records"]} == {ONE: 3.0, TWO: None}
    assert sdk.limits()["DailyApiRequests"]["Max"] == 100_000
    assert sdk.Account.upsert("Heatsync_Id__c/a1", {"Score__c": 4}) == 200
    assert sdk.Account.upsert("Heatsync_Id__c/a%2F9", {"Name": "slash"}) == 201
    assert sdk.Account.get_by_custom_id("Heatsync_Id__c", "a1")["Score__c"] == 4.0
    assert sdk.Account.update(ONE, {"Score__c": 5}) == 204
    created = sdk.Account.create({"Name": "created"})
    assert sdk.Account.get(created["id"])["Name"] == "created"
    names = {each["Name"] for each in org.state("salesforce")["Account"]}
    assert names == {"Acme", "Beta", "slash", "created"}


def test_simple_salesforce_pages_through_everything(org, sdk):
    org.seed(salesforce={"Account": [{"Name": f"n{i}"} for i in range(2100)]})
    assert len(sdk.query_all("SELECT Id FROM Account")["records"]) == 2100


def test_simple_salesforce_sees_the_vendors_errors(org, sdk, session):
    with pytest.raises(SalesforceMalformedRequest, match="No such column"):
        sdk.Account.update(ONE, {"Nope__c": 1})
    with pytest.raises(SalesforceResourceNotFound):
        sdk.Account.get("001000000000009AAA")
    with pytest.raises(SalesforceMoreThanOneRecord):
        sdk.Account.upsert("Legacy__c/same", {"Score__c": 1})
    with pytest.raises(SalesforceMalformedRequest):
        sdk.Account.upsert("Heatsync_Id__c/a1", {"Heatsync_Id__c": "a1"})
    with pytest.raises(SalesforceResourceNotFound):
        sdk.restful(
            "sobjects/Account/Heatsync_Id__c/none?updateOnly=true", method="PATCH", json={"Name": "x"}
        )
    with pytest.raises(SalesforceAuthenticationFailed) as failed:
        Salesforce(consumer_key="x", consumer_secret="refused", domain="acme.my", session=session)
    assert failed.value.code == "invalid_grant"


def test_a_given_session_names_its_account(org, session):
    own = Salesforce(session_id=f"{org.account}:x", instance_url="https://sandbox.invalid", session=session)
    assert own.query("SELECT COUNT() FROM Account")["totalSize"] == 2
