"""Audiences as a person uses them: listed by a command, and part of what a mapping means."""

import csv
import io
from datetime import timedelta
from pathlib import Path

import pytest
from cli_workspace import END
from forked_workspace import ForkedWorkspace, assert_refused, rows

OWN = """\
version: 1
quiet:
  name: Quiet ones
  entity: user
  profile: health
  where: {trait: score, lt: 50}
"""
LIMITED = """\
version: 1
profile: health
destination: hubspot
object: contacts
audience: quiet
on_exit: keep
match: {email: email}
create_fields: true
fields: {heatsync_role: user.role}
"""
TAGGED = """\
version: 1
profile: health
destination: intercom
object: contacts
tags: audiences
"""
FILE = "mappings/audiences/own.yml"


@pytest.fixture(scope="module")
def scored_once(small: ForkedWorkspace, tmp_path_factory: pytest.TempPathFactory) -> ForkedWorkspace:
    created = small.copy(tmp_path_factory.mktemp("audiences") / "w")
    created.write(FILE, OWN)
    assert created.run("score", "--date", END.isoformat()).code == 0
    return created


@pytest.fixture
def scored(scored_once: ForkedWorkspace, tmp_path: Path) -> ForkedWorkspace:
    """A workspace whose snapshot knows the audience of OWN."""
    return scored_once.copy(tmp_path / "w")


def test_an_audience_is_listed_for_people_as_csv_and_as_json(scored: ForkedWorkspace) -> None:
    answer = scored.run("audience", "quiet", "--json").json
    assert (answer["audience"], answer["name"], answer["profile"]) == ("quiet", "Quiet ones", "health")
    assert (answer["entity"], answer["date"], answer["count"]) == (
        "user",
        END.isoformat(),
        len(answer["members"]),
    )
    assert (answer["since"], answer["entered"], answer["left"]) == (None, None, None)
    emails = {user["user_id"]: user["email"] for user in rows(scored)}
    assert answer["members"]
    for member in answer["members"]:
        assert list(member) == ["user_id", "name", "email", "score", "level"]
        assert member["email"] == emails.get(member["user_id"])
        assert member["score"] < 50
        assert member["level"] == "Low"
    listed = scored.run("audience", "quiet", "--csv")
    assert listed.code == 0
    assert list(csv.DictReader(io.StringIO(listed.out))) == [
        {name: "" if value is None else str(value) for name, value in member.items()}
        for member in answer["members"]
    ]
    shown = scored.run("audience", "quiet")
    assert shown.code == 0
    assert f"{answer['count']} users are in Quiet ones (health) on {END}." in shown.out
    assert f"Entries and exits are unknown: {END - timedelta(days=1)} was not scored." in shown.out
    assert all(member["user_id"] in shown.out for member in answer["members"])


def test_an_empty_audience_says_so(scored: ForkedWorkspace) -> None:
    scored.replace(FILE, "lt: 50", "lt: 0")
    assert scored.run("score", "--date", END.isoformat()).code == 0
    assert scored.run("audience", "quiet").out.startswith("0 users are in Quiet ones (health)")
    assert scored.run("audience", "quiet", "--json").json["members"] == []
    assert scored.run("audience", "quiet", "--csv").out.splitlines() == ["user_id,name,email,score,level"]


def test_an_audience_that_cannot_be_listed_exits_with_2_and_a_message(scored: ForkedWorkspace) -> None:
    assert_refused(scored.run("audience", "quite"), 2, "did you mean `quiet`?")
    assert_refused(scored.run("audience", "mature"), 2, "--entity user or --entity account")
    assert_refused(scored.run("audience", "quiet", "--csv", "--json"), 2, "either --csv or --json")
    assert_refused(scored.run("audience", "quiet", "--entity", "team"), 2, "--entity must be user or account")
    assert_refused(scored.run("audience", "quiet", "--date", "2026-02-30"), 2, "--date: expected a day")
    scored.write("mappings/profiles/new.yml", (scored.folder / "mappings/profiles/health.yml").read_text())
    assert_refused(
        scored.run("audience", "mature", "--entity", "user", "--profile", "new"), 2, "run `heatsync score`"
    )


