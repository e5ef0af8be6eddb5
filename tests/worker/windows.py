"""Two real workers on a real Redis, with more to deliver than a quota lets through, against the sandbox's windows."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery import Celery

from connectors.types import Change, FieldType, Kind, Match
from heatsync.ledger import PlanCounts, PlannedChange, Run, RunState
from heatsync.sandbox.server import Running, running
from heatsync.sync.context import Context
from heatsync.workspace import config

CELERY = str(Path(sys.executable).with_name("celery"))
RECORDS = 25
"""In a batch, where a batch is a call and where it is not."""


@dataclass(frozen=True, slots=True)
class Case:
    """A destination: its settings, two objects, the calls of a window as the sandbox counts them."""

    name: str
    settings: str
    objects: tuple[str, str]
    keys: tuple[str, str]
    calls: int
    seconds: float
    state: dict[str, Any]
    id: Callable[[str, int], str | None]
    field: str = "role"
    calls_per_batch: int = 1


@dataclass(frozen=True, slots=True)
class Measured:
    """`rate` is in calls per second, `peak` the most calls in any window, `refused` how many by status."""

    rate: float
    peak: int
    refused: dict[str, int]


def measure(case: Case, folder: Path, redis_url: str, seconds: float) -> Measured:
    """Let two workers deliver for so long, and see how many calls arrive."""
    batches = int((seconds + 8) * case.calls / case.seconds / case.calls_per_batch) + 10
    with running(quotas=True) as sandbox:
        sandbox.seed(case.state)
        first = _filled(case, folder, sandbox.url, batches // 2 + 1)
        environ = os.environ | {
            "HEATSYNC_WORKSPACE": str(folder),
            f"HEATSYNC_{case.name.upper()}_URL": sandbox.url,
            "BROKER": redis_url,
        }
        with Celery(broker=redis_url) as app:
            for batch in first:
                app.send_task("heatsync.deliver", [batch], queue="delivery")
        with _workers(environ, folder):
            return _watched(case, sandbox, folder, seconds)


def _watched(case: Case, sandbox: Running, folder: Path, seconds: float) -> Measured:
    def calls() -> int:
        count: int = sandbox.stats()[case.name]["calls"]
        return count

    warm = case.calls / 10 * min(1.0, 10 / case.seconds)
    until = time.monotonic() + 60
    while calls() < warm:
        assert time.monotonic() < until, (folder / "celery.log").read_text()[-4000:]
        time.sleep(0.05)
    start, before = time.monotonic(), calls()
    seen = [(start, before)]
    while time.monotonic() < start + seconds:
        time.sleep(0.1)
        seen.append((time.monotonic(), calls()))
    end, after = seen[-1]
    stats = sandbox.stats()[case.name]
    peak = stats["peak_window"]
    if stats["window_seconds"] != case.seconds:
        # The sandbox does not measure this window: the fullest one as it was sampled here.
        peak = max(n - m for i, (t, m) in enumerate(seen) for u, n in seen[i:] if u - t <= case.seconds)
    return Measured((after - before) / (end - start), peak, stats["refused"])


@contextlib.contextmanager
def _workers(environ: dict[str, str], folder: Path) -> Iterator[None]:
    with (folder / "celery.log").open("wb") as log:
        command = [CELERY, "-A", "worker", "worker", "--concurrency", "1", "--loglevel", "INFO"]
        started = [
            subprocess.Popen(
                [*command, "--hostname", f"{name}@test"],
                env=environ,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
            for name in ("one", "two")
        ]
        try:
            yield
        finally:
            for process in started:
                # Killed at once: their work is of no further use, and a killed worker does no harm to the ledger.
                process.kill()
                process.wait()


def _filled(case: Case, folder: Path, url: str, batches: int) -> list[str]:
    """A workspace with a released run for each object; returns a batch of each."""
    (folder / "mappings/profiles").mkdir(parents=True)
    (folder / "heatsync.yml").write_text(
        "version: 1\nsource:\n  events: [{table: e.parquet}]\n  users: {table: u.csv}\n  accounts: {table: a.csv}\n"
        f"broker: ${{BROKER:-none}}\ndestinations:\n  {case.name}: {case.settings}\n"
    )
    (folder / "mappings/profiles/health.yml").write_text(
        "version: 1\nname: Health\nmodel: weighted\nevents: [{event: E, weight: 1}]\n"
    )
    for object in case.objects:
        (folder / f"mappings/{object}.yml").write_text(
            f"version: 1\ndestination: {case.name}\nobject: {object}\nprofile: health\nfields: {{{case.field}: score}}\n"
        )
    with Context(config.load(folder), environ={f"HEATSYNC_{case.name.upper()}_URL": url}) as context:
        return [_run(case, context, object, batches) for object in case.objects]


def _run(case: Case, context: Context, object: str, batches: int) -> str:
    account = context.open(context.mappings[object]).bound.account
    run = Run(
        run="r", mapping=object, destination=case.name, object=object, account=account, label="", as_of="2026-11-21",
        definition_hash="m", state=RunState.HELD, cause="", planned=PlanCounts(), calls=0, seconds=0.0, created_at=time.time(), ended_at=None,
    )  # fmt: skip
    context.ledger.save_run(run)
    types = {case.field: FieldType.TEXT}
    batches_added = [
        context.ledger.add_batch(run, n, _planned(case, object, n), types) for n in range(batches)
    ]
    assert context.ledger.release(run)
    return batches_added[0]


def _planned(case: Case, object: str, batch: int) -> list[PlannedChange]:
    """Changes of the same few records, by their ids; each batch is of other records of ours."""
    first = object == case.objects[0]
    return [
        PlannedChange(
            Change(
                Kind.CHANGED,
                f"{object}{batch}-{n}",
                (Match(case.keys[0 if first else 1], f"k{batch}-{n}"),),
                {case.field: f"role{batch}"},
                remote_id=case.id(object, n),
                via=None if first else "u1",
            ),
            batch,
            None,
        )
        for n in range(RECORDS)
    ]
