"""Small workspaces that are really scored, and their snapshots as dictionaries."""

import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from heatsync.snapshots import run as snapshot_run
from heatsync.workspace import config as workspace_config
from heatsync.workspace.config import Workspace

Row = Mapping[str, Any]
_EVENTS = pa.schema(
    [
        ("user_id", pa.string()),
        ("account_id", pa.string()),
        ("event", pa.string()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("event_id", pa.string()),
    ]
)
_USERS = pa.schema(
    [
        ("user_id", pa.string()),
        ("account_id", pa.string()),
        ("created_at", pa.timestamp("us", tz="UTC")),
        ("plan", pa.string()),
        ("seats", pa.float64()),
    ]
)
_ACCOUNTS = pa.schema(
    [("account_id", pa.string()), ("created_at", pa.timestamp("us", tz="UTC")), ("plan", pa.string())]
)


def make(
    folder: Path,
    profile: Row,
    events: Iterable[Row],
    users: Iterable[Row] | None = None,
    accounts: Iterable[Row] | None = None,
    zone: str = "UTC",
) -> Workspace:
    """A workspace with one profile, `p`."""
    source: dict[str, Any] = {"events": {"table": "events.parquet"}}
    tables = {"events": (events, _EVENTS), "users": (users, _USERS), "accounts": (accounts, _ACCOUNTS)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, (rows, schema) in tables.items():
        if rows is not None:
            source[name] = {"table": f"{name}.parquet"}
            pq.write_table(pa.Table.from_pylist(list(rows), schema), folder / f"{name}.parquet")
    (folder / "mappings" / "profiles").mkdir(parents=True, exist_ok=True)
    config = {"version": "1", "time_zone": zone, "source": source}
    (folder / "heatsync.yml").write_text(yaml.safe_dump(config))
    (folder / "mappings" / "profiles" / "p.yml").write_text(yaml.safe_dump(dict(profile), sort_keys=False))
    reading = workspace_config.load_partial(folder, vendors={})
    reading.problems.raise_if_any()
    assert reading.workspace is not None
    return reading.workspace


def rows(created: Workspace, entity: str, day: date) -> dict[str, dict[str, Any]]:
    """A stored snapshot, by id."""
    table = pq.read_table(snapshot_run.snapshot_path(created, "p", entity, day))
    return {row[f"{entity}_id"]: row for row in table.to_pylist()}


def scored(created: Workspace, day: date) -> dict[str, dict[str, dict[str, Any]]]:
    snapshot_run.score(created, [day])
    return {entity: rows(created, entity, day) for entity in ("user", "account")}


def differences(
    created: Mapping[str, Mapping[str, Row]], expected: Mapping[str, Mapping[str, Row]]
) -> list[tuple[str, str, str, Any, Any]]:
    """Differences between snapshots and the reference: entity, id, metric, found, expected."""
    found: list[tuple[str, str, str, Any, Any]] = []
    for entity in ("user", "account"):
        for key in sorted({*created[entity], *expected[entity]}):
            if key not in created[entity] or key not in expected[entity]:
                found.append((entity, key, "row", key in created[entity], key in expected[entity]))
                continue
            for metric, value in created[entity][key].items():
                if metric == f"{entity}_id":
                    continue
                wanted = expected[entity][key].get(metric, "no such metric")
                if isinstance(wanted, datetime):
                    wanted = wanted.replace(tzinfo=None)
                if not _same(value, wanted):
                    found.append((entity, key, metric, value, wanted))
    return found


def _same(value: Any, wanted: Any) -> bool:
    if isinstance(value, list) and isinstance(wanted, list):
        return len(value) == len(wanted) and all(map(_same, value, wanted))
    if isinstance(value, dict) and isinstance(wanted, dict):
        return {*value} == {*wanted} and all(_same(each, wanted[name]) for name, each in value.items())
    if isinstance(value, float) and isinstance(wanted, int | float):
        return math.isclose(value, wanted, rel_tol=1e-9, abs_tol=1e-6)
    return bool(value == wanted)
