"""A process that dies in the middle of a delivery: nothing lost, nothing doubled."""

import os
import pty
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_workspace import END, HEATSYNC, CliWorkspace, calls, create_workspace
from forked_cli import ForkedCli
from forked_workspace import ForkedWorkspace
from test_daily_job import plain, users

from heatsync.sandbox.server import Running, running

UPSERT = """\
version: 1
destination: {destination}
object: {object}
profile: health
match: {match}
mode: upsert
create_fields: true
fields: {fields}
"""


@pytest.fixture(scope="module")
def slow_sandbox() -> Iterator[Running]:
    """Destinations that answer slowly enough for a process to be stopped in between."""
    with running(quotas=False, latency_ms=40) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def scored(
    tmp_path_factory: pytest.TempPathFactory, slow_sandbox: Running, fork: ForkedCli
) -> ForkedWorkspace:
    """A workspace whose snapshot is made already, never synced itself."""
    folder = tmp_path_factory.mktemp("scored") / "w"
    create_workspace(folder, slow_sandbox, users=150, days=12)
    created = ForkedWorkspace(folder, slow_sandbox, fork=fork)
    answer = created.run("score", "--date", END.isoformat())
    assert answer.code == 0, answer.err
    return created


@pytest.fixture
def workspace(scored: ForkedWorkspace, tmp_path: Path) -> ForkedWorkspace:
    """A copy of it, with empty destinations."""
    scored.sandbox.clear()
    return scored.copy(tmp_path / "w")


def wait_for(condition: object, process: object, patience: float = 120.0) -> None:
    until = time.monotonic() + patience
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()  # type: ignore[attr-defined]
        assert time.monotonic() < until
        time.sleep(0.03)


def noted(workspace: CliWorkspace) -> dict[str, int]:
    """What the ledger has of the newest run, of the only mapping."""
    (run, *_) = workspace.run("runs", "--json").json
    outcomes = workspace.run("show", run["run"], "--json").mapping(run["mapping"])["outcomes"]
    return {status: outcomes[status] for status in ("delivered", "deferred", "unknown")}


def delivered(workspace: CliWorkspace) -> int:
    """Contacts in Intercom that hold our value."""
    return sum(
        bool(c["custom_attributes"].get("heatsync_role"))
        for c in workspace.sandbox.state()["intercom"]["contacts"]
    )


@pytest.mark.parametrize(
    "how",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.long),
        pytest.param(signal.SIGINT, marks=pytest.mark.long),
    ],
)
def test_a_stopped_sync_is_completed_by_the_next_one(workspace: CliWorkspace, how: signal.Signals) -> None:
    plain(workspace)
    people = users(workspace)
    with workspace.start("sync", "--date", END.isoformat(), "--yes", "--json") as process:
        wait_for(lambda: delivered(workspace) >= 10, process)
        process.send_signal(how)
        process.communicate(timeout=60)
    assert process.returncode != 0
    cut = delivered(workspace)
    assert cut >= 10
    again = workspace.sync("--yes")
    assert again.code == 0, again.out + again.err
    state = workspace.sandbox.state()
    roles = {person["user_id"]: person["role"] for person in people}
    emails = {person["email"].lower(): person["role"] for person in people}
    assert {
        c["external_id"]: c["custom_attributes"]["heatsync_role"] for c in state["intercom"]["contacts"]
    } == roles
    assert {u: traits["heatsync_role"] for u, traits in state["segment"]["users"].items()} == roles
    assert {
        c["properties"]["email"]: c["properties"]["heatsync_role"] for c in state["hubspot"]["contacts"]
    } == emails
    assert {c["Email"].lower(): c["Heatsync_Role__c"] for c in state["salesforce"]["Contact"]} == emails
    workspace.sandbox.reset_stats()
    assert workspace.sync().code == 0
    assert calls(workspace.sandbox) == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_a_stopped_sync_waits_for_calls_in_flight_and_says_what_happens_to_the_rest(
    workspace: CliWorkspace, how: signal.Signals
) -> None:
    plain(workspace)
    workspace.only("intercom-contacts")
    people = len(users(workspace))
    with workspace.start("sync", "--date", END.isoformat(), "--yes") as process:
        wait_for(lambda: delivered(workspace) >= 10, process)
        process.send_signal(how)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped. Outcomes so far are stored." in said
    assert "Traceback" not in said
    cut = delivered(workspace)
    # There is a thread for each fifty, and each has much left to do.
    assert cut < people / 2
    assert noted(workspace) == {"delivered": cut, "deferred": people - cut, "unknown": 0}
    assert workspace.sync("--yes").code == 0
    assert noted(workspace) == {"delivered": people - cut, "deferred": 0, "unknown": 0}


def test_an_interrupt_ends_a_sync_that_waits_for_approval(workspace: CliWorkspace) -> None:
    plain(workspace)
    workspace.only("segment-users")
    ours, theirs = pty.openpty()
    command = [HEATSYNC, "sync", "--date", END.isoformat()]
    with (
        open(ours, "rb", buffering=0) as screen,
        subprocess.Popen(
            command, env=workspace.environ, stdin=theirs, stdout=theirs, stderr=theirs
        ) as process,
    ):
        os.close(theirs)
        said = b""
        while b"Send it?" not in said:
            said += screen.read(4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert not workspace.sandbox.state()["segment"]["users"]


def test_records_created_by_a_killed_sync_are_not_created_twice(workspace: CliWorkspace) -> None:
    workspace.only("hubspot-contacts", "intercom-contacts", "hubspot-companies", "segment-users")
    for name, object, match, fields in [
        ("hubspot-contacts", "contacts", "{email: email}", "{firstname: user.name}"),
        ("hubspot-companies", "companies", "{domain: domain}", "{name: account.name}"),
        ("intercom-contacts", "contacts", "{external_id: user_id}", "{name: user.name}"),
    ]:
        workspace.write(
            f"mappings/{name}.yml",
            UPSERT.format(destination=name.split("-")[0], object=object, match=match, fields=fields),
        )
    with workspace.start("sync", "--date", END.isoformat(), "--yes") as process:
        wait_for(lambda: len(workspace.sandbox.state()["intercom"]["contacts"]) >= 10, process)
        process.kill()
        process.communicate(timeout=60)
    assert workspace.sync("--yes").code in (0, 1)
    state = workspace.sandbox.state()
    people = users(workspace)
    emails = Counter(c["properties"]["email"] for c in state["hubspot"]["contacts"])
    assert emails == Counter(person["email"].lower() for person in people)
    ids = Counter(c["external_id"] for c in state["intercom"]["contacts"])
    assert set(ids) >= {person["user_id"] for person in people}
    assert set(ids.values()) == {1}
    domains = Counter(c["properties"]["domain"] for c in state["hubspot"]["companies"])
    assert domains
    assert set(domains.values()) == {1}


def test_a_message_repeated_after_a_crash_has_the_same_id(workspace: CliWorkspace) -> None:
    plain(workspace)
    workspace.only("segment-users")

    def handed_over(sandbox: Running) -> int:
        return sum("heatsync_role" in traits for traits in sandbox.state()["segment"]["users"].values())

    with workspace.start("sync", "--date", END.isoformat(), "--yes") as process:
        wait_for(lambda: handed_over(workspace.sandbox) > 0, process)
        process.kill()  # the answer may or may not have come to the ledger
        process.communicate(timeout=60)
    assert workspace.sync("--yes").code == 0
    stats = workspace.sandbox.stats()["segment"]
    people = len(users(workspace))
    assert handed_over(workspace.sandbox) == people
    assert stats["records"] - stats["duplicates"] == people
