"""The files under mappings/audiences: what they say, and where a mistake in them is."""

from pathlib import Path

import pytest
from file_workspaces import MAPPING, opened, problems

from heatsync.scoring.definition.audiences import all_audiences
from heatsync.scoring.definition.condition_types import All, Duration, Member, Not, Time, Trait, Users, walk

FILE = "mappings/audiences/success.yml"
AT_RISK = """\
version: 1
at_risk:
  name: At risk
  entity: account
  profile: health
  where: {all: [{trait: activation, lt: 50}, {time: last_seen, older_than: 14d}]}
"""


def test_the_example_of_the_documentation_is_read(tmp_path: Path) -> None:
    (found,) = opened(tmp_path, {FILE: AT_RISK}).audiences["health"]
    assert (found.key, found.name, found.entity, found.shipped, found.custom) == (
        "at_risk",
        "At risk",
        "account",
        True,
        True,
    )
    assert str(found.place) == f"{FILE}:2:1"
    assert isinstance(found.condition, All)
    activation, seen = found.condition.items
    assert isinstance(activation, Trait)
    assert seen == Time("last_seen", new=Duration(14, "d"))
    assert str(found.place_of(("all", 0, "lt"))) == f"{FILE}:6:41"
    assert str(found.place_of(("all", 1, "not there"))) == f"{FILE}:6:46"


def test_an_audience_without_a_name_shows_its_key_and_ship_decides_whether_it_is_shipped(
    tmp_path: Path,
) -> None:
    more = "quiet:\n  entity: user\n  profile: health\n  ship: false\n  where: {audience: passive}\n"
    created = opened(tmp_path, {FILE: AT_RISK + more})
    quiet = created.audiences["health"][1]
    assert (quiet.key, quiet.name, quiet.shipped) == ("quiet", "quiet", False)
    users = all_audiences(created.profiles["health"], "user", created.audiences["health"])
    assert "quiet" in [each.key for each in users]
    assert "at_risk" not in [each.key for each in users]
    assert [each.key for each in users] == sorted(each.key for each in users)


def test_a_profile_without_custom_audiences_has_none(tmp_path: Path) -> None:
    assert opened(tmp_path, {FILE: "version: 1\n"}).audiences == {"adoption": (), "health": ()}


def test_every_error_of_every_audience_is_reported_with_its_place(tmp_path: Path) -> None:
    text = """\
version: 1
a:
  entity: acount
  profile: helth
  where: {trait: score, gtt: 5}
b:
  entity: user
  profile: health
  were: {trait: score, gt: 5}
c:
  entity: user
  profile: health
  where:
    any:
      - {trait: scor, gt: 5}
      - {event: Report Created, within: 14}
      - {not: {audience: pasive}}
"""
    assert problems(tmp_path, {FILE: text}) == [
        f"{FILE}:3:11: `acount` is not an entity; did you mean `account`?",
        f"{FILE}:5:25: `gtt` does not belong here; did you mean `gt`?",
        f"{FILE}:9:3: `were` is not a key here; did you mean `where`?",
        f"{FILE}:16:41: expected hours, days or weeks such as 12h, 14d or 4w, found `14`",
    ]
    fixed = text.replace("acount", "account").replace("gtt", "gt").replace("were", "where")
    assert problems(tmp_path, {FILE: fixed.replace("14}", "14d}")}) == [
        f"{FILE}:4:12: `helth` is not a profile; did you mean `health`?",
        f"{FILE}:15:17: `scor` is not a trait of users; did you mean `score`?",
        f"{FILE}:17:26: `pasive` is not an audience of users; did you mean `passive`?",
    ]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("one: {entity: user, profile: health}", "2:1", "`where` is missing"),
        ("one: {entity: user, where: {audience: all}}", "2:1", "`profile` is missing"),
        ("one:", "2:1", "`one` has no value"),
        ("one: yes", "2:6", "expected keys with values"),
        ("New Ones: {entity: user, profile: health, where: {audience: all}}", "2:1", "as in `new_ones`"),
        ("passive: {entity: user, profile: health, where: {audience: all}}", "2:1", "built-in audience of users"),
        ("level_high: {entity: user, profile: health, where: {audience: all}}", "2:1", "choose another key"),
        ("one: {entity: user, profile: health, ship: maybe, where: {audience: all}}", "2:44", "true or false"),
        ("one: {entity: user, profile: health, where: {trait: level, gt: }}", "2:60", "`gt` has no value"),
    ],
)  # fmt: skip
def test_an_error_around_a_condition_is_reported_once(
    tmp_path: Path, text: str, place: str, message: str
) -> None:
    (found,) = problems(tmp_path, {FILE: f"version: 1\n{text}\n"})
    assert found.startswith(f"{FILE}:{place}: ")
    assert message in found


