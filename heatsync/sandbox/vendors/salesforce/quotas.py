"""Salesforce's quotas, and how it says that one is used up."""

from collections.abc import Mapping

from heatsync.sandbox.calls import Call, Reply
from heatsync.sandbox.quotas import DAY, Quota

QUOTAS = {
    # Enterprise without the share of its licences, per rolling 24 h.
    "day": Quota(100_000, DAY),
    # Bulk jobs per rolling 24 h. Salesforce counts batches of 10,000 records (limits guide, 2026).
    "jobs": Quota(15_000, DAY),
}


def limited(_call: Call, quota: str, _wait: float) -> Reply:
    if quota == "jobs":
        message = "The org has created all the jobs that it may create in 24 hours"
        return Reply(400, [{"message": message, "errorCode": "LIMIT_EXCEEDED"}])
    message = "TotalRequests Limit exceeded."
    return Reply(403, [{"message": message, "errorCode": "REQUEST_LIMIT_EXCEEDED"}])


def quota_headers(call: Call) -> Mapping[str, str]:
    return {"Sforce-Limit-Info": f"api-usage={call.used.get('day', 0)}/{call.windows['day'].calls}"}
