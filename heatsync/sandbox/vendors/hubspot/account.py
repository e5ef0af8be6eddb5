"""HubSpot's paths about the account itself: its id, its tokens and scopes, and how much of its quotas is used."""

import re
from urllib.parse import parse_qsl

from heatsync.sandbox.calls import Call, Reply, account_of, is_refused
from heatsync.sandbox.quotas import DAY
from heatsync.sandbox.vendors.hubspot.properties import CORRELATION, timestamp
from heatsync.sandbox.vendors.hubspot.schema import CUSTOM_PROPERTIES
from heatsync.sandbox.vendors.hubspot.store import OBJECTS, Store

LIFETIME = 1800
"""Seconds that an OAuth access token is valid (ToolJet 17192, airbyte 74726, 2026)."""
_ISSUED = re.compile(r"(?:.*:)?oauth\.([0-9]+)")
_LACKING = re.compile(r"(?:.*:)?lacks\.(.+)")
_SCOPED = re.compile(r"/crm/(?:v3/)?(objects|properties)/(?:[0-9]{4}-[0-9]{2}/)?([a-z]+)(/.*)?")
_READING = ("/batch/read", "/search")


def issued(token: str) -> float | None:
    """When an OAuth access token was issued, in unix seconds; None for any other token."""
    found = _ISSUED.fullmatch(token)
    return float(found[1]) if found else None


def lacking(call: Call) -> list[str]:
    """The scopes of which the call needs one, when its token has none of them. The token `lacks.SCOPE,SCOPE` has all others.

    Which call needs which scope: HubSpot's scopes reference, 2026; properties are read with either scope for reading, and the
    limits with any of the objects' (observed live, 2026-09).
    """
    needed = _needed(call)
    return needed if needed and set(needed) <= _without(call.token()) else []


def _without(token: str) -> set[str]:
    found = _LACKING.fullmatch(token)
    return set(found[1].split(",")) if found else set()


def scopes(call: Call, store: Store) -> Reply:
    """The scopes of a private app's token (private apps guide, 2026)."""
    token = str(call.object().get("tokenKey") or "")
    every = [
        f"crm.{area}.{object}.{right}"
        for area in ("objects", "schemas")
        for object in OBJECTS
        for right in ("read", "write")
    ]
    held = [scope for scope in every if scope not in _without(token)]
    return Reply(200, {"userId": 1, "hubId": store.portal, "appId": 1, "scopes": held})


def _needed(call: Call) -> list[str]:
    if call.path.startswith("/crm/limits") or call.path.startswith("/crm/v3/limits"):
        return [f"crm.objects.{object}.{right}" for object in OBJECTS for right in ("read", "write")]
    found = _SCOPED.fullmatch(call.path)
    if found is None:
        return []
    area, object, rest = found.groups()
    reading = call.method == "GET" or rest in _READING
    if area == "objects":
        return [f"crm.objects.{object}.{'read' if reading else 'write'}"]
    if reading:
        return [f"crm.schemas.{object}.read", f"crm.objects.{object}.read"]
    return [f"crm.schemas.{object}.write"]


def token(call: Call, _store: Store) -> Reply:
    """An access token of the account that the refresh token belongs to; only `refused` is refused."""
    form = dict(parse_qsl(call.body.decode(errors="replace")))
    refresh, secret = form.get("refresh_token", ""), form.get("client_secret", "")
    if form.get("grant_type") != "refresh_token":
        return _no_token("BAD_GRANT_TYPE", "missing or unknown grant_type")
    if not form.get("client_id") or not secret or is_refused(secret):
        return _no_token("BAD_CLIENT_ID", "missing or invalid client id or secret")
    if not refresh or is_refused(refresh):
        return _no_token("BAD_REFRESH_TOKEN", "missing or invalid refresh token")
    call.account = account_of(refresh)
    access = f"{call.account}:oauth.{int(call.now)}"
    body = {"token_type": "bearer", "refresh_token": refresh, "access_token": access, "expires_in": LIFETIME}
    return Reply(200, body)


def _no_token(status: str, message: str) -> Reply:
    """The message is as reported for the older endpoint (supaglue 1935, mk-node-hubspot 64)."""
    return Reply(400, {"status": status, "message": message, "correlationId": CORRELATION})


def details(_call: Call, store: Store) -> Reply:
    return Reply(
        200,
        {
            "portalId": store.portal,
            "accountType": "STANDARD",
            "timeZone": "Etc/UTC",
            "companyCurrency": "EUR",
            "additionalCurrencies": [],
            "utcOffset": "+00:00",
            "utcOffsetMilliseconds": 0,
            "uiDomain": "app.hubspot.com",
            "dataHostingLocation": "eu1",
        },
    )


def usage(call: Call, _store: Store) -> Reply:
    day = {
        "name": "private-apps-api-calls-daily",
        "usageLimit": call.windows["day"].calls,
        "currentUsage": call.used.get("day", 0),
        "collectedAt": timestamp(call.now),
        "fetchStatus": "SUCCESS",
        "resetsAt": timestamp(call.now - call.now % DAY + DAY),
    }
    return Reply(200, {"results": [day]})


def property_limits(_call: Call, store: Store) -> Reply:
    counts = {id: len(store.dump_fields()[object]) for object, id in OBJECTS.items()}
    limit = CUSTOM_PROPERTIES
    kinds = [{"objectTypeId": id, "limit": limit, "usage": count} for id, count in counts.items()]
    return Reply(200, {"overallLimit": limit, "overallUsage": sum(counts.values()), "byObjectType": kinds})
