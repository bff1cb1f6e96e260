"""What a port speaks, told from the first bytes that come."""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge.protocol import packet
from firmware_bridge.protocol import predictions as labels
from firmware_bridge.protocol.framing import Splitter, cobs_decode
from firmware_bridge.serial import witmotion
from firmware_bridge.serial.lines import cells, failure, numbers
from firmware_bridge.serial.witmotion import Frames
from firmware_bridge.stream import CodecError, DeviceModelInfo

LIMIT = 1 << 16
"""Bytes after which nothing is looked for any more."""

PACKETS, FRAMES, LINES = 2, 4, 5
"""Proofs asked for: packets with a right checksum of 16 bits, WitMotion's accelerations with one of 8, even lines."""


@dataclass(frozen=True, slots=True)
class DetectedFormat:
    """`protocol` is "csv", "wit" or "packet".

    `gyroscope` tells whether the latter two have one; of "csv", `width` is the number of values in a line and `header`
    the line of as many words before the first, "" if there was none. `names` are of a board that sends "packet" and
    recognizes by itself: it is not found before they are complete.
    """

    protocol: str
    gyroscope: bool = False
    width: int = 0
    header: str = ""
    names: DeviceModelInfo | None = None


class Detector:
    """Looks at a byte stream until `found`. Any split of the bytes finds the same; memory is bounded.

    Attributes:
        found: None until enough was seen. seen: bytes looked at. failed: see `lines.failure`.
    """

    def __init__(self) -> None:
        self.found: DetectedFormat | None = None
        self.seen = 0
        self.failed = ""
        self._lines, self._packets, self._frames = Splitter(b"\n"), Splitter(b"\0"), Frames()
        self._header, self._width, self._rows = "", 0, -1  # the first line may be half a one
        self._channels: list[int] = []
        self._names = labels.Gatherer()
        self._accelerations, self._gyroscope = 0, False

    def feed(self, data: bytes) -> None:
        """Look at more bytes; by one at a time, so that it does not matter how they were cut."""
        for byte in data[: LIMIT - self.seen]:
            if self.found:
                return
            one = bytes([byte])
            self.seen += 1
            for line in self._lines.feed(one):
                self._line(line)
            for frame in self._packets.feed(one):
                self._packet(frame)
            for frame in self._frames.feed(one):
                self._frame(frame)

    def _line(self, line: bytes) -> None:
        self.failed = self.failed or failure(line)
        row = numbers(line)
        if row is None:
            if line.strip():
                self._header, self._rows = line.strip()[:1000].decode("utf-8", "replace"), 0
            return
        if len(row) != self._width:
            self._width, self._rows = len(row), min(self._rows, 0)
        self._rows += 1
        if self._rows == LINES:
            names = cells(self._header.encode())
            named = len(names) == self._width and self._header.isprintable() and not any(map(numbers, names))
            self.found = DetectedFormat("csv", width=self._width, header=self._header if named else "")

    def _packet(self, frame: bytes) -> None:
        try:
            payload = cobs_decode(frame)
            if payload[:1] and payload[0] >> 5 == labels.NAMES:
                if names := self._names.add(payload):
                    self.found = DetectedFormat("packet", gyroscope=names.gyroscope, names=names)
                return
            if payload[:1] and payload[0] >> 5 == packet.LABELED:
                return
            self._channels += [each.x.shape[1] for each in packet.decode(payload)]
        except CodecError:
            return
        if len(self._channels) == PACKETS:
            self.found = DetectedFormat("packet", gyroscope=self._channels[-1] == 6)

    def _frame(self, frame: bytes) -> None:
        self._gyroscope |= frame[1:2] == bytes([witmotion.ANGULAR_RATE])
        self._accelerations += frame[1:2] == bytes([witmotion.ACCELERATION])
        if self._accelerations == FRAMES:
            self.found = DetectedFormat("wit", gyroscope=self._gyroscope)
