"""The members of an audience: the rows of the snapshot with its key, and the changes since the day before."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import leavers
import pytest

from connectors.errors import ConfigurationError
from heatsync.snapshots import audience_members
from heatsync.snapshots import run as snapshot_run
from heatsync.workspace import config
from heatsync.workspace.config import Workspace

BEFORE = leavers.DAY - timedelta(days=1)
AUDIENCES = """\
version: 1
lively:
  name: Lively
  entity: user
  profile: health
  where: {event: Comment Added, within: 1d}
big:
  entity: account
  profile: health
  where: {trait: active_users, gte: 3}
"""
FILE = "mappings/audiences/own.yml"


def write(folder: Path, audiences: str = AUDIENCES) -> Workspace:
    path = folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(audiences)
    return config.load(folder)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two days, by two profiles."""
    folder = leavers.write(
        tmp_path_factory.mktemp("world"), {"habit": leavers.HEALTH.replace("name: Health", "name: Habit")}
    )
    workspace = write(folder)
    snapshot_run.score(workspace, [BEFORE, leavers.DAY])
    return workspace


@pytest.fixture
def folder(scored: Workspace) -> Iterator[Path]:
    """The folder of the scored workspace; its files are restored."""
    kept = {path: path.read_text() for path in (scored.folder / "mappings").rglob("*.yml")}
    yield scored.folder
    for path, text in kept.items():
        path.write_text(text)


def members(
    workspace: Workspace, key: str, entity: str, day: object = leavers.DAY
) -> dict[str, tuple[int, str]]:
    path = workspace.snapshot_path("health", entity, day)  # type: ignore[arg-type]
    with duckdb.connect() as con:
        found = con.execute(
            f"SELECT {entity}_id, score, level FROM read_parquet(?) WHERE list_contains(audiences, ?)",
            [str(path), key],
        ).fetchall()
    return {name: (score, level) for name, score, level in found}


def listed(found: audience_members.AudienceMembers) -> list[tuple[object, ...]]:
    return [row for rows in found.rows() for row in rows]


def refusal(workspace: Workspace, key: str, profile: str | None = None, entity: str | None = None) -> str:
    with pytest.raises(ConfigurationError) as refused:
        audience_members.find(workspace, key, profile, entity, None)
    return str(refused.value)


def test_members_of_the_last_scored_day_have_names_addresses_scores_and_levels(scored: Workspace) -> None:
    found = audience_members.find(scored, "lively", None, None, None)
    there = members(scored, "lively", "user")
    assert (found.day, found.count) == (leavers.DAY, len(there))
    assert 10 < found.count < leavers.USERS
    assert found.columns == ("user_id", "name", "email", "score", "level")
    assert listed(found) == [(key, None, f"{key}@x.com", *there[key]) for key in sorted(there)]


def test_accounts_have_their_names(scored: Workspace) -> None:
    found = audience_members.find(scored, "big", None, None, None)
    there = members(scored, "big", "account")
    assert found.columns == ("account_id", "name", "domain", "score", "level")
    assert there
    assert listed(found) == [(key, key.upper(), None, *there[key]) for key in sorted(there)]


def test_members_that_entered_and_left_since_the_day_before_are_counted(scored: Workspace) -> None:
    found = audience_members.find(scored, "lively", None, None, None)
    now, then = members(scored, "lively", "user"), members(scored, "lively", "user", BEFORE)
    assert found.since == BEFORE
    assert (found.entered, found.left) == (len(now.keys() - then), len(then.keys() - now))
    assert found.entered
    assert found.left


def test_without_the_day_before_nothing_is_compared(scored: Workspace) -> None:
    found = audience_members.find(scored, "lively", None, None, BEFORE)
    assert found.count == len(members(scored, "lively", "user", BEFORE))
    assert (found.since, found.entered, found.left) == (None, None, None)
    assert found.not_compared == f"{BEFORE - timedelta(days=1)} was not scored"


