"""Records at the destination as far as they were acknowledged, and where each of our entities stands with a mapping."""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from heatsync.ledger import tables as t
from heatsync.ledger.database import Database, LedgerPart
from heatsync.ledger.json_codec import write_fields
from heatsync.ledger.types import CHUNK, BoundMapping, MappingState, Record, Standing, StandingState, chunks

SCHEMA_CODES = ("field_missing", "read_only", "permission", "too_long")
"""Codes of rejections that a change of the remote fields can end."""
UNANSWERED_CODES = ("no_answer", "unanswered")
"""Codes of writes that may have taken effect."""


class Records(LedgerPart):
    """Records and standings, each of a mapping bound to an account."""

    def settled_standings(self, bound: BoundMapping) -> Iterator[Sequence[Any]]:
        """Settled standings, in lists of (entity, digest): they need no second look unless something changed."""
        c = t.standings.c
        query = sa.select(c.entity, c.digest).where(
            c.account == bound.account, c.mapping == bound.mapping, c.state == StandingState.SETTLED
        )
        return self.database.stream(query)

    def unsettled_standings(self, bound: BoundMapping) -> Iterator[Sequence[Any]]:
        """All other standings, in lists of (entity, digest, state, recheck_at, code, doubted_at).

        `doubted_at` is since when it is unknown whether the record was written, else NULL; in seconds since 1970.
        """
        c = t.standings.c
        in_doubt = sa.and_(
            c.state == StandingState.UNKNOWN, sa.or_(c.code.is_(None), c.code.in_(UNANSWERED_CODES))
        )
        doubted_at = sa.case((in_doubt, c.since), else_=None)
        query = sa.select(c.entity, c.digest, c.state, c.recheck_at, c.code, doubted_at).where(
            c.account == bound.account, c.mapping == bound.mapping, c.state != StandingState.SETTLED
        )
        return self.database.stream(query)

    def levels(self, bound: BoundMapping, entities: Sequence[str]) -> Iterator[Sequence[Any]]:
        """The level of each record when it was last written, in lists of (entity, level)."""
        c = t.standings.c
        query = sa.select(c.entity, c.level).where(c.account == bound.account, c.mapping == bound.mapping)
        for start in range(0, len(entities), CHUNK):
            yield from self.database.stream(query.where(c.entity.in_(entities[start : start + CHUNK])))

    def records(self, bound: BoundMapping, entities: Sequence[str] | None = None) -> Iterator[Sequence[Any]]:
        """Records in lists of (entity, remote_id, match_value, version, fields, via): all, or those of `entities`.

        `fields` is JSON: field name -> acknowledged value.
        """
        c = t.records.c
        query = sa.select(c.entity, c.remote_id, c.match_value, c.version, c.fields, c.via).where(
            c.account == bound.account, c.object == bound.object
        )
        if entities is None:
            yield from self.database.stream(query)
            return
        for start in range(0, len(entities), CHUNK):
            yield from self.database.stream(query.where(c.entity.in_(entities[start : start + CHUNK])))

    def remember_records(self, bound: BoundMapping, records: Iterable[Record]) -> None:
        """Keep what a look-up found: ids and current values. Other fields of these records stay as they are known."""
        c, now = t.records.c, time.time()
        for chunk in chunks(records):
            these = _records_of(bound, [r.entity for r in chunk])
            columns = (c.entity, c.remote_id, c.fields, c.version, c.via)
            query = sa.select(*columns).where(these).order_by(c.entity).with_for_update()
            with self.database.writing() as connection:
                ensure_records(self.database, bound, [r.entity for r in chunk], connection)
                old = {row.entity: row for row in connection.execute(query)}
                rows = [
                    {
                        "account": bound.account,
                        "object": bound.object,
                        "entity": record.entity,
                        "remote_id": record.remote_id,
                        "match_value": record.match_value,
                        "via": old[record.entity].via,
                        "fields": _merged(old[record.entity], record),
                        "version": max(record.version, old[record.entity].version),
                        "updated_at": now,
                    }
                    for record in chunk
                ]
                self.database.upsert(t.records, rows, connection)

    def record_owners(
        self, bound: BoundMapping, remote_ids: Sequence[str], mappings: Sequence[str]
    ) -> dict[str, dict[str, set[str]]]:
        """Which of our entities these remote records are known to be: remote id -> entity -> mappings.

        The mappings are those among `mappings` that keep the record up to date. An entity that left or is skipped has
        none.
        """
        c, s = t.records.c, t.standings.c
        current = sa.and_(
            s.account == c.account,
            s.entity == c.entity,
            s.mapping.in_(list(mappings)),
            s.state.not_in((StandingState.LEFT, StandingState.SKIPPED)),
        )
        found: dict[str, dict[str, set[str]]] = {}
        for start in range(0, len(remote_ids), CHUNK):
            query = (
                sa.select(c.remote_id, c.entity, s.mapping)
                .select_from(t.records.outerjoin(t.standings, current))
                .where(
                    c.account == bound.account,
                    c.object == bound.object,
                    c.remote_id.in_(remote_ids[start : start + CHUNK]),
                )
            )
            with self.database.reading() as connection:
                for remote_id, entity, mapping in connection.execute(query):
                    owned_by = found.setdefault(remote_id, {}).setdefault(entity, set())
                    if mapping is not None:
                        owned_by.add(mapping)
        return found

    def forget_fields(self, bound: BoundMapping, entities: Sequence[str]) -> None:
        """Forget the values of records that several of our entities turned out to be.

        Their remote ids stay known: no other entity may be taken for the only owner.
        """
        self._forget(bound, entities, fields="{}")

    def forget_remote_ids(self, bound: BoundMapping, entities: Sequence[str]) -> None:
        """Forget which remote records these entities were: the entities no longer exist."""
        self._forget(bound, entities, fields="{}", remote_id=None)

    def _forget(self, bound: BoundMapping, entities: Sequence[str], **values: str | None) -> None:
        for start in range(0, len(entities), CHUNK):
            these = _records_of(bound, entities[start : start + CHUNK])
            with self.database.writing() as connection:
                connection.execute(t.records.update().where(these).values(**values))

    def mark_shared(self, bound: BoundMapping, entities: Sequence[str]) -> None:
        """Have records looked up again that turned out to be the record of another of our entities."""
        c = t.standings.c
        for start in range(0, len(entities), CHUNK):
            these = c.entity.in_(entities[start : start + CHUNK])
            with self.database.writing() as connection:
                connection.execute(
                    t.standings.update()
                    .where(
                        c.account == bound.account,
                        c.mapping == bound.mapping,
                        these,
                        c.state != StandingState.LEFT,
                    )
                    .values(state=StandingState.UNKNOWN, digest=None, code="same_record")
                )

    def save_standings(self, bound: BoundMapping, standings: Iterable[Standing]) -> None:
        """Write standings; one without a level keeps the level of the last write."""
        now = time.time()
        for chunk in chunks(standings):
            with self.database.writing() as connection:
                upsert_standings(self.database, bound, chunk, now, connection)

    def mapping_state(self, bound: BoundMapping) -> MappingState:
        """What is remembered of a mapping as a whole."""
        c = t.mappings.c
        query = sa.select(t.mappings).where(c.account == bound.account, c.mapping == bound.mapping)
        with self.database.reading() as connection:
            row = connection.execute(query).first()
        if row is None:
            return MappingState()
        return MappingState(
            row.approved_hash, row.records, row.fields_created_for, row.schema_hash, row.schema_read_at
        )

    def update_mapping_state(self, bound: BoundMapping, **values: str | float | None) -> None:
        """Change some of it: `fields_created_for`, `schema_hash`, `schema_read_at`."""
        row = {"account": bound.account, "mapping": bound.mapping, **values}
        with self.database.writing() as connection:
            self.database.upsert(t.mappings, [row], connection)

    def has_schema_rejections(self, bound: BoundMapping) -> bool:
        """Whether records are rejected for a reason that a change of the remote fields can end."""
        c = t.standings.c
        query = sa.select(c.entity).where(
            c.account == bound.account,
            c.mapping == bound.mapping,
            c.state == StandingState.REJECTED,
            c.code.in_(SCHEMA_CODES),
        )
        with self.database.reading() as connection:
            return connection.scalar(query.limit(1)) is not None

    def retry_rejected(
        self, bound: BoundMapping | None, codes: Sequence[str] | None = None, run: str | None = None
    ) -> int:
        """Have rejected records sent again: of a mapping or of all, with these codes, of that run. Returns how many."""
        c = t.standings.c
        conditions = [c.state == StandingState.REJECTED]
        if bound is not None:
            conditions += [c.account == bound.account, c.mapping == bound.mapping]
        if codes is not None:
            conditions.append(c.code.in_(codes))
        if run is not None:
            o = t.outcomes.c
            conditions.append(sa.exists().where(o.run == run, o.mapping == c.mapping, o.entity == c.entity))
        again = t.standings.update().where(*conditions).values(state=StandingState.UNKNOWN, digest=None)
        with self.database.writing() as connection:
            return connection.execute(again).rowcount


