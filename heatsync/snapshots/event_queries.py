"""Counts that single days do not hold: what accumulates over the whole past, and what conditions and touchpoints count
among the events themselves.

    <state>/daily/lives/<profile>/<day>.parquet    what had accumulated by the end of a day, per user and account
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from heatsync.scoring.compute import calendar, source_counts, weighting
from heatsync.scoring.compute.arrow import take
from heatsync.scoring.compute.compiled_profile import Plan
from heatsync.scoring.compute.event_counts import Measure
from heatsync.scoring.compute.scores import quoted
from heatsync.snapshots.daily_counts import FORMAT, DailyCounts, digest

KEPT_LIVES = 14
"""Days for which what had accumulated is kept."""


def accumulate(
    counts: DailyCounts, plan: Plan, profile: str, day: int, table: str, base: int | None = None
) -> None:
    """Create `table` with what had accumulated by the end of a day: user_no, account_no, first, last, last_active,
    ever_N (bits of things), count_N (events of each counted set). `base` asks for a day, before this one, that other
    days will be counted from. Raises ConfigurationError."""
    counted = counts.counted
    folder = counts.folder / "lives" / f"{profile}-{digest([FORMAT, plan.life, counted.source])}"
    kept = {int(path.stem): path for path in folder.glob("*.parquet")}
    usable = [
        each
        for each in kept
        if each <= (day if base is None else base) and counted.since <= each + 1 and day <= counted.until
    ]
    look_back = counts.workspace.source.look_back
    if usable:
        start = max(usable)
    else:
        start = _start(counts, day, base)
        _read_past(counts, plan, start, folder / f"{start}.parquet")
    _accumulate_days(counts, plan, folder / f"{start}.parquet", (start, day), table)
    until = min(day, counted.until) - look_back + 1
    if start < until <= day and base is None:
        _accumulate_days(counts, plan, folder / f"{start}.parquet", (start, until), "settled")
        counts.write("FROM settled", folder / f"{until}.parquet")
        for each, path in kept.items():
            if each < until - KEPT_LIVES:
                path.unlink(missing_ok=True)


def _start(counts: DailyCounts, day: int, base: int | None) -> int:
    """The day by the end of which the whole past is read at the source."""
    counted, first = counts.counted, counts.first_day
    start = min(day, counted.until) - counts.workspace.source.look_back
    # What is counted from the first event on need not be read again.
    start = counted.since - 1 if first is None or counted.since <= first else max(counted.since - 1, start)
    if base is not None:
        start = max(counted.since - 1, min(start, base))
    return min(start, day)


def _read_past(counts: DailyCounts, plan: Plan, day: int, path: Path) -> None:
    """Read the whole past at the source, if there is any."""
    first = counts.first_day
    if first is None or day < first:
        shown = "".join(f", 0::BIGINT AS {each}" for each in (*plan.ever, *plan.counts))
        nothing = ", ".join(f"NULL::TIMESTAMP AS {each}" for each in ("first", "last", "last_active"))
        counts.write(
            f"SELECT 0::INTEGER AS user_no, 0::INTEGER AS account_no, {nothing}{shown} WHERE false", path
        )
        return
    events, _ = counts.events(None, day)
    counts.fetch("read_lives", source_counts.lives(plan, events, counts.source.embedded))
    counts.number_rows("read_lives", ["first", "last", "last_active", *plan.ever, *plan.counts])
    counts.write("FROM read_lives", path)


def _accumulate_days(counts: DailyCounts, plan: Plan, path: Path, days: tuple[int, int], table: str) -> None:
    """Create `table` from what had accumulated by the end of the first day, and the days after it up to the last."""
    start, day = days
    take(counts.connection, "masks", plan.masks())
    bits = {
        word: f"coalesce(k.mask_{word}, 0)"
        if plan.model != "kpi"
        else f"CASE WHEN d.total > 0 THEN coalesce(k.mask_{word}, 0) ELSE 0 END"
        for word in plan.thing_words
    }
    sums = [
        f"sum(d.n * coalesce(k.in_{place}, {int(some is None)}))::BIGINT AS count_{place}"
        for place, some in enumerate(plan.counted)
    ]
    news = ", ".join(
        [
            "d.user_no, d.account_no, min(d.first) AS first, max(d.last) AS last",
            "max(d.last) FILTER (NOT coalesce(k.passive, false)) AS last_active",
            *(f"bit_or({bits[word]}) AS ever_{word}" for word in plan.thing_words),
            *sums,
        ]
    )
    zeros = "".join(f", 0 AS {each}" for each in plan.counts)
    by_properties = ", ".join(
        f"bit_or(CASE WHEN total > 0 AND thing // 62 = {word} THEN 1::BIGINT << (thing % 62)::INTEGER ELSE 0 END)"
        f" AS ever_{word}"
        for word in plan.thing_words
    )
    columns = ", ".join(
        [
            "min(first) AS first, max(last) AS last, max(last_active) AS last_active",
            *(f"bit_or({each}) AS {each}" for each in plan.ever),
            *(f"sum({each})::BIGINT AS {each}" for each in plan.counts),
        ]
    )
    parts = " UNION ALL BY NAME ".join(
        [
            f"SELECT * FROM read_parquet('{quoted(str(path))}')",
            f"SELECT {news} FROM daily d JOIN event_ids e ON e.no = d.event_no LEFT JOIN masks k ON k.event = e.id"
            f" WHERE d.day > {start} AND d.day <= {day} GROUP BY d.user_no, d.account_no",
            "SELECT user_no, account_no, NULL::TIMESTAMP AS first, NULL::TIMESTAMP AS last,"
            f" NULL::TIMESTAMP AS last_active, {by_properties}{zeros}"
            f" FROM special_daily WHERE day > {start} AND day <= {day} GROUP BY ALL",
        ]
    )
    counts.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT user_no, account_no, {columns} FROM ({parts})"
        " WHERE user_no IS NOT NULL OR account_no IS NOT NULL GROUP BY user_no, account_no"
    )


def count_by_properties(counts: DailyCounts, plan: Plan, first: int, last: int) -> None:
    """`special_daily` (user_no, account_no, thing, day, n, total): what the things that select events by properties
    counted from the day `first` to `last`, and maybe on later days. Raises ConfigurationError."""
    con = counts.connection
    con.execute(
        "CREATE OR REPLACE TEMP TABLE special_daily (user_no INTEGER, account_no INTEGER, thing BIGINT, day BIGINT,"
        " n BIGINT, total DECIMAL(38, 0))"
    )
    things = tuple(thing for thing in plan.things if thing.where)
    if not things:
        return
    con.execute("CREATE TEMP TABLE IF NOT EXISTS specials AS FROM special_daily WITH NO DATA")
    known = counts.by_properties
    if known is not None and known[:2] == (things, first) and last <= known[2]:
        con.execute("INSERT INTO special_daily FROM specials")
        return
    last = max(last, counts.counted.until)
    counts.by_properties = (things, first, last)
    events, _ = counts.events(calendar.day_of(first), last)
    bounds = calendar.bounds(calendar.day_of(first), calendar.day_of(last), counts.workspace.time_zone)
    for thing in things:
        counts.fetch("read_special", source_counts.special(thing, events, bounds, counts.source.embedded))
        counts.number_rows("read_special", ["day", "n", "total"])
        con.execute(
            f"INSERT INTO special_daily SELECT user_no, account_no, {thing.place}, day, n, total FROM read_special"
        )
    con.execute("CREATE OR REPLACE TEMP TABLE specials AS FROM special_daily")


def list_occurrences(
    counts: DailyCounts, asked: Mapping[Measure, tuple[datetime | None, datetime]], table: str
) -> None:
    """Create `table` with the events that measures count in an interval (from None: ever): measure, user_no,
    account_no, happened, n. A measure of whole days has them at the beginning of their day. Raises
    ConfigurationError."""
    con, zone = counts.connection, counts.workspace.time_zone
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {table}"
        " (measure VARCHAR, user_no INTEGER, account_no INTEGER, happened TIMESTAMP, n BIGINT)"
    )
    for measure, (since, until) in asked.items():
        events, first = counts.source.events(since, until)
        if first is None:
            continue
        whole = all(each is None or each.days is not None for each in (measure.old, measure.new))
        bounds = None
        if whole:
            bounds = calendar.bounds(counts.local_date(first), calendar.local_day(until, zone), zone)
        counts.fetch("read_occurred", source_counts.occurred(measure, events, bounds, counts.source.embedded))
        counts.number_rows("read_occurred", ["happened", "n"])
        when, days = "happened", ""
        if bounds is not None:
            take(con, "occurred_days", bounds.select(["day", "starts"]))
            when, days = (
                "starts",
                " JOIN (SELECT DISTINCT day, starts FROM occurred_days) ON day = happened",
            )
        con.execute(
            f"INSERT INTO {table} SELECT '{measure.column}', user_no, account_no, {when}, n FROM read_occurred{days}"
        )


def count_measures(
    counts: DailyCounts,
    plan: Plan,
    day: int,
    measures: Mapping[str, Sequence[Measure] | frozenset[Measure]],
) -> None:
    """`user_counts` and `account_counts`: key, and a column per measure of the entity with the events it counts by the
    end of a day, of every entity in the base. Raises ConfigurationError."""
    con, zone = counts.connection, counts.workspace.time_zone
    asked = sorted({each for some in measures.values() for each in some}, key=lambda each: each.column)
    from_days = [each for each in asked if not each.from_events and each.old is not None]
    from_lives = [each for each in asked if not each.from_events and each.old is None]
    from_events = [(each, *each.interval(day, zone)) for each in asked if each.from_events]
    parts: list[str] = []
    if from_days:
        columns = ", ".join(
            f"{counted_by(each, 'day', str(day))}::BIGINT AS {each.column}" for each in from_days
        )
        reach = max(each.old.days or 0 for each in from_days if each.old is not None)
        parts.append(
            f"SELECT user_no, account_no, {columns} FROM daily WHERE day > {day - reach} AND day <= {day}"
            " GROUP BY user_no, account_no"
        )
    if from_lives:
        columns = ", ".join(
            f"count_{plan.counted.index(each.events)} AS {each.column}" for each in from_lives
        )
        parts.append(f"SELECT user_no, account_no, {columns} FROM life")
    if from_events:
        _read_measures(counts, from_events, "measured_events")
        parts.append("FROM measured_events")
    if parts:
        con.execute(f"CREATE OR REPLACE TEMP TABLE counted AS {' UNION ALL BY NAME '.join(parts)}")
    for entity, some in measures.items():
        own = sorted(each.column for each in some)
        if not own:
            con.execute(
                f"CREATE OR REPLACE TEMP TABLE {entity}_counts AS SELECT key FROM {entity}_base WHERE false"
            )
            continue
        columns = ", ".join(f"x.{each}" for each in own)
        found = (
            f"SELECT user_no AS key, {columns} FROM counted x WHERE user_no IS NOT NULL"
            if entity == "user"
            else weighting.own("counted", columns)
        )
        sums = "".join(f", coalesce(sum({each}), 0)::BIGINT AS {each}" for each in own)
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE {entity}_counts AS SELECT b.key{sums} FROM {entity}_base b"
            f" LEFT JOIN ({found}) f ON f.key = b.key GROUP BY b.key"
        )


def _read_measures(
    counts: DailyCounts, asked: Sequence[tuple[Measure, datetime | None, datetime]], table: str
) -> None:
    """Create `table` with the measures that need the events themselves: user_no, account_no, a column each."""
    starts = [since for _, since, _ in asked]
    since = None if None in starts else min(each for each in starts if each is not None)
    events, _ = counts.source.events(since, max(until for _, _, until in asked))
    counts.fetch(table, source_counts.measured(list(asked), events, counts.source.embedded))
    counts.number_rows(table, [each.column for each, _, _ in asked])


def matches(measure: Measure) -> str:
    """SQL: whether a row of the daily counts is of an event that a measure counts."""
    return "true" if measure.events is None else weighting.named(measure.events)


def counted_by(measure: Measure, day: str, target: str) -> str:
    """SQL: what a measure of whole days counts by the end of the day `target`; `day` is the column of the daily
    counts."""
    old, new = ((each.days or 0) if each else 0 for each in (measure.old, measure.new))
    return f"sum(n) FILTER ({day} > {target} - {old} AND {day} <= {target} - {new} AND {matches(measure)})"
