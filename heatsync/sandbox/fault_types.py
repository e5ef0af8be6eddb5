"""What a vendor's simulator says about its faults: kinds that strike calls, kinds that strike records."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from heatsync.sandbox.calls import Call, Reply, Route

LAG = 30.0
"""Seconds for which searches do not show a new record that is `stale`."""

HELP: Mapping[str, str] = {
    "quota": "the calls of the day are used up",
    "expired": "401: the token or session has expired",
    "refused": "a record is refused by itself: 207 with its trace id, a result, a 400",
    "stale": f"searches do not show a new record for {LAG:.0f} s",
}
"""Help texts of kinds that several vendors have."""

Answer = Callable[[Call], Reply]
"""Answers a call as the vendor would without faults."""


def takes_quota(route: Route) -> bool:
    """Whether calls of the route count against a quota; a login does not."""
    return bool(route.windows)


@dataclass(frozen=True, slots=True)
class CallFault:
    """A kind of fault that strikes a call. The vendor does nothing, and `reply` is the answer.

    `reply` takes the call and a number in [0, 1), which picks among the forms of the fault. `strikes` says which
    routes it can strike.
    """

    help: str
    reply: Callable[[Call, float], Reply]
    strikes: Callable[[Route], bool] = takes_quota


@dataclass(frozen=True, slots=True)
class Draws:
    """Which records are struck: `rates` are shares by kind; the same seed and words give the same number."""

    rates: Mapping[str, float]
    seed: int

    def draw(self, *words: str) -> float:
        """A number in [0, 1) that depends only on the seed and the words."""
        digest = hashlib.sha256("\0".join((str(self.seed), *words)).encode()).digest()
        return int.from_bytes(digest[:7], "big") / 2**56

    def strikes(self, kind: str, *words: str) -> bool:
        """Whether the kind strikes what the words name."""
        return self.draw(kind, *words) < self.rates.get(kind, 0)


class RecordFaults(Protocol):
    """The faults of a vendor's records in one sandbox."""

    def answer(self, route: Route, call: Call, done: Answer) -> Reply:
        """The answer to a call: the request goes to `done` without the struck records, and the reply names them."""


@dataclass(frozen=True, slots=True)
class VendorFaults:
    """The faults of a vendor: `error` takes (code, message) and gives the body of an error.

    `calls` are the kinds that strike its calls beside the general ones, or in place of one with the same name.
    `records` are the kinds that strike its records, each with its help text. Those among `refusals` refuse a record
    for good; the first one that strikes a record counts. `record_faults` applies them.
    """

    error: Callable[[str, str], Any]
    calls: Mapping[str, CallFault] = field(default_factory=dict)
    records: Mapping[str, str] = field(default_factory=dict)
    refusals: tuple[str, ...] = ()
    record_faults: Callable[[Draws], RecordFaults] | None = None

    def refuses(self, draws: Draws, vendor: str, object: str, identity: str) -> str | None:
        """The kind that refuses every write of a record, known by its id or by what it is created with."""
        return next((kind for kind in self.refusals if draws.strikes(kind, vendor, object, identity)), None)


class HiddenRecords:
    """New records that searches do not show for a while (`stale`)."""

    def __init__(self, vendor: str, draws: Draws) -> None:
        self._vendor = vendor
        self._draws = draws
        self._until: dict[str, float] = {}

    def created(self, id: str, now: float) -> None:
        """A record was created at `now` (unix seconds)."""
        if self._draws.strikes("stale", self._vendor, id):
            self._until[id] = now + LAG

    def without_hidden(self, reply: Reply, name: str, now: float) -> Reply:
        """The answer to a search, whose results are at `name`, without the records that are still hidden."""
        if reply.status != 200:
            return reply
        shown = [each for each in reply.body[name] if now >= self._until.get(str(each["id"]), 0.0)]
        return replace(reply, body={**reply.body, name: shown})


def body_objects(call: Call, name: str) -> list[dict[str, Any]]:
    """The list of objects at `name` of the body; empty where there is something else."""
    found = call.object().get(name)
    return found if isinstance(found, list) and all(isinstance(each, dict) for each in found) else []


def with_body(call: Call, body: Mapping[str, Any]) -> Call:
    """The call with another JSON body."""
    return replace(call, body=json.dumps(body).encode())
