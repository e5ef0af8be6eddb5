"""From a column of some DuckDB type to a field's value and type, as SQL. Nothing here touches data.

Order: what the source holds -> `map` -> `as` -> `join` -> `default`. An empty text is nothing. What cannot be
sent becomes NULL together with a problem: see `heatsync.sync.value_problems`.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from connectors.destination import Vendor
from connectors.types import FieldType
from heatsync.sync import value_problems
from heatsync.sync.mapping.model import Field
from heatsync.workspace import yaml_types

_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
_WIDE = {"UBIGINT", "HUGEINT", "UHUGEINT"}
_TEXTS = {"VARCHAR", "UUID", "TIME", '"NULL"', "JSON"}
_DATETIMES = {"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"}
_ZONED = "TIMESTAMP WITH TIME ZONE"
_DATE_FORMAT = "'%Y-%m-%d'"
_DATETIME_FORMAT = "'%Y-%m-%dT%H:%M:%SZ'"
SHOWN = 200
"""Characters of a value that a problem repeats."""

Checks = list[tuple[str, str]]
"""Conditions under which a value cannot be sent, and the code."""


@dataclass(frozen=True, slots=True)
class Value:
    """`step` is computed before the rest, under the name given for it; `day` is what the calendar is joined on."""

    type: FieldType
    sql: str
    problem: str | None
    step: str | None = None
    day: str | None = None


@dataclass(slots=True)
class _Making:
    """What comes together on the way to a value. `slot` names the step, `days` the calendar if there is one."""

    slot: str
    days: str | None
    checks: Checks
    step: str | None = None
    day: str | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """Something to be converted: an expression, DuckDB's name for its type, and ours."""

    sql: str
    duck: str

    @property
    def kind(self) -> FieldType:
        """Raises ValueError for what no destination takes."""
        duck = self.duck
        if duck.endswith("[]"):
            _ = Column("x", duck[:-2]).kind
            return FieldType.LIST
        if duck in _INTEGERS | _WIDE or re.fullmatch(r"DECIMAL\(\d+,0\)", duck):
            return FieldType.INTEGER
        if duck in ("FLOAT", "DOUBLE") or duck.startswith("DECIMAL"):
            return FieldType.NUMBER
        if duck in _TEXTS or duck.startswith("ENUM"):
            return FieldType.TEXT
        if duck in _DATETIMES or duck == _ZONED:
            return FieldType.DATETIME
        if duck in ("BOOLEAN", "DATE"):
            return FieldType(duck.lower())
        raise ValueError(
            f"a column of type {duck} cannot be sent: expected text, a number, true or false, a date, a time or a list"
        )


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_NAMES = {
    FieldType.TEXT: "text",
    FieldType.INTEGER: "a whole number",
    FieldType.NUMBER: "a number",
    FieldType.BOOLEAN: "true or false",
    FieldType.DATE: "a date",
    FieldType.DATETIME: "a time",
    FieldType.LIST: "a list",
}


def mismatch(field: Field, kind: FieldType, vendor: Vendor) -> tuple[str, str] | None:
    """What in a field does not go with its source's type: the key, and a sentence."""
    is_list = kind is FieldType.LIST
    if field.join is not None and not is_list:
        return "join", f"`join` is for lists, and this is {_NAMES[kind]}: take it out"
    if field.map and not is_list:
        kind = FieldType.TEXT
    wanted = field.as_ or kind
    temporal = (FieldType.DATE, FieldType.DATETIME)
    if is_list and wanted not in (FieldType.LIST, FieldType.TEXT):
        return "as", f"a list cannot become {_NAMES[wanted]}"
    if wanted in temporal and kind not in (*temporal, FieldType.TEXT):
        return "as", f"{_NAMES[kind]} cannot become {_NAMES[wanted]}"
    if kind in temporal and wanted not in (*temporal, FieldType.TEXT):
        return "as", f"{_NAMES[kind]} cannot become {_NAMES[wanted]}"
    if is_list and (field.join is not None or not vendor.accepts_lists):
        wanted = FieldType.TEXT
    if field.tolerance is not None and wanted not in (FieldType.INTEGER, FieldType.NUMBER):
        return "tolerance", f"`tolerance` is for numbers, and this is {_NAMES[wanted]}: take it out"
    if field.default is not None:
        try:
            default(field.default, wanted)
        except ValueError as error:
            return "default", str(error)
    return None


def default(text: str, kind: FieldType) -> str:
    """A default as SQL. Raises ValueError when the text is not of the type."""
    if kind is FieldType.INTEGER:
        return f"CAST({yaml_types.whole(text)} AS BIGINT)"
    if kind is FieldType.NUMBER:
        return f"CAST({yaml_types.number(text)!r} AS DOUBLE)"
    if kind is FieldType.BOOLEAN:
        return str(yaml_types.flag(text)).lower()
    if kind is FieldType.DATE:
        return literal(yaml_types.day(text).isoformat())
    if kind is FieldType.DATETIME:
        return literal(_instant(text))
    if kind is FieldType.LIST:
        return f"[{literal(text)}]"
    return literal(text) if text else "CAST(NULL AS VARCHAR)"


