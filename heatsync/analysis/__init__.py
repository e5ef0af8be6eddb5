"""Explanations, backtests, what-if comparisons and suggested weights."""
