"""Shared by LiteRT and tflite-runtime, which both have TensorFlow Lite's Python interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mujo_edge.core import F32, DataError
from mujo_edge.runtimes.quiet import without_lines


class TFLiteModel:
    """A .tflite file with one input and one output, both float32 or both int8.

    int8 values are quantized and dequantized here with the file's own scale and zero point:
    real = scale * (q - zero_point).
    """

    def __init__(self, name: str, interpreter_class: Any, model: bytes, threads: int) -> None:
        self.name = name
        try:
            with without_lines(b"INFO: Created TensorFlow Lite XNNPACK delegate"):
                self._interpreter = interpreter_class(model_content=model, num_threads=threads)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise DataError(f"{name} does not accept the model file: {error}. Export it again") from error
        # The interpreter reads weights from this buffer during its lifetime.
        self._model = model
        sources, targets = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        types = [tensor["dtype"] for tensor in (*sources, *targets)]
        if types not in ([np.int8] * 2, [np.float32] * 2) or not len(sources) == len(targets) == 1:
            raise DataError("the model file does not have one input and one output of float32 or int8. Export it again")
        (source,), (target,) = sources, targets
        self.input_shape = tuple(int(n) for n in source["shape"])
        self.output_shape = tuple(int(n) for n in target["shape"])
        self._input, self._output = source["index"], target["index"]
        self._int8 = source["dtype"] == np.int8
        if self._int8:
            (per, zero), (scale, output_zero) = source["quantization"], target["quantization"]
            if not (0 < per < np.inf and 0 < scale < np.inf):
                raise DataError("the model file gives no scale for its int8 values. Export it again")
            self._per_scale, self._zero = np.float32(1 / per), np.float32(zero)
            values = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float32)
            self._real = (values - output_zero) * np.float32(scale)

    def run(self, x: F32) -> F32:
        """(N, C, 1, T) float32, prepared -> (N, D) float32; one invocation per window. Raises `DataError`."""
        values: Any = self._quantized(x) if self._int8 else x
        out = np.empty((len(x), self.output_shape[-1]), values.dtype)
        interpreter = self._interpreter
        for n in range(len(x)):
            interpreter.set_tensor(self._input, values[n : n + 1])
            try:
                interpreter.invoke()
            except (ValueError, RuntimeError) as error:
                raise DataError(f"{self.name} cannot run the model file: {error}. Export it again") from error
            out[n] = interpreter.get_tensor(self._output)  # a copy: the next invoke overwrites the arena
        # A table of all 256 values is the fastest dequantization.
        return self._real.take(out.view(np.uint8)) if self._int8 else out

    def _quantized(self, x: F32) -> npt.NDArray[np.int8]:
        q = x * self._per_scale
        q += self._zero
        int8: npt.NDArray[np.int8] = np.rint(q, out=q).clip(-128, 127).astype(np.int8)
        return int8

    def is_one_partition(self) -> bool:
        """Whether a single XNNPACK partition runs the whole network, from the file's input to its output."""
        delegates = [op for op in self._interpreter._get_ops_details() if op["op_name"] == "DELEGATE"]
        return len(delegates) == 1 and self._input in delegates[0]["inputs"] and self._output in delegates[0]["outputs"]
