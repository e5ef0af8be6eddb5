"""Logging in to Salesforce, its limits and permissions."""

import threading
from urllib.parse import parse_qs, urlsplit

import pytest
from fake_vendor import RecordingThrottle, Reply, Request, answering
from salesforce_calls import (
    APP,
    ONE,
    change,
    is_login,
    org,
    push,
    refused,
    token,
)

from connectors.errors import ConfigurationError, Misunderstood, Unauthorized, Unavailable
from connectors.salesforce.destination import VENDOR
from heatsync.sandbox.server import Running


@pytest.mark.parametrize(
    ("settings", "reply"),
    [
        ({}, "consumer key and secret"),
        ({"session_id": "s3ss10n", "instance_url": "https://a.b"}, "session id"),
    ],
)
def test_refused_credentials_are_named_in_salesforces_words(settings: dict[str, str], reply: str) -> None:
    def answer(request: Request) -> Reply:
        return (
            token()
            if is_login(request)
            else Reply(401, [{"errorCode": "INVALID_SESSION_ID", "message": "no"}])
        )

    refusal = pytest.raises(Unauthorized, match=reply)
    with answering(answer) as vendor, org(vendor.url, **settings) as destination, refusal as caught:
        destination.account()
    assert "token" not in str(caught.value)


def test_an_expired_session_is_renewed_once_for_all_threads() -> None:
    """Salesforce: 401 INVALID_SESSION_ID; neither flow has a refresh token."""
    ended = threading.Event()
    together = threading.Barrier(4)

    def answer(request: Request) -> Reply:
        if is_login(request):
            return token("second" if ended.is_set() else "first")
        if ended.is_set() and request.headers["authorization"] == "Bearer first":
            together.wait(10)
            return refused("INVALID_SESSION_ID", "Session expired or invalid", 401)
        return Reply(200, {"done": True, "records": [{"Id": ONE, "Name": "Acme"}]})

    watched = RecordingThrottle()
    with answering(answer) as vendor, org(vendor.url, watched) as destination:
        destination.account()
        ended.set()
        threads = [threading.Thread(target=destination.account) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len([each for each in vendor.requests if is_login(each)]) == 2
    assert len(vendor.requests) == 2 + 1 + 4 + 4 == watched.calls == watched.acquired


def test_a_session_that_is_always_refused_is_requested_twice_at_most() -> None:
    def answer(request: Request) -> Reply:
        return token() if is_login(request) else refused("INVALID_SESSION_ID", status=401)

    with answering(answer) as vendor, org(vendor.url) as destination, pytest.raises(Unauthorized):
        destination.account()
    assert len([each for each in vendor.requests if is_login(each)]) == 2
    assert len(vendor.requests) == 4


def test_a_session_from_the_settings_is_not_renewed(sandbox: Running) -> None:
    own = {"session_id": "00D!one", "instance_url": "https://acme.my.salesforce.com"}
    with org(sandbox.url, **own) as destination:
        assert destination.account().kind == "org"
    watched = RecordingThrottle()
    own["session_id"] = "refused"
    with org(sandbox.url, watched, **own) as destination, pytest.raises(Unauthorized):
        destination.account()
    assert watched.calls == 1


def private_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    return (
        rsa.generate_private_key(public_exponent=65537, key_size=2048)
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def test_a_private_key_works_in_one_line_or_many(sandbox: Running) -> None:
    key = private_key()
    for text in (key, key.replace("\n", "\\n")):
        with org(sandbox.url, username="a@acme", consumer_key="key", private_key=text) as destination:
            assert destination.account().kind == "org"


def test_an_invalid_private_key_is_a_configuration_error() -> None:
    settings = {"username": "a@acme", "consumer_key": "key", "private_key": "-----BEGIN nothing"}
    watched = RecordingThrottle()
    with pytest.raises(ConfigurationError, match="private_key"):
        VENDOR.connect(settings, watched, watched.on_request)
    assert watched.calls == 0


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"domain": "acme.my"},
        {"consumer_key": "k", "consumer_secret": "s"},
        {"consumer_key": "k", "consumer_secret": "s", "domain": "login"},
        {"username": "u", "private_key": "p"},
        {"session_id": "s"},
    ],
    ids=str,
)
def test_settings_that_cannot_log_in_are_a_configuration_error(settings: dict[str, str]) -> None:
    watched = RecordingThrottle()
    with pytest.raises(ConfigurationError, match="Salesforce"):
        VENDOR.connect(settings, watched, watched.on_request)
    assert watched.calls == 0


