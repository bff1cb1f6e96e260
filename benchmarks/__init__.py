"""Comparisons with other runtimes, networks and devices, a command each: `python -m benchmarks.<name>`."""

import mujo_edge  # noqa: F401 (first: it switches off the telemetry of onnxruntime and others)
