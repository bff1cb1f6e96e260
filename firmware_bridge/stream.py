"""Types of decoders and their output: samples in SI units, with the device's own time stamps and sample numbers."""

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
"""Longest attribute value in bytes, which bounds a notification (Core specification, Vol 3, Part F, 3.2.9)."""


class CodecError(Exception):
    """Bytes that violate the protocol. The message says what was expected.

    `packets` are valid nevertheless: further samples in these bytes, or earlier ones that had waited for confirmation.
    """

    def __init__(self, message: str, packets: Sequence[Packet] = ()) -> None:
        super().__init__(message)
        self.packets = tuple(packets)


@dataclass(frozen=True, slots=True)
class DeviceModelInfo:
    """The model on a device that recognizes by itself.

    `labels` end with "unknown"; there is a label every `hop_s` seconds. `gyroscope` says whether the model uses one,
    `samples` whether the device also sends its samples.
    """

    model: str
    label_set: str
    labels: tuple[str, ...]
    hop_s: float
    gyroscope: bool
    samples: bool


Reason = Literal["missing", "invalid", "clock", "constant"]
"""Reason of a gap: no samples, samples out of range, a clock that went backwards, one value repeated."""


@dataclass(frozen=True, slots=True)
class DevicePrediction:
    """A prediction made on the device: a gap since `start_tick` if there is a `reason`, else a label.

    `label` is smoothed, with the probability `score`; `raw_label` is that of the window alone. Both are indices into
    `DeviceModelInfo.labels`.
    """

    label: int = 0
    raw_label: int = 0
    score: float = 0.0
    inference_s: float = 0.0
    reason: Reason | None = None
    start_tick: int = 0


@dataclass(frozen=True, slots=True)
class Format:
    """The format of one connection's packets.

    Attributes:
        channels: `ACC` or `IMU`: m/s2 with gravity (+9.81 on the axis that points up at rest) unless `gravity` is
            "excluded", and rad/s; axes of a watch: x to 3 o'clock, y to 12 o'clock, z out of the display.
        rate_hz: nominal rate, None if it is not known before it is measured.
        tick_hz, tick_bits: the device clock that stamps packets; it wraps.
        seq_bits: width of the sample counter, which wraps.
        even: False for a device that sends only changes.
        device_model: the model of a device that recognizes by itself.
    """

    channels: tuple[str, ...]
    rate_hz: float | None
    tick_hz: float | None = None
    tick_bits: int = 64
    seq_bits: int | None = None
    gravity: Literal["included", "excluded"] = "included"
    placement: str | None = None
    even: bool = True
    device_model: DeviceModelInfo | None = None


@dataclass(frozen=True, slots=True)
class Packet:
    """Consecutive samples `x` (n, C) float32, n >= 1, of one payload; or no samples, and a `prediction`.

    `seq` is the device's number of the FIRST sample and `tick` its clock at the LAST one, both as sent, so they wrap.
    `t_s` (n,) replaces `tick` where the device stamps every sample: seconds that do not wrap. With a `prediction`,
    `seq` is the number of the last sample used, and `tick` the clock at the end of its window or gap.
    """

    x: F32
    seq: int | None = None
    tick: int | None = None
    t_s: F64 | None = None
    prediction: DevicePrediction | None = None


class Decoder(Protocol):
    """Decodes the bytes of one connection into packets.

    `bad` counts payloads or frames that could not be decoded; `why` is the reason of the last one. `feed` never raises,
    whatever the bytes are, buffers a bounded number of bytes, and for a byte stream gives the same packets for any
    split. `origin` identifies the characteristic, path or socket.
    """

    format: Format
    bad: int
    why: str

    def feed(self, data: bytes, origin: str = "") -> list[Packet]:
        """Packets that `data` completes."""

    def finish(self) -> list[Packet]:
        """Packets from what is still buffered, after the connection has ended."""


class PayloadDecoder:
    """A `Decoder` of self-contained payloads, such as notifications.

    Args:
        format: the format of the packets.
        routes: origin -> function of the payload that returns packets or raises `CodecError`. Payloads of any other
            origin are ignored.
        limit: longest payload in bytes; a longer one is damage or an attack.
        rest: returns the packets that the routes hold back, at the end of the connection.
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


def axes(mapping: str) -> F32:
    """(3, 3) matrix from a sensor's axes to those of the watch: `axes("-y x z")` makes x' = -y, y' = x, z' = z.

    Use as `xyz @ axes("...").T`. Raises `ValueError` for anything but a signed permutation.
    """
    rows = np.zeros((3, 3), np.float32)
    for row, name in zip(rows, mapping.split(), strict=True):
        row["xyz".index(name[-1])] = {"": 1, "-": -1}[name[:-1]]
    if abs(round(float(np.linalg.det(rows)))) != 1:
        raise ValueError(f"{mapping!r} uses an axis twice")
    return rows
