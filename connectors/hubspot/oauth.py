"""The token of HubSpot's calls: one from the settings, or one of an OAuth app that is renewed.

A service key, the token of a private app and a static token do not expire. An OAuth app's token expires after half an hour
(`expires_in`), and is renewed with the refresh token, which stays the same (developers.hubspot.com, OAuth tokens
2026-03; all parameters go into the body there, so that no log of addresses holds them).
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import NoReturn

from connectors.answers import Answer, is_token, redacted
from connectors.errors import ConfigurationError, Misunderstood, Unauthorized, as_sentence

PATH = "/oauth/2026-03/token"
OAUTH = ("client_id", "client_secret", "refresh_token")
EARLY = 60.0
"""Seconds before its expiry that a token is renewed, so that no call uses an expired one."""

Ask = Callable[[Mapping[str, str]], Answer]


class Token:
    """One token, shared by all calls. `ask` posts a form to `PATH`."""

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
        self._expires = float("inf") if given else 0.0

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that no log and no error may hold."""
        return (self._value, self._form["client_secret"], self._form["refresh_token"])

    def current(self) -> str:
        """The token; a new one when the present one expires soon. Raises Unauthorized, Unavailable, Misunderstood."""
        with self._lock:
            if time.monotonic() > self._expires - EARLY:
                self._renew()
            return self._value

    def renewed(self, refused: str) -> str:
        """Another token than the refused one. However many threads ask, it is renewed once."""
        with self._lock:
            if self._value == refused:
                self._renew()
            return self._value

    def _renew(self) -> None:
        answer = self._ask({"grant_type": "refresh_token", **self._form})
        token, seconds = answer.field("access_token"), answer.field("expires_in")
        if answer.status != 200 or not is_token(token) or not isinstance(seconds, int | float):
            self._no_token(answer)
        self._value, self._expires = token, time.monotonic() + seconds

    def _no_token(self, answer: Answer) -> NoReturn:
        if answer.refused and isinstance(answer.body, dict):
            reason = redacted(str(answer.field("message") or answer.body), *self.secrets)
            raise Unauthorized(
                f"HubSpot gives no token for this OAuth app ({answer.status}): {as_sentence(reason)} Check its client id and"
                " secret. A refresh token ends when the app is removed from the account: install the app again then."
            )
        raise Misunderstood(
            f"HubSpot's answer to POST {PATH} ({answer.status}) is not one that heatsync knows",
            redacted(answer.body, *self.secrets),
        )
