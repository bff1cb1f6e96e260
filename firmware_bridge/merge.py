"""Sensors that a device sends apart, each with times of its own, into the rows of one stream."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from firmware_bridge.stream import F32, F64, CodecError, Packet

BRIDGE_S = 0.25
"""Neighbors further apart are not interpolated between: the step beyond which the clock stage sees a gap as well."""

WAIT_S = 5.0
"""How long a row waits for the other sensors: longer than a batch of any device, its way over the air and one retry.

Long waiting costs nothing, as a row without its other half is of no use to anybody.
"""

LIMIT = 4096
"""Rows that are held of each sensor at most, whatever their times say."""

UNKNOWN = np.full(3, np.nan, np.float32)


class Merger:
    """Interpolates named three-axis streams, `others`, linearly at the times of a `master`.

    A row goes out once every other stream has reached its time; its channels are those of the master, then those of
    the others as named. Channels are NaN where another stream has no samples on both sides within `bridge_s`, which
    the clock stage counts as invalid; the row itself is never lost. A row waits for `wait_s` of the master's time at
    most, and as long as no stream is fed later than that, any order and split of arrival gives the same rows.

    Within a stream, samples come in order of time. Those of another stream that step back are dropped, or, if by more
    than `wait_s`, begin it anew: its clock was set. All streams share one clock.
    """

    def __init__(
        self, master: str, others: Sequence[str], *, bridge_s: float = BRIDGE_S, wait_s: float = WAIT_S
    ) -> None:
        self._master, self._bridge_s, self._wait_s = master, bridge_s, wait_s
        self._rows: deque[tuple[float, F32]] = deque()
        self._lanes = {name: _Lane(bridge_s, wait_s) for name in others}
        self._newest_s = 0.0

    def feed(self, name: str, t_s: F64, xyz: F32) -> list[Packet]:
        """Samples `xyz` (n, 3) of stream `name` taken at `t_s` (n,), in seconds -> one packet of the rows (k, 3 + 3 *
        others) that they complete, with their times, or none.

        Raises `CodecError` for times that are not finite, `KeyError` for a stream that was not named.
        """
        if not np.isfinite(t_s).all():
            raise CodecError(f"a sample of {name} has no time")
        if name == self._master:
            self._rows.extend(zip(t_s.tolist(), xyz, strict=True))
            self._newest_s = float(t_s[-1]) if len(t_s) else self._newest_s
        else:
            self._lanes[name].add(t_s, xyz)
        return self._rows_out(self._ready)

    def finish(self) -> list[Packet]:
        """The rows that still wait, as nothing more will come."""
        return self._rows_out(lambda _: True)

    def _rows_out(self, ready: Callable[[float], bool]) -> list[Packet]:
        times: list[float] = []
        rows: list[F32] = []
        while self._rows and ready(self._rows[0][0]):
            time_s, row = self._rows.popleft()
            times.append(time_s)
            rows.append(np.concatenate([row, *(lane.at(time_s) for lane in self._lanes.values())]))
        return [Packet(np.stack(rows).astype(np.float32), t_s=np.array(times))] if rows else []

    def _ready(self, time_s: float) -> bool:
        late = abs(self._newest_s - time_s) > self._wait_s or len(self._rows) > LIMIT
        return late or all(lane.reaches(time_s) for lane in self._lanes.values())


class _Lane:
    """The samples of one stream that rows may still need."""

    def __init__(self, bridge_s: float, wait_s: float) -> None:
        self._bridge_s, self._wait_s = bridge_s, wait_s
        self._times: deque[float] = deque(maxlen=LIMIT)
        self._values: deque[F32] = deque(maxlen=LIMIT)

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
        """Whether no sample that is still to come can change the value at a time."""
        times = self._times
        if not times or times[0] - time_s > self._wait_s:  # this clock is yet to be set
            return False
        return times[-1] >= time_s

    def at(self, time_s: float) -> F32:
        """The value at a time, NaN if it is not known; what lies before that time's neighbors is let go."""
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
        if after == 0 or after_s - before_s > self._bridge_s:
            return UNKNOWN
        return before + (value - before) * np.float32((time_s - before_s) / (after_s - before_s))
