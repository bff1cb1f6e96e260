"""Every model file in every runtime, side by side with fp32: `python -m benchmarks.conformance`."""
