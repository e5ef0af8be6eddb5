"""The snapshot of one day in DuckDB SQL, written by hand for one profile and one source: what heatsync is measured
against.

It reads the same files and writes the same rows and columns in the same order, and knows what a general program
cannot: which profile it is, that all is in UTC, that events carry no account of their own, that every account is in its
table, that weights are whole, and that every day has enough users for a benchmark. What makes it quick:

- The log is read three times, each time for as many days and columns as are needed: everything for what accumulates
  over a life, the last 64 days for what they were worth, the last 7 for what was done.
- Events are distinguished by a constant map over their names. In Parquet names are a dictionary, and DuckDB then looks a
  dozen of them up and not twenty million; a CASE or a join looks at every row.
- The worth of a user's days is side by side, 64 columns of one row: windows, scores and levels of all days are
  arithmetic between columns, without window functions and joins.
- Quantiles are taken of columns that are NULL where there is no score: FILTER is ten times as slow.
- The levels of 31 days are two bits each of one number; the last change is the lowest bit that differs.
- What contributed most is found by sorting numbers that hold points and name, not structs.
- Lists of audiences are built once per combination that occurs, not once per row.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb

WEIGHTS: Mapping[str, int] = {
    "Integration Connected": 10,
    "Report Created": 8,
    "Invited Teammate": 7,
    "Export Made": 6,
    "Comment Added": 5,
    "Dashboard Viewed": 4,
    "File Uploaded": 4,
    "Alert Set": 3,
    "Search Done": 2,
    "Logged In": 1,
}
PROFILE = (
    "version: 1\nname: Health\nmodel: weighted\nevents:\n"
    + "".join(
        f"  - {{event: {name}, weight: {weight}, passive: {str(name == 'Logged In').lower()}}}\n"
        for name, weight in WEIGHTS.items()
    )
    + """\
  - {event: Settings Changed, weight: 0, passive: true}
activation:
  user:
    - {event: Invited Teammate}
    - {event: Report Created, count: {gte: 3}}
    - {trait: user.email, exists: true}
  account:
    - {event: Integration Connected}
    - {event: [Comment Added, File Uploaded], count: {gte: 10}}
"""
)
"""The same in heatsync's words; what is not said is as usual: 7 days, no decay, exponential, smoothed, average, bands."""
PASSIVE = ("Logged In", "Settings Changed")
COUNTED = {"Report Created": 0, "Integration Connected": 21, "Comment Added": 42, "File Uploaded": 42}
"""What the steps count, and from which bit of one number."""
MOST = (1 << 21) - 1
NAMES = sorted(WEIGHTS)

WINDOW = 7
SMOOTHED = 28
TREND = 30
MEASURED = TREND + SMOOTHED
"""Days whose benchmarks are needed, the last one included."""
WORTH = MEASURED + WINDOW - 1
"""Days of the log that those look at."""
FEW = 20
NANO = 10**9
UNIT = 10**12
"""A point of a raw score: the arithmetic is heatsync's to the last bit, and its numbers are that large."""
BANDS = (("Low", 0), ("Medium", 25), ("High", 50), ("Very High", 75))


@dataclass(slots=True)
class Timed:
    """Runs statements, and keeps what each step took: seconds by the clock, and of all processors."""

    con: duckdb.DuckDBPyConnection
    steps: dict[str, tuple[float, float]] = field(default_factory=dict)

    def run(self, step: str, sql: str) -> list[tuple[Any, ...]]:
        wall, cpu = time.perf_counter(), time.process_time()
        found = self.con.execute(sql).fetchall()
        before = self.steps.get(step, (0.0, 0.0))
        self.steps[step] = (before[0] + time.perf_counter() - wall, before[1] + time.process_time() - cpu)
        return found


def path(folder: Path, entity: str) -> Path:
    """Where the snapshot of users or of accounts is written."""
    return folder / f"by-hand-{entity}.parquet"


def write(folder: Path, day: date, memory: str) -> dict[str, tuple[float, float]]:
    """Write the snapshots of a day; answers what each step took."""
    config = {"memory_limit": memory, "temp_directory": str(folder / "spill")}
    with duckdb.connect(":memory:", config=config) as con:
        con.execute("SET preserve_insertion_order = false")
        # The joined side is on the right: the hash table is built from it.
        con.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")
        timed = Timed(con)
        _read(timed, folder, day)
        benchmarks = _measure(timed)
        _score(timed, benchmarks)
        _users(timed, day)
        _accounts(timed, folder, day)
        for entity in ("user", "account"):
            _finish(timed, entity, path(folder, entity), day, benchmarks[0])
        return timed.steps


