"""What goes wrong with vendors, on purpose and by seed.

A fault of a call is drawn anew for the n-th call of an endpoint; one of a record belongs to the record for good, so
that who is refused once is refused always. No vendor's file knows of any of it: a request is thinned before its
vendor sees it, and an answer changed afterwards. What each kind looks like is as the vendors document it, or as it was
reported of them (see docs/destinations.md).
"""

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from heatsync.sandbox.calls import Call, Reply, Route, Service
from heatsync.sandbox.salesforce.bulk import ENDED, written

EVERYONE = frozenset({"segment", "intercom", "hubspot", "salesforce"})
READABLE = EVERYONE - {"segment"}
HUBSPOT, SALESFORCE = frozenset({"hubspot"}), frozenset({"salesforce"})
HUBSPOT_WRITES = ("/batch/create", "/batch/update", "/batch/upsert")
LAG = 30.0
"""Seconds for which searches do not show a new record that is `stale`."""
SLOW = 3.0
"""Seconds that a slow answer takes."""
PAGE = "<html><head><title>Please stand by</title></head><body>We are back soon.</body></html>"

Done = Callable[[Call], Reply]


@dataclass(frozen=True, slots=True)
class Kind:
    """A fault: whose it is, and in words. One `of` "call" strikes calls, one of "record" records."""

    says: str
    vendors: frozenset[str]
    of: str = "call"


KINDS: Mapping[str, Kind] = {
    "server": Kind("500, 502 or 503; nothing was done", EVERYONE),
    "html": Kind("a web page in place of the answer, with 502, 503 or even 200; nothing was done", EVERYONE),
    "cut": Kind("the connection is closed before anything was done", EVERYONE),
    "lost": Kind("it was done, but the connection is closed in place of an answer", EVERYONE),
    "garbled": Kind("it was done, but half of the answer is missing", EVERYONE),
    "slow": Kind(f"it was done, and the answer takes {SLOW:.0f} s", EVERYONE),
    "limit": Kind("429 with the vendor's headers though the window has room (Salesforce: 403)", EVERYONE),
    "quota": Kind("the calls of the day are used up (HubSpot, Salesforce)", HUBSPOT | SALESFORCE),
    "expired": Kind("401: the token or session has ended (all but Segment)", READABLE),
    "locked": Kind("423: records are locked for two seconds (HubSpot)", HUBSPOT),
    "moving": Kind("477: the portal is being moved (HubSpot)", HUBSPOT),
    "noop": Kind(
        "a batch is answered with 200 and without a result, and nothing was written (HubSpot)", HUBSPOT
    ),
    "refused": Kind(
        "a record is refused by itself: 207 with its trace id, a result, a 400", READABLE, "record"
    ),
    "named": Kind("a record has its whole batch refused, and is named (HubSpot)", HUBSPOT, "record"),
    "unnamed": Kind("a record has its whole batch refused, and is not named (HubSpot)", HUBSPOT, "record"),
    "row": Kind("UNABLE_TO_LOCK_ROW, which passes (Salesforce)", SALESFORCE, "record"),
    "stale": Kind(
        f"searches do not show a new record for {LAG:.0f} s (HubSpot, Intercom)", READABLE, "record"
    ),
}
ALL = "all"
"""In place of a kind: whatever may happen to a call, at random."""


