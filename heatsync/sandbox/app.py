"""The simulated vendors as one ASGI application.

Every call goes the same way: it is read, delayed, attributed to an account, admitted by its quota, answered by the
vendor, and counted. Only the vendor's part differs.
"""

import asyncio
import json
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from email.utils import formatdate
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as Path

from heatsync.sandbox import quotas
from heatsync.sandbox.calls import Call, Handler, Refusal, Reply, Route, Unreadable
from heatsync.sandbox.faults import Faults, parse
from heatsync.sandbox.quotas import Window
from heatsync.sandbox.registry import SIMULATORS
from heatsync.sandbox.simulator import Simulator
from heatsync.sandbox.state import World
from heatsync.sandbox.stats import Stats

Limits = Mapping[str, Mapping[str, int]]
"""Calls that a quota allows in place of its own number, by vendor and quota: `{vendor: {"day": 100}}`."""
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
GZIP = 16 + zlib.MAX_WBITS

Endpoint = Callable[[Request], Awaitable[Response]]


class Sandbox:
    """The state behind the paths: records, quotas and counts, per account and vendor, guarded by one lock."""

    def __init__(
        self,
        quotas: bool,
        latency: float,
        limits: Limits,
        clock: Callable[[], float] = time.time,
        faults: Faults | None = None,
    ) -> None:
        self.latency = latency
        self.clock = clock
        self.faults = faults
        self._enforced = quotas
        self._limits = limits
        self._lock = threading.RLock()
        self.simulators = dict(SIMULATORS)
        for vendor, calls in limits.items():
            if vendor not in self.simulators:
                raise ValueError(f"There is no simulator {vendor!r}: {', '.join(self.simulators)}")
            self.simulators[vendor].windows(calls)
        self._world = World({name: simulator.store for name, simulator in self.simulators.items()})
        self._windows: dict[str, dict[str, dict[str, Window]]] = {}
        self._stats: dict[str, Stats] = {}

    def state(self, account: str = "default") -> dict[str, Any]:
        with self._lock:
            return self._world.dump(account)

    def seed(self, state: Mapping[str, Any], account: str = "default") -> None:
        """Replace everything that an account holds. Raises ValueError, and then changes nothing."""
        with self._lock:
            self._world.load(account, state)

    def stats(self, account: str = "default") -> dict[str, Any]:
        with self._lock:
            return self._stats_of(account).shown()

    def reset_stats(self, account: str = "default") -> None:
        with self._lock:
            self._stats.pop(account, None)

    def clear(self) -> None:
        """Forget every account: what it holds, its quotas and its counts."""
        with self._lock:
            self._world.accounts.clear()
            self._windows.clear()
            self._stats.clear()

    def answer(self, simulator: Simulator, route: Route, call: Call) -> Reply:
        """The reply to one call, which is counted."""
        with self._lock:
            call.now = self.clock()
            reply = self._reply(simulator, route, call)
            label = route.label.replace("{object}", call.params.get("object", ""))
            stats = self._stats_of(call.account)
            stats.count(simulator.name, label, route.windows, reply, call.now)
            return reply

    def _reply(self, simulator: Simulator, route: Route, call: Call) -> Reply:
        call.accounts = self._world.accounts
        try:
            if not route.open:
                call.account = simulator.account(call)
        except Refusal as refusal:
            return refusal.reply
        call.windows = self._windows_of(call.account)[simulator.name]
        reply = self._admitted(simulator, route, call)
        extra = simulator.quota_headers(call) if route.windows and self._enforced else {}
        return replace(reply, headers={**extra, **reply.headers}) if extra else reply

    def _admitted(self, simulator: Simulator, route: Route, call: Call) -> Reply:
        if self._enforced:
            full = quotas.admit(call.windows, route.windows, call.now)
            call.used = {name: call.windows[name].used(call.now) for name in route.windows}
            if full is not None:
                return simulator.limited(call, *full)
        store = self._world.account(call.account)[simulator.name]

        def done(call: Call) -> Reply:
            try:
                return route.handler(call, store)
            except Refusal as refusal:
                return refusal.reply

        try:
            return self.faults.answer(simulator, route, call, done) if self.faults else done(call)
        except Unreadable as error:
            return simulator.unreadable(str(error))

    def _windows_of(self, account: str) -> dict[str, dict[str, Window]]:
        if account not in self._windows:
            self._windows[account] = {
                name: simulator.windows(self._limits.get(name, {}))
                for name, simulator in self.simulators.items()
            }
        return self._windows[account]

    def _stats_of(self, account: str) -> Stats:
        if account not in self._stats:
            self._stats[account] = Stats(self.simulators, self._windows_of(account))
        return self._stats[account]


