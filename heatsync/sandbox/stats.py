"""What /_stats shows: calls, records, refusals, and the most calls in any window."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from heatsync.sandbox.calls import Reply
from heatsync.sandbox.quotas import Window
from heatsync.sandbox.simulator import Simulator


class Tally:
    """The counts of a destination or of one endpoint.

    The window counts every call, also those that were refused, so that its peak shows what a client really did.
    """

    def __init__(self, seconds: float) -> None:
        self.calls = 0
        self.records = 0
        self.refused: Counter[str] = Counter()
        self.peak = 0
        self._window = Window(0, seconds)

    def count(self, reply: Reply, now: float) -> None:
        self.calls += 1
        self.records += reply.records
        if reply.status >= 400:
            self.refused[str(reply.status)] += 1
        self._window.take(now)
        self.peak = max(self.peak, self._window.used(now))

    def shown(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "records": self.records,
            "refused": dict(self.refused),
            "peak_window": self.peak,
            "window_seconds": self._window.seconds,
        }


class Stats:
    """One account's counts, per destination and endpoint.

    Shown as `{destination: {calls, records, refused: {status: n}, peak_window, window_seconds, endpoints:
    {"POST contacts/batch/update": the same without endpoints}}}`, with what the vendor counts itself beside `calls`.
    """

    def __init__(
        self, simulators: Mapping[str, Simulator], windows: Mapping[str, Mapping[str, Window]]
    ) -> None:
        self._seconds = {name: {w: each.seconds for w, each in of.items()} for name, of in windows.items()}
        self._main = {name: simulator.main_quota for name, simulator in simulators.items()}
        self._extra = {name: Counter(dict.fromkeys(each.counts, 0)) for name, each in simulators.items()}
        self._totals = {name: Tally(self._seconds[name][main]) for name, main in self._main.items()}
        self._endpoints: dict[str, dict[str, Tally]] = {name: {} for name in simulators}

    def count(self, vendor: str, label: str, windows: tuple[str, ...], reply: Reply, now: float) -> None:
        """Count one call. An endpoint is measured by the shortest window that it takes from."""
        self._totals[vendor].count(reply, now)
        tally = self._endpoints[vendor].get(label)
        if tally is None:
            seconds = self._seconds[vendor]
            shortest = min((seconds[w] for w in windows), default=seconds[self._main[vendor]])
            tally = self._endpoints[vendor].setdefault(label, Tally(shortest))
        tally.count(reply, now)
        self._extra[vendor].update(reply.counts)

    def shown(self) -> dict[str, Any]:
        return {
            name: {
                **total.shown(),
                **self._extra[name],
                "endpoints": {label: tally.shown() for label, tally in sorted(self._endpoints[name].items())},
            }
            for name, total in self._totals.items()
        }
