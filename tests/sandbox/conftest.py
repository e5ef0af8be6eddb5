"""One sandbox for all tests of this room; every test uses its own account."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
import requests

from heatsync.sandbox.server import Running, running

_numbers = count(1)


class Client:
    """Raw HTTP to the sandbox, as one account."""

    def __init__(self, server: Running, account: str) -> None:
        self.server, self.account, self.url = server, account, server.url
        self.token = f"{account}:token"
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Bearer {self.token}"

    def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> requests.Response:
        return self.http.request(method, self.url + path, json=body, timeout=10, **more)

    def seed(self, **state: Any) -> None:
        self.server.seed(state, self.account)

    def state(self, vendor: str) -> Any:
        return self.server.state(self.account)[vendor]

    def stats(self, vendor: str) -> Any:
        return self.server.stats(self.account)[vendor]


@pytest.fixture(scope="session")
def server() -> Iterator[Running]:
    with running(quotas=False) as started:
        yield started


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    client = Client(server, f"account{next(_numbers)}")
    with client.http:
        yield client
