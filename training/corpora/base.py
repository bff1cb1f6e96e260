"""What every data set becomes: `Recording`s in SI units, and protocol v1's windows of them.

Sign: an accelerometer here reads specific force, as MEMS chips and Android do: +9.81 m/s2 on the axis
that points up. Apple's Core Motion and Pebble give the opposite sign; their loaders turn it
(`CORE_MOTION_G`), so that one student serves phones and watches of both families.
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
"""Samples between the windows of training, which overlap by half, and between those of live streaming."""

CORE_MOTION_G = -STANDARD_GRAVITY
"""m/s2 of specific force in one g as Core Motion signs it (CMAccelerometerData: face up at rest, z = -1)."""
BACKGROUND = "background"
"""Class of what is none of the named activities, for label sets that must stay quiet then."""


@dataclass(frozen=True, slots=True)
class RepetitionSet:
    """A set of an exercise that somebody counted; times in seconds from the first sample of its recording."""

    start_s: float
    end_s: float
    repetitions: int
    exercise: str


@dataclass(frozen=True, slots=True)
class Recording:
    """One stream of one sensor on one person.

    `x` (n, C) float32 in m/s2 (gravity as `gravity` says) and rad/s, columns `channels`; `labels` (n,) str,
    "" where nothing is annotated. `subject` is the group that may never be split between train and test. `sets` are
    those of its exercises whose repetitions are known.
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
        """Samples over rate."""
        return len(self.x) / self.rate_hz

    @property
    def has_gyro(self) -> bool:
        """Whether `x` has all six channels."""
        return len(self.channels) == len(CHANNELS)

    def segments(self) -> Iterator[tuple[str, int, int]]:
        """(label, start, stop) of every run of one label, unlabeled runs included."""
        return runs(self.labels)

    def digest(self) -> bytes:
        """Hash of placement, labels and samples: equal for byte-identical recordings."""
        key = f"{self.placement} {self.rate_hz} {self.x.shape} {list(self.segments())}"
        return hashlib.sha256(key.encode() + np.ascontiguousarray(self.x).tobytes()).digest()


def runs(labels: np.ndarray) -> Iterator[tuple[str, int, int]]:
    """(label, start, stop) of every run of equal values in (n,)."""
    edges = [0, *(np.flatnonzero(labels[1:] != labels[:-1]) + 1).tolist(), len(labels)]
    return ((str(labels[a]), a, b) for a, b in pairwise(edges) if b > a)


def join(streams: Sequence[tuple[F64, F64]], rate_hz: float) -> tuple[F64, F64]:
    """Sensors of one device that tick apart, each (t_s (n,), x (n, C)), -> one grid t_s (m,), x (m, sum of C).

    The grid covers the time that all of them share and is empty where there is none. A sensor faster than
    `rate_hz` is low-passed first, as `mujo_edge.signal.resample` does.
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
    """Linear interpolation of (n, C) at other times."""
    return np.stack([np.interp(at, t, column) for column in x.T], 1)


def columns(*parts: np.ndarray) -> F32:
    """Arrays (n, C) side by side, as float32."""
    return np.concatenate(parts, 1).astype(np.float32)


def turned(x: F64, axes: str) -> F64:
    """(n, 3) or (n, 6) in another right-handed frame; `axes` are its x, y and z in terms of the old: "-z -x y"."""
    index = ["xyz".index(axis[-1]) for axis in axes.split()]
    sign = np.asarray([-1.0 if axis[0] == "-" else 1.0 for axis in axes.split()])
    return np.concatenate([x[:, first : first + 3][:, index] * sign for first in range(0, x.shape[1], 3)], 1)


def whole(label: str, n: int) -> np.ndarray:
    """The same label for `n` samples, without the memory."""
    return np.broadcast_to(np.asarray(label), n)


def rest_acceleration(recordings: Iterable[Recording], quiet: float = 0.05) -> float:
    """Median |a| (m/s2) of the quietest share of all 1-s stretches: near 9.81 in SI units with gravity."""
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
    """(session, or "" for the whole set; what is wrong and what to do) of units, values and labels.

    |a| at rest must be 7.4 to 12.3 m/s2 over the set; one recording, which may hold no rest at all, may be
    off by a factor of four. No value may exceed 1,000 m/s2 or rad/s.
    """
    sound = []
    for recording in recordings:
        if not (np.abs(recording.x) < 1000).all():
            yield recording.session, "values beyond 1,000 m/s2 or rad/s: a wrong unit or a broken file"
            continue
        sound.append(recording)
        if advice := gravity_advice(rest_acceleration([recording]), 0.25, 4.0):
            yield recording.session, advice
        if strange := {label for label, *_ in recording.segments()} - {*classes, ""}:
            yield recording.session, f"labels {sorted(strange)} are not of this data set: is it a newer version of it?"
    if sound and (advice := gravity_advice(rest_acceleration(sound), 0.75, 1.25)):
        yield "", advice


def gravity_advice(rest: float, low: float, high: float) -> str | None:
    """What is wrong with |a| at rest outside `low` to `high` times g, None if nothing."""
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
    """Drop every recording whose samples and labels repeat an earlier one's, whatever its name."""
    seen: dict[bytes, Recording] = {}
    for recording in recordings:
        seen.setdefault(recording.digest(), recording)
    return list(seen.values())


@dataclass(frozen=True, slots=True)
class Download:
    """A public address of a data set's file; `sha256` None where the publisher changes or never states it."""

    url: str
    filename: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Corpus:
    """A data set: what it is, who may use it, and how to read it.

    `marker` matches the files that `read` turns into recordings in SI units, at any depth of a zip or folder;
    files whose `unit` group is equal are read together, others one by one. `files` is how many the publisher has.
    `open_license` is whether the publisher states an open license (`licenses = "permissive"` keeps those).
    `subjects` is False where the copy names nobody. `locate` finds a copy outside the data folder. `signals` matches
    those of the files that hold signals, where others of them are also published alone.
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
        """The archive or folder of this data set under `root`: see `files.locate`."""
        return locate(root, self.signals or self.marker)

    def recognizes(self, path: Path) -> bool:
        """Whether `path` holds files of this data set, by name alone."""
        return holds(path, self.signals or self.marker)

    def units(self, tree: Tree) -> dict[str, Tree]:
        """The parts of `tree` that can be read on their own, by name."""
        parts: dict[str, list[str]] = {}
        for name, found in tree.match(self.marker):
            parts.setdefault(found.groupdict().get("unit") or name, []).append(name)
        return {unit: replace(tree, names=tuple(names)) for unit, names in parts.items()}

    def load(self, path: Path) -> list[Recording]:
        """All recordings, identical ones once, units and labels checked. Raises `DataError` naming the file."""
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

    `x` (N, 6, 150) float32 in m/s2 and rad/s, gyroscope zero where `has_gyro` (N,) is False; `y` (N,) int64
    into `classes`; `subject` and `placement` (N,) str; `recording` (N,) int64, the recording's number; `side` (N,) str,
    "left", "right" or "" where it is not known; `start_s` (N,) float32, seconds from the recording's first sample.
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
        """Windows at an index or boolean array; classes stay as they are."""
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
    """Protocol v1's windows: 50 Hz, 150 samples, inside one recording and one label.

    Labels not in `classes` give no windows. A label at 50 Hz is that of the nearest source sample.
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
