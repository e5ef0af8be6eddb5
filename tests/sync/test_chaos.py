"""Whatever goes wrong, in the end every record is as desired, and nothing was done twice."""

import os
from pathlib import Path

import pytest
from chaos_runs import CASES, IN_FILES, TAGGED, run_under_faults, tagged

from heatsync.sandbox.faults import ALL, Faults, kinds

KINDS = kinds()
RUNS = int(os.environ.get("HEATSYNC_CHAOS_RUNS", "0"))
"""How many long runs of everything at once; `make test-chaos` makes 200. Without it there are a few short ones."""
FEWER = RUNS // 10 or 1
"""Runs of what only some of the mappings do."""
OF_RECORDS = {"refused": 0.04, "named": 0.02, "unnamed": 0.02, "row": 0.05, "stale": 0.3}


@pytest.mark.parametrize("kind", KINDS)
def test_under_one_fault_everything_that_can_be_accepted_arrives(kind: str, tmp_path: Path) -> None:
    faults = Faults({kind: 0.3 if RUNS else 0.2}, seed=1, slow=0.01)
    struck = [case for case in CASES if case.vendor in KINDS[kind].vendors]
    chosen = struck if RUNS or len(struck) < 3 else struck[list(KINDS).index(kind) % 2 :: 2]
    run_under_faults(tmp_path / "w", faults, chosen, seed=1, days=3 if RUNS else 1, people=12 if RUNS else 6)


@pytest.mark.parametrize("seed", range(RUNS or 2))
def test_under_all_faults_everything_that_can_be_accepted_arrives(seed: int, tmp_path: Path) -> None:
    faults = Faults({ALL: 0.3, **OF_RECORDS}, seed=seed, slow=0.01)
    print(f"seed {seed}: {dict(faults.rates)}")
    run_under_faults(
        tmp_path / "w", faults, CASES if RUNS else CASES[seed % 2 :: 2], seed=seed, days=3 if RUNS else 2
    )


@pytest.mark.parametrize("seed", range(2))
def test_a_company_that_no_search_shows_yet_is_not_created_twice(seed: int, tmp_path: Path) -> None:
    faults = Faults({"lost": 0.4, "stale": 1.0}, seed=seed)
    companies = [case for case in CASES if case.name == "hs-companies"]
    run_under_faults(tmp_path / "w", faults, companies, seed=seed, days=2)


@pytest.mark.parametrize("object", TAGGED)
@pytest.mark.parametrize("seed", range(FEWER))
def test_under_all_faults_every_record_has_the_tags_of_its_audiences(
    seed: int, object: str, tmp_path: Path
) -> None:
    faults = Faults({ALL: 0.3, **OF_RECORDS}, seed=seed, slow=0.01)
    tagged(tmp_path / "w", faults, object, seed=seed, days=3 if RUNS else 2, people=12)


@pytest.mark.parametrize("kind", [kind for kind, each in KINDS.items() if "salesforce" in each.vendors])
def test_under_one_fault_changes_in_files_arrive(kind: str, tmp_path: Path) -> None:
    faults = Faults({kind: 0.3 if RUNS else 0.2}, seed=2, slow=0.01)
    accounts = [case for case in CASES if case.vendor == "salesforce"]
    run_under_faults(
        tmp_path / "w", faults, accounts, seed=2, days=3 if RUNS else 1, people=24, scene=IN_FILES
    )


@pytest.mark.parametrize("seed", range(FEWER))
def test_under_all_faults_changes_in_files_arrive(seed: int, tmp_path: Path) -> None:
    faults = Faults({ALL: 0.3, **OF_RECORDS}, seed=seed, slow=0.01)
    accounts = [case for case in CASES if case.vendor == "salesforce"]
    run_under_faults(tmp_path / "w", faults, accounts, seed=seed, days=3, people=24, scene=IN_FILES)
