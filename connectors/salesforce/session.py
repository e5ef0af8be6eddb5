"""Salesforce's SDK: logs in when it must and once for all threads, never retries, times out, answers as it came.

simple-salesforce 1.12.10 would log in again by itself, up to three times on each refused call, in each thread and without
being counted. It is only ever given a session, so that it cannot. It sets no time-out and hard-codes https: the adapter
that it is given handles both.
"""

import re
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from connectors.answers import Answer, as_object, is_token, objects_in, redacted
from connectors.destination import Quota, Throttle
from connectors.errors import ConfigurationError, Unauthorized, Unavailable
from connectors.http import VendorClient, VendorRules
from connectors.sdk_transport import SdkTransport, answer_over_requests, capture_requests

if TYPE_CHECKING:
    import requests

API_VERSION = "64.0"
"""Salesforce keeps a version for at least three years; this one is of 2025."""
TIMEOUT = (5.0, 120.0)
"""Seconds: to connect, and between two bytes of the answer. Salesforce itself gives up after ten minutes."""
MAYBE_DONE = frozenset({408, 500, 502, 504})
"""Answers after which a write may still have taken effect."""
SPENT = 3600.0
"""Seconds until the next attempt when the calls of the last 24 hours are used up."""
CROWDED = 15.0
"""Seconds to wait when too many long calls run at once."""
WAYS_IN = (
    ("consumer_key", "consumer_secret"),
    ("username", "private_key", "consumer_key"),
    ("session_id", "instance_url"),
)
"""Settings that suffice for a login: client credentials, the JWT bearer flow, or an existing session."""
CREDENTIALS = {
    "secret": "External Client App's consumer key and secret, and the user it runs as",
    "key": "External Client App's consumer key, and the username and private key",
    "session": "session id",
}
TEMPORARY = frozenset({"unknown_error", "server_error", "temporarily_unavailable"})
"""Errors of the token endpoint that are not about the credentials."""

INSTANCE = re.compile(r"(?:https?://)?([A-Za-z0-9.-]+)(?::([0-9]{1,5}))?/?")
USAGE = re.compile(r"(?<![\w-])api-usage=(\d+)/(\d+)")

Ask = Callable[[Any], Any]


def codes(body: Any) -> list[str]:
    """The error codes of an answer."""
    return [str(each.get("errorCode")) for each in objects_in(body)]


def wait(answer: Answer) -> float | None:
    """Seconds to wait. Salesforce has no 429 and no Retry-After: it names the limit in the error."""
    return CROWDED if "Concurrent" in redacted(answer.body) else SPENT


def quota(answer: Answer) -> Quota | None:
    """The calls of the last 24 hours, of all there may be: `Sforce-Limit-Info: api-usage=18/5000` (REST guide, 2026)."""
    used = USAGE.search(answer.headers.get("sforce-limit-info", ""))
    none_left = int(used[1]) >= int(used[2]) if used else False
    if none_left or (answer.status == 429 and wait(answer) == SPENT):
        calls = f"{int(used[2]):,} calls, all apps" if used else "all apps"
        spent = f"The Salesforce org's quota of 24 hours ({calls}) is used up. It returns gradually, call by call."
        return Quota(wait=SPENT, spent=spent)
    return Quota() if used else None


