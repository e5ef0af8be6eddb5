"""Intercom's faults: what its calls and records are answered when something goes wrong on purpose."""

from typing import Any

from heatsync.sandbox.calls import Call, Reply, Route
from heatsync.sandbox.fault_types import HELP, Answer, CallFault, Draws, HiddenRecords, VendorFaults

_REFUSABLE = ("/contacts", "/contacts/{id}", "/companies", "/companies/{id}")


def _error(code: str, message: str) -> dict[str, Any]:
    return {"type": "error.list", "request_id": None, "errors": [{"code": code, "message": message}]}


def _expired(_call: Call, _drawn: float) -> Reply:
    return Reply(401, _error("unauthorized", "Session expired or invalid"))


class RecordFaults:
    """Refuses records, also where they are tagged, and hides new contacts from searches."""

    def __init__(self, draws: Draws) -> None:
        self._draws = draws
        self._hidden = HiddenRecords("intercom", draws)

    def answer(self, route: Route, call: Call, done: Answer) -> Reply:
        reply = self._write(route, call, done) if call.method in ("POST", "PUT") else done(call)
        if route.path.endswith("/search"):
            return self._hidden.without_hidden(reply, "data", call.now)
        if route.method == "POST" and route.path.endswith("/contacts") and reply.status < 300:
            self._hidden.created(str(reply.body["id"]), call.now)
        return reply

    def _write(self, route: Route, call: Call, done: Answer) -> Reply:
        if route.path == "/tags":
            return self._tags(call, done)
        if route.path not in _REFUSABLE:
            return done(call)
        body = call.object()
        new = next((body[name] for name in ("external_id", "company_id", "email") if body.get(name)), "")
        if not self._refuses(route.path.split("/")[1], call.params.get("id") or str(new)):
            return done(call)
        return Reply(422, _error("data_invalid", "The sandbox refuses this record"), fault="refused")

    def _tags(self, call: Call, done: Answer) -> Reply:
        """One refused record has the whole call refused."""
        body = call.object()
        named = [
            (object, str(each.get("id")))
            for kind, object in (("users", "contacts"), ("companies", "companies"))
            for each in body.get(kind) or ()
        ]
        if not any(self._refuses(object, id) for object, id in named):
            return done(call)
        error = _error("data_invalid", "The sandbox refuses this record")
        return Reply(422, error, records=len(named), fault="refused")

    def _refuses(self, object: str, identity: str) -> bool:
        return FAULTS.refuses(self._draws, "intercom", object, identity) is not None


FAULTS = VendorFaults(
    error=_error,
    calls={"expired": CallFault(HELP["expired"], _expired)},
    records={"refused": HELP["refused"], "stale": HELP["stale"]},
    refusals=("refused",),
    record_faults=RecordFaults,
)
