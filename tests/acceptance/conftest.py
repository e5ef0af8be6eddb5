"""Small workspaces whose snapshots are made already, for commands that are forked."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_workspace import END, create_workspace
from forked_cli import ForkedCli, forked_cli
from forked_workspace import MAPPING, PROFILE, ForkedWorkspace

from heatsync.sandbox.server import Running, running


@pytest.fixture(scope="session")
def fork() -> Iterator[ForkedCli]:
    with forked_cli() as started:
        yield started


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory, fork: ForkedCli) -> Iterator[ForkedWorkspace]:
    """Thirty users, one mapping, scored and never synced."""
    with running(quotas=False) as sandbox:
        folder = tmp_path_factory.mktemp("small") / "w"
        create_workspace(folder, sandbox, users=30, days=40)
        created = ForkedWorkspace(folder, sandbox, fork=fork)
        created.only()
        created.write("mappings/hubspot-contacts.yml", MAPPING)
        created.write("mappings/profiles/health.yml", PROFILE)
        scored = created.run("score", "--date", END.isoformat())
        assert scored.code == 0, scored.err
        yield created


@pytest.fixture
def paper(small: ForkedWorkspace, tmp_path: Path) -> ForkedWorkspace:
    """A copy that nothing is sent from."""
    return small.copy(tmp_path / "w")


@pytest.fixture
def live(small: ForkedWorkspace, tmp_path: Path, sandbox: Running) -> ForkedWorkspace:
    """A copy with a sandbox of its own, in which HubSpot has a contact for every user."""
    with (small.folder / "data/users.csv").open(newline="", encoding="utf-8") as file:
        contacts = [
            {"id": str(n), "properties": {"email": user["email"]}}
            for n, user in enumerate(csv.DictReader(file), 101)
        ]
    sandbox.seed({"hubspot": {"contacts": contacts}})
    return small.copy(tmp_path / "w", sandbox)
