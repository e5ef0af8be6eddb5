"""The statements of every batch, written out once (`Database.one`), and which batches are meant."""

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from heatsync.ledger import tables as t
from heatsync.ledger.types import BoundMapping


def free_at() -> sa.ColumnElement[float]:
    """When a batch may be claimed that is not at its end."""
    b = t.batches.c
    return sa.case((b.state == "ready", b.not_before), else_=b.lease_until)


def noted() -> sa.ColumnElement[bool]:
    """Batches that something is at work on over there."""
    b = t.batches.c
    waiting = [sa.literal_column(f"'{state}'", sa.String) for state in ("ready", "claimed")]
    return sa.and_(b.state.in_(waiting), b.note.is_not(None))


def noted_before(bound: BoundMapping, mappings: Collection[str]) -> sa.ColumnElement[bool]:
    """Those of a mapping and, where `mappings` are given, of any other to the object that is not among them."""
    b, r = t.batches.c, t.runs.c
    whose: sa.ColumnElement[bool] = b.mapping == bound.mapping
    if mappings:
        same = sa.exists().where(r.run == b.run, r.mapping == b.mapping, r.object == bound.object)
        whose = sa.or_(whose, sa.and_(b.mapping.not_in(list(mappings)), same))
    return sa.and_(noted(), b.account == bound.account, whose)


def free(now: float) -> sa.ColumnElement[bool]:
    """Batches that may be claimed: of a released run, and due."""
    return sa.and_(due(now), released())


def due(now: "float | sa.BindParameter[float]") -> sa.ColumnElement[bool]:
    """Batches that are nobody's, or of somebody whose lease ran out."""
    b = t.batches.c
    return sa.or_(
        sa.and_(b.state == "ready", b.not_before <= now),
        sa.and_(b.state == "claimed", b.lease_until <= now),
    )


def released() -> sa.ColumnElement[bool]:
    """Whether a batch's run was let go, and did not end."""
    b, r = t.batches.c, t.runs.c
    return sa.exists().where(r.run == b.run, r.mapping == b.mapping, r.state == "ready")


def _one_due(also: sa.ColumnElement[bool]) -> sa.Select[Any]:
    b, r = t.batches.c, t.runs.c
    same = sa.and_(r.run == b.run, r.mapping == b.mapping)
    return (
        sa.select(t.batches, r.object, r.destination)
        .join(t.runs, same)
        .where(b.id == sa.bindparam("id"), due(sa.bindparam("now")), also)
        .with_for_update(of=t.batches)
    )


def one_free() -> sa.Select[Any]:
    return _one_due(t.runs.c.state == "ready")


def one_noted() -> sa.Select[Any]:
    return _one_due(noted())


def claim() -> sa.Update:
    c = t.batches.c
    new: dict[str, Any] = {name: sa.bindparam(name) for name in ("owner", "lease_until", "begun")}
    return (
        t.batches.update()
        .where(c.id == sa.bindparam("our_id"))
        .values(state="claimed", attempts=c.attempts + 1, **new)
    )


def owner() -> sa.Select[Any]:
    c = t.batches.c
    return sa.select(c.owner).where(c.id == sa.bindparam("id"), c.state == "claimed")


def answered() -> sa.Select[Any]:
    return sa.select(t.outcomes.c.entity).where(t.outcomes.c.batch == sa.bindparam("id"))


def change(columns: Sequence[str]) -> sa.Update:
    c = t.batches.c
    mine = (c.id == sa.bindparam("our_id"), c.state == "claimed", c.owner == sa.bindparam("us"))
    return t.batches.update().where(*mine).values({name: sa.bindparam(name) for name in columns})


def unended() -> sa.Select[Any]:
    states = [sa.literal_column(f"'{state}'", sa.String) for state in ("held", "ready", "claimed")]
    of = _of_its_run(sa.select(t.batches.c.id))
    return of.where(t.batches.c.state.in_(states)).limit(sa.literal_column("1"))


def parked() -> sa.Select[Any]:
    return _of_its_run(sa.select(t.batches.c.evidence)).where(t.batches.c.state == "parked")


def _of_its_run(query: sa.Select[Any]) -> sa.Select[Any]:
    return query.where(t.batches.c.run == sa.bindparam("of"), t.batches.c.mapping == sa.bindparam("its"))


def add_calls() -> sa.Update:
    c = t.runs.c
    return (
        t.runs.update()
        .where(c.run == sa.bindparam("of"), c.mapping == sa.bindparam("its"))
        .values(calls=c.calls + sa.bindparam("made"), seconds=c.seconds + sa.bindparam("took"))
    )
