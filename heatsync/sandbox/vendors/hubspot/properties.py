"""HubSpot's properties: the standard ones, the values that they accept, and the errors for other values."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

from heatsync.sandbox.calls import Refusal, Reply

# developers.hubspot.com, properties guide, 2026: which fieldType goes with which type.
FIELD_TYPES = {
    "bool": ("booleancheckbox", "calculation_equation"),
    "date": ("date",),
    "datetime": ("date",),
    "enumeration": ("select", "radio", "checkbox", "booleancheckbox", "calculation_equation"),
    "number": ("number", "calculation_equation"),
    "phone_number": ("phonenumber",),
    "string": ("text", "textarea", "file", "html", "phonenumber", "calculation_equation"),
}
TEXT_LENGTH = 65_536
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Problem = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Property:
    name: str
    type: str
    field_type: str
    label: str
    group: str
    options: tuple[str, ...] = ()
    unique: bool = False
    read_only: bool = False
    standard: bool = False
    archived: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict)
    """The definition as it was seeded or created; /_state shows it."""

    def shown(self) -> dict[str, Any]:
        options = self.raw.get("options") or [{"value": value, "label": value} for value in self.options]
        return {
            "name": self.name,
            "label": self.label,
            "type": self.type,
            "fieldType": self.field_type,
            "groupName": self.group,
            "description": self.raw.get("description", ""),
            "options": [
                {"hidden": False, "displayOrder": i, **_option(each)} for i, each in enumerate(options)
            ],
            "displayOrder": -1,
            "calculated": bool(self.raw.get("calculated", False)),
            "externalOptions": False,
            "archived": self.archived,
            "hasUniqueValue": self.unique,
            "hidden": False,
            "hubspotDefined": self.standard,
            "formField": False,
            "dataSensitivity": "non_sensitive",
            "modificationMetadata": {
                "archivable": not self.standard,
                "readOnlyDefinition": self.standard,
                "readOnlyValue": self.read_only,
            },
        }


def _option(each: Any) -> dict[str, Any]:
    return dict(each) if isinstance(each, dict) else {"value": str(each), "label": str(each)}


def read(name: str, raw: Mapping[str, Any]) -> Property:
    """A property from its definition, or from the short form of /_state. Raises ValueError."""
    type = str(raw.get("type", "string"))
    if type not in FIELD_TYPES:
        raise ValueError(f"{type!r} is not a type of HubSpot's; use {', '.join(FIELD_TYPES)}")
    field_type = str(raw.get("fieldType", FIELD_TYPES[type][0]))
    if field_type not in FIELD_TYPES[type]:
        raise ValueError(f"fieldType {field_type!r} does not go with type {type!r}")
    options = tuple(str(_option(each)["value"]) for each in raw.get("options") or ())
    metadata = raw.get("modificationMetadata") or {}
    return Property(
        name=name,
        type=type,
        field_type=field_type,
        label=str(raw.get("label", name)),
        group=str(raw.get("groupName", "contactinformation")),
        options=options,
        unique=bool(raw.get("hasUniqueValue", False)),
        read_only=bool(raw.get("calculated") or raw.get("readOnlyValue") or metadata.get("readOnlyValue")),
        archived=bool(raw.get("archived", False)),
        raw=dict(raw),
    )


_STAGES = (
    "subscriber",
    "lead",
    "marketingqualifiedlead",
    "salesqualifiedlead",
    "opportunity",
    "customer",
    "evangelist",
    "other",
)


def _standard(group: str, **types: str) -> dict[str, Property]:
    return {
        name: Property(
            name=name,
            type=type.removesuffix("!").removesuffix("*"),
            field_type=FIELD_TYPES[type.removesuffix("!").removesuffix("*")][0],
            label=name.replace("_", " ").capitalize(),
            group=group,
            options=_STAGES if name == "lifecyclestage" else (),
            unique=type.endswith("*"),
            read_only=type.endswith("!"),
            standard=True,
        )
        for name, type in types.items()
    }


_PLACE = dict.fromkeys(("address", "city", "state", "zip", "country", "phone", "website"), "string")
# `*` marks a unique property, `!` one that only HubSpot writes.
STANDARD: dict[str, dict[str, Property]] = {
    "contacts": _standard(
        "contactinformation",
        **dict.fromkeys(
            ("firstname", "lastname", "company", "jobtitle", "mobilephone", "industry"), "string"
        ),
        **_PLACE,
        email="string*",
        annualrevenue="string",
        lifecyclestage="enumeration",
        hs_object_id="number!",
        hs_email_domain="string!",
        hs_additional_emails="string!",
        hs_merged_object_ids="string!",
        createdate="datetime!",
        lastmodifieddate="datetime!",
    ),
    "companies": _standard(
        "companyinformation",
        **dict.fromkeys(("name", "domain", "description", "industry", "type"), "string"),
        **_PLACE,
        numberofemployees="number",
        annualrevenue="number",
        lifecyclestage="enumeration",
        hs_object_id="number!",
        createdate="datetime!",
        hs_lastmodifieddate="datetime!",
    ),
}
GROUPS = {"contacts": "contactinformation", "companies": "companyinformation"}


def problem(name: str, code: str, message: str, portal: int) -> Problem:
    return {
        "isValid": False,
        "message": message,
        "error": code,
        "name": name,
        "localizedErrorMessage": message,
        "portalId": portal,
    }


def error(status: int, category: str, message: str, **more: Any) -> Reply:
    """HubSpot's error body."""
    body = {"status": "error", "message": message, "correlationId": CORRELATION, "category": category}
    return Reply(status, {**body, **more})


