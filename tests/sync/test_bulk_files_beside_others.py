"""Files together with other mappings, removed mappings, pauses and late results."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from salesforce_files import (
    ACCOUNTS,
    FIELDS,
    FILES,
    UPSERT,
    due_now,
    finished_jobs,
    jobs,
    names,
    plans,
    remote_plans,
    seed_accounts,
    start_job,
)
from sync_stage import Killed, Stage, planned

import heatsync.sandbox.vendors.salesforce.bulk
from connectors.errors import ConfigurationError, Unavailable
from connectors.salesforce import bulk_jobs
from connectors.salesforce import destination as salesforce
from connectors.salesforce.destination import Salesforce
from connectors.salesforce.session import Session
from heatsync.ledger import Ledger
from heatsync.sandbox.server import Running
from heatsync.sync import deliver as delivery
from heatsync.sync.context import PAUSED_BY_HAND, Context, Timeouts
from heatsync.sync.mapping.model import Mapping
from heatsync.sync.run_batches import deliver_mapping

BY_NAME = ACCOUNTS.replace("match: {Key__c: account_id}", "mode: upsert\nmatch: {Name: account.domain}")
"""Nothing but a look-up keeps these single."""
BY_CALL = FILES.replace("bulk_above: 2", "bulk_above: 1000")


@pytest.fixture
def stage(tmp_path: Any, sandbox: Running, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(bulk_jobs, "FIRST_LOOK", 0.02)
    # How long a query may not show a new record is tested elsewhere.
    monkeypatch.setattr(Mapping, "search_lag", 0.0)
    return Stage(tmp_path / "w", sandbox, FILES, timeouts=Timeouts(creation=0.02))


def empty_account(stage: Stage) -> None:
    fields = FIELDS | {"Other__c": FIELDS["Plan__c"]}
    stage.sandbox.seed({"salesforce": {"Account": []}, "fields": {"salesforce": {"Account": fields}}})


def deliver(context: Context, run: str, *mappings: str) -> None:
    for name in mappings:
        assert deliver_mapping(context, run, context.mappings[name]) is None


@pytest.mark.parametrize("text", [FILES, BY_CALL], ids=["files", "calls"])
def test_a_record_created_before_a_crash_is_updated_in_a_file_and_not_created_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    stage.heatsync = text
    empty_account(stage)
    stage.mapping("m", BY_NAME)
    stage.accounts(plans(5))

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with stage.context() as context:
        planned(context, "m", "r")
        (batch,) = context.ledger.due_batches("r")
        with monkeypatch.context() as patch, suppress(Killed):
            for name in ("save_outcomes", "finish_batch", "requeue"):
                patch.setattr(Ledger, name, killed)
            delivery.deliver(context, batch)
        due_now(context)
        assert names(stage) == dict.fromkeys((f"a{n}.com" for n in range(5)), 1)
        deliver(context, "r", "m")
        assert context.ledger.outcome_counts("r", "m")["delivered"] == 5
    assert names(stage) == dict.fromkeys((f"a{n}.com" for n in range(5)), 1)


def test_two_mappings_that_may_create_records_create_each_once(stage: Stage) -> None:
    empty_account(stage)
    stage.mapping("m", BY_NAME)
    stage.mapping("n", BY_NAME.replace("Plan__c", "Other__c"))
    stage.accounts(plans(5))
    with stage.context() as context:
        for name in "mn":
            planned(context, name, "r")
        deliver(context, "r", "m", "n")
    assert names(stage) == dict.fromkeys((f"a{n}.com" for n in range(5)), 1)


@pytest.mark.parametrize("text", [FILES, BY_CALL], ids=["files", "calls"])
def test_no_record_is_created_while_a_file_may_be_creating_it(stage: Stage, text: str) -> None:
    stage.heatsync = text
    empty_account(stage)
    stage.mapping("m", UPSERT)
    stage.mapping("n", BY_NAME.replace("Plan__c", "Other__c"))
    stage.accounts(plans(5))
    with stage.context() as context:
        for name in "mn":
            planned(context, name, "r")
        for name in "mn":
            for batch in context.ledger.due_batches("r", name):
                delivery.deliver(context, batch)
        deliver(context, "r", "m", "n")
        assert context.ledger.outcome_counts("r", "n")["delivered"] == 5
    assert names(stage) == dict.fromkeys((f"a{n}.com" for n in range(5)), 1)


def test_a_mapping_that_cannot_create_yet_names_the_mapping_that_is_creating(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_account(stage)
    stage.mapping("m", UPSERT)
    stage.mapping("n", BY_NAME.replace("Plan__c", "Other__c"))
    stage.accounts(plans(5))
    start_job(stage)
    stage.timeouts = replace(stage.timeouts, standstill=0.3)
    with stage.context() as context:
        context.ledger.pause("m", PAUSED_BY_HAND, None)
        planned(context, "n", "s")
        error = deliver_mapping(context, "s", context.mappings["n"])
        assert error is not None
        assert (
            "cannot create Account yet: m is still creating some. Resume m if it is paused"
            in error.delivery_message
        )
        context.ledger.resume("m")
    stage.timeouts = Timeouts()
    with stage.context() as context:
        due_now(context)
        deliver(context, "r", "m")
    assert stage.sync().code == 0
    assert names(stage) == dict.fromkeys((f"a{n}.com" for n in range(5)), 1)


def test_a_file_of_a_renamed_mapping_writes_nothing_over_newer_values(stage: Stage) -> None:
    seed_accounts(stage, 4)
    stage.mapping("m", ACCOUNTS)
    stage.accounts(plans(4))
    start_job(stage)
    gone(stage)
    stage.mapping("accounts", ACCOUNTS)
    stage.heatsync = BY_CALL
    stage.accounts(plans(4, "newer"))
    assert stage.sync().code == 0
    assert len(finished_jobs(stage)) == 1
    assert remote_plans(stage) == plans(4, "newer")


def gone(stage: Stage) -> str:
    (stage.folder / "mappings/m.yml").unlink()
    return stage.mappings.pop("mappings/m.yml")


def test_a_file_whose_mapping_was_missing_for_a_moment_is_still_followed(stage: Stage) -> None:
    seed_accounts(stage, 4)
    stage.mapping("m", ACCOUNTS)
    stage.accounts(plans(4))
    batch = start_job(stage)
    text = gone(stage)
    with stage.context() as context:
        due_now(context)
        assert delivery.deliver(context, batch).state == "stopped"
        due_now(context)
    stage.mappings["mappings/m.yml"] = text
    stage.heatsync = BY_CALL
    stage.accounts(plans(4, "newer"))
    assert stage.sync().code == 0
    assert len(finished_jobs(stage)) == 1
    assert remote_plans(stage) == plans(4, "newer")


def test_a_file_is_followed_before_anything_that_may_fail(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed_accounts(stage, 0)
    stage.mapping("m", UPSERT)
    stage.accounts(plans(4))
    batch = start_job(stage)

    def refused(*_: object, **__: object) -> None:
        raise ConfigurationError("Salesforce knows no such object")

    monkeypatch.setattr(Salesforce, "_describe", refused)
    with stage.context() as context:
        due_now(context)
        while (result := delivery.deliver(context, batch)).state == "later":
            due_now(context)
        assert (result.state, result.error) == ("done", None)
        assert context.ledger.outcome_counts("r", "m")["delivered"] == 4


def test_a_value_that_fits_into_no_field_is_refused_alone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed_accounts(stage, 5)
    stage.mapping("m", ACCOUNTS)
    stage.accounts(plans(5) | {"a3": "x" * 140_000})
    ended = stage.sync()
    assert (ended.code, ended.outcomes) == (1, {"delivered": 4, "rejected": 1})
    stage.accounts(plans(5))
    assert stage.sync().outcomes == {"delivered": 1}


def test_the_next_run_reports_the_rejections_in_the_job_of_an_older_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    posted: list[str] = []
    monkeypatch.setattr("heatsync.operations.alerts.post", lambda _webhook, text: posted.append(text))
    seed_accounts(stage, 5)
    stage.mapping("m", ACCOUNTS)
    stage.heatsync += "alerts: {webhook: http://127.0.0.1:9/nobody}\n"
    stage.accounts(plans(5) | {"a3": "x" * 100})
    start_job(stage)
    with stage.context() as context:
        context.ledger.finish_run("r", "m", "for 900 s no batch was done.")
    ended = stage.sync()
    assert (ended.code, ended.only["lost_earlier"]) == (1, 1)
    assert "m: done, 1 not delivered" in posted[0]
    assert stage.sync().code == 0
    assert len(posted) == 1


def test_a_pause_stops_a_batch_after_a_few_calls(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(salesforce, "CALLS_PER_PUSH", 2)
    empty_account(stage)
    stage.mapping("m", BY_NAME)
    stage.accounts(plans(1000))
    real, writes = Session.call, 0
    with stage.context() as context:
        planned(context, "m", "r")

        def call(self: Session, ask: Any, safe: bool = True) -> Any:
            nonlocal writes
            if not safe:
                writes += 1
                if writes == 1:
                    context.ledger.pause("m", PAUSED_BY_HAND, None)
            return real(self, ask, safe)

        monkeypatch.setattr(Session, "call", call)
        deliver(context, "r", "m")
        assert writes == 2
        context.ledger.resume("m")
        due_now(context)
        stage.calls()
        deliver(context, "r", "m")
        assert writes == 5
        assert stage.calls() == 3, "deferred changes cause no look-up"
    assert names(stage) == dict.fromkeys((f"a{n}.com" for n in range(1000)), 1)


def test_changes_that_were_not_begun_are_not_begun_once_their_run_is_over(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed_accounts(stage, 4)
    stage.mapping("m", ACCOUNTS)
    stage.accounts(plans(4))

    def close(*_: object) -> None:
        raise Unavailable("Salesforce cannot be reached")

    with stage.context() as context:
        planned(context, "m", "r")
        (batch,) = context.ledger.due_batches("r")
        with monkeypatch.context() as patch:
            patch.setattr(bulk_jobs.Jobs, "_close", close)
            delivery.deliver(context, batch)
        assert [job.state for job in jobs(stage)] == ["Open"]
        context.ledger.finish_run("r", "m", "Salesforce cannot be reached")
        due_now(context)
    stage.accounts(plans(4, "newer"))
    assert stage.sync().code == 0
    assert [job.state for job in jobs(stage)] == ["Aborted", "JobComplete"]
    assert remote_plans(stage) == plans(4, "newer")


@pytest.fixture
def aborted(stage: Stage) -> Stage:
    """The job was aborted in Salesforce before it wrote anything."""
    seed_accounts(stage, 4)
    stage.mapping("m", ACCOUNTS)
    stage.accounts(plans(4))
    start_job(stage)
    store: Any = stage.sandbox.sandbox._world.account("default")["salesforce"]
    (job,) = store.jobs.values()
    del store.underway[job.id]
    job.state = "Aborted"
    return stage


def test_after_a_job_was_aborted_at_the_destination_nothing_is_sent_until_someone_resumes(
    aborted: Stage,
) -> None:
    with aborted.context() as context:
        due_now(context)
        error = deliver_mapping(context, "r", context.mappings["m"])
        assert error is not None
        assert "Someone aborted bulk job" in error.delivery_message
        assert set(remote_plans(aborted).values()) == {None}
        context.ledger.resume("m")
    assert aborted.sync().outcomes == {"delivered": 4}
    assert remote_plans(aborted) == plans(4)


def test_a_run_that_waits_names_the_job_that_it_waits_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed_accounts(stage, 4)
    stage.mapping("m", ACCOUNTS)
    stage.accounts(plans(4))
    monkeypatch.setattr(heatsync.sandbox.vendors.salesforce.bulk, "LOOKS", 10_000)
    stage.timeouts = replace(stage.timeouts, standstill=0.3, older_run=0.3)
    for _ in range(2):
        assert "Salesforce is working on bulk job 750" in stage.sync().only["cause"]
