"""HubSpot's SDK with one connection pool, dated paths, no retries of its own, and answers as they came.

hubspot-api-client 12 only knows /crm/v3, which loses support in September 2027 (HubSpot, migration guide, 2026); the same
calls exist under dated paths, so each path is rewritten as it passes.
"""

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from connectors.answers import Answer, as_number, named_objects, read_answer, retry_after
from connectors.destination import Quota, Throttle
from connectors.errors import Unauthorized, Unavailable
from connectors.http import LostAnswer, VendorClient, VendorRules
from connectors.hubspot.oauth import PATH, Token
from connectors.hubspot.records import missing_scopes
from connectors.sdk_transport import SdkTransport

API_VERSION = "2026-09"
HOST = "https://api.hubapi.com"
TIMEOUT = (5.0, 60.0)
"""Seconds: to connect, and between two bytes of the answer."""
CONNECTIONS = 12
"""Concurrent calls: 190 in ten seconds, at up to half a second for a batch."""
V3 = re.compile(r"^/crm/v3/(objects|properties)/")
DAY_SPENT = 3600.0
"""Seconds until the next attempt: the daily quota returns at midnight in the portal's time zone."""
MAYBE_DONE = frozenset({408, 500, 502, 504, *range(520, 527)})
"""Answers after which a write may still have taken effect."""
RAW: Mapping[str, Any] = {"_preload_content": False, "_request_timeout": TIMEOUT}
"""Without the SDK's models, which take 16 times as long as the call itself, and always with a time-out."""

Ask = Callable[[], Any]


def wait(answer: Answer) -> float | None:
    """Seconds to wait after a 429. HubSpot names the quota that is spent, and promises no Retry-After."""
    policy = answer.field("policyName")
    if policy == "DAILY":
        return DAY_SPENT
    seconds = retry_after(answer)
    if seconds is not None:
        return seconds
    if policy == "SECONDLY":
        return 1.0
    interval = _number(answer, "interval-milliseconds")
    return None if interval is None else interval / 1000


def quota(answer: Answer) -> Quota | None:
    """HubSpot's quotas, except for searches (usage guidelines, 2026). After a spent one, calls pause."""
    calls = _number(answer, "max")
    seconds = (_number(answer, "interval-milliseconds") or 10_000) / 1000
    if answer.field("policyName") == "DAILY" or (calls and _number(answer, "daily-remaining") == 0):
        daily = _number(answer, "daily")
        spent = (
            f"HubSpot's daily quota ({daily:,} calls, all apps)"
            if daily
            else "HubSpot's daily quota (all apps)"
        )
        reset = "is used up. It resets at midnight in the portal's time zone."
        return Quota(calls, seconds, DAY_SPENT, f"{spent} {reset}")
    if not calls:
        return None
    # The window rolls: a tenth of it later there is room again.
    none_left = _number(answer, "remaining") == 0
    return Quota(calls, seconds, seconds / 10 if none_left else 0.0)


def _number(answer: Answer, name: str) -> int | None:
    return as_number(answer.headers.get(f"x-hubspot-ratelimit-{name}", ""))


RULES = VendorRules("HubSpot", wait=wait, quota=quota, maybe_done=MAYBE_DONE)


class HubSpotClient:
    """The SDK's objects for one credential, and the way their calls are made."""

    def __init__(self, settings: Mapping[str, str], client: VendorClient) -> None:
        self.host = (settings.get("url") or HOST).rstrip("/")
        self.token = Token(settings, self._post_form)
        self.transport = SdkTransport(client, self.host, lambda: self.token.secrets)

    def call(self, ask: Ask, safe: bool = True, sub_quota: Throttle | None = None) -> Answer:
        """The answer to a call of the SDK that was made with `RAW`. An expired token is renewed once.

        Raises LostAnswer only for a call that is not safe to repeat and that may have taken effect; Unauthorized,
        Unavailable.
        """
        if not self.token.renewable:
            return self._call_once(ask, safe, sub_quota)
        used = self._settings.access_token = self.token.current()
        try:
            return self._call_once(ask, safe, sub_quota)
        except Unauthorized:
            # A call that was refused for its token has changed nothing.
            self._settings.access_token = self.token.renewed(used)
        return self._call_once(ask, safe, sub_quota)

    def _post_form(self, form: Mapping[str, str]) -> Answer:
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        return self._call_once(
            lambda: self._client.call_api(
                PATH, "POST", header_params=headers, post_params=list(form.items()), **RAW
            ),
            safe=True,
        )

    def _call_once(self, ask: Ask, safe: bool, sub_quota: Throttle | None = None) -> Answer:
        return self.transport.call(lambda: _send(ask), safe, sub_quota)

    def batch(self, object: str) -> Any:
        """The SDK's batch calls for an object."""
        return self._batches[object]

    def search(self, object: str) -> Any:
        """The SDK's search calls for an object."""
        return self._searches[object]

    @cached_property
    def properties(self) -> Any:
        """The SDK's calls for properties."""
        return self._sdk.crm.properties

    def ask(self, ask: Ask, safe: bool = True, sub_quota: Throttle | None = None) -> Answer:
        """Like `call`. Raises Unauthorized as well where a scope is missing (403)."""
        answer = self.call(ask, safe, sub_quota)
        if answer.status == 403:
            scopes = missing_scopes(answer.body)
            cure = (
                f"Grant the scope {' or '.join(scopes)}"
                if scopes
                else f"{self.transport.redacted(answer.body)} Grant the scopes crm.objects.* and crm.schemas.*"
            )
            raise Unauthorized(
                f"HubSpot does not allow the token to do this (403). {cure}, or use another token."
            )
        return answer

    def results(self, answer: Answer, call: str) -> list[dict[str, Any]]:
        """The records of an answer. Raises Misunderstood where one of them has no id, or it is no list of records."""
        found = named_objects(answer.field("results"), "id")
        if not answer.ok or found is None:
            self.transport.misread(answer, call)
        return found

    def get(self, path: str) -> Answer:
        """A path that the SDK has no method for."""
        return self.ask(lambda: self._client.call_api(path, "GET", auth_settings=["oauth2"], **RAW))

    def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """A POST that only reads, and that the SDK has no method for."""
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

        # By default the SDK creates a pool, and with it new connections, for each of its objects.
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
        # Unlike other HTTP libraries, urllib3 does not read proxies from the environment.
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
        # The SDK walks through the whole body looking for models and dates: a third of the processor time of a call
        # (12.0.0). Our bodies are JSON already.
        client.sanitize_for_serialization = lambda plain_json: plain_json
        return client


def _send(ask: Ask) -> Answer:
    import urllib3
    from hubspot.crm.contacts.exceptions import ApiException

    try:
        response = ask()
        status, headers, content = response.status, response.headers, response.data
    except ApiException as error:
        status, headers, content = error.status, error.headers, error.body
    except UnicodeDecodeError as error:
        # The SDK fails on a proxy's page that is not in UTF-8 (12.0.0).
        refusal = error.__context__
        if not isinstance(refusal, ApiException):
            raise
        status, headers, content = refusal.status, refusal.headers, refusal.body
    except urllib3.exceptions.HTTPError as error:
        raise _lost(error) from None
    if not status:
        # The SDK's way to say that the TLS handshake failed.
        raise LostAnswer("SSLError", sent=False)
    answer = read_answer(status, headers or {}, content)
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
