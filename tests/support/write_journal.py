"""The writes that vendors acknowledged, as their calls and answers show them."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from heatsync.sandbox.calls import Call, Reply, Route
from heatsync.sandbox.simulator import Simulator

Record = tuple[str, str, str]
"""(vendor, object, their id)"""
Written = Callable[[Route, Call, Reply, bool], Iterator[tuple[Record, dict[str, Any]]]]
"""(route, call, reply, whether the reply was lost) -> the records that a call wrote, with their values; of a call whose
reply was lost, the records alone."""
Journaled = dict[Record, dict[str, Any]]
"""What a vendor said it had written."""


@dataclass
class Journal:
    """Every write that a vendor said was done, to see that none is done once more."""

    written: Mapping[str, Written]
    """By vendor."""
    known: Journaled = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)

    def listen(self, sandbox: Any) -> None:
        answer = sandbox.answer

        def heard(simulator: Simulator, route: Route, call: Call) -> Reply:
            reply: Reply = answer(simulator, route, call)
            if "/jobs/ingest" in route.path:
                self.file(route, call, reply)
            # Adding a tag again changes nothing, and saves asking which records have it.
            elif call.method != "GET" and (
                route.windows
                and not route.path.endswith(("/search", "/batch/read"))
                and "/tags" not in route.path
            ):
                self.note(simulator.name, route, call, reply)
            return reply

        sandbox.answer = heard

    def note(self, vendor: str, route: Route, call: Call, reply: Reply) -> None:
        lost = reply.fault in ("lost", "garbled")
        if (not lost and not 200 <= reply.status < 300) or reply.fault == "html":
            return
        for record, values in self.written[vendor](route, call, reply, lost):
            if lost:
                self.known.pop(record, None)
                continue
            known = self.known.setdefault(record, {})
            if values and all(name in known and known[name] == value for name, value in values.items()):
                self.repeated.append(f"{record} {values}")
            known.update(values)

    def file(self, route: Route, call: Call, reply: Reply) -> None:
        """A file at Salesforce: until its results are read, the values of its records are unknown."""
        if call.method == "PUT" and (reply.status == 201 or reply.cut):
            for record, values in _rows(call.body.decode()):
                known = self.known.pop(record, {})
                if values and all(name in known and known[name] == value for name, value in values.items()):
                    self.repeated.append(f"{record} {values}")
        whole = reply.status == 200 and reply.fault in ("", "slow", "refused")
        if route.path.rstrip("/").endswith("/successfulResults") and whole:
            for record, values in _rows(reply.body):
                self.known.setdefault(record, {}).update(values)


def _rows(text: str) -> Iterator[tuple[tuple[str, str, str], dict[str, Any]]]:
    """The records of a file: what it says of them."""
    for row in csv.DictReader(io.StringIO(text, newline="")):
        values = {
            name: None if cell == "#N/A" else cell
            for name, cell in row.items()
            if cell and name not in ("Id", "sf__Id", "sf__Created")
        }
        yield ("salesforce", "Account", row.get("sf__Id") or row.get("Id") or row["Key__c"]), values


def hubspot_writes(
    _route: Route, call: Call, reply: Reply, lost: bool
) -> Iterator[tuple[Record, dict[str, Any]]]:
    body, object = json.loads(call.body), call.params.get("object", "")
    inputs = {each.get("objectWriteTraceId"): each for each in body["inputs"]}
    if lost:
        yield from ((("hubspot", object, str(each.get("id"))), {}) for each in body["inputs"])
        return
    for result in reply.body["results"]:
        yield ("hubspot", object, result["id"]), inputs[result["objectWriteTraceId"]]["properties"]


def intercom_writes(
    route: Route, call: Call, reply: Reply, lost: bool
) -> Iterator[tuple[Record, dict[str, Any]]]:
    body, object = json.loads(call.body), route.path.split("/")[1]
    flat = {**body, **body.get("custom_attributes", {})}
    flat.pop("custom_attributes", None)
    yield ("intercom", object, call.params.get("id", "") if lost else reply.body["id"]), flat


def salesforce_writes(
    _route: Route, call: Call, reply: Reply, lost: bool
) -> Iterator[tuple[Record, dict[str, Any]]]:
    for i, each in enumerate(json.loads(call.body)["records"]):
        values = {n: v for n, v in each.items() if n not in ("attributes", "id")}
        known = each.get("id") or each.get("Key__c")
        if lost:
            yield ("salesforce", "Account", str(known)), {}
        elif reply.body[i]["success"]:
            yield ("salesforce", "Account", reply.body[i]["id"]), values


def segment_writes(
    _route: Route, call: Call, _reply: Reply, _lost: bool
) -> Iterator[tuple[Record, dict[str, Any]]]:
    for each in json.loads(call.body)["batch"]:
        id = each.get("groupId") or each["userId"]
        yield ("segment", each["type"], id), dict(each["traits"])


WRITES: Mapping[str, Written] = {
    "hubspot": hubspot_writes,
    "intercom": intercom_writes,
    "salesforce": salesforce_writes,
    "segment": segment_writes,
}
"""By vendor: the records that a call writes."""
