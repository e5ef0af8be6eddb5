"""The quotas that processes share where there is no Redis."""

import time
from dataclasses import asdict

import sqlalchemy as sa

from connectors.rate_limit import QuotaState, SlotRequest, Slots
from heatsync.ledger import tables as t
from heatsync.ledger.database import Database

ATTENTION = 0.1
"""Seconds for which it is remembered that nobody called a pause: asking before every call costs more than the call."""


class RateLimits(Database):
    """A `connectors.rate_limit.QuotaStore`, by the clock of whoever looks: whoever shares a ledger shares a host, or keeps time."""

    ahead = 0.2

    def take_slots(self, wish: SlotRequest) -> Slots:
        c = t.rate_limits.c
        with self.writing() as connection:
            new = self.insert(t.rate_limits).values(name=wish.name, **asdict(QuotaState()))
            connection.execute(new.on_conflict_do_nothing())
            row = connection.execute(
                sa.select(t.rate_limits).where(c.name == wish.name).with_for_update()
            ).one()
            page = QuotaState(row.free, row.until, row.gap, row.day, row.spent)
            slots = page.take_slots(wish, time.time())
            if slots.calls:
                connection.execute(t.rate_limits.update().where(c.name == wish.name).values(**asdict(page)))
        return slots

    def pause_calls(self, name: str, seconds: float) -> None:
        until = time.time() + seconds
        insert = self.insert(t.rate_limits).values(name=name, **asdict(QuotaState(until=until)))
        later = insert.on_conflict_do_update(
            index_elements=["name"], set_={"until": until}, where=t.rate_limits.c.until < until
        )
        with self.writing() as connection:
            connection.execute(later)
        self._looked.pop(name, None)

    def paused_for(self, name: str) -> float:
        looked, until = self._looked.get(name, (0.0, 0.0))
        now = time.time()
        if now - looked > ATTENTION:
            with self.reading() as connection:
                until = (
                    connection.scalar(sa.select(t.rate_limits.c.until).where(t.rate_limits.c.name == name))
                    or 0.0
                )
            self._looked[name] = (now, until)
        return until - now

    def set_gap(self, name: str, gap: float) -> None:
        insert = self.insert(t.rate_limits).values(name=name, **asdict(QuotaState(gap=gap)))
        with self.writing() as connection:
            connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_={"gap": gap}))
