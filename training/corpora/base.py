"""The types of all data sets: `Recording` in SI units, `Corpus`, and `WindowSet`, the windows of protocol v1.

Sign convention: an accelerometer measures specific force, as in MEMS chips and Android: +9.81 m/s2 on the axis that
points up. Apple's Core Motion and Pebble have the opposite sign, which their readers invert (`CORE_MOTION_G`), so that
one student serves phones and watches of both families.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from mujo_edge.core import CHANNELS, F32, F64, STANDARD_GRAVITY, DataError
from mujo_edge.signal import DEFAULT_INPUT, channels_first, resample, segment_windows
from training.corpora.files import Tree, holds, locate

WINDOW, RATE_HZ = DEFAULT_INPUT.window, DEFAULT_INPUT.rate_hz
TRAIN_HOP, LIVE_HOP = WINDOW // 2, DEFAULT_INPUT.hop
"""Samples between windows in training (half a window) and in live streaming."""

CORE_MOTION_G = -STANDARD_GRAVITY
"""m/s2 of specific force per g in Core Motion's sign convention (CMAccelerometerData: face up at rest, z = -1)."""
BACKGROUND = "background"
"""Class of activities other than the named ones, for label sets that must not react to them."""


@dataclass(frozen=True, slots=True)
class RepetitionSet:
    """A set of an exercise with its number of repetitions; times in seconds from the recording's first sample."""

    start_s: float
    end_s: float
    repetitions: int
    exercise: str


@dataclass(frozen=True, slots=True)
class Recording:
    """One stream of one sensor on one person.

    `x` (n, C) float32 in m/s2 (with or without gravity, see `gravity`) and rad/s, columns `channels`; `labels` (n,)
    str, "" where unlabeled. `subject` is the group that is never split between train and test. `sets` are the exercise
    sets with known numbers of repetitions.
    """

    corpus: str
    subject: str
    session: str
    placement: str
    rate_hz: float
    x: F32
    labels: np.ndarray
    side: Literal["left", "right"] | None = None
    channels: tuple[str, ...] = CHANNELS
    gravity: Literal["included", "excluded"] = "included"
    sets: tuple[RepetitionSet, ...] = ()

    @property
    def duration_s(self) -> float:
        """Number of samples divided by the rate."""
        return len(self.x) / self.rate_hz

    @property
    def has_gyro(self) -> bool:
        """Whether `x` has all six channels."""
        return len(self.channels) == len(CHANNELS)

    def segments(self) -> Iterator[tuple[str, int, int]]:
        """(label, start, stop) of every run of equal labels, including unlabeled ones."""
        return runs(self.labels)

    def digest(self) -> bytes:
        """SHA-256 of placement, rate, labels and samples: equal for identical recordings."""
        key = f"{self.placement} {self.rate_hz} {self.x.shape} {list(self.segments())}"
        return hashlib.sha256(key.encode() + np.ascontiguousarray(self.x).tobytes()).digest()


def runs(labels: np.ndarray) -> Iterator[tuple[str, int, int]]:
    """(label, start, stop) of every run of equal values in (n,)."""
    edges = [0, *(np.flatnonzero(labels[1:] != labels[:-1]) + 1).tolist(), len(labels)]
    return ((str(labels[a]), a, b) for a, b in pairwise(edges) if b > a)


def join(streams: Sequence[tuple[F64, F64]], rate_hz: float) -> tuple[F64, F64]:
    """Sensors with separate clocks, each (t_s (n,), x (n, C)) -> a common grid t_s (m,), x (m, sum of C).

    The grid covers the time that all of them share, and is empty if there is none. A sensor faster than `rate_hz` is
    low-pass filtered first by `mujo_edge.signal.resample`.
    """
    start, stop = max(t[0] for t, _ in streams), min(t[-1] for t, _ in streams)
    grid = np.arange(start, stop, 1 / rate_hz)
    parts = []
    for t, x in streams:
        if len(grid) and (native_hz := (len(t) - 1) / (t[-1] - t[0])) > 1.1 * rate_hz:
            even = np.arange(start, stop, 1 / native_hz)
            x = resample(interpolate(even, t, x), native_hz, rate_hz)
            t = start + np.arange(len(x)) / rate_hz
        parts.append(interpolate(grid, t, x))
    return grid, np.concatenate(parts, 1)


def interpolate(at: F64, t: F64, x: F64) -> F64:
    """Linear interpolation of `x` (n, C) with times `t` (n,) at the times `at` (m,) -> (m, C)."""
    return np.stack([np.interp(at, t, column) for column in x.T], 1)


