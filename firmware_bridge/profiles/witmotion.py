"""WitMotion's Bluetooth Low Energy sensors (WT901BLE67, WT901BLE68, WT9011DCL): packets of 20 bytes, one per sample.

Layout and commands: WitMotion, "Bluetooth 5.0 communication protocol" (`PROFILE.source`), WT901BLECL manual, chapter 6;
WITMOTION/WitBluetooth_BWT901BLE5_0, device_model.py.

    offset  0     55 61
            2     ax ay az     int16 LE, 32768 = 16 g
            8     wx wy wz     int16 LE, 32768 = 2000 deg/s
            14    roll pitch yaw, not used

A notification has one packet, or on newer sensors as many as fit (160 bytes seen on a WT901BLE68). 55 71 is the reply
to a register that another program read, and is ignored. With 1 in register 0x96, packets 55 61 hold displacement and
speed, so it is set to 0; settings are not saved, and last until the sensor is switched off. A command needs "unlock" at
most 10 s before it. The vibration sensors WTVB01 have the same service but other packets, of 28 to 40 bytes, and are
rejected.

Axes are those printed on the case, x y z right-handed with z up when it lies flat; their relation to a watch's axes
depends on the mounting, so they are not converted. There is no counter and no clock: the time of arrival is used.
"""

from __future__ import annotations

import numpy as np

from firmware_bridge.profiles.base import Advert, Pause, Profile, Request, Script, Subscribe, Write, nearest_rate
from firmware_bridge.stream import DEG, IMU, CodecError, Format, G, Packet, PayloadDecoder

BASE = "-0000-1000-8000-00805f9a34fb"  # 9a: not the base of the Bluetooth SIG
SERVICE, NOTIFY, WRITE = f"0000ffe5{BASE}", f"0000ffe4{BASE}", f"0000ffe9{BASE}"

RATES = {10.0: 0x06, 20.0: 0x07, 50.0: 0x08, 100.0: 0x09, 200.0: 0x0B}
"""Register 0x03, "return rate"."""

UNIT = np.array([16 * G / 32768] * 3 + [2000 * DEG / 32768] * 3)


PACKET = 20
DATA, REGISTERS = b"\x55\x61", b"\x55\x71"

RATE, CONTENT, UNLOCK = 0x03, 0x96, 0x69
UNLOCK_KEY = 0xB588


def command(register: int, value: int) -> bytes:
    """The bytes of a command that writes a register."""
    return b"\xff\xaa" + bytes([register]) + value.to_bytes(2, "little")


def decode(payload: bytes) -> list[Packet]:
    """The samples of one notification, as one packet. Raises `CodecError`."""
    parts = [payload[at : at + PACKET] for at in range(0, len(payload), PACKET)]
    if not parts or len(parts[-1]) != PACKET or any(part[:2] not in (DATA, REGISTERS) for part in parts):
        raise CodecError(f"not WitMotion packets (55 61, 20 bytes): {payload[:8].hex(' ')}, {len(payload)} bytes")
    rows = [np.frombuffer(part, "<i2", 6, 2) for part in parts if part[:2] == DATA]
    return [Packet((np.stack(rows) * UNIT).astype(np.float32))] if rows else []


def recognize(advert: Advert) -> bool:
    """By its service, or its default names; not the vibration sensors."""
    if advert.name.startswith("WTVB"):
        return False
    return SERVICE in advert.services or advert.name.startswith(("WT901", "BWT901BLE"))


def start(request: Request) -> Script:
    """Set the content and rate of its packets, then subscribe; it streams to any subscriber."""
    rate_hz = nearest_rate(tuple(RATES), request.rate_hz)
    for register, value in ((UNLOCK, UNLOCK_KEY), (CONTENT, 0), (RATE, RATES[rate_hz])):
        yield Write(WRITE, command(register, value), response=False)
        yield Pause(0.1)  # as WitMotion's own code does
    yield Subscribe(NOTIFY)
    return PayloadDecoder(Format(IMU, rate_hz, placement="wrist"), {NOTIFY: decode})


PROFILE = Profile(
    name="witmotion",
    title="WitMotion WT901BLE",
    source="https://wit-motion.gitbook.io/witmotion-sdk/ble-5.0-protocol/bluetooth-5.0-communication-protocol",
    channels=IMU,
    rates_hz=tuple(RATES),
    clock="none",
    recognize=recognize,
    start=start,
)
