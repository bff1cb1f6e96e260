"""A row of the table, one file that ships in one runtime, and the gates that it must pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.conformance.windows import SAME, Agreement, Windows
from mujo_edge.bundle.manifest import Parity
from mujo_edge.core import F32

LEAST_TOP1, LEAST_SNR_DB = 0.99, {"int8": 20.0, "fp16": 40.0, "fp32": 60.0}


@dataclass(frozen=True, slots=True)
class Twin:
    """The runtime that computes the same, and by how many steps of the int8 output a value may differ from it."""

    runtime: str
    steps: float


REFERENCE = "reference kernels"
TWINS = {
    "LiteRT": Twin("LiteRT", 0),
    "LiteRT.js": Twin("LiteRT", 0),
    "ExecuTorch": Twin("LiteRT", 2),
    "tflite-runtime": Twin(REFERENCE, 1),
    "tflite-micro": Twin(REFERENCE, 1),
    "C, host": Twin("tflite-micro", 0),
    "C, Cortex-M4": Twin("C, host", 0),
    "onnxruntime-web": Twin("onnxruntime", 2),
}
"""Of the int8 files. LiteRT computes with XNNPACK, which rounds in its own way; the integer kernels of TensorFlow Lite
are in tflite-micro, and in LiteRT where it is told to use its reference kernels."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a runtime says of itself. `rss_mb` is what its process grew by while it loaded itself and the model and ran
    one window; `arena_bytes` the working memory set aside for the model; `instructions` are of one window."""

    version: str
    rss_mb: float | None = None
    arena_bytes: int | None = None
    instructions: float | None = None


@dataclass(frozen=True, slots=True)
class File:
    """A model file, and which artifacts hold the same bytes. `format` as in mujo.json and bundle.json."""

    path: Path
    artifacts: tuple[str, ...]
    format: str
    precision: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Latency:
    """Microseconds of one window on one thread. `ratio`: the median's share of that of the int8 file in LiteRT."""

    p50_us: float
    p99_us: float
    calls: int
    ratio: float | None = None

    @classmethod
    def of(cls, nanoseconds: Sequence[int], baseline_us: float | None = None) -> Latency:
        """Quantiles of measured times."""
        p50, p99 = (float(value) / 1e3 for value in np.percentile(nanoseconds, (50, 99)))
        return cls(p50, p99, len(nanoseconds), baseline_us and p50 / baseline_us)


@dataclass(frozen=True, slots=True)
class Row:
    """One file in one runtime.

    `state` "ran"; "failed": it should have run, and `note` says what happened; "missing": the runtime is not installed;
    "elsewhere": no machine like this one can run it, and `note` says what was looked at instead. `file_bytes` is what
    it takes on the device, None where this machine is not that.

    `parity` is against the fp32 network, `clear_top1` its top-1 agreement where that network itself is not undecided,
    `int8` against the bundle's int8 file in LiteRT, `twin` against the runtime that `TWINS` names.
    """

    file: str
    artifacts: tuple[str, ...]
    precision: str
    dtype: str
    file_bytes: int | None
    runtime: str
    state: Literal["ran", "failed", "missing", "elsewhere"]
    note: str = ""
    cost: Cost | None = None
    windows: int = 0
    parity: Parity | None = None
    clear_top1: float | None = None
    int8: Agreement | None = None
    twin: Agreement | None = None
    latency: Latency | None = None


def compared(row: Row, found: F32, windows: Windows, others: Mapping[str, F32]) -> Row:
    """`row` with what its embeddings (n, D) of the first n windows are worth. `others` (int8 files) are by runtime."""
    twin = TWINS.get(row.runtime)
    other = others.get(twin.runtime) if twin and row.precision == "int8" else None
    n = len(found) if other is None else min(len(found), len(other))
    return replace(
        row,
        windows=len(found),
        parity=windows.parity(found),
        clear_top1=windows.clear_top1(found),
        int8=windows.agreement(found),
        twin=None if other is None else windows.agreement(found[:n], other),
    )


def broken(row: Row, all_tools: bool) -> list[str]:
    """The gates that a row does not pass, in words. `all_tools`: a runtime that is not installed is a failure."""
    where = f"{row.file} in {row.runtime}"
    if row.state == "failed" or (row.state == "missing" and all_tools):
        return [f"{where}: {row.note}"]
    if row.state != "ran":
        return []
    assert row.parity is not None
    assert row.clear_top1 is not None
    wrong = []
    if not row.clear_top1 >= LEAST_TOP1:
        wrong.append(f"top-1 agreement {100 * row.clear_top1:.1f} % where fp32 is clear, below {100 * LEAST_TOP1:g} %")
    if not row.parity.snr_db >= (least := LEAST_SNR_DB[row.precision]):
        wrong.append(f"SNR {row.parity.snr_db:.1f} dB, below {least:g} dB")
    if (twin := TWINS.get(row.runtime)) and row.precision == "int8":
        if row.twin is None:
            wrong.append(f"nothing to compare it with: {twin.runtime} did not run")
        elif not row.twin.max_lsb <= twin.steps + SAME:
            wrong.append(f"{row.twin.max_lsb:.1f} steps off {twin.runtime}, more than {twin.steps:g}")
    return [f"{where}: {text}" for text in wrong]
