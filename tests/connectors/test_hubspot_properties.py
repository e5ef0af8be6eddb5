"""HubSpot's properties, and the scopes that they need."""

import re

import pytest
import requests
from fake_vendor import RecordingThrottle, Reply, answering
from hubspot_calls import change, portal, push, seed

from connectors.errors import ConfigurationError, Unauthorized
from connectors.hubspot.destination import HubSpot
from connectors.types import FieldType, Lookup, Match, NewField
from heatsync.sandbox.server import Running


def test_a_missing_scope_is_named() -> None:
    """HubSpot, error guide (2026): 403 MISSING_SCOPES."""
    scopes = {"requiredGranularScopes": ["crm.objects.contacts.write"]}
    body = {"status": "error", "category": "MISSING_SCOPES", "message": "no", "errors": [{"context": scopes}]}
    with answering(lambda request: Reply(403, body)) as vendor, portal(vendor.url) as destination:
        with pytest.raises(Unauthorized, match=r"crm\.objects\.contacts\.write"):
            push(destination, change("u1", {"score": 1}, "101"))
        with pytest.raises(ConfigurationError, match="create_fields"):
            destination.create_fields("contacts", [NewField("a", FieldType.TEXT, "A")])


@pytest.mark.parametrize(
    ("scope", "reply"),
    [
        ("crm.objects.contacts.write", "crm.objects.contacts.write"),
        ("crm.objects.contacts.read,crm.schemas.contacts.read", "crm.objects.contacts.read"),
    ],
)
def test_a_token_without_a_scope_is_refused_with_its_name(sandbox: Running, scope: str, reply: str) -> None:
    def look_and_write(destination: HubSpot) -> None:
        list(destination.find("contacts", [Lookup("u1", (Match("email", "ada@example.com"),))], {}))
        push(destination, change("u1", {"firstname": "Ada"}, "101"))

    with portal(sandbox.url, token=f"default:lacks.{scope}") as destination:
        assert destination.missing_permissions("contacts", True) == (reply,)
        assert destination.missing_permissions("companies", True) == ()
        with pytest.raises(Unauthorized, match=re.escape(f"Grant the scope {reply}, or use another token")):
            look_and_write(destination)


def test_without_the_scope_no_property_is_created(sandbox: Running) -> None:
    with portal(sandbox.url, token="default:lacks.crm.schemas.contacts.write") as destination:
        assert destination.missing_permissions("contacts", False) == ()
        assert destination.missing_permissions("contacts", True) == ("crm.schemas.contacts.write",)
        with pytest.raises(ConfigurationError, match=r"grant the token crm\.schemas\.contacts\.write"):
            destination.create_fields("contacts", [NewField("a", FieldType.TEXT, "A")])


@pytest.mark.parametrize("reply", [Reply(401, {}), Reply(403, {}), Reply(404, "no"), Reply(200, ["what"])])
def test_a_token_whose_scopes_hubspot_does_not_report_lacks_none(reply: Reply) -> None:
    with answering(lambda request: reply) as vendor, portal(vendor.url) as destination:
        assert destination.missing_permissions("contacts", True) == ()


def test_an_archived_property_that_is_restored_with_another_type_is_reported(sandbox: Running) -> None:
    """Observed live by a third party (2026-09-29): making an archived name restores the old property."""
    with portal(sandbox.url) as destination:
        destination.create_fields("contacts", [NewField("mood", FieldType.TEXT, "Mood")])
        requests.delete(
            f"{sandbox.url}/crm/v3/properties/contacts/mood", headers={"Authorization": "Bearer x"}, timeout=5
        )
        assert "mood" not in destination.fields("contacts")
        with pytest.raises(ConfigurationError, match="archived property 'mood'"):
            destination.create_fields("contacts", [NewField("mood", FieldType.NUMBER, "Mood")])


def test_properties_are_created_in_their_own_group_and_in_one_call(sandbox: Running) -> None:
    watched = RecordingThrottle()
    new = [NewField(f"made_{type.value}", type, type.value.title()) for type in FieldType]
    with portal(sandbox.url, watched) as destination:
        destination.create_fields("companies", new)
        destination.create_fields("companies", [])
    created = sandbox.state()["fields"]["hubspot"]["companies"]
    assert {name: (each["type"], each["fieldType"]) for name, each in created.items()} == {
        "made_text": ("string", "text"),
        "made_list": ("string", "text"),
        "made_integer": ("number", "number"),
        "made_number": ("number", "number"),
        "made_boolean": ("bool", "booleancheckbox"),
        "made_date": ("date", "date"),
        "made_datetime": ("datetime", "date"),
    }
    assert {each["groupName"] for each in created.values()} == {"heatsync"}
    assert watched.calls == 2


def test_fields_say_what_can_be_written(sandbox: Running) -> None:
    seed(sandbox)
    with portal(sandbox.url) as destination:
        fields = destination.fields("contacts")
    assert not fields["locked"].writable
    assert not fields["hs_object_id"].writable
    assert fields["our_id"].unique
    assert fields["email"].unique
    assert fields["level"].options == ("low", "high")
    assert (fields["score"].type, fields["note"].length) == ("number", 65_536)
