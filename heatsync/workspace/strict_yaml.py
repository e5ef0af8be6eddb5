"""A strict YAML reader that reports every problem of a file at once, each with its place.

Every scalar stays the text that was typed: `on`, `no`, `12:30` and `2026-01-01` too. Duplicate keys, anchors, aliases,
tags, merge keys, several documents and unquoted text over several lines are refused.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import yaml

from connectors.errors import ConfigurationError
from heatsync.scoring.definition.place import Place
from heatsync.workspace import yaml_errors

Tree = str | None | dict[str, "Tree"] | list["Tree"]
"""The content of a file. None is a key without a value."""
Route = tuple[str | int, ...]
"""The path from the top of a file to a value: keys, and indices of lists."""
MAX_DEPTH = 40


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """What is wrong, and where."""

    place: Place
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Position:
    """Line and column of a key and of the beginning of its value; the same twice for an element of a list."""

    key: tuple[int, int]
    value: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Document:
    """A file that could be read. `invalid` are the values that already have a problem."""

    file: str
    tree: dict[str, Tree]
    positions: Mapping[Route, Position]
    invalid: frozenset[Route] = frozenset()
    commented: frozenset[Route] = frozenset()
    """The keys without a value that are followed by a `#`."""

    def place(self, route: Route, key: bool = False) -> Place:
        """Where a value (or its key) begins; if it is missing, where the value around it is."""
        if route in self.positions:
            position = self.positions[route]
            return Place(self.file, *(position.key if key else position.value))
        # A missing key is reported at the section that lacks it.
        while route and route not in self.positions:
            route = route[:-1]
        return Place(self.file, *self.positions[route].key) if route else Place(self.file)

    def problem(self, route: Route, message: str, key: bool = False) -> Problem:
        """A problem with the value there, or with its key."""
        return Problem(self.place(route, key), message)

    def reported(self, route: Route) -> bool:
        """Whether the value there, or one around it, already has a problem."""
        return any(route[:length] in self.invalid for length in range(len(route) + 1))


@dataclass(slots=True)
class Problems:
    """The problems found so far; each once, in the order of their places."""

    found: list[Problem] = field(default_factory=list)

    def add(self, problem: Problem) -> None:
        """Add a problem unless it is there already."""
        if problem not in self.found:
            self.found.append(problem)

    def extend(self, problems: Iterable[Problem]) -> None:
        """Add several problems."""
        for problem in problems:
            self.add(problem)

    def __bool__(self) -> bool:
        return bool(self.found)

    def __iter__(self) -> Iterator[Problem]:
        return iter(sorted(self.found))

    def raise_if_any(self) -> None:
        """Raises ConfigurationError with one problem per line."""
        if self.found:
            raise ConfigurationError("\n".join(str(problem) for problem in self))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant; None if none is similar."""
    names = {known_name.casefold(): known_name for known_name in known}
    close = get_close_matches(name.casefold(), names, n=1, cutoff=0.6)
    return names[close[0]] if close else None


def suggest(name: str, known: Iterable[str]) -> str:
    """The end of a message: `; did you mean ...?` if a known name is similar, otherwise the known names."""
    names = sorted(set(known))
    close = nearest(name, names)
    if close is not None:
        return f"; did you mean `{close}`?"
    if not names:
        return ""
    shown = ", ".join(names[:25]) + (", ..." if len(names) > 25 else "")
    return f"; known: {shown}"


