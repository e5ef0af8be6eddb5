"""Small workspaces whose snapshots are made already, for commands that are forked."""

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from warm import Warm, warm
from warmed import MAPPING, PROFILE, Warmed
from workshop import END, workshop

from heatsync.sandbox.server import Running, running


@pytest.fixture(scope="session")
def fork() -> Iterator[Warm]:
    with warm() as started:
        yield started


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory, fork: Warm) -> Iterator[Warmed]:
    """Thirty users, one mapping, scored and never synced."""
    with running(quotas=False) as sandbox:
        folder = tmp_path_factory.mktemp("small") / "w"
        workshop(folder, sandbox, users=30, days=40)
        made = Warmed(folder, sandbox, fork=fork)
        made.only()
        made.write("mappings/hubspot-contacts.yml", MAPPING)
        made.write("mappings/profiles/health.yml", PROFILE)
        scored = made.run("score", "--date", END.isoformat())
        assert scored.code == 0, scored.err
        yield made


@pytest.fixture
def paper(small: Warmed, tmp_path: Path) -> Warmed:
    """A copy that nobody sends anything from."""
    shutil.copytree(small.folder, tmp_path / "w")
    return Warmed(tmp_path / "w", small.sandbox, fork=small.fork)


@pytest.fixture
def live(small: Warmed, tmp_path: Path, sandbox: Running) -> Warmed:
    """A copy with a sandbox of its own, in which HubSpot knows everybody."""
    shutil.copytree(small.folder, tmp_path / "w")
    with (small.folder / "data/users.csv").open(newline="", encoding="utf-8") as file:
        contacts = [
            {"id": str(n), "properties": {"email": user["email"]}}
            for n, user in enumerate(csv.DictReader(file), 101)
        ]
    sandbox.seed({"hubspot": {"contacts": contacts}})
    return Warmed(tmp_path / "w", sandbox, fork=small.fork)
