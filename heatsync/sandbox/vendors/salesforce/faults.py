"""Salesforce's faults: what its calls, records and bulk files are answered when something goes wrong on purpose."""

import csv
import io
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from heatsync.sandbox.calls import Call, Reply, Route
from heatsync.sandbox.fault_types import (
    HELP,
    Answer,
    CallFault,
    Draws,
    VendorFaults,
    body_objects,
    with_body,
)
from heatsync.sandbox.vendors.salesforce.bulk import ENDED, written
from heatsync.sandbox.vendors.salesforce.quotas import limited


def _error(code: str, message: str) -> list[dict[str, Any]]:
    return [{"errorCode": code, "message": message}]


def _limit(_call: Call, _drawn: float) -> Reply:
    message = "ConcurrentRequests (Concurrent API Requests) Limit exceeded."
    return Reply(403, _error("REQUEST_LIMIT_EXCEEDED", message))


def _expired(_call: Call, _drawn: float) -> Reply:
    return Reply(401, _error("INVALID_SESSION_ID", "Session expired or invalid"))


def _quota(call: Call, _drawn: float) -> Reply:
    return limited(call, "day", 3600.0)


@dataclass(slots=True)
class _Job:
    """A bulk job, and the rows that were taken out of its file, as (id, code, message, cells)."""

    object: str
    key: str
    columns: list[str] = field(default_factory=list)
    out: list[tuple[str, str, str, list[str]]] = field(default_factory=list)


class RecordFaults:
    """Refuses records for good, or locks their rows for one write; in batches and in bulk files."""

    def __init__(self, draws: Draws) -> None:
        self._draws = draws
        self._writes: Counter[str] = Counter()
        self._jobs: dict[str, _Job] = {}

    def answer(self, route: Route, call: Call, done: Answer) -> Reply:
        if call.method == "PATCH" and "/composite/sobjects" in route.path:
            return self._batch(call, done)
        if "/jobs/ingest" in route.path:
            return self._bulk(route, call, done)
        return done(call)

    def _batch(self, call: Call, done: Answer) -> Reply:
        records, key = body_objects(call, "records"), call.params.get("field", "id")
        struck: dict[int, tuple[str, str]] = {}
        for i, each in enumerate(records):
            object = call.params.get("object") or str(each.get("attributes", {}).get("type"))
            error = self._error_of(object, str(each.get("id") or each.get(key)))
            if error is not None:
                struck[i] = error
        if not struck:
            return done(call)
        rest = [each for i, each in enumerate(records) if i not in struck]
        reply = done(with_body(call, {**call.object(), "records": rest}))
        if reply.status != 200:
            return reply
        results = list(reply.body)
        for i, (code, message) in struck.items():
            results.insert(
                i, {"success": False, "errors": [{"statusCode": code, "message": message, "fields": []}]}
            )
        return replace(reply, body=results, records=len(records), fault="refused")

    def _error_of(self, object: str, identity: str) -> tuple[str, str] | None:
        """The code and message of what is wrong with this write of a record, if anything is."""
        self._writes[identity] += 1
        if FAULTS.refuses(self._draws, "salesforce", object, identity):
            return "FIELD_CUSTOM_VALIDATION_EXCEPTION", "The sandbox refuses this record"
        if self._draws.strikes("row", identity, str(self._writes[identity])):
            return "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record"
        return None

    def _bulk(self, route: Route, call: Call, done: Answer) -> Reply:
        """Rows are taken out of a file when it arrives; its job counts and lists them as failed."""
        id = call.params.get("job", "")
        if call.method == "PUT":
            return self._upload(id, call, done)
        reply = done(call)
        if call.method == "POST" and reply.status == 200:
            key = reply.body.get("externalIdFieldName", "Id")
            self._jobs[reply.body["id"]] = _Job(reply.body["object"], key)
        job = self._jobs.get(id)
        if job is None or not job.out or call.method != "GET" or reply.status != 200:
            return reply
        if route.path.rstrip("/").endswith("/failedResults"):
            failed = [[own, f"{code}:{message}:--", *cells] for own, code, message, cells in job.out]
            start = reply.body or written([["sf__Id", "sf__Error", *job.columns]])
            return replace(
                reply, body=start + written(failed), records=reply.records + len(failed), fault="refused"
            )
        if route.path.rstrip("/").endswith("/{job}") and reply.body["state"] in ENDED:
            more = {
                name: reply.body[name] + len(job.out)
                for name in ("numberRecordsProcessed", "numberRecordsFailed")
            }
            return replace(reply, body={**reply.body, **more})
        return reply

    def _upload(self, id: str, call: Call, done: Answer) -> Reply:
        job = self._jobs.get(id)
        if job is None:
            return done(call)
        columns, *rows = list(csv.reader(io.StringIO(call.body.decode(), newline=""))) or [[]]
        place = columns.index(job.key) if job.key in columns else 0
        kept, out = [columns], []
        for cells in rows:
            error = self._error_of(job.object, cells[place])
            if error is None:
                kept.append(cells)
            else:
                out.append((cells[place] if job.key == "Id" else "", *error, cells))
        reply = done(replace(call, body=written(kept).encode()) if out else call)
        if reply.status == 201:
            job.columns, job.out = columns, out
        return reply


FAULTS = VendorFaults(
    error=_error,
    calls={
        "limit": CallFault("403: too many requests at once", _limit),
        "quota": CallFault(HELP["quota"], _quota),
        "expired": CallFault(HELP["expired"], _expired),
    },
    records={"refused": HELP["refused"], "row": "UNABLE_TO_LOCK_ROW, which passes"},
    refusals=("refused",),
    record_faults=RecordFaults,
)
