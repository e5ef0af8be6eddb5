"""What Intercom holds for one workspace: contacts, companies, their attributes and tags.

A record's values are flat: `email`, and `custom_attributes.plan`, like Intercom's `full_name`.
"""

import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from heatsync.sandbox.calls import Refusal, Reply
from heatsync.sandbox.state import Row, Table, listed, mapped, number_of, only

MODELS = {"contacts": "contact", "companies": "company"}
CUSTOM = "custom_attributes."
ATTRIBUTES = 250
"""Custom attributes per workspace (help page, undated; some texts say per model). Archiving one frees its place."""
TEXT_LENGTH = 255
# The message lists alphanumeric characters, currency symbols and hyphens; underscores work in practice. Names
# with `.` or `$` are refused by old documentation.
NAME = re.compile(r"[\w\-€£¥]{1,190}")
TYPES = ("string", "integer", "float", "boolean", "date")

_STRING, _DATE = "string", "date"
STANDARD: dict[str, dict[str, str]] = {
    "contacts": {
        "external_id": _STRING,
        "email": _STRING,
        "phone": _STRING,
        "name": _STRING,
        "avatar": _STRING,
        "role": _STRING,
        "signed_up_at": _DATE,
        "last_seen_at": _DATE,
        "owner_id": "integer",
        "unsubscribed_from_emails": "boolean",
        "language_override": _STRING,
    },
    "companies": {
        "company_id": _STRING,
        "name": _STRING,
        "plan": _STRING,
        "size": "integer",
        "website": _STRING,
        "industry": _STRING,
        "remote_created_at": _DATE,
        "monthly_spend": "float",
    },
}
# `companies` of a contact is the sandbox's own: the ids of the companies that it is attached to. So are `tags` (names) and
# `merged_into`, which is all that is left of a contact that was merged into another.
_EXTRA = {
    "contacts": ("id", "custom_attributes", "companies", "tags", "merged_into"),
    "companies": ("id", "custom_attributes", "tags"),
}


@dataclass(frozen=True, slots=True)
class Attribute:
    id: int
    model: str
    name: str
    type: str
    options: tuple[str, ...] = ()
    archived: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict)

    @property
    def writable(self) -> bool:
        return self.raw.get("api_writable") is not False

    def shown(self) -> dict[str, Any]:
        body = {
            "type": "data_attribute",
            "id": self.id,
            "model": self.model,
            "name": self.name,
            "full_name": CUSTOM + self.name,
            "label": self.name,
            "description": self.raw.get("description", ""),
            "data_type": self.type,
            "api_writable": self.writable,
            "ui_writable": True,
            "messenger_writable": bool(self.raw.get("messenger_writable", False)),
            "custom": True,
            "archived": self.archived,
            "admin_id": "991267786",
            "created_at": 1_734_537_756,
            "updated_at": 1_734_537_756,
        }
        return {**body, "options": list(self.options)} if self.options else body


def error(status: int, code: str, message: str, field: str | None = None) -> Reply:
    """Intercom's error list of one."""
    one = {"code": code, "message": message, **({"field": field} if field else {})}
    request = "b2f8a5f6-1d3c-4a0e-9f30-6f6a1f2b7c11"
    return Reply(status, {"type": "error.list", "request_id": request, "errors": [one]})


def no(status: int, code: str, message: str, field: str | None = None) -> Refusal:
    return Refusal(error(status, code, message, field))


def read(id: int, model: str, name: str, raw: Mapping[str, Any]) -> Attribute:
    """An attribute from a request or from /_state. Raises ValueError."""
    type = str(raw.get("data_type") or raw.get("type") or "string")
    options = tuple(
        str(each["value"] if isinstance(each, dict) else each) for each in raw.get("options") or ()
    )
    if type in ("options", "list") or options:
        if len(options) < 2:
            raise ValueError("The Data Attribute must have at least two options")
        type = "string"
    type = {"datetime": "date", "number": "float"}.get(type, type)
    if type not in TYPES:
        raise ValueError("Data Type isn't an option")
    return Attribute(id, model, name, type, options, bool(raw.get("archived", False)), dict(raw))


