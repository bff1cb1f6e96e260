"""Runs one model file in one Python runtime in a separate process, which isolates its memory and its crashes.

    python -m benchmarks.conformance.child MODEL RUNTIME WINDOWS.npy [ARENA_BYTES]

MODEL is a file, or for the runtime "c" the folder of exported sources; WINDOWS.npy holds (N, 6, 1, T) prepared windows.
The process reads a JSON command a line from stdin and writes a JSON answer a line to stdout:

    (at the start)       -> {"version": ..., "rss_mb": ...}; the latter is how much its resident memory grew while it
                            loaded the runtime and the model and ran one window
    {"embed": "Y.npy"}   -> {} once the (N, D) raw embeddings of all windows are in that file
    {"times": CALLS}     -> {"times": [...]}, nanoseconds of as many calls with one window each

It needs numpy and the runtime, nothing else.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from firmware_bridge.simulator import student
from mujo_edge.benchmark import time_calls
from mujo_edge.core import DataError, MissingExtraError, MujoError, Runtime
from mujo_edge.runtimes import RUNTIMES, open_model

PACKAGES = {name: info.package for name, info in RUNTIMES.items()} | {
    "litert-reference": RUNTIMES["litert"].package,
    "tflite-micro": "tflite-micro",
}
"""The distribution behind each Python runtime that this process can load."""

CC = "gcc"
DEBIAN_PACKAGES = {CC: "gcc libc6-dev", "arm-none-eabi-gcc": "gcc-arm-none-eabi", "qemu-system-arm": "qemu-system-arm"}
"""Debian packages by program."""


def tools(*programs: str) -> str:
    """Version line of each program. Raises `MissingExtraError` where one is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            raise MissingExtraError(
                f"{program} is not installed. Install it with: apt install {DEBIAN_PACKAGES[program]}"
            )
    runs = [subprocess.run([program, "--version"], capture_output=True, text=True, check=True) for program in programs]
    return ", ".join(run.stdout.splitlines()[0] for run in runs)


def numbers(sources: Path) -> dict[str, float]:
    """Numeric constants of mujo_model.h by name, without the prefix "MUJO_"."""
    header = (sources / "mujo_model.h").read_text("ascii")
    defines = re.findall(r"^#define MUJO_(\w+) \(?(-?\d[\d.e-]*)f?\)?$", header, re.M)
    return {name: float(value) for name, value in defines}


class MicroInterpreter:
    """tflite-micro's interpreter with the methods of TensorFlow Lite's."""

    def __init__(self, arena_bytes: int | None, model_content: bytes, num_threads: int) -> None:
        from tflite_micro import runtime

        self._interpreter = runtime.Interpreter.from_bytes(model_content, arena_size=arena_bytes)

    def allocate_tensors(self) -> None:
        """Nothing to do: the constructor allocates."""

    def get_input_details(self) -> list[dict[str, Any]]:
        """Shape, type, scale and zero point of the one input."""
        return [self._details(self._interpreter.get_input_details(0))]

    def get_output_details(self) -> list[dict[str, Any]]:
        """Shape, type, scale and zero point of the one output."""
        return [self._details(self._interpreter.get_output_details(0))]

    @staticmethod
    def _details(details: dict[str, Any]) -> dict[str, Any]:
        numbers = details["quantization_parameters"]
        scale, zero = ((*numbers["scales"], 0.0)[0], (*numbers["zero_points"], 0)[0])
        return {"index": 0, "shape": details["shape"], "dtype": details["dtype"], "quantization": (scale, zero)}

    def set_tensor(self, index: int, value: np.ndarray) -> None:
        """Copy the input."""
        self._interpreter.set_input(value, index)

    def invoke(self) -> None:
        """Run one window."""
        self._interpreter.invoke()

    def get_tensor(self, index: int) -> np.ndarray:
        """The output."""
        output: np.ndarray = self._interpreter.get_output(index)
        return output


class CompiledInterpreter:
    """mujo_network_run() of the exported C sources, built by gcc, with the methods of TensorFlow Lite's interpreter."""

    def __init__(self, sources: Path) -> None:
        model = numbers(sources)
        self._window = np.zeros((int(model["WINDOW"]), int(model["CHANNELS"])), np.int8)
        self._embedding = np.zeros((1, int(model["EMBEDDING"])), np.int8)
        self._arena = np.zeros(int(model["ARENA_BYTES"]), np.int8)
        shapes = {"INPUT": (1, *self._window.T[:, None].shape), "OUTPUT": self._embedding.shape}
        numbers_of = {end: (model[f"{end}_SCALE"], model[f"{end}_ZERO"]) for end in shapes}
        self._input, self._output = (
            {"index": 0, "shape": shape, "dtype": np.int8, "quantization": numbers_of[end]}
            for end, shape in shapes.items()
        )
        with tempfile.TemporaryDirectory(prefix="mujo-conformance-") as folder:
            library = Path(folder) / "student.so"
            files = [str(sources / file) for file in student.FILES]
            command = [CC, *student.STRICT, "-O2", "-shared", "-fPIC", f"-I{sources}", *files, "-o", str(library)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise DataError(f"{CC} does not compile it: {done.stderr.strip().splitlines()[0]}")
            run = ctypes.CDLL(str(library)).mujo_network_run
        run.argtypes, run.restype = (ctypes.c_void_p, ctypes.c_uint16, ctypes.c_void_p, ctypes.c_void_p), None
        self._run = run

    def allocate_tensors(self) -> None:
        """Nothing to do: the caller owns all memory."""

    def get_input_details(self) -> list[dict[str, Any]]:
        """Shape, type, scale and zero point of the one input."""
        return [self._input]

    def get_output_details(self) -> list[dict[str, Any]]:
        """Shape, type, scale and zero point of the one output."""
        return [self._output]

    def set_tensor(self, index: int, value: np.ndarray) -> None:
        """Copy the input, transposed to the time-major layout of C."""
        self._window[:] = value[0, :, 0].T

    def invoke(self) -> None:
        """Run one window."""
        self._run(self._window.ctypes.data, 0, self._embedding.ctypes.data, self._arena.ctypes.data)

    def get_tensor(self, index: int) -> np.ndarray:
        """The output."""
        return self._embedding.copy()


def opened(path: Path, runtime: str, arena_bytes: int | None) -> Runtime:
    """A model file in one of `PACKAGES`, or the C network, on one thread. Raises `MujoError` if it cannot be loaded."""
    from mujo_edge.runtimes.tflite import TFLiteModel

    if runtime == "c":
        return TFLiteModel(runtime, lambda **options: CompiledInterpreter(path), b"", 1)
    model = path.read_bytes()
    if runtime == "litert-reference":
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        reference = partial(Interpreter, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
        return TFLiteModel(runtime, reference, model, 1)
    if runtime == "tflite-micro":
        return TFLiteModel(runtime, partial(MicroInterpreter, arena_bytes), model, 1)
    return open_model(model, runtime)


def rss_mb() -> float:
    """Resident memory of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def versions(runtime: str) -> str:
    """Version of the runtime; for C, of the compiler."""
    if runtime == "c":
        return tools(CC)
    return version(PACKAGES[runtime])


def answers(model: Path, runtime: str, x: np.ndarray, arena_bytes: int | None) -> Iterator[dict[str, Any]]:
    """The first answer, then one for each line on stdin."""
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
    """Answer commands until stdin ends."""
    own = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # native libraries print to stdout, which carries answers only
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
