"""A live check of fields and records that a sync would create."""

from pathlib import Path

import pytest
from live_checks import READABLE, look, seed
from sync_stage import Stage, numbered

from heatsync.sandbox.server import Running


@pytest.fixture
def stage(tmp_path: Path, sandbox: Running) -> Stage:
    return Stage(tmp_path / "w", sandbox)


@pytest.mark.parametrize("vendor", ["hubspot", "intercom"])
def test_fields_to_be_created_are_noted_and_checked_against_the_quota(
    stage: Stage, vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.mapping("m", READABLE[vendor] + "create_fields: true\n")
    stage.users(numbered(1))
    seed(stage, vendor, None)
    looked = look(stage)
    assert looked.problems == ()
    assert any("creates `mine`" in note for note in looked.notes)
    many = {
        f"own_{number}": {"type": "string"} for number in range({"hubspot": 1000, "intercom": 250}[vendor])
    }
    stage.sandbox.seed({"fields": {vendor: {"contacts": many}}})
    (problem,) = look(stage).problems
    assert "room for 0 more custom fields" in problem


ARCHIVED = {
    "hubspot": {"type": "string", "archived": True},
    "intercom": {"type": "string", "archived": True},
}


@pytest.mark.parametrize("vendor", ARCHIVED)
def test_an_archived_field_is_noted_and_restored_by_the_first_sync(stage: Stage, vendor: str) -> None:
    stage.users(numbered(1))
    seed(stage, vendor, ARCHIVED[vendor])
    stage.mapping("m", READABLE[vendor])
    (problem,) = look(stage).problems
    assert problem.startswith(f"mappings/m.yml:{7 if vendor == 'hubspot' else 6}:")
    assert "`mine` is archived" in problem
    assert "`create_fields: true`" in problem
    stage.mapping("m", READABLE[vendor] + "create_fields: true\n")
    looked = look(stage)
    assert looked.problems == ()
    assert any("unarchives `mine`" in note for note in looked.notes)
    assert not any("creates" in note for note in looked.notes)
    state = stage.sandbox.state()
    person = (
        {"external_id": "u1", "role": "user"}
        if vendor == "intercom"
        else {"properties": {"email": "u1@x.com"}}
    )
    state[vendor]["contacts"] = [person]
    stage.sandbox.seed(state)
    ended = stage.sync()
    assert (ended.code, ended.outcomes) == (0, {"delivered": 1})


@pytest.mark.parametrize("vendor", ARCHIVED)
def test_an_archived_field_of_another_type_is_reported_before_anything_is_sent(
    stage: Stage, vendor: str
) -> None:
    stage.mapping("m", READABLE[vendor].replace("user.role", "score") + "create_fields: true\n")
    stage.users(numbered(1), score={"u1": 7})
    seed(stage, vendor, ARCHIVED[vendor])
    looked = look(stage)
    (problem,) = looked.problems
    assert looked.notes == ()
    assert problem.startswith(f"mappings/m.yml:{7 if vendor == 'hubspot' else 6}:")
    assert "`mine` (archived string)" in problem
    assert "does not accept a whole number" in problem
    assert "as: text" in problem


def test_fields_are_created_in_salesforce_only_with_a_permission_set(stage: Stage) -> None:
    stage.mapping("m", READABLE["salesforce"] + "create_fields: true\n")
    stage.users(numbered(1))
    seed(stage, "salesforce", None)
    (problem,) = look(stage).problems
    assert problem.startswith("mappings/m.yml:6:")
    assert "no `Mine__c` on Contact" in problem
    assert "or create them in Setup, Object Manager. Then" in problem
    stage.heatsync = stage.heatsync.replace("domain: acme.my,", "domain: acme.my, permission_set: Heatsync,")
    (problem,) = look(stage).problems
    line, text = next((n, t) for n, t in enumerate(stage.heatsync.splitlines(), 1) if "Heatsync," in t)
    assert problem.startswith(f"heatsync.yml:{line}:{text.index('Heatsync,') + 1}: ")
    assert "no permission set with the API name 'Heatsync'" in problem
    state = stage.sandbox.state()
    state["salesforce"] |= {"PermissionSet": [{"Name": "Heatsync"}]}
    stage.sandbox.seed(state)
    looked = look(stage)
    assert looked.problems == ()
    assert any("creates `Mine__c`" in note for note in looked.notes)
    state = stage.sandbox.state()
    people = [{"LastName": "One", "Uid__c": "u1"}]
    state["salesforce"] |= {"Contact": people}
    stage.sandbox.seed(state)
    assert stage.sync().code == 0
    (person,) = stage.sandbox.state()["salesforce"]["Contact"]
    assert person["Mine__c"] == "role1"


ACCOUNTS = "destination: salesforce\nobject: Account\nmatch: {Website: domain}\nmode: upsert\nfields: {Description: score"


def test_a_required_field_that_is_not_mapped_is_reported(stage: Stage) -> None:
    stage.mapping("m", ACCOUNTS + "}\n")
    (problem,) = look(stage).problems
    assert problem.startswith("mappings/m.yml:4:9: Salesforce requires `Name` for new Account")
    assert "map `Name` under `fields:`" in problem
    for mended in (ACCOUNTS + ", Name: account.plan}\n", ACCOUNTS.replace("upsert", "update") + "}\n"):
        stage.mapping("m", mended)
        assert look(stage).problems == ()


@pytest.mark.parametrize("vendor", ["hubspot", "intercom"])
def test_companies_created_without_a_name_are_noted(stage: Stage, vendor: str) -> None:
    key = {"hubspot": "domain: domain", "intercom": "company_id: account_id"}[vendor]
    start = f"destination: {vendor}\nobject: companies\nmatch: {{{key}}}\nfields: {{industry: account.plan"
    stage.mapping("m", start + "}\nmode: upsert\n")
    looked = look(stage)
    assert looked.problems == ()
    assert any("without a `name`" in note for note in looked.notes)
    for quiet in (start + ", name: account.plan}\nmode: upsert\n", start + "}\n"):
        stage.mapping("m", quiet)
        assert not any("without a `name`" in note for note in look(stage).notes)


def test_the_advice_to_create_salesforce_fields_names_the_permission_set(stage: Stage) -> None:
    stage.mapping("m", READABLE["salesforce"])
    stage.users(numbered(1))
    seed(stage, "salesforce", None)
    (problem,) = look(stage).problems
    assert "`create_fields: true`, and `permission_set` for salesforce (heatsync.yml:" in problem
    stage.heatsync = stage.heatsync.replace("domain: acme.my,", "domain: acme.my, permission_set: Heatsync,")
    (problem,) = look(stage).problems
    assert problem.endswith("`create_fields: true`")
