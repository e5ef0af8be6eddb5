import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatsync.workspace.strict_yaml import Document, Problems, Route, Tree, nearest, parse, read


def messages(text: str) -> list[str]:
    problems = Problems()
    parse(text, "f.yml", problems)
    return [str(problem) for problem in problems]


def document(text: str) -> Document:
    problems = Problems()
    parsed = parse(text, "f.yml", problems)
    assert parsed is not None
    assert not problems, [str(problem) for problem in problems]
    return parsed


@pytest.mark.parametrize(
    "typed",
    [
        "on",
        "no",
        "yes",
        "12:30",
        "2026-01-01",
        "~",
        "null",
        "0x1F",
        "1_000",
        "1e3",
        "010",
        ".5",
        "NaN",
        "=",
        "y",
    ],
)
def test_a_scalar_stays_what_was_typed(typed: str) -> None:
    assert document(f"a: {typed}\nb: [{typed}]\n").tree == {"a": typed, "b": [typed]}


def test_quotes_do_not_change_a_text_and_an_empty_text_is_a_text() -> None:
    assert document("a: \"x: 'y'\"\nb: ''\nc: |\n  one\n  two\n").tree == {
        "a": "x: 'y'",
        "b": "",
        "c": "one\ntwo\n",
    }


def test_a_key_without_a_value_is_none_and_not_a_text() -> None:
    assert document("a:\nb: x\n").tree == {"a": None, "b": "x"}


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "f.yml"
    path.write_bytes("\ufeffversion: 1\r\nname: Größe\r\n".encode())
    problems = Problems()
    parsed = read(path, "f.yml", problems)
    assert parsed is not None
    assert parsed.tree == {"version": "1", "name": "Größe"}


def test_another_encoding_is_refused_at_its_first_character(tmp_path: Path) -> None:
    path = tmp_path / "f.yml"
    path.write_bytes(b"version: 1\nname: Gr\xf6\xdfe\n")
    problems = Problems()
    assert read(path, "f.yml", problems) is None
    assert [str(problem) for problem in problems] == ["f.yml:2:9: the file is not UTF-8: save it as UTF-8"]


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", "3:1", "`a` is given twice, first in line 1"),
        ("a: {b: 1, b: 2}\n", "1:11", "`b` is given twice"),
        ("a: &x 1\nb: 2\n", "1:4", "`&x` is an anchor"),
        ("a: 1\nb: *x\n", "2:4", "`*x` is an alias"),
        ("a: !!int 3\n", "1:4", "`!!int` is a tag"),
        ("a: !secret x\n", "1:4", "`!secret` is a tag"),
        ("<<: {a: 1}\n", "1:1", "`<<` is a merge key"),
        ("a: 1\n---\nb: 1\n", "2:1", "a file holds one document"),
        ("a: one\n  two\n", "1:4", "continues on the next line"),
        ("? [a]\n: b\n", "1:3", "a key must be text"),
        ("{a: b}: c\n", "1:1", "a key must be text"),
        ("a: \x07\n", "1:4", "U+0007 is not allowed in a file"),
        ("", "1:1", "the file is empty"),
        ("# nothing\n", "1:1", "the file is empty"),
        ("- a\n", "1:1", "expected keys with values"),
        ("just text\n", "1:1", "expected keys with values"),
        ("a:\n  b: 1\n c: 2\n", "3:2", "the indentation of this line does not match"),
        ("a: 1\n  b: 2\n", "2:4", "indented too far"),
        ("a:\n\tb: 1\n", "2:1", "found a tab where spaces are needed"),
        ("a: 1\nb\nc: 2\n", "2:1", "add a `:` and a space after `b`"),
        ("a: {b: 1\nc: 2\n", "1:4", "the `{` that opens here is not closed"),
        ("a: [1, 2\nb: 2\n", "1:4", "the `[` that opens here is not closed"),
        ("a: {b: ${X:-none}}\n", "1:4", "quote a `${NAME}` inside { } and [ ]"),
        ('a: "no end\n', "1:4", "never closed"),
        ('a: "\\q"\n', "1:4", "write `\\\\` for `\\`"),
        ("[" * 60 + "\n", "1:42", "more than 40 levels"),
    ],
)
def test_surprising_yaml_is_refused_at_its_place(text: str, place: str, expected: str) -> None:
    found = [message for message in messages(text) if message.startswith(f"f.yml:{place}: ")]
    assert found, messages(text)
    assert any(expected in message for message in found), found


