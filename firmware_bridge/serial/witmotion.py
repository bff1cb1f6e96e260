"""WitMotion's wired sensors (WT901, WT901C, HWT905, JY901): frames of 11 bytes, one per kind of value.

Layout: WitMotion, "WT901 Datasheet v20-0702", 5.1 (and docs.wit-motion.com, HWT905-TTL, Protocol):

    offset  0     55
            1     50 time, 51 acceleration, 52 angular rate, 53 angle, 54 magnetic field, ... 5f
            2     x y z      int16 LE: 51 is 32768 = 16 g, 52 is 32768 = 2000 deg/s
            8     int16 LE temperature or other
            10    sum of all bytes before, modulo 256

Each output cycle has every configured kind once, in ascending order; by default 51 to 54, at 9600 baud. There is no
counter.
"""

from __future__ import annotations

import numpy as np

from firmware_bridge.profiles.witmotion import UNIT
from firmware_bridge.stream import ACC, IMU, Format, Packet

SIZE = 11
HEAD, ACCELERATION, ANGULAR_RATE = 0x55, 0x51, 0x52


class Frames:
    """Splits a byte stream into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._lost = True  # a port is opened in the middle of a frame

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes, and b"" for each stretch of other bytes between them."""
        frames: list[bytes] = []
        rest = self._rest
        rest += data
        at = 0
        while len(rest) - at >= SIZE:
            frame = rest[at : at + SIZE]
            if frame[0] == HEAD and frame[1] >> 4 == 5 and sum(frame[:10]) & 0xFF == frame[10]:
                frames.append(bytes(frame))
                self._lost = False
                at += SIZE
                continue
            if not self._lost:
                frames.append(b"")
            self._lost = True
            at += 1
        del rest[:at]
        return frames


class WitMotionDecoder:
    """A `Decoder` of such frames: acceleration, and the angular rate that follows it if there is a gyroscope.

    `bad` counts stretches of damaged bytes, and frames whose counterpart was lost.
    """

    def __init__(self, gyroscope: bool, rate_hz: float | None = None) -> None:
        self.format = Format(IMU if gyroscope else ACC, rate_hz)
        self.bad, self.why = 0, ""
        self._gyroscope = gyroscope
        self._frames = Frames()
        self._acc: bytes | None = None
        self._begun = False

    def feed(self, data: bytes, origin: str = "") -> list[Packet]:
        """See `Decoder`."""
        packets: list[Packet] = []
        for frame in self._frames.feed(data):
            kind = frame[1] if frame else 0
            acc, self._acc = self._acc, None
            if not frame:
                self.bad, self.why = self.bad + 1, "bytes between WitMotion's frames"
            elif kind == ACCELERATION and not self._gyroscope:
                packets.append(_packet(frame[2:8]))
            elif kind == ACCELERATION:
                self._acc = frame[2:8]
                self._begun = True
            elif kind == ANGULAR_RATE and acc is not None:
                packets.append(_packet(acc + frame[2:8]))
                acc = None
            elif kind == ANGULAR_RATE and self._begun:
                self.bad, self.why = self.bad + 1, "an angular rate without acceleration"
            if frame and acc is not None:
                self.bad, self.why = self.bad + 1, "an acceleration without angular rate"
        return packets

    def finish(self) -> list[Packet]:
        """Nothing: an incomplete frame is of no use."""
        return []


def _packet(values: bytes) -> Packet:
    counts = np.frombuffer(values, "<i2")
    return Packet((counts * UNIT[: len(counts)]).astype(np.float32)[None])
