"""The token that HubSpot's calls are made with: one that was given, or one of an OAuth app that is renewed.

A service key, the token of a private app and a static token do not expire. An OAuth app's does after half an hour
(`expires_in`), and is renewed with the refresh token, which stays the same (developers.hubspot.com, OAuth tokens
2026-03; all parameters are in the body there, so that none stands in anybody's log of addresses).
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import NoReturn

from connectors.errors import ConfigurationError, Misunderstood, Unauthorized, as_sentence
from connectors.http import Answer, redacted

PATH = "/oauth/2026-03/token"
OAUTH = ("client_id", "client_secret", "refresh_token")
EARLY = 60.0
"""Seconds before its end that a token is renewed, so that no call meets the end."""

Ask = Callable[[Mapping[str, str]], Answer]


class Token:
    """One token, shared by whoever calls. `ask` posts a form to `PATH`."""

    def __init__(self, settings: Mapping[str, str], ask: Ask) -> None:
        given = settings.get("token", "")
        self._form = {name: settings.get(name, "") for name in OAUTH}
        self.renewable = not given
        if self.renewable and not all(self._form.values()):
            raise ConfigurationError(
                "HubSpot needs `token` (a service key, or the token of a private app), or `client_id`,"
                " `client_secret` and `refresh_token` of an OAuth app."
            )
        self._ask = ask
        self._lock = threading.Lock()
        self._value = given
        self._ends = float("inf") if given else 0.0

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must be in no log and no error."""
        return (self._value, self._form["client_secret"], self._form["refresh_token"])

    def current(self) -> str:
        """The token; a new one when the one at hand ends soon. Raises Unauthorized, Unavailable, Misunderstood."""
        with self._lock:
            if time.monotonic() > self._ends - EARLY:
                self._renew()
            return self._value

    def renewed(self, refused: str) -> str:
        """Another token than the one that was refused. However many ask, one renews it."""
        with self._lock:
            if self._value == refused:
                self._renew()
            return self._value

    def _renew(self) -> None:
        answer = self._ask({"grant_type": "refresh_token", **self._form})
        body = answer.body if isinstance(answer.body, dict) else {}
        token, seconds = body.get("access_token"), body.get("expires_in")
        if answer.status != 200 or not isinstance(token, str) or not isinstance(seconds, int | float):
            self._no_token(answer)
        self._value, self._ends = token, time.monotonic() + seconds

    def _no_token(self, answer: Answer) -> NoReturn:
        if 400 <= answer.status < 500 and isinstance(answer.body, dict):
            said = redacted(str(answer.body.get("message") or answer.body), *self.secrets)
            raise Unauthorized(
                f"HubSpot gives no token for this OAuth app ({answer.status}): {as_sentence(said)} Check its client id and secret;"
                " a refresh token ends when the app is removed from the account: install it anew then."
            )
        raise Misunderstood(
            f"HubSpot's answer to POST {PATH} ({answer.status}) is not one that heatsync knows",
            redacted(answer.body, *self.secrets),
        )
