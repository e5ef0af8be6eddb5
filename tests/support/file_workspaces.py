"""Workspaces written for a test, and vendors that are only data."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.destination import Destination, Limits, ObjectKind, Setting, Throttle, Vendor
from connectors.errors import ConfigurationError
from connectors.types import Entity
from heatsync.sync.mapping import files as mapping_files
from heatsync.sync.mapping import query
from heatsync.sync.mapping.model import Mapping as FieldMapping
from heatsync.sync.mapping.model import MappingQuery
from heatsync.workspace import config
from heatsync.workspace.config import Workspace

DAY = date(2026, 11, 21)


def _limits(_settings: Mapping[str, str]) -> Limits:
    return Limits(records_per_call=100, lookups_per_call=100, calls=100, seconds=10.0)


def _connect(settings: Mapping[str, str], throttle: Throttle, on_request: Callable[[], None]) -> Destination:
    raise AssertionError("no destination is called while files are read")


def _name_trait(prefix: str, name: str, metric: str, entity: Entity) -> str:
    return f"{prefix}_{name}_{metric}".lower()


USER, ACCOUNT = Entity.USER, Entity.ACCOUNT
HUBSPOT = Vendor(
    type="hubspot",
    title="HubSpot",
    settings={"token": Setting(required=True, secret=True)},
    objects={
        "contacts": ObjectKind(USER, (("email", "email"),)),
        "companies": ObjectKind(ACCOUNT, (("domain", "domain"),)),
    },
    limits=_limits,
    connect=_connect,
    name_trait=_name_trait,
    field_name_pattern=r"[a-z][a-z0-9_]*",
    field_name_rule="lower-case letters",
)
SEGMENT = Vendor(
    type="segment",
    title="Segment",
    settings={"write_key": Setting(required=True, secret=True), "region": Setting(default="us")},
    objects={
        "users": ObjectKind(USER, (("userId", "user_id"),), frozenset({"userId"})),
        "accounts": ObjectKind(ACCOUNT, (("groupId", "account_id"),), frozenset({"groupId"})),
    },
    limits=_limits,
    connect=_connect,
    name_trait=_name_trait,
    readable=False,
    anonymous_accounts=True,
    counts_profiles=True,
    modes=("upsert",),
    accepts_lists=True,
)
SALESFORCE = Vendor(
    type="salesforce",
    title="Salesforce",
    settings={"domain": Setting(), "consumer_key": Setting(), "consumer_secret": Setting(secret=True)},
    objects={"Account": ObjectKind(ACCOUNT, (("Heatsync_Id__c", "account_id"),))},
    limits=_limits,
    connect=_connect,
    name_trait=_name_trait,
    any_object=True,
)
VENDORS = {"hubspot": HUBSPOT, "segment": SEGMENT, "salesforce": SALESFORCE}

HEATSYNC = """\
version: 1
time_zone: Europe/Berlin
source:
  events: {table: data/events.parquet}
  users: {table: data/users.csv}
  accounts: {table: data/accounts.csv}
destinations:
  hubspot: {token: "${HUBSPOT_TOKEN}"}
  segment: {write_key: "${SEGMENT_WRITE_KEY}"}
  salesforce: {domain: acme.my, consumer_key: key, consumer_secret: "${SF_CONSUMER_SECRET}"}
"""

PROFILE = """\
version: 1
name: {name}
model: weighted
events:
  - {{event: Report Created, weight: 8}}
  - {{event: Invited Teammate, weight: 7}}
  - {{event: Dashboard Viewed, weight: 4}}
  - {{event: Comment Added, weight: 3}}
  - {{event: Logged In, weight: 1, passive: true}}
