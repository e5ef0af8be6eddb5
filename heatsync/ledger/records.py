"""What is known of the records over there, and where each of ours stands."""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from heatsync.ledger import tables as t
from heatsync.ledger.database import Database
from heatsync.ledger.json_codec import write_fields
from heatsync.ledger.types import CHUNK, BoundMapping, MappingState, Record, Standing, chunks, standing_row

SCHEMA_CODES = ("field_missing", "read_only", "permission", "too_long")
"""Rejections that a change of the fields over there may end."""


UNANSWERED = ("no_answer", "unanswered")
"""Outcomes of a write that may have taken effect."""


class Records(Database):
    """Records and standings."""

    def settled_standings(self, bound: BoundMapping) -> Iterator[Sequence[Any]]:
        """The standings that need no second look unless something changed, in chunks of (entity, digest)."""
        c = t.standings.c
        query = sa.select(c.entity, c.digest).where(
            c.account == bound.account, c.mapping == bound.mapping, c.state == "settled"
        )
        return self.stream(query)

    def unsettled_standings(self, bound: BoundMapping) -> Iterator[Sequence[Any]]:
        """All other standings in chunks of (entity, digest, state, recheck_at, code, doubted_at).

        The last is since when nobody knows whether the record was written.
        """
        c = t.standings.c
        doubted = sa.and_(c.state == "unknown", sa.or_(c.code.is_(None), c.code.in_(UNANSWERED)))
        since = sa.case((doubted, c.since), else_=None)
        query = sa.select(c.entity, c.digest, c.state, c.recheck_at, c.code, since).where(
            c.account == bound.account, c.mapping == bound.mapping, c.state != "settled"
        )
        return self.stream(query)

    def levels(self, bound: BoundMapping, entities: Sequence[str]) -> Iterator[Sequence[Any]]:
        """The level of each record when it was last written, in chunks of (entity, level)."""
        c = t.standings.c
        query = sa.select(c.entity, c.level).where(c.account == bound.account, c.mapping == bound.mapping)
        for start in range(0, len(entities), CHUNK):
            yield from self.stream(query.where(c.entity.in_(entities[start : start + CHUNK])))

    def records(self, bound: BoundMapping, entities: Sequence[str] | None = None) -> Iterator[Sequence[Any]]:
        """Records in chunks of (entity, remote_id, match_value, version, fields, via): all, or those of `entities`."""
        c = t.records.c
        query = sa.select(c.entity, c.remote_id, c.match_value, c.version, c.fields, c.via).where(
            c.account == bound.account, c.object == bound.object
        )
        if entities is None:
            yield from self.stream(query)
            return
        for start in range(0, len(entities), CHUNK):
            yield from self.stream(query.where(c.entity.in_(entities[start : start + CHUNK])))

    def remember_records(self, bound: BoundMapping, records: Iterable[Record]) -> None:
        """Keep what a look-up told: ids and present values. Other fields of these records stay as they are known."""
        c, now = t.records.c, time.time()
        for chunk in chunks(records):
            mine = sa.and_(
                c.account == bound.account, c.object == bound.object, c.entity.in_([r.entity for r in chunk])
            )
            query = (
                sa.select(c.entity, c.remote_id, c.fields, c.version, c.via)
                .where(mine)
                .order_by(c.entity)
                .with_for_update()
            )
            with self.writing() as connection:
                self.ensure_records(bound.account, bound.object, [r.entity for r in chunk], connection)
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
                self.upsert(t.records, rows, connection)

    def record_owners(
        self, bound: BoundMapping, remote_ids: Sequence[str], mappings: Sequence[str]
    ) -> dict[str, dict[str, set[str]]]:
        """Which of our entities these records over there are known to be, and with which of the mappings they stand
        there: remote id -> entity -> mappings. Who left, or is passed over, stands with none."""
        c, s = t.records.c, t.standings.c
        stands = sa.and_(
            s.account == c.account,
            s.entity == c.entity,
            s.mapping.in_(list(mappings)),
            s.state.not_in(("left", "skipped")),
        )
        found: dict[str, dict[str, set[str]]] = {}
        for start in range(0, len(remote_ids), CHUNK):
            query = (
                sa.select(c.remote_id, c.entity, s.mapping)
                .select_from(t.records.outerjoin(t.standings, stands))
                .where(
                    c.account == bound.account,
                    c.object == bound.object,
                    c.remote_id.in_(remote_ids[start : start + CHUNK]),
                )
            )
            with self.reading() as connection:
                for remote_id, entity, mapping in connection.execute(query):
                    held = found.setdefault(remote_id, {}).setdefault(entity, set())
                    if mapping is not None:
                        held.add(mapping)
        return found

    def forget_fields(self, bound: BoundMapping, entities: Sequence[str]) -> None:
        """Forget what stands in the records that several of ours were found to be. Which record it is stays known,
        so that nobody else is taken for its only holder."""
        self._forget(bound, entities, fields="{}")

    def forget_remote_ids(self, bound: BoundMapping, entities: Sequence[str]) -> None:
        """Forget which records somebody was who is gone."""
        self._forget(bound, entities, fields="{}", remote_id=None)

    def _forget(self, bound: BoundMapping, entities: Sequence[str], **values: str | None) -> None:
        c = t.records.c
        for start in range(0, len(entities), CHUNK):
            mine = c.entity.in_(entities[start : start + CHUNK])
            with self.writing() as connection:
                connection.execute(
                    t.records.update()
                    .where(c.account == bound.account, c.object == bound.object, mine)
                    .values(**values)
                )

    def mark_shared(self, bound: BoundMapping, entities: Sequence[str]) -> None:
        """Have those looked up again that stand with the mapping, and turned out to be the record of another of ours."""
        c = t.standings.c
        for start in range(0, len(entities), CHUNK):
            mine = c.entity.in_(entities[start : start + CHUNK])
            with self.writing() as connection:
                connection.execute(
                    t.standings.update()
                    .where(c.account == bound.account, c.mapping == bound.mapping, mine, c.state != "left")
                    .values(state="unknown", digest=None, code="same_record")
                )

    def save_standings(self, bound: BoundMapping, standings: Iterable[Standing]) -> None:
        now = time.time()
        for chunk in chunks(standings):
            with self.writing() as connection:
                self.upsert_standings([standing_row(bound, s, now) for s in chunk], connection)

    def mapping_state(self, bound: BoundMapping) -> MappingState:
        """What is remembered of a mapping as a whole."""
        with self.reading() as connection:
            row = connection.execute(self._of(bound)).first()
        return (
            MappingState(
                row.approved_hash, row.records, row.fields_created_for, row.schema_hash, row.schema_read_at
            )
            if row
            else MappingState()
        )

    def update_mapping_state(self, bound: BoundMapping, **values: str | float | None) -> None:
        """Change some of it: `fields_created_for`, `schema_hash`, `schema_read_at`."""
        row = {"account": bound.account, "mapping": bound.mapping, **values}
        with self.writing() as connection:
            self.upsert(t.mappings, [row], connection)

    def has_schema_rejections(self, bound: BoundMapping) -> bool:
        """Whether records are rejected for a reason that somebody can mend over there."""
        c = t.standings.c
        query = sa.select(c.entity).where(
            c.account == bound.account,
            c.mapping == bound.mapping,
            c.state == "rejected",
            c.code.in_(SCHEMA_CODES),
        )
        with self.reading() as connection:
            return connection.scalar(query.limit(1)) is not None

    def retry_rejected(
        self, bound: BoundMapping | None, codes: Sequence[str] | None = None, run: str | None = None
    ) -> int:
        """Make rejected records due again: those of a mapping or all, with these codes, of that run. How many."""
        c = t.standings.c
        which = [c.state == "rejected"]
        if bound is not None:
            which += [c.account == bound.account, c.mapping == bound.mapping]
        if codes is not None:
            which.append(c.code.in_(codes))
        if run is not None:
            o = t.outcomes.c
            which.append(sa.exists().where(o.run == run, o.mapping == c.mapping, o.entity == c.entity))
        with self.writing() as connection:
            due = t.standings.update().where(*which).values(state="unknown", digest=None)
            return connection.execute(due).rowcount

    def _of(self, bound: BoundMapping) -> sa.Select[Any]:
        c = t.mappings.c
        return sa.select(t.mappings).where(c.account == bound.account, c.mapping == bound.mapping)


def _merged(old: Any, record: Record) -> str:
    same = old.remote_id in (None, record.remote_id)
    return write_fields((json.loads(old.fields) if same else {}) | dict(record.fields))
