"""`heatsync profile reset`: the default touchpoints again, in the file of a profile.

Only what differs is written anew; every other line, and every comment, stays as it is.
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
from heatsync.scoring.definition.touchpoints import DEFAULTS, Counted, Touchpoint, plain, written
from heatsync.workspace.profile_files import yaml_files
from heatsync.workspace.strict_yaml import Document, Problems, Tree, parse, suggest

KEY = "touchpoints"
MARK = "\ufeff"
"""Some editors begin a file with it."""


@dataclass(frozen=True, slots=True)
class TouchpointChange:
    """A touchpoint before and after; None: it was not there, or is not there any more."""

    name: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class ResetResult:
    """What became of a profile's file. `changes` are empty where the default touchpoints were in force already."""

    profile: str
    file: str
    changes: tuple[TouchpointChange, ...]


def reset(folder: Path, name: str) -> ResetResult:
    """Put the default touchpoints into the file of a profile. Raises ConfigurationError.

    Whatever else is wrong with the file stays so: this is also the way out of weights that do not add up.
    """
    file = _find(folder, name)
    path = folder / file
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{Place(file)}: this is not UTF-8: save the file as UTF-8, then reset"
        ) from error
    document = _read(text.removeprefix(MARK), file)
    _refuse_other_models(document, name)
    tree = document.tree.get(KEY)
    if KEY not in document.tree:
        return ResetResult(name, file, ())
    changes = tuple(_changes(tree))
    if changes or not _is_default(tree):
        _replace(path, _mended(text, document))
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


_DEFAULT = {each["name"]: Touchpoint.model_validate(each) for each in DEFAULTS}
_WRITTEN = {each["name"]: written(each) for each in DEFAULTS}


def _is_default(tree: object) -> bool:
    found = [_read_touchpoint(each) for each in tree] if isinstance(tree, list) else []
    return len(found) == len(_DEFAULT) and {each.name: each for each in found if each} == _DEFAULT


def _changes(tree: object) -> Iterator[TouchpointChange]:
    """In the order of the defaults, what is not one of them last."""
    items = tree if isinstance(tree, list) else []
    found = [(_name(item), _told(item)) for item in items]
    before = dict(reversed(found))
    for name, touchpoint in _DEFAULT.items():
        new = _tell(touchpoint)
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


def _told(item: object) -> str:
    touchpoint = _read_touchpoint(item)
    return _tell(touchpoint) if touchpoint is not None else "cannot be read"


def _tell(touchpoint: Touchpoint) -> str:
    """A touchpoint as a short text that is the same for the same meaning."""

    def side(counted: Counted) -> str:
        where = " and ".join(f"{name} {comparison}" for name, comparison in counted.where)
        return " or ".join(counted.events) + (f" where {where}" if where else "")

    ratio = f" / {side(touchpoint.to)}" if touchpoint.to is not None else ""
    return f"{plain(touchpoint.weight)} % {side(touchpoint.of)}{ratio}"


# -- the text of the file


@dataclass(slots=True)
class _Item:
    """A `- ...` of the list: its lines, from the dash on, and what it holds."""

    first: int
    last: int
    indent: str
    tree: Tree
    lines: list[str] = field(default_factory=list)


def _mended(text: str, document: Document) -> str:
    """The text with the default touchpoints. What nobody thought of is refused rather than written."""
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = f"{text}{newline}"
    for made in (_item_by_item(lines, newline, document), _as_a_whole(lines, newline)):
        if made is not None and _is_right(made, document):
            return made.removesuffix(newline)
    raise ConfigurationError(
        f"{document.place((KEY,), key=True)}: the lines of `touchpoints` cannot be told from their surroundings:"
        " take the key out by hand, and the default ones are in force"
    )


def _is_right(made: str, before: Document) -> bool:
    problems = Problems()
    document = parse(made.removeprefix(MARK), before.file, problems)
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
    """Each item of a list in lines is kept, written anew or taken out; what is missing follows the last one."""
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
        remarks = [comments[line] for line in own if line in comments]
        if name in missing and touchpoint == _DEFAULT[name]:
            item.lines = [lines[line] for line in own]
        elif name in missing:
            behind = f"  {remarks.pop()}" if item.last in comments else ""
            item.lines = [f"{item.indent}{remark}{newline}" for remark in remarks]
            item.lines.append(f"{item.indent}- {_WRITTEN[name]}{behind}{newline}")
        missing.pop(name, None)
    last = items[-1]
    last.lines += [f"{last.indent}- {line}{newline}" for line in missing.values()]
    made: list[str] = []
    done = 0
    for item in items:
        made += [*lines[done : item.first], *item.lines]
        done = item.last + 1
    return "".join([*made, *lines[done:]])


def _as_a_whole(text: str, newline: str) -> str | None:
    """The value in one piece: a list in brackets, or nothing that could be read. Its comments come first."""
    key, node = _node(text)
    first, (last, column) = key.start_mark.line, _end(node)
    lines = text.splitlines(keepends=True)
    comments = _comments(text, lines)
    behind = lines[last][column:].strip()
    if behind and not behind.startswith("#"):
        return None
    own = [f"{lines[first][: key.end_mark.column]}:{'  ' + behind if behind else ''}{newline}"]
    own += [f"  {comments[line]}{newline}" for line in range(first, last) if line in comments]
    own += [f"  - {line}{newline}" for line in _WRITTEN.values()]
    return "".join([*lines[:first], *own, *lines[last + 1 :]])


def _end(node: yaml.Node) -> tuple[int, int]:
    """Line and column behind the last character of a node, without what follows it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return node.end_mark.line, node.end_mark.column


def _comments(text: str, lines: Sequence[str]) -> dict[int, str]:
    """The comment of each line that has one."""
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
    """Whole or not at all."""
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
