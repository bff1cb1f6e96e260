"""BBC micro:bit with a program that includes the Bluetooth accelerometer service.

Service: Lancaster University, "Bluetooth Accelerometer Service" and "micro:bit Bluetooth profile specification" 1.11;
values, rates and signs: microbit-dal, source/bluetooth/MicroBitAccelerometerService.cpp, source/drivers/MMA8653.cpp,
LSM303Accelerometer.cpp, CoordinateSystem.cpp.

    data    e95dca4b   notify: int16 LE x, y, z; 1024 = 1 g (called milli-g; the drivers scale +-2 g to +-2048)
    period  e95dfb24   u16 LE, ms; an unsupported period becomes the next longer one, and can be read back

Axes of the board with the logo up and the LEDs toward the viewer: x reads +1 g with the right edge down, y with the
logo up, z with the LEDs down (MicroBitAccelerometer.cpp, instantaneousPosture: TILT_RIGHT, TILT_UP, FACE_DOWN), so
specific force to the right, to the logo and out of the LEDs is -x, y, -z. There is no counter and no clock, and
notifications come in bursts (microbit-dal#300, #355). Unless the program is set to "No pairing required", the micro:bit
must be paired first. The range is +-2 g unless the program sets another one.
"""

from __future__ import annotations

import numpy as np

from firmware_bridge.profiles.base import (
    Advert,
    Pause,
    Profile,
    Read,
    Request,
    Script,
    Subscribe,
    Write,
    nearest_rate,
)
from firmware_bridge.stream import ACC, F32, CodecError, Format, G, Packet, PayloadDecoder, axes

BASE = "-251d-470a-a062-fa1922dfa9a8"
SERVICE, DATA, PERIOD = f"e95d0753{BASE}", f"e95dca4b{BASE}", f"e95dfb24{BASE}"

RATES = (12.5, 25.0, 50.0, 100.0)
"""Rates in Hz, periods of 80, 40, 20 and 10 ms; all three boards support 20 and 10 ms."""

AXES = axes("-x y -z")


def read_values(payload: bytes, counts_per_g: float, to_watch: F32) -> list[Packet]:
    """One sample of three int16 LE, rotated by the (3, 3) matrix `to_watch`. Raises `CodecError`."""
    if len(payload) != 6:
        raise CodecError(f"three int16 are 6 bytes, not {len(payload)}: {payload[:8].hex(' ')}")
    g = np.frombuffer(payload, "<i2") / counts_per_g
    return [Packet((g * G).astype(np.float32)[None] @ to_watch.T)]


def decode(payload: bytes) -> list[Packet]:
    """The sample of one notification. Raises `CodecError`."""
    return read_values(payload, 1024, AXES)


def recognize(advert: Advert) -> bool:
    """By its name, or by the service if the program advertises it."""
    return advert.name.startswith("BBC micro:bit") or SERVICE in advert.services


def start(request: Request) -> Script:
    """Set a period, read back the effective one, subscribe."""
    wanted_hz = nearest_rate(RATES, request.rate_hz)
    yield Write(PERIOD, round(1000 / wanted_hz).to_bytes(2, "little"))
    yield Pause(0.1)
    period = yield Read(PERIOD)
    if len(period) != 2 or period == b"\0\0":
        raise CodecError(f"the accelerometer period is {period.hex(' ') or 'empty'}, not two bytes of ms")
    yield Subscribe(DATA)
    return PayloadDecoder(Format(ACC, 1000 / int.from_bytes(period, "little")), {DATA: decode})


PROFILE = Profile(
    name="microbit",
    title="BBC micro:bit",
    source="https://lancaster-university.github.io/microbit-docs/ble/accelerometer-service/",
    channels=ACC,
    rates_hz=RATES,
    clock="none",
    recognize=recognize,
    start=start,
)
