"""What the four tools already hold about the people and companies of a data folder, before heatsync comes.

Not everything fits, as in life: some records are missing, some are known by e-mail address only, one company
is there twice, two contacts share an e-mail address, and a note that somebody wrote by hand must survive.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def state(folder: Path) -> dict[str, Any]:
    """The sandbox's state for `users.csv` and, if there is one, `accounts.csv` of a folder."""
    users, accounts = list(_rows(folder / "users.csv")), list(_rows(folder / "accounts.csv"))
    return {
        "hubspot": {
            "contacts": list(_hubspot_contacts(users)),
            "companies": list(_hubspot_companies(accounts)),
        },
        "intercom": {
            "contacts": list(_intercom_contacts(users)),
            "companies": list(_intercom_companies(accounts)),
        },
        "segment": {"users": {}, "groups": {}},
        "salesforce": {
            "Account": list(_salesforce_accounts(accounts)),
            "Contact": list(_salesforce_contacts(users)),
        },
        "fields": fields(),
    }


def fields() -> dict[str, Any]:
    """The custom fields that are there.

    Salesforce has all that the mappings of the two demos write, for there an administrator makes them.
    HubSpot has the one that people fill in by hand; the others, and Intercom's, are for `create_fields` to make.
    """
    account = {f"Accoil_Health_{suffix}__c": kind for suffix, kind in _TRAITS.items()}
    contact = {f"Accoil_Messaging_{suffix}__c": kind for suffix, kind in _TRAITS.items()}
    key = {"type": "string", "length": 64, "externalId": True, "unique": True}
    return {
        "hubspot": {"contacts": {}, "companies": {"csm_note": {"type": "string"}}},
        "intercom": {"contacts": {}, "companies": {}},
        "salesforce": {
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
        },
    }


def _hubspot_contacts(users: list[dict[str, str]]) -> Iterator[Record]:
    for n, user in enumerate(users):
        if n % 20 != 3:
            given, _, family = user["name"].partition(" ")
            properties = {"email": user["email"], "firstname": given, "lastname": family}
            yield {"id": str(101 + n), "properties": properties}


def _hubspot_companies(accounts: list[dict[str, str]]) -> Iterator[Record]:
    for n, account in enumerate(accounts):
        if n % 12 == 5:
            continue
        properties = {"name": account["name"]}
        if account["domain"]:
            properties["domain"] = account["domain"]
        if n % 6 == 0:
            properties["csm_note"] = "Renewal talk in spring, ask for Mrs Keller"
        yield {"id": str(900_001 + n), "properties": properties}
        if n == 2:
            yield {
                "id": str(800_001),
                "properties": {"name": f"{account['name']} (old)", "domain": account["domain"]},
            }


def _intercom_contacts(users: list[dict[str, str]]) -> Iterator[Record]:
    for n, user in enumerate(users):
        if n % 25 == 7:
            continue
        email = user["email"]
        contact: Record = {"id": f"{n:024x}", "name": user["name"], "custom_attributes": {}}
        # Intercom keeps an address as it was typed.
        contact["email"] = email[:1].upper() + email[1:] if n % 50 == 1 else email
        if n % 3 and n != 10:
            contact["external_id"] = user["user_id"]
        yield contact
        if n == 10:
            yield contact | {"id": f"{10**9 + n:024x}"}


def _intercom_companies(accounts: list[dict[str, str]]) -> Iterator[Record]:
    for n, account in enumerate(accounts):
        if n % 10 != 6:
            attributes: Record = {}
            yield {
                "id": f"{10**12 + n:024x}",
                "company_id": account["account_id"],
                "name": account["name"],
                "custom_attributes": attributes,
            }


def _salesforce_accounts(accounts: list[dict[str, str]]) -> Iterator[Record]:
    for n, account in enumerate(accounts):
        if n % 15 != 4:
            record = {
                "Id": f"001{n:012d}AAA",
                "Name": account["name"],
                "Heatsync_Id__c": account["account_id"],
            }
            yield record | ({"CSM_Note__c": "Prefers to be called"} if n % 9 == 0 else {})


def _salesforce_contacts(users: list[dict[str, str]]) -> Iterator[Record]:
    for n, user in enumerate(users):
        if n % 10 != 9:
            _, _, family = user["name"].partition(" ")
            yield {"Id": f"003{n:012d}AAA", "LastName": family or user["name"], "Email": user["email"]}


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)
