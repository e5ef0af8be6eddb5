"""Quotas: real sliding windows, per account and vendor, refused with the vendor's messages."""

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from heatsync.sandbox.quotas import Window, admit
from heatsync.sandbox.server import running


@pytest.fixture
def tight(clock):
    """A sandbox with very small quotas and a clock that only the test moves."""
    limits = {
        "hubspot": {"burst": 3, "day": 100, "search": 1},
        "intercom": {"burst": 2},
        "segment": {"burst": 2},
        "salesforce": {"day": 2},
    }
    with running(limits=limits, clock=clock) as server, requests.Session() as http:
        http.headers["Authorization"] = "Bearer acme:x"

        def call(method, path, body=None, **more):
            return http.request(method, server.url + path, json=body, timeout=10, **more)

        yield call


gaps = st.lists(st.floats(0, 3, allow_nan=False), max_size=60)


@given(gaps, st.integers(1, 5), st.floats(0.5, 4))
def test_no_window_ever_holds_more_than_its_limit(gaps, calls, seconds):
    window, now, taken = Window(calls, seconds), 0.0, []
    for gap in gaps:
        now += gap
        if admit({"w": window}, ["w"], now) is None:
            taken.append(now)
    for start in taken:
        assert sum(start <= each < start + seconds for each in taken) <= calls


@given(gaps, st.integers(1, 5))
def test_a_call_after_the_stated_wait_is_admitted(gaps, calls):
    window, now = Window(calls, 2.0), 0.0
    for gap in gaps:
        now += gap
        full = admit({"w": window}, ["w"], now)
        if full is not None:
            now += full[1] + 1e-9
            assert admit({"w": window}, ["w"], now) is None


def test_a_call_that_one_window_refuses_costs_the_others_nothing():
    windows = {"wide": Window(10, 1.0), "narrow": Window(1, 1.0)}
    assert admit(windows, windows, 0.0) is None
    assert admit(windows, windows, 0.0) == ("narrow", 1.0)
    assert windows["wide"].used(0.0) == 1


def test_hubspot_answers_429_with_its_headers_and_admits_calls_after_ten_seconds(tight, clock):
    for left in (2, 1, 0):
        answer = tight("GET", "/account-info/v3/details")
        assert answer.status_code == 200
        assert answer.headers["X-HubSpot-RateLimit-Max"] == "3"
        assert answer.headers["X-HubSpot-RateLimit-Remaining"] == str(left)
        assert answer.headers["X-HubSpot-RateLimit-Interval-Milliseconds"] == "10000"
        assert answer.headers["X-HubSpot-RateLimit-Daily"] == "100"
    refused = tight("GET", "/account-info/v3/details")
    assert refused.status_code == 429
    assert refused.json() | {"correlationId": "", "requestId": ""} == {
        "status": "error",
        "message": "You have reached your ten_secondly_rolling limit.",
        "errorType": "RATE_LIMIT",
        "policyName": "TEN_SECONDLY_ROLLING",
        "correlationId": "",
        "requestId": "",
    }
    assert refused.headers["X-HubSpot-RateLimit-Remaining"] == "0"
    clock.now += 9.9
    assert tight("GET", "/account-info/v3/details").status_code == 429
    clock.now += 0.2
    assert tight("GET", "/account-info/v3/details").status_code == 200


def test_hubspot_search_has_a_window_of_its_own_and_no_headers(tight, clock):
    first = tight("POST", "/crm/v3/objects/contacts/search", {})
    assert first.status_code == 200
    assert "X-HubSpot-RateLimit-Max" not in first.headers
    second = tight("POST", "/crm/v3/objects/companies/search", {})
    assert (second.status_code, second.json()["policyName"]) == (429, "SECONDLY")
    clock.now += 1.1
    assert tight("POST", "/crm/v3/objects/contacts/search", {}).status_code == 200


def test_hubspot_says_daily_when_the_day_is_used_up(tight, clock):
    for _ in range(100):
        assert tight("GET", "/account-info/v3/details").status_code == 200
        clock.now += 4
    answer = tight("GET", "/account-info/v3/details")
    assert (answer.status_code, answer.json()["policyName"]) == (429, "DAILY")


