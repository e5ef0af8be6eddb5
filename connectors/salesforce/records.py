"""Salesforce's records: how values travel, ids, queries, and what is wrong with a record that is refused."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote_plus

from connectors.http import redacted
from connectors.types import Change, FieldType, Outcome, RemoteField, Status, Value

BATCH = 200
"""Records per call of Collections (REST guide, 2026)."""
QUERY_LENGTH = 12_000
"""Bytes, encoded. Address and headers may have 16,384 together, and Salesforce adds to a query before it runs it
(help.salesforce.com 000386264, 2022)."""
SUFFIX = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
NO_COLUMN = re.compile(r"(?:No such column '|Field name not found : )([\w.]+)")
NOT_READ = re.compile(r"from VALUE\w* (?:value )?(.*?) or request may be missing", re.DOTALL)
LOCKED = "UNABLE_TO_LOCK_ROW"
CODES = {
    "INVALID_FIELD": "field_missing",
    "InvalidBatch": "field_missing",
    "INVALID_FIELD_FOR_INSERT_UPDATE": "read_only",
    "INSUFFICIENT_ACCESS": "permission",
    "INSUFFICIENT_ACCESS_OR_READONLY": "permission",
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": "permission",
    "STRING_TOO_LONG": "too_long",
    "NUMBER_OUTSIDE_VALID_RANGE": "bad_value",
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": "bad_value",
    "INVALID_TYPE_ON_FIELD_IN_RECORD": "bad_value",
    "INVALID_EMAIL_ADDRESS": "bad_value",
    "JSON_PARSER_ERROR": "bad_value",
    "DUPLICATE_VALUE": "duplicate",
    "DUPLICATES_DETECTED": "duplicate",
    "DUPLICATE_EXTERNAL_ID": "conflict",
    "ENTITY_IS_DELETED": "not_found",
    "MALFORMED_ID": "not_found",
    "NOT_FOUND": "not_found",
}
CAUSES = {
    "field_missing": "there is no field {field} here, or the user may not see it",
    "read_only": "the user may not write {field}, or nobody may",
    "permission": "the user may not write this record",
    "too_long": "{field} has no room for so long a value",
    "bad_value": "the value does not fit {field}",
    "duplicate": "another record is the same by a rule of the org or by a unique field",
    "conflict": "several records have this external id",
    "not_found": "the record is gone",
}
TAKES: Mapping[str, tuple[FieldType, ...]] = {
    **dict.fromkeys(("double", "currency", "percent"), (FieldType.INTEGER, FieldType.NUMBER)),
    "int": (FieldType.INTEGER,),
    "boolean": (FieldType.BOOLEAN,),
    "date": (FieldType.DATE,),
    "datetime": (FieldType.DATETIME,),
}
"""What each type of field has room for; all others take text."""


def encode(value: Value) -> Any:
    """The value as JSON; None clears. Raises ValueError for a number that JSON cannot hold."""
    match value:
        case float() if not math.isfinite(value):
            raise ValueError(f"{value} is not a number that can be sent")
        case datetime():
            return value.isoformat(timespec="seconds").replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case tuple():
            return ";".join(value)
    return value


def decode(raw: Any, type: FieldType) -> Value:
    """What stands there as a value of the type; as text where it is none."""
    if raw is None or raw == "":
        return None
    if isinstance(raw, bool):
        return raw if type is FieldType.BOOLEAN else str(raw).lower()
    if isinstance(raw, int | float):
        whole = float(raw).is_integer()
        if type is FieldType.NUMBER:
            return raw
        if type is FieldType.INTEGER and whole:
            return int(raw)
        return str(int(raw)) if whole else str(raw)
    try:
        return _decoded(str(raw), type)
    except ValueError:
        return str(raw)


def _decoded(text: str, type: FieldType) -> Value:
    match type:
        case FieldType.DATE:
            return date.fromisoformat(text)
        case FieldType.DATETIME:
            moment = datetime.fromisoformat(text)
            return text if moment.tzinfo is None else moment.astimezone(UTC).replace(microsecond=0)
        case FieldType.LIST:
            return tuple(text.split(";"))
    return text


def whole_id(id: str) -> str:
    """An id in its 18 characters, of which three tell the case of the first fifteen."""
    if len(id) != 15:
        return id
    parts = (id[i : i + 5] for i in (0, 5, 10))
    return id + "".join(SUFFIX[sum(1 << i for i, c in enumerate(part) if c.isupper())] for part in parts)


def is_id(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9]{15}([A-Za-z0-9]{3})?", text) is not None


def quoted(value: str) -> str:
    """A value as a string of SOQL."""
    for plain, escaped in (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        value = value.replace(plain, escaped)
    return f"'{value}'"


def queries(object: str, columns: Sequence[str], key: str, values: Sequence[str]) -> Iterator[str]:
    """SELECTs over all the values, none longer than an address may be."""
    start = f"SELECT {', '.join(columns)} FROM {object} WHERE {key} IN ("
    room = QUERY_LENGTH - len(quote_plus(start)) - 8
    part: list[str] = []
    taken = 0
    for value in map(quoted, values):
        cost = len(quote_plus(value)) + 3
        if part and taken + cost > room:
            yield f"{start}{','.join(part)})"
            part, taken = [], 0
        part.append(value)
        taken += cost
    if part:
        yield f"{start}{','.join(part)})"


def described(listed: Sequence[Mapping[str, Any]]) -> dict[str, RemoteField]:
    return {
        str(each["name"]): RemoteField(
            str(each["name"]),
            str(each.get("type")),
            writable=bool(each.get("updateable")),
            unique=bool(each.get("unique")) or each.get("type") == "id",
            required=bool(each.get("createable"))
            and each.get("nillable") is False
            and each.get("defaultedOnCreate") is False,
            length=int(each["length"]) if each.get("length") else None,
            # Others take values that nobody has listed.
            options=tuple(
                str(value["value"]) for value in each.get("picklistValues") or () if value.get("active")
            )
            if each.get("restrictedPicklist")
            else (),
            multiple=each.get("type") == "multipicklist",
            accepts=TAKES.get(str(each.get("type")), tuple(FieldType)),
        )
        for each in listed
    }


@dataclass(frozen=True, slots=True)
class Item:
    """A change as it travels. `by` is the external id field that it is upserted by, if it is."""

    change: Change
    values: Mapping[str, Any]
    by: str | None = None

    @property
    def identity(self) -> str | None:
        """What must not be twice in one call."""
        if self.change.remote_id:
            return whole_id(self.change.remote_id)
        return str(self.values[self.by]).lower() if self.by else None

    def record(self, object: str) -> dict[str, Any]:
        id = {"id": self.change.remote_id} if self.change.remote_id else {}
        return {"attributes": {"type": object}, **id, **self.values}


def item(change: Change, by: str | None) -> Item | Outcome:
    """The change made ready, or why it cannot be sent."""
    creates = change.remote_id is None
    values: dict[str, Any] = {}
    if creates:
        values = {match.field: match.value for match in change.match if match.field.lower() != "id"}
    for name, value in change.fields.items():
        try:
            if value is not None or not creates:
                values[name] = encode(value)
        except ValueError as error:
            cause = f"{name}: {error}"
            return Outcome(change.key, Status.REJECTED, code="bad_value", cause=cause, field=name)
    return Item(change, values, by)


def layers(items: Sequence[Item]) -> Iterator[list[list[Item]]]:
    """Items that go the same way, and nobody twice; who is there again comes in a later layer, as the later word."""
    while items:
        ways: dict[tuple[bool, str | None], dict[str, Item]] = {}
        later = []
        for number, each in enumerate(items):
            way = ways.setdefault((each.change.remote_id is None, each.by), {})
            id = each.identity or f"new {number}"
            if id in way:
                later.append(each)
            else:
                way[id] = each
        yield [list(way.values()) for way in ways.values()]
        items = later


def refusal(item: Item, error: Mapping[str, Any], secrets: Sequence[str]) -> Outcome:
    """What an error says of the one record that it is about."""
    said = str(error.get("statusCode") or error.get("errorCode") or "")
    message = str(error.get("message") or "")
    column = no_column([error])
    fields = [column] if column else [str(each) for each in error.get("fields") or ()]
    if unread := NOT_READ.search(message):
        fields = [name for name, value in item.values.items() if _same(value, unread[1])][:1]
    field = fields[0] if fields else None
    code = CODES.get(said, "refused")
    if said == "INVALID_CROSS_REFERENCE_KEY":
        code = "bad_value" if field and field.lower() != "id" else "not_found"
    if code == "field_missing" and not column:
        code = "refused"
    cause = CAUSES.get(code, "Salesforce refused the record").format(field=field or "a field")
    if said == "FIELD_CUSTOM_VALIDATION_EXCEPTION":
        cause = "a validation rule of the org refused the record"
    if said == "REQUIRED_FIELD_MISSING":
        cause = f"a record needs {', '.join(fields) or 'another field'}, which the mapping does not fill"
    return Outcome(
        item.change.key,
        Status.REJECTED,
        remote_id=item.change.remote_id,
        code=code,
        cause=cause,
        field=field,
        answer=redacted(f"{said}: {message}", *secrets),
    )


def no_column(body: Any) -> str | None:
    """The column that an error body names in vain."""
    for error in body if isinstance(body, list) else ():
        column = NO_COLUMN.search(str(error.get("message") or "")) if isinstance(error, dict) else None
        if column:
            return column[1]
    return None


def is_locked(error: Mapping[str, Any]) -> bool:
    """Whether somebody else is writing the record; the code may be wrapped in another one's message."""
    return LOCKED in str(error.get("statusCode") or error.get("errorCode")) or LOCKED in str(
        error.get("message")
    )


def carriers(items: Sequence[Item], error: Mapping[str, Any]) -> list[Item]:
    """Those of a call refused as a whole that carry the column which is not there."""
    column = no_column([error])
    if column is None:
        return []
    return [each for each in items if any(name.lower() == column.lower() for name in each.values)]


def suspects(items: Sequence[Item], error: Mapping[str, Any]) -> list[Item]:
    """Those that hold the value which could not be read. Another field may hold it rightfully."""
    unread = NOT_READ.search(str(error.get("message") or ""))
    if unread is None:
        return []
    return [each for each in items if any(_same(value, unread[1]) for value in each.values.values())]


def _same(value: Any, text: str) -> bool:
    return value is not None and (str(value).lower() if isinstance(value, bool) else str(value)) == text
