"""What was done: scored days, runs, changes and failures."""

import json
import time
from typing import Any

import sqlalchemy as sa

from connectors.types import Status
from heatsync.ledger import tables as t
from heatsync.ledger.database import LedgerPart
from heatsync.ledger.json_codec import read_planned, read_run, read_types
from heatsync.ledger.types import ENDED, OPEN, BatchState, PlannedChange, RecordStatus, Run, StandingState

_UNDELIVERED = (StandingState.REJECTED, StandingState.UNKNOWN)


class History(LedgerPart):
    """What was done, as it is shown, and for how long it is kept."""

    def scored_at(self, as_of: str) -> float | None:
        """When the workers finished scoring a day (ISO date), in seconds since 1970; None: not yet."""
        with self.database.reading() as connection:
            query = sa.select(t.scorings.c.finished_at).where(t.scorings.c.as_of == as_of)
            finished_at: float | None = connection.scalar(query)
        return finished_at

    def mark_scored(self, as_of: str) -> None:
        """Remember that a day (ISO date) is scored."""
        with self.database.writing() as connection:
            self.database.upsert(t.scorings, [{"as_of": as_of, "finished_at": time.time()}], connection)

    def runs(self, run: str | None = None, limit: int = 200) -> list[Run]:
        """The latest runs, newest first; or one run, mapping by mapping. One row for each mapping."""
        query = sa.select(t.runs).order_by(t.runs.c.created_at.desc(), t.runs.c.mapping).limit(limit)
        if run is not None:
            query = sa.select(t.runs).where(t.runs.c.run == run).order_by(t.runs.c.mapping)
        with self.database.reading() as connection:
            return [read_run(row) for row in connection.execute(query)]

    def latest_run(self, mapping: str, as_of: str) -> Run | None:
        """The last run of a mapping for a day (ISO date); runs of only some records are left out."""
        c = t.runs.c
        query = sa.select(t.runs).where(c.mapping == mapping, c.as_of == as_of).order_by(c.created_at.desc())
        with self.database.reading() as connection:
            runs = (read_run(row) for row in connection.execute(query))
            return next((run for run in runs if not run.planned.partial), None)

    def forget_runs(self, before: float) -> None:
        """Drop runs that ended before an instant (seconds since 1970), with their batches, before-images and outcomes.

        A run with an open batch stays. So does the reason why a record is still rejected or unknown, with its run.
        Records and standings are not touched.
        """
        r, b, o, s = t.runs.c, t.batches.c, t.outcomes.c, t.standings.c
        still_open = sa.exists().where(b.run == r.run, b.mapping == r.mapping, b.state.in_(OPEN))
        over = sa.select(r.run, r.mapping, r.account).where(
            r.created_at < before,
            r.ended_at < before,
            r.state.in_(ENDED),
            sa.not_(still_open),
        )
        with self.database.reading() as connection:
            ended = connection.execute(over).all()
        for run, mapping, account in ended:
            undelivered = sa.exists().where(
                s.account == account,
                s.mapping == o.mapping,
                s.entity == o.entity,
                s.state.in_(_UNDELIVERED),
            )
            reason = sa.and_(o.status.in_([Status.REJECTED.value, Status.UNKNOWN.value]), undelivered)
            kept = sa.exists().where(o.run == r.run, o.mapping == r.mapping)
            with self.database.writing() as connection:
                connection.execute(t.batches.delete().where(b.run == run, b.mapping == mapping))
                connection.execute(
                    t.outcomes.delete().where(o.run == run, o.mapping == mapping, sa.not_(reason))
                )
                connection.execute(t.runs.delete().where(r.run == run, r.mapping == mapping, sa.not_(kept)))

    def outcome_counts(self, run: str, mapping: str) -> dict[str, int]:
        """Outcomes of a mapping's run by status; `deferred` are its changes that are still to be delivered."""
        c = t.outcomes.c
        query = (
            sa.select(c.status, sa.func.count()).where(c.run == run, c.mapping == mapping).group_by(c.status)
        )
        with self.database.reading() as connection:
            counted = {row[0]: row[1] for row in connection.execute(query)}
        return {status.value: counted.get(status.value, 0) for status in Status} | {
            "deferred": self._waiting(run, mapping)
        }

    def _waiting(self, run: str, mapping: str) -> int:
        """Changes without an outcome, of batches that are released."""
        b, o = t.batches.c, t.outcomes.c
        mine = sa.and_(
            b.run == run,
            b.mapping == mapping,
            b.state.in_([BatchState.READY, BatchState.CLAIMED, BatchState.PARKED]),
        )
        with self.database.reading() as connection:
            total = connection.scalar(sa.select(sa.func.sum(b.size)).where(mine)) or 0
            answered = sa.select(sa.func.count()).where(o.batch.in_(sa.select(b.id).where(mine)))
            return int(total) - (connection.scalar(answered) or 0)

    def planned_changes(self, run: str, mapping: str, limit: int | None = None) -> list[PlannedChange]:
        """The changes of a mapping's run, in the order in which they were planned: all, or the first `limit`."""
        b = t.batches.c
        changes: list[PlannedChange] = []
        with self.database.reading() as connection:
            query = sa.select(b.types, b.changes).where(b.run == run, b.mapping == mapping).order_by(b.id)
            for row in connection.execute(query):
                types = read_types(row.types)
                changes += [read_planned(raw, types) for raw in json.loads(row.changes)]
                if limit is not None and len(changes) >= limit:
                    return changes[:limit]
        return changes

    def record_statuses(self, mapping: str, object: str, entity: str) -> list[RecordStatus]:
        """One entity of a mapping at each account: its record, its standing and its last outcome."""
        s, r, o = t.standings.c, t.records.c, t.outcomes.c
        found = []
        with self.database.reading() as connection:
            query = sa.select(s.account, s.state, s.code).where(s.mapping == mapping, s.entity == entity)
            standings = {row.account: row for row in connection.execute(query.order_by(s.account))}
            mine = sa.and_(r.object == object, r.entity == entity, r.account.in_(list(standings)))
            records = {row.account: row for row in connection.execute(sa.select(t.records).where(mine))}
            runs = t.runs.c
            last = (
                sa.select(t.outcomes, runs.account, runs.label)
                .join(t.runs, sa.and_(runs.run == o.run, runs.mapping == o.mapping))
                .where(o.mapping == mapping, o.entity == entity)
                .order_by(o.at.desc())
            )
            outcomes: dict[str, sa.Row[Any]] = {}
            for row in connection.execute(last):
                outcomes.setdefault(row.account, row)
        for account, standing in standings.items():
            record, outcome = records.get(account), outcomes.get(account)
            found.append(
                RecordStatus(
                    account=account,
                    label=outcome.label if outcome is not None else account,
                    state=StandingState(standing.state),
                    code=standing.code,
                    remote_id=record.remote_id if record is not None else None,
                    fields=json.loads(record.fields) if record is not None else {},
                    updated_at=record.updated_at if record is not None else None,
                    status=outcome.status if outcome is not None else None,
                    cause=outcome.cause if outcome is not None else "",
                    answer=outcome.answer if outcome is not None else "",
                    run=outcome.run if outcome is not None else None,
                    at=outcome.at if outcome is not None else None,
                )
            )
        return found

    def failures(self, run: str | None = None) -> list[sa.Row[Any]]:
        """Rows of `outcomes` of rejected and unknown records, newest first: of one run, or those still undelivered."""
        o = t.outcomes.c
        wanted = o.status.in_([Status.REJECTED.value, Status.UNKNOWN.value])
        query = sa.select(t.outcomes).where(wanted).order_by(o.at.desc())
        if run is not None:
            query = query.where(o.run == run)
        else:
            s = t.standings.c
            standing = sa.exists().where(
                s.mapping == o.mapping,
                s.entity == o.entity,
                s.state.in_(_UNDELIVERED),
                t.runs.c.run == o.run,
                t.runs.c.mapping == o.mapping,
                t.runs.c.account == s.account,
            )
            query = query.where(standing)
        with self.database.reading() as connection:
            return list(connection.execute(query))
