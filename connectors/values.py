"""Values on their way to a vendor and back, as far as vendors agree on them."""

import math
from datetime import UTC, date, datetime
from typing import Any

from connectors.types import FieldType, Value


def encode_json(value: Value) -> Any:
    """A value as JSON: dates and times in ISO 8601, a list as an array. Raises ValueError for a number JSON cannot hold."""
    match value:
        case float():
            return finite(value)
        case datetime():
            return value.isoformat(timespec="seconds").replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case tuple():
            return list(value)
    return value


def finite(value: float) -> float:
    """The number itself. Raises ValueError for infinity and NaN, which JSON cannot hold."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a number that can be sent")
    return value


def decode_text(text: str, type: FieldType) -> Value:
    """A text as a value of the type. A time without a time zone, and a type with no form of its own, stay text.

    Raises ValueError or OverflowError for a text that is no value of the type.
    """
    match type:
        case FieldType.DATE:
            return date.fromisoformat(text)
        case FieldType.DATETIME:
            moment = datetime.fromisoformat(text)
            return text if moment.tzinfo is None else moment.astimezone(UTC).replace(microsecond=0)
        case FieldType.LIST:
            return tuple(text.split(";"))
    return text


def decode_scalar(raw: object, type: FieldType) -> Value:
    """A JSON boolean or number as a value of the type; as text where it is none."""
    if isinstance(raw, bool):
        return raw if type is FieldType.BOOLEAN else str(raw).lower()
    if isinstance(raw, float) and not math.isfinite(raw):
        return str(raw)
    if isinstance(raw, int) and type in (FieldType.NUMBER, FieldType.INTEGER):
        return raw
    if isinstance(raw, float) and type is FieldType.NUMBER:
        return raw
    if isinstance(raw, float) and type is FieldType.INTEGER and raw.is_integer():
        return int(raw)
    return str(raw)
