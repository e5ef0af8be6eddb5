"""Salesforce's records: how values travel, ids, queries, and why a record is refused."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from connectors.answers import as_list, objects_in, redacted
from connectors.errors import ConfigurationError
from connectors.outcomes import invalid_value, not_found
from connectors.types import Change, FieldType, Kind, Outcome, RemoteField, Status, Value
from connectors.values import decode_scalar, decode_text, encode_json

BATCH = 200
"""Records per call of Collections (REST guide, 2026)."""
QUERY_LENGTH = 12_000
"""Bytes, encoded. Address and headers may have 16,384 together, and Salesforce adds to a query before it runs it
(help.salesforce.com 000386264, 2022)."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}")
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
    "field_missing": "the object has no field {field}, or the user may not see it",
    "read_only": "the user may not write {field}, or no one may",
    "permission": "the user may not write this record",
    "too_long": "the value is too long for {field}",
    "bad_value": "the value does not fit {field}",
    "duplicate": "another record is the same by a rule of the org or by a unique field",
    "conflict": "several records have this external id",
    "not_found": "the record no longer exists",
}
TAKES: Mapping[str, tuple[FieldType, ...]] = {
    **dict.fromkeys(("double", "currency", "percent"), (FieldType.INTEGER, FieldType.NUMBER)),
    "int": (FieldType.INTEGER,),
    "boolean": (FieldType.BOOLEAN,),
    "date": (FieldType.DATE,),
    "datetime": (FieldType.DATETIME,),
}
"""What each type of field accepts; all others accept text."""


def check_names(*names: str) -> None:
    """Raises ConfigurationError for a name that cannot be an API name: names go unquoted into queries and addresses."""
    for name in {*names}:
        if NAME.fullmatch(name) is None:
            raise ConfigurationError(
                f"{name!r} cannot be the name of a Salesforce object or field: use its API name, as in Account or "
                "Heatsync_Id__c."
            )


def encode(value: Value) -> Any:
    """The value as JSON; None clears. Raises ValueError for a number that JSON cannot hold."""
    return ";".join(value) if isinstance(value, tuple) else encode_json(value)


def decode(raw: Any, type: FieldType) -> Value:
    """What Salesforce shows, as a value of the type; as text where it is none."""
    if raw is None or raw == "":
        return None
    if isinstance(raw, float) and raw.is_integer() and type is not FieldType.NUMBER:
        raw = int(raw)
    if isinstance(raw, bool | int | float):
        return decode_scalar(raw, type)
    try:
        return decode_text(str(raw), type)
    except (ValueError, OverflowError):
        return str(raw)


def whole_id(id: str) -> str:
    """An id in its 18 characters, of which the last three encode the case of the first fifteen."""
    if len(id) != 15:
        return id
    parts = (id[i : i + 5] for i in (0, 5, 10))
    return id + "".join(SUFFIX[sum(1 << i for i, c in enumerate(part) if c.isupper())] for part in parts)


def is_id(text: str) -> bool:
    """Whether a text has the form of a record id: 15 or 18 letters and digits."""
    return re.fullmatch(r"[A-Za-z0-9]{15}([A-Za-z0-9]{3})?", text) is not None


def quoted(value: str) -> str:
    """A value as a string of SOQL."""
    from simple_salesforce.format import format_soql

    text: str = format_soql("{}", value)
    return text


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


def fields(listed: Sequence[Mapping[str, Any]]) -> dict[str, RemoteField]:
    """Fields by name, from the description of an object. Each needs a `name`."""
    return {str(each["name"]): _field(each) for each in listed}


def _field(each: Mapping[str, Any]) -> RemoteField:
    type, length = str(each.get("type")), each.get("length")
    values = [value for value in objects_in(each.get("picklistValues")) if value.get("active")]
    return RemoteField(
        str(each["name"]),
        type,
        writable=bool(each.get("updateable")),
        unique=bool(each.get("unique")) or type == "id",
        required=bool(each.get("createable"))
        and each.get("nillable") is False
        and each.get("defaultedOnCreate") is False,
        length=length if isinstance(length, int) and length else None,
        # Unrestricted picklists accept values that are not listed.
        options=tuple(str(value.get("value")) for value in values) if each.get("restrictedPicklist") else (),
        multiple=type == "multipicklist",
        accepts=TAKES.get(type, tuple(FieldType)),
    )


