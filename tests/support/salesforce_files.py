"""Accounts that go to Salesforce in files, as soon as they are more than two, and what arrives there."""

from collections import Counter
from typing import Any

import sqlalchemy as sa
from sync_stage import HEATSYNC, Stage, planned

from heatsync.ledger import tables
from heatsync.sandbox.vendors.salesforce.bulk import Job
from heatsync.sync import deliver
from heatsync.sync.context import Context

FILES = HEATSYNC.replace(
    "requests_per_10s: 100000}\nguards", "requests_per_10s: 100000, bulk_above: 2}\nguards"
)
ACCOUNTS = (
    "destination: salesforce\nobject: Account\nmatch: {Key__c: account_id}\nfields: {Plan__c: account.plan}\n"
)
UPSERT = ACCOUNTS.replace("fields: {", "mode: upsert\nfields: {Name: account.domain, ")
FIELDS = {
    "Key__c": {"type": "string", "length": 64, "externalId": True, "unique": True},
    "Plan__c": {"type": "string", "length": 64},
}


def seed_accounts(stage: Stage, number: int) -> None:
    """Give Salesforce these accounts."""
    accounts = [{"Id": f"001{n:012}AAA", "Name": f"a{n}", "Key__c": f"a{n}"} for n in range(number)]
    stage.sandbox.seed({"salesforce": {"Account": accounts}, "fields": {"salesforce": {"Account": FIELDS}}})


def plans(number: int, of: str = "plan") -> dict[str, str | None]:
    return {f"a{n}": f"{of} {n}" for n in range(number)}


def remote_plans(stage: Stage) -> dict[str, str | None]:
    accounts = stage.sandbox.state()["salesforce"]["Account"]
    return {each["Key__c"]: each.get("Plan__c") for each in accounts}


def jobs(stage: Stage) -> list[Job]:
    store: Any = stage.sandbox.sandbox._world.account("default")["salesforce"]
    return list(store.jobs.values())


def finished_jobs(stage: Stage) -> list[Job]:
    return [job for job in jobs(stage) if job.state == "JobComplete"]


def notes(context: Context) -> list[str | None]:
    with context.ledger.database.reading() as connection:
        return list(connection.scalars(sa.select(tables.batches.c.job).order_by(tables.batches.c.id)))


def start_job(stage: Stage, run: str = "r") -> str:
    """Start the job of a batch at Salesforce. Its state was not read yet. Returns the id of the batch."""
    with stage.context() as context:
        planned(context, "m", run)
        (batch,) = context.ledger.due_batches(run)
        assert deliver.deliver(context, batch).state == "later"
        assert [job.state for job in jobs(stage)] == ["UploadComplete"]
    return batch


def names(stage: Stage) -> Counter[str]:
    """How many accounts have each name."""
    return Counter(each["Name"] for each in stage.sandbox.state()["salesforce"]["Account"])


def due_now(context: Context) -> None:
    """End every lease and every wait."""
    with context.ledger.database.writing() as connection:
        connection.execute(tables.batches.update().values(lease_until=0.0, not_before=0.0))
