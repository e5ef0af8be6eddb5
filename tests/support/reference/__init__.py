"""The definitions of scoring a second time, in plain Python: loops, datetime and zoneinfo, without any product code.

`score` takes rows as dictionaries and returns every metric of every user and account on one day, as a first run would
store it. The product's numbers are compared with it.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from .log import Log, Row
from .metrics import Snapshots
from .rules import Rules

__all__ = ["history", "score", "snapshots"]


def score(
    events: Iterable[Row],
    users: Iterable[Row] | None,
    accounts: Iterable[Row] | None,
    profile_dict: Mapping[str, Any],
    time_zone: str | ZoneInfo,
    as_of: date,
    *,
    audiences: Mapping[str, Mapping[str, Any]] | None = None,
    also: Sequence[date] = (),
) -> dict[str, dict[str, dict[str, Any]]]:
    """`{"user": {id: metrics}, "account": {id: metrics}}` of the snapshot of a day.

    Timestamps are datetimes (without a zone: UTC) or ISO text. `users` and `accounts` may be None. The profile is the
    tree of its file; numbers may be text. `audiences` are the profile's entries in audience files, by key. `also` are
    other days of the same run.
    """
    created = snapshots(events, users, accounts, profile_dict, time_zone, [*also, as_of], audiences=audiences)
    return created.of(as_of)


def snapshots(
    events: Iterable[Row],
    users: Iterable[Row] | None,
    accounts: Iterable[Row] | None,
    profile_dict: Mapping[str, Any],
    time_zone: str | ZoneInfo,
    days: Sequence[date],
    *,
    audiences: Mapping[str, Mapping[str, Any]] | None = None,
) -> Snapshots:
    """The same for several days of one run; call the result for each day."""
    zone = time_zone if isinstance(time_zone, ZoneInfo) else ZoneInfo(time_zone)
    log = Log(events, users or (), accounts or (), zone, max(days))
    return Snapshots(log, Rules(profile_dict), days, audiences or {})
