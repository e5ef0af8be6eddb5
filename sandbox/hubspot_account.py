"""HubSpot's paths about the account itself: who it is, and how much of its quotas is used."""

from sandbox.calls import Call, Reply
from sandbox.hubspot_properties import timestamp
from sandbox.hubspot_schema import CUSTOM_PROPERTIES
from sandbox.hubspot_store import OBJECTS, Store
from sandbox.quotas import DAY


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
