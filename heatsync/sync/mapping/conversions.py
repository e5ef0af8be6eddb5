"""Converts a column of any DuckDB type to the value and type of a field, as SQL. Nothing here reads data.

Order: source -> `map` -> `as` -> `join` -> `default`. An empty text counts as no value. A value that cannot be
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
"""Pairs of an SQL condition under which a value cannot be sent, and the code of the problem."""


@dataclass(frozen=True, slots=True)
class Value:
    """A converted column: its type, its SQL, and the SQL of its problem.

    `step` is an expression that is computed first, under its own name. `day` is what the calendar is joined on.
    """

    type: FieldType
    sql: str
    problem: str | None
    step: str | None = None
    day: str | None = None


@dataclass(slots=True)
class _Conversion:
    """The state of a conversion. `slot` is the name of the step, `days` the alias of the calendar, if it is used."""

    slot: str
    days: str | None
    checks: Checks
    step: str | None = None
    day: str | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """An SQL expression and DuckDB's name of its type."""

    sql: str
    duck: str

    @property
    def kind(self) -> FieldType:
        """Our type. Raises ValueError for types that no destination accepts."""
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
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
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
    """The key of a field that does not fit the type of its source, and a message; None if all fit."""
    is_list = kind is FieldType.LIST
    if field.join is not None and not is_list:
        return "join", f"`join` is for lists, and this is {_NAMES[kind]}: remove it"
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
        return "tolerance", f"`tolerance` is for numbers, and this is {_NAMES[wanted]}: remove it"
    if field.default is not None:
        try:
            default(field.default, wanted)
        except ValueError as error:
            return "default", str(error)
    return None


def default(text: str, kind: FieldType) -> str:
    """A default value as SQL. Raises ValueError if the text is not of the type."""
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


def match_text(column: Column, ignores_case: bool) -> str:
    """A value that finds a record: text without spaces around it, in lower case if case is ignored."""
    text = f"trim({_text(column)})"
    return f"nullif({f'lower({text})' if ignores_case else text}, '')"


def convert(
    column: Column, failed: str | None, field: Field, vendor: Vendor, slot: str, days: str | None
) -> Value:
    """Convert a source to the value of a field.

    `failed` is an SQL condition for rows on which the source could not be computed. `slot` is the name for a step in
    between. `days` is the alias of the calendar; None if days are days in UTC. Raises ValueError if the type of the
    source does not fit the field.
    """
    misfit = mismatch(field, column.kind, vendor)
    if misfit is not None:
        raise ValueError(misfit[1])
    raw = column.sql
    conversion = _Conversion(slot, days, [(failed, "bad_value")] if failed is not None else [])
    column = _finite(column, conversion.checks)
    if field.map:
        column = _mapped(column, field.map)
    target = field.as_ or column.kind
    if column.kind is FieldType.LIST:
        target, sql = _list(column, field, vendor)
    elif target is FieldType.DATE:
        sql = _date(column, conversion)
    elif target is FieldType.DATETIME:
        sql = _datetime(column, conversion)
    else:
        sql = _plain(column, target, conversion.checks)
    if field.default is not None:
        sql = f"coalesce({sql}, {default(field.default, target)})"
    return Value(target, sql, _problem(field.name, raw, conversion.checks), conversion.step, conversion.day)


def _problem(name: str, raw: str, checks: Checks) -> str | None:
    if not checks:
        return None
    shown = f"coalesce(left(CAST({raw} AS VARCHAR), {SHOWN}), '')"
    cases = " ".join(
        f"WHEN {condition} THEN {value_problems.struct_sql(literal(code), literal(name), shown)}"
        for condition, code in checks
    )
    return f"CASE {cases} END"


def _finite(column: Column, checks: Checks) -> Column:
    """The source without values that no field can hold: NaN, infinity, years beyond 9999."""
    sql, duck = column.sql, column.duck
    if duck == _ZONED:
        # A cast would use the time zone of the session; the instant itself is in UTC.
        sql, duck = f"make_timestamp(epoch_us({sql}))", "TIMESTAMP"
    if duck in ("FLOAT", "DOUBLE"):
        checks.append((f"NOT isfinite({sql})", "not_a_number"))
        # Through text, a float keeps the digits that it is written with.
        exact = f"CAST(CAST({sql} AS VARCHAR) AS DOUBLE)" if duck == "FLOAT" else sql
        return Column(f"CASE WHEN isfinite({sql}) THEN {exact} + 0.0 END", "DOUBLE")
    if duck in _DATETIMES or duck == "DATE":
        fine = f"(isfinite({sql}) AND year({sql}) BETWEEN 1 AND 9999)"
        checks.append((f"NOT {fine}", "bad_value"))
        return Column(f"CASE WHEN {fine} THEN {sql} END", duck)
    return Column(sql, duck)


