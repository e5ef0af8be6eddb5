"""Explain, backtest, what-if, suggested weights."""
