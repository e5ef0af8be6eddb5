"""The quotas that vendors report, and how they are kept."""

import time
from email.utils import formatdate
from typing import Any

import pytest
from fake_vendor import RecordingThrottle

from connectors.answers import Answer
from connectors.destination import Quota
from connectors.errors import Unavailable
from connectors.hubspot import client
from connectors.hubspot.destination import HubSpot
from connectors.intercom import client as intercom_client
from connectors.rate_limit import MemoryStore, RateLimiter
from connectors.salesforce import session
from connectors.salesforce.destination import Salesforce
from connectors.types import Lookup, Match
from heatsync.sandbox.server import Running, running

DAY_SPENT = 3600.0
SESSION = {"session_id": "default:s3ss10n", "instance_url": "https://acme.my.salesforce.com"}


def answer(**headers: str) -> Answer:
    return Answer(200, {name.replace("_", "-"): value for name, value in headers.items()}, {})


@pytest.mark.parametrize(
    ("left", "daily", "wait"), [("100", "5000", 0.0), ("0", "5000", 1.0), ("100", "0", DAY_SPENT)]
)
def test_hubspots_quota_of_the_window_and_of_the_day_is_read(left: str, daily: str, wait: float) -> None:
    """Usage guidelines, 2026; none of these headers on searches, no daily ones with OAuth."""
    reply = answer(
        x_hubspot_ratelimit_max="110",
        x_hubspot_ratelimit_remaining=left,
        x_hubspot_ratelimit_interval_milliseconds="10000",
        x_hubspot_ratelimit_daily_remaining=daily,
    )
    assert client.quota(reply) == Quota(110, 10.0, wait)
    assert client.quota(answer()) is None


def test_intercoms_quota_of_ten_seconds_is_read() -> None:
    """Documentation, 2026-11: X-RateLimit-Reset is a moment, in unix seconds."""
    now = int(time.time())
    headers = {
        "x_ratelimit_limit": "167",
        "x_ratelimit_reset": str(now + 4),
        "date": formatdate(now, usegmt=True),
    }
    assert intercom_client.quota(answer(x_ratelimit_remaining="3", **headers)) == Quota(167, 10.0)
    assert intercom_client.quota(answer(x_ratelimit_remaining="0", **headers)) == Quota(167, 10.0, 4.0)
    assert intercom_client.quota(answer()) is None


@pytest.mark.parametrize(
    ("reply", "wait"),
    [
        ("api-usage=18/5000", 0.0),
        ("api-usage=5000/5000; per-app-api-usage=17/250(appName=x)", 3600.0),
        ("per-app-api-usage=250/250(appName=x); api-usage=18/5000", 0.0),
    ],
)
def test_salesforces_use_of_the_last_24_hours_is_read(reply: str, wait: float) -> None:
    """REST guide, 2026: `Sforce-Limit-Info`."""
    assert session.quota(answer(sforce_limit_info=reply)) == Quota(wait=wait)
    assert session.quota(answer()) is None


RESUME = r" Calls resume at 20\d\d-\d\d-\d\d \d\d:\d\d UTC\.$"


@pytest.mark.parametrize("knows", [True, False])
def test_a_spent_daily_quota_is_named_with_the_time_of_its_return(knows: bool) -> None:
    """`knows`: the vendor has reported that nothing is left; else it refuses a call."""
    limits = {"hubspot": {"day": 1}, "salesforce": {"day": 1}}
    with running(quotas=True, limits=limits) as sandbox:
        portal, org = _opened(HubSpot, sandbox, token="t"), _opened(Salesforce, sandbox, **SESSION)
        portal.account()
        org.account()
        again = portal, org
        if not knows:
            again = _opened(HubSpot, sandbox, token="t"), _opened(Salesforce, sandbox, **SESSION)
        for destination, reply in zip(
            again,
            (
                r"HubSpot's daily quota \(1 calls, all apps\) is used up\. It resets at midnight .*",
                r"The Salesforce org's quota of 24 hours \(1 calls, all apps\) is used up\. .*",
            ),
            strict=True,
        ):
            with pytest.raises(Unavailable, match=f"^{reply}{RESUME}") as caught:
                destination.account()
            assert 3500 < (caught.value.retry_after or 0) <= 3600


def test_a_quota_that_another_process_found_spent_is_reported_without_its_name() -> None:
    store = MemoryStore()
    RateLimiter(10, 1.0, store, "one").pause(3600)
    with pytest.raises(Unavailable, match="^The quota is used up, or the vendor asked to wait." + RESUME):
        RateLimiter(10, 1.0, store, "one").acquire()


def test_a_smaller_quota_from_the_vendor_is_kept() -> None:
    with running(quotas=True, limits={"hubspot": {"burst": 20}}) as sandbox:
        watched = RecordingThrottle()
        portal = HubSpot({"token": "t", "url": sandbox.url}, watched, watched.on_request)
        portal.account()
        portal.close()
        assert watched.quotas == [Quota(20, 10.0)]


def test_hubspots_searches_share_their_own_quota() -> None:
    with running(quotas=True) as sandbox:
        store = MemoryStore()
        watched = [RecordingThrottle(), RecordingThrottle()]
        portals = [_portal(sandbox, store, each) for each in watched]
        for _ in range(4):
            for portal in portals:
                assert list(portal.find("companies", [Lookup("a", (Match("domain", "a.com"),))], {}))
        for portal in portals:
            portal.close()
        searches = sandbox.stats()["hubspot"]["endpoints"]["POST companies/search"]
        assert (searches["calls"], searches["refused"]) == (8, {})
        assert searches["peak_window"] <= 5


def _opened(vendor: Any, sandbox: Running, **settings: str) -> Any:
    return vendor({**settings, "url": sandbox.url}, RateLimiter(1000, 1.0), lambda: None)


def _portal(sandbox: Running, store: MemoryStore, watched: RecordingThrottle) -> HubSpot:
    return HubSpot(
        {"token": "t", "url": sandbox.url}, RateLimiter(1000, 10.0, store, "portal"), watched.on_request
    )