@pytest.mark.parametrize(
    "text", [*(f"{mark}x" for mark in "{}[],&*!|>'\"%@`"), "Score: high", "& x", "a: b: c"]
)
def test_a_text_that_must_be_quoted_is_shown_in_quotes(text: str) -> None:
    found = messages(f"version: 1\nname: {text}\nlast: 1\n")
    assert found
    assert found[0].startswith("f.yml:2:")
    assert "quote" in found[0] or "quoted" in found[0]


def test_a_secret_that_must_be_quoted_is_not_shown() -> None:
    for text in (
        "token: %s3cret\n",
        "write_key: a: s3cret\n",
        "token: s3cret\n  s3cret\n",
        "a: 1\ntoken:s3cret\n",
    ):
        assert all("s3cret" not in message for message in messages(text)), text
        assert messages(text)


def test_all_problems_are_reported_at_once() -> None:
    assert len(messages("a: &x 1\na: 2\nb: *x\nc: !t y\n")) == 4


def test_a_similar_name_is_found_in_upper_and_lower_case() -> None:
    assert nearest("Scroe", ["score", "trend"]) == "score"
    assert nearest("zebra", ["score", "trend"]) is None


def test_a_missing_key_is_reported_at_the_section_that_lacks_it() -> None:
    parsed = document("a:\n  b: 1\n")
    assert str(parsed.place(("a", "nope"))) == "f.yml:1:1"
    assert str(parsed.place(("a", "b"))) == "f.yml:2:6"
    assert str(parsed.place(("a", "b"), key=True)) == "f.yml:2:3"


_words = st.text(string.ascii_letters + string.digits + "äß€ 🔥_-.", min_size=1, max_size=12).filter(
    lambda text: text == text.strip() and not text.startswith(("-", "."))
)
_trees = st.recursive(
    _words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_words, inner, max_size=4),
    max_leaves=12,
)


def _dump(tree: Tree, indent: int, lines: list[str], leaves: dict[Route, str], route: Route) -> None:
    """Block style, with every leaf's text remembered under its route."""
    pad = "  " * indent
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree or ())
    for key, value in pairs:
        head = f"{pad}{_quote(key)}:" if isinstance(key, str) else f"{pad}-"
        here = (*route, key)
        if isinstance(value, dict | list) and value:
            lines.append(head)
            _dump(value, indent + 1, lines, leaves, here)
        else:
            empty = {dict: "{}", list: "[]"}.get(type(value))
            text = empty or _quote(str(value))
            leaves[here] = text
            lines.append(f"{head} {text}")


def _quote(text: str) -> str:
    return f'"{text}"' if len(text) % 2 else f"'{text}'"


@given(st.dictionaries(_words, _trees, min_size=1, max_size=5))
def test_a_place_is_where_the_value_begins(tree: dict[str, Tree]) -> None:
    lines: list[str] = []
    leaves: dict[Route, str] = {}
    _dump(tree, 0, lines, leaves, ())
    parsed = document("\n".join(lines) + "\n")
    assert parsed.tree == tree
    for route, text in leaves.items():
        place = parsed.place(route)
        assert place.file == "f.yml"
        assert lines[place.line - 1][place.column - 1 :] == text


_yaml_like = st.text(
    st.sampled_from("ab:-#{}[]&*!|>'\"%@`,?~<=0 \t\n\n\n  \r\x85\u2028\ufeff\x00\x1fé\U0001f600"), max_size=60
)


@given(st.one_of(st.text(max_size=200), _yaml_like))
def test_any_text_gives_a_document_or_a_problem_at_a_place_inside_the_text(text: str) -> None:
    problems = Problems()
    parsed = parse(text, "f.yml", problems)
    assert parsed is not None or problems
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", text)
    for problem in problems:
        place = problem.place
        assert place.file == "f.yml"
        assert 1 <= place.line <= len(lines), problem
        assert 1 <= place.column <= len(lines[place.line - 1]) + 1, problem
        assert problem.message.strip() == problem.message != ""
