"""The accounts and users of the invented product, and what they do, as arrays.

Every random number is a hash of the seed and of its purpose, so that nothing depends on the order of drawing.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt

from heatsync.sandbox.demo_data.names import companies

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FATES = ("steady", "growing", "declining", "churned", "new", "stalled")
_FATE_SHARES = (0.52, 0.10, 0.13, 0.12, 0.09, 0.04)
USER_FATES = ("as the account", "left", "never came")
_USER_FATE_SHARES = (0.86, 0.08, 0.06)
ROLES = ("admin", "member", "viewer")
_ROLE_SHARES = (0.15, 0.60, 0.25)
_ACTIVITY = np.array([0.75, 0.55, 0.25])
_WEEK = np.array([1.0, 1.05, 1.05, 1.0, 0.9, 0.12, 0.08])
UNFOLDING = 110
"""Days within which every fate has begun and every user has signed up (fewer in a short period)."""

# Mean number of events on a day on which a user works, by role; and the factor in the first two weeks.
_EVENTS: tuple[tuple[str, tuple[float, float, float], float], ...] = (
    ("Logged In", (0.4, 0.3, 0.2), 1),
    ("Dashboard Viewed", (2.4, 2.2, 2.0), 1),
    ("Report Created", (0.6, 0.5, 0.03), 1),
    ("Comment Added", (0.5, 0.6, 0.3), 1),
    ("Invited Teammate", (0.12, 0.03, 0.002), 5),
    ("Integration Connected", (0.05, 0.004, 0.0005), 8),
)
INVOICE = "Invoice Paid"
"""Comes from the billing system: it names an account and no user."""
EVENTS = (*(name for name, _, _ in _EVENTS), INVOICE)

NEVER = 10**6
"""A day after the end of any period."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """One row per account; days count from the first day of the events, 0-based, and may be negative."""

    fate: Ints
    since: Ints
    ended: Ints
    signed_up: Ints
    plan: list[str]
    nps: list[str]
    zone: Ints
    name: list[str]
    domain: list[str]


@dataclass(frozen=True, slots=True)
class Users:
    """One row per user; `account` is -1 for users without one, `gone` is the first day on which a user no longer works."""

    account: Ints
    role: Ints
    fate: Ints
    signed_up: Ints
    gone: Ints
    erased: npt.NDArray[np.bool_]
    activity: Floats


def sizes_of(users: int, seed: int) -> Ints:
    """Users per account: many small, a few large; some accounts have no user, and some users no account."""
    count = max(1, users // 10)
    numbers = np.arange(count)
    weight = np.minimum((1 - draw(seed, "size", numbers)) ** (-1 / 1.2), 40.0)
    if count >= 20:
        weight[draw(seed, "empty", numbers) < 0.03] = 0.0
    bounds = np.cumsum(weight) / weight.sum()
    homed = users - users // 50
    places = np.searchsorted(bounds, (np.arange(homed) + 0.5) / homed)
    return np.bincount(places, minlength=count).astype(np.int64)


def accounts_of(count: int, sizes: Ints, unfolding: int, seed: int) -> Accounts:
    numbers = np.arange(count)
    fate = _choose(seed, "fate", numbers, _FATE_SHARES)
    since = min(10, unfolding - 1) + (draw(seed, "since", numbers) * max(1, unfolding - 20)).astype(np.int64)
    joined = fate >= FATES.index("new")
    before = -30 - (draw(seed, "signed up", numbers) ** 2 * 900).astype(np.int64)
    ended = np.where(
        fate == FATES.index("churned"),
        since + 20 + (draw(seed, "ended", numbers) * 20).astype(np.int64),
        NEVER,
    )
    mood = np.array([7.0, 9.0, 4.5, 3.0, 8.0, 5.0])[fate] + (draw(seed, "nps", numbers) - 0.5) * 4
    answered = draw(seed, "answered", numbers) < 0.65
    names = [name for name, _ in zip(companies(), range(count), strict=False)]
    own = 7 if count > 20 else -1  # the company that sells the product uses it, too
    paying = draw(seed, "plan", numbers)
    return Accounts(
        fate=fate,
        since=since,
        ended=ended,
        signed_up=np.where(joined, since, before),
        plan=["internal" if n == own else _plan(int(sizes[n]), paying[n]) for n in range(count)],
        nps=[str(int(min(10, max(0, round(m))))) if a else "" for m, a in zip(mood, answered, strict=True)],
        zone=np.array([-8, -5, -5, 0, 1, 1, 1, 2, 9])[(draw(seed, "zone", numbers) * 9).astype(np.int64)],
        name=[name for name, _ in names],
        domain=[domain for _, domain in names],
    )


def _plan(size: int, paying: float) -> str:
    if size > 25:
        return "enterprise"
    if paying < 0.3:
        return "free"
    return "pro" if size > 6 or paying > 0.8 else "starter"


def users_of(sizes: Ints, accounts: Accounts, count: int, unfolding: int, seed: int) -> Users:
    homed = int(sizes.sum())
    account = np.concatenate([np.repeat(np.arange(len(sizes)), sizes), np.full(count - homed, -1)])
    numbers = np.arange(count)
    role = _choose(seed, "role", numbers, _ROLE_SHARES)
    start = np.where(account >= 0, accounts.signed_up[account], -400)
    early = (draw(seed, "joined", numbers) ** 2 * np.where(start >= 0, 20, np.maximum(-start, 1))).astype(
        np.int64
    )
    late = (draw(seed, "late", numbers) * unfolding).astype(np.int64)
    is_late = (draw(seed, "is late", numbers) < 0.1) & (start < 0)
    fate = _choose(seed, "user fate", numbers, _USER_FATE_SHARES)
    gone = 5 + (draw(seed, "gone", numbers) * max(1, unfolding - 10)).astype(np.int64)
    signed_up = np.minimum(np.where(is_late, late, start + early), unfolding - 1)
    return Users(
        account=account,
        role=role,
        fate=fate,
        signed_up=signed_up,
        gone=np.choose(
            fate, [np.full(count, NEVER), np.maximum(gone, signed_up + 1), np.full(count, -NEVER)]
        ),
        # Users who asked to be deleted: their events stay, without a name.
        erased=(draw(seed, "erased", numbers) < 0.004) & (fate == 0),
        activity=_ACTIVITY[role] * (0.4 + 1.2 * draw(seed, "activity", numbers)),
    )


def _curve(people: Users, accounts: Accounts, rows: slice, days: int) -> Floats:
    """How busy each user's account is on each day, 1 being normal; one row per user."""
    day = np.arange(days)[None, :]
    account = people.account[rows, None]
    homed = account >= 0
    fate = np.where(homed, accounts.fate[account], 0)
    past = day - accounts.since[account]
    after = np.maximum(past, 0)
    curve = np.select(
        [fate == FATES.index(name) for name in FATES],
        [
            np.ones(past.shape),
            0.5 + np.minimum(after / 60, 1.0),
            np.maximum(0.5 ** (after / 20), 1 / 7),
            0.5 ** (after / 12),
            np.where(past >= 0, np.minimum(0.35 + 0.65 * after / 14, 1.0), 0.0),
            np.where(past >= 0, 0.6 * 0.5 ** (after / 5), 0.0),
        ],
    )
    here = (day >= people.signed_up[rows, None]) & (day < people.gone[rows, None])
    return np.where(here & ~(homed & (day >= accounts.ended[account])), curve, 0.0)


