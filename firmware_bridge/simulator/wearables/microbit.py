"""A micro:bit V2 with a program that has the accelerometer service; periods are those of its LSM303AGR."""

from __future__ import annotations

import numpy as np

from firmware_bridge.profiles import microbit
from firmware_bridge.simulator.wearable import AttributeRefusedError, Characteristic, Service, Wearable
from firmware_bridge.stream import F32, F64, G

PERIODS_MS = (5, 10, 20, 40, 100, 1000)


def counts(x: F32, to_watch: F32, counts_per_g: float, limit: int) -> bytes:
    """Acceleration (3,) in the axes of the watch -> int16 LE x, y, z in the axes of a sensor."""
    values: bytes = np.clip(np.rint(x @ to_watch / G * counts_per_g), -limit, limit - 1).astype("<i2").tobytes()
    return values


class MicroBit(Wearable):
    """See the module. The data characteristic can be read for the last value."""

    profile = "microbit"
    name = "BBC micro:bit [zevot]"
    services = (
        Service(
            microbit.SERVICE,
            (
                Characteristic(microbit.DATA, read=True, notify=True),
                Characteristic(microbit.PERIOD, read=True, write=True),
            ),
        ),
    )
    _last = bytes(6)
    streams_on = microbit.DATA

    def read(self, uuid: str) -> bytes:
        """The effective period, or the last sample."""
        if uuid == microbit.PERIOD:
            return round(1000 / self.rate_hz).to_bytes(2, "little")
        return self._last

    def write(self, uuid: str, data: bytes, now_s: float) -> list[tuple[str, bytes]]:
        """Set the period, rounded up to one that the chip supports."""
        if uuid != microbit.PERIOD:
            raise AttributeRefusedError(0x03)
        if len(data) >= 2:
            wanted = int.from_bytes(data[:2], "little")
            self.set_rate(1000 / next((ms for ms in PERIODS_MS if ms >= wanted), PERIODS_MS[-1]), now_s)
        return []

    def encode(self, x: F32, first: int, t_s: F64) -> list[tuple[str, bytes]]:
        """One sample, clipped at 2 g."""
        self._last = counts(x[0, :3], microbit.AXES, 1024, 2048)
        return [(microbit.DATA, self._last)]
