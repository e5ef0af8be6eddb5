"""Salesforce's Bulk API 2.0: many records as one file, which Salesforce works off in its own time.

A job is made, given its file, closed, and asked after until it has ended. Every step is driven by itself, so that the
ledger knows the job before it can do anything, and whoever comes after a crash goes on from there. What is written is
the same if it is written twice: an update by id, or an upsert by external id.

Sources: Bulk API 2.0 and Bulk API Developer Guide, versions 41 to 67, 2026-11.
"""

import csv
import io
import json
import logging
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Any, NoReturn

from connectors.errors import Aborted, InProgress, Misunderstood, Unauthorized
from connectors.http import Answer, redacted
from connectors.salesforce import records
from connectors.salesforce.records import Item
from connectors.salesforce.session import Session
from connectors.types import Batch, JobState, Outcome, Status

log = logging.getLogger("heatsync")

RECORDS = 50_000
"""Records of a file. Salesforce works them off by 10,000."""
FILE = 90_000_000
"""Bytes of a file. Salesforce makes base64 of it, which may have 150 MB."""
WORTH = 1_200
"""From so many records on a job takes fewer calls than Collections."""
CALLS = 7
"""Of a job, as a rule: made, filled, closed, asked after twice, and its two lists of results."""
FIRST_LOOK, LAST_LOOK = 5.0, 60.0
"""Seconds between two questions after a job: they grow with its age."""
PATIENCE = 24 * 3600.0
"""Seconds after which a job is given up."""
FILES = 3
"""Jobs that are made for one file until it is taken."""
UNTAKEN = 3600.0
"""Seconds without a job after Salesforce refused to make one."""
NOTHING = "#N/A"
"""What empties a field: an empty cell leaves it as it is."""
LONGEST = 131_072
"""Characters of a cell: no field takes more, and Python's csv reads no more."""
WORKING = ("UploadComplete", "InProgress")
ENDED = ("JobComplete", "Failed", "Aborted")
CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
NAMES = re.compile(r"[\w.,\s]*")

MappingResult = Callable[[Item, Mapping[str, Any]], Outcome]
"""An item and the error that was said of it -> its outcome."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job at work on a batch, as the ledger keeps it. `by` is the external id field, None where it goes by id.

    `rows` are those of its file, `at` is when it was made, in seconds since 1970. `uploaded`: it has its file.
    `done` is how many rows were through when it was last asked after.
    """

    id: str
    by: str | None
    rows: int
    at: float
    uploaded: bool = False
    done: int = 0

    @property
    def note(self) -> JobState:
        return JobState(json.dumps(asdict(self)))

    def again(self, progressed: bool = False) -> InProgress:
        age = max(0.0, time.time() - self.at)
        wait = min(LAST_LOOK, max(FIRST_LOOK, age / 2))
        return InProgress(f"Salesforce is at work on job {self.id}", wait, progressed)


OVER = JobState("")


def suits(item: Item) -> bool:
    """Whether a file can say it: what empties a field cannot be the value of one."""
    return not any(
        isinstance(value, str)
        and (value.strip() == NOTHING or len(value) > LONGEST or not _is_unicode(value))
        for value in item.values.values()
    )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def file(items: Sequence[Item]) -> tuple[Sequence[Item], bytes]:
    """The first of the items that fit into a file, and the file. They go the same way, and may have different fields."""
    by = items[0].by
    names = {name.lower(): name for item in items for name in item.values if by or name.lower() != "id"}
    columns = sorted(names)
    lines = [",".join([*([] if by else ["Id"]), *(names[column] for column in columns)]).encode()]
    size = len(lines[0])
    for item in items:
        values = {name.lower(): value for name, value in item.values.items()}
        cells = [] if by else [item.identity or ""]
        cells += [_cell(values[column]) if column in values else "" for column in columns]
        line = ",".join(cells).encode()
        size += len(line) + 1
        if size > FILE and len(lines) > 1:
            break
        lines.append(line)
    return items[: len(lines) - 1], b"\n".join([*lines, b""])


def _cell(value: Any) -> str:
    match value:
        case None:
            return NOTHING
        case bool():
            return str(value).lower()
        case float():
            return format(Decimal(repr(value)), "f")
        case int():
            return str(value)
    text = str(value)
    if not text.strip():
        return NOTHING
    # A space beside a quotation mark is an error, one inside of it a part of the value.
    plain = not any(mark in text for mark in ',"\r\n') and text == text.strip()
    return text if plain else '"{}"'.format(text.replace('"', '""'))


