"""Snapshot x ledger -> batches -> outcomes."""
