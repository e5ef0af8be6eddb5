"""Speaks to people: the command line."""
