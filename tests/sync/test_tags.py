"""`tags: audiences`: what a mapping may say, and which tags records have at the destination as they enter and leave."""

from pathlib import Path
from typing import Any

import pytest
from file_workspaces import write
from sync_stage import DAY, HEATSYNC, Killed, Stage, planned

from heatsync.analysis import explain
from heatsync.ledger import Ledger
from heatsync.sandbox.server import Running
from heatsync.sync import live_check
from heatsync.sync.compare.types import Scope
from heatsync.sync.context import no_progress
from heatsync.sync.mapping import files as mapping_files
from heatsync.sync.plan import PlanRequest, preview
from heatsync.sync.run_batches import deliver_mapping

CONTACTS = """\
destination: intercom
object: contacts
fields: {tier: user.role}
tags: audiences
"""
COMPANIES = "destination: intercom\nobject: companies\ntags: audiences\n"
OWN = """\
version: 1
quiet: {name: Quiet ones, entity: user, profile: health, where: {trait: score, lt: 50}}
kept: {name: Kept, entity: user, profile: health, where: {trait: score, lt: 50}, ship: false}
big: {name: Big, entity: account, profile: health, where: {trait: score, lt: 50}}
"""
AUDIENCES = "mappings/audiences/own.yml"
HEAD = "version: 1\nprofile: health\n"
SHIPPED = [
    "New", "Most Engaged", "Slightly Engaged", "Passive", "Least Engaged", "Recently Inactive", "Red Hot", "Ice Cold",
    "Mature",
]  # fmt: skip


@pytest.fixture
def stage(tmp_path: Path, sandbox: Running) -> Stage:
    stage = Stage(tmp_path / "w", sandbox)
    stage.mappings[AUDIENCES] = OWN
    return stage


def seed(stage: Stage, count: int, **more: Any) -> None:
    """So many contacts and companies, and the attribute that is written."""
    contacts = [{"id": f"c{n}", "external_id": f"u{n}", **more} for n in range(1, count + 1)]
    companies = [{"id": f"d{n}", "company_id": f"a{n}", **more} for n in range(1, count + 1)]
    fields = {"contacts": {"tier": {"type": "string"}}}
    stage.sandbox.seed({"intercom": {"contacts": contacts, "companies": companies}, "fields": {"intercom": fields}})  # fmt: skip


def members(stage: Stage, **audiences: list[str]) -> None:
    """Users, all with one role, and the keys of their audiences."""
    stage.users(dict.fromkeys(audiences, "pro"), audiences=audiences)


def tags(stage: Stage, object: str = "contacts") -> dict[str, list[str]]:
    """By our id, for records that have any."""
    key = {"contacts": "external_id", "companies": "company_id"}[object]
    records = stage.sandbox.state()["intercom"][object]
    return {each[key]: sorted(each["tags"]) for each in records if each.get("tags")}


def problems(folder: Path, text: str, **more: str) -> list[str]:
    files = {"mappings/m.yml": HEAD + text, **{f"mappings/{name}.yml": said for name, said in more.items()}}
    return list(mapping_files.check(write(folder, files, HEATSYNC)).problems)


# -- what may be written --------------------------------------------------------------------------------------


def test_every_built_in_audience_is_a_tag_with_its_name(stage: Stage) -> None:
    stage.mapping("m", CONTACTS)
    stage.mapping("c", COMPANIES)
    loaded = mapping_files.load(stage.opened())
    assert {field.name for field in loaded["m"].fields} == {
        "tier", "tag:Quiet ones", *(f"tag:{name}" for name in SHIPPED)
    }  # fmt: skip
    assert {field.name for field in loaded["c"].fields} == {
        "tag:Big", "tag:Multi-User Accounts", *(f"tag:{name}" for name in SHIPPED)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "where", "sentence"),
    [
        ("destination: intercom\nobject: contacts\ntags: segments\n", "5:7", "expected audiences; found `segments`"),
        ("destination: hubspot\nobject: contacts\nfields: {a: score}\ntags: audiences\n", "6:1",
         "HubSpot has no tags that heatsync can set"),
        ("destination: segment\nobject: users\ntags: audiences\n", "5:1", "`their_field: audiences`"),
        ("destination: intercom\nobject: contacts\nfields: {\"tag:VIP\": score}\n", "5:10", "are tags"),
        ("destination: intercom\nobject: contacts\n", "1:1", "or `tags: audiences`"),
    ],
    ids=["value", "hubspot", "segment", "reserved", "nothing"],
)  # fmt: skip
def test_problems_with_tags_are_reported_at_their_place(
    text: str, where: str, sentence: str, tmp_path: Path
) -> None:
    (found,) = problems(tmp_path, text)
    assert found.startswith(f"mappings/m.yml:{where}: "), found
    assert sentence in found


