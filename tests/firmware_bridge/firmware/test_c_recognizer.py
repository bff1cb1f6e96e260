"""The C recognizer compared with the Python one, with sanitizers: equal events and counts for any input."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from mujo_edge.bundle import ModelBundle
from mujo_edge.bundle.manifest import LabelSet, Smoothing, read_manifest
from mujo_edge.core import CHANNELS, F32, F64, Chunk, Gap, StreamInfo
from mujo_edge.export.mcu import write_sources
from mujo_edge.recognizer import Recognizer, Smoother
from mujo_edge.recordings.reader import open_recording
from mujo_edge.sources.replay import shipped_recording

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Wdouble-promotion", "-Werror"]
SANITIZED = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
REASONS = ("missing", "invalid", "clock", "constant")
HERE = Path(__file__).parent
MACHINES = {
    "Cortex-M4": ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"],
    "Cortex-M0": ["arm-none-eabi-gcc", "-mcpu=cortex-m0", "-mthumb"],
    "gcc": ["gcc", "-O3"],
    "clang": ["clang", "-O2"],
}


def tool(name: str) -> str:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


def run(*call: object, text: str = "") -> str:
    done = subprocess.run(list(map(str, call)), input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return ModelBundle.load()


@pytest.fixture(scope="module")
def src(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources of the shipped bundle."""
    folder = tmp_path_factory.mktemp("mujo") / "src"
    manifest = read_manifest()
    write_sources(manifest, manifest.label_set(), folder)
    return folder


@pytest.fixture(scope="module")
def program(src: Path) -> Path:
    out = src.parent / "recognizer"
    files = sorted(src.glob("*.c"))
    run(tool("gcc"), *STRICT, "-pedantic", *SANITIZED, f"-I{src}", HERE / "recognizer.c", *files, "-o", out)
    return out


@dataclass(frozen=True, slots=True)
class Heard:
    """Of the C program: gaps and the ends of labels in order, labels as (label, raw label, score), and counts."""

    events: list[tuple[object, ...]]
    labels: list[tuple[int, int, float]]
    counts: list[int]


def play(
    program: Path,
    t_us: Iterable[int],
    x: np.ndarray,
    rate_hz: float = 50,
    smoothing: Smoothing | None = None,
    set: int = 0,
) -> Heard:
    smoothing = smoothing or Smoothing("none")
    rows = "\n".join(f"{t} " + " ".join(map(str, row)) for t, row in zip(t_us, x, strict=True))
    arguments = set, x.shape[1], rate_hz, smoothing.method, smoothing.stay, smoothing.windows
    *lines, last = run(program, *arguments, text=rows + "\n").splitlines()
    events: list[tuple[object, ...]] = []
    labels = []
    for line in lines:
        kind, *values = line.split()
        if kind == "gap":
            events.append((int(values[0]) / 1e6, int(values[1]) / 1e6, REASONS[int(values[2])]))
        else:
            events.append((int(values[0]) / 1e6,))
            labels.append((int(values[1]), int(values[2]), float(values[3])))
    return Heard(events, labels, list(map(int, last.split()[1:])))


def python(
    bundle: ModelBundle, t_s: F64, x: F32, rate_hz: float | None, labels: LabelSet | None = None
) -> tuple[list[tuple[object, ...]], list[int], Recognizer]:
    """Events as `Heard.events`, the counts, and the recognizer."""
    info = StreamInfo("test", CHANNELS[: x.shape[1]], rate_hz)
    chosen = labels or bundle.manifest.label_set()
    own = replace(bundle, manifest=replace(bundle.manifest, label_sets={chosen.name: chosen}))
    recognizer = Recognizer(own, info, chosen.name)
    events: list[tuple[object, ...]] = []
    for event in recognizer.classify(recognizer.cut(Chunk(t_s, x, 0.0))):
        events.append((event.start_s, event.end_s, event.reason) if isinstance(event, Gap) else (event.end_s,))
    stats = recognizer.stats
    return events, [stats.samples, stats.invalid, stats.repeated, stats.gaps, stats.windows], recognizer


