"""Real logs, scored by all three models and compared with the definitions written out in plain Python."""

from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import Any

import pyarrow.parquet as pq
import reference
import tiny
from examples import TIMES
from worlds import World

from heatsync.snapshots import run as snapshot_run
from heatsync.workspace.config import Workspace

Row = dict[str, Any]


def some(first: date, *more: date) -> list[date]:
    """One day in an ordinary run, all in a long one."""
    return [first, *(more if TIMES > 1 else ())]


def compare(
    log: World, scored: Workspace, profiles: Mapping[str, Row], name: str, day: date
) -> Mapping[str, Row]:
    """Every column of every user; answers the rows by user."""
    path = snapshot_run.snapshot_path(scored, name, "user", day)
    if not path.exists():
        snapshot_run.score(scored, [day])
    created = {row["user_id"]: row for row in pq.read_table(path).to_pylist()}
    expected = reference.score(log.events, log.users, log.accounts, profiles[name], log.zone, day)
    differences = tiny.differences({"user": created, "account": {}}, expected)
    assert differences[:20] == [], Counter(metric for _, _, metric, _, _ in differences)
    return created