@dataclass(slots=True)
class Faults:
    """The faults of a sandbox. `rates` are shares of calls or of records, by kind."""

    rates: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    slow: float = SLOW
    _calls: Counter[str] = field(default_factory=Counter)
    _writes: Counter[str] = field(default_factory=Counter)
    _jobs: dict[str, "_Job"] = field(default_factory=dict)
    _hidden: dict[str, float] = field(default_factory=dict)
    """Until when a new record is kept from searches, by vendor and id."""

    def answer(self, service: Service, route: Route, call: Call, done: Done) -> Reply:
        """The answer to a call that `done` would answer, with whatever goes wrong."""
        struck = self._strike(service, route)
        if struck is None:
            return self._answered(service, route, call, done)
        if struck in ("lost", "garbled", "slow"):
            return self._after(struck, self._answered(service, route, call, done))
        return replace(
            _before(struck, service, call, self._draw("status", *self._place(service, route))), fault=struck
        )

    def refuses(self, vendor: str, object: str, identity: str) -> str | None:
        """The kind by which writes of a record are refused for good: it is known by its id, or what it is made with."""
        for kind in ("refused", "named", "unnamed"):
            if vendor in KINDS[kind].vendors and self._draw(kind, vendor, object, identity) < self.rates.get(
                kind, 0
            ):
                return kind
        return None

    def _strike(self, service: Service, route: Route) -> str | None:
        """What happens to this call of an endpoint."""
        place = self._place(service, route)
        self._calls["".join(place[:2])] += 1
        drawn, below = self._draw("call", *place), 0.0
        for kind, rate in self.rates.items():
            if kind == ALL or (KINDS[kind].of == "call" and _may(kind, service, route)):
                below += rate
            else:
                continue
            if drawn < below:
                return self._any(service, route) if kind == ALL else kind
        return None

    def _any(self, service: Service, route: Route) -> str:
        kinds = [kind for kind, each in KINDS.items() if each.of == "call" and _may(kind, service, route)]
        return kinds[int(self._draw("which", *self._place(service, route)) * len(kinds))]

    def _place(self, service: Service, route: Route) -> tuple[str, str, str]:
        count = self._calls[service.name + route.label]
        return service.name, route.label, str(count)

    def _draw(self, *words: str) -> float:
        """A number in [0, 1) that only depends on the seed and the words."""
        digest = hashlib.sha256("\0".join((str(self.seed), *words)).encode()).digest()
        return int.from_bytes(digest[:7], "big") / 2**56

    def _after(self, kind: str, reply: Reply) -> Reply:
        if kind == "slow":
            return replace(reply, delay=self.slow, fault=kind)
        if kind == "lost" or reply.body is None:
            return replace(reply, cut=True, fault="lost")
        text = reply.body if reply.raw else json.dumps(reply.body)
        return replace(reply, body=text[: len(text) // 2], raw=True, fault=kind)

    def _answered(self, service: Service, route: Route, call: Call, done: Done) -> Reply:
        """The answer of the vendor, without those of its records that something is wrong with."""
        if service.name == "hubspot" and route.path.endswith(HUBSPOT_WRITES):
            reply = self._hubspot(call, done)
        elif service.name == "salesforce" and call.method == "PATCH" and "/composite/sobjects" in route.path:
            reply = self._salesforce(call, done)
        elif service.name == "salesforce" and "/jobs/ingest" in route.path:
            reply = self._bulk(route, call, done)
        elif service.name == "intercom" and call.method in ("POST", "PUT"):
            reply = self._intercom(call, route, done)
        else:
            reply = done(call)
        return self._stale(service.name, route, call, reply) if "stale" in self.rates else reply

    def _hubspot(self, call: Call, done: Done) -> Reply:
        object, inputs = call.params["object"], _list(call, "inputs")
        wrong = {
            i: kind
            for i, each in enumerate(inputs)
            if (kind := self.refuses("hubspot", object, _made_of(each)))
        }
        whole = next((i for i, kind in wrong.items() if kind != "refused"), None)
        if whole is not None:
            # Without the id of the record its trace names it, where there is one.
            named = wrong[whole] == "named"
            return Reply(400, _hubspot_error(inputs[whole], named), records=len(inputs), fault=wrong[whole])
        if not wrong:
            return done(call)
        rest = [each for i, each in enumerate(inputs) if i not in wrong]
        reply = done(replace(call, body=json.dumps({**call.object(), "inputs": rest}).encode()))
        if reply.status >= 300:
            return reply
        errors = [*reply.body.get("errors", ()), *(_hubspot_error(inputs[i], True) for i in wrong)]
        body = {**reply.body, "numErrors": len(errors), "errors": errors}
        return replace(reply, status=207, body=body, records=len(inputs), fault="refused")

    def _salesforce(self, call: Call, done: Done) -> Reply:
        records, key = _list(call, "records"), call.params.get("field", "id")
        wrong: dict[int, tuple[str, str]] = {}
        for i, each in enumerate(records):
            object = call.params.get("object") or str(each.get("attributes", {}).get("type"))
            error = self._sf_error(object, str(each.get("id") or each.get(key)))
            if error is not None:
                wrong[i] = error
        if not wrong:
            return done(call)
        rest = [each for i, each in enumerate(records) if i not in wrong]
        reply = done(replace(call, body=json.dumps({**call.object(), "records": rest}).encode()))
        if reply.status != 200:
            return reply
        results = list(reply.body)
        for i, (code, message) in wrong.items():
            results.insert(
                i, {"success": False, "errors": [{"statusCode": code, "message": message, "fields": []}]}
            )
        return replace(reply, body=results, records=len(records), fault="refused")

    def _sf_error(self, object: str, identity: str) -> tuple[str, str] | None:
        """What is wrong with this write of a Salesforce record."""
        self._writes[identity] += 1
        if self.refuses("salesforce", object, identity):
            return "FIELD_CUSTOM_VALIDATION_EXCEPTION", "The sandbox refuses this record"
        if self._draw("row", identity, str(self._writes[identity])) < self.rates.get("row", 0):
            return "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record"
        return None

    def _bulk(self, route: Route, call: Call, done: Done) -> Reply:
        """A file is thinned when it comes; its job counts and lists what was taken out."""
        id = call.params.get("job", "")
        if call.method == "PUT":
            return self._thinned(id, call, done)
        reply = done(call)
        if call.method == "POST" and reply.status == 200:
            key = reply.body.get("externalIdFieldName", "Id")
            self._jobs[reply.body["id"]] = _Job(reply.body["object"], key)
        job = self._jobs.get(id)
        if job is None or not job.out or call.method != "GET" or reply.status != 200:
            return reply
        if route.path.rstrip("/").endswith("/failedResults"):
            lost = [[own, f"{code}:{message}:--", *cells] for own, code, message, cells in job.out]
            start = reply.body or written([["sf__Id", "sf__Error", *job.columns]])
            return replace(
                reply, body=start + written(lost), records=reply.records + len(lost), fault="refused"
            )
        if route.path.rstrip("/").endswith("/{job}") and reply.body["state"] in ENDED:
            more = {
                name: reply.body[name] + len(job.out)
                for name in ("numberRecordsProcessed", "numberRecordsFailed")
            }
            return replace(reply, body={**reply.body, **more})
        return reply

    def _thinned(self, id: str, call: Call, done: Done) -> Reply:
        job = self._jobs.get(id)
        if job is None:
            return done(call)
        columns, *rows = list(csv.reader(io.StringIO(call.body.decode(), newline=""))) or [[]]
        place = columns.index(job.key) if job.key in columns else 0
        kept, out = [columns], []
        for cells in rows:
            error = self._sf_error(job.object, cells[place])
            if error is None:
                kept.append(cells)
            else:
                out.append((cells[place] if job.key == "Id" else "", *error, cells))
        reply = done(replace(call, body=written(kept).encode()) if out else call)
        if reply.status == 201:
            job.columns, job.out = columns, out
        return reply

    def _intercom(self, call: Call, route: Route, done: Done) -> Reply:
        if route.path == "/tags":
            return self._intercom_tags(call, done)
        if route.path not in ("/contacts", "/contacts/{id}", "/companies", "/companies/{id}"):
            return done(call)
        object = route.path.split("/")[1]
        body = call.object()
        made = next((body[name] for name in ("external_id", "company_id", "email") if body.get(name)), "")
        if not self.refuses("intercom", object, call.params.get("id") or str(made)):
            return done(call)
        return Reply(
            422, _error("intercom", "data_invalid", "The sandbox refuses this record"), fault="refused"
        )

    def _intercom_tags(self, call: Call, done: Done) -> Reply:
        """One who is refused has everybody refused."""
        body = call.object()
        named = [
            (object, str(each.get("id")))
            for kind, object in (("users", "contacts"), ("companies", "companies"))
            for each in body.get(kind) or ()
        ]
        if not any(self.refuses("intercom", object, id) for object, id in named):
            return done(call)
        error = _error("intercom", "data_invalid", "The sandbox refuses this record")
        return Reply(422, error, records=len(named), fault="refused")

    def _stale(self, vendor: str, route: Route, call: Call, reply: Reply) -> Reply:
        """Keep new records out of searches for a while."""
        where = "results" if vendor == "hubspot" else "data"
        if route.path.endswith("/search") and reply.status == 200:
            shown = [
                each
                for each in reply.body[where]
                if call.now >= self._hidden.get(f"{vendor} {each['id']}", 0.0)
            ]
            return replace(reply, body={**reply.body, where: shown})
        if (
            route.method == "POST"
            and route.path.endswith(("/batch/create", "/contacts"))
            and reply.status < 300
        ):
            made = reply.body["results"] if vendor == "hubspot" else [reply.body]
            for each in made:
                if self._draw("stale", vendor, str(each["id"])) < self.rates["stale"]:
                    self._hidden[f"{vendor} {each['id']}"] = call.now + LAG
        return reply


@dataclass(slots=True)
class _Job:
    """A bulk job of Salesforce's: what was taken `out` of its file, as (id, code, message, cells)."""

    object: str
    key: str
    columns: list[str] = field(default_factory=list)
    out: list[tuple[str, str, str, list[str]]] = field(default_factory=list)


def told() -> str:
    """The kinds, for a person at a terminal."""
    lines = [
        f"  {name:9} {kind.says}"
        for name, kind in (*KINDS.items(), (ALL, Kind("any of those that strike a call", EVERYONE)))
    ]
    shares = "Faults are shares: of calls, and of records where they are of records. The same seed, the same faults."
    return "\n".join(("\b", shares, *lines, "Example: --faults server=0.05,lost=0.02,refused=0.01,seed=7"))


def parse(spec: str) -> Faults:
    """Faults as the command line writes them: `server=0.1,lost=0.02,seed=7`. Raises ValueError with a sentence."""
    rates: dict[str, float] = {}
    seed = 0
    for part in filter(None, map(str.strip, spec.split(","))):
        name, _, value = part.partition("=")
        if name != "seed" and name != ALL and name not in KINDS:
            raise ValueError(f"There is no fault {name!r}. Faults: {', '.join(KINDS)}, or {ALL}; and seed=N.")
        try:
            if name == "seed":
                seed = int(value)
            else:
                rates[name] = float(value)
        except ValueError:
            kind = "a whole number" if name == "seed" else "a share between 0 and 1"
            raise ValueError(
                f"{name} needs {kind}, as in {name}={'7' if name == 'seed' else '0.05'}."
            ) from None
    _shares(rates)
    return Faults(rates, seed)


def _shares(rates: Mapping[str, float]) -> None:
    for name, rate in rates.items():
        if not 0 <= rate <= 1:
            raise ValueError(f"{name} needs a share between 0 and 1, as in {name}=0.05, and not {rate:g}.")
    calls = sum(rate for name, rate in rates.items() if name == ALL or KINDS[name].of == "call")
    if calls > 1:
        raise ValueError(f"The shares of calls that go wrong add up to {calls:g}, and cannot be more than 1.")


def _may(kind: str, service: Service, route: Route) -> bool:
    """Whether this kind can strike a call of that endpoint."""
    if service.name not in KINDS[kind].vendors:
        return False
    writes = route.path.endswith(HUBSPOT_WRITES) and "/objects/" in route.path
    if kind in ("locked", "noop"):
        return writes
    # Without a quota it is the login.
    return bool(route.windows) or kind in ("server", "html", "cut", "lost", "garbled", "slow")


def _before(kind: str, service: Service, call: Call, drawn: float) -> Reply:
    """The answer to a call that the vendor never began."""
    vendor = service.name
    match kind:
        case "cut":
            return Reply(0, cut=True)
        case "server":
            status = (500, 502, 503)[int(drawn * 3)]
            return Reply(status, _error(vendor, "server_error", "The sandbox is out of order"))
        case "html":
            return Reply((502, 503, 200)[int(drawn * 3)], PAGE, {"Content-Type": "text/html"}, raw=True)
        case "limit" if vendor == "salesforce":
            message = "ConcurrentRequests (Concurrent API Requests) Limit exceeded."
            return Reply(403, _error(vendor, "REQUEST_LIMIT_EXCEEDED", message))
        case "limit":
            return service.limited(call, service.main_window, 1.0)
        case "quota":
            return service.limited(call, "day", 3600.0)
        case "expired":
            code = {"hubspot": "EXPIRED_AUTHENTICATION", "intercom": "unauthorized"}.get(
                vendor, "INVALID_SESSION_ID"
            )
            return Reply(401, _error(vendor, code, "Session expired or invalid"))
        case "locked":
            return Reply(423, _error(vendor, "LOCKED", "This is locked. Try again in two seconds"))
        case "moving":
            body = _error(
                vendor, "MIGRATION_IN_PROGRESS", "This account is being moved to another data center"
            )
            return Reply(477, body, {"Retry-After": "60"})
    return Reply(200, {"status": "COMPLETE", "results": []})


def _error(vendor: str, code: str, message: str) -> Any:
    """An error in the vendor's shape."""
    match vendor:
        case "hubspot":
            return {"status": "error", "message": message, "category": code}
        case "intercom":
            return {"type": "error.list", "request_id": None, "errors": [{"code": code, "message": message}]}
        case "salesforce":
            return [{"errorCode": code, "message": message}]
    return {"success": False, "code": code, "message": message}


def _hubspot_error(each: Mapping[str, Any], named: bool) -> dict[str, Any]:
    error = dict(_error("hubspot", "VALIDATION_ERROR", "The sandbox refuses this record"))
    if named and each.get("objectWriteTraceId"):
        error["context"] = {"objectWriteTraceId": [each["objectWriteTraceId"]]}
    elif named:
        error["context"] = {"ids": [str(each.get("id"))]}
    return error


def _made_of(each: Mapping[str, Any]) -> str:
    """What a record of HubSpot's is known by: its id, or what a new one has."""
    properties = each.get("properties") or {}
    return str(
        each.get("id") or next((properties[n] for n in ("email", "domain", "name") if n in properties), "")
    )


def _list(call: Call, name: str) -> list[dict[str, Any]]:
    found = call.object().get(name)
    return found if isinstance(found, list) and all(isinstance(each, dict) for each in found) else []