def alike(one: list[tuple[object, ...]], other: list[tuple[object, ...]]) -> bool:
    """The same gaps and ends, times within a microsecond."""
    return len(one) == len(other) and all(
        len(a) == len(b) and a[2:] == b[2:] and np.allclose(np.array(a[:2], float), np.array(b[:2], float), 0, 1.1e-6)
        for a, b in zip(one, other, strict=True)
    )


@pytest.fixture(scope="module")
def motion() -> F32:
    chunks = list(open_recording(shipped_recording(), None).chunks(1 << 18))
    return np.concatenate([chunk.x for chunk in chunks])


@pytest.mark.parametrize("machine", MACHINES)
def test_recognizer_compiles_without_warnings(src: Path, machine: str, tmp_path: Path) -> None:
    compiler, *flags = MACHINES[machine]
    for most_hz in (50, 208, 1000):
        call = [tool(compiler), *flags, *STRICT, "-pedantic", f"-DMUJO_MAX_RATE_HZ={most_hz}", f"-I{src}", "-c"]
        run(*call, src / "mujo_recognizer.c", "-o", tmp_path / "m.o")
    run(tool(compiler), *flags, *STRICT, "-pedantic", f"-I{src}", "-c", src / "mujo_labels.c", "-o", tmp_path / "l.o")


def test_recognizer_compiles_as_cpp(src: Path) -> None:
    strict = ["-std=c++11", *STRICT[1:], "-pedantic"]
    run(tool("g++"), *strict, f"-I{src}", "-fsyntax-only", "-x", "c++", "-", text='#include "mujo.h"\n')


def test_recognizer_needs_only_memset_and_memmove(src: Path, tmp_path: Path) -> None:
    """No malloc, no libm: on a 64-bit computer, where the compiler has no helpers, memset and memmove are all."""
    objects = []
    for path in sorted(src.glob("*.c")):
        objects.append(tmp_path / f"{path.stem}.o")
        run(tool("gcc"), "-std=c99", "-O2", "-fno-stack-protector", f"-I{src}", "-c", path, "-o", objects[-1])
    names = {line.split()[-1] for line in run("nm", "-u", *objects).splitlines() if " U " in line}
    assert {name for name in names if not name.startswith("mujo_")} <= {"memset", "memmove", "memcpy"}


