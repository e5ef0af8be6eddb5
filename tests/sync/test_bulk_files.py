"""Jobs at the destination: killed at every point, followed to their end, superseded, and never done twice."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from examples import TIMES
from salesforce_files import (
    ACCOUNTS,
    FILES,
    UPSERT,
    due_now,
    finished_jobs,
    jobs,
    plans,
    remote_plans,
    seed_accounts,
    start_job,
)
from sync_stage import Killed, Stage, planned

from connectors.errors import ConfigurationError, Unavailable
from connectors.salesforce import bulk_jobs as bulk
from connectors.salesforce.session import Session
from heatsync.ledger import Ledger
from heatsync.sandbox.server import Running
from heatsync.sync import deliver as delivery
from heatsync.sync import run_batches
from heatsync.sync.context import Context, Timeouts
from heatsync.sync.mapping.model import Mapping
from heatsync.sync.run_batches import deliver_mapping


@pytest.fixture
def stage(tmp_path: Path, sandbox: Running, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(bulk, "FIRST_LOOK", 0.02)
    stage = Stage(tmp_path / "w", sandbox, FILES)
    stage.mapping("m", ACCOUNTS)
    return stage


def test_many_changes_go_in_one_file_and_few_by_call(stage: Stage) -> None:
    seed_accounts(stage, 9)
    stage.accounts(plans(9))
    assert stage.sync().outcomes == {"delivered": 9}
    assert remote_plans(stage) == plans(9)
    assert len(finished_jobs(stage)) == 1
    stage.accounts(plans(9) | {"a1": "else", "a2": "else"})
    stage.calls()
    assert stage.sync().outcomes == {"delivered": 2}
    assert (len(jobs(stage)), stage.calls()) == (1, 2)
    stage.sync()
    assert stage.calls() == 0


def test_a_run_of_several_files_is_cut_evenly_and_its_calls_are_estimated(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "RECORDS", 12)
    seed_accounts(stage, 20)
    stage.accounts(plans(20))
    with stage.context() as context:
        assert planned(context, "m", "r").run.planned.calls == 2 * bulk.CALLS
        assert len(context.ledger.due_batches("r")) == 2
        assert deliver_mapping(context, "r", context.mappings["m"]) is None
    assert [len(job.done) for job in finished_jobs(stage)] == [10, 10]
    assert remote_plans(stage) == plans(20)


class Death:
    """The process is killed before the n-th thing that it does with the ledger or with Salesforce: after the one before."""

    def __init__(self, at: int) -> None:
        self.at, self.count, self.dead = at, 0, False

    def step(self) -> None:
        if self.dead:
            raise Killed
        self.count += 1
        if self.count == self.at:
            self.dead = True
            raise Killed

    @contextmanager
    def stalking(self) -> Iterator[None]:
        call, note, settle, conclude = (
            Session.call,
            Ledger.save_job,
            Ledger.save_outcomes,
            Ledger.finish_batch,
        )

        def stalked(real: Any) -> Any:
            def doing(of: Any, *arguments: Any, **more: Any) -> Any:
                self.step()
                return real(of, *arguments, **more)

            return doing

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Session, "call", stalked(call))
            patch.setattr(Ledger, "save_job", stalked(note))
            patch.setattr(Ledger, "save_outcomes", stalked(settle))
            patch.setattr(Ledger, "finish_batch", stalked(conclude))
            # A dead worker puts nothing back.
            patch.setattr(Ledger, "requeue", self._unless_dead(Ledger.requeue))
            yield

    def _unless_dead(self, real: Any) -> Any:
        def doing(of: Any, *arguments: Any, **more: Any) -> Any:
            return None if self.dead else real(of, *arguments, **more)

        return doing


def deliver_all(context: Context) -> None:
    while True:
        for batch in context.ledger.due_batches("r"):
            delivery.deliver(context, batch)
        when = context.ledger.next_due("r", "m")
        if when is None:
            return
        context.wait(0.005)


@pytest.mark.parametrize(
    "text", [pytest.param(ACCOUNTS, marks=pytest.mark.long), UPSERT], ids=["update", "upsert"]
)
@pytest.mark.parametrize("newer", [False, True], ids=["resumed", "overtaken"])
def test_a_worker_killed_at_any_point_leaves_a_file_that_is_followed_and_written_once(
    text: str, newer: bool, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How long a query may not show a new record is tested elsewhere.
    monkeypatch.setattr(Mapping, "search_lag", 0.0)
    stage.mapping("m", text)
    for at in range(1, 100, 3 if newer and TIMES == 1 else 1):
        seed_accounts(stage, 0 if text is UPSERT else 5)
        (stage.folder / ".heatsync" / "ledger.db").unlink(missing_ok=True)
        stage.accounts(plans(5))
        with stage.context() as context:
            planned(context, "m", "r")
            death = Death(at)
            with death.stalking(), suppress(Killed):
                deliver_all(context)
            due_now(context)
            if not newer:
                deliver_all(context)
                assert len(finished_jobs(stage)) == 1, f"killed at {at}"
                assert context.ledger.outcome_counts("r", "m")["delivered"] == 5
        if newer:
            stage.accounts(plans(5, "newer"))
            assert stage.sync().code == 0
        assert remote_plans(stage) == plans(5, "newer" if newer else "plan"), f"killed at {at}"
        if not death.dead:
            break
    else:
        raise AssertionError("it never ends")
    assert at > 10


def test_a_newer_run_waits_for_the_running_job_and_sends_what_differs_then(stage: Stage) -> None:
    seed_accounts(stage, 4)
    stage.accounts(plans(4))
    start_job(stage)
    stage.accounts(plans(4) | {"a0": "newer", "a1": "newer", "a2": "newer"})
    ended = stage.sync()
    assert (ended.outcomes, ended.only["planned"]["unchanged"]) == ({"delivered": 3}, 1)
    assert remote_plans(stage) == plans(4) | {"a0": "newer", "a1": "newer", "a2": "newer"}
    assert [len(job.done) for job in finished_jobs(stage)] == [4, 3]


def test_the_next_run_follows_the_job_of_a_run_that_gave_up(stage: Stage) -> None:
    seed_accounts(stage, 4)
    stage.accounts(plans(4))
    start_job(stage)
    with stage.context() as context:
        context.ledger.finish_run("r", "m", "it took too long")
    stage.calls()
    assert stage.sync().only["planned"]["unchanged"] == 4
    assert len(jobs(stage)) == 1
    assert stage.calls() == 4, "a login, two looks and a list"
    with stage.context() as context:
        assert context.ledger.outcome_counts("r", "m")["delivered"] == 4


def test_a_job_that_runs_too_long_is_not_overtaken(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    seed_accounts(stage, 4)
    stage.accounts(plans(4))
    start_job(stage)
    stage.accounts(plans(4, "newer"))
    monkeypatch.setattr("heatsync.sandbox.vendors.salesforce.bulk.LOOKS", 10_000)
    stage.timeouts = Timeouts(older_run=0.3)
    ended = stage.sync()
    assert (ended.code, ended.only["state"]) == (3, "failed")
    assert "an older run is still being delivered" in ended.only["cause"]
    stage.timeouts = Timeouts()
    monkeypatch.undo()
    monkeypatch.setattr(bulk, "FIRST_LOOK", 0.02)
    assert stage.sync().code == 0
    assert remote_plans(stage) == plans(4, "newer")


def test_a_file_that_progresses_is_no_standstill(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    seed_accounts(stage, 4)
    stage.accounts(plans(4))
    passed = [0.0]

    class Clock:
        """Five minutes between two looks."""

        @staticmethod
        def monotonic() -> float:
            return passed[0]

        @staticmethod
        def time() -> float:
            import time

            return time.time()

    real = delivery.deliver

    def deliver(context: Context, batch: str) -> delivery.DeliveryResult:
        passed[0] += 600.0
        return real(context, batch)

    look = bulk.Jobs._look

    def getting_on(self: bulk.Jobs, job: bulk.Job) -> Any:
        if job.done < 3:
            return {"id": job.id, "state": "InProgress", "numberRecordsProcessed": job.done + 1}
        return look(self, job)

    monkeypatch.setattr(run_batches, "time", Clock)
    monkeypatch.setattr(delivery, "deliver", deliver)
    monkeypatch.setattr(bulk.Jobs, "_look", getting_on)
    monkeypatch.setattr("heatsync.sandbox.vendors.salesforce.bulk.LOOKS", 1)
    with stage.context() as context:
        planned(context, "m", "r")
        assert deliver_mapping(context, "r", context.mappings["m"]) is None
    assert passed[0] > 2 * stage.timeouts.standstill


def test_a_file_whose_uploads_are_all_lost_is_not_tried_for_ever(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed_accounts(stage, 4)
    stage.accounts(plans(4))
    real = Session.call

    def call(self: Session, ask: Any, safe: bool = True) -> Any:
        if getattr(ask, "args", ("",))[0] == "PUT":
            raise Unavailable("Salesforce cannot be reached")
        return real(self, ask, safe)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "call", call)
        assert stage.sync().code == 3
    assert [job.state for job in jobs(stage)] == ["Open"]
    with stage.context() as context:
        due_now(context)
    assert stage.sync().outcomes == {"delivered": 4}
    assert sorted(job.state for job in jobs(stage)) == ["Aborted", "JobComplete"]


@pytest.mark.parametrize("number", ["many", "0", "-1"])
def test_a_threshold_is_a_whole_number(number: str, stage: Stage) -> None:
    stage.heatsync = FILES.replace("bulk_above: 2", f"bulk_above: {number}")
    with pytest.raises(
        ConfigurationError, match=f"expected a whole number from 1, such as 100, found `{number}`"
    ):
        stage.opened()
