"""Faults on purpose, by seed.

A fault of a call is drawn for the n-th call of an endpoint; a fault of a record belongs to the record for good, so
that a record which is refused once is always refused. What a fault looks like is as the vendor documents it, or as it
was reported (see docs/destinations.md); each simulator brings its own kinds.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from heatsync.sandbox.calls import Call, Reply, Route
from heatsync.sandbox.fault_types import Answer, CallFault, Draws, RecordFaults
from heatsync.sandbox.registry import SIMULATORS
from heatsync.sandbox.simulator import Simulator

SLOW = 3.0
"""Seconds that a slow answer takes."""
PAGE = "<html><head><title>Please stand by</title></head><body>We are back soon.</body></html>"
ALL = "all"
"""In place of a kind: any kind that strikes calls, at random."""

_BEFORE: Mapping[str, str] = {
    "server": "500, 502 or 503; nothing was done",
    "html": "a web page in place of the answer, with 502, 503 or even 200; nothing was done",
    "cut": "the connection is closed before anything was done",
}
_AFTER: Mapping[str, str] = {
    "lost": "it was done, but the connection is closed in place of an answer",
    "garbled": "it was done, but half of the answer is missing",
    "slow": f"it was done, and the answer takes {SLOW:.0f} s",
}
_LIMIT = "the vendor's answer to too many calls, although there is room left"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: its help text, the vendors that have it, and whether it strikes records and not calls."""

    help: str
    vendors: frozenset[str]
    strikes_records: bool = False


def _general(simulator: Simulator) -> dict[str, CallFault]:
    """The kinds that strike calls of every vendor before anything was done."""
    error = simulator.faults.error

    def server(_call: Call, drawn: float) -> Reply:
        return Reply((500, 502, 503)[int(drawn * 3)], error("server_error", "The sandbox is out of order"))

    def html(_call: Call, drawn: float) -> Reply:
        return Reply((502, 503, 200)[int(drawn * 3)], PAGE, {"Content-Type": "text/html"}, raw=True)

    def limit(call: Call, _drawn: float) -> Reply:
        return simulator.limited(call, simulator.main_quota, 1.0)

    replies = {"server": server, "html": html, "cut": lambda _call, _drawn: Reply(0, cut=True)}
    found = {kind: CallFault(help, replies[kind], lambda _: True) for kind, help in _BEFORE.items()}
    return found | {"limit": CallFault(_LIMIT, limit)}


def call_faults(simulator: Simulator) -> dict[str, CallFault | None]:
    """The kinds that strike calls of a vendor; None for those whose call is done first."""
    general = _general(simulator)
    limit = general.pop("limit")
    return {**general, **dict.fromkeys(_AFTER), "limit": limit, **simulator.faults.calls}


def kinds(simulators: Mapping[str, Simulator] = SIMULATORS) -> dict[str, Kind]:
    """Every kind of fault by name: first those of calls, then those of records."""
    found: dict[str, Kind] = {}

    def add(name: str, help: str, vendor: str, strikes_records: bool) -> None:
        known = found.get(name)
        vendors = (known.vendors if known else frozenset()) | {vendor}
        found[name] = Kind(known.help if known else help, vendors, strikes_records)

    for name, simulator in simulators.items():
        for kind, fault in call_faults(simulator).items():
            add(kind, fault.help if fault else _AFTER[kind], name, False)
    for name, simulator in simulators.items():
        for kind, help in simulator.faults.records.items():
            add(kind, help, name, True)
    return found


