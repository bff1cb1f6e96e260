"""How the live path copes with load, faults, long runs and repaired clocks: `python -m benchmarks.bridge`."""
