"""What Salesforce holds for one org, and how it saves records: one by one, or all or none."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from heatsync.sandbox.calls import Refusal, Reply
from heatsync.sandbox.state import Row, Table, fold, listed, mapped, number_of
from heatsync.sandbox.vendors.salesforce.schema import (
    CUSTOM_OBJECT,
    PREFIXES,
    STANDARD,
    BadJson,
    BadRecord,
    Field,
    is_id,
    read,
    shown_moment,
    stored,
    with_suffix,
)

CURSORS = 10
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def refused(status: int, code: str, message: str, fields: Sequence[str] = ()) -> Refusal:
    """Salesforce's error body: a list of one."""
    named = {"fields": list(fields)} if fields else {}
    return Refusal(Reply(status, [{"message": message, "errorCode": code, **named}]))


def make_id(prefix: str, number: int) -> str:
    """An 18-character id."""
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = _DIGITS[digit] + digits
    return with_suffix(prefix + digits.rjust(12, "0")[-12:])


def org_id(account: str) -> str:
    return make_id("00D", number_of("salesforce", account, digits=15))


@dataclass(slots=True)
class Work:
    """One checked record of a request: what to save, or why it is refused."""

    object: str
    row: Row | None = None
    changes: Mapping[str, Any] | None = None
    failure: BadRecord | None = None

    def result(self, upsert: bool, created: bool) -> dict[str, Any]:
        if self.failure:
            code, message, fields = self.failure.args
            return {
                "success": False,
                "errors": [{"statusCode": code, "message": message, "fields": list(fields)}],
            }
        assert self.row is not None
        new = {"created": created} if upsert else {}
        return {"id": self.row.id, "success": True, "errors": [], **new}


