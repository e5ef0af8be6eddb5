"""What HubSpot holds before the demo: most people and companies, some unlike ours."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from heatsync.sandbox.simulator import DemoData, Row

Record = dict[str, Any]


def _records(users: Sequence[Row], accounts: Sequence[Row]) -> Mapping[str, Any]:
    return {"contacts": list(_contacts(users)), "companies": list(_companies(accounts))}


def _contacts(users: Sequence[Row]) -> Iterator[Record]:
    for n, user in enumerate(users):
        if n % 20 != 3:
            given, _, family = user["name"].partition(" ")
            properties = {"email": user["email"], "firstname": given, "lastname": family}
            yield {"id": str(101 + n), "properties": properties}


def _companies(accounts: Sequence[Row]) -> Iterator[Record]:
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


# The field that people fill in by hand; `create_fields` creates the others.
DEMO = DemoData(_records, {"contacts": {}, "companies": {"csm_note": {"type": "string"}}})