def happenings(
    people: Users, accounts: Accounts, rows: slice, first: date, days: int, seed: int
) -> tuple[Ints, Ints, Ints]:
    """User, event and UTC second (since 1970) of every action of these users, in order of time."""
    curve = _curve(people, accounts, rows, days)
    weekday = (np.arange(days) + first.weekday()) % 7
    numbers = np.arange(rows.start, rows.start + len(curve))
    chance = np.minimum(people.activity[rows, None] * curve * _WEEK[weekday], 0.97)
    works = draw(seed, "works", numbers[:, None], np.arange(days)[None, :]) < chance
    user, day = np.nonzero(works)
    busy = 0.5 + 0.5 * curve[user, day]
    user = user + rows.start
    fresh = day - people.signed_up[user] < 14
    found: list[tuple[Ints, Ints, Ints]] = []
    for event, (name, means, first_weeks) in enumerate(_EVENTS):
        mean = np.array(means)[people.role[user]] * busy * np.where(fresh, first_weeks, 1)
        # Geometric by inversion: P(n >= k) = (mean / (1 + mean)) ** k.
        times = np.log1p(-draw(seed, name, user, day)) / np.log(mean / (1 + mean))
        count = times.astype(np.int64) + (1 if event == 0 else 0)
        author, its_day = np.repeat(user, count), np.repeat(day, count)
        nth = np.arange(len(author)) - np.repeat(np.cumsum(count) - count, count)
        hour = 8 + 5 * (draw(seed, name, author, its_day, nth, 1) + draw(seed, name, author, its_day, nth, 2))
        home = people.account[author]
        zone = np.where(home >= 0, accounts.zone[home], 0)
        second = its_day * 86_400 + ((hour - zone) * 3_600).astype(np.int64)
        # An evening in the west is the next day in UTC; the period, and the days of a user, end at midnight in UTC.
        ended = np.where(home >= 0, accounts.ended[home], NEVER)
        last = np.minimum(np.minimum(people.gone[author], ended), days)
        kept = (second >= np.maximum(people.signed_up[author] * 86_400 + JOINED, 0)) & (
            second < last * 86_400
        )
        found.append((author[kept], np.full(int(kept.sum()), event), second[kept]))
    author, kind, second = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((kind, author, second))
    return author[order], kind[order], second[order] + epoch(first)


