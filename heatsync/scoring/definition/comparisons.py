"""Comparisons such as `eq: pro` and `gte: 3`: how they are parsed, and how they become SQL."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal

from heatsync.scoring.definition import value_types

Operator = Literal[
    "eq", "neq", "gt", "gte", "lt", "lte", "between", "in", "not_in", "contains", "starts_with", "exists"
]
OPERATORS: tuple[Operator, ...] = (
    "eq",
    "neq",
    "gt",
    "gte",
    "lt",
    "lte",
    "between",
    "in",
    "not_in",
    "contains",
    "starts_with",
    "exists",
)
NUMERIC: tuple[Operator, ...] = OPERATORS[:9]
"""The operators for a number that is never missing."""
NEGATIVE: tuple[Operator, ...] = ("neq", "not_in")
_SIGNS = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_ORDERING = ("gt", "gte", "lt", "lte", "between")
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")
_MOST_DIGITS = 6
"""The most digits after the point of a ratio or a share: the products that are compared fit into 128 bits."""

Midnight = Callable[[date], datetime]
"""A function from a local day to its first instant, in UTC without a zone."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """An operator and its value, as text: the type of the other side decides what the text means."""

    operator: Operator
    value: str | tuple[str, ...]
    """Several texts for `between` (two), `in` and `not_in`."""

    @property
    def values(self) -> tuple[str, ...]:
        """The values as a tuple, also a single one."""
        return self.value if isinstance(self.value, tuple) else (self.value,)

    @property
    def numbers(self) -> tuple[Decimal, ...]:
        """Raises ValueError."""
        return tuple(value_types.decimal(value) for value in self.values)

    def __str__(self) -> str:
        shown = f"[{', '.join(self.values)}]" if isinstance(self.value, tuple) else self.value
        return f"{self.operator}: {shown}"


def read(operator: Operator, value: object) -> Comparison:
    """Parse the value of an operator. Raises ValueError."""
    if operator in ("in", "not_in"):
        if not isinstance(value, list | tuple) or not value:
            raise ValueError(f"`{operator}` expects a list such as [pro, enterprise]")
        return Comparison(operator, tuple(value_types.text(each) for each in value))
    if operator == "between":
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise ValueError("`between` expects two values such as [1, 5]")
        return Comparison(operator, tuple(value_types.text(each) for each in value))
    found = value_types.text(value)
    if operator == "exists":
        value_types.flag(found)
    return Comparison(operator, found)


def read_number(operator: Operator, value: object, whole: bool) -> Comparison:
    """Parse the value of an operator on numbers: whole numbers from 0 if `whole`, else numbers with few digits.
    Raises ValueError."""
    if operator not in NUMERIC:
        raise ValueError(f"`{operator}` does not compare numbers: use one of {', '.join(NUMERIC)}")
    found = read(operator, value)
    for each in found.values:
        if whole and value_types.whole(each) < 0:
            raise ValueError(f"expected a whole number from 0, found `{each}`")
        number = value_types.decimal(each)
        if number != round(number, _MOST_DIGITS) or abs(number) >= 10**9:
            raise ValueError(
                f"expected a number below a billion with at most {_MOST_DIGITS} digits after the point,"
                f" found `{each}`"
            )
    if operator == "between" and found.numbers[0] > found.numbers[1]:
        raise ValueError(f"`between` goes from the lower to the upper value: found `{found}`")
    return found


def compare_counts(comparison: Comparison, number: str, of: str = "1", scale: int = 1) -> str:
    """SQL: whether `scale * number / of` compares, computed in whole numbers. `number` and `of` are SQL of whole
    numbers, never NULL; the caller handles `of` <= 0."""
    factor = 10 ** max(0, *(-int(each.as_tuple().exponent) for each in comparison.numbers))
    plain = factor == scale == 1 and of == "1"
    left = number if plain else f"{number}::HUGEINT * {factor * scale}"
    bounds = [int(each * factor) for each in comparison.numbers]
    right = [str(each) if plain or of == "1" else f"{of}::HUGEINT * {each}" for each in bounds]
    return _compare(comparison.operator, left, right)


def is_present(column: str, kind: str) -> str:
    """SQL: whether there is a value. NaN and an empty text are missing."""
    base = _base(kind)
    if base in ("FLOAT", "DOUBLE"):
        return f"({column} IS NOT NULL AND NOT isnan({column}))"
    if kind == "VARCHAR":
        # A CSV file cannot distinguish an empty text from a missing value.
        return f"({column} IS NOT NULL AND {column} <> '')"
    return f"{column} IS NOT NULL"


def sql(comparison: Comparison, what: str, column: str, kind: str, midnight: Midnight | None = None) -> str:
    """SQL in DuckDB's dialect: true or false, and false when the value is missing.

    `column` is an SQL name, `kind` its DuckDB type, `what` its name in messages. With `midnight`, instants are
    compared by their local day; without it, with the first instant of the day in UTC. Raises ValueError when the two
    cannot be compared.
    """
    operator, base = comparison.operator, _base(kind)
    there = is_present(column, kind)
    if operator == "exists":
        return there if value_types.flag(comparison.value) else f"NOT {there}"
    if operator == "contains" and kind.endswith("[]"):
        if kind != "VARCHAR[]":
            raise ValueError(f"`contains` looks for text, and `{what}` is a list of {kind[:-2]}")
        compared = f"list_contains({column}, {literal(comparison.values[0])})"
    elif operator in ("contains", "starts_with"):
        if base != "VARCHAR":
            raise ValueError(f"`{operator}` compares text, and `{what}` is {kind}")
        compared = f"{operator}({column}, {literal(comparison.values[0])})"
    elif midnight is not None and base.startswith("TIMESTAMP"):
        compared = _by_day(comparison, column, base, midnight)
    else:
        if base == "HUGEINT" and any("." in each for each in comparison.values):
            column = f"{column}::DOUBLE"
        compared = _compare(
            operator, column, [_value(each, operator, what, base, kind) for each in comparison.values]
        )
    return f"({there} AND {compared})"


def literal(value: str) -> str:
    """A text as SQL."""
    return "'" + value.replace("'", "''") + "'"


def instant(value: datetime, zoned: bool = False) -> str:
    """An instant in UTC as SQL."""
    return f"TIMESTAMPTZ '{value}+00'" if zoned else f"TIMESTAMP '{value}'"


def _base(kind: str) -> str:
    return kind if kind.endswith("[]") else kind.partition("(")[0].removeprefix("U")


def _compare(operator: Operator, column: str, values: list[str]) -> str:
    if operator in ("in", "not_in"):
        return f"{column} {'NOT ' if operator == 'not_in' else ''}IN ({', '.join(values)})"
    if operator == "between":
        return f"{column} BETWEEN {values[0]} AND {values[1]}"
    return f"{column} {_SIGNS[operator]} {values[0]}"


def _value(value: str, operator: Operator, what: str, base: str, kind: str) -> str:
    ordering = operator in _ORDERING
    if base in _NUMBERS:
        return f"{value_types.decimal(value):f}"
    if base == "BOOLEAN" and not ordering:
        return str(value_types.flag(value)).lower()
    if base == "VARCHAR" and not ordering:
        return literal(value)
    if re.match("DATE$|TIMESTAMP", base):
        return f"DATE '{value_types.day(value).isoformat()}'"
    raise ValueError(f"`{operator}` cannot compare `{what}`, which is {kind}")


def _by_day(comparison: Comparison, column: str, base: str, midnight: Midnight) -> str:
    zoned = base.endswith("WITH TIME ZONE")
    days = [value_types.day(each) for each in comparison.values]

    def begin(day: date) -> str:
        return instant(midnight(day), zoned)

    def end(day: date) -> str:
        return instant(midnight(day + timedelta(days=1)), zoned)

    def inside(first: date, last: date) -> str:
        return f"({column} >= {begin(first)} AND {column} < {end(last)})"

    match comparison.operator:
        case "gt":
            return f"{column} >= {end(days[0])}"
        case "gte":
            return f"{column} >= {begin(days[0])}"
        case "lt":
            return f"{column} < {begin(days[0])}"
        case "lte":
            return f"{column} < {end(days[0])}"
        case "between":
            return inside(days[0], days[1])
        case _:
            among = f"({' OR '.join(inside(day, day) for day in days)})"
            return f"NOT {among}" if comparison.operator in NEGATIVE else among
