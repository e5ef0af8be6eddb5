"""What HubSpot holds for one portal: contacts, companies, and their properties."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from heatsync.sandbox.calls import Refusal
from heatsync.sandbox.state import Row, Table, listed, mapped, number_of, only
from heatsync.sandbox.vendors.hubspot.properties import (
    GROUPS,
    STANDARD,
    BadValue,
    Problem,
    Property,
    error,
    invalid,
    problem,
    read,
    stored,
)

OBJECTS = {"contacts": "0-1", "companies": "0-2"}
"""Object type ids."""
REQUIRED = {"contacts": ("email", "firstname", "lastname"), "companies": ("name", "domain")}
"""A new record needs one of these."""
FIRST_ID = 1001
OWN_ID = "hs_object_id"
ALIASES = {"email": "hs_additional_emails", OWN_ID: "hs_merged_object_ids"}
"""The properties with the further addresses of a contact, and with the ids of the records that were merged into one; a
look-up by either finds the record (contacts guide, 2026-11)."""


class Store:
    def __init__(self, account: str) -> None:
        self.account = account
        self.portal = number_of("hubspot", account, digits=8)
        self.tables = {name: Table() for name in OBJECTS}
        self.properties = {name: dict(each) for name, each in STANDARD.items()}
        self.groups = {name: {group: group} for name, group in GROUPS.items()}
        self.aliases: dict[str, dict[tuple[str, str], str]] = {name: {} for name in OBJECTS}
        """By object: a key field and a further value of it, with the id of the record that the value finds."""
        self._next = dict.fromkeys(OBJECTS, FIRST_ID)

    def load(self, part: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        only(part, OBJECTS, "hubspot")
        only(fields, OBJECTS, "fields.hubspot")
        now = time.time()
        for object, table in self.tables.items():
            for name, raw in mapped(fields, object, "fields.hubspot").items():
                try:
                    self.define(object, _seeded(object, read(name, raw)))
                except (ValueError, AttributeError, KeyError) as bad:
                    raise ValueError(f"fields.hubspot.{object}.{name}: {bad}") from bad
            for position, each in enumerate(listed(part, object, "hubspot")):
                where = f"hubspot.{object}[{position}]"
                only(each, ("id", "properties"), where)
                values = mapped(each, "properties", where)
                kept = {name: _text(value) for name, value in values.items() if value not in (None, "")}
                id = str(each["id"]) if "id" in each else self.new_id(object)
                try:
                    table.add(Row(id, kept, now, now))
                except ValueError as bad:
                    raise ValueError(f"{where}: {bad}") from bad
                for field, others in ALIASES.items():
                    for other in kept.get(others, "").replace(";", " ").split():
                        self.aliases[object][field, other.lower()] = id
                if id.isascii() and id.isdigit():
                    self._next[object] = max(self._next[object], int(id) + 1)

    def dump(self) -> dict[str, Any]:
        return {
            name: [{"id": row.id, "properties": dict(row.values)} for row in table]
            for name, table in self.tables.items()
        }

    def dump_fields(self) -> dict[str, Any]:
        return {
            object: {name: dict(each.raw) for name, each in properties.items() if not each.standard}
            for object, properties in self.properties.items()
        }

    def define(self, object: str, new: Property) -> Property:
        self.properties[object][new.name] = new
        self.groups[object].setdefault(new.group, new.group)
        return new

    def archive(self, object: str, old: Property) -> None:
        self.properties[object][old.name] = replace(old, archived=True, raw={**old.raw, "archived": True})

    def new_id(self, object: str) -> str:
        self._next[object] += 1
        return str(self._next[object] - 1)

    def checked(
        self, object: str, properties: Mapping[str, Any], row: Row | None = None
    ) -> dict[str, str | None]:
        """The values to store for the properties of one record, None to clear one. Raises Refusal."""
        known = self.properties[object]
        before = row.values if row else {}
        changes: dict[str, str | None] = {}
        problems: list[Problem] = []
        for name, value in properties.items():
            wanted = known.get(name)
            if wanted is None or wanted.archived:
                message = f'Property "{name}" does not exist'
                problems.append(problem(name, "PROPERTY_DOESNT_EXIST", message, self.portal))
                continue
            if value is None or isinstance(value, list | dict):
                # The effect of null is not documented; the specification has a map of strings.
                raise Refusal(error(400, "VALIDATION_ERROR", f"Invalid input JSON: {name} must be a string"))
            try:
                changes[name] = stored(wanted, value, before.get(name, "")) or None
            except BadValue as bad:
                problems.append(problem(name, bad.args[0], bad.args[1], self.portal))
                continue
            if wanted.unique and changes[name] is not None:
                self._alone(object, name, str(changes[name]), row)
        if problems:
            raise invalid(problems)
        stage = changes.get("lifecyclestage")
        if stage and "lifecyclestage" in before and not _forward(known, before["lifecyclestage"], stage):
            del changes["lifecyclestage"]
        return changes

    def _alone(self, object: str, name: str, value: str, row: Row | None) -> None:
        """Refuse a unique value that another record has."""
        others = [each for each in self.tables[object].having(name, value) if each is not row]
        if not others:
            return
        if name == "email" and row is None:
            message = f"Contact already exists. Existing ID: {others[0].id}"
            raise Refusal(error(409, "CONFLICT", message))
        place = f"portalId={self.portal}, objectTypeId={OBJECTS[object]}, propertyName={name}, value={value}"
        own = row.id if row else "a new record"
        message = (
            f"Cannot set PropertyValueCoordinates{{{place}}} on {own}. {others[0].id} already has that value."
        )
        raise Refusal(error(400, "VALIDATION_ERROR", message))

    def create(self, object: str, changes: Mapping[str, Any], now: float) -> Row:
        """Add a record of checked values. Only e-mail addresses and unique values are compared: two companies may
        share a domain. Raises Refusal."""
        if not any(changes.get(name) for name in REQUIRED[object]):
            needed = ", ".join(REQUIRED[object])
            raise Refusal(error(400, "VALIDATION_ERROR", f"A new record needs one of: {needed}"))
        values = {name: value for name, value in changes.items() if value is not None}
        return self.tables[object].add(Row(self.new_id(object), values, now, now))


def _seeded(object: str, new: Property) -> Property:
    """A property as seeded. A standard property may get other options, but stays unique or read only."""
    own = STANDARD[object].get(new.name)
    if own is None:
        return new
    return replace(new, unique=own.unique or new.unique, read_only=own.read_only or new.read_only)


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _forward(known: Mapping[str, Property], old: str, new: str) -> bool:
    """Whether a life cycle stage moves forward: HubSpot ignores a step back."""
    stages = known["lifecyclestage"].options
    return old not in stages or new not in stages or stages.index(new) >= stages.index(old)