def test_a_key_of_several_audiences_asks_for_entity_or_profile(scored: Workspace) -> None:
    assert refusal(scored, "most_engaged") == (
        "`most_engaged` is an audience of users and of accounts of several profiles: say which, with --entity user or"
        " account, and with --profile habit or health."
    )
    assert refusal(scored, "most_engaged", profile="health") == (
        "`most_engaged` is an audience of users and one of accounts: say which, with --entity user or --entity account."
    )
    assert refusal(scored, "most_engaged", entity="user") == (
        "`most_engaged` is an audience of several profiles: say which, with --profile habit or health."
    )
    found = audience_members.find(scored, "most_engaged", "habit", "account", None)
    assert (found.profile, found.audience.entity) == ("habit", "account")


def test_an_unknown_key_suggests_the_nearest_one(scored: Workspace) -> None:
    assert refusal(scored, "livly") == "There is no audience `livly`; did you mean `lively`?"
    assert (
        refusal(scored, "most_engagd") == "There is no audience `most_engagd`; did you mean `most_engaged`?"
    )
    assert "did you mean `health`?" in refusal(scored, "lively", profile="helth")


def test_an_audience_of_another_entity_or_profile_says_which(scored: Workspace) -> None:
    assert refusal(scored, "lively", entity="account") == (
        "`lively` is an audience of users of `health`: leave out --entity and --profile, or name one of these."
    )


def test_a_workspace_without_snapshots_says_what_to_run(tmp_path: Path) -> None:
    workspace = write(leavers.write(tmp_path))
    assert (
        refusal(workspace, "lively") == "`health` was not scored yet: run `heatsync score`, then ask again."
    )


def test_a_day_without_a_snapshot_says_what_to_run(scored: Workspace) -> None:
    early = BEFORE - timedelta(days=9)
    with pytest.raises(
        ConfigurationError, match=f"the last one is of {leavers.DAY}. Run `heatsync score --date {early}`"
    ):
        audience_members.find(scored, "lively", None, None, early)


def test_an_audience_newer_than_the_snapshot_is_an_error_and_not_empty(folder: Path) -> None:
    workspace = write(
        folder, AUDIENCES + "fresh: {entity: user, profile: health, where: {trait: score, gt: 0}}\n"
    )
    message = refusal(workspace, "fresh")
    assert message.startswith(f"{FILE}:11:1: `fresh` did not exist when {leavers.DAY} was scored")
    assert f"`heatsync score --date {leavers.DAY}`" in message


def test_an_audience_changed_since_scoring_has_its_old_members_and_a_note(
    folder: Path, scored: Workspace
) -> None:
    workspace = write(folder, AUDIENCES.replace("within: 1d", "within: 9d"))
    found = audience_members.find(workspace, "lively", None, None, None)
    assert found.count == len(members(scored, "lively", "user"))
    assert [note.partition(" since ")[0] for note in found.notes] == ["`lively` has changed"]
    renamed = write(folder, AUDIENCES.replace("name: Lively", "name: Very lively"))
    assert audience_members.find(renamed, "lively", None, None, None).notes == ()


def test_days_scored_by_other_rules_are_not_compared(folder: Path) -> None:
    workspace = write(folder, AUDIENCES.replace("gte: 3", "gte: 2"))
    snapshot_run.score(workspace, [leavers.DAY + timedelta(days=1)])
    found = audience_members.find(workspace, "big", None, None, None)
    assert (found.since, found.entered) == (None, None)
    assert found.not_compared == f"{leavers.DAY} was scored by other rules"
    assert audience_members.find(workspace, "lively", None, None, None).since == leavers.DAY


def test_names_with_quotes_and_other_alphabets_are_unchanged(tmp_path: Path) -> None:
    workspace = write(leavers.write(tmp_path))
    names = ['A "1", Inc', "naïve; 🙂", "O'Brien\tLtd"]
    rows = [f'a{number},"{name.replace(chr(34), chr(34) * 2)}",1' for number, name in enumerate(names)]
    (tmp_path / "data" / "accounts.csv").write_text("\n".join(["account_id,name,nps", *rows, ""]))
    snapshot_run.score(workspace, [leavers.DAY])
    found = dict(
        row[:2] for row in listed(audience_members.find(workspace, "all", "health", "account", None))
    )
    assert [found[f"a{number}"] for number in range(3)] == names
