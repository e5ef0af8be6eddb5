"""What was done, for whoever asks."""

import json
from typing import Any

import sqlalchemy as sa

from connectors.types import FieldType, Status
from heatsync.ledger import tables as t
from heatsync.ledger.database import Database
from heatsync.ledger.json_codec import read_planned
from heatsync.ledger.types import PlannedChange, RecordStatus, Run, read_run


class History(Database):
    """Runs, changes and failures as they are shown."""

    def runs(self, run: str | None = None, limit: int = 200) -> list[Run]:
        """The latest runs, newest first; or every mapping of one run."""
        query = sa.select(t.runs).order_by(t.runs.c.created_at.desc(), t.runs.c.mapping).limit(limit)
        if run is not None:
            query = sa.select(t.runs).where(t.runs.c.run == run).order_by(t.runs.c.mapping)
        with self.reading() as connection:
            return [read_run(row) for row in connection.execute(query)]

    def latest_run(self, mapping: str, as_of: str) -> Run | None:
        """The last run of a mapping for a day, those for a few records only aside."""
        c = t.runs.c
        query = sa.select(t.runs).where(c.mapping == mapping, c.as_of == as_of).order_by(c.created_at.desc())
        with self.reading() as connection:
            runs = (read_run(row) for row in connection.execute(query))
            return next((run for run in runs if not run.planned.get("partial")), None)

    def forget_runs(self, before: float) -> None:
        """Drop the runs that ended before an instant, with their batches (the values before among them) and outcomes.

        What waits or is on its way stays, and so does why a record still stands rejected or unknown, with its run.
        What is known of the records over there is no part of a run.
        """
        r, b, o, s = t.runs.c, t.batches.c, t.outcomes.c, t.standings.c
        open_ = sa.exists().where(
            b.run == r.run, b.mapping == r.mapping, b.state.in_(["held", "ready", "claimed"])
        )
        over = sa.select(r.run, r.mapping, r.account).where(
            r.created_at < before,
            r.ended_at < before,
            r.state.in_(["done", "failed", "cancelled", "superseded"]),
            sa.not_(open_),
        )
        with self.reading() as connection:
            ended = connection.execute(over).all()
        for run, mapping, account in ended:
            stands = sa.exists().where(
                s.account == account,
                s.mapping == o.mapping,
                s.entity == o.entity,
                s.state.in_(["rejected", "unknown"]),
            )
            reason = sa.and_(o.status.in_([Status.REJECTED.value, Status.UNKNOWN.value]), stands)
            kept = sa.exists().where(o.run == r.run, o.mapping == r.mapping)
            with self.writing() as connection:
                connection.execute(t.batches.delete().where(b.run == run, b.mapping == mapping))
                connection.execute(
                    t.outcomes.delete().where(o.run == run, o.mapping == mapping, sa.not_(reason))
                )
                connection.execute(t.runs.delete().where(r.run == run, r.mapping == mapping, sa.not_(kept)))

    def outcome_counts(self, run: str, mapping: str) -> dict[str, int]:
        c = t.outcomes.c
        query = (
            sa.select(c.status, sa.func.count()).where(c.run == run, c.mapping == mapping).group_by(c.status)
        )
        with self.reading() as connection:
            counted = {row[0]: row[1] for row in connection.execute(query)}
        return {status.value: counted.get(status.value, 0) for status in Status} | {
            "deferred": self._waiting(run, mapping)
        }

    def _waiting(self, run: str, mapping: str) -> int:
        """Changes of batches that are still to be delivered."""
        b, o = t.batches.c, t.outcomes.c
        mine = sa.and_(b.run == run, b.mapping == mapping, b.state.in_(["ready", "claimed", "parked"]))
        with self.reading() as connection:
            total = connection.scalar(sa.select(sa.func.sum(b.size)).where(mine)) or 0
            answered = sa.select(sa.func.count()).where(o.batch.in_(sa.select(b.id).where(mine)))
            return int(total) - (connection.scalar(answered) or 0)

    def planned_changes(self, run: str, mapping: str, limit: int | None = None) -> list[PlannedChange]:
        """What a run was to change, as it was shown."""
        b = t.batches.c
        changes: list[PlannedChange] = []
        with self.reading() as connection:
            query = sa.select(b.types, b.changes).where(b.run == run, b.mapping == mapping).order_by(b.id)
            for row in connection.execute(query):
                types = {name: FieldType(type) for name, type in json.loads(row.types).items()}
                changes += [read_planned(raw, types) for raw in json.loads(row.changes)]
                if limit is not None and len(changes) >= limit:
                    return changes[:limit]
        return changes

    def record_statuses(self, mapping: str, object: str, entity: str) -> list[RecordStatus]:
        """What a mapping's destinations were told of one entity, per account over there, and what they answered last."""
        s, r, o = t.standings.c, t.records.c, t.outcomes.c
        found = []
        with self.reading() as connection:
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
                    state=standing.state,
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
        """Rejected and unknown records: of one run, or those that still stand. Newest outcome of each."""
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
                s.state.in_(["rejected", "unknown"]),
                t.runs.c.run == o.run,
                t.runs.c.mapping == o.mapping,
                t.runs.c.account == s.account,
            )
            query = query.where(standing)
        with self.reading() as connection:
            return list(connection.execute(query))
