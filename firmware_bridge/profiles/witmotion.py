"""WitMotion's Bluetooth sensors (WT901BLE, BWT901CL, WT9011DCL): one 20-byte packet a sample.

Layout and commands: WitMotion, "WT901BLE67 Protocol" (BLE 5.0 series communication protocol).

    offset  0     55 61
            2     ax ay az     int16 LE, 32768 = 16 g
            8     wx wy wz     int16 LE, 32768 = 2000 deg/s
            14    roll pitch yaw, not used

There is no counter and no clock: time is that of arrival.
"""

from __future__ import annotations

import numpy as np

from firmware_bridge.profiles.base import Advert, Profile, Request, Script, Subscribe, Write, nearest_rate
from firmware_bridge.stream import DEG, IMU, CodecError, Format, G, Packet, PayloadDecoder

BASE = "-0000-1000-8000-00805f9a34fb"  # 9a: not the base of the Bluetooth SIG
SERVICE, NOTIFY, WRITE = f"0000ffe5{BASE}", f"0000ffe4{BASE}", f"0000ffe9{BASE}"

RATES = {10.0: 0x06, 20.0: 0x07, 50.0: 0x08, 100.0: 0x09, 200.0: 0x0B}
"""Register 0x03, "return rate"."""

UNIT = np.array([16 * G / 32768] * 3 + [2000 * DEG / 32768] * 3)


def decode(payload: bytes) -> list[Packet]:
    """The packet of one notification. Raises `CodecError`."""
    if len(payload) < 20 or payload[:2] != b"\x55\x61":
        raise CodecError(f"not a WitMotion packet (55 61, 20 bytes): {payload[:8].hex(' ')}, {len(payload)} bytes")
    return [Packet((np.frombuffer(payload, "<i2", 6, 2) * UNIT).astype(np.float32)[None])]


def recognise(advert: Advert) -> bool:
    """Its service, or one of the names that it has had."""
    return SERVICE in advert.services or advert.name.startswith(("WT901", "BWT901", "WT9011", "WTSDCL"))


def start(request: Request) -> Script:
    """Subscribe, then set the rate; the sensor streams from the first."""
    rate_hz = nearest_rate(tuple(RATES), request.rate_hz)
    yield Subscribe(NOTIFY)
    yield Write(WRITE, bytes([0xFF, 0xAA, 0x03, RATES[rate_hz], 0x00]), response=False)
    return PayloadDecoder(Format(IMU, rate_hz, placement="wrist"), {NOTIFY: decode})


PROFILE = Profile(
    name="witmotion",
    title="WitMotion WT901BLE",
    source="https://wit-motion.gitbook.io/witmotion-sdk/ble-5.0-protocol/bluetooth-5.0-communication-protocol",
    channels=IMU,
    rates_hz=tuple(RATES),
    clock="none",
    recognise=recognise,
    start=start,
)
