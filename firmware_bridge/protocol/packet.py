"""The packet of mujo-edge's own firmware, over serial and Bluetooth. `firmware/mujo_packet.h` is its C twin.

    offset  0      head: version << 5 | gyroscope << 4 | samples - 1      1 to 16 samples; version 1, or 5 for a board
                   that recognizes on the device, and also sends the packets of `firmware_bridge.protocol.predictions`
            1      u16 LE  number of the first sample, modulo 2**16
            3      u24 LE  clock at the last sample in 64 us, modulo 2**24 (micros() >> 6; wraps every 17.9 min)
            6      int16 LE per sample: ax ay az [gx gy gz], acceleration in 1/200 m/s2, angular rate in 1/900 rad/s
            end    u16 LE  CRC-16/CCITT-FALSE of all bytes before

One six-axis sample, or two without gyroscope, make 20 bytes, which fit the smallest ATT MTU. On a serial line a packet
is COBS-encoded and ends with a zero byte; see `firmware_bridge.protocol.framing`.
"""

from __future__ import annotations

from binascii import crc_hqx

import numpy as np

from firmware_bridge.stream import ACC, F32, IMU, CodecError, Format, Packet

VERSION, LABELED = 1, 5
TICK_HZ = 1e6 / 64
TICK_BITS = 24
SEQ_BITS = 16
MAX_SAMPLES = 16

UNIT = np.array([1 / 200] * 3 + [1 / 900] * 3)
"""m/s2 and rad/s per count; the range is +-163 m/s2 and +-36 rad/s."""


def format_of(gyroscope: bool, rate_hz: float | None, placement: str | None = None) -> Format:
    """The format of such packets."""
    return Format(IMU if gyroscope else ACC, rate_hz, TICK_HZ, TICK_BITS, SEQ_BITS, placement=placement)


def encode(x: F32, seq: int, tick: int, version: int = VERSION) -> bytes:
    """The packet of samples `x` (n, 3 or 6) in m/s2 and rad/s; values out of range are clipped.

    Raises `ValueError` for more than `MAX_SAMPLES` samples, none, or other channels.
    """
    n, channels = x.shape
    if not 1 <= n <= MAX_SAMPLES or channels not in (3, 6):
        raise ValueError(f"a packet takes 1 to {MAX_SAMPLES} samples of 3 or 6 channels, not {x.shape}")
    head = version << 5 | (channels == 6) << 4 | n - 1
    counts = np.clip(np.rint(x / UNIT[:channels]), -32768, 32767).astype("<i2")
    body: bytes = bytes([head]) + (seq & 0xFFFF).to_bytes(2, "little") + (tick & 0xFFFFFF).to_bytes(3, "little")
    body += counts.tobytes()
    return body + crc_hqx(body, 0xFFFF).to_bytes(2, "little")


def decode(payload: bytes) -> list[Packet]:
    """The samples in `payload`, as one packet. Raises `CodecError`."""
    if len(payload) < 14 or payload[0] >> 5 not in (VERSION, LABELED):
        raise CodecError(f"not samples in a packet of mujo-edge: {payload[:8].hex(' ')}, {len(payload)} bytes")
    n, channels = (payload[0] & 15) + 1, 6 if payload[0] & 16 else 3
    size = 8 + 2 * n * channels
    if len(payload) != size:
        raise CodecError(f"a packet of {n} samples of {channels} channels has {size} bytes, not {len(payload)}")
    if crc_hqx(payload[:-2], 0xFFFF) != int.from_bytes(payload[-2:], "little"):
        raise CodecError("the checksum of a packet is wrong")
    counts = np.frombuffer(payload, "<i2", n * channels, 6).reshape(n, channels)
    x = (counts * UNIT[:channels]).astype(np.float32)
    return [Packet(x, int.from_bytes(payload[1:3], "little"), int.from_bytes(payload[3:6], "little"))]
