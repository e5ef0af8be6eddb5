"""Validates a document with a pydantic model. Every error of the model becomes a problem with its place."""

import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from heatsync.scoring.definition.condition_parser import WRONG_KEY, WRONG_VALUE
from heatsync.workspace.strict_yaml import Document, Problem, Problems, Route, Tree, nearest, suggest
from heatsync.workspace.yaml_errors import may_be_secret

M = TypeVar("M", bound=BaseModel)
CONDITION_ERRORS = (WRONG_KEY, WRONG_VALUE)
"""Errors with a context that says how deep `inside` a condition they are."""


class Section(BaseModel):
    """A part of a file. Unknown keys are errors. The keys in `may_be_empty` need no value."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    may_be_empty: ClassVar[frozenset[str]] = frozenset()


def validate(document: Document, model: type[M], problems: Problems) -> M | None:
    """The file as a value of the model; None if too little of it is valid.

    Invalid parts are added to `problems` and left out of the value, so that the other problems are found as well.
    Validators find the routes of the parts that were left out as `unread` in their context.
    """
    may_be_empty: frozenset[str] = getattr(model, "may_be_empty", frozenset())
    gone: set[Route] = set()
    tree = _without_empty(document, document.tree, (), may_be_empty, gone, problems)
    for _ in range(20):
        try:
            return model.model_validate(tree, context={"unread": frozenset(gone)})
        except ValidationError as error:
            details = error.errors(include_url=False)
        located = [(detail, *_locate(tree, detail)) for detail in details]
        for detail, route, missing in located:
            if document.reported(route) or (missing and _is_misspelled(detail, details)):
                continue
            if route and any(left[: len(route)] == route for left in gone):
                # A part of it was left out, which has its own problem already.
                continue
            problems.add(_problem(document, model, route, missing, detail))
        pruned = False
        for detail, route, missing in located:
            inside = detail["ctx"]["inside"] if detail["type"] in CONDITION_ERRORS else int(missing)
            # Half of a condition would mean something else: the whole condition is left out.
            pruned |= _prune(tree, route[: len(route) - inside], gone)
        if not pruned:
            break
    return None


def _without_empty(
    document: Document,
    node: Tree,
    route: Route,
    may_be_empty: frozenset[str],
    gone: set[Route],
    problems: Problems,
) -> Any:
    if isinstance(node, dict):
        kept: dict[str, Any] = {}
        for key, value in node.items():
            inner = (*route, key)
            if value is not None and inner not in document.invalid:
                kept[key] = _without_empty(document, value, inner, may_be_empty, gone, problems)
                continue
            gone.add(inner)
            if key not in may_be_empty and not document.reported(inner):
                hint = "; quote text that starts with `#`" if inner in document.commented else ""
                problems.add(
                    document.problem(inner, f"`{key}` has no value: give it one or remove it{hint}", key=True)
                )
        return kept
    if isinstance(node, list):
        items: list[Any] = []
        for position, value in enumerate(node):
            inner = (*route, position)
            if value is None and not document.reported(inner):
                problems.add(document.problem(inner, "this `-` has no value: give it one"))
            items.append(_without_empty(document, value, inner, may_be_empty, gone, problems))
        return items
    return node


def _locate(tree: Any, detail: ErrorDetails) -> tuple[Route, bool]:
    """The route to the value that an error is about, and whether the value is missing.

    Pydantic's own steps in between (members of unions, `[key]`) are left out.
    """
    route: list[str | int] = []
    node = tree
    for step in detail["loc"]:
        inside_dict = isinstance(node, dict) and step in node
        inside_list = isinstance(node, list) and isinstance(step, int) and step < len(node)
        if inside_dict or inside_list:
            node = node[step]
            route.append(step)
    if detail["type"] == "missing":
        return (*route, detail["loc"][-1]), True
    return tuple(route), False


def _prune(tree: Any, route: Route, gone: set[Route]) -> bool:
    """Remove the value, or the whole list that it is in, so that the indices of other elements stay correct."""
    for position, step in enumerate(route):
        if isinstance(step, int):
            route = route[:position]
            break
    if not route:
        return False
    node = tree
    for step in route[:-1]:
        if step not in node:
            return True
        node = node[step]
    node.pop(route[-1], None)
    gone.add(route)
    return True


def _is_misspelled(missing: ErrorDetails, details: list[ErrorDetails]) -> bool:
    """Whether a missing key is present under a misspelled name, which has its own problem."""
    unknown = {
        str(detail["loc"][-1])
        for detail in details
        if detail["type"] == "extra_forbidden" and detail["loc"][:-1] == missing["loc"][:-1]
    }
    return nearest(str(missing["loc"][-1]), unknown) is not None


def _problem(
    document: Document, model: type[BaseModel], route: Route, missing: bool, detail: ErrorDetails
) -> Problem:
    kind = detail["type"]
    if missing:
        return document.problem(route, f"`{route[-1]}` is missing", key=True)
    if kind == "extra_forbidden":
        known = _known(model, detail["loc"][:-1])
        return document.problem(
            route, f"`{route[-1]}` is not a key here{suggest(str(route[-1]), known)}", key=True
        )
    return document.problem(route, _sentence(route, detail), key=kind == WRONG_KEY)


def _sentence(route: Route, detail: ErrorDetails) -> str:
    kind, found = detail["type"], detail["input"]
    if kind in ("value_error", "assertion_error"):
        return str(detail.get("ctx", {}).get("error", detail["msg"]))
    if kind in CONDITION_ERRORS:
        return detail["msg"]
    shown = _shown(route, found)
    if kind in ("literal_error", "enum"):
        expected = str(detail.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ")
        one = "one of " if "," in expected else ""
        return f"expected {one}{expected}; found {shown}{_near(found, expected)}"
    expectations = {
        "string_type": "text",
        "dict_type": "keys with values (`key: value`)",
        "mapping_type": "keys with values (`key: value`)",
        "model_type": "keys with values (`key: value`)",
        "model_attributes_type": "keys with values (`key: value`)",
        "list_type": "a list",
        "tuple_type": "a list",
        "bool_parsing": "true or false",
        "bool_type": "true or false",
        "int_parsing": "a whole number",
        "int_from_float": "a whole number",
        "int_type": "a whole number",
        "float_parsing": "a number",
        "float_type": "a number",
        "date_from_datetime_parsing": "a date such as 2026-01-31",
        "date_parsing": "a date such as 2026-01-31",
    }
    if kind in expectations:
        return f"expected {expectations[kind]}, found {shown}"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{message.replace('Input should', 'it should')}, found {shown}"


def _near(found: object, expected: str) -> str:
    close = nearest(found, expected.split(", ")) if isinstance(found, str) else None
    return f"; did you mean `{close}`?" if close else ""


def _shown(route: Route, found: object) -> str:
    if isinstance(found, Mapping):
        return "keys with values (quote text that starts with `{`)"
    if isinstance(found, list | tuple):
        return "a list (quote text that starts with `[`)"
    if any(may_be_secret(step) for step in route):
        return "something else"
    return f"`{found}`"


def _known(model: type[BaseModel], route: Route) -> set[str]:
    """The keys that the model has at the end of a route."""
    places: list[Any] = [model]
    for step in route:
        places = [inner for place in places for inner in _inside(place, step)]
    names: set[str] = set()
    for place in _members(places):
        if isinstance(place, type) and issubclass(place, BaseModel):
            names |= {info.alias or name for name, info in place.model_fields.items()}
    return names


def _members(places: list[Any]) -> Iterator[Any]:
    """The plain types inside unions, optional and annotated types."""
    for place in places:
        origin = typing.get_origin(place)
        if origin in (typing.Union, types.UnionType):
            yield from _members(list(typing.get_args(place)))
        elif origin is typing.Annotated:
            yield from _members([typing.get_args(place)[0]])
        else:
            yield place


def _inside(place: Any, step: str | int) -> Iterator[Any]:
    """The types of the values one step further."""
    for member in _members([place]):
        if isinstance(member, type) and issubclass(member, BaseModel):
            for name, info in member.model_fields.items():
                if step in (name, info.alias):
                    yield info.annotation
        elif typing.get_origin(member) is not None:
            arguments = [argument for argument in typing.get_args(member) if argument is not Ellipsis]
            if arguments:
                yield arguments[-1]
