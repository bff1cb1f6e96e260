"""Training and export, a command each: `python -m training.<step>`."""

import mujo_edge  # noqa: F401 (before all else: it switches off what onnxruntime and others would send)
