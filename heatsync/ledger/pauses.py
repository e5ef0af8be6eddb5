"""Which mappings are paused, and why."""

import time
from typing import Any

import sqlalchemy as sa

from heatsync.ledger import tables as t
from heatsync.ledger.database import Database, LedgerPart
from heatsync.ledger.types import Pause

EVERYTHING = "*"
"""In the place of a mapping's name: all mappings."""


class Pauses(LedgerPart):
    """Pauses of single mappings, and of everything."""

    def pause(self, mapping: str, cause: str, credential: str | None = None) -> None:
        """Pause a mapping or EVERYTHING: by hand, or because a `credential` (a hash) was refused.

        A pause for a refused credential does not replace one by hand.
        """
        insert = self.database.insert(t.pauses).values(
            mapping=mapping, cause=cause, credential=credential, since=time.time()
        )
        new = {name: insert.excluded[name] for name in ("cause", "credential", "since")}
        by_hand = t.pauses.c.credential.is_(None)
        replaced = None if credential is None else sa.not_(by_hand)
        with self.database.writing() as connection:
            connection.execute(
                insert.on_conflict_do_update(index_elements=["mapping"], set_=new, where=replaced)
            )

    def resume(self, mapping: str) -> bool:
        """End the pause of a mapping or of EVERYTHING. False: there was none."""
        with self.database.writing() as connection:
            return connection.execute(t.pauses.delete().where(t.pauses.c.mapping == mapping)).rowcount > 0

    def find_pause(self, mapping: str, credential: str | None = None) -> Pause | None:
        """Why a mapping is paused; None if it is not. Another `credential` than the refused one ends a pause for it."""
        with self.database.reading() as connection:
            return find_pause(self.database, mapping, credential, connection)


def find_pause(
    database: Database, mapping: str, credential: str | None, connection: sa.Connection
) -> Pause | None:
    """`Pauses.find_pause` within a transaction."""
    for row in database.execute("pauses", {"mapping": mapping}, connection, _pauses_of):
        if row.credential is None or credential is None or row.credential == credential:
            return Pause(row.cause, by_hand=row.credential is None)
    return None


def _pauses_of() -> sa.Select[Any]:
    c = t.pauses.c
    return sa.select(t.pauses).where(sa.or_(c.mapping == sa.bindparam("mapping"), c.mapping == EVERYTHING))
