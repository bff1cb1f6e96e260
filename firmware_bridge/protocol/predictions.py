"""Packets of a board that recognizes on the device: its predictions, and the description of its model.

Both extend `firmware_bridge.protocol.packet`; all numbers are little endian. A prediction (a label or a gap):

    offset  0      head: 6 << 5 | gap << 4 | reason       0 missing, 1 invalid, 2 clock, 3 constant; 0 for a label
            1      u16  number of the last sample used, modulo 2**16
            3      u24  clock at the window's last point or the end of the gap, in 64 us, modulo 2**24
            6      u16  checksum of the model's description
            8      of a label: u8 label, u8 label of this window alone, u16 its score in 1/65535, u16 inference time in
                   64 us (65535: that or more); of a gap: u24 clock at its start, u24 0
            14     u16  CRC-16/CCITT-FALSE of all bytes before

A piece of the model's description; pieces are repeated several times a second, as a computer may connect at any time:

    offset  0      head: 7 << 5 | gyroscope << 4 | samples << 3     samples: whether these are sent too
            1      u16  CRC-16/CCITT-FALSE of the whole text
            3      u8   number of this piece, u8 number of pieces
            5      the piece: UTF-8, 100 bytes, the last one 1 to 100
            end    u16  CRC-16/CCITT-FALSE of all bytes before

The text has a line each for the model, the label set, the milliseconds from one window to the next, and every label,
the last one "unknown"; there is no line break at its end. Sample packets of such a board have version 5.
"""

from __future__ import annotations

from binascii import crc_hqx
from typing import get_args

import numpy as np

from firmware_bridge.stream import CodecError, DeviceModelInfo, DevicePrediction, Packet, Reason

PREDICTION, DEVICE_MODEL = 6, 7
"""Packet versions in the head."""

PIECE = 100
PREDICTION_SIZE = 16
UNKNOWN = "unknown"
MAX_HOP_MS = 60_000
REASONS: tuple[Reason, ...] = get_args(Reason)


def description(model: DeviceModelInfo) -> bytes:
    """The text that describes a model; it is sent in pieces."""
    return "\n".join([model.model, model.label_set, str(round(model.hop_s * 1000)), *model.labels]).encode()


def checksum(model: DeviceModelInfo) -> int:
    """Checksum of a model's description, by which predictions refer to it."""
    return crc_hqx(description(model), 0xFFFF)


def encode_device_model(model: DeviceModelInfo) -> list[bytes]:
    """Packets with all pieces of a model's description. Raises `ValueError` if it cannot be sent."""
    text, check = description(model), checksum(model)
    pieces = [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
    if len(pieces) > 255 or model != _parse(text, model.gyroscope, model.samples):
        raise ValueError(f"a device model that cannot be sent: {model}")
    head = DEVICE_MODEL << 5 | model.gyroscope << 4 | model.samples << 3
    start = bytes([head]) + check.to_bytes(2, "little")
    return [_with_crc(start + bytes([number, len(pieces)]) + piece) for number, piece in enumerate(pieces)]


def encode(prediction: DevicePrediction, model: DeviceModelInfo, number: int, tick: int) -> bytes:
    """The packet of a prediction; `number` is that of the last sample used, `tick` the device's clock."""
    gap = prediction.reason is not None
    head = PREDICTION << 5 | gap << 4 | (REASONS.index(prediction.reason) if prediction.reason else 0)
    body = bytes([head]) + (number & 0xFFFF).to_bytes(2, "little") + (tick & 0xFFFFFF).to_bytes(3, "little")
    body += checksum(model).to_bytes(2, "little")
    if gap:
        body += (prediction.start_tick & 0xFFFFFF).to_bytes(6, "little")
    else:
        score, took = round(prediction.score * 65535), min(round(prediction.inference_s / 64e-6), 65535)
        body += (
            bytes([prediction.label, prediction.raw_label]) + score.to_bytes(2, "little") + took.to_bytes(2, "little")
        )
    return _with_crc(body)


def decode(payload: bytes, model: DeviceModelInfo) -> Packet:
    """The prediction in `payload`, as a packet without samples. Raises `CodecError`."""
    _check(payload, PREDICTION)
    if len(payload) != PREDICTION_SIZE:
        raise CodecError(f"a prediction has {PREDICTION_SIZE} bytes, not {len(payload)}")
    if int.from_bytes(payload[6:8], "little") != checksum(model):
        raise CodecError("a prediction of another model than the board had at the start. Start again")
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
    elif max(prediction.label, prediction.raw_label) >= len(model.labels):
        raise CodecError(f"label {max(prediction.label, prediction.raw_label)} of {len(model.labels)}")
    samples = np.empty((0, 6 if model.gyroscope else 3), np.float32)
    number, tick = int.from_bytes(payload[1:3], "little"), int.from_bytes(payload[3:6], "little")
    return Packet(samples, number, tick, prediction=prediction)


class PieceCollector:
    """Assembles a device model's description from its pieces, which may arrive in any order."""

    def __init__(self) -> None:
        self._key: tuple[int, bytes, int] | None = None
        self._pieces: dict[int, bytes] = {}

    def add(self, payload: bytes) -> DeviceModelInfo | None:
        """Add a piece -> the device model once all pieces are there, else None. Raises `CodecError`."""
        _check(payload, DEVICE_MODEL)
        number, count, piece = payload[3], payload[4], payload[5:-2]
        if not (number < count and piece and (len(piece) == PIECE or (number == count - 1 and len(piece) < PIECE))):
            raise CodecError(f"piece {number} of {count} with {len(piece)} bytes")
        key = payload[0], payload[1:3], count
        if key != self._key:
            self._key, self._pieces = key, {}
        self._pieces[number] = piece
        if len(self._pieces) < count:
            return None
        text = b"".join(self._pieces[i] for i in range(count))
        self._pieces = {}
        if crc_hqx(text, 0xFFFF) != int.from_bytes(payload[1:3], "little"):
            raise CodecError("the checksum of a device model's description is wrong")
        return _parse(text, bool(payload[0] & 16), bool(payload[0] & 8))


def _parse(text: bytes, gyroscope: bool, samples: bool) -> DeviceModelInfo:
    try:
        model, label_set, hop_ms, *labels = text.decode().split("\n")
        hop_s = int(hop_ms) / 1000
    except ValueError as error:
        raise CodecError(f"an invalid description of a device model: {error}") from None
    if not (len(labels) > 1 and labels[-1] == UNKNOWN and all(labels) and len({*labels}) == len(labels) < 256):
        raise CodecError(f"invalid labels: {labels}")
    if not (model and label_set and 0 < hop_s <= MAX_HOP_MS / 1000):
        raise CodecError(f"no model, label set or time between windows: {text[:60]!r}")
    return DeviceModelInfo(model, label_set, tuple(labels), hop_s, gyroscope, samples)


def _check(payload: bytes, version: int) -> None:
    if len(payload) < 8 or payload[0] >> 5 != version:
        raise CodecError(f"not a packet of version {version}: {payload[:8].hex(' ')}, {len(payload)} bytes")
    if crc_hqx(payload[:-2], 0xFFFF) != int.from_bytes(payload[-2:], "little"):
        raise CodecError("the checksum of a packet is wrong")


def _with_crc(body: bytes) -> bytes:
    return body + crc_hqx(body, 0xFFFF).to_bytes(2, "little")
