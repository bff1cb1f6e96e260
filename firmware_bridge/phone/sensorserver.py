"""SensorServer (Umer Farooq; Android): one JSON message per sample, over a WebSocket that the phone serves.

Format: https://github.com/umer0586/SensorServer, README.md and SensorWebSocketServer.kt.

    ws://PHONE:8080/sensor/connect?type=android.sensor.accelerometer
    {"values": [0.31892395, -0.97802734, 10.049896], "timestamp": 3925657519043709, "accuracy": 2}
    ws://PHONE:8080/sensors/connect?types=["android.sensor.accelerometer","android.sensor.gyroscope"]
    {"values": [...], "timestamp": ..., "accuracy": 3, "type": "android.sensor.gyroscope"}

`timestamp` is SensorEvent.timestamp: nanoseconds since the phone's boot, on one clock for all sensors. Units and axes
are Android's (developer.android.com, Motion sensors): m/s2 with gravity, +9.81 on the axis that points up, rad/s. If
the phone lacks a requested sensor, it closes the socket with code 4001.
"""

from __future__ import annotations

import json
from urllib.parse import parse_qs, quote, urlsplit

import numpy as np

from firmware_bridge.phone.json_fields import listed, number, parse
from firmware_bridge.phone.layout import Joiner, Layout, choose
from firmware_bridge.stream import CodecError, Packet, PayloadDecoder

SENSOR = "android.sensor."
ACCELEROMETER, GYROSCOPE = f"{SENSOR}accelerometer", f"{SENSOR}gyroscope"
NO_SUCH_SENSOR = 4001
MAX_MESSAGE = 4096


def path(types: tuple[str, ...]) -> str:
    """Path and query of a request for these sensors; several share one socket."""
    if len(types) == 1:
        return f"/sensor/connect?type={quote(types[0])}"
    return f"/sensors/connect?types={quote(json.dumps(types, separators=(',', ':')), safe='')}"


def types_of(url: str) -> tuple[str, ...]:
    """The sensors that a URL requests, none if it has only the phone's address. Raises `CodecError`."""
    query = parse_qs(urlsplit(url).query)
    if "type" in query:
        return (query["type"][0].lower(),)
    if "types" not in query:
        return ()
    try:
        types = json.loads(query["types"][0])
    except (ValueError, RecursionError):
        types = None
    if not isinstance(types, list) or not types or not all(isinstance(name, str) for name in types):
        raise CodecError('types must be a list such as ["android.sensor.accelerometer","android.sensor.gyroscope"]')
    return tuple(name.lower() for name in types)


def layout_of(types: tuple[str, ...]) -> Layout:
    """The layout for these sensors. Raises `CodecError` if they lack gravity."""
    whole = (ACCELEROMETER, f"{ACCELEROMETER}_uncalibrated")
    return choose(types, whole, f"{SENSOR}linear_acceleration", f"{SENSOR}gravity", GYROSCOPE)


class SensorServer(PayloadDecoder):
    """Decoder of the messages of one socket."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout.format, {"": self._decode}, MAX_MESSAGE, lambda: self._joiner.finish())
        self._streams = layout.streams
        self._only = layout.acceleration if len(self._streams) == 1 else None
        self._joiner = Joiner(layout)

    def _decode(self, data: bytes) -> list[Packet]:
        message = parse(data)
        stream = message.get("type", self._only)
        if not isinstance(stream, str) or stream not in self._streams:
            raise CodecError("a sample of a sensor that was not requested")
        values = [number(value) for value in listed(message.get("values"))[:3]]
        if len(values) < 3:
            raise CodecError(f"a sample of {len(values)} values")
        t_s = number(message.get("timestamp")) / 1e9
        return self._joiner.feed(stream, np.array([t_s]), np.array([values], np.float32))
