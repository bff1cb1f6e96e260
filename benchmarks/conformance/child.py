"""A process of its own for one model file in one Python runtime, so that its memory and its crashes are its own.

    python -m benchmarks.conformance.child MODEL RUNTIME WINDOWS.npy [ARENA_BYTES]

MODEL is a file, or for the runtime "c" the exported folder of sources. The process reads (N, 6, 1, T) prepared windows
and answers on stdout with a JSON line a command: first what it is ("version", and "rss_mb", the growth of its resident
memory while it loads the runtime and the model and runs one window), then {"embed": "Y.npy"} after it wrote (N, D)
embeddings there as the model gives them, and {"times": CALLS} with the nanoseconds of as many calls with one window
each. It needs numpy and the runtime, nothing else.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from mujo_edge.benchmark import time_calls
from mujo_edge.core import MujoError, Runtime
from mujo_edge.runtimes import RUNTIMES, open_model

PACKAGES = {name: info.package for name, info in RUNTIMES.items()} | {
    "litert-reference": RUNTIMES["litert"].package,
    "tflite-micro": "tflite-micro",
}
"""The distribution behind each runtime that this process knows."""


class MicroInterpreter:
    """tflite-micro's interpreter with the methods of TensorFlow Lite's."""

    def __init__(self, arena_bytes: int | None, model_content: bytes, num_threads: int) -> None:
        from tflite_micro import runtime

        self._interpreter = runtime.Interpreter.from_bytes(model_content, arena_size=arena_bytes)

    def allocate_tensors(self) -> None:
        """Done when it was made."""

    def get_input_details(self) -> list[dict[str, Any]]:
        """Shape, type, scale and zero point of the one input."""
        return [self._details(self._interpreter.get_input_details(0))]

    def get_output_details(self) -> list[dict[str, Any]]:
        """The same of the one output."""
        return [self._details(self._interpreter.get_output_details(0))]

    @staticmethod
    def _details(found: dict[str, Any]) -> dict[str, Any]:
        numbers = found["quantization_parameters"]
        scale, zero = ((*numbers["scales"], 0.0)[0], (*numbers["zero_points"], 0)[0])
        return {"index": 0, "shape": found["shape"], "dtype": found["dtype"], "quantization": (scale, zero)}

    def set_tensor(self, index: int, value: np.ndarray) -> None:
        """The input."""
        self._interpreter.set_input(value, index)

    def invoke(self) -> None:
        """One window."""
        self._interpreter.invoke()

    def get_tensor(self, index: int) -> np.ndarray:
        """The output."""
        output: np.ndarray = self._interpreter.get_output(index)
        return output


def opened(path: Path, runtime: str, arena_bytes: int | None) -> Runtime:
    """A model file in one of `PACKAGES`, or the C network, on one thread. Raises `MujoError` where it is refused."""
    from mujo_edge.runtimes.tflite import TFLiteModel

    if runtime == "c":
        from benchmarks.conformance.c import Interpreter as Compiled

        return TFLiteModel(runtime, lambda **options: Compiled(path), b"", 1)
    model = path.read_bytes()
    if runtime == "litert-reference":
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        slow = partial(Interpreter, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
        return TFLiteModel(runtime, slow, model, 1)
    if runtime == "tflite-micro":
        return TFLiteModel(runtime, partial(MicroInterpreter, arena_bytes), model, 1)
    return open_model(model, runtime)


def rss_mb() -> float:
    """Resident memory of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def versions(runtime: str) -> str:
    """Of the runtime; of the compiler for C."""
    if runtime == "c":
        from benchmarks.conformance.c import CC, tools

        return tools(CC)
    return version(PACKAGES[runtime])


def answers(model: Path, runtime: str, x: np.ndarray, arena_bytes: int | None) -> Iterator[dict[str, Any]]:
    """An answer a line on stdin, and one before."""
    before_mb = rss_mb()
    loaded = opened(model, runtime, arena_bytes)
    loaded.run(x[:1])
    yield {"version": versions(runtime), "rss_mb": rss_mb() - before_mb}
    windows = cycle([x[n : n + 1] for n in range(len(x))])
    for line in sys.stdin:
        command = json.loads(line)
        if "embed" in command:
            np.save(command["embed"], loaded.run(x))
            yield {}
        else:
            yield {"times": time_calls(lambda: loaded.run(next(windows)), command["times"])}


def main(model: str, runtime: str, windows: str, arena_bytes: str = "") -> int:
    """Answer until stdin ends."""
    own = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a native library prints is no answer
    try:
        arena = int(arena_bytes) if arena_bytes else None
        for answer in answers(Path(model), runtime, np.load(windows), arena):
            print(json.dumps(answer), file=own, flush=True)
    except (MujoError, RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
