"""Python runtimes as runners: each a process of its own, tflite-runtime 2.14 in an environment of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.conformance.rows import Cost
from mujo_edge.core import F32, DataError, MissingExtraError
from mujo_edge.environments import last_words, python_with
from mujo_edge.runtimes import RUNTIMES

ROOT = Path(__file__).parents[2]
PINNED = ("tflite-runtime==2.14.0", "numpy>=1.26,<2")
ARENA_STEP, ARENA_MOST = 1024, 1 << 18
LONGEST_S = 300.0


def old_python() -> str:
    """The Python of the environment with `PINNED` alone. Raises `MissingExtraError` where there can be none."""
    return python_with("tflite-runtime-2.14.0", PINNED, newest=(3, 11))


class PythonRunner:
    """One model file in one Python runtime. `runtime` is one of `conformance_child.PACKAGES`."""

    def __init__(self, model: Path, runtime: str, x: F32, arena_bytes: int | None = None) -> None:
        info = RUNTIMES.get(runtime)
        if info and info.obstacle and not info.needs_numpy_1:
            raise MissingExtraError(f"{info.obstacle}. Install it with: {info.install}")
        self._folder = tempfile.TemporaryDirectory(prefix="mujo-conformance-")
        self._errors = (Path(self._folder.name) / "stderr").open("w+")
        windows = Path(self._folder.name) / "x.npy"
        np.save(windows, x)
        python = old_python() if info and info.needs_numpy_1 else sys.executable
        command = [python, "-m", "benchmarks.conformance.child", str(model.resolve()), runtime, str(windows)]
        self._process = subprocess.Popen(
            [*command, *([str(arena_bytes)] if arena_bytes else [])],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        try:
            self.cost = Cost(**self._answer())
        except DataError:
            self.close()
            raise

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        hung = threading.Timer(LONGEST_S, self._process.kill)
        hung.start()
        line = self._process.stdout.readline()
        hung.cancel()
        if line:
            return dict(json.loads(line))
        code = self._process.wait()
        self._errors.seek(0)
        raise DataError(f"its process ended ({code}): {last_words(self._errors.read())}")

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def embed(self) -> F32:
        """(N, D) of all windows, as the model gives them."""
        file = Path(self._folder.name) / "y.npy"
        self._ask({"embed": str(file)})
        embeddings: F32 = np.load(file)
        return embeddings

    def times(self, calls: int) -> list[int]:
        """Nanoseconds of calls with one window each."""
        return list(self._ask({"times": calls})["times"])

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._errors.close()
        self._folder.cleanup()


def least_arena(model: Path, x: F32) -> int:
    """The smallest arena of tflite-micro in bytes, to one KiB, in which the model runs."""

    def runs(arena_bytes: int) -> bool:
        try:
            PythonRunner(model, "tflite-micro", x[:1], arena_bytes).close()
        except DataError:
            return False
        return True

    too_small, enough = 0, ARENA_MOST
    while enough - too_small > ARENA_STEP:
        middle = (too_small + enough) // 2 // ARENA_STEP * ARENA_STEP
        too_small, enough = (too_small, middle) if runs(middle) else (middle, enough)
    return enough
