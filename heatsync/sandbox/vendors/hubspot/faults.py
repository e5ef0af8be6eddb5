"""HubSpot's faults: what its calls and records are answered when something goes wrong on purpose."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from heatsync.sandbox.calls import Call, Reply, Route
from heatsync.sandbox.fault_types import (
    HELP,
    Answer,
    CallFault,
    Draws,
    HiddenRecords,
    VendorFaults,
    body_objects,
    with_body,
)
from heatsync.sandbox.vendors.hubspot.quotas import limited

_WRITES = ("/batch/create", "/batch/update", "/batch/upsert")


def _error(code: str, message: str) -> dict[str, Any]:
    return {"status": "error", "message": message, "category": code}


def _writes_records(route: Route) -> bool:
    return route.path.endswith(_WRITES) and "/objects/" in route.path


def _expired(_call: Call, _drawn: float) -> Reply:
    return Reply(401, _error("EXPIRED_AUTHENTICATION", "Session expired or invalid"))


def _locked(_call: Call, _drawn: float) -> Reply:
    return Reply(423, _error("LOCKED", "This is locked. Try again in two seconds"))


def _moving(_call: Call, _drawn: float) -> Reply:
    body = _error("MIGRATION_IN_PROGRESS", "This account is being moved to another data center")
    return Reply(477, body, {"Retry-After": "60"})


def _noop(_call: Call, _drawn: float) -> Reply:
    return Reply(200, {"status": "COMPLETE", "results": []})


def _quota(call: Call, _drawn: float) -> Reply:
    return limited(call, "day", 3600.0)


class RecordFaults:
    """Refuses records by themselves or with their whole batch, and hides new ones from searches."""

    def __init__(self, draws: Draws) -> None:
        self._draws = draws
        self._hidden = HiddenRecords("hubspot", draws)

    def answer(self, route: Route, call: Call, done: Answer) -> Reply:
        reply = self._batch(call, done) if _writes_records(route) else done(call)
        if route.path.endswith("/search"):
            return self._hidden.without_hidden(reply, "results", call.now)
        if _writes_records(route) and route.path.endswith("/batch/create") and reply.status < 300:
            for each in reply.body["results"]:
                self._hidden.created(str(each["id"]), call.now)
        return reply

    def _batch(self, call: Call, done: Answer) -> Reply:
        object, inputs = call.params["object"], body_objects(call, "inputs")
        struck = {
            i: kind
            for i, each in enumerate(inputs)
            if (kind := FAULTS.refuses(self._draws, "hubspot", object, _identity(each)))
        }
        whole = next((i for i, kind in struck.items() if kind != "refused"), None)
        if whole is not None:
            named = struck[whole] == "named"
            return Reply(400, _record_error(inputs[whole], named), records=len(inputs), fault=struck[whole])
        if not struck:
            return done(call)
        rest = [each for i, each in enumerate(inputs) if i not in struck]
        reply = done(with_body(call, {**call.object(), "inputs": rest}))
        if reply.status >= 300:
            return reply
        errors = [*reply.body.get("errors", ()), *(_record_error(inputs[i], True) for i in struck)]
        body = {**reply.body, "numErrors": len(errors), "errors": errors}
        return replace(reply, status=207, body=body, records=len(inputs), fault="refused")


def _record_error(each: Mapping[str, Any], named: bool) -> dict[str, Any]:
    """The error of a record, named by its trace id where it has one."""
    error = _error("VALIDATION_ERROR", "The sandbox refuses this record")
    if named and each.get("objectWriteTraceId"):
        error["context"] = {"objectWriteTraceId": [each["objectWriteTraceId"]]}
    elif named:
        error["context"] = {"ids": [str(each.get("id"))]}
    return error


def _identity(each: Mapping[str, Any]) -> str:
    """What a record is known by: its id, or the first value that a new one has of these."""
    properties = each.get("properties") or {}
    return str(
        each.get("id") or next((properties[n] for n in ("email", "domain", "name") if n in properties), "")
    )


FAULTS = VendorFaults(
    error=_error,
    calls={
        "quota": CallFault(HELP["quota"], _quota),
        "expired": CallFault(HELP["expired"], _expired),
        "locked": CallFault("423: records are locked for two seconds", _locked, _writes_records),
        "moving": CallFault("477: the portal is being moved", _moving),
        "noop": CallFault(
            "a batch is answered with 200 and without a result, and nothing was written",
            _noop,
            _writes_records,
        ),
    },
    records={
        "refused": HELP["refused"],
        "named": "a record has its whole batch refused, and the answer names it",
        "unnamed": "a record has its whole batch refused, and the answer does not name it",
        "stale": HELP["stale"],
    },
    refusals=("refused", "named", "unnamed"),
    record_faults=RecordFaults,
)
