"""Salesforce's bulk jobs, raw: a file, and the results of its rows."""

import csv
import io

import pytest
import requests

from heatsync.sandbox.faults import Faults
from heatsync.sandbox.server import running

FIELDS = {
    "Heatsync_Id__c": {"type": "string", "length": 64, "externalId": True, "unique": True},
    "Score__c": {"type": "double"},
    "Level__c": {"type": "string", "length": 6},
    "Tier__c": {"type": "picklist", "picklistValues": ["a", "b"], "restrictedPicklist": True},
    "Hot__c": {"type": "boolean"},
    "Computed__c": {"type": "double", "calculated": True},
}
ONE, TWO = "001000000000001AAA", "001000000000002AAA"
JOBS = "/services/data/v64.0/jobs/ingest"


@pytest.fixture
def org(client):
    accounts = [
        {"Id": ONE, "Name": "Acme", "Heatsync_Id__c": "a1", "Level__c": "low"},
        {"Id": TWO, "Name": "Beta", "Heatsync_Id__c": "a2", "Level__c": "low"},
    ]
    client.seed(salesforce={"Account": accounts}, fields={"salesforce": {"Account": FIELDS}})
    return client


def create(org, operation="update", **more):
    answer = org("POST", JOBS, {"object": "Account", "operation": operation, "contentType": "CSV", **more})
    assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == "Open"
    return answer.json()["id"]


def upload(org, job, text):
    headers = {"Content-Type": "text/csv"}
    return org.http.put(f"{org.url}{JOBS}/{job}/batches", text.encode(), headers=headers, timeout=10)


def close(org, job, state="UploadComplete"):
    return org("PATCH", f"{JOBS}/{job}", {"state": state})


def look(org, job):
    return org("GET", f"{JOBS}/{job}").json()


def listed(org, job, which):
    answer = org("GET", f"{JOBS}/{job}/{which}")
    assert answer.status_code == 200
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def done(org, text, operation="update", **more):
    """Run a whole job; return its last state, and the rows that succeeded, failed and were left."""
    job = create(org, operation, **more)
    assert upload(org, job, text).status_code == 201
    assert close(org, job).json()["state"] == "UploadComplete"
    assert look(org, job)["state"] == "InProgress"
    names = ("successfulResults", "failedResults", "unprocessedrecords")
    return look(org, job), *(listed(org, job, name) for name in names)


def account(org, id=ONE):
    return next(each for each in org.state("salesforce")["Account"] if each["Id"] == id)


def test_a_job_is_created_filled_closed_and_completed_after_a_few_polls(org):
    job, good, bad, left = done(org, f'Id,Level__c,Score__c\n{ONE},"a,""b",7.5\n{TWO},,\n')
    assert (job["state"], job["numberRecordsProcessed"], job["numberRecordsFailed"]) == ("JobComplete", 2, 0)
    assert {row["sf__Id"]: row["sf__Created"] for row in good} == {ONE: "false", TWO: "false"}
    assert {row["Level__c"] for row in good} == {'a,"b', ""}
    assert (bad, left) == ([], [])
    assert (account(org)["Level__c"], account(org)["Score__c"]) == ('a,"b', 7.5)


def test_an_empty_cell_leaves_a_field_and_na_clears_it(org):
    done(org, f"Id,Level__c\n{ONE},#N/A\n{TWO},\n")
    assert "Level__c" not in account(org)
    assert account(org, TWO)["Level__c"] == "low"


def test_an_upsert_creates_missing_records_in_a_file(org):
    _, good, _, _ = done(
        org,
        "Heatsync_Id__c,Name,Hot__c\na1,Acme,true\na9,New,false\n",
        "upsert",
        externalIdFieldName="Heatsync_Id__c",
    )
    assert {row["Heatsync_Id__c"]: row["sf__Created"] for row in good} == {"a1": "false", "a9": "true"}
    assert account(org)["Hot__c"] is True
    assert len(org.state("salesforce")["Account"]) == 3


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("Level__c", "far too long", "STRING_TOO_LONG:Level__c: data value too large: far too long"),
        ("Tier__c", "c", "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST:Tier__c: bad value"),
        ("Score__c", "many", "INVALID_TYPE_ON_FIELD_IN_RECORD:Score__c: value not of required type: many"),
        ("Computed__c", "1", "INVALID_FIELD_FOR_INSERT_UPDATE:Unable to create/update fields: Computed__c"),
        ("Name", "#N/A", "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]"),
    ],
)
def test_a_row_is_refused_by_itself(org, column, cell, message):
    job, good, bad, _ = done(org, f"Id,{column}\n{ONE},{cell}\n{TWO},\n")
    assert (job["state"], job["numberRecordsProcessed"], job["numberRecordsFailed"]) == ("JobComplete", 2, 1)
    assert [row["sf__Id"] for row in good] == [TWO]
    ((error, id),) = [(row["sf__Error"], row["Id"]) for row in bad]
    assert (error.startswith(message), error.endswith(f":{column} --"), id) == (True, True, ONE)


