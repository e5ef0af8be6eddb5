"""The distributed form: beat, two workers and a real Redis do what one process does."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cli_workspace import CELERY, CliWorkspace, calls, copy_workspace, create_workspace
from forked_cli import ForkedCli
from forked_workspace import ForkedWorkspace

from heatsync.sandbox.demo_data import crm
from heatsync.sandbox.server import running

PATIENCE = 200.0


def noon() -> str:
    """A time zone in which it is about noon, so that no midnight passes while a test runs."""
    return f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"


def yesterday(zone: str) -> date:
    return datetime.now(ZoneInfo(zone)).date() - timedelta(days=1)


@pytest.fixture
def workspaces(tmp_path: Path) -> Iterator[tuple[CliWorkspace, CliWorkspace]]:
    """The same workspace twice, each with a sandbox of its own; data up to yesterday."""
    from heatsync.sandbox.demo_data import product

    with running(quotas=False) as one, running(quotas=False) as two:
        first = create_workspace(tmp_path / "one", one, users=60, days=60)
        zone = noon()
        product.write(first.folder / "data", users=60, days=60, end=yesterday(zone))
        path = first.folder / "heatsync.yml"
        path.write_text(
            path.read_text()
            .replace('score: "0 5 * * *"', 'score: "* * * * *"')
            .replace("time_zone: UTC", f"time_zone: {zone}")
        )
        second = copy_workspace(first, tmp_path / "two", two)
        for workspace in (first, second):
            workspace.sandbox.seed(crm.state(workspace.folder / "data"))
        yield first, second


@contextlib.contextmanager
def processes(workspace: CliWorkspace, environ: dict[str, str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Beat and two workers; ended by their pids."""
    log = (workspace.folder / "celery.log").open("wb")
    commands = [
        ["beat", "--loglevel", "INFO"],
        ["worker", "--loglevel", "INFO", "--concurrency", "1", "--hostname", "one@test"],
        ["worker", "--loglevel", "INFO", "--concurrency", "1", "--hostname", "two@test"],
    ]
    started = [
        subprocess.Popen(
            [CELERY, "-A", "worker", *command], env=environ, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
        for command in commands
    ]
    try:
        yield started
    finally:
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        log.close()


def wait_until(
    true: Callable[[], bool], running: list[subprocess.Popen[bytes]], workspace: CliWorkspace
) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        log = (workspace.folder / "celery.log").read_text()[-6000:]
        assert all(process.poll() is None for process in running), log
        assert "raised unexpected" not in log, log
        assert time.monotonic() < until, log
        time.sleep(0.2)


@pytest.mark.parametrize("database", [pytest.param("sqlite", marks=pytest.mark.long), "postgresql"])
def test_beat_and_two_workers_leave_the_state_that_one_process_leaves(
    workspaces: tuple[CliWorkspace, CliWorkspace],
    redis_url: str,
    database: str,
    request: pytest.FixtureRequest,
    fork: ForkedCli,
) -> None:
    alone, shared = (ForkedWorkspace(each.folder, each.sandbox, fork=fork) for each in workspaces)
    done = alone.run("sync", "--yes", "--json")
    assert done.json["state"] == "done", done.err
    environ = {"HEATSYNC_BROKER": redis_url, "HEATSYNC_SWEEP_SECONDS": "1"}
    if database == "postgresql":
        environ["HEATSYNC_LEDGER"] = request.getfixturevalue("postgres_database")
    expected = alone.sandbox.state()

    def rows() -> list[Any]:
        listed: list[Any] = shared.run("runs", "--json", **environ).json
        return listed

    with processes(shared, shared.environ | environ) as running:
        mappings = len(done.json["mappings"])
        wait_until(lambda: len({row["mapping"] for row in rows()}) == mappings, running, shared)
        wait_until(lambda: all(row["state"] in ("held", "done") for row in rows()), running, shared)
        held = {row["run"] for row in rows() if row["state"] == "held"}
        assert len(held) == 1
        for run in held:  # an unattended first run waits for approval
            assert shared.run("approve", run, **environ).code in (0, 1)
        wait_until(lambda: all(row["state"] == "done" for row in rows()), running, shared)
        assert shared.sandbox.state() == expected
        shared.sandbox.reset_stats()
        quiet = shared.run("sync", "--json", **environ)
        assert quiet.code == 0
        assert calls(shared.sandbox) == 0


def test_without_a_broker_a_worker_refuses_and_says_how_to_set_one(
    workspaces: tuple[CliWorkspace, CliWorkspace],
) -> None:
    answer = subprocess.run(
        [CELERY, "-A", "worker", "worker"],
        env=workspaces[0].environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 2
    assert "HEATSYNC_BROKER" in answer.stderr
    assert "Traceback" not in answer.stderr
