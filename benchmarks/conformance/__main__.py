"""Every file that ships in every runtime that runs here: what it computes, and what it costs.

    python -m benchmarks.conformance --out conformance.json
    python -m benchmarks.conformance --check --windows 100 --rounds 0     the gates alone, as in CI
    python -m benchmarks.conformance --docs                               docs/conformance.md and its results.json

The files are those of the bundle and of `mujo-edge export --target all`. Timings want a machine that does nothing else.
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

from benchmarks.conformance import c, page
from benchmarks.conformance.python import ROOT, PythonRunner, least_arena
from benchmarks.conformance.rows import REFERENCE, Cost, File, Latency, Row, broken, compared
from benchmarks.conformance.table import Result, terminal, write_page
from benchmarks.conformance.windows import Windows, windows
from mujo_edge import benchmark as bench
from mujo_edge import export
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
"""Which runtimes open a file, by its format."""

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
"""Those that are a process of `conformance_child`, and what it calls them."""

ELSEWHERE = ("Core ML", "ExecuTorch on Cortex-M")
"""Tried all the same, in the ExecuTorch that is here: what it says is why they are not judged."""

WIDTH = 150
"""Of the tables, where they do not go to a terminal."""

ROUND_NS, FEWEST, MOST = 20e6, 2, 50
"""What a runtime gets of every round, in time and in calls."""


def shipped(manifest: Manifest, root: Path) -> list[File]:
    """Every model file of the bundle and of the artifacts in `root`, those with the same bytes as one."""
    found: dict[str, File] = {}

    def add(path: Path, artifact: str, kind: str, precision: str, dtype: str) -> None:
        digest = sha256(path)
        known = found.get(digest, File(path, (), kind, precision, dtype))
        found[digest] = replace(known, artifacts=(*known.artifacts, artifact))

    for model in manifest.models:
        int8 = model.runtime == "litert" and model.precision == "int8"
        add(manifest.folder / model.file, "bundle", model.runtime, model.precision, "int8" if int8 else "float32")
    for lowered in manifest.lowered:
        add(manifest.folder / lowered.file, "bundle", lowered.backend, lowered.precision, "float32")
    for target in export.TARGETS:
        if (root / target / export.CONTRACT).is_file():
            for entry in json.loads((root / target / export.CONTRACT).read_text("utf-8"))["models"]:
                add(root / target / entry["file"], target, entry["runtime"], entry["precision"], entry["dtype"])
    return list(found.values())


def plan(files: Sequence[File]) -> Iterator[tuple[File, str]]:
    """Each file with each runtime that can open it. Raises `DataError` for a format that nobody knows."""
    for file in files:
        if file.format not in RUNTIMES:
            raise DataError(f"{file.path} is for {file.format!r}, which is none of {', '.join(RUNTIMES)}")
        for runtime in RUNTIMES[file.format]:
            judge_only = runtime == REFERENCE and (file.precision, file.dtype) != ("int8", "int8")
            not_there = runtime in page.RUNTIMES and ("web" not in file.artifacts or file.dtype != "float32")
            if not judge_only and not not_there:
                yield file, runtime


def exported(root: Path, report: Callable[[str], None]) -> list[Row]:
    """Write every artifact into `root` -> a row for each that cannot be written for want of a tool."""
    rows = []
    for target in export.TARGETS:
        try:
            export.export(target, None, root, report=lambda doing: report(f"export: {doing}"))
        except MissingExtraError as error:
            rows.append(Row(f"{target}/", (target,), "", "", None, "mujo-edge export", "missing", str(error)))
    return rows


def damaged(root: Path, targets: Iterable[str]) -> list[str]:
    """What is missing in these artifacts, or is not what SHA256SUMS says."""
    wrong = []
    for target in targets:
        sums = root / target / export.SUMS
        if not sums.is_file():
            wrong.append(f"{root / target} is no artifact: it has no {export.SUMS}")
            continue
        for line in sums.read_text("utf-8").splitlines():
            digest, name = line.split("  ", 1)
            if not (sums.parent / name).is_file() or sha256(sums.parent / name) != digest:
                wrong.append(f"{sums.parent / name} is not what {export.SUMS} says")
    return wrong


class Bench:
    """Runs one file after the other; processes stay open until all are timed in turns. `root` has the artifacts."""

    def __init__(self, manifest: Manifest, root: Path, judged: Windows, rounds: int) -> None:
        self._root = root
        self._rounds = rounds
        self._lowered: Mapping[str, LoweredFile] = {lowered.file: lowered for lowered in manifest.lowered}
        self._windows = judged
        self._embeddings = {"LiteRT": judged.int8}
        self._open: dict[int, PythonRunner] = {}
        self.rows: list[Row] = []

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *exc: object) -> None:
        for runner in self._open.values():
            runner.close()

    def add(self, file: File, runtime: str) -> None:
        """Run a file in a runtime on all windows, and compare."""
        size = None if file.format == "c" else file.path.stat().st_size
        row = Row(file.path.name, file.artifacts, file.precision, file.dtype, size, runtime, "ran")
        try:
            found, cost, latency = self._run(file, runtime)
            if found.shape != self._windows.y.shape:
                raise DataError(f"it gives {found.shape} for windows whose embeddings are {self._windows.y.shape}")
            if runtime == "C, Cortex-M4":
                size = c.flash_bytes(file.path.parent)
            row = replace(row, file_bytes=size, cost=cost, latency=latency)
            own_truth = (runtime, file.precision) == ("LiteRT", "fp32")
            judged = found[: self._windows.references] if own_truth else found
            row = compared(row, judged, self._windows, self._embeddings)
        except MissingExtraError as error:
            row = replace(row, state="missing", note=str(error))
        except DataError as error:
            if runtime in ELSEWHERE and "bundle" in file.artifacts:
                row = replace(row, state="elsewhere", note=f"{error}. {self._looked_at(file)}")
            else:
                row = replace(row, state="failed", note=str(error))
        else:
            if file.precision == "int8":
                self._embeddings.setdefault(runtime, found)
        self.rows.append(row)

    def _run(self, file: File, runtime: str) -> tuple[F32, Cost, Latency | None]:
        if runtime in page.RUNTIMES:
            return page.in_browser(self._root / "web", runtime, self._windows.x, bool(self._rounds))
        path = file.path.parent if file.format == "c" else file.path
        if runtime == "C, Cortex-M4":
            return *c.on_board(path, self._windows.x), None
        runner = PythonRunner(path, PROCESSES[runtime], self._windows.x)
        self._open[len(self.rows)] = runner
        found, cost = runner.embed(), runner.cost
        if runtime == "tflite-micro" and self._rounds:
            cost = replace(cost, arena_bytes=least_arena(path, self._windows.x))
        return found, cost, None

    def _looked_at(self, file: File) -> str:
        """What was found of a file that does not run here when its bundle was made."""
        lowered = self._lowered[file.path.name]
        parity = lowered.parity
        measured = f": top-1 {100 * parity.top1_agreement:.1f} %, SNR {parity.snr_db:.1f} dB" if parity else ""
        return f"Looked at: {lowered.measured}{measured}. It needs {', '.join(lowered.operators)}"

    def time(self) -> None:
        """Time all open processes in turns, so that none has the quiet minute alone."""
        running = {at: runner for at, runner in self._open.items() if self.rows[at].state == "ran"}
        calls = {
            at: int(np.clip(ROUND_NS / np.median(runner.times(3)), FEWEST, MOST)) for at, runner in running.items()
        }
        times: dict[int, list[int]] = {at: [] for at in running}
        for _ in range(self._rounds):
            for at, runner in running.items():
                runner.times(max(1, calls[at] // 10))  # its caches were another's
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
    """Measure the shipped bundle and the artifacts in a folder, by default exported for this -> all that was found.

    Raises:
        MujoError: the bundle is damaged, or cannot be exported.
    """
    manifest = read_manifest(None)
    with tempfile.TemporaryDirectory(prefix="mujo-conformance-") as own:
        root = artifacts or Path(own)
        absent = [] if artifacts else exported(root, report)
        judged, alone = windows(manifest, count), windows(manifest, count, channels=3)
        with Bench(manifest, root, judged, rounds) as tried:
            for file, runtime in plan(shipped(manifest, root)):
                if not only or runtime in only:
                    report(f"{file.path.name} in {runtime}")
                    tried.add(file, runtime)
            report(f"timing, {rounds} rounds")
            tried.time()
        not_written = [row.artifacts[0] for row in absent]
        wrong = damaged(root, [target for target in export.TARGETS if target not in not_written])
    rows, all_tools = (*absent, *tried.rows), bool(os.environ.get("MUJO_ALL_TOOLS"))
    return Result(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip(),
        bundle=f"{manifest.name} {manifest.version}",
        machine=bench.machine(),
        macs=int(manifest.metrics["macs"]),
        windows=len(judged.x),
        references=judged.references,
        alone=asdict(alone.parity(alone.int8)),
        rows=rows,
        broken=(*wrong, *(text for row in rows for text in broken(row, all_tools))),
    )


def main(
    artifacts: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where mujo-edge export --target all wrote; it is run here if not given."),
    ] = None,
    count: Annotated[int, typer.Option("--windows", min=1, help="How many; the reference windows at least.")] = 1000,
    rounds: Annotated[int, typer.Option(min=0, help="Of timing; 0 for none.")] = 100,
    only: Annotated[list[str] | None, typer.Option(metavar="RUNTIME", help="This one; may be repeated.")] = None,
    json_file: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the result here.")] = None,
    docs: Annotated[bool, typer.Option("--docs", help=f"Write {DOCS.name} and its results.")] = False,
    check: Annotated[bool, typer.Option("--check", help="End with exit code 1 if a gate is not passed.")] = False,
) -> None:
    """One table: every file that ships in every runtime that runs here. Gates are of accuracy, never of time."""
    if docs and only:
        raise typer.BadParameter("leave --only out: the page shows every runtime", param_hint="--docs")
    known = sorted({runtime for runtimes in RUNTIMES.values() for runtime in runtimes})
    if unknown := set(only or ()) - set(known):
        raise typer.BadParameter(f"no runtime {unknown.pop()!r}; there are: {', '.join(known)}", param_hint="--only")
    console = Console(stderr=True)
    try:
        with console.status("") as status:
            found = run(artifacts, count, rounds, only or (), status.update)
    except MujoError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(error.exit_code) from error
    screen = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    screen.print(*terminal(found), sep="\n")
    text = json.dumps(asdict(found), indent=1) + "\n"
    if json_file:
        json_file.write_text(text, "utf-8")
    if docs:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(text, "utf-8")
        write_page(DOCS, found)
    if check and found.broken:
        raise typer.Exit(1)


if __name__ == "__main__":
    run_alone(main)
