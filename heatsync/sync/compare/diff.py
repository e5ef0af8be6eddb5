"""Desired x delivered -> changes, field by field.

Everything here is a relation in DuckDB; only what must be looked up or sent becomes a Python object. Two steps:
a digest of the desired record against the one that its standing is about leaves the candidates, and only these
are compared field by field with what stands over there as far as we were told.

The law: applying the changes to what is delivered gives what is desired (tests/sync/test_compare.py).
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import duckdb
import pyarrow as pa

from connectors.types import Change, FieldType, Found, Kind, Lookup, Match, Outcome, Status, Value
from heatsync.sync.compare.types import Column, Counts, Row, Scope, Shape
from heatsync.sync.value_problems import ValueProblem, struct_sql

CHUNK = 10_000
"""Rows that become Python objects at a time."""

_SQL_TYPE = {
    FieldType.TEXT: "VARCHAR",
    FieldType.INTEGER: "BIGINT",
    FieldType.NUMBER: "DOUBLE",
    FieldType.BOOLEAN: "BOOLEAN",
    FieldType.DATE: "VARCHAR",
    FieldType.DATETIME: "VARCHAR",
    FieldType.LIST: "VARCHAR[]",
}


@dataclass(slots=True)
class Comparison:
    """The comparison of one mapping in one DuckDB connection. Its relations live as long as the connection."""

    con: duckdb.DuckDBPyConnection
    shape: Shape
    counts: Counts = field(default_factory=Counts)

    # -- what is desired ----------------------------------------------------------------------------------

    def desire(self, sql: str) -> None:
        """Materialise the desired relation with a digest per row; our own duplicates become problems."""
        matches = [f"m{i}" for i in range(len(self.shape.match))]
        fields = [f"f{i}" for i in range(len(self.shape.columns))]
        level = ["level"] if self.tolerant else []
        if self.shape.needs_via:
            level.append("via IS NULL")
        parts = ", ".join(
            f"coalesce(CAST({name} AS VARCHAR), chr(30))" for name in (*matches, "problem", *level, *fields)
        )
        first = "coalesce(" + ", ".join(f"'{i}:' || {name}" for i, name in enumerate(matches)) + ")"
        definition, identity = _text(self.shape.definition_hash), _text(self.shape.identity_hash)
        found_by = ", ".join(
            f"coalesce(CAST({name} AS VARCHAR), chr(30))"
            for name in (*matches, "problem", *(["via IS NULL"] if self.shape.needs_via else []))
        )
        digest, key_digest = _digest(f"{definition}, {parts}"), _digest(f"{identity}, {found_by}")
        self.con.execute(
            f"CREATE OR REPLACE TABLE desired AS SELECT *, {first} AS match_key, {digest} AS digest,"
            f" {key_digest} AS key_digest FROM ({sql})"
        )
        self.con.execute(
            "CREATE OR REPLACE TABLE doubled AS SELECT match_key, min(key) AS one, max(key) AS other"
            " FROM desired WHERE match_key IS NOT NULL GROUP BY match_key HAVING count(*) > 1"
        )
        namesake = "CASE WHEN key = one THEN other ELSE one END"
        self.con.execute(
            f"UPDATE desired SET problem = {struct_sql(_text('duplicate_key'), 'doubled.match_key', namesake)},"
            f" digest = {_digest(f'digest, {namesake}')}, key_digest = {_digest(f'key_digest, {namesake}')}"
            " FROM doubled WHERE desired.match_key = doubled.match_key AND problem IS NULL"
        )
        self.con.execute("DROP TABLE doubled")
        self.counts.records = self._count("desired")

    # -- what stands --------------------------------------------------------------------------------------

    def stand(
        self,
        settled: Iterable[Sequence[Any]],
        unsettled: Iterable[Sequence[Any]],
        now: float,
        scope: Scope,
    ) -> None:
        """Leave the candidates: records whose desired digest is not the one that their standing is about.

        `settled` comes in chunks of (entity, digest), `unsettled` in chunks of (entity, digest, state, recheck_at, code,
        doubted_at).
        """
        self.con.execute(
            "CREATE OR REPLACE TABLE settled (entity VARCHAR, digest BIGINT);"
            "CREATE OR REPLACE TABLE unsettled"
            " (entity VARCHAR, digest BIGINT, state VARCHAR, recheck_at DOUBLE, code VARCHAR, doubted_at DOUBLE)"
        )
        self._fill("settled", settled)
        self._fill("unsettled", unsettled)
        self.con.execute(
            "CREATE OR REPLACE VIEW standing AS SELECT entity, digest, 'settled' AS state,"
            " NULL::DOUBLE AS recheck_at, NULL AS code, NULL::DOUBLE AS doubted_at FROM settled UNION ALL SELECT * FROM unsettled"
        )
        rests = (
            "FALSE"
            if scope.everything
            else "(s.digest = d.digest OR s.digest = d.key_digest) AND s.state NOT IN ('left', 'unknown')"
            f" AND (s.recheck_at IS NULL OR s.recheck_at > {now!r})"
        )
        only = "" if scope.only is None else f" AND d.key = {_text(scope.only)}"
        limit = "" if scope.limit is None else f" ORDER BY d.key LIMIT {int(scope.limit)}"
        self.con.execute(
            "CREATE OR REPLACE TABLE candidate AS SELECT d.*,"
            " (s.state IS NULL OR s.state <> 'settled') AS is_new,"
            " coalesce(s.code = 'same_record', FALSE) AS disputed, s.doubted_at"
            " FROM desired d LEFT JOIN standing s ON d.key = s.entity"
            f" WHERE NOT coalesce({rests}, FALSE){only}{limit}"
        )
        self._count_resting(rests, scope)
        self.con.execute(
            "CREATE OR REPLACE TABLE leaving AS SELECT s.entity AS key, s.state FROM standing s"
            " ANTI JOIN desired d ON s.entity = d.key"
            " WHERE s.state <> 'left' AND NOT (s.state = 'rejected' AND s.digest IS NULL)"
            + (" AND FALSE" if scope.partial else "")
        )
        empty = " AND ".join(f"m{i} IS NULL" for i in range(len(self.shape.match)))
        via = " OR via IS NULL" if self.shape.needs_via else ""
        self.con.execute(
            "CREATE OR REPLACE TABLE unsendable AS SELECT key, problem, key_digest,"
            f" ({empty}) AS keyless FROM candidate WHERE problem IS NOT NULL OR ({empty}){via}"
        )
        self.con.execute("DELETE FROM candidate WHERE key IN (SELECT key FROM unsendable)")
        self.con.execute(
            "CREATE OR REPLACE TABLE resting AS SELECT key FROM desired ANTI JOIN candidate USING (key)"
            " WHERE key NOT IN (SELECT key FROM unsendable WHERE keyless);"
            "CREATE OR REPLACE TABLE holding (remote_id VARCHAR, key VARCHAR);"
            "DROP VIEW standing; DROP TABLE settled; DROP TABLE unsettled; DROP TABLE desired"
        )
        self.con.execute(
            "CREATE OR REPLACE TABLE known (entity VARCHAR, remote_id VARCHAR, match_value VARCHAR,"
            " version INTEGER, fields VARCHAR, via VARCHAR);"
            "CREATE OR REPLACE TABLE levels (entity VARCHAR, level VARCHAR)"
        )

    def _count_resting(self, rests: str, scope: Scope) -> None:
        """Count who rests without being settled, and only those whom the scope looks at."""
        joined = "FROM desired d LEFT JOIN standing s ON d.key = s.entity"
        only = "" if scope.only is None else f" AND d.key = {_text(scope.only)}"
        query = f"SELECT s.state, s.code, count(*) {joined} WHERE coalesce({rests}, FALSE){only} GROUP BY ALL"
        resting = self.con.execute(query).fetchall()
        if scope.partial:
            self.counts.records = sum(row[2] for row in resting) + self._count("candidate")
        for state, code, number in resting:
            if code == "unmatched":
                self.counts.unmatched += number
            elif code == "ambiguous":
                self.counts.ambiguous += number
            elif state == "rejected":
                self.counts.refused += number
            elif state == "skipped":
                self.counts.skipped += number
            else:
                continue
            self.counts.parked += number

    def candidates(self) -> int:
        return self._count("candidate")

    def candidate_keys(self) -> Iterator[list[str]]:
        """Our ids of whatever the ledger may know something about: candidates, and those who leave."""
        for rows in self._rows("SELECT key FROM candidate UNION ALL SELECT key FROM leaving"):
            yield [row[0] for row in rows]

    def know(self, records: Iterable[Sequence[Any]]) -> None:
        """Add what the ledger knows, in chunks of (entity, remote_id, match_value, version, fields, via)."""
        self._fill("known", records)

    @property
    def tolerant(self) -> bool:
        """Whether a field has a tolerance, so that the level of the last write matters."""
        return any(column.tolerance is not None for column in self.shape.columns)

    def know_levels(self, levels: Iterable[Sequence[Any]]) -> None:
        """Add the levels at the last write, in chunks of (entity, level)."""
        self._fill("levels", levels)

    def refused(self) -> Iterator[tuple[Outcome, int]]:
        """Outcomes of the records that cannot be sent at all, each with its digest."""
        for rows in self._rows("SELECT key, problem, keyless, key_digest FROM unsendable ORDER BY key"):
            for key, problem, keyless, digest in rows:
                outcome = _unsendable(key, problem, keyless)
                if outcome.status is Status.REJECTED:
                    self.counts.refused += 1
                else:
                    self.counts.skipped += 1
                yield outcome, digest

    # -- finding ------------------------------------------------------------------------------------------

    def lookups(self) -> Iterator[list[Lookup]]:
        """Candidates of which neither the id nor every present value is known."""
        names = "[" + ", ".join(_text(c.name) for c in self.shape.columns) + "]"
        matches = "".join(f", m{i}" for i in range(len(self.shape.match)))
        query = (
            f"SELECT key, CASE WHEN NOT disputed THEN remote_id END{matches}"
            " FROM candidate c LEFT JOIN known k ON c.key = k.entity"
            f" WHERE k.remote_id IS NULL OR disputed OR NOT list_has_all(json_keys(k.fields), {names}::VARCHAR[])"
            " ORDER BY key"
        )
        for rows in self._rows(query):
            yield [Lookup(row[0], self._match(row[2:]), row[1]) for row in rows]

    def found(self, answers: Sequence[Found], create: bool) -> list[Found]:
        """Take in what a look-up answered; answers those that are matched by exactly one record."""
        matched = [answer for answer in answers if len(answer.remote_ids) == 1]
        lost = [(answer.key,) for answer in answers if len(answer.remote_ids) != 1]
        self.con.execute("CREATE TABLE IF NOT EXISTS missing (entity VARCHAR, remote_ids VARCHAR[])")
        self._fill("missing", [[(a.key, list(a.remote_ids)) for a in answers if len(a.remote_ids) != 1]])
        self.con.execute("CREATE OR REPLACE TABLE lost (key VARCHAR)")
        self._fill("lost", [lost])
        self.con.execute("DELETE FROM known WHERE entity IN (SELECT key FROM lost)")
        self.counts.matched += len(matched)
        ambiguous = sum(len(a.remote_ids) > 1 for a in answers)
        self.counts.ambiguous += ambiguous
        if not create:
            self.counts.unmatched += len(answers) - len(matched) - ambiguous
        return matched

    def learn(self, rows: Sequence[Sequence[Any]]) -> None:
        """Replace what is known by what was just read: rows like those of `know`."""
        if not rows:
            return
        self.con.execute("CREATE OR REPLACE TABLE learnt AS SELECT * FROM known LIMIT 0")
        self._fill("learnt", [rows])
        self.con.execute("DELETE FROM known WHERE entity IN (SELECT entity FROM learnt)")
        self.con.execute("INSERT INTO known SELECT * FROM learnt")

    def claimed(self) -> Iterator[list[str]]:
        """The ids over there of the candidates."""
        query = (
            "SELECT DISTINCT k.remote_id FROM candidate c JOIN known k ON c.key = k.entity"
            " WHERE k.remote_id IS NOT NULL ORDER BY k.remote_id"
        )
        for rows in self._rows(query):
            yield [remote_id for (remote_id,) in rows]

    def here(self, keys: Iterable[str]) -> dict[str, str]:
        """Which of these are in the desired state, and whether each `waits` to be sent or `rests`."""
        self.con.execute("CREATE OR REPLACE TABLE asked (key VARCHAR)")
        self._fill("asked", [[(key,) for key in keys]])
        found = self.con.execute(
            "SELECT key, 'waits' FROM asked SEMI JOIN candidate USING (key) UNION ALL"
            " SELECT key, 'rests' FROM asked SEMI JOIN resting USING (key)"
        )
        return {str(key): str(how) for key, how in found.fetchall()}

    def hold(self, holding: Sequence[tuple[str, str]]) -> None:
        """Others of ours that hold a record: (remote id, key)."""
        self._fill("holding", [holding])

    def release(self, keys: Sequence[str]) -> None:
        """Who is gone and holds no record any more: nothing of it is cleared."""
        self.con.execute(
            "UPDATE known SET remote_id = NULL, fields = '{}' WHERE list_contains(?, entity)", [list(keys)]
        )

    def shared(self) -> Iterator[tuple[Outcome, int]]:
        """Outcomes of candidates that are one record over there with another of ours, each with its digest."""
        self.con.execute(
            "CREATE OR REPLACE TABLE clashing AS WITH claims AS ("
            "SELECT c.key, k.remote_id FROM candidate c JOIN known k ON c.key = k.entity WHERE k.remote_id IS NOT NULL"
            " UNION SELECT key, remote_id FROM holding), several AS (SELECT remote_id, min(key) AS one, max(key) AS other"
            " FROM claims GROUP BY remote_id HAVING count(*) > 1) SELECT c.key, remote_id, c.key_digest,"
            " CASE WHEN s.one = c.key THEN s.other ELSE s.one END AS other"
            " FROM candidate c JOIN claims USING (key) JOIN several s USING (remote_id)"
        )
        self.con.execute("DELETE FROM candidate WHERE key IN (SELECT key FROM clashing)")
        for rows in self._rows("SELECT key, other, remote_id, key_digest FROM clashing ORDER BY key"):
            for key, other, remote_id, digest in rows:
                self.counts.refused += 1
                cause = f"{key} and {other} are one record over there ({remote_id}): neither is sent."
                yield Outcome(key, Status.REJECTED, code="same_record", cause=cause, answer=remote_id), digest

    def hesitant(self, since: float) -> Iterator[Outcome]:
        """Outcomes of candidates that may have been made after that moment and cannot be found yet: none is made again."""
        if not self._exists("missing"):
            return
        self.con.execute(
            "CREATE OR REPLACE TABLE hesitant AS SELECT c.key FROM missing m JOIN candidate c ON c.key = m.entity"
            f" WHERE len(m.remote_ids) = 0 AND c.doubted_at > {since!r}"
        )
        for rows in self._rows("SELECT key FROM hesitant ORDER BY key"):
            for (key,) in rows:
                self.counts.skipped += 1
                cause = f"{key} may have been made a moment ago: it is looked for again before it is made."
                yield Outcome(key, Status.UNKNOWN, code="no_answer", cause=cause)
        self.con.execute("DELETE FROM candidate WHERE key IN (SELECT key FROM hesitant)")

    def unfound(self, create: bool) -> Iterator[tuple[Outcome, int]]:
        """Outcomes of candidates that were looked for and are not exactly one record, each with its digest."""
        if not self._exists("missing"):
            return
        query = (
            "SELECT c.key, m.remote_ids, c.key_digest FROM missing m JOIN candidate c ON c.key = m.entity"
            + (" WHERE len(m.remote_ids) > 1" if create else "")
            + " ORDER BY c.key"
        )
        for rows in self._rows(query):
            for key, remote_ids, digest in rows:
                yield _unfound(key, remote_ids), digest
        ambiguous = " WHERE len(remote_ids) > 1" if create else ""
        self.con.execute(f"DELETE FROM candidate WHERE key IN (SELECT entity FROM missing{ambiguous})")

    # -- the difference -----------------------------------------------------------------------------------

    def compare(self, create: bool, everything: bool = False) -> None:
        """Compare the remaining candidates field by field; with `create`, what has no id over there is new."""
        structure = _text(
            json.dumps({c.name: _SQL_TYPE[c.type] for c in self.shape.columns}, ensure_ascii=False)
        )
        texts = _text(json.dumps({c.name: "VARCHAR" for c in self.shape.columns}, ensure_ascii=False))
        # A value over there that is not of the field's type (text in a number) is a difference, not an error.
        tests = [self._differs(i, column, everything, create) for i, column in enumerate(self.shape.columns)]
        flags = "".join(f", {test} AS d{i}" for i, test in enumerate(tests))
        self.con.execute(
            "CREATE OR REPLACE TABLE compared AS SELECT c.*, k.remote_id, k.version, k.fields AS had_json"
            f"{flags} FROM (SELECT candidate.*, levels.level AS level_before FROM candidate"
            " LEFT JOIN levels ON candidate.key = levels.entity) c LEFT JOIN (SELECT *, json_transform(fields,"
            f" {structure}) AS had, json_transform(fields, {texts}) AS raw FROM known) k ON c.key = k.entity"
        )
        self.con.execute("DROP TABLE candidate")
        dirty = " OR ".join(f"d{i}" for i in range(len(tests)))
        self.con.execute(
            f"ALTER TABLE compared ADD COLUMN dirty BOOLEAN; UPDATE compared SET dirty = ({dirty or 'FALSE'})"
            + (" OR remote_id IS NULL" if create else "")
        )
        counts = self.con.execute(
            "SELECT count(*) FILTER (dirty AND is_new), count(*) FILTER (dirty AND NOT is_new),"
            f" count(*) FILTER (dirty AND {'remote_id IS NULL' if create else 'FALSE'}) FROM compared"
        ).fetchone()
        assert counts is not None
        self.counts.entered, self.counts.changed, self.counts.created = counts
        cleared = " OR ".join(f"(d{i} AND f{i} IS NULL)" for i in range(len(tests)))
        there = " AND remote_id IS NOT NULL" if create else ""
        self.counts.cleared = self._count("compared", f"({cleared or 'FALSE'}){there}")

    def settled(self) -> Iterator[tuple[str, int, str | None, bool]]:
        """Candidates that need no write: (key, digest, level, whether the level is that of a write)."""
        for rows in self._rows(
            "SELECT key, digest, coalesce(level_before, level) FROM compared WHERE NOT dirty"
        ):
            yield from ((key, digest, level, False) for key, digest, level in rows)

    def most_writes(self) -> int:
        """How many changes there are at most: of who leaves, some have nothing to clear."""
        leaving = self._count("leaving") if self.shape.clear_on_exit else 0
        return self.counts.entered + self.counts.changed + leaving

    def changes(self) -> Iterator[Row]:
        """The changes; of each only the fields that differ. Whom we know comes first, and those that enter or leave the
        same tags stand together: a batch then takes few calls, each for many. Else they are in the order of our ids."""
        size = len(self.shape.columns)
        tags = "".join(f"d{i}, d{i} AND f{i}, " for i, c in enumerate(self.shape.columns) if c.tag)
        matches = "".join(f", m{i}" for i in range(len(self.shape.match)))
        columns = "".join(f", f{i}, d{i}" for i in range(size))
        query = (
            "SELECT key, is_new, remote_id, version, via, digest, level, had_json"
            f"{matches}{columns} FROM compared WHERE dirty ORDER BY remote_id IS NULL, {tags}key"
        )
        base = 8 + len(self.shape.match)
        for rows in self._rows(query):
            for row in rows:
                had = json.loads(row[7]) if row[7] else {}
                fields: dict[str, Value] = {}
                before: dict[str, Value] = {}
                repeats = True
                for i, column in enumerate(self.shape.columns):
                    if row[base + 2 * i + 1]:
                        value = fields[column.name] = _value(row[base + 2 * i], column.type)
                        known: Any = had.get(column.name)
                        if _doubtful(known):
                            repeats = repeats and _value(known["doubtful"], column.type) == value
                        elif column.name in had:
                            before[column.name] = _value(known, column.type)
                change = Change(
                    kind=Kind.ENTERED if row[1] else Kind.CHANGED,
                    key=row[0],
                    match=self._match(row[8:base]),
                    fields=fields,
                    before=before,
                    remote_id=row[2],
                    via=row[4],
                    # What says something else than the message in doubt must not look like its repetition.
                    version=(row[3] or 0) + (not repeats),
                )
                yield Row(change, row[5], row[6])

    def leavers(self, readable: bool) -> Iterator[Row | str]:
        """Who left: a change that clears the fields, or just the key when there is nothing to clear."""
        query = (
            "SELECT l.key, l.state, k.remote_id, k.version, k.match_value, k.fields, k.via FROM leaving l"
            " LEFT JOIN known k ON l.key = k.entity ORDER BY l.key"
        )
        # What may have been written and is not known to stand there: by a batch that broke off, or beside a refusal.
        doubted = ("unknown", "rejected")
        for rows in self._rows(query):
            for key, state, remote_id, version, match_value, had_json, via in rows:
                had = json.loads(had_json) if had_json else {}
                held = {
                    c.name: c
                    for c in self.shape.columns
                    if (had.get(c.name) is True if c.tag else had.get(c.name) is not None)
                    or (state in doubted and c.name not in had)
                }
                reachable = remote_id is not None or not readable
                if not (self.shape.clear_on_exit and held and reachable and state != "skipped"):
                    yield key
                    continue
                self.counts.left += 1
                doubts = [had[name]["doubtful"] for name in held if _doubtful(had.get(name))]
                change = Change(
                    kind=Kind.LEFT,
                    key=key,
                    match=(Match(self.shape.match[0], match_value),) if match_value else (),
                    fields={name: False if c.tag else None for name, c in held.items()},
                    before={
                        name: _value(had[name], c.type)
                        for name, c in held.items()
                        if name in had and not _doubtful(had[name])
                    },
                    remote_id=remote_id,
                    via=via,
                    version=(version or 0) + any(doubt is not None for doubt in doubts),
                )
                yield Row(change, None, None)

    # -- how ----------------------------------------------------------------------------------------------

    def _differs(self, i: int, column: Column, everything: bool, create: bool) -> str:
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
            # Who turns out to be there after all is to hold nothing else.
            differs = f"({differs} OR k.remote_id IS NULL)"
        return f"coalesce({differs}, FALSE)"

    def _match(self, values: Sequence[str | None]) -> tuple[Match, ...]:
        return tuple(
            Match(name, value)
            for name, value in zip(self.shape.match, values, strict=True)
            if value is not None
        )

    def _fill(self, table: str, chunks: Iterable[Sequence[Any]]) -> None:
        schema = self.con.table(table)
        names = schema.columns
        kinds = {
            "VARCHAR": pa.string(),
            "BIGINT": pa.int64(),
            "INTEGER": pa.int32(),
            "DOUBLE": pa.float64(),
            "VARCHAR[]": pa.list_(pa.string()),
        }
        types = [kinds[str(type)] for type in schema.types]
        for chunk in chunks:
            if not chunk:
                continue
            arrays = [
                pa.array(values, type=type)
                for values, type in zip(zip(*chunk, strict=True), types, strict=True)
            ]
            incoming = pa.Table.from_arrays(arrays, names=names)
            self.con.register("incoming", incoming)
            self.con.execute(f"INSERT INTO {table} SELECT * FROM incoming")
            self.con.unregister("incoming")

    def _rows(self, query: str) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of a query in chunks. On a cursor of its own, so that other statements may run in between."""
        reader = self.con.cursor().execute(query).to_arrow_reader(CHUNK)
        for batch in reader:
            if batch.num_rows:
                yield list(zip(*(column.to_pylist() for column in batch.columns), strict=True))

    def _count(self, table: str, where: str = "TRUE") -> int:
        row = self.con.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()
        return int(row[0]) if row else 0

    def _exists(self, table: str) -> bool:
        return bool(
            self.con.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = ?", [table]).fetchone()
        )


