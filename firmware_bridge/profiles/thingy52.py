"""Nordic Thingy:52: the raw data of its motion service, one sample per notification.

Layout: Nordic-Thingy52-FW 2.2, documentation "Firmware architecture" (motion service), include/ble_services/ble_tms.h,
source/modules/m_motion.c, source/drivers/drv_motion.c.

    raw     ef680406   notify: int16 LE: acceleration x y z, 1024 = 1 g (6Q10); angular rate x y z, 32 = 1 deg/s
                       (11Q5); magnetic field x y z, not used
    config  ef680401   9 bytes: u16 LE step counter interval ms, temperature interval ms, compass interval ms,
                       motion frequency Hz (5 to 200); u8 wake on motion

Config is stored in flash, so it is written only if the frequency differs, with the other fields unchanged. Only the
accelerometer is inverted ("positive when axis is aligned with g (down)", drv_motion.c), not the gyroscope. On a table z
reads +0.99 g (DevZone question 47415), so z points down there. The upper side is taken as the display of the watch
frame, with x unchanged: Nordic publishes no mark for x and y on the case. There is no counter and no clock.
"""

from __future__ import annotations

import struct

import numpy as np

from firmware_bridge.profiles.base import Advert, Profile, Read, Request, Script, Subscribe, Write, nearest_rate
from firmware_bridge.stream import DEG, IMU, CodecError, Format, G, Packet, PayloadDecoder, axes

BASE = "-9b35-4933-9b10-52ffa9740042"
ADVERTISED = f"ef680100{BASE}"
SERVICE, CONFIG, RAW = f"ef680400{BASE}", f"ef680401{BASE}", f"ef680406{BASE}"

RATES = (10.0, 25.0, 50.0, 100.0, 200.0)
UNIT = np.array([-G / 1024] * 3 + [DEG / 32] * 3)
AXES = axes("x -y -z")


def decode(payload: bytes) -> list[Packet]:
    """The sample of one notification. Raises `CodecError`."""
    if len(payload) != 18:
        raise CodecError(f"raw data of a Thingy:52 has 18 bytes, not {len(payload)}: {payload[:8].hex(' ')}")
    x = (np.frombuffer(payload, "<i2", 6) * UNIT).astype(np.float32).reshape(2, 3)
    return [Packet((x @ AXES.T).reshape(1, 6))]


def recognize(advert: Advert) -> bool:
    """By its advertised configuration service, or its default name."""
    return ADVERTISED in advert.services or advert.name == "Thingy"


def start(request: Request) -> Script:
    """Set the frequency if it differs, read back the effective one, subscribe."""
    rate_hz = nearest_rate(RATES, request.rate_hz)
    config = yield Read(CONFIG)
    if frequency(config) != rate_hz:
        yield Write(CONFIG, config[:6] + struct.pack("<H", round(rate_hz)) + config[8:])
        rate_hz = frequency((yield Read(CONFIG)))
    yield Subscribe(RAW)
    return PayloadDecoder(Format(IMU, rate_hz), {RAW: decode})


def frequency(config: bytes) -> float:
    """Motion frequency in Hz of a config. Raises `CodecError`."""
    if len(config) != 9 or config[6:8] == b"\0\0":
        raise CodecError(f"not the motion config of a Thingy:52: {config.hex(' ')}")
    return float(int.from_bytes(config[6:8], "little"))


PROFILE = Profile(
    name="thingy52",
    title="Nordic Thingy:52",
    source="https://nordicsemiconductor.github.io/Nordic-Thingy52-FW/documentation/firmware_architecture.html",
    channels=IMU,
    rates_hz=RATES,
    clock="none",
    recognize=recognize,
    start=start,
)
