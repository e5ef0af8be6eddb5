"""Strategies for small worlds to score: events, users and accounts, many of them exactly at a boundary."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from hypothesis import strategies as st

from heatsync.workspace import config as workspace_config
from heatsync.workspace.config import Workspace

Row = dict[str, Any]
NAMES = ("Report Created", "Invited", "Viewed", "Logged In", "Paid", "Unknown")
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Sao_Paulo",
)
DAYS = (date(2026, 4, 5), date(2026, 4, 6), date(2026, 11, 8), date(2025, 10, 26), date(2018, 11, 5))
"""Days around clock changes: on such a day, after it, and with several in the window."""
EDGES = (0, 1, 6, 7, 8, 14, 27, 28, 30, 31, 39, 40, 41, 59, 60, 61, 89, 90, 91, 120, 150)
PLANS = (None, "pro", "team", "free", "")
VALUES = (None, None, 1.0, 2.5, 0.0, -3.0, 10.0, float("nan"), float("inf"))
PAGES = (None, "high", "low", "higher")
_STAMP = pa.timestamp("us", tz="UTC")
_TEXT = pa.string()
SCHEMAS = {
    "events": pa.schema(
        [
            ("user_id", _TEXT),
            ("account_id", _TEXT),
            ("event", _TEXT),
            ("timestamp", _STAMP),
            ("event_id", _TEXT),
            ("value", pa.float64()),
            ("properties", _TEXT),
        ]
    ),
    "users": pa.schema(
        [
            ("user_id", _TEXT),
            ("account_id", _TEXT),
            ("created_at", _STAMP),
            ("plan", _TEXT),
            ("seats", pa.float64()),
            ("vip", pa.bool_()),
        ]
    ),
    "accounts": pa.schema(
        [
            ("account_id", _TEXT),
            ("created_at", _STAMP),
            ("plan", _TEXT),
            ("nps", pa.float64()),
        ]
    ),
}
PROPERTIES = pa.struct([("page_type", _TEXT), ("amount", pa.float64()), ("ok", pa.bool_())])


@dataclass(frozen=True)
class World:
    events: list[Row]
    users: list[Row] | None
    accounts: list[Row] | None
    zone: str
    days: tuple[date, ...]
    """The days that are scored in one run."""
    tables: int = 1
    """Into how many tables the events are divided."""
    structs: bool = False
    """Whether properties are a struct instead of JSON."""

    @property
    def names(self) -> list[str]:
        """The names of events that count: conditions may only name events that have happened."""
        end = at(max(self.days) + timedelta(days=1), self.zone, 0)
        counting = [row for row in self.events if row["user_id"] or row["account_id"]]
        return sorted({row["event"] for row in counting if row["timestamp"] and row["timestamp"] < end})


def at(day: date, zone: str, micros: int) -> datetime:
    """Microseconds from local midnight at the start of a day."""
    start = datetime.combine(day, time(), tzinfo=ZoneInfo(zone)).astimezone(UTC)
    return start + timedelta(microseconds=micros)


moments_of_a_day = st.one_of(
    st.sampled_from([0, -1, 1, 3_600_000_000, 9_000_000_000, 86_400_000_000 - 1]),
    st.integers(0, 86_399).map(lambda seconds: seconds * 1_000_000),
)


@st.composite
def single_events(
    draw: st.DrawFn, day: date, zone: str, people: tuple[str, ...], firms: tuple[str, ...]
) -> Row:
    back = draw(st.one_of(st.sampled_from(EDGES), st.integers(-1, 150)))
    id = draw(st.sampled_from([None, None, None, "1", "2"]))
    return {
        "user_id": draw(st.sampled_from((*people, *people, None))),
        "account_id": draw(st.sampled_from((None, None, *firms))),
        "event": draw(st.sampled_from(NAMES)),
        "timestamp": draw(
            st.sampled_from([at(day - timedelta(days=back), zone, draw(moments_of_a_day))] * 9 + [None])
        ),
        "event_id": id,
        "value": draw(st.sampled_from(VALUES)) if id is None else 2.0,
        "properties": draw(properties) if id is None else {"page_type": "high"},
    }


properties = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {
            "page_type": st.sampled_from(PAGES),
            "amount": st.sampled_from([None, 1.0, 10.0, 2.5]),
            "ok": st.sampled_from([None, True, False]),
        }
    ),
)


@st.composite
def habits(
    draw: st.DrawFn, day: date, zone: str, people: tuple[str, ...], firms: tuple[str, ...]
) -> list[Row]:
    """A user does something every few days, for some time."""
    who, name = draw(st.sampled_from(people)), draw(st.sampled_from(NAMES))
    firm = draw(st.sampled_from((None, None, *firms)))
    old, length = draw(st.integers(0, 260)), draw(st.integers(1, 120))
    every, times = (
        draw(st.sampled_from([1, 2, 3, 5, 7, 9, 20, 35])),
        draw(st.sampled_from([1, 1, 1, 2, 3, 8])),
    )
    value, more = draw(st.sampled_from(VALUES)), draw(properties)
    return [
        {
            "user_id": who,
            "account_id": firm,
            "event": name,
            "timestamp": at(day - timedelta(days=back), zone, 36_000_000_000 + n * 1_000_000),
            "event_id": None,
            "value": value,
            "properties": more,
        }
        for back in range(old, max(-1, old - length), -every)
        for n in range(times)
    ]


def throng(seed: int, day: date, zone: str, firms: tuple[str, ...]) -> list[Row]:
    """Two or three dozen users: some stay, some do little and leave, some return."""
    chance = Random(seed)
    found = []
    for number in range(chance.randint(19, 36)):
        stays, back = chance.random() < 0.5, chance.randint(60, 270)
        while back >= 0:
            visits = back if stays else chance.randint(1, 25)
            for age in range(back, max(-1, back - visits), -chance.choice([1, 2, 3, 6])):
                found += [
                    {
                        "user_id": f"c{number}",
                        "account_id": firms[number % len(firms)],
                        "event": chance.choice(NAMES),
                        "timestamp": at(
                            day - timedelta(days=age), zone, chance.randrange(86_400) * 1_000_000
                        ),
                        "event_id": None,
                        "value": chance.choice(VALUES),
                        "properties": {
                            "page_type": chance.choice(PAGES),
                            "amount": chance.choice([1.0, 10.0]),
                        },
                    }
                    for _ in range(chance.randint(1, 5 if stays else 2))
                ]
            back -= visits + chance.choice([20, 40, 70, 300])
    return found


@st.composite
def worlds(draw: st.DrawFn, crowd: bool = False) -> World:
    zone, day = draw(st.sampled_from(ZONES)), draw(st.sampled_from(DAYS))
    people = tuple(f"u{number}" for number in range(draw(st.integers(1, 6))))
    firms = tuple(f"a{number}" for number in range(draw(st.integers(1, 3))))
    events = draw(st.lists(single_events(day, zone, people, firms), min_size=0 if crowd else 1, max_size=40))
    for habit in draw(st.lists(habits(day, zone, people, firms), max_size=6)):
        events += habit
    if crowd:
        firms = tuple(f"a{number}" for number in range(draw(st.sampled_from([3, 24]))))
        events += throng(draw(st.integers(0, 2**32)), day, zone, firms)
    stamps = st.one_of(
        st.none(),
        st.sampled_from(EDGES).map(lambda back: at(day - timedelta(days=back), zone, 0)),
        st.integers(-2, 300).map(lambda back: at(day - timedelta(days=back), zone, 5_000_000)),
    )
    user = st.fixed_dictionaries(
        {
            "account_id": st.sampled_from((None, *firms, *firms, "listed only")),
            "created_at": stamps,
            "plan": st.sampled_from(PLANS),
            "seats": st.sampled_from([None, 2.5, 1.0, 3.0, float("nan")]),
            "vip": st.sampled_from([None, True, False]),
        }
    )
    account = st.fixed_dictionaries(
        {
            "created_at": stamps,
            "plan": st.sampled_from(PLANS),
            "nps": st.sampled_from([None, 0.0, 3.0, 7.5, 10.0, 11.0, float("nan"), -1.0]),
        }
    )
    listed = draw(
        st.one_of(st.none(), st.dictionaries(st.sampled_from((*people, "quiet")), user, min_size=1))
    )
    known = draw(
        st.one_of(st.none(), st.dictionaries(st.sampled_from((*firms, "silent")), account, min_size=1))
    )
    more = draw(st.sampled_from([(), (), (1,), (3,), (1, 2)]))
    return World(
        events,
        None if listed is None else [{"user_id": key, **row} for key, row in listed.items()],
        None if known is None else [{"account_id": key, **row} for key, row in known.items()],
        zone,
        (*(day - timedelta(days=back) for back in more), day),
        draw(st.sampled_from([1, 1, 2])),
        draw(st.booleans()),
    )


def written(
    folder: Path,
    world: World,
    profiles: Mapping[str, Row],
    audiences: Mapping[str, Mapping[str, Row]] | None = None,
) -> Workspace:
    """The world as a workspace; `audiences` are the entries of audience files by profile."""
    source: Row = {}
    shares = [world.events[place :: world.tables] for place in range(world.tables)]
    tables = {f"events{number}": share for number, share in enumerate(shares) if share or number == 0}
    source["events"] = [{"table": f"{name}.parquet"} for name in tables]
    source |= {
        name: {"table": f"{name}.parquet"}
        for name, rows in (("users", world.users), ("accounts", world.accounts))
        if rows is not None
    }
    for name, rows in (*tables.items(), ("users", world.users), ("accounts", world.accounts)):
        if rows is not None:
            schema = SCHEMAS[name.rstrip("0123456789")]
            if "properties" in schema.names:
                rows = [{**row, "properties": _spelt(row.get("properties"), world.structs)} for row in rows]
                if world.structs:
                    place = schema.get_field_index("properties")
                    schema = schema.set(place, pa.field("properties", PROPERTIES))
            pq.write_table(pa.Table.from_pylist(rows, schema), folder / f"{name}.parquet")
    config = {"version": "1", "time_zone": world.zone, "source": source}
    (folder / "heatsync.yml").write_text(yaml.safe_dump(config))
    for room in ("profiles", "audiences"):
        (folder / "mappings" / room).mkdir(parents=True, exist_ok=True)
    for name, tree in profiles.items():
        path = folder / "mappings" / "profiles" / f"{name}.yml"
        path.write_text(_dumped({"name": name, **tree}))
    for name, own in (audiences or {}).items():
        entries = {key: {"profile": name, **tree} for key, tree in own.items()}
        if entries:
            path = folder / "mappings" / "audiences" / f"{name}.yml"
            path.write_text(_dumped(entries))
    reading = workspace_config.load_partial(folder, vendors={})
    reading.problems.raise_if_any()
    assert reading.workspace is not None
    return reading.workspace


def _dumped(tree: Row) -> str:
    """A tree as YAML; repeated parts are written out again."""
    return yaml.safe_dump(json.loads(json.dumps({"version": "1", **tree})), sort_keys=False)


def _spelt(found: Row | None, structs: bool) -> Row | str | None:
    return found if structs or found is None else json.dumps(found)
