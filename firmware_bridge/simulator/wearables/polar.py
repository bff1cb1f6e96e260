"""A Polar H10 (accelerometer, raw frames) and a Polar Verity Sense (gyroscope too, delta frames, SDK mode).

Replies and frames are those of real devices as far as published; see `firmware_bridge.profiles.polar`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np

from firmware_bridge.profiles import polar
from firmware_bridge.profiles.polar import CHANNELS, FACTOR, RANGE, RATE, RESOLUTION
from firmware_bridge.profiles.polar_frames import ACC, GYRO
from firmware_bridge.simulator.wearable import AttributeRefusedError, Characteristic, Motion, Service, Wearable
from firmware_bridge.stream import DEG, F32, F64, G

EPOCH_NS = 599_616_000_000_000_000
"""2019-01-01 in ns since 2000-01-01, where the clock of an H10 starts if it was never set (TimeSystemExplained)."""

Settings = Mapping[int, tuple[int, ...]]
WRONG = {RATE: 8, RESOLUTION: 7, RANGE: 9, CHANNELS: 11}


class Pmd(Wearable):
    """Base of Polar's devices. `offers` are settings by measurement, `wider` those in SDK mode."""

    profile = "polar"
    services = (
        Service(
            polar.SERVICE,
            (
                Characteristic(polar.CONTROL, read=True, write=True, indicate=True),
                Characteristic(polar.DATA, notify=True),
            ),
        ),
    )
    features: bytes
    offers: Mapping[int, Settings]
    wider: Mapping[int, Settings] = {}
    in_charger = False
    batch = 36

    def __init__(self, motion: Motion, *, drift_ppm: float = 0.0, first: int = 0) -> None:
        super().__init__(motion, drift_ppm=drift_ppm, first=first)
        self.sdk = False
        self.started: dict[int, dict[int, int]] = {}

    def disconnect(self, now_s: float) -> None:
        """Measurements end with the connection."""
        super().disconnect(now_s)
        self.started.clear()

    def read(self, uuid: str) -> bytes:
        """The features."""
        if uuid != polar.CONTROL:
            return super().read(uuid)
        return self.features

    def write(self, uuid: str, data: bytes, now_s: float) -> list[tuple[str, bytes]]:
        """A command; the reply is an indication."""
        if uuid != polar.CONTROL or len(data) < 2:
            raise AttributeRefusedError(0x0D)
        status, settings = self._obey(data[0], data[1], data[2:], now_s)
        return [(polar.CONTROL, bytes([0xF0, *data[:2], status, 0]) + settings)]

    def _obey(self, command: int, kind: int, rest: bytes, now_s: float) -> tuple[int, bytes]:
        offers = self.wider if self.sdk else self.offers
        match command:
            case polar.SETTINGS if kind in offers:
                return 0, _pack(offers[kind])
            case polar.SDK_SETTINGS if kind in self.wider:
                return 0, _pack(self.wider[kind])
            case polar.START if self.in_charger:
                return 13, b""
            case polar.START | polar.STOP if kind == polar.SDK_MODE and self.wider:
                if self.sdk == (command == polar.START):
                    return polar.ALREADY, b""
                self.sdk, self.streaming = command == polar.START, False
                self.started.clear()
                return 0, b""
            case polar.START if kind in offers:
                return self._start(kind, offers[kind], rest, now_s)
            case polar.STOP if kind in offers:
                if self.started.pop(kind, None) is None:
                    return polar.ALREADY, b""
                self.streaming = ACC in self.started
                return 0, b""
            case polar.SETTINGS | polar.SDK_SETTINGS | polar.START | polar.STOP:
                return 3, b""
            case _:
                return 1, b""

    def _start(self, kind: int, offered: Settings, rest: bytes, now_s: float) -> tuple[int, bytes]:
        if kind in self.started:
            return polar.ALREADY, b""
        chosen = {setting: values[0] for setting, values in polar.parse_settings(rest).items()}
        if chosen.keys() != offered.keys():
            return 5, b""
        wrong = [setting for setting, value in chosen.items() if value not in offered[setting]]
        if wrong:
            return WRONG[wrong[0]], b""
        self.started[kind] = chosen
        if kind == ACC:
            self.set_rate(float(chosen[RATE]), now_s)
            self.begin(now_s)
        return 0, self.start_reply(kind, chosen)

    def start_reply(self, kind: int, chosen: Mapping[int, int]) -> bytes:
        """Bytes after the status in the reply to a start."""
        return b""