@pytest.mark.parametrize(
    ("rate_hz", "channels"), [(50.0, 6), (50.0, 3), (25.0, 6), (52.6, 6), (100.0, 6), (104.0, 3), (200.0, 6), (12.5, 3)]
)
def test_events_equal_those_of_python(
    program: Path, bundle: ModelBundle, motion: F32, rate_hz: float, channels: int
) -> None:
    rng = np.random.default_rng(round(10 * rate_hz) + channels)
    n = round(25 * rate_hz)
    t_s = np.arange(n) / rate_hz
    at = np.minimum(np.rint(t_s * 50).astype(int), len(motion) - 1)
    x = motion[at, :channels].copy()
    t_s = t_s + rng.uniform(-2e-3, 2e-3, n) * (rate_hz != 50)
    keep = rng.random(n) > 0.02
    t_s, x = np.round(t_s[keep], 6), x[keep]
    x[rng.integers(0, len(x), 5), rng.integers(0, channels, 5)] = np.float32(np.nan)
    t_s[len(x) // 2 :] += 0.7  # a gap
    t_s[len(x) * 3 // 4 :] -= 9.0  # a clock that started again
    expected, counts, _ = python(bundle, t_s, x, rate_hz)
    produced = play(program, np.rint(t_s * 1e6).astype(np.int64).tolist(), x, rate_hz)
    assert alike(produced.events, expected), (produced.events, expected)
    assert produced.counts == counts
    assert len(produced.labels) > 8


def test_labels_equal_those_of_python_on_a_whole_recording(program: Path, bundle: ModelBundle, motion: F32) -> None:
    for number, labels in enumerate(bundle.label_sets.values()):
        t_s = np.arange(len(motion)) / 50
        own = replace(bundle, manifest=replace(bundle.manifest, label_sets={labels.name: labels}))
        recognizer = Recognizer(own, StreamInfo("test", CHANNELS, 50.0), labels.name)
        names = labels.names
        expected = [names.index(each.label) for each in recognizer.update(Chunk(t_s, motion, 0.0))]
        produced = play(program, range(0, 20_000 * len(motion), 20_000), motion, 50, labels.smoothing, number)
        same = np.mean([a == b for (a, _, _), b in zip(produced.labels, expected, strict=True)])
        assert same > 0.94, (labels.name, same)  # the reference kernels round otherwise than XNNPACK, see selftest.c


def test_long_streams_give_the_same_after_rebasing(program: Path, motion: F32) -> None:
    """Rebasing of the counters every 1000 s does not change the events."""
    part = motion[:1000, :3]
    for rate_hz, step_us in ((50, 20_000), (40, 25_000), (200, 5_000)):
        n = 2300 * rate_hz
        rounds = -(-n // len(part))
        t_us = [i * step_us for i in range(n)]
        produced = play(program, t_us, np.tile(part, (rounds, 1))[:n], rate_hz)
        ends = np.array([event[0] for event in produced.events], float)
        assert all(len(event) == 1 for event in produced.events)
        np.testing.assert_allclose(np.diff(ends), 0.5, atol=1.1e-6)
        again = 2 * len(part) // rate_hz  # windows after which the motion is the same again
        scores = np.array([score for _, _, score in produced.labels])
        assert len(scores) > 40 * again
        np.testing.assert_allclose(scores[again:-again], scores[2 * again :], atol=1e-3)


def test_smoothing_equals_that_of_python(program: Path, bundle: ModelBundle, motion: F32) -> None:
    part = motion[500:2500]
    t_us = range(0, 20_000 * len(part), 20_000)
    for smoothing in (
        Smoothing("hmm", 0.8),
        Smoothing("hmm", 0.95),
        Smoothing("majority", windows=5),
        Smoothing("majority", windows=1),
    ):
        raw, smoothed = play(program, t_us, part), play(program, t_us, part, smoothing=smoothing)
        assert [label[1] for label in smoothed.labels] == [label[0] for label in raw.labels]
        if smoothing.method == "majority":
            smoother = Smoother(smoothing, 8)
            for (label, own, score), (_, _, _) in zip(smoothed.labels, raw.labels, strict=True):
                shares = smoother.update(np.eye(8, dtype=np.float32)[own])
                assert (label, score) == (int(shares.argmax()), pytest.approx(float(shares.max()), abs=1e-6))
        else:
            assert np.mean(np.diff([label[0] for label in smoothed.labels]) != 0) <= np.mean(
                np.diff([label[0] for label in raw.labels]) != 0
            )


def test_init_rejects_unsupported_arguments(program: Path) -> None:
    refused = [(4, 50, 5), (0, 50, 5), (6, 0, 5), (6, -1, 5), (6, float("nan"), 5), (6, 208.5, 5), (6, 1e9, 5)]
    for channels, rate_hz, windows in [*refused, (6, 50, 0), (6, 50, 6)]:
        assert run(program, 0, channels, rate_hz, "none", 0.5, windows) == "refused\n"


def test_reset_forgets_the_samples_but_not_the_counts(program: Path, motion: F32) -> None:
    rows = [f"{20_000 * i} " + " ".join(map(str, row)) for i, row in enumerate(motion[:250])]
    rows.insert(100, "r")
    *labels, counts = run(program, 0, 6, 50, "none", 0.5, 1, text="\n".join(rows) + "\n").splitlines()
    assert [line.split()[1] for line in labels] == ["4980000"]
    assert counts == "counts 250 0 0 0 1"


HOSTILE = [0.0, -0.0, 1e-45, 1e38, -1e38, float("inf"), float("-inf"), float("nan"), 1000.0, 1000.1, 100.0, 9.81]


def test_hostile_samples_and_times_are_safe(program: Path) -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        n, channels, rate_hz = 6000, int(rng.choice([3, 6])), float(rng.choice([1, 12.5, 50, 52.63, 104, 208]))
        steps = rng.choice([20_000, 20_001, 5_000, 0, 99, 100, 250_000, 250_001, -250_000, -250_001], n).astype(object)
        jumps = rng.random(n) < 0.01
        steps[jumps] = [int(value) for value in rng.integers(-(2**55), 2**55, int(jumps.sum()))]
        t_us = [int(t) for t in np.cumsum(steps)]
        for i in rng.integers(0, n, 20):
            t_us[i] = int(rng.choice([2**63 - 1, -(2**63), 10**16, -(10**16), 0]))
        x = rng.normal(0, 20, (n, channels)).astype(np.float32)
        damaged = rng.random(x.shape) < 0.01
        x[damaged] = rng.choice(HOSTILE, int(damaged.sum()))
        t_us = [max(-(2**63), min(2**63 - 1, t)) for t in t_us]
        produced = play(program, t_us, x, rate_hz, Smoothing("hmm"))
        assert produced.counts[0] == n
        assert sum(len(event) == 3 for event in produced.events) == produced.counts[3]
        assert all(0 <= label < 8 and 0 < score <= 1 for label, _, score in produced.labels)


def test_packet_counts_convert_as_in_python(src: Path) -> None:
    """All 65,536 counts, in float32 as in float64: mujo_push_counts divides, packet.decode multiplies in double."""
    counts = np.arange(-32768, 32768)
    for divisor in (200, 900):
        by_python = (counts * np.float64(1 / divisor)).astype(np.float32)
        assert np.array_equal(counts.astype(np.float32) / np.float32(divisor), by_python)


@pytest.fixture(scope="module")
def library(src: Path) -> ctypes.CDLL:
    path = src.parent / "mujo.so"
    run(tool("gcc"), "-std=c99", "-shared", "-fPIC", f"-I{src}", *sorted(src.glob("*.c")), "-o", path)
    return ctypes.CDLL(str(path))


class LabelSetInC(ctypes.Structure):
    """mujo_label_set."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("labels", ctypes.c_void_p),
        ("prototypes", ctypes.c_void_p),
        ("classes", ctypes.c_uint8),
        ("channels", ctypes.c_uint8),
        ("smoothing", ctypes.c_int),
        ("windows", ctypes.c_uint8),
        ("stay", ctypes.c_float),
        ("temperature", ctypes.c_float),
        ("unknown_threshold", ctypes.c_float),
    )


REFUSED = {
    "labels": [None],
    "prototypes": [None],
    "classes": [0, 1, 255],
    "channels": [0, 1, 4, 7],
    "smoothing": [3, -1],
    "windows": [0, 255],
    "stay": [1.5, -0.1, np.nan, np.inf],
    "temperature": [0, -1, np.nan, np.inf, 1e-9],
    "unknown_threshold": [np.nan, np.inf, -np.inf, 2],
}


@pytest.mark.parametrize("field", REFUSED)
def test_label_sets_outside_the_limits_of_the_header_are_refused(library: ctypes.CDLL, field: str) -> None:
    library.mujo_init.restype = ctypes.c_bool
    library.mujo_init.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint8, ctypes.c_float]
    state = ctypes.create_string_buffer(1 << 20)
    shipped = LabelSetInC.in_dll(library, "mujo_labels_physio_wrist")

    def accepted(channels: int = 6, rate_hz: float = 50, **changes: object) -> bool:
        labels = LabelSetInC.from_buffer_copy(shipped)
        for name, value in changes.items():
            setattr(labels, name, value)
        return bool(library.mujo_init(state, ctypes.byref(labels), channels, rate_hz))

    assert accepted()
    assert accepted(channels=3, stay=1, windows=1, unknown_threshold=-1)
    assert not library.mujo_init(state, None, 6, 50)
    assert not any(accepted(channels) for channels in (0, 1, 4, 7, 255))
    assert not any(accepted(rate_hz=rate) for rate in (0, -50, np.nan, np.inf, 1e6))
    assert [value for value in REFUSED[field] if accepted(**{field: value})] == []


def test_32_bit_clock_is_extended(library: ctypes.CDLL) -> None:
    loaded = library
    loaded.mujo_time.restype, loaded.mujo_time.argtypes = ctypes.c_int64, [ctypes.c_int64, ctypes.c_uint32]
    at = 5
    for true_us in range(0, 2**35, 10**9 + 7):
        at = loaded.mujo_time(at, true_us % 2**32)
        assert at == true_us
    assert loaded.mujo_time(2**32 + 10, 2**32 - 10) == 2**32 - 10
    assert loaded.mujo_time(-5, 2) == 2
