"""Desired x delivered, in DuckDB."""
