"""`heatsync profile reset`: puts the default touchpoints back into the file of a profile.

Only touchpoints that differ are written; every other line and every comment stays as it is. The lines are edited one
by one because ruamel.yaml 0.19, which rewrites the whole list, drops a comment line after a `{...}` item, and writes
invalid YAML for a list with a comment after its key and another one after a `{...}` item.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from connectors.errors import ConfigurationError
from heatsync.scoring.definition.place import Place
from heatsync.scoring.definition.touchpoints import (
    DEFAULT_TOUCHPOINTS,
    EventSelection,
    Touchpoint,
    plain_number,
    yaml_line,
)
from heatsync.workspace.profile_files import yaml_files
from heatsync.workspace.strict_yaml import Document, Problems, Tree, parse, suggest

KEY = "touchpoints"
MARK = "\ufeff"
"""The byte order mark, with which some editors begin a file."""


@dataclass(frozen=True, slots=True)
class TouchpointChange:
    """A touchpoint before and after the reset. `old` is None if it was missing, `new` if it was removed."""

    name: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class ResetResult:
    """The result for a profile's file. `changes` is empty if the profile had the default touchpoints already."""

    profile: str
    file: str
    changes: tuple[TouchpointChange, ...]


def reset(folder: Path, name: str) -> ResetResult:
    """Put the default touchpoints into the file of a profile. Raises ConfigurationError.

    Other errors of the file stay: the reset also repairs weights that do not add up.
    """
    file = _find(folder, name)
    path = folder / file
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{Place(file)}: the file is not UTF-8: save it as UTF-8, then reset it again"
        ) from error
    document = _read(text.removeprefix(MARK), file)
    _refuse_other_models(document, name)
    tree = document.tree.get(KEY)
    if KEY not in document.tree:
        return ResetResult(name, file, ())
    changes = tuple(_changes(tree))
    if changes or not _is_default(tree):
        _replace(path, _edited(text, document))
    return ResetResult(name, file, changes)


def _find(folder: Path, name: str) -> str:
    known = [path.stem for path in yaml_files(folder, "mappings/profiles", Problems())]
    if name in known:
        return f"mappings/profiles/{name}.yml"
    if not known:
        raise ConfigurationError(
            f"There is no profile in {folder / 'mappings' / 'profiles'}: go to a workspace, or name one with --workspace."
        )
    raise ConfigurationError(f"There is no profile `{name}`{suggest(name, known)}")


def _read(text: str, file: str) -> Document:
    problems = Problems()
    document = parse(text, file, problems)
    problems.raise_if_any()
    assert document is not None
    return document


def _refuse_other_models(document: Document, name: str) -> None:
    model = document.tree.get("model")
    if model == "kpi":
        return
    shown = "says no model, and is `model: weighted`" if model is None else f"is `model: {model}`"
    raise ConfigurationError(
        f"{document.place(('model',))}: `{name}` {shown}: only `model: kpi` has touchpoints and default weights"
    )


def _read_touchpoint(tree: object) -> Touchpoint | None:
    try:
        return TypeAdapter(Touchpoint).validate_python(tree)
    except ValidationError:
        return None


_DEFAULT = {each["name"]: Touchpoint.model_validate(each) for each in DEFAULT_TOUCHPOINTS}
_WRITTEN = {each["name"]: yaml_line(each) for each in DEFAULT_TOUCHPOINTS}


def _is_default(tree: object) -> bool:
    found = [_read_touchpoint(each) for each in tree] if isinstance(tree, list) else []
    return len(found) == len(_DEFAULT) and {each.name: each for each in found if each} == _DEFAULT


def _changes(tree: object) -> Iterator[TouchpointChange]:
    """In the order of the defaults; touchpoints that are not among them come last."""
    items = tree if isinstance(tree, list) else []
    found = [(_name(item), _describe(item)) for item in items]
    before = dict(reversed(found))
    for name, touchpoint in _DEFAULT.items():
        new = _summary(touchpoint)
        if before.get(name) != new:
            yield TouchpointChange(name, before.get(name), new)
    seen: set[str] = set()
    for name, old in found:
        if name not in _DEFAULT or name in seen:
            yield TouchpointChange(name, old, None)
        seen.add(name)


def _name(item: object) -> str:
    touchpoint = _read_touchpoint(item)
    if touchpoint is not None:
        return touchpoint.name
    name = item.get("name") if isinstance(item, dict) else None
    return name if isinstance(name, str) else "?"


def _describe(item: object) -> str:
    touchpoint = _read_touchpoint(item)
    return _summary(touchpoint) if touchpoint is not None else "invalid"


def _summary(touchpoint: Touchpoint) -> str:
    """A touchpoint as a short text. Equal touchpoints have equal texts."""

    def side(counted: EventSelection) -> str:
        where = " and ".join(f"{name} {comparison}" for name, comparison in counted.where)
        return " or ".join(counted.events) + (f" where {where}" if where else "")

    ratio = f" / {side(touchpoint.to)}" if touchpoint.to is not None else ""
    return f"{plain_number(touchpoint.weight)} % {side(touchpoint.of)}{ratio}"


