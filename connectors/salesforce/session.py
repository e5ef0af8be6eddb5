"""Salesforce's SDK, tamed: logs in when it must and once for all, never retries, times out, answers as it came.

simple-salesforce 1.12.10 would log in again by itself up to three times on each refused call, in each thread and
without being counted; it is only ever given a session, so that it cannot. Nothing of it has a time-out and https is
hard-coded: both are the business of the adapter that it is given.
"""

import re
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from connectors.destination import Quota
from connectors.errors import ConfigurationError, Misunderstood, Unauthorized, Unavailable
from connectors.http import Answer, LostAnswer, VendorClient, redacted

if TYPE_CHECKING:
    import requests

API_VERSION = "64.0"
"""Salesforce keeps a version for at least three years; this one is of 2025."""
TIMEOUT = (5.0, 120.0)
"""Seconds: to connect, and between two bytes of the answer. Salesforce itself gives up after ten minutes."""
MAYBE_DONE = frozenset({408, 500, 502, 504})
"""Answers after which a write may have taken effect all the same."""
SPENT = 3600.0
"""Seconds until it is worth asking again when the calls of the last 24 hours are used up."""
CROWDED = 15.0
"""Seconds to stay away when too many long calls run at once."""
WAYS_IN = (
    ("consumer_key", "consumer_secret"),
    ("username", "private_key", "consumer_key"),
    ("session_id", "instance_url"),
)
"""The settings that let somebody in: client credentials, the JWT bearer flow, or a session of one's own."""
CREDENTIALS = {
    "secret": "External Client App's consumer key and secret, and the user it runs as",
    "key": "External Client App's consumer key, and the username and private key",
    "session": "session id",
}
PASSING = frozenset({"unknown_error", "server_error", "temporarily_unavailable"})
"""What the token endpoint says when it is not about the credentials."""

USAGE = re.compile(r"(?<![\w-])api-usage=(\d+)/(\d+)")

Ask = Callable[[Any], Any]


def codes(body: Any) -> list[str]:
    """The error codes of an answer."""
    listed = body if isinstance(body, list) else []
    return [str(each.get("errorCode")) for each in listed if isinstance(each, dict)]


def wait(answer: Answer) -> float | None:
    """Salesforce has no 429 and no Retry-After: it names the limit in the error."""
    return CROWDED if "Concurrent" in redacted(answer.body) else SPENT


def quota(answer: Answer) -> Quota | None:
    """The calls of the last 24 hours, of all there may be: `Sforce-Limit-Info: api-usage=18/5000` (REST guide, 2026)."""
    used = USAGE.search(answer.headers.get("sforce-limit-info", ""))
    all_made = int(used[1]) >= int(used[2]) if used else False
    if all_made or (answer.status == 429 and wait(answer) == SPENT):
        all_of = f"All {int(used[2]):,} calls" if used else "All calls"
        said = f"{all_of} that the Salesforce org has in 24 hours are made, over all its integrations: there is room again"
        return Quota(wait=SPENT, spent=f"{said} as the oldest of them are longer ago than that.")
    return Quota() if used else None