def columns(*parts: np.ndarray) -> F32:
    """Arrays (n, C) concatenated along the columns, as float32."""
    return np.concatenate(parts, 1).astype(np.float32)


def turned(x: F64, axes: str) -> F64:
    """(n, 3) or (n, 6) in another right-handed frame, whose x, y and z are given in old axes, e.g. "-z -x y"."""
    index = ["xyz".index(axis[-1]) for axis in axes.split()]
    sign = np.asarray([-1.0 if axis[0] == "-" else 1.0 for axis in axes.split()])
    return np.concatenate([x[:, first : first + 3][:, index] * sign for first in range(0, x.shape[1], 3)], 1)


def constant(label: str, n: int) -> np.ndarray:
    """The same label for `n` samples, as a broadcast view."""
    return np.broadcast_to(np.asarray(label), n)


def rest_acceleration(recordings: Iterable[Recording], quiet: float = 0.05) -> float:
    """Median |a| (m/s2) of the quietest fraction `quiet` of all 1-s blocks: near 9.81 in SI units with gravity."""
    spread, level = [], []
    for recording in recordings:
        n = max(1, round(recording.rate_hz))
        magnitude = np.linalg.norm(recording.x[:, :3], axis=1)
        blocks = magnitude[: len(magnitude) // n * n].reshape(-1, n) if len(magnitude) >= n else magnitude[None]
        spread.append(blocks.std(1) / (blocks.mean(1) + 1e-9))
        level.append(blocks.mean(1))
    order = np.argsort(np.concatenate(spread), kind="stable")
    return float(np.median(np.concatenate(level)[order[: max(1, int(quiet * len(order)))]]))


def problems(recordings: Sequence[Recording], classes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(session, or "" for the whole set; problem and advice) for wrong units, values and labels.

    |a| at rest must be 7.4 to 12.3 m/s2 over the whole set, and within a factor of four of g in each recording, which
    may contain no rest. No value may exceed 1,000 m/s2 or rad/s.
    """
    sound = []
    for recording in recordings:
        if not (np.abs(recording.x) < 1000).all():
            yield recording.session, "values beyond 1,000 m/s2 or rad/s: a wrong unit or a broken file"
            continue
        sound.append(recording)
        if advice := gravity_advice(rest_acceleration([recording]), 0.25, 4.0):
            yield recording.session, advice
        if unknown := {label for label, *_ in recording.segments()} - {*classes, ""}:
            yield recording.session, f"labels {sorted(unknown)} are not of this data set: is it a newer version of it?"
    if sound and (advice := gravity_advice(rest_acceleration(sound), 0.75, 1.25)):
        yield "", advice


def gravity_advice(rest: float, low: float, high: float) -> str | None:
    """Problem and advice for |a| at rest outside `low` to `high` times g; None if it is inside."""
    if low <= rest / STANDARD_GRAVITY <= high:
        return None
    if rest < 0.5:
        advice = "it looks free of gravity: use the raw accelerometer, not linear acceleration"
    elif rest < 3:
        advice = "it looks like g: multiply by 9.80665"
    elif 60 < rest < 200:
        advice = "it looks like m/s2 where the publisher has g: use the publisher's own file"
    elif 500 < rest < 3000:
        advice = "it looks like mg: multiply by 0.00980665"
    else:
        advice = "the unit is not known"
    return f"|a| at rest is {rest:.3g}, not near 9.81 m/s2; {advice}"


def unique(recordings: Iterable[Recording]) -> list[Recording]:
    """The recordings without those whose samples and labels equal an earlier one's, regardless of their names."""
    seen: dict[bytes, Recording] = {}
    for recording in recordings:
        seen.setdefault(recording.digest(), recording)
    return list(seen.values())


@dataclass(frozen=True, slots=True)
class Download:
    """Public URL of a data set's file; `sha256` is None if the publisher's file changes or has no stated hash."""

    url: str
    filename: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Corpus:
    """A data set: description, license and reader.

    `marker` matches the files that `read` turns into recordings in SI units, at any depth of a zip or folder; files
    with the same `unit` group are read together, others one by one. `files` is the publisher's number of files.
    `open_license` is whether the publisher states an open license (`licenses = "permissive"` keeps those). `subjects`
    is False if people are not identified. `locate` finds a copy outside the data folder. `signals` matches the files
    with signals, for data sets whose other files are also published separately.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    license: str
    open_license: bool
    citation: str
    home: str
    marker: str
    read: Callable[[Tree], Iterator[Recording]]
    download: Download | None = None
    files: int | None = None
    subjects: bool = True
    locate: Callable[[], Path | None] = lambda: None
    signals: str | None = None

    def find(self, root: Path) -> Path | None:
        """The archive or folder of this data set under `root`; see `files.locate`."""
        return locate(root, self.signals or self.marker)

    def recognizes(self, path: Path) -> bool:
        """Whether `path` holds files of this data set, judged by their names."""
        return holds(path, self.signals or self.marker)

    def units(self, tree: Tree) -> dict[str, Tree]:
        """The parts of `tree` that can be read independently, by name."""
        parts: dict[str, list[str]] = {}
        for name, matched in tree.match(self.marker):
            parts.setdefault(matched.groupdict().get("unit") or name, []).append(name)
        return {unit: replace(tree, names=tuple(names)) for unit, names in parts.items()}

    def load(self, path: Path) -> list[Recording]:
        """All recordings without duplicates, units and labels checked. Raises `DataError` naming the file."""
        with Tree.open(path) as tree:
            recordings = unique(self.read(tree))
        if not recordings:
            raise DataError(f"{path} holds no recording of {self.title}. See {self.home} for its layout")
        for session, problem in problems(recordings, self.classes):
            raise DataError(f"{path}{session and ': '}{session}: {problem}")
        return recordings


@dataclass(frozen=True, slots=True)
class WindowSet:
    """Labeled windows of one data set.

    `x` (N, 6, 150) float32 in m/s2 and rad/s, gyroscope 0 where `has_gyro` (N,) is False; `y` (N,) int64 indices into
    `classes`; `subject` and `placement` (N,) str; `recording` (N,) int64, the number of the recording; `side` (N,) str,
    "left", "right" or "" if unknown; `start_s` (N,) float32, seconds from the recording's first sample.
    """

    corpus: str
    classes: tuple[str, ...]
    x: F32
    has_gyro: np.ndarray
    y: np.ndarray
    subject: np.ndarray
    placement: np.ndarray
    recording: np.ndarray
    side: np.ndarray
    start_s: np.ndarray

    def __len__(self) -> int:
        return len(self.y)

    def select(self, index: np.ndarray) -> WindowSet:
        """The windows selected by an index or boolean array, with the same classes."""
        arrays = (
            self.x,
            self.has_gyro,
            self.y,
            self.subject,
            self.placement,
            self.recording,
            self.side,
            self.start_s,
        )
        return WindowSet(self.corpus, self.classes, *(a[index] for a in arrays))


def windows(recordings: Sequence[Recording], classes: Sequence[str], hop: int = TRAIN_HOP) -> WindowSet:
    """Windows of protocol v1: 50 Hz, 150 samples, within one recording and one label.

    Labels not in `classes` give no windows. The label of a sample at 50 Hz is that of the nearest source sample.
    """
    number = {label: i for i, label in enumerate(classes)}
    parts: list[tuple[np.ndarray, bool, int, str, str, int, str]] = []
    starts: list[np.ndarray] = []
    for index, recording in enumerate(recordings):
        x = resample(recording.x, recording.rate_hz, RATE_HZ)
        nearest = np.rint(np.arange(len(x)) * recording.rate_hz / RATE_HZ).astype(np.int64)
        labels = recording.labels[np.minimum(nearest, len(recording.x) - 1)]
        for label, start, stop in runs(labels):
            if label in number:
                cut = channels_first(segment_windows(x[start:stop], WINDOW, hop))
                about = (recording.subject, recording.placement, index, recording.side or "")
                parts.append((cut, recording.has_gyro, number[label], *about))
                starts.append((start + hop * np.arange(len(cut))) / RATE_HZ)
    x_all = np.zeros((sum(len(p[0]) for p in parts), len(CHANNELS), WINDOW), np.float32)
    end = 0
    for cut, *_ in parts:
        x_all[end : end + len(cut), : cut.shape[1]] = cut
        end += len(cut)
    counts = [len(p[0]) for p in parts]

    def column(i: int, dtype: type) -> np.ndarray:
        return np.repeat(np.asarray([p[i] for p in parts], dtype), counts)

    corpus = recordings[0].corpus if recordings else ""
    return WindowSet(
        corpus,
        tuple(classes),
        x_all,
        column(1, np.bool_),
        column(2, np.int64),
        column(3, np.str_),
        column(4, np.str_),
        column(5, np.int64),
        column(6, np.str_),
        np.concatenate([np.empty(0), *starts]).astype(np.float32),
    )