def test_a_record_that_is_twice_in_a_file_or_missing_is_refused(org):
    gone = "001000000000009AAA"
    _, good, bad, _ = done(org, f"Id,Level__c\n{ONE},a\n{ONE},b\n{TWO},c\n{gone},d\nx,e\n")
    assert [row["Id"] for row in good] == [TWO]
    assert sorted(row["sf__Error"].partition(":")[0] for row in bad) == [
        "DUPLICATE_VALUE",
        "DUPLICATE_VALUE",
        "INVALID_CROSS_REFERENCE_KEY",
        "MALFORMED_ID",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"Id,Nowhere__c\n{ONE},1\n", "InvalidBatch : Field name not found : Nowhere__c"),
        (f"Id,Score__c\r\n{ONE},1\r\n", "ClientInputError : LineEnding is invalid on user data."),
        (f"Id,Score__c\n{ONE}\n", "InvalidBatch : The number of columns"),
    ],
)
def test_an_unreadable_file_fails_and_writes_nothing(org, text, message):
    job, good, bad, left = done(org, text)
    assert job["state"] == "Failed"
    assert job["errorMessage"].startswith(message)
    assert (good, bad, len(left)) == ([], [], 1)
    assert "Score__c" not in account(org)


def test_a_job_takes_one_file_and_can_be_closed_only_with_it(org):
    job = create(org)
    assert close(org, job).status_code == 400
    assert upload(org, job, f"Id,Score__c\n{ONE},1\n").status_code == 201
    second = upload(org, job, f"Id,Score__c\n{ONE},2\n")
    assert (second.status_code, second.json()[0]["errorCode"]) == (400, "INVALIDJOBSTATE")
    assert org("GET", f"{JOBS}/{job}/successfulResults").status_code == 400
    assert close(org, job).status_code == 200
    assert close(org, job).status_code == 400
    look(org, job)
    look(org, job)
    assert account(org)["Score__c"] == 1
    assert org("DELETE", f"{JOBS}/{job}").status_code == 204
    assert org("GET", f"{JOBS}/{job}").status_code == 404


def test_an_aborted_job_keeps_what_it_has_written(org):
    idle = create(org)
    upload(org, idle, f"Id,Score__c\n{ONE},1\n")
    assert close(org, idle, "Aborted").json()["state"] == "Aborted"
    assert "Score__c" not in account(org)
    begun = create(org)
    upload(org, begun, f"Id,Score__c\n{ONE},1\n{TWO},2\n")
    close(org, begun)
    look(org, begun)
    assert close(org, begun, "Aborted").json()["numberRecordsProcessed"] == 1
    assert [row["Id"] for row in listed(org, begun, "successfulResults")] == [ONE]
    assert [row["Id"] for row in listed(org, begun, "unprocessedrecords")] == [TWO]


def test_a_job_that_is_not_polled_is_processed_as_well(org):
    job = create(org)
    upload(org, job, f"Id,Score__c\n{ONE},1\n")
    close(org, job)
    assert account(org)["Score__c"] == 1
    assert look(org, job)["state"] == "JobComplete"


@pytest.mark.parametrize(
    "body",
    [
        {"operation": "delete"},
        {"contentType": "JSON"},
        {"lineEnding": "CR"},
        {"operation": "upsert", "externalIdFieldName": "Level__c"},
        {"operation": "upsert"},
    ],
)
def test_an_invalid_job_is_refused(org, body):
    answer = org("POST", JOBS, {"object": "Account", "operation": "update", **body})
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "INVALIDJOB")


def test_jobs_are_counted_by_the_day():
    bearer = {"Authorization": "Bearer t"}
    body = {"object": "Account", "operation": "update"}
    with running(limits={"salesforce": {"jobs": 1}}) as sandbox:
        answers = [requests.post(sandbox.url + JOBS, json=body, headers=bearer, timeout=10) for _ in range(2)]
        endpoints = sandbox.stats()["salesforce"]["endpoints"]
    assert [answer.status_code for answer in answers] == [200, 400]
    assert answers[1].json()[0]["errorCode"] == "LIMIT_EXCEEDED"
    assert endpoints["POST jobs/ingest"]["calls"] == 2


def test_the_same_records_are_refused_in_a_file_as_in_a_call():
    faults = Faults({"refused": 0.3, "row": 0.3}, seed=3)
    ids = [f"001{n:012}AAA" for n in range(20)]
    bearer = {"Authorization": "Bearer t"}
    with running(quotas=False, faults=faults) as sandbox:
        sandbox.seed({"salesforce": {"Account": [{"Id": id, "Name": "old"} for id in ids]}})
        url = sandbox.url + JOBS
        job = requests.post(
            url, json={"object": "Account", "operation": "update"}, headers=bearer, timeout=10
        )
        url += f"/{job.json()['id']}"
        text = "Id,Name\n" + "".join(f"{id},new\n" for id in ids)
        requests.put(f"{url}/batches", text, headers={**bearer, "Content-Type": "text/csv"}, timeout=10)
        requests.patch(url, json={"state": "UploadComplete"}, headers=bearer, timeout=10)
        requests.get(url, headers=bearer, timeout=10)
        info = requests.get(url, headers=bearer, timeout=10).json()
        rows = requests.get(f"{url}/failedResults", headers=bearer, timeout=10).text
        failed = {row["Id"]: row["sf__Error"] for row in csv.DictReader(io.StringIO(rows))}
        names = {each["Id"]: each["Name"] for each in sandbox.state()["salesforce"]["Account"]}
    refused = {id for id in ids if faults.refuses("salesforce", "Account", id)}
    assert refused
    assert {id for id, error in failed.items() if error.startswith("FIELD_CUSTOM_VALIDATION")} == refused
    assert any(error.startswith("UNABLE_TO_LOCK_ROW") for error in failed.values())
    assert (info["numberRecordsProcessed"], info["numberRecordsFailed"]) == (20, len(failed))
    assert {id for id, name in names.items() if name == "old"} == set(failed)