class PolarH10(Pmd):
    """Frames of 36 samples, 16-bit mg."""

    name = "Polar H10 5C5D2A21"
    features = bytes([0x0F, 0x05, *bytes(15)])
    offers: Mapping[int, Settings] = {ACC: {RATE: (25, 50, 100, 200), RESOLUTION: (16,), RANGE: (2, 4, 8)}}

    def start_reply(self, kind: int, chosen: Mapping[int, int]) -> bytes:
        """A reserved byte."""
        return b"\x01"

    def encode(self, x: F32, first: int, t_s: F64) -> list[tuple[str, bytes]]:
        """One raw frame."""
        limit = self.started[ACC][RANGE] * 1000
        counts = np.clip(np.rint(x[:, :3] / (G / 1000)), -limit, limit).astype("<i2")
        return [(polar.DATA, _head(ACC, float(t_s[-1]), 0x01) + counts.tobytes())]


class PolarVerity(Pmd):
    """Delta frames: acceleration in mg, angular rate in counts whose unit is in the reply to the start.

    The gyroscope samples at the same rate, `GYRO_LATE_S` after the accelerometer, in frames of `gyro_batch` samples,
    which do not end together with those of the accelerometer, so that some rows always wait for the gyroscope.
    """

    GYRO_LATE_S = 0.004
    GYRO_UNIT = 0.07  # deg/s

    name = "Polar Sense 9A3B1C2D"
    features = bytes([0x0F, 0x6E, 0x02, *bytes(14)])
    offers: Mapping[int, Settings] = {
        ACC: {RATE: (52,), RESOLUTION: (16,), RANGE: (8,), CHANNELS: (3,)},
        GYRO: {RATE: (52,), RESOLUTION: (16,), RANGE: (2000,), CHANNELS: (3,)},
    }
    wider: Mapping[int, Settings] = {
        ACC: {RATE: (26, 52, 104, 208, 416), RESOLUTION: (16,), RANGE: (2, 4, 8, 16), CHANNELS: (3,)},
        GYRO: {RATE: (26, 52, 104, 208, 416), RESOLUTION: (16,), RANGE: (250, 500, 1000, 2000), CHANNELS: (3,)},
    }
    rate_hz = 52.0
    gyro_batch = 28

    def __init__(self, motion: Motion, *, drift_ppm: float = 0.0, first: int = 0) -> None:
        super().__init__(motion, drift_ppm=drift_ppm, first=first)
        self._rotations = np.empty((0, 4))  # time and three rates of samples that do not fill a frame yet

    def begin(self, now_s: float) -> None:
        """Start both sensors' first frames together."""
        super().begin(now_s)
        self._rotations = self._rotations[:0]

    def start_reply(self, kind: int, chosen: Mapping[int, int]) -> bytes:
        """The unit of the gyroscope's counts."""
        return bytes([FACTOR, 1]) + struct.pack("<f", self.GYRO_UNIT) if kind == GYRO else b""

    def encode(self, x: F32, first: int, t_s: F64) -> list[tuple[str, bytes]]:
        """A frame of the accelerometer, and the frames that the gyroscope has filled since."""
        limit = self.started[ACC][RANGE] * 1000
        counts = np.clip(np.rint(x[:, :3] / (G / 1000)), -limit, limit).astype(np.int64)
        frames = [_head(ACC, float(t_s[-1]), 0x81) + _deltas(counts)]
        if GYRO in self.started:
            late_s = t_s + self.GYRO_LATE_S
            rates = self._motion(late_s)[:, 3:] / (self.GYRO_UNIT * DEG)
            self._rotations = np.concatenate(
                [self._rotations, np.column_stack([late_s, np.clip(rates, -32768, 32767)])]
            )
        while len(self._rotations) >= self.gyro_batch:
            full, self._rotations = np.split(self._rotations, [self.gyro_batch])
            frames.append(_head(GYRO, full[-1, 0], 0x80) + _deltas(np.rint(full[:, 1:]).astype(np.int64)))
        return [(polar.DATA, frame) for frame in frames]


def _head(kind: int, last_s: float, frame_type: int) -> bytes:
    return struct.pack("<BQB", kind, EPOCH_NS + round(last_s * 1e9), frame_type)


def _pack(settings: Settings) -> bytes:
    return b"".join(
        bytes([kind, len(values)]) + b"".join(value.to_bytes(polar.SIZES[kind], "little") for value in values)
        for kind, values in settings.items()
    )


def _deltas(counts: np.ndarray) -> bytes:
    """A reference sample and one block, with as few bits as its largest difference needs."""
    steps = np.diff(counts, axis=0).ravel().tolist()
    width = max((step if step >= 0 else ~step).bit_length() + 1 for step in steps)
    packed = sum((step & (1 << width) - 1) << i * width for i, step in enumerate(steps))
    head: bytes = counts[0].astype("<i2").tobytes() + bytes([width, len(counts) - 1])
    return head + int(packed).to_bytes((len(steps) * width + 7) // 8, "little")
