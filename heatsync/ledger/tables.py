"""The ledger's tables. Times are seconds since 1970 (UTC); JSON is text, so that both databases hold the same.

`migrations/` creates them; a test compares the two.
"""

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

secrets = Table(
    "secrets",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", String(128), nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("credential", String(64), primary_key=True),  # keyed hash of vendor, address and credential
    Column("account", String(255), nullable=False),  # vendor and account id, unique over all vendors
    Column("kind", String(64), nullable=False),  # the vendor's word: portal, workspace, org, source
    Column("id", String(255), nullable=False),
    Column("name", String(255), nullable=False),
    Column("asked_at", Double, nullable=False),
)

records = Table(
    "records",
    metadata,
    Column("account", String(255), primary_key=True),
    Column("object", String(255), primary_key=True),
    Column("entity", String(512), primary_key=True),  # our user or account id
    Column("remote_id", String(255)),
    Column("match_value", Text),
    Column("via", Text),  # the user through whom the last group call was sent
    Column("fields", Text, nullable=False),  # acknowledged values, JSON
    Column("version", Integer, nullable=False),  # acknowledged writes
    Column("updated_at", Double, nullable=False),
    Index("records_by_remote_id", "account", "object", "remote_id"),
    sqlite_with_rowid=False,
)

standings = Table(
    "standings",
    metadata,
    Column("account", String(255), primary_key=True),
    Column("mapping", String(255), primary_key=True),
    Column("entity", String(512), primary_key=True),
    Column("digest", BigInteger),  # of the desired record that this standing is about
    Column("state", String(16), nullable=False),  # StandingState
    Column("level", Text),  # the level when the record was last written
    Column("code", String(64)),
    Column("recheck_at", Double),
    Column("since", Double, nullable=False),
    sqlite_with_rowid=False,
)

mappings = Table(
    "mappings",
    metadata,
    Column("account", String(255), primary_key=True),
    Column("mapping", String(255), primary_key=True),
    Column("approved_hash", String(64)),  # definition hash of the last approved run
    Column("records", Integer),  # of the last whole run
    Column("fields_created_for", String(64)),  # definition hash whose fields exist at the destination
    Column("schema_hash", String(64)),  # of the remote fields when they were last read for rejected records
    Column("schema_read_at", Double),
)

locks = Table(
    "locks",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("owner", String(255), nullable=False),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("lease_until", Double, nullable=False),
)

pauses = Table(
    "pauses",
    metadata,
    Column("mapping", String(255), primary_key=True),  # or EVERYTHING
    Column("cause", Text, nullable=False),
    Column("credential", String(64)),  # keyed hash of the refused one; another one ends the pause
    Column("since", Double, nullable=False),
)

scorings = Table(
    "scorings",
    metadata,
    Column("as_of", String(10), primary_key=True),
    Column("finished_at", Double, nullable=False),
)

rate_limits = Table(
    "rate_limits",
    metadata,
    Column("name", String(128), primary_key=True),  # credential, with the name of a quota beside the main one
    Column("free", Double, nullable=False),  # time of the next slot
    Column("until", Double, nullable=False),  # end of a pause
    Column(
        "gap", Double, nullable=False
    ),  # seconds between two slots, as the vendor reports; 0: not reported
    Column("day", String(10), nullable=False),
    Column("spent", Integer, nullable=False),  # calls of that day
)

runs = Table(
    "runs",
    metadata,
    Column("run", String(64), primary_key=True),
    Column("mapping", String(255), primary_key=True),
    Column("destination", String(255), nullable=False),
    Column("object", String(255), nullable=False),
    Column("account", String(255), nullable=False),
    Column("label", String(255), nullable=False),
    Column("as_of", String(10), nullable=False),
    Column("definition_hash", String(64), nullable=False),
    Column("state", String(16), nullable=False),  # RunState
    Column("cause", Text, nullable=False),
    Column("planned", Text, nullable=False),  # PlanCounts, JSON
    Column("calls", Integer, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("ended_at", Double),
    Index("runs_by_time", "created_at"),
    Index("runs_by_mapping", "mapping", "account", "state"),
)

batches = Table(
    "batches",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("run", String(64), nullable=False),
    Column("mapping", String(255), nullable=False),
    Column("account", String(255), nullable=False),
    Column("state", String(16), nullable=False),  # BatchState
    Column("owner", String(255)),  # these four are set while it is claimed
    Column("host", String(255)),
    Column("pid", Integer),
    Column("lease_until", Double),
    Column("not_before", Double, nullable=False),
    Column("enqueued_at", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("push_state", String(16), nullable=False),  # PushState
    Column("pushed_at", Double),  # set if it is in doubt
    Column("types", Text, nullable=False),  # field name -> type, JSON
    Column("size", Integer, nullable=False),
    Column("changes", Text, nullable=False),  # JSON
    Column("cause", Text),  # why it is parked
    Column("evidence", Text),  # what the vendor answered; may hold personal data
    Column("job", Text),  # state of the job that works on it at the destination, in the connector's words
    Index("batches_by_run", "run", "mapping", "state"),
    Index("batches_by_mapping", "mapping", "account", "state"),
    Index("batches_due", "state", "not_before"),
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("run", String(64), primary_key=True),
    Column("mapping", String(255), primary_key=True),
    Column("entity", String(512), primary_key=True),
    Column("batch", String(80)),
    Column("status", String(16), nullable=False),
    Column("code", String(64), nullable=False),
    Column("cause", Text, nullable=False),
    Column("field", Text),
    Column("value", Text),
    Column("answer", Text, nullable=False),
    Column("at", Double, nullable=False),
    Index("outcomes_by_batch", "batch"),
    Index("outcomes_by_status", "mapping", "status"),
)
