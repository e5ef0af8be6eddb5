"""HubSpot's records: how values travel, what properties are, and why a record is refused."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from connectors.answers import as_list, as_object, objects_in, redacted
from connectors.outcomes import invalid_value
from connectors.types import Change, FieldType, NewField, Outcome, RemoteField, Status, Value
from connectors.values import decode_text, encode_json, finite

BATCH = 100
"""Inputs per call, for every batch endpoint and for the values of a search's IN (documentation, 2026)."""
OWN_ID = "hs_object_id"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
GROUP = "heatsync"
"""The group of properties that shows ours."""
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
    # Each refuses what the other one accepts (properties guide, 2026; verbb/formie 1755, 2025-10).
    "date": (FieldType.DATE,),
    "datetime": (FieldType.DATETIME,),
    "enumeration": (FieldType.TEXT, FieldType.LIST, FieldType.BOOLEAN, FieldType.INTEGER),
}
"""What each type of property accepts; all others accept whatever can be written as text."""
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
    "field_missing": "HubSpot has no property {field!r} on this object",
    "read_only": "HubSpot does not allow {field!r} to be written",
    "too_long": "the value of {field!r} is too long for HubSpot",
    "bad_value": "HubSpot does not accept the value of {field!r}",
    "duplicate": "another record already has this value of {field!r}",
    "not_found": "the record no longer exists",
    "conflict": "another record has this identity",
    "permission": "the token may not write this record",
}
INVALID = re.compile(r"Property values were not valid:\s*(\[.*\])", re.DOTALL)
EXISTING = re.compile(r"Existing ID: (\d+)")
TAKEN = re.compile(r"propertyName=(\w+), value=(.*?)\} on (.+?)\. (\d+) already has that value")