def _instant(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expected a time such as 2026-01-31T05:00:00Z, found `{text}`") from None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def key(column: Column, folded: bool) -> str:
    """A value to be found by: text without spaces around it, in lower case where the vendors do not tell."""
    text = f"trim({_text(column)})"
    return f"nullif({f'lower({text})' if folded else text}, '')"


def convert(
    column: Column, failed: str | None, field: Field, vendor: Vendor, slot: str, days: str | None
) -> Value:
    """A source as the field's value. `failed` is true where the source could not be computed; `slot` is the name
    for a step in between; `days` is the alias of the calendar, None when days are those of UTC. Raises ValueError
    when source and field do not go together."""
    wrong = mismatch(field, column.kind, vendor)
    if wrong is not None:
        raise ValueError(wrong[1])
    raw = column.sql
    making = _Making(slot, days, [(failed, "bad_value")] if failed is not None else [])
    column = _sound(column, making.checks)
    if field.map:
        column = _mapped(column, field.map)
    target = field.as_ or column.kind
    if column.kind is FieldType.LIST:
        target, sql = _list(column, field, vendor)
    elif target is FieldType.DATE:
        sql = _date(column, making)
    elif target is FieldType.DATETIME:
        sql = _datetime(column, making)
    else:
        sql = _plain(column, target, making.checks)
    if field.default is not None:
        sql = f"coalesce({sql}, {default(field.default, target)})"
    return Value(target, sql, _problem(field.name, raw, making.checks), making.step, making.day)


def _problem(name: str, raw: str, checks: Checks) -> str | None:
    if not checks:
        return None
    shown = f"coalesce(left(CAST({raw} AS VARCHAR), {SHOWN}), '')"
    cases = " ".join(
        f"WHEN {condition} THEN {value_problems.struct_sql(literal(code), literal(name), shown)}"
        for condition, code in checks
    )
    return f"CASE {cases} END"


def _sound(column: Column, checks: Checks) -> Column:
    """The source without what no type of ours holds: NaN, infinity, years beyond 9999."""
    sql, duck = column.sql, column.duck
    if duck == _ZONED:
        # A cast would go through the session's time zone; the instant itself is UTC.
        sql, duck = f"make_timestamp(epoch_us({sql}))", "TIMESTAMP"
    if duck in ("FLOAT", "DOUBLE"):
        checks.append((f"NOT isfinite({sql})", "not_a_number"))
        # A float as text and back has the digits that it was written with.
        exact = f"CAST(CAST({sql} AS VARCHAR) AS DOUBLE)" if duck == "FLOAT" else sql
        return Column(f"CASE WHEN isfinite({sql}) THEN {exact} + 0.0 END", "DOUBLE")
    if duck in _DATETIMES or duck == "DATE":
        fine = f"(isfinite({sql}) AND year({sql}) BETWEEN 1 AND 9999)"
        checks.append((f"NOT {fine}", "bad_value"))
        return Column(f"CASE WHEN {fine} THEN {sql} END", duck)
    return Column(sql, duck)


def _mapped(column: Column, pairs: tuple[tuple[str, str], ...]) -> Column:
    """What the map does not know stays what it is."""

    def cases(sql: str) -> str:
        known = " ".join(f"WHEN {literal(ours)} THEN {literal(theirs)}" for ours, theirs in pairs)
        return f"CASE {sql} {known} ELSE {sql} END"

    if column.kind is FieldType.LIST:
        inner = _text(Column("item", column.duck[:-2]))
        return Column(f"[{cases(inner)} FOR item IN {column.sql}]", "VARCHAR[]")
    return Column(cases(_text(column)), "VARCHAR")


def _list(column: Column, field: Field, vendor: Vendor) -> tuple[FieldType, str]:
    item = _text(Column("item", column.duck[:-2]))
    items = f"[{item} FOR item IN {column.sql} IF item IS NOT NULL]"
    if field.join is None and vendor.accepts_lists and field.as_ is not FieldType.TEXT:
        return FieldType.LIST, items
    separator = ";" if field.join is None else field.join
    return FieldType.TEXT, f"nullif(array_to_string({items}, {literal(separator)}), '')"


def _text(column: Column) -> str:
    sql, kind = column.sql, column.kind
    if kind is FieldType.TEXT:
        return f"nullif(CAST({sql} AS VARCHAR), '')"
    if kind is FieldType.NUMBER:
        whole = f"{sql} = trunc({sql}) AND abs({sql}) < 1e15"
        return f"CASE WHEN {whole} THEN CAST(CAST({sql} AS BIGINT) AS VARCHAR) ELSE CAST(CAST({sql} AS DOUBLE) AS VARCHAR) END"
    if kind is FieldType.DATE:
        return f"strftime({sql}, {_DATE_FORMAT})"
    if kind is FieldType.DATETIME:
        instant = f"make_timestamp(epoch_us({sql}))" if column.duck == _ZONED else f"CAST({sql} AS TIMESTAMP)"
        return f"strftime({instant}, {_DATETIME_FORMAT})"
    if kind is FieldType.LIST:
        return f"array_to_string({sql}, ';')"
    return f"CAST({sql} AS VARCHAR)"


def _plain(column: Column, target: FieldType, checks: Checks) -> str:
    """To text, integer, number or boolean."""
    sql, kind = column.sql, column.kind
    if target is FieldType.TEXT:
        return _text(column)
    if kind is FieldType.TEXT:
        sql = f"nullif(trim({_text(column)}), '')"
    if target is FieldType.BOOLEAN:
        if kind is target:
            return sql
        word = f"lower({sql})" if kind is FieldType.TEXT else _text(column)
        made = (
            f"CASE WHEN {word} IN ('true', 't', 'yes', 'y', '1') THEN true"
            f" WHEN {word} IN ('false', 'f', 'no', 'n', '0') THEN false END"
        )
        checks.append((f"{sql} IS NOT NULL AND {made} IS NULL", "bad_value"))
        return made
    if target is FieldType.INTEGER:
        if column.duck in _INTEGERS:
            return sql if column.duck == "BIGINT" else f"CAST({sql} AS BIGINT)"
        made = f"TRY_CAST({f'floor({sql} + 0.5)' if kind is FieldType.NUMBER else sql} AS BIGINT)"
        code = "bad_value" if kind is FieldType.TEXT else "out_of_range"
        checks.append((f"{sql} IS NOT NULL AND {made} IS NULL", code))
        return made
    if kind is not FieldType.TEXT:
        return sql if column.duck == "DOUBLE" else f"CAST({sql} AS DOUBLE)"
    made = f"TRY_CAST({sql} AS DOUBLE)"
    checks.append((f"NOT isfinite({made})", "not_a_number"))
    checks.append((f"{sql} IS NOT NULL AND {made} IS NULL", "bad_value"))
    return f"CASE WHEN isfinite({made}) THEN {made} + 0.0 END"


def _moment(column: Column, making: _Making) -> str:
    """A timestamp in UTC from a timestamp or a text; a text without a zone is UTC."""
    slot = making.slot
    if column.kind is not FieldType.TEXT:
        making.step = f"CAST({column.sql} AS TIMESTAMP)"
        return slot
    text = f"trim({_text(column)})"
    # A cast to a timestamp passes over the offset that the text ends with.
    making.step = (
        f"CASE WHEN length({text}) > 10 AND regexp_matches({text}, '(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?)$')"
        f" THEN make_timestamp(epoch_us(TRY_CAST({text} AS TIMESTAMPTZ))) ELSE TRY_CAST({text} AS TIMESTAMP) END"
    )
    fine = f"coalesce(isfinite({slot}) AND year({slot}) BETWEEN 1 AND 9999, false)"
    making.checks.append((f"nullif({text}, '') IS NOT NULL AND NOT {fine}", "bad_value"))
    return f"CASE WHEN {fine} THEN {slot} END"


def _date(column: Column, making: _Making) -> str:
    if column.kind is FieldType.DATE:
        return f"strftime({column.sql}, {_DATE_FORMAT})"
    moment = _moment(column, making)
    utc = f"CAST({moment} AS DATE)"
    days = making.days
    if days is None:
        return f"strftime({utc}, {_DATE_FORMAT})"
    making.day = f"CAST({making.slot} AS DATE)"
    local = (
        f"CASE WHEN {moment} < {days}.starts THEN {days}.day - 1"
        f" WHEN {moment} >= {days}.ends THEN {days}.day + 1 ELSE {utc} END"
    )
    if column.kind is FieldType.TEXT:
        # A text that is a date already is that date everywhere.
        local = f"CASE WHEN length(trim({_text(column)})) = 10 THEN {utc} ELSE {local} END"
    return f"strftime({local}, {_DATE_FORMAT})"


def _datetime(column: Column, making: _Making) -> str:
    if column.kind is FieldType.DATE and making.days is not None:
        making.step, making.day = column.sql, making.slot
        begins = f"coalesce({making.days}.starts, CAST({making.slot} AS TIMESTAMP))"
        return f"strftime(CASE WHEN {making.slot} IS NOT NULL THEN {begins} END, {_DATETIME_FORMAT})"
    return f"strftime({_moment(column, making)}, {_DATETIME_FORMAT})"
