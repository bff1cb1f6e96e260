"""Lines of numbers, one per sample: the convention of Edge Impulse's data forwarder, which most sketches follow.

From edge-impulse-cli, README-data-forwarder.md and cli/data-forwarder.ts: 115200 baud, values separated by commas, tabs
or blanks; a line that begins with ERR (or <ERR) reports that the board gives up; a board may wait for `START`. The
convention does not define the columns, their units or the rate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from firmware_bridge.protocol.framing import Splitter
from firmware_bridge.stream import ACC, IMU, CodecError, Format, Packet

START, STOP = b"AT+STARTDATAFWD\r\n", b"AT+STOPDATAFWD\r\n"
"""Commands that start and stop a board which waits for them."""

WRAP = 2.0**32
"""Period of Arduino's millis() and micros(), in their own unit."""

_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?nan|[+-]?inf", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Columns:
    """Meaning of the `count` values of a line; factors convert to m/s2, rad/s and seconds.

    `acc`, `gravity` and `gyro` are the indices of x, y, z; the latter two are () if absent. `gravity`, in the unit of
    `acc`, is added to it. `header` is the line that names the columns, "" if there is none.
    """

    count: int
    acc: tuple[int, ...]
    acc_factor: float
    gravity: tuple[int, ...] = ()
    gyro: tuple[int, ...] = ()
    gyro_factor: float = 1.0
    time: int | None = None
    time_factor: float = 1.0
    header: str = ""


def cells(line: bytes) -> list[bytes]:
    """The values of a line, as text."""
    return line.replace(b",", b" ").split()


def numbers(line: bytes) -> list[float] | None:
    """The values of a line, None if one is no number; nan is one, as boards print it when the sensor fails."""
    values = cells(line)
    return [float(value) for value in values] if values and all(map(_NUMBER.fullmatch, values)) else None


def failure(line: bytes) -> str:
    """The message of a board that gives up, "" for any other line."""
    text = line.strip()
    return text[:200].decode("ascii", "replace") if text.upper().startswith((b"ERR", b"<ERR")) else ""


class LineDecoder:
    """A `Decoder` of lines. The first line is skipped, as it may be incomplete; text that a board prints while it
    starts, before the first line of numbers, does not count as damage.

    Attributes:
        failed: the message of a board that gave up, "" otherwise.
    """

    def __init__(self, columns: Columns, rate_hz: float | None = None) -> None:
        self.format = Format(IMU if columns.gyro else ACC, rate_hz)
        self.bad, self.why, self.failed = 0, "", ""
        self._columns = columns
        self._header = cells(columns.header.encode())
        self._lines = Splitter(b"\n")
        self._begun = self._counts = False
        self._time = self._wrapped = 0.0

    def feed(self, data: bytes, origin: str = "") -> list[Packet]:
        """See `Decoder`."""
        packets: list[Packet] = []
        overlong = self._lines.overlong
        for line in self._lines.feed(data):
            begun, self._begun = self._begun, True
            if not begun or not line.strip() or line.startswith(b"#") or cells(line) == self._header:
                continue
            self.failed = self.failed or failure(line)
            try:
                packets.append(self._packet(line))
            except CodecError as error:
                self.bad, self.why = self.bad + self._counts, str(error)
            else:
                self._counts = True
        if self._lines.overlong > overlong:
            self.bad, self.why = self.bad + self._lines.overlong - overlong, "a line that is too long"
        return packets

    def finish(self) -> list[Packet]:
        """Nothing: an incomplete line is of no use."""
        return []

    def _packet(self, line: bytes) -> Packet:
        columns, values = self._columns, numbers(line)
        if values is None or len(values) != columns.count:
            raise CodecError(f"not a line of {columns.count} numbers: {line[:60].decode('ascii', 'replace')!r}")
        row = np.array(values)
        with np.errstate(over="ignore", invalid="ignore"):
            acc = row[list(columns.acc)]
            if columns.gravity:
                acc = acc + row[list(columns.gravity)]
            x = np.concatenate([acc * columns.acc_factor, row[list(columns.gyro)] * columns.gyro_factor])
            signal = x.astype(np.float32)[None]
        if columns.time is None:
            return Packet(signal)
        return Packet(signal, t_s=np.array([self._seconds(values[columns.time])]))

    def _seconds(self, value: float) -> float:
        """Time in seconds, continued where a 32-bit counter wraps."""
        if not abs(value) < 1e300:
            raise CodecError(f"a line has an invalid time: {value}")
        if self._columns.time_factor in (1e-3, 1e-6) and value < self._time - WRAP / 2:
            self._wrapped += WRAP
        self._time = value
        return (value + self._wrapped) * self._columns.time_factor
