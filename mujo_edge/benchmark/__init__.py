"""Benchmark of a bundle on this machine: every model file in every installed runtime, and the whole live path.

Each model and runtime is measured in a separate process, to isolate peak memory and import time. That process is
`python -m mujo_edge.benchmark FOLDER FILE RUNTIME THREADS CALLS`.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from time import perf_counter, perf_counter_ns, process_time
from typing import TYPE_CHECKING, Any

import numpy as np

from mujo_edge.core import DataError, Latency, Prediction
from mujo_edge.runtimes import RUNTIMES, RuntimeInfo

if TYPE_CHECKING:
    from mujo_edge.bundle.manifest import Manifest, ModelFile, Parity
    from mujo_edge.sinks import RunInfo, Summary, Update

CALLS = 2000
WARM_UP = 200
TIMEOUT_S = 300
CURVE = (*range(100), 99.5, 99.9)
PACE = 50.0
"""Speed of the paced run, relative to real time: a chunk every 2 ms, slow enough that no window waits for another."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Quantiles of `calls` calls, in microseconds."""

    p50_us: float
    p90_us: float
    p99_us: float
    max_us: float
    calls: int

    @classmethod
    def of(cls, nanoseconds: Sequence[float]) -> Timing:
        """Quantiles of measured times."""
        p50, p90, p99 = (float(v) / 1e3 for v in np.percentile(nanoseconds, (50, 90, 99)))
        return cls(p50, p90, p99, max(nanoseconds) / 1e3, len(nanoseconds))


@dataclass(frozen=True, slots=True)
class ModelCost:
    """One model file in one runtime. `latency` is of one window: float32 in, float32 embedding out, batch 1.

    `windows_per_s` is measured with one call over all reference windows. `import_ms` is the import of the runtime,
    `load_ms` reading the file and preparing the model. `peak_rss_mb` is that of a process that does nothing else,
    Python and numpy included (None if the system does not report it). `curve_us` are the latencies at the percentiles
    of `CURVE`.
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
    curve_us: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """A runtime that was not measured: the reason, and the pip command that installs it."""

    runtime: str
    reason: str
    install: str


@dataclass(frozen=True, slots=True)
class PathCost:
    """The whole live path, from source to sink, over a recording of `signal_s` seconds.

    `speed` is the full speed relative to real time. `stages` are the latencies of a window in microseconds when samples
    arrive as from a device, a tenth of a second at a time, but `PACE` times as fast; `core_percent` is the CPU time of
    that run in percent of one core in real time. `right` is the fraction of right predictions, None without annotation.
    """

    recording: str
    label_set: str
    runtime: str
    signal_s: float
    windows: int
    speed: float
    core_percent: float
    stages: Mapping[str, Timing]
    right: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """Result of `mujo-edge benchmark`, on `machine`."""

    bundle: str
    version: str
    created: str
    machine: Mapping[str, str]
    models: tuple[ModelCost, ...]
    missing: tuple[Missing, ...]
    path: PathCost

    def table(self) -> dict[str, Any]:
        """The report as a JSON object, for `--json`."""
        return {"schema_version": 1, **asdict(self)}


def machine() -> dict[str, str]:
    """Description of this machine and the Python environment."""
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
    """Peak memory of this process in MB; None if the system does not report it.

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


def run(
    path_or_name: str | Path | None, threads: int, calls: int, progress: Callable[[str, float], None] = lambda *_: None
) -> Report:
    """Measure a bundle. `progress` is called with the next step and the fraction that is done.

    Raises:
        UsageError: no such bundle.
        DataError: the bundle is damaged, or a model could not be measured.
        MissingExtraError: not even the default runtime is installed.
    """
    from mujo_edge.bundle.manifest import read_manifest

    manifest = read_manifest(path_or_name)
    models: list[ModelCost] = []
    missing: dict[str, Missing] = {}
    steps = list(plan(manifest, threads))
    for number, (model, info, count) in enumerate(steps):
        progress(f"{model.file} in {info.name}, {count} thread{'s' * (count > 1)}", number / (len(steps) + 1))
        if info.name in missing:
            continue
        result = measure(manifest, model, info, count, calls)
        if isinstance(result, Missing):
            missing[info.name] = result
        else:
            models.append(result)
    progress("the whole live path", len(steps) / (len(steps) + 1))
    path = measure_path(manifest)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Report(manifest.name, manifest.version, created, machine(), tuple(models), tuple(missing.values()), path)


class Collector:
    """A sink that collects the latencies of predictions."""

    def __init__(self) -> None:
        self.latencies: list[Latency] = []

    def start(self, session: RunInfo) -> None:
        """Nothing to open."""

    def write(self, update: Update) -> None:
        """Collect the latencies of an update."""
        self.latencies += [event.latency for event in update.events if isinstance(event, Prediction)]

    def finish(self, summary: Summary) -> None:
        """Nothing to close."""


