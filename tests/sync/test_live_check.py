"""Mappings compared with the fields at the destination: every problem at its place, with its remedy."""

import re
from pathlib import Path
from typing import Any

import file_workspaces as files
import pyarrow as pa
import pytest
from live_checks import HUBSPOT, PLACES, READABLE, look, seed
from sync_stage import DAY, Stage, numbered

from connectors.errors import Unauthorized
from heatsync.sandbox.server import Running
from heatsync.sync.mapping.files import check


@pytest.fixture
def stage(tmp_path: Path, sandbox: Running) -> Stage:
    return Stage(tmp_path / "w", sandbox)


@pytest.mark.parametrize("vendor", READABLE)
def test_a_mapping_that_fits_has_no_problems(stage: Stage, vendor: str) -> None:
    stage.mapping("m", READABLE[vendor])
    stage.users(numbered(3))
    seed(stage, vendor, {"type": "string"})
    looked = look(stage)
    assert (looked.problems, looked.notes, looked.error, looked.compared) == ((), (), None, 2)
    assert looked.account


@pytest.mark.parametrize("vendor", READABLE)
def test_a_missing_field_is_reported_at_its_place_with_both_ways_to_create_it(
    stage: Stage, vendor: str
) -> None:
    stage.mapping("m", READABLE[vendor])
    stage.users(numbered(3))
    seed(stage, vendor, None)
    (problem,) = look(stage).problems
    line = 7 if vendor == "hubspot" else 6
    assert problem.startswith(f"mappings/m.yml:{line}:")
    assert f"no field `{PLACES[vendor][1]}`" in problem
    assert "as text" in problem
    assert "create_fields: true" in problem


def test_the_nearest_remote_name_is_suggested(stage: Stage) -> None:
    stage.mapping("m", HUBSPOT + "  engagment: user.role\n")
    stage.users(numbered(1))
    stage.sandbox.seed({"fields": {"hubspot": {"contacts": {"engagement": {"type": "string"}}}}})
    (problem,) = look(stage).problems
    assert "did you mean `engagement`?" in problem


NUMBERS = {"u1": "37", "u2": "-4"}
WORDS = {"u1": "37", "u2": "High"}


@pytest.mark.parametrize(
    ("vendor", "source", "roles", "type", "remedy"),
    [
        ("hubspot", "user.role", NUMBERS, "number", "write `as: number`"),
        ("intercom", "user.role", NUMBERS, "integer", "write `as: integer`"),
        ("salesforce", "user.role", {"u1": "0.5"}, "double", "write `as: number`"),
        ("hubspot", "last_active", NUMBERS, "date", "write `as: date`"),
        ("salesforce", "last_active", NUMBERS, "date", "write `as: date`"),
        ("hubspot", "user.role", {"u1": "yes", "u2": None}, "bool", "write `as: boolean`"),
        ("intercom", "activation", NUMBERS, "integer", "write `as: integer`"),
        ("salesforce", "activation", NUMBERS, "int", "write `as: integer`"),
        ("intercom", "activation", NUMBERS, "string", "write `as: text`"),
        ("hubspot", "user.role", WORDS, "number", ": map to a field that accepts text"),
        ("intercom", "user.role", WORDS, "integer", ": map to a field that accepts text"),
        ("salesforce", "user.role", WORDS, "double", ": map to a field that accepts text"),
        ("hubspot", "user.role", {"u1": None}, "number", ": map to a field that accepts text"),
        ("hubspot", "score", NUMBERS, "bool", ": map to a field that accepts a whole number"),
        ("intercom", "score", NUMBERS, "boolean", ": map to a field that accepts a whole number"),
    ],
)
def test_a_type_that_does_not_fit_is_reported_with_a_cast_that_works_for_every_value(
    stage: Stage, vendor: str, source: str, roles: dict[str, str | None], type: str, remedy: str
) -> None:
    stage.mapping("m", READABLE[vendor].replace("user.role", source))
    stage.users(roles, score={"u1": 37, "u2": 4}, activation={"u1": 0.5, "u2": 1.0})
    seed(stage, vendor, {"type": type})
    (problem,) = look(stage).problems
    assert "does not accept" in problem
    assert remedy in problem
    advised = re.search("as: [a-z]+", problem)
    if advised is not None:
        stage.mapping("m", READABLE[vendor].replace("user.role", f"{{from: {source}, {advised[0]}}}"))
        assert look(stage).problems == ()


