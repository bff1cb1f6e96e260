"""Lines of numbers, one a sample: the convention of Edge Impulse's data forwarder, which most sketches follow anyway.

From edge-impulse-cli, README-data-forwarder.md and cli/data-forwarder.ts: 115200 baud, values between commas, tabs or
blanks; a line that begins with ERR (or <ERR) says that the board gives up; a board may wait for `START`. Nothing in it
says what the columns are, in which unit, or at which rate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from firmware_bridge.protocol.framing import Splitter
from firmware_bridge.stream import ACC, IMU, CodecError, Format, Packet

START, STOP = b"AT+STARTDATAFWD\r\n", b"AT+STOPDATAFWD\r\n"
"""What a board that waits to be asked is asked with, and told at the end."""

WRAP = 2.0**32
"""Where millis() and micros() of Arduino begin again, in their own unit."""

_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?nan|[+-]?inf", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Columns:
    """Which of the `count` values of a line hold what; factors multiply to m/s2, rad/s and seconds.

    `acc`, `gravity` and `gyro` are indices of x, y, z; the latter two () where there are none. `gravity`, in the unit
    of `acc`, is added to it. `header` is the line that names the columns, "" if there is none.
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
    """The values of a line, None where one is no number; a board whose sensor did not answer may print nan."""
    values = cells(line)
    return [float(value) for value in values] if values and all(map(_NUMBER.fullmatch, values)) else None


def failure(line: bytes) -> str:
    """What a board says that gives up, "" for any other line."""
    text = line.strip()
    return text[:200].decode("ascii", "replace") if text.upper().startswith((b"ERR", b"<ERR")) else ""


class LineDecoder:
    """A `Decoder` of lines. What comes before the first line end is passed over, as it may be half a line; and what a
    board says while it starts, before the first line of numbers, is no damage.

    Attributes:
        failed: what the board said when it gave up, "" while it has not.
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
            self.bad, self.why = self.bad + self._lines.overlong - overlong, "a line without end"
        return packets

    def finish(self) -> list[Packet]:
        """Nothing: the rest of a frame is of no use."""
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
        """Time that goes on where a counter of 32 bits began again."""
        if not abs(value) < 1e300:
            raise CodecError(f"the time {value} of a line is no time")
        if self._columns.time_factor in (1e-3, 1e-6) and value < self._time - WRAP / 2:
            self._wrapped += WRAP
        self._time = value
        return (value + self._wrapped) * self._columns.time_factor
