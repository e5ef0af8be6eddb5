"""Salesforce's Bulk API 2.0, ingest: a job is created, gets one file, is closed, and is polled until it has ended.

Sources: Bulk API 2.0 and Bulk API Developer Guide, versions 41 to 67, 2026-11; error messages as reported.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from heatsync.sandbox.calls import Call, Refusal, Reply
from heatsync.sandbox.state import Row, fold, number_of
from heatsync.sandbox.vendors.salesforce.records import known_fields
from heatsync.sandbox.vendors.salesforce.schema import BadJson, BadRecord, Field, is_id, shown_moment, stored
from heatsync.sandbox.vendors.salesforce.store import Store, Work, make_id, refused

LOOKS = 2
"""How many polls a closed job takes until it has ended."""
ENDED = ("JobComplete", "Failed", "Aborted")
OPERATIONS = ("insert", "update", "upsert")
ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
NOTHING = "#N/A"


@dataclass(slots=True)
class Job:
    """A job. `done`, `failed` and `left` are its rows by result."""

    id: str
    object: str
    operation: str
    external: str | None
    ending: str
    made_at: float
    state: str = "Open"
    text: str | None = None
    looks: int = 0
    message: str = ""
    columns: list[str] = field(default_factory=list)
    done: list[list[str]] = field(default_factory=list)
    failed: list[list[str]] = field(default_factory=list)
    left: list[list[str]] = field(default_factory=list)

    def shown(self, call: Call) -> dict[str, Any]:
        version = call.params["version"].removeprefix("v")
        open = {"contentUrl": f"services/data/v{version}/jobs/ingest/{self.id}/batches"}
        upsert = {"externalIdFieldName": self.external} if self.external else {}
        error = {"errorMessage": self.message} if self.message else {}
        return {
            "id": self.id,
            "operation": self.operation,
            "object": self.object,
            "createdDate": shown_moment(datetime.fromtimestamp(self.made_at, UTC)),
            "state": self.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(version),
            "jobType": "V2Ingest",
            "lineEnding": self.ending,
            "columnDelimiter": "COMMA",
            "numberRecordsProcessed": len(self.done) + len(self.failed),
            "numberRecordsFailed": len(self.failed),
            **upsert,
            **error,
            **(open if self.state == "Open" else {}),
        }


def create(call: Call, store: Store) -> Reply:
    body = call.object()
    operation, external = str(body.get("operation")), body.get("externalIdFieldName")
    if operation not in OPERATIONS or body.get("contentType", "CSV") != "CSV":
        raise refused(
            400, "INVALIDJOB", f"Unable to create a job for {operation} of {body.get('contentType')}"
        )
    if body.get("columnDelimiter", "COMMA") != "COMMA" or body.get("lineEnding", "LF") not in ENDINGS:
        raise refused(
            400, "INVALIDJOB", "The sandbox reads files with commas, and lines that end in LF or CRLF"
        )
    object = store.object(str(body.get("object")))
    if operation == "upsert":
        wanted = known_fields(store, object).get(str(external).lower())
        if wanted is None or not (wanted.external or wanted.id_lookup or wanted.name == "Id"):
            message = (
                f"InvalidJob : Field name provided, {external} does not match an External ID, Salesforce Id, or "
                f"indexed field for {object}"
            )
            raise refused(400, "INVALIDJOB", message)
        external = wanted.name
    id = make_id("750", 10**9 + number_of(store.account, str(len(store.jobs)), digits=9))
    job = Job(
        id,
        object,
        operation,
        external if operation == "upsert" else None,
        body.get("lineEnding", "LF"),
        call.now,
    )
    store.jobs[id] = job
    return Reply(200, job.shown(call))


def _job(call: Call, store: Store) -> Job:
    found = store.jobs.get(call.params["job"])
    if not isinstance(found, Job):
        raise refused(404, "NOT_FOUND", "The requested resource does not exist")
    return found


def _in_state(job: Job, *states: str) -> None:
    if job.state not in states:
        message = f"Found in state {job.state}, and this needs {' or '.join(states)}"
        raise refused(400, "INVALIDJOBSTATE", message)


def upload(call: Call, store: Store) -> Reply:
    """Upload the file of a job; a second one is refused."""
    job = _job(call, store)
    _in_state(job, "Open")
    if job.text is not None:
        raise refused(400, "INVALIDJOBSTATE", "The job has its data already: one upload for each job")
    if not call.headers.get("content-type", "").startswith("text/csv"):
        raise refused(400, "INVALIDREQUEST", "Content-Type must be text/csv")
    try:
        job.text = call.body.decode("utf-8")
    except UnicodeDecodeError as bad:
        raise refused(400, "INVALIDREQUEST", "The data is not UTF-8") from bad
    return Reply(201, records=max(0, len(_read(job)) - 1))


def change(call: Call, store: Store) -> Reply:
    """Close the upload, or abort the job; records that it has written stay written."""
    job, wanted = _job(call, store), str(call.object().get("state"))
    if wanted == "UploadComplete":
        _in_state(job, "Open")
        if job.text is None:
            raise refused(400, "INVALIDJOBSTATE", "The job has no data yet")
        job.state = wanted
        now = call.now
        store.underway[job.id] = lambda: _work(job, store, now)
    elif wanted == "Aborted":
        _in_state(job, "Open", "UploadComplete", "InProgress")
        store.underway.pop(job.id, None)
        if job.text is not None:
            begun = job.state == "InProgress"
            _work(job, store, call.now, 0.5 if begun else 0.0)
        job.state = wanted
    else:
        raise refused(400, "INVALIDJOBSTATE", f"A job cannot be set to {wanted}")
    return Reply(200, job.shown(call))


def delete(call: Call, store: Store) -> Reply:
    job = _job(call, store)
    _in_state(job, "UploadComplete", *ENDED)
    del store.jobs[job.id]
    store.underway.pop(job.id, None)
    return Reply(204)


def show(call: Call, store: Store) -> Reply:
    job = _job(call, store)
    if job.state in ("UploadComplete", "InProgress"):
        job.looks += 1
        job.state = "InProgress"
        if job.looks >= LOOKS:
            store.underway.pop(job.id)()
    return Reply(200, job.shown(call))


def successful(call: Call, store: Store) -> Reply:
    job = _ended(call, store)
    return _file(["sf__Id", "sf__Created", *job.columns], job.done)


def failed(call: Call, store: Store) -> Reply:
    job = _ended(call, store)
    return _file(["sf__Id", "sf__Error", *job.columns], job.failed)


def unprocessed(call: Call, store: Store) -> Reply:
    job = _ended(call, store)
    return _file(job.columns, job.left)


def _ended(call: Call, store: Store) -> Job:
    job = _job(call, store)
    _in_state(job, *ENDED)
    return job


def _file(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Reply:
    """Rows with one result, under their columns; an empty text where there are none."""
    text = written([columns, *rows]) if rows else ""
    return Reply(200, text, {"Content-Type": "text/csv"}, records=len(rows), raw=True)


def written(rows: Iterable[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _read(job: Job) -> list[list[str]]:
    return list(csv.reader(io.StringIO(job.text or "", newline="")))


def _work(job: Job, store: Store, now: float, share: float = 1.0) -> None:
    """Process a share of the file, from its start; the other rows are left."""
    store.underway.pop(job.id, None)
    header, *rows = _read(job) or [[]]
    job.columns, job.state = header, "JobComplete"
    known = known_fields(store, job.object)
    head = (job.text or "").partition("\n")[0]
    unknown = next((name for name in header if name.lower() not in known), None)
    ill = next((each for each in rows if len(each) != len(header)), None)
    if head.endswith("\r") != (job.ending == "CRLF"):
        job.message = f"ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is {job.ending}"
    elif unknown is not None:
        job.message = f"InvalidBatch : Field name not found : {unknown}"
    elif ill is not None:
        job.message = "InvalidBatch : The number of columns of a row is not that of the header"
    if job.message:
        job.state, share = "Failed", 0.0
    count = int(len(rows) * share)
    resolve = _resolver(job, store, rows)
    # In no fixed order: the guide promises none.
    for cells in reversed(rows[:count]):
        record = {
            name: None if cell == NOTHING else cell
            for name, cell in zip(header, cells, strict=True)
            if cell != ""
        }
        try:
            saved = _save(job, store, known, record, resolve, now)
        except BadRecord as bad:
            code, message, fields = bad.args
            own = str(record.get("Id") or "")
            job.failed.append([own, f"{code}:{message}:{', '.join(fields)} --", *cells])
        else:
            job.done.append([*saved, *cells])
    job.left = rows[count:]


Resolve = Callable[[Mapping[str, Any]], Row | None]


def _resolver(job: Job, store: Store, rows: Sequence[Sequence[str]]) -> Resolve:
    """The existing record that a row means; None for a new one."""
    key = {"insert": None, "update": "Id"}.get(job.operation, job.external)
    place = next((i for i, name in enumerate(job.columns) if name.lower() == str(key).lower()), None)
    counts = Counter(fold(row[place]) for row in rows if place is not None and len(row) > place)

    def resolve(record: Mapping[str, Any]) -> Row | None:
        if key is None:
            return None
        value = next((v for name, v in record.items() if name.lower() == key.lower()), None)
        if not value:
            raise BadRecord("MISSING_ARGUMENT", f"{key} not specified", [key])
        if counts[fold(value)] > 1:
            words = "id" if key == "Id" else "external id"
            raise BadRecord("DUPLICATE_VALUE", f"Duplicate {words} specified: {value}", [key])
        if key == "Id":
            if not is_id(value):
                raise BadRecord("MALFORMED_ID", f"Id: id value of incorrect type: {value}", ["Id"])
            row = store.find(job.object, value)
            if row is None:
                raise BadRecord("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", [])
            return row
        found = store.table(job.object).having(key, value)
        if len(found) > 1:
            ids = ", ".join(row.id for row in found)
            message = f"{key}: more than one record found for external id field: [{ids}]"
            raise BadRecord("DUPLICATE_EXTERNAL_ID", message, [key])
        return found[0] if found else None

    return resolve


def _save(
    job: Job,
    store: Store,
    known: Mapping[str, Field],
    record: Mapping[str, Any],
    resolve: Resolve,
    now: float,
) -> tuple[str, str]:
    """Save one row; return its id, and whether it is new. Raises BadRecord."""
    work = Work(job.object)
    try:
        work.changes = store.checked(job.object, known, record)
    except Refusal:
        raise _unfit(known, record) from None
    work.row = resolve(record)
    store.complete(known, work)
    store.unique(job.object, known, work, {})
    created = store.apply(work, now)
    assert work.row is not None
    return work.row.id, str(created).lower()


def _unfit(known: Mapping[str, Field], record: Mapping[str, Any]) -> BadRecord:
    """The error of a row with a value that its field can never hold; other rows are not affected."""
    for name, value in record.items():
        try:
            stored(known[name.lower()], value)
        except BadJson:
            own = known[name.lower()].name
            return BadRecord(
                "INVALID_TYPE_ON_FIELD_IN_RECORD", f"{own}: value not of required type: {value}", [own]
            )
        except BadRecord:
            continue
    raise AssertionError("every value fits its field")
