"""Gap detection: samples in even order pass; all others are dropped and counted, and interruptions become gaps.

Times are those of the chunks, from a recording or from `mujo_edge.sources.timebase`; the rate is measured.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mujo_edge.core import F32, F64, Chunk, Gap, StreamStats
from mujo_edge.signal import Resampler

LIMITS = {"a": 1000.0, "g": 100.0}
"""|value| that no wearable sensor exceeds: m/s2 (100 g) and rad/s (5700 deg/s), by first letter of the channel."""

LATEST_S = 1e10
"""Latest valid time (the year 2286); beyond it float64 would lose the sample interval."""

RATE_SPAN = 256
"""Samples over which the displayed rate is measured."""


@dataclass(frozen=True, slots=True)
class Span:
    """Valid samples in order: `t_s` (n,), `x` (n, C), `truth` (n,) or None. `gap` is the gap before them, if any."""

    t_s: F64
    x: F32
    truth: tuple[str, ...] | None
    gap: Gap | None


class GapDetector:
    """Splits chunks into spans of valid samples and keeps the counts in `stats`.

    Dropped and counted as invalid: values and times that are not finite, or beyond `LIMITS` and `LATEST_S`.
    Dropped and counted as repeated: samples whose time does not increase, up to `max_gap_s` back. A longer step
    backwards is a clock that wrapped or restarted: from there on time is shifted, so that it continues `max_gap_s`
    after the last valid sample.
    """

    def __init__(self, channels: Iterable[str], max_gap_s: float) -> None:
        self.stats = StreamStats()
        self._limits = np.array([LIMITS.get(name[0], np.inf) for name in channels])
        self._max_gap_s = max_gap_s
        self._offset_s = 0.0
        self._last_s: float | None = None
        self._invalid = False
        self._recent: deque[float] = deque(maxlen=RATE_SPAN)

    def split(self, chunk: Chunk) -> list[Span]:
        """The valid samples of `chunk` in order, a new span after every gap."""
        stats = self.stats
        stats.samples += len(chunk.t_s)
        stats.lost += chunk.lost
        stats.corrupt += chunk.corrupt
        stats.drift_ppm = chunk.drift_ppm if chunk.drift_ppm is not None else stats.drift_ppm
        with np.errstate(invalid="ignore"):
            valid = (np.abs(chunk.t_s) <= LATEST_S) & (np.abs(chunk.x) <= self._limits).all(1)
        keep: list[int] = []
        times: list[float] = []
        starts: list[tuple[int, Gap | None]] = [(0, None)]
        for i, (t_s, is_valid) in enumerate(zip(chunk.t_s.tolist(), valid.tolist(), strict=True)):
            t_s += self._offset_s
            if not is_valid:
                stats.invalid += 1
                self._invalid = True
                continue
            if self._last_s is not None:
                step = t_s - self._last_s
                if -self._max_gap_s <= step < Resampler.MIN_STEP_S:
                    stats.repeated += 1
                    continue
                if step < 0:
                    self._offset_s += self._max_gap_s - step
                    t_s += self._max_gap_s - step
                    starts.append((len(keep), Gap(self._last_s, t_s, "clock")))
                elif step > self._max_gap_s:
                    reason: Literal["invalid", "missing"] = "invalid" if self._invalid else "missing"
                    starts.append((len(keep), Gap(self._last_s, t_s, reason)))
                else:
                    stats.signal_s += step
            keep.append(i)
            times.append(t_s)
            self._last_s, self._invalid = t_s, False
        stats.gaps += len(starts) - 1
        self._measure(times[starts[-1][0] :], restarted=len(starts) > 1)
        spans = []
        for (first, gap), (end, _) in zip(starts, [*starts[1:], (len(keep), None)], strict=True):
            if first < end:
                rows = keep[first:end]
                truth = chunk.truth and tuple(chunk.truth[i] for i in rows)
                spans.append(Span(np.array(times[first:end]), chunk.x[rows], truth, gap))
        return spans

    def _measure(self, times: list[float], restarted: bool) -> None:
        if restarted:
            self._recent.clear()
        self._recent.extend(times)
        if len(self._recent) > 1:
            self.stats.rate_hz = (len(self._recent) - 1) / (self._recent[-1] - self._recent[0])
