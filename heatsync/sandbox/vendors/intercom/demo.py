"""What Intercom holds before the demo: some contacts are known by e-mail address only, two share one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from heatsync.sandbox.simulator import DemoData, Row

Record = dict[str, Any]


def _records(users: Sequence[Row], accounts: Sequence[Row]) -> Mapping[str, Any]:
    return {"contacts": list(_contacts(users)), "companies": list(_companies(accounts))}


def _contacts(users: Sequence[Row]) -> Iterator[Record]:
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


def _companies(accounts: Sequence[Row]) -> Iterator[Record]:
    for n, account in enumerate(accounts):
        if n % 10 != 6:
            attributes: Record = {}
            yield {
                "id": f"{10**12 + n:024x}",
                "company_id": account["account_id"],
                "name": account["name"],
                "custom_attributes": attributes,
            }


# `create_fields` creates all custom attributes.
DEMO = DemoData(_records, {"contacts": {}, "companies": {}})
