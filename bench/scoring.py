"""Scoring: the first run, the next day's, and the same snapshot by hand in DuckDB's SQL.

Each run is a process of its own, and they take turns. The first run starts from an empty state folder: it counts the
log, and computes the benchmarks and scores of the thirty days before. By hand the same files are read, and the same
snapshot is written (bench.handwritten); that the two are equal, row by row and column by column, is checked every
time. Seconds are those of the work itself, without starting Python.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import duckdb

from bench import handwritten, product_log
from heatsync.snapshots import run as snapshot_run
from heatsync.source.tables import MEMORY
from heatsync.workspace import config

SIZES = (2_000_000, 20_000_000)
REPEAT = 3
DAY = product_log.LAST - timedelta(days=1)
"""The day that is scored first; the log has one more."""
RUNS = ("full", "by hand", "next day")
RATIO, NEXT, PEAK = 1.2, 0.1, 4096
"""Goals: the first run to that by hand, the next day's to the first, and MiB."""


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds by the clock, seconds of all processors, and the most memory that the process had, in MiB."""

    seconds: float
    processors: float
    peak: float
    steps: Mapping[str, tuple[float, float]]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="how many events")
    parser.add_argument("--repeat", type=int, default=REPEAT, help="how often; the quickest counts")
    parser.add_argument("--steps", action="store_true", help="show what each step takes by hand")
    parser.add_argument("--run", choices=RUNS, help="do this in this process, and print JSON")
    parser.add_argument("--folder", type=Path, help="the folder that --sizes created, for --run")
    chosen = parser.parse_args(arguments)
    if chosen.run:
        print(json.dumps(asdict(run(chosen.run, chosen.folder))))
        return
    print(f"{'events':>10} {'run':<10} {'seconds':>8} {'processors':>11} {'peak MiB':>9}")
    best = {size: _measure(size, chosen.repeat, chosen.steps) for size in chosen.sizes}
    for size, runs in best.items():
        full, by_hand, following = (runs[name] for name in RUNS)
        print(
            f"\n{size:,} events: the first run takes {full.seconds / by_hand.seconds:.2f} times as long as by hand"
            f" (goal: at most {RATIO}), of processors {full.processors / by_hand.processors:.2f} times;\nthe next day"
            f" {following.seconds / full.seconds:.2f} of the first run (goal: at most {NEXT}), of processors"
            f" {following.processors / full.processors:.2f}; peak {max(full.peak, following.peak):,.0f} MiB"
            f" (goal: under {PEAK:,})"
        )
    small, large = min(best), max(best)
    if small != large:
        grown = ", ".join(
            f"{name} {best[large][name].seconds / best[small][name].seconds:.1f} times the seconds"
            f" and {best[large][name].peak / best[small][name].peak:.1f} times the memory"
            for name in RUNS
        )
        print(f"\nFrom {small:,} to {large:,} events ({large / small:.0f} times): {grown}")


def prepare(folder: Path, events: int) -> product_log.ProductLog:
    """A workspace with a log of so many events."""
    workspace = product_log.write(folder, events)
    (folder / "mappings/profiles").mkdir(parents=True)
    (folder / "heatsync.yml").write_text(
        "version: 1\nsource:\n"
        + "".join(
            f"  {name}: {{table: {name}.parquet, time_zone: UTC}}\n"
            for name in ("events", "users", "accounts")
        )
    )
    (folder / "mappings/profiles/health.yml").write_text(handwritten.PROFILE)
    return workspace


def run(name: str, folder: Path) -> Run:
    """One of the three, in this process."""
    steps: Mapping[str, tuple[float, float]] = {}
    workspace = config.load(folder)
    clock, processors = time.perf_counter(), time.process_time()
    if name == "by hand":
        steps = handwritten.write(folder, DAY, MEMORY)
    else:
        snapshot_run.score(workspace, [DAY if name == "full" else product_log.LAST])
    seconds, used = time.perf_counter() - clock, time.process_time() - processors
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return Run(seconds, used, max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024, steps)


def differing(folder: Path) -> dict[str, tuple[int, int]]:
    """The rows of users and accounts, and how many of them differ or are in another place."""
    workspace = config.load(folder)
    found = {}
    for entity in ("user", "account"):
        ours, theirs = workspace.snapshot_path("health", entity, DAY), handwritten.path(folder, entity)
        with duckdb.connect(":memory:") as con:
            # Rows are compared whole: a column that only one of them has makes every row another one.
            row = con.execute(
                "SELECT count(*), count(*) FILTER (a.row IS DISTINCT FROM b.row)"
                f" FROM (SELECT file_row_number AS place, a AS row FROM read_parquet('{ours}', file_row_number = true) a) a"
                f" FULL JOIN (SELECT file_row_number AS place, b AS row FROM read_parquet('{theirs}', file_row_number = true) b) b"
                " USING (place)"
            ).fetchone()
        assert row is not None
        found[entity] = (row[0], row[1])
    return found


def _measure(size: int, repeat: int, steps: bool) -> dict[str, Run]:
    """The quickest run of each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, size)
        done: dict[str, list[Run]] = {each: [] for each in RUNS}
        for _ in range(repeat):
            shutil.rmtree(folder / ".heatsync", ignore_errors=True)
            for each in RUNS:
                done[each].append(_apart(each, folder))
                if each == "by hand":
                    _check(differing(folder))
        rows = differing(folder)
    best = {each: min(runs, key=lambda run: run.seconds) for each, runs in done.items()}
    for each, quickest in best.items():
        print(
            f"{size:>10} {each:<10} {quickest.seconds:>8.2f} {quickest.processors:>11.2f} {quickest.peak:>9.0f}"
        )
    compared = " and ".join(f"{count:,} {entity}s" for entity, (count, _) in rows.items())
    print(f"{'':>10} {sum(other for _, other in rows.values())} rows of {compared} differ")
    if steps:
        _show(best["by hand"].steps)
    return best


def _apart(name: str, folder: Path) -> Run:
    """In a process of its own."""
    answer = subprocess.run(
        [sys.executable, "-m", "bench.scoring", "--run", name, "--folder", str(folder)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Run(**json.loads(answer.stdout))


def _check(rows: Mapping[str, tuple[int, int]]) -> None:
    """A ratio of different results means nothing."""
    for entity, (count, other) in rows.items():
        if other:
            sys.exit(f"{other} of {count} {entity}s differ between heatsync and the SQL by hand")


def _show(steps: Mapping[str, Iterable[float]]) -> None:
    for step, (seconds, processors) in steps.items():
        print(f"{'':>13}{step:<22} {seconds:>5.2f} {processors:>11.2f}")


if __name__ == "__main__":
    main()
