"""A simulated vendor as a value: all that the sandbox knows about it.

A module or package in `heatsync.sandbox.vendors` with a `SIMULATOR` is served by the sandbox; nothing else has to
name it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from heatsync.sandbox.calls import Call, Reply, Route, Store
from heatsync.sandbox.fault_types import VendorFaults
from heatsync.sandbox.quotas import Quota, Window

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DemoData:
    """What a vendor holds before the demo: `records` takes the users and accounts of the demo (rows of its CSV files)
    and gives records by object, in the shape of /_state. `fields` are the custom fields that exist; None without a
    schema."""

    records: Callable[[Sequence[Row], Sequence[Row]], Mapping[str, Any]]
    fields: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Simulator:
    """A vendor: its paths, its records, its quotas, its faults and how it refuses a call."""

    name: str
    title: str
    prefixes: tuple[str, ...]
    """An unknown path that starts with one of these is refused by this vendor."""
    routes: Sequence[Route]
    store: Callable[[str], Store]
    """Makes the empty store of an account, by the account's name."""
    quotas: Mapping[str, Quota]
    main_quota: str
    """The quota by which calls are measured in /_stats."""
    account: Callable[[Call], str]
    """The account of a call. Raises Refusal for a credential that is refused."""
    limited: Callable[[Call, str, float], Reply]
    """The answer when the named quota is used up for so many more seconds."""
    unreadable: Callable[[str], Reply]
    """The answer to a body that is not JSON, with the reason."""
    unknown: Callable[[Call], Reply]
    """The answer on a path that the vendor does not have."""
    faults: VendorFaults
    quota_headers: Callable[[Call], Mapping[str, str]] = lambda _: {}
    counts: tuple[str, ...] = ()
    """What /_stats counts beside calls, records and refusals."""
    demo: DemoData = field(default_factory=lambda: DemoData(lambda _users, _accounts: {}))

    def windows(self, calls: Mapping[str, int]) -> dict[str, Window]:
        """An account's empty windows by quota; `calls` replaces how many calls a quota allows. Raises ValueError."""
        _only_known(calls, self.quotas, self.name)
        return {
            name: Window(calls.get(name, quota.calls), quota.seconds) for name, quota in self.quotas.items()
        }


def _only_known(calls: Iterable[str], quotas: Iterable[str], vendor: str) -> None:
    unknown = sorted(set(calls) - set(quotas))
    if unknown:
        raise ValueError(f"{vendor} has no quota {unknown[0]!r}; it has {', '.join(quotas)}")