def _read(timed: Timed, folder: Path, day: date) -> None:
    """`users`, `life` of each user, `days` with what they were worth, `week`: how often what was done."""
    log = f"read_parquet('{folder / 'events.parquet'}')"
    until = _ago(day, 0)
    bits = _of_event({name: 1 << place for place, name in enumerate(NAMES)})
    counts = _of_event({name: 1 << bit for name, bit in COUNTED.items()})
    timed.run(
        "log: lives",
        f"""
        CREATE TEMP TABLE life AS
        SELECT user_id, min(timestamp) AS first_seen, max(timestamp) AS last_seen,
               max(timestamp) FILTER (NOT list_contains({list(PASSIVE)}, event)) AS last_active,
               bit_or({bits})::INTEGER AS ever, sum({counts})::BIGINT AS counts
        FROM {log} WHERE timestamp < {until} GROUP BY user_id
        """,
    )
    timed.run(
        "log: days",
        f"""
        CREATE TEMP TABLE days AS
        SELECT user_id, DATE '{day}' - timestamp::DATE AS ago, sum({_of_event(WEIGHTS)})::INTEGER AS w
        FROM {log} WHERE timestamp < {until} AND timestamp >= {_ago(day, WORTH)} GROUP BY ALL HAVING w > 0
        """,
    )
    done = ", ".join(f"count(*) FILTER (event = '{name}') AS n_{place}" for place, name in enumerate(NAMES))
    timed.run(
        "log: week",
        f"""
        CREATE TEMP TABLE week AS SELECT user_id, {done}
        FROM {log} WHERE timestamp < {until} AND timestamp >= {_ago(day, WINDOW)} GROUP BY user_id
        """,
    )
    timed.run(
        "users",
        "CREATE TEMP TABLE users AS SELECT user_id, account_id, created_at, email"
        f" FROM '{folder / 'users.parquet'}'",
    )


