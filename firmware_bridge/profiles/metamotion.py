"""MbientLab's MetaMotion boards (R, RL, C, S) with their BMI160 or BMI270.

Source: mbientlab/MetaWear-SDK-Cpp: accelerometer_bosch.cpp, gyro_bosch.cpp, dataprocessor_config.h, metawearboard.cpp,
and the bytes in its tests. A command is module, register, bytes; the reply to a read is module, 0x80 | register, bytes.

    mm 80                 read the module; reply mm 80 type revision, without a type if there is no such module
    03 03 rate range      accelerometer: rate and range; 13 03: gyroscope
    09 02 source type ..  add a processor; reply 09 02 id
    09 03 id data         output of a processor

Firmware since data processor revision 3 can merge its sensors: a buffer (0F) keeps the last rotation, a fuser (1B) adds
it to each acceleration, and an accounter (11) prepends the clock, in ticks of 48 / 32768 s:

    09 03 id  u32 LE tick  int16 LE ax ay az, 2048 = 1 g  int16 LE gx gy gz, 16.4 = 1 deg/s

Older firmware, or a board without gyroscope, sends three accelerations per notification without a clock: 03 1C (BMI160)
or 03 05 (BMI270). The axes are published only as pictures, so they are not converted.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from firmware_bridge.profiles.base import (
    Advert,
    Expect,
    Profile,
    Request,
    Script,
    Step,
    Subscribe,
    Write,
    nearest_rate,
)
from firmware_bridge.profiles.timestamp_filter import plausible
from firmware_bridge.stream import ACC, DEG, IMU, CodecError, Format, G, Packet, PayloadDecoder

BASE = "-85cb-9195-d9dd-464cfbbae75a"
SERVICE, COMMAND, NOTIFY = (f"326a900{n}{BASE}" for n in (0, 1, 6))

ACCELEROMETER, PROCESSOR, GYROSCOPE = 0x03, 0x09, 0x13
BMI160, BMI270 = 1, 4
"""Types of the accelerometer module."""

FUSE_REVISION = 3
TICK_HZ = 32768 / 48

RATES = {25.0: 6, 50.0: 7, 100.0: 8}
"""Rate in Hz -> its code, for both sensors and both chips. The connection supports up to 100 Hz."""

CONFIG = {BMI160: (0x20, 0x0C), BMI270: (0xA0, 0x03)}
"""Accelerometer settings by chip: the filter bits to add to the code of the rate, and the code of 16 g."""

ROTATION = {BMI160: 0x05, BMI270: 0x04}
PACKED = {BMI160: 0x1C, BMI270: 0x05}
"""Registers of one rotation and of three accelerations, by chip."""

UNIT = np.array([G / 2048] * 3 + [DEG / 16.4] * 3)

SILENCE = (
    bytes([ACCELEROMETER, 0x01, 0x00]),
    bytes([GYROSCOPE, 0x01, 0x00]),
    bytes([ACCELEROMETER, 0x02, 0x00, 0x01]),
    bytes([GYROSCOPE, 0x02, 0x00, 0x01]),
    bytes([PROCESSOR, 0x08]),
)
"""Commands that stop both sensors and remove all processors, which otherwise persist after the connection."""


def recognize(advert: Advert) -> bool:
    """By its service, or its default names."""
    return SERVICE in advert.services or advert.name.startswith(("MetaWear", "MetaMotion"))


def start(request: Request) -> Script:
    """Identify the board, stop it, configure and merge both sensors, and start."""
    rate_hz = nearest_rate(tuple(RATES), request.rate_hz)
    yield Subscribe(NOTIFY)
    accelerometer = yield from _module(ACCELEROMETER)
    chip = accelerometer[0] if accelerometer else None
    if chip not in CONFIG:
        raise CodecError(f"this board's accelerometer has type {chip}; supported are BMI160 and BMI270")
    gyroscope = yield from _module(GYROSCOPE)
    processor = yield from _module(PROCESSOR)
    for command in SILENCE:
        yield _command(command)
    filtered, widest = CONFIG[chip]
    yield _command(bytes([ACCELEROMETER, 0x03, filtered | RATES[rate_hz], widest]))
    if not gyroscope or processor[1:2] < bytes([FUSE_REVISION]):
        packed = bytes([ACCELEROMETER, PACKED[chip]])
        yield _command(packed + b"\x01")
        yield from _sample(ACCELEROMETER)
        return PayloadDecoder(Format(ACC, rate_hz), {NOTIFY: lambda payload: decode_packed(payload, packed)})
    yield _command(bytes([GYROSCOPE, 0x03, 0x20 | RATES[rate_hz], 0x00]))
    buffer = yield from _add(bytes([GYROSCOPE, ROTATION[chip], 0xFF, 0xA0, 0x0F, 0x05]))
    fuser = yield from _add(bytes([ACCELEROMETER, 0x04, 0xFF, 0xA0, 0x1B, 0x01, buffer, *bytes(11)]))
    accounter = yield from _add(bytes([PROCESSOR, 0x03, fuser, 0x60, 0x11, 0x31, 0x03]))
    yield _command(bytes([PROCESSOR, 0x07, accounter, 0x01]))
    yield _command(bytes([PROCESSOR, 0x03, 0x01]))
    yield from _sample(ACCELEROMETER, GYROSCOPE)
    format = Format(IMU, rate_hz, TICK_HZ, tick_bits=32)
    return PayloadDecoder(format, {NOTIFY: plausible(lambda payload: decode_fused(payload, accounter), format)})


def decode_fused(payload: bytes, accounter: int) -> list[Packet]:
    """The sample of one notification. Raises `CodecError`."""
    if len(payload) != 19 or payload[:3] != bytes([PROCESSOR, 0x03, accounter]):
        raise CodecError(f"not a fused sample of a MetaMotion: {payload[:8].hex(' ')}, {len(payload)} bytes")
    x = (np.frombuffer(payload, "<i2", 6, 7) * UNIT).astype(np.float32)
    return [Packet(x[None], tick=int.from_bytes(payload[3:7], "little"))]


def decode_packed(payload: bytes, head: bytes) -> list[Packet]:
    """The three accelerations of one notification. Raises `CodecError`."""
    if len(payload) != 20 or payload[:2] != head:
        raise CodecError(f"not three accelerations of a MetaMotion: {payload[:8].hex(' ')}, {len(payload)} bytes")
    return [Packet((np.frombuffer(payload, "<i2", 9, 2).reshape(3, 3) * UNIT[:3]).astype(np.float32))]


def _command(data: bytes) -> Write:
    return Write(COMMAND, data, response=False)


def _module(module: int) -> Generator[Step, bytes, bytes]:
    """Type and revision of a module; empty if the board lacks it."""
    yield _command(bytes([module, 0x80]))
    answer = yield Expect(NOTIFY, lambda reply: reply[:2] == bytes([module, 0x80]))
    return answer[2:]


def _add(processor: bytes) -> Generator[Step, bytes, int]:
    """Add a processor -> its number. Raises `CodecError`."""
    yield _command(bytes([PROCESSOR, 0x02]) + processor)
    answer = yield Expect(NOTIFY, lambda reply: reply[:2] == bytes([PROCESSOR, 0x02]))
    if len(answer) != 3:
        raise CodecError(f"the MetaMotion does not add a processor: {answer.hex(' ')}")
    return answer[2]


def _sample(*sensors: int) -> Generator[Step, bytes, None]:
    """Start sensors."""
    for sensor in sensors:
        yield _command(bytes([sensor, 0x02, 0x01, 0x00]))
    for sensor in sensors:
        yield _command(bytes([sensor, 0x01, 0x01]))


PROFILE = Profile(
    name="metamotion",
    title="MbientLab MetaMotion",
    source="https://github.com/mbientlab/MetaWear-SDK-Cpp",
    channels=IMU,
    rates_hz=tuple(RATES),
    clock="32-bit, 1.46 ms; none with old firmware",
    recognize=recognize,
    start=start,
    stop=tuple(_command(command) for command in SILENCE),
)
