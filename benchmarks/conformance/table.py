"""Rows of the table (one file in one runtime), the gates they must pass, and the table on a terminal, in
docs/conformance.md and as JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from dacite import Config, from_dict
from rich.console import RenderableType
from rich.text import Text

from benchmarks.conformance.windows import CLEAR, SAME, Agreement, Windows
from mujo_edge.benchmark.report import rich_table
from mujo_edge.bundle.manifest import Parity
from mujo_edge.core import F32

MIN_TOP1, MIN_SNR_DB = 0.99, {"int8": 20.0, "fp16": 40.0, "fp32": 60.0}


@dataclass(frozen=True, slots=True)
class Twin:
    """A runtime with the same kernels, and by how many steps of the int8 output a value may differ from it."""

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
"""Twins of the runtimes, for int8 files. LiteRT computes with XNNPACK, which rounds in its own way; TensorFlow Lite's
integer kernels are in tflite-micro, and in LiteRT when its reference kernels are selected."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Version and cost of a runtime.

    `rss_mb` is how much its process grew while it loaded the runtime and the model and ran one window, `arena_bytes`
    the working memory set aside for the model, `instructions` the number for one window.
    """

    version: str
    rss_mb: float | None = None
    arena_bytes: int | None = None
    instructions: float | None = None


@dataclass(frozen=True, slots=True)
class File:
    """A model file, and the artifacts that hold the same bytes. `format` as in mujo.json and bundle.json."""

    path: Path
    artifacts: tuple[str, ...]
    format: str
    precision: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Latency:
    """Microseconds for one window on one thread. `ratio` is the median over that of the int8 file in LiteRT."""

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

    `state` is "ran"; "failed": it should have run, `note` has the error; "missing": the runtime is not installed; or
    "elsewhere": it cannot run on this kind of machine, `note` says what was checked instead. `file_bytes` is its size
    on the device, None where that is not known here.

    `parity` compares with the fp32 network, `clear_top1` is the top-1 agreement where that network is not undecided,
    `int8` compares with the bundle's int8 file in LiteRT, `twin` with the runtime that `TWINS` names.
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


def compared(row: Row, embeddings: F32, windows: Windows, others: Mapping[str, F32]) -> Row:
    """`row` with the comparisons of its (n, D) raw embeddings of the first n windows.

    `others` are the raw embeddings of the int8 network by runtime.
    """
    twin = TWINS.get(row.runtime)
    other = others.get(twin.runtime) if twin and row.precision == "int8" else None
    n = len(embeddings) if other is None else min(len(embeddings), len(other))
    return replace(
        row,
        windows=len(embeddings),
        parity=windows.parity(embeddings),
        clear_top1=windows.clear_top1(embeddings),
        int8=windows.agreement(embeddings),
        twin=None if other is None else windows.agreement(embeddings[:n], other),
    )


def failed_gates(row: Row, all_tools: bool) -> list[str]:
    """A message for each gate that a row fails. With `all_tools` a runtime that is not installed is a failure."""
    where = f"{row.file} in {row.runtime}"
    if row.state == "failed" or (row.state == "missing" and all_tools):
        return [f"{where}: {row.note}"]
    if row.state != "ran":
        return []
    assert row.parity is not None
    assert row.clear_top1 is not None
    failures = []
    if not row.clear_top1 >= MIN_TOP1:
        failures.append(f"top-1 agreement {100 * row.clear_top1:.1f} % where fp32 is clear, below {100 * MIN_TOP1:g} %")
    if not row.parity.snr_db >= (least := MIN_SNR_DB[row.precision]):
        failures.append(f"SNR {row.parity.snr_db:.1f} dB, below {least:g} dB")
    if (twin := TWINS.get(row.runtime)) and row.precision == "int8":
        if row.twin is None:
            failures.append(f"nothing to compare it with: {twin.runtime} did not run")
        elif not row.twin.max_lsb <= twin.steps + SAME:
            failures.append(f"{row.twin.max_lsb:.1f} steps off {twin.runtime}, more than {twin.steps:g}")
    return [f"{where}: {text}" for text in failures]


MARKED = re.compile(r"(?<=<!-- table -->\n).*(?=<!-- end -->)", re.S)


@dataclass(frozen=True, slots=True)
class Result:
    """Result of one run.

    `alone` compares the int8 file in LiteRT with fp32 on the same windows without gyroscope, `broken` are the messages
    of failed gates.
    """

    created: str
    commit: str
    bundle: str
    machine: Mapping[str, str]
    macs: int
    windows: int
    references: int
    alone: Mapping[str, float]
    rows: tuple[Row, ...]
    broken: tuple[str, ...]


def read_result(table: Mapping[str, Any]) -> Result:
    """The result that was written as JSON."""
    return from_dict(Result, dict(table), Config(cast=[tuple], strict=True))


def percent(fraction: float | None) -> str:
    """A percentage with one digit after the point; "100" only for exactly 1."""
    return "" if fraction is None else "100" if fraction == 1 else f"{min(100 * fraction, 99.9):.1f}"


def plain(value: float | None, digits: int = 1) -> str:
    """A number with thousands separators; "" for None."""
    return "" if value is None else f"{value:,.{digits}f}"


def accuracy(row: Row, result: Result) -> tuple[str, ...]:
    """Table cells under the headings `ACCURACY`."""
    twin = TWINS.get(row.runtime)
    assert row.parity is not None
    assert row.int8 is not None
    return (
        row.file,
        row.runtime,
        str(row.windows),
        percent(row.parity.top1_agreement),
        percent(row.clear_top1),
        f"{row.parity.snr_db:.1f}",
        f"{row.parity.max_abs_delta:.4f}",
        percent(row.int8.equal),
        f"{row.int8.max_lsb:.1f}",
        f"{row.twin.max_lsb:.1f} from {twin.runtime}" if row.twin and twin else "",
    )


def cost(row: Row, result: Result) -> tuple[str, ...]:
    """Table cells under the headings `COST`."""
    assert row.cost is not None
    instructions, arena, latency = row.cost.instructions, row.cost.arena_bytes, row.latency
    return (
        row.file,
        row.runtime,
        plain(row.file_bytes and row.file_bytes / 1000),
        plain(row.cost.rss_mb),
        plain(arena and arena / 1000),
        plain(latency.p50_us if latency else None),
        plain(latency.p99_us if latency else None),
        plain(latency.ratio if latency else None, 2),
        plain(instructions, 0),
        plain(instructions and instructions / result.macs, 2),
    )


ACCURACY = ("file", "runtime", "windows", "top-1", "clear", "SNR", "max", "same", "steps", "and")
COST = ("file", "runtime", "KB", "RSS", "arena", "p50", "p99", "ratio", "instructions", "a MAC")
TABLES: tuple[tuple[str, Sequence[str], Callable[[Row, Result], tuple[str, ...]]], ...] = (
    ("Accuracy", ACCURACY, accuracy),
    ("Cost", COST, cost),
)
LEGEND = {
    "Accuracy": f"""Against the fp32 network: `top-1` % of windows with the same nearest prototype in