def rows(text: str) -> list[dict[str, str]] | None:
    """The rows of a list of results by column, in lower case; None where the text is no such list, or not all of it."""
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
    """What is said of a row that failed, in the form in which Collections say it.

    `CODE:message:fields --`, as it was seen; the guide only says "error code and message".
    """
    code, _, said = text.strip().partition(":")
    message, colon, names = said.removesuffix("--").rpartition(":")
    if not (said.endswith("--") and colon and CODE.fullmatch(code) and NAMES.fullmatch(names)):
        return {"message": text}
    return {"statusCode": code, "message": message, "fields": names.replace(",", " ").split()}


class Jobs:
    """The jobs of one org."""

    def __init__(self, session: Session, told: MappingResult) -> None:
        self._session = session
        self._told = told
        self._untaken: dict[str, float] = {}
        self._failed: set[str] = set()

    def take(self, batch: Batch) -> bool:
        """Whether a batch may go by a job."""
        return batch.id not in self._failed and time.monotonic() >= self._untaken.get(batch.object, 0.0)

    def send(self, object: str, items: Sequence[Item]) -> Iterator[JobState]:
        """Hand a file over: ends by raising InProgress. Comes to an end without where Salesforce makes no job."""
        part, content = file(items)
        answer = None
        for _ in range(FILES):
            made = self._make(object, items[0].by)
            if made is None:
                return
            job = Job(made, items[0].by, len(part), time.time())
            yield job.note
            answer = self._call(partial(_said, "PUT", f"jobs/ingest/{made}/batches", content))
            if answer.status == 201:
                break
            # It may have its file all the same, and takes no second one.
            self._abort(job)
        else:
            assert answer is not None
            yield OVER
            self._misread(answer, "a file")
        job = replace(job, uploaded=True)
        yield job.note
        self._close(job)
        raise job.again(progressed=True)

    def _make(self, object: str, by: str | None) -> str | None:
        how = {"operation": "upsert", "externalIdFieldName": by} if by else {"operation": "update"}
        body = {"object": object, **how, "contentType": "CSV", "lineEnding": "LF", "columnDelimiter": "COMMA"}
        # One that is made and never heard of stays open, and does nothing.
        answer = self._session.call(lambda client: client.restful("jobs/ingest", method="POST", json=body))
        if 400 <= answer.status < 500:
            self._untaken[object] = time.monotonic() + UNTAKEN
            log.warning(
                "Salesforce makes no bulk job for %s (%s): the records go by two hundred.",
                object,
                redacted(answer.body, *self._session.secrets),
            )
            return None
        if not isinstance(answer.body, dict) or not answer.body.get("id"):
            self._misread(answer, "a new bulk job")
        return str(answer.body["id"])

    def _close(self, job: Job) -> None:
        answer = self._change(job, "UploadComplete")
        if 400 <= answer.status < 500:
            # It was closed already, where only the answer to that was lost.
            info = self._look(job)
            if info is not None and info["state"] == "Open":
                self._misread(answer, "a closed file")

    def _abort(self, job: Job) -> Answer:
        """As far as that goes: a job that is open does nothing, one that has ended is not stopped."""
        return self._change(job, "Aborted")

    def _change(self, job: Job, state: str) -> Answer:
        path, body = f"jobs/ingest/{job.id}", {"state": state}
        return self._call(lambda client: client.restful(path, method="PATCH", json=body))

    def hear(
        self, job: Job, batch: Batch, items: list[Item]
    ) -> Generator[Outcome | JobState, None, set[str]]:
        """What became of the items that a job is at work on; answers the keys of those that have their outcome.

        Raises InProgress while it works, and Aborted where somebody stopped it over there.
        """
        info = self._look(job)
        if info is None:
            yield OVER
            return set()
        if info["state"] == "Open":
            if job.uploaded and not batch.finish_only:
                self._close(job)
                raise job.again()
            if self._abort(job).status >= 400:
                # Somebody may just have closed it.
                raise job.again()
            yield OVER
            return set()
        if info["state"] in WORKING:
            if time.time() - job.at > PATIENCE:
                self._abort(job)
            done = info.get("numberRecordsProcessed") or 0
            if not isinstance(done, int):
                self._unread(job, f"{done!r} records processed")
            if done > job.done:
                yield replace(job, done=done).note
            raise job.again(progressed=done > job.done)
        told = self._results(job, info, items)
        if info["state"] != "JobComplete":
            failure = {"statusCode": "InvalidBatch", "message": str(info.get("errorMessage") or "")}
            left = [item for item in items if _goes(item, job) and item.change.key not in told]
            carriers = records.carriers(left, failure)
            told |= {item.change.key: self._told(item, failure) for item in carriers}
            if not carriers:
                self._failed.add(batch.id)
        yield from told.values()
        yield OVER
        if info["state"] == "Aborted" and time.time() - job.at <= PATIENCE:
            raise Aborted(
                f"Somebody aborted bulk job {job.id} in Salesforce. What it had not written is not sent before the"
                " mapping is resumed."
            )
        return set(told)

    def _results(self, job: Job, info: Mapping[str, Any], items: Sequence[Item]) -> dict[str, Outcome]:
        """What was said of the items, by our key. Raises InProgress for lists that are not all there."""
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
            made = records.whole_id(row["sf__id"])
            item = mine.get(_key_of(row, job))
            if not records.is_id(made) or (item is not None and job.by is None and made != item.identity):
                self._unread(job, "a row with another id")
            if item is not None:
                found[item.change.key] = Outcome(item.change.key, Status.DELIVERED, remote_id=made)
        for row in bad:
            item = mine.get(_key_of(row, job))
            if item is not None:
                found[item.change.key] = self._told(item, error(row.get("sf__error", "")))
        return found

    def _list(self, job: Job, name: str) -> list[dict[str, str]]:
        answer = self._call(partial(_said, "GET", f"jobs/ingest/{job.id}/{name}", None))
        found = rows(answer.body) if answer.status == 200 and isinstance(answer.body, str) else None
        if found is None:
            self._unread(job, f"{name} ({answer.status})")
        return found

    def _look(self, job: Job) -> Mapping[str, Any] | None:
        """The job as Salesforce shows it; None where it is gone, as it is after seven days."""
        answer = self._call(lambda client: client.restful(f"jobs/ingest/{job.id}"))
        if answer.status == 404:
            return None
        body = answer.body
        if answer.status != 200 or not isinstance(body, dict) or body.get("id") != job.id:
            self._unread(job, f"itself ({answer.status})")
        if body.get("state") not in ("Open", *WORKING, *ENDED):
            self._unread(job, f"the state {body.get('state')!r}")
        return body

    def _unread(self, job: Job, what: str) -> NoReturn:
        """An answer about a job that cannot be read: asked for again, for it may write as long as it is not over."""
        if time.time() - job.at > PATIENCE:
            raise Misunderstood(f"Salesforce's bulk job {job.id} cannot be read: it shows {what}")
        raise job.again()

    def _call(self, ask: Callable[[Any], Any]) -> Answer:
        answer = self._session.call(ask)
        if answer.status == 403:
            said = redacted(answer.body, *self._session.secrets)
            raise Unauthorized(f"Salesforce does not let the app's user use its bulk job (403): {said}")
        return answer

    def _misread(self, answer: Answer, call: str) -> NoReturn:
        raise Misunderstood(
            f"Salesforce's answer to {call} ({answer.status}) is not one that heatsync knows",
            redacted(answer.body, *self._session.secrets),
        )


def read(note: str) -> Job:
    """The job of a note. Raises Misunderstood for a note of another version, which is looked after by nobody."""
    try:
        return Job(**json.loads(note))
    except (TypeError, ValueError):
        raise Misunderstood("what was noted of a Salesforce bulk job cannot be read", note) from None


def _goes(item: Item, job: Job) -> bool:
    return (item.change.remote_id is None, item.by) == (job.by is not None, job.by)


def _key(item: Item) -> str:
    """What the rows of a job are told apart by."""
    return str(item.values[item.by]) if item.by else str(item.identity)


def _key_of(row: Mapping[str, str], job: Job) -> str:
    return row.get(job.by.lower(), "") if job.by else records.whole_id(row.get("id") or row["sf__id"])


def _said(method: str, path: str, content: bytes | None, client: Any) -> str:
    """The text of an answer. What is no success, or no text, is for the session to read."""
    kind = {"Content-Type": "text/csv; charset=UTF-8"} if content is not None else {}
    answer = client.session.request(
        method, client.base_url + path, headers={**client.headers, **kind}, data=content
    )
    if answer.status_code >= 300:
        raise ValueError(answer.status_code)
    # No charset is said of a text that is UTF-8, and requests would guess another.
    text: str = answer.content.decode()
    return text