def test_the_version_of_the_file_must_be_known(tmp_path: Path) -> None:
    assert problems(tmp_path, {FILE: AT_RISK.replace("version: 1", "version: 2")}) == [
        f"{FILE}:1:10: expected version 1, found `2`: this heatsync reads no other version"
    ]
    (found,) = problems(tmp_path, {FILE: AT_RISK.replace("version: 1\n", "")})
    assert "`version` is missing" in found


def test_two_files_cannot_have_one_key_but_users_and_accounts_can(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, {FILE: AT_RISK, "mappings/audiences/team.yml": AT_RISK})
    assert found.startswith("mappings/audiences/team.yml:2:1: ")
    assert f"already an audience of accounts of `health`, at {FILE}:2:1" in found
    users = AT_RISK.replace("entity: account", "entity: user")
    other = AT_RISK.replace("profile: health", "profile: adoption")
    more = {"mappings/audiences/team.yml": users, "mappings/audiences/other.yml": other}
    created = opened(tmp_path / "apart", {FILE: AT_RISK, **more})
    assert [each.entity for each in created.audiences["health"]] == ["account", "user"]
    assert len(created.audiences["adoption"]) == 1


def test_audiences_may_depend_on_others_but_not_in_a_circle(tmp_path: Path) -> None:
    text = """\
version: 1
a: {entity: account, profile: health, where: {any: [{trait: score, gt: 5}, {not: {audience: b}}]}}
b: {entity: account, profile: health, where: {audience: c}}
c: {entity: account, profile: health, where: {audience: a}}
d: {entity: account, profile: health, where: {audience: a}}
e: {entity: account, profile: health, where: {audience: e}}
f: {entity: account, profile: health, where: {users: {audience: f}, gte: 2}}
f2: {entity: user, profile: health, where: {audience: all_active}}
"""
    found = problems(tmp_path, {FILE: text.replace("users: {audience: f}", "users: {audience: f2}")})
    assert len(found) == 2
    assert found[0].startswith(
        f"{FILE}:2:93: audiences cannot depend on each other in a circle: a -> b -> c -> a."
    )
    assert found[1].startswith(f"{FILE}:6:57: audiences cannot depend on each other in a circle: e -> e.")
    found = problems(tmp_path / "users", {FILE: "version: 1\n" + text.splitlines(keepends=True)[6]})
    assert found == [f"{FILE}:2:65: `f` is not an audience of users{found[0].partition('of users')[2]}"]
    same = text.splitlines(keepends=True)[6] + text.splitlines(keepends=True)[7].replace("f2", "f", 1)
    users, accounts = (
        opened(tmp_path / "same", {FILE: f"version: 1\n{same.splitlines()[0]}\n", "mappings/audiences/u.yml":
            f"version: 1\n{same.splitlines()[1]}\n"}).audiences["health"][::-1]
    )  # fmt: skip
    assert isinstance(users.condition, Member)
    assert isinstance(accounts.condition, Users)


