"""mujo-edge's own page in a phone's browser: DeviceMotionEvent in small binary messages.

    hello: JSON {"vendor": navigator.vendor, "gyroscope": true, "agent": navigator.userAgent}
    batch, little-endian:
        offset  0      version << 1 | gyroscope; version 1
                1      u8 samples, 1 to 64
                2      u16 zero
                4      u32 number of the first sample, modulo 2**32
                8      per sample: f64 event.timeStamp in ms, f32 x y z of accelerationIncludingGravity in m/s2
                       [, f32 alpha beta gamma of rotationRate in deg/s]

Values that the browser does not provide are NaN. timeStamp counts from the opening of the page (High Resolution Time).

Sign: W3C DeviceOrientation has +9.8 on the axis that points up, as Android. WebKit, the engine of all browsers on iOS,
reports Core Motion's opposite sign (WebCoreMotionManager.mm: userAcceleration + gravity, times 9.80665); it is detected
by navigator.vendor, "Apple Computer, Inc.", and inverted. The axes of rotationRate are alpha = x, beta = y, gamma = z
in all engines (DeviceMotionEventPump.cc, nsDeviceSensors.cpp, WebCoreMotionManager.mm), and since 2018 in the
specification (w3c/deviceorientation#43), whatever older pages say. The axes do not rotate with the screen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firmware_bridge.phone.json_fields import parse
from firmware_bridge.stream import ACC, DEG, IMU, CodecError, Format, Packet, PayloadDecoder

VERSION = 1
MAX_SAMPLES = 64
HEAD = 8
SEQ_BITS = 32
MAX_HELLO = 2048


@dataclass(frozen=True, slots=True)
class Hello:
    """The page's description of its browser."""

    vendor: str
    gyroscope: bool
    agent: str = ""

    @property
    def core_motion(self) -> bool:
        """Whether acceleration has Core Motion's sign, opposite to that of W3C."""
        return self.vendor.startswith("Apple")

    @property
    def format(self) -> Format:
        """The format of the batches."""
        return Format(IMU if self.gyroscope else ACC, None, seq_bits=SEQ_BITS)


def hello(data: bytes) -> Hello:
    """The hello in `data`. Raises `CodecError`."""
    if len(data) > MAX_HELLO:
        raise CodecError(f"a hello of {len(data)} bytes")
    about = parse(data)
    vendor, gyroscope, agent = about.get("vendor"), about.get("gyroscope"), about.get("agent", "")
    if not isinstance(vendor, str) or not isinstance(gyroscope, bool) or not isinstance(agent, str):
        raise CodecError("a hello has vendor, gyroscope and agent")
    return Hello(vendor[:80], gyroscope, agent[:300])


def encode(rows: np.ndarray, seq: int) -> bytes:
    """The batch of samples (n, 4 or 7): time in ms, then the browser's values; as the page encodes it."""
    n, width = rows.shape
    body = np.zeros(n, _dtype(width == 7))
    body["t"], body["x"] = rows[:, 0], rows[:, 1:]
    head = bytes([VERSION << 1 | (width == 7), n, 0, 0]) + (seq % (1 << SEQ_BITS)).to_bytes(4, "little")
    return head + body.tobytes()


class Browser(PayloadDecoder):
    """Decoder of batches."""

    def __init__(self, about: Hello) -> None:
        super().__init__(about.format, {"": self._decode}, HEAD + MAX_SAMPLES * 32)
        self._gyroscope, self._sign = about.gyroscope, -1 if about.core_motion else 1

    def _decode(self, data: bytes) -> list[Packet]:
        if len(data) < HEAD or data[0] != VERSION << 1 | self._gyroscope or data[2:4] != b"\0\0":
            raise CodecError(f"not a batch of version {VERSION}: {data[:HEAD].hex(' ')}, {len(data)} bytes")
        n, kind = data[1], _dtype(self._gyroscope)
        if not 1 <= n <= MAX_SAMPLES or len(data) != HEAD + n * kind.itemsize:
            raise CodecError(f"a batch of {n} samples has {len(data)} bytes")
        body = np.frombuffer(data, kind, n, HEAD)
        with np.errstate(invalid="ignore"):  # signalling NaN
            t_s = body["t"] / 1e3
            x = body["x"] * np.array([self._sign] * 3 + [DEG] * 3, np.float32)[: kind["x"].shape[0]]
        if not (np.abs(t_s) <= 1e10).all():
            raise CodecError("a sample of a batch has no time")
        return [Packet(x.astype(np.float32), seq=int.from_bytes(data[4:8], "little"), t_s=t_s)]


def _dtype(gyroscope: bool) -> np.dtype[np.void]:
    return np.dtype([("t", "<f8"), ("x", "<f4", (6 if gyroscope else 3,))])