@pytest.mark.parametrize("vendor", READABLE)
def test_values_that_cannot_be_cast_are_counted_and_shown(stage: Stage, vendor: str) -> None:
    stage.mapping("m", READABLE[vendor].replace("user.role", "{from: user.role, as: integer}"))
    stage.users(WORDS)
    seed(
        stage, vendor, {"type": {"hubspot": "number", "intercom": "integer", "salesforce": "double"}[vendor]}
    )
    (problem,) = look(stage).problems
    assert "1 of 2 records have a value that cannot be sent as a whole number, such as `High`" in problem
    assert problem.endswith(": map to a field that accepts text")


def test_values_that_cannot_be_sent_are_reported_for_a_field_that_does_not_exist_yet(stage: Stage) -> None:
    text = READABLE["hubspot"].replace("user.role", "{from: user.role, as: date}")
    stage.mapping("m", text + "create_fields: true\n")
    stage.users(WORDS)
    seed(stage, "hubspot", None)
    (problem,) = look(stage).problems
    assert "2 of 2 records have a value that cannot be sent as a date, such as `37`" in problem


def test_an_expression_that_fails_on_some_records_is_reported(stage: Stage) -> None:
    stage.mapping("m", HUBSPOT + '  mine: {sql: "CAST(user.role AS INT)"}\n')
    stage.users(WORDS)
    seed(stage, "hubspot", {"type": "number"})
    (problem,) = look(stage).problems
    assert "`sql` fails on 1 of 2 records" in problem


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{from: user.score, default: none}", "expected a whole number such as 5, found `none`"),
        ('{sql: "left(audiences, 10)"}', "DuckDB does not understand this `sql`"),
        ("user.roel", "the users table had no column `roel`"),
    ],
)
def test_a_mapping_that_cannot_sync_is_a_problem_with_and_without_asking_the_destination(
    stage: Stage, written: str, said: str
) -> None:
    stage.mapping("m", HUBSPOT + f"  mine: {written}\n")
    stage.users(numbered(2))
    files.traits(
        stage.opened(),
        "user",
        pa.table({"user_id": ["u1"], "email": ["u1@x.com"], "role": ["r"], "score": pa.array([5])}),
    )
    seed(stage, "hubspot", {"type": "string"})
    (problem,) = look(stage).problems
    assert re.match(r"mappings/m.yml:7:\d+: ", problem)
    assert said in problem
    assert check(stage.opened().folder).problems == (problem,)


def test_a_value_that_only_scoring_can_provide_is_no_problem_of_the_files(stage: Stage) -> None:
    stage.mapping("m", HUBSPOT + "  mine: user.role\n")
    assert check(stage.opened().folder).problems == ()
    stage.users(numbered(2))
    traits = stage.opened().traits_path("user", DAY)
    traits.unlink()
    assert check(stage.opened().folder).problems == ()
    seed(stage, "hubspot", {"type": "string"})
    looked = look(stage)
    assert looked.problems == ()
    assert any("the values were not checked" in note and "heatsync score" in note for note in looked.notes)


@pytest.mark.parametrize(
    ("vendor", "definition"),
    [
        ("hubspot", {"type": "string", "readOnlyValue": True}),
        ("intercom", {"type": "string", "api_writable": False}),
        ("salesforce", {"type": "string", "updateable": False}),
    ],
)
def test_a_read_only_field_is_reported(stage: Stage, vendor: str, definition: dict[str, Any]) -> None:
    stage.mapping("m", READABLE[vendor])
    stage.users(numbered(1))
    seed(stage, vendor, definition)
    (problem,) = look(stage).problems
    assert "cannot be written" in problem


