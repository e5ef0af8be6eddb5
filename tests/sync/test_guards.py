"""What holds a run until a person approves it."""

from dataclasses import replace

import pytest

from heatsync.sync.guards import Facts, Thresholds, reasons

CALM = Facts(
    approved="m",
    definition_hash="m",
    records=1000,
    previous=1000,
    cleared=0,
    dropped=0,
    writes=10,
    creates=0,
    levels=1000,
    level_moves=10,
)


def test_a_calm_day_needs_no_approval() -> None:
    assert reasons(CALM, Thresholds()) == []


def test_a_run_that_writes_nothing_is_never_held() -> None:
    assert reasons(replace(CALM, approved=None, writes=0, level_moves=1000, records=0), Thresholds()) == []


@pytest.mark.parametrize(
    ("facts", "limits", "reason"),
    [
        (replace(CALM, approved=None), Thresholds(), "first run"),
        (replace(CALM, approved="other"), Thresholds(), "definition changed"),
        (replace(CALM, cleared=150, dropped=51), Thresholds(), "clear or drop 201"),
        (replace(CALM, level_moves=301), Thresholds(), "another level"),
        (replace(CALM, records=499), Thresholds(), "shrank"),
        (replace(CALM, records=0), Thresholds(), "no record"),
        (replace(CALM, writes=11), Thresholds(max_writes=10), "max_writes 10"),
        (replace(CALM, creates=6), Thresholds(max_creates=5), "max_creates 5"),
    ],
)
def test_a_massive_run_is_held_with_its_reason(facts: Facts, limits: Thresholds, reason: str) -> None:
    assert any(reason in found for found in reasons(facts, limits))


@pytest.mark.parametrize(
    ("facts", "limits"),
    [
        (replace(CALM, approved=None), Thresholds(first_run=False)),
        (replace(CALM, approved="other"), Thresholds(changed_definition=False)),
        (replace(CALM, cleared=200), Thresholds()),
        (replace(CALM, level_moves=300), Thresholds()),
        (replace(CALM, records=500), Thresholds()),
        (replace(CALM, writes=10), Thresholds(max_writes=10)),
        (replace(CALM, level_moves=900), Thresholds(level_share=90)),
    ],
)
def test_each_guard_is_a_setting_and_its_limit_itself_is_allowed(facts: Facts, limits: Thresholds) -> None:
    assert reasons(facts, limits) == []