@pytest.mark.parametrize(
    ("reply", "error", "seconds"),
    [
        (Reply(400, {"error": "unknown_error", "error_description": "retry your request"}), Unavailable, 60),
        (
            Reply(400, {"error": "invalid_grant", "error_description": "login rate exceeded"}),
            Unavailable,
            3600,
        ),
        (
            Reply(400, {"error": "invalid_client_id", "error_description": "client invalid"}),
            Unauthorized,
            None,
        ),
        (Reply(404, "<html>There is no such domain</html>"), Misunderstood, None),
        (Reply(200, {"token": "none"}), Misunderstood, None),
    ],
    ids=["passing", "too many", "wrong", "empty", "strange"],
)
def test_a_login_that_fails_says_what_to_do(
    reply: Reply, error: type[Exception], seconds: float | None
) -> None:
    with (
        answering(lambda request: reply) as vendor,
        org(vendor.url) as destination,
        pytest.raises(error) as caught,
    ):
        destination.account()
    assert getattr(caught.value, "retry_after", None) == seconds
    assert len(vendor.requests) == 1


def test_daily_and_concurrent_limits_are_distinguished() -> None:
    """Salesforce: REQUEST_LIMIT_EXCEEDED is of the day (TotalRequests) or of the moment (ConcurrentRequests)."""
    reply = [
        refused("REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded.", 403)
    ]

    def answer(request: Request) -> Reply:
        if is_login(request):
            return token()
        return reply.pop() if reply else Reply(200, {"done": True, "records": [{"Id": ONE, "Name": "Acme"}]})

    watched = RecordingThrottle()
    with answering(answer) as vendor, org(vendor.url, watched) as destination:
        assert destination.account().id == ONE
        reply.append(refused("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", 403))
        with pytest.raises(Unavailable) as caught:
            destination.account()
    assert caught.value.retry_after == 3600
    assert watched.pauses == [15.0, 3600.0]


def test_a_missing_permission_is_unauthorized() -> None:
    def answer(request: Request) -> Reply:
        return token() if is_login(request) else refused("API_DISABLED_FOR_ORG", "API is not enabled", 403)

    with (
        answering(answer) as vendor,
        org(vendor.url) as destination,
        pytest.raises(Unauthorized, match="API is not enabled"),
    ):
        destination.account()


def test_calls_go_to_the_url_and_do_not_reassign_owners() -> None:
    """Salesforce REST guide: without Sforce-Auto-Assign: false, rules may change the owner."""

    def answer(request: Request) -> Reply:
        if is_login(request):
            return token(host="eu42.salesforce.com")
        if request.path.endswith("/composite/sobjects"):
            return Reply(200, [{"id": ONE, "success": True, "errors": []}])
        return Reply(200, {"done": True, "records": [{"Id": ONE, "Name": "Acme"}]})

    with answering(answer) as vendor, org(vendor.url, **APP, api_version="v61.0") as destination:
        destination.account()
        push(destination, change("a1", {"Score__c": 1}, ONE))
    login, query, write = vendor.requests
    assert login.text == "grant_type=client_credentials"
    assert login.headers["authorization"].startswith("Basic ")
    parts = urlsplit(query.path)
    assert (parts.path, parse_qs(parts.query)) == (
        "/services/data/v61.0/query/",
        {"q": ["SELECT Id, Name FROM Organization"]},
    )
    assert write.headers["sforce-auto-assign"] == "FALSE"
    assert write.body == {
        "allOrNone": False,
        "records": [{"attributes": {"type": "Account"}, "id": ONE, "Score__c": 1}],
    }
