"""A vendor's answer: read once, shown without secrets, and of any shape until it is checked.

Whatever a vendor answers, these functions do not fail: what has another shape than expected reads as empty, and the
connector decides whether that is an error. An exception of ours is therefore never taken for an odd answer.
"""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: header names are in lower case, the body is parsed as JSON or else is text."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        """Whether the status is 4xx."""
        return 400 <= self.status < 500

    def field(self, name: str) -> Any:
        """A field of the body; None where there is none, or where the body is no JSON object."""
        return as_object(self.body).get(name)


def read_answer(status: int, headers: Mapping[str, str], content: bytes | str | None) -> Answer:
    """The answer made of what came over the wire. Text in UTF-8 is the rule; CSV is never parsed as JSON."""
    lower = {name.lower(): value for name, value in headers.items()}
    text = content.decode(errors="replace") if isinstance(content, bytes) else content or ""
    if "csv" in lower.get("content-type", ""):
        return Answer(status, lower, text)
    try:
        return Answer(status, lower, json.loads(text))
    except (ValueError, RecursionError):
        return Answer(status, lower, text)


def as_object(value: object) -> dict[str, Any]:
    """A JSON object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """A JSON array; an empty one for anything else."""
    return value if isinstance(value, list) else []


def objects_in(value: object) -> list[dict[str, Any]]:
    """The objects in a JSON array; none for anything else."""
    return [each for each in as_list(value) if isinstance(each, dict)]


def named_objects(value: object, named_by: str) -> list[dict[str, Any]] | None:
    """The objects in a JSON array, where it holds nothing else and each has an id or a name in `named_by`; else None."""
    found = objects_in(value)
    complete = isinstance(value, list) and len(found) == len(value)
    return found if complete and all(is_id(each.get(named_by)) for each in found) else None


def is_id(value: object) -> bool:
    """Whether a value can be a record's id: text or a whole number, and not empty."""
    return isinstance(value, str | int) and not isinstance(value, bool) and bool(value)


def is_token(value: object) -> bool:
    """Whether a value can be sent as a credential in a header."""
    return isinstance(value, str) and re.fullmatch(r"[!-~]+", value) is not None


def as_number(text: str) -> int | None:
    """A header's whole number; None for anything else."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def is_garbled(answer: Answer) -> bool:
    """Whether a good answer was spoilt on its way: it became a proxy's page, or its JSON was cut short.

    The CSV files of a bulk job are not JSON in the first place.
    """
    text = isinstance(answer.body, str) and bool(answer.body.strip())
    return answer.ok and text and "csv" not in answer.headers.get("content-type", "")


def retry_after(answer: Answer) -> float | None:
    """Seconds to wait according to `Retry-After` (RFC 9110: seconds or a date); None where it is missing or unreadable."""
    text = answer.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]*)?", text):
        return float(text)
    moment = moment_of(text)
    return None if moment is None else max(0.0, moment - time.time())


def moment_of(text: str) -> float | None:
    """The date of a header in unix seconds; None where it is missing or unreadable."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


# Matches only at the start of a word: trying each letter of a long text would take minutes.
E_MAIL = re.compile(r"(?<![\w.+%&'~-])[\w.+%&'~-]+@[\w-]+(?:\.[\w-]+)+")


def redacted(body: Any, *secrets: str) -> str:
    """An answer as it may be shown: shortened, without secrets and e-mail addresses."""
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    for secret in secrets:
        # Shorter texts are no secrets, and replacing them would tear words apart.
        if len(secret) >= 6:
            text = text.replace(secret, "***")
    return E_MAIL.sub("(e-mail)", text)[:500]
