"""What is known of the records over there, and where each of ours stands."""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from sync.ledger import tables as t
from sync.ledger.database import Database
from sync.ledger.words import CHUNK, Bound, Record, Standing, chunks, standing_row, write_fields


class Known(Database):
    """Records and standings."""

    def settled(self, bound: Bound) -> Iterator[Sequence[Any]]:
        """The standings that need no second look unless something changed, in chunks of (entity, digest)."""
        c = t.standings.c
        query = sa.select(c.entity, c.digest).where(
            c.account == bound.account, c.mapping == bound.mapping, c.state == "settled"
        )
        return self.stream(query)

    def unsettled(self, bound: Bound, mended: Sequence[str] = ()) -> Iterator[Sequence[Any]]:
        """All other standings in chunks of (entity, digest, state, recheck_at). Those with a `mended` code are
        about nothing any more, and thereby due."""
        c = t.standings.c
        digest = sa.case((c.code.in_(mended), None), else_=c.digest).label("digest") if mended else c.digest
        query = sa.select(c.entity, digest, c.state, c.recheck_at).where(
            c.account == bound.account, c.mapping == bound.mapping, c.state != "settled"
        )
        return self.stream(query)

    def rejected(self, bound: Bound, codes: Sequence[str]) -> bool:
        """Whether any record stands rejected with one of these codes."""
        c = t.standings.c
        query = sa.select(c.entity).where(
            c.account == bound.account,
            c.mapping == bound.mapping,
            c.state == "rejected",
            c.code.in_(codes),
        )
        with self.reading() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def levels(self, bound: Bound, entities: Sequence[str]) -> Iterator[Sequence[Any]]:
        """The level of each record when it was last written, in chunks of (entity, level)."""
        c = t.standings.c
        query = sa.select(c.entity, c.level).where(c.account == bound.account, c.mapping == bound.mapping)
        for start in range(0, len(entities), CHUNK):
            yield from self.stream(query.where(c.entity.in_(entities[start : start + CHUNK])))

    def records(self, bound: Bound, entities: Sequence[str] | None = None) -> Iterator[Sequence[Any]]:
        """Records in chunks of (entity, remote_id, match_value, version, fields); all of them, or of `entities`."""
        c = t.records.c
        query = sa.select(c.entity, c.remote_id, c.match_value, c.version, c.fields).where(
            c.account == bound.account, c.object == bound.object
        )
        if entities is None:
            yield from self.stream(query)
            return
        for start in range(0, len(entities), CHUNK):
            yield from self.stream(query.where(c.entity.in_(entities[start : start + CHUNK])))

    def remember_records(self, bound: Bound, records: Iterable[Record]) -> None:
        """Keep what a look-up told: ids and present values."""
        now = time.time()
        for chunk in chunks(records):
            rows = [
                {
                    "account": bound.account,
                    "object": bound.object,
                    "entity": record.entity,
                    "remote_id": record.remote_id,
                    "match_value": record.match_value,
                    "fields": write_fields(record.fields),
                    "version": record.version,
                    "updated_at": now,
                }
                for record in chunk
            ]
            with self.writing() as connection:
                self.upsert(t.records, rows, connection)

    def entities_of(self, bound: Bound, remote_ids: Sequence[str]) -> dict[str, str]:
        """Which of our entities these records over there are known to be: remote id -> entity."""
        c = t.records.c
        query = sa.select(c.remote_id, c.entity).where(
            c.account == bound.account, c.object == bound.object, c.remote_id.in_(remote_ids)
        )
        with self.reading() as connection:
            return {row.remote_id: row.entity for row in connection.execute(query)}

    def settle_standings(self, bound: Bound, standings: Iterable[Standing]) -> None:
        now = time.time()
        for chunk in chunks(standings):
            with self.writing() as connection:
                self.upsert(t.standings, [standing_row(bound, s, now) for s in chunk], connection)

    def approved(self, bound: Bound) -> tuple[str | None, int | None]:
        """(the meaning that was let through, the records of the last run)."""
        c = t.mappings.c
        with self.reading() as connection:
            row = connection.execute(
                sa.select(c.approved, c.records).where(c.account == bound.account, c.mapping == bound.mapping)
            ).first()
        return (row.approved, row.records) if row else (None, None)
