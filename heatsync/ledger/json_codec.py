"""How values, changes and counts are written in the ledger: as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import date, datetime
from typing import Any

from connectors.types import Change, FieldType, Kind, Match, NewField, Value
from heatsync.ledger.types import PlanCounts, PlannedChange, Run, RunState

_KINDS = {kind.value: kind for kind in Kind}
to_json = json.JSONEncoder(ensure_ascii=False).encode


def write_value(value: Value) -> Any:
    """A value as JSON holds it."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, date):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value


def read_value(raw: Any, type: FieldType) -> Value:
    """The value that JSON holds. Text that is not a date stays the text that the vendor gave."""
    if isinstance(raw, list):
        return tuple(str(item) for item in raw)
    if isinstance(raw, str) and type in (FieldType.DATE, FieldType.DATETIME):
        try:
            return date.fromisoformat(raw) if type is FieldType.DATE else datetime.fromisoformat(raw)
        except ValueError:
            return raw
    return raw  # type: ignore[no-any-return]


def doubtful_value(value: Any) -> dict[str, Any]:
    """What is known of a field that may hold `value` (as JSON holds it) where current values cannot be read.

    An object: no field's value is one.
    """
    return {"doubtful": value}


def write_fields(fields: Mapping[str, Value]) -> str:
    """Field name -> value, as the text of a column."""
    return to_json({name: write_value(value) for name, value in fields.items()})


def read_types(text: str) -> dict[str, FieldType]:
    """Field name -> type."""
    return {name: FieldType(type) for name, type in json.loads(text).items()}


def write_planned(planned: PlannedChange) -> dict[str, Any]:
    """A change as JSON holds it."""
    change = planned.change
    return {
        "kind": change.kind.value,
        "key": change.key,
        "match": [[m.field, m.value] for m in change.match],
        "fields": {name: write_value(value) for name, value in change.fields.items()},
        "before": {name: write_value(value) for name, value in change.before.items()},
        "remote_id": change.remote_id,
        "via": change.via,
        "version": change.version,
        "digest": planned.digest,
        "level": planned.level,
    }


def read_planned(raw: Mapping[str, Any], types: Mapping[str, FieldType]) -> PlannedChange:
    """The change that JSON holds; `types` are those of its fields."""

    def typed(values: Mapping[str, Any]) -> dict[str, Value]:
        # Numbers and booleans are what they are.
        return {
            name: read_value(value, types[name]) if isinstance(value, (str, list)) else value
            for name, value in values.items()
        }

    change = Change(
        kind=_KINDS[raw["kind"]],
        key=raw["key"],
        match=tuple(Match(field, value) for field, value in raw["match"]),
        fields=typed(raw["fields"]),
        before=typed(raw["before"]),
        remote_id=raw["remote_id"],
        via=raw["via"],
        version=raw["version"],
    )
    return PlannedChange(change, raw["digest"], raw["level"])


def write_counts(counts: PlanCounts) -> str:
    """The counts of a plan, as the text of a column."""
    return to_json(asdict(counts))


def read_counts(text: str) -> PlanCounts:
    """The counts that `write_counts` wrote."""
    raw = json.loads(text)
    fields = tuple(NewField(f["name"], FieldType(f["type"]), f["label"]) for f in raw.pop("new_fields"))
    return PlanCounts(**raw, new_fields=fields)


def read_run(row: Any) -> Run:
    """A row of `runs`."""
    values = {field.name: getattr(row, field.name) for field in fields(Run)}
    return Run(**(values | {"state": RunState(row.state), "planned": read_counts(row.planned)}))
