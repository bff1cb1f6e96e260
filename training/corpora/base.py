"""What every data set becomes: `Recording`s in SI units, and protocol v1's windows of them.

Sign: an accelerometer here reads specific force, as MEMS chips and Android do: +9.81 m/s2 on the axis
that points up. Apple's Core Motion and Pebble give the opposite sign; their loaders turn it
(`CORE_MOTION_G`), so that one student serves phones and watches of both families.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from mujo_edge.core import CHANNELS, F32, STANDARD_GRAVITY, DataError
from mujo_edge.signal import channels_first, resample, segment_windows
from training.corpora.files import Tree

WINDOW, RATE_HZ = 150, 50.0
CORE_MOTION_G = -STANDARD_GRAVITY
"""m/s2 of specific force in one g as Core Motion signs it (CMAccelerometerData: face up at rest, z = -1)."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One stream of one sensor on one person.

    `x` (n, C) float32 in m/s2 (gravity as `gravity` says) and rad/s, columns `channels`; `labels` (n,) str,
    "" where nothing is annotated. `subject` is the group that may never be split between train and test.
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

    @property
    def duration_s(self) -> float:
        """Samples over rate."""
        return len(self.x) / self.rate_hz

    @property
    def has_gyro(self) -> bool:
        """Whether `x` has all six channels."""
        return len(self.channels) == len(CHANNELS)

    def segments(self) -> Iterator[tuple[str, int, int]]:
        """(label, start, stop) of every run of one label, unlabelled runs included."""
        return runs(self.labels)

    def digest(self) -> bytes:
        """Hash of placement, labels and samples: equal for byte-identical recordings."""
        key = f"{self.placement} {self.rate_hz} {self.x.shape} {list(self.segments())}"
        return hashlib.sha256(key.encode() + np.ascontiguousarray(self.x).tobytes()).digest()


def runs(labels: np.ndarray) -> Iterator[tuple[str, int, int]]:
    """(label, start, stop) of every run of equal values in (n,)."""
    edges = [0, *(np.flatnonzero(labels[1:] != labels[:-1]) + 1).tolist(), len(labels)]
    return ((str(labels[a]), a, b) for a, b in pairwise(edges) if b > a)


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


def check_units(recordings: Sequence[Recording], where: str) -> None:
    """Raise `DataError` unless |a| at rest is that of m/s2 with gravity.

    Limits are 7.4 to 12.3 m/s2 over a data set, and a factor of four for one recording, which may hold
    no rest at all.
    """
    named = [(where, recordings, 0.75, 1.25)] + [(f"{where}: {r.session}", [r], 0.25, 4.0) for r in recordings]
    for name, group, low, high in named:
        rest = rest_acceleration(group) / STANDARD_GRAVITY
        if not low <= rest <= high:
            guess = (
                "it looks like g: multiply by 9.80665"
                if 0.5 <= rest * STANDARD_GRAVITY <= 2
                else "it looks like mg: multiply by 0.00980665"
                if 500 <= rest * STANDARD_GRAVITY <= 2000
                else "it looks free of gravity: use the raw accelerometer, not linear acceleration"
                if rest < 0.5
                else "the unit is not known"
            )
            raise DataError(f"{name}: |a| at rest is {rest * STANDARD_GRAVITY:.3g}, not near 9.81 m/s2; {guess}")


def unique(recordings: Iterable[Recording]) -> list[Recording]:
    """Drop every recording whose samples and labels repeat an earlier one's, whatever its name."""
    seen: dict[bytes, Recording] = {}
    for recording in recordings:
        seen.setdefault(recording.digest(), recording)
    return list(seen.values())


@dataclass(frozen=True, slots=True)
class Corpus:
    """A data set: what it is, who may use it, and how to read it.

    `marker` matches files that only this data set has; `read` yields its recordings in SI units.
    `open_licence` is whether the publisher states an open licence (`licences = "permissive"` keeps
    those). `subjects` is False where the copy names nobody.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    licence: str
    open_licence: bool
    citation: str
    home: str
    marker: str
    read: Callable[[Tree], Iterator[Recording]]
    locate: Callable[[], Path | None] = lambda: None
    subjects: bool = True

    def find(self, root: Path) -> Path | None:
        """The zip, folder or file of this data set under `root` (two levels deep), or in a package."""
        candidates = [root, *sorted(root.glob("*")), *sorted(root.glob("*/*"))] if root.is_dir() else []
        # The deepest match wins: a folder of data sets holds the markers of all of them.
        for path in sorted(candidates, key=lambda p: -len(p.parts)):
            if (path.is_dir() or path.suffix in (".zip", ".npz", ".npy", ".mat")) and self.recognises(path):
                return path
        return self.locate()

    def recognises(self, path: Path) -> bool:
        """Whether `path` holds files of this data set, by name alone."""
        with Tree.open(path) as tree:
            return any(True for _ in tree.match(self.marker))

    def load(self, path: Path) -> list[Recording]:
        """All recordings, identical ones once, units checked. Raises `DataError` naming the file."""
        with Tree.open(path) as tree:
            recordings = unique(self.read(tree))
        if not recordings:
            raise DataError(f"{path} holds no recording of {self.title}. See {self.home} for its layout")
        check_units(recordings, str(path))
        return recordings


@dataclass(frozen=True, slots=True)
class WindowSet:
    """Labelled windows of one data set.

    `x` (N, 6, 150) float32 in m/s2 and rad/s, gyroscope zero where `has_gyro` (N,) is False; `y` (N,) int64
    into `classes`; `subject` and `placement` (N,) str; `recording` (N,) int64, the recording's number.
    """

    corpus: str
    classes: tuple[str, ...]
    x: F32
    has_gyro: np.ndarray
    y: np.ndarray
    subject: np.ndarray
    placement: np.ndarray
    recording: np.ndarray

    def __len__(self) -> int:
        return len(self.y)

    def select(self, index: np.ndarray) -> WindowSet:
        """Windows at an index or boolean array; classes stay as they are."""
        arrays = (self.x, self.has_gyro, self.y, self.subject, self.placement, self.recording)
        return WindowSet(self.corpus, self.classes, *(a[index] for a in arrays))


def windows(recordings: Sequence[Recording], classes: Sequence[str], hop: int = 75) -> WindowSet:
    """Protocol v1's windows: 50 Hz, 150 samples, inside one recording and one label.

    Labels not in `classes` give no windows. A label at 50 Hz is that of the nearest source sample.
    """
    number = {label: i for i, label in enumerate(classes)}
    parts: list[tuple[np.ndarray, bool, int, str, str, int]] = []
    for index, recording in enumerate(recordings):
        x = resample(recording.x, recording.rate_hz, RATE_HZ)
        nearest = np.rint(np.arange(len(x)) * recording.rate_hz / RATE_HZ).astype(np.int64)
        labels = recording.labels[np.minimum(nearest, len(recording.x) - 1)]
        for label, start, stop in runs(labels):
            if label in number:
                cut = channels_first(segment_windows(x[start:stop], WINDOW, hop))
                parts.append((cut, recording.has_gyro, number[label], recording.subject, recording.placement, index))
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
    )
