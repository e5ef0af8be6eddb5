"""Runs: one row for each mapping of a run, from planning to its end."""

import time
from dataclasses import fields

import sqlalchemy as sa

from heatsync.ledger import statements
from heatsync.ledger import tables as t
from heatsync.ledger.database import Database, LedgerPart
from heatsync.ledger.json_codec import write_counts
from heatsync.ledger.types import UNRELEASED, BatchState, BoundMapping, Run, RunState


class Runs(LedgerPart):
    """Each mapping's share of a run, planned, released and ended."""

    def save_run(self, run: Run) -> None:
        """Write a run, or overwrite the one of this name and mapping."""
        row = {field.name: getattr(run, field.name) for field in fields(Run)}
        row["planned"] = write_counts(run.planned)
        with self.database.writing() as connection:
            self.database.upsert(t.runs, [row], connection)

    def update_run(self, run: Run) -> None:
        """Write a run's state, cause, counts and end."""
        counts = write_counts(run.planned)
        self._update(run, state=run.state, cause=run.cause, planned=counts, ended_at=run.ended_at)

    def update_counts(self, run: Run) -> None:
        """Write the counts of a run's plan, and nothing else."""
        self._update(run, planned=write_counts(run.planned))

    def _update(self, run: Run, **values: object) -> None:
        with self.database.writing() as connection:
            connection.execute(t.runs.update().where(_is(run)).values(**values))

    def hold(self, run: Run) -> bool:
        """Keep a planned run until someone approves it. False: it is released, ended or held already."""
        with self.database.writing() as connection:
            planned = sa.and_(_is(run), t.runs.c.state == RunState.PLANNED)
            held = connection.execute(t.runs.update().where(planned).values(state=RunState.HELD))
            return held.rowcount == 1

    def release(self, run: Run) -> bool:
        """Release a planned or held run: its batches may be delivered, and its definition is the approved one.

        False: it is not waiting for its release, or no longer.
        """
        with self.database.writing() as connection:
            if not _leave_unreleased(run, connection, state=RunState.READY, cause=""):
                return False
            _move_planned_batches(run, BatchState.READY, connection)
            if not run.planned.partial:
                row = {
                    "account": run.account,
                    "mapping": run.mapping,
                    "approved_hash": run.definition_hash,
                    "records": run.planned.records,
                }
                self.database.upsert(t.mappings, [row], connection)
        return True

    def cancel(self, run: Run) -> bool:
        """Drop a planned or held run. False: it is not waiting for its release, or no longer; nothing was done."""
        with self.database.writing() as connection:
            if not _leave_unreleased(run, connection, state=RunState.CANCELLED, ended_at=time.time()):
                return False
            _move_planned_batches(run, BatchState.SUPERSEDED, connection)
        return True

    def pending_run(self, bound: BoundMapping) -> str | None:
        """A run of the mapping that waits for its release or is being delivered; None if there is none."""
        c = t.runs.c
        query = sa.select(c.run).where(
            c.mapping == bound.mapping,
            c.account == bound.account,
            c.state.in_([*UNRELEASED, RunState.READY]),
        )
        with self.database.reading() as connection:
            found: str | None = connection.scalar(query.limit(1))
        return found

    def add_calls(self, run: str, mapping: str, calls: int, seconds: float) -> None:
        """Add calls to the destination, and seconds of work, to a run."""
        with self.database.writing() as connection:
            add_calls(self.database, run, mapping, calls, seconds, connection)

    def finish_run(self, run: str, mapping: str, failure: str | None = None) -> bool:
        """End a released run: as failed with the cause `failure`, else once all its batches have ended.

        It is done then, or failed if one of them is parked. False: nothing ended.
        """
        with self.database.writing() as connection:
            return finish_run(self.database, run, mapping, failure, connection)


def add_calls(
    database: Database, run: str, mapping: str, calls: int, seconds: float, connection: sa.Connection
) -> None:
    """`Runs.add_calls` within a transaction."""
    more = {"run_id": run, "mapping_name": mapping, "more_calls": calls, "more_seconds": seconds}
    database.execute("add calls", more, connection, statements.add_calls)


def finish_run(
    database: Database, run: str, mapping: str, failure: str | None, connection: sa.Connection
) -> bool:
    """`Runs.finish_run` within a transaction."""
    which = {"run_id": run, "mapping_name": mapping}
    if failure is None:
        still_open = database.execute("open batches", which, connection, statements.open_batches)
        if still_open.first() is not None:
            return False
        failure = database.execute("parked batches", which, connection, statements.parked).scalar()
    c = t.runs.c
    ended = connection.execute(
        t.runs.update()
        .where(c.run == run, c.mapping == mapping, c.state == RunState.READY, c.ended_at.is_(None))
        .values(
            state=RunState.DONE if failure is None else RunState.FAILED,
            cause=failure or "",
            ended_at=time.time(),
        )
    )
    return ended.rowcount == 1


def _is(run: Run) -> sa.ColumnElement[bool]:
    return sa.and_(t.runs.c.run == run.run, t.runs.c.mapping == run.mapping)


def _leave_unreleased(run: Run, connection: sa.Connection, **values: object) -> bool:
    waiting = sa.and_(_is(run), t.runs.c.state.in_(UNRELEASED))
    return connection.execute(t.runs.update().where(waiting).values(**values)).rowcount == 1


def _move_planned_batches(run: Run, state: BatchState, connection: sa.Connection) -> None:
    c = t.batches.c
    planned = (c.run == run.run, c.mapping == run.mapping, c.state == BatchState.PLANNED)
    connection.execute(t.batches.update().where(*planned).values(state=state))
