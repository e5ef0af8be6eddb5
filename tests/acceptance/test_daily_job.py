"""The daily job as a person runs it: real commands, a real ledger, the four destinations simulated."""

import csv
import math
from pathlib import Path

import duckdb
import pytest
from cli_workspace import END, CliWorkspace, calls, create_workspace
from forked_cli import ForkedCli
from forked_workspace import ForkedWorkspace

from heatsync.sandbox.demo_data import crm
from heatsync.sandbox.server import Running

PLAIN = {
    "hubspot-contacts": "destination: hubspot\nobject: contacts\nmatch: {email: email}\ncreate_fields: true\n"
    "fields: {heatsync_role: user.role, heatsync_name: user.name, heatsync_plan: account.plan}",
    "intercom-contacts": "destination: intercom\nobject: contacts\nmatch: {external_id: user_id}\ncreate_fields: true\n"
    "fields: {heatsync_role: user.role, heatsync_name: user.name}",
    "segment-users": "destination: segment\nobject: users\n"
    "fields: {heatsync_role: user.role, heatsync_name: user.name}",
    "salesforce-contacts": "destination: salesforce\nobject: Contact\nmatch: {Email: email}\n"
    "fields: {Heatsync_Role__c: user.role, Heatsync_Name__c: user.name}",
}
"""Mappings of users to all four destinations whose values are columns: one user can change without any other."""


@pytest.fixture(scope="module")
def scored(
    tmp_path_factory: pytest.TempPathFactory, sandbox_server: Running, fork: ForkedCli
) -> ForkedWorkspace:
    """A workspace whose snapshot is made already, never synced itself."""
    folder = tmp_path_factory.mktemp("scored") / "w"
    create_workspace(folder, sandbox_server, days=60)
    created = ForkedWorkspace(folder, sandbox_server, fork=fork)
    answer = created.run("score", "--date", END.isoformat())
    assert answer.code == 0, answer.err
    return created


@pytest.fixture
def workspace(scored: ForkedWorkspace, tmp_path: Path, sandbox: Running) -> ForkedWorkspace:
    """A copy of it, and the records of its people at the destinations."""
    sandbox.seed(crm.state(scored.folder / "data"))
    return scored.copy(tmp_path / "w", sandbox)


def with_token(workspace: ForkedWorkspace, token: str) -> ForkedWorkspace:
    """The same workspace with other credentials."""
    return ForkedWorkspace(workspace.folder, workspace.sandbox, token, fork=workspace.fork)


def plain(workspace: CliWorkspace) -> None:
    """Put the mappings of PLAIN in the place of the demo's; every contact exists everywhere."""
    workspace.only(*PLAIN)
    for name, text in PLAIN.items():
        workspace.write(f"mappings/{name}.yml", f"version: 1\nprofile: health\n{text}\n")
    people = users(workspace)
    contact = {"type": "string", "length": 255}
    workspace.sandbox.seed(
        {
            "hubspot": {
                "contacts": [
                    {"id": str(n), "properties": {"email": u["email"]}} for n, u in enumerate(people, 101)
                ]
            },
            "intercom": {
                "contacts": [
                    {"id": f"i{n}", "external_id": u["user_id"], "email": u["email"], "custom_attributes": {}}
                    for n, u in enumerate(people)
                ]
            },
            "segment": {"users": {}, "groups": {}},
            "salesforce": {
                "Contact": [
                    {"Id": f"003{n:012d}AAA", "LastName": "x", "Email": u["email"]}
                    for n, u in enumerate(people, 1)
                ]
            },
            "fields": {"salesforce": {"Contact": {"Heatsync_Role__c": contact, "Heatsync_Name__c": contact}}},
        }
    )


