"""A small product whose users come and go, written as a workspace: users that do little of what matters leave."""

from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DAY = date(2026, 6, 30)
"""The last day with events."""
DAYS = 110
USERS, ACCOUNTS = 300, 15
EVENTS = ("Report Created", "Comment Added", "Logged In")

HEATSYNC = """\
version: 1
source:
  events: {table: data/events.parquet}
  users: {table: data/users.csv}
  accounts: {table: data/accounts.csv}
destinations:
  segment: {write_key: "${SEGMENT_WRITE_KEY}"}
"""
HEALTH = """\
version: 1
name: Health
model: weighted
window: 14d
events:
  - {event: Report Created, weight: 8}
  - {event: Comment Added, weight: 4, per_day: 2}
  - {event: Logged In, weight: 1}
levels: {bands: {Low: 0, Medium: 25, High: 50, Very High: 75}}
"""
MAPPING = """\
version: 1
destination: segment
object: users
profile: health
fields: {score: score, level: level}
"""


def write(folder: Path, profiles: dict[str, str] | None = None) -> Path:
    """A workspace with the profile health and others, and a few months of events."""
    files = {
        "heatsync.yml": HEATSYNC,
        "mappings/segment-users.yml": MAPPING,
        "mappings/profiles/health.yml": HEALTH,
        **{f"mappings/profiles/{name}.yml": text for name, text in (profiles or {}).items()},
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "data").mkdir(exist_ok=True)
    pq.write_table(_events(), folder / "data" / "events.parquet")
    users = [f"u{number},a{number % ACCOUNTS},u{number}@x.com" for number in range(USERS)]
    (folder / "data" / "users.csv").write_text("\n".join(["user_id,account_id,email", *users, ""]))
    accounts = [f"a{number},A{number},{number % 11}" for number in range(ACCOUNTS)]
    (folder / "data" / "accounts.csv").write_text("\n".join(["account_id,name,nps", *accounts, ""]))
    return folder


def _events() -> pa.Table:
    random = np.random.default_rng(17)
    rows: list[tuple[str, str, datetime]] = []
    for number in range(USERS):
        begin = int(random.integers(0, DAYS - 30))
        taste = random.gamma(1.0, 0.25)
        here = True
        for offset in range(begin, DAYS):
            # Reports keep people; logging in alone does not.
            if random.random() < 0.05 * np.exp(-6 * taste):
                here = random.random() < 0.1
            if not here:
                continue
            moment = datetime.combine(DAY, datetime.min.time()) - timedelta(days=DAYS - 1 - offset, hours=-9)
            counts = (random.poisson(taste), random.poisson(0.3), random.poisson(0.4))
            for name, count in zip(EVENTS, counts, strict=True):
                rows += [(f"u{number}", name, moment + timedelta(minutes=each)) for each in range(count)]
    return pa.table(
        {
            "user_id": pa.array([user for user, _, _ in rows]),
            "event": pa.array([event for _, event, _ in rows]),
            "timestamp": pa.array([moment for _, _, moment in rows], pa.timestamp("us", tz="UTC")),
        }
    )
