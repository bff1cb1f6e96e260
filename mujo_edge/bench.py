"""Measures what a bundle costs on this machine: every model file in every runtime that is installed.

Each model and runtime is measured in a process of its own, so that peak memory and import time are its
own as well. That process is `python -m mujo_edge.bench FOLDER FILE RUNTIME THREADS CALLS`.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from mujo_edge.core import DataError
from mujo_edge.manifest import Manifest, ModelFile, Parity, read_manifest
from mujo_edge.runtimes import RUNTIMES, RuntimeInfo

if TYPE_CHECKING:
    pass

CALLS = 2000
WARM_UP = 200
TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Timing:
    """Quantiles of `calls` calls, in microseconds."""

    p50_us: float
    p90_us: float
    p99_us: float
    max_us: float
    calls: int

    @classmethod
    def of(cls, nanoseconds: Sequence[int]) -> Timing:
        """Quantiles of measured times."""
        p50, p90, p99 = (float(v) / 1e3 for v in np.percentile(nanoseconds, (50, 90, 99)))
        return cls(p50, p90, p99, max(nanoseconds) / 1e3, len(nanoseconds))


@dataclass(frozen=True, slots=True)
class ModelCost:
    """One model file in one runtime. `latency` is of one window: float32 in, float32 embedding out, batch 1.

    `windows_per_s` is one call over all reference windows. `import_ms` is the runtime's own import,
    `load_ms` reading the file and preparing the model. `peak_rss_mb` is that of a process that does
    nothing else (None where the system does not tell), Python and numpy included. `histogram_us` are
    (edge, count) pairs of the latencies.
    """

    file: str
    runtime: str
    runtime_version: str
    precision: str
    threads: int
    file_bytes: int
    import_ms: float
    load_ms: float
    peak_rss_mb: float | None
    latency: Timing
    windows_per_s: float
    parity: Parity
    histogram_us: tuple[tuple[float, int], ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """A runtime that was not measured: why, and the pip line that adds it."""

    runtime: str
    reason: str
    install: str


@dataclass(frozen=True, slots=True)
class PathCost:
    """The whole live path over the shipped recording at full speed, and a stage's latency one window at a time."""

    recording: str
    runtime: str
    signal_s: float
    elapsed_s: float
    windows: int
    stages: dict[str, Timing]

    @property
    def speed(self) -> float:
        """How many times faster than real time."""
        return self.signal_s / self.elapsed_s


@dataclass(frozen=True, slots=True)
class Report:
    """All that `mujo-edge benchmark` found. `machine` says where."""

    bundle: str
    version: str
    created: str
    machine: dict[str, str]
    models: tuple[ModelCost, ...]
    missing: tuple[Missing, ...]
    path: PathCost | None

    def table(self) -> dict[str, Any]:
        """What `--json` writes."""
        whole = asdict(self)
        if self.path:
            whole["path"]["speed"] = self.path.speed
        return {"schema_version": 1, **whole}


def machine() -> dict[str, str]:
    """What the numbers depend on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def time_calls(call: Callable[[], object], calls: int) -> list[int]:
    """Nanoseconds of each of `calls` calls."""
    times = []
    for _ in range(calls):
        start = perf_counter_ns()
        call()
        times.append(perf_counter_ns() - start)
    return times


def peak_rss_mb() -> float | None:
    """Peak memory of this process in MB; None where the system does not tell.

    On Linux from /proc, since `ru_maxrss` carries the parent's peak over into a child.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(lines[0].split()[1]) / 1024 if lines else None
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return None


def plan(manifest: Manifest, threads: int) -> Iterator[tuple[ModelFile, RuntimeInfo, int]]:
    """Every model file with every runtime that can open it, at one thread and at `threads`."""
    for model in manifest.models:
        for info in RUNTIMES.values():
            if info.format == model.runtime:
                for count in sorted({1, threads}):
                    yield model, info, count


def measure(manifest: Manifest, model: ModelFile, info: RuntimeInfo, threads: int, calls: int) -> ModelCost | Missing:
    """Measure one model in one runtime, in a process of its own.

    Raises:
        DataError: the process failed.
    """
    if not info.version:
        return Missing(info.name, f"{info.package} is not installed", info.install)
    command = [sys.executable, "-m", "mujo_edge.bench", str(manifest.folder.resolve()), model.file, info.name]
    done = subprocess.run(
        [*command, str(threads), str(calls)], capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    if done.returncode:
        last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        if done.returncode == MISSING:
            return Missing(info.name, last, info.install)
        raise DataError(f"{model.file} in {info.name} could not be measured: {last}")
    found = json.loads(done.stdout.splitlines()[-1])
    return ModelCost(
        file=model.file,
        runtime=info.name,
        runtime_version=info.version,
        precision=model.precision,
        threads=threads,
        file_bytes=(manifest.folder / model.file).stat().st_size,
        latency=Timing(**found.pop("latency")),
        parity=Parity(**found.pop("parity")),
        histogram_us=tuple((edge, count) for edge, count in found.pop("histogram_us")),
        **found,
    )


MISSING = 5
"""Exit code of the child where the runtime is installed, but not usable here."""


def measure_here(folder: str, file: str, runtime: str, threads: int, calls: int) -> dict[str, Any]:
    """What the child process does: import, load, compare, time."""
    start = perf_counter()
    __import__(RUNTIMES[runtime].probe)
    imported = perf_counter()
    from mujo_edge.bundle import check, open_checked
    from mujo_edge.signal import prepare

    manifest = read_manifest(folder)
    model = next(entry for entry in manifest.models if entry.file == file)
    before = perf_counter()
    opened = open_checked(manifest, model, runtime, threads)
    loaded = perf_counter()
    parity = check(manifest, model, opened).parity
    x = prepare(manifest.read_reference().x, manifest.input)
    windows = [x[n : n + 1] for n in range(len(x))]
    counter = iter(range(WARM_UP + calls))
    times = time_calls(lambda: opened.run(windows[next(counter) % len(windows)]), WARM_UP + calls)[WARM_UP:]
    whole = time_calls(lambda: opened.run(x), max(3, calls // len(x)))
    top = float(np.percentile(times, 99.5)) / 1e3
    counts, edges = np.histogram(np.asarray(times) / 1e3, 60, (0, top))
    return {
        "import_ms": 1e3 * (imported - start),
        "load_ms": 1e3 * (loaded - before),
        "latency": asdict(Timing.of(times)),
        "windows_per_s": len(x) / (float(np.median(whole)) / 1e9),
        "parity": asdict(parity),
        "histogram_us": [[float(edge), int(count)] for edge, count in zip(edges, counts, strict=False)],
        "peak_rss_mb": peak_rss_mb(),
    }


def main(arguments: Sequence[str]) -> int:
    """The child process: one JSON line on stdout; errors in one line on stderr."""
    from mujo_edge.core import MujoError

    folder, file, runtime, threads, calls = arguments
    try:
        print(json.dumps(measure_here(folder, file, runtime, int(threads), int(calls))))
    except MujoError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