def _mapped(column: Column, pairs: tuple[tuple[str, str], ...]) -> Column:
    """The column with `map` applied. Values that are not in the map stay as they are."""

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
    """The column as text, integer, number or boolean."""
    sql, kind = column.sql, column.kind
    if target is FieldType.TEXT:
        return _text(column)
    if kind is FieldType.TEXT:
        sql = f"nullif(trim({_text(column)}), '')"
    if target is FieldType.BOOLEAN:
        if kind is target:
            return sql
        word = f"lower({sql})" if kind is FieldType.TEXT else _text(column)
        converted = (
            f"CASE WHEN {word} IN ('true', 't', 'yes', 'y', '1') THEN true"
            f" WHEN {word} IN ('false', 'f', 'no', 'n', '0') THEN false END"
        )
        checks.append((f"{sql} IS NOT NULL AND {converted} IS NULL", "bad_value"))
        return converted
    if target is FieldType.INTEGER:
        if column.duck in _INTEGERS:
            return sql if column.duck == "BIGINT" else f"CAST({sql} AS BIGINT)"
        converted = f"TRY_CAST({f'floor({sql} + 0.5)' if kind is FieldType.NUMBER else sql} AS BIGINT)"
        code = "bad_value" if kind is FieldType.TEXT else "out_of_range"
        checks.append((f"{sql} IS NOT NULL AND {converted} IS NULL", code))
        return converted
    if kind is not FieldType.TEXT:
        return sql if column.duck == "DOUBLE" else f"CAST({sql} AS DOUBLE)"
    converted = f"TRY_CAST({sql} AS DOUBLE)"
    checks.append((f"NOT isfinite({converted})", "not_a_number"))
    checks.append((f"{sql} IS NOT NULL AND {converted} IS NULL", "bad_value"))
    return f"CASE WHEN isfinite({converted}) THEN {converted} + 0.0 END"


def _moment(column: Column, conversion: _Conversion) -> str:
    """A timestamp in UTC from a timestamp or a text. A text without a time zone is in UTC."""
    slot = conversion.slot
    if column.kind is not FieldType.TEXT:
        conversion.step = f"CAST({column.sql} AS TIMESTAMP)"
        return slot
    text = f"trim({_text(column)})"
    # A cast to a timestamp ignores the offset at the end of a text.
    conversion.step = (
        f"CASE WHEN length({text}) > 10 AND regexp_matches({text}, '(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?)$')"
        f" THEN make_timestamp(epoch_us(TRY_CAST({text} AS TIMESTAMPTZ))) ELSE TRY_CAST({text} AS TIMESTAMP) END"
    )
    fine = f"coalesce(isfinite({slot}) AND year({slot}) BETWEEN 1 AND 9999, false)"
    conversion.checks.append((f"nullif({text}, '') IS NOT NULL AND NOT {fine}", "bad_value"))
    return f"CASE WHEN {fine} THEN {slot} END"


def _date(column: Column, conversion: _Conversion) -> str:
    if column.kind is FieldType.DATE:
        return f"strftime({column.sql}, {_DATE_FORMAT})"
    moment = _moment(column, conversion)
    utc = f"CAST({moment} AS DATE)"
    days = conversion.days
    if days is None:
        return f"strftime({utc}, {_DATE_FORMAT})"
    conversion.day = f"CAST({conversion.slot} AS DATE)"
    local = (
        f"CASE WHEN {moment} < {days}.starts THEN {days}.day - 1"
        f" WHEN {moment} >= {days}.ends THEN {days}.day + 1 ELSE {utc} END"
    )
    if column.kind is FieldType.TEXT:
        # A text that is a date already is the same date in every time zone.
        local = f"CASE WHEN length(trim({_text(column)})) = 10 THEN {utc} ELSE {local} END"
    return f"strftime({local}, {_DATE_FORMAT})"


def _datetime(column: Column, conversion: _Conversion) -> str:
    if column.kind is FieldType.DATE and conversion.days is not None:
        conversion.step, conversion.day = column.sql, conversion.slot
        begins = f"coalesce({conversion.days}.starts, CAST({conversion.slot} AS TIMESTAMP))"
        return f"strftime(CASE WHEN {conversion.slot} IS NOT NULL THEN {begins} END, {_DATETIME_FORMAT})"
    return f"strftime({_moment(column, conversion)}, {_DATETIME_FORMAT})"