class Session:
    """One login, shared by all calls."""

    def __init__(
        self, settings: Mapping[str, str], throttle: Throttle, on_request: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._kind = kind(settings)
        own = settings.get("instance_url") or f"https://{settings.get('domain', 'login')}.salesforce.com"
        self.host = (settings.get("url") or own).partition("://")[2].rstrip("/")
        credential = CREDENTIALS[self._kind]
        rules = VendorRules(
            "Salesforce", wait=wait, quota=quota, credential=credential, maybe_done=MAYBE_DONE
        )
        client = VendorClient(rules, throttle, on_request)
        self.transport = SdkTransport(client, self.host, lambda: self.secrets)
        self._lock = threading.Lock()
        self._client: Any = None
        self._http: requests.Session | None = None
        self._key = _private_key(settings["private_key"]) if self._kind == "key" else None
        self.secrets = [settings.get(name, "") for name in ("consumer_secret", "session_id", "private_key")]

    def call(self, ask: Ask, safe: bool = True) -> Answer:
        """The answer to a call of the SDK; `ask` is given its client. An expired session is renewed once.

        Raises LostAnswer only for a call that is not safe to repeat and that may have taken effect; Unauthorized,
        Unavailable, Misunderstood.
        """
        client = self._logged_in(None)
        try:
            return self._call_once(lambda: ask(client), safe)
        except Unauthorized:
            if self._kind == "session":
                raise
            renewed = self._logged_in(client)
        return self._call_once(lambda: ask(renewed), safe)

    def ask(self, ask: Ask, safe: bool = True) -> Answer:
        """Like `call`. Raises Unauthorized as well where a permission is missing (403)."""
        answer = self.call(ask, safe)
        if answer.status == 403:
            raise Unauthorized(
                f"Salesforce does not allow the app's user to do this (403): {self.words(answer)} Check the edition, the "
                "user's profile and its permission sets."
            )
        return answer

    def words(self, answer: Answer) -> str:
        """The answer as it may be shown."""
        return self.transport.redacted(answer.body)

    def close(self) -> None:
        """Close idle connections; the next call opens them again."""
        if self._http is not None:
            self._http.close()

    def _logged_in(self, refused: Any) -> Any:
        """The client; a new one when the present one was refused. However many threads ask, one logs in."""
        with self._lock:
            if self._client is None or self._client is refused:
                self._client = self._log_in()
            return self._client

    def _log_in(self) -> Any:
        from simple_salesforce.api import Salesforce

        if self._http is None:
            self._http = _http(self._settings.get("url"))
        if self._kind == "session":
            token, instance = self._settings["session_id"], self._settings["instance_url"]
        else:
            answer = self._call_once(self._ask_for_token, safe=True)
            token = answer.field("access_token")
            found = INSTANCE.fullmatch(str(answer.field("instance_url")))
            port = int(found[2] or 443) if found else 0
            if answer.status != 200 or not is_token(token) or found is None or port > 65_535:
                self._no_token(answer)
            instance = f"https://{found[1]}:{port}"
        self.secrets = [*self.secrets[:3], token]
        client = Salesforce(
            session_id=token,
            instance_url=instance,
            session=self._http,
            version=(self._settings.get("api_version") or API_VERSION).removeprefix("v"),
            object_pairs_hook=dict,
        )
        del client.headers["X-PrettyPrint"]
        # Without it, assignment rules may change the owner of a record that is written (REST guide, 2026).
        client.headers["Sforce-Auto-Assign"] = "FALSE"
        return client

    def _ask_for_token(self) -> None:
        from simple_salesforce.login import SalesforceLogin

        given = self._settings
        # With `url`, no host of Salesforce's is called, but the SDK needs a domain to compose one.
        domain = given.get("domain") or ("redirected" if self._kind == "secret" else "login")
        common: dict[str, Any] = {
            "domain": domain,
            "session": self._http,
            "consumer_key": given.get("consumer_key"),
        }
        with warnings.catch_warnings():
            # The SDK also warns, key included, of what it raises.
            warnings.simplefilter("ignore")
            if self._kind == "key":
                SalesforceLogin(username=given["username"], privatekey=self._key, **common)
            else:
                SalesforceLogin(consumer_secret=given["consumer_secret"], **common)

    def _no_token(self, answer: Answer) -> NoReturn:
        body = as_object(answer.body)
        error, description = str(body.get("error") or ""), str(body.get("error_description") or "")
        reason = self.transport.redacted(f"{error}: {description}")
        if error in TEMPORARY:
            raise Unavailable(f"Salesforce gives no session at the moment ({reason})", 60.0)
        if "login rate exceeded" in description:
            raise Unavailable("Salesforce allows no more logins within this hour", SPENT)
        if error:
            raise Unauthorized(
                f"Salesforce refused the login ({reason}). Check the External Client App's key and secret, that it "
                "allows this flow, and that it has a user to run as."
            )
        self.transport.misread(answer, "the login", hint=". Is `domain` right?")

    def _call_once(self, ask: Callable[[], object], safe: bool) -> Answer:
        return self.transport.call(lambda: _send(ask), safe)


def _send(ask: Callable[[], object]) -> Answer:
    answer = answer_over_requests(ask)
    limited = answer.status in (403, 503) and "REQUEST_LIMIT_EXCEEDED" in codes(answer.body)
    return replace(answer, status=429) if limited else answer


def kind(settings: Mapping[str, str]) -> str:
    """Which kind of login the settings describe. Raises ConfigurationError."""
    given = {name for name, value in settings.items() if value}
    if {"session_id", "instance_url"} <= given:
        return "session"
    if {"username", "private_key", "consumer_key"} <= given:
        return "key"
    if {"consumer_key", "consumer_secret"} <= given:
        if "url" not in given and settings.get("domain", "login") in ("login", "test", ""):
            raise ConfigurationError(
                "Salesforce's client credentials work only under the org's own domain: set `domain`, the part of its "
                "address before .salesforce.com (acme.my)."
            )
        return "secret"
    raise ConfigurationError(
        "Salesforce needs `domain`, `consumer_key` and `consumer_secret` of an External Client App with the client "
        "credentials flow; or `username`, `consumer_key` and `private_key` for the JWT bearer flow."
    )


def _private_key(text: str) -> str:
    """A key in PEM form, which an environment variable may hold in one line. Raises ConfigurationError."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = text.replace("\\n", "\n")
    try:
        usable = isinstance(load_pem_private_key(key.encode(), None), RSAPrivateKey)
    except (ValueError, TypeError):
        usable = False
    if not usable:
        raise ConfigurationError(
            "Salesforce's private_key cannot be used: it must be an RSA key in PEM form without a passphrase, "
            "beginning with -----BEGIN."
        )
    return key


def _http(url: str | None) -> "requests.Session":
    """The session that the SDK calls through. With `url`, every call goes there, whatever its host."""
    import requests
    from requests.adapters import HTTPAdapter

    base = url.rstrip("/") if url else None

    class Adapter(HTTPAdapter):
        def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
            if base:
                request.url = base + request.path_url
            return super().send(request, *args, **{**kwargs, "timeout": TIMEOUT})

    session = requests.Session()
    session.mount("https://", Adapter())
    session.hooks["response"].append(capture_requests)
    # A proxy from the environment does not apply to this machine.
    session.trust_env = base is None or base.startswith("https:")
    # Otherwise a .netrc would replace the session's token.
    session.auth = lambda request: request
    return session