JOINED = 6 * 3_600
"""Users sign up at six in the morning, UTC, before the first event of the day."""


def invoices(accounts: Accounts, first: date, days: int, seed: int) -> tuple[Ints, Ints]:
    """Account and UTC second of every monthly payment of the accounts that pay."""
    numbers = np.array(
        [n for n, plan in enumerate(accounts.plan) if plan not in ("free", "internal")], dtype=np.int64
    )
    due = (draw(seed, "due", numbers) * 28).astype(np.int64) + 1
    month_day = np.array([(first + timedelta(days=d)).day for d in range(days)])
    pays = (month_day[None, :] == due[:, None]) & (
        np.arange(days)[None, :] >= accounts.signed_up[numbers][:, None]
    )
    pays &= np.arange(days)[None, :] < accounts.ended[numbers][:, None]
    account, day = np.nonzero(pays)
    return numbers[account], day * 86_400 + 3 * 3_600 + epoch(first)


def draw(seed: int, purpose: str, *coordinates: npt.ArrayLike) -> Floats:
    """Numbers between 0 and 1 that depend on the arguments alone (SplitMix64 over them, one after the other)."""
    state = _mix(np.array([seed], dtype=np.uint64))
    for part in (*purpose.encode(), *coordinates):
        state = _mix(state ^ np.asarray(part, dtype=np.int64).astype(np.uint64))
    # Half a step above 52 bits: never 0 and never 1, so that a logarithm is always finite.
    return ((state >> np.uint64(12)).astype(np.float64) + 0.5) / 2.0**52


def _mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _choose(seed: int, purpose: str, numbers: Ints, shares: tuple[float, ...]) -> Ints:
    """Choose one of several, by their shares, for each number."""
    places = np.searchsorted(np.cumsum(shares), draw(seed, purpose, numbers))
    return np.minimum(places, len(shares) - 1).astype(np.int64)


def epoch(first: date) -> int:
    return int(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp())
