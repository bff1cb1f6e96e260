"""A WitMotion WT901BLE67: streams from the first, and takes its rate from register 0x03."""

from __future__ import annotations

import numpy as np

from firmware_bridge.profiles import witmotion
from firmware_bridge.simulator.wearable import Characteristic, Service, Wearable
from firmware_bridge.stream import F32, F64


class WitMotion(Wearable):
    """See the module."""

    profile = "witmotion"
    name = "WT901BLE67"
    services = (
        Service(
            witmotion.SERVICE,
            (Characteristic(witmotion.NOTIFY, notify=True), Characteristic(witmotion.WRITE, write=True)),
        ),
    )

    def subscribe(self, uuid: str, on: bool, now_s: float) -> None:
        """It streams whenever somebody listens."""
        super().subscribe(uuid, on, now_s)
        if on:
            self.begin(now_s)
        else:
            self.streaming = False

    def write(self, uuid: str, data: bytes, now_s: float) -> list[tuple[str, bytes]]:
        """FF AA register value value; no write is ever answered."""
        if len(data) == 5 and data[:3] == b"\xff\xaa\x03":
            rates = {code: rate_hz for rate_hz, code in witmotion.RATES.items()}
            self.set_rate(rates.get(data[3], self.rate_hz), now_s)
        return []

    def encode(self, x: F32, first: int, t_s: F64) -> list[tuple[str, bytes]]:
        """One packet; the angles stay zero."""
        counts = np.clip(np.rint(x[0] / witmotion.UNIT), -32768, 32767).astype("<i2")
        return [(witmotion.NOTIFY, b"\x55\x61" + counts.tobytes() + bytes(6))]
