"""HubSpot, simulated."""

from heatsync.sandbox.vendors.hubspot.service import SIMULATOR

__all__ = ["SIMULATOR"]
