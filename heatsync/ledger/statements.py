"""Conditions on batches, and the statements that run for every batch. `Database.execute` compiles these once."""

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from heatsync.ledger import tables as t
from heatsync.ledger.types import OPEN, BatchState, BoundMapping, PushState, RunState


def due(now: "float | sa.BindParameter[float]") -> sa.ColumnElement[bool]:
    """Batches that can be delivered: ready ones whose time has come, and claimed ones whose lease ran out."""
    b = t.batches.c
    return sa.or_(
        sa.and_(b.state == BatchState.READY, b.not_before <= now),
        sa.and_(b.state == BatchState.CLAIMED, b.lease_until <= now),
    )


def due_from() -> sa.ColumnElement[float]:
    """From when on a ready or claimed batch is due."""
    b = t.batches.c
    return sa.case((b.state == BatchState.READY, b.not_before), else_=b.lease_until)


def of_released_run() -> sa.ColumnElement[bool]:
    """Batches whose run is released and has not ended."""
    b, r = t.batches.c, t.runs.c
    return sa.exists().where(r.run == b.run, r.mapping == b.mapping, r.state == RunState.READY)


def with_job() -> sa.ColumnElement[bool]:
    """Batches that a job at the destination works on."""
    b = t.batches.c
    return sa.and_(b.state.in_(_literals(BatchState.READY, BatchState.CLAIMED)), b.job.is_not(None))


def with_job_for(bound: BoundMapping, mappings: Collection[str]) -> sa.ColumnElement[bool]:
    """Batches with a job, of a mapping. With `mappings` (all that exist), also of removed mappings to the same object."""
    b, r = t.batches.c, t.runs.c
    of_mapping: sa.ColumnElement[bool] = b.mapping == bound.mapping
    if mappings:
        same_object = sa.exists().where(r.run == b.run, r.mapping == b.mapping, r.object == bound.object)
        of_mapping = sa.or_(of_mapping, sa.and_(b.mapping.not_in(list(mappings)), same_object))
    return sa.and_(with_job(), b.account == bound.account, of_mapping)


def lock_due() -> sa.Select[Any]:
    """The batch `id` with its run's object and destination, locked, if it is due (`now`) and its run is released."""
    return _lock_due(t.runs.c.state == RunState.READY)


def lock_due_with_job() -> sa.Select[Any]:
    """The same if it is due and has a job, whatever became of its run."""
    return _lock_due(with_job())


def _lock_due(condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
    b, r = t.batches.c, t.runs.c
    return (
        sa.select(t.batches, r.object, r.destination)
        .join(t.runs, sa.and_(r.run == b.run, r.mapping == b.mapping))
        .where(b.id == sa.bindparam("id"), due(sa.bindparam("now")), condition)
        .with_for_update(of=t.batches)
    )


def claim() -> sa.Update:
    """Claim the batch `batch_id`. Parameters are named after columns."""
    c = t.batches.c
    names = ("owner", "host", "pid", "lease_until", "pushed_at")
    new: dict[str, Any] = {name: sa.bindparam(name) for name in names}
    return (
        t.batches.update()
        .where(c.id == sa.bindparam("batch_id"))
        .values(state=BatchState.CLAIMED, push_state=PushState.IN_DOUBT, attempts=c.attempts + 1, **new)
    )


def change_claimed(columns: Sequence[str]) -> sa.Update:
    """Change columns of the batch `batch_id` if `claim_owner` still holds it."""
    c = t.batches.c
    ours = (
        c.id == sa.bindparam("batch_id"),
        c.state == BatchState.CLAIMED,
        c.owner == sa.bindparam("claim_owner"),
    )
    return t.batches.update().where(*ours).values({name: sa.bindparam(name) for name in columns})


def owner() -> sa.Select[Any]:
    """The owner of the batch `id`, if it is claimed."""
    c = t.batches.c
    return sa.select(c.owner).where(c.id == sa.bindparam("id"), c.state == BatchState.CLAIMED)


def answered() -> sa.Select[Any]:
    """Entities of the batch `id` that have an outcome."""
    return sa.select(t.outcomes.c.entity).where(t.outcomes.c.batch == sa.bindparam("id"))


def open_batches() -> sa.Select[Any]:
    """One batch of a run (`run_id`, `mapping_name`) that is still to be delivered."""
    query = _of_run(sa.select(t.batches.c.id))
    return query.where(t.batches.c.state.in_(_literals(*OPEN))).limit(sa.literal_column("1"))


def parked() -> sa.Select[Any]:
    """Why batches of a run are parked."""
    return _of_run(sa.select(t.batches.c.cause)).where(t.batches.c.state == BatchState.PARKED)


def _of_run(query: sa.Select[Any]) -> sa.Select[Any]:
    c = t.batches.c
    return query.where(c.run == sa.bindparam("run_id"), c.mapping == sa.bindparam("mapping_name"))


def add_calls() -> sa.Update:
    """Add calls and seconds to a run."""
    c = t.runs.c
    return (
        t.runs.update()
        .where(c.run == sa.bindparam("run_id"), c.mapping == sa.bindparam("mapping_name"))
        .values(calls=c.calls + sa.bindparam("more_calls"), seconds=c.seconds + sa.bindparam("more_seconds"))
    )


def _literals(*states: BatchState) -> list[sa.ColumnElement[str]]:
    # Written out: a statement that is compiled once takes no list of values for IN.
    return [sa.literal_column(f"'{state}'", sa.String) for state in states]