def _measure(timed: Timed) -> list[float]:
    """`windows`: user_id, active (a bit per day of the week), raw_K of the window that ended K days ago; and the
    smoothed benchmarks by K."""
    ago = ", ".join(map(str, range(WORTH)))
    timed.run(
        "days side by side",
        f"CREATE TEMP TABLE beside AS PIVOT days ON ago IN ({ago}) USING any_value(w) GROUP BY user_id",
    )
    worth = ", ".join(f'coalesce("{k}", 0) AS w_{k}' for k in range(WORTH))
    sums = ", ".join(
        f"nullif({' + '.join(f'w_{j}' for j in range(k, k + WINDOW))}, 0) AS raw_{k}" for k in range(MEASURED)
    )
    active = " | ".join(f"((w_{k} > 0)::INTEGER << {k})" for k in range(WINDOW))
    timed.run(
        "windows",
        f"CREATE TEMP TABLE windows AS SELECT user_id, {active} AS active, {sums}"
        f" FROM (SELECT user_id, {worth} FROM beside)",
    )
    counts = ", ".join(f"count(raw_{k})" for k in range(MEASURED))
    sizes = timed.run("benchmarks", f"SELECT {counts} FROM windows")[0]
    if min(sizes) < FEW:
        raise ValueError(f"on some day only {min(sizes)} users have a score: make more events")
    # The discrete quantile q of n values is the one at ceil(q * n), counted from 1.
    places = [(size - 1) * 9 // 10 for size in sizes]
    asked = ", ".join(
        f"quantile_disc(raw_{k}, [{(place + 0.5) / size!r}, {(min(place + 1, size - 1) + 0.5) / size!r}])"
        for k, (place, size) in enumerate(zip(places, sizes, strict=True))
    )
    found = timed.run("benchmarks", f"SELECT {asked} FROM windows")[0]
    daily = []
    for size, (low, high) in zip(sizes, found, strict=True):
        above = (size - 1) * 9 % 10
        daily.append(float(Fraction(low * (10 - above) + high * above, 10)))
    return [statistics.median(daily[k : k + SMOOTHED]) for k in range(TREND + 1)]


def _score(timed: Timed, benchmarks: Sequence[float]) -> None:
    """`user_scores`: user_id, account_id, active, raw, nano_K (billionths), and what _history makes of them;
    `account_scores`: account_id, active, active_users and the like."""
    nano = ", ".join(
        f"round(100e9 * (1 - pow(10.0, -(raw_{k} * {UNIT}::DOUBLE / {UNIT}.0 / {benchmark!r}))))::BIGINT AS nano_{k}"
        for k, benchmark in enumerate(benchmarks)
    )
    some = " OR ".join(f"raw_{k} IS NOT NULL" for k in range(len(benchmarks)))
    timed.run(
        "user: scores",
        f"""
        CREATE TEMP TABLE user_scores AS
        SELECT *, {_history()} FROM (
            SELECT user_id, account_id, active, raw_0 AS raw, {nano}
            FROM windows LEFT JOIN users USING (user_id) WHERE {some}
        )
        """,
    )
    means = ", ".join(
        f"(sum(nano_{k})::BIGINT + count(nano_{k}) // 2) // count(nano_{k}) AS nano_{k}"
        for k in range(len(benchmarks))
    )
    timed.run(
        "account: scores",
        f"""
        CREATE TEMP TABLE account_scores AS
        SELECT *, {_history()} FROM (
            SELECT account_id, bit_or(active) AS active, count(raw) AS active_users, {means}
            FROM user_scores WHERE account_id IS NOT NULL GROUP BY account_id
        )
        """,
    )


def _history() -> str:
    """The scores that are shown, and the places of all days' levels among the bands, two bits each, the last day
    lowest."""
    shown = ", ".join(
        f"CASE WHEN nano_{k} IS NULL THEN 0 ELSE greatest(1, (nano_{k} + {NANO // 2}) // {NANO}) END AS score_{k}"
        for k in (0, WINDOW, TREND)
    )
    levels = " | ".join(f"(CASE {_places(k)} ELSE 0 END)" for k in range(TREND + 1))
    return f"{shown}, {levels} AS levels"


def _places(k: int) -> str:
    """The level of a day, as two bits of a number, where it is not the lowest."""
    return " ".join(
        f"WHEN nano_{k} >= {BANDS[place][1] * NANO - NANO // 2} THEN {place << 2 * k}::BIGINT"
        for place in range(len(BANDS) - 1, 0, -1)
    )


def _parts(timed: Timed, entity: str, counts: str) -> None:
    """`ENTITY_parts`: part (its number; 0 is nothing), id, recent (a bit per thing that was done), contributions,
    drivers. `counts` has id, nano, n_N.

    What is sorted are numbers: the points, and in the lowest four bits the place of the name from the end.
    """
    last = len(NAMES) - 1
    keys = ", ".join(f"n_{place} * {WEIGHTS[name] * 16} + {last - place}" for place, name in enumerate(NAMES))
    total = " + ".join(f"n_{place} * {WEIGHTS[name]}" for place, name in enumerate(NAMES))
    recent = " | ".join(f"((n_{place} > 0)::INTEGER << {place})" for place in range(len(NAMES)))
    names = "[" + ", ".join(f"'{name}'" for name in reversed(NAMES)) + "][key % 16 + 1]"
    weights = "[" + ", ".join(str(WEIGHTS[name]) for name in reversed(NAMES)) + "][key % 16 + 1]"
    timed.run(
        f"{entity}: parts",
        f"""
        CREATE TEMP TABLE {entity}_parts AS
        SELECT row_number() OVER () AS part, id, recent,
               list_transform(keys, lambda key: {{
                   'name': {names}, 'n': key // 16 // {weights}, 'points': nano / {NANO}.0 * (key // 16 * {NANO})::DOUBLE / total
               }}) AS contributions,
               array_to_string(list_transform(keys[1:3], lambda key: {names}), ', ') AS drivers
        FROM (
            SELECT id, nano, {recent} AS recent, (({total}) * {NANO})::DOUBLE AS total,
                   list_filter(list_reverse_sort([{keys}]), lambda key: key > 15) AS keys
            FROM ({counts})
        )
        WHERE total > 0 UNION ALL SELECT 0, NULL, 0, [], NULL
        """,
    )


def _users(timed: Timed, day: date) -> None:
    """`user_rows`: every user that existed."""
    _parts(
        timed,
        "user",
        "SELECT user_id AS id, nano_0 AS nano, week.* FROM week JOIN user_scores USING (user_id)",
    )
    timed.run(
        "user: rows",
        f"""
        CREATE TEMP TABLE user_rows AS
        SELECT user_id AS id, u.user_id IS NOT NULL AND created_at IS NULL AS always, account_id,
               first_seen, last_seen, last_active, least(created_at, first_seen) AS signed_up,
               coalesce(ever, 0) AS ever, coalesce(counts, 0) AS counts, coalesce(recent, 0) AS recent,
               100.0::DOUBLE * (((coalesce(ever, 0) >> {NAMES.index("Invited Teammate")}) & 1)
                   + (coalesce(counts, 0) & {MOST} >= 3)::INTEGER + coalesce(email <> '', false)::INTEGER) / 3
                   AS activation,
               coalesce(raw, 0) * {UNIT}::DOUBLE / {UNIT}.0 AS raw, coalesce(nano_0, 0) AS nano,
               {_SCORED}, coalesce(part, 0) AS part
        FROM users u FULL JOIN life USING (user_id)
        LEFT JOIN (SELECT user_id, raw, nano_0, active, levels, score_0, score_{WINDOW}, score_{TREND} FROM user_scores)
            USING (user_id)
        LEFT JOIN user_parts d ON d.id = user_id
        WHERE coalesce(least(created_at, first_seen) < {_ago(day, 0)}, true)
        """,
    )


def _accounts(timed: Timed, folder: Path, day: date) -> None:
    """`account_rows`: every account that existed, with what its users did."""
    sums = ", ".join(f"sum(n_{place})::BIGINT AS n_{place}" for place in range(len(NAMES)))
    _parts(
        timed,
        "account",
        f"SELECT account_id AS id, any_value(a.nano_0) AS nano, {sums} FROM week JOIN user_scores u USING (user_id)"
        " JOIN account_scores a USING (account_id) GROUP BY account_id",
    )
    timed.run(
        "account: rows",
        f"""
        CREATE TEMP TABLE account_rows AS
        WITH people AS (
            SELECT account_id, min(first_seen) AS first_seen, max(last_seen) AS last_seen,
                   max(last_active) AS last_active, bit_or(ever) AS ever,
                   max((counts >> 21) & {MOST}) AS integrations, max(counts >> 42) AS comments,
                   count(*) FILTER (last_seen >= {_ago(day, 90)}) AS total_users,
                   arg_min(id, ROW(-epoch_us(last_seen), id)) FILTER (last_seen IS NOT NULL) AS member
            FROM user_rows WHERE account_id IS NOT NULL GROUP BY account_id
        )
        SELECT account_id AS id, created_at IS NULL AS always, first_seen, last_seen, last_active,
               least(created_at, first_seen) AS signed_up, coalesce(ever, 0) AS ever, coalesce(recent, 0) AS recent,
               100.0::DOUBLE * (coalesce(integrations > 0, false)::INTEGER
                   + coalesce(comments >= 10, false)::INTEGER) / 2 AS activation,
               NULL::DOUBLE AS raw, coalesce(nano_0, 0) AS nano, {_SCORED}, coalesce(part, 0) AS part,
               coalesce(active_users, 0) AS active_users, coalesce(total_users, 0) AS total_users, member
        FROM '{folder / "accounts.parquet"}' LEFT JOIN people USING (account_id)
        LEFT JOIN account_scores USING (account_id) LEFT JOIN account_parts p ON p.id = account_id
        WHERE coalesce(least(created_at, first_seen) < {_ago(day, 0)}, true)
        """,
    )


_SCORED = (
    "coalesce(active, 0) AS active, coalesce(levels, 0) AS levels, coalesce(score_0, 0) AS score,"
    f" coalesce(score_{WINDOW}, 0) AS score_before, coalesce(score_{TREND}, 0) AS score_month"
)


def _finish(timed: Timed, entity: str, file: Path, day: date, benchmark: float) -> None:
    """Changes, trends and audiences, and the file."""
    own = {
        "user": "account_id",
        "account": "active_users, total_users, CASE WHEN total_users > 0 THEN"
        " least(100.0::DOUBLE, 100.0::DOUBLE * active_users / total_users) END AS percent_active, member",
    }[entity]
    apart = "xor(levels, levels >> 2)"
    changed = f"(({apart} | ({apart} >> 1)) & {sum(1 << 2 * k for k in range(TREND))})"
    names = "[" + ", ".join(f"'{name}'" for name, _ in BANDS) + "]"
    audiences = _audiences(entity, day)
    bits = " | ".join(
        f"(coalesce({sql}, false)::BIGINT << {bit})" for bit, (_, _, sql) in enumerate(audiences)
    )
    timed.run(
        f"{entity}: changes",
        f"""
        CREATE TEMP TABLE {entity}_judged AS
        SELECT *, {bits} AS audiences FROM (
            SELECT *, CASE WHEN month IS NULL THEN 'New' WHEN month <= -10 THEN 'Cooling' WHEN month < 10 THEN 'Neutral'
                      WHEN month < 25 THEN 'Heating' ELSE 'Surging' END AS trend,
                   CASE WHEN always OR signed_up < {_ago(day, 1)} - to_days(moved) THEN moved END AS ago
            FROM (
                SELECT *, CASE WHEN always OR signed_up < {_ago(day, TREND)} THEN score - score_month END AS month,
                       CASE WHEN always OR signed_up < {_ago(day, WINDOW)} THEN score - score_before END AS week,
                       bit_count(xor(nullif({changed}, 0), {changed} - 1)) // 2 AS moved
                FROM {entity}_rows
            )
        )
        """,
    )
    keys, shipped = (
        ", ".join(
            f"CASE WHEN audiences & {1 << bit} <> 0 THEN '{each[place]}' END"
            for bit, each in sorted(enumerate(audiences), key=lambda item: str(item[1][place]))
            if each[place]
        )
        for place in (0, 1)
    )
    timed.run(
        f"{entity}: lists",
        f"""
        CREATE TEMP TABLE {entity}_lists AS
        SELECT audiences, list_filter([{shipped}], lambda each: each IS NOT NULL) AS segments,
               list_filter([{keys}], lambda each: each IS NOT NULL) AS keys
        FROM (SELECT DISTINCT audiences FROM {entity}_judged)
        """,
    )
    timed.run(
        f"{entity}: file",
        f"""
        COPY (
            SELECT r.id AS {entity}_id, {own}, score, segments, activation,
                   100.0::DOUBLE * bit_count(r.recent) / {len(NAMES)} AS adoption_recent,
                   100.0::DOUBLE * bit_count(ever) / {len(NAMES)} AS adoption_ever,
                   last_active, bit_count(active)::BIGINT AS frequency, {names}[(levels & 3) + 1] AS level,
                   {names}[((levels >> (2 * ago + 2)) & 3) + 1] AS level_previous,
                   DATE '{day}' - ago::INTEGER AS level_changed_on, trend,
                   month AS score_change, week AS score_change_window,
                   (DATE '{day}' - signed_up::DATE) + (signed_up = signed_up::DATE)::BIGINT AS tenure_days,
                   {benchmark!r}::DOUBLE AS benchmark, drivers, first_seen, last_seen, signed_up, keys AS audiences,
                   raw, nano / {NANO}.0 AS score_exact, contributions
            FROM {entity}_judged r JOIN {entity}_lists USING (audiences) JOIN {entity}_parts p USING (part)
            ORDER BY r.id
        ) TO '{file}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 100000)
        """,
    )


def _audiences(entity: str, day: date) -> list[tuple[str, str, str]]:
    """Key, name in the Segments trait (none for what is not shipped), and what it takes to be in it."""
    found = [
        ("all", "", "true"),
        ("all_active", "", "active <> 0"),
        ("active_today", "", "active & 1 = 1"),
        ("new", "New", f"signed_up >= {_ago(day, WINDOW)}"),
        ("most_engaged", "Most Engaged", "score >= 75"),
        ("slightly_engaged", "Slightly Engaged", "score >= 50 AND score < 75"),
        ("passive", "Passive", "score >= 25 AND score < 50"),
        ("least_engaged", "Least Engaged", "score < 25"),
        (
            "recently_inactive",
            "Recently Inactive",
            f"last_active >= {_ago(day, 60)} AND last_active < {_ago(day, 30)}",
        ),
        ("red_hot", "Red Hot", "week >= 10"),
        ("ice_cold", "Ice Cold", "week <= -10"),
        ("mature", "Mature", f"signed_up < {_ago(day, 180)} OR signed_up IS NULL"),
    ]
    if entity == "account":
        found.append(("multi_user_accounts", "Multi-User Accounts", "active_users >= 2"))
    found += [
        (f"level_{name.lower().replace(' ', '_')}", "", f"levels & 3 = {place}")
        for place, (name, _) in enumerate(BANDS)
    ]
    trends = ("New", "Cooling", "Neutral", "Heating", "Surging")
    return found + [(f"trend_{name.lower()}", "", f"trend = '{name}'") for name in trends]


def _of_event(values: Mapping[str, int]) -> str:
    """The number of an event, looked up by its name; NULL for other events."""
    pairs = ", ".join(f"'{name}': {value}" for name, value in values.items())
    return f"MAP {{{pairs}}}[event]"


def _ago(day: date, days: int) -> str:
    """The midnight so many days before the end of a day."""
    return f"TIMESTAMP '{day + timedelta(days=1 - days)}'"
