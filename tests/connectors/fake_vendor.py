"""A vendor that answers as a test decides: over real sockets, for answers that no sandbox gives."""

import gzip
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from connectors.destination import Quota


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class Reply:
    """An answer; a body that is not text is sent as JSON. `hang_up` closes the connection instead."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hang_up: bool = False


HANG_UP = Reply(hang_up=True)


@dataclass
class Vendor:
    url: str
    requests: list[Request] = field(default_factory=list)


@contextmanager
def answering(answer: Callable[[Request], Reply]) -> Iterator[Vendor]:
    vendor = Vendor("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body go out one after the other; otherwise each answer takes 40 ms longer.
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                raw = gzip.decompress(raw)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, raw.decode())
            vendor.requests.append(request)
            reply = answer(request)
            if reply.hang_up:
                self.close_connection = True
                return
            body = (reply.body if isinstance(reply.body, str) else json.dumps(reply.body)).encode()
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    vendor.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield vendor
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class RecordingThrottle:
    """A throttle that never waits and records how it is used; `on_request` counts the calls."""

    def __init__(self) -> None:
        self.acquired = 0
        self.calls = 0
        self.pauses: list[float] = []
        self.quotas: list[Quota] = []
        self._lock = threading.Lock()

    def acquire(self) -> None:
        with self._lock:
            self.acquired += 1

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def on_quota(self, quota: Quota) -> None:
        self.quotas.append(quota)

    def sub_quota(self, name: str, calls: int, seconds: float) -> "RecordingThrottle":
        return self

    def on_request(self) -> None:
        with self._lock:
            self.calls += 1
