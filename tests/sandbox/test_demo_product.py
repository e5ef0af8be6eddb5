"""The data of the invented product keep their promises for every size and seed."""

import csv
import tempfile
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heatsync.sandbox.demo_data import product

END = date(2026, 11, 21)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Larger than the demo, so that shares are distinct from chance."""
    folder = tmp_path_factory.mktemp("product")
    product.write(folder, users=6_000, days=120, end=END)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def ask(sql: str, folder: Path) -> list[tuple]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"CREATE VIEW events AS FROM '{folder}/events.parquet'")
        for table in ("users", "accounts", "truth"):
            connection.execute(f"CREATE TABLE {table} AS FROM read_csv('{folder}/{table}.csv')")
        return connection.execute(sql).fetchall()


@settings(max_examples=12)
@given(
    users=st.integers(1, 80),
    days=st.integers(1, 200),
    end=st.dates(date(2001, 1, 1), date(2037, 12, 31)),
    seed=st.integers(0, 2**62),
)
def test_any_size_keeps_the_shape(users, days, end, seed):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        summary = product.write(folder, users=users, days=days, end=end, seed=seed)
        people, accounts = rows(folder / "users.csv"), rows(folder / "accounts.csv")
        assert (summary.users, summary.accounts) == (len(people), len(accounts))
        assert len({person["email"].lower() for person in people}) == len(people)
        assert (
            len({account["domain"] for account in accounts if account["domain"]} | {""}) <= len(accounts) + 1
        )
        assert {person["account_id"] for person in people} <= {a["account_id"] for a in accounts} | {""}
        assert all(row["created_at"][:10] <= end.isoformat() for row in people + accounts)
        [(events, outside)] = ask(
            f"""SELECT count(*), count(*) FILTER (timestamp < '{end - timedelta(days=days - 1)}'
                OR timestamp >= TIMESTAMPTZ '{end} 00:00:00+00' + INTERVAL 1 DAY) FROM events""",
            folder,
        )
        assert (events, outside) == (summary.events, 0)


def test_the_same_arguments_give_the_same_files(tmp_path):
    for name in ("one", "two"):
        product.write(tmp_path / name, users=200, days=30, end=END, seed=5)
    product.write(tmp_path / "other", users=200, days=30, end=END, seed=6)
    for file in ("events.parquet", "users.csv", "accounts.csv", "truth.csv"):
        one = (tmp_path / "one" / file).read_bytes()
        assert one == (tmp_path / "two" / file).read_bytes()
        assert one != (tmp_path / "other" / file).read_bytes()


def test_one_more_day_adds_its_rows_and_changes_no_other_day(tmp_path):
    product.write(tmp_path / "today", users=300, days=120, end=END)
    product.write(tmp_path / "tomorrow", users=300, days=121, end=END + timedelta(days=1))
    for file in ("users.csv", "accounts.csv", "truth.csv"):
        assert (tmp_path / "today" / file).read_text() == (tmp_path / "tomorrow" / file).read_text()
    everything = "SELECT epoch_us(timestamp), user_id, account_id, event FROM events {} ORDER BY ALL"
    earlier = ask(everything.format(""), tmp_path / "today")
    until = f"WHERE timestamp < TIMESTAMPTZ '{END} 00:00:00+00' + INTERVAL 1 DAY"
    assert ask(everything.format(until), tmp_path / "tomorrow") == earlier
    assert len(ask(everything.format(""), tmp_path / "tomorrow")) > len(earlier)


def test_the_committed_demo_data_is_what_the_generator_writes(tmp_path):
    product.write(tmp_path, end=END)
    for file in ("users.csv", "accounts.csv", "truth.csv"):
        assert (ROOT / "data" / file).read_text() == (tmp_path / file).read_text()
    everything = "SELECT * REPLACE (epoch_us(timestamp) AS timestamp) FROM events ORDER BY ALL"
    assert ask(everything, ROOT / "data") == ask(everything, tmp_path)


def test_a_churned_account_has_no_events_after_its_end(folder):
    late = """SELECT count(*) FROM events e LEFT JOIN users u USING (user_id)
              JOIN truth t ON t.entity = 'account' AND t.id = coalesce(e.account_id, u.account_id)
              WHERE e.timestamp >= t.ended_on"""
    assert ask(late, folder) == [(0,)]
    assert ask("SELECT count(*) >= 40 FROM truth WHERE fate = 'churned'", folder) == [(True,)]


def test_users_who_left_or_never_came_have_no_events(folder):
    silent = """SELECT count(*) FROM events e JOIN truth t ON t.entity = 'user' AND t.id = e.user_id
                WHERE t.fate = 'never came' OR e.timestamp >= t.ended_on"""
    assert ask(silent, folder) == [(0,)]


def test_behaviour_follows_the_fate(folder):
    changes = dict(
        ask(
            f"""SELECT fate, count(*) FILTER (timestamp >= DATE '{END}' - 28)
                           / count(*) FILTER (timestamp < DATE '{END}' - 92)
                FROM events e JOIN truth t ON t.entity = 'account' AND t.id = e.account_id
                WHERE fate IN ('steady', 'growing', 'declining', 'churned') GROUP BY fate""",
            folder,
        )
    )
    assert 0.8 < changes["steady"] < 1.25
    assert changes["growing"] > 1.6
    assert changes["declining"] < 0.55
    assert changes["churned"] < 0.25


def test_weekends_are_quiet(folder):
    days = Counter(dict(ask("SELECT isodow(timestamp), count(*) FROM events GROUP BY 1", folder)))
    assert max(days[6], days[7]) < 0.3 * min(days[day] for day in range(1, 6))


def test_new_users_start_with_the_setup_events(folder):
    early, late = ask(
        """SELECT count(*) FILTER (event = 'Integration Connected') / count(*) FROM events e JOIN users u USING (user_id)
           GROUP BY e.timestamp < u.created_at + INTERVAL 14 DAY ORDER BY e.timestamp < u.created_at + INTERVAL 14 DAY DESC""",
        folder,
    )
    assert early[0] > 2 * late[0]


def test_no_user_has_events_before_signing_up(folder):
    assert ask(
        "SELECT count(*) FROM events JOIN users u USING (user_id) WHERE timestamp < u.created_at", folder
    ) == [(0,)]


def test_accounts_come_in_all_sizes(folder):
    sizes = Counter(person["account_id"] for person in rows(folder / "users.csv"))
    assert sizes.pop("") > 50
    ordered = sorted(sizes.values())
    assert ordered[-1] > 20 * ordered[len(ordered) // 2]
    empty = {a["account_id"] for a in rows(folder / "accounts.csv")} - sizes.keys()
    assert empty


def test_the_data_have_gaps_like_real_data(folder):
    """Events of deleted users, events without account or without user, accounts without domain or answer."""
    assert ask("SELECT count(DISTINCT user_id) > 5 FROM events ANTI JOIN users USING (user_id)", folder) == [
        (True,)
    ]
    assert ask(
        """SELECT count(*) FILTER (account_id IS NULL) > 0, count(*) FILTER (user_id IS NULL) > 0,
                  count(*) FILTER (account_id IS NULL AND user_id IS NULL) = 0 FROM events
           WHERE user_id IS NULL OR user_id IN (SELECT user_id FROM users WHERE account_id IS NOT NULL)""",
        folder,
    ) == [(True, True, True)]
    assert ask(
        "SELECT count(*) FILTER (domain IS NULL) > 0, count(*) FILTER (nps IS NULL) > 0 FROM accounts", folder
    ) == [(True, True)]
    assert any("'" in person["name"] for person in rows(folder / "users.csv"))


def test_the_profile_scores_what_the_generator_does():
    text = (ROOT / "mappings/profiles/health.yml").read_text()
    assert all(f"event: {event}" in text for event in product.EVENTS)


def test_times_are_utc(folder):
    person = rows(folder / "users.csv")[0]
    assert datetime.fromisoformat(person["created_at"]).utcoffset() == timedelta(0)
    assert ask("SELECT DISTINCT typeof(timestamp) FROM events", folder) == [("TIMESTAMP WITH TIME ZONE",)]
