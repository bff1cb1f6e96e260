"""A WitMotion WT901BLE67: it streams while subscribed, with content and rate set by registers."""

from __future__ import annotations

import numpy as np

from firmware_bridge.profiles import witmotion
from firmware_bridge.simulator.wearable import Characteristic, Service, Wearable
from firmware_bridge.stream import F32, F64

OPEN_S = 10.0
"""Seconds during which registers can be written after "unlock"."""


class WitMotion(Wearable):
    """See the module. `batch` packets make a notification."""

    profile = "witmotion"
    name = "WT901BLE67"
    rate_hz = 10.0
    services = (
        Service(
            witmotion.SERVICE,
            (Characteristic(witmotion.NOTIFY, notify=True), Characteristic(witmotion.WRITE, write=True)),
        ),
    )
    _open_until_s = 0.0
    streams_on = witmotion.NOTIFY

    def write(self, uuid: str, data: bytes, now_s: float) -> list[tuple[str, bytes]]:
        """FF AA register value; there are no replies, and writes to locked registers are ignored."""
        if len(data) != 5 or data[:2] != b"\xff\xaa":
            return []
        register, value = data[2], int.from_bytes(data[3:], "little")
        if (register, value) == (witmotion.UNLOCK, witmotion.UNLOCK_KEY):
            self._open_until_s = now_s + OPEN_S
        elif register == witmotion.RATE and now_s < self._open_until_s:
            rates = {code: rate_hz for rate_hz, code in witmotion.RATES.items()}
            self.set_rate(rates.get(value, self.rate_hz), now_s)
        return []

    def encode(self, x: F32, first: int, t_s: F64) -> list[tuple[str, bytes]]:
        """A notification of packets; the angles stay zero."""
        counts = np.clip(np.rint(x / witmotion.UNIT), -32768, 32767).astype("<i2")
        return [(witmotion.NOTIFY, b"".join(witmotion.DATA + row.tobytes() + bytes(6) for row in counts))]
