"""Benchmarks of the live path under load, faults, long runs and repaired clocks: `python -m benchmarks.bridge`."""