def encode(value: Value) -> str:
    """The value as HubSpot accepts it: always text, and empty text to clear. Raises ValueError."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float() if finite(value).is_integer():
            return str(int(value))
        case float():
            # Never in scientific notation.
            return format(Decimal(repr(value)), "f")
        case tuple():
            return ";".join(value)
    return str(encode_json(value))


def decode(raw: Any, type: FieldType) -> Value:
    """What HubSpot shows, as a value of the type; as text where it is none."""
    if raw is None or raw == "":
        return None
    if isinstance(raw, float) and not math.isfinite(raw):
        return str(raw)
    text = encode(raw) if isinstance(raw, bool | int | float) else str(raw)
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
        case FieldType.DATE if re.fullmatch(r"-?\d{5,}", text):
            moment = EPOCH + timedelta(milliseconds=int(text))
            return moment.date() if moment.timestamp() % 86_400 == 0 else text
        case FieldType.DATETIME if re.fullmatch(r"-?\d+", text):
            return EPOCH + timedelta(seconds=int(text) // 1000)
    return decode_text(text, type)


def missing_scopes(body: Any) -> list[str]:
    """The scopes that a refusal asks for, one of which is enough (hubspot-api-nodejs 268, 2022; error guide, 2026)."""
    return [
        str(scope)
        for error in objects_in(as_object(body).get("errors"))
        for name in ("requiredGranularScopes", "requiredScopes")
        for scope in as_list(as_object(error.get("context")).get(name))
    ]


def properties(listed: Sequence[Mapping[str, Any]]) -> dict[str, RemoteField]:
    """Properties as fields, by name, without the archived ones. Each needs a `name`."""
    return {str(each["name"]): _field(each) for each in listed if not each.get("archived")}


def archived_properties(listed: Sequence[Mapping[str, Any]]) -> dict[str, RemoteField]:
    """Archived properties as fields. Creating one by its name restores it unchanged, so it accepts only types that would
    be created like it."""
    fields = [_field(each) for each in listed]
    return {
        field.name: replace(field, accepts=tuple(type for type in FieldType if TYPES[type][0] == field.type))
        for field in fields
    }


def _field(each: Mapping[str, Any]) -> RemoteField:
    metadata = as_object(each.get("modificationMetadata"))
    name, type = str(each["name"]), str(each.get("type"))
    return RemoteField(
        name,
        type,
        writable=not (metadata.get("readOnlyValue") or each.get("calculated")),
        unique=bool(each.get("hasUniqueValue")) or name in ("email", OWN_ID),
        length=TEXT_LENGTH if type == "string" else None,
        options=tuple(str(option.get("value")) for option in objects_in(each.get("options"))),
        multiple=each.get("fieldType") == "checkbox",
        accepts=TAKES.get(type, tuple(FieldType)),
    )


def definition(field: NewField) -> dict[str, Any]:
    """The request for a new property."""
    type, field_type = TYPES[field.type]
    body = {
        "name": field.name,
        "label": field.label,
        "type": type,
        "fieldType": field_type,
        "groupName": GROUP,
    }
    return {**body, "options": YES_NO} if type == "bool" else body


@dataclass(frozen=True, slots=True)
class Item:
    """A change as it is sent; `trace` names it in the answer."""

    trace: str
    change: Change
    properties: Mapping[str, str]


def item(trace: str, change: Change) -> Item | Outcome:
    """The change ready to be sent, or the outcome of one that cannot be sent."""
    creates = change.remote_id is None
    properties = {}
    if creates:
        properties = {match.field: match.value for match in change.match if match.field != OWN_ID}
    for name, value in change.fields.items():
        try:
            if value is not None or not creates:
                properties[name] = encode(value)
                if len(properties[name]) > TEXT_LENGTH:
                    cause = (
                        f"{name} has {len(properties[name]):,} characters; HubSpot accepts {TEXT_LENGTH:,}"
                    )
                    return Outcome(change.key, Status.REJECTED, code="too_long", cause=cause, field=name)
        except ValueError as error:
            return invalid_value(change.key, name, error)
    return Item(trace, change, properties)


@dataclass(frozen=True, slots=True)
class Problem:
    """What HubSpot says is wrong with a property, as far as it names one."""

    code: str
    field: str | None
    message: str


def problems(error: Mapping[str, Any]) -> Iterator[Problem]:
    """Every problem that an error body names, the most telling first; the last one names no property."""
    message = str(error.get("message") or "")
    quoted = INVALID.search(message)
    if quoted:
        try:
            listed = json.loads(quoted[1])
        except (ValueError, RecursionError):
            listed = []
        for each in objects_in(listed):
            yield Problem(str(each.get("error")), _name(each.get("name")), str(each.get("message") or ""))
    for each in objects_in(error.get("errors")):
        names = as_list(as_object(each.get("context")).get("propertyName"))
        yield Problem(str(each.get("code")), _name(*names[:1]), str(each.get("message") or ""))
    taken = TAKEN.search(message)
    if taken:
        yield Problem("DUPLICATE", taken[1], message)
    yield Problem(str(error.get("category") or error.get("status") or ""), None, message)


def _name(value: object = None) -> str | None:
    return value if isinstance(value, str) else None


def refusal(item: Item, error: Mapping[str, Any], secret: str) -> Outcome:
    """The outcome of the one record that an error is about."""
    problem = next(each for each in problems(error) if each.field is None or each.field in item.properties)
    return rejected(item, problem, error, secret)


def rejected(item: Item, problem: Problem, error: Mapping[str, Any], secret: str) -> Outcome:
    """The outcome of a record that has this problem; `error` is the body that names it."""
    code = CODES.get(problem.code) or ("bad_value" if problem.code.startswith("INVALID_") else "refused")
    if problem.code == "DUPLICATE":
        code = "duplicate"
    cause = CAUSES.get(code, "HubSpot refused the record").format(field=problem.field)
    if problem.field is None and code in ("bad_value", "too_long", "read_only", "field_missing"):
        cause = "HubSpot refused the record"
    shown = problem.message if problem.field else str(error.get("message") or "")
    return Outcome(
        item.change.key,
        Status.REJECTED,
        remote_id=item.change.remote_id,
        code=code,
        cause=cause,
        field=problem.field,
        answer=redacted(shown or dict(error), secret),
    )


def named(items: Sequence[Item], error: Mapping[str, Any], secret: str) -> dict[str, Outcome]:
    """Items of a refused batch that the answer names, by trace; none when it names all of them."""
    found: dict[str, Outcome] = {}
    for each in (error, *objects_in(error.get("errors"))):
        for item in named_by(each, {item.trace: item for item in items}):
            found.setdefault(item.trace, refusal(item, {**error, **each}, secret))
    return found if len(found) < len(items) else {}


def at_fault(items: Sequence[Item], error: Mapping[str, Any], secret: str) -> dict[str, Outcome]:
    """Items of a refused batch that certainly caused the refusal, by trace."""
    found: dict[str, Outcome] = {}
    for problem in problems(error):
        for each in items:
            if each.trace not in found and _caused(each, problem):
                found[each.trace] = rejected(each, problem, error, secret)
    return found


def _caused(item: Item, problem: Problem) -> bool:
    if problem.field is None or problem.field not in item.properties:
        return False
    if problem.code in ("PROPERTY_DOESNT_EXIST", "READ_ONLY_VALUE"):
        return True
    value = item.properties[problem.field]
    if problem.code == "DUPLICATE":
        taken = TAKEN.search(problem.message)
        return (
            taken is not None
            and taken[3] == (item.change.remote_id or taken[3])
            and taken[2].lower() == value.lower()
        )
    # "enterprise was not one of the allowed options: [a, b]", "1635535865 is at 22:18:55.865 UTC, not midnight!":
    # the value comes first. Later the text may hold other records' values, as what is allowed.
    about_it = rf"(?:^|\s){re.escape(value)} (?:was|is) "
    return bool(value) and re.search(about_it, problem.message.split("allowed options")[0]) is not None


def folded(value: str) -> str:
    """The value in the form in which keys are compared."""
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
    """Batches that hold each record once; a later change of a record comes in a later batch."""
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
    """The item as one of the `inputs` of a batch call."""
    id: dict[str, Any] = {"id": item.change.remote_id} if item.change.remote_id else {"associations": []}
    return {**id, "properties": dict(item.properties), "objectWriteTraceId": item.trace}


def named_by(error: Mapping[str, Any], left: Mapping[str, Item]) -> list[Item]:
    """The items that an error names, by their trace or by their id."""
    context = as_object(error.get("context"))
    traces = {str(each) for each in as_list(context.get("objectWriteTraceId"))}
    ids = {str(each) for each in as_list(context.get("ids"))}
    return [item for item in left.values() if item.trace in traces or (item.change.remote_id or None) in ids]


def matching(result: Mapping[str, Any], left: Mapping[str, Item]) -> Item | None:
    """The item that a result is for: by trace, by id, or by the keys that find the new record."""
    trace = result.get("objectWriteTraceId")
    if trace:
        return left.get(str(trace))
    shown = as_object(result.get("properties"))
    for item in left.values():
        if item.change.remote_id:
            if item.change.remote_id == str(result["id"]):
                return item
            continue
        keys = [match for match in item.change.match if match.field != OWN_ID]
        if keys and all(
            folded(str(shown.get(key.field) or "")) == folded(item.properties[key.field]) for key in keys
        ):
            return item
    return None
