"""The counts of a run: every record is counted once, by its reason."""

from pathlib import Path

import pytest
from sync_stage import (
    CONTACTS,
    DAY,
    HEATSYNC,
    Ended,
    Stage,
    numbered,
)

from heatsync.sandbox.server import Running
from heatsync.sync import plan as planning
from heatsync.sync.compare.types import Scope
from heatsync.sync.context import no_progress
from heatsync.sync.plan import PlanRequest

ALERTING = HEATSYNC + "alerts: {webhook: http://127.0.0.1:9/nobody}\n"


@pytest.fixture
def stage(tmp_path: Path, sandbox: Running) -> Stage:
    return Stage(tmp_path / "w", sandbox)


def test_parked_records_are_counted_by_their_reason(stage: Stage) -> None:
    stage.mapping("m", CONTACTS)
    stage.contacts("u1")
    stage.users(numbered(4), email={"u3": "", "u4": "u5@x.com"} | {"u5": "u5@x.com"})

    def counts(ended: Ended) -> tuple[int, int, int]:
        answer = ended.only
        return answer["records"], answer["planned"]["unchanged"], answer["unmatched"]

    stage.sync()
    assert counts(stage.sync()) == (4, 1, 2)
    only = stage.sync(scope=Scope(only="u1"))
    assert counts(only) == (1, 1, 0)
    nobody = stage.sync(scope=Scope(only="nobody"))
    assert counts(nobody) == (0, 0, 0)


def test_the_counts_of_every_run_add_up_to_its_records(stage: Stage) -> None:
    stage.mapping("m", CONTACTS)
    stage.contacts("u1", "u2")
    stage.users(numbered(6), email={"u3": "", "u4": "u5@x.com"} | {"u5": "u5@x.com"})

    def counted(ended: Ended) -> tuple[int, int]:
        answer = ended.only
        outcomes = sum(answer["outcomes"].values())
        assert answer["records"] == answer["planned"]["unchanged"] + outcomes + answer["parked"]
        return outcomes, answer["parked"]

    assert counted(stage.sync()) == (6, 0)
    assert counted(stage.sync()) == (0, 4)
    stage.users({**numbered(6), "u1": "other"}, email={"u3": "u3@x.com", "u4": "u5@x.com"})
    assert counted(stage.sync()) == (2, 3)


def test_creations_are_counted_only_in_mappings_that_create_records(stage: Stage) -> None:
    stage.contacts("u1")
    stage.users(numbered(3))
    stage.mapping("m", CONTACTS)
    with stage.context() as context:
        (mapping,) = context.choose([])
        for offline in (False, True):
            plan = planning.preview(context, PlanRequest(mapping, "p", DAY, offline=offline), no_progress)
            assert plan.run.planned.created == 0
    stage.mapping("m", CONTACTS + "mode: upsert\n")
    with stage.context() as context:
        (mapping,) = context.choose([])
        plan = planning.preview(context, PlanRequest(mapping, "p", DAY), no_progress)
        assert (plan.run.planned.created, plan.run.planned.entered) == (2, 3)
