"""The calls to one Intercom workspace, and what its answers have in common. API 2.14."""

import re
import time
import weakref
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from connectors.answers import Answer, as_number, is_id, moment_of, named_objects, objects_in, retry_after
from connectors.destination import Quota
from connectors.errors import ConfigurationError, Unauthorized
from connectors.http import VendorClient, VendorRules
from connectors.intercom.records import Record
from connectors.sdk_transport import SdkTransport, answer_over_httpx, capture_httpx

if TYPE_CHECKING:
    import httpx

API_VERSION = "2.14"
"""The version that the SDK (5.0.1) is generated from; without the header each workspace answers in its own."""
HOSTS = {
    "us": "https://api.intercom.io",
    "eu": "https://api.eu.intercom.io",
    "au": "https://api.au.intercom.io",
}
CONCURRENCY = 32
"""Concurrent calls: 160 a second at a fifth of a second each."""
CANONICAL = re.compile(r"/contacts/(\w+)>;\s*rel=\"?canonical")


def wait(answer: Answer) -> float | None:
    """Seconds to wait after a 429. Intercom's X-RateLimit-Reset is in unix seconds, read by the answer's own clock."""
    reset = as_number(answer.headers.get("x-ratelimit-reset", ""))
    if reset is None:
        return retry_after(answer)
    now = moment_of(answer.headers.get("date", ""))
    return max(1.0, reset - (time.time() if now is None else now))


def quota(answer: Answer) -> Quota | None:
    """The calls of a window of ten seconds (documentation, 2026-11), and how long to wait when none is left."""
    limit, left = (answer.headers.get(f"x-ratelimit-{name}", "") for name in ("limit", "remaining"))
    calls = as_number(limit)
    if not calls:
        return None
    return Quota(calls, 10.0, (wait(answer) or 1.0) if left == "0" else 0.0)


RULES = VendorRules("Intercom", wait=wait, quota=quota)


def address(settings: Mapping[str, str]) -> str:
    """The address of the workspace's region, or the one in the settings. Raises ConfigurationError."""
    region = settings.get("region") or "us"
    if region not in HOSTS:
        raise ConfigurationError(
            f"Intercom's region is {region!r}, but must be one of {', '.join(HOSTS)}: where the workspace is hosted."
        )
    return (settings.get("url") or HOSTS[region]).rstrip("/")


class IntercomClient:
    """One workspace, called with one token."""

    def __init__(self, url: str, token: str, client: VendorClient) -> None:
        self._url = url
        self._token = token
        self.transport = SdkTransport(client, url, lambda: (token,))
        self._http = _http(token)
        weakref.finalize(self, self._http.close)

    def close(self) -> None:
        """Close the connections; the client cannot be used after that."""
        self._http.close()

    def typed(self, ask: Callable[[Any], Any]) -> Answer:
        """A call through the SDK, which `ask` is given; its models never see the answer. The call may be repeated.

        Raises Unauthorized, Unavailable.
        """
        return self.transport.call(lambda: answer_over_httpx(lambda: ask(self._sdk)))

    def direct(self, method: str, path: str, body: Record | None, safe: bool = True) -> Answer:
        """A call that the SDK would need 44 ms of processor time for.

        Raises LostAnswer when it is not `safe` to repeat and may have taken effect; Unauthorized, Unavailable.
        """
        url = f"{self._url}/{path}"
        return self.transport.call(
            lambda: answer_over_httpx(lambda: self._http.request(method, url, json=body)), safe
        )

    def names_record(self, answer: Answer) -> bool:
        """Whether the call succeeded. Raises Misunderstood when it did and the answer names no record."""
        if not answer.ok:
            return False
        if not is_id(answer.field("id")):
            self.misread(answer, "a call")
        return True

    def listed(self, answer: Answer, call: str, named_by: str = "id") -> list[Record]:
        """The records of a list. Raises Misunderstood when it is no list, or a record of it lacks `named_by`."""
        found = named_objects(answer.field("data"), named_by)
        if answer.status != 200 or found is None:
            self.misread(answer, call)
        return found

    def misread(self, answer: Answer, call: str) -> NoReturn:
        """Raises Unauthorized for a 403, else Misunderstood."""
        if answer.status == 403:
            raise Unauthorized(f"Intercom does not allow the token {call}: {self.words(answer)}")
        self.transport.misread(answer, call, self.words(answer))

    def words(self, answer: Answer) -> str:
        """What Intercom's errors say, or the answer if it holds none; without secrets."""
        messages = " ".join(str(each.get("message") or each.get("code")) for each in errors(answer))
        return self.transport.redacted(messages or answer.body)

    @cached_property
    def _sdk(self) -> Any:
        from intercom import Intercom as Sdk

        return Sdk(token=self._token, base_url=self._url, httpx_client=self._http)


def errors(answer: Answer) -> list[Record]:
    """The errors of Intercom's error list; none for any other answer."""
    return objects_in(answer.field("errors"))


def merged_into(answer: Answer) -> str | None:
    """The id of the contact that the requested one was merged into, where Intercom names it."""
    found = CANONICAL.search(answer.headers.get("link", "")) if answer.status == 410 else None
    return found[1] if found else None


def _http(token: str) -> "httpx.Client":
    """The HTTP client of the SDK and of direct calls."""
    import httpx

    return httpx.Client(
        headers={
            "Authorization": f"Bearer {token}",
            "Intercom-Version": API_VERSION,
            "Accept": "application/json",
        },
        follow_redirects=False,
        timeout=httpx.Timeout(30.0, connect=5.0),
        limits=httpx.Limits(max_connections=CONCURRENCY, max_keepalive_connections=CONCURRENCY),
        event_hooks={"response": [capture_httpx]},
    )
