"""SOQL, as far as connectors use it.

    SELECT a, b | COUNT() FROM X [WHERE ...] [ORDER BY f [ASC|DESC] [NULLS FIRST|LAST], ...] [LIMIT n] [OFFSET n]

A WHERE has AND, OR, NOT, brackets, the comparisons, LIKE, IN and NOT IN. As in Salesforce, AND and OR need
brackets to be mixed, and text is compared without case.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>'(?:[^'\\]|\\.)*')
    | (?P<moment>\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d))
    | (?P<date>\d{4}-\d\d-\d\d)
    | (?P<number>[+-]?\d+(?:\.\d+)?)
    | (?P<word>[A-Za-z][\w.]*)
    | (?P<mark><=|>=|!=|<>|[=<>(),])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
OPERATORS = ("=", "!=", "<>", "<", ">", "<=", ">=")


class Malformed(Exception):
    """A query that cannot be read; the text is Salesforce's message."""


@dataclass(frozen=True, slots=True)
class Comparison:
    field: str
    operator: str
    """One of OPERATORS, LIKE, IN, NOT IN."""
    value: Any


@dataclass(frozen=True, slots=True)
class Logic:
    """AND, OR or NOT of its parts."""

    operator: str
    parts: tuple["Comparison | Logic", ...]


Condition = Comparison | Logic


@dataclass(frozen=True, slots=True)
class Order:
    field: str
    down: bool
    nulls_last: bool


@dataclass(frozen=True, slots=True)
class Query:
    fields: tuple[str, ...]
    """Empty for COUNT()."""
    object: str
    where: Condition | None
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    value: Any


def _tokens(text: str) -> list[_Token]:
    found, at, text = [], 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise Malformed(f"unexpected token: '{text[at:].strip()[:20]}'")
        kind = str(match.lastgroup)
        raw = match.group(kind)
        found.append(_Token(kind, raw, _literal(kind, raw)))
        at = match.end()
    return found


def _literal(kind: str, raw: str) -> Any:
    try:
        match kind:
            case "text":
                if "\\" not in raw:
                    return raw[1:-1]
                return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), raw[1:-1], flags=re.DOTALL)
            case "number":
                return float(raw) if "." in raw else int(raw)
            case "date":
                return datetime.fromisoformat(raw).date()
            case "moment":
                return datetime.fromisoformat(raw).astimezone(UTC)
    except ValueError:
        raise Malformed(f"unexpected token: '{raw}'") from None
    return None


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0

    def peek(self, ahead: int = 0) -> str:
        """The next token in upper case, empty at the end."""
        at = self._at + ahead
        return self._tokens[at].text.upper() if at < len(self._tokens) else ""

    def next(self) -> _Token:
        if self._at >= len(self._tokens):
            raise Malformed("unexpected token: '<EOF>'")
        self._at += 1
        return self._tokens[self._at - 1]

    def take(self, *words: str) -> bool:
        if all(self.peek(i) == word for i, word in enumerate(words)):
            self._at += len(words)
            return True
        return False

    def need(self, word: str) -> None:
        token = self.next()
        if token.text.upper() != word:
            raise Malformed(f"unexpected token: '{token.text}' (expecting {word})")

    def word(self) -> str:
        token = self.next()
        if token.kind != "word":
            raise Malformed(f"unexpected token: '{token.text}'")
        return token.text

    def number(self) -> int:
        token = self.next()
        if not isinstance(token.value, int) or token.value < 0:
            raise Malformed(f"unexpected token: '{token.text}'")
        return token.value

    def query(self) -> Query:
        self.need("SELECT")
        fields: list[str] = []
        if not self.take("COUNT", "(", ")"):
            fields.append(self.word())
            while self.take(","):
                fields.append(self.word())
        self.need("FROM")
        object = self.word()
        where = self.condition() if self.take("WHERE") else None
        order: list[Order] = []
        if self.take("ORDER", "BY"):
            order.append(self.order())
            while self.take(","):
                order.append(self.order())
        limit = self.number() if self.take("LIMIT") else None
        offset = self.number() if self.take("OFFSET") else 0
        if self.peek():
            raise Malformed(f"unexpected token: '{self.next().text}'")
        if len({name.lower() for name in fields}) < len(fields):
            twice = next(n for i, n in enumerate(fields) if n.lower() in map(str.lower, fields[:i]))
            raise Malformed(f"duplicate field selected: {twice}")
        return Query(tuple(fields), object, where, tuple(order), limit, offset)

    def order(self) -> Order:
        field = self.word()
        down = not self.take("ASC") and self.take("DESC")
        last = not self.take("NULLS", "FIRST") and self.take("NULLS", "LAST")
        return Order(field, down, last)

    def condition(self) -> Condition:
        parts = [self.term()]
        operator = self.peek()
        if operator not in ("AND", "OR"):
            return parts[0]
        while self.take(operator):
            parts.append(self.term())
        if self.peek() in ("AND", "OR"):
            raise Malformed(f"unexpected token: {self.peek()}")
        return Logic(operator, tuple(parts))

    def term(self) -> Condition:
        if self.take("NOT"):
            return Logic("NOT", (self.term(),))
        if self.take("("):
            inner = self.condition()
            self.need(")")
            return inner
        field = self.word()
        if self.take("NOT", "IN"):
            return Comparison(field, "NOT IN", self.values())
        if self.take("IN"):
            return Comparison(field, "IN", self.values())
        if self.take("LIKE"):
            return Comparison(field, "LIKE", str(self.value()))
        token = self.next()
        if token.text not in OPERATORS:
            raise Malformed(f"unexpected token: '{token.text}'")
        return Comparison(field, "!=" if token.text == "<>" else token.text, self.value())

    def values(self) -> tuple[Any, ...]:
        self.need("(")
        found = [self.value()]
        while self.take(","):
            found.append(self.value())
        self.need(")")
        return tuple(found)

    def value(self) -> Any:
        token = self.next()
        if token.kind == "word":
            words: Mapping[str, Any] = {"TRUE": True, "FALSE": False, "NULL": None}
            if token.text.upper() not in words:
                raise Malformed(f"unexpected token: '{token.text}'")
            return words[token.text.upper()]
        if token.kind == "mark":
            raise Malformed(f"unexpected token: '{token.text}'")
        return token.value


