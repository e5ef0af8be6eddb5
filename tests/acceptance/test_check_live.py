"""`heatsync check --live`: what the command says, and how it ends."""

from forked_workspace import MAPPING, ForkedWorkspace, assert_refused

ONLY = "mappings/hubspot-contacts.yml"


def test_a_mapping_that_fits_is_reported_as_fitting(live: ForkedWorkspace) -> None:
    checked = live.run("check", "--live", "--json")
    assert (checked.code, checked.json["problems"]) == (0, [])
    (looked,) = checked.json["live"]
    assert (looked["mapping"], looked["object"], looked["compared"], looked["error"]) == (
        "hubspot-contacts",
        "contacts",
        3,
        None,
    )
    assert any("creates `heatsync_role`, `heatsync_name`" in note for note in looked["notes"])
    assert_refused(
        live.run("check", "--live"), 0, "3 fields and keys fit contacts of hubspot (portal ", "No problem"
    )


def test_a_missing_field_exits_with_2_and_names_file_line_and_column(live: ForkedWorkspace) -> None:
    live.write(ONLY, MAPPING.replace("create_fields: true\n", ""))
    place = f"{ONLY}:6:25: HubSpot has no field `heatsync_role` on contacts"
    assert_refused(live.run("check", "--live"), 2, place, "create_fields: true")
    checked = live.run("check", "--live", "--json")
    assert len(checked.json["problems"]) == 2
    assert checked.json["live"][0]["problems"] == checked.json["problems"]
    assert "live" not in live.run("check", "--json").json


def test_a_missing_salesforce_object_is_named_at_its_place(live: ForkedWorkspace) -> None:
    live.only()
    live.write(
        "mappings/salesforce-accounts.yml",
        "version: 1\nprofile: health\ndestination: salesforce\nobject: Acount\nentity: account\n"
        "match: {Name: account.name}\nfields: {Score__c: score}\n",
    )
    place = "mappings/salesforce-accounts.yml:4:9: Salesforce has no object 'Acount'"
    for said in (live.run("check", "--live"), live.sync_with()):
        assert_refused(said, 2, place, "Did you mean Account?")


def test_an_unreachable_destination_exits_with_3(live: ForkedWorkspace) -> None:
    away = live.run("check", "--live", HEATSYNC_HUBSPOT_URL="http://127.0.0.1:9")
    assert_refused(away, 3, "hubspot-contacts was not compared", "cannot be reached", "check the network")
    # Nothing was to be sent.
    assert "go out with the next sync" not in away.err
    no = live.run("check", "--live", "--json", HUBSPOT_TOKEN="refused")
    assert no.code == 3
    assert "refused the credentials" in no.json["live"][0]["error"]
    assert "from HUBSPOT_TOKEN (heatsync.yml:" in no.json["live"][0]["error"]


def test_destinations_are_not_contacted_while_files_have_problems(live: ForkedWorkspace) -> None:
    live.write(ONLY, MAPPING.replace("user.role", "user.role, extra: nothing_like_it"))
    before = live.sandbox.stats()["hubspot"]["calls"]
    assert_refused(live.run("check", "--live"), 2, "nothing_like_it", "not contacted: fix the files first")
    assert live.sandbox.stats()["hubspot"]["calls"] == before
