"""The definition hash of a mapping changes with the audiences that it is limited to or sends."""

from pathlib import Path

import file_workspaces as files
import pytest

from heatsync.sync.mapping import files as mapping_files

FILE = "mappings/audiences/own.yml"
OWN = """\
version: 1
at_risk: {name: At risk, entity: user, profile: health, where: {all: [{trait: score, lt: 25}, {audience: lost}]}}
lost: {entity: user, profile: health, ship: false, where: {time: last_seen, older_than: 14d}}
elsewhere: {entity: user, profile: adoption, where: {trait: score, lt: 25}}
firms: {entity: account, profile: health, where: {trait: score, lt: 25}}
"""
LIMITED = "audience: at_risk\non_exit: keep\nfields: {role: user.role}\n"
FLAG = "fields: {risky: {from: audience.at_risk}}\n"
SEGMENTS = "fields: {groups: segments}\n"
PLAIN = "fields: {score: score, red: audience.red_hot}\n"


def definition_hash(folder: Path, text: str, own: str | None = OWN) -> str:
    texts = {"mappings/m.yml": files.MAPPING + text} | ({FILE: own} if own is not None else {})
    (folder / FILE).unlink(missing_ok=True)
    return mapping_files.load(files.opened(folder, texts))["m"].definition_hash


@pytest.mark.parametrize("text", [LIMITED, FLAG, SEGMENTS])
@pytest.mark.parametrize(
    ("old", "new"),
    [("{trait: score, lt: 25}, {audience", "{trait: score, lt: 20}, {audience"), ("14d", "15d")],
    ids=["its own condition", "that of one that it names"],
)
def test_another_condition_changes_the_definition_hash(tmp_path: Path, text: str, old: str, new: str) -> None:
    assert definition_hash(tmp_path, text) != definition_hash(tmp_path, text, OWN.replace(old, new))


@pytest.mark.parametrize("text", [LIMITED, FLAG, SEGMENTS])
def test_the_same_condition_in_another_notation_keeps_the_definition_hash(tmp_path: Path, text: str) -> None:
    written = OWN.replace(
        "{all: [{trait: score, lt: 25}, {audience: lost}]}",
        "{all: [{audience: lost}, {trait: score, lt: 25}]}",
    ).replace("14d", "2w")
    assert definition_hash(tmp_path, text) == definition_hash(tmp_path, text, f"# A comment.\n{written}")


@pytest.mark.parametrize("text", [LIMITED, FLAG])
def test_the_name_of_an_audience_changes_the_hash_only_where_it_is_sent(tmp_path: Path, text: str) -> None:
    renamed = OWN.replace("name: At risk", "name: In danger")
    assert definition_hash(tmp_path, text) == definition_hash(tmp_path, text, renamed)
    assert definition_hash(tmp_path, SEGMENTS) != definition_hash(tmp_path, SEGMENTS, renamed)


def test_shipping_an_audience_changes_the_hash_of_mappings_of_segments(tmp_path: Path) -> None:
    assert definition_hash(tmp_path, SEGMENTS) != definition_hash(
        tmp_path, SEGMENTS, OWN.replace(", ship: false", "")
    )
    assert definition_hash(tmp_path, FLAG) == definition_hash(
        tmp_path, FLAG, OWN.replace(", ship: false", "")
    )


@pytest.mark.parametrize("text", [LIMITED, FLAG, SEGMENTS])
def test_other_audiences_do_not_change_the_definition_hash(tmp_path: Path, text: str) -> None:
    others = OWN.replace(
        "profile: adoption, where: {trait: score, lt: 25}", "profile: adoption, where: {trait: score, lt: 5}"
    )
    others = others.replace(
        "account, profile: health, where: {trait: score, lt: 25}",
        "account, profile: health, where: {trait: score, lt: 5}",
    )
    assert others.count("lt: 5") == 2
    assert definition_hash(tmp_path, text) == definition_hash(tmp_path, text, others)


def test_a_mapping_of_built_in_audiences_ignores_custom_ones(tmp_path: Path) -> None:
    assert definition_hash(tmp_path, PLAIN, None) == definition_hash(tmp_path, PLAIN)


def test_audiences_of_another_profile_or_of_the_account_change_the_hash_where_they_are_sent(
    tmp_path: Path,
) -> None:
    other = "fields: {groups: adoption.segments}\n"
    account = "fields: {groups: account.health.segments}\n"
    for text, line in ((other, "elsewhere: {entity: user"), (account, "firms: {entity: account")):
        changed = "\n".join(
            each.replace("lt: 25", "lt: 5") if each.startswith(line) else each for each in OWN.splitlines()
        )
        assert definition_hash(tmp_path, text) != definition_hash(tmp_path, text, changed + "\n")
        assert definition_hash(tmp_path, FLAG) == definition_hash(tmp_path, FLAG, changed + "\n")
