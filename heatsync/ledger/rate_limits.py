"""Quotas of destinations, shared by all processes with this ledger where there is no Redis."""

import time
from dataclasses import asdict

import sqlalchemy as sa

from connectors.rate_limit import QuotaState, SlotRequest, Slots
from heatsync.ledger import tables as t
from heatsync.ledger.database import Database, LedgerPart

PAUSE_CACHE_SECONDS = 0.1
"""How long the end of a pause is remembered: reading it before every call would cost more than the call."""


class RateLimits(LedgerPart):
    """A `connectors.rate_limit.QuotaStore`. It uses this host's clock: processes that share a ledger share a host, or
    keep their clocks in step."""

    ahead = 0.2

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._pauses: dict[str, tuple[float, float]] = {}  # name -> when it was read, end of the pause

    def take_slots(self, request: SlotRequest) -> Slots:
        c = t.rate_limits.c
        with self.database.writing() as connection:
            new = self.database.insert(t.rate_limits).values(name=request.name, **asdict(QuotaState()))
            connection.execute(new.on_conflict_do_nothing())
            query = sa.select(t.rate_limits).where(c.name == request.name).with_for_update()
            row = connection.execute(query).one()
            state = QuotaState(row.free, row.until, row.gap, row.day, row.spent)
            slots = state.take_slots(request, time.time())
            if slots.calls:
                connection.execute(
                    t.rate_limits.update().where(c.name == request.name).values(**asdict(state))
                )
        return slots

    def pause_calls(self, name: str, seconds: float) -> None:
        until = time.time() + seconds
        insert = self.database.insert(t.rate_limits).values(name=name, **asdict(QuotaState(until=until)))
        later = insert.on_conflict_do_update(
            index_elements=["name"], set_={"until": until}, where=t.rate_limits.c.until < until
        )
        with self.database.writing() as connection:
            connection.execute(later)
        self._pauses.pop(name, None)

    def paused_for(self, name: str) -> float:
        read_at, until = self._pauses.get(name, (0.0, 0.0))
        now = time.time()
        if now - read_at > PAUSE_CACHE_SECONDS:
            query = sa.select(t.rate_limits.c.until).where(t.rate_limits.c.name == name)
            with self.database.reading() as connection:
                until = connection.scalar(query) or 0.0
            self._pauses[name] = (now, until)
        return until - now

    def set_gap(self, name: str, gap: float) -> None:
        insert = self.database.insert(t.rate_limits).values(name=name, **asdict(QuotaState(gap=gap)))
        with self.database.writing() as connection:
            connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_={"gap": gap}))
