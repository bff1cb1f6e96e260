"""Sensor Logger (Kelvin Choi; iOS, Android, their watches): batches of readings, pushed as JSON by HTTP POST.

Format: https://github.com/tszheichoi/awesome-sensor-logger, PUSHING.md, UNITS.md, CROSSPLATFORM.md, COORDINATES.md.

    {"messageId": 7, "sessionId": "...", "deviceId": "...",
     "payload": [{"name": "gravity", "time": 1698501144401773000, "values": {"x": 0.1, "y": 0.2, "z": 9.8}}, ...]}

Time is UTC in nanoseconds. `messageId` counts up within a session; messages may overtake each other. `accelerometer`
lacks gravity, which is sent separately as `gravity`; `totalacceleration` (Android) and `accelerometeruncalibrated`
include it. The watch's `wrist motion` has acceleration, gravity and rotation rate in one reading.

Units and sign: Android uses m/s2, with +9.81 on the axis that points up. iOS and watchOS have Core Motion's opposite
sign, with uncalibrated and wrist readings in g and the others in m/s2, unless "Standardise Units & Frames" is on in the
app, which converts all to Android's convention. Therefore readings in g are inverted, as in files of the app;
`accelerometer` and `gravity` of an iPhone are inverted unless they are known to be standardized. The gyroscope is
always in rad/s.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from firmware_bridge.phone.json_fields import XYZ, listed, number, parse, triple
from firmware_bridge.phone.layout import Joiner, Layout, choose
from firmware_bridge.stream import F64, CodecError, G, Packet, PayloadDecoder

MAX_MESSAGE = 2 << 20
"""Longest message in bytes: some ten seconds of three sensors at 400 Hz."""

MAX_WAITING = 3
"""Most messages that wait for a missing earlier one before that is given up."""

ACCELERATION, TOTAL, UNCALIBRATED = "accelerometer", "totalacceleration", "accelerometeruncalibrated"
GRAVITY, GYROSCOPE = "gravity", "gyroscope"
WRIST, WRIST_GRAVITY, WRIST_GYROSCOPE = "wrist acceleration", "wrist gravity", "wrist rotation rate"

READINGS: dict[str, dict[str, tuple[str, str, str]]] = {
    **{name: {name: XYZ} for name in (ACCELERATION, TOTAL, UNCALIBRATED, GRAVITY, GYROSCOPE)},
    "wristmotion": {
        WRIST: ("accelerationX", "accelerationY", "accelerationZ"),
        WRIST_GRAVITY: ("gravityX", "gravityY", "gravityZ"),
        WRIST_GYROSCOPE: ("rotationRateX", "rotationRateY", "rotationRateZ"),
    },
}
"""Name of a reading, reduced to letters -> its streams, with the keys of their axes."""

IN_G = 3.2
"""Threshold of the median |a| or |gravity|: g below, m/s2 above; the geometric mean of 1 and 9.81 is 3.13."""

ENOUGH = 20
"""Samples of a stream from which a layout can be determined."""


@dataclass(frozen=True, slots=True)
class Message:
    """One push: `samples` by stream, each (n, 4) of time in s and the three axes, in order of time."""

    number: int
    session: str
    device: str
    samples: dict[str, F64]


def read(data: bytes, streams: Iterable[str] | None = None) -> Message:
    """The message in `data`, with only these streams if given. Raises `CodecError`."""
    message = parse(data)
    wanted = None if streams is None else frozenset(streams)
    rows: dict[str, list[tuple[float, float, float, float]]] = {}
    for reading in listed(message.get("payload")):
        if not isinstance(reading, dict):
            raise CodecError("a reading is not an object")
        name = re.sub("[^a-z]", "", str(reading.get("name"))[:64].lower())
        values = reading.get("values", reading)
        for stream, keys in READINGS.get(name, {}).items():
            if stream in wanted if wanted is not None else isinstance(values, dict) and keys[0] in values:
                rows.setdefault(stream, []).append((number(reading.get("time")) / 1e9, *triple(values, keys)))
    samples = {stream: np.array(sorted(part), np.float64) for stream, part in rows.items()}
    number_, session, device = (message.get(key) for key in ("messageId", "sessionId", "deviceId"))
    return Message(int(number(number_)), str(session)[:64], str(device)[:64], samples)


def survey(messages: Sequence[Message], ios: bool) -> tuple[Layout, str]:
    """The layout for the first messages of a session, and a note for the user ("" for none).

    Args:
        ios: whether the phone is an iPhone, by the User-Agent of its pushes.

    Raises `CodecError` if streams are missing that the user has to turn on in the app.
    """
    streams: dict[str, list[Any]] = {}
    for message in messages:
        for stream, rows in message.samples.items():
            streams.setdefault(stream, []).append(rows)
    sizes = {stream: float(np.median(_length(rows))) for stream, rows in streams.items()}
    if WRIST in streams:
        if WRIST_GRAVITY not in streams:
            raise CodecError("the watch sends acceleration without gravity")
        rotation = WRIST_GYROSCOPE if WRIST_GYROSCOPE in streams else None
        in_g = sizes[WRIST_GRAVITY] < IN_G
        layout = Layout(WRIST, WRIST_GRAVITY, rotation, -G if in_g else 1.0, "wrist")
        return layout, "the watch's motion is used, not the phone's" if sizes.keys() - layout.streams else ""
    layout = choose(streams, (TOTAL, UNCALIBRATED), ACCELERATION, GRAVITY, GYROSCOPE)
    if layout.acceleration == UNCALIBRATED and sizes[UNCALIBRATED] < IN_G:
        return replace(layout, factor=-G), "acceleration of Apple's Core Motion in g: unit and sign were converted"
    if layout.gravity and ios:
        return replace(layout, factor=-1.0), (
            "the sign of Apple's Core Motion was inverted. If Standardise Units & Frames is on in Sensor Logger, also "
            "turn on Accelerometer Uncalibrated there"
        )
    return layout, ""


def enough(messages: Sequence[Message]) -> bool:
    """Whether `survey` can decide: one stream is long enough, and there is a further message."""
    counts: dict[str, int] = {}
    for message in messages:
        for stream, rows in message.samples.items():
            counts[stream] = counts.get(stream, 0) + len(rows)
    return len(messages) > 1 and max(counts.values(), default=0) >= ENOUGH


class SensorLogger(PayloadDecoder):
    """Decoder of pushes. `missing` counts messages that never arrived, by `messageId`."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout.format, {"": self._decode}, MAX_MESSAGE, self._last)
        self.missing = 0
        self._streams = layout.streams
        self._layout, self._joiner = layout, Joiner(layout)
        self._session: str | None = None
        self._next: int | None = None
        self._waiting: dict[int, Message] = {}
        self._stale = 0

    def _decode(self, data: bytes) -> list[Packet]:
        return [packet for message in self._ordered(read(data, self._streams)) for packet in self._packets(message)]

    def _last(self) -> list[Packet]:
        """Packets of the waiting messages, at the end of the connection."""
        messages = self._give_up(len(self._waiting))
        return [packet for message in messages for packet in self._packets(message)] + self._joiner.finish()

    def _packets(self, message: Message) -> Iterable[Packet]:
        for stream, rows in message.samples.items():
            yield from self._joiner.feed(stream, rows[:, 0].copy(), rows[:, 1:].astype(np.float32))

    def _ordered(self, message: Message) -> list[Message]:
        """The messages that can be processed now that this one arrived, in order of number; each once."""
        ready: list[Message] = []
        if message.session != self._session:
            ready += self._give_up(len(self._waiting))
            self._session, self._next = message.session, message.number
        assert self._next is not None
        if message.number < self._next or message.number in self._waiting:
            self._stale += 1
            if self._stale <= MAX_WAITING:
                return ready
            ready += self._give_up(len(self._waiting))
            self._next = message.number  # the count restarted
        self._stale = 0
        self._waiting[message.number] = message
        return ready + self._follow() + self._give_up(len(self._waiting) - MAX_WAITING)

    def _follow(self) -> list[Message]:
        ready = []
        while self._next in self._waiting:
            ready.append(self._waiting.pop(self._next))
            self._next += 1
        return ready

    def _give_up(self, count: int) -> list[Message]:
        """Process the first `count` waiting messages without those missing before them."""
        ready: list[Message] = []
        while count > 0 and self._waiting:
            assert self._next is not None
            first = min(self._waiting)
            self.missing += first - self._next
            self._next = first
            part = self._follow()
            count -= len(part)
            ready += part
        return ready


def _length(rows: Sequence[F64]) -> F64:
    norm: F64 = np.linalg.norm(np.concatenate(rows)[:, 1:], axis=1)
    return norm
