"""HubSpot as an OAuth app: the access token is renewed once, before it expires."""

import logging
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from clocks import Clock
from fake_vendor import RecordingThrottle, Reply, Request, answering

from connectors.errors import ConfigurationError, HeatsyncError, Misunderstood, Unauthorized, Unavailable
from connectors.hubspot.destination import HubSpot
from heatsync.sandbox.server import Running
from heatsync.sandbox.vendors.hubspot.account import LIFETIME

SECRETS = {"client_secret": "client-sk-4711", "refresh_token": "acme:refresh-4711"}
APP = {"client_id": "app-1", **SECRETS}
IN_FLIGHT = 8


@contextmanager
def portal(url: str, watched: RecordingThrottle | None = None, **settings: str) -> Iterator[HubSpot]:
    watched = watched or RecordingThrottle()
    destination = HubSpot({**APP, "url": url, **settings}, watched, watched.on_request)
    yield destination
    destination.close()


def tokens(sandbox: Running) -> int:
    return int(sandbox.stats("acme")["hubspot"]["endpoints"]["POST oauth/token"]["calls"])


def token(access: str = "first", seconds: float = LIFETIME) -> Reply:
    return Reply(200, {"token_type": "bearer", "access_token": access, "expires_in": seconds})


def test_a_token_is_requested_once_and_decides_the_account(aged: Running) -> None:
    watched = RecordingThrottle()
    with portal(aged.url, watched) as destination:
        first = destination.account()
        assert destination.account() == first
    assert tokens(aged) == 1
    assert watched.calls == watched.acquired == 3, (
        "the request for the token is counted and paced like any other"
    )


def test_an_expired_token_is_renewed_and_the_call_repeated(aged: Running, clock: Clock) -> None:
    with portal(aged.url) as destination:
        destination.account()
        clock.now += LIFETIME
        assert "email" in destination.fields("contacts")
    assert tokens(aged) == 2


def test_of_several_concurrent_calls_one_renews_the_token(aged: Running, clock: Clock) -> None:
    with portal(aged.url) as destination, ThreadPoolExecutor(IN_FLIGHT) as pool:
        destination.account()
        clock.now += LIFETIME
        start = threading.Barrier(IN_FLIGHT)

        def ask(_: int) -> Mapping[str, Any]:
            start.wait()
            return destination.fields("contacts")

        assert all("email" in fields for fields in pool.map(ask, range(IN_FLIGHT)))
    assert tokens(aged) == 2


def test_a_token_that_expires_soon_is_renewed_before_a_call_is_refused() -> None:
    given = iter(("first", "second"))

    def answer(request: Request) -> Reply:
        if request.path == "/oauth/2026-03/token":
            return token(next(given), seconds=30)
        return (
            Reply(200, {"portalId": 1}) if request.headers["authorization"] != "Bearer first" else Reply(401)
        )

    with answering(answer) as vendor, portal(vendor.url) as destination:
        destination._client.token.current()
        assert destination.account().id == "1"


def test_credentials_are_in_the_body_and_in_no_address() -> None:
    def answer(request: Request) -> Reply:
        return token() if request.method == "POST" else Reply(200, {"portalId": 1})

    with answering(answer) as vendor, portal(vendor.url) as destination:
        destination.account()
    login, call = vendor.requests
    assert login.path == "/oauth/2026-03/token"
    assert login.headers["content-type"] == "application/x-www-form-urlencoded"
    assert set(login.text.split("&")) == {
        "grant_type=refresh_token",
        "client_id=app-1",
        "client_secret=client-sk-4711",
        "refresh_token=acme%3Arefresh-4711",
    }
    assert "authorization" not in login.headers
    assert call.headers["authorization"] == "Bearer first"


def test_a_new_token_that_is_refused_too_is_unauthorized() -> None:
    def answer(request: Request) -> Reply:
        return token() if request.method == "POST" else Reply(401, {"category": "INVALID_AUTHENTICATION"})

    with answering(answer) as vendor, portal(vendor.url) as destination, pytest.raises(Unauthorized):
        destination.account()
    assert [request.method for request in vendor.requests] == ["POST", "GET", "POST", "GET"]


@pytest.mark.parametrize("setting", SECRETS)
def test_refused_app_credentials_are_unauthorized_and_say_what_to_check(aged: Running, setting: str) -> None:
    refusal = pytest.raises(Unauthorized, match="Check its client id and secret")
    with portal(aged.url, **{setting: "refused"}) as destination, refusal:
        destination.account()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(400, {"message": f"no such token {SECRETS['refresh_token']}"}), Unauthorized),
        (Reply(502, f"<html>{SECRETS['client_secret']}</html>"), Unavailable),
        (Reply(200, f"<html>{SECRETS['client_secret']}</html>"), Misunderstood),
        (Reply(200, {"access_token": 5}), Misunderstood),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_no_secret_is_in_the_error_of_a_refused_token(
    reply: Reply,
    error: type[HeatsyncError],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("connectors.http.ATTEMPTS", 1)
    caplog.set_level(logging.DEBUG)
    refusal = pytest.raises(error)
    with answering(lambda _: reply) as vendor, portal(vendor.url) as destination, refusal as caught:
        destination.account()
    shown = f"{caught.value!r} {caught.value.delivery_message} {getattr(caught.value, 'evidence', '')} {caplog.text}"
    assert not any(secret in shown for secret in SECRETS.values())


def test_incomplete_credentials_are_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="`refresh_token` of an OAuth app"):
        HubSpot({"client_id": "app-1"}, RecordingThrottle(), lambda: None)
