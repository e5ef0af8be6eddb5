"""What is on its way: runs, their batches, and what became of them."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from connectors.base import Change, FieldType, Outcome, Status
from sync.ledger import tables as t
from sync.ledger.database import Database
from sync.ledger.leases import LEASE
from sync.ledger.words import (
    CHUNK,
    Bound,
    Claimed,
    Planned,
    Run,
    chunks,
    read_planned,
    standing_after,
    standing_row,
    write_planned,
    write_value,
)


class Queue(Database):
    """Runs, batches and outcomes."""

    def supersede(self, bound: Bound) -> None:
        """A new run makes the pending batches of older ones void: a stale value never overwrites a newer one."""
        pending = sa.or_(
            t.batches.c.state.in_(["held", "ready"]),
            sa.and_(t.batches.c.state == "claimed", t.batches.c.lease_until <= time.time()),
        )
        with self.writing() as connection:
            connection.execute(
                t.batches.update()
                .where(t.batches.c.mapping == bound.mapping, t.batches.c.account == bound.account, pending)
                .values(state="superseded")
            )
            connection.execute(
                t.runs.update()
                .where(
                    t.runs.c.mapping == bound.mapping,
                    t.runs.c.account == bound.account,
                    t.runs.c.state.in_(["planning", "held", "ready"]),
                    t.runs.c.ended_at.is_(None),
                )
                .values(state="superseded", ended_at=time.time())
            )

    def in_flight(self, bound: Bound) -> bool:
        """Whether somebody alive is delivering a batch of this mapping."""
        c = t.batches.c
        query = sa.select(sa.func.count()).where(
            c.mapping == bound.mapping,
            c.account == bound.account,
            c.state == "claimed",
            c.lease_until > time.time(),
        )
        with self.reading() as connection:
            return bool(connection.scalar(query))

    def begin_run(self, run: Run) -> None:
        row = {name: getattr(run, name) for name in Run.__dataclass_fields__}
        row["planned"] = json.dumps(dict(run.planned))
        with self.writing() as connection:
            self.upsert(t.runs, [row], connection)

    def add_batch(
        self,
        run: Run,
        number: int,
        planned: Sequence[Planned],
        types: Mapping[str, FieldType],
    ) -> str:
        """Write a batch that waits (`held`) until its run is released."""
        id = f"{run.run}.{run.mapping}.{number}"
        row = {
            "id": id,
            "run": run.run,
            "mapping": run.mapping,
            "account": run.account,
            "state": "held",
            "owner": None,
            "lease_until": None,
            "not_before": 0.0,
            "rung_at": 0.0,
            "attempts": 0,
            "types": json.dumps(types),
            "changes": json.dumps([write_planned(p) for p in planned], ensure_ascii=False),
            "evidence": None,
        }
        with self.writing() as connection:
            self.upsert(t.batches, [row], connection)
        return id

    def update_run(self, run: Run) -> None:
        with self.writing() as connection:
            connection.execute(
                t.runs.update()
                .where(t.runs.c.run == run.run, t.runs.c.mapping == run.mapping)
                .values(
                    state=run.state,
                    cause=run.cause,
                    planned=json.dumps(dict(run.planned)),
                    ended_at=run.ended_at,
                )
            )

    def release(self, run: Run) -> bool:
        """Let a held run go: its batches become ready, its meaning is the approved one. False: it is not held."""
        bound = {
            "account": run.account,
            "mapping": run.mapping,
            "approved": run.meaning,
            "records": run.planned.get("records", 0),
        }
        with self.writing() as connection:
            let_go = connection.execute(
                t.runs.update()
                .where(t.runs.c.run == run.run, t.runs.c.mapping == run.mapping, t.runs.c.state == "held")
                .values(state="ready", cause="")
            )
            if let_go.rowcount != 1:
                return False
            connection.execute(
                t.batches.update()
                .where(
                    t.batches.c.run == run.run,
                    t.batches.c.mapping == run.mapping,
                    t.batches.c.state == "held",
                )
                .values(state="ready")
            )
            self.upsert(t.mappings, [bound], connection)
        return True

    def cancel(self, run: Run) -> None:
        with self.writing() as connection:
            connection.execute(
                t.batches.update()
                .where(
                    t.batches.c.run == run.run,
                    t.batches.c.mapping == run.mapping,
                    t.batches.c.state == "held",
                )
                .values(state="superseded")
            )
            connection.execute(
                t.runs.update()
                .where(t.runs.c.run == run.run, t.runs.c.mapping == run.mapping)
                .values(state="cancelled", ended_at=time.time())
            )

    def due_batches(
        self, run: str | None = None, mapping: str | None = None, unrung: float = 0.0
    ) -> list[str]:
        """Batches that may be claimed now; `unrung`: only those nobody rang for since that many seconds."""
        c, now = t.batches.c, time.time()
        free = sa.or_(
            sa.and_(c.state == "ready", c.not_before <= now),
            sa.and_(c.state == "claimed", c.lease_until <= now),
        )
        query = sa.select(c.id).where(free, c.rung_at <= now - unrung).order_by(c.id)
        if run is not None:
            query = query.where(c.run == run)
        if mapping is not None:
            query = query.where(c.mapping == mapping)
        with self.reading() as connection:
            return list(connection.scalars(query))

    def next_due(self, run: str, mapping: str) -> float | None:
        """When the next batch of a run may be claimed; None when none is left."""
        c = t.batches.c
        free_at = sa.case((c.state == "ready", c.not_before), else_=c.lease_until)
        query = sa.select(sa.func.min(free_at)).where(
            c.run == run, c.mapping == mapping, c.state.in_(["ready", "claimed"])
        )
        with self.reading() as connection:
            when: float | None = connection.scalar(query)
        return when

    def ring(self, ids: Sequence[str]) -> None:
        """Note that a doorbell was rung for these batches just now."""
        if ids:
            with self.writing() as connection:
                connection.execute(
                    t.batches.update().where(t.batches.c.id.in_(ids)).values(rung_at=time.time())
                )

    def claim(self, id: str, owner: str, lease: float = LEASE) -> Claimed | None:
        """Make a batch ours in one atomic update; None when it is not to be had."""
        c, now = t.batches.c, time.time()
        free = sa.or_(
            sa.and_(c.state == "ready", c.not_before <= now),
            sa.and_(c.state == "claimed", c.lease_until <= now),
        )
        with self.writing() as connection:
            won = connection.execute(
                t.batches.update()
                .where(c.id == id, free)
                .values(state="claimed", owner=owner, lease_until=now + lease, attempts=c.attempts + 1)
            )
            if won.rowcount != 1:
                return None
            row = connection.execute(
                sa.select(t.batches, t.runs.c.object, t.runs.c.destination)
                .join(
                    t.runs, sa.and_(t.runs.c.run == t.batches.c.run, t.runs.c.mapping == t.batches.c.mapping)
                )
                .where(c.id == id)
            ).one()
            answered = set(connection.scalars(sa.select(t.outcomes.c.entity).where(t.outcomes.c.batch == id)))
        types = {name: FieldType(type) for name, type in json.loads(row.types).items()}
        planned = tuple(
            read_planned(raw, types) for raw in json.loads(row.changes) if raw["key"] not in answered
        )
        return Claimed(
            id, row.run, row.mapping, row.account, row.object, row.destination, row.attempts, types, planned
        )

    def extend(self, id: str, owner: str, lease: float = LEASE) -> bool:
        """Keep a claimed batch for longer; False when it was taken from us."""
        with self.writing() as connection:
            kept = connection.execute(
                t.batches.update()
                .where(t.batches.c.id == id, t.batches.c.state == "claimed", t.batches.c.owner == owner)
                .values(lease_until=time.time() + lease)
            )
            return kept.rowcount == 1

    def give_back(self, id: str, not_before: float) -> None:
        """Put an unfinished batch back, to be claimed again at `not_before`."""
        with self.writing() as connection:
            connection.execute(
                t.batches.update()
                .where(t.batches.c.id == id, t.batches.c.state == "claimed")
                .values(state="ready", owner=None, lease_until=None, not_before=not_before)
            )

    def finish_batch(self, id: str, state: str = "done", evidence: str | None = None) -> None:
        with self.writing() as connection:
            connection.execute(
                t.batches.update()
                .where(t.batches.c.id == id)
                .values(state=state, owner=None, lease_until=None, evidence=evidence)
            )

    def settle(self, claimed: Claimed, outcomes: Sequence[Outcome], recheck_at: float) -> None:
        """Move delivered values, and keep every outcome. Nothing else ever writes delivered values."""
        planned = {p.change.key: p for p in claimed.planned}
        bound = Bound(claimed.mapping, claimed.account, claimed.object)
        now = time.time()
        final = [o for o in outcomes if o.status is not Status.DEFERRED]
        delivered = {o.key: o for o in final if o.status is Status.DELIVERED}
        with self.writing() as connection:
            old = self._fields_of(bound, list(delivered), connection)
            rows = []
            for key, outcome in delivered.items():
                change = planned[key].change
                fields, version = old.get(key, ({}, 0))
                rows.append(
                    {
                        "account": bound.account,
                        "object": bound.object,
                        "entity": key,
                        "remote_id": outcome.remote_id or change.remote_id,
                        "match_value": change.match[0].value if change.match else None,
                        "fields": json.dumps(
                            fields | {n: write_value(v) for n, v in change.fields.items()}, ensure_ascii=False
                        ),
                        "version": version + 1,
                        "updated_at": now,
                    }
                )
            self.upsert(t.records, rows, connection)
            standings = [standing_after(planned[o.key], o, recheck_at) for o in final]
            self.upsert(t.standings, [standing_row(bound, s, now) for s in standings], connection)
            forgotten = [o.key for o in final if o.code == "not_found"]
            if forgotten:
                connection.execute(
                    t.records.update()
                    .where(
                        t.records.c.account == bound.account,
                        t.records.c.object == bound.object,
                        t.records.c.entity.in_(forgotten),
                    )
                    .values(remote_id=None, fields="{}")
                )
            self._keep_outcomes(
                claimed.run,
                claimed.mapping,
                claimed.id,
                final,
                {k: p.change for k, p in planned.items()},
                connection,
            )

    def keep_outcomes(self, run: Run, outcomes: Iterable[Outcome]) -> None:
        """Keep outcomes that were earned without a call: refused before sending, or skipped."""
        for chunk in chunks(outcomes):
            with self.writing() as connection:
                self._keep_outcomes(run.run, run.mapping, None, chunk, {}, connection)

    def _keep_outcomes(
        self,
        run: str,
        mapping: str,
        batch: str | None,
        outcomes: Sequence[Outcome],
        changes: Mapping[str, Change],
        connection: sa.Connection,
    ) -> None:
        now = time.time()
        rows = []
        for o in outcomes:
            change = changes.get(o.key)
            value = change.fields.get(o.field) if change is not None and o.field is not None else None
            rows.append(
                {
                    "run": run,
                    "mapping": mapping,
                    "entity": o.key,
                    "batch": batch,
                    "status": o.status.value,
                    "code": o.code,
                    "cause": o.cause,
                    "field": o.field,
                    "value": None if value is None else str(write_value(value)),
                    "answer": o.answer,
                    "at": now,
                }
            )
        self.upsert(t.outcomes, rows, connection)

    def _fields_of(
        self, bound: Bound, entities: list[str], connection: sa.Connection
    ) -> dict[str, tuple[dict[str, Any], int]]:
        c = t.records.c
        found: dict[str, tuple[dict[str, Any], int]] = {}
        for start in range(0, len(entities), CHUNK):
            query = sa.select(c.entity, c.fields, c.version).where(
                c.account == bound.account,
                c.object == bound.object,
                c.entity.in_(entities[start : start + CHUNK]),
            )
            for row in connection.execute(query):
                found[row.entity] = (json.loads(row.fields), row.version)
        return found

    def add_calls(self, run: str, mapping: str, calls: int, seconds: float) -> None:
        c = t.runs.c
        with self.writing() as connection:
            connection.execute(
                t.runs.update()
                .where(c.run == run, c.mapping == mapping)
                .values(calls=c.calls + calls, seconds=c.seconds + seconds)
            )

    def finish_run(self, run: str, mapping: str, cause: str = "") -> bool:
        """End a run whose batches have all ended: `done`, or `failed` with the cause. False: not yet, or not ours."""
        c, b = t.runs.c, t.batches.c
        open_ = sa.select(b.id).where(
            b.run == run, b.mapping == mapping, b.state.in_(["held", "ready", "claimed"])
        )
        parked = sa.select(b.evidence).where(b.run == run, b.mapping == mapping, b.state == "parked")
        with self.writing() as connection:
            if not cause and connection.execute(open_.limit(1)).first() is not None:
                return False
            evidence = connection.scalar(parked.limit(1))
            # The first line says what happened; the rest is what was answered, and may hold personal data.
            why = cause or (evidence or "").partition("\n")[0]
            ended = connection.execute(
                t.runs.update()
                .where(c.run == run, c.mapping == mapping, c.state == "ready", c.ended_at.is_(None))
                .values(state="failed" if why else "done", cause=why, ended_at=time.time())
            )
            return ended.rowcount == 1