@dataclass(slots=True)
class Faults:
    """The faults of a sandbox. `rates` are shares of calls or of records, by kind; `slow` is in seconds."""

    rates: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    slow: float = SLOW
    _calls: Counter[str] = field(default_factory=Counter)
    _of_calls: dict[str, dict[str, CallFault | None]] = field(default_factory=dict)
    _of_records: dict[str, RecordFaults | None] = field(default_factory=dict)

    @property
    def draws(self) -> Draws:
        return Draws(self.rates, self.seed)

    def answer(self, simulator: Simulator, route: Route, call: Call, done: Answer) -> Reply:
        """The answer to a call that `done` would answer, with whatever goes wrong."""
        struck = self._strike(simulator, route)
        if struck is None:
            return self._answered(simulator, route, call, done)
        fault = self._call_faults(simulator)[struck]
        if fault is None:
            return self._after(struck, self._answered(simulator, route, call, done))
        drawn = self.draws.draw("status", *self._place(simulator, route))
        return replace(fault.reply(call, drawn), fault=struck)

    def refuses(self, vendor: str, object: str, identity: str) -> str | None:
        """The kind that refuses every write of a record, known by its id or by what it is created with."""
        return SIMULATORS[vendor].faults.refuses(self.draws, vendor, object, identity)

    def _strike(self, simulator: Simulator, route: Route) -> str | None:
        """The kind that strikes this call of an endpoint, if any."""
        place = self._place(simulator, route)
        self._calls["".join(place[:2])] += 1
        possible = self._possible(simulator, route)
        drawn, below = self.draws.draw("call", *place), 0.0
        for kind, rate in self.rates.items():
            if kind != ALL and kind not in possible:
                continue
            below += rate
            if drawn < below:
                return self._any(simulator, route, possible) if kind == ALL else kind
        return None

    def _possible(self, simulator: Simulator, route: Route) -> list[str]:
        faults = self._call_faults(simulator)
        return [kind for kind, fault in faults.items() if fault is None or fault.strikes(route)]

    def _any(self, simulator: Simulator, route: Route, possible: list[str]) -> str:
        return possible[int(self.draws.draw("which", *self._place(simulator, route)) * len(possible))]

    def _place(self, simulator: Simulator, route: Route) -> tuple[str, str, str]:
        count = self._calls[simulator.name + route.label]
        return simulator.name, route.label, str(count)

    def _call_faults(self, simulator: Simulator) -> dict[str, CallFault | None]:
        if simulator.name not in self._of_calls:
            self._of_calls[simulator.name] = call_faults(simulator)
        return self._of_calls[simulator.name]

    def _after(self, kind: str, reply: Reply) -> Reply:
        if kind == "slow":
            return replace(reply, delay=self.slow, fault=kind)
        if kind == "lost" or reply.body is None:
            return replace(reply, cut=True, fault="lost")
        text = reply.body if reply.raw else json.dumps(reply.body)
        return replace(reply, body=text[: len(text) // 2], raw=True, fault=kind)

    def _answered(self, simulator: Simulator, route: Route, call: Call, done: Answer) -> Reply:
        """The answer of the vendor, with the faults of its records."""
        if simulator.name not in self._of_records:
            start = simulator.faults.record_faults
            self._of_records[simulator.name] = start(self.draws) if start else None
        faults = self._of_records[simulator.name]
        return faults.answer(route, call, done) if faults else done(call)


def help_text() -> str:
    """The kinds, for a person at a terminal."""
    known = kinds()
    lines = [f"  {name:9} {kind.help}{_of(kind)}" for name, kind in known.items()]
    lines.append(f"  {ALL:9} any of those that strike a call")
    shares = "Faults are shares of calls, or of records where they strike records. The same seed gives the same faults."
    return "\n".join(("\b", shares, *lines, "Example: --faults server=0.05,lost=0.02,refused=0.01,seed=7"))


def _of(kind: Kind) -> str:
    """The vendors of a kind that not all have, by title."""
    if kind.vendors == set(SIMULATORS):
        return ""
    return f" ({', '.join(SIMULATORS[name].title for name in sorted(kind.vendors))})"


def parse(spec: str) -> Faults:
    """Faults as the command line writes them: `server=0.1,lost=0.02,seed=7`. Raises ValueError with a sentence."""
    known = kinds()
    rates: dict[str, float] = {}
    seed = 0
    for part in filter(None, map(str.strip, spec.split(","))):
        name, _, value = part.partition("=")
        if name != "seed" and name != ALL and name not in known:
            raise ValueError(f"There is no fault {name!r}. Faults: {', '.join(known)}, or {ALL}; and seed=N.")
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
    _check_shares(rates, known)
    return Faults(rates, seed)


def _check_shares(rates: Mapping[str, float], known: Mapping[str, Kind]) -> None:
    for name, rate in rates.items():
        if not 0 <= rate <= 1:
            raise ValueError(f"{name} needs a share between 0 and 1, as in {name}=0.05, but it is {rate:g}.")
    calls = sum(rate for name, rate in rates.items() if name == ALL or not known[name].strikes_records)
    if calls > 1:
        raise ValueError(f"The shares of calls that go wrong add up to {calls:g}, and cannot be more than 1.")
