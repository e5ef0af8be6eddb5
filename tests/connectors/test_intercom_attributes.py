"""Intercom's data attributes."""

from typing import Any

import pytest
from fake_vendor import Reply, Request, answering
from intercom_calls import LEVEL, SCORE, change, push, seed, workspace

from connectors.errors import ConfigurationError
from connectors.types import FieldType, NewField, Status
from heatsync.sandbox.server import Running


def test_missing_attributes_are_created_with_their_types(sandbox: Running) -> None:
    new = [NewField(f"new_{type}", type, f"New {type}") for type in FieldType]
    with workspace(sandbox.url) as destination:
        destination.create_fields("companies", new)
        fields = destination.fields("companies")
    assert {each.name: fields[each.name].type for each in new} == {
        "new_text": "string",
        "new_integer": "integer",
        "new_number": "float",
        "new_boolean": "boolean",
        "new_date": "date",
        "new_datetime": "date",
        "new_list": "string",
    }


def test_an_attribute_that_someone_created_meanwhile_is_accepted(sandbox: Running) -> None:
    with workspace(sandbox.url) as destination:
        for _ in range(2):
            destination.create_fields("contacts", [NewField("score", FieldType.INTEGER, "Score")])


def test_an_archived_attribute_is_restored_with_its_values(sandbox: Running) -> None:
    """Intercom OpenAPI 2.14: PUT /data_attributes/{id} with `archived: false`; a name is taken all the same."""
    put_away = {"share": {"type": "float", "archived": True}, "mood": {"type": "string"}}
    sandbox.seed({"intercom": {"contacts": [{"id": "5f1"}]}, "fields": {"intercom": {"contacts": put_away}}})
    with workspace(sandbox.url) as destination:
        assert "share" not in destination.fields("contacts")
        assert list(destination.archived_fields("contacts")) == ["share"]
        destination.create_fields("contacts", [NewField("share", FieldType.NUMBER, "Share")])
        assert destination.fields("contacts")["share"].type == "float"
        assert destination.archived_fields("contacts") == {}
        assert push(destination, change("u1", {"share": 66.5}, id="5f1"))["u1"].status is Status.DELIVERED


@pytest.mark.parametrize("definition", [{"type": "string"}, {"type": "integer", "api_writable": False}])
def test_an_archived_attribute_of_another_type_is_reported_before_any_is_created(
    sandbox: Running, definition: dict[str, Any]
) -> None:
    before = {"score": {**definition, "archived": True}}
    sandbox.seed({"fields": {"intercom": {"contacts": before}}})
    new = [NewField("fresh", FieldType.TEXT, "Fresh"), NewField("score", FieldType.INTEGER, "Score")]
    refusal = pytest.raises(ConfigurationError, match=r"archived contact attribute 'score'.*another name")
    with workspace(sandbox.url) as destination, refusal:
        destination.create_fields("contacts", new)
    assert sandbox.state()["fields"]["intercom"]["contacts"] == before


def test_an_attribute_that_stays_archived_is_an_error() -> None:
    old = {"id": 37, "name": "score", "data_type": "integer", "custom": True, "archived": True}

    def answer(request: Request) -> Reply:
        return Reply(200, {"type": "list", "data": [old]} if request.method == "GET" else old)

    refusal = pytest.raises(ConfigurationError, match=r"does not unarchive .* 'score'")
    with answering(answer) as vendor, workspace(vendor.url) as destination, refusal:
        destination.create_fields("contacts", [NewField("score", FieldType.INTEGER, "Score")])


def test_archived_attributes_do_not_count_towards_the_limit(sandbox: Running) -> None:
    sandbox.seed({"fields": {"intercom": {"contacts": {"a": {"archived": True}, "b": {}}}}})
    with workspace(sandbox.url) as destination:
        assert destination.fields_left("contacts") == 249


def test_a_name_that_companies_use_is_refused_with_the_remedy(sandbox: Running) -> None:
    """Intercom OpenAPI 2.14: "You already have 'X' in your company data. To save this as new people data, .."."""
    with workspace(sandbox.url) as destination:
        destination.create_fields("companies", [NewField("score", FieldType.INTEGER, "Score")])
        with pytest.raises(ConfigurationError) as caught:
            destination.create_fields("contacts", [NewField("score", FieldType.INTEGER, "Score")])
    assert "You already have 'score' in your company data" in str(caught.value)
    assert "another name in this mapping" in str(caught.value)


def test_a_name_with_forbidden_characters_is_refused_with_the_reason(sandbox: Running) -> None:
    """Intercom OpenAPI 2.14: alphanumeric characters, currency symbols and hyphens."""
    with workspace(sandbox.url) as destination, pytest.raises(ConfigurationError, match="alphanumeric"):
        destination.create_fields("contacts", [NewField("!nv@l!d", FieldType.TEXT, "Invalid")])


def test_fields_have_type_length_and_options(sandbox: Running) -> None:
    seed(sandbox)
    with workspace(sandbox.url) as destination:
        contacts, companies = destination.fields("contacts"), destination.fields("companies")
    assert (contacts[SCORE].type, contacts[SCORE].writable) == ("integer", True)
    assert (contacts[LEVEL].type, contacts[LEVEL].length) == ("string", 255)
    assert contacts["size_class"].options == ("small", "large")
    assert contacts["external_id"].unique
    assert contacts["phone"].writable
    assert "nowhere" not in contacts
    assert SCORE not in companies
    assert companies["plan"].writable
    assert not companies["company_id"].writable
