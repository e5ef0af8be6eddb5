"""One sandbox for all tests of this room; every test finds it as if it had just been started."""

from collections.abc import Iterator

import pytest

from heatsync.sandbox.server import Running, running


@pytest.fixture(scope="session")
def started() -> Iterator[Running]:
    with running(quotas=False) as server:
        yield server


@pytest.fixture
def sandbox(started: Running) -> Running:
    started.clear()
    return started
