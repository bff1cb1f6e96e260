"""tflite-runtime 2.14, for machines that still have it (Python <= 3.11, numpy 1.x)."""

from __future__ import annotations

import numpy as np

from mujo_edge.core import MissingExtraError
from mujo_edge.runtimes.tflite import TFLiteModel


def open_model(model: bytes, threads: int = 1) -> TFLiteModel:
    """Load the content of a .tflite file.

    Raises:
        MissingExtraError: numpy is 2 or newer. tflite-runtime is compiled against numpy 1: it imports
            all the same and fails at the first interpreter, with a message about `_ARRAY_API`.
    """
    if int(np.__version__.split(".")[0]) >= 2:
        raise MissingExtraError(
            f"tflite-runtime needs numpy below 2, and numpy {np.__version__} is installed. "
            "Use LiteRT (pip install ai-edge-litert), or: pip install 'mujo-edge[tflite]' in an environment of its own"
        )
    from tflite_runtime.interpreter import Interpreter

    return TFLiteModel("tflite-runtime", Interpreter, model, threads)
