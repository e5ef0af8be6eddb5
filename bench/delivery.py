"""Deliveries per second into the sandbox: planned batches in a real ledger, pushed and settled.

The sandbox runs in a process of its own, without quotas and latency; every record exists over there and every
one changes. What is timed is the delivery alone, from the released batches to the settled ledger.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import requests

from bench.engine import DAY, write_snapshot
from sync import planning, story, workspace
from sync.diff import Scope
from sync.house import House

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
FIELDS = "{Heatsync_Score__c: score, Heatsync_Level__c: level, Heatsync_Trend__c: trend}"


def main(arguments: list[str] | None = None) -> None:
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    print(f"{'destination':<12} {'records':>8} {'seconds':>8} {'records/s':>10} {'calls':>7}")
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        server = subprocess.Popen(
            [sys.executable, "-c", f"from sandbox import server; server.serve({port}, quotas=False)"]
        )
        try:
            for name, size in SIZES.items():
                _measure(Path(folder) / name, f"http://127.0.0.1:{port}", name, size)
        finally:
            server.terminate()
            server.wait()


def _measure(home: Path, url: str, name: str, size: int) -> None:
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
    of = workspace.load(home)
    write_snapshot(of, size, changed=False)
    _until_it_answers(url)
    requests.put(f"{url}/_state", json=_state(size), timeout=600).raise_for_status()
    with House(of, environ=os.environ | {f"HEATSYNC_{name.upper()}_URL": url}) as house:
        mapping = house.mappings["people"]
        plan = planning.plan(house, mapping, "bench", DAY, Scope(), story.silent)
        house.ledger.release(plan.run)
        started = time.perf_counter()
        error = story.deliver_run(house, "bench", mapping)
        seconds = time.perf_counter() - started
        if error is not None:
            raise error
        (answer,) = story.answer(house, "bench")
        delivered = answer["outcomes"]["delivered"]
        assert delivered == size, answer
    print(f"{name:<12} {delivered:>8} {seconds:>8.2f} {delivered / seconds:>10,.0f} {answer['calls']:>7}")


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
