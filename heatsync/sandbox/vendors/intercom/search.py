"""Intercom's contact search: filters in groups of at most 15, nested at most twice.

developers.intercom.com, search for contacts, API 2.14: dates match by calendar day and know only `=`, `>`, `<`.
"""

from collections.abc import Callable
from typing import Any

from heatsync.sandbox.calls import Refusal
from heatsync.sandbox.state import Row, Table, fold
from heatsync.sandbox.vendors.intercom.store import CUSTOM, STANDARD, Store, no

GROUP, DEPTH = 15, 2
DAY = 86_400
_OWN = {"id": "string", "email_domain": "string", "created_at": "date", "updated_at": "date"}


def _bad(message: str) -> Refusal:
    return no(400, "parameter_invalid", message)


def found(store: Store, query: Any) -> list[Row]:
    """The contacts that a query selects, the newest id last. Raises Refusal."""
    table = store.tables["contacts"]
    ids = _ids(store, table, query, 0)
    return [table.rows[id] for id in ids]


def _ids(store: Store, table: Table, query: Any, depth: int) -> dict[str, None]:
    if not isinstance(query, dict) or "value" not in query:
        raise no(400, "parameter_missing", "query needs an operator and a value")
    if "field" in query:
        return _filtered(store, table, query)
    operator, parts = query.get("operator"), query["value"]
    if operator not in ("AND", "OR") or not isinstance(parts, list) or not parts:
        raise _bad("a group needs the operator AND or OR and a list of filters")
    if len(parts) > GROUP:
        raise _bad(f"There is a limit of {GROUP} filters for each AND or OR group")
    if depth >= DEPTH:
        raise _bad(f"There is a limit of {DEPTH} nested filters")
    first, *others = (_ids(store, table, part, depth + 1) for part in parts)
    for other in others:
        first = first | other if operator == "OR" else {id: None for id in first if id in other}
    return first


def _type(store: Store, field: str) -> str:
    if field.startswith(CUSTOM):
        attribute = store.attributes["contacts"].get(field.removeprefix(CUSTOM))
        found = attribute.type if attribute and not attribute.archived else None
    else:
        found = STANDARD["contacts"].get(field) or _OWN.get(field)
    if found is None:
        raise _bad(f"{field} is not a field that can be searched")
    return found


def _value(row: Row, field: str) -> Any:
    match field:
        case "id":
            return row.id
        case "created_at":
            return int(row.created)
        case "updated_at":
            return int(row.updated)
        case "email_domain":
            return row.values.get("email", "").partition("@")[2] or None
    return row.values.get(field)


def _filtered(store: Store, table: Table, query: dict[str, Any]) -> dict[str, None]:
    field, operator, value = str(query["field"]), str(query.get("operator")), query["value"]
    type = _type(store, field)
    if operator in ("IN", "NIN") and not isinstance(value, list):
        raise _bad(f"the operator {operator} needs a list of values")
    if operator not in ("IN", "NIN") and isinstance(value, list | dict):
        raise _bad(f"the operator {operator} needs a single value")
    if type == "date" and operator not in ("=", ">", "<"):
        raise _bad(f"the operator {operator} is not supported on date fields")
    if operator in ("=", "IN") and field not in _OWN and type != "date" and value is not None:
        values = value if operator == "IN" else [value]
        return {row.id: None for each in values for row in table.having(field, each)}
    if operator in ("=", "IN") and field == "id":
        values = value if operator == "IN" else [value]
        return {str(each): None for each in values if str(each) in table.rows}
    test = _test(table, field, type, operator, value)
    return {row.id: None for row in table if test(_value(row, field))}


def _test(table: Table, field: str, type: str, operator: str, value: Any) -> Callable[[Any], bool]:
    if type == "date":
        return _day_test(operator, value)
    if operator in ("=", "!="):
        wanted = None if value is None else table.key(field, value)
        same = operator == "="
        return lambda have: ((None if have is None else table.key(field, have)) == wanted) == same
    if operator in ("IN", "NIN"):
        keys = {table.key(field, each) for each in value}
        inside = operator == "IN"
        return lambda have: (have is not None and table.key(field, have) in keys) == inside
    if operator in ("<", ">", "<=", ">=") and type in ("integer", "float"):
        limit = _number(value)
        order: dict[str, Callable[[Any], bool]] = {
            "<": lambda have: have < limit,
            ">": lambda have: have > limit,
            "<=": lambda have: have <= limit,
            ">=": lambda have: have >= limit,
        }
        compare = order[operator]
        return lambda have: have is not None and compare(have)
    text = fold(value)
    words: dict[str, Callable[[str], bool]] = {
        "~": lambda have: text in have,
        "!~": lambda have: text not in have,
        "^": lambda have: have.startswith(text),
        "$": lambda have: have.endswith(text),
    }
    if operator not in words or type != "string":
        raise _bad(f"the operator {operator} is not supported for {field}")
    rule = words[operator]
    return lambda have: rule(fold(have or ""))


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise _bad(f"{value} is not a number") from None


def _day_test(operator: str, value: Any) -> Callable[[Any], bool]:
    """By calendar day of the workspace, which is in UTC here."""
    start = _number(value) // DAY * DAY
    if operator == "=":
        return lambda have: have is not None and start <= have < start + DAY
    if operator == ">":
        return lambda have: have is not None and have >= start + DAY
    return lambda have: have is not None and have < start
