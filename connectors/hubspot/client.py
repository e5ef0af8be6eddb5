"""HubSpot's SDK, tamed: one connection pool, dated paths, no retries of its own, answers as they came.

hubspot-api-client 12 only knows /crm/v3, which loses support in September 2027 (HubSpot, migration guide, 2026);
the same calls exist under dated paths, so each path is rewritten as it passes.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from connectors.destination import Quota, Throttle
from connectors.errors import Unauthorized, Unavailable
from connectors.http import Answer, LostAnswer, VendorClient, retry_after
from connectors.hubspot.oauth import PATH, Token

API_VERSION = "2026-09"
HOST = "https://api.hubapi.com"
TIMEOUT = (5.0, 60.0)
"""Seconds: to connect, and between two bytes of the answer."""
CONNECTIONS = 12
"""Calls at once: 190 in ten seconds, at up to half a second for a batch."""
V3 = re.compile(r"^/crm/v3/(objects|properties)/")
DAY_SPENT = 3600.0
"""Seconds until it is worth asking again: the daily quota returns at midnight of the portal's own time zone."""
MAYBE_DONE = frozenset({408, 500, 502, 504, *range(520, 527)})
"""Answers after which a write may have taken effect all the same."""
RAW: Mapping[str, Any] = {"_preload_content": False, "_request_timeout": TIMEOUT}
"""Without the SDK's models, which take 16 times the time of the call itself; and never without a time-out."""

Ask = Callable[[], Any]


def wait(answer: Answer) -> float | None:
    """How long a 429 asks to stay away. HubSpot names the quota that is spent and promises no Retry-After."""
    policy = _policy(answer)
    if policy == "DAILY":
        return DAY_SPENT
    said = retry_after(answer)
    if said is not None:
        return said
    if policy == "SECONDLY":
        return 1.0
    interval = answer.headers.get("x-hubspot-ratelimit-interval-milliseconds", "")
    return int(interval) / 1000 if interval.isdigit() else None


def quota(answer: Answer) -> Quota | None:
    """What HubSpot says of its quotas, but for searches (usage guidelines, 2026). What is used up is left alone."""
    headers = answer.headers
    calls = _number(headers, "x-hubspot-ratelimit-max")
    seconds = (_number(headers, "x-hubspot-ratelimit-interval-milliseconds") or 10_000) / 1000
    if _policy(answer) == "DAILY" or (calls and _number(headers, "x-hubspot-ratelimit-daily-remaining") == 0):
        daily = _number(headers, "x-hubspot-ratelimit-daily")
        all_of = f"All {daily:,} calls" if daily else "All calls"
        said = f"{all_of} that HubSpot allows in a day are made, over all apps: it allows more from midnight on, in the"
        return Quota(calls, seconds, DAY_SPENT, f"{said} time zone of the portal.")
    if not calls:
        return None
    # The window rolls: a tenth of it later there is room again.
    spent = _number(headers, "x-hubspot-ratelimit-remaining") == 0
    return Quota(calls, seconds, seconds / 10 if spent else 0.0)


def _policy(answer: Answer) -> object:
    """Which quota a 429 is about."""
    return answer.body.get("policyName") if isinstance(answer.body, dict) else None


def _number(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name, "")
    return int(text) if text.isdigit() else None