@pytest.mark.parametrize(
    ("vendor", "definition"),
    [("intercom", {"type": "string"}), ("salesforce", {"type": "string", "length": 255})],
)
def test_text_too_long_for_its_field_is_reported_with_both_lengths(
    stage: Stage, vendor: str, definition: dict[str, Any]
) -> None:
    stage.mapping("m", READABLE[vendor])
    stage.users({"u1": "short", "u2": "x" * 300})
    seed(stage, vendor, definition)
    (problem,) = look(stage).problems
    assert "room for 255 characters, and the longest value has 300" in problem
    advised = re.search(r"`(sql: .*)` instead of its source", problem)
    assert advised is not None
    stage.mapping("m", READABLE[vendor].replace("user.role", f"{{{advised[1]}}}"))
    assert look(stage).problems == ()


def test_a_list_too_long_for_its_field_is_shortened_as_text(stage: Stage) -> None:
    stage.mapping("m", READABLE["salesforce"].replace("user.role", '{from: audiences, join: ", "}'))
    stage.users(numbered(2), segments={"u1": ["One", "Two", "Three"]})
    seed(stage, "salesforce", {"type": "string", "length": 10})
    (problem,) = look(stage).problems
    advised = re.search(r"`(sql: .*)` instead of its source", problem)
    assert advised is not None
    stage.mapping("m", READABLE["salesforce"].replace("user.role", f"{{{advised[1]}}}"))
    assert look(stage).problems == ()


@pytest.mark.parametrize(
    ("vendor", "definition"),
    [
        ("hubspot", {"type": "enumeration", "fieldType": "select", "options": ["one", "two"]}),
        ("intercom", {"type": "options", "options": ["one", "two"]}),
        ("salesforce", {"type": "picklist", "restrictedPicklist": True, "picklistValues": ["one", "two"]}),
    ],
)
def test_a_value_that_is_no_option_is_reported_with_the_map_that_fixes_it(
    stage: Stage, vendor: str, definition: dict[str, Any]
) -> None:
    stage.mapping("m", READABLE[vendor])
    seed(stage, vendor, definition)
    stage.users({"u1": "one", "u2": "two"})
    assert look(stage).problems == ()
    stage.users({"u1": "one", "u2": "Three"})
    (problem,) = look(stage).problems
    assert "no option `Three`; it has: one, two" in problem
    assert "map: {Three: ...}" in problem
    stage.users({"u1": "one", "u2": "Two", "u3": "ONE"})
    (problem,) = look(stage).problems
    assert "map: {ONE: one, Two: two}" in problem


@pytest.mark.parametrize(
    ("vendor", "one", "several"),
    [
        (
            "hubspot",
            {"type": "enumeration", "fieldType": "select", "options": ["a", "b"]},
            {"type": "enumeration", "fieldType": "checkbox", "options": ["a", "b"]},
        ),
        (
            "salesforce",
            {"type": "picklist", "restrictedPicklist": True, "picklistValues": ["a", "b"]},
            {"type": "multipicklist", "restrictedPicklist": True, "picklistValues": ["a", "b"]},
        ),
    ],
)
def test_a_list_is_checked_option_by_option_where_several_are_allowed(
    stage: Stage, vendor: str, one: dict[str, Any], several: dict[str, Any]
) -> None:
    stage.mapping("m", READABLE[vendor])
    seed(stage, vendor, several)
    stage.users({"u1": "b;a"})
    assert look(stage).problems == ()
    stage.users({"u1": "a;c", "u2": "c;b;d"})
    (problem,) = look(stage).problems
    assert "no option `c`, `d`;" in problem
    seed(stage, vendor, one)
    stage.users({"u1": "b;a"})
    (problem,) = look(stage).problems
    assert "no option `b;a`" in problem


def test_values_of_a_map_are_checked_against_the_options_before_a_record_has_them(stage: Stage) -> None:
    stage.mapping("m", HUBSPOT + "  mine: {from: user.role, map: {gold: au, silver: ag}}\n")
    seed(stage, "hubspot", {"type": "enumeration", "fieldType": "select", "options": ["au"]})
    stage.users({"u1": "gold"})
    (problem,) = look(stage).problems
    assert "no option `ag`" in problem


