"""HubSpot's records: how values travel, what properties are, and what is wrong with a record that is refused."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from connectors.http import redacted
from connectors.types import Change, FieldType, NewField, Outcome, RemoteField, Status, Value

BATCH = 100
"""Inputs per call, for every batch endpoint and for the values of a search's IN (documentation, 2026)."""
OWN_ID = "hs_object_id"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
GROUP = "heatsync"
"""The group of properties that ours are shown in."""
TEXT_LENGTH = 65_536
"""Characters of a string property (documentation, 2026)."""
TYPES = {
    FieldType.TEXT: ("string", "text"),
    FieldType.LIST: ("string", "text"),
    FieldType.INTEGER: ("number", "number"),
    FieldType.NUMBER: ("number", "number"),
    FieldType.BOOLEAN: ("bool", "booleancheckbox"),
    FieldType.DATE: ("date", "date"),
    # A datetime, too, is shown with a date picker; there is no other pair (documentation, 2026).
    FieldType.DATETIME: ("datetime", "date"),
}
TAKES: Mapping[str, tuple[FieldType, ...]] = {
    "number": (FieldType.INTEGER, FieldType.NUMBER),
    "bool": (FieldType.BOOLEAN,),
    # Each refuses what the other one takes (properties guide, 2026; verbb/formie 1755, 2025-10).
    "date": (FieldType.DATE,),
    "datetime": (FieldType.DATETIME,),
    "enumeration": (FieldType.TEXT, FieldType.LIST, FieldType.BOOLEAN, FieldType.INTEGER),
}
"""What each type of property has room for; all others take whatever can be written as text."""
YES_NO = [
    {"label": "Yes", "value": "true", "displayOrder": 0, "hidden": False},
    {"label": "No", "value": "false", "displayOrder": 1, "hidden": False},
]
CODES = {
    "PROPERTY_DOESNT_EXIST": "field_missing",
    "READ_ONLY_VALUE": "read_only",
    "INVALID_STRING_LENGTH": "too_long",
    "OBJECT_NOT_FOUND": "not_found",
    "CONFLICT": "conflict",
    "MISSING_SCOPES": "permission",
}
CAUSES = {
    "field_missing": "HubSpot has no property {field!r} here",
    "read_only": "HubSpot does not let {field!r} be written",
    "too_long": "HubSpot has no room for so long a {field!r}",
    "bad_value": "HubSpot does not take the value of {field!r}",
    "duplicate": "another record has this value of {field!r} already",
    "not_found": "the record is gone",
    "conflict": "another record has this identity",
    "permission": "the token may not write this record",
}
INVALID = re.compile(r"Property values were not valid:\s*(\[.*\])", re.DOTALL)
EXISTING = re.compile(r"Existing ID: (\d+)")
HELD = re.compile(r"propertyName=(\w+), value=(.*?)\} on (.+?)\. (\d+) already has that value")


