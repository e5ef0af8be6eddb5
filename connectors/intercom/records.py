"""Intercom's records: their attributes, how values travel, which record a lookup means, why one is refused."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from connectors.answers import as_list, as_object
from connectors.outcomes import invalid_value
from connectors.types import TAG, Change, FieldType, Found, Lookup, Outcome, RemoteField, Status, Value
from connectors.values import decode_scalar, finite

Record = dict[str, Any]
Index = dict[tuple[str, str], list[Record]]
"""Records by (field, value)."""
Tagged = Callable[[Record], frozenset[str]]
"""A record -> the names of its tags, without case: Intercom ignores case there (OpenAPI description 2.14)."""

TEXT_LENGTH = 255
"""Characters of a custom attribute (older documentation)."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

UNKNOWN_ATTRIBUTE = re.compile(r"Custom attribute '(.+?)' does not exist")
ARCHIVED = re.compile(r"archived contact", re.IGNORECASE)
REFUSALS = {
    403: ("permission", "the token may not write this record"),
    404: ("not_found", "the record no longer exists"),
    409: ("conflict", "another record has this identity"),
    410: ("not_found", "the record was merged into another"),
}

MODELS = {"contacts": "contact", "companies": "company"}
STANDARD: Mapping[str, Mapping[str, str]] = {
    "contacts": {
        "external_id": "string",
        "email": "string",
        "role": "string",
        "name": "string",
        "phone": "string",
        "avatar": "string",
        "owner_id": "integer",
        "signed_up_at": "date",
        "last_seen_at": "date",
        "unsubscribed_from_emails": "boolean",
    },
    "companies": {
        "company_id": "string",
        "name": "string",
        "plan": "string",
        "size": "integer",
        "website": "string",
        "industry": "string",
        "monthly_spend": "integer",
        "remote_created_at": "date",
    },
}
"""The attributes of their own that a request may carry (OpenAPI description 2.14), by object."""
SET_ONCE = frozenset({"company_id", "remote_created_at"})
"""Given when a company is created; an update does not accept them."""
DATA_TYPES = {
    FieldType.TEXT: "string",
    FieldType.LIST: "string",
    FieldType.INTEGER: "integer",
    FieldType.NUMBER: "float",
    FieldType.BOOLEAN: "boolean",
    FieldType.DATE: "date",
    FieldType.DATETIME: "datetime",
}
TAKES: Mapping[str, tuple[FieldType, ...]] = {
    "string": (FieldType.TEXT, FieldType.LIST),
    "integer": (FieldType.INTEGER,),
    "float": (FieldType.INTEGER, FieldType.NUMBER),
    "boolean": (FieldType.BOOLEAN,),
    # Both are unix seconds.
    "date": (FieldType.DATE, FieldType.DATETIME),
}
"""What each type of attribute accepts."""
ATTRIBUTES = 250
"""Custom attributes that a workspace may have; archived ones do not count (help centre, undated)."""


def encode(value: Value) -> str | int | float | bool | None:
    """The value as Intercom accepts it. Raises ValueError for one that it cannot hold."""
    match value:
        case datetime():
            return (value - EPOCH) // timedelta(seconds=1)
        case date():
            return (value - EPOCH.date()).days * 86_400
        case float() if finite(value).is_integer() and abs(value) < 2**53:
            # An integer attribute refuses 5.0.
            return int(value)
        case tuple():
            raise ValueError("Intercom accepts no lists")
    return value


def decode(raw: Any, type: FieldType) -> Value:
    """What Intercom shows, as a value of the type; as text where it is none."""
    if raw is None or raw == "":
        return None
    number = isinstance(raw, int | float) and not isinstance(raw, bool)
    if number and type in (FieldType.DATE, FieldType.DATETIME):
        try:
            moment = EPOCH + timedelta(seconds=math.floor(raw))
        except (OverflowError, ValueError):  # beyond the calendar, or no number at all
            return str(raw)
        return moment if type is FieldType.DATETIME else moment.date()
    return decode_scalar(raw, type)


def keys(lookup: Lookup) -> Iterator[tuple[str, str]]:
    """(field, value) in the order of precedence."""
    if lookup.remote_id:
        yield "id", lookup.remote_id
    for match in lookup.match:
        yield match.field, match.value.lower() if match.field == "email" else match.value


def indexed(people: Iterable[Record]) -> Index:
    """Contacts by the values that find them; a contact that is on two pages counts once."""
    index: Index = {}
    for each in {str(each["id"]): each for each in people}.values():
        for field in ("id", "external_id", "email"):
            value = each.get(field)
            if value:
                text = str(value).lower() if field == "email" else str(value)
                index.setdefault((field, text), []).append(each)
    return index


