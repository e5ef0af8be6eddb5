"""Salesforce's objects and fields: the standard ones, the values that they accept, and the errors for other values."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

TEXTS = ("string", "textarea", "email", "phone", "url", "picklist", "multipicklist", "reference", "id")
NUMBERS = ("double", "currency", "percent", "int")
TYPES = (*TEXTS, *NUMBERS, "boolean", "date", "datetime")
_LENGTHS = {"email": 80, "phone": 40, "picklist": 255, "multipicklist": 4099, "reference": 18, "id": 18}
_SUFFIX = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    type: str
    length: int = 0
    precision: int = 18
    scale: int | None = None
    """None keeps every digit."""
    external: bool = False
    unique: bool = False
    case_sensitive: bool = False
    required: bool = False
    writable: bool = True
    id_lookup: bool = False
    restricted: bool = False
    options: tuple[str, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        number = self.type in NUMBERS
        values = [
            {"active": True, "defaultValue": False, "label": each, "validFor": None, "value": each}
            for each in self.options
        ]
        return {
            "name": self.name,
            "label": str(self.raw.get("label", self.name.removesuffix("__c").replace("_", " "))),
            "type": self.type,
            "length": self.length,
            "byteLength": self.length * 3,
            "precision": self.precision if number and self.type != "int" else 0,
            "scale": (self.scale or 0) if number else 0,
            "digits": 9 if self.type == "int" else 0,
            "nillable": not self.required and self.type != "boolean",
            "createable": self.writable,
            "updateable": self.writable,
            "calculated": bool(self.raw.get("calculated", False)),
            "externalId": self.external,
            "idLookup": self.id_lookup or self.external,
            "unique": self.unique,
            "caseSensitive": self.case_sensitive,
            "custom": self.name.endswith("__c"),
            "permissionable": self.name.endswith("__c"),
            "restrictedPicklist": self.restricted,
            "dependentPicklist": False,
            "controllerName": None,
            "picklistValues": values,
            "referenceTo": [],
            "defaultedOnCreate": self.type == "boolean",
        }


def read(name: str, raw: Mapping[str, Any]) -> Field:
    """A field from its definition, or from the short form of /_state. Raises ValueError."""
    type = str(raw.get("type", "string"))
    if type not in TYPES:
        raise ValueError(f"{type!r} is not a type of Salesforce's; use {', '.join(TYPES)}")
    options = tuple(
        str(each["value"] if isinstance(each, dict) else each) for each in raw.get("picklistValues") or ()
    )
    writable = raw.get("updateable", True) and raw.get("createable", True) and not raw.get("calculated")
    return Field(
        name=name,
        type=type,
        length=int(raw.get("length") or _LENGTHS.get(type, 255 if type in ("string", "url") else 32_768)),
        precision=int(raw.get("precision") or 18),
        scale=int(raw["scale"]) if "scale" in raw else None,
        external=bool(raw.get("externalId", False)),
        unique=bool(raw.get("unique", False)),
        case_sensitive=bool(raw.get("caseSensitive", False)),
        required=raw.get("nillable") is False,
        writable=bool(writable),
        restricted=bool(raw.get("restrictedPicklist", False)),
        options=options,
        raw=dict(raw),
    )


def _fields(**types: str) -> dict[str, Field]:
    """`!` marks a required field, `-` one that only Salesforce writes."""
    fields = {name: read(name, {"type": type.strip("!-")}) for name, type in types.items()}
    return {
        name: replace(each, required="!" in types[name], writable="-" not in types[name])
        for name, each in fields.items()
    }


_SYSTEM = {
    "Id": "id-",
    "IsDeleted": "boolean-",
    "CreatedDate": "datetime-",
    "LastModifiedDate": "datetime-",
    "SystemModstamp": "datetime-",
}
_PERSON = {
    "FirstName": "string",
    "LastName": "string!",
    "Name": "string-",
    "Email": "email",
    "Phone": "phone",
    "Title": "string",
    "OwnerId": "reference",
}
_BOOK = {
    "Name": "string!",
    "Type": "picklist",
    "Industry": "picklist",
    "Phone": "phone",
    "Website": "url",
    "Description": "textarea",
    "AnnualRevenue": "currency",
    "NumberOfEmployees": "int",
    "BillingCity": "string",
    "BillingCountry": "string",
    "AccountNumber": "string",
    "ParentId": "reference",
    "OwnerId": "reference",
}
STANDARD: dict[str, dict[str, Field]] = {
    "Account": _fields(**_SYSTEM, **_BOOK),
    "Contact": _fields(**_SYSTEM, **_PERSON, AccountId="reference", Department="string"),
    "Lead": _fields(**_SYSTEM, **_PERSON, Company="string!", Status="picklist"),
    "PermissionSet": _fields(Id="id-", Name="string!", Label="string"),
    "Organization": _fields(
        Id="id-", Name="string-", OrganizationType="picklist-", InstanceName="string-", IsSandbox="boolean-"
    ),
}
for _person in ("Contact", "Lead"):
    STANDARD[_person]["Email"] = replace(STANDARD[_person]["Email"], id_lookup=True)
CUSTOM_OBJECT = _fields(**_SYSTEM, Name="string", OwnerId="reference")
PREFIXES = {"Account": "001", "Contact": "003", "Lead": "00Q", "Organization": "00D", "PermissionSet": "0PS"}


def with_suffix(id: str) -> str:
    """The 18-character form of an id: the last three characters encode the case of the first fifteen."""
    if len(id) != 15:
        return id
    chunks = (id[i : i + 5] for i in (0, 5, 10))
    return id + "".join(_SUFFIX[sum(1 << i for i, c in enumerate(each) if c.isupper())] for each in chunks)


def is_id(id: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9]{15}([A-Za-z0-9]{3})?", id) is not None


class BadRecord(Exception):
    """(statusCode, message, fields): this record cannot be saved."""


class BadJson(Exception):
    """A value whose type the field can never hold: Salesforce refuses the whole request."""


def stored(wanted: Field, value: Any) -> Any:
    """The value that Salesforce stores. Raises BadRecord for the record, BadJson for the whole request."""
    if value is None:
        return False if wanted.type == "boolean" else None
    match wanted.type:
        case "boolean":
            return _boolean(value)
        case "double" | "currency" | "percent" | "int":
            return _number(wanted, value)
        case "date" | "datetime":
            return _moment(wanted, value)
    if isinstance(value, dict | list):
        raise _unreadable(wanted, value)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if not text.strip():
        return None
    if len(text) > wanted.length:
        message = f"{wanted.name}: data value too large: {text} (max length={wanted.length})"
        raise BadRecord("STRING_TOO_LONG", message, [wanted.name])
    if wanted.type == "email" and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", text):
        message = f"{wanted.name}: invalid email address: {text}"
        raise BadRecord("INVALID_EMAIL_ADDRESS", message, [wanted.name])
    chosen = text.split(";") if wanted.type == "multipicklist" else [text]
    if wanted.restricted and any(each not in wanted.options for each in chosen):
        message = f"{wanted.name}: bad value for restricted picklist field: {text}"
        raise BadRecord("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, [wanted.name])
    return text.strip()


def _unreadable(wanted: Field, value: Any) -> BadJson:
    kind = "VALUE_STRING" if isinstance(value, str) else "VALUE"
    return BadJson(
        f"Cannot deserialize instance of {wanted.type} from {kind} value {value} or request may be missing a "
        f"required field at [line:1, column:1]"
    )


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise BadJson(f"Cannot deserialize instance of boolean from VALUE {value} at [line:1, column:1]")


def _number(wanted: Field, value: Any) -> int | float | None:
    if value == "":
        return None
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or (wanted.type == "int" and not number.is_integer()):
        raise _unreadable(wanted, value)
    if wanted.type == "int":
        if abs(number) >= 2**31:
            raise _unreadable(wanted, value)
        return int(number)
    scale = wanted.scale
    if scale is not None:
        number = float(Decimal(repr(number)).quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP))
    if abs(number) >= 10 ** (wanted.precision - (scale or 0)):
        message = f"{wanted.name}: value outside of valid range on numeric field: {value}"
        raise BadRecord("NUMBER_OUTSIDE_VALID_RANGE", message, [wanted.name])
    return number


def _moment(wanted: Field, value: Any) -> str | None:
    if value == "":
        return None
    try:
        if wanted.type == "date":
            return date.fromisoformat(str(value)[:10]).isoformat()
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise _unreadable(wanted, value) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return shown_moment(moment)


def shown_moment(moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}+0000"