def test_two_audiences_that_would_be_one_tag_are_refused(tmp_path: Path) -> None:
    own = "version: 1\nfresh: {name: NEW, entity: user, profile: health, where: {trait: score, lt: 50}}\n"
    text = "destination: intercom\nobject: contacts\ntags: audiences\n"
    (found,) = problems(tmp_path, text, **{"audiences/own": own})
    assert found.startswith(
        "mappings/m.yml:5:1: the audiences `fresh` and `new` would have the same tag `New`"
    )


def test_two_mappings_do_not_take_each_others_tags_away(tmp_path: Path) -> None:
    text = "destination: intercom\nobject: contacts\ntags: audiences\n"
    found = problems(tmp_path, text, other=HEAD.replace("health", "adoption") + text)
    assert len(found) == len(SHIPPED)
    assert all("a field belongs to one mapping" in each for each in found)


def test_another_condition_or_another_audience_changes_the_definition_hash(stage: Stage) -> None:
    stage.mapping("m", CONTACTS)

    def definition_hash(own: str) -> str:
        stage.mappings[AUDIENCES] = own
        return mapping_files.load(stage.opened())["m"].definition_hash

    said = definition_hash(OWN)
    assert definition_hash(OWN.replace("kept:", "spared:")) == said, "that one is not shipped"
    assert (
        len(
            {
                said,
                definition_hash(OWN.replace("lt: 50", "lt: 40")),
                definition_hash(OWN.replace("Quiet", "Calm")),
            }
        )
        == 3
    )


# -- tags at the destination ----------------------------------------------------------------------------------


def test_people_are_tagged_as_they_enter_and_leave_and_a_second_sync_asks_nothing(stage: Stage) -> None:
    stage.mapping("m", CONTACTS)
    seed(stage, 4, tags=["Theirs"])
    members(stage, u1=["quiet", "new"], u2=["quiet"], u3=["kept", "all"], u4=[])
    assert stage.sync().outcomes == {"delivered": 4}
    assert tags(stage) == {
        "u1": ["New", "Quiet ones", "Theirs"], "u2": ["Quiet ones", "Theirs"], "u3": ["Theirs"], "u4": ["Theirs"],
    }  # fmt: skip
    stage.calls()
    assert stage.sync().only["planned"]["unchanged"] == 4
    assert stage.calls() == 0
    members(stage, u1=["quiet"], u2=[], u3=["quiet"], u4=[])
    ended = stage.sync()
    assert ended.only["planned"] == {"entered": 0, "changed": 3, "left": 0, "unchanged": 1}
    assert tags(stage) == {
        "u1": ["Quiet ones", "Theirs"], "u2": ["Theirs"], "u3": ["Quiet ones", "Theirs"], "u4": ["Theirs"],
    }  # fmt: skip
    # Two tags are taken off and one is put on; and two looks whether contacts can be untagged together.
    assert stage.calls() == ended.only["calls"] == 5


def test_companies_are_tagged_by_a_mapping_that_writes_nothing_else(stage: Stage) -> None:
    stage.mapping("c", COMPANIES)
    seed(stage, 3)
    plans = dict.fromkeys(["a1", "a2", "a3"], "pro")
    stage.accounts(plans, audiences={"a1": ["big"], "a2": ["multi_user_accounts"], "a3": []})
    assert stage.sync().outcomes == {"delivered": 2}
    assert tags(stage, "companies") == {"a1": ["Big"], "a2": ["Multi-User Accounts"]}
    stage.accounts(plans, audiences={"a1": [], "a2": ["multi_user_accounts"], "a3": []})
    assert stage.sync().outcomes == {"delivered": 1}
    assert tags(stage, "companies") == {"a2": ["Multi-User Accounts"]}
    stage.calls()
    stage.sync()
    assert stage.calls() == 0


def test_a_tag_is_added_or_removed_only_where_that_changes_something(stage: Stage) -> None:
    stage.mapping("c", CONTACTS.replace("fields: {tier: user.role}\n", ""))
    seed(stage, 3, tags=["quiet ONES"])
    members(stage, u1=["quiet"], u2=["quiet"], u3=["quiet"])
    assert stage.sync().outcomes == {}
    # The account, the search, and the names of the tags.
    assert stage.calls() == 3


