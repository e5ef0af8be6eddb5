"""Salesforce's files: their content, and what follows from every way a job can end."""

import csv
import io
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import count, takewhile
from typing import Any

import pytest
from fake_vendor import RecordingThrottle, Reply, Request, answering
from hypothesis import given
from hypothesis import strategies as st
from push_until_done import PushResult, pushed

from connectors.destination import Files, Limits
from connectors.errors import InProgress, Misunderstood, Unauthorized
from connectors.salesforce import bulk_jobs as bulk
from connectors.salesforce.destination import Salesforce
from connectors.salesforce.records import Item, item
from connectors.types import Batch, Change, JobEnded, JobState, Kind, Match, Outcome, Status, Value
from heatsync.sandbox.server import Running, running

APP = {"domain": "acme.my", "consumer_key": "key", "consumer_secret": "E1D2-4711-SECRET"}
FIELDS = {
    "Heatsync_Id__c": {"type": "string", "length": 64, "externalId": True, "unique": True},
    "Code__c": {"type": "string", "length": 20},
    "Score__c": {"type": "double"},
    "Note__c": {"type": "string", "length": 10},
    "Paying__c": {"type": "boolean"},
}
JOBS = "/services/data/v64.0/jobs/ingest"


def own(n: int) -> str:
    return f"001{n:012}AAA"


@contextmanager
def org(url: str, watched: RecordingThrottle | None = None, **settings: str) -> Iterator[Salesforce]:
    watched = watched or RecordingThrottle()
    given = {**APP, "bulk_above": "1", "url": url, **settings}
    destination = Salesforce(given, watched, watched.on_request)
    yield destination
    destination.close()


def seed(sandbox: Running, number: int, **values: Any) -> None:
    accounts = [
        {"Id": own(n), "Name": f"Account {n}", "Heatsync_Id__c": f"a{n}", **values} for n in range(number)
    ]
    sandbox.seed({"salesforce": {"Account": accounts}, "fields": {"salesforce": {"Account": FIELDS}}})


def change(n: int, known: bool = True, by: str = "Heatsync_Id__c", **fields: Value) -> Change:
    match = (Match(by, f"a{n}"),)
    new = {} if known else {"Name": f"Account {n}"}
    return Change(Kind.CHANGED, f"u{n}", match, {**new, **fields}, remote_id=own(n) if known else None)


def batch(*changes: Change, job: str | None = None) -> Batch:
    return Batch("r.m.1", "salesforce", "Account", changes, job)


def by_key(result: PushResult) -> dict[str, Outcome]:
    found = {each.key: each for each in result.outcomes}
    assert len(found) == len(result.outcomes), "a record has two outcomes"
    return found


def stored(sandbox: Running, field: str) -> dict[str, Any]:
    accounts = sandbox.state()["salesforce"]["Account"]
    return {each.get("Heatsync_Id__c", each["Id"]): each.get(field) for each in accounts}


def calls(sandbox: Running) -> dict[str, int]:
    endpoints = sandbox.stats()["salesforce"]["endpoints"]
    return {label: each["calls"] for label, each in endpoints.items() if label != "POST oauth2/token"}


# The content of a file

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
VALUES: st.SearchStrategy[Value] = st.one_of(
    TEXTS,
    st.integers(-(2**63), 2**63),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
)
ITEMS = st.lists(st.dictionaries(st.sampled_from(["A__c", "b__c", "C__c"]), VALUES), min_size=1, max_size=4)


@given(ITEMS)
def test_a_file_is_read_back_unchanged(records: list[dict[str, Value]]) -> None:
    created = [item(change(n, **fields), None) for n, fields in enumerate(records)]
    items = [each for each in created if isinstance(each, Item) and bulk.fits_file(each)]
    if not items:
        return
    sent, content = bulk.file(items)
    header, *rows = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
    assert (len(sent), len(rows)) == (len(items), len(items))
    assert header == ["Id", *sorted(header[1:], key=str.lower)]
    for each, cells in zip(items, rows, strict=True):
        read = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
        assert read.pop("Id") == each.identity
        assert set(read) == set(each.values)
        for name, value in each.values.items():
            assert _meant(read[name]) == (None if isinstance(value, str) and not value.strip() else value)


