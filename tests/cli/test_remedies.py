"""Every code that a person may meet has a remedy, and every remedy a code that is given."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import connectors
import heatsync.sync
from heatsync.cli.remedies import REMEDIES, remedy

ROOMS = [Path(room.__file__ or "").parent for room in (connectors, heatsync.sync)]


def results(node: ast.expr | None) -> Iterator[str]:
    """The texts that an expression may come to; what it compares and looks up is not among them."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp():
            yield from results(node.body)
            yield from results(node.orelse)
        case ast.BoolOp():
            for each in node.values:
                yield from results(each)
        case ast.Tuple():
            for each in node.elts:
                yield from results(each)
        case ast.Dict():
            for each in node.values:
                yield from results(each)
        case ast.Call(func=ast.Attribute(attr="get"), args=[_, default]):
            yield from results(default)


def given(source: str) -> set[str]:
    """The codes that a module gives: as `code=`, in a variable `code`, in a table of codes, with a check of values, or
    as the text of a problem in SQL."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.keyword(arg="code"):
                found.update(results(node.value))
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name == "code":
                found.update(results(value))
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)) if (
                name.endswith("CODES")
            ):
                found.update(results(node.value))
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="checks"), attr="append"),
                args=[ast.Tuple(elts=[_, code])],
            ):
                found.update(results(code))
            case ast.Call(func=ast.Name(id="struct_sql"), args=[ast.Call(args=[ast.Constant() as code]), *_]):
                found.update(results(code))
    return {text for text in found if text.replace("_", "").isalpha() and text.islower()}


def codes() -> set[str]:
    texts = [path.read_text("utf-8") for room in ROOMS for path in room.rglob("*.py")]
    return set().union(*map(given, texts))


def test_every_remedy_is_for_a_code_that_is_given() -> None:
    assert set(REMEDIES) - codes() == set()


@pytest.mark.parametrize("code", sorted(codes()))
def test_every_code_has_a_remedy(code: str) -> None:
    assert code in REMEDIES
    assert remedy(code).endswith(".")


def test_a_code_that_is_only_compared_or_looked_up_is_not_given() -> None:
    source = (
        'if code == "a_b" or told in ("c_d",):\n    code = "e_f" if x == "g_h" else y.get("i_j", "k_l")\n'
    )
    assert given(source) == {"e_f", "k_l"}


def test_an_unknown_code_points_to_the_answer() -> None:
    assert "answer" in remedy("something_new")