class Store:
    def __init__(self, account: str) -> None:
        self.account = account
        self.org = org_id(account)
        self.tables: dict[str, Table] = {"Account": Table()}
        self.custom: dict[str, dict[str, Field]] = {"Account": {}}
        self.hidden: dict[str, dict[str, Field]] = {}
        """Fields that no permission set grants."""
        self.cursors: dict[str, Any] = {}
        self.jobs: dict[str, Any] = {}
        self.underway: dict[str, Callable[[], None]] = {}
        """The work that closed jobs still have to do."""
        self._made = 0
        organization = {"Name": account, "OrganizationType": "Developer Edition", "InstanceName": "SBX1"}
        self._organization = Table()
        self._organization.add(Row(self.org, {**organization, "IsSandbox": True}, 0.0, 0.0))

    def load(self, part: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        now = time.time()
        for object in fields:
            for name, raw in mapped(fields, object, "fields.salesforce").items():
                try:
                    self.custom.setdefault(object, {})[name] = read(name, raw)
                except (ValueError, TypeError, AttributeError, KeyError) as bad:
                    raise ValueError(f"fields.salesforce.{object}.{name}: {bad}") from bad
        for object in part:
            table = self.tables.setdefault(object, Table())
            self.custom.setdefault(object, {})
            for position, each in enumerate(listed(part, object, "salesforce")):
                where = f"salesforce.{object}[{position}]"
                id = with_suffix(str(each["Id"])) if "Id" in each else self.new_id(object)
                if not is_id(id):
                    raise ValueError(f"{where}: {id} is not an id of 15 or 18 characters")
                kept = {
                    name: v for name, v in each.items() if v is not None and name not in ("Id", "attributes")
                }
                try:
                    table.add(Row(id, kept, now, now))
                except ValueError as bad:
                    raise ValueError(f"{where}: {bad}") from bad

    def dump(self) -> dict[str, Any]:
        # A job that is not polled is processed as well, and as late as possible: when the state is read.
        for work in list(self.underway.values()):
            work()
        return {
            object: [{"Id": row.id, **row.values} for row in table] for object, table in self.tables.items()
        }

    def dump_fields(self) -> dict[str, Any]:
        return {
            object: {name: dict(each.raw) for name, each in fields.items()}
            for object, fields in self.custom.items()
            if fields or object == "Account"
        }

    def new_id(self, object: str) -> str:
        self._made += 1
        custom = sorted(name for name in self.custom if name not in PREFIXES)
        prefix = PREFIXES.get(object) or f"a{custom.index(object) if object in custom else 0:02}"
        id = make_id(prefix, 10**9 + self._made)
        return self.new_id(object) if object in self.tables and id in self.tables[object].rows else id

    def object(self, name: str) -> str:
        """The name of an object in its right case. Raises Refusal."""
        for known in (*STANDARD, *self.custom):
            if known.lower() == name.lower():
                return known
        raise refused(404, "NOT_FOUND", "The requested resource does not exist")

    def fields(self, object: str) -> dict[str, Field]:
        return {**STANDARD.get(object, CUSTOM_OBJECT), **self.custom.get(object, {})}

    def table(self, object: str) -> Table:
        return self._organization if object == "Organization" else self.tables.setdefault(object, Table())

    def value(self, object: str, field: Field, row: Row) -> Any:
        match field.name:
            case "Id":
                return row.id
            case "CreatedDate":
                return shown_moment(datetime.fromtimestamp(row.created, UTC))
            case "LastModifiedDate" | "SystemModstamp":
                return shown_moment(datetime.fromtimestamp(row.updated, UTC))
            case "Name" if object in ("Contact", "Lead"):
                return (
                    " ".join(filter(None, (row.values.get("FirstName"), row.values.get("LastName")))) or None
                )
        return row.values.get(field.name, False if field.type == "boolean" else None)

    def find(self, object: str, id: str) -> Row | None:
        return self.table(object).rows.get(with_suffix(id))

    def checked(self, object: str, known: Mapping[str, Field], record: Mapping[str, Any]) -> dict[str, Any]:
        """The values to store for a record, by field. `known` is the object's fields by lower-case name.

        Raises BadRecord for this record; Refusal for the whole request: an unknown field or an impossible value.
        """
        changes, failure = {}, None
        for name, value in record.items():
            if name in ("attributes", "id", "Id"):
                continue
            wanted = known.get(name.lower())
            if wanted is None:
                message = f"No such column '{name}' on sobject of type {object}"
                raise refused(400, "INVALID_FIELD", message)
            if not wanted.writable:
                failure = failure or BadRecord(
                    "INVALID_FIELD_FOR_INSERT_UPDATE",
                    f"Unable to create/update fields: {wanted.name}. Please check the security settings of this "
                    f"field and verify that it is read/write for your profile or permission set.",
                    [wanted.name],
                )
                continue
            try:
                changes[wanted.name] = stored(wanted, value)
            except BadJson as bad:
                raise refused(400, "JSON_PARSER_ERROR", str(bad)) from bad
            except BadRecord as bad:
                failure = failure or bad
        if failure:
            raise failure
        return changes

    def unique(
        self, object: str, known: Mapping[str, Field], work: Work, taken: dict[tuple[str, str], None]
    ) -> None:
        """Refuse a unique value that another record, or an earlier one of the request, has. Raises BadRecord."""
        for name, value in (work.changes or {}).items():
            if value is None or not known[name.lower()].unique:
                continue
            for other in self.table(object).having(name, value):
                if other is not work.row:
                    message = f"duplicate value found: {name} duplicates value on record with id: {other.id}"
                    raise BadRecord("DUPLICATE_VALUE", message, [name])
            if (name, fold(value)) in taken:
                message = f"duplicate value found: {name} duplicates value on record in this request"
                raise BadRecord("DUPLICATE_VALUE", message, [name])
            taken[name, fold(value)] = None

    def complete(self, known: Mapping[str, Field], work: Work) -> None:
        """Refuse a record that lacks a required field, or loses one. Raises BadRecord."""
        changes = work.changes or {}
        missing = [
            field.name
            for field in known.values()
            if field.required
            and changes.get(field.name) is None
            and (work.row is None or field.name in changes)
        ]
        if missing:
            names = ", ".join(missing)
            raise BadRecord("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{names}]", missing)

    def apply(self, work: Work, now: float) -> bool:
        """Save a record; return whether it is new."""
        table, changes = self.table(work.object), work.changes or {}
        if work.row is not None:
            table.change(work.row, changes, now)
            return False
        kept = {name: value for name, value in changes.items() if value is not None}
        work.row = table.add(Row(self.new_id(work.object), kept, now, now))
        return True
