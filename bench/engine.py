"""Render and diff: records per second and peak memory, each size in a process of its own.

Three mornings are timed for a mapping of ten fields to HubSpot contacts: the first (everything is new), a quiet one
(one user in a hundred changed) and a worst case (every field of every record is compared, because the mapping's
definition changed). The ledger is a real SQLite file.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from connectors.types import Match
from heatsync.ledger import BoundMapping, Ledger, PlannedChange, Record, Standing, StandingState
from heatsync.sync.compare import candidates, diff
from heatsync.sync.compare.candidates import Standings
from heatsync.sync.compare.relations import open_relations
from heatsync.sync.compare.types import Scope
from heatsync.sync.mapping import files as mapping_files
from heatsync.sync.mapping import query
from heatsync.sync.plan import MEMORY, recall, shape
from heatsync.workspace import config

DAY = date(2026, 1, 31)
SIZES = (10_000, 100_000, 1_000_000)
MAPPING = """\
version: 1
destination: hubspot
object: contacts
profile: health
match: {email: email}
fields:
  heatsync_score: score
  heatsync_level: level
  heatsync_trend: trend
  heatsync_activation: activation
  heatsync_recent: adoption_recent
  heatsync_ever: adoption_ever
  heatsync_frequency: frequency
  heatsync_active: last_active
  heatsync_day: {from: last_active, as: date}
  heatsync_name: user.name
"""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, help="measure this size in this process, and print JSON")
    chosen = parser.parse_args(arguments)
    if chosen.records:
        print(json.dumps(measure(chosen.records)))
        return
    print(f"{'records':>10} {'morning':<22} {'seconds':>8} {'records/s':>12} {'changes':>9} {'peak MiB':>9}")
    for size in SIZES:
        results = subprocess.run(
            [sys.executable, "-m", "bench.engine", "--records", str(size)],
            check=True,
            capture_output=True,
            text=True,
        )
        for row in json.loads(results.stdout):
            rate = size / row["seconds"]
            print(
                f"{size:>10} {row['morning']:<22} {row['seconds']:>8.2f} {rate:>12,.0f} {row['changes']:>9}"
                f" {row['peak']:>9.0f}"
            )


def measure(records: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        of = _workspace(home, records)
        mapping = mapping_files.load(of)["contacts"]
        bound = BoundMapping("contacts", "hubspot:1", "contacts")
        ledger = Ledger(f"sqlite:///{home}/ledger.db")

        def morning(scope: Scope, then: Callable[[Iterator[PlannedChange]], int]) -> tuple[float, int]:
            started = time.perf_counter()
            with open_relations(home / "tmp", MEMORY) as relations:
                built = query.build_query(mapping, of, relations.connection, DAY)
                desired = candidates.materialise(relations, shape(mapping, built), built.sql)
                standings = Standings(
                    ledger.settled_standings(bound), ledger.unsettled_standings(bound), time.time()
                )
                known = recall(candidates.select(desired, standings, scope), ledger, bound)
                found = diff.compare(known.unresolved(), create=True)
                seconds = time.perf_counter() - started
                changes = then(found.writes())
            return seconds, changes

        def peak() -> float:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

        def deliver(rows: Iterator[PlannedChange]) -> int:
            count = 0
            chunk: list[PlannedChange] = []
            for row in rows:
                chunk.append(row)
                count += 1
                if len(chunk) == 5_000:
                    _delivered(ledger, bound, chunk)
                    chunk = []
            _delivered(ledger, bound, chunk)
            return count

        def drain(rows: Iterator[PlannedChange]) -> int:
            return sum(1 for _ in rows)

        results = []
        seconds, changes = morning(Scope(), deliver)
        results.append({"morning": "first", "seconds": seconds, "changes": changes, "peak": peak()})
        write_snapshot(of, records, changed=True)
        seconds, changes = morning(Scope(), drain)
        results.append({"morning": "1 % changed", "seconds": seconds, "changes": changes, "peak": peak()})
        seconds, changes = morning(Scope(everything=True), drain)
        results.append(
            {"morning": "every field compared", "seconds": seconds, "changes": changes, "peak": peak()}
        )
        ledger.close()
        return results


def _delivered(ledger: Ledger, bound: BoundMapping, rows: list[PlannedChange]) -> None:
    """What a delivery would leave in the ledger."""
    ledger.remember_records(
        bound,
        (Record(r.change.key, f"r{r.change.key}", _first(r.change.match), r.change.fields, 1) for r in rows),
    )
    ledger.save_standings(
        bound, (Standing(r.change.key, r.digest, StandingState.SETTLED, r.level) for r in rows)
    )


def _first(match: tuple[Match, ...]) -> str | None:
    return match[0].value if match else None


def _workspace(home: Path, records: int) -> config.Workspace:
    (home / "mappings/profiles").mkdir(parents=True)
    (home / "tmp").mkdir()
    (home / "heatsync.yml").write_text(
        "version: 1\nsource:\n  events: [{table: events.parquet}]\n  users: {table: users.csv}\n"
        "destinations:\n  hubspot: {token: '${HUBSPOT_TOKEN:-bench}'}\n"
    )
    (home / "mappings/profiles/health.yml").write_text(
        "version: 1\nname: Health\nmodel: weighted\nevents:\n"
        + "".join(f"  - {{event: E{n}, weight: {n}}}\n" for n in range(1, 7))
    )
    (home / "mappings/contacts.yml").write_text(MAPPING)
    of = config.load(home)
    write_snapshot(of, records, changed=False)
    return of


def write_snapshot(of: config.Workspace, records: int, changed: bool) -> None:
    snapshot, traits = of.snapshot_path("health", "user", DAY), of.traits_path("user", DAY)
    snapshot.parent.mkdir(parents=True, exist_ok=True)
    traits.parent.mkdir(parents=True, exist_ok=True)
    bump = "CASE WHEN i % 100 = 7 THEN 1 ELSE 0 END" if changed else "0"
    with duckdb.connect(":memory:", config={"memory_limit": MEMORY}) as con:
        con.execute(
            f"COPY (SELECT 'u' || i AS user_id, (i * 7919 % 100) + {bump} AS score, ['Passive'] AS segments,"
            " (i % 101)::DOUBLE AS activation, (i % 97)::DOUBLE AS adoption_recent, (i % 89)::DOUBLE AS adoption_ever,"
            " TIMESTAMP '2026-01-01' + INTERVAL (i % 2000000) SECOND AS last_active, i % 8 AS frequency,"
            " ['Low', 'Medium', 'High', 'Very High'][1 + i % 4] AS level, NULL::VARCHAR AS level_previous,"
            " NULL::DATE AS level_changed_on, ['Neutral', 'Heating'][1 + i % 2] AS trend, 0 AS score_change,"
            " 0 AS score_change_window, 10 AS tenure_days, 50.0 AS benchmark, 'E1' AS drivers, ['passive'] AS audiences"
            f" FROM range({records}) t(i)) TO '{snapshot}' (FORMAT parquet)"
        )
        con.execute(
            "COPY (SELECT 'u' || i AS user_id, 'person' || i || '@example.com' AS email, 'Person ' || i AS name"
            f" FROM range({records}) t(i)) TO '{traits}' (FORMAT parquet)"
        )


if __name__ == "__main__":
    main()
