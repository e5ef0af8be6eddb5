"""Outcomes: what became of each change, and what follows for records and standings.

Delivered values move here and nowhere else.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from connectors.types import Change, Kind, Outcome, Status
from heatsync.ledger import statements
from heatsync.ledger import tables as t
from heatsync.ledger.database import Database, LedgerPart
from heatsync.ledger.json_codec import doubtful_value, to_json, write_fields, write_value
from heatsync.ledger.records import ensure_records, upsert_standings
from heatsync.ledger.types import (
    RECHECK_CODES,
    BoundMapping,
    ClaimedBatch,
    PlannedChange,
    Run,
    Standing,
    StandingState,
    chunks,
)


class Outcomes(LedgerPart):
    """What became of changes."""

    def save_outcomes(self, claimed: ClaimedBatch, outcomes: Sequence[Outcome], recheck_at: float) -> None:
        """Write outcomes of a batch, with the records and standings that follow from them.

        Deferred outcomes are ignored. From `recheck_at` on (seconds since 1970) a skipped record, or one refused with
        one of RECHECK_CODES, is looked up again.
        """
        with self.database.writing() as connection:
            save_outcomes(self.database, claimed, outcomes, recheck_at, connection)

    def save_unsent_outcomes(self, run: Run, outcomes: Iterable[Outcome]) -> None:
        """Write outcomes of records that were never sent: refused while planning, or skipped."""
        for chunk in chunks(outcomes):
            with self.database.writing() as connection:
                rows = [_unsent_row(run, outcome) for outcome in chunk]
                self.database.upsert(t.outcomes, rows, connection)

    def count_undelivered(self, batch: str, since: float) -> int:
        """How many records of a batch were found rejected or unknown since then (seconds since 1970)."""
        c = t.outcomes.c
        undelivered = c.status.in_([Status.REJECTED.value, Status.UNKNOWN.value])
        query = sa.select(sa.func.count()).where(c.batch == batch, undelivered, c.at >= since)
        with self.database.reading() as connection:
            return connection.scalar(query) or 0


def save_outcomes(
    database: Database,
    claimed: ClaimedBatch,
    outcomes: Sequence[Outcome],
    recheck_at: float,
    connection: sa.Connection,
) -> None:
    """`Outcomes.save_outcomes` within a transaction."""
    final = [o for o in outcomes if o.status is not Status.DEFERRED]
    if not final:
        return
    now = time.time()
    planned = {p.change.key: p for p in claimed.planned}
    bound = BoundMapping(claimed.mapping, claimed.account, claimed.object)
    delivered = {o.key: o for o in final if o.status is Status.DELIVERED}
    if not database.embedded:
        ensure_records(database, bound, list(delivered), connection)
    absent = {o.key for o in final if o.code == "not_found"}
    partly = {o.key for o in final if o.partly_written and o.key not in delivered}
    # All that are written below, locked in one order: two writers with opposite orders deadlock on PostgreSQL.
    old = _locked_fields(
        database, bound, list({**delivered, **dict.fromkeys([*absent, *partly])}), connection
    )
    rows = [
        _delivered_row(claimed, planned[key].change, outcome, old.get(key, ({}, 0)), now)
        for key, outcome in delivered.items()
    ]
    database.upsert(t.records, rows, connection)
    standings = [_standing_after(planned[o.key], o, recheck_at) for o in final]
    upsert_standings(database, bound, standings, now, connection)
    for key in old.keys() & absent:
        update_record(bound, key, {"fields": "{}", "remote_id": None}, connection)
    for key in (old.keys() & partly) - absent:
        # What this change names may be written or not, and is read again; other fields are of other mappings too.
        written = planned[key].change.fields
        kept = {name: value for name, value in old[key][0].items() if name not in written}
        update_record(bound, key, {"fields": to_json(kept)}, connection)
    answers = [_answered_row(claimed, planned[o.key].change, o, now) for o in final]
    database.upsert(t.outcomes, answers, connection)


def doubt_unanswered(database: Database, bound: BoundMapping, batch: str, connection: sa.Connection) -> None:
    """Have every change of a batch without an outcome looked up again: it may still have been written.

    Its fields are forgotten. Where current values cannot be read they are kept as doubtful instead, with the version
    that they were written as: they are sent again whatever the desired values are.
    """
    answered = database.execute("answered", {"id": batch}, connection, statements.answered)
    known = set(answered.scalars())
    changes = connection.scalar(sa.select(t.batches.c.changes).where(t.batches.c.id == batch))
    doubtful = {raw["key"]: raw for raw in json.loads(str(changes)) if raw["key"] not in known}
    now = time.time()
    ensure_records(database, bound, list(doubtful), connection)
    for key, (fields, version) in _locked_fields(database, bound, list(doubtful), connection).items():
        written = doubtful[key]["fields"]
        if bound.readable:
            kept = {name: value for name, value in fields.items() if name not in written}
        else:
            kept = fields | {name: doubtful_value(value) for name, value in written.items()}
            version = max(version, doubtful[key]["version"])
        values = {"fields": to_json(kept), "version": version, "updated_at": now}
        update_record(bound, key, values, connection)
    standings = [Standing(key, None, StandingState.UNKNOWN) for key in doubtful]
    upsert_standings(database, bound, standings, now, connection)


def _standing_after(planned: PlannedChange, outcome: Outcome, recheck_at: float) -> Standing:
    digest, state, recheck = planned.digest, StandingState.REJECTED, None
    if outcome.status is Status.DELIVERED:
        state = StandingState.LEFT if planned.change.kind is Kind.LEFT else StandingState.SETTLED
    elif outcome.code == "not_found" or outcome.status is Status.UNKNOWN:
        digest, state = None, StandingState.UNKNOWN
    elif outcome.status is Status.SKIPPED:
        state, recheck = StandingState.SKIPPED, recheck_at
    elif outcome.code in RECHECK_CODES:
        recheck = recheck_at
    return Standing(outcome.key, digest, state, planned.level, outcome.code or None, recheck)


def _delivered_row(
    claimed: ClaimedBatch, change: Change, outcome: Outcome, old: tuple[dict[str, Any], int], now: float
) -> dict[str, Any]:
    fields, version = old
    # A record that was just created is known to be empty where nothing was written.
    created = change.remote_id is None and change.kind is not Kind.LEFT
    empty: dict[str, Any] = dict.fromkeys(claimed.types) if created else {}
    return {
        "account": claimed.account,
        "object": claimed.object,
        "entity": change.key,
        "remote_id": outcome.remote_id or change.remote_id,
        "match_value": change.match[0].value if change.match else None,
        "via": change.via,
        "fields": write_fields(empty | fields | dict(change.fields)),
        "version": max(version, change.version) + 1,
        "updated_at": now,
    }


def _answered_row(claimed: ClaimedBatch, change: Change, outcome: Outcome, now: float) -> dict[str, Any]:
    value = change.fields.get(outcome.field) if outcome.field is not None else None
    row = _row(claimed.run, claimed.mapping, outcome, now)
    return row | {"batch": claimed.id, "value": _text(value), "answer": outcome.answer}


def _unsent_row(run: Run, outcome: Outcome) -> dict[str, Any]:
    row = _row(run.run, run.mapping, outcome, time.time())
    # No vendor answered: where a field is at fault, `answer` is the value that cannot be sent.
    if outcome.field is None:
        return row | {"batch": None, "value": None, "answer": outcome.answer}
    return row | {"batch": None, "value": outcome.answer, "answer": ""}


def _row(run: str, mapping: str, outcome: Outcome, now: float) -> dict[str, Any]:
    return {
        "run": run,
        "mapping": mapping,
        "entity": outcome.key,
        "status": outcome.status.value,
        "code": outcome.code,
        "cause": outcome.cause,
        "field": outcome.field,
        "at": now,
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(write_value(value))


def update_record(
    bound: BoundMapping, entity: str, values: Mapping[str, Any], connection: sa.Connection
) -> None:
    """Change columns of a record that exists."""
    c = t.records.c
    this = (c.account == bound.account, c.object == bound.object, c.entity == entity)
    connection.execute(t.records.update().where(*this).values(**values))


def _locked_fields(
    database: Database, bound: BoundMapping, entities: Sequence[str], connection: sa.Connection
) -> dict[str, tuple[dict[str, Any], int]]:
    """Known fields and version of each record that exists; its row is locked."""
    if not entities:
        return {}

    def statement() -> sa.Select[Any]:
        c = t.records.c
        these = (
            c.account == sa.bindparam("account"),
            c.object == sa.bindparam("object"),
            database.is_in_list(c.entity, "entities"),
        )
        return sa.select(c.entity, c.fields, c.version).where(*these).order_by(c.entity).with_for_update()

    which = {
        "account": bound.account,
        "object": bound.object,
        "entities": database.list_parameter(entities),
    }
    rows = database.execute("locked fields", which, connection, statement)
    return {row.entity: (json.loads(row.fields), row.version) for row in rows}
