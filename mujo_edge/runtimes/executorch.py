"""ExecuTorch with its XNNPACK backend. Importing it takes most of a second, since it links torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from mujo_edge.core import F32, DataError, require_extra
from mujo_edge.runtimes.quiet import without_lines


class ExecuTorchModel:
    """A .pte file with one float32 input and one float32 output."""

    name = "executorch"

    def __init__(self, model: bytes, threads: int) -> None:
        with without_lines(b"Failed to load ", b"W0", b"W1"):  # torchao's notices, where it is installed
            from executorch.extension.pybindings import portable_lib
        try:
            with without_lines(b"[cpuinfo_utils.cpp", b"[threadpool.cpp"):
                # The thread pool belongs to the process, so the last model opened decides.
                if portable_lib._threadpool_get_thread_count() != threads:
                    portable_lib._unsafe_reset_threadpool(threads)
                self._module = portable_lib._load_for_executorch_from_buffer(model)
            meta = self._module.method_meta("forward")
            source, target = meta.input_tensor_meta(0), meta.output_tensor_meta(0)
        except (RuntimeError, IndexError) as error:
            raise DataError(f"executorch does not accept the model file: {error}. Export it again") from error
        if (meta.num_inputs(), meta.num_outputs()) != (1, 1):
            raise DataError("the model file does not have one input and one output. Export it again")
        self._model = model
        self.input_shape = tuple(source.sizes())
        self.output_shape = tuple(target.sizes())

    def run(self, x: F32) -> F32:
        """(N, C, 1, T) float32, prepared -> (N, D) float32; one invocation per window. Raises `DataError`."""
        torch = require_extra("torch", "executorch")
        windows = torch.from_numpy(np.ascontiguousarray(x, np.float32))
        out = np.empty((len(x), self.output_shape[-1]), np.float32)
        for n in range(len(x)):
            try:
                out[n] = self._module.forward((windows[n : n + 1],), clone_outputs=False)[0].numpy()
            except RuntimeError as error:
                raise DataError(f"executorch cannot run the model file: {error}. Export it again") from error
        return out

    def constants(self) -> dict[str, Any]:
        """Values of the file's constant methods, by name."""
        return {name: self._module.run_method(name, ())[0] for name in self._module.method_names() if name != "forward"}


def open_model(model: bytes, threads: int = 1) -> ExecuTorchModel:
    """Load the content of a .pte file."""
    return ExecuTorchModel(model, threads)
