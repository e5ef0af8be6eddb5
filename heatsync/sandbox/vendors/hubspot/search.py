"""HubSpot's search: the records that a search body selects.

developers.hubspot.com, search guide, 2026: at most 5 groups of 6 filters, 18 in all, 200 records a page, 10,000
a search; the values of IN are compared, without a change of case, with values in lower case.
"""

from collections.abc import Callable, Mapping
from typing import Any

from heatsync.sandbox.calls import Refusal
from heatsync.sandbox.state import Row, Table, fold
from heatsync.sandbox.vendors.hubspot.properties import Property, error

GROUPS, FILTERS, ALL_FILTERS = 5, 6, 18
PAGE, REACH = 200, 10_000


def _no(message: str) -> Refusal:
    return Refusal(error(400, "VALIDATION_ERROR", message))


def found(table: Table, known: Mapping[str, Property], body: Mapping[str, Any]) -> list[Row]:
    """The records of a search, in its order. Raises Refusal."""
    groups = [group.get("filters", []) for group in body.get("filterGroups") or []]
    if len(groups) > GROUPS or any(len(group) > FILTERS for group in groups):
        raise _no(f"At most {GROUPS} filterGroups of {FILTERS} filters are allowed")
    if sum(map(len, groups)) > ALL_FILTERS:
        raise _no(f"At most {ALL_FILTERS} filters are allowed")
    for each in (each for group in groups for each in group):
        if each.get("propertyName") not in known:
            raise _no(f"There was a problem with the request: property {each.get('propertyName')} unknown")
    if groups:
        ids = dict.fromkeys(row.id for group in groups for row in _group(table, group))
        rows = [table.rows[id] for id in ids]
    else:
        rows = list(table)
    for sort in reversed(body.get("sorts") or []):
        name = sort.get("propertyName") if isinstance(sort, dict) else sort
        down = isinstance(sort, dict) and sort.get("direction") == "DESCENDING"
        rows.sort(key=lambda row: _order(_value(row, name)), reverse=down)
    return rows


def page(body: Mapping[str, Any]) -> tuple[int, int]:
    """(records per page, position of the first). Raises Refusal."""
    try:
        limit, after = int(body.get("limit", 10)), int(body.get("after") or 0)
    except ValueError:
        raise _no("limit and after must be numbers") from None
    if not 0 <= limit <= PAGE:
        raise _no(f"limit must be at most {PAGE}")
    if after + limit > REACH:
        raise _no(f"Paging beyond {REACH} results is not supported")
    return limit, after


def _value(row: Row, name: Any) -> str | None:
    return row.id if name == "hs_object_id" else row.values.get(name)


def _order(value: str | None) -> tuple[int, float, str]:
    if value is None:
        return 0, 0.0, ""
    try:
        return 1, float(value), value
    except ValueError:
        return 2, 0.0, value


def _group(table: Table, filters: list[dict[str, Any]]) -> list[Row]:
    """The records that pass every filter: the first through an index where it can, the others one by one."""
    if not filters:
        return list(table)
    first, *others = sorted(filters, key=lambda each: each.get("operator") not in ("EQ", "IN"))
    rows = _indexed(table, first)
    tests = [_test(each) for each in (others if rows is not None else filters)]
    return [row for row in (table if rows is None else rows) if all(test(row) for test in tests)]


def _indexed(table: Table, each: Mapping[str, Any]) -> list[Row] | None:
    name, operator = str(each["propertyName"]), each.get("operator")
    if operator == "EQ":
        keys = [fold(each.get("value", ""))]
    elif operator == "IN":
        keys = [str(value) for value in _listed(each)]
    else:
        return None
    if name == "hs_object_id":
        return [table.rows[key] for key in dict.fromkeys(keys) if key in table.rows]
    return [row for key in dict.fromkeys(keys) for row in table.having_key(name, key)]


def _listed(each: Mapping[str, Any]) -> list[Any]:
    values = each.get("values")
    if not isinstance(values, list) or not values:
        raise _no(f"operator {each.get('operator')} requires values")
    return values


def _test(each: Mapping[str, Any]) -> Callable[[Row], bool]:
    name, operator = str(each["propertyName"]), str(each.get("operator"))

    def holds(rule: Callable[[str], bool], empty: bool = False) -> Callable[[Row], bool]:
        def test(row: Row) -> bool:
            value = _value(row, name)
            return empty if value is None else rule(value)

        return test

    match operator:
        case "HAS_PROPERTY":
            return holds(lambda _: True)
        case "NOT_HAS_PROPERTY":
            return holds(lambda _: False, empty=True)
        case "EQ":
            return holds(lambda value: fold(value) == fold(each.get("value", "")))
        case "NEQ":
            return holds(lambda value: fold(value) != fold(each.get("value", "")))
        case "IN":
            wanted = {str(value) for value in _listed(each)}
            return holds(lambda value: fold(value) in wanted)
        case "NOT_IN":
            refused = {str(value) for value in _listed(each)}
            return holds(lambda value: fold(value) not in refused, empty=True)
        case "GT" | "GTE" | "LT" | "LTE":
            limit = _order(str(each.get("value", "")))
            compare: dict[str, Callable[[str], bool]] = {
                "GT": lambda value: _order(value) > limit,
                "GTE": lambda value: _order(value) >= limit,
                "LT": lambda value: _order(value) < limit,
                "LTE": lambda value: _order(value) <= limit,
            }
            return holds(compare[operator])
    raise _no(f"Invalid input JSON: operator {operator} is not one that the sandbox knows")
