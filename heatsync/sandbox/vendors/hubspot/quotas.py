"""HubSpot's quotas, and how it says that one is used up. Source: developers.hubspot.com, usage guidelines, 2026."""

from collections.abc import Mapping

from heatsync.sandbox.calls import Call, Reply
from heatsync.sandbox.quotas import DAY, Quota
from heatsync.sandbox.vendors.hubspot.properties import CORRELATION

QUOTAS = {
    # Professional and Enterprise, per private app or service key.
    "burst": Quota(190, 10.0),
    "day": Quota(650_000, DAY),
    "search": Quota(5, 1.0),
}
_POLICIES = {
    "burst": ("TEN_SECONDLY_ROLLING", "ten_secondly_rolling"),
    "day": ("DAILY", "daily"),
    "search": ("SECONDLY", "secondly"),
}


def limited(_call: Call, window: str, _wait: float) -> Reply:
    policy, words = _POLICIES[window]
    body = {
        "status": "error",
        "message": f"You have reached your {words} limit.",
        "errorType": "RATE_LIMIT",
        "correlationId": CORRELATION,
        "policyName": policy,
        "requestId": CORRELATION.replace("-", ""),
    }
    return Reply(429, body)


def quota_headers(call: Call) -> Mapping[str, str]:
    if call.path.endswith("/search"):
        return {}
    burst, day = call.windows["burst"], call.windows["day"]
    return {
        "X-HubSpot-RateLimit-Max": str(burst.calls),
        "X-HubSpot-RateLimit-Remaining": str(max(0, burst.calls - call.used.get("burst", 0))),
        "X-HubSpot-RateLimit-Interval-Milliseconds": str(int(burst.seconds * 1000)),
        "X-HubSpot-RateLimit-Daily": str(day.calls),
        "X-HubSpot-RateLimit-Daily-Remaining": str(max(0, day.calls - call.used.get("day", 0))),
    }
