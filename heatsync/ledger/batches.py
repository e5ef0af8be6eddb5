"""What is on its way: runs, their batches, and what became of them."""

import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from connectors.types import Change, FieldType, Kind, Outcome, Status
from heatsync.ledger import statements
from heatsync.ledger import tables as t
from heatsync.ledger.json_codec import doubtful_value, read_planned, write_fields, write_planned, write_value
from heatsync.ledger.locks import LEASE, Leases
from heatsync.ledger.types import (
    BoundMapping,
    ClaimedBatch,
    PlannedChange,
    Run,
    Standing,
    chunks,
    standing_after,
    standing_row,
)


class Batches(Leases):
    """Runs, batches and outcomes."""

    def supersede(self, bound: BoundMapping, mappings: Collection[str] = ()) -> bool:
        """A new run makes the pending batches of older ones void: a stale value never overwrites a newer one.

        Of a batch that somebody began, what has no outcome may have arrived all the same: that is looked up again.
        Answers whether an older batch is not void yet: somebody alive is still delivering it, or something is at work on
        it over there (`batches_with_job`, which tells what `mappings` are).
        """
        c = t.batches.c
        delivering = sa.and_(
            c.mapping == bound.mapping,
            c.account == bound.account,
            c.state == "claimed",
            c.lease_until > time.time(),
        )
        alive = sa.select(sa.func.count()).where(sa.or_(delivering, statements.noted_before(bound, mappings)))
        with self.writing() as connection:
            self._void(bound, connection)
            flying = bool(connection.scalar(alive))
            # On PostgreSQL a batch may come back unfinished between the two statements before this one.
            self._void(bound, connection)
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
        return flying

    def _void(self, bound: BoundMapping, connection: sa.Connection) -> None:
        c = t.batches.c
        pending = sa.or_(
            c.state.in_(["held", "ready"]), sa.and_(c.state == "claimed", c.lease_until <= time.time())
        )
        mine = sa.and_(
            c.mapping == bound.mapping, c.account == bound.account, pending, sa.not_(statements.noted())
        )
        void = t.batches.update().where(mine).values(state="superseded")
        voided = connection.execute(void.returning(c.id, c.begun)).all()
        for id in (row.id for row in voided if row.begun):
            changes = connection.scalar(sa.select(c.changes).where(c.id == id))
            self._doubt(bound, id, str(changes), connection)

    def batches_with_job(
        self, bound: BoundMapping, mappings: Collection[str] = ()
    ) -> list[tuple[str, float]]:
        """Batches of any run that something is at work on over there, and when each may be claimed.

        With the `mappings` that there are, also those of mappings to the same object that are no longer there.
        """
        c = t.batches.c
        with self.reading() as connection:
            mine = statements.noted_before(bound, mappings)
            rows = connection.execute(sa.select(c.id, statements.free_at()).where(mine).order_by(c.id))
            return [(row[0], row[1]) for row in rows]

    def other_mapping_with_job(self, claimed: ClaimedBatch) -> str | None:
        """The mapping that something is at work for over there on the same object, if it is of another mapping or run."""
        c, r = t.batches.c, t.runs.c
        theirs = sa.not_(sa.and_(c.run == claimed.run, c.mapping == claimed.mapping))
        same = sa.exists().where(r.run == c.run, r.mapping == c.mapping, r.object == claimed.object)
        query = (
            sa.select(c.mapping)
            .where(statements.noted(), c.account == claimed.account, theirs, same)
            .limit(1)
        )
        with self.reading() as connection:
            found: str | None = connection.scalar(query)
        return found

    def count_undelivered(self, batch: str, since: float) -> int:
        """How many records of a batch turned out not to have arrived since then."""
        c = t.outcomes.c
        undelivered = c.status.in_([Status.REJECTED.value, Status.UNKNOWN.value])
        query = sa.select(sa.func.count()).where(c.batch == batch, undelivered, c.at >= since)
        with self.reading() as connection:
            return connection.scalar(query) or 0

    def _doubt(self, bound: BoundMapping, batch: str, changes: str, connection: sa.Connection) -> None:
        """Forget what we knew of the fields that a batch may have written without our being told.

        Where nobody can look, what may have been written is kept as doubtful, with the version it was written as:
        it is sent again whatever it is to be.
        """
        answered = set(connection.scalars(sa.select(t.outcomes.c.entity).where(t.outcomes.c.batch == batch)))
        doubtful = {raw["key"]: raw for raw in json.loads(changes) if raw["key"] not in answered}
        now = time.time()
        self.ensure_records(bound.account, bound.object, list(doubtful), connection)
        for key, (fields, version) in self._fields_of(bound, list(doubtful), connection).items():
            written = doubtful[key]["fields"]
            if bound.readable:
                kept = {name: value for name, value in fields.items() if name not in written}
            else:
                kept = fields | {name: doubtful_value(value) for name, value in written.items()}
                version = max(version, doubtful[key]["version"])
            values = {"fields": json.dumps(kept, ensure_ascii=False), "version": version, "updated_at": now}
            self._update_record(bound, key, values, connection)
        standings = [standing_row(bound, Standing(key, None, "unknown"), now) for key in doubtful]
        self.upsert_standings(standings, connection)

    def pending_run(self, bound: BoundMapping) -> str | None:
        """The run of a mapping that waits or is on its way, if there is one."""
        c = t.runs.c
        query = sa.select(c.run).where(
            c.mapping == bound.mapping, c.account == bound.account, c.state.in_(["held", "ready"])
        )
        with self.reading() as connection:
            found: str | None = connection.scalar(query.limit(1))
        return found

    def save_run(self, run: Run) -> None:
        row = {name: getattr(run, name) for name in Run.__dataclass_fields__}
        row["planned"] = json.dumps(dict(run.planned))
        with self.writing() as connection:
            self.upsert(t.runs, [row], connection)

    def add_batch(
        self,
        run: Run,
        number: int,
        planned: Sequence[PlannedChange],
        types: Mapping[str, FieldType],
    ) -> str:
        """Write a batch that waits (`held`) until its run is released."""
        id = f"{run.run}.{run.mapping}.{number:06}"
        row = {
            "id": id,
            "run": run.run,
            "mapping": run.mapping,
            "account": run.account,
            "state": "held",
            "owner": None,
            "lease_until": None,
            "not_before": 0.0,
            "enqueued_at": 0.0,
            "attempts": 0,
            "begun": 0,
            "types": json.dumps(types),
            "size": len(planned),
            "changes": json.dumps([write_planned(p) for p in planned], ensure_ascii=False),
            "evidence": None,
            "note": None,
        }
        with self.writing() as connection:
            self.upsert(t.batches, [row], connection)
        return id

    def update_run(self, run: Run) -> None:
        """Write a run's state, cause, counts and end."""
        planned = json.dumps(dict(run.planned))
        self._update(run, state=run.state, cause=run.cause, planned=planned, ended_at=run.ended_at)

    def update_counts(self, run: Run) -> None:
        """Write what is noted of a run's plan, and nothing else."""
        self._update(run, planned=json.dumps(dict(run.planned)))

    def _update(self, run: Run, **values: object) -> None:
        with self.writing() as connection:
            connection.execute(
                t.runs.update()
                .where(t.runs.c.run == run.run, t.runs.c.mapping == run.mapping)
                .values(**values)
            )

    def release(self, run: Run) -> bool:
        """Let a held run go: its batches become ready, its meaning is the approved one. False: it is not held."""
        bound = {
            "account": run.account,
            "mapping": run.mapping,
            "approved_hash": run.definition_hash,
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
            if not run.planned.get("partial"):
                self.upsert(t.mappings, [bound], connection)
        return True

    def cancel(self, run: Run) -> bool:
        """Drop a held run. False: it is not held (any more), and nothing was done."""
        mine = sa.and_(t.runs.c.run == run.run, t.runs.c.mapping == run.mapping, t.runs.c.state == "held")
        with self.writing() as connection:
            dropped = connection.execute(
                t.runs.update().where(mine).values(state="cancelled", ended_at=time.time())
            )
            if dropped.rowcount != 1:
                return False
            connection.execute(
                t.batches.update()
                .where(
                    t.batches.c.run == run.run,
                    t.batches.c.mapping == run.mapping,
                    t.batches.c.state == "held",
                )
                .values(state="superseded")
            )
        return True

    def due_batches(
        self, run: str | None = None, mapping: str | None = None, not_enqueued_for: float = 0.0
    ) -> list[str]:
        """Batches that may be claimed now; `not_enqueued_for`: only those nobody rang for since that many seconds."""
        c, now = t.batches.c, time.time()
        query = (
            sa.select(c.id)
            .where(statements.free(now), c.enqueued_at <= now - not_enqueued_for)
            .order_by(c.id)
        )
        if run is not None:
            query = query.where(c.run == run)
        if mapping is not None:
            query = query.where(c.mapping == mapping)
        with self.reading() as connection:
            return list(connection.scalars(query))

    def next_due(self, run: str, mapping: str) -> float | None:
        """When the next batch of a run may be claimed; None when none is left, or the run is void."""
        c = t.batches.c
        query = sa.select(sa.func.min(statements.free_at())).where(
            c.run == run, c.mapping == mapping, c.state.in_(["ready", "claimed"]), statements.released()
        )
        with self.reading() as connection:
            when: float | None = connection.scalar(query)
        return when

    def batch_target(self, batch: str) -> tuple[str, str] | None:
        """The account and object that a batch goes to."""
        b, r = t.batches.c, t.runs.c
        same = sa.and_(r.run == b.run, r.mapping == b.mapping)
        query = sa.select(b.account, r.object).join(t.runs, same).where(b.id == batch)
        with self.reading() as connection:
            row = connection.execute(query).first()
        return (row.account, row.object) if row is not None else None

    def next_batch_for(self, account: str, object: str) -> str | None:
        """The batch to an object that may be claimed now, of the run that nobody rang for the longest."""
        b, r = t.batches.c, t.runs.c
        same = sa.and_(r.run == b.run, r.mapping == b.mapping)
        query = (
            sa.select(b.id)
            .join(t.runs, same)
            .where(b.account == account, r.object == object, r.state == "ready", statements.due(time.time()))
            .order_by(b.enqueued_at, b.id)
            .limit(1)
        )
        with self.reading() as connection:
            found: str | None = connection.scalar(query)
        return found

    def postpone(self, run: str, mapping: str, until: float, cause: str) -> None:
        """Nothing of a run is due before then; the run says why."""
        b, r = t.batches.c, t.runs.c
        with self.writing() as connection:
            connection.execute(
                t.batches.update()
                .where(b.run == run, b.mapping == mapping, b.state == "ready", b.not_before < until)
                .values(not_before=until)
            )
            connection.execute(
                t.runs.update()
                .where(r.run == run, r.mapping == mapping, r.state == "ready", r.ended_at.is_(None))
                .values(cause=cause)
            )

    def mark_enqueued(self, ids: Sequence[str]) -> None:
        """Note that a doorbell was rung for these batches just now."""
        if ids:
            with self.writing() as connection:
                connection.execute(
                    t.batches.update().where(t.batches.c.id.in_(ids)).values(enqueued_at=time.time())
                )

    def claim(self, id: str, owner: str, lease: float = LEASE, late: bool = False) -> ClaimedBatch | None:
        """Make a batch ours in one atomic step; None when it is not to be had. `owner` is of this claim alone.

        From now on it may take effect over there; `requeue` can say that it did not. One that something is at work on
        over there is also to be had `late`, when its run is over.
        """

        def work(connection: sa.Connection) -> tuple[sa.Row[Any], set[str]] | None:
            now = time.time()
            free = ("late", statements.one_noted) if late else ("free", statements.one_free)
            row = self.one(free[0], {"id": id, "now": now}, connection, free[1]).first()
            if row is None:
                return None
            ours = {"our_id": id, "owner": owner, "lease_until": now + lease, "begun": int(now)}
            self.one("claim", ours, connection, statements.claim)
            return row, set(self.one("answered", {"id": id}, connection, statements.answered).scalars())

        won = self.group_write(work)
        if won is None:
            return None
        row, answered = won
        types = {name: FieldType(type) for name, type in json.loads(row.types).items()}
        return ClaimedBatch(
            id=id,
            owner=owner,
            run=row.run,
            mapping=row.mapping,
            account=row.account,
            object=row.object,
            destination=row.destination,
            attempts=row.attempts + 1,
            begun=float(row.begun),
            types=types,
            planned=tuple(
                read_planned(raw, types) for raw in json.loads(row.changes) if raw["key"] not in answered
            ),
            note=row.note or "",
        )

    def check_claim(self, claimed: ClaimedBatch, credential: str) -> tuple[bool, str | None]:
        """Whether a claimed batch is still ours, and why its mapping rests, if it does."""
        with self.reading() as connection:
            us = self.one("owner", {"id": claimed.id}, connection, statements.owner).scalar()
            return us == claimed.owner, self.pause_cause_in(claimed.mapping, credential, connection)

    def mark_pushed(self, claimed: ClaimedBatch) -> bool:
        """The batch takes effect over there from now on, and not since it was claimed. False when it was taken from us.

        Ids that were found for its records since the plan stay with it: whoever resumes it must go the same way.
        """
        ids = {p.change.key: p.change.remote_id for p in claimed.planned if p.change.remote_id is not None}
        values: dict[str, object] = {"begun": int(time.time())}
        with self.writing() as connection:
            text = connection.scalar(sa.select(t.batches.c.changes).where(t.batches.c.id == claimed.id))
            changes = json.loads(str(text))
            found = [raw for raw in changes if raw["remote_id"] is None and raw["key"] in ids]
            for raw in found:
                raw["remote_id"] = ids[raw["key"]]
            if found:
                values["changes"] = json.dumps(changes, ensure_ascii=False)
            return self._change(claimed, connection, **values)

    def note(self, claimed: ClaimedBatch, text: str) -> bool:
        """Remember what is at work on a claimed batch over there, or nothing; False when it was taken from us."""
        return self._ours(claimed, note=text or None)

    def extend(self, claimed: ClaimedBatch, lease: float = LEASE) -> bool:
        """Keep a claimed batch for longer; False when it was taken from us."""
        return self._ours(claimed, lease_until=time.time() + lease)

    def requeue(
        self,
        claimed: ClaimedBatch,
        not_before: float,
        burn: bool = True,
        interrupted: bool = False,
        untouched: bool = False,
    ) -> bool:
        """Put an unfinished batch back, to be claimed again at `not_before`. Waiting burns no attempt.

        One that was `interrupted` may just have taken effect, one that is `untouched` did not; of any other it is known
        that what has no answer was not done.
        """
        values: dict[str, object] = {} if interrupted else {"begun": claimed.begun if untouched else 1}
        return self._ours(
            claimed,
            state="ready",
            owner=None,
            lease_until=None,
            not_before=not_before,
            attempts=claimed.attempts if burn else max(0, claimed.attempts - 1),
            **values,
        )

    def park_batch(self, claimed: ClaimedBatch, evidence: str, readable: bool = True) -> bool:
        """Put a batch aside whose answer cannot be read; what it may have written is looked up again."""
        bound = BoundMapping(claimed.mapping, claimed.account, claimed.object, readable)
        parked = self._ours(claimed, state="parked", owner=None, lease_until=None, evidence=evidence)
        if parked:
            with self.writing() as connection:
                changes = connection.scalar(
                    sa.select(t.batches.c.changes).where(t.batches.c.id == claimed.id)
                )
                self._doubt(bound, claimed.id, str(changes), connection)
        return parked

    def _ours(self, claimed: ClaimedBatch, **values: object) -> bool:
        """Change a batch as long as it is claimed by this claim."""
        with self.writing() as connection:
            return self._change(claimed, connection, **values)

    def _change(self, claimed: ClaimedBatch, connection: sa.Connection, **values: object) -> bool:
        mine = {"our_id": claimed.id, "us": claimed.owner}
        name = f"change {','.join(values)}"
        return (
            self.one(name, values | mine, connection, lambda: statements.change(list(values))).rowcount == 1
        )

    def save_outcomes(self, claimed: ClaimedBatch, outcomes: Sequence[Outcome], recheck_at: float) -> None:
        """Move delivered values, and keep every outcome. Nothing else ever writes delivered values."""
        with self.writing() as connection:
            self._save_outcomes(claimed, outcomes, recheck_at, connection)

    def finish_batch(
        self, claimed: ClaimedBatch, outcomes: Sequence[Outcome], recheck_at: float, calls: int
    ) -> bool:
        """Settle the last outcomes of a batch, and end it if it is still ours; tells whether its run ended with it."""

        def work(connection: sa.Connection) -> bool:
            # The batch before its records, as `supersede` does: opposite orders stop each other on PostgreSQL.
            ours = self._change(claimed, connection, state="done", owner=None, lease_until=None)
            self._save_outcomes(claimed, outcomes, recheck_at, connection)
            self._add_calls(claimed.run, claimed.mapping, calls, 0.0, connection)
            return ours and self._finish_run(claimed.run, claimed.mapping, "", connection)

        return self.group_write(work)

    def _save_outcomes(
        self, claimed: ClaimedBatch, outcomes: Sequence[Outcome], recheck_at: float, connection: sa.Connection
    ) -> None:
        if not outcomes:
            return
        planned = {p.change.key: p for p in claimed.planned}
        bound = BoundMapping(claimed.mapping, claimed.account, claimed.object)
        now = time.time()
        final = [o for o in outcomes if o.status is not Status.DEFERRED]
        delivered = {o.key: o for o in final if o.status is Status.DELIVERED}
        if not self.embedded:
            self.ensure_records(bound.account, bound.object, list(delivered), connection)
        absent = [o.key for o in final if o.code == "not_found"]
        partly = [o.key for o in final if o.partly_written and o.key not in delivered]
        # All that are written below, locked in one order: opposite ones stop each other on PostgreSQL.
        old = self._fields_of(bound, [*delivered, *absent, *partly], connection)
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
                    "via": change.via,
                    "fields": write_fields(_standing_there(claimed, change, fields)),
                    "version": max(version, change.version) + 1,
                    "updated_at": now,
                }
            )
        self.upsert(t.records, rows, connection)
        standings = [standing_after(planned[o.key], o, recheck_at) for o in final]
        self.upsert_standings([standing_row(bound, s, now) for s in standings], connection)
        for key in old.keys() & {*absent, *partly}:
            # What this change named may stand there or not, and is read again; the rest is other mappings' as well.
            written = planned[key].change.fields
            kept = {name: value for name, value in old[key][0].items() if name not in written}
            values = (
                {"fields": "{}", "remote_id": None}
                if key in absent
                else {"fields": json.dumps(kept, ensure_ascii=False)}
            )
            self._update_record(bound, key, values, connection)
        self._keep_outcomes(
            claimed.run,
            claimed.mapping,
            claimed.id,
            final,
            {k: p.change for k, p in planned.items()},
            connection,
        )

    def _update_record(
        self, bound: BoundMapping, entity: str, values: Mapping[str, Any], connection: sa.Connection
    ) -> None:
        c = t.records.c
        mine = (c.account == bound.account, c.object == bound.object, c.entity == entity)
        connection.execute(t.records.update().where(*mine).values(**values))

    def save_unsent_outcomes(self, run: Run, outcomes: Iterable[Outcome]) -> None:
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
            if batch is None and o.field is not None:
                # Nobody was asked: what is known is the value that cannot be sent.
                value = o.answer
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
                    "answer": "" if batch is None and o.field is not None else o.answer,
                    "at": now,
                }
            )
        self.upsert(t.outcomes, rows, connection)

    def _fields_of(
        self, bound: BoundMapping, entities: list[str], connection: sa.Connection
    ) -> dict[str, tuple[dict[str, Any], int]]:
        where = {"account": bound.account, "object": bound.object, "entities": self.listed(entities)}
        rows = self.one("fields", where, connection, self._locked_fields) if entities else ()
        return {row.entity: (json.loads(row.fields), row.version) for row in rows}

    def _locked_fields(self) -> sa.Select[Any]:
        c = t.records.c
        return (
            sa.select(c.entity, c.fields, c.version)
            .where(
                c.account == sa.bindparam("account"),
                c.object == sa.bindparam("object"),
                self.among(c.entity, "entities"),
            )
            .order_by(c.entity)
            .with_for_update()
        )

    def add_calls(self, run: str, mapping: str, calls: int, seconds: float) -> None:
        with self.writing() as connection:
            self._add_calls(run, mapping, calls, seconds, connection)

    def _add_calls(
        self, run: str, mapping: str, calls: int, seconds: float, connection: sa.Connection
    ) -> None:
        of = {"of": run, "its": mapping, "made": calls, "took": seconds}
        self.one("add calls", of, connection, statements.add_calls)

    def finish_run(self, run: str, mapping: str, cause: str = "") -> bool:
        """End a run whose batches have all ended: `done`, or `failed` with the cause. False: not yet, or not ours."""
        with self.writing() as connection:
            return self._finish_run(run, mapping, cause, connection)

    def _finish_run(self, run: str, mapping: str, cause: str, connection: sa.Connection) -> bool:
        of = {"of": run, "its": mapping}
        if not cause and self.one("open", of, connection, statements.unended).first() is not None:
            return False
        evidence = self.one("parked", of, connection, statements.parked).scalar()
        # The first line says what happened; the rest is what was answered, and may hold personal data.
        why = cause or (evidence or "").partition("\n")[0]
        c = t.runs.c
        ended = connection.execute(
            t.runs.update()
            .where(c.run == run, c.mapping == mapping, c.state == "ready", c.ended_at.is_(None))
            .values(state="failed" if why else "done", cause=why, ended_at=time.time())
        )
        return ended.rowcount == 1


def _standing_there(claimed: ClaimedBatch, change: Change, fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a record holds once a change is delivered; of one that was made, also what was left empty is known."""
    made = change.remote_id is None and change.kind is not Kind.LEFT
    empty: dict[str, Any] = dict.fromkeys(claimed.types) if made else {}
    return empty | dict(fields) | dict(change.fields)
