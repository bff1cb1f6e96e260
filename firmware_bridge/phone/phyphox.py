"""phyphox (RWTH Aachen; Android and iOS): the buffers of a running experiment, polled over HTTP.

Format: phyphox-docs, docs/remote-interface/openapi.yaml (https://phyphox.org/wiki, Remote-interface communication).

    GET /config           {"inputs": [{"source": "accelerometer", "outputs": [{"x": "accX"}, ..., {"t": "acc_time"}]}]}
    GET /control?cmd=start                                     {"result": true}
    GET /get?acc_time=3.5&accX=3.5%7Cacc_time&...              values newer than 3.5 s
        {"buffer": {"accX": {"size": 0, "updateMode": "partial", "buffer": [0.1, null, ...]}, ...},
         "status": {"session": "a1b2c3", "measuring": true, "timedRun": false, "countDown": 0}}

Times are seconds of experiment time, without pauses. Values have eight digits; null is NaN. Units are m/s2 and rad/s.
`accelerometer` includes gravity ("Acceleration (with g)"), `linear_acceleration` does not, and `gravity` may be
separate. The axes are Android's on both systems: phyphox inverts Core Motion's sign (ExperimentSensorInput.swift, kG =
-9.81).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np

from firmware_bridge.phone.json_fields import listed, number, parse
from firmware_bridge.phone.layout import Joiner, Layout, choose
from firmware_bridge.stream import F64, CodecError, Packet, PayloadDecoder

MAX_BODY = 4 << 20
"""Longest response in bytes: some 50,000 samples of two sensors, after a long pause."""

AXES = ("t", "x", "y", "z")
Buffers = Mapping[str, tuple[str, str, str, str]]
"""Sensor -> names of the buffers of its time and axes."""


@dataclass(frozen=True, slots=True)
class Status:
    """State in a response: the app's session, whether it measures, and whether there are new samples."""

    session: str
    measuring: bool
    new: bool


def experiment(config: bytes) -> tuple[str, Buffers]:
    """Title and buffers of the open experiment, from the response to /config. Raises `CodecError`."""
    about = parse(config)
    buffers: dict[str, tuple[str, str, str, str]] = {}
    for source in listed(about.get("inputs")):
        if not isinstance(source, dict) or not isinstance(source.get("outputs", []), list):
            raise CodecError("an input of the experiment is not in phyphox's format")
        outputs: dict[str, object] = {}
        for output in source.get("outputs", []):
            outputs |= output if isinstance(output, dict) else {}
        match tuple(outputs.get(axis) for axis in AXES):
            case (str() as t, str() as x, str() as y, str() as z):
                buffers[str(source.get("source"))] = (t, x, y, z)
    return str(about.get("title", ""))[:80], buffers


def layout_of(buffers: Buffers) -> Layout:
    """The layout for the experiment's sensors. Raises `CodecError` if they lack gravity."""
    return choose(buffers, ("accelerometer",), "linear_acceleration", "gravity", "gyroscope")


class Poll:
    """The requests to /get: first for the newest sample, then for all that are newer than those received.

    `since_s` is the time of the newest sample of each sensor; when cleared, the newest sample is requested again.
    """

    def __init__(self, buffers: Buffers) -> None:
        self.since_s: dict[str, float] = {}
        self._buffers = buffers

    @property
    def path(self) -> str:
        """Path and query."""
        parts = []
        for sensor, (t, *axes) in self._buffers.items():
            time, since_s = quote(t, safe=""), self.since_s.get(sensor)
            parts.append(time if since_s is None else f"{time}={since_s!r}")
            parts += [quote(axis, safe="") + ("" if since_s is None else f"={since_s!r}%7C{time}") for axis in axes]
        return "/get?" + "&".join(parts)

    def answered(self, body: bytes) -> Status:
        """Take note of an answer -> the status in it. Raises `CodecError`."""
        answer = parse(body)
        about, buffers = answer.get("status"), answer.get("buffer")
        if not isinstance(about, dict) or not isinstance(buffers, dict):
            raise CodecError("an answer of phyphox has no status or no buffers")
        new = False
        for sensor, names in self._buffers.items():
            rows = _rows(buffers, names)
            if len(rows):
                new, self.since_s[sensor] = True, float(rows[-1, 0])
        return Status(str(about.get("session"))[:64], about.get("measuring") is True, new)


class Phyphox(PayloadDecoder):
    """Decoder of responses to /get."""

    def __init__(self, layout: Layout, buffers: Buffers) -> None:
        super().__init__(layout.format, {"": self._decode}, MAX_BODY, lambda: self._joiner.finish())
        self._last_s: dict[str, float] = {}
        self._layout, self._joiner = layout, Joiner(layout)
        self._buffers = {sensor: buffers[sensor] for sensor in layout.streams}

    def _decode(self, body: bytes) -> list[Packet]:
        answer = parse(body).get("buffer")
        if not isinstance(answer, dict):
            raise CodecError("an answer of phyphox has no buffers")
        received = {sensor: _rows(answer, names) for sensor, names in self._buffers.items()}
        if any(len(rows) and rows[-1, 0] < self._last_s.get(sensor, -np.inf) for sensor, rows in received.items()):
            self._last_s.clear()  # the experiment's data were cleared, and its time restarted
            self._joiner = Joiner(self._layout)
        packets: list[Packet] = []
        for sensor, rows in received.items():
            rows = rows[rows[:, 0] > self._last_s.get(sensor, -np.inf)]
            if len(rows):
                self._last_s[sensor] = float(rows[-1, 0])
                packets += self._joiner.feed(sensor, rows[:, 0].copy(), rows[:, 1:].astype(np.float32))
        return packets


def _rows(answer: Mapping[str, object], names: tuple[str, str, str, str]) -> F64:
    """(n, 4) time and axes of one sensor, as many as its shortest buffer has, without rows that lack a value."""
    columns: list[list[float]] = []
    for name in names:
        buffer = answer.get(name)
        if not isinstance(buffer, dict):
            raise CodecError(f"the buffer {name[:40]!r} is missing in an answer of phyphox")
        columns.append([np.nan if value is None else number(value) for value in listed(buffer.get("buffer"))])
    n = min(map(len, columns))
    rows: F64 = np.array([column[:n] for column in columns], np.float64).T
    return rows[np.isfinite(rows).all(1)]
