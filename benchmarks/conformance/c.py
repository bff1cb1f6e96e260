"""The exported C network as a runtime: a library that gcc builds here, and a program on a Cortex-M4 in QEMU."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.conformance.rows import Cost
from firmware_bridge.simulator import student
from mujo_edge.core import F32, DataError, MissingExtraError

CC = "gcc"
PACKAGES = {CC: "gcc libc6-dev", "arm-none-eabi-gcc": "gcc-arm-none-eabi", "qemu-system-arm": "qemu-system-arm"}
"""Debian's, by program."""


def tools(*programs: str) -> str:
    """What each program calls itself. Raises `MissingExtraError` where one is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            raise MissingExtraError(f"{program} is not installed. Install it with: apt install {PACKAGES[program]}")
    said = [subprocess.run([program, "--version"], capture_output=True, text=True, check=True) for program in programs]
    return ", ".join(done.stdout.splitlines()[0] for done in said)


def numbers(sources: Path) -> dict[str, float]:
    """The numbers of mujo_model.h by name, without their "MUJO_"."""
    header = (sources / "mujo_model.h").read_text("ascii")
    found = re.findall(r"^#define MUJO_(\w+) \(?(-?\d[\d.e-]*)f?\)?$", header, re.M)
    return {name: float(value) for name, value in found}


def quantized(x: F32, sources: Path) -> student.Int8:
    """(N, 6, 1, T) prepared windows -> (N, T, 6), as `mujo_edge.runtimes.tflite` quantizes them."""
    model = numbers(sources)
    q = np.rint(x[:, :, 0] * np.float32(1 / model["INPUT_SCALE"]) + np.float32(model["INPUT_ZERO"]))
    return np.ascontiguousarray(q.clip(-128, 127).astype(np.int8).transpose(0, 2, 1))


class Interpreter:
    """mujo_network_run() with the methods of TensorFlow Lite's interpreter."""

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
        """Nothing: all memory is given to it."""

    def get_input_details(self) -> list[dict[str, Any]]:
        """Shape, type, scale and zero point of the one input."""
        return [self._input]

    def get_output_details(self) -> list[dict[str, Any]]:
        """The same of the one output."""
        return [self._output]

    def set_tensor(self, index: int, value: np.ndarray) -> None:
        """The input: time comes first in C."""
        self._window[:] = value[0, :, 0].T

    def invoke(self) -> None:
        """One window."""
        self._run(self._window.ctypes.data, 0, self._embedding.ctypes.data, self._arena.ctypes.data)

    def get_tensor(self, index: int) -> np.ndarray:
        """The output."""
        return self._embedding.copy()


def on_board(sources: Path, x: F32) -> tuple[F32, Cost]:
    """(N, D) from the network on a Cortex-M4 in QEMU, and what it cost: instructions are the median of the windows.

    Raises:
        MissingExtraError: the compiler or QEMU is not installed.
        DataError: it does not compile or does not run to its end.
    """
    version = tools("arm-none-eabi-gcc", "qemu-system-arm")
    model = numbers(sources)
    try:
        batch = student.cortex_m(sources, quantized(x, sources))
    except OSError as error:
        raise DataError(str(error)) from error
    found = (batch.embeddings.astype(np.float32) - np.float32(model["OUTPUT_ZERO"])) * np.float32(model["OUTPUT_SCALE"])
    arena = int(model["ARENA_BYTES"]) + batch.stack_bytes
    return found, Cost(version, arena_bytes=arena, instructions=float(np.median(batch.instructions)))


def flash_bytes(sources: Path) -> int:
    """Code and tables of the whole library compiled for a Cortex-M4. Raises as `on_board`."""
    tools("arm-none-eabi-gcc")
    try:
        found = student.sizes(sources)
    except OSError as error:
        raise DataError(str(error)) from error
    return found.text + found.rodata + found.data
