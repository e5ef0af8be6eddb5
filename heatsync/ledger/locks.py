"""Whose account it is, who holds what, and what rests."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from connectors.types import Account
from heatsync.ledger import tables as t
from heatsync.ledger.database import Database

LEASE = 120.0
"""Seconds that a claimed batch is left alone; longer than any single call's deadline."""


class Leases(Database):
    """Accounts, locks and pauses."""

    def credential_hash(self, vendor: str, settings: Sequence[str]) -> str:
        """A keyed hash of a credential: it can be recognised with this ledger, and nothing else."""
        name = t.secrets.c.name == "credential"
        with self.writing() as connection:
            key = connection.scalar(sa.select(t.secrets.c.value).where(name))
            if key is None:
                new = self.insert(t.secrets).values(name="credential", value=secrets.token_hex(32))
                connection.execute(new.on_conflict_do_nothing())
                key = str(connection.scalar(sa.select(t.secrets.c.value).where(name)))
        text = "\x1f".join([vendor, *settings])
        return hmac.new(bytes.fromhex(key), text.encode(), hashlib.sha256).hexdigest()

    def known_account(self, credential: str) -> tuple[str, Account] | None:
        """The bound name (vendor and id) and the account that a credential belongs to, if it was asked."""
        with self.reading() as connection:
            row = connection.execute(
                sa.select(t.accounts).where(t.accounts.c.credential == credential)
            ).first()
        if row is None:
            return None
        kind, _, id = row.label.partition(" ")
        return row.account, Account(kind, id, row.name)

    def remember_account(self, credential: str, vendor: str, account: Account) -> str:
        bound = f"{vendor}:{account.id}"
        row = {
            "credential": credential,
            "account": bound,
            "label": account.label,
            "name": account.name,
            "asked_at": time.time(),
        }
        with self.writing() as connection:
            self.upsert(t.accounts, [row], connection)
        return bound

    def lock(self, name: str, owner: str, lease: float = LEASE) -> bool:
        """Take or extend a lock; False while somebody else holds it."""
        c, now = t.locks.c, time.time()
        insert = self.insert(t.locks).values(name=name, owner=owner, lease_until=now + lease)
        take = insert.on_conflict_do_update(
            index_elements=["name"],
            set_={"owner": insert.excluded.owner, "lease_until": insert.excluded.lease_until},
            where=sa.or_(c.owner == owner, c.lease_until <= now),
        )
        with self.writing() as connection:
            return connection.scalar(take.returning(c.name)) is not None

    def locked(self, name: str) -> bool:
        """Whether somebody holds a lock."""
        c = t.locks.c
        with self.reading() as connection:
            query = sa.select(sa.func.count()).where(c.name == name, c.lease_until > time.time())
            return bool(connection.scalar(query))

    def unlock(self, name: str, owner: str) -> None:
        with self.writing() as connection:
            connection.execute(t.locks.delete().where(t.locks.c.name == name, t.locks.c.owner == owner))

    def lease_owners(self) -> set[str]:
        """Everyone who holds a lock or a batch."""
        with self.reading() as connection:
            held = connection.scalars(sa.select(t.locks.c.owner))
            owners = set(held)
            claimed = sa.select(t.batches.c.owner).where(t.batches.c.state == "claimed").distinct()
            return owners | {owner for owner in connection.scalars(claimed) if owner}

    def end_leases_of(self, owner: str) -> None:
        """End every lease of a process that is no more."""
        with self.writing() as connection:
            connection.execute(t.locks.delete().where(t.locks.c.owner == owner))
            connection.execute(
                t.batches.update()
                .where(t.batches.c.state == "claimed", t.batches.c.owner == owner)
                .values(lease_until=0.0)
            )

    def scored_at(self, as_of: str) -> float | None:
        """When the workers had scored a day; None: not yet."""
        with self.reading() as connection:
            query = sa.select(t.scorings.c.finished_at).where(t.scorings.c.as_of == as_of)
            finished_at: float | None = connection.scalar(query)
        return finished_at

    def mark_scored(self, as_of: str) -> None:
        with self.writing() as connection:
            self.upsert(t.scorings, [{"as_of": as_of, "finished_at": time.time()}], connection)

    def pause(self, mapping: str, cause: str, credential: str | None = None) -> None:
        """Let a mapping rest. A pause for a refused `credential` does not replace one by hand."""
        insert = self.insert(t.pauses).values(
            mapping=mapping, cause=cause, credential=credential, since=time.time()
        )
        new = {name: insert.excluded[name] for name in ("cause", "credential", "since")}
        by_hand = t.pauses.c.credential.is_(None)
        keep = None if credential is None else sa.not_(by_hand)
        with self.writing() as connection:
            connection.execute(insert.on_conflict_do_update(index_elements=["mapping"], set_=new, where=keep))

    def resume(self, mapping: str) -> bool:
        with self.writing() as connection:
            return connection.execute(t.pauses.delete().where(t.pauses.c.mapping == mapping)).rowcount > 0

    def pause_cause(self, mapping: str, credential: str | None = None) -> str | None:
        """Why a mapping rests, or None. A pause for refused credentials ends when the credential is another."""
        with self.reading() as connection:
            return self.pause_cause_in(mapping, credential, connection)

    def pause_cause_in(self, mapping: str, credential: str | None, connection: sa.Connection) -> str | None:
        """`paused`, within a transaction."""
        for row in self.one("pauses", {"mapping": mapping}, connection, _pauses):
            if row.credential is None or credential is None or row.credential == credential:
                return str(row.cause)
        return None


def _pauses() -> sa.Select[Any]:
    c = t.pauses.c
    return sa.select(t.pauses).where(sa.or_(c.mapping == sa.bindparam("mapping"), c.mapping == "*"))