# The text of the file


@dataclass(slots=True)
class _Item:
    """An item of the list: its first and last line, its indentation, its value, and the lines to write for it."""

    first: int
    last: int
    indent: str
    tree: Tree
    lines: list[str] = field(default_factory=list)


def _edited(text: str, document: Document) -> str:
    """The text with the default touchpoints. Raises ConfigurationError if the result would be wrong."""
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = f"{text}{newline}"
    for result in (_item_by_item(lines, newline, document), _as_a_whole(lines, newline)):
        if result is not None and _is_right(result, document):
            return result.removesuffix(newline)
    raise ConfigurationError(
        f"{document.place((KEY,), key=True)}: the lines of `touchpoints` cannot be separated from the rest of the file:"
        " remove the key by hand; the default touchpoints then apply"
    )


def _is_right(result: str, before: Document) -> bool:
    problems = Problems()
    document = parse(result.removeprefix(MARK), before.file, problems)
    if document is None or problems:
        return False
    rest = {key: value for key, value in before.tree.items() if key != KEY}
    return (
        _is_default(document.tree.get(KEY))
        and {key: value for key, value in document.tree.items() if key != KEY} == rest
    )


def _node(text: str) -> tuple[yaml.Node, yaml.Node]:
    """The nodes of the key and of its value."""
    top = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(top, yaml.MappingNode)
    return next((key, value) for key, value in top.value if key.value == KEY)


def _item_by_item(text: str, newline: str, document: Document) -> str | None:
    """Keep, replace or remove each item of a block list; missing touchpoints follow the last item.

    None if the value is not such a list.
    """
    _, node = _node(text)
    if not isinstance(node, yaml.SequenceNode) or node.flow_style or not node.value:
        return None
    tree = document.tree[KEY]
    assert isinstance(tree, list)
    lines = text.splitlines(keepends=True)
    comments = _comments(text, lines)
    items: list[_Item] = []
    for child, held in zip(node.value, tree, strict=True):
        first = child.start_mark.line
        dash = lines[first][: child.start_mark.column].rfind("-")
        if dash < 0 or (items and items[-1].last >= first):
            return None
        items.append(_Item(first, _end(child)[0], lines[first][:dash], held))
    missing = dict(_WRITTEN)
    for item in items:
        own = range(item.first, item.last + 1)
        touchpoint = _read_touchpoint(item.tree)
        name = _name(item.tree)
        remaining = [comments[line] for line in own if line in comments]
        if name in missing and touchpoint == _DEFAULT[name]:
            item.lines = [lines[line] for line in own]
        elif name in missing:
            trailing = f"  {remaining.pop()}" if item.last in comments else ""
            item.lines = [f"{item.indent}{comment}{newline}" for comment in remaining]
            item.lines.append(f"{item.indent}- {_WRITTEN[name]}{trailing}{newline}")
        missing.pop(name, None)
    last = items[-1]
    last.lines += [f"{last.indent}- {line}{newline}" for line in missing.values()]
    result: list[str] = []
    done = 0
    for item in items:
        result += [*lines[done : item.first], *item.lines]
        done = item.last + 1
    return "".join([*result, *lines[done:]])


def _as_a_whole(text: str, newline: str) -> str | None:
    """Replace the whole value, such as a list in brackets. Its comments come first.

    None if something else is on its last line.
    """
    key, node = _node(text)
    first, (last, column) = key.start_mark.line, _end(node)
    lines = text.splitlines(keepends=True)
    comments = _comments(text, lines)
    trailing = lines[last][column:].strip()
    if trailing and not trailing.startswith("#"):
        return None
    own = [f"{lines[first][: key.end_mark.column]}:{'  ' + trailing if trailing else ''}{newline}"]
    own += [f"  {comments[line]}{newline}" for line in range(first, last) if line in comments]
    own += [f"  - {line}{newline}" for line in _WRITTEN.values()]
    return "".join([*lines[:first], *own, *lines[last + 1 :]])


def _end(node: yaml.Node) -> tuple[int, int]:
    """The line and the column after the last character of a node."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return node.end_mark.line, node.end_mark.column


def _comments(text: str, lines: Sequence[str]) -> dict[int, str]:
    """The comments by line."""
    ends: dict[int, int] = {}
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        for line in range(token.start_mark.line, token.end_mark.line + 1):
            end = token.end_mark.column if line == token.end_mark.line else len(lines[line])
            ends[line] = max(ends.get(line, 0), end)
    found: dict[int, str] = {}
    for number, whole in enumerate(lines):
        rest = whole[ends.get(number, 0) :].strip()
        if rest.startswith("#"):
            found[number] = rest
    return found


def _replace(path: Path, text: str) -> None:
    """Replace a file in one step, so that it is never half written. A link stays a link."""
    target = path.resolve()
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("utf-8"))
        os.chmod(name, target.stat().st_mode & 0o7777)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
