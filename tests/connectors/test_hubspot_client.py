"""HubSpot's SDK: paths, quotas, locks, proxies."""

from collections.abc import Mapping
from typing import Any

import pytest
from fake_vendor import RecordingThrottle, Reply, Request, answering
from hubspot_calls import TOKEN, change, portal, push, results

from connectors.answers import Answer
from connectors.errors import Unavailable
from connectors.hubspot.client import wait
from connectors.types import FieldType, NewField, Status


def test_every_request_uses_a_dated_path() -> None:
    """HubSpot, changelog (2026): v1 to v3 lose support in September 2027; the SDK 12.0.0 speaks v3 only."""

    def answer(request: Request) -> Reply:
        if request.method == "GET":
            return Reply(200, {"portalId": 7, "results": []})
        return results(request) if "/objects/" in request.path else Reply(201, {"results": []})

    with answering(answer) as vendor, portal(vendor.url) as destination:
        push(destination, change("u1", {"score": 1}, "101"))
        destination.fields("contacts")
        destination.create_fields("companies", [NewField("a", FieldType.TEXT, "A")])
        destination.account()
    assert [request.path.split("?")[0] for request in vendor.requests] == [
        "/crm/objects/2026-09/contacts/batch/update",
        "/crm/properties/2026-09/contacts",
        "/crm/properties/2026-09/companies/groups",
        "/crm/properties/2026-09/companies/batch/create",
        "/account-info/v3/details",
    ]
    assert {request.headers["authorization"] for request in vendor.requests} == {f"Bearer {TOKEN}"}


def test_a_portal_that_is_being_moved_says_when_to_come_back() -> None:
    """HubSpot, error guide (2026): 477 with Retry-After, up to 24 h."""
    moved = Reply(477, {"status": "error"}, {"Retry-After": "86400"})
    with (
        answering(lambda request: moved) as vendor,
        portal(vendor.url) as destination,
        pytest.raises(Unavailable) as caught,
    ):
        push(destination, change("u1", {"score": 1}, "101"))
    assert caught.value.retry_after == 86_400
    assert len(vendor.requests) == 1


def test_a_lock_is_waited_for() -> None:
    """HubSpot, error guide (2026): 423, and a lock lasts two seconds."""

    def answer(request: Request) -> Reply:
        return Reply(423, {"message": "locked"}) if len(vendor.requests) == 1 else results(request)

    with answering(answer) as vendor, portal(vendor.url) as destination:
        assert push(destination, change("u1", {"score": 1}, "101"))["u1"].status is Status.DELIVERED


@pytest.mark.parametrize(
    ("body", "headers", "seconds"),
    [
        ({"policyName": "DAILY"}, {"retry-after": "1"}, 3600.0),
        ({"policyName": "SECONDLY"}, {}, 1.0),
        (
            {"policyName": "TEN_SECONDLY_ROLLING"},
            {"x-hubspot-ratelimit-interval-milliseconds": "10000"},
            10.0,
        ),
        ({"policyName": "TEN_SECONDLY_ROLLING"}, {"retry-after": "4"}, 4.0),
        ("Too many requests", {}, None),
    ],
)
def test_the_spent_quota_decides_how_long_to_wait(
    body: Any, headers: Mapping[str, str], seconds: float | None
) -> None:
    """HubSpot, usage guidelines (2026): policyName tells the window; no Retry-After is promised."""
    assert wait(Answer(429, headers, body)) == seconds


def test_the_sdk_does_not_hide_a_rate_limit() -> None:
    def answer(request: Request) -> Reply:
        limited = Reply(429, {"policyName": "SECONDLY"}, {"Retry-After": "1"})
        return limited if len(vendor.requests) <= 2 else Reply(200, {"results": []})

    watched = RecordingThrottle()
    with answering(answer) as vendor, portal(vendor.url, watched) as destination:
        destination.fields("contacts")
    assert len(vendor.requests) == watched.calls == watched.acquired == 3
    assert watched.pauses == [1.0, 1.0]


class Latin(str):
    def encode(self, *_: Any) -> bytes:  # type: ignore[override]
        return str.encode(self, "latin-1")


def test_the_page_of_a_proxy_that_is_not_utf_8_is_still_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """hubspot-api-client 12.0.0, read: its error handling decodes the body as UTF-8."""
    monkeypatch.setattr("connectors.http.ATTEMPTS", 1)
    page = Reply(502, Latin("<h1>Überlastet</h1>"))
    with (
        answering(lambda request: page) as vendor,
        portal(vendor.url) as destination,
        pytest.raises(Unavailable, match="502"),
    ):
        destination.account()


def test_a_proxy_from_the_environment_is_not_used_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example.com:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.example.com:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    for host, proxy in (
        ("https://api.hubapi.com", "http://proxy.example.com:3128"),
        ("http://127.0.0.1:9", None),
    ):
        with portal(host) as destination:
            assert destination._client._client.configuration.proxy == proxy