@dataclass(frozen=True, slots=True)
class Item:
    """A change as it is sent. `by` is the external id field that it is upserted by, if any."""

    change: Change
    values: Mapping[str, Any]
    by: str | None = None

    @property
    def identity(self) -> str | None:
        """What one call must hold only once."""
        if self.change.remote_id:
            return whole_id(self.change.remote_id)
        return str(self.values[self.by]).lower() if self.by else None

    def record(self, object: str) -> dict[str, Any]:
        """The item as one of the `records` of a Collections call."""
        id = {"id": self.change.remote_id} if self.change.remote_id else {}
        return {"attributes": {"type": object}, **id, **self.values}


def ready(change: Change, external: Collection[str]) -> Item | Outcome:
    """The change ready to be sent, or the outcome of one that cannot be sent.

    A new record is upserted by its first key among the `external` id fields, which are in lower case.
    """
    if change.remote_id is not None:
        return item(change, None)
    if change.kind is Kind.LEFT:
        return not_found(change)
    return item(
        change, next((match.field for match in change.match if match.field.lower() in external), None)
    )


def item(change: Change, by: str | None) -> Item | Outcome:
    """The change ready to be sent, or the outcome of one that cannot be sent."""
    creates = change.remote_id is None
    values: dict[str, Any] = {}
    if creates:
        values = {match.field: match.value for match in change.match if match.field.lower() != "id"}
    for name, value in change.fields.items():
        try:
            if value is not None or not creates:
                values[name] = encode(value)
        except ValueError as error:
            return invalid_value(change.key, name, error)
    return Item(change, values, by)


def layers(items: Sequence[Item]) -> Iterator[list[list[Item]]]:
    """Layers of items that can be sent in the same calls. Each layer holds a record once; a later change of the record comes
    in a later layer."""
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
    """The outcome of the one record that an error is about."""
    reason = str(error.get("statusCode") or error.get("errorCode") or "")
    message = str(error.get("message") or "")
    column = no_column([error])
    fields = [column] if column else [str(each) for each in as_list(error.get("fields"))]
    if unread := NOT_READ.search(message):
        fields = [name for name, value in item.values.items() if _same(value, unread[1])][:1]
    field = fields[0] if fields else None
    code = CODES.get(reason, "refused")
    if reason == "INVALID_CROSS_REFERENCE_KEY":
        code = "bad_value" if field and field.lower() != "id" else "not_found"
    if code == "field_missing" and not column:
        code = "refused"
    cause = CAUSES.get(code, "Salesforce refused the record").format(field=field or "a field")
    if reason == "FIELD_CUSTOM_VALIDATION_EXCEPTION":
        cause = "a validation rule of the org refused the record"
    if reason == "REQUIRED_FIELD_MISSING":
        cause = f"a record needs {', '.join(fields) or 'another field'}, which the mapping does not set"
    return Outcome(
        item.change.key,
        Status.REJECTED,
        remote_id=item.change.remote_id,
        code=code,
        cause=cause,
        field=field,
        answer=redacted(f"{reason}: {message}", *secrets),
    )


def no_column(body: Any) -> str | None:
    """The column that, according to an error, does not exist."""
    for error in objects_in(body):
        column = NO_COLUMN.search(str(error.get("message") or ""))
        if column:
            return column[1]
    return None


def is_locked(error: Mapping[str, Any]) -> bool:
    """Whether another process is writing the record; another error's message may hold the code."""
    return LOCKED in str(error.get("statusCode") or error.get("errorCode")) or LOCKED in str(
        error.get("message")
    )


def carriers(items: Sequence[Item], error: Mapping[str, Any]) -> list[Item]:
    """Items of a refused call that set the column which does not exist."""
    column = no_column([error])
    if column is None:
        return []
    return [each for each in items if any(name.lower() == column.lower() for name in each.values)]


def suspects(items: Sequence[Item], error: Mapping[str, Any]) -> list[Item]:
    """Items that hold the value which could not be read. In another field it may be valid."""
    unread = NOT_READ.search(str(error.get("message") or ""))
    if unread is None:
        return []
    return [each for each in items if any(_same(value, unread[1]) for value in each.values.values())]


def _same(value: Any, text: str) -> bool:
    return value is not None and (str(value).lower() if isinstance(value, bool) else str(value)) == text
