"""Data frames of Polar's measurement service (PMD): decoding of samples and their times.

    offset  0     measurement: 2 acceleration, 5 gyroscope (low six bits)
            1     u64 LE  ns since 2000-01-01 at the LAST sample
            9     frame type; bit 7: delta-compressed
            10    samples

Layout: Polar, "Polar Measurement Data Specification for 3rd Party" and "online_measurement" in
polarofficial/polar-ble-sdk, technical_documentation; undocumented parts (frame type 0x81, float deltas) from AccData,
GyrData and BlePMDClient of the same SDK and their tests.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from firmware_bridge.stream import DEG, F32, F64, CodecError, G

ACC, GYRO = 2, 5
HEAD = 10

I64 = npt.NDArray[np.int64]


def decode(frame: bytes, units: Mapping[int, float]) -> tuple[int, int, F32]:
    """A frame -> measurement, stamp in ns, and samples (n, 3), n >= 1, in m/s2 or rad/s.

    `units`: measurement -> unit of one count in g or deg/s, where the device stated it at the start.
    Raises `CodecError`.
    """
    if len(frame) <= HEAD:
        raise CodecError(f"a Polar frame has more than {HEAD} bytes, not {len(frame)}")
    kind, compressed, version, body = frame[0] & 0x3F, bool(frame[9] & 0x80), frame[9] & 0x7F, frame[HEAD:]
    match kind, compressed, version:
        case 2, False, 0 | 1 | 2:
            samples, unit = _raw(body, version + 1), G / 1000
        case 2, True, 0:
            if ACC not in units:
                raise CodecError("a Polar frame needs a unit that the device did not state")
            samples, unit = _deltas(body, 2), units[ACC] * G
        case 2, True, 1:
            samples, unit = _deltas(body, 2), units.get(ACC, 1.0) * G / 1000
        case 5, True, 0:
            samples, unit = _deltas(body, 2), units.get(GYRO, 1.0) * DEG
        case 5, True, 1:
            bits = _deltas(body, 4) & 0xFFFFFFFF  # the differences are of the floats' bits
            samples, unit = bits.astype(np.uint32).view(np.float32), units.get(GYRO, 1.0) * DEG
        case _:
            raise CodecError(f"a Polar frame of measurement {kind} and type 0x{frame[9]:02x} is unknown")
    with np.errstate(all="ignore"):  # floats may hold anything
        return kind, int.from_bytes(frame[1:9], "little"), (samples * np.float64(unit)).astype(np.float32)


class Stamps:
    """Times of the samples of one measurement, where only the last one of a frame is stamped.

    The others are spaced evenly before it, by the interval measured between consecutive frames, which usually differs
    from that of the nominal `rate_hz`.
    """

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz, self._period_ns = rate_hz, 1e9 / rate_hz
        self._last: int | None = None

    def times(self, stamp: int, n: int) -> F64:
        """Device time (n,) in seconds."""
        if self._last is not None:
            period_ns = (stamp - self._last) / n
            if abs(period_ns * self._rate_hz * 1e-9 - 1) < 0.1:  # no frame is missing between
                self._period_ns = period_ns
        self._last = stamp
        back: F64 = np.arange(n - 1, -1, -1, dtype=np.float64)
        return stamp * 1e-9 - back * (self._period_ns * 1e-9)


def _raw(body: bytes, size: int) -> I64:
    """(n, 3) of signed integers of `size` bytes. Raises `CodecError`."""
    if len(body) % (3 * size):
        raise CodecError(f"the samples of a Polar frame have {3 * size} bytes each, {len(body)} are left")
    wide = np.zeros((len(body) // size, 4), np.uint8)
    wide[:, 4 - size :] = np.frombuffer(body, np.uint8).reshape(-1, size)
    return (wide.view("<i4").astype(np.int64) >> (8 * (4 - size))).reshape(-1, 3)


def _deltas(body: bytes, size: int) -> I64:
    """Delta-compressed samples (n, 3): the first as three integers of `size` bytes, then blocks of differences.

    A block is u8 bits of a difference, u8 number of samples, and the differences x y z x y z ..., least significant
    bit first. Raises `CodecError`.
    """
    if len(body) < 3 * size:
        raise CodecError("a Polar delta frame ends within its reference sample")
    blocks: list[I64] = [np.frombuffer(body, f"<i{size}", 3).astype(np.int64)[None]]
    at = 3 * size
    while at < len(body):
        if at + 2 > len(body):
            raise CodecError("a Polar delta frame ends within the head of a block")
        width, count = body[at], body[at + 1]
        at += 2
        length = (3 * width * count + 7) // 8
        if width > 32 or at + length > len(body):
            raise CodecError(f"a block of {count} differences of {width} bits does not fit into a Polar delta frame")
        bits = np.unpackbits(np.frombuffer(body, np.uint8, length, at), count=3 * width * count, bitorder="little")
        weights = 1 << np.arange(width, dtype=np.int64)
        if width:
            weights[-1] *= -1  # two's complement
        blocks.append((bits.reshape(count, 3, width) * weights).sum(2))
        at += length
    return np.concatenate(blocks).cumsum(0)