def users(workspace: CliWorkspace) -> list[dict[str, str]]:
    with (workspace.folder / "data/users.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_users(workspace: CliWorkspace, people: list[dict[str, str]]) -> None:
    with (workspace.folder / "data/users.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, people[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(people)


def endpoints(workspace: CliWorkspace) -> dict[str, int]:
    """How often each endpoint was called."""
    return {
        f"{destination} {endpoint}": counts["calls"]
        for destination, stats in workspace.sandbox.stats().items()
        for endpoint, counts in stats["endpoints"].items()
    }


def same(have: object, want: object) -> bool:
    """Whether HubSpot's text is our value."""
    if isinstance(want, bool) or want is None:
        return (have or "") == ("" if want is None else str(want).lower())
    return float(str(have)) == want if isinstance(want, int | float) else have == want


def written(workspace: CliWorkspace) -> int:
    """Calls that change something at a destination."""
    reads = ("search", "read", "query", "describe", "token", "GET")
    return sum(
        n for endpoint, n in endpoints(workspace).items() if not any(read in endpoint for read in reads)
    )


def test_an_unattended_first_run_is_held_sends_nothing_and_approve_releases_what_was_shown(
    workspace: ForkedWorkspace,
) -> None:
    before = workspace.sandbox.state()
    held = workspace.sync()
    assert held.code == 4, held.err
    assert {mapping["state"] for mapping in held.json["mappings"]} <= {"held", "done"}
    assert written(workspace) == 0, endpoints(workspace)
    assert workspace.sandbox.state() == before
    run = held.json["run"]
    shown = {
        mapping["mapping"]: {change["key"]: change["fields"] for change in mapping["changes"]}
        for mapping in workspace.run("show", run, "--show", "100000", "--json").json["mappings"]
    }
    # Whatever happens to the data in the meantime, what was shown is what goes.
    people = users(workspace)
    for person in people:
        person["email"] = "x" + person["email"]
    write_users(workspace, people)
    approved = workspace.run("approve", run, "--json")
    assert approved.code in (0, 1), approved.out + approved.err
    delivered = {m["mapping"]: m["outcomes"]["delivered"] for m in approved.json["mappings"]}
    assert delivered == {name: len(changes) for name, changes in shown.items() if name in delivered}
    contacts = {
        c["properties"]["email"]: c["properties"] for c in workspace.sandbox.state()["hubspot"]["contacts"]
    }
    by_id = {person["user_id"]: person["email"][1:].lower() for person in people}
    for key, fields in shown["hubspot-contacts"].items():
        for name, change in fields.items():
            assert same(contacts[by_id[key]].get(name), change["new"]), (key, name)
    assert workspace.run("approve", run).code == 2  # there is nothing left to approve


def test_a_cancelled_run_sends_nothing(workspace: ForkedWorkspace) -> None:
    run = workspace.sync().json["run"]
    assert workspace.run("cancel", run).code == 0
    assert workspace.run("approve", run).code == 2
    assert written(workspace) == 0
    assert {row["state"] for row in workspace.run("runs", "--json").json} <= {"cancelled", "done"}


def test_the_second_sync_on_unchanged_data_makes_no_call_at_all(workspace: ForkedWorkspace) -> None:
    first = workspace.sync("--yes")
    assert first.code in (0, 1), first.err
    assert first.json["state"] == "done"
    workspace.sandbox.reset_stats()
    second = workspace.sync("--yes")
    assert second.code == 0, second.out
    assert calls(workspace.sandbox) == 0, endpoints(workspace)
    assert sum(mapping["calls"] for mapping in second.json["mappings"]) == 0
    for mapping in second.json["mappings"]:
        assert set(mapping["outcomes"].values()) == {0}


def test_calls_are_counted_as_the_sandbox_counts_them(workspace: ForkedWorkspace) -> None:
    first = workspace.sync("--yes")
    assert sum(mapping["calls"] for mapping in first.json["mappings"]) == calls(workspace.sandbox)


def test_after_one_percent_of_the_users_changed_exactly_these_are_written_in_the_fewest_calls(
    workspace: ForkedWorkspace,
) -> None:
    (first, *_) = users(workspace)
    people = [first | {"user_id": f"u{n}", "email": f"u{n}@x.example"} for n in range(300)]
    write_users(workspace, people)
    plain(workspace)
    assert workspace.sync("--yes").code == 0
    changed = people[::100]
    assert len(changed) == len(people) // 100
    for person in changed:
        person["role"] = "astronaut"
    write_users(workspace, people)
    before = workspace.sandbox.state()
    workspace.sandbox.reset_stats()
    again = workspace.sync()
    assert again.code == 0, again.err
    stats = workspace.sandbox.stats()
    number = len(changed)
    assert stats["hubspot"]["calls"] == math.ceil(number / 100)
    assert stats["salesforce"]["calls"] == math.ceil(number / 200) + 1  # and one for the access token
    assert stats["segment"]["calls"] == 1
    assert stats["intercom"]["calls"] == number
    for destination in stats.values():
        assert destination["records"] in (number, number + 1), stats
    for mapping in again.json["mappings"]:
        assert mapping["planned"]["changed"] == number
        assert mapping["outcomes"]["delivered"] == number
        shown = workspace.run("show", again.json["run"], "--json").json
    fields = {name for m in shown["mappings"] for change in m["changes"] for name in change["fields"]}
    assert fields == {"heatsync_role", "Heatsync_Role__c"}
    emails = {person["email"].lower() for person in changed}
    after = workspace.sandbox.state()
    moved = {
        new["properties"]["email"].lower()
        for old, new in zip(before["hubspot"]["contacts"], after["hubspot"]["contacts"], strict=True)
        if old["properties"].get("heatsync_role") != new["properties"].get("heatsync_role")
    }
    assert moved == emails


def test_with_the_token_of_another_portal_nothing_counts_as_delivered(workspace: ForkedWorkspace) -> None:
    workspace.only("hubspot-contacts", "salesforce-accounts", "intercom-companies")
    assert workspace.sync("--yes").code in (0, 1)
    workspace.sandbox.seed(crm.state(workspace.folder / "data"), account="acme")
    other = with_token(workspace, "acme:t")
    held = other.sync()
    assert held.code == 4
    assert all(mapping["planned"]["entered"] > 0 for mapping in held.json["mappings"])
    sent = other.sync("--yes")
    assert sent.json["state"] == "done"
    assert all(mapping["outcomes"]["delivered"] > 0 for mapping in sent.json["mappings"])
    workspace.sandbox.reset_stats()
    assert workspace.sync().code == 0
    assert calls(workspace.sandbox) == 0


def test_refused_credentials_pause_the_mapping_and_new_ones_resume_it(workspace: ForkedWorkspace) -> None:
    workspace.only("hubspot-contacts")
    refused = with_token(workspace, "refused").sync("--yes")
    assert refused.code == 3
    assert "refused" in refused.json["mappings"][0]["cause"]
    assert workspace.sync("--yes").code in (0, 1)


def test_a_paused_mapping_sends_nothing_until_it_is_resumed(workspace: ForkedWorkspace) -> None:
    workspace.only("hubspot-contacts")
    assert workspace.run("pause", "hubspot-contacts").code == 0
    assert workspace.sync("--yes").mapping("hubspot-contacts")["state"] == "paused"
    assert calls(workspace.sandbox) == 0
    assert workspace.run("resume", "hubspot-contacts").code == 0
    assert workspace.sync("--yes").mapping("hubspot-contacts")["state"] == "done"


def test_a_plan_sends_nothing_stores_nothing_and_predicts_the_sync(
    workspace: ForkedWorkspace,
) -> None:
    planned = workspace.run("plan", "--date", END.isoformat(), "--show", "3", "--json")
    assert planned.code == 0, planned.err
    assert written(workspace) == 0
    done = workspace.sync("--yes")
    for before in planned.json["mappings"]:
        after = done.mapping(before["mapping"])
        assert before["planned"] == after["planned"]
        assert before["unmatched"] == after["unmatched"]
        assert len(before["changes"]) <= 3


def test_only_sends_one_key_and_no_record_leaves(workspace: ForkedWorkspace) -> None:
    workspace.only("segment-users")
    one = users(workspace)[0]["user_id"]
    assert workspace.sync("--yes", "--only", one).mapping("segment-users")["outcomes"]["delivered"] == 1
    assert list(workspace.sandbox.state()["segment"]["users"]) == [one]
    limited = workspace.sync("--yes", "--limit", "5").mapping("segment-users")
    assert limited["outcomes"]["delivered"] == 5
    assert limited["planned"]["left"] == 0


def test_a_mapping_whose_definition_changed_is_held_again(workspace: ForkedWorkspace) -> None:
    plain(workspace)
    workspace.only("hubspot-contacts")
    assert workspace.sync("--yes").code == 0
    path = workspace.folder / "mappings/hubspot-contacts.yml"
    text = path.read_text()
    path.write_text("# a comment is no change\n" + text)
    assert workspace.sync().code == 0
    path.write_text(text.replace("heatsync_role: user.role", "heatsync_role: user.name"))
    held = workspace.sync()
    assert held.code == 4
    assert "definition changed" in held.mapping("hubspot-contacts")["cause"]


def test_a_record_that_leaves_the_audience_is_cleared_and_none_is_deleted(workspace: ForkedWorkspace) -> None:
    plain(workspace)
    workspace.only("hubspot-contacts")
    workspace.write(
        "mappings/hubspot-contacts.yml",
        "version: 1\nprofile: health\ndestination: hubspot\nobject: contacts\nmatch: {email: email}\n"
        "create_fields: true\naudience: all_active\non_exit: clear\nfields: {heatsync_score: score}\n",
    )
    workspace.write(
        "heatsync.yml",
        (workspace.folder / "heatsync.yml").read_text()
        + "\nguards: {max_clear_share: 100, max_shrink_share: 100}\n",
    )
    assert workspace.sync("--yes").code == 0
    scored = [
        c for c in workspace.sandbox.state()["hubspot"]["contacts"] if c["properties"].get("heatsync_score")
    ]
    assert scored
    with duckdb.connect() as con:  # the same people, and nothing happened for a long time
        con.execute(
            f"CREATE TABLE e AS SELECT * FROM '{workspace.folder}/data/events.parquet' ORDER BY timestamp LIMIT 50"
        )
        con.execute(f"COPY e TO '{workspace.folder}/data/events.parquet' (FORMAT parquet)")
    left = workspace.sync("--yes")
    assert left.mapping("hubspot-contacts")["planned"]["left"] == len(scored)
    contacts = workspace.sandbox.state()["hubspot"]["contacts"]
    assert len(contacts) == len(users(workspace))
    assert not any(contact["properties"].get("heatsync_score") for contact in contacts)


def test_failures_list_the_cause_and_the_remedy(workspace: ForkedWorkspace) -> None:
    plain(workspace)
    workspace.only("hubspot-contacts")
    people = users(workspace)
    people[1]["email"] = people[0]["email"].upper()
    write_users(workspace, people)
    done = workspace.sync("--yes")
    assert done.code == 1
    (group,) = workspace.run("failures", "--json").json
    assert (group["code"], group["count"]) == ("duplicate_key", 2)
    assert group["cure"]
    assert {example["key"] for example in group["examples"]} == {people[0]["user_id"], people[1]["user_id"]}
    assert workspace.run("failures", "--csv").out.count("duplicate_key") == 2
    assert workspace.sync("--yes").code == 0  # rejected stays rejected, and is no news
