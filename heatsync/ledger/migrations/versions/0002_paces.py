"""Quotas that processes share through the ledger."""

from alembic import op
from sqlalchemy import Column, Double, Integer, String

revision = "0002_paces"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "paces",
        Column("name", String(128), primary_key=True),
        Column("free", Double, nullable=False),
        Column("until", Double, nullable=False),
        Column("gap", Double, nullable=False),
        Column("day", String(10), nullable=False),
        Column("spent", Integer, nullable=False),
    )
