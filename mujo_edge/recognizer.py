"""Windows -> embeddings -> labels: cosine to prototypes, unknown rejection, smoothing over time."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from mujo_edge.checks import SignalChecks
from mujo_edge.core import (
    F32,
    UNKNOWN,
    Bout,
    Chunk,
    DataError,
    Gap,
    Latency,
    Prediction,
    Repetition,
    StreamInfo,
    StreamStats,
    Window,
)
from mujo_edge.counting import LabeledBouts, is_counted
from mujo_edge.mounting import Mounting, Worn
from mujo_edge.signal import channels_first
from mujo_edge.windowing import WindowPipeline

if TYPE_CHECKING:
    from pathlib import Path

    from mujo_edge.bundle import ModelBundle
    from mujo_edge.bundle.labels import LabelSet, Smoothing

BATCH = 256
"""Largest number of windows in one call of the runtime."""


RECENT = 1024
"""Windows whose labels are kept for the repetitions that they lie in; twice what a bout in memory needs."""


class Smoother:
    """Smooths the class probabilities (K,) of consecutive windows.

    "hmm": forward filter; a class is kept with probability `stay`, or changes to each other one with equal
    probability (Rabiner 1989, eq. 20, normalized at every step). "majority": the share of the last `windows` windows
    in which a class was the most probable; the newest weighs 1.5, which breaks ties. "none": unchanged.
    """

    def __init__(self, smoothing: Smoothing, classes: int) -> None:
        self._smoothing, self._classes = smoothing, classes
        self._votes: deque[int] = deque(maxlen=smoothing.windows)
        self._belief: F32 | None = None

    def reset(self) -> None:
        """Forget the windows so far: the next ones are not continuous with them."""
        self._votes.clear()
        self._belief = None

    def update(self, p: F32) -> F32:
        """(K,) of one window -> (K,) smoothed."""
        if self._smoothing.method == "hmm":
            return self._filter(p)
        if self._smoothing.method == "majority":
            self._votes.append(int(p.argmax()))
            counts = np.bincount(self._votes, minlength=self._classes).astype(np.float32)
            counts[self._votes[-1]] += 0.5
            shares: F32 = counts / counts.sum()
            return shares
        return p

    def _filter(self, p: F32) -> F32:
        # No class gets probability zero, or the filter could not return to it.
        weight = np.maximum(p, np.float32(1e-6))
        if self._belief is not None:
            stay = np.float32(self._smoothing.stay)
            weight *= stay * self._belief + (1 - stay) / np.float32(self._classes - 1) * (1 - self._belief)
        self._belief = weight / weight.sum()
        return self._belief


class Recognizer:
    """Recognizes one stream with one label set of a bundle.

    Args:
        bundle: the model.
        info: the stream; channels are selected by name, and a gyroscope is optional.
        labels: a label set of the bundle, one of your own or its file, or names of activities ("squat,
            deadlift, bench press"); None for the recording's own set, or else the bundle's default where it suits the
            placement of the stream, or else the first one that does; a note says which.
        worn: how the sensor is worn, see `mujo_edge.mounting`.

    Raises:
        UsageError: no such label set, or an unknown activity.
        DataError: the stream has no accelerometer, or one without gravity.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        info: StreamInfo,
        labels: str | Path | LabelSet | None = None,
        worn: Worn | None = None,
    ) -> None:
        named = info.labels if info.labels in bundle.label_sets else None
        self.bundle, self.info = bundle, info
        self.labels = bundle.manifest.labels(labels or named or bundle.manifest.label_set_for(info.placement).name)
        self._columns = input_columns(info, bundle.input.channels[: self.labels.channels])
        self._pipeline = WindowPipeline(
            bundle.input, replace(info, channels=tuple(info.channels[i] for i in self._columns))
        )
        self._smoother = Smoother(self.labels.smoothing, len(self.labels.names))
        self._stuck = False
        self._bouts = LabeledBouts()
        self._recent: deque[tuple[float, str]] = deque(maxlen=RECENT)
        self._half_s = bundle.input.window / bundle.input.rate_hz / 2
        self._checks = SignalChecks(bundle.input)
        self._mounting = Mounting(worn, self.labels.prototypes, self.labels.names, self.labels.placement)
        if not (labels or named) and len(bundle.label_sets) > 1:
            others = ", ".join(name for name in bundle.label_sets if name != self.labels.name)
            using = f"{self.labels.name} ({self.labels.title})" if self.labels.title else self.labels.name
            self.stats.notes.append(f"using {using}, as no label set was chosen; others: {others}")
        if self.labels.note:
            self.stats.notes.append(self.labels.note)
        if info.placement and self.labels.placement not in ("", info.placement):
            other = f"worn at the {info.placement}, but {self.labels.name} was trained at the {self.labels.placement}"
            self.stats.notes.append(other)

    @property
    def stats(self) -> StreamStats:
        """Counts so far."""
        return self._pipeline.stats

    def reset(self) -> None:
        """Forget the samples so far, but not the counts: the next ones are not continuous with them."""
        self._pipeline.reset()
        self._smoother.reset()

    def update(self, chunk: Chunk) -> list[Prediction]:
        """Predictions of the windows that `chunk` completes."""
        return [event for event in self.classify(self.cut(chunk)) if isinstance(event, Prediction)]

    def cut(self, chunk: Chunk) -> list[Window | Gap]:
        """First half of `update`: the windows that `chunk` completes and the gaps in it, in order."""
        if self._columns != list(range(chunk.x.shape[1])):
            chunk = replace(chunk, x=chunk.x[:, self._columns])
        events = self._pipeline.update(chunk)
        self.stats.notes += self._checks.update(chunk.x, self.stats.rate_hz, self.stats.signal_s)
        return events

    def classify(self, events: Sequence[Window | Gap]) -> list[Prediction | Gap]:
        """Second half of `update`: windows become predictions, or a gap if the sensor repeats one value."""
        results: list[Prediction | Gap] = []
        start = 0
        while start < len(events):
            size = 1 if self._mounting.chooses else BATCH
            results += self._classify(events[start : start + size])
            start += size
        return results

    def counted(self, *, ended: bool = False) -> list[Repetition | Bout]:
        """The repetitions and bouts that became final in `cut`, with their labels; see `LabeledBouts`.

        To be called after `classify`. `ended`: the stream is over, and so is its bout.
        """
        if ended:
            self.reset()
        results: list[Repetition | Bout] = []
        for event in self._pipeline.take_counted():
            if isinstance(event, Repetition):
                results += self._bouts.add(replace(event, label=self._label(event)))
            else:
                results += self._bouts.end()
        return results

    def _label(self, one: Repetition) -> str:
        """The most frequent label of the windows whose middle lies in a repetition or near its own middle."""
        middle_s = (one.start_s + one.end_s) / 2
        first_s, last_s = min(one.start_s, middle_s - 1), max(one.end_s, middle_s + 1)
        labels = Counter(label for at_s, label in self._recent if first_s <= at_s <= last_s)
        return labels.most_common(1)[0][0] if labels else UNKNOWN

    def _classify(self, events: Sequence[Window | Gap]) -> list[Prediction | Gap]:
        windows = [event for event in events if isinstance(event, Window)]
        rows: Iterator[tuple[bool, F32, F32]] = iter(())
        if windows:
            x = np.stack([window.x for window in windows])
            if self._mounting.watching and (seems := self._mounting.observe(x, self._embed)):
                self.stats.notes.append(seems)
            embeddings = self._embed(self._mounting.turned(x))
            stuck_rows = (x[:, :, :3] == x[:, :1, :3]).all((1, 2)).tolist()
            rows = zip(stuck_rows, embeddings, self.labels.probabilities(embeddings), strict=True)
        results: list[Prediction | Gap] = []
        for event in events:
            if isinstance(event, Gap):
                self._smoother.reset()
                results.append(event)
                continue
            stuck, embedding, p = next(rows)
            if not stuck:
                results.append(self._predict(event, embedding, p))
            elif not self._stuck:
                self._smoother.reset()
                self.stats.gaps += 1
                length_s = (len(event.x) - 1) / self.bundle.input.rate_hz
                results.append(Gap(event.end_s - length_s, event.end_s, "constant"))
            self._stuck = stuck
        return results

    def _embed(self, x: F32) -> F32:
        """(N, T, C) windows -> (N, D)."""
        return self.bundle.embed(channels_first(x))

    def _predict(self, window: Window, embedding: F32, p: F32) -> Prediction:
        names = self.labels.names
        smoothed = self._smoother.update(p)
        best = int(smoothed.argmax())
        scores = smoothed.tolist()
        self._recent.append((window.end_s - self._half_s, names[best]))
        done_s = monotonic()
        return Prediction(
            end_s=window.end_s,
            label=names[best],
            score=scores[best],
            raw_label=names[int(p.argmax())],
            scores=dict(zip(names, scores, strict=True)),
            embedding=embedding,
            latency=Latency(
                queue_ms=1e3 * (window.taken_s - window.received_s),
                preprocess_ms=1e3 * (window.ready_s - window.taken_s),
                inference_ms=1e3 * (done_s - window.ready_s),
                total_ms=1e3 * (done_s - window.received_s),
            ),
            truth=window.truth,
            repetitions=window.repetitions if is_counted(names[best]) else 0,
        )


def input_columns(info: StreamInfo, wanted: tuple[str, ...]) -> list[int]:
    """Columns of the model's channels in the stream: all of `wanted`, or only the accelerometer."""
    if info.gravity == "excluded":
        raise DataError(
            f"{info.name} gives acceleration without gravity, but the model needs gravity. "
            "Record the raw accelerometer (on a phone often called 'acceleration with g')"
        )
    for names in (wanted, wanted[:3]):
        if set(names) <= set(info.channels):
            return [info.channels.index(name) for name in names]
    raise DataError(f"{info.name} has no accelerometer: its channels are {', '.join(info.channels) or 'none'}")