def test_another_condition_of_the_audience_holds_the_next_run_of_its_mapping(live: ForkedWorkspace) -> None:
    live.write(FILE, OWN)
    live.write("mappings/hubspot-contacts.yml", LIMITED)
    assert live.sync("--yes").code == 0
    live.replace(FILE, "name: Quiet ones", "name: The quiet")
    assert live.sync().code == 0
    live.replace(FILE, "lt: 50", "lte: 100")
    held = live.sync()
    assert held.code == 4
    assert "definition changed" in held.mapping("hubspot-contacts")["cause"]
    assert live.sync("--yes").code == 0


def test_members_of_an_audience_have_its_tag_in_intercom_until_they_leave_it(live: ForkedWorkspace) -> None:
    live.write(FILE, OWN)
    live.write("mappings/intercom-contacts.yml", TAGGED)
    live.only("intercom-contacts")
    people = [{"id": f"c{n}", "external_id": row["user_id"]} for n, row in enumerate(rows(live))]
    live.sandbox.seed({"intercom": {"contacts": people}})
    assert live.run("check").code == live.run("check", "--live").code == 0
    synced = live.sync("--yes")
    assert synced.code == 0, synced.err

    def tagged() -> set[str]:
        contacts = live.sandbox.state()["intercom"]["contacts"]
        return {each["external_id"] for each in contacts if "Quiet ones" in each.get("tags", ())}

    listed = {member["user_id"] for member in live.run("audience", "quiet", "--json").json["members"]}
    # Some are only known by their events, and not to Intercom.
    members = listed & {each["external_id"] for each in people}
    assert tagged() == members != set()
    again = live.sync().mapping("intercom-contacts")
    assert (again["calls"], again["planned"]["changed"]) == (0, 0)
    live.replace(FILE, "lt: 50", "lt: 0")
    assert live.sync().code == 4
    assert tagged() == members
    assert live.sync("--yes").code == 0
    assert tagged() == set()
    key = members.pop()
    assert "tag:Quiet ones" in live.run("explain", key).out
    live.write("mappings/intercom-contacts.yml", TAGGED.replace("audiences", "segments"))
    assert_refused(
        live.run("check"), 2, "mappings/intercom-contacts.yml:5:7: expected audiences; found `segments`"
    )


def test_a_change_of_profile_that_moves_many_levels_is_held(live: ForkedWorkspace) -> None:
    live.write(
        "mappings/hubspot-contacts.yml",
        LIMITED.replace("audience: quiet\non_exit: keep\n", "").replace("user.role", "level"),
    )
    before = (END - timedelta(days=1)).isoformat()
    assert live.run("sync", "--date", before, "--yes").code == 0
    assert live.sync().code == 0
    live.replace("mappings/profiles/health.yml", "{Low: 0, High: 50}", "{Low: 0, Fair: 2, High: 50}")
    held = live.sync()
    assert held.code == 4
    assert "moved to another level in a day" in held.mapping("hubspot-contacts")["cause"]


def test_notes_of_scoring_are_printed_by_score_plan_and_sync(scored: ForkedWorkspace) -> None:
    scored.write(
        FILE, OWN + "unpaid: {entity: user, profile: health, where: {not: {trait: user.phone, eq: '1'}}}\n"
    )
    people = rows(scored)
    lines = ["user_id,email,role,name,account_id,phone"]
    lines += [f"{each['user_id']},{each['email']},{each['role']},x,{each['account_id']}," for each in people]
    scored.write("data/users.csv", "\n".join(lines) + "\n")
    scored.write(
        "mappings/profiles/habit.yml",
        "version: 1\nname: Habit\nmodel: engagement\nlevels: churn\nevents: [{event: Report Created}]\n",
    )
    said = [
        f"{FILE}:7:1: `unpaid`",
        "`user.phone` is missing for 30 of the users",
        "mappings/profiles/habit.yml: the levels of users use a fallback",
    ]
    day = ["--date", END.isoformat()]
    for command in (["score", *day], ["plan", *day], ["sync", *day], ["plan", *day, "--json"]):
        answer = scored.run(*command)
        for part in said:
            assert part in answer.err, (command, part, answer.err)
        assert answer.err.count("`unpaid`") == 1
    notes = scored.run("score", *day, "--json").json["notes"]
    assert [sum(part in note for note in notes) for part in (said[0], said[2])] == [1, 1]