class Store:
    def __init__(self, account: str) -> None:
        self.account = account
        self.code = f"{number_of('intercom', account, digits=12):x}"[-8:]
        self.tables = {
            "contacts": Table(exact=frozenset({"external_id"})),
            "companies": Table(exact=frozenset({"company_id"})),
        }
        self.attributes: dict[str, dict[str, Attribute]] = {name: {} for name in MODELS}
        self.companies_of: dict[str, dict[str, None]] = {}
        """Ids of companies, by the id of their contact."""
        self.sizes: Counter[str] = Counter()
        """Numbers of contacts, by the id of their company."""
        self.tags: dict[str, str] = {}
        """Names of tags, by id."""
        self.tags_of: dict[str, dict[str, dict[str, None]]] = {name: {} for name in MODELS}
        """By object and id of a record: the ids of its tags."""
        self.merged: dict[str, str] = {}
        """Ids of merged contacts, with the ids of the contacts that they were merged into."""
        self._made = 0
        self._attributes_made = 0

    def load(self, part: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        only(part, MODELS, "intercom")
        only(fields, MODELS, "fields.intercom")
        now = time.time()
        for object, table in self.tables.items():
            for name, raw in mapped(fields, object, "fields.intercom").items():
                try:
                    self.define(object, name, raw)
                except (ValueError, AttributeError, KeyError) as bad:
                    raise ValueError(f"fields.intercom.{object}.{name}: {bad}") from bad
            for position, each in enumerate(listed(part, object, "intercom")):
                where = f"intercom.{object}[{position}]"
                only(each, (*STANDARD[object], *_EXTRA[object]), where)
                custom = mapped(each, "custom_attributes", where)
                values = {name: each.get(name) for name in STANDARD[object]}
                values |= {CUSTOM + name: value for name, value in custom.items()}
                kept = {name: value for name, value in values.items() if value is not None}
                id = str(each["id"]) if "id" in each else self.new_id()
                if "merged_into" in each:
                    self.merged[id] = str(each["merged_into"])
                    continue
                try:
                    table.add(Row(id, kept, now, now))
                except ValueError as bad:
                    raise ValueError(f"{where}: {bad}") from bad
                for company in each.get("companies") or ():
                    self.attach(id, str(company))
                for tag in each.get("tags") or ():
                    self.set_tag(object, id, self.tag(str(tag)), True)

    def dump(self) -> dict[str, Any]:
        body = {object: [self._dumped(object, row) for row in table] for object, table in self.tables.items()}
        body["contacts"] += [{"id": id, "merged_into": other} for id, other in self.merged.items()]
        return body

    def _dumped(self, object: str, row: Row) -> dict[str, Any]:
        plain = {name: value for name, value in row.values.items() if not name.startswith(CUSTOM)}
        companies = self.companies_of.get(row.id)
        attached = {"companies": list(companies)} if companies else {}
        tags = self.tags_of[object].get(row.id)
        tagged = {"tags": [self.tags[id] for id in tags]} if tags else {}
        return {"id": row.id, **plain, **attached, **tagged, "custom_attributes": custom_of(row)}

    def dump_fields(self) -> dict[str, Any]:
        return {
            object: {name: dict(each.raw) for name, each in attributes.items()}
            for object, attributes in self.attributes.items()
        }

    def define(self, object: str, name: str, raw: Mapping[str, Any]) -> Attribute:
        self._attributes_made += 1
        new = read(self._attributes_made, MODELS[object], name, raw)
        self.attributes[object][name] = new
        return new

    def room(self) -> None:
        """Raise Refusal when no attribute can be added."""
        own = [each for attributes in self.attributes.values() for each in attributes.values()]
        if sum(not each.archived for each in own) >= ATTRIBUTES:
            message = f"You have reached the limit of {ATTRIBUTES} custom attributes"
            raise no(400, "parameter_invalid", message)

    def contact(self, id: str) -> Row:
        """The contact with this id. Raises Refusal; for a merged contact it links to the contact that it was merged into.

        The look-up by external id is described like this; the description of merging (2.14) says that the id is not found,
        like that of any deleted contact.
        """
        row = self.tables["contacts"].rows.get(id)
        if row is not None:
            return row
        if id not in self.merged:
            raise no(404, "not_found", "User Not Found")
        link = {"Link": f'</contacts/{self.merged[id]}>; rel="canonical"'}
        raise Refusal(replace(error(410, "contact_merged", "The contact was merged"), headers=link))

    def attach(self, contact: str, company: str) -> None:
        companies = self.companies_of.setdefault(contact, {})
        if company not in companies:
            companies[company] = None
            self.sizes[company] += 1

    def tag(self, name: str) -> str:
        """The id of the tag with this name, in any case; created where there is none."""
        for id, known in self.tags.items():
            if known.casefold() == name.casefold():
                return id
        id = str(7_000_000 + len(self.tags))
        self.tags[id] = name
        return id

    def set_tag(self, object: str, record: str, tag: str, on: bool) -> None:
        tags = self.tags_of[object].setdefault(record, {})
        if on:
            tags[tag] = None
        else:
            tags.pop(tag, None)

    def new_id(self) -> str:
        """24 hexadecimal digits, like Intercom's ids."""
        self._made += 1
        id = f"67{number_of('intercom', self.account, digits=12):012x}"[:14] + f"{self._made:010x}"
        taken = any(id in table.rows for table in self.tables.values())
        return self.new_id() if taken else id

    def checked(self, object: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The values to store for a request, flat, None to clear one. Raises Refusal.

        Keys that Intercom does not know are ignored.
        """
        changes = {
            name: _plain(name, type, body[name]) for name, type in STANDARD[object].items() if name in body
        }
        custom = body.get("custom_attributes") or {}
        if not isinstance(custom, dict):
            raise no(400, "parameter_invalid", "custom_attributes must be an object")
        known = self.attributes[object]
        for name, value in custom.items():
            attribute = known.get(name)
            if attribute is None or attribute.archived:
                raise no(400, "parameter_invalid", f"Custom attribute '{name}' does not exist")
            _fits(attribute, value)
            changes[CUSTOM + name] = value
        return changes


def custom_of(row: Row) -> dict[str, Any]:
    skip = len(CUSTOM)
    return {name[skip:]: value for name, value in row.values.items() if name.startswith(CUSTOM)}


def _is(type: str, value: Any) -> bool:
    if type == "boolean" or isinstance(value, bool):
        return type == "boolean" and isinstance(value, bool)
    if type in ("integer", "date"):
        return isinstance(value, int)
    if type == "float":
        return isinstance(value, int | float)
    return isinstance(value, str)


def _plain(name: str, type: str, value: Any) -> Any:
    if value is None or _is(type, value):
        return value
    if type == _STRING and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise no(400, "type_mismatch", f"{name} should be of type {type}", name)


def _fits(attribute: Attribute, value: Any) -> None:
    """Refuse a value that is not of the attribute's type. Intercom's exact words are not documented."""
    name = attribute.name
    if not attribute.writable:
        raise no(400, "parameter_invalid", f"Custom attribute '{name}' is not writable by the API", name)
    if value is None:
        return
    if isinstance(value, list | dict) or not _is(attribute.type, value):
        message = f"Custom attribute '{name}' expects a value of type {attribute.type}"
        raise no(400, "parameter_invalid", message, name)
    if isinstance(value, str) and len(value) > TEXT_LENGTH:
        message = f"Custom attribute '{name}' is too long (maximum is {TEXT_LENGTH} characters)"
        raise no(400, "parameter_invalid", message, name)
    # Announced in Intercom-OpenAPI pull request 457 (2026-04-16); the text was later reverted.
    if attribute.options and value and value not in attribute.options:
        message = f"Custom attribute '{name}' does not have the option '{value}'"
        raise no(400, "parameter_invalid", message, name)