class Session:
    """One login, shared by whoever calls."""

    def __init__(self, settings: Mapping[str, str], line: VendorClient) -> None:
        self._settings = settings
        self._line = line
        self._lock = threading.Lock()
        self._client: Any = None
        self._heard = threading.local()
        self._http: requests.Session | None = None
        self._kind = kind(settings)
        self._key = _private_key(settings["private_key"]) if self._kind == "key" else None
        self.secrets = [settings.get(name, "") for name in ("consumer_secret", "session_id", "private_key")]

    def call(self, ask: Ask, safe: bool = True) -> Answer:
        """The answer to a call of the SDK; `ask` is handed its client.

        A session that has ended is renewed once. Raises LostAnswer only when it is not safe to repeat and may have taken
        effect; Unauthorized, Unavailable, Misunderstood.
        """
        client = self._logged_in(None)
        try:
            return self._through(lambda: ask(client), safe)
        except Unauthorized:
            if self._kind == "session":
                raise
            renewed = self._logged_in(client)
        return self._through(lambda: ask(renewed), safe)

    def close(self) -> None:
        """Close idle connections; the next call opens them again."""
        if self._http is not None:
            self._http.close()

    def _logged_in(self, refused: Any) -> Any:
        """The client; another one when the one at hand was refused. However many ask, one logs in."""
        with self._lock:
            if self._client is None or self._client is refused:
                self._client = self._log_in()
            return self._client

    def _log_in(self) -> Any:
        from simple_salesforce.api import Salesforce

        if self._http is None:
            self._http = _http(self._settings.get("url"), self._heard)
        if self._kind == "session":
            token, instance = self._settings["session_id"], self._settings["instance_url"]
        else:
            answer = self._through(self._ask_for_token, safe=True)
            if answer.status != 200 or not isinstance(answer.body, tuple):
                self._no_token(answer)
            token, instance = answer.body[0], f"https://{answer.body[1]}"
        self.secrets = [*self.secrets[:3], token]
        client = Salesforce(
            session_id=token,
            instance_url=instance,
            session=self._http,
            version=(self._settings.get("api_version") or API_VERSION).removeprefix("v"),
            object_pairs_hook=dict,
        )
        del client.headers["X-PrettyPrint"]
        # Without it, assignment rules may give a record that is written another owner (REST guide, 2026).
        client.headers["Sforce-Auto-Assign"] = "FALSE"
        return client

    def _ask_for_token(self) -> tuple[str, str]:
        from simple_salesforce.login import SalesforceLogin

        given = self._settings
        # Behind another address no host of Salesforce's is asked, but the SDK wants to compose one.
        domain = given.get("domain") or ("redirected" if self._kind == "secret" else "login")
        common: dict[str, Any] = {
            "domain": domain,
            "session": self._http,
            "consumer_key": given.get("consumer_key"),
        }
        with warnings.catch_warnings():
            # The SDK warns, key included, of what it also raises.
            warnings.simplefilter("ignore")
            if self._kind == "key":
                token, instance = SalesforceLogin(username=given["username"], privatekey=self._key, **common)
            else:
                token, instance = SalesforceLogin(consumer_secret=given["consumer_secret"], **common)
        return str(token), str(instance)

    def _no_token(self, answer: Answer) -> NoReturn:
        said = answer.body if isinstance(answer.body, dict) else {}
        error, description = str(said.get("error") or ""), str(said.get("error_description") or "")
        reason = redacted(f"{error}: {description}", *self.secrets)
        if error in PASSING:
            raise Unavailable(f"Salesforce gives no session for the moment ({reason})", 60.0)
        if "login rate exceeded" in description:
            raise Unavailable("Salesforce has seen too many logins in an hour", SPENT)
        if error:
            raise Unauthorized(
                f"Salesforce refused the login ({reason}). Check the External Client App's key and secret, that it "
                "allows this flow, and that it has a user to run as."
            )
        raise Misunderstood(
            f"Salesforce's answer to the login ({answer.status}) is not one that heatsync knows. Is `domain` right?",
            redacted(answer.body, *self.secrets),
        )

    def _through(self, ask: Callable[[], Any], safe: bool) -> Answer:
        try:
            return self._line.call(lambda: self._send(ask, safe), safe)
        except LostAnswer as lost:
            if lost.sent and not safe:
                raise
            raise Unavailable(f"Salesforce cannot be reached ({lost}): check the network") from None

    def _send(self, ask: Callable[[], Any], safe: bool) -> Answer:
        import requests
        from simple_salesforce.exceptions import SalesforceError

        self._heard.response = None
        body: Any = None
        refused = False
        try:
            body = ask()
        except (requests.exceptions.JSONDecodeError, requests.TooManyRedirects, SalesforceError):
            refused = True
        except requests.RequestException as error:
            raise _lost(error) from None
        except (ValueError, TypeError, AttributeError, LookupError):
            # An answer of a shape that the SDK cannot take: for the caller to judge.
            if self._heard.response is None:
                raise
            refused = True
        response: requests.Response = self._heard.response
        if refused:
            body = _read(response)
        status = response.status_code
        if status in (403, 503) and "REQUEST_LIMIT_EXCEEDED" in codes(body):
            status = 429
        if status in MAYBE_DONE and not safe:
            raise LostAnswer(f"Salesforce answered {status}", sent=True)
        return Answer(status, {name.lower(): value for name, value in response.headers.items()}, body)


def kind(settings: Mapping[str, str]) -> str:
    """Which way in the settings describe. Raises ConfigurationError."""
    given = {name for name, value in settings.items() if value}
    if {"session_id", "instance_url"} <= given:
        return "session"
    if {"username", "private_key", "consumer_key"} <= given:
        return "key"
    if {"consumer_key", "consumer_secret"} <= given:
        if "url" not in given and settings.get("domain", "login") in ("login", "test", ""):
            raise ConfigurationError(
                "Salesforce's client credentials work under the org's own domain only: set `domain`, the part of its "
                "address before .salesforce.com (acme.my)."
            )
        return "secret"
    raise ConfigurationError(
        "Salesforce needs `domain`, `consumer_key` and `consumer_secret` of an External Client App with the client "
        "credentials flow; or `username`, `consumer_key` and `private_key` for the JWT bearer flow."
    )


def _private_key(text: str) -> str:
    """A key in PEM form, which the environment may hold in one line. Raises ConfigurationError."""
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


def _lost(error: Exception) -> LostAnswer:
    import requests
    import urllib3

    reason = error.args[0] if error.args else None
    reason = getattr(reason, "reason", reason)
    unsent = isinstance(error, requests.ConnectTimeout | requests.exceptions.SSLError) or isinstance(
        reason, urllib3.exceptions.NewConnectionError
    )
    return LostAnswer(type(error).__name__, sent=not unsent)


def _read(response: "requests.Response") -> Any:
    try:
        return response.json()
    except ValueError:
        return response.text


def _http(url: str | None, heard: threading.local) -> "requests.Session":
    """What the SDK speaks through; `heard` keeps each thread's last response.

    With `url`, whatever host is meant is asked there.
    """
    import requests
    from requests.adapters import HTTPAdapter

    base = url.rstrip("/") if url else None

    class Way(HTTPAdapter):
        def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
            if base:
                request.url = base + request.path_url
            return super().send(request, *args, **{**kwargs, "timeout": TIMEOUT})

    session = requests.Session()
    session.mount("https://", Way())
    session.hooks["response"].append(lambda response, **_: setattr(heard, "response", response))
    # A redirected PATCH becomes a GET, which succeeds and writes nothing.
    session.max_redirects = 0
    # What the environment says of proxies is not about this machine.
    session.trust_env = base is None or base.startswith("https:")
    # Else a .netrc would take the place of the session's token.
    session.auth = lambda request: request
    return session
