"""What Salesforce holds before the demo, and every field that the mappings write: an administrator creates them there."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from heatsync.sandbox.simulator import DemoData, Row

Record = dict[str, Any]

_NUMBER = {"type": "double"}
_TEXT = {"type": "string", "length": 255}
_LONG_TEXT = {"type": "textarea", "length": 32768}
_DATE = {"type": "date"}
_TIME = {"type": "datetime"}
_TRAITS = {
    "Score": _NUMBER,
    "Segments": _LONG_TEXT,
    "Activation": _NUMBER,
    "Adoption_Recent": _NUMBER,
    "Adoption_Ever": _NUMBER,
    "LastActive": _TIME,
    "Frequency": _NUMBER,
    "ActiveUsers": _NUMBER,
    "TotalUsers": _NUMBER,
}


def _records(users: Sequence[Row], accounts: Sequence[Row]) -> Mapping[str, Any]:
    return {"Account": list(_accounts(accounts)), "Contact": list(_contacts(users))}


def _fields() -> Mapping[str, Any]:
    account = {f"Accoil_Health_{suffix}__c": kind for suffix, kind in _TRAITS.items()}
    contact = {f"Accoil_Messaging_{suffix}__c": kind for suffix, kind in _TRAITS.items()}
    key = {"type": "string", "length": 64, "externalId": True, "unique": True}
    return {
        "Account": account
        | {
            "Heatsync_Id__c": key,
            "Engagement_Level__c": _TEXT,
            "Engagement_Trend__c": _TEXT,
            "Last_Seen__c": _DATE,
            "Went_Quiet__c": {"type": "boolean"},
            "Product_Plan__c": _TEXT,
            "CSM_Note__c": _LONG_TEXT,
        },
        "Contact": contact | {"Engagement_Level__c": _TEXT},
    }


def _accounts(accounts: Sequence[Row]) -> Iterator[Record]:
    for n, account in enumerate(accounts):
        if n % 15 != 4:
            record = {
                "Id": f"001{n:012d}AAA",
                "Name": account["name"],
                "Heatsync_Id__c": account["account_id"],
            }
            yield record | ({"CSM_Note__c": "Prefers to be called"} if n % 9 == 0 else {})


def _contacts(users: Sequence[Row]) -> Iterator[Record]:
    for n, user in enumerate(users):
        if n % 10 != 9:
            _, _, family = user["name"].partition(" ")
            yield {"Id": f"003{n:012d}AAA", "LastName": family or user["name"], "Email": user["email"]}


DEMO = DemoData(_records, _fields())