def encode(value: Value) -> str:
    """The value as HubSpot takes it: always text, and empty text to clear. Raises ValueError."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float() if not math.isfinite(value):
            raise ValueError(f"{value} is not a number that can be sent")
        case float() if value.is_integer():
            return str(int(value))
        case float():
            # Never in scientific notation.
            return format(Decimal(repr(value)), "f")
        case datetime():
            return value.isoformat(timespec="seconds").replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case tuple():
            return ";".join(value)
    return str(value)


def decode(raw: Any, type: FieldType) -> Value:
    """What stands there as a value of the type; as text where it is none."""
    if raw is None or raw == "":
        return None
    text = raw if isinstance(raw, str) else encode(raw)
    try:
        return _decoded(text, type)
    except (ValueError, OverflowError):
        return text


def _decoded(text: str, type: FieldType) -> Value:
    match type:
        case FieldType.INTEGER | FieldType.NUMBER:
            if re.fullmatch(r"[+-]?\d+", text):
                return int(text)
            number = float(text)
            if type is FieldType.INTEGER and number.is_integer():
                return int(number)
            return number if type is FieldType.NUMBER and math.isfinite(number) else text
        case FieldType.BOOLEAN:
            return {"true": True, "false": False}.get(text.lower(), text)
        case FieldType.DATE:
            if re.fullmatch(r"-?\d{5,}", text):
                moment = EPOCH + timedelta(milliseconds=int(text))
                return moment.date() if moment.timestamp() % 86_400 == 0 else text
            return date.fromisoformat(text)
        case FieldType.DATETIME:
            if re.fullmatch(r"-?\d+", text):
                return EPOCH + timedelta(seconds=int(text) // 1000)
            moment = datetime.fromisoformat(text)
            return text if moment.tzinfo is None else moment.astimezone(UTC).replace(microsecond=0)
        case FieldType.LIST:
            return tuple(text.split(";"))
    return text


def scopes_lacking(body: Any) -> list[str]:
    """The scopes that a refusal asks for, one of which is enough (hubspot-api-nodejs 268, 2022; error guide, 2026)."""
    errors = body.get("errors") if isinstance(body, dict) else None
    contexts = [each.get("context") for each in errors or () if isinstance(each, dict)]
    return [
        str(scope)
        for context in contexts
        if isinstance(context, dict)
        for name in ("requiredGranularScopes", "requiredScopes")
        for scope in context.get(name) or ()
    ]


def described(listed: Sequence[Mapping[str, Any]]) -> dict[str, RemoteField]:
    return {str(each["name"]): _field(each) for each in listed if not each.get("archived")}


def archived(listed: Sequence[Mapping[str, Any]]) -> dict[str, RemoteField]:
    """What comes back when a field is made by its name: just as it was, and good for those that are made so."""
    fields = [_field(each) for each in listed]
    return {
        field.name: replace(field, accepts=tuple(type for type in FieldType if TYPES[type][0] == field.type))
        for field in fields
    }


def _field(each: Mapping[str, Any]) -> RemoteField:
    metadata = each.get("modificationMetadata") or {}
    type = str(each.get("type"))
    return RemoteField(
        str(each["name"]),
        type,
        writable=not (metadata.get("readOnlyValue") or each.get("calculated")),
        unique=bool(each.get("hasUniqueValue")) or each["name"] in ("email", OWN_ID),
        length=TEXT_LENGTH if type == "string" else None,
        options=tuple(str(option["value"]) for option in each.get("options") or ()),
        multiple=each.get("fieldType") == "checkbox",
        accepts=TAKES.get(type, tuple(FieldType)),
    )


def definition(field: NewField) -> dict[str, Any]:
    """A property to be made."""
    type, field_type = TYPES[field.type]
    made = {
        "name": field.name,
        "label": field.label,
        "type": type,
        "fieldType": field_type,
        "groupName": GROUP,
    }
    return {**made, "options": YES_NO} if type == "bool" else made


@dataclass(frozen=True, slots=True)
class Item:
    """A change as it travels; `trace` names it in the answer."""

    trace: str
    change: Change
    properties: Mapping[str, str]


def item(trace: str, change: Change) -> Item | Outcome:
    """The change made ready, or why it cannot be sent."""
    creates = change.remote_id is None
    properties = {}
    if creates:
        properties = {match.field: match.value for match in change.match if match.field != OWN_ID}
    for name, value in change.fields.items():
        try:
            if value is not None or not creates:
                properties[name] = encode(value)
                if len(properties[name]) > TEXT_LENGTH:
                    cause = f"{name} has {len(properties[name]):,} characters; HubSpot has room for {TEXT_LENGTH:,}"
                    return Outcome(change.key, Status.REJECTED, code="too_long", cause=cause, field=name)
        except ValueError as error:
            cause = f"{name}: {error}"
            return Outcome(change.key, Status.REJECTED, code="bad_value", cause=cause, field=name)
    return Item(trace, change, properties)


@dataclass(frozen=True, slots=True)
class Problem:
    """What HubSpot says is wrong with a property, as far as it names one."""

    code: str
    field: str | None
    message: str


def problems(error: Mapping[str, Any]) -> Iterator[Problem]:
    """Every problem that an error body names, the most telling first."""
    message = str(error.get("message") or "")
    quoted = INVALID.search(message)
    if quoted:
        try:
            listed = json.loads(quoted[1])
        except ValueError:
            listed = []
        for each in listed:
            if isinstance(each, dict):
                yield Problem(str(each.get("error")), each.get("name"), str(each.get("message") or ""))
    for each in error.get("errors") or ():
        if isinstance(each, dict):
            named = (each.get("context") or {}).get("propertyName") or [None]
            yield Problem(str(each.get("code")), named[0], str(each.get("message") or ""))
    held = HELD.search(message)
    if held:
        yield Problem("DUPLICATE", held[1], message)
    yield Problem(str(error.get("category") or error.get("status") or ""), None, message)


def refusal(item: Item, error: Mapping[str, Any], secret: str) -> Outcome:
    """What an error says of the one record that it is about."""
    named = [each for each in problems(error) if each.field is None or each.field in item.properties]
    return rejected(item, named[0], error, secret)


def rejected(item: Item, problem: Problem, error: Mapping[str, Any], secret: str) -> Outcome:
    code = CODES.get(problem.code) or ("bad_value" if problem.code.startswith("INVALID_") else "refused")
    if problem.code == "DUPLICATE":
        code = "duplicate"
    cause = CAUSES.get(code, "HubSpot refused the record").format(field=problem.field)
    if problem.field is None and code in ("bad_value", "too_long", "read_only", "field_missing"):
        cause = "HubSpot refused the record"
    said = problem.message if problem.field else str(error.get("message") or "")
    return Outcome(
        item.change.key,
        Status.REJECTED,
        remote_id=item.change.remote_id,
        code=code,
        cause=cause,
        field=problem.field,
        answer=redacted(said or dict(error), secret),
    )


def named(items: Sequence[Item], error: Mapping[str, Any], secret: str) -> dict[str, Outcome]:
    """Those of a batch that was refused as a whole whom the answer names, by trace; nobody when it names all."""
    found: dict[str, Outcome] = {}
    for each in (error, *(each for each in error.get("errors") or () if isinstance(each, dict))):
        for item in meant(each, {item.trace: item for item in items}):
            found.setdefault(item.trace, refusal(item, {**error, **each}, secret))
    return found if len(found) < len(items) else {}


def convicted(items: Sequence[Item], error: Mapping[str, Any], secret: str) -> dict[str, Outcome]:
    """Those of a batch that was refused as a whole who are surely to blame, by trace."""
    found: dict[str, Outcome] = {}
    for problem in problems(error):
        for each in items:
            if each.trace not in found and _to_blame(each, problem):
                found[each.trace] = rejected(each, problem, error, secret)
    return found


def _to_blame(item: Item, problem: Problem) -> bool:
    if problem.field is None or problem.field not in item.properties:
        return False
    if problem.code in ("PROPERTY_DOESNT_EXIST", "READ_ONLY_VALUE"):
        return True
    value = item.properties[problem.field]
    if problem.code == "DUPLICATE":
        held = HELD.search(problem.message)
        return (
            held is not None
            and held[3] == (item.change.remote_id or held[3])
            and held[2].lower() == value.lower()
        )
    # "enterprise was not one of the allowed options: [a, b]", "1635535865 is at 22:18:55.865 UTC, not midnight!":
    # the value comes first. Further on other records' values may stand, as what is allowed.
    said = rf"(?:^|\s){re.escape(value)} (?:was|is) "
    return bool(value) and re.search(said, problem.message.split("allowed options")[0]) is not None


def folded(value: str) -> str:
    return value.strip().lower()


def parts(items: Sequence[Any], size: int, length: int | None = None) -> Iterator[Sequence[Any]]:
    """Runs of at most `size` items and, with `length`, of about so many characters."""
    start, taken = 0, 0
    for i, item in enumerate(items):
        cost = len(item) + 4 if length else 0
        if i > start and (i - start == size or (length and taken + cost > length)):
            yield items[start:i]
            start, taken = i, 0
        taken += cost
    if start < len(items):
        yield items[start:]


def distinct(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Batches in which nobody is twice; the later word comes later."""
    while items:
        first: dict[str, Item] = {}
        later = []
        for item in items:
            id = item.change.remote_id or ""
            if id in first:
                later.append(item)
            else:
                first[id] = item
        yield from parts(list(first.values()), BATCH)
        items = later


def as_input(item: Item) -> dict[str, Any]:
    id: dict[str, Any] = {"id": item.change.remote_id} if item.change.remote_id else {"associations": []}
    return {**id, "properties": dict(item.properties), "objectWriteTraceId": item.trace}


def meant(error: Mapping[str, Any], left: Mapping[str, Item]) -> list[Item]:
    """The items that an error names, by their trace or by their id."""
    context = error.get("context") or {}
    traces = set(context.get("objectWriteTraceId") or ())
    ids = set(map(str, context.get("ids") or ()))
    return [item for item in left.values() if item.trace in traces or (item.change.remote_id or None) in ids]


def answered(result: Mapping[str, Any], left: Mapping[str, Item]) -> Item | None:
    """The item that a result is for: by trace, by id, or by what the new record is found by."""
    trace = result.get("objectWriteTraceId")
    if trace:
        return left.get(str(trace))
    properties = result.get("properties") or {}
    for item in left.values():
        if item.change.remote_id:
            if item.change.remote_id == str(result["id"]):
                return item
            continue
        keys = [match for match in item.change.match if match.field != OWN_ID]
        if keys and all(
            folded(str(properties.get(key.field) or "")) == folded(item.properties[key.field]) for key in keys
        ):
            return item
    return None
