"""The end of a comparison: desired x delivered -> changes, field by field.

Everything here is a relation in DuckDB; only what must be looked up or sent becomes a Python object. Two steps:
a digest of the desired record against the one that its standing is about leaves the candidates, and only these
are compared field by field with the values at the destination, as far as they are known.

The law: applying the changes to what is delivered gives what is desired (tests/sync/test_compare.py).

    materialise -> Desired -> select -> Candidates -> recall -> Known -> Search -> Located -> assign_owners -> Owned
    -> resolve -> Resolved -> compare -> Changes

Each step takes the value of the previous one, and the tables behind it: once the next value exists, only the refusals of
the previous one can still be read.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from connectors.types import Change, FieldType, Kind, Match, Value
from heatsync.ledger import PlanCounts, PlannedChange, StandingState
from heatsync.sync.compare.identity import Resolved, match_values
from heatsync.sync.compare.relations import Relations, text_sql
from heatsync.sync.compare.types import Column, Departure, Shape

_SQL_TYPE = {
    FieldType.TEXT: "VARCHAR",
    FieldType.INTEGER: "BIGINT",
    FieldType.NUMBER: "DOUBLE",
    FieldType.BOOLEAN: "BOOLEAN",
    FieldType.DATE: "VARCHAR",
    FieldType.DATETIME: "VARCHAR",
    FieldType.LIST: "VARCHAR[]",
}


@dataclass(frozen=True, slots=True)
class Changes:
    """What a mapping would write.

    Tables: `compared` (the candidate, remote_id, version, had_json, d0.. per field whether it differs, dirty), and of
    the steps before `leaving` and `known`.
    """

    relations: Relations
    shape: Shape
    counts: PlanCounts

    def settled(self) -> Iterator[tuple[str, int, str | None]]:
        """Candidates that need no write: (key, digest, level)."""
        query = "SELECT key, digest, coalesce(level_before, level) FROM compared WHERE NOT dirty"
        for rows in self.relations.rows(query):
            yield from rows

    def most_writes(self) -> int:
        """How many changes there are at most: some of the records that left have nothing to clear."""
        leaving = self.relations.count("leaving") if self.shape.clear_on_exit else 0
        return self.counts.entered + self.counts.changed + leaving

    def writes(self) -> Iterator[PlannedChange]:
        """The changes, each with only the fields that differ.

        Records whose remote id is known come first, and those that enter or leave the same tags are adjacent: a batch
        then takes few calls, each for many records. Otherwise they are in the order of our ids.
        """
        size = len(self.shape.columns)
        tags = "".join(f"d{i}, d{i} AND f{i}, " for i, c in enumerate(self.shape.columns) if c.tag)
        matches = "".join(f", m{i}" for i in range(len(self.shape.match)))
        columns = "".join(f", f{i}, d{i}" for i in range(size))
        query = (
            "SELECT key, is_new, remote_id, version, via, digest, level, had_json"
            f"{matches}{columns} FROM compared WHERE dirty ORDER BY remote_id IS NULL, {tags}key"
        )
        for rows in self.relations.rows(query):
            yield from map(self._write, rows)

    def _write(self, row: tuple[Any, ...]) -> PlannedChange:
        key, is_new, remote_id, version, via, digest, level, had_json, *values = row
        start = len(self.shape.match)
        had = json.loads(had_json) if had_json else {}
        fields: dict[str, Value] = {}
        before: dict[str, Value] = {}
        repeats = True
        for i, column in enumerate(self.shape.columns):
            wanted, differs = values[start + 2 * i], values[start + 2 * i + 1]
            if not differs:
                continue
            value = fields[column.name] = _value(wanted, column.type)
            known: Any = had.get(column.name)
            if _in_doubt(known):
                repeats = repeats and _value(known["doubtful"], column.type) == value
            elif column.name in had:
                before[column.name] = _value(known, column.type)
        change = Change(
            kind=Kind.ENTERED if is_new else Kind.CHANGED,
            key=key,
            match=match_values(self.shape, values[:start]),
            fields=fields,
            before=before,
            remote_id=remote_id,
            via=via,
            # A message with other values than the one in doubt must not look like its repetition.
            version=(version or 0) + (not repeats),
        )
        return PlannedChange(change, digest, level)

    def departures(self, readable: bool) -> Iterator[PlannedChange | Departure]:
        """Records that left: a change that clears their fields, or a departure when there is nothing to clear."""
        query = (
            "SELECT l.key, l.state, k.remote_id, k.version, k.match_value, k.fields, k.via FROM leaving l"
            " LEFT JOIN known k ON l.key = k.entity ORDER BY l.key"
        )
        for rows in self.relations.rows(query):
            for row in rows:
                yield self._departure(row, readable)

    def _departure(self, row: tuple[Any, ...], readable: bool) -> PlannedChange | Departure:
        key, state, remote_id, version, match_value, had_json, via = row
        had = json.loads(had_json) if had_json else {}
        # A batch that broke off, or a refusal of a part, may have written more than is known.
        possibly_written = state in (StandingState.UNKNOWN, StandingState.REJECTED)
        held = {
            c.name: c
            for c in self.shape.columns
            if (had.get(c.name) is True if c.tag else had.get(c.name) is not None)
            or (possibly_written and c.name not in had)
        }
        reachable = remote_id is not None or not readable
        if not (self.shape.clear_on_exit and held and reachable and state != StandingState.SKIPPED):
            return Departure(key)
        doubts = [had[name]["doubtful"] for name in held if _in_doubt(had.get(name))]
        change = Change(
            kind=Kind.LEFT,
            key=key,
            match=(Match(self.shape.match[0], match_value),) if match_value else (),
            fields={name: False if c.tag else None for name, c in held.items()},
            before={
                name: _value(had[name], c.type)
                for name, c in held.items()
                if name in had and not _in_doubt(had[name])
            },
            remote_id=remote_id,
            via=via,
            version=(version or 0) + any(doubt is not None for doubt in doubts),
        )
        return PlannedChange(change, None, None)


def compare(resolved: Resolved, create: bool, everything: bool = False) -> Changes:
    """Compare the candidates field by field. `create`: a candidate without a remote id is created. `everything`: each
    value is sent, also one that is at the destination already."""
    relations, shape = resolved.relations, resolved.shape
    structure = text_sql(json.dumps({c.name: _SQL_TYPE[c.type] for c in shape.columns}, ensure_ascii=False))
    texts = text_sql(json.dumps({c.name: "VARCHAR" for c in shape.columns}, ensure_ascii=False))
    # A value at the destination that is not of the field's type (text in a number) is a difference, not an error.
    tests = [_differs(i, column, everything, create) for i, column in enumerate(shape.columns)]
    flags = "".join(f", {test} AS d{i}" for i, test in enumerate(tests))
    relations.create(
        "compared",
        "SELECT c.*, k.remote_id, k.version, k.fields AS had_json"
        f"{flags} FROM (SELECT candidate.*, levels.level AS level_before FROM candidate"
        " LEFT JOIN levels ON candidate.key = levels.entity) c LEFT JOIN (SELECT *, json_transform(fields,"
        f" {structure}) AS had, json_transform(fields, {texts}) AS raw FROM known) k ON c.key = k.entity",
    )
    relations.drop("candidate")
    dirty = " OR ".join(f"d{i}" for i in range(len(tests)))
    relations.execute(
        f"ALTER TABLE compared ADD COLUMN dirty BOOLEAN; UPDATE compared SET dirty = ({dirty or 'FALSE'})"
        + (" OR remote_id IS NULL" if create else "")
    )
    ((entered, changed, created),) = relations.all(
        "SELECT count(*) FILTER (dirty AND is_new), count(*) FILTER (dirty AND NOT is_new),"
        f" count(*) FILTER (dirty AND {'remote_id IS NULL' if create else 'FALSE'}) FROM compared"
    )
    cleared = " OR ".join(f"(d{i} AND f{i} IS NULL)" for i in range(len(tests)))
    exists = " AND remote_id IS NOT NULL" if create else ""
    counts = replace(
        resolved.counts,
        entered=entered,
        changed=changed,
        created=created,
        cleared=relations.count("compared", f"({cleared or 'FALSE'}){exists}"),
    )
    touched = entered + changed + counts.unmatched + counts.ambiguous + counts.refused + counts.skipped
    return Changes(relations, shape, replace(counts, unchanged=max(0, counts.records - touched)))


def apply(had: Mapping[str, Value], change: Change) -> dict[str, Value]:
    """The values at the destination once a change is delivered."""
    return dict(had) | dict(change.fields)


def _differs(i: int, column: Column, everything: bool, create: bool) -> str:
    want, name = f"c.f{i}", '"' + column.name.replace('"', '""') + '"'
    have = f"k.had.{name}"
    raw = f"k.raw.{name}"
    if column.tag:
        differs = f"({want} IS DISTINCT FROM coalesce({raw} = 'true', FALSE))"
        return f"({differs} OR {want})" if everything else differs
    if column.type in (FieldType.INTEGER, FieldType.BOOLEAN):
        # As text: a cast would take 3.7 for 4 and "yes" for true.
        differs = f"({raw} IS DISTINCT FROM CAST({want} AS VARCHAR))"
    else:
        differs = f"({have} IS DISTINCT FROM {want} OR ({have} IS NULL AND {raw} IS NOT NULL))"
    if everything:
        differs = f"({differs} OR {want} IS NOT NULL)"
    if not column.clear:
        differs = f"({want} IS NOT NULL AND {differs})"
    if column.if_empty:
        differs = f"({differs} AND coalesce({raw}, '') = '')"
    if column.tolerance is not None and not everything:
        differs = (
            f"({differs} AND NOT coalesce(abs({want} - {have}) < {column.tolerance!r}"
            " AND c.level IS NOT DISTINCT FROM c.level_before, FALSE))"
        )
    if create and column.clear and not column.if_empty:
        # A record that already exists after all must not keep another value.
        differs = f"({differs} OR k.remote_id IS NULL)"
    return f"coalesce({differs}, FALSE)"


def _in_doubt(known: Any) -> bool:
    """Whether the field may have another value than we know, and cannot be read. The ledger writes it as an object."""
    return isinstance(known, dict)


def _value(raw: Any, type: FieldType) -> Value:
    if isinstance(raw, str) and type is FieldType.DATE:
        return _or_text(raw, date.fromisoformat)
    if isinstance(raw, str) and type is FieldType.DATETIME:
        return _or_text(raw, lambda text: datetime.fromisoformat(text).astimezone(UTC))
    return tuple(raw) if isinstance(raw, list) else raw


def _or_text(raw: str, parse: Callable[[str], Value]) -> Value:
    try:
        return parse(raw)
    except ValueError:
        return raw
