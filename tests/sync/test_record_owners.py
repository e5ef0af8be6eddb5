"""Two of our entities that are one remote record: neither is written. An entity that is gone blocks no other."""

from pathlib import Path
from typing import Any

import pytest
from sync_stage import CONTACTS, Stage

from heatsync.sandbox.server import Running

VENDORS = {
    "hubspot": CONTACTS,
    "intercom": "destination: intercom\nobject: contacts\nmatch: {email: email}\nfields: {role: user.role}\n",
}
DEFINED = {
    "hubspot": {"contacts": {"role": {"type": "string"}}},
    "intercom": {"contacts": {"role": {"type": "string"}}},
}


@pytest.fixture
def stage(tmp_path: Path, sandbox: Running) -> Stage:
    return Stage(tmp_path / "w", sandbox)


def people(vendor: str, *contacts: dict[str, Any]) -> dict[str, Any]:
    return {vendor: {"contacts": list(contacts)}, "fields": {vendor: DEFINED[vendor]}}


def person(vendor: str, id: str, email: str, role: str | None = None, **more: str) -> dict[str, Any]:
    if vendor == "hubspot":
        values = {"email": email, **({"role": role} if role else {}), **more}
        return {"id": id, "properties": values}
    return {"id": id, "email": email, "custom_attributes": {"role": role} if role else {}}


def apart(vendor: str) -> dict[str, Any]:
    return people(
        vendor, person(vendor, ID[vendor][0], "u1@x.com"), person(vendor, ID[vendor][1], "u2@x.com")
    )


ID = {"hubspot": ("101", "102"), "intercom": ("5f1", "5f2")}


def merged(vendor: str) -> dict[str, Any]:
    """The second contact is part of the first one now, as each vendor shows it (see the connectors' own tests)."""
    one, other = ID[vendor]
    if vendor == "hubspot":
        more = {"hs_merged_object_ids": other, "hs_additional_emails": "u2@x.com"}
        return people(vendor, person(vendor, one, "u1@x.com", "a", **more))
    return people(vendor, person(vendor, one, "u1@x.com", "a"), {"id": other, "merged_into": one})


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("changed", [("u1", "u2"), ("u2",)])
def test_contacts_merged_at_the_destination_are_both_reported_and_then_left_alone(
    stage: Stage, vendor: str, changed: tuple[str, ...]
) -> None:
    stage.mapping("m", VENDORS[vendor])
    stage.sandbox.seed(apart(vendor))
    before = {"u1": "a", "u2": "b"}
    stage.users(before)
    assert stage.sync().outcomes == {"delivered": 2}
    stage.sandbox.seed(merged(vendor))
    stage.users(before | {key: f"{key} new" for key in changed})
    first = stage.sync()
    assert first.code == 1
    assert first.outcomes == {"rejected": len(changed)}
    # The entity whose values did not change is found by looking it up again.
    assert stage.sync().outcomes == ({"rejected": 1} if len(changed) == 1 else {})
    assert refused(stage) == {"u1", "u2"}
    stage.sandbox.reset_stats()
    third = stage.sync()
    assert (third.code, third.outcomes, third.only["parked"]) == (0, {}, 2)
    assert stage.sandbox.stats()[vendor]["calls"] == 0


def refused(stage: Stage, *otherwise: str) -> set[str]:
    """Entities that are rejected as the same record, or for the reasons given."""
    with stage.context() as context:
        rows = context.ledger.failures(None)
    assert {row.code for row in rows} == {"same_record", *otherwise}
    assert all(
        "are the same record at the destination" in row.cause for row in rows if row.code == "same_record"
    )
    return {row.entity for row in rows}


def test_entities_that_are_two_records_again_are_sent_again(stage: Stage) -> None:
    stage.mapping("m", CONTACTS)
    stage.sandbox.seed(apart("hubspot"))
    stage.users({"u1": "a", "u2": "b"})
    stage.sync()
    stage.sandbox.seed(merged("hubspot"))
    stage.users({"u1": "a2", "u2": "b2"})
    assert stage.sync().outcomes == {"rejected": 2}
    stage.users({"u1": "a3"})
    assert stage.sync().outcomes == {"delivered": 1}
    assert stage.roles() == {"u1": "a3"}
    assert stage.sync().outcomes == {}


def test_a_record_keeps_its_owner_when_its_value_cannot_be_sent(stage: Stage) -> None:
    stage.mapping("m", CONTACTS.replace("user.role", "{from: user.role, as: integer}"))
    stage.sandbox.seed(people("hubspot", person("hubspot", "101", "u2@x.com")))
    stage.users({"u2": "2"})
    assert stage.sync().outcomes == {"delivered": 1}
    more = {"hs_additional_emails": "u1@x.com"}
    stage.sandbox.seed(people("hubspot", person("hubspot", "101", "u2@x.com", "2", **more)))
    stage.users({"u1": "1", "u2": "no number"})
    assert stage.sync().outcomes == {"rejected": 2}
    assert stage.roles() == {"u2": "2"}
    assert refused(stage, "bad_value") == {"u1", "u2"}


@pytest.mark.parametrize("on_exit", ["", "audience: all\non_exit: clear\n"])
def test_a_user_who_signs_up_again_under_another_id_gets_the_previous_record(
    stage: Stage, on_exit: str
) -> None:
    stage.mapping("m", CONTACTS + on_exit)
    stage.contacts("u1")
    everybody = {"u1": ["all"], "u2": ["all"]}
    stage.users({"u1": "a"}, audiences=everybody)
    stage.sync()
    stage.users({"u2": "b"}, email={"u2": "u1@x.com"}, audiences=everybody)
    assert stage.sync().outcomes == {"delivered": 1}
    assert stage.roles() == {"u1": "b"}
    assert stage.sync().outcomes == {}
    # A user who comes back is looked up by the current address.
    stage.users({"u1": "c", "u2": "b"}, email={"u1": "new@x.com", "u2": "u1@x.com"}, audiences=everybody)
    assert stage.sync().outcomes == {"skipped": 1}
    assert stage.roles() == {"u1": "b"}


def test_a_user_without_an_address_owns_no_record(stage: Stage) -> None:
    stage.mapping("m", CONTACTS)
    stage.contacts("u1")
    stage.users({"u1": "a"})
    stage.sync()
    stage.users({"u1": "a", "u2": "b"}, email={"u1": "", "u2": "u1@x.com"})
    assert stage.sync().outcomes == {"delivered": 1, "skipped": 1}
    assert stage.roles() == {"u1": "b"}


def test_a_record_owned_by_another_entity_in_another_mapping_is_not_written(stage: Stage) -> None:
    stage.contacts("u1")
    stage.mapping("m", CONTACTS + "audience: new\non_exit: keep\n")
    stage.mapping(
        "n", CONTACTS.replace("{role: user.role}", "{other: user.role}") + "audience: mature\non_exit: keep\n"
    )
    groups = {"u1": ["new"], "u2": ["mature"]}
    stage.users({"u1": "a", "u2": "b"}, email={"u2": "u2@x.com"}, audiences=groups)
    assert stage.sync().mappings["m"]["outcomes"]["delivered"] == 1
    stage.users({"u1": "a", "u2": "b"}, email={"u2": "u1@x.com"}, audiences=groups)
    ended = stage.sync()
    assert ended.mappings["n"]["outcomes"]["rejected"] == 1
    assert stage.roles("other") == {"u1": None}
