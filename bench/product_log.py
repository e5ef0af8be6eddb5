"""The log of an invented product in Parquet, of users with sessions. The same for the same seed and engine.

Sessions are spread over users like in life: a few come every day, half come a few times in all. A user signs up on
some day, stays for a while and leaves; weekends are quiet; a session is a handful of events within an hour, several of
them of the same kind. A user in a hundred is missing in the users table, one in fifty has no account there.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb

FIRST = date(2026, 4, 20)
DAYS = 200
LAST = FIRST + timedelta(days=DAYS - 1)
NAMES = (
    "Page Viewed",
    "Dashboard Viewed",
    "Search Done",
    "Report Created",
    "Comment Added",
    "File Uploaded",
    "Export Made",
    "Alert Set",
    "Invited Teammate",
    "Settings Changed",
    "Integration Connected",
    "Logged In",
)
"""The most frequent first; every session begins with the last one."""
PER_SESSION = 7.5
PER_ACCOUNT = 12
USERS = 0.03
"""Users per event."""


@dataclass(frozen=True, slots=True)
class ProductLog:
    events: int
    users: int
    accounts: int


def write(folder: Path, events: int, seed: int = 1) -> ProductLog:
    """Write events.parquet (by time), users.parquet and accounts.parquet: about so many events, and 3 users for each
    hundred of them."""
    users = max(PER_ACCOUNT, int(events * USERS))
    accounts = max(1, users // PER_ACCOUNT)
    names = ", ".join(f"'{name}'" for name in NAMES)

    def chance(salt: int, of: str, beside: str = "0") -> str:
        """At least 0 and below 1. One number is hashed: of several, the engine only mixes the hashes."""
        return f"((hash(((({of}) * 512 + ({beside})) * 32 + {salt}) * 100 + {seed}) >> 11)::DOUBLE / 9007199254740992.0)"

    with duckdb.connect(":memory:", config={"temp_directory": str(folder / "spill")}) as con:
        con.execute(
            f"""
            CREATE TABLE people AS
            SELECT i::INTEGER AS no, begins, least({DAYS}.0, begins + stays) AS ends, floor({chance(4, "i")} * {accounts})::INTEGER AS account
            FROM (
                SELECT i, -90 + {DAYS + 89} * {chance(1, "i")} AS begins,
                       CASE WHEN i < {users} * 0.1 THEN {DAYS + 90.0} ELSE 2 - 45 * ln(1 - {chance(2, "i")}) END AS stays
                FROM range({users}) t(i)
            )
            """
        )
        # A user that left before the first day is not in the log.
        con.execute(
            "CREATE TABLE living AS SELECT *, row_number() OVER (ORDER BY no) - 1 AS place FROM people WHERE ends > 1"
        )
        con.execute(
            f"""
            CREATE TABLE sessions AS
            SELECT i, no, 1 + floor(-7 * ln(1 - {chance(5, "i")}))::INTEGER AS length,
                   CASE WHEN day % 7 > 4 AND {chance(6, "i")} < 0.75 THEN greatest(day - 2, ceil(begins)::INTEGER, 0) ELSE day END
                       AS day,
                   7 * 3600 + floor(12 * 3600 * {chance(7, "i")})::INTEGER AS second
            FROM (
                SELECT s.i, p.no, p.begins,
                       floor(greatest(0.0, begins) + (ends - greatest(0.0, begins)) * {chance(8, "s.i")})::INTEGER AS day
                FROM (
                    SELECT i, floor((SELECT count(*) FROM living) * pow({chance(9, "i")}, 2))::INTEGER AS place
                    FROM range({max(1, round(events / PER_SESSION))}) t(i)
                ) s JOIN living p ON p.place = s.place
            )
            """
        )
        con.execute(
            f"""
            CREATE TABLE log AS
            SELECT no, CASE WHEN j = 0 THEN {len(NAMES)} ELSE 1 + floor({len(NAMES) - 1} * pow({chance(10, "i", "j // 2")}, 2)) END::UTINYINT AS event,
                   (day * 86400000000 + (second + j * 45) * 1000000 + floor(45000000 * {chance(11, "i", "j")}))::BIGINT AS micros
            FROM (SELECT i, no, day::BIGINT AS day, second, unnest(range(length)) AS j FROM sessions)
            """
        )
        start = f"TIMESTAMP '{FIRST}'"
        con.execute(
            f"COPY (SELECT 'u' || no AS user_id, [{names}][event] AS event, {start} + to_microseconds(micros) AS timestamp"
            f" FROM (FROM log ORDER BY micros, no)) TO '{folder / 'events.parquet'}' (FORMAT parquet)"
        )
        con.execute(
            f"""
            COPY (
                SELECT 'u' || no AS user_id, 'u' || no || '@example.com' AS email,
                       CASE WHEN no % 50 <> 7 THEN 'a' || account END AS account_id,
                       {start} + to_seconds(floor(begins * 86400)::BIGINT) AS created_at
                FROM people WHERE no % 100 <> 3
            ) TO '{folder / "users.parquet"}' (FORMAT parquet)
            """
        )
        con.execute(
            f"COPY (SELECT 'a' || i AS account_id, 'Account ' || i AS name, {start} - to_days((90 + i % 300)::INTEGER) AS created_at"
            f" FROM range({accounts}) t(i)) TO '{folder / 'accounts.parquet'}' (FORMAT parquet)"
        )
        row = con.execute("SELECT count(*) FROM log").fetchone()
    assert row is not None
    return ProductLog(row[0], users, accounts)
