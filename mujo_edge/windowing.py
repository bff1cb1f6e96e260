"""From received chunks to the windows of the model: gap detection -> resampling -> overlapping windows."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from math import inf
from time import monotonic

import numpy as np

from mujo_edge.core import F32, F64, Bout, Chunk, Gap, Repetition, StreamInfo, StreamStats, Window
from mujo_edge.counting import RepetitionCounter
from mujo_edge.gaps import GapDetector, Span
from mujo_edge.signal import Grid, InputSpec, Resampler

MEASURE_S = 1.0
"""Seconds of signal after every gap from which the rate is measured before resampling begins."""

RATE_TOLERANCE = 0.05
"""Share by which the measured rate may differ from a nominal rate that is used instead."""


MOST_COUNTED = 4096
"""Repetitions and bouts that wait for `take_counted`; the last ones."""


class Truth:
    """The annotated labels of the last samples, stored as times of change."""

    def __init__(self) -> None:
        self._changes: deque[tuple[float, str]] = deque()

    def reset(self) -> None:
        """Forget the labels so far."""
        self._changes.clear()

    def update(self, t_s: F64, labels: tuple[str, ...] | None) -> None:
        """Add the labels of samples at `t_s` (n,); "" for a sample without a label."""
        for t, label in zip(t_s.tolist(), labels or (), strict=labels is not None):
            if not self._changes or self._changes[-1][1] != label:
                self._changes.append((t, label))

    def over(self, start_s: float, end_s: float, slack_s: float) -> str | None:
        """The label from `start_s` to `end_s`, None in a transition. Times must not decrease from call to call."""
        changes = self._changes
        while len(changes) > 1 and changes[1][0] <= start_s + slack_s:
            changes.popleft()
        if not changes or (len(changes) > 1 and changes[1][0] <= end_s + slack_s):
            return None
        return changes[0][1] or None


class Windower:
    """Keeps the last samples at the model's rate and cuts a window of `spec.window` of them every `spec.hop`."""

    def __init__(self, spec: InputSpec, channels: int) -> None:
        self.truth = Truth()
        self._spec = spec
        self._last = Grid(np.empty(0), np.empty((0, channels), np.float32), np.empty(0, np.bool_))

    def reset(self) -> None:
        """Forget the samples so far: the next ones are not continuous with them."""
        last = self._last
        self._last = Grid(last.t_s[:0], last.x[:0], last.bridged[:0])
        self.truth.reset()

    def update(self, grid: Grid, received_s: float, taken_s: float) -> list[Window]:
        """Add consecutive samples -> the windows that they complete."""
        spec, last = self._spec, self._last
        t_s = np.concatenate([last.t_s, grid.t_s])
        x = np.concatenate([last.x, grid.x])
        bridged = np.concatenate([last.bridged, grid.bridged])
        starts = range(0, len(t_s) - spec.window + 1, spec.hop)
        windows = []
        for start in starts:
            part = slice(start, start + spec.window)
            end_s = float(t_s[part.stop - 1])
            windows.append(
                Window(
                    end_s=end_s,
                    x=x[part],
                    coverage=1 - float(bridged[part].mean()),
                    received_s=received_s,
                    taken_s=taken_s,
                    ready_s=monotonic(),
                    truth=self.truth.over(float(t_s[start]), end_s, 0.25 / spec.rate_hz),
                )
            )
        rest = slice(len(starts) * spec.hop, None)
        self._last = Grid(t_s[rest], x[rest], bridged[rest])
        return windows


class WindowPipeline:
    """Turns the chunks of one source into windows and gaps, in order. Any split into chunks gives the same windows."""

    def __init__(self, spec: InputSpec, info: StreamInfo) -> None:
        self._spec, self._info = spec, info
        self._gaps = GapDetector(info.channels, spec.max_gap_s)
        self._windower = Windower(spec, len(info.channels))
        self._counter = RepetitionCounter(spec.rate_hz)
        self._counted: deque[Repetition | Bout] = deque(maxlen=MOST_COUNTED)
        self._waiting: deque[tuple[F64, F32]] = deque()
        self._window_end_s = -inf
        self._resampler: Resampler | None = None
        self._pending: list[Span] = []

    @property
    def stats(self) -> StreamStats:
        """Counts of all chunks so far."""
        return self._gaps.stats

    def update(self, chunk: Chunk) -> list[Window | Gap]:
        """The windows that `chunk` completes, and the gaps in it."""
        taken_s = monotonic()
        events: list[Window | Gap] = []
        for span in self._gaps.split(chunk):
            if span.gap:
                events.append(span.gap)
                self.reset()
            t_s, x = self._measured(span)
            if self._resampler and len(t_s):
                grid = self._resampler.update(t_s, x)
                if len(grid.t_s):
                    events += self._with_counts(grid, self._windower.update(grid, chunk.received_s, taken_s))
        self.stats.windows += sum(isinstance(event, Window) for event in events)
        return events

    def reset(self) -> None:
        """Forget the samples so far: the next ones are not continuous with them. A bout ends."""
        self._count(inf)
        self._counted += self._counter.finish()
        self._window_end_s = -inf
        self._resampler = None
        self._pending.clear()
        self._windower.reset()

    def take_counted(self) -> list[Repetition | Bout]:
        """The repetitions and bouts that became final since the last call, without labels.

        Counting is done here, after the windows were recognized, and so does not delay them.
        """
        self._count(self._window_end_s)
        counted = list(self._counted)
        self._counted.clear()
        return counted

    def _with_counts(self, grid: Grid, windows: list[Window]) -> list[Window]:
        """Keep consecutive samples for the counter -> `windows` with the count at the end of the one before each."""
        self._waiting.append((grid.t_s, grid.x))
        results: list[Window] = []
        for window in windows:
            self._count(self._window_end_s)
            results.append(replace(window, repetitions=self._counter.count))
            self._window_end_s = window.end_s
        return results

    def _count(self, until_s: float) -> None:
        """Count repetitions in the samples that wait, up to a time."""
        while self._waiting and self._waiting[0][0][0] <= until_s:
            t_s, x = self._waiting.popleft()
            n = int(np.searchsorted(t_s, until_s, "right"))
            self._counted += self._counter.update(t_s[:n], x[:n])
            if n < len(t_s):
                self._waiting.appendleft((t_s[n:], x[n:]))

    def _measured(self, span: Span) -> tuple[F64, F32]:
        """Samples that can be resampled now: none until the rate since the last gap is measured, then all since it."""
        self._windower.truth.update(span.t_s, span.truth)
        if self._resampler:
            return span.t_s, span.x
        self._pending.append(span)
        if span.t_s[-1] - self._pending[0].t_s[0] < MEASURE_S:
            return span.t_s[:0], span.x[:0]
        t_s = np.concatenate([part.t_s for part in self._pending])
        x = np.concatenate([part.x for part in self._pending])
        self._pending.clear()
        n = int(np.argmax(t_s - t_s[0] >= MEASURE_S))
        self._resampler = Resampler(x.shape[1], self._rate_hz(n / float(t_s[n] - t_s[0])), self._spec.rate_hz)
        return t_s, x

    def _rate_hz(self, measured_hz: float) -> float:
        """The rate to resample from: the nominal one of source or model if it agrees with the measured, else that."""
        for nominal_hz in (self._info.rate_hz, self._spec.rate_hz):
            if nominal_hz and abs(measured_hz / nominal_hz - 1) < RATE_TOLERANCE:
                return nominal_hz
        return measured_hz