def _meant(cell: str) -> Any:
    """A cell that compares as the value it was written from."""
    return None if cell == "#N/A" else _Cell(cell)


class _Cell(str):
    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, value: object) -> bool:
        if isinstance(value, bool):
            return str(self) == str(value).lower()
        if isinstance(value, int | float):
            return "e" not in self.lower() and float(self) == float(value)
        return str(self) == value


def test_dates_and_lists_look_as_in_calls() -> None:
    moment = datetime(2026, 11, 22, 5, 30, tzinfo=UTC)
    fields: dict[str, Value] = {"A__c": date(2026, 11, 22), "B__c": moment, "C__c": ("x", "y")}
    created = item(change(1, **fields), None)
    assert isinstance(created, Item)
    _, content = bulk.file([created])
    assert content.decode() == f"Id,A__c,B__c,C__c\n{own(1)},2026-11-22,2026-11-22T05:30:00Z,x;y\n"


def test_a_file_keeps_its_size_limit_and_the_rest_follows(
    sandbox: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(sandbox, 9)
    monkeypatch.setattr(bulk, "FILE", 90)
    with org(sandbox.url) as destination:
        result = pushed(destination, batch(*(change(n, Score__c=n) for n in range(9))))
    assert {each.status for each in by_key(result).values()} == {Status.DELIVERED}
    assert stored(sandbox, "Score__c") == {f"a{n}": n for n in range(9)}
    assert calls(sandbox)["PUT jobs/ingest/{job}/batches"] == 3


def test_the_text_that_clears_a_field_can_be_a_value(sandbox: Running) -> None:
    seed(sandbox, 4, Note__c="old")
    notes: list[Value] = ["#N/A", None, "", "\ud800"]
    with org(sandbox.url) as destination:
        result = pushed(destination, batch(*(change(n, Note__c=note) for n, note in enumerate(notes[:3]))))
    assert {each.status for each in by_key(result).values()} == {Status.DELIVERED}
    assert stored(sandbox, "Note__c") == {"a0": "#N/A", "a1": None, "a2": None, "a3": "old"}
    assert not bulk.fits_file(item(change(3, Note__c=notes[3]), None))  # type: ignore[arg-type]


# Which way records go


def test_a_run_is_cut_into_files_of_equal_size() -> None:
    limits = Limits(
        records_per_call=200, lookups_per_call=400, calls=1, seconds=1.0, files=Files(10_000, 50_000, 7)
    )
    assert [limits.batch_size(n) for n in (1, 10_000, 10_001, 50_000, 50_001, 120_000)] == [
        200, 200, 10_001, 50_000, 25_001, 40_000,
    ]  # fmt: skip
    assert [limits.estimated_calls(n, in_file=False) for n in (0, 201, 10_000)] == [0, 2, 50]
    assert [limits.estimated_calls(n, in_file=True) for n in (0, 1, 50_000)] == [0, 7, 7]


def test_known_and_new_records_go_in_separate_files_and_unrepeatable_ones_in_calls(
    sandbox: Running,
) -> None:
    seed(sandbox, 3)
    changes = [change(n, known=n < 3, Score__c=n) for n in range(6)]
    changes += [change(n, known=False, by="Code__c", Score__c=n) for n in (6, 7)]
    with org(sandbox.url) as destination:
        result = pushed(destination, batch(*changes))
    assert {each.status for each in by_key(result).values()} == {Status.DELIVERED}
    accounts = sandbox.state()["salesforce"]["Account"]
    assert sorted(each["Score__c"] for each in accounts) == list(range(8))
    created = calls(sandbox)
    assert (created["POST jobs/ingest"], created["POST composite/sobjects"]) == (2, 1)
    assert "PATCH composite/sobjects" not in created


def test_two_changes_of_one_record_are_written_one_after_the_other(sandbox: Running) -> None:
    seed(sandbox, 3)
    again = replace(change(0, Score__c=9), key="twin")
    with org(sandbox.url) as destination:
        result = pushed(destination, batch(*(change(n, Score__c=n) for n in range(3)), again))
    assert {each.status for each in by_key(result).values()} == {Status.DELIVERED}
    assert stored(sandbox, "Score__c") == {"a0": 9, "a1": 1, "a2": 2}


def test_where_salesforce_creates_no_jobs_records_go_in_calls_and_the_log_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    changes = [change(n, Score__c=n) for n in range(3)]
    with running(limits={"salesforce": {"jobs": 0}}) as sandbox, org(sandbox.url) as destination:
        seed(sandbox, 3)
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                outcomes = by_key(pushed(destination, batch(*changes)))
        assert {each.status for each in outcomes.values()} == {Status.DELIVERED}
        assert calls(sandbox) == {"POST jobs/ingest": 1, "PATCH composite/sobjects": 2}
    (reply,) = caplog.messages
    assert "no bulk job for Account" in reply
    assert "LIMIT_EXCEEDED" in reply


# What a job comes to


def test_every_failed_row_is_reported_with_its_reason(sandbox: Running) -> None:
    seed(sandbox, 3)
    values: list[dict[str, Value]] = [
        {"Note__c": "far too long a text"},
        {"Score__c": "many"},
        {"Score__c": 2},
    ]
    with org(sandbox.url) as destination:
        outcomes = by_key(pushed(destination, batch(*(change(n, **each) for n, each in enumerate(values)))))
    assert {key: (each.status, each.code, each.field) for key, each in outcomes.items()} == {
        "u0": (Status.REJECTED, "too_long", "Note__c"),
        "u1": (Status.REJECTED, "bad_value", "Score__c"),
        "u2": (Status.DELIVERED, "", None),
    }
    assert outcomes["u0"].answer.startswith("STRING_TOO_LONG: Note__c: data value too large")


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (
            "REQUIRED_FIELD_MISSING:Required fields are missing: [Name, A__c]:Name, A__c --",
            {
                "statusCode": "REQUIRED_FIELD_MISSING",
                "message": "Required fields are missing: [Name, A__c]",
                "fields": ["Name", "A__c"],
            },
        ),
        (
            "UNABLE_TO_LOCK_ROW:unable to obtain exclusive access to this record or 1 records: 001x:--",
            {
                "statusCode": "UNABLE_TO_LOCK_ROW",
                "message": "unable to obtain exclusive access to this record or 1 records: 001x",
                "fields": [],
            },
        ),
        ("Something else entirely", {"message": "Something else entirely"}),
        # As long as what was refused: it is not gone through again from each of its letters.
        (f"CODE:m:{' ' * 1_000_000}!", {"message": f"CODE:m:{' ' * 1_000_000}!"}),
    ],
    ids=["fields", "no fields", "no code", "long"],
)
def test_the_error_of_a_row_is_parsed(reply: str, error: Mapping[str, Any]) -> None:
    assert bulk.error(reply) == error


