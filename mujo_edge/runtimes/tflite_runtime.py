"""tflite-runtime 2.14, for machines that still have it (Python <= 3.11, numpy 1.x)."""

from __future__ import annotations

from mujo_edge.runtimes.tflite import TFLiteModel


def open_model(model: bytes, threads: int = 1) -> TFLiteModel:
    """Load the content of a .tflite file."""
    from tflite_runtime.interpreter import Interpreter

    return TFLiteModel("tflite-runtime", Interpreter, model, threads)