their own label set, `clear` the same where fp32's nearest one leads by {CLEAR:g} in cosine, `SNR` in dB and `max`
|difference| of L2-normalized embeddings. Against the bundle's int8 file in LiteRT: `same` % of windows whose int8
values are all the same, `steps` the largest difference in steps of its output; `and` that from the runtime with the
same kernels.""",
    "Cost": """`KB` of the file (Cortex-M4: of code and tables of the whole library in flash), `RSS` growth of a
process in MB for the runtime, the model and one window, `arena` in KB (for C with its stack), `p50` and `p99` of one
window in us on one thread, `ratio` of p50 to that of the int8 file in LiteRT in the same run, `instructions` for one
window on a Cortex-M4 and per MAC (`a MAC`).""",
}
"""Explanation of the columns, under the title."""


def others(result: Result) -> list[str]:
    """A sentence for each row that did not run."""
    states = {"failed": "FAILED", "missing": "not installed", "elsewhere": "does not run here"}
    return [f"{row.file}, {row.runtime}: {states[row.state]}: {row.note}" for row in result.rows if row.state != "ran"]


def holders(result: Result) -> list[str]:
    """A line for each file with the artifacts that hold it."""
    kinds = {row.file: (f"{row.precision}, {row.dtype} in and out", ", ".join(row.artifacts)) for row in result.rows}
    return [f"{file} ({kind}): {artifacts}" for file, (kind, artifacts) in kinds.items()]


def versions(result: Result) -> str:
    """Version of every runtime that ran."""
    ran = {row.runtime: row.cost.version for row in result.rows if row.cost}
    return "; ".join(f"{runtime}: {version}" for runtime, version in ran.items())


def facts(result: Result) -> list[str]:
    """Bundle, machine, versions and windows of the run."""
    machine = ", ".join(f"{key} {value}" for key, value in result.machine.items())
    alone = f"top-1 {100 * result.alone['top1_agreement']:.1f} %, SNR {result.alone['snr_db']:.1f} dB"
    return [
        f"{result.bundle}, commit {result.commit}, {result.created}",
        f"{machine}. {versions(result)}",
        f"{result.windows:,} windows: {result.references} reference windows of the bundle (truth: its fp32 network) "
        f"and more of the shipped recording (truth: its fp32 file in LiteRT). {result.macs:,} MACs a window.",
        f"Without the gyroscope the int8 file in LiteRT has on the same windows {alone}.",
    ]


def terminal(result: Result) -> list[RenderableType]:
    """The result as rich renderables."""
    ran = [row for row in result.rows if row.state == "ran"]
    return [
        *(Text(text, "dim") for text in facts(result)),
        *(rich_table(title, headings, [cells(row, result) for row in ran]) for title, headings, cells in TABLES),
        *(Text(text, "yellow") for text in others(result)),
        *(Text(f"gate: {text}", "red") for text in result.broken),
    ]


def markdown(result: Result) -> str:
    """The result as the Markdown of docs/conformance.md."""
    ran = [row for row in result.rows if row.state == "ran"]
    parts = [*facts(result)]
    for title, headings, cells in TABLES:
        lines = [headings, ["---"] * len(headings), *(cells(row, result) for row in ran)]
        parts += [f"### {title}", LEGEND[title], "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    parts += ["### Artifacts with each file", *bullets(holders(result))]
    parts += ["### What did not run", *bullets(others(result))]
    parts += ["### Failed gates", *bullets(result.broken)] if result.broken else []
    return "\n\n".join(parts) + "\n"


def bullets(texts: Sequence[str]) -> list[str]:
    """A Markdown list as one block; "Nothing." for no items."""
    return ["\n".join(f"- {text}" for text in texts) or "Nothing."]


def write_page(page: Path, result: Result) -> None:
    """Replace the text between the marks in `page` by the tables."""
    page.write_text(MARKED.sub(lambda _: markdown(result), page.read_text("utf-8"), count=1), "utf-8")
