"""Merging of sensors that a device sends separately, each with its own times, into the rows of one stream."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from firmware_bridge.stream import F32, F64, CodecError, Packet

MAX_STEP_S = 0.25
"""Longest step in seconds to interpolate across; gap detection reports longer ones as gaps, too."""

WAIT_S = 5.0
"""Seconds that a row waits for the other sensors: longer than a batch of any device with its transmission and one
retry.

A long wait costs nothing, as a row without the other sensors is of no use.
"""

MAX_PENDING = 4096
"""Most samples that are buffered per sensor, regardless of their times."""

UNKNOWN = np.full(3, np.nan, np.float32)
"""The value of a sensor where it is not known."""


class Merger:
    """Interpolates three-axis streams, `others`, linearly at the times of a `master` stream.

    A row is emitted once every other stream has reached its time; its channels are those of the master, then those of
    the others in the given order. Channels are NaN, which gap detection counts as invalid, where another stream lacks
    samples on both sides less than `max_step_s` apart; the row itself is never lost. A row waits for at most `wait_s`
    of the master's time. If no stream is later than that, any order and split of arrival gives the same rows.

    The samples of a stream arrive in order of time. In another stream, a sample with an earlier time is dropped, or
    restarts that stream if it is earlier by more than `wait_s`: its clock was set. All streams share one clock.
    """

    def __init__(
        self, master: str, others: Sequence[str], *, max_step_s: float = MAX_STEP_S, wait_s: float = WAIT_S
    ) -> None:
        self._master, self._wait_s = master, wait_s
        self._rows: deque[tuple[float, F32]] = deque()
        self._streams = {name: _Stream(max_step_s, wait_s) for name in others}
        self._newest_s = 0.0

    def feed(self, name: str, t_s: F64, xyz: F32) -> list[Packet]:
        """Add samples `xyz` (n, 3) of stream `name`, taken at `t_s` (n,) seconds -> a packet of the rows (k, 3 + 3 *
        others) that they complete, with their times; none if there are no such rows.

        Raises `CodecError` for times that are not finite, `KeyError` for an unknown stream.
        """
        if not np.isfinite(t_s).all():
            raise CodecError(f"a sample of {name} has no time")
        if name == self._master:
            self._rows.extend(zip(t_s.tolist(), xyz, strict=True))
            self._newest_s = float(t_s[-1]) if len(t_s) else self._newest_s
        else:
            self._streams[name].add(t_s, xyz)
        return self._emit(self._ready)

    def finish(self) -> list[Packet]:
        """The pending rows, at the end of the connection."""
        return self._emit(lambda _: True)

    def _emit(self, ready: Callable[[float], bool]) -> list[Packet]:
        times: list[float] = []
        rows: list[F32] = []
        while self._rows and ready(self._rows[0][0]):
            time_s, row = self._rows.popleft()
            times.append(time_s)
            rows.append(np.concatenate([row, *(stream.at(time_s) for stream in self._streams.values())]))
        return [Packet(np.stack(rows).astype(np.float32), t_s=np.array(times))] if rows else []

    def _ready(self, time_s: float) -> bool:
        late = abs(self._newest_s - time_s) > self._wait_s or len(self._rows) > MAX_PENDING
        return late or all(stream.reaches(time_s) for stream in self._streams.values())


class _Stream:
    """The samples of one other stream that rows may still need."""

    def __init__(self, max_step_s: float, wait_s: float) -> None:
        self._max_step_s, self._wait_s = max_step_s, wait_s
        self._times: deque[float] = deque(maxlen=MAX_PENDING)
        self._values: deque[F32] = deque(maxlen=MAX_PENDING)

    def add(self, t_s: F64, xyz: F32) -> None:
        for time_s, value in zip(t_s.tolist(), xyz, strict=True):
            step_s = time_s - self._times[-1] if self._times else np.inf
            if step_s < -self._wait_s:
                self._times.clear()
                self._values.clear()
            elif step_s <= 0:
                continue
            self._times.append(time_s)
            self._values.append(value)

    def reaches(self, time_s: float) -> bool:
        """Whether the value at a time is final: later samples cannot change it."""
        times = self._times
        if not times or times[0] - time_s > self._wait_s:  # its clock is not set yet
            return False
        return times[-1] >= time_s

    def at(self, time_s: float) -> F32:
        """The value at a time, `UNKNOWN` if it is not known; drops the samples before that time's neighbors."""
        if not self.reaches(time_s):
            return UNKNOWN
        after = bisect_left(self._times, time_s)
        for _ in range(after - 1):
            self._times.popleft()
            self._values.popleft()
        after = min(after, 1)
        after_s, value = self._times[after], self._values[after]
        if after_s == time_s:
            return value
        before_s, before = self._times[0], self._values[0]
        if after == 0 or after_s - before_s > self._max_step_s:
            return UNKNOWN
        return before + (value - before) * np.float32((time_s - before_s) / (after_s - before_s))
