"""The sandbox on a port: it starts, serves many clients at once, and stops without a trace."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from heatsync.sandbox.server import running

ANYONE = {"Authorization": "Bearer x"}


def test_the_sandbox_stops_when_the_block_ends():
    before = threading.active_count()
    with running() as server, requests.Session() as http:
        assert http.get(f"{server.url}/me", headers=ANYONE, timeout=5).status_code == 200
        assert server.url.startswith("http://127.0.0.1:")
    assert threading.active_count() == before
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{server.url}/me", timeout=5)


def test_the_sandbox_can_stop_before_the_first_call():
    with running() as server:
        assert server.url


def test_two_sandboxes_do_not_share_anything():
    with running(state={"segment": {"users": {"u": {}}}}) as one, running() as two:
        assert one.url != two.url
        assert one.state()["segment"]["users"] == {"u": {}}
        assert two.state()["segment"]["users"] == {}


def test_a_port_that_is_taken_is_an_error():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"), running(port=taken.getsockname()[1]):
            pass


def test_a_named_port_is_used():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with running(port=port) as server:
        assert server.url == f"http://127.0.0.1:{port}"


def test_latency_is_added_to_calls_but_not_to_state():
    with running(latency_ms=60) as server, requests.Session() as http:
        http.get(f"{server.url}/_stats", timeout=5)
        started = time.monotonic()
        http.get(f"{server.url}/me", headers=ANYONE, timeout=5)
        assert time.monotonic() - started >= 0.06


def test_many_writers_at_once_lose_nothing():
    with running(quotas=False) as server, requests.Session() as http:

        def write(number):
            body = {"external_id": f"u{number}"}
            return http.post(f"{server.url}/contacts", json=body, headers=ANYONE, timeout=10).status_code

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(write, range(200))) == {200}
        contacts = server.state()["intercom"]["contacts"]
        assert (
            len({each["id"] for each in contacts}) == len({each["external_id"] for each in contacts}) == 200
        )
        assert server.stats()["intercom"]["calls"] == 200


def test_the_running_object_can_seed_and_forget():
    with running() as server, requests.Session() as http:
        server.seed({"intercom": {"contacts": [{"external_id": "u1"}]}})
        http.get(f"{server.url}/contacts/find_by_external_id/u1", headers=ANYONE, timeout=5)
        assert server.stats()["intercom"]["endpoints"]["GET contacts/find_by_external_id/{id}"]["calls"] == 1
        server.reset_stats()
        assert server.stats()["intercom"]["calls"] == 0


def test_a_large_seed_is_found_through_an_index():
    people = [{"id": str(i), "properties": {"email": f"u{i}@example.com"}} for i in range(1, 50_001)]
    with running(quotas=False, state={"hubspot": {"contacts": people}}) as server, requests.Session() as http:
        body = {
            "idProperty": "email",
            "properties": ["email"],
            "propertiesWithHistory": [],
            "inputs": [{"id": f"u{i * 499}@example.com"} for i in range(1, 101)],
        }
        path = f"{server.url}/crm/v3/objects/contacts/batch/read"
        http.post(path, json=body, headers=ANYONE, timeout=10)
        started = time.monotonic()
        for _ in range(20):
            answer = http.post(path, json=body, headers=ANYONE, timeout=10)
        assert len(answer.json()["results"]) == 100
        # A scan of every record would take about a second per call.
        assert time.monotonic() - started < 5