def measure_path(manifest: Manifest) -> PathCost:
    """Play the shipped recording through source, queue, recognizer and sink: once at full speed, once at `PACE`."""
    from mujo_edge.bundle import ModelBundle
    from mujo_edge.engine import Engine
    from mujo_edge.recognizer import Recognizer
    from mujo_edge.sinks import STAGES
    from mujo_edge.sources.replay import ReplaySource, shipped_recording

    bundle = ModelBundle.load(manifest.folder)
    recording = shipped_recording()

    def play(speed: float | None) -> tuple[Summary, Collector]:
        collector = Collector()
        source = ReplaySource(recording, speed=speed)
        engine = Engine(source, [collector], lambda info: Recognizer(bundle, info), live=speed is not None)
        return asyncio.run(engine.run()), collector

    full, _ = play(None)
    start_s = process_time()
    paced, collector = play(PACE)
    cpu_s = process_time() - start_s
    milliseconds = {stage: [getattr(latency, f"{stage}_ms") for latency in collector.latencies] for stage in STAGES}
    return PathCost(
        recording=recording.name,
        label_set=paced.session.label_set,
        runtime=bundle.runtime.name,
        signal_s=paced.tally.stats.signal_s,
        windows=len(collector.latencies),
        speed=full.tally.speed or 0.0,
        core_percent=100 * cpu_s / paced.tally.stats.signal_s,
        stages={stage: Timing.of([1e6 * ms for ms in values]) for stage, values in milliseconds.items()},
        right=full.tally.accuracy,
    )


def measure(manifest: Manifest, model: ModelFile, info: RuntimeInfo, threads: int, calls: int) -> ModelCost | Missing:
    """Measure one model in one runtime, in a separate process.

    Raises:
        DataError: the process failed.
    """
    from mujo_edge.bundle.manifest import Parity

    if not info.version or info.obstacle:
        return Missing(info.name, str(info.obstacle), info.install)
    command = [sys.executable, "-m", "mujo_edge.benchmark", str(manifest.folder.resolve()), model.file, info.name]
    done = subprocess.run(
        [*command, str(threads), str(calls)], capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    if done.returncode:
        last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise DataError(f"{model.file} in {info.name} could not be measured: {last}")
    result = json.loads(done.stdout.splitlines()[-1])
    return ModelCost(
        file=model.file,
        runtime=info.name,
        runtime_version=info.version,
        precision=model.precision,
        threads=threads,
        file_bytes=(manifest.folder / model.file).stat().st_size,
        latency=Timing(**result.pop("latency")),
        parity=Parity(**result.pop("parity")),
        curve_us=tuple(result.pop("curve_us")),
        **result,
    )


def measure_here(folder: str, file: str, runtime: str, threads: int, calls: int) -> dict[str, Any]:
    """Work of the child process: import, load, compare, time."""
    start = perf_counter()
    import_module(RUNTIMES[runtime].imports)
    imported = perf_counter()
    from mujo_edge.bundle import check, open_checked
    from mujo_edge.bundle.manifest import read_manifest
    from mujo_edge.signal import prepare

    manifest = read_manifest(folder)
    model = next(entry for entry in manifest.models if entry.file == file)
    load_start = perf_counter()
    opened = open_checked(manifest, model, runtime, threads)
    loaded = perf_counter()
    parity = check(manifest, model, opened).parity
    x = prepare(manifest.read_reference().x, manifest.input)
    windows = [x[n : n + 1] for n in range(len(x))]
    counter = iter(range(WARM_UP + calls))
    times = time_calls(lambda: opened.run(windows[next(counter) % len(windows)]), WARM_UP + calls)[WARM_UP:]
    whole = time_calls(lambda: opened.run(x), max(3, calls // len(x)))
    return {
        "import_ms": 1e3 * (imported - start),
        "load_ms": 1e3 * (loaded - load_start),
        "latency": asdict(Timing.of(times)),
        "windows_per_s": len(x) / (float(np.median(whole)) / 1e9),
        "parity": asdict(parity),
        "curve_us": [(np.percentile(times, percent) / 1e3).item() for percent in CURVE],
        "peak_rss_mb": peak_rss_mb(),
    }


def main(arguments: Sequence[str]) -> int:
    """Entry point of the child process: one JSON line on stdout; errors in one line on stderr."""
    from mujo_edge.core import MujoError

    folder, file, runtime, threads, calls = arguments
    try:
        print(json.dumps(measure_here(folder, file, runtime, int(threads), int(calls))))
    except MujoError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0
