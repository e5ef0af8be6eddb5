"""The first ledger. It repeats `tables.py` as of then: a migration must not change when the tables do."""

from alembic import op
from sqlalchemy import BigInteger, Column, Double, Integer, String, Text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


# long: one statement for each table and index
def upgrade() -> None:
    op.create_table(
        "secrets",
        Column("name", String(64), primary_key=True),
        Column("value", String(128), nullable=False),
    )
    op.create_table(
        "accounts",
        Column("credential", String(64), primary_key=True),
        Column("account", String(255), nullable=False),
        Column("kind", String(64), nullable=False),
        Column("id", String(255), nullable=False),
        Column("name", String(255), nullable=False),
        Column("asked_at", Double, nullable=False),
    )
    op.create_table(
        "records",
        Column("account", String(255), primary_key=True),
        Column("object", String(255), primary_key=True),
        Column("entity", String(512), primary_key=True),
        Column("remote_id", String(255)),
        Column("match_value", Text),
        Column("via", Text),
        Column("fields", Text, nullable=False),
        Column("version", Integer, nullable=False),
        Column("updated_at", Double, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "standings",
        Column("account", String(255), primary_key=True),
        Column("mapping", String(255), primary_key=True),
        Column("entity", String(512), primary_key=True),
        Column("digest", BigInteger),
        Column("state", String(16), nullable=False),
        Column("level", Text),
        Column("code", String(64)),
        Column("recheck_at", Double),
        Column("since", Double, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "mappings",
        Column("account", String(255), primary_key=True),
        Column("mapping", String(255), primary_key=True),
        Column("approved_hash", String(64)),
        Column("records", Integer),
        Column("fields_created_for", String(64)),
        Column("schema_hash", String(64)),
        Column("schema_read_at", Double),
    )
    op.create_table(
        "locks",
        Column("name", String(255), primary_key=True),
        Column("owner", String(255), nullable=False),
        Column("host", String(255), nullable=False),
        Column("pid", Integer, nullable=False),
        Column("lease_until", Double, nullable=False),
    )
    op.create_table(
        "pauses",
        Column("mapping", String(255), primary_key=True),
        Column("cause", Text, nullable=False),
        Column("credential", String(64)),
        Column("since", Double, nullable=False),
    )
    op.create_table(
        "scorings",
        Column("as_of", String(10), primary_key=True),
        Column("finished_at", Double, nullable=False),
    )
    op.create_table(
        "rate_limits",
        Column("name", String(128), primary_key=True),
        Column("free", Double, nullable=False),
        Column("until", Double, nullable=False),
        Column("gap", Double, nullable=False),
        Column("day", String(10), nullable=False),
        Column("spent", Integer, nullable=False),
    )
    op.create_table(
        "runs",
        Column("run", String(64), primary_key=True),
        Column("mapping", String(255), primary_key=True),
        Column("destination", String(255), nullable=False),
        Column("object", String(255), nullable=False),
        Column("account", String(255), nullable=False),
        Column("label", String(255), nullable=False),
        Column("as_of", String(10), nullable=False),
        Column("definition_hash", String(64), nullable=False),
        Column("state", String(16), nullable=False),
        Column("cause", Text, nullable=False),
        Column("planned", Text, nullable=False),
        Column("calls", Integer, nullable=False),
        Column("seconds", Double, nullable=False),
        Column("created_at", Double, nullable=False),
        Column("ended_at", Double),
    )
    op.create_table(
        "batches",
        Column("id", String(80), primary_key=True),
        Column("run", String(64), nullable=False),
        Column("mapping", String(255), nullable=False),
        Column("account", String(255), nullable=False),
        Column("state", String(16), nullable=False),
        Column("owner", String(255)),
        Column("host", String(255)),
        Column("pid", Integer),
        Column("lease_until", Double),
        Column("not_before", Double, nullable=False),
        Column("enqueued_at", Double, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("push_state", String(16), nullable=False),
        Column("pushed_at", Double),
        Column("types", Text, nullable=False),
        Column("size", Integer, nullable=False),
        Column("changes", Text, nullable=False),
        Column("cause", Text),
        Column("evidence", Text),
        Column("job", Text),
    )
    op.create_table(
        "outcomes",
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
    )
    op.create_index("records_by_remote_id", "records", ["account", "object", "remote_id"])
    op.create_index("runs_by_mapping", "runs", ["mapping", "account", "state"])
    op.create_index("runs_by_time", "runs", ["created_at"])
    op.create_index("batches_by_mapping", "batches", ["mapping", "account", "state"])
    op.create_index("batches_by_run", "batches", ["run", "mapping", "state"])
    op.create_index("batches_due", "batches", ["state", "not_before"])
    op.create_index("outcomes_by_batch", "outcomes", ["batch"])
    op.create_index("outcomes_by_status", "outcomes", ["mapping", "status"])
