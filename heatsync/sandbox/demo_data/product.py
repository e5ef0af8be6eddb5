"""An invented B2B product: its accounts, their users, what they did, and the truth about it.

`write` writes `events.parquet`, `users.csv`, `accounts.csv` and `truth.csv`, of any size, and always the same files
for the same arguments. Every random number is a hash of the seed and of its purpose, so that nothing depends on the
order of drawing: from 120 days on, one more day adds the rows of that day and changes no earlier ones.

What happens to an account is its *fate*. It is decided first, in `truth.csv`, and behaviour follows:

    steady     the same from the first day to the last
    growing    from half to one and a half of normal within 60 days
    declining  halved every 20 days, down to a seventh
    churned    halved every 12 days, and nothing at all from `ended_on`
    new        signs up within the period and gets going within two weeks
    stalled    signs up within the period and never gets going
"""

import csv
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from heatsync.sandbox.demo_data.names import person, plain
from heatsync.sandbox.demo_data.population import (
    EVENTS,
    FATES,
    INVOICE,
    JOINED,
    NEVER,
    ROLES,
    UNFOLDING,
    USER_FATES,
    Accounts,
    Ints,
    Users,
    accounts_of,
    draw,
    happenings,
    invoices,
    sizes_of,
    users_of,
)

_CHUNK = 500_000
"""User-days held in memory at a time; one row group of the Parquet file."""
_SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("account_id", pa.string()),
        ("event", pa.string()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
    ]
)


@dataclass(frozen=True, slots=True)
class Summary:
    """What was written. `ends_on` is the last day with events."""

    users: int
    accounts: int
    events: int
    starts_on: date
    ends_on: date


def write(folder: Path, users: int = 600, days: int = 120, *, end: date, seed: int = 1) -> Summary:
    """Write the tables of a product with this many users, for `days` days that end with `end`, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    first = end - timedelta(days=days - 1)
    unfolding = max(1, min(UNFOLDING, days - 10))
    sizes = sizes_of(users, seed)
    accounts = accounts_of(len(sizes), sizes, unfolding, seed)
    people = users_of(sizes, accounts, users, unfolding, seed)
    _write_accounts(folder / "accounts.csv", accounts, sizes, first)
    written = _write_users(folder / "users.csv", people, accounts, first, seed)
    _write_truth(folder / "truth.csv", people, accounts, first)
    events = _write_events(folder / "events.parquet", people, accounts, first, days, seed)
    return Summary(written, len(sizes), events, first, end)


def account_id(number: int) -> str:
    return f"a{number + 1:05d}"


def user_id(number: int) -> str:
    return f"u{number + 1:06d}"


def _write_events(path: Path, people: Users, accounts: Accounts, first: date, days: int, seed: int) -> int:
    user_names = pa.array([user_id(n) for n in range(len(people.role))])
    account_names = pa.array([account_id(n) for n in range(len(accounts.fate))])
    event_names = pa.array(EVENTS)
    total = 0
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd", compression_level=9) as file:
        step = max(1, _CHUNK // days)
        for start in range(0, len(people.role), step):
            rows = slice(start, min(start + step, len(people.role)))
            author, kind, second = happenings(people, accounts, rows, first, days, seed)
            # The mobile app does not know the account; the users table does.
            known = (people.account[author] >= 0) & (draw(seed, "mobile", author, second) > 0.05)
            columns = [
                user_names.take(pa.array(author)),
                account_names.take(pa.array(people.account[author], mask=~known)),
                event_names.take(pa.array(kind)),
                pa.array(second * 1_000_000).cast(_SCHEMA.field("timestamp").type),
            ]
            file.write_table(pa.Table.from_arrays(columns, schema=_SCHEMA))
            total += len(author)
        payer, second = invoices(accounts, first, days, seed)
        columns = [
            pa.nulls(len(payer), pa.string()),
            account_names.take(pa.array(payer)),
            pa.array([INVOICE] * len(payer), pa.string()),
            pa.array(second * 1_000_000).cast(_SCHEMA.field("timestamp").type),
        ]
        file.write_table(pa.Table.from_arrays(columns, schema=_SCHEMA))
    return total + len(payer)


def _write_accounts(path: Path, accounts: Accounts, sizes: Ints, first: date) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["account_id", "name", "domain", "plan", "created_at", "employees", "nps"])
        for n, name in enumerate(accounts.name):
            employees = int(sizes[n]) * 7 + 5 + n % 11
            created = _instant(first, int(accounts.signed_up[n]), 0)
            # The domain of a few is not known.
            domain = "" if n % 41 == 40 else accounts.domain[n]
            out.writerow([account_id(n), name, domain, accounts.plan[n], created, employees, accounts.nps[n]])


def _write_users(path: Path, people: Users, accounts: Accounts, first: date, seed: int) -> int:
    taken: set[str] = set()
    written = 0
    draws = draw(seed, "name", np.arange(len(people.role)))
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["user_id", "email", "account_id", "created_at", "name", "role"])
        for n, account in enumerate(people.account.tolist()):
            if people.erased[n]:
                continue
            given, family = person(float(draws[n]))
            domain = accounts.domain[account] if account >= 0 else "freelance.example"
            email = f"{plain(given)}.{plain(family)}@{domain}"
            if email in taken:
                email = f"{plain(given)}.{plain(family)}.{n + 1}@{domain}"
            taken.add(email)
            home = account_id(account) if account >= 0 else ""
            created = _instant(first, int(people.signed_up[n]), JOINED)
            out.writerow([user_id(n), email, home, created, f"{given} {family}", ROLES[people.role[n]]])
            written += 1
    return written


def _write_truth(path: Path, people: Users, accounts: Accounts, first: date) -> None:
    def day(number: int) -> str:
        return (first + timedelta(days=number)).isoformat()

    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["entity", "id", "fate", "since", "ended_on"])
        for n, fate in enumerate(accounts.fate.tolist()):
            since = "" if FATES[fate] == "steady" else day(int(accounts.since[n]))
            ended = day(int(accounts.ended[n])) if accounts.ended[n] < NEVER else ""
            out.writerow(["account", account_id(n), FATES[fate], since, ended])
        for n, fate in enumerate(people.fate.tolist()):
            if USER_FATES[fate] != "as the account":
                ended = day(int(people.gone[n])) if USER_FATES[fate] == "left" else ""
                out.writerow(["user", user_id(n), USER_FATES[fate], "", ended])


def _instant(first: date, day: int, second: int) -> str:
    moment = datetime(first.year, first.month, first.day, tzinfo=UTC) + timedelta(days=day, seconds=second)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
