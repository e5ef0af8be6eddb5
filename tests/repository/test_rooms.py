"""No room, file or function is larger than it may be."""

from pathlib import Path

import pytest
import rooms


def write(folder: Path, text: str) -> None:
    (folder / "heatsync").mkdir()
    (folder / "heatsync/example.py").write_text(text, "utf-8")


def function(lines: int, parameters: int = 0, comment: str = "") -> str:
    names = ", ".join(f"p{n}" for n in range(parameters))
    return f"{comment}\ndef example({names}):\n" + "    pass\n" * (lines - 1)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another repository for the checker."""
    monkeypatch.setattr(rooms, "ROOT", tmp_path)
    return tmp_path


def test_nothing_is_larger_than_it_may_be() -> None:
    assert [str(excess) for excess in rooms.excesses()] == []


@pytest.mark.parametrize(
    ("text", "excess"),
    [
        ("x = 1\n" * 449, None),
        ("x = 1\n" * 450, "heatsync/example.py: 450 lines"),
        (function(60), None),
        (function(61), "heatsync/example.py:2 example: 61 lines"),
        (function(61, comment="# long: a reason"), None),
        (function(2, 7), None),
        (function(2, 8), "heatsync/example.py:2 example: 8 parameters"),
        (function(2, 8, "# wide: a reason"), None),
    ],
)
def test_the_checker_finds_what_is_too_large(root: Path, text: str, excess: str | None) -> None:
    write(root, text)
    assert [str(found) for found in rooms.excesses()] == ([excess] if excess else [])


def test_the_checker_counts_the_files_of_a_room(root: Path) -> None:
    write(root, "x = 1\ny = 2\n")
    for n in range(rooms.FILES):
        (root / f"heatsync/other_{n}.py").write_text("x = 1\ny = 2\n", "utf-8")
    assert [str(found) for found in rooms.excesses()] == ["heatsync: 17 files, 34 lines"]
