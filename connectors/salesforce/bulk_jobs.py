"""Salesforce's Bulk API 2.0: many records as one file, which Salesforce works off in its own time.

A job is created, given its file, closed, and polled until it has ended. Each step is a call of its own, so that the ledger
knows the job before the job can do anything, and after a crash the next process continues from there. Writing twice has the
same effect as writing once: an update by id, or an upsert by external id.

Sources: Bulk API 2.0 and Bulk API Developer Guide, versions 41 to 67, 2026-11.
"""

import csv
import io
import json
import logging
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from decimal import Decimal
from functools import partial
from typing import Any, NoReturn

from connectors.answers import Answer, as_object, is_id
from connectors.errors import Aborted, InProgress, Misunderstood, Unauthorized
from connectors.salesforce import records
from connectors.salesforce.records import Item
from connectors.salesforce.session import Session
from connectors.types import Batch, JobEnded, JobState, Outcome, PushEvent, Status

log = logging.getLogger("heatsync")

RECORDS = 50_000
"""Records of a file. Salesforce works them off 10,000 at a time."""
FILE = 90_000_000
"""Bytes of a file. Salesforce converts it to base64, which may have 150 MB."""
WORTH = 1_200
"""From this many records on, a job takes fewer calls than Collections."""
CALLS = 7
"""Calls of a job, as a rule: create, upload, close, two polls, and two lists of results."""
FIRST_LOOK, LAST_LOOK = 5.0, 60.0
"""Seconds between two polls: they grow with the job's age."""
GIVE_UP_AFTER = 24 * 3600.0
"""Seconds after which a job is aborted."""
UPLOADS = 3
"""Jobs that are created for one file until Salesforce accepts it."""
REFUSED_FOR = 3600.0
"""Seconds without a new job after Salesforce refused to create one."""
CLEAR = "#N/A"
"""The cell that clears a field: an empty cell leaves it unchanged."""
LONGEST = 131_072
"""Characters of a cell: no field accepts more, and Python's csv reads no more."""
WORKING = ("UploadComplete", "InProgress")
ENDED = ("JobComplete", "Failed", "Aborted")
CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
NAMES = re.compile(r"[\w.,\s]*")

OutcomeOf = Callable[[Item, Mapping[str, Any]], Outcome]
"""An item and its error -> its outcome."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job of a batch, as the ledger keeps it. `by` is the external id field, None where records are updated by id.

    `rows` is the number of rows in its file, `at` the time of creation in seconds since 1970. `uploaded`: it has its file.
    `done` is the number of processed rows at the last poll.
    """

    id: str
    by: str | None
    rows: int
    at: float
    uploaded: bool = False
    done: int = 0

    @property
    def state(self) -> JobState:
        """The job as the ledger keeps it; `read` is the way back."""
        return JobState(json.dumps(asdict(self)))

    def again(self, progressed: bool = False) -> InProgress:
        """The error that says when to look at the job again."""
        age = max(0.0, time.time() - self.at)
        wait = min(LAST_LOOK, max(FIRST_LOOK, age / 2))
        return InProgress(f"Salesforce is working on bulk job {self.id}", wait, progressed)


def fits_file(item: Item) -> bool:
    """Whether a CSV file can express the item: no value looks like the one that clears a field, or is too long."""
    return not any(
        isinstance(value, str) and (value.strip() == CLEAR or len(value) > LONGEST or not _is_unicode(value))
        for value in item.values.values()
    )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def file(items: Sequence[Item]) -> tuple[Sequence[Item], bytes]:
    """The first items that fit into a file, and the file. The items go the same way, and may have different fields."""
    by = items[0].by
    names = {name.lower(): name for item in items for name in item.values if by or name.lower() != "id"}
    columns = sorted(names)
    lines = [_line([*([] if by else ["Id"]), *(names[column] for column in columns)])]
    size = len(lines[0])
    for item in items:
        values = {name.lower(): value for name, value in item.values.items()}
        cells = [] if by else [item.identity or ""]
        cells += [_cell(values[column]) if column in values else "" for column in columns]
        line = _line(cells)
        size += len(line) + 1
        if size > FILE and len(lines) > 1:
            break
        lines.append(line)
    return items[: len(lines) - 1], b"\n".join([*lines, b""])


