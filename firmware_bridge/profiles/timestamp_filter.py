"""Detection of damaged time stamps: most wearables' protocols have no checksum, and one flipped bit may be a day."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from firmware_bridge.stream import CodecError, Format, Packet


class TimestampFilter:
    """Holds back a packet whose time jumps forwards or backwards, until the next packet confirms or refutes it.

    It is confirmed if the next one is later than it, and either both or none are later than the last good one: samples
    were lost, or the clock was set. Packets of an undamaged stream are never held back.

    Args:
        format: a format with a device clock; its nominal rate decides what is a jump.
    """

    def __init__(self, format: Format) -> None:
        self._size, self._tick_hz, self._rate_hz = 1 << format.tick_bits, format.tick_hz or 1.0, format.rate_hz
        self._last: int | None = None
        self._pending: Packet | None = None

    def take(self, packet: Packet) -> tuple[list[Packet], str]:
        """Confirmed packets in order, and why the one that was held back is dropped ("" if it is not)."""
        if packet.tick is None:
            return [packet], ""
        good: list[Packet] = []
        damage = ""
        pending, self._pending = self._pending, None
        if pending is not None and pending.tick is not None and self._last is not None:
            step = self._step(self._last, pending.tick)
            if self._step(pending.tick, packet.tick) > 0 and (step > 0) == (self._step(self._last, packet.tick) > 0):
                good, self._last = [pending], pending.tick
            else:
                damage = f"the time of a packet was off by {step / self._tick_hz:.3g} s"
        if self._last is None or self._follows(self._step(self._last, packet.tick), len(packet.x)):
            self._last = packet.tick
            good.append(packet)
        else:
            self._pending = packet
        return good, damage

    def _step(self, before: int, tick: int) -> int:
        """Ticks from one to the other, in the shorter direction around the wrap."""
        return (tick - before + self._size // 2) % self._size - self._size // 2

    def _follows(self, step: int, n: int) -> bool:
        """Whether a packet of `n` samples directly follows the one before, by its time."""
        return step > 0 and (self._rate_hz is None or step / self._tick_hz < (1.1 * n + 0.5) / self._rate_hz)


def plausible(decode: Callable[[bytes], Sequence[Packet]], format: Format) -> Callable[[bytes], list[Packet]]:
    """`decode` for a `PayloadDecoder`, without packets whose time is damaged, which count as bad."""
    check = TimestampFilter(format)

    def route(payload: bytes) -> list[Packet]:
        good: list[Packet] = []
        damage = ""
        for packet in decode(payload):
            confirmed, dropped = check.take(packet)
            good, damage = good + confirmed, dropped or damage
        if damage:
            raise CodecError(damage, good)
        return good

    return route
