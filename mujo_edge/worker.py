"""The work on the recognizer's thread: chunks -> predictions and gaps -> sinks, with counts and latency."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic

import numpy as np

from firmware_bridge.stream import DeviceModelInfo
from mujo_edge.core import (
    UNKNOWN,
    Bout,
    Chunk,
    DataError,
    Gap,
    MujoError,
    Prediction,
    Repetition,
    Source,
    StreamInfo,
    StreamStats,
    Window,
)
from mujo_edge.gaps import GapDetector
from mujo_edge.recognizer import Recognizer
from mujo_edge.signal import DEFAULT_INPUT, InputSpec
from mujo_edge.sinks import (
    STAGES,
    Confusion,
    Ended,
    LabelTime,
    Quantiles,
    Recognized,
    RunInfo,
    Sink,
    Summary,
    Tally,
    Update,
)

logger = logging.getLogger(__name__)

STALE_S = 1.0
"""A window that waited longer for its inference is dropped, unless it is the newest."""

ON_DEVICE = "on the device"
"""Name of the runtime of a device that recognizes by itself."""

LATENCIES = 4096
"""Windows over which the quantiles of latency are computed."""


MOST_BOUTS = 4096
"""Counted bouts that a summary lists at most; the last ones."""


class ResultCounter:
    """Counts the results of a stream whose windows are `hop_s` apart and whose label set is `labels`."""

    def __init__(self, labels: Sequence[str], hop_s: float) -> None:
        self.right = self.judged = 0
        self._labels, self._hop_s = labels, hop_s
        self._windows: Counter[str] = Counter()
        self._bouts: Counter[str] = Counter()
        self._longest: Counter[str] = Counter()  # windows
        self._current, self._length = "", 0
        self._confusions: Counter[tuple[str, str]] = Counter()
        self._outside: Counter[bool] = Counter()
        self._sets: deque[Bout] = deque(maxlen=MOST_BOUTS)

    def add_counted(self, counted: Sequence[Repetition | Bout]) -> None:
        """Keep the bouts."""
        self._sets += [event for event in counted if isinstance(event, Bout)]

    def add(self, event: Prediction | Gap) -> None:
        """Count a prediction; a gap ends a bout."""
        if isinstance(event, Gap):
            self._current = ""
            return
        label = event.label
        self._length = self._length + 1 if label == self._current else 1
        self._bouts[label] += self._length == 1
        self._windows[label] += 1
        self._longest[label] = max(self._longest[label], self._length)
        self._current = label
        if event.truth is None:
            return
        if event.truth in self._labels:
            self.judged += 1
            self.right += label == event.truth
            self._confusions[event.truth, label] += label != event.truth
        else:
            self._outside[label == UNKNOWN] += 1

    def results(self) -> Recognized:
        """The results so far."""
        hop_s = self._hop_s
        return Recognized(
            tuple(
                LabelTime(label, n * hop_s, self._bouts[label], self._longest[label] * hop_s)
                for label, n in self._windows.most_common()
            ),
            tuple(Confusion(*pair, n) for pair, n in self._confusions.most_common() if n),
            self._outside.total(),
            self._outside[True],
            tuple(self._sets),
        )


class Worker:
    """The work on the recognizer's thread: one call at a time, `start` first and `finish` last."""

    def __init__(
        self,
        source: Source,
        sinks: Sequence[Sink],
        load: Callable[[StreamInfo], Recognizer] | None,
        live: bool,
        own: DeviceModelInfo | None,
    ) -> None:
        self._source, self._info, self._sinks, self._load, self._live = source, source.info, sinks, load, live
        self._started: list[Sink] = []
        self._own = own
        self._run = RunInfo(self._info)
        if own:
            self._run = RunInfo(self._info, own.model, ON_DEVICE, own.label_set, own.labels, own.hop_s)
        self._recognizer: Recognizer | None = None
        self._gaps = GapDetector(self._info.channels, DEFAULT_INPUT.max_gap_s)  # without a recognizer
        self._began_s = monotonic()
        self._ms = np.empty((LATENCIES, len(STAGES)))
        self._latency: dict[str, Quantiles] | None = None
        self._predictions = 0
        self._results = ResultCounter(self._run.labels, self._run.hop_s)

    def start(self) -> None:
        """Load the model and start the sinks."""
        if self._load:
            began_s = monotonic()
            recognizer = self._recognizer = self._load(self._info)
            logger.info("loaded the model for %s in %.2f s", self._info.name, monotonic() - began_s)
            bundle = recognizer.bundle
            self._run = RunInfo(
                self._info,
                f"{bundle.name} {bundle.manifest.version}",
                bundle.runtime.name,
                recognizer.labels.name,
                recognizer.labels.names,
                bundle.input.hop / bundle.input.rate_hz,
                recognizer.labels.title,
                recognizer.labels.note,
                tuple(name for name in bundle.label_sets if name != recognizer.labels.name),
            )
            self._results = ResultCounter(self._run.labels, self._run.hop_s)
        for sink in self._sinks:
            sink.start(self._run)
            self._started.append(sink)
        self._began_s = monotonic()

    def process(self, batch: Sequence[Chunk]) -> None:
        """Recognize the windows that a batch of chunks completes, and update the sinks."""
        events: list[Prediction | Gap]
        counted: list[Repetition | Bout] = []
        if self._recognizer:
            pending = [event for chunk in batch for event in self._recognizer.cut(chunk)]
            events = self._recognizer.classify(self._fresh(pending) if self._live else pending)
            counted = self._recognizer.counted()
        else:
            events = [span.gap for chunk in batch for span in self._gaps.split(chunk) if span.gap]
        if self._own:  # the device reports its own gaps
            stats, unseen = self._gaps.stats, len(events)
            events = [_with_queue_time(event, chunk.received_s) for chunk in batch for event in chunk.predictions]
            stats.windows += sum(isinstance(event, Prediction) for event in events)
            stats.gaps += sum(isinstance(event, Gap) for event in events) - unseen
        self._count(events)
        self._results.add_counted(counted)
        update = Update(batch, events, self._tally(), self._source.status, counted)
        for sink in self._started:
            sink.write(update)

    def finish(self, ended: Ended, failure: MujoError | None) -> tuple[Summary, MujoError | None]:
        """Finish the started sinks -> the summary, and the error if there was one."""
        tally = self._tally()
        counted = self._recognizer.counted(ended=True) if self._recognizer else []
        self._results.add_counted(counted)
        if counted and ended != "closed":
            failure = self._each(lambda sink: sink.write(Update((), (), tally, "", counted)), failure)
        if ended == "end" and self._recognizer and not self._predictions:
            failure = DataError(_no_prediction(tally.stats, self._recognizer.bundle.input))
        error = str(failure) if failure else None
        logger.info("%s ended: %s, %d predictions", self._info.name, error or ended, tally.predictions)
        notes, results = tuple(tally.stats.notes), self._results.results()
        summary = Summary(self._run, tally, "error" if failure else ended, notes, error, results)
        return summary, self._each(lambda sink: sink.finish(summary), failure)

    def _each(self, call: Callable[[Sink], None], failure: MujoError | None) -> MujoError | None:
        """Call every started sink -> `failure`, or else the first error of a sink."""
        for sink in self._started:
            try:
                call(sink)
            except BrokenPipeError:
                pass  # the reader is gone
            except MujoError as error:
                failure = failure or error
        return failure

    def _fresh(self, events: Sequence[Window | Gap]) -> list[Window | Gap]:
        """`events` without windows that waited too long; all before the model was loaded and the newest one stay."""
        oldest_s = monotonic() - STALE_S
        if self._began_s >= oldest_s:
            return list(events)
        newest = next((event for event in reversed(events) if isinstance(event, Window)), None)
        fresh = [event for event in events if isinstance(event, Gap) or event is newest or event.received_s >= oldest_s]
        assert self._recognizer
        if dropped := len(events) - len(fresh):
            logger.debug("dropped %d windows that were older than %g s", dropped, STALE_S)
        self._recognizer.stats.dropped_windows += dropped
        return fresh

    def _count(self, events: Sequence[Prediction | Gap]) -> None:
        before = self._predictions
        for event in events:
            self._results.add(event)
            if isinstance(event, Prediction):
                row = self._ms[self._predictions % LATENCIES]
                row[:] = [getattr(event.latency, f"{stage}_ms") for stage in STAGES]
                self._predictions += 1
        if self._predictions > before:
            rows = self._ms[: min(self._predictions, LATENCIES)]
            p50, p99 = np.percentile(rows, (50, 99), axis=0).tolist()
            self._latency = {stage: Quantiles(p50[i], p99[i]) for i, stage in enumerate(STAGES)}

    def _tally(self) -> Tally:
        stats = self._recognizer.stats if self._recognizer else self._gaps.stats
        elapsed_s = monotonic() - self._began_s
        stats = replace(stats, notes=[*self._source.notes, *stats.notes])
        right, judged = self._results.right, self._results.judged
        return Tally(stats, self._predictions, right, judged, elapsed_s, self._latency)


def _with_queue_time(event: Prediction | Gap, received_s: float) -> Prediction | Gap:
    """A device's prediction, with the time that it waited on the host."""
    if isinstance(event, Gap):
        return event
    queue_ms, latency = 1e3 * (monotonic() - received_s), event.latency
    return replace(event, latency=replace(latency, queue_ms=queue_ms, total_ms=queue_ms + latency.total_ms))


def _no_prediction(stats: StreamStats, spec: InputSpec) -> str:
    """Error message for a source that ended without a prediction."""
    if stats.windows:
        reason = "its accelerometer repeats one value"
    elif stats.invalid > stats.samples / 2:
        reason = f"{stats.invalid} of its {stats.samples} samples are not finite or beyond any sensor's range"
    elif stats.repeated > stats.samples / 2:
        reason = f"time does not increase at {stats.repeated} of its {stats.samples} samples"
    elif stats.gaps:
        reason = f"it has {stats.gaps} gaps of more than {spec.max_gap_s:g} s in {stats.samples} samples"
    else:
        reason = f"it is {stats.signal_s:.2f} s long"
    window_s = spec.window / spec.rate_hz
    return f"nothing could be recognized: {reason}. A window needs {window_s:g} s of moving signal without a gap"