def read(path: Path, file: str, problems: Problems) -> Document | None:
    """The file as a document; None if it cannot be read at all. `file` is its name in messages."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line = before.count(b"\n") + 1
        column = len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
        problems.add(
            Problem(
                Place(file, line, column),
                "the file is not UTF-8: save it as UTF-8",
            )
        )
        return None
    except OSError as error:
        problems.add(Problem(Place(file), f"the file cannot be read: {error.strerror}"))
        return None
    return parse(text, file, problems)


def parse(text: str, file: str, problems: Problems) -> Document | None:
    """The text as a document; None if it holds no keys at all. Problems are added to `problems`."""
    builder = _Builder(file, text)
    try:
        tree = builder.build()
    except yaml.YAMLError as error:
        line, column, message = yaml_errors.explain(error, text)
        problems.extend([*builder.problems, Problem(Place(file, line, column), message)])
        return None
    problems.extend(builder.problems)
    if tree is None:
        if not builder.problems:
            problems.add(Problem(Place(file), "the file is empty: begin it with `version: 1`"))
        return None
    if not isinstance(tree, dict):
        problems.add(
            Problem(Place(file), "expected keys with values (`key: value`), beginning with `version: 1`")
        )
        return None
    return Document(file, tree, builder.positions, frozenset(builder.invalid), frozenset(builder.commented))


class _Builder:
    """Builds the tree from the parser's events, which still show anchors, tags and a second document."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self.positions: dict[Route, Position] = {}
        self.problems: list[Problem] = []
        self.invalid: set[Route] = set()
        self.commented: set[Route] = set()
        self.lines = yaml_errors.lines_of(text)

    def build(self) -> Tree:
        # The pure Python parser: its messages are the same on every machine.
        self.events = yaml.parse(self.text, Loader=yaml.SafeLoader)
        tree: Tree = None
        documents = 0
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._refuse(event, (), "a file holds one document: remove this `---`")
                    break
            elif isinstance(event, yaml.NodeEvent):
                tree = self._node(event, (), None)
        return tree

    def _refuse(self, event: yaml.Event, route: Route, message: str) -> None:
        self.problems.append(Problem(Place(self.file, *_position(event)), message))
        if route:
            self.invalid.add(route)

    def _node(self, event: yaml.Event, route: Route, key: tuple[int, int] | None) -> Tree:
        here = _position(event)
        self.positions[route] = Position(key or here, here)
        if len(route) > MAX_DEPTH:
            self._refuse(event, route, f"the file has more than {MAX_DEPTH} levels of nesting: use fewer")
            self._skip(event)
            return None
        if isinstance(event, yaml.AliasEvent):
            self._refuse(
                event,
                route,
                f"`*{event.anchor}` is an alias, which is not supported: write the value out;"
                " quote text that starts with `*`",
            )
            return None
        self._check_decoration(event, route)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, route)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Tree] = []
            while not isinstance(inner := next(self.events), yaml.SequenceEndEvent):
                items.append(self._node(inner, (*route, len(items)), None))
            return items
        return self._mapping(route)

    def _check_decoration(self, event: yaml.Event, route: Route) -> None:
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            self._refuse(
                event,
                route,
                f"`&{event.anchor}` is an anchor, which is not supported: remove it; quote text that starts with `&`",
            )
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._refuse(
                event,
                route,
                f"`{tag}` is a tag, which is not supported: remove it; quote text that starts with `!`",
            )

    def _scalar(self, event: yaml.ScalarEvent, route: Route) -> Tree:
        if event.style is not None:
            return str(event.value)
        line, column = _position(event)
        if event.value == "":
            rest = self.lines[line - 1][column - 1 :] if line <= len(self.lines) else ""
            if rest.strip().startswith("#"):
                self.commented.add(route)
            return None
        if event.end_mark is not None and event.end_mark.line != line - 1:
            secret = route and yaml_errors.may_be_secret(route[-1])
            first = "" if secret else f" that starts with `{event.value.split()[0]}`"
            self._refuse(
                event,
                route,
                f"the text{first} continues on the next line: correct the indentation of that line, or quote the text",
            )
        return str(event.value)

    def _mapping(self, route: Route) -> Tree:
        tree: dict[str, Tree] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            at = _position(event)
            name = self._key(event, route)
            if name is None:
                self._skip(next(self.events))
            elif name in tree:
                first = self.positions[(*route, name)].key
                self._refuse(
                    event, (), f"`{name}` is given twice, first in line {first[0]}: keep one of them"
                )
                self._skip(next(self.events))
            else:
                tree[name] = None
                tree[name] = self._node(next(self.events), (*route, name), at)
        return tree

    def _key(self, event: yaml.Event, route: Route) -> str | None:
        if not isinstance(event, yaml.ScalarEvent):
            if isinstance(event, yaml.AliasEvent):
                self._refuse(event, (), "quote a key that starts with `*`")
            else:
                self._refuse(event, (), "a key must be text: quote text that starts with `{` or `[`")
                self._skip(event)
            self.invalid.add(route)
            return None
        if event.style is None and event.value == "<<":
            self._refuse(event, (), "`<<` is a merge key, which is not supported: write the keys out")
            return None
        if event.value == "":
            self._refuse(event, (), "a key is missing before this `:`")
            return None
        self._check_decoration(event, (*route, event.value))
        return str(event.value)

    def _skip(self, event: yaml.Event) -> None:
        """Skip the value that begins with `event`."""
        depth = 0
        while True:
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth == 0:
                return
            event = next(self.events)


def _position(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    assert mark is not None
    return mark.line + 1, mark.column + 1