async def _respond(request: Request, reply: Reply) -> Response:
    if reply.delay:
        await asyncio.sleep(reply.delay)
    if reply.cut:
        request.scope["hang_up"]()
        # After the hang-up, the server expects the disconnect to be read, and sends nothing.
        await request.receive()
        return Response()
    if reply.raw:
        return Response(reply.body, reply.status, {"Content-Type": "application/json", **reply.headers})
    return _json(reply.body, reply.status, reply.headers)


def _json(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    text = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    kind = None if body is None else "application/json"
    return Response(text, status, dict(headers or {}), media_type=kind)


async def _read(request: Request) -> Call:
    body = await request.body()
    if request.headers.get("content-encoding") == "gzip":
        # A body that cannot be unpacked stays as it is: the vendor refuses it as unreadable.
        with suppress(zlib.error):
            body = zlib.decompress(body, GZIP)
    address = request.scope.get("raw_path", b"") + b"?" + request.scope.get("query_string", b"")
    return Call(
        method=request.method,
        path=request.url.path,
        params={name: str(value) for name, value in request.path_params.items()},
        query=dict(request.query_params),
        headers=dict(request.headers),
        body=body,
        origin=f"{request.url.scheme}://{request.url.netloc}",
        now=0.0,
        size=len(address),
    )


def _endpoint(sandbox: Sandbox, simulator: Simulator, route: Route) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        call = await _read(request)
        if sandbox.latency:
            await asyncio.sleep(sandbox.latency)
        reply = sandbox.answer(simulator, route, call)
        dated = {"Date": formatdate(call.now, usegmt=True), **reply.headers}
        return await _respond(request, replace(reply, headers=dated))

    return endpoint


def _unknown(simulator: Simulator) -> Handler:
    return lambda call, _: simulator.unknown(call)


def _unknown_path(sandbox: Sandbox) -> Endpoint:
    """Paths without a route: refused by the vendor whose prefix they have."""

    async def endpoint(request: Request) -> Response:
        for simulator in sandbox.simulators.values():
            if request.url.path.startswith(simulator.prefixes):
                route = Route(request.method, "", f"{request.method} unknown", _unknown(simulator), ())
                return await _endpoint(sandbox, simulator, route)(request)
        return _json({"error": f"The sandbox has no path {request.url.path}"}, 404)

    return endpoint


def _state(sandbox: Sandbox) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        account = request.query_params.get("account", "default")
        if request.method == "PUT":
            try:
                sandbox.seed(json.loads(await request.body()), account)
            except ValueError as error:
                return _json({"error": str(error)}, 400)
        return _json(sandbox.state(account))

    return endpoint


def _stats(sandbox: Sandbox) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        account = request.query_params.get("account", "default")
        if request.method == "DELETE":
            sandbox.reset_stats(account)
        return _json(sandbox.stats(account))

    return endpoint


def create(
    quotas: bool = True,
    latency_ms: float = 0,
    state: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    clock: Callable[[], float] = time.time,
    faults: Faults | str | None = None,
) -> Starlette:
    """The sandbox as an ASGI application; `app.state.sandbox` is the `Sandbox` behind it.

    With `quotas` off no call is limited; calls are still counted. `latency_ms` is added to every call to a vendor.
    `state` is the default account's, in the shape of /_state; raises ValueError when it does not fit. `faults` go
    wrong on purpose; a text has the form of the command line (`server=0.1,seed=7`).
    """
    wrong = parse(faults) if isinstance(faults, str) else faults
    sandbox = Sandbox(quotas, latency_ms / 1000, limits or {}, clock, wrong)
    if state is not None:
        sandbox.seed(state)
    paths = [
        Path("/_state", _state(sandbox), methods=["GET", "PUT"]),
        Path("/_stats", _stats(sandbox), methods=["GET", "DELETE"]),
    ]
    for simulator in sandbox.simulators.values():
        paths += [
            Path(each.path, _endpoint(sandbox, simulator, each), methods=[each.method])
            for each in simulator.routes
        ]
    paths.append(Path("/{path:path}", _unknown_path(sandbox), methods=METHODS))
    app = Starlette(routes=paths)
    app.state.sandbox = sandbox
    return app
