"""The int8 .tflite in tflite-micro: its embeddings, and the smallest arena that it runs in.

A too small arena may crash the interpreter with a segmentation fault, so every attempt runs in its own process.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from mujo_edge.core import F32, DataError, require_extra

STEP = 1024
"""Resolution of `least_arena` in bytes."""
LARGEST = 256 * STEP


def micro_embeddings(model: bytes, windows: F32, arena_bytes: int) -> F32:
    """(N, C, 1, T) prepared windows -> (N, D) from tflite-micro. Raises `DataError` if the arena is too small."""
    result = attempt(model, windows, arena_bytes)
    if isinstance(result, str):
        raise DataError(f"tflite-micro cannot run the model in an arena of {arena_bytes} bytes: {result}")
    return result


def least_arena(model: bytes, window: F32) -> int:
    """The smallest arena in bytes, to one KiB, in which the model runs. Raises `DataError` above `LARGEST`."""
    micro_embeddings(model, window, LARGEST)
    too_small, enough = 0, LARGEST
    while enough - too_small > STEP:
        middle = (too_small + enough) // 2 // STEP * STEP
        if isinstance(attempt(model, window, middle), str):
            too_small = middle
        else:
            enough = middle
    return enough


def attempt(model: bytes, windows: F32, arena_bytes: int) -> F32 | str:
    """`main` in its own process -> embeddings (N, D), or the last line of its errors if it failed."""
    require_extra("tflite_micro", "train")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(model)
        np.save(folder / "x.npy", windows)
        done = subprocess.run(
            [sys.executable, "-m", "training.release.tflite_micro", name, str(arena_bytes)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if done.returncode:
            return (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        embeddings: F32 = np.load(folder / "y.npy")
        return embeddings


def main(folder: Path, arena_bytes: int) -> None:
    """Run model.tflite of `folder` on x.npy and write y.npy: the child process of `attempt`."""
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_file(str(folder / "model.tflite"), arena_size=arena_bytes)
    input_, output = interpreter.get_input_details(0), interpreter.get_output_details(0)
    (scale, zero), (out_scale, out_zero) = (
        (d["quantization_parameters"]["scales"][0], d["quantization_parameters"]["zero_points"][0])
        for d in (input_, output)
    )
    x = np.load(folder / "x.npy")
    quantized = np.clip(np.rint(x / scale) + zero, -128, 127).astype(np.int8)
    rows = []
    for n in range(len(x)):
        interpreter.set_input(quantized[n : n + 1], 0)
        interpreter.invoke()
        rows.append((interpreter.get_output(0).astype(np.float32)[0] - out_zero) * out_scale)
    np.save(folder / "y.npy", np.asarray(rows, np.float32))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