def _line(cells: Sequence[str]) -> bytes:
    """A row of the file, without the line's end. With CRLF as the end, csv quotes both CR and LF in a cell."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n").encode()


def _cell(value: Any) -> str:
    match value:
        case None:
            return CLEAR
        case bool():
            return str(value).lower()
        case float():
            return format(Decimal(repr(value)), "f")
    text = str(value)
    return text if text.strip() else CLEAR


def rows(text: str) -> list[dict[str, str]] | None:
    """The rows of a list of results, by column in lower case; None where the text is no such list, or is cut short."""
    if not text.strip():
        return []
    try:
        header, *found = csv.reader(io.StringIO(text, newline=""))
    except csv.Error:
        return None
    columns = [name.lower() for name in header]
    if "sf__id" not in columns or any(len(cells) != len(columns) for cells in found):
        return None
    return [dict(zip(columns, cells, strict=True)) for cells in found]


def error(text: str) -> dict[str, Any]:
    """The error of a failed row, in the form in which Collections give it.

    `CODE:message:fields --`, as it was seen; the guide only says "error code and message".
    """
    code, _, rest = text.strip().partition(":")
    message, colon, names = rest.removesuffix("--").rpartition(":")
    if not (rest.endswith("--") and colon and CODE.fullmatch(code) and NAMES.fullmatch(names)):
        return {"message": text}
    return {"statusCode": code, "message": message, "fields": names.replace(",", " ").split()}


class Jobs:
    """The jobs of one org."""

    def __init__(self, session: Session, outcome: OutcomeOf) -> None:
        self._session = session
        self._outcome = outcome
        self._refused_until: dict[str, float] = {}
        self._failed: set[str] = set()

    def accept(self, batch: Batch) -> bool:
        """Whether a batch may go by a job."""
        return batch.id not in self._failed and time.monotonic() >= self._refused_until.get(batch.object, 0.0)

    def send(self, object: str, items: Sequence[Item]) -> Iterator[JobState | JobEnded]:
        """Hand a file over, and end by raising InProgress. Ends normally where Salesforce creates no job."""
        part, content = file(items)
        answer = None
        for _ in range(UPLOADS):
            id = self._create(object, items[0].by)
            if id is None:
                return
            job = Job(id, items[0].by, len(part), time.time())
            yield job.state
            answer = self._call(partial(_transfer, "PUT", f"jobs/ingest/{id}/batches", content))
            if answer.status == 201:
                break
            # It may have received its file, and accepts no second one.
            self._abort(job)
        else:
            assert answer is not None
            yield JobEnded()
            self._session.transport.misread(answer, "a file")
        job = replace(job, uploaded=True)
        yield job.state
        self._close(job)
        raise job.again(progressed=True)

    def _create(self, object: str, by: str | None) -> str | None:
        how = {"operation": "upsert", "externalIdFieldName": by} if by else {"operation": "update"}
        body = {"object": object, **how, "contentType": "CSV", "lineEnding": "LF", "columnDelimiter": "COMMA"}
        # A job whose answer is lost stays open, and does nothing.
        answer = self._session.call(lambda client: client.restful("jobs/ingest", method="POST", json=body))
        if answer.refused:
            self._refused_until[object] = time.monotonic() + REFUSED_FOR
            log.warning(
                "Salesforce creates no bulk job for %s (%s): the records go in calls of two hundred.",
                object,
                self._session.words(answer),
            )
            return None
        if not is_id(answer.field("id")):
            self._session.transport.misread(answer, "a new bulk job")
        return str(answer.field("id"))

    def _close(self, job: Job) -> None:
        answer = self._change(job, "UploadComplete")
        if answer.refused:
            # It may be closed already, if only the answer to that was lost.
            info = self._look(job)
            if info is not None and info["state"] == "Open":
                self._session.transport.misread(answer, "a closed file")

    def _abort(self, job: Job) -> Answer:
        """Abort a job if that is possible: an open job does nothing, and one that has ended cannot be stopped."""
        return self._change(job, "Aborted")

    def _change(self, job: Job, state: str) -> Answer:
        path, body = f"jobs/ingest/{job.id}", {"state": state}
        return self._call(lambda client: client.restful(path, method="PATCH", json=body))

    def collect(self, job: Job, batch: Batch, items: list[Item]) -> Generator[PushEvent, None, set[str]]:
        """The outcomes of a job's items; returns the keys of the items that have one.

        Raises InProgress while the job works, and Aborted where someone stopped it in Salesforce.
        """
        info = self._look(job)
        if info is None:
            yield JobEnded()
            return set()
        if info["state"] == "Open":
            if job.uploaded and not batch.finish_only:
                self._close(job)
                raise job.again()
            if self._abort(job).status >= 400:
                # Another process may just have closed it.
                raise job.again()
            yield JobEnded()
            return set()
        if info["state"] in WORKING:
            if time.time() - job.at > GIVE_UP_AFTER:
                self._abort(job)
            done = info.get("numberRecordsProcessed") or 0
            if not isinstance(done, int):
                self._unread(job, f"{done!r} records processed")
            if done > job.done:
                yield replace(job, done=done).state
            raise job.again(progressed=done > job.done)
        found = self._results(job, info, items)
        if info["state"] != "JobComplete":
            failure = {"statusCode": "InvalidBatch", "message": str(info.get("errorMessage") or "")}
            left = [item for item in items if _goes(item, job) and item.change.key not in found]
            carriers = records.carriers(left, failure)
            found |= {item.change.key: self._outcome(item, failure) for item in carriers}
            if not carriers:
                self._failed.add(batch.id)
        yield from found.values()
        yield JobEnded()
        if info["state"] == "Aborted" and time.time() - job.at <= GIVE_UP_AFTER:
            raise Aborted(
                f"Someone aborted bulk job {job.id} in Salesforce. Records that it had not written are not sent until the"
                " mapping is resumed."
            )
        return set(found)

    def _results(self, job: Job, info: Mapping[str, Any], items: Sequence[Item]) -> dict[str, Outcome]:
        """The outcomes of the items, by our key. Raises InProgress for lists that are not complete."""
        mine: dict[str, Item] = {}
        for each in items:
            if _goes(each, job):
                mine.setdefault(_key(each), each)
        failed = info.get("numberRecordsFailed")
        good = self._list(job, "successfulResults") if info.get("numberRecordsProcessed") != failed else []
        bad = self._list(job, "failedResults") if failed != 0 else []
        if info["state"] == "JobComplete" and len(good) + len(bad) != job.rows:
            self._unread(job, f"{len(good)} rows that succeeded and {len(bad)} that failed, of {job.rows}")
        found = {}
        for row in good:
            id = records.whole_id(row["sf__id"])
            item = mine.get(_key_of(row, job))
            if not records.is_id(id) or (item is not None and job.by is None and id != item.identity):
                self._unread(job, "a row with another id")
            if item is not None:
                found[item.change.key] = Outcome(item.change.key, Status.DELIVERED, remote_id=id)
        for row in bad:
            item = mine.get(_key_of(row, job))
            if item is not None:
                found[item.change.key] = self._outcome(item, error(row.get("sf__error", "")))
        return found

    def _list(self, job: Job, name: str) -> list[dict[str, str]]:
        answer = self._call(partial(_transfer, "GET", f"jobs/ingest/{job.id}/{name}", None))
        found = rows(answer.body) if answer.status == 200 and isinstance(answer.body, str) else None
        if found is None:
            self._unread(job, f"{name} ({answer.status})")
        return found

    def _look(self, job: Job) -> Mapping[str, Any] | None:
        """The job as Salesforce shows it; None where it no longer exists, as after seven days."""
        answer = self._call(lambda client: client.restful(f"jobs/ingest/{job.id}"))
        if answer.status == 404:
            return None
        body = as_object(answer.body)
        if answer.status != 200 or body.get("id") != job.id:
            self._unread(job, f"itself ({answer.status})")
        if body.get("state") not in ("Open", *WORKING, *ENDED):
            self._unread(job, f"the state {body.get('state')!r}")
        return body

    def _unread(self, job: Job, what: str) -> NoReturn:
        """Raises InProgress for an answer about a job that cannot be read: the job may write as long as it is not over.

        Raises Misunderstood after `GIVE_UP_AFTER`.
        """
        if time.time() - job.at > GIVE_UP_AFTER:
            raise Misunderstood(f"Salesforce's bulk job {job.id} cannot be read: it shows {what}")
        raise job.again()

    def _call(self, ask: Callable[[Any], Any]) -> Answer:
        answer = self._session.call(ask)
        if answer.status == 403:
            reason = self._session.words(answer)
            raise Unauthorized(
                f"Salesforce does not allow the app's user to use its bulk job (403): {reason}"
            )
        return answer


def read(state: str) -> Job:
    """The job of a `JobState`. Raises Misunderstood for one of another version: that job cannot be followed."""
    try:
        saved = as_object(json.loads(state))
    except ValueError:
        saved = {}
    if not {"id", "by", "rows", "at"} <= saved.keys() <= {field.name for field in fields(Job)}:
        raise Misunderstood("the saved state of a Salesforce bulk job cannot be read", state)
    return Job(**saved)


def _goes(item: Item, job: Job) -> bool:
    return (item.change.remote_id is None, item.by) == (job.by is not None, job.by)


def _key(item: Item) -> str:
    """The key that identifies a job's row."""
    return str(item.values[item.by]) if item.by else str(item.identity)


def _key_of(row: Mapping[str, str], job: Job) -> str:
    return row.get(job.by.lower(), "") if job.by else records.whole_id(row.get("id") or row["sf__id"])


def _transfer(method: str, path: str, content: bytes | None, client: Any) -> object:
    """A call for CSV, which the SDK has no method for."""
    kind = {"Content-Type": "text/csv; charset=UTF-8"} if content is not None else {}
    return client.session.request(
        method, client.base_url + path, headers={**client.headers, **kind}, data=content
    )
