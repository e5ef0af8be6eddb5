"""Fields created in Salesforce, and granted: without a permission not even their creator sees them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fake_vendor import RecordingThrottle, Reply, Request, answering

from connectors.errors import ConfigurationError
from connectors.salesforce.destination import Salesforce
from connectors.types import Batch, Change, FieldType, Kind, NewField, Status
from heatsync.sandbox.server import Running

ONE = "001000000000001AAA"
SET = "0PS000000000001AAA"
NEW = [
    NewField("Tier__c", FieldType.TEXT, "Tier"),
    NewField("Members__c", FieldType.INTEGER, "Members"),
    NewField("Share__c", FieldType.NUMBER, "Share"),
    NewField("Hot__c", FieldType.BOOLEAN, "Hot"),
    NewField("Since__c", FieldType.DATE, "Since"),
    NewField("Seen__c", FieldType.DATETIME, "Seen"),
    NewField(
        "Groups__c", FieldType.LIST, "Groups of a name that is far longer than a label in Salesforce may be"
    ),
]


@contextmanager
def org(url: str, **settings: str) -> Iterator[Salesforce]:
    watched = RecordingThrottle()
    given = {"session_id": "default:s3ss10n", "instance_url": "https://acme.my.salesforce.com", "url": url}
    destination = Salesforce({**given, "permission_set": "Heatsync", **settings}, watched, watched.on_request)
    yield destination
    destination.close()


@pytest.fixture
def seeded(sandbox: Running) -> Running:
    state = {"Account": [{"Id": ONE, "Name": "Acme"}], "PermissionSet": [{"Id": SET, "Name": "Heatsync"}]}
    sandbox.seed({"salesforce": state})
    return sandbox


def test_fields_are_created_with_their_types_granted_and_writable(seeded: Running) -> None:
    with org(seeded.url) as destination:
        assert destination.fields_left("Account") is None
        destination.create_fields("Account", NEW)
        known = destination.fields("Account")
        assert {field.name: known[field.name].type for field in NEW} == {
            "Tier__c": "string",
            "Members__c": "double",
            "Share__c": "double",
            "Hot__c": "boolean",
            "Since__c": "date",
            "Seen__c": "datetime",
            "Groups__c": "textarea",
        }
        assert all(known[field.name].writable and field.type in known[field.name].accepts for field in NEW)
        change = Change(Kind.CHANGED, "a1", (), {"Tier__c": "gold", "Share__c": 0.125}, remote_id=ONE)
        (outcome,) = destination.push(Batch("b", "salesforce", "Account", (change,)))
    assert outcome.status is Status.DELIVERED
    (account,) = seeded.state()["salesforce"]["Account"]
    assert (account["Tier__c"], account["Share__c"]) == ("gold", 0.125)


def test_creating_fields_again_changes_nothing(seeded: Running) -> None:
    with org(seeded.url) as destination:
        destination.create_fields("Account", NEW)
        before = seeded.state()
        destination.create_fields("Account", NEW)
    assert seeded.state() == before


def test_a_field_that_was_created_but_not_granted_is_granted(seeded: Running) -> None:
    with org(seeded.url) as destination:
        body = {"FullName": "Account.Tier__c", "Metadata": {"label": "Tier", "type": "Text", "length": 255}}
        created = destination._session.call(
            lambda client: client.restful("tooling/sobjects/CustomField", method="POST", json=body)
        )
        assert created.status == 201
        assert "Tier__c" not in destination.fields("Account"), "no one sees it yet"
        destination.create_fields("Account", NEW[:1])
        assert "Tier__c" in destination.fields("Account")


def test_a_missing_permission_set_is_named_before_anything_is_created(seeded: Running) -> None:
    with org(seeded.url, permission_set="Unknown") as destination:
        for ask in (
            lambda: destination.fields_left("Account"),
            lambda: destination.create_fields("Account", NEW),
        ):
            with pytest.raises(ConfigurationError, match=r"'Unknown'.*`permission_set`") as caught:
                ask()
            assert caught.value.about == "permission_set"
        assert "POST tooling/sobjects/CustomField" not in seeded.stats()["salesforce"]["endpoints"]


def test_without_a_permission_set_no_field_is_created(seeded: Running) -> None:
    with org(seeded.url, permission_set="") as destination:
        with pytest.raises(ConfigurationError, match="only where the destination names a `permission_set`"):
            destination.fields_left("Account")
        with pytest.raises(ConfigurationError, match=r"Tier__c \(Text\)"):
            destination.create_fields("Account", NEW)


def test_an_invalid_field_name_is_refused_before_anything_is_created(seeded: Running) -> None:
    with org(seeded.url) as destination, pytest.raises(ConfigurationError, match="must end in __c"):
        destination.create_fields("Account", [NewField("Tier", FieldType.TEXT, "Tier")])


def test_a_refusal_names_the_permission_that_is_needed() -> None:
    def answer(request: Request) -> Reply:
        if "/query" in request.path:
            return Reply(200, {"totalSize": 1, "done": True, "records": [{"Id": SET}]})
        error = {"errorCode": "INSUFFICIENT_ACCESS", "message": "insufficient access rights s3ss10n-4711"}
        return Reply(403, [error])

    refusal = pytest.raises(ConfigurationError, match="Customize Application")
    with (
        answering(answer) as vendor,
        org(vendor.url, session_id="s3ss10n-4711") as destination,
        refusal as caught,
    ):
        destination.create_fields("Account", NEW[:1])
    assert "s3ss10n" not in caught.value.delivery_message


def test_a_user_that_does_not_see_a_new_field_needs_the_permission_set() -> None:
    def answer(request: Request) -> Reply:
        if "/query" in request.path:
            return Reply(200, {"totalSize": 1, "done": True, "records": [{"Id": SET}]})
        if request.method == "POST":
            return Reply(201, {"id": "00N", "success": True, "errors": []})
        return Reply(200, {"fields": []})

    refusal = pytest.raises(ConfigurationError, match="assign the permission set")
    with answering(answer) as vendor, org(vendor.url) as destination, refusal:
        destination.create_fields("Account", NEW[:1])