def apply(had: Mapping[str, Value], change: Change) -> dict[str, Value]:
    """What stands over there once a change is delivered."""
    return dict(had) | dict(change.fields)


def _digest(parts: str) -> str:
    return f"CAST(md5_number_lower(concat_ws(chr(31), {parts})) >> 1 AS BIGINT)"


def _doubtful(known: Any) -> bool:
    """Whether the field may hold another value than we know; nobody can look. The ledger writes such as an object."""
    return isinstance(known, dict)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _value(raw: Any, type: FieldType) -> Value:
    if isinstance(raw, str) and type is FieldType.DATE:
        return _or_text(raw, date.fromisoformat)
    if isinstance(raw, str) and type is FieldType.DATETIME:
        return _or_text(raw, lambda text: datetime.fromisoformat(text).astimezone(UTC))
    return tuple(raw) if isinstance(raw, list) else raw


def _or_text(raw: str, parse: Any) -> Value:
    try:
        return parse(raw)  # type: ignore[no-any-return]
    except ValueError:
        return raw


def _unsendable(key: str, problem: dict[str, str] | None, keyless: bool) -> Outcome:
    if problem is not None:
        found = ValueProblem.from_struct(problem)
        code, name, value = found.code, found.field, found.value
        if code == "duplicate_key":
            cause = f"{key} has the same key as {value}: neither is sent. Make the key unique in the source."
            return Outcome(key, Status.REJECTED, code=code, cause=cause, answer=value)
        cause = f"{key}: {found.cause}."
        return Outcome(key, Status.REJECTED, code=code, cause=cause, field=name, answer=value)
    if keyless:
        return Outcome(key, Status.SKIPPED, code="no_key", cause=f"{key} has no value for the mapping's key.")
    return Outcome(
        key, Status.SKIPPED, code="no_member", cause=f"{key} has no member through whom a group call is made."
    )


def _unfound(key: str, remote_ids: Sequence[str]) -> Outcome:
    if remote_ids:
        several = ", ".join(remote_ids[:5])
        cause = (
            f"{key} fits {len(remote_ids)} records over there ({several}). Merge them, or map a unique key."
        )
        return Outcome(key, Status.REJECTED, code="ambiguous", cause=cause, answer=several)
    return Outcome(key, Status.SKIPPED, code="unmatched", cause=f"{key} is not there, and is not created.")
