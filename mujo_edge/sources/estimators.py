"""Estimators of a time base: lines through arrivals, the sample period of a device, lasting lateness."""

from __future__ import annotations

from math import exp, inf

from mujo_edge.signal import DEFAULT_INPUT

GUESS_HZ = DEFAULT_INPUT.rate_hz
"""Assumed rate of a device that does not state it, until it is measured."""

LATE = 0.02
"""Weight of a point above the line, relative to one below. Measured on links of 15 to 100 ms connection interval:
smaller weights follow the edge no better, and take longer to forget a point that is too low."""

HELD_UP_S = 0.05
"""Distance from the line above which a point weighs less in proportion (Huber 1964), as in a stall."""

GAP_S = 1.0
"""Largest step that makes a line forget; after a longer gap the next few points alone would give its slope."""

CLOCK_S = 600.0
"""Memory of the drift between two crystals."""

STREAK_S, STREAK_PACKETS = 0.5, 8
"""Seconds and packets in a row that must be late before time is moved. A stall is over sooner."""

STREAK_SAMPLES, STREAK_LATE_S = 0.75, 0.1
"""Samples or seconds, whichever is less, by which a packet counts as late."""

ODD = 32
"""Packets in a row with an unexpected duration after which the rate is measured anew."""


class Line:
    """y over x by least squares with forgetting; with `late` < 1 it follows the lower edge of the points.

    Asymmetric least squares (Newey & Powell 1987) whose weights are fixed when a point is added: recursive, O(1). The
    sums are central (Welford), so that large x cost no accuracy.

    Args:
        x, y: the first point. slope: initial estimate, off by about `doubt` for points that spread by `spread`.
        memory: distance in x after which the weight of a point falls to 1/e; a step counts as `GAP_S` at most.
    """

    def __init__(
        self, x: float, y: float, slope: float, doubt: float, spread: float, memory: float, late: float = 1.0
    ) -> None:
        self._x, self._y, self._last = x, y, x
        self._weight = 1.0
        self._xx = (spread / doubt) ** 2
        self._xy = self._xx * slope
        self._memory, self._late = memory, late

    @property
    def slope(self) -> float:
        """dy / dx."""
        return self._xy / self._xx

    def at(self, x: float) -> float:
        """y at x."""
        return self._y + self._xy / self._xx * (x - self._x)

    def add(self, x: float, y: float) -> None:
        """Add a point at an x not smaller than that of the last one."""
        keep = exp(-min(x - self._last, GAP_S) / self._memory)
        self._last = x
        late = y - self.at(x)
        weight = (self._late if late > 0 else 1.0) * min(1.0, HELD_UP_S / (abs(late) or 1.0))
        before = self._weight * keep
        self._weight = before + weight
        dx, dy, share = x - self._x, y - self._y, weight / self._weight
        self._x += share * dx
        self._y += share * dy
        self._xx = self._xx * keep + before * share * dx * dx
        self._xy = self._xy * keep + before * share * dx * dy

    def move(self, x: float, y: float) -> None:
        """Restart the line at a point, with the same slope."""
        self._x, self._y, self._last, self._weight = x, y, x, 1.0


class Period:
    """Sample period by the device's own clock, and the samples missing in a step.

    A step is taken as the nearest whole number of periods. If a late timestamp made it one too many, the step after it
    is too short by as much; those samples are owed, and the next loss is reduced by them.
    """

    def __init__(self, rate_hz: float | None) -> None:
        self._known = rate_hz is not None
        self._begin(1 / (rate_hz or GUESS_HZ))

    def _begin(self, period_s: float) -> None:
        self._nominal_s = period_s
        self._line = Line(0.0, 0.0, 1.0, 0.1, 0.003, CLOCK_S)
        self._count = 0
        self._t_s = 0.0
        self._owed = self._odd = self._since = 0

    @property
    def s(self) -> float:
        """The current estimate in seconds."""
        return self._nominal_s * self._line.slope

    def learn(self, step_s: float, count: int) -> None:
        """Note that `count` samples took `step_s`."""
        self._count += count
        self._t_s += step_s
        x = self._count * self._nominal_s
        if abs(step_s / self.s - count) > max(1.0, 0.25 * count):  # the device paused
            self._line.move(x, self._t_s)
        else:
            self._line.add(x, self._t_s)

    def lost(self, step_s: float, n: int) -> int:
        """Samples missing in a step that brought `n`; the estimate is updated."""
        if not self._known:
            self._known = True
            self._begin(step_s / n)
        off = step_s / self.s - n
        extra = round(off)
        self._odd = self._odd + 1 if extra else 0
        if self._odd > ODD:
            self._begin(step_s / n)
            extra = 0
        elif self._count < 16 and off < n / 4:  # whole packets get lost; a smaller deviation is a rate not yet known
            extra = 0
        self._since = 0 if extra else self._since + 1
        if self._since > ODD:
            self._owed = 0
        lost = max(0, extra - self._owed)
        self._owed = max(0, self._owed - extra)
        self.learn(step_s, max(1, n + extra))
        return lost


class Streak:
    """Late packets in a row: the amount by which time must jump once they have lasted."""

    def __init__(self) -> None:
        self._packets, self._since_s, self._least_s = 0, 0.0, inf

    def lasting(self, late_s: float, period_s: float, received_s: float) -> float:
        """The least lateness in the second half of a streak that is long enough, which then ends; else 0."""
        if late_s <= min(STREAK_SAMPLES * period_s, STREAK_LATE_S):
            self._packets = 0
            return 0.0
        if not self._packets:
            self._since_s, self._least_s = received_s, inf
        self._packets += 1
        lasted_s = received_s - self._since_s
        if lasted_s > STREAK_S / 2:
            self._least_s = min(self._least_s, late_s)
        if self._packets < STREAK_PACKETS or lasted_s < STREAK_S:
            return 0.0
        self._packets = 0
        return self._least_s
