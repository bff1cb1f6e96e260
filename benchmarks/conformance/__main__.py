"""Accuracy and cost of every file that ships, in every runtime that is available here.

    python -m benchmarks.conformance --out conformance.json
    python -m benchmarks.conformance --check --windows 100 --rounds 0     only the gates, as in CI
    python -m benchmarks.conformance --docs                               docs/conformance.md and its results.json

The files are those of the bundle and of `mujo-edge export --target all`. For timings, leave the machine idle otherwise.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from benchmarks.conformance.runners import (
    BROWSER_RUNTIMES,
    ROOT,
    PythonRunner,
    flash_bytes,
    in_browser,
    least_arena,
    on_board,
)
from benchmarks.conformance.table import (
    REFERENCE,
    Cost,
    File,
    Latency,
    Result,
    Row,
    compared,
    failed_gates,
    terminal,
    write_page,
)
from benchmarks.conformance.windows import Windows, evaluation_windows
from mujo_edge import export
from mujo_edge.benchmark import machine
from mujo_edge.bundle.manifest import LoweredFile, Manifest, read_manifest
from mujo_edge.cli.arguments import run_alone
from mujo_edge.core import F32, DataError, MissingExtraError, MujoError
from mujo_edge.files import sha256

DOCS = ROOT / "docs" / "conformance.md"
RESULTS = ROOT / "docs" / "conformance" / "results.json"

TFLITE = ("LiteRT", REFERENCE, "tflite-runtime", "tflite-micro", "LiteRT.js")
RUNTIMES = {
    "litert": TFLITE,
    "tflite-micro": TFLITE,
    "executorch": ("ExecuTorch",),
    "onnx": ("onnxruntime", "onnxruntime-web"),
    "c": ("C, host", "C, Cortex-M4"),
    "coreml": ("Core ML",),
    "cortex_m": ("ExecuTorch on Cortex-M",),
}
"""Runtimes that open a file, by its format."""

PROCESSES = {
    "LiteRT": "litert",
    REFERENCE: "litert-reference",
    "tflite-runtime": "tflite-runtime",
    "tflite-micro": "tflite-micro",
    "ExecuTorch": "executorch",
    "onnxruntime": "onnx",
    "C, host": "c",
    "Core ML": "executorch",
    "ExecuTorch on Cortex-M": "executorch",
}
"""Runtimes that run in a process of `benchmarks.conformance.child`, and their names there."""

ELSEWHERE = ("Core ML", "ExecuTorch on Cortex-M")
"""Runtimes for other hardware. Their files are opened in the ExecuTorch installed here; its error goes into `note`."""

WIDTH = 150
"""Columns of the tables when stdout is no terminal."""

ROUND_NS, MIN_CALLS, MAX_CALLS = 20e6, 2, 50
"""Time of a runtime in every round, and bounds of its number of calls."""


def shipped(manifest: Manifest, root: Path) -> list[File]:
    """Every model file of the bundle and of the artifacts in `root`; files with the same bytes count as one."""
    files: dict[str, File] = {}

    def add(path: Path, artifact: str, kind: str, precision: str, dtype: str) -> None:
        digest = sha256(path)
        known = files.get(digest, File(path, (), kind, precision, dtype))
        files[digest] = replace(known, artifacts=(*known.artifacts, artifact))

    for model in manifest.models:
        int8 = model.runtime == "litert" and model.precision == "int8"
        add(manifest.folder / model.file, "bundle", model.runtime, model.precision, "int8" if int8 else "float32")
    for lowered in manifest.lowered:
        add(manifest.folder / lowered.file, "bundle", lowered.backend, lowered.precision, "float32")
    for target in export.TARGETS:
        if (root / target / export.CONTRACT).is_file():
            for entry in json.loads((root / target / export.CONTRACT).read_text("utf-8"))["models"]:
                add(root / target / entry["file"], target, entry["runtime"], entry["precision"], entry["dtype"])
    return list(files.values())


def plan(files: Sequence[File]) -> Iterator[tuple[File, str]]:
    """Each file with each runtime that can open it. Raises `DataError` for an unknown format."""
    for file in files:
        if file.format not in RUNTIMES:
            raise DataError(f"{file.path} is for {file.format!r}, which is none of {', '.join(RUNTIMES)}")
        for runtime in RUNTIMES[file.format]:
            int8_only = runtime == REFERENCE and (file.precision, file.dtype) != ("int8", "int8")
            not_on_page = runtime in BROWSER_RUNTIMES and ("web" not in file.artifacts or file.dtype != "float32")
            if not int8_only and not not_on_page:
                yield file, runtime


def exported(root: Path, report: Callable[[str], None]) -> list[Row]:
    """Export every artifact into `root` -> a row for each that could not be, as a tool is missing."""
    rows = []
    for target in export.TARGETS:
        try:
            export.export(target, None, root, report=lambda doing: report(f"export: {doing}"))
        except MissingExtraError as error:
            rows.append(Row(f"{target}/", (target,), "", "", None, "mujo-edge export", "missing", str(error)))
    return rows


def damaged(root: Path, targets: Iterable[str]) -> list[str]:
    """A message for each file of these artifacts that is missing or does not match SHA256SUMS."""
    messages = []
    for target in targets:
        sums = root / target / export.SUMS
        if not sums.is_file():
            messages.append(f"{root / target} is no artifact: it has no {export.SUMS}")
            continue
        for line in sums.read_text("utf-8").splitlines():
            digest, name = line.split("  ", 1)
            if not (sums.parent / name).is_file() or sha256(sums.parent / name) != digest:
                messages.append(f"{sums.parent / name} does not match {export.SUMS}")
    return messages


class Bench:
    """Runs one file after the other; processes stay open until all are timed in turns. `root` has the artifacts."""

    def __init__(self, manifest: Manifest, root: Path, windows: Windows, rounds: int) -> None:
        self._root = root
        self._rounds = rounds
        self._lowered: Mapping[str, LoweredFile] = {lowered.file: lowered for lowered in manifest.lowered}
        self._windows = windows
        self._embeddings = {"LiteRT": windows.int8}
        self._open: dict[int, PythonRunner] = {}
        self.rows: list[Row] = []

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *exc: object) -> None:
        for runner in self._open.values():
            runner.close()

    def add(self, file: File, runtime: str) -> None:
        """Run a file in a runtime on all windows, and append a row with the comparison."""
        size = None if file.format == "c" else file.path.stat().st_size
        row = Row(file.path.name, file.artifacts, file.precision, file.dtype, size, runtime, "ran")
        try:
            embeddings, cost, latency = self._run(file, runtime)
            if (shape := embeddings.shape) != self._windows.y.shape:
                raise DataError(f"its embeddings have the shape {shape}, not {self._windows.y.shape}")
            if runtime == "C, Cortex-M4":
                size = flash_bytes(file.path.parent)
            row = replace(row, file_bytes=size, cost=cost, latency=latency)
            is_reference = (runtime, file.precision) == ("LiteRT", "fp32")
            independent = embeddings[: self._windows.references] if is_reference else embeddings
            row = compared(row, independent, self._windows, self._embeddings)
        except MissingExtraError as error:
            row = replace(row, state="missing", note=str(error))
        except DataError as error:
            if runtime in ELSEWHERE and "bundle" in file.artifacts:
                row = replace(row, state="elsewhere", note=f"{error}. {self._checked_instead(file)}")
            else:
                row = replace(row, state="failed", note=str(error))
        else:
            if file.precision == "int8":
                self._embeddings.setdefault(runtime, embeddings)
        self.rows.append(row)

    def _run(self, file: File, runtime: str) -> tuple[F32, Cost, Latency | None]:
        if runtime in BROWSER_RUNTIMES:
            return in_browser(self._root / "web", runtime, self._windows.x, bool(self._rounds))
        path = file.path.parent if file.format == "c" else file.path
        if runtime == "C, Cortex-M4":
            return *on_board(path, self._windows.x), None
        runner = PythonRunner(path, PROCESSES[runtime], self._windows.x)
        self._open[len(self.rows)] = runner
        embeddings, cost = runner.embed(), runner.cost
        if runtime == "tflite-micro" and self._rounds:
            cost = replace(cost, arena_bytes=least_arena(path, self._windows.x))
        return embeddings, cost, None

    def _checked_instead(self, file: File) -> str:
        """The check made at export of a file that does not run here, as a sentence."""
        lowered = self._lowered[file.path.name]
        parity = lowered.parity
        measured = f": top-1 {100 * parity.top1_agreement:.1f} %, SNR {parity.snr_db:.1f} dB" if parity else ""
        return f"Checked instead: {lowered.measured}{measured}. It needs {', '.join(lowered.operators)}"

    def time(self) -> None:
        """Time all open processes in turns, so that load from outside falls on all of them."""
        running = {at: runner for at, runner in self._open.items() if self.rows[at].state == "ran"}
        calls = {
            at: int(np.clip(ROUND_NS / np.median(runner.times(3)), MIN_CALLS, MAX_CALLS))
            for at, runner in running.items()
        }
        times: dict[int, list[int]] = {at: [] for at in running}
        for _ in range(self._rounds):
            for at, runner in running.items():
                runner.times(max(1, calls[at] // 10))  # warms caches that another process had filled
                times[at] += runner.times(calls[at])
        for at, measured in times.items():
            if measured:
                self.rows[at] = replace(self.rows[at], latency=Latency.of(measured))
        baseline_us = next(
            (
                row.latency.p50_us
                for row in self.rows
                if row.latency and row.runtime == "LiteRT" and row.dtype == "int8"
            ),
            None,
        )
        for at, row in enumerate(self.rows):
            if row.latency and baseline_us:
                ratio = row.latency.p50_us / baseline_us
                self.rows[at] = replace(row, latency=replace(row.latency, ratio=ratio))


def run(artifacts: Path | None, count: int, rounds: int, only: Sequence[str], report: Callable[[str], None]) -> Result:
    """Measure the shipped bundle and the artifacts in a folder, by default exported for this run.

    Raises:
        MujoError: the bundle is damaged, or cannot be exported.
    """
    manifest = read_manifest(None)
    with tempfile.TemporaryDirectory(prefix="mujo-conformance-") as own:
        root = artifacts or Path(own)
        absent = [] if artifacts else exported(root, report)
        windows = evaluation_windows(manifest, count)
        alone = evaluation_windows(manifest, count, channels=3)
        with Bench(manifest, root, windows, rounds) as bench:
            for file, runtime in plan(shipped(manifest, root)):
                if not only or runtime in only:
                    report(f"{file.path.name} in {runtime}")
                    bench.add(file, runtime)
            report(f"timing, {rounds} rounds")
            bench.time()
        not_written = [row.artifacts[0] for row in absent]
        messages = damaged(root, [target for target in export.TARGETS if target not in not_written])
    rows, all_tools = (*absent, *bench.rows), bool(os.environ.get("MUJO_ALL_TOOLS"))
    return Result(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip(),
        bundle=f"{manifest.name} {manifest.version}",
        machine=machine(),
        macs=int(manifest.metrics["macs"]),
        windows=len(windows.x),
        references=windows.references,
        alone=asdict(alone.parity(alone.int8)),
        rows=rows,
        broken=(*messages, *(text for row in rows for text in failed_gates(row, all_tools))),
    )


def main(
    artifacts: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Output folder of mujo-edge export --target all; exported anew if not given."),
    ] = None,
    count: Annotated[
        int, typer.Option("--windows", min=1, help="Number of windows; at least the reference windows.")
    ] = 1000,
    rounds: Annotated[int, typer.Option(min=0, help="Rounds of timing; 0 for none.")] = 100,
    only: Annotated[
        list[str] | None, typer.Option(metavar="RUNTIME", help="Only this runtime; may be repeated.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the result here.")] = None,
    docs: Annotated[bool, typer.Option("--docs", help=f"Write {DOCS.name} and its results.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with code 1 if a gate fails.")] = False,
) -> None:
    """Measure every file that ships in every available runtime. Gates check accuracy, never time."""
    if docs and only:
        raise typer.BadParameter("leave --only out: the page shows every runtime", param_hint="--docs")
    known = sorted({runtime for runtimes in RUNTIMES.values() for runtime in runtimes})
    if unknown := set(only or ()) - set(known):
        raise typer.BadParameter(f"no runtime {unknown.pop()!r}; choose from: {', '.join(known)}", param_hint="--only")
    console = Console(stderr=True)
    try:
        with console.status("") as status:
            result = run(artifacts, count, rounds, only or (), status.update)
    except MujoError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(error.exit_code) from error
    screen = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    screen.print(*terminal(result), sep="\n")
    text = json.dumps(asdict(result), indent=1) + "\n"
    if json_file:
        json_file.write_text(text, "utf-8")
    if docs:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(text, "utf-8")
        write_page(DOCS, result)
    if check and result.broken:
        raise typer.Exit(1)


if __name__ == "__main__":
    run_alone(main)
