"""What destinations acknowledged, and what is on its way to them.

batches      changes of a run that are sent together: claimed, put back, finished
runs         what each run does with each mapping, from planning to its end
outcomes     what became of each change; the only place where delivered values move
records      records at the destination, and where each of our entities stands
locks        leases;  accounts  pauses  rate_limits  history
database     SQLite or PostgreSQL, under all of them
"""

from heatsync.ledger.accounts import Accounts
from heatsync.ledger.batches import Batches
from heatsync.ledger.database import Database
from heatsync.ledger.history import History
from heatsync.ledger.json_codec import read_value, write_fields, write_value
from heatsync.ledger.locks import LEASE, Locks
from heatsync.ledger.outcomes import Outcomes
from heatsync.ledger.pauses import EVERYTHING, Pauses
from heatsync.ledger.rate_limits import RateLimits
from heatsync.ledger.records import SCHEMA_CODES, Records
from heatsync.ledger.runs import Runs
from heatsync.ledger.types import (
    RECHECK_CODES,
    UNRELEASED,
    Attempt,
    BatchTarget,
    BoundMapping,
    ClaimedBatch,
    LeaseOwner,
    MappingState,
    Pause,
    PlanCounts,
    PlannedChange,
    Process,
    PushState,
    Record,
    RecordStatus,
    Run,
    RunState,
    Standing,
    StandingState,
    chunks,
)


class Ledger(Batches, Runs, Outcomes, Records, Locks, Accounts, Pauses, History, RateLimits):
    """The ledger at an SQLAlchemy URL, all its parts in one. Raises ConfigurationError when it cannot be opened."""

    def __init__(self, url: str) -> None:
        super().__init__(Database(url))

    def close(self) -> None:
        """Close the database's connections."""
        self.database.close()


__all__ = [
    "EVERYTHING",
    "LEASE",
    "RECHECK_CODES",
    "SCHEMA_CODES",
    "UNRELEASED",
    "Attempt",
    "BatchTarget",
    "BoundMapping",
    "ClaimedBatch",
    "LeaseOwner",
    "Ledger",
    "MappingState",
    "Pause",
    "PlanCounts",
    "PlannedChange",
    "Process",
    "PushState",
    "Record",
    "RecordStatus",
    "Run",
    "RunState",
    "Standing",
    "StandingState",
    "chunks",
    "read_value",
    "write_fields",
    "write_value",
]
