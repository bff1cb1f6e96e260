"""Movella DOT, formerly Xsens DOT: payload mode 21, "rate quantities".

Source: Movella, "Movella DOT BLE Services Specification" (XD0506P), sections 2.2, 3.1, 3.3 and 3.5. All little-endian.

    0x1002  device control, 32 bytes: bit mask of the fields to set (0x10: output rate), ... u16 output rate at 24, ...
    0x2001  control: 01, 1 start or 0 stop, payload mode; reads as the current state
    0x2003  one sample per notification, padded with zeros to 40 bytes:
            u32 us, float32 acceleration x y z in m/s2, float32 angular rate x y z in deg/s

The rate cannot be changed during a measurement. The axes are published only as a picture, so they are not converted.
"""

from __future__ import annotations

import numpy as np

from firmware_bridge.profiles.base import Advert, Profile, Read, Request, Script, Subscribe, Write, nearest_rate
from firmware_bridge.profiles.timestamp_filter import plausible
from firmware_bridge.stream import DEG, IMU, CodecError, Format, Packet, PayloadDecoder

BASE = "-4947-11e9-8646-d663bd873d93"
CONFIGURATION, DEVICE = f"15171000{BASE}", f"15171002{BASE}"
MEASUREMENT, CONTROL, MEDIUM = (f"1517200{n}{BASE}" for n in (0, 1, 3))
COMPANY = 2182

MODE = 21
START, STOP = bytes([1, 1, MODE]), bytes([1, 0, MODE])

RATES = (1.0, 4.0, 10.0, 12.0, 15.0, 20.0, 30.0, 60.0)
"""Rates in Hz; 120 Hz is only for recording inside the sensor."""

SET_RATE = 0x10
RATE_AT = 24
DEVICE_SIZE = 32

UNIT = np.array([1.0] * 3 + [DEG] * 3)


def decode(payload: bytes) -> list[Packet]:
    """The sample of one notification. Raises `CodecError`."""
    if not 28 <= len(payload) <= 40:
        raise CodecError(f"a DOT sample has 28 to 40 bytes, not {len(payload)}")
    with np.errstate(all="ignore"):  # floats may hold anything
        x = (np.frombuffer(payload, "<f4", 6, 4) * UNIT).astype(np.float32)
    return [Packet(x[None], tick=int.from_bytes(payload[:4], "little"))]


def recognize(advert: Advert) -> bool:
    """By the company id, or its old and new default names, which the owner may change."""
    return COMPANY in advert.manufacturer or advert.name.casefold() in ("movella dot", "xsens dot")


def start(request: Request) -> Script:
    """Stop a measurement that a lost connection may have left running, set the rate and start."""
    rate_hz = nearest_rate(RATES, request.rate_hz)
    state = yield Read(CONTROL)
    if state[1:2] == b"\x01":
        yield Write(CONTROL, STOP)
    device = yield Read(DEVICE)
    if len(device) != DEVICE_SIZE:
        raise CodecError(f"the device control of a DOT has {DEVICE_SIZE} bytes, not {len(device)}")
    rate = round(rate_hz).to_bytes(2, "little")
    if device[RATE_AT : RATE_AT + 2] != rate:
        yield Write(DEVICE, bytes([SET_RATE]) + device[1:RATE_AT] + rate + device[RATE_AT + 2 :])
        device = yield Read(DEVICE)
        if device[RATE_AT : RATE_AT + 2] != rate:
            raise CodecError(f"the DOT does not accept {rate_hz:g} Hz: is it recording or synchronized?")
    yield Subscribe(MEDIUM)
    yield Write(CONTROL, START)
    state = yield Read(CONTROL)
    if state[1:3] != START[1:]:
        raise CodecError("the DOT does not start to measure: is it recording?")
    format = Format(IMU, rate_hz, tick_hz=1e6, tick_bits=32)
    return PayloadDecoder(format, {MEDIUM: plausible(decode, format)})


PROFILE = Profile(
    name="dot",
    title="Movella DOT",
    source="https://www.xsens.com/hubfs/Downloads/Manuals/Xsens%20DOT%20BLE%20Services%20Specifications.pdf",
    channels=IMU,
    rates_hz=RATES,
    clock="32-bit us",
    recognize=recognize,
    start=start,
    stop=(Write(CONTROL, STOP),),
)
