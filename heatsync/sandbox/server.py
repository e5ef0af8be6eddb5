"""The sandbox on a port of the loopback interface."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from heatsync.sandbox import app
from heatsync.sandbox.app import Sandbox

HOST = "127.0.0.1"
KEEP_ALIVE = 75
"""Seconds. Longer than a client keeps an idle connection, so that none is closed while the client uses it."""


@dataclass(frozen=True, slots=True)
class Running:
    """A sandbox that answers at `url`, and the same things without HTTP."""

    url: str
    sandbox: Sandbox

    def state(self, account: str = "default") -> dict[str, Any]:
        return self.sandbox.state(account)

    def seed(self, state: Mapping[str, Any], account: str = "default") -> None:
        self.sandbox.seed(state, account)

    def stats(self, account: str = "default") -> dict[str, Any]:
        return self.sandbox.stats(account)

    def reset_stats(self, account: str = "default") -> None:
        self.sandbox.reset_stats(account)

    def clear(self) -> None:
        """Forget every account: its records, quotas and counts."""
        self.sandbox.clear()


def _cuttable(application: ASGIApp) -> ASGIApp:
    """Let the application close a connection without an answer, which ASGI does not provide."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # `send` is a method of uvicorn's answer, which knows the connection.
        answering: Any = getattr(send, "__self__", None)
        await application({**scope, "hang_up": lambda: answering.transport.abort()}, receive, send)

    return app


def _config(application: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        _cuttable(application),
        # There is no proxy.
        proxy_headers=False,
        # The sandbox has a clock of its own.
        date_header=False,
        lifespan="off",
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=3,
    )


def _listen(port: int) -> socket.socket:
    # With the protocol named, asyncio switches Nagle's algorithm off; without it, an answer takes 40 ms longer.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((HOST, port))
        # From here on a client can connect, also before uvicorn accepts connections.
        sock.listen(128)
    except OSError:
        sock.close()
        raise
    return sock


def serve(port: int = 8100, ready: Callable[[], None] | None = None, **options: Any) -> None:
    """Serve until interrupted; `ready` is called once clients may connect. `options` are those of `app.create`.

    Raises OSError when the port is taken, ValueError for an unknown fault.
    """
    server = uvicorn.Server(_config(app.create(**options)))
    sock = _listen(port)
    if ready is not None:
        ready()
    # uvicorn shuts down in order and then interrupts once more.
    with suppress(KeyboardInterrupt):
        server.run(sockets=[sock])


@contextmanager
def running(port: int = 0, **options: Any) -> Iterator[Running]:
    """A sandbox in a thread of this process, on a free port unless one is given. It stops when the block ends."""
    application = app.create(**options)
    sock = _listen(port)
    server = uvicorn.Server(_config(application))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, name="sandbox", daemon=True)
    thread.start()
    try:
        yield Running(f"http://{HOST}:{sock.getsockname()[1]}", application.state.sandbox)
    finally:
        server.should_exit = True
        thread.join(10)