def test_a_missing_field_rejects_the_records_that_set_it_and_the_others_are_sent_again(
    sandbox: Running,
) -> None:
    seed(sandbox, 4)
    changes = [change(n, Score__c=n) for n in range(3)] + [change(3, Nowhere__c=1)]
    with org(sandbox.url) as destination:
        outcomes = by_key(pushed(destination, batch(*changes)))
    assert (outcomes["u3"].code, outcomes["u3"].field) == ("field_missing", "Nowhere__c")
    assert "Field name not found : Nowhere__c" in outcomes["u3"].answer
    assert stored(sandbox, "Score__c") == {"a0": 0, "a1": 1, "a2": 2, "a3": None}
    assert calls(sandbox)["POST jobs/ingest"] == 2


def until(destination: Salesforce, pushing: Batch, uploaded: bool = True) -> str:
    """Push until a job is made or has its file, and be killed there; returns the job's state."""
    for word in destination.push(pushing):
        if isinstance(word, JobState) and json.loads(word.text)["uploaded"] is uploaded:
            return word.text
    raise AssertionError("there was no job")


def test_a_job_that_someone_aborted_is_not_continued(sandbox: Running) -> None:
    seed(sandbox, 4)
    changes = [change(n, Score__c=n) for n in range(4)]
    with org(sandbox.url) as destination:
        job = until(destination, batch(*changes))
        for _ in range(2):  # it is closed, and then begun
            with pytest.raises(InProgress):
                list(destination.push(batch(*changes, job=job)))
        opened = bulk.read(job)
        destination._session.call(
            lambda client: client.restful(
                f"jobs/ingest/{opened.id}", method="PATCH", json={"state": "Aborted"}
            )
        )
        events = destination.push(batch(*changes, job=job))
        written = [each.key for each in takewhile(lambda each: not isinstance(each, JobEnded), events)]
        with pytest.raises(Unauthorized, match=f"Someone aborted bulk job {opened.id} in Salesforce"):
            next(events)
    there = sandbox.state()["salesforce"]["Account"]
    assert len(written) == sum("Score__c" in each for each in there) < 4
    created = calls(sandbox)
    assert created["POST jobs/ingest"] == 1
    assert "PATCH composite/sobjects" not in created


