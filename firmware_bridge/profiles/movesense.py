"""Movesense sensors, firmware 2.3 or later: the GATT SensorData Protocol (GSP), resource /Meas/IMU6.

Source: Movesense, "GATT SensorData Protocol specification"; the sample gatt_sensordata_app and meas/imu.yaml of
movesense-device-lib.

    01 ref path           subscribe; reply 01 ref u16 status (as in HTTP), which old firmware omits
    02 ref                unsubscribe
    02 ref data           data of the subscription; 03 ref data is its remainder if it exceeds the MTU
    data                  u32 LE ms at the FIRST sample, float32 LE x y z of all accelerations, then of all rates

A measurement has rate / 13 samples, as seen at 13 and 52 Hz (captures in sensein/movesense-py) and at 104 Hz (the
Python client of gatt_sensordata_app). Angular rates are in deg/s. Accelerations are in m/s2 according to imu.yaml and
the captures, but in g or mg according to other clients: therefore samples are held back for half a second, and the unit
is that in which their median length is nearest to 1 g. The axes are not documented, so they are not converted.
"""

from __future__ import annotations

import numpy as np

from firmware_bridge.profiles.base import Advert, Expect, Profile, Request, Script, Subscribe, Write, nearest_rate
from firmware_bridge.profiles.timestamp_filter import plausible
from firmware_bridge.stream import DEG, F32, IMU, CodecError, Format, G, Packet, PayloadDecoder

BASE = "-7185-4d5d-b431-630e7050e8f0"
SERVICE, WRITE, NOTIFY = (f"{head}{BASE}" for head in ("34802252", "34800001", "34800002"))

SUBSCRIBE, UNSUBSCRIBE = 1, 2
ANSWER, DATA, REST = 1, 2, 3
REF = 99

RATES = (13.0, 26.0, 52.0, 104.0)
"""Rates in Hz; measurements at higher ones do not fit into two notifications."""

UNITS = {"m/s2": 1.0, "g": G, "mg": G / 1000}


def recognize(advert: Advert) -> bool:
    """By the common prefix of their names, or the service."""
    return SERVICE in advert.services or advert.name.startswith("Movesense ")


def start(request: Request) -> Script:
    """Subscribe to both sensors at one rate."""
    if request.services and SERVICE not in request.services:
        raise CodecError("this Movesense has no GSP service: update its firmware to 2.3 or later")
    rate_hz = nearest_rate(RATES, request.rate_hz)
    yield Subscribe(NOTIFY)
    yield Write(WRITE, bytes([SUBSCRIBE, REF]) + b"/Meas/IMU6/%d" % rate_hz)
    stream = Stream(rate_hz)
    reply = yield Expect(NOTIFY, lambda reply: reply[:2] in (bytes([ANSWER, REF]), bytes([DATA, REF])))
    if reply[0] == ANSWER:
        status = int.from_bytes(reply[2:4], "big" if reply[2:3] == b"\x01" else "little")  # 507 is sent as 01 FB
        if not 200 <= status < 300:
            raise CodecError(f"the Movesense refuses to stream at {rate_hz:g} Hz: status {status}")
    else:
        stream.early = reply
    format = Format(IMU, rate_hz, tick_hz=1000, tick_bits=32)
    return PayloadDecoder(format, {NOTIFY: plausible(stream.decode, format)})


class Stream:
    """Decodes the notifications of one subscription. `early` is one that arrived during the subscription."""

    def __init__(self, rate_hz: float) -> None:
        self.early = b""
        self.unit: str | None = None
        self._rate_hz, self._rows = rate_hz, round(rate_hz / 13)
        self._part = b""
        self._pending: list[Packet] = []

    def decode(self, payload: bytes) -> list[Packet]:
        """Packets that a notification completes. Raises `CodecError`."""
        if self.early:
            early, self.early = self.early, b""
            return [*self.decode(early), *self.decode(payload)]
        if len(payload) < 2 or payload[0] not in (ANSWER, DATA, REST) or payload[1] != REF:
            raise CodecError(f"not a Movesense notification of subscription {REF}: {payload[:8].hex(' ')}")
        if payload[0] == ANSWER:
            return []
        before, self._part = self._part, b""  # a part without remainder is lost; the clock shows the loss
        if payload[0] == DATA:
            before = b""
        elif not before:
            raise CodecError("the remainder of a Movesense measurement without its beginning")
        data, size = before + payload[2:], 4 + 24 * self._rows
        if payload[0] == DATA and len(data) < size:
            self._part = data
            return []
        if len(data) != size:
            raise CodecError(f"a Movesense measurement of {self._rows} samples has {size} bytes, not {len(data)}")
        first_ms = int.from_bytes(data[:4], "little")
        last_ms = first_ms + round((self._rows - 1) * 1000 / self._rate_hz)
        x = np.frombuffer(data, "<f4", offset=4).reshape(2, self._rows, 3).swapaxes(0, 1).reshape(-1, 6)
        self._pending.append(Packet(x.astype(np.float32), tick=last_ms % 2**32))
        if self.unit is None and len(self._pending) * self._rows < self._rate_hz / 2:
            return []
        packets, self._pending = self._pending, []
        if self.unit is None:
            self.unit = nearest_unit(np.concatenate([packet.x[:, :3] for packet in packets]))
        scale = np.array([UNITS[self.unit]] * 3 + [DEG] * 3)
        with np.errstate(all="ignore"):  # floats may hold anything
            return [Packet((packet.x * scale).astype(np.float32), tick=packet.tick) for packet in packets]


def nearest_unit(acceleration: F32) -> str:
    """The key of `UNITS` with which the median length of `acceleration` (n, 3) is nearest to 1 g, as a ratio."""
    lengths = np.linalg.norm(acceleration.astype(np.float64), axis=1)
    lengths = lengths[np.isfinite(lengths) & (lengths > 0)]
    median = float(np.median(lengths)) if len(lengths) else G
    return min(UNITS, key=lambda unit: abs(np.log(median * UNITS[unit] / G)))


PROFILE = Profile(
    name="movesense",
    title="Movesense",
    source="https://www.movesense.com/docs/esw/gatt_sensordata_protocol/",
    channels=IMU,
    rates_hz=RATES,
    clock="32-bit ms",
    recognize=recognize,
    start=start,
    stop=(Write(WRITE, bytes([UNSUBSCRIBE, REF])),),
)