@pytest.mark.parametrize("vendor", READABLE)
def test_types_are_compared_without_a_snapshot(stage: Stage, vendor: str) -> None:
    stage.mapping("m", READABLE[vendor].replace("user.role", "score"))
    seed(stage, vendor, {"type": {"hubspot": "date", "intercom": "boolean", "salesforce": "date"}[vendor]})
    looked = look(stage)
    assert len(looked.problems) == 1
    assert any("heatsync score" in note for note in looked.notes)


def test_hubspot_refuses_a_key_that_is_not_unique(stage: Stage) -> None:
    stage.mapping("m", READABLE["hubspot"].replace("{email: email}", "[{other: user_id}, {email: email}]"))
    stage.users(numbered(1))
    text = {"type": "string"}
    stage.sandbox.seed({"fields": {"hubspot": {"contacts": {"mine": text, "other": text}}}})
    (problem,) = look(stage).problems
    assert problem.startswith("mappings/m.yml:5:")
    assert "unique values" in problem


def test_a_missing_key_is_a_problem_and_a_key_that_is_not_unique_a_note(stage: Stage) -> None:
    stage.mapping("m", READABLE["salesforce"].replace("Uid__c", "Nowhere__c"))
    stage.users(numbered(1))
    seed(stage, "salesforce", {"type": "string"})
    looked = look(stage)
    (problem,) = looked.problems
    assert "no field `Nowhere__c`" in problem
    assert not any("unique" in note for note in looked.notes)
    stage.mapping("m", READABLE["salesforce"].replace("Uid__c: user_id", "Email: email"))
    looked = look(stage)
    assert looked.problems == ()
    assert any("`Email` may have duplicates" in note for note in looked.notes)


def test_segment_is_reported_as_not_readable(stage: Stage) -> None:
    stage.mapping("m", "destination: segment\nobject: users\nfields: {role: user.role}\n")
    stage.users(numbered(1))
    looked = look(stage)
    assert (looked.problems, looked.compared, looked.error) == ((), 0, None)
    assert "cannot be read" in looked.notes[0]


def test_refused_credentials_are_an_error_of_the_mapping_alone(stage: Stage) -> None:
    stage.mapping("m", READABLE["hubspot"])
    stage.users(numbered(1))
    looked = look(stage, token="refused")
    assert isinstance(looked.error, Unauthorized)


def test_a_missing_permission_of_the_credential_is_a_problem(stage: Stage) -> None:
    stage.mapping("m", READABLE["hubspot"])
    stage.users(numbered(1))
    seed(stage, "hubspot", {"type": "string"})
    (problem,) = look(stage, token="default:lacks.crm.objects.contacts.write").problems
    assert "mappings/m.yml: the credential lacks crm.objects.contacts.write in HubSpot" in problem
    assert look(stage, token="default:lacks.crm.schemas.contacts.write").problems == ()
    stage.mapping("m", READABLE["hubspot"] + "create_fields: true\n")
    seed(stage, "hubspot", None)
    (problem,) = look(stage, token="default:lacks.crm.schemas.contacts.write").problems
    assert "lacks crm.schemas.contacts.write" in problem


def test_unusable_credentials_are_reported_at_their_destination(stage: Stage) -> None:
    stage.mapping("m", READABLE["salesforce"])
    stage.heatsync = stage.heatsync.replace(
        'consumer_secret: "${SF_CONSUMER_SECRET}"', "username: u, private_key: p"
    )
    line = next(n for n, text in enumerate(stage.heatsync.splitlines(), 1) if "salesforce:" in text)
    assert str(look(stage).error).startswith(
        f"heatsync.yml:{line}:3: Salesforce's private_key cannot be used"
    )


def test_checking_changes_nothing_at_the_destination(stage: Stage) -> None:
    stage.mapping("m", READABLE["hubspot"] + "create_fields: true\n")
    stage.users(numbered(2))
    stage.contacts("u1", "u2")
    before = stage.sandbox.state()
    look(stage)
    assert stage.sandbox.state() == before
