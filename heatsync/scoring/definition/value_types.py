"""Parsers of the texts in a profile. Each returns the value, or raises ValueError with a message."""

import re
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BeforeValidator

DECIMALS = 3
"""The most digits after the point of a weight; scores are counted in whole thousandths of a point."""


def text(value: object) -> str:
    """A text."""
    if not isinstance(value, str):
        raise ValueError(f"expected text, found {kind(value)}")
    return value


def word(value: object) -> str:
    """A text that is not empty."""
    found = text(value).strip()
    if not found:
        raise ValueError("expected a name, found an empty text")
    return found


def flag(value: object) -> bool:
    """`true` or `false`."""
    found = text(value)
    if found not in ("true", "false"):
        raise ValueError(f"expected true or false, found `{found}`")
    return found == "true"


def whole(value: object) -> int:
    """A whole number."""
    found = text(value)
    if re.fullmatch(r"-?\d{1,15}", found, re.ASCII) is None:
        raise ValueError(f"expected a whole number such as 5, found `{found}`")
    return int(found)


def positive(value: object) -> int:
    """A whole number from 1."""
    number = whole(value)
    if number < 1:
        raise ValueError(f"expected a whole number from 1, found `{number}`")
    return number


def decimal(value: object) -> Decimal:
    """A number, exactly as written."""
    found = text(value)
    if re.fullmatch(r"-?\d{1,15}(\.\d{1,15})?", found, re.ASCII) is None:
        raise ValueError(f"expected a number such as 2.5, found `{found}`")
    return Decimal(found)


def weight(value: object) -> Decimal:
    """A weight from 0 to 10, with at most DECIMALS digits after the point."""
    number = decimal(value)
    if not 0 <= number <= 10:
        raise ValueError(f"expected a weight from 0 to 10, found `{number}`")
    if number != round(number, DECIMALS):
        raise ValueError(
            f"expected a weight with at most {DECIMALS} digits after the point, found `{number}`"
        )
    return number


def days(value: object) -> int:
    """Days: `7d` and `1w` are 7."""
    found = text(value)
    parts = re.fullmatch(r"(\d{1,4})([dw])", found, re.ASCII)
    if parts is None or int(parts.group(1)) == 0:
        raise ValueError(f"expected whole days or weeks such as 7d or 4w, found `{found}`")
    return int(parts.group(1)) * (7 if parts.group(2) == "w" else 1)


def day(value: object) -> date:
    """A date such as 2026-01-31."""
    found = text(value)
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", found, re.ASCII):
            return date.fromisoformat(found)
    except ValueError:
        pass
    raise ValueError(f"expected a date such as 2026-01-31, found `{found}`")


def one_of(value: object, known: Iterable[str], what: str) -> str:
    """One of the known names; `what` describes them in the message."""
    found = text(value)
    names = tuple(known)
    if found not in names:
        raise ValueError(f"`{found}` is not {what}{suggest(found, names)}")
    return found


def only_key(value: object, known: Iterable[str], what: str) -> tuple[str, Any]:
    """The key and the value of `{key: value}`, where the key must be one of `known`."""
    names = tuple(known)
    if not isinstance(value, dict) or len(value) != 1:
        expected = " or ".join(f"{{{name}: ...}}" for name in names)
        raise ValueError(f"expected {what} as {expected}, found {kind(value)}")
    key, inner = next(iter(value.items()))
    if key not in names:
        raise ValueError(f"`{key}` is not {what}{suggest(str(key), names)}")
    return key, inner


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The most similar known name; None if no name is similar."""
    names = {each.casefold(): each for each in known}
    close = get_close_matches(name.casefold(), names, n=1, cutoff=0.6)
    return names[close[0]] if close else None


def suggest(name: str, known: Iterable[str], most: int = 25) -> str:
    """The end of a message: `; did you mean ...?`, or the names that are valid."""
    names = tuple(known)
    close = nearest(name, names)
    if close is not None:
        return f"; did you mean `{close}`?"
    shown = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
    return f"; expected one of {shown}" if names else ""


def snake(name: str) -> str:
    """`Very High` as a key: `very_high`."""
    return re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")


def kind(value: object) -> str:
    """A value as it is shown in messages."""
    if isinstance(value, str):
        return f"`{value}`"
    if isinstance(value, dict):
        return "keys with values"
    return "a list" if isinstance(value, list | tuple) else "nothing"


Text = Annotated[str, BeforeValidator(text)]
Word = Annotated[str, BeforeValidator(word)]
Flag = Annotated[bool, BeforeValidator(flag)]
Positive = Annotated[int, BeforeValidator(positive)]
Weight = Annotated[Decimal, BeforeValidator(weight)]
Days = Annotated[int, BeforeValidator(days)]