def ensure_records(
    database: Database, bound: BoundMapping, entities: Sequence[str], connection: sa.Connection
) -> None:
    """Insert empty records where there are none: only a row that exists can be locked."""
    blank = {
        "account": bound.account,
        "object": bound.object,
        "fields": "{}",
        "version": 0,
        "updated_at": 0.0,
    }
    if entities:
        rows = [blank | {"entity": entity} for entity in sorted(entities)]
        database.execute_many(
            "ensure records", rows, connection, lambda: database.insert(t.records).on_conflict_do_nothing()
        )


def upsert_standings(
    database: Database,
    bound: BoundMapping,
    standings: Sequence[Standing],
    now: float,
    connection: sa.Connection,
) -> None:
    """Write standings; one without a level keeps the level of the last write."""
    rows = [
        {
            "account": bound.account,
            "mapping": bound.mapping,
            "entity": standing.entity,
            "digest": standing.digest,
            "state": standing.state,
            "level": standing.level,
            "code": standing.code,
            "recheck_at": standing.recheck_at,
            "since": now,
        }
        for standing in standings
    ]
    database.upsert(t.standings, rows, connection, keep=("level",))


def _records_of(bound: BoundMapping, entities: Sequence[str]) -> sa.ColumnElement[bool]:
    c = t.records.c
    return sa.and_(c.account == bound.account, c.object == bound.object, c.entity.in_(entities))


def _merged(old: Any, record: Record) -> str:
    same = old.remote_id in (None, record.remote_id)
    return write_fields((json.loads(old.fields) if same else {}) | dict(record.fields))
