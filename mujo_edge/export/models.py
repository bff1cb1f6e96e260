"""The models that an app runs: the bundle's own files, and the int8 .tflite with float32 input and output."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

from mujo_edge.bundle import l2_normalize
from mujo_edge.core import DataError
from mujo_edge.export import Job, Model, tflite
from mujo_edge.runtimes import open_model

FLOAT_IO = "student_int8_float_io.tflite"
MAX_DELTA = 1e-3
"""Largest allowed difference of a component of an L2-normalized embedding from the golden one."""

USE = {
    "litert": "LiteRT | run on `golden/` in LiteRT when this folder was written",
    "executorch": "ExecuTorch with XNNPACK | run on the bundle's reference windows where ExecuTorch is installed",
    "onnx": "ONNX Runtime | run on the bundle's reference windows where ONNX Runtime is installed",
    "coreml": "ExecuTorch with Core ML | **not run**: only Apple's systems have Core ML",
}
"""Purpose of a file and how it was checked, by format: two cells of a README table."""


def ship(job: Job, formats: Collection[str]) -> tuple[Model, ...]:
    """Write `FLOAT_IO`, checked by `check`, and the bundle's files in `formats` except fp32 -> the files.

    A format is the runtime of a model file, or the backend that one was lowered for, see `mujo_edge.bundle.manifest`.

    Raises:
        DataError: the bundle has no int8 .tflite, or one that does not reproduce the golden embeddings.
        MissingExtraError: LiteRT is not installed.
    """
    int8 = job.manifest.folder / job.manifest.model("litert").file
    content = tflite.described(tflite.float_io(int8.read_bytes()), job)
    check(content, job)
    (job.folder / FLOAT_IO).write_bytes(content)
    shipped = [Model(FLOAT_IO, "litert", "int8", "float32")]
    for model in job.manifest.models:
        if model.runtime in formats and model.precision != "fp32":
            shipped.append(Model(job.copy(model.file).name, model.runtime, model.precision, "float32"))
    for lowered in job.manifest.lowered:
        if lowered.backend in formats:
            shipped.append(Model(job.copy(lowered.file).name, lowered.backend, lowered.precision, "float32"))
    return tuple(shipped)


def check(content: bytes, job: Job) -> None:
    """Run a .tflite file with float32 input and output in LiteRT, on the golden windows.

    Raises:
        DataError: an embedding differs by more than `MAX_DELTA`.
        MissingExtraError: LiteRT is not installed.
    """
    runtime = open_model(content, "litert")
    for case in job.cases:
        embeddings = l2_normalize(runtime.run(np.ascontiguousarray(case.windows[:, :, None])))
        delta = float(np.abs(embeddings - case.embeddings).max())
        if not delta <= MAX_DELTA:  # true for NaN as well
            raise DataError(
                f"{FLOAT_IO} in {runtime.name} is off by {delta:.2g} in the golden stream {case.name!r}. "
                f"Check the bundle with: mujo-edge models verify {job.manifest.folder}"
            )


def rows(shipped: Iterable[Model]) -> str:
    """Rows of the README table: file, purpose, how it was checked."""
    return "\n".join(f"| `{model.file}` | {model.precision}, for {USE[model.runtime]} |" for model in shipped)
