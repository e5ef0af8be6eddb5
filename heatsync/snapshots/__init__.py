"""Runs scoring over days and keeps the results as Parquet."""
