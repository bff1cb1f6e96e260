"""Detection of a serial port's protocol from its first bytes."""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge.protocol import packet, predictions
from firmware_bridge.protocol.framing import Splitter, cobs_decode
from firmware_bridge.serial import witmotion
from firmware_bridge.serial.lines import cells, failure, numbers
from firmware_bridge.serial.witmotion import Frames
from firmware_bridge.stream import CodecError, DeviceModelInfo

LIMIT = 1 << 16
"""Bytes after which detection gives up."""

PACKETS, FRAMES, LINES = 2, 4, 5
"""Required evidence: packets with a 16-bit checksum, WitMotion frames with one of 8 bits, lines of equal length."""


@dataclass(frozen=True, slots=True)
class DetectedFormat:
    """A detected protocol.

    Attributes:
        protocol: "csv", "wit" or "packet".
        gyroscope: whether "wit" or "packet" has one.
        width: number of values in a line of "csv".
        header: the line of as many words before the first line of numbers, "" if there was none.
        device_model: the model of a "packet" board that recognizes on the device; such a board is detected only once
            the description is complete.
    """

    protocol: str
    gyroscope: bool = False
    width: int = 0
    header: str = ""
    device_model: DeviceModelInfo | None = None


class Detector:
    """Detects the protocol of a byte stream. Any split of the bytes gives the same result; memory is bounded.

    Attributes:
        result: the detected format, None until there is enough evidence. seen: number of bytes examined.
        failed: see `lines.failure`.
    """

    def __init__(self) -> None:
        self.result: DetectedFormat | None = None
        self.seen = 0
        self.failed = ""
        self._lines, self._packets, self._frames = Splitter(b"\n"), Splitter(b"\0"), Frames()
        self._header, self._width, self._rows = "", 0, -1  # the first line may be incomplete
        self._channels: list[int] = []
        self._description = predictions.PieceCollector()
        self._accelerations, self._gyroscope = 0, False

    def feed(self, data: bytes) -> None:
        """Examine more bytes, one at a time, so that the split does not matter."""
        for byte in data[: LIMIT - self.seen]:
            if self.result:
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
            words = cells(self._header.encode())
            is_header = len(words) == self._width and self._header.isprintable() and not any(map(numbers, words))
            self.result = DetectedFormat("csv", width=self._width, header=self._header if is_header else "")

    def _packet(self, frame: bytes) -> None:
        try:
            payload = cobs_decode(frame)
            if payload[:1] and payload[0] >> 5 == predictions.DEVICE_MODEL:
                if model := self._description.add(payload):
                    self.result = DetectedFormat("packet", gyroscope=model.gyroscope, device_model=model)
                return
            if payload[:1] and payload[0] >> 5 == packet.LABELED:
                return
            self._channels += [each.x.shape[1] for each in packet.decode(payload)]
        except CodecError:
            return
        if len(self._channels) == PACKETS:
            self.result = DetectedFormat("packet", gyroscope=self._channels[-1] == 6)

    def _frame(self, frame: bytes) -> None:
        self._gyroscope |= frame[1:2] == bytes([witmotion.ANGULAR_RATE])
        self._accelerations += frame[1:2] == bytes([witmotion.ACCELERATION])
        if self._accelerations == FRAMES:
            self.result = DetectedFormat("wit", gyroscope=self._gyroscope)
