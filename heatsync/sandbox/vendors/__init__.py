"""The vendors, simulated: one module or package each, which has a `SIMULATOR`."""
