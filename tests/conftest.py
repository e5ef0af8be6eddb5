"""What every test may ask for: a sandbox, a Redis, a PostgreSQL database of its own."""

import os
import signal
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import hypothesis
import pytest
import servers
from clocks import Clock
from examples import examples

if TYPE_CHECKING:
    from heatsync.sandbox.server import Running

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in the background with Ctrl-C ignored, and every process started from there inherits it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: a busy machine is not a failure. The blob that a failure prints repeats it.
hypothesis.settings.register_profile("default", deadline=None, print_blob=True, max_examples=examples(100))
hypothesis.settings.register_profile("ci", hypothesis.settings.get_profile("default"), derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    with servers.running_redis() as url:
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """A real Redis, empty."""
    import redis

    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL server: the SQLAlchemy URL of its database `postgres`."""
    with servers.running_postgres() as url:
        yield url


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """The SQLAlchemy URL of a new, empty database."""
    name = f"test_{uuid.uuid4().hex}"
    yield servers.create_database(postgres_url, name)
    servers.drop_database(postgres_url, name)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def aged(clock: Clock) -> "Iterator[Running]":
    """A sandbox in which time passes when a test says so."""
    from heatsync.sandbox.server import running

    with running(quotas=False, clock=clock) as server:
        yield server


@pytest.fixture(scope="session")
def sandbox_server() -> "Iterator[Running]":
    from heatsync.sandbox.server import running

    with running(quotas=False) as server:
        yield server


@pytest.fixture
def sandbox(sandbox_server: "Running") -> "Running":
    """The destinations, simulated, empty, without quotas."""
    sandbox_server.clear()
    return sandbox_server