def test_a_job_state_of_another_version_is_misunderstood() -> None:
    for state in ("no JSON", '{"id": "750", "by": null, "rows": 1, "at": 0, "of a later version": 1}'):
        with pytest.raises(Misunderstood, match="cannot be read"):
            bulk.read(state)


@pytest.mark.parametrize("uploaded", [False, True])
def test_an_open_job_is_closed_if_it_has_its_file_and_created_again_if_not(
    uploaded: bool, sandbox: Running
) -> None:
    seed(sandbox, 2)
    changes = [change(n, Score__c=n) for n in range(2)]
    with org(sandbox.url) as destination:
        job = until(destination, batch(*changes), uploaded)
        result = pushed(destination, batch(*changes, job=job))
    assert {each.status for each in by_key(result).values()} == {Status.DELIVERED}
    created = calls(sandbox)
    again = 1 if uploaded else 2
    assert (created["POST jobs/ingest"], created["PATCH jobs/ingest/{job}"]) == (again, again)


def test_a_job_that_is_gone_is_created_again(sandbox: Running) -> None:
    seed(sandbox, 2)
    job = bulk.Job("7500000000000AAAAA", None, 2, time.time(), True).state.text
    with org(sandbox.url) as destination:
        result = pushed(destination, batch(*(change(n, Score__c=n) for n in range(2)), job=job))
    assert {each.status for each in by_key(result).values()} == {Status.DELIVERED}
    assert result.jobs[0] is None


def test_a_job_that_takes_a_day_is_aborted_and_its_remaining_records_are_sent(
    sandbox: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(sandbox, 4)
    changes = [change(n, Score__c=n) for n in range(4)]
    with org(sandbox.url) as destination:
        job = until(destination, batch(*changes))
        for _ in range(2):
            with pytest.raises(InProgress):
                list(destination.push(batch(*changes, job=job)))
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + bulk.GIVE_UP_AFTER + 1)
        result = pushed(destination, batch(*changes, job=job))
    assert {each.status for each in by_key(result).values()} == {Status.DELIVERED}
    assert stored(sandbox, "Score__c") == {f"a{n}": n for n in range(4)}


def test_a_job_is_polled_less_and_less_often() -> None:
    now = time.time()
    waits = [bulk.Job("j", None, 1, now - age).again().retry_after for age in (0, 8, 40, 3600)]
    assert [round(wait or 0.0) for wait in waits] == [5, 5, 20, 60]


# Answers that cannot be read


