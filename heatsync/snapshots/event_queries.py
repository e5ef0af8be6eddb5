"""Counts that single days do not hold: what accumulates over the whole past, and what conditions and touchpoints count
among the events themselves.

    <state>/daily/lives/<profile>/<day>.parquet    what had accumulated by the end of a day, per user and account
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from heatsync.scoring.compute import calendar, source_counts, weighting
from heatsync.scoring.compute.arrow import load_arrow
from heatsync.scoring.compute.compiled_profile import CompiledProfile
from heatsync.scoring.compute.event_counts import EventCount
from heatsync.scoring.compute.relations import Relation, create_empty, create_table
from heatsync.scoring.compute.scores import escape_quotes
from heatsync.snapshots.daily_counts import DAILY, FORMAT, IDS, DailyCounts, PropertyCounts, digest

KEPT_LIVES = 14
"""Days for which what had accumulated is kept."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The daily counts as a profile looks at them; `by_properties` are what its touchpoints count that select events by
    properties."""

    days: DailyCounts
    plan: CompiledProfile
    profile: str
    by_properties: Relation


def accumulate(counts: Counts, day: int, table: str, base: int | None = None) -> Relation:
    """`table`: what had accumulated by the end of a day: user_no, account_no, first, last, last_active, ever_N (bits of
    items), count_N (events of each counted set). `base` asks for a day, before this one, that other days will be
    counted from. Raises ConfigurationError."""
    days, counted = counts.days, counts.days.counted
    folder = days.folder / "lives" / f"{counts.profile}-{digest([FORMAT, counts.plan.life, counted.source])}"
    kept = {int(path.stem): path for path in folder.glob("*.parquet")}
    usable = [
        each
        for each in kept
        if each <= (day if base is None else base) and counted.since <= each + 1 and day <= counted.until
    ]
    if usable:
        start = max(usable)
    else:
        start = _start(days, day, base)
        _read_past(days, counts.plan, start, folder / f"{start}.parquet")
    life = _accumulate_days(counts, folder / f"{start}.parquet", (start, day), table)
    until = min(day, counted.until) - days.workspace.source.look_back + 1
    if start < until <= day and base is None:
        settled = _accumulate_days(counts, folder / f"{start}.parquet", (start, until), "settled")
        days.write(f"FROM {settled}", folder / f"{until}.parquet")
        for each, path in kept.items():
            if each < until - KEPT_LIVES:
                path.unlink(missing_ok=True)
    return life


def _start(counts: DailyCounts, day: int, base: int | None) -> int:
    """The day by the end of which the whole past is read at the source."""
    counted, first = counts.counted, counts.first_day
    start = min(day, counted.until) - counts.workspace.source.look_back
    # What is counted from the first event on need not be read again.
    start = counted.since - 1 if first is None or counted.since <= first else max(counted.since - 1, start)
    if base is not None:
        start = max(counted.since - 1, min(start, base))
    return min(start, day)


def _read_past(counts: DailyCounts, plan: CompiledProfile, day: int, path: Path) -> None:
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
    columns = ["first", "last", "last_active", *plan.ever, *plan.counts]
    read = counts.fetch("read_lives", source_counts.lifetime_counts(plan, events, counts.source.embedded))
    counts.write(f"FROM {counts.number_rows(read, columns)}", path)


def _accumulate_days(counts: Counts, path: Path, days: tuple[int, int], table: str) -> Relation:
    """`table` from what had accumulated by the end of the first day, and the days after it up to the last."""
    (start, day), plan, con = days, counts.plan, counts.days.connection
    masks = load_arrow(con, "masks", plan.event_masks())
    bits = {
        word: f"coalesce(k.mask_{word}, 0)"
        if plan.model != "kpi"
        else f"CASE WHEN d.total > 0 THEN coalesce(k.mask_{word}, 0) ELSE 0 END"
        for word in plan.item_words
    }
    sums = [
        f"sum(d.n * coalesce(k.in_{place}, {int(some is None)}))::BIGINT AS count_{place}"
        for place, some in enumerate(plan.counted)
    ]
    news = ", ".join(
        [
            "d.user_no, d.account_no, min(d.first) AS first, max(d.last) AS last",
            "max(d.last) FILTER (NOT coalesce(k.passive, false)) AS last_active",
            *(f"bit_or({bits[word]}) AS ever_{word}" for word in plan.item_words),
            *sums,
        ]
    )
    zeros = "".join(f", 0 AS {each}" for each in plan.counts)
    by_properties = ", ".join(
        f"bit_or(CASE WHEN total > 0 AND item // 62 = {word} THEN 1::BIGINT << (item % 62)::INTEGER ELSE 0 END)"
        f" AS ever_{word}"
        for word in plan.item_words
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
            f"SELECT * FROM read_parquet('{escape_quotes(str(path))}')",
            f"SELECT {news} FROM {DAILY} d JOIN {IDS['event']} e ON e.no = d.event_no LEFT JOIN {masks} k ON k.event = e.id"
            f" WHERE d.day > {start} AND d.day <= {day} GROUP BY d.user_no, d.account_no",
            "SELECT user_no, account_no, NULL::TIMESTAMP AS first, NULL::TIMESTAMP AS last,"
            f" NULL::TIMESTAMP AS last_active, {by_properties}{zeros}"
            f" FROM {counts.by_properties} WHERE day > {start} AND day <= {day} GROUP BY ALL",
        ]
    )
    return create_table(
        con,
        table,
        ("user_no", "account_no", "first", "last", "last_active", *plan.ever, *plan.counts),
        f"SELECT user_no, account_no, {columns} FROM ({parts})"
        " WHERE user_no IS NOT NULL OR account_no IS NOT NULL GROUP BY user_no, account_no",
    )


def count_by_properties(counts: DailyCounts, plan: CompiledProfile, first: int, last: int) -> Relation:
    """`special_daily` (user_no, account_no, item, day, n, total): what the items that select events by properties
    counted from the day `first` to `last`, and maybe on later days. Raises ConfigurationError."""
    con = counts.connection
    found = create_empty(
        con,
        "special_daily",
        user_no="INTEGER",
        account_no="INTEGER",
        item="BIGINT",
        day="BIGINT",
        n="BIGINT",
        total="DECIMAL(38, 0)",
    )
    items = tuple(item for item in plan.items if item.where)
    if not items:
        return found
    known = counts.by_properties
    if known is not None and (known.items, known.first) == (items, first) and last <= known.last:
        con.execute(f"INSERT INTO {found} FROM {known.table}")
        return found
    last = max(last, counts.counted.until)
    events, _ = counts.events(calendar.day_of(first), last)
    bounds = calendar.day_bounds(calendar.day_of(first), calendar.day_of(last), counts.workspace.time_zone)
    for item in items:
        query = source_counts.item_counts(item, events, bounds, counts.source.embedded)
        read = counts.number_rows(counts.fetch("read_special", query), ["day", "n", "total"])
        con.execute(
            f"INSERT INTO {found} SELECT user_no, account_no, {item.place}, day, n, total FROM {read}"
        )
    kept = create_table(con, "specials", found.columns, f"FROM {found}")
    counts.by_properties = PropertyCounts(items, first, last, kept)
    return found


def list_occurrences(
    counts: DailyCounts, asked: Mapping[EventCount, tuple[datetime | None, datetime]]
) -> Relation:
    """`occurred`: the events that measures count in an interval (from None: ever): measure, user_no, account_no,
    happened, n. A measure of whole days has them at the beginning of their day. Raises ConfigurationError."""
    con, zone = counts.connection, counts.workspace.time_zone
    found = create_empty(
        con,
        "occurred",
        measure="VARCHAR",
        user_no="INTEGER",
        account_no="INTEGER",
        happened="TIMESTAMP",
        n="BIGINT",
    )
    for measure, (since, until) in asked.items():
        events, first = counts.source.events(since, until)
        if first is None:
            continue
        whole = all(each is None or each.days is not None for each in (measure.old, measure.new))
        bounds = None
        if whole:
            bounds = calendar.day_bounds(counts.local_date(first), calendar.local_day(until, zone), zone)
        query = source_counts.event_times(measure, events, bounds, counts.source.embedded)
        read = counts.number_rows(counts.fetch("read_occurred", query), ["happened", "n"])
        when, days = "happened", ""
        if bounds is not None:
            starts = load_arrow(con, "occurred_days", bounds.select(["day", "starts"]))
            when, days = "starts", f" JOIN (SELECT DISTINCT day, starts FROM {starts}) ON day = happened"
        con.execute(
            f"INSERT INTO {found} SELECT '{measure.column}', user_no, account_no, {when}, n FROM {read}{days}"
        )
    return found


@dataclass(frozen=True, slots=True)
class Subjects:
    """What measures are counted of: `life` (accumulate) and the `bases` of the entities by the end of the day, and where
    users are placed."""

    life: Relation
    bases: Mapping[str, Relation]
    placement: Relation


def count_measures(
    counts: Counts,
    day: int,
    measures: Mapping[str, Sequence[EventCount] | frozenset[EventCount]],
    of: Subjects,
) -> dict[str, Relation]:
    """By entity, `{entity}_counts`: key, and a column per measure of the entity with the events it counts by the end of
    a day, of every entity in the base. Raises ConfigurationError."""
    con = counts.days.connection
    asked = sorted({each for some in measures.values() for each in some}, key=lambda each: each.column)
    parts = _measured_parts(counts, day, asked, of.life)
    counted: Relation | None = None
    if parts:
        columns = ("user_no", "account_no", *(each.column for each in asked))
        counted = create_table(con, "counted", columns, " UNION ALL BY NAME ".join(parts))
    found: dict[str, Relation] = {}
    for entity, some in measures.items():
        base, own = of.bases[entity], sorted(each.column for each in some)
        query = f"SELECT key FROM {base} WHERE false"
        if own:
            assert counted is not None
            listed = ", ".join(f"x.{each}" for each in own)
            rows = (
                f"SELECT user_no AS key, {listed} FROM {counted} x WHERE user_no IS NOT NULL"
                if entity == "user"
                else weighting.account_rows(counted, listed, of.placement)
            )
            sums = "".join(f", coalesce(sum({each}), 0)::BIGINT AS {each}" for each in own)
            query = f"SELECT b.key{sums} FROM {base} b LEFT JOIN ({rows}) f ON f.key = b.key GROUP BY b.key"
        found[entity] = create_table(con, f"{entity}_counts", ("key", *own), query)
    return found


def _measured_parts(counts: Counts, day: int, asked: Sequence[EventCount], life: Relation) -> list[str]:
    """SQL: user_no, account_no and the columns of some of the measures, each."""
    zone, events = counts.days.workspace.time_zone, IDS["event"]
    from_days = [each for each in asked if not each.from_events and each.old is not None]
    from_lives = [each for each in asked if not each.from_events and each.old is None]
    from_events = [(each, *each.interval(day, zone)) for each in asked if each.from_events]
    parts: list[str] = []
    if from_days:
        columns = ", ".join(
            f"{counted_by(each, events, 'day', str(day))}::BIGINT AS {each.column}" for each in from_days
        )
        reach = max(each.old.days or 0 for each in from_days if each.old is not None)
        parts.append(
            f"SELECT user_no, account_no, {columns} FROM {DAILY} WHERE day > {day - reach} AND day <= {day}"
            " GROUP BY user_no, account_no"
        )
    if from_lives:
        columns = ", ".join(
            f"count_{counts.plan.counted.index(each.events)} AS {each.column}" for each in from_lives
        )
        parts.append(f"SELECT user_no, account_no, {columns} FROM {life}")
    if from_events:
        parts.append(f"FROM {_read_measures(counts.days, from_events)}")
    return parts


def _read_measures(
    counts: DailyCounts, asked: Sequence[tuple[EventCount, datetime | None, datetime]]
) -> Relation:
    """`measured_events`: the measures that need the events themselves: user_no, account_no, a column each."""
    starts = [since for _, since, _ in asked]
    since = None if None in starts else min(each for each in starts if each is not None)
    events, _ = counts.source.events(since, max(until for _, _, until in asked))
    query = source_counts.interval_counts(list(asked), events, counts.source.embedded)
    return counts.number_rows(counts.fetch("measured_events", query), [each.column for each, _, _ in asked])


def matches(measure: EventCount, event_ids: Relation) -> str:
    """SQL: whether a row of the daily counts is of an event that a measure counts."""
    return "true" if measure.events is None else weighting.event_in(event_ids, measure.events)


def counted_by(measure: EventCount, event_ids: Relation, day: str, target: str) -> str:
    """SQL: what a measure of whole days counts by the end of the day `target`; `day` is the column of the daily
    counts."""
    old, new = ((each.days or 0) if each else 0 for each in (measure.old, measure.new))
    among = matches(measure, event_ids)
    return f"sum(n) FILTER ({day} > {target} - {old} AND {day} <= {target} - {new} AND {among})"