CORRELATION = "aeb5f871-7f07-4993-9211-075dc63e7cbf"


def invalid(problems: list[Problem]) -> Refusal:
    """One record's values are not valid. The text after the colon is JSON, as HubSpot writes it."""
    text = json.dumps(problems, separators=(",", ":"))
    return Refusal(
        error(
            400,
            "VALIDATION_ERROR",
            f"Property values were not valid: {text}",
            errors=[
                {
                    "message": each["message"],
                    "code": each["error"],
                    "context": {"propertyName": [each["name"]]},
                }
                for each in problems
            ],
        )
    )


class BadValue(Exception):
    """(HubSpot's code, its message) for a value that a property does not accept."""


def stored(wanted: Property, value: Any, before: str = "") -> str:
    """The text that HubSpot stores for a value, empty when it clears the property. Raises BadValue.

    `before` matters to a multiple checkbox: a leading semicolon adds to it.
    """
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    if wanted.read_only:
        raise BadValue("READ_ONLY_VALUE", f"{wanted.name} is a read only property; its value cannot be set")
    if not text:
        return ""
    match wanted.type:
        case "number":
            return _number(text)
        case "date":
            return _date(text)
        case "datetime":
            return _datetime(text)
        case "bool":
            return _chosen(text.lower(), ("true", "false"))
        case "enumeration" if wanted.field_type == "checkbox":
            return _several(wanted, text, before)
        case "enumeration" if wanted.options:
            return _chosen(text, wanted.options)
    if wanted.name == "email" and not re.fullmatch(r"[^@\s,;]+@[^@\s,;]+\.[^@\s,;.]+", text):
        raise BadValue("INVALID_EMAIL", f"Email address {text} is invalid")
    if len(text) > TEXT_LENGTH:
        # HubSpot's code for this is not documented.
        raise BadValue("INVALID_STRING_LENGTH", f"Property values must be at most {TEXT_LENGTH} characters")
    return text.strip().lower() if wanted.name == "email" else text


def _number(text: str) -> str:
    try:
        if math.isfinite(float(text)):
            return text.strip()
    except ValueError:
        pass
    raise BadValue("INVALID_FLOAT", f"{text} was not a valid number.")


def _milliseconds(text: str) -> datetime | None:
    if not text.removeprefix("-").isdecimal():
        return None
    try:
        return EPOCH + timedelta(milliseconds=int(text))
    except OverflowError:
        return None


def _date(text: str) -> str:
    moment = _milliseconds(text)
    if moment is None:
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError:
            raise BadValue("INVALID_LONG", f"{text} was not a valid long.") from None
    if moment.time() != datetime.min.time():
        clock = moment.strftime("%H:%M:%S.%f")[:-3]
        raise BadValue("INVALID_DATE", f"{text} is at {clock} UTC, not midnight!")
    return moment.date().isoformat()


def _datetime(text: str) -> str:
    moment = _milliseconds(text)
    if moment is None:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
    # A date alone is refused like any other text (seen live with a datetime property, verbb/formie 1755, 2025-10).
    if moment is None or moment.tzinfo is None:
        raise BadValue("INVALID_LONG", f"{text} was not a valid long.")
    return instant(moment)


def instant(moment: datetime) -> str:
    """As HubSpot writes it: UTC, milliseconds only when there are any."""
    moment = moment.astimezone(UTC).replace(tzinfo=None)
    return moment.isoformat(timespec="milliseconds").removesuffix(".000") + "Z"


@lru_cache(maxsize=10_000)
def timestamp(moment: float) -> str:
    """A time in unix seconds, as HubSpot writes it."""
    return instant(datetime.fromtimestamp(moment, UTC))


def _chosen(text: str, options: Iterable[str]) -> str:
    options = list(options)
    if text not in options:
        allowed = ", ".join(options)
        raise BadValue("INVALID_OPTION", f"{text} was not one of the allowed options: [{allowed}]")
    return text


def _several(wanted: Property, text: str, before: str) -> str:
    chosen = [_chosen(each, wanted.options) for each in text.split(";") if each]
    kept = before.split(";") if text.startswith(";") and before else []
    return ";".join(dict.fromkeys([*kept, *chosen]))