def test_a_thousand_tag_changes_take_one_call_per_fifty(stage: Stage) -> None:
    stage.mapping("m", CONTACTS.replace("fields: {tier: user.role}\n", ""))
    seed(stage, 300)
    untagged: dict[str, list[str]] = {f"u{n}": [] for n in range(1, 301)}
    members(stage, **untagged)
    stage.sync()
    stage.calls()
    # The changes are spread over all records.
    members(stage, **untagged | {f"u{n}": [["quiet"], ["new"], []][n % 3] for n in range(1, 301)})
    with stage.context() as context:
        assert planned(context, "m", "r1", release=False).run.planned.calls == 4
    assert stage.sync().outcomes == {"delivered": 200}
    assert stage.calls() == 4


def test_the_calls_for_fields_and_tags_are_estimated(stage: Stage) -> None:
    stage.mapping("m", CONTACTS)
    seed(stage, 120)
    untagged: dict[str, list[str]] = {f"u{n}": [] for n in range(1, 121)}
    members(stage, **untagged)
    stage.sync()
    # A tag is asked for again in each batch of fifty.
    some = {f"u{n}": [["quiet"], ["new"], ["quiet", "new"]][n % 3] for n in range(1, 101)}
    stage.users(dict.fromkeys(untagged, "free"), audiences=untagged | some)
    with stage.context() as context:
        estimated = planned(context, "m", "r1").run.planned.calls
        stage.calls()
        assert deliver_mapping(context, "r1", context.mappings["m"]) is None
    assert estimated == stage.calls()
    assert estimated > 120 + 4


