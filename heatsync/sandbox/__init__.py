"""The destinations, simulated, with state, quotas and faults; a vendor is a module or package in `vendors`."""
