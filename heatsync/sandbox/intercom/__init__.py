"""Intercom, simulated."""