@pytest.mark.parametrize(
    ("entity", "where", "message"),
    [
        ("user", "{users: ^{trait: score, gt: 5}, gte: 1}", "only an audience of accounts"),
        ("account", "{trait: ^user.plan, eq: pro}", "an account has many users"),
        ("account", "{trait: ^adoption.score, gt: 5}", "its own profile (`score`)"),
        ("account", "{trait: ^segments, contains: New}", "{audience: new}"),
        ("account", "{trait: ^created_at, gt: 2026-01-01}", "{time: created_at"),
        ("account", "{trait: score, gt: ^high}", "expected a number"),
        ("account", "{trait: level, gt: ^High}", "`gt` cannot compare `level`"),
        ("account", "{level_change: {from: ^Hihg, to: Low, within: 7d}}", "did you mean `High`?"),
        ("account", "{users: {trait: ^activ, gt: 5}, gte: 1}", "did you mean `activation`?"),
        ("account", "{event: {tier: ^advnced}}", "did you mean `advanced`?"),
        ("user", "{event: {tier: core}, count: {gte: ^many}}", "expected a whole number"),
        ("user", "{all: [{event: A}, {event: B, ^wihtin: 7d}]}", "did you mean `within`?"),
        ("user", "{event: A, where: {page: {^eqq: pricing}}}", "did you mean `eq`?"),
    ],
)
def test_a_name_that_does_not_fit_is_reported_at_its_place(
    tmp_path: Path, entity: str, where: str, message: str
) -> None:
    line = f"one: {{entity: {entity}, profile: health, where: {where}}}"
    (found,) = problems(tmp_path, {FILE: f"version: 1\n{line.replace('^', '')}\n"})
    assert found.startswith(f"{FILE}:2:{line.index('^') + 1}: "), found
    assert message in found


def test_a_mapping_uses_custom_audiences(tmp_path: Path) -> None:
    text = AT_RISK.replace("entity: account", "entity: user")
    mapping = MAPPING + "audience: at_risk\non_exit: clear\nfields: {is_at_risk: {from: audience.at_risk}}\n"
    assert problems(tmp_path, {FILE: text, "mappings/m.yml": mapping}) == []
    (found, more) = problems(tmp_path / "accounts", {FILE: AT_RISK, "mappings/m.yml": mapping})
    assert "`at_risk` is not an audience of users" in found + more


def test_an_invalid_audience_is_reported_once_and_not_where_it_is_used(tmp_path: Path) -> None:
    text = AT_RISK.replace("entity: account", "entity: user").replace("lt: 50", "lt: low")
    mapping = MAPPING + "audience: at_risk\non_exit: clear\nfields: {is_at_risk: {from: audience.at_risk}}\n"
    more = "more: {entity: user, profile: health, where: {not: {audience: at_risk}}}\n"
    (found,) = problems(tmp_path, {FILE: text + more, "mappings/m.yml": mapping})
    assert "expected a number such as 2.5, found `low`" in found
    (found,) = problems(tmp_path, {FILE: "version: 1\nat_risk: [\n", "mappings/m.yml": mapping})
    assert found.startswith(FILE)


def test_audiences_of_an_invalid_profile_are_not_checked(tmp_path: Path) -> None:
    found = problems(tmp_path, {FILE: AT_RISK, "mappings/profiles/health.yml": "version: 1\nname: Health\n"})
    assert len(found) == 1
    assert found[0].startswith("mappings/profiles/health.yml")


def test_a_filter_is_read_with_the_profile_and_its_errors_have_a_place(tmp_path: Path) -> None:
    profile = """\
version: 1
name: Health
events: [{event: A, weight: 1}, {event: B, weight: 1}, {event: C, weight: 1}, {event: D, weight: 1}, {event: E, weight: 1}]
filter: {not: {trait: account.plan, eq: internal}}
"""
    created = opened(tmp_path, {"mappings/profiles/health.yml": profile})
    condition = created.profiles["health"].filter
    assert isinstance(condition, Not)
    assert len(list(walk(condition))) == 2
    broken = profile.replace("account.plan", "score")
    (found,) = problems(tmp_path / "broken", {"mappings/profiles/health.yml": broken})
    assert found.startswith("mappings/profiles/health.yml:4:23: a filter cannot use `score`")
