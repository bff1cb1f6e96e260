"""When samples were taken: device clocks that wrap and drift, sample counters, and time of arrival repaired."""

from __future__ import annotations

import numpy as np

from firmware_bridge.stream import F64, Format, Packet


class Timebase:
    """Gives the samples of one device their time, over all its connections. See the functions.

    First working version: unwraps ticks, counts losses by `seq`, else arrival.
    """

    def __init__(self, format: Format) -> None:
        self.drift_ppm: float | None = None
        self._format = format
        self._last_tick: int | None = None
        self._ticks = 0
        self._next_seq: int | None = None
        self._last_s: float | None = None

    def interrupt(self) -> None:
        """The connection broke; what comes next follows after a gap."""

    def stamp(self, packet: Packet, received_s: float) -> tuple[F64, int]:
        """Times (n,) of the samples of `packet` and the samples known to be lost just before it."""
        n, rate_hz = len(packet.x), self._format.rate_hz or 50.0
        lost = 0
        if packet.seq is not None and self._format.seq_bits:
            if self._next_seq is not None:
                lost = (packet.seq - self._next_seq) % (1 << self._format.seq_bits)
            self._next_seq = packet.seq + n
        if packet.t_s is not None:
            return packet.t_s, lost
        back = np.arange(n - 1, -1, -1) / rate_hz
        if packet.tick is not None and self._format.tick_hz:
            if self._last_tick is not None:
                self._ticks += (packet.tick - self._last_tick) % (1 << self._format.tick_bits)
            self._last_tick = packet.tick
            return self._ticks / self._format.tick_hz - back, lost
        return received_s - back, lost