def parse(text: str) -> Query:
    """Raises Malformed."""
    return _Reader(text).query()


def fields_of(query: Query) -> list[str]:
    """Every field that a query names, in its order."""
    found = list(query.fields)

    def visit(condition: Condition | None) -> None:
        if isinstance(condition, Comparison):
            found.append(condition.field)
        elif condition is not None:
            for part in condition.parts:
                visit(part)

    visit(query.where)
    return found + [each.field for each in query.order]


Get = Callable[[str], Any]
"""A field's value in one record."""


def matcher(condition: Condition) -> Callable[[Get], bool]:
    """A condition as a test of a record."""
    if isinstance(condition, Logic):
        parts = [matcher(part) for part in condition.parts]
        if condition.operator == "NOT":
            return lambda get: not parts[0](get)
        if condition.operator == "AND":
            return lambda get: all(part(get) for part in parts)
        return lambda get: any(part(get) for part in parts)
    name, operator, value = condition.field, condition.operator, condition.value
    if operator in ("IN", "NOT IN"):
        wanted, inside = {comparable(each) for each in value}, operator == "IN"
        return lambda get: (comparable(get(name)) in wanted) == inside
    if operator == "LIKE":
        pattern = re.compile(_like(value), re.IGNORECASE | re.DOTALL)
        return lambda get: pattern.fullmatch(str(get(name) or "")) is not None
    limit = comparable(value)
    if operator in ("=", "!="):
        same = operator == "="
        return lambda get: (comparable(get(name)) == limit) == same
    return lambda get: _ordered(operator, comparable(get(name)), limit)


def _like(pattern: str) -> str:
    return "".join({"%": ".*", "_": "."}.get(c, re.escape(c)) for c in pattern)


def _ordered(operator: str, have: Any, limit: Any) -> bool:
    if have is None or limit is None:
        return False
    try:
        results = {"<": have < limit, ">": have > limit, "<=": have <= limit, ">=": have >= limit}
    except TypeError:
        return False
    return bool(results[operator])


def comparable(value: Any) -> Any:
    """A value in the form that is compared: text without case, a datetime as a point in time."""
    if isinstance(value, str):
        return value.lower()
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dt%H:%M:%S.000+0000")
    return value if value is None or isinstance(value, bool | int | float) else value.isoformat()


def keys(condition: Condition | None) -> tuple[str, Sequence[Any]] | None:
    """A field and the only values that it may have, when the condition allows no others; else None."""
    if isinstance(condition, Comparison):
        if condition.operator == "=":
            return condition.field, (condition.value,)
        return (condition.field, condition.value) if condition.operator == "IN" else None
    if condition is None or condition.operator == "NOT":
        return None
    parts = [keys(part) for part in condition.parts]
    narrowed = [each for each in parts if each is not None]
    if condition.operator == "AND":
        return narrowed[0] if narrowed else None
    if len(narrowed) < len(parts) or len({field.lower() for field, _ in narrowed}) > 1:
        return None
    return narrowed[0][0], [value for _, values in narrowed for value in values]
