"""What the records over there look like as far as we were told, and what is on its way to them.

leases    whose account it is, who holds what, what rests
known     records over there, and where each of ours stands
queue     runs, batches, outcomes
history   what was done
rate_limits     the quotas of the destinations

and, below them: `database`, `together` (many writers in one transaction), `tables`, `statements`, `words`.
"""

from heatsync.ledger.batches import Batches
from heatsync.ledger.history import History
from heatsync.ledger.json_codec import read_value, write_fields, write_value
from heatsync.ledger.locks import LEASE
from heatsync.ledger.rate_limits import RateLimits
from heatsync.ledger.records import SCHEMA_CODES, Records
from heatsync.ledger.types import (
    RECHECK_CODES,
    BoundMapping,
    ClaimedBatch,
    MappingState,
    PlannedChange,
    Record,
    RecordStatus,
    Run,
    Standing,
    chunks,
)


class Ledger(Batches, Records, History, RateLimits):
    """The ledger at an SQLAlchemy URL. Raises ConfigurationError when it cannot be opened."""


__all__ = [
    "LEASE",
    "RECHECK_CODES",
    "SCHEMA_CODES",
    "BoundMapping",
    "ClaimedBatch",
    "Ledger",
    "MappingState",
    "PlannedChange",
    "Record",
    "RecordStatus",
    "Run",
    "Standing",
    "chunks",
    "read_value",
    "write_fields",
    "write_value",
]
