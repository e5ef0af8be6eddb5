"""Salesforce, simulated."""

from heatsync.sandbox.vendors.salesforce.service import SIMULATOR

__all__ = ["SIMULATOR"]
