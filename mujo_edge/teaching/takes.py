"""Takes of movements: from labeled recordings, and from the samples of a live stream."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from mujo_edge.bundle import ModelBundle
from mujo_edge.bundle.taught import Take
from mujo_edge.core import F32, UNKNOWN, Chunk, DataError, Gap, Repetition, StreamInfo, Window
from mujo_edge.recognizer import input_columns
from mujo_edge.recordings.reader import Recording
from mujo_edge.windowing import WindowPipeline

STILL_ACC = 0.25
"""m/s2: standard deviation in a window below which an axis of acceleration does not move."""

STILL_GYRO = 0.1
"""rad/s: the same for an axis of rotation."""

MOST_WINDOWS = 4000
"""Windows that a label set's file keeps; of longer takes every second one, every third one, and so on."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of one label: its windows, not yet embedded, and its times in seconds of the stream."""

    label: str
    windows: tuple[Window, ...]
    start_s: float
    end_s: float
    repetitions: int


class TakeCutter:
    """Cuts chunks of one stream into windows of one label each.

    Args:
        bundle: the model whose windows they are. info: the stream. channels: 3 without the gyroscope, else 6.

    Raises `DataError` for a stream without accelerometer or gravity.
    """

    def __init__(self, bundle: ModelBundle, info: StreamInfo, channels: int) -> None:
        self.seconds: dict[str, float] = {}
        self._columns = input_columns(info, bundle.input.channels[:channels])
        self._hop_s = bundle.input.hop / bundle.input.rate_hz
        self._window_s = bundle.input.window / bundle.input.rate_hz
        self._pipeline = WindowPipeline(
            bundle.input, replace(info, channels=tuple(info.channels[i] for i in self._columns))
        )
        self._last_s, self._max_gap_s = -inf, bundle.input.max_gap_s
        self._windows: list[Window] = []
        self._repetitions: list[Repetition] = []

    @property
    def windows(self) -> int:
        """Labeled windows so far."""
        return len(self._windows)

    def update(self, chunk: Chunk) -> None:
        """Add samples with their labels, `chunk.truth`."""
        names, counts = np.unique(np.array(chunk.truth or (), np.str_), return_counts=True)
        span_s = self._since_last(chunk)
        for name, count in zip(names.tolist(), counts.tolist(), strict=True):
            if name:
                self.seconds[name] = self.seconds.get(name, 0.0) + span_s * count / len(chunk.t_s)
        events = self._pipeline.update(replace(chunk, x=chunk.x[:, self._columns]))
        self._windows += [event for event in events if not isinstance(event, Gap) and event.truth]
        self._repetitions += [one for one in self._pipeline.take_counted() if isinstance(one, Repetition)]

    def _since_last(self, chunk: Chunk) -> float:
        """Seconds of signal that the chunk adds: those since the last one, unless there is a gap between."""
        if not len(chunk.t_s):
            return 0.0
        first_s, last_s = float(chunk.t_s[0]), float(chunk.t_s[-1])
        if 0 <= first_s - self._last_s <= self._max_gap_s:
            first_s = self._last_s
        self._last_s = last_s
        return max(last_s - first_s, 0.0)

    def finish(self) -> list[Stretch]:
        """The stretches of the stream, in order."""
        self._pipeline.reset()
        self._repetitions += [one for one in self._pipeline.take_counted() if isinstance(one, Repetition)]
        parts: list[list[Window]] = []
        for window in self._windows:
            last = parts[-1][-1] if parts else None
            if last and last.truth == window.truth and window.end_s - last.end_s < 1.5 * self._hop_s:
                parts[-1].append(window)
            else:
                parts.append([window])
        return [self._stretch(part) for part in parts]

    def _stretch(self, part: Sequence[Window]) -> Stretch:
        start_s, end_s = part[0].end_s - self._window_s, part[-1].end_s
        inside = [one for one in self._repetitions if start_s <= (one.start_s + one.end_s) / 2 <= end_s]
        return Stretch(str(part[0].truth), tuple(part), start_s, end_s, len(inside))


def is_still(x: F32) -> bool:
    """Whether no window of (N, T, C) has motion."""
    spread = x.std(1)
    return bool((spread[:, :3] < STILL_ACC).all() and (spread[:, 3:] < STILL_GYRO).all())


def embed(bundle: ModelBundle, stretch: Stretch, recording: str) -> Take:
    """The take of a stretch."""
    x = np.stack([window.x for window in stretch.windows])
    step = -(-len(x) // MOST_WINDOWS)
    z = bundle.embed(np.ascontiguousarray(x[::step].transpose(0, 2, 1)))
    seconds = round(stretch.end_s - stretch.start_s, 2)
    return Take(stretch.label, recording, seconds, stretch.repetitions, is_still(x), z)


def takes_of(bundle: ModelBundle, recordings: Sequence[Recording], channels: int) -> list[Take]:
    """The takes of labeled recordings: every stretch of one label that is at least a window long.

    Raises:
        DataError: a recording has no labels, or a label that nowhere lasts as long as a window.
    """
    takes: list[Take] = []
    for recording in recordings:
        cutter = TakeCutter(bundle, recording.info, channels)
        with closing(recording.chunks()) as chunks:
            for chunk in chunks:
                cutter.update(chunk)
        if not cutter.seconds:
            raise DataError(
                f"{recording.path} has no labels. Give it a column `label`, or record with keys: "
                'mujo-edge record OUT --label-keys "squat,push-up"'
            )
        stretches = [one for one in cutter.finish() if one.label != UNKNOWN]
        labels = {one.label for one in stretches}
        need_s = bundle.input.window / bundle.input.rate_hz
        for label, seconds in cutter.seconds.items():
            if label not in labels and label != UNKNOWN:
                raise DataError(
                    f"{recording.path}: {label!r} has {seconds:.1f} s in all and nowhere {need_s:g} s without a break, "
                    "the length of a window. Record it for longer"
                )
        takes += [embed(bundle, one, recording.path.name) for one in stretches]
    return takes


def channels_of(infos: Sequence[StreamInfo]) -> int:
    """6 if all streams have a gyroscope, else 3."""
    return 6 if all({"gx", "gy", "gz"} <= {*info.channels} for info in infos) else 3
