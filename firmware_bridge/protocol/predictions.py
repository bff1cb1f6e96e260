"""What a board that recognizes by itself sends besides samples, or instead of them: labels, and what they are called.

Two more packets of `firmware_bridge.protocol.packet`; all numbers are little endian. A label, or a gap:

    offset  0      head: 6 << 5 | gap << 4 | reason       0 missing, 1 invalid, 2 clock, 3 constant; 0 for a label
            1      u16  number of the last sample that was taken into account, modulo 2**16
            3      u24  clock at the window's last point or the end of the gap, in 64 us, modulo 2**24
            6      u16  check of the names
            8      of a label: u8 label, u8 label of this window alone, u16 its score in 1/65535, u16 time that the
                   recognition took in 64 us (65535: that or more); of a gap: u24 clock at its start, u24 0
            14     u16  CRC-16/CCITT-FALSE of all before

A piece of the names, some of which are sent a second, so that a computer may come at any time:

    offset  0      head: 7 << 5 | gyroscope << 4 | samples << 3     whether samples are sent as well
            1      u16  check: CRC-16/CCITT-FALSE of the whole text
            3      u8   number of this piece, u8 how many there are
            5      the piece: UTF-8, 100 bytes, the last one 1 to 100
            end    u16  CRC-16/CCITT-FALSE of all before

The text has a line each, without a break at its end, for: the model, the label set, milliseconds from one window to
the next, and every label, of which the last is "unknown". Samples of such a board are version 5.
"""

from __future__ import annotations

from binascii import crc_hqx
from typing import get_args

import numpy as np

from firmware_bridge.stream import CodecError, DeviceModelInfo, DevicePrediction, Packet, Reason

LABEL, NAMES = 6, 7
"""Versions in the head."""

PIECE = 100
LABEL_SIZE = 16
UNKNOWN = "unknown"
LONGEST_HOP_MS = 60_000
REASONS: tuple[Reason, ...] = get_args(Reason)


def text_of(names: DeviceModelInfo) -> bytes:
    """The text that is sent in pieces."""
    return "\n".join([names.model, names.label_set, str(round(names.hop_s * 1000)), *names.labels]).encode()


def check_of(names: DeviceModelInfo) -> int:
    """By which labels tell the names that they belong to."""
    return crc_hqx(text_of(names), 0xFFFF)


def encode_names(names: DeviceModelInfo) -> list[bytes]:
    """All pieces. Raises `ValueError` for names that cannot be sent."""
    text, check = text_of(names), check_of(names)
    pieces = [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
    if len(pieces) > 255 or names != _names(text, names.gyroscope, names.samples):
        raise ValueError(f"names that cannot be sent: {names}")
    head = NAMES << 5 | names.gyroscope << 4 | names.samples << 3
    start = bytes([head]) + check.to_bytes(2, "little")
    return [_closed(start + bytes([number, len(pieces)]) + piece) for number, piece in enumerate(pieces)]


def encode(prediction: DevicePrediction, names: DeviceModelInfo, number: int, tick: int) -> bytes:
    """A label or gap -> packet."""
    gap = prediction.reason is not None
    head = LABEL << 5 | gap << 4 | (REASONS.index(prediction.reason) if prediction.reason else 0)
    body = bytes([head]) + (number & 0xFFFF).to_bytes(2, "little") + (tick & 0xFFFFFF).to_bytes(3, "little")
    body += check_of(names).to_bytes(2, "little")
    if gap:
        body += (prediction.start_tick & 0xFFFFFF).to_bytes(6, "little")
    else:
        score, took = round(prediction.score * 65535), min(round(prediction.inference_s / 64e-6), 65535)
        body += (
            bytes([prediction.label, prediction.raw_label]) + score.to_bytes(2, "little") + took.to_bytes(2, "little")
        )
    return _closed(body)


def decode(payload: bytes, names: DeviceModelInfo) -> Packet:
    """The label or gap in `payload` as a packet without samples. Raises `CodecError`."""
    _checked(payload, LABEL)
    if len(payload) != LABEL_SIZE:
        raise CodecError(f"a label has {LABEL_SIZE} bytes, not {len(payload)}")
    if int.from_bytes(payload[6:8], "little") != check_of(names):
        raise CodecError("a label of other names than the board began with. Start again")
    prediction = DevicePrediction(
        label=payload[8],
        raw_label=payload[9],
        score=int.from_bytes(payload[10:12], "little") / 65535,
        inference_s=int.from_bytes(payload[12:14], "little") * 64e-6,
    )
    if payload[0] & 16:
        prediction = DevicePrediction(
            reason=REASONS[payload[0] & 3], start_tick=int.from_bytes(payload[8:11], "little")
        )
    elif max(prediction.label, prediction.raw_label) >= len(names.labels):
        raise CodecError(f"label {max(prediction.label, prediction.raw_label)} of {len(names.labels)}")
    samples = np.empty((0, 6 if names.gyroscope else 3), np.float32)
    number, tick = int.from_bytes(payload[1:3], "little"), int.from_bytes(payload[3:6], "little")
    return Packet(samples, number, tick, prediction=prediction)


class Gatherer:
    """Puts names together from their pieces, in whatever order and from whichever on they come."""

    def __init__(self) -> None:
        self._of: tuple[int, bytes, int] | None = None
        self._pieces: dict[int, bytes] = {}

    def add(self, payload: bytes) -> DeviceModelInfo | None:
        """The names, once all pieces came. Raises `CodecError`."""
        _checked(payload, NAMES)
        number, count, piece = payload[3], payload[4], payload[5:-2]
        if not (number < count and piece and (len(piece) == PIECE or (number == count - 1 and len(piece) < PIECE))):
            raise CodecError(f"piece {number} of {count} with {len(piece)} bytes")
        of = payload[0], payload[1:3], count
        if of != self._of:
            self._of, self._pieces = of, {}
        self._pieces[number] = piece
        if len(self._pieces) < count:
            return None
        text = b"".join(self._pieces[i] for i in range(count))
        self._pieces = {}
        if crc_hqx(text, 0xFFFF) != int.from_bytes(payload[1:3], "little"):
            raise CodecError("the check of the names is wrong")
        return _names(text, bool(payload[0] & 16), bool(payload[0] & 8))


def _names(text: bytes, gyroscope: bool, samples: bool) -> DeviceModelInfo:
    try:
        model, label_set, hop_ms, *labels = text.decode().split("\n")
        hop_s = int(hop_ms) / 1000
    except ValueError as error:
        raise CodecError(f"names that are none: {error}") from None
    if not (len(labels) > 1 and labels[-1] == UNKNOWN and all(labels) and len({*labels}) == len(labels) < 256):
        raise CodecError(f"labels that are none: {labels}")
    if not (model and label_set and 0 < hop_s <= LONGEST_HOP_MS / 1000):
        raise CodecError(f"no model, label set or time between windows: {text[:60]!r}")
    return DeviceModelInfo(model, label_set, tuple(labels), hop_s, gyroscope, samples)


def _checked(payload: bytes, version: int) -> None:
    if len(payload) < 8 or payload[0] >> 5 != version:
        raise CodecError(f"not a packet of version {version}: {payload[:8].hex(' ')}, {len(payload)} bytes")
    if crc_hqx(payload[:-2], 0xFFFF) != int.from_bytes(payload[-2:], "little"):
        raise CodecError("the checksum of a packet is wrong")


def _closed(body: bytes) -> bytes:
    return body + crc_hqx(body, 0xFFFF).to_bytes(2, "little")
