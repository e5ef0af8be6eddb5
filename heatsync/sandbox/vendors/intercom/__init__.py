"""Intercom, simulated."""

from heatsync.sandbox.vendors.intercom.service import SIMULATOR

__all__ = ["SIMULATOR"]