def test_a_record_that_entered_before_a_crash_and_left_after_it_has_no_tag(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Killed

    stage.mapping("m", CONTACTS)
    seed(stage, 2)
    members(stage, u1=[], u2=["quiet"])
    stage.sync()
    members(stage, u1=["quiet"], u2=["quiet"])
    with monkeypatch.context() as patch:
        for name in ("save_outcomes", "finish_batch"):
            patch.setattr(Ledger, name, die)
        with pytest.raises(Killed):
            stage.sync()
    assert set(tags(stage)) == {"u1", "u2"}
    members(stage, u1=[], u2=["quiet"])
    stage.sync()
    assert tags(stage) == {"u2": ["Quiet ones"]}
    stage.calls()
    stage.sync()
    assert stage.calls() == 0


def test_a_record_whose_attribute_was_rejected_loses_its_tag_when_it_leaves(stage: Stage) -> None:
    stage.mapping("m", CONTACTS)
    seed(stage, 1)
    audiences = {"u1": ["quiet"]}
    stage.users({"u1": "pro"}, audiences=audiences)
    stage.sandbox.seed(
        {"intercom": {"contacts": [{"id": "c1", "external_id": "u1"}]},
         "fields": {"intercom": {"contacts": {"tier": {"type": "integer"}}}}}
    )  # fmt: skip
    assert stage.sync().outcomes == {"rejected": 1}
    assert tags(stage) == {"u1": ["Quiet ones"]}
    stage.users({"u1": None}, audiences={"u1": []})
    assert stage.sync().outcomes == {"delivered": 1}
    assert tags(stage) == {}


def test_a_record_that_leaves_the_mapping_loses_its_tags_only_with_on_exit_clear(
    stage: Stage,
) -> None:
    for policy, left in (("clear", {}), ("keep", {"u1": ["Quiet ones"]})):
        stage.mapping("m", CONTACTS + f"audience: all_active\non_exit: {policy}\n")
        seed(stage, 2)
        members(stage, u1=["all_active", "quiet"], u2=["all_active"])
        stage.sync(scope=Scope(everything=True))
        assert tags(stage) == {"u1": ["Quiet ones"]}
        members(stage, u1=["quiet"], u2=["all_active"])
        stage.sync()
        assert tags(stage) == left


def test_sending_everything_tags_all_members_and_removes_no_tag_from_others(stage: Stage) -> None:
    stage.mapping("m", CONTACTS)
    seed(stage, 2)
    members(stage, u1=["quiet"], u2=[])
    stage.sync()
    seed(stage, 2)
    stage.calls()
    assert stage.sync(scope=Scope(everything=True)).outcomes == {"delivered": 2}
    assert tags(stage) == {"u1": ["Quiet ones"]}
    assert stage.calls() == 3


def test_the_tag_of_a_removed_built_in_audience_stays(stage: Stage) -> None:
    stage.mapping("m", CONTACTS)
    seed(stage, 1)
    members(stage, u1=["quiet"])
    stage.sync()
    stage.mappings[AUDIENCES] = OWN.replace("Quiet ones", "Calm ones")
    stage.sync()
    assert tags(stage) == {"u1": ["Calm ones", "Quiet ones"]}


def test_tags_are_neither_created_nor_reported_as_missing_fields(stage: Stage) -> None:
    stage.mapping("m", CONTACTS + "create_fields: true\n")
    stage.sandbox.seed({"intercom": {"contacts": [{"id": "c1", "external_id": "u1"}]}})
    members(stage, u1=["quiet"])
    with stage.context() as context:
        found = live_check.check_mapping(context, context.mappings["m"])
        assert (found.problems, found.compared) == ((), 3)
        assert not any("tag:" in note for note in found.notes)
        assert [new.name for new in planned(context, "m", "r1", release=False).run.planned.new_fields] == [
            "tier"
        ]
    stage.sync()
    assert set(stage.sandbox.state()["fields"]["intercom"]["contacts"]) == {"tier"}
    assert tags(stage) == {"u1": ["Quiet ones"]}


def test_a_tag_is_planned_and_explained_like_a_field(stage: Stage) -> None:
    stage.mapping("m", CONTACTS)
    seed(stage, 1)
    members(stage, u1=["quiet"])
    with stage.context() as context:
        plan = preview(context, PlanRequest(context.mappings["m"], "r1", DAY, show=9), no_progress)
        (change,) = [row.change for row in plan.shown]
        assert (change.fields["tag:Quiet ones"], change.before["tag:Quiet ones"]) == (True, False)
        (payload,) = explain.desired_records(context, "user", "u1", DAY)
        assert (payload.wants["tag:Quiet ones"], payload.wants["tag:New"]) == (True, False)


def held(stage: Stage, name: str = "tier") -> dict[str, Any]:
    """An attribute of every contact, by our key."""
    contacts = stage.sandbox.state()["intercom"]["contacts"]
    return {each["external_id"]: each["custom_attributes"].get(name) for each in contacts}


def test_a_record_that_leaves_after_a_crash_loses_its_tag(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Killed

    stage.mapping("m", CONTACTS + "audience: all_active\non_exit: clear\n")
    seed(stage, 2)
    members(stage, u1=["all_active"], u2=["all_active"])
    stage.sync()
    members(stage, u1=["all_active", "quiet"], u2=["all_active"])
    with monkeypatch.context() as patch:
        for name in ("save_outcomes", "finish_batch"):
            patch.setattr(Ledger, name, die)
        with pytest.raises(Killed):
            stage.sync()
    assert tags(stage) == {"u1": ["Quiet ones"]}
    members(stage, u1=["quiet"], u2=["all_active"])
    stage.sync()
    assert (held(stage)["u1"], tags(stage)) == (None, {})
    stage.calls()
    stage.sync()
    assert stage.calls() == 0


def refusing(stage: Stage) -> None:
    """Two contacts, whose attribute `tier` takes only numbers."""
    fields = {"tier": {"type": "integer"}, "mail": {"type": "string"}}
    contacts = [{"id": f"c{n}", "external_id": f"u{n}"} for n in (1, 2)]
    stage.sandbox.seed({"intercom": {"contacts": contacts}, "fields": {"intercom": {"contacts": fields}}})


def test_a_record_that_leaves_after_a_rejected_attribute_loses_its_other_values(stage: Stage) -> None:
    stage.mapping("m", CONTACTS + "audience: all_active\non_exit: clear\n")
    refusing(stage)
    both = {"u1": ["all_active", "quiet"], "u2": ["all_active"]}
    stage.users({"u1": "pro", "u2": None}, audiences=both)
    assert stage.sync().outcomes == {"rejected": 1}
    assert tags(stage) == {"u1": ["Quiet ones"]}
    stage.users({"u1": "pro", "u2": None}, audiences={"u1": [], "u2": ["all_active"]})
    stage.sync()
    assert tags(stage) == {}


def test_a_rejection_in_one_mapping_does_not_stop_another_from_clearing(stage: Stage) -> None:
    other = "destination: intercom\nobject: contacts\nfields: {mail: user.email}\n"
    stage.mapping("a", other + "audience: all_active\non_exit: clear\n")
    stage.mapping("m", CONTACTS)
    refusing(stage)
    untagged = {"u1": None, "u2": None}
    stage.users(untagged, audiences={"u1": ["all_active"], "u2": ["all_active"]})
    stage.sync()
    assert held(stage, "mail")["u1"] == "u1@x.com"
    stage.users(untagged | {"u1": "pro"}, audiences={"u1": ["all_active", "quiet"], "u2": ["all_active"]})
    assert stage.sync().mappings["m"]["outcomes"]["rejected"] == 1
    stage.users(untagged | {"u1": "pro"}, audiences={"u1": ["quiet"], "u2": ["all_active"]})
    stage.sync()
    assert held(stage, "mail")["u1"] is None
