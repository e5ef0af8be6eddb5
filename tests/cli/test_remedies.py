"""Every code that a person may meet has a cure."""

import re
from pathlib import Path

import pytest

import connectors
import heatsync.sync
from heatsync.cli.remedies import REMEDIES, remedy

ROOMS = [Path(room.__file__ or "").parent for room in (connectors, heatsync.sync)]
CODE = re.compile(r"""\bcode\s*=\s*"([a-z_]+)"|'([a-z_]+)\|""")
TEXTS = [path.read_text("utf-8") for room in ROOMS for path in room.rglob("*.py")]


def codes() -> set[str]:
    return {next(filter(None, found)) for text in TEXTS for found in CODE.findall(text)}


def test_no_cure_is_for_a_code_that_nobody_gives() -> None:
    for code in REMEDIES:
        assert any(re.search(rf"""["'|]{code}["'|]""", text) for text in TEXTS), code


@pytest.mark.parametrize("code", sorted(codes()))
def test_every_code_has_a_cure(code: str) -> None:
    assert code in REMEDIES
    assert remedy(code).endswith(".")


def test_an_unknown_code_points_to_the_answer() -> None:
    assert "answer" in remedy("something_new")