def job_info(state: str, **more: Any) -> Reply:
    return Reply(
        200, {"id": "750x", "state": state, "numberRecordsProcessed": 2, "numberRecordsFailed": 0, **more}
    )


def scripted(jobs: Callable[[Request], Reply]) -> Callable[[Request], Reply]:
    def answer(request: Request) -> Reply:
        if request.path == "/services/oauth2/token":
            return Reply(200, {"access_token": "00D!s", "instance_url": "https://acme.my.salesforce.com"})
        return jobs(request)

    return answer


GOOD = f'"sf__Id","sf__Created","Id"\n"{own(0)}","false","{own(0)}"\n"{own(1)}","false","{own(1)}"\n'
NOTED = bulk.Job("750x", None, 2, 0.0, True)


@pytest.mark.parametrize(
    ("info", "rows"),
    [
        (job_info("JobComplete"), "<html>Please stand by"),
        (job_info("JobComplete"), GOOD[: len(GOOD) // 2]),
        (job_info("JobComplete"), GOOD[: GOOD.rindex('"' + own(1) + '","false')]),
        (job_info("JobComplete"), GOOD.replace(f'"{own(1)}","false"', f'"{own(7)}","false"')),
        (job_info("JobComplete"), ""),
        (Reply(200, "<html>Please stand by"), GOOD),
        (job_info("Dreaming"), GOOD),
        (Reply(400, [{"errorCode": "INVALIDJOB", "message": "no"}]), GOOD),
    ],
)
def test_unreadable_answers_about_a_job_are_requested_again_for_a_day(info: Reply, rows: str) -> None:
    def jobs(request: Request) -> Reply:
        return info if request.path == f"{JOBS}/750x" else Reply(200, rows, {"Content-Type": "text/csv"})

    changes = [change(n, Score__c=n) for n in range(2)]
    with answering(scripted(jobs)) as vendor, org(vendor.url) as destination:
        young = replace(NOTED, at=time.time()).state.text
        with pytest.raises(InProgress):
            list(destination.push(batch(*changes, job=young)))
        with pytest.raises(Misunderstood, match="750x cannot be read"):
            list(destination.push(batch(*changes, job=NOTED.state.text)))


def test_a_text_without_a_charset_is_read_as_utf_8(sandbox: Running) -> None:
    fields = {"salesforce": {"Account": {**FIELDS, "Key__c": {"type": "string", "externalId": True}}}}
    sandbox.seed({"fields": fields})
    changes = [
        Change(Kind.ENTERED, f"u{n}", (Match("Key__c", f"Zoë {n}, “Straße”"),), {"Name": "n"})
        for n in range(2)
    ]
    with org(sandbox.url) as destination:
        outcomes = by_key(pushed(destination, batch(*changes)))
    assert {each.status for each in outcomes.values()} == {Status.DELIVERED}


@pytest.mark.parametrize("ended", range(1, 7))
def test_a_session_that_expires_during_a_job_is_renewed_once(
    ended: int, sandbox: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(sandbox, 2)
    answer, requests = sandbox.sandbox.answer, count(1)

    def expiring(service: Any, route: Any, call: Any) -> Any:
        if "oauth2" not in route.path and next(requests) == ended:
            call.headers = {**call.headers, "authorization": "Bearer refused"}
        return answer(service, route, call)

    monkeypatch.setattr(sandbox.sandbox, "answer", expiring)
    with org(sandbox.url) as destination:
        outcomes = by_key(pushed(destination, batch(*(change(n, Score__c=n) for n in range(2)))))
    assert {each.status for each in outcomes.values()} == {Status.DELIVERED}
    assert stored(sandbox, "Score__c") == {"a0": 0, "a1": 1}
    assert sandbox.stats()["salesforce"]["endpoints"]["POST oauth2/token"]["calls"] == 2
    assert sandbox.stats()["salesforce"]["endpoints"]["PUT jobs/ingest/{job}/batches"]["records"] == 2
