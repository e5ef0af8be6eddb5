"""Leases: named locks, and the leases of processes that died."""

import time

import sqlalchemy as sa

from heatsync.ledger import tables as t
from heatsync.ledger.database import LedgerPart
from heatsync.ledger.types import BatchState, LeaseOwner, Process

LEASE = 120.0
"""Seconds that a lock or a claimed batch stays its owner's unless extended; longer than any call's deadline."""


class Locks(LedgerPart):
    """Locks by name, each held by one owner until its lease ends."""

    def lock(self, name: str, owner: LeaseOwner, lease: float = LEASE) -> bool:
        """Take or extend a lock for `lease` seconds. False while another owner holds it."""
        c, now = t.locks.c, time.time()
        insert = self.database.insert(t.locks).values(
            name=name, owner=owner.id, host=owner.process.host, pid=owner.process.pid, lease_until=now + lease
        )
        new = {column: insert.excluded[column] for column in ("owner", "host", "pid", "lease_until")}
        available = sa.or_(c.owner == owner.id, c.lease_until <= now)
        take = insert.on_conflict_do_update(index_elements=["name"], set_=new, where=available)
        with self.database.writing() as connection:
            return connection.scalar(take.returning(c.name)) is not None

    def locked(self, name: str) -> bool:
        """Whether anyone holds a lock."""
        c = t.locks.c
        with self.database.reading() as connection:
            query = sa.select(sa.func.count()).where(c.name == name, c.lease_until > time.time())
            return bool(connection.scalar(query))

    def unlock(self, name: str, owner: LeaseOwner) -> None:
        """Release a lock. Nothing happens if another owner holds it."""
        with self.database.writing() as connection:
            connection.execute(t.locks.delete().where(t.locks.c.name == name, t.locks.c.owner == owner.id))

    def lease_holders(self) -> set[Process]:
        """Processes that hold a lock or a batch, also where the lease ran out."""
        b, held = t.batches.c, t.locks.c
        claimed = sa.select(b.host, b.pid).where(b.state == BatchState.CLAIMED).distinct()
        with self.database.reading() as connection:
            rows = [*connection.execute(sa.select(held.host, held.pid)), *connection.execute(claimed)]
        return {Process(row.host, row.pid) for row in rows}

    def end_leases_of(self, process: Process) -> None:
        """End every lease of a process that no longer exists."""
        b, held = t.batches.c, t.locks.c
        with self.database.writing() as connection:
            connection.execute(t.locks.delete().where(held.host == process.host, held.pid == process.pid))
            connection.execute(
                t.batches.update()
                .where(b.state == BatchState.CLAIMED, b.host == process.host, b.pid == process.pid)
                .values(lease_until=0.0)
            )
