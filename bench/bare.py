"""The calls of a delivery as the shortest script would make them: `requests`, a loop, and no questions asked.

No ledger, no quota, no retries; that each record has an answer is all that is looked at.
"""

import gzip
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

Values = dict[str, Any]
Call = Callable[[requests.Session, str, Sequence[tuple[int, Values]]], None]
"""(session, address, (number, fields) of each record) -> one call."""


def _hubspot(session: requests.Session, url: str, rows: Sequence[tuple[int, Values]]) -> None:
    inputs = [
        {"id": str(n + 1), "properties": values, "objectWriteTraceId": f"t{i}"}
        for i, (n, values) in enumerate(rows)
    ]
    answer = session.post(f"{url}/crm/objects/2026-09/contacts/batch/update", json={"inputs": inputs})
    assert {each["objectWriteTraceId"] for each in answer.json()["results"]} == {
        each["objectWriteTraceId"] for each in inputs
    }


def _intercom(session: requests.Session, url: str, rows: Sequence[tuple[int, Values]]) -> None:
    ((n, values),) = rows
    answer = session.put(f"{url}/contacts/i{n}", json={"custom_attributes": values})
    assert answer.json()["id"] == f"i{n}"


def _segment(session: requests.Session, url: str, rows: Sequence[tuple[int, Values]]) -> None:
    batch = [
        {"type": "identify", "userId": f"u{n}", "messageId": f"bare-{n}", "traits": values}
        for n, values in rows
    ]
    body = gzip.compress(json.dumps({"batch": batch, "writeKey": "bench"}).encode())
    answer = session.post(f"{url}/v1/batch", data=body, headers={"Content-Encoding": "gzip"})
    assert answer.json()["success"]


def _salesforce(session: requests.Session, url: str, rows: Sequence[tuple[int, Values]]) -> None:
    records = [{"attributes": {"type": "Contact"}, "id": f"003{n:012d}AAA", **values} for n, values in rows]
    answer = session.patch(
        f"{url}/services/data/v64.0/composite/sobjects", json={"allOrNone": False, "records": records}
    )
    assert all(each["success"] for each in answer.json())


CALLS: dict[str, tuple[Call, int]] = {
    "hubspot": (_hubspot, 100),
    "intercom": (_intercom, 1),
    "segment": (_segment, 2_500),
    "salesforce": (_salesforce, 200),
}
"""By destination: the call, and how many records it takes."""


def deliver(name: str, url: str, rows: Sequence[tuple[int, Values]], threads: int = 1) -> int:
    """Make the calls for these records; answers how many it were."""
    call, size = CALLS[name]
    mine = threading.local()

    def one(part: Sequence[tuple[int, Values]]) -> None:
        if not hasattr(mine, "session"):
            mine.session = requests.Session()
            mine.session.trust_env = False
            mine.session.headers["Authorization"] = "Basic YmVuY2g6" if name == "segment" else "Bearer bench"
        call(mine.session, url, part)

    parts = list(_parts(rows, size))
    if threads == 1:
        for part in parts:
            one(part)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, parts))
    return len(parts)


def _parts(rows: Sequence[tuple[int, Values]], size: int) -> Iterator[Sequence[tuple[int, Values]]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
