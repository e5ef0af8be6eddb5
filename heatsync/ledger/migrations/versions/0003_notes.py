"""What is at work on a batch over there."""

from alembic import op
from sqlalchemy import Column, Text

revision = "0003_notes"
down_revision = "0002_paces"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batches", Column("note", Text))