def test_intercom_answers_429_with_the_moment_of_its_reset(tight, clock):
    for left in (1, 0):
        answer = tight("GET", "/me")
        assert answer.status_code == 200
        assert answer.headers["X-RateLimit-Limit"] == "2"
        assert answer.headers["X-RateLimit-Remaining"] == str(left)
    refused = tight("GET", "/me")
    assert refused.status_code == 429
    assert refused.json()["errors"][0]["code"] == "rate_limit_exceeded"
    assert int(refused.headers["X-RateLimit-Reset"]) == clock.now + 10
    clock.now = float(refused.headers["X-RateLimit-Reset"])
    assert tight("GET", "/me").status_code == 200


def test_segment_answers_429_with_the_seconds_to_wait(tight, clock):
    for _ in range(2):
        assert tight("POST", "/v1/batch", {"batch": [], "writeKey": "acme:x"}).status_code == 200
    refused = tight("POST", "/v1/batch", {"batch": [], "writeKey": "acme:x"})
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == refused.headers["X-RateLimit-Reset"] == "1"
    clock.now += 1
    assert tight("POST", "/v1/batch", {"batch": [], "writeKey": "acme:x"}).status_code == 200


def test_salesforce_refuses_when_the_day_is_used_up(tight, clock):
    assert tight("GET", "/services/data/v59.0/limits").json()["DailyApiRequests"] == {
        "Max": 2,
        "Remaining": 1,
    }
    answer = tight("GET", "/services/data/v59.0/sobjects")
    assert answer.headers["Sforce-Limit-Info"] == "api-usage=2/2"
    refused = tight("GET", "/services/data/v59.0/limits")
    assert refused.status_code == 403
    assert refused.json() == [
        {"message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}
    ]
    clock.now += 86_401
    assert tight("GET", "/services/data/v59.0/limits").status_code == 200


def test_a_salesforce_login_does_not_count_as_an_api_request(tight):
    form = {"grant_type": "client_credentials", "client_id": "acme:k", "client_secret": "s"}
    for _ in range(4):
        answer = tight("POST", "/services/oauth2/token", data=form, headers={"Authorization": ""})
        assert answer.status_code == 200
    assert tight("GET", "/services/data/v59.0/limits").status_code == 200


def test_each_account_has_a_quota_of_its_own(tight):
    for _ in range(3):
        tight("GET", "/me")
    other = {"Authorization": "Bearer other:x"}
    assert tight("GET", "/me").status_code == 429
    assert tight("GET", "/me", headers=other).status_code == 200


def test_a_refused_token_uses_no_quota(tight):
    for _ in range(5):
        assert tight("GET", "/me", headers={"Authorization": "Bearer acme:refused"}).status_code == 401
    assert tight("GET", "/me").headers["X-RateLimit-Remaining"] == "1"


def test_the_peak_shows_what_a_client_really_did(tight, clock):
    for _ in range(5):
        tight("GET", "/me")
    clock.now += 10
    tight("GET", "/me")
    stats = tight("GET", "/_stats?account=acme").json()["intercom"]
    assert (stats["calls"], stats["refused"], stats["peak_window"]) == (6, {"429": 3}, 5)


def test_without_quotas_no_call_is_limited_but_calls_are_counted():
    with running(quotas=False, limits={"intercom": {"burst": 1}}) as server:
        for _ in range(3):
            answer = requests.get(f"{server.url}/me", headers={"Authorization": "Bearer x"}, timeout=10)
            assert answer.status_code == 200
            assert "X-RateLimit-Remaining" not in answer.headers
        assert server.stats()["intercom"]["peak_window"] == 3


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"hubsport": {"day": 1}}, "There is no simulator 'hubsport'"),
        ({"hubspot": {"minute": 1}}, "hubspot has no quota 'minute'; it has burst, day, search"),
    ],
)
def test_an_unknown_quota_is_refused(limits, message):
    with pytest.raises(ValueError, match=message), running(limits=limits):
        pass
