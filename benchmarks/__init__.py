"""Comparisons with other runtimes, networks and devices, a command each: `python -m benchmarks.<name>`."""

import mujo_edge  # noqa: F401 (before all else: it switches off what onnxruntime and others would send)
