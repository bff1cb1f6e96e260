"""A Thingy:52: raw motion while subscribed, at the frequency of its config."""

from __future__ import annotations

import struct

import numpy as np

from firmware_bridge.profiles import thingy52
from firmware_bridge.simulator.wearable import AttributeRefusedError, Characteristic, Service, Wearable
from firmware_bridge.stream import F32, F64


class Thingy52(Wearable):
    """See the module. `flash_writes` counts how often config was stored."""

    profile = "thingy52"
    name = "Thingy"
    advertised = (thingy52.ADVERTISED,)
    rate_hz = 10.0  # the default of drv_motion.c, as are the intervals below
    services = (
        Service(
            thingy52.SERVICE,
            (Characteristic(thingy52.CONFIG, read=True, write=True), Characteristic(thingy52.RAW, notify=True)),
        ),
    )
    flash_writes = 0
    _intervals = struct.pack("<3H", 1000, 500, 500)
    _wake = b"\x01"
    streams_on = thingy52.RAW

    def read(self, uuid: str) -> bytes:
        """Config, the only readable value."""
        if uuid != thingy52.CONFIG:
            raise AttributeRefusedError(0x02)
        return self._intervals + struct.pack("<H", round(self.rate_hz)) + self._wake

    def write(self, uuid: str, data: bytes, now_s: float) -> list[tuple[str, bytes]]:
        """Write the whole config; a frequency out of range is rejected."""
        if uuid != thingy52.CONFIG or len(data) != 9:
            raise AttributeRefusedError(0x0D)
        if not 5 <= thingy52.frequency(data) <= 200:
            raise AttributeRefusedError(0x13)
        self.flash_writes += 1
        self._intervals, self._wake = data[:6], data[8:]
        self.set_rate(thingy52.frequency(data), now_s)
        return []

    def encode(self, x: F32, first: int, t_s: F64) -> list[tuple[str, bytes]]:
        """One sample; the magnetic field stays zero."""
        own = (x.reshape(2, 3) @ thingy52.AXES).reshape(6)
        values = np.clip(np.rint(own / thingy52.UNIT), -32768, 32767).astype("<i2")
        return [(thingy52.RAW, values.tobytes() + bytes(6))]
