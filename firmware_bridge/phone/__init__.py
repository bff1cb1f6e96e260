"""Decoders for phones that send their sensors' samples, through an app or mujo-edge's own page; one module each."""

from __future__ import annotations

from collections.abc import Mapping

from firmware_bridge.phone.browser import Browser, Hello
from firmware_bridge.phone.json_fields import listed
from firmware_bridge.phone.layout import Layout
from firmware_bridge.phone.phyphox import Phyphox
from firmware_bridge.phone.sensor_logger import SensorLogger
from firmware_bridge.phone.sensorserver import SensorServer
from firmware_bridge.stream import CodecError, Decoder


def decoder(about: Mapping[str, object]) -> Decoder:
    """The decoder of a connection, from the "open" record of its transcript: `app` and the settings of that app.

    Raises `CodecError` for an invalid record.
    """
    app = about.get("app")
    if app == "browser":
        return Browser(Hello(str(about.get("vendor")), about.get("gyroscope") is True))
    streams = about.get("layout")
    layout = Layout.of(streams if isinstance(streams, dict) else {})
    if app == "sensor-logger":
        return SensorLogger(layout)
    if app == "sensorserver":
        return SensorServer(layout)
    if app == "phyphox":
        buffers = about.get("buffers")
        if not isinstance(buffers, dict) or not layout.streams <= buffers.keys():
            raise CodecError("the transcript does not say which buffers phyphox has")
        named = {sensor: tuple(str(name) for name in listed(names)) for sensor, names in buffers.items()}
        return Phyphox(layout, {sensor: (n[0], n[1], n[2], n[3]) for sensor, n in named.items() if len(n) == 4})
    raise CodecError(f"the transcript is of an unknown phone app: {app!r}"[:120])
