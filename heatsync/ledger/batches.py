"""Batches: planned, claimed under a lease, put back, parked, finished, or superseded by a newer run."""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from connectors.types import FieldType, Outcome
from heatsync.ledger import statements
from heatsync.ledger import tables as t
from heatsync.ledger.database import LedgerPart
from heatsync.ledger.json_codec import read_planned, read_types, to_json, write_planned
from heatsync.ledger.locks import LEASE
from heatsync.ledger.outcomes import doubt_unanswered, save_outcomes
from heatsync.ledger.pauses import find_pause
from heatsync.ledger.runs import add_calls, finish_run
from heatsync.ledger.types import (
    UNRELEASED,
    Attempt,
    BatchState,
    BatchTarget,
    BoundMapping,
    ClaimedBatch,
    LeaseOwner,
    Pause,
    PlannedChange,
    PushState,
    Run,
    RunState,
)


class Batches(LedgerPart):
    """Changes of a run that are sent together. One owner at a time delivers a batch: the one that claimed it."""

    def add_batch(
        self,
        run: Run,
        number: int,
        planned: Sequence[PlannedChange],
        types: Mapping[str, FieldType],
    ) -> str:
        """Write a batch that waits until its run is released. Returns its id."""
        id = f"{run.run}.{run.mapping}.{number:06}"
        row = {
            "id": id,
            "run": run.run,
            "mapping": run.mapping,
            "account": run.account,
            "state": BatchState.PLANNED,
            "owner": None,
            "host": None,
            "pid": None,
            "lease_until": None,
            "not_before": 0.0,
            "enqueued_at": 0.0,
            "attempts": 0,
            "push_state": PushState.NEVER,
            "pushed_at": None,
            "types": to_json(types),
            "size": len(planned),
            "changes": to_json([write_planned(p) for p in planned]),
            "cause": None,
            "evidence": None,
            "job": None,
        }
        with self.database.writing() as connection:
            self.database.upsert(t.batches, [row], connection)
        return id

    # What is due

    def due_batches(self, run: str | None = None, mapping: str | None = None) -> list[str]:
        """Ids of batches that can be claimed now, in the order of their ids: of a run, of a mapping, or all."""
        c = t.batches.c
        query = sa.select(c.id).where(_claimable()).order_by(c.id)
        if run is not None:
            query = query.where(c.run == run)
        if mapping is not None:
            query = query.where(c.mapping == mapping)
        with self.database.reading() as connection:
            return list(connection.scalars(query))

    def first_due_batches(self, not_enqueued_for: float) -> list[str]:
        """The first due batch of each mapping's run, among those not enqueued in the last so many seconds."""
        c = t.batches.c
        waiting = c.enqueued_at <= time.time() - not_enqueued_for
        query = sa.select(sa.func.min(c.id)).where(_claimable(), waiting).group_by(c.run, c.mapping)
        with self.database.reading() as connection:
            return sorted(connection.scalars(query))

    def next_due(self, run: str, mapping: str) -> float | None:
        """From when on the next batch of a run can be claimed, in seconds since 1970; None if no batch is left."""
        c = t.batches.c
        query = sa.select(sa.func.min(statements.due_from())).where(
            c.run == run,
            c.mapping == mapping,
            c.state.in_([BatchState.READY, BatchState.CLAIMED]),
            statements.of_released_run(),
        )
        with self.database.reading() as connection:
            when: float | None = connection.scalar(query)
        return when

    def batch_target(self, batch: str) -> BatchTarget | None:
        """Which run and mapping a batch is of, and where it goes to; None if it does not exist."""
        b, r = t.batches.c, t.runs.c
        query = (
            sa.select(b.run, b.mapping, b.account, r.object)
            .join(t.runs, sa.and_(r.run == b.run, r.mapping == b.mapping))
            .where(b.id == batch)
        )
        with self.database.reading() as connection:
            row = connection.execute(query).first()
        return BatchTarget(*row) if row is not None else None

    def next_batch_for(self, account: str, object: str) -> str | None:
        """A due batch to an object, of the run that was not enqueued for the longest time; None if none is due."""
        b, r = t.batches.c, t.runs.c
        query = (
            sa.select(b.id)
            .join(t.runs, sa.and_(r.run == b.run, r.mapping == b.mapping))
            .where(
                b.account == account,
                r.object == object,
                r.state == RunState.READY,
                statements.due(time.time()),
            )
            .order_by(b.enqueued_at, b.id)
            .limit(1)
        )
        with self.database.reading() as connection:
            found: str | None = connection.scalar(query)
        return found

    def mark_enqueued(self, ids: Sequence[str]) -> None:
        """Remember that a task for these batches was enqueued just now."""
        if ids:
            enqueued = t.batches.update().where(t.batches.c.id.in_(ids)).values(enqueued_at=time.time())
            with self.database.writing() as connection:
                connection.execute(enqueued)

    def postpone(self, run: str, mapping: str, until: float, cause: str) -> None:
        """Make no batch of a run due before `until` (seconds since 1970). The run shows the cause."""
        b, r = t.batches.c, t.runs.c
        early = (b.run == run, b.mapping == mapping, b.state == BatchState.READY, b.not_before < until)
        with self.database.writing() as connection:
            connection.execute(t.batches.update().where(*early).values(not_before=until))
            connection.execute(
                t.runs.update()
                .where(r.run == run, r.mapping == mapping, r.state == RunState.READY, r.ended_at.is_(None))
                .values(cause=cause)
            )

    # A claim

    def claim(
        self, id: str, owner: LeaseOwner, lease: float = LEASE, finish_only: bool = False
    ) -> ClaimedBatch | None:
        """Claim a batch for `lease` seconds, in one atomic step. None if it cannot be claimed.

        `owner` must be of this claim alone. From the claim on the batch may take effect at the destination; `requeue`
        can say that it did not. With `finish_only` only a batch that has a job can be claimed, also after its run ended.
        """

        def work(connection: sa.Connection) -> tuple[sa.Row[Any], set[str]] | None:
            now, db = time.time(), self.database
            name, lock = (
                ("lock due batch with job", statements.lock_due_with_job)
                if finish_only
                else ("lock due batch", statements.lock_due)
            )
            row = db.execute(name, {"id": id, "now": now}, connection, lock).first()
            if row is None:
                return None
            ours = {
                "batch_id": id,
                "owner": owner.id,
                "host": owner.process.host,
                "pid": owner.process.pid,
                "lease_until": now + lease,
                "pushed_at": now,
            }
            db.execute("claim", ours, connection, statements.claim)
            answered = db.execute("answered", {"id": id}, connection, statements.answered)
            return row, set(answered.scalars())

        won = self.database.group_write(work)
        return _claimed(*won, owner) if won is not None else None

    def check_claim(self, claimed: ClaimedBatch, credential: str) -> tuple[bool, Pause | None]:
        """Whether a claim still holds, and the pause of its mapping for this credential (a hash), if there is one."""
        with self.database.reading() as connection:
            owner = self.database.execute("owner", {"id": claimed.id}, connection, statements.owner).scalar()
            pause = find_pause(self.database, claimed.mapping, credential, connection)
        return owner == claimed.owner, pause

    def mark_pushed(self, claimed: ClaimedBatch) -> bool:
        """The batch takes effect at the destination from now on, not since the claim. False: the claim is lost.

        Remote ids that were found for its records since the plan are kept with it: a later attempt must use the same.
        """
        ids = {p.change.key: p.change.remote_id for p in claimed.planned if p.change.remote_id is not None}
        values: dict[str, object] = {"pushed_at": time.time()}
        with self.database.writing() as connection:
            text = connection.scalar(sa.select(t.batches.c.changes).where(t.batches.c.id == claimed.id))
            changes = json.loads(str(text))
            found = [raw for raw in changes if raw["remote_id"] is None and raw["key"] in ids]
            for raw in found:
                raw["remote_id"] = ids[raw["key"]]
            if found:
                values["changes"] = to_json(changes)
            return self._change(claimed, connection, **values)

    def save_job(self, claimed: ClaimedBatch, job: str | None) -> bool:
        """Remember the state of the job that works on a batch, or that there is none. False: the claim is lost."""
        return self._change_claimed(claimed, job=job)

    def extend(self, claimed: ClaimedBatch, lease: float = LEASE) -> bool:
        """Extend a claim to `lease` seconds from now. False: the claim is lost."""
        return self._change_claimed(claimed, lease_until=time.time() + lease)

    def requeue(
        self, claimed: ClaimedBatch, not_before: float, attempt: Attempt, count_attempt: bool = True
    ) -> bool:
        """Put an unfinished batch back, due at `not_before` (seconds since 1970). False: the claim is lost.

        `attempt` is how far this one got. With `count_attempt` it lengthens the wait after the next failure.
        """
        pushed: dict[str, object] = {}
        if attempt is Attempt.NOT_SENT:
            pushed = {"push_state": claimed.push_state, "pushed_at": claimed.pushed_at}
        elif attempt is Attempt.ANSWERED:
            pushed = {"push_state": PushState.ANSWERED, "pushed_at": None}
        return self._change_claimed(
            claimed,
            **_released(BatchState.READY),
            not_before=not_before,
            attempts=claimed.attempts if count_attempt else max(0, claimed.attempts - 1),
            **pushed,
        )

    def park_batch(
        self, claimed: ClaimedBatch, cause: str, evidence: str = "", readable: bool = True
    ) -> bool:
        """Put a batch aside for good, because its answer cannot be read. What it may have written is looked up again.

        `evidence` is what was answered; it may hold personal data and is never shown with the run. False: the claim is
        lost.
        """
        bound = BoundMapping(claimed.mapping, claimed.account, claimed.object, readable)
        parked = self._change_claimed(claimed, **_released(BatchState.PARKED), cause=cause, evidence=evidence)
        if parked:
            with self.database.writing() as connection:
                doubt_unanswered(self.database, bound, claimed.id, connection)
        return parked

    def finish_batch(
        self, claimed: ClaimedBatch, outcomes: Sequence[Outcome], recheck_at: float, calls: int
    ) -> bool:
        """Write the last outcomes of a batch, and end it if the claim still holds. Returns whether its run ended too.

        `recheck_at` as in `save_outcomes`; `calls` are added to the run.
        """

        def work(connection: sa.Connection) -> bool:
            # The batch before its records, as `supersede` does: opposite orders deadlock on PostgreSQL.
            ours = self._change(claimed, connection, **_released(BatchState.DONE))
            save_outcomes(self.database, claimed, outcomes, recheck_at, connection)
            add_calls(self.database, claimed.run, claimed.mapping, calls, 0.0, connection)
            return ours and finish_run(self.database, claimed.run, claimed.mapping, None, connection)

        return self.database.group_write(work)

    def _change_claimed(self, claimed: ClaimedBatch, **values: object) -> bool:
        with self.database.writing() as connection:
            return self._change(claimed, connection, **values)

    def _change(self, claimed: ClaimedBatch, connection: sa.Connection, **values: object) -> bool:
        which = {"batch_id": claimed.id, "claim_owner": claimed.owner}
        name = f"change claimed {','.join(values)}"
        changed = self.database.execute(
            name, values | which, connection, lambda: statements.change_claimed(list(values))
        )
        return changed.rowcount == 1

    # Older runs

    def supersede(self, bound: BoundMapping, mappings: Collection[str] = ()) -> bool:
        """End older runs of a mapping and drop their batches: a stale value never overwrites a newer one.

        What a dropped batch may have written is looked up again. Returns whether an older batch is still on its way:
        its lease holds, or a job at the destination works on it (`batches_with_job`, which explains `mappings`).
        """
        c, r = t.batches.c, t.runs.c
        in_delivery = sa.and_(
            c.mapping == bound.mapping,
            c.account == bound.account,
            c.state == BatchState.CLAIMED,
            c.lease_until > time.time(),
        )
        on_its_way = sa.select(sa.func.count()).where(
            sa.or_(in_delivery, statements.with_job_for(bound, mappings))
        )
        with self.database.writing() as connection:
            self._drop_pending(bound, connection)
            remaining = bool(connection.scalar(on_its_way))
            # On PostgreSQL a batch can come back unfinished between the two statements before this one.
            self._drop_pending(bound, connection)
            connection.execute(
                t.runs.update()
                .where(
                    r.mapping == bound.mapping,
                    r.account == bound.account,
                    r.state.in_([RunState.PLANNING, *UNRELEASED, RunState.READY]),
                    r.ended_at.is_(None),
                )
                .values(state=RunState.SUPERSEDED, ended_at=time.time())
            )
        return remaining

    def _drop_pending(self, bound: BoundMapping, connection: sa.Connection) -> None:
        c = t.batches.c
        pending = sa.or_(
            c.state.in_([BatchState.PLANNED, BatchState.READY]),
            sa.and_(c.state == BatchState.CLAIMED, c.lease_until <= time.time()),
        )
        without_job = sa.not_(statements.with_job())
        ours = sa.and_(c.mapping == bound.mapping, c.account == bound.account, pending, without_job)
        drop = t.batches.update().where(ours).values(state=BatchState.SUPERSEDED)
        for row in connection.execute(drop.returning(c.id, c.push_state)).all():
            if row.push_state != PushState.NEVER:
                doubt_unanswered(self.database, bound, row.id, connection)

    def batches_with_job(
        self, bound: BoundMapping, mappings: Collection[str] = ()
    ) -> list[tuple[str, float]]:
        """Batches of any run that a job works on: id, and from when on each can be claimed (seconds since 1970).

        With `mappings` (the names of all that exist) also those of removed mappings to the same object.
        """
        query = sa.select(t.batches.c.id, statements.due_from())
        query = query.where(statements.with_job_for(bound, mappings)).order_by(t.batches.c.id)
        with self.database.reading() as connection:
            return [(row[0], row[1]) for row in connection.execute(query)]

    def other_mapping_with_job(self, claimed: ClaimedBatch) -> str | None:
        """A mapping with a job on the same object, of another mapping or run than the batch; None if there is none."""
        c, r = t.batches.c, t.runs.c
        other = sa.not_(sa.and_(c.run == claimed.run, c.mapping == claimed.mapping))
        same_object = sa.exists().where(r.run == c.run, r.mapping == c.mapping, r.object == claimed.object)
        query = sa.select(c.mapping).where(
            statements.with_job(), c.account == claimed.account, other, same_object
        )
        with self.database.reading() as connection:
            found: str | None = connection.scalar(query.limit(1))
        return found


def _claimable() -> sa.ColumnElement[bool]:
    return sa.and_(statements.due(time.time()), statements.of_released_run())


def _released(state: BatchState) -> dict[str, Any]:
    """The columns of a batch that is claimed no longer."""
    return {"state": state, "owner": None, "host": None, "pid": None, "lease_until": None}


def _claimed(row: sa.Row[Any], answered: set[str], owner: LeaseOwner) -> ClaimedBatch:
    types = read_types(row.types)
    raw_changes = [raw for raw in json.loads(row.changes) if raw["key"] not in answered]
    return ClaimedBatch(
        id=row.id,
        owner=owner.id,
        run=row.run,
        mapping=row.mapping,
        account=row.account,
        object=row.object,
        destination=row.destination,
        attempts=row.attempts + 1,
        push_state=PushState(row.push_state),
        pushed_at=row.pushed_at,
        types=types,
        planned=tuple(read_planned(raw, types) for raw in raw_changes),
        job=row.job,
    )
