"""LiteRT (ai-edge-litert), the default runtime; its interpreter uses XNNPACK on its own."""

from __future__ import annotations

from mujo_edge.runtimes.tflite import TFLiteModel


def open_model(model: bytes, threads: int = 1) -> TFLiteModel:
    """Load the content of a .tflite file."""
    from ai_edge_litert.interpreter import Interpreter

    return TFLiteModel("litert", Interpreter, model, threads)