levels: {{bands: {{Low: 0, Medium: 25, High: 50, Very High: 75}}}}
"""

MAPPING = """\
version: 1
destination: hubspot
object: contacts
profile: health
"""


def write(folder: Path, files: Mapping[str, str] | None = None, heatsync: str = HEATSYNC) -> Path:
    """A workspace with the profiles health and adoption, and the files given by their path in it."""
    contents = {
        "heatsync.yml": heatsync,
        "mappings/profiles/health.yml": PROFILE.format(name="Health"),
        "mappings/profiles/adoption.yml": PROFILE.format(name="Adoption"),
        **(files or {}),
    }
    for name, text in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def opened(folder: Path, files: Mapping[str, str] | None = None, heatsync: str = HEATSYNC) -> Workspace:
    return config.load(write(folder, files, heatsync), vendors=VENDORS)


def problems(folder: Path, files: Mapping[str, str] | None = None, heatsync: str = HEATSYNC) -> list[str]:
    """The problems that `heatsync check` prints."""
    return list(mapping_files.check(write(folder, files, heatsync), vendors=VENDORS).problems)


def mapped(folder: Path, text: str, heatsync: str = HEATSYNC) -> FieldMapping:
    """The mapping of a file that begins with MAPPING."""
    of = opened(folder, {"mappings/m.yml": MAPPING + text}, heatsync)
    return mapping_files.load(of)["m"]


def snapshot(of: Workspace, entity: str, rows: Sequence[Mapping[str, Any]], profile: str = "health") -> None:
    """A snapshot with these rows; other columns have ordinary values."""
    usual: dict[str, tuple[Any, pa.DataType]] = {
        f"{entity}_id": ("x", pa.string()),
        "score": (50, pa.int64()),
        "segments": ([], pa.list_(pa.string())),
        "activation": (None, pa.float64()),
        "adoption_recent": (0.0, pa.float64()),
        "adoption_ever": (0.0, pa.float64()),
        "last_active": (None, pa.timestamp("us")),
        "frequency": (0, pa.int64()),
        "active_users": (0, pa.int64()),
        "total_users": (0, pa.int64()),
        "percent_active": (None, pa.float64()),
        "member": (None, pa.string()),
        "level": ("High", pa.string()),
        "level_previous": (None, pa.string()),
        "level_changed_on": (None, pa.date32()),
        "trend": ("New", pa.string()),
        "score_change": (None, pa.int64()),
        "score_change_window": (None, pa.int64()),
        "tenure_days": (None, pa.int64()),
        "benchmark": (10.0, pa.float64()),
        "drivers": (None, pa.string()),
        "first_seen": (None, pa.timestamp("us")),
        "last_seen": (None, pa.timestamp("us")),
        "audiences": (["all"], pa.list_(pa.string())),
        "account_id": (None, pa.string()),
    }
    table = pa.table(
        {
            name: pa.array([row.get(name, default) for row in rows], kind)
            for name, (default, kind) in usual.items()
        }
    )
    _store(of.snapshot_path(profile, entity, DAY), table)


def traits(of: Workspace, entity: str, table: pa.Table) -> None:
    """The copy of the users or accounts table of the day."""
    _store(of.traits_path(entity, DAY), table)


def _store(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def rendered(of: Workspace, name: str = "m") -> tuple[MappingQuery, dict[str, dict[str, Any]]]:
    """The query of a mapping, and its rows by key, with the destination's names of their fields."""
    chosen = mapping_files.load(of)[name]
    with duckdb.connect() as connection:
        built = query.build_query(chosen, of, connection, DAY)
        relation = connection.execute(built.sql)
        columns = [column[0] for column in relation.description or ()]
        names = {f"f{position}": field.name for position, field in enumerate(built.fields)}
        assert columns == [
            "key",
            *(f"m{position}" for position in range(len(built.match))),
            "via",
            "problem",
            "level",
            *names,
        ]
        rows = [
            {names.get(column, column): value for column, value in zip(columns, row, strict=True)}
            for row in relation.fetchall()
        ]
    assert len({row["key"] for row in rows}) == len(rows)
    return built, {row["key"]: row for row in rows}


def refusal(act: Callable[[], object]) -> str:
    """The message of the ConfigurationError that an action raises."""
    try:
        act()
    except ConfigurationError as error:
        return str(error)
    raise AssertionError("no error was raised")
