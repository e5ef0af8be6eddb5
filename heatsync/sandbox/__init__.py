"""The four destinations, simulated, with state and faults."""
