"""Times of samples, from device clocks that wrap and drift, from sample counters, or from repaired times of arrival.

Everything here is O(1) per packet and keeps a few numbers. It rests on two facts: a payload can arrive late but never
early, and a device samples evenly. Lines are therefore fitted to the lower edge of the arrivals.
"""

from __future__ import annotations

import logging
from itertools import accumulate
from math import floor, inf

import numpy as np

from firmware_bridge.stream import F64, Format, Packet
from mujo_edge.signal import DEFAULT_INPUT, Resampler
from mujo_edge.sources.estimators import CLOCK_S, HELD_UP_S, LATE, Line, Period, Streak

logger = logging.getLogger(__name__)

JITTER_S = 0.015
"""Spread of arrivals at the usual connection intervals, for weighing initial estimates."""

REPAIR_S = 10.0
"""Memory of the arrival-time repair: it follows a sensor whose rate wanders, or unknown numbers of lost samples."""

DRIFT_AFTER_S = 50.0
"""Seconds before drift is reported: by then it is known to some tens of ppm, after two minutes to some ppm."""

PAST_S = 2.0
"""Limit of the age of a packet before the last one: younger is a repetition or out of order, older is a restart."""

EARLY_S, EARLY = 1.0, 0.05
"""Seconds, plus a share of the time since the last packet: one that arrives earlier than it can have been sent by more
than this shows that the device's clock or counter was set."""

RESTART_S = 2 * DEFAULT_INPUT.max_gap_s
"""The least step of time when a device restarted; too long to be interpolated, so that it shows as a gap."""

STALL_S = 1.0
"""Lateness of a packet above which samples were lost, in unknown number. Below it, packets may just be held up."""

SLEW = 0.05
"""Largest share by which repaired time runs faster or slower than the rate, so that it neither jumps nor stops."""

STEP_S = 2 * Resampler.MIN_STEP_S
"""The least step between new samples; shorter ones would be dropped as repeated."""


