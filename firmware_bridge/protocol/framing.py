"""Framing of byte streams: COBS frames between zero bytes, and lines of text. Any split gives the same frames."""

from __future__ import annotations

from cobs import cobs

from firmware_bridge.stream import CodecError

MAX_FRAME = 4096
"""Longest frame in bytes; a longer one is skipped."""


class Splitter:
    """Splits a byte stream at a delimiter byte.

    `overlong` counts frames that exceeded `limit` bytes and were skipped. The first frame may be incomplete, as a port
    is opened at any time; the codec has to reject it.
    """

    def __init__(self, delimiter: bytes, limit: int = MAX_FRAME) -> None:
        self.overlong = 0
        self._delimiter, self._limit = delimiter, limit
        self._rest = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes, without their delimiters and without empty frames."""
        frames: list[bytes] = []
        *ended, rest = data.split(self._delimiter)
        for part in ended:
            self._add(part)
            if not self._skipping and self._rest:
                frames.append(bytes(self._rest))
            self._rest.clear()
            self._skipping = False
        self._add(rest)
        return frames

    def _add(self, part: bytes) -> None:
        if self._skipping:
            return
        self._rest += part
        if len(self._rest) > self._limit:
            self._rest.clear()
            self._skipping = True
            self.overlong += 1


def cobs_decode(frame: bytes) -> bytes:
    """Payload of a COBS frame without its zero byte (Cheshire & Baker 1999). Raises `CodecError`."""
    try:
        return bytes(cobs.decode(frame))
    except cobs.DecodeError as error:
        raise CodecError(f"not a COBS frame: {error}") from None


def cobs_encode(payload: bytes) -> bytes:
    """COBS frame of `payload`, with its zero byte."""
    return bytes(cobs.encode(payload)) + b"\0"
