"""Deliveries into the sandbox beside a bare `requests` loop that makes the same calls.

The sandbox runs in a process of its own, without quotas; every record exists at the destination and every one changes. What is
timed is the delivery alone, from the released batches to the settled ledger. The last line is about the time by the
clock, with 80 ms added to each call.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from bench import bare
from bench.engine import DAY, write_snapshot
from connectors.types import Batch, Change, Kind, Match, Status
from heatsync.sync import run as sync_run
from heatsync.sync.context import Context, no_progress
from heatsync.sync.mapping.model import Mapping
from heatsync.sync.plan import PlanRequest
from heatsync.sync.run_batches import deliver_mapping
from heatsync.workspace import config

SIZES = {"hubspot": 10_000, "salesforce": 10_000, "segment": 10_000, "intercom": 2_000}
OBJECTS = {
    "hubspot": "object: contacts\nmatch: {email: email}\ncreate_fields: true",
    "salesforce": "object: Contact\nmatch: {Email: email}",
    "segment": "object: users",
    "intercom": "object: contacts\nmatch: {email: email}\ncreate_fields: true",
}
SETTINGS = {
    "hubspot": "{token: bench, requests_per_10s: 1000000}",
    "intercom": "{token: bench, requests_per_10s: 1000000}",
    "segment": "{write_key: bench, requests_per_10s: 1000000}",
    "salesforce": "{domain: bench.my, consumer_key: bench, consumer_secret: bench, requests_per_10s: 1000000}",
}
IDENTITY: dict[str, tuple[tuple[str, str], Callable[[int], str | None]]] = {
    "hubspot": (("email", "person{}@example.com"), lambda n: str(n + 1)),
    "intercom": (("email", "person{}@example.com"), lambda n: f"i{n}"),
    "segment": (("userId", "u{}"), lambda _: None),
    "salesforce": (("Email", "person{}@example.com"), lambda n: f"003{n:012d}AAA"),
}
"""By destination: how a record is matched, and its id at the destination."""
FIELDS = "{Heatsync_Score__c: score, Heatsync_Level__c: level, Heatsync_Trend__c: trend}"


def main(arguments: list[str] | None = None) -> None:
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        print(
            "Processor seconds per 1,000 records: all of a delivery, its connector alone, the bare loop (goal: 2x)"
        )
        print(f"{'destination':<12}{'records':>8}{'seconds':>9}{'records/s':>11}{'calls':>7}", end="")
        print(f"{'delivery':>10}{'connector':>11}{'bare':>8}{'ratios':>14}")
        with _sandbox() as url:
            for name, size in SIZES.items():
                _print(name, size, _measure(Path(folder) / name, url, name, size))
        with _sandbox(latency_ms=80) as url:
            ours = _measure(Path(folder) / "far", url, "hubspot", SIZES["hubspot"], connector=False)
            rows = _rows("hubspot", SIZES["hubspot"], "bare")
            started = time.perf_counter()
            bare.deliver("hubspot", url, rows, threads=8)
            theirs = time.perf_counter() - started
        print(
            f"\nHubSpot, {SIZES['hubspot']:,} updates at 80 ms: {ours.seconds:.2f} s; a bare client of eight threads"
            f" {theirs:.2f} s; {ours.seconds / theirs:.2f}x (goal: 1.2x)"
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """`seconds` of the delivery by the clock, the others of the processor."""

    seconds: float
    calls: int
    delivery: float
    connector: float
    bare: float


def _print(name: str, size: int, of: Measured) -> None:
    each = [seconds * 1000 / size for seconds in (of.delivery, of.connector, of.bare)]
    print(f"{name:<12}{size:>8}{of.seconds:>9.2f}{size / of.seconds:>11,.0f}{of.calls:>7}", end="")
    print(f"{each[0]:>10.3f}{each[1]:>11.3f}{each[2]:>8.3f}", end="")
    print(f"{each[0] / each[2]:>7.1f}{each[1] / each[2]:>6.1f}x", flush=True)


@contextmanager
def _sandbox(latency_ms: int = 0) -> Iterator[str]:
    port = _free_port()
    serve = f"from sandbox import server; server.serve({port}, quotas=False, latency_ms={latency_ms})"
    server = subprocess.Popen([sys.executable, "-c", serve])
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _measure(home: Path, url: str, name: str, size: int, connector: bool = True) -> Measured:
    fields = FIELDS if name == "salesforce" else FIELDS.lower().replace("__c", "")
    (home / "mappings/profiles").mkdir(parents=True)
    (home / "heatsync.yml").write_text(
        "version: 1\nsource:\n  events: [{table: events.parquet}]\n  users: {table: users.csv}\n"
        f"destinations:\n  {name}: {SETTINGS[name]}\n"
    )
    (home / "mappings/profiles/health.yml").write_text(
        "version: 1\nname: Health\nmodel: weighted\nevents:\n"
        + "".join(f"  - {{event: E{n}, weight: {n}}}\n" for n in range(1, 7))
    )
    (home / "mappings/people.yml").write_text(
        f"version: 1\ndestination: {name}\nprofile: health\n{OBJECTS[name]}\nfields: {fields}\n"
    )
    of = config.load(home)
    write_snapshot(of, size, changed=False)
    _until_it_answers(url)
    requests.put(f"{url}/_state", json=_state(size), timeout=600).raise_for_status()
    with Context(of, environ=os.environ | {f"HEATSYNC_{name.upper()}_URL": url}) as context:
        mapping = context.mappings["people"]
        plan = sync_run.plan(context, PlanRequest(mapping, "bench", DAY), no_progress)
        context.ledger.release(plan.run)
        before = requests.get(f"{url}/_stats", timeout=60).json()[name]["calls"]
        started, busy = time.perf_counter(), time.process_time()
        error = deliver_mapping(context, "bench", mapping)
        seconds, delivery = time.perf_counter() - started, time.process_time() - busy
        if error is not None:
            raise error
        calls = requests.get(f"{url}/_stats", timeout=60).json()[name]["calls"] - before
        (answer,) = sync_run.mapping_answers(context, "bench")
        assert answer["outcomes"]["delivered"] == size, answer
        if not connector:
            return Measured(seconds, calls, delivery, 0.0, 0.0)
        pushed = _pushed(context, mapping, name, size)
    busy = time.process_time()
    assert bare.deliver(name, url, _rows(name, size, "bare")) in range(calls - 10, calls + 1)
    return Measured(seconds, calls, delivery, pushed, time.process_time() - busy)


def _pushed(context: Context, mapping: Mapping, name: str, size: int) -> float:
    """Processor seconds of the connector alone: the same changes, without ledger and runs."""
    opened = context.open(mapping)
    match, id = IDENTITY[name]
    changes = [
        Change(Kind.CHANGED, f"u{n}", (Match(match[0], match[1].format(n)),), values, remote_id=id(n))
        for n, values in _rows(name, size, "again")
    ]
    busy = time.process_time()
    for start in range(0, size, opened.limits.push_size):
        part = tuple(changes[start : start + opened.limits.push_size])
        outcomes = list(opened.destination.push(Batch(f"b{start}", name, mapping.object, part)))
        assert all(outcome.status is Status.DELIVERED for outcome in outcomes)
    return time.process_time() - busy


def _rows(name: str, size: int, word: str) -> list[tuple[int, dict[str, Any]]]:
    """What a bare script has at hand: a number and the fields of each record."""
    fields = ["Heatsync_Score__c", "Heatsync_Level__c", "Heatsync_Trend__c"]
    if name != "salesforce":
        fields = [field.lower().replace("__c", "") for field in fields]
    return [(n, dict(zip(fields, (n % 101, f"{word}{n % 4}", "Growing"), strict=True))) for n in range(size)]


def _state(size: int) -> dict[str, Any]:
    text = {"type": "string", "length": 255}
    names = ("Heatsync_Score__c", "Heatsync_Level__c", "Heatsync_Trend__c")
    return {
        "hubspot": {
            "contacts": [
                {"id": str(n + 1), "properties": {"email": f"person{n}@example.com"}} for n in range(size)
            ]
        },
        "intercom": {
            "contacts": [
                {
                    "id": f"i{n}",
                    "external_id": f"u{n}",
                    "email": f"person{n}@example.com",
                    "custom_attributes": {},
                }
                for n in range(size)
            ]
        },
        "salesforce": {
            "Contact": [
                {"Id": f"003{n:012d}AAA", "LastName": "x", "Email": f"person{n}@example.com"}
                for n in range(size)
            ]
        },
        "fields": {"salesforce": {"Contact": dict.fromkeys(names, text) | {names[0]: {"type": "double"}}}},
    }


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _until_it_answers(url: str) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            requests.get(f"{url}/_stats", timeout=5)
            return
        except requests.ConnectionError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


if __name__ == "__main__":
    main()
