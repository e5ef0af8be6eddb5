"""Alembic's entrance. The ledger hands over its connection, inside a transaction of its own."""

from alembic import context

from heatsync.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