def chosen(lookup: Lookup, people: Index, fields: Mapping[str, FieldType], tagged: Tagged) -> Found:
    """The contact that a lookup means: the first key with a single hit decides, else the first key with several.

    A single hit that is not among several earlier hits contradicts them, and does not count.
    """
    hits = [(field, people[field, value]) for field, value in keys(lookup) if (field, value) in people]
    if not hits:
        return Found(lookup.key, ())
    several: tuple[str, list[Record]] | None = None
    for field, those in hits:
        if len(those) > 1:
            several = several or (field, those)
        elif several is None or those[0] in several[1]:
            return found(lookup, those, field, "contacts", fields, tagged)
    assert several is not None
    return found(lookup, several[1], several[0], "contacts", fields, tagged)


def found(
    lookup: Lookup,
    records: Sequence[Record],
    by: str,
    object: str,
    fields: Mapping[str, FieldType],
    tagged: Tagged,
) -> Found:
    """The answer to a lookup that has these hits by one key."""
    ids = tuple(str(each["id"]) for each in records)
    if len(ids) > 1:
        return Found(lookup.key, ids, by)
    tags = tagged(records[0]) if any(name.startswith(TAG) for name in fields) else frozenset()
    values: dict[str, Value] = {}
    for name, type in fields.items():
        if name.startswith(TAG):
            values[name] = folded(name) in tags
        else:
            values[name] = decode(_stored(records[0], object, name), type)
    return Found(lookup.key, ids, by, values)


def folded(name: str) -> str:
    """The name of a field's tag, in the form in which tags are compared."""
    return name.removeprefix(TAG).casefold()


def _stored(record: Record, object: str, name: str) -> Any:
    if name not in STANDARD[object]:
        return as_object(record.get("custom_attributes")).get(name)
    value = record.get(name)
    if isinstance(value, dict):
        # A company's plan and a contact's avatar are written as text and read as objects.
        value = value.get("name") or value.get("image_url")
    return value


def body(object: str, change: Change) -> Record | Outcome:
    """The fields of a request, or the outcome of a change that cannot be sent."""
    plain: Record = {}
    custom: Record = {}
    for name, value in change.fields.items():
        try:
            sent = encode(value)
        except ValueError as error:
            return invalid_value(change.key, name, error)
        if name in STANDARD[object]:
            plain[name] = sent
            continue
        if isinstance(sent, str) and len(sent) > TEXT_LENGTH:
            cause = f"{name} has {len(sent):,} characters; Intercom accepts {TEXT_LENGTH}"
            return Outcome(change.key, Status.REJECTED, code="too_long", cause=cause, field=name)
        custom[name] = sent
    return {**plain, "custom_attributes": custom} if custom else plain


def filled(body: Record) -> Record:
    """The fields of a request that creates a record: empty values are left out."""
    custom = {name: sent for name, sent in body.get("custom_attributes", {}).items() if sent is not None}
    plain = {name: sent for name, sent in body.items() if sent is not None and name != "custom_attributes"}
    return {**plain, "custom_attributes": custom} if custom else plain


def refused(change: Change, status: int, error: Mapping[str, Any], words: str) -> Outcome:
    """The outcome of a refused record; `words` are Intercom's own."""
    unknown = UNKNOWN_ATTRIBUTE.search(words)
    field = unknown[1] if unknown else _blamed(error, change)
    if unknown:
        code, cause = "field_missing", f"Intercom has no attribute {field!r}"
    elif status in (400, 422) and field:
        code, cause = "bad_value", f"Intercom does not accept the value of {field!r}"
    else:
        code, cause = REFUSALS.get(status, ("refused", "Intercom refused the record"))
        if ARCHIVED.search(words):
            cause = "the contact is archived in Intercom: unarchive it there, or delete it for good"
    return Outcome(change.key, Status.REJECTED, code=code, cause=cause, field=field, answer=words)


def _blamed(error: Mapping[str, Any], change: Change) -> str | None:
    """The field that an error names, if the change holds it."""
    named = str(error.get("field") or "").removeprefix("custom_attributes.")
    quoted = re.findall(r"'([^']+)'", str(error.get("message") or ""))
    return next((name for name in (named, *quoted) if name in change.fields), None)


def attribute(name: str, each: Record) -> RemoteField:
    """A data attribute as a field."""
    custom, type = bool(each.get("custom")), str(each.get("data_type"))
    return RemoteField(
        name,
        type,
        writable=custom and each.get("api_writable") is not False,
        length=TEXT_LENGTH if custom and type == "string" else None,
        options=tuple(map(str, as_list(each.get("options")))),
        accepts=TAKES.get(type, tuple(FieldType)),
    )


def attributes(object: str, listed: Sequence[Record]) -> dict[str, RemoteField]:
    """Data attributes as fields, by name; Intercom's own ones as its requests accept them."""
    fields = {}
    for each in listed:
        custom = bool(each.get("custom"))
        name = str(each["name"] if custom else each.get("full_name") or each["name"])
        if not each.get("archived"):
            fields[name] = attribute(name, each)
    for name, type in STANDARD[object].items():
        unique = name in ("external_id", "company_id")
        fields[name] = RemoteField(
            name, type, writable=name not in SET_ONCE, unique=unique, accepts=TAKES[type]
        )
    return fields
