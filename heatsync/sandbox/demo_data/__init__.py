"""Data for the demo and the tests: generated, and a real message log."""
