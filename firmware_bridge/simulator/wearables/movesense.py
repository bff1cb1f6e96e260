"""A Movesense sensor with its default firmware 2.3: GSP at an MTU of 161 bytes."""

from __future__ import annotations

import numpy as np

from firmware_bridge.profiles import movesense
from firmware_bridge.profiles.movesense import ANSWER, DATA, RATES, REST, SUBSCRIBE, UNITS, UNSUBSCRIBE
from firmware_bridge.simulator.wearable import Characteristic, Service, Wearable
from firmware_bridge.stream import DEG, F32, F64

MAX_NOTIFICATION = 158
"""Bytes of a notification: gatt_sensordata_app assumes an MTU of 161."""


class Movesense(Wearable):
    """See the module. `unit` is that of its accelerations; old firmware has `answers` False."""

    profile = "movesense"
    name = "Movesense 223430000278"
    services = (
        Service(
            movesense.SERVICE,
            (Characteristic(movesense.WRITE, write=True), Characteristic(movesense.NOTIFY, notify=True)),
        ),
    )
    rate_hz = 52.0
    batch = 4
    unit = "m/s2"
    answers = True
    ref = 0

    def disconnect(self, now_s: float) -> None:
        """Subscriptions end with the connection."""
        super().disconnect(now_s)
        self.ref = 0

    def write(self, uuid: str, data: bytes, now_s: float) -> list[tuple[str, bytes]]:
        """A command."""
        if uuid != movesense.WRITE or len(data) < 2:
            return super().write(uuid, data, now_s)
        status = self._obey(data[0], data[1], data[2:].decode("ascii", "replace"), now_s)
        return [(movesense.NOTIFY, bytes([ANSWER, data[1]]) + status.to_bytes(2, "little"))] if self.answers else []

    def _obey(self, command: int, ref: int, path: str, now_s: float) -> int:
        if command == SUBSCRIBE and path.startswith("/Meas/IMU6/"):
            rate = path.removeprefix("/Meas/IMU6/")
            if rate not in [f"{rate_hz:g}" for rate_hz in RATES]:
                return 501  # imu.yaml: "Non-supported sample rate"
            self.set_rate(float(rate), now_s)
            self.ref, self.batch = ref, int(rate) // 13
            self.begin(now_s)
            return 200
        if command == UNSUBSCRIBE and self.streaming and ref == self.ref:
            self.streaming, self.ref = False, 0
            return 200
        return 404

    def encode(self, x: F32, first: int, t_s: F64) -> list[tuple[str, bytes]]:
        """One measurement, in two parts if it exceeds a notification."""
        stamp = round(float(t_s[0]) * 1000) % 2**32
        sent = (x / np.array([UNITS[self.unit]] * 3 + [DEG] * 3)).astype("<f4")
        data = stamp.to_bytes(4, "little") + sent[:, :3].tobytes() + sent[:, 3:].tobytes()
        room = MAX_NOTIFICATION - 2
        parts = [bytes([DATA, self.ref]) + data[:room], bytes([REST, self.ref]) + data[room:]]
        return [(movesense.NOTIFY, part) for part in parts if len(part) > 2]
