"""A Movella DOT that sends rate quantities."""

from __future__ import annotations

import struct

import numpy as np

from firmware_bridge.profiles import dot
from firmware_bridge.simulator.wearable import AttributeRefusedError, Characteristic, Motion, Service, Wearable
from firmware_bridge.stream import F32, F64

TAG = b"Movella DOT"


class Dot(Wearable):
    """See the module. While `recording`, it accepts neither a rate nor a start."""

    profile = "dot"
    name = "Movella DOT"
    services = (
        Service(dot.CONFIGURATION, (Characteristic(dot.DEVICE, read=True, write=True),)),
        Service(
            dot.MEASUREMENT,
            (Characteristic(dot.CONTROL, read=True, write=True), Characteristic(dot.MEDIUM, notify=True)),
        ),
    )
    rate_hz = 60.0
    recording = False

    def __init__(self, motion: Motion, *, drift_ppm: float = 0.0, first: int = 0) -> None:
        super().__init__(motion, drift_ppm=drift_ppm, first=first)
        self.manufacturer = {dot.COMPANY: bytes(4)}

    def read(self, uuid: str) -> bytes:
        """Device control and current state."""
        if uuid == dot.DEVICE:
            head = struct.pack("<8B16s", 0, 0, 0, 10, 0, 30, 0, len(TAG), TAG)
            return head + struct.pack("<HB5x", round(self.rate_hz), 0)
        if uuid == dot.CONTROL:
            return bytes([1, self.streaming, dot.MODE])
        return super().read(uuid)

    def write(self, uuid: str, data: bytes, now_s: float) -> list[tuple[str, bytes]]:
        """Output rate, start and stop; there are no replies."""
        if uuid == dot.DEVICE and len(data) == dot.DEVICE_SIZE:
            rate_hz = float(int.from_bytes(data[dot.RATE_AT : dot.RATE_AT + 2], "little"))
            if data[0] & dot.SET_RATE and rate_hz in dot.RATES and not (self.streaming or self.recording):
                self.set_rate(rate_hz, now_s)
        elif uuid == dot.CONTROL and len(data) == 3 and data[0] == 1:
            if data == dot.START and not self.recording:
                self.begin(now_s)
            elif data[1] == 0:
                self.streaming = False
        else:
            raise AttributeRefusedError(0x0D)
        return []

    def encode(self, x: F32, first: int, t_s: F64) -> list[tuple[str, bytes]]:
        """One sample, padded to the size of the characteristic."""
        stamp = round(float(t_s[0]) * 1e6) % 2**32
        return [(dot.MEDIUM, struct.pack("<I6f12x", stamp, *(x[0] / dot.UNIT).astype(np.float32).tolist()))]
