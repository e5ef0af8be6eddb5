"""HubSpot's OAuth tokens, Salesforce's new fields and their permissions, and Intercom's attributes that are not writable."""

import pytest
import requests
from clocks import Clock

from heatsync.sandbox.server import Running
from heatsync.sandbox.vendors.hubspot.account import LIFETIME

FORM = {"grant_type": "refresh_token", "client_id": "app", "client_secret": "s", "refresh_token": "acme:r"}
TOOLING = "/services/data/v64.0/tooling/sobjects/CustomField"
GRANTS = "/services/data/v64.0/sobjects/FieldPermissions"
DESCRIBE = "/services/data/v64.0/sobjects/Account/describe"
SET = "0PS000000000001AAA"


@pytest.mark.parametrize("version", ["2026-03", "2026-09"])
def test_an_access_token_belongs_to_the_account_of_its_refresh_token_and_expires(
    aged: Running, clock: Clock, version: str
) -> None:
    given = requests.post(f"{aged.url}/oauth/{version}/token", data=FORM, timeout=10).json()
    assert (given["token_type"], given["expires_in"]) == ("bearer", LIFETIME)
    headers = {"Authorization": f"Bearer {given['access_token']}"}

    def asked() -> requests.Response:
        return requests.get(f"{aged.url}/account-info/v3/details", headers=headers, timeout=10)

    clock.now += LIFETIME - 1
    assert asked().status_code == 200
    assert aged.stats("acme")["hubspot"]["calls"] == 2
    clock.now += 1
    ended = asked()
    assert (ended.status_code, ended.json()["category"]) == (401, "EXPIRED_AUTHENTICATION")


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"refresh_token": "refused"}, "BAD_REFRESH_TOKEN"),
        ({"refresh_token": ""}, "BAD_REFRESH_TOKEN"),
        ({"client_secret": "refused"}, "BAD_CLIENT_ID"),
        ({"grant_type": "password"}, "BAD_GRANT_TYPE"),
    ],
)
def test_refused_credentials_get_no_access_token(
    server: Running, changed: dict[str, str], status: str
) -> None:
    answer = requests.post(f"{server.url}/oauth/2026-03/token", data=FORM | changed, timeout=10)
    assert (answer.status_code, answer.json()["status"]) == (400, status)


def custom(type: str, name: str = "Tier__c", **more: object) -> dict[str, object]:
    return {"FullName": f"Account.{name}", "Metadata": {"label": "Tier", "type": type, **more}}


def names(client):
    return {field["name"] for field in client("GET", DESCRIBE).json()["fields"]}


def test_a_new_field_is_hidden_until_it_is_granted(client):
    client.seed(
        salesforce={"Account": [{"Name": "Acme"}], "PermissionSet": [{"Id": SET, "Name": "Heatsync"}]}
    )
    created = client("POST", TOOLING, custom("Text", length=20))
    assert (created.status_code, created.json()["success"]) == (201, True)
    assert "Tier__c" not in names(client)
    again = client("POST", TOOLING, custom("Text", length=20))
    assert again.json()[0]["errorCode"] == "DUPLICATE_DEVELOPER_NAME"
    rights = {"PermissionsRead": True, "PermissionsEdit": True}
    asked = {"ParentId": SET, "SobjectType": "Account", "Field": "Account.Tier__c", **rights}
    assert client("POST", GRANTS, asked | {"ParentId": "0PS000000000009AAA"}).status_code == 400
    assert client("POST", GRANTS, asked | {"Field": "Account.Other__c"}).status_code == 400
    assert client("POST", GRANTS, asked).status_code == 201
    assert "Tier__c" in names(client)
    assert client("POST", GRANTS, asked).json()[0]["errorCode"] == "DUPLICATE_VALUE"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"FullName": "Account.Tier__c"}, "REQUIRED_FIELD_MISSING"),
        (custom("Word"), "INVALID_TYPE"),
        (custom("Text"), "FIELD_INTEGRITY_EXCEPTION"),
        (custom("Checkbox"), "FIELD_INTEGRITY_EXCEPTION"),
        (custom("Date", name="Tier"), "FIELD_INTEGRITY_EXCEPTION"),
        (custom("Date", label="long " * 9), "FIELD_INTEGRITY_EXCEPTION"),
    ],
)
def test_an_incomplete_definition_of_a_field_is_refused(client, body, code):
    answer = client("POST", TOOLING, body)
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, code)


def test_an_attribute_that_is_not_writable_through_the_api_is_refused(client):
    client.seed(
        intercom={"contacts": [{"id": "c1", "external_id": "u1", "custom_attributes": {"own": "a"}}]},
        fields={"intercom": {"contacts": {"own": {"type": "string", "api_writable": False}}}},
    )
    (shown,) = [each for each in client("GET", "/data_attributes").json()["data"] if each["custom"]]
    assert shown["api_writable"] is False
    for value in ("b", None):
        answer = client("PUT", "/contacts/c1", {"custom_attributes": {"own": value}})
        assert answer.status_code == 400
    assert client.state("intercom")["contacts"][0]["custom_attributes"] == {"own": "a"}
