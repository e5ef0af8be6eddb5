"""A mapping to each destination that can be read, and what a live check finds there."""

from typing import Any

from sync_stage import Stage

from heatsync.sync.live_check import LiveCheckResult, check_mapping

HUBSPOT = """\
destination: hubspot
object: contacts
match: {email: email}
fields:
"""
READABLE = {
    "hubspot": HUBSPOT + "  mine: user.role\n",
    "intercom": "destination: intercom\nobject: contacts\nmatch: {external_id: user_id}\nfields: {mine: user.role}\n",
    "salesforce": "destination: salesforce\nobject: Contact\nmatch: {Uid__c: user_id}\nfields: {Mine__c: user.role}\n",
}
KEY = {"Uid__c": {"type": "string", "length": 64, "externalId": True, "unique": True}}
PLACES = {
    "hubspot": ("contacts", "mine"),
    "intercom": ("contacts", "mine"),
    "salesforce": ("Contact", "Mine__c"),
}


def look(stage: Stage, token: str | None = None) -> LiveCheckResult:
    """The only mapping, inspected."""
    with stage.context(token) as context:
        (mapping,) = context.choose([])
        return check_mapping(context, mapping)


def seed(stage: Stage, vendor: str, definition: dict[str, Any] | None) -> None:
    object, name = PLACES[vendor]
    fields: dict[str, Any] = {} if definition is None else {name: definition}
    own = KEY if vendor == "salesforce" else {}
    stage.sandbox.seed({"fields": {vendor: {object: {**own, **fields}}}})
