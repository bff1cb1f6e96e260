"""Times of a device that can not be: the protocols of most wearables have no checksum, and one bit may be a day."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from firmware_bridge.stream import CodecError, Format, Packet


class TimestampFilter:
    """Holds a packet back that leaves samples out or steps back, until the next tells whether it or its time is wrong.

    It is right if the next one is later than it, and both are later than the last good one, or neither is: a loss, or
    a clock that was set. Of an undamaged stream nothing is held back.

    Args:
        format: with a device clock; a step is judged by its nominal rate.
    """

    def __init__(self, format: Format) -> None:
        self._size, self._tick_hz, self._rate_hz = 1 << format.tick_bits, format.tick_hz or 1.0, format.rate_hz
        self._last: int | None = None
        self._held: Packet | None = None

    def take(self, packet: Packet) -> tuple[list[Packet], str]:
        """Packets that are right, in order, and what was wrong with the one that was held back ("": nothing)."""
        if packet.tick is None:
            return [packet], ""
        good: list[Packet] = []
        damage = ""
        held, self._held = self._held, None
        if held is not None and held.tick is not None and self._last is not None:
            step = self._step(self._last, held.tick)
            if self._step(held.tick, packet.tick) > 0 and (step > 0) == (self._step(self._last, packet.tick) > 0):
                good, self._last = [held], held.tick
            else:
                damage = f"the time of a packet was off by {step / self._tick_hz:.3g} s"
        if self._last is None or self._follows(self._step(self._last, packet.tick), len(packet.x)):
            self._last = packet.tick
            good.append(packet)
        else:
            self._held = packet
        return good, damage

    def _step(self, before: int, tick: int) -> int:
        """Ticks from one to the other, by the shorter way around."""
        return (tick - before + self._size // 2) % self._size - self._size // 2

    def _follows(self, step: int, n: int) -> bool:
        """Whether a packet of `n` samples ends one step after the one before ended."""
        return step > 0 and (self._rate_hz is None or step / self._tick_hz < (1.1 * n + 0.5) / self._rate_hz)


def plausible(decode: Callable[[bytes], Sequence[Packet]], format: Format) -> Callable[[bytes], list[Packet]]:
    """`decode` for a `PayloadDecoder`, without the packets whose time can not be; each of them counts as bad."""
    check = TimestampFilter(format)

    def route(payload: bytes) -> list[Packet]:
        good: list[Packet] = []
        damage = ""
        for packet in decode(payload):
            right, wrong = check.take(packet)
            good, damage = good + right, wrong or damage
        if damage:
            raise CodecError(damage, good)
        return good

    return route
