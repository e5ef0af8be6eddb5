"""A batch of changes becomes outcomes. One file per destination; none knows Celery, Redis or the ledger."""
