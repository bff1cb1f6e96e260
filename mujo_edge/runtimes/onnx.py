"""onnxruntime on the CPU."""

from __future__ import annotations

from mujo_edge.core import F32, DataError


class OnnxModel:
    """An .onnx file with one float32 input (batch of any length) and one float32 output."""

    name = "onnx"

    def __init__(self, model: bytes, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has one class per status code, derived from Exception
            raise DataError(f"onnxruntime does not accept the model file: {error}. Export it again") from error
        sources, targets = self._session.get_inputs(), self._session.get_outputs()
        if [tensor.type for tensor in (*sources, *targets)] != ["tensor(float)"] * 2 or len(sources) != 1:
            raise DataError("the model file does not have one input and one output of float32. Export it again")
        (source,), (target,) = sources, targets
        self._input = source.name
        self.input_shape = (1, *source.shape[1:])
        self.output_shape = (1, *target.shape[1:])

    def run(self, x: F32) -> F32:
        """(N, C, 1, T) float32, prepared -> (N, D) float32. Raises `DataError`."""
        try:
            (out,) = self._session.run(None, {self._input: x})
        except Exception as error:  # as above
            raise DataError(f"onnxruntime cannot run the model file: {error}. Export it again") from error
        embeddings: F32 = out
        return embeddings


def open_model(model: bytes, threads: int = 1) -> OnnxModel:
    """Load the content of an .onnx file."""
    return OnnxModel(model, threads)