class HubSpotClient:
    """The SDK's objects for one credential, and the way their calls are made."""

    def __init__(self, settings: Mapping[str, str], line: VendorClient) -> None:
        self.host = (settings.get("url") or HOST).rstrip("/")
        self.token = Token(settings, self._post_form)
        self._line = line

    def call(self, ask: Ask, safe: bool = True, part: Throttle | None = None) -> Answer:
        """The answer to a call of the SDK that was made with `RAW`. A token that has ended is renewed once.

        Raises LostAnswer only when it is not safe to repeat and may have taken effect; Unauthorized, Unavailable.
        """
        if not self.token.renewable:
            return self._called(ask, safe, part)
        used = self._settings.access_token = self.token.current()
        try:
            return self._called(ask, safe, part)
        except Unauthorized:
            # A call that was refused for its token has changed nothing.
            self._settings.access_token = self.token.renewed(used)
        return self._called(ask, safe, part)

    def _post_form(self, form: Mapping[str, str]) -> Answer:
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        return self._called(
            lambda: self._client.call_api(
                PATH, "POST", header_params=headers, post_params=list(form.items()), **RAW
            ),
            safe=True,
        )

    def _called(self, ask: Ask, safe: bool, part: Throttle | None = None) -> Answer:
        try:
            return self._line.call(lambda: self._send(ask, safe), safe, part)
        except LostAnswer as lost:
            if lost.sent and not safe:
                raise
            raise Unavailable(
                f"HubSpot at {self.host} cannot be reached ({lost}): check the network"
            ) from None

    def batch(self, object: str) -> Any:
        return self._batches[object]

    def search(self, object: str) -> Any:
        return self._searches[object]

    @cached_property
    def properties(self) -> Any:
        return self._sdk.crm.properties

    def get(self, path: str) -> Answer:
        """A path that the SDK has no method for."""
        return self.call(lambda: self._client.call_api(path, "GET", auth_settings=["oauth2"], **RAW))

    def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """A question that is asked with a body, and that the SDK has no method for."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        return self.call(
            lambda: self._client.call_api(
                path, "POST", header_params=dict(headers), body=body, auth_settings=["oauth2"], **RAW
            )
        )

    def close(self) -> None:
        """Close idle connections; the next call opens them again."""
        if "_client" in self.__dict__:
            self._client.rest_client.pool_manager.clear()

    @cached_property
    def _batches(self) -> Mapping[str, Any]:
        crm = self._sdk.crm
        return {"contacts": crm.contacts.batch_api, "companies": crm.companies.batch_api}

    @cached_property
    def _searches(self) -> Mapping[str, Any]:
        crm = self._sdk.crm
        return {"contacts": crm.contacts.search_api, "companies": crm.companies.search_api}

    @cached_property
    def _sdk(self) -> Any:
        from hubspot import HubSpot as Sdk

        # Left alone, the SDK makes a pool, and with it new connections, for each of its objects.
        return Sdk(api_factory=lambda package, name, _config: getattr(package, name)(api_client=self._client))

    @cached_property
    def _settings(self) -> Any:
        from hubspot.crm import contacts
        from urllib3.util.retry import Retry

        settings = contacts.Configuration(host=self.host)
        settings.connection_pool_maxsize = CONNECTIONS
        if not self.token.renewable:
            settings.access_token = self.token.current()
        settings.retries = Retry(total=0, raise_on_status=False, raise_on_redirect=False)
        # Other libraries see for themselves what the environment says of proxies.
        address = urlsplit(self.host)
        if address.scheme == "https" and not proxy_bypass(address.hostname or ""):
            settings.proxy = getproxies().get("https")
        return settings

    @cached_property
    def _client(self) -> Any:
        from hubspot.crm import contacts

        client = contacts.ApiClient(configuration=self._settings)
        client.user_agent = "heatsync"
        plain = client.call_api

        def dated(path: str, *args: Any, **kwargs: Any) -> Any:
            return plain(V3.sub(rf"/crm/\1/{API_VERSION}/", path), *args, **kwargs)

        client.call_api = dated
        # It walks through everything to be sent, looking for models and dates: a third of the processor time of a call
        # (12.0.0). What we send is JSON already.
        client.sanitize_for_serialization = lambda plain_json: plain_json
        return client

    def _send(self, ask: Ask, safe: bool) -> Answer:
        import urllib3
        from hubspot.crm.contacts.exceptions import ApiException

        try:
            response = ask()
            said = (response.status, response.headers, response.data)
        except ApiException as error:
            said = (error.status, error.headers, error.body)
        except UnicodeDecodeError as error:
            # The SDK trips over the page of a proxy that is not in UTF-8 (12.0.0).
            refusal = error.__context__
            if not isinstance(refusal, ApiException):
                raise
            said = (refusal.status, refusal.headers, refusal.body)
        except urllib3.exceptions.HTTPError as error:
            raise _lost(error) from None
        status, headers, data = said
        if not status:
            # The SDK's way to say that TLS could not be agreed on.
            raise LostAnswer("SSLError", sent=False)
        answer = Answer(status, {name.lower(): value for name, value in (headers or {}).items()}, _read(data))
        if status in MAYBE_DONE and not safe:
            raise LostAnswer(f"HubSpot answered {status}", sent=True)
        if status == 423:
            # A lock lasts two seconds (documentation, 2026).
            raise Unavailable("HubSpot has locked these records for a moment", 2.0)
        if status == 477:
            raise Unavailable(
                "HubSpot is moving this portal to another data centre", retry_after(answer) or 3600.0
            )
        return answer


def _lost(error: Exception) -> LostAnswer:
    import urllib3

    reason = getattr(error, "reason", None) or error
    unsent = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
    return LostAnswer(type(reason).__name__, sent=not isinstance(reason, unsent))


def _read(data: bytes | str | None) -> Any:
    text = data.decode(errors="replace") if isinstance(data, bytes) else data or ""
    try:
        return json.loads(text)
    except ValueError:
        return text
