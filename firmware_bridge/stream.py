"""What a decoder gives: samples in SI units, and what the device itself says of their time and number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

G = 9.80665
"""m/s2 in one g (CGPM 1901)."""

DEG = np.pi / 180
"""rad in one degree."""

ACC = ("ax", "ay", "az")
IMU = (*ACC, "gx", "gy", "gz")

MAX_VALUE = 512
"""Bytes of the longest attribute value, and so of a notification (Core specification, Vol 3, Part F, 3.2.9)."""


class CodecError(Exception):
    """Bytes that are not what the protocol says. The message says what was expected.

    `packets` are right all the same: what these bytes hold as well, or had to come before it was known to be right.
    """

    def __init__(self, message: str, packets: Sequence[Packet] = ()) -> None:
        super().__init__(message)
        self.packets = tuple(packets)


@dataclass(frozen=True, slots=True)
class DeviceModelInfo:
    """What a device that recognizes by itself says of that, before all: `labels` end with "unknown", a label comes
    every `hop_s`; whether it has a gyroscope, and whether its samples come as well."""

    model: str
    label_set: str
    labels: tuple[str, ...]
    hop_s: float
    gyroscope: bool
    samples: bool


Reason = Literal["missing", "invalid", "clock", "constant"]
"""Why there is no signal: no samples came, they were impossible, the clock went back, one value was repeated."""


@dataclass(frozen=True, slots=True)
class DevicePrediction:
    """What a device recognized by itself. With a `reason` it is a gap since `start_tick`; else a label, smoothed, with
    its probability, `raw_label` of the window alone (places in `DeviceModelInfo.labels`), and how long that took."""

    label: int = 0
    raw_label: int = 0
    score: float = 0.0
    inference_s: float = 0.0
    reason: Reason | None = None
    start_tick: int = 0


@dataclass(frozen=True, slots=True)
class Format:
    """What the packets of one connection hold.

    `channels` is `ACC` or `IMU`; m/s2 with gravity (+9.81 on the axis that points up at rest) unless `gravity` is
    "excluded", rad/s; axes of a watch: x to 3 o'clock, y to 12 o'clock, z out of the display. `rate_hz` is nominal
    (None: not known before it is measured). `tick_hz` and `tick_bits` describe a device clock that stamps packets,
    `seq_bits` a counter of samples; both wrap. `even` is False for a device that sends only what changed. `names` are
    of a device that recognizes by itself.
    """

    channels: tuple[str, ...]
    rate_hz: float | None
    tick_hz: float | None = None
    tick_bits: int = 64
    seq_bits: int | None = None
    gravity: Literal["included", "excluded"] = "included"
    placement: str | None = None
    even: bool = True
    names: DeviceModelInfo | None = None


@dataclass(frozen=True, slots=True)
class Packet:
    """Consecutive samples `x` (n, C) float32, n >= 1, as one payload brought them; or none of them, and what the device
    `prediction` of those up to number `seq`, over a window or gap that ended at `tick`.

    `seq` is the device's number of the FIRST sample and `tick` its clock at the LAST one, both as sent, so they wrap.
    `t_s` (n,) stands instead of `tick` where the device stamps every sample: seconds that do not wrap.
    """

    x: F32
    seq: int | None = None
    tick: int | None = None
    t_s: F64 | None = None
    prediction: DevicePrediction | None = None


class Decoder(Protocol):
    """The bytes of one connection in, packets out.

    `bad` counts payloads or frames that could not be decoded; `why` says what was wrong with the last one. `feed`
    never raises, whatever comes, holds no more than a bounded rest of what it was fed, and for a byte stream gives
    the same packets however the stream is split. `origin` tells characteristics, paths or sockets apart.
    """

    format: Format
    bad: int
    why: str

    def feed(self, data: bytes, origin: str = "") -> list[Packet]:
        """Packets that `data` completes."""

    def finish(self) -> list[Packet]:
        """What it still holds and can be used, now that the connection has ended."""


class PayloadDecoder:
    """A `Decoder` where every payload stands for itself, as notifications do.

    Args:
        format: what the packets hold.
        routes: origin -> function of the payload that gives packets or raises `CodecError`. Payloads of any other
            origin are not data and are passed over.
        limit: bytes of one payload that are looked at; a longer one is damage or an attack.
        rest: what the routes hold back until more comes, once nothing will.
    """

    def __init__(
        self,
        format: Format,
        routes: Mapping[str, Callable[[bytes], Sequence[Packet]]],
        limit: int = MAX_VALUE,
        rest: Callable[[], Sequence[Packet]] = tuple,
    ) -> None:
        self.format, self._routes, self._limit, self._rest = format, routes, limit, rest
        self.bad, self.why = 0, ""

    def feed(self, data: bytes, origin: str = "") -> list[Packet]:
        """See `Decoder`."""
        route = self._routes.get(origin)
        if route is None:
            return []
        try:
            if len(data) > self._limit:
                raise CodecError(f"a payload of {len(data)} bytes")
            return list(route(data))
        except CodecError as error:
            self.bad, self.why = self.bad + 1, str(error)
            return list(error.packets)

    def finish(self) -> list[Packet]:
        """See `Decoder`."""
        return list(self._rest())


def axes(turned: str) -> F32:
    """(3, 3) matrix that takes a sensor's axes to those of the watch: `axes("-y x z")` makes x' = -y, y' = x, z' = z.

    Use as `xyz @ axes("...").T`. Raises `ValueError` for anything but a signed permutation.
    """
    rows = np.zeros((3, 3), np.float32)
    for row, name in zip(rows, turned.split(), strict=True):
        row["xyz".index(name[-1])] = {"": 1, "-": -1}[name[:-1]]
    if abs(round(float(np.linalg.det(rows)))) != 1:
        raise ValueError(f"{turned!r} uses an axis twice")
    return rows