class Timebase:
    """Gives the samples of one device their times, over all its connections.

    With a device clock (`tick`, or `t_s` of every sample) times are on its scale, beginning with the host's monotonic
    time at the first arrival; a batch is spread back from its last sample. Without one, times are the host's: those
    of arrival, repaired by a line through the lower edge of arrival over sample number; where `Format.even` is
    False, unchanged.

    Losses are computed from the counter if there is one, else from the steps of the clock. With neither, their number
    is unknown, and time jumps where more than about 0.1 s is missing. A device that restarted has lost nothing: its
    time continues after a gap. Repeated samples get the time of the last new one. They are not dropped here, because a
    recording keeps all samples; `mujo_edge.gaps` drops and counts them, live and in replay alike.
    """

    def __init__(self, format: Format) -> None:
        self._last_s = -inf
        self._began_s = self._received_s = self._elapsed_s = 0.0
        self._interrupted = False
        self._set(format)

    def _set(self, format: Format) -> None:
        self._format = format
        self._period = Period(format.rate_hz)
        self._nominal_s = self._period.s
        self._number: int | None = None
        self._tick = self._ticks = self._count = 0
        self._own_s: float | None = None
        self._offset_s = 0.0
        self._delay: Line | None = None
        self._arrival: Line | None = None
        self._streak = Streak()

    @property
    def drift_ppm(self) -> float | None:
        """Parts per million by which the device's clock is fast; None without a clock, or before it is known."""
        if self._delay is None or self._received_s - self._began_s < DRIFT_AFTER_S:
            return None
        return -self._delay.slope / (1 + self._delay.slope) * 1e6

    def interrupt(self, format: Format | None = None) -> None:
        """Note that the connection broke: the next samples follow after a gap, perhaps in another format."""
        self._interrupted = True
        if format is not None and format != self._format:
            self._set(format)

    def host_s(self, t_s: float) -> float:
        """The host's monotonic time of a time from `stamp`: later by the shortest delay of a sample."""
        return t_s if self._delay is None else t_s + self._delay.at(t_s)

    def at(self, tick: int) -> float:
        """The time of a reading of the device's clock near that of the last samples; -inf before any samples."""
        format = self._format
        assert format.tick_hz
        half = 1 << (format.tick_bits - 1)
        return self._last_s + ((tick - self._tick + half) % (2 * half) - half) / format.tick_hz

    def stamp(self, packet: Packet, received_s: float) -> tuple[F64, int]:
        """Times (n,) of the samples of `packet`, and the number of samples known to be lost just before it."""
        if packet.t_s is not None and not np.isfinite(packet.t_s).all():
            return packet.t_s, 0  # `mujo_edge.gaps` counts them as invalid
        if self._last_s == -inf:
            self._began_s = self._received_s = received_s
        self._elapsed_s = max(0.0, received_s - self._received_s)
        if packet.t_s is not None:
            times, lost = self._stamped(packet, packet.t_s.tolist(), received_s)
        elif packet.tick is not None and self._format.tick_hz:
            times, lost = self._ticked(packet, packet.tick, self._format.tick_hz, received_s)
        else:
            times, lost = self._arrived(packet, received_s)
        self._last_s, self._received_s, self._interrupted = times[-1], received_s, False
        return np.array(times), lost

    def _stamped(self, packet: Packet, own: list[float], received_s: float) -> tuple[list[float], int]:
        """The device states the time of every sample, and perhaps a count."""
        lost, end_s = 0, max(own)
        step_s = 0.0 if self._own_s is None else end_s - self._own_s
        ahead = self._counted(packet, step_s)
        if self._own_s is None or self._restarted(step_s, received_s, PAST_S):
            self._own_s, self._number = end_s, _end(packet)
            self._begin(end_s, end_s - own[0], received_s)
        elif step_s > 0:
            if ahead is not None:
                lost = max(0, ahead - len(own))
                self._period.learn(step_s, ahead)
            elif self._format.even:
                for own_s in own:
                    if own_s > self._own_s:
                        lost += self._period.lost(own_s - self._own_s, 1)
                        self._own_s = own_s
            self._own_s, self._number = end_s, _end(packet)
            self._learn_delay(end_s, received_s)
        shifted = (own_s + self._offset_s for own_s in own)
        return list(accumulate(shifted, max, initial=self._last_s))[1:], lost

    def _ticked(self, packet: Packet, tick: int, tick_hz: float, received_s: float) -> tuple[list[float], int]:
        """The device states the time of the last sample of a packet, and perhaps a count."""
        n = fresh = len(packet.x)
        lost = steps = 0
        if self._own_s is not None:
            steps = _forward(tick - self._tick, self._format.tick_bits, self._elapsed_s * tick_hz)
        step_s = steps / tick_hz
        ahead = self._counted(packet, step_s)
        if self._own_s is None or self._restarted(step_s, received_s, 0.0 if self._interrupted else PAST_S):
            self._begin(self._ticks / tick_hz, (n - 1) * self._period.s, received_s)
        else:
            if (step_s if ahead is None else ahead) <= 0:
                return [self._last_s] * n, 0
            if ahead is not None:
                fresh = min(n, ahead)
                lost = ahead - fresh
                self._period.learn(step_s, ahead)
            elif self._format.even:
                lost = self._period.lost(step_s, n)
            self._ticks += steps
        self._own_s = self._ticks / tick_hz
        self._tick, self._number = tick, _end(packet)
        self._learn_delay(self._own_s, received_s)
        return self._batch(self._own_s + self._offset_s, n, fresh, self._period.s), lost

    def _arrived(self, packet: Packet, received_s: float) -> tuple[list[float], int]:
        """The device states no time, but perhaps a count."""
        n, line = len(packet.x), self._arrival
        if line is None:
            doubt = 0.05 if self._format.rate_hz else 1.0
            self._arrival = Line(0.0, received_s, 1.0, doubt, JITTER_S, REPAIR_S, LATE)
            self._number = _end(packet)
            return self._batch(max(received_s, self._last_s + n * self._nominal_s), n, n, self._nominal_s), 0
        period_s = self._nominal_s * line.slope
        ahead = self._ahead(packet, self._elapsed_s, period_s)
        counts = ahead is not None
        restarted = False
        if ahead is not None:
            x = (self._count + ahead) * self._nominal_s
            back_s = 0.0 if self._interrupted else PAST_S
            restarted = -ahead * period_s > back_s or line.at(x) - received_s > EARLY_S + EARLY * self._elapsed_s
        if ahead is None or restarted:
            ahead = n
        if ahead <= 0:
            return [self._last_s] * n, 0
        fresh = min(n, ahead)
        self._number = _end(packet)
        self._count += ahead
        x = self._count * self._nominal_s
        late_s = received_s - line.at(x)
        if not self._format.even:
            return self._batch(received_s, n, fresh, period_s), ahead - fresh
        if restarted or (not counts and (self._interrupted or late_s > STALL_S)):
            line.move(x, received_s)
            end_s = max(received_s, self._last_s + RESTART_S + (n - 1) * period_s) if restarted else received_s
        elif shift_s := self._streak.lasting(late_s, period_s, received_s):
            end_s = line.at(x) + shift_s
            logger.info("samples arrive %.2f s late: time was moved forward", shift_s)
            line.move(x, end_s)
        else:
            line.add(x, received_s)
            if late_s < -HELD_UP_S:  # nothing is early, so the line was wrong: its first packets were held up
                line.move(x, received_s)
            end_s = min(line.at(x), self._last_s + (1 + SLEW) * ahead * self._nominal_s * line.slope)
        end_s = max(end_s, self._last_s + (1 - SLEW) * ahead * self._nominal_s * line.slope)
        return self._batch(end_s, n, fresh, period_s), ahead - fresh

    def _learn_delay(self, own_s: float, received_s: float) -> None:
        assert self._delay is not None
        t_s = own_s + self._offset_s
        delay_s = received_s - t_s
        if delay_s < self._delay.at(t_s) - HELD_UP_S:  # nothing is early: the packets so far were held up
            if received_s - self._began_s < DRIFT_AFTER_S:
                self._delay = _delays(t_s, delay_s)
            else:
                self._delay.move(t_s, delay_s)
        self._delay.add(t_s, delay_s)

    def _ahead(self, packet: Packet, elapsed_s: float, period_s: float) -> int | None:
        """Samples from the end of the last packet to the end of this one; None if the device does not count."""
        if packet.seq is None or self._format.seq_bits is None:
            return None
        if self._number is None:
            return len(packet.x)
        return _forward(packet.seq + len(packet.x) - 1 - self._number, self._format.seq_bits, elapsed_s / period_s)

    def _counted(self, packet: Packet, step_s: float) -> int | None:
        """`_ahead`, but None where the counter restarted and the clock did not."""
        ahead = self._ahead(packet, step_s, self._period.s)
        if ahead is not None and step_s > 0 and not 0 < ahead * self._period.s < step_s * (1 + EARLY) + EARLY_S:
            return None
        return ahead

    def _restarted(self, step_s: float, received_s: float, past_s: float) -> bool:
        """Whether the clock was set: it went further back than packets do, or ahead of what can have arrived."""
        assert self._own_s is not None
        ahead_s = self.host_s(self._own_s + step_s + self._offset_s) - received_s
        return step_s < -past_s or ahead_s > EARLY_S + EARLY * self._elapsed_s

    def _begin(self, own_s: float, span_s: float, received_s: float) -> None:
        """Set the scale: `own_s` on the device's clock is now, or after a restart as much later as on the host."""
        now_s = received_s
        if self._last_s > -inf:
            logger.info("the device's clock restarted")
            now_s = self._last_s + max(self._elapsed_s, RESTART_S + span_s)
        self._offset_s = now_s - own_s
        if self._delay is None:
            self._delay = _delays(now_s, received_s - now_s)
        else:
            self._delay.move(now_s, received_s - now_s)

    def _batch(self, end_s: float, n: int, fresh: int, period_s: float) -> list[float]:
        """Times of `n` samples of which the last `fresh` are new, a period apart if there is room."""
        end_s = max(end_s, self._last_s + fresh * STEP_S)
        step_s = min(period_s, (end_s - self._last_s) / fresh)
        return [self._last_s] * (n - fresh) + [end_s - k * step_s for k in range(fresh - 1, -1, -1)]


def _delays(t_s: float, delay_s: float) -> Line:
    """A line of delay over the device's time; crystals are off by less than a thousandth."""
    return Line(t_s, delay_s, 0.0, 1e-3, JITTER_S, CLOCK_S, LATE)


def _forward(step: int, bits: int, expected: float) -> int:
    """The step of a counter that wraps, chosen by the expected step.

    A late packet may make it fall short of `expected` by up to 7/8 of the counter's range; it exceeds it by less
    than 1/8.
    """
    size = 1 << bits
    step %= size
    return step + floor((expected - step) / size + 1 / 8) * size


def _end(packet: Packet) -> int | None:
    """The number of the last sample of a packet."""
    return None if packet.seq is None else packet.seq + len(packet.x) - 1
