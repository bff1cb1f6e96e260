"""Polar's chest straps and optical sensors (H10, Verity Sense, OH1): the Polar Measurement Data service.

Source: Polar, "Polar Measurement Data Specification for 3rd Party" and "SdkModeExplained" (polarofficial/polar-ble-sdk,
technical_documentation), and PmdSetting, PmdControlPointResponse, PmdMeasurementType of the same SDK.

    01 type               read the possible settings; 04 type: those of SDK mode
    02 type [settings]    start; 02 09 turns SDK mode on
    03 type               stop
    reply                 F0 command type status more [settings]
    setting               u8 kind, u8 number, values: 0 rate in Hz, 1 resolution in bits, 2 range in g or deg/s (u16),
                          3 range in thousandths (u32), 4 channels (u8), 5 unit of one count (float32)

The axes are not documented, so they are not converted. Every frame has the device's time of its last sample. Gyroscope
samples have frames of their own, and are interpolated at the times of the accelerometer.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace

from firmware_bridge.merge import Merger
from firmware_bridge.profiles.base import (
    Advert,
    Expect,
    Profile,
    Read,
    Request,
    Script,
    Step,
    Subscribe,
    Write,
    nearest_rate,
)
from firmware_bridge.profiles.polar_frames import ACC, GYRO, Stamps, decode
from firmware_bridge.profiles.timestamp_filter import TimestampFilter, plausible
from firmware_bridge.stream import ACC as ACC_CHANNELS
from firmware_bridge.stream import IMU, CodecError, Format, Packet, PayloadDecoder

BASE = "-02e7-f387-1cad-8acd2d8df0c8"
SERVICE, CONTROL, DATA = (f"fb005c8{n}{BASE}" for n in range(3))

SETTINGS, START, STOP, SDK_SETTINGS = 1, 2, 3, 4
SDK_MODE = 9
RATE, RESOLUTION, RANGE, RANGE_MILLI, CHANNELS, FACTOR = range(6)
SIZES = {RATE: 2, RESOLUTION: 2, RANGE: 2, RANGE_MILLI: 4, CHANNELS: 1, FACTOR: 4}

COMMANDS = {SETTINGS: "describe", SDK_SETTINGS: "describe", START: "start", STOP: "stop"}
KINDS = {ACC: "its accelerometer", GYRO: "its gyroscope", SDK_MODE: "SDK mode"}

ALREADY = 6
STATUS = (
    "success",
    "it does not know the command",
    "it does not know the measurement",
    "it does not support that",
    "the command has a wrong length",
    "a parameter is wrong",
    "it does so already",
    "it does not have that resolution",
    "it does not have that rate",
    "it does not have that range",
    "the connection's MTU is too small (232 is needed)",
    "the number of channels is wrong",
    "it is not possible in its current state",
    "it is in its charger: take it out",
    "its memory is full",
)

REPLY_TIMEOUT_S = 30.0
"""Seconds to wait for a reply: the first one of a strap can take 25 to 30 s (polar-ble-sdk issues 414 and 569)."""

WAIT_S = 3.0
"""Seconds that accelerations wait for the gyroscope: two of its frames of 71 samples (polar-ble-sdk issue 317) at 52
Hz.

With a longer wait, a gyroscope that stopped would look like a device that stopped.
"""

MAX_SETTINGS = 512
"""Most bytes of settings in a reply."""


def recognize(advert: Advert) -> bool:
    """By the names of devices with an accelerometer, or the service."""
    return SERVICE in advert.services or advert.name.startswith(("Polar H10", "Polar Sense", "Polar OH1"))


def start(request: Request) -> Script:
    """Read the settings, turn SDK mode on if only that has the rate, and start the sensors at one rate."""
    yield Subscribe(CONTROL)
    yield Subscribe(DATA)
    features = yield Read(CONTROL)
    if len(features) < 3 or features[0] != 0x0F:
        raise CodecError(f"not the features of a Polar device: {features[:8].hex(' ')}")
    offered = int.from_bytes(features[1:3], "little")
    if not offered >> ACC & 1:
        raise CodecError("this Polar device has no accelerometer to stream")
    settings = parse_settings((yield from _ask(SETTINGS, ACC)))
    if request.rate_hz is not None and offered >> SDK_MODE & 1 and request.rate_hz not in settings.get(RATE, ()):
        wider = parse_settings((yield from _ask(SDK_SETTINGS, ACC)))
        if nearest_rate(_rates(wider), request.rate_hz) not in settings.get(RATE, ()):
            yield from _ask(START, SDK_MODE, accept=ALREADY)
            settings = parse_settings((yield from _ask(SETTINGS, ACC)))
    rate_hz = nearest_rate(_rates(settings), request.rate_hz)
    units = yield from _begin(ACC, settings, rate_hz)
    placement = "chest" if request.advert.name.startswith("Polar H10") else None
    frames = Format(ACC_CHANNELS, rate_hz, 1e9, placement=placement)
    if not offered >> GYRO & 1:
        return PayloadDecoder(frames, {DATA: plausible(_accelerometer(units), frames)})
    settings = parse_settings((yield from _ask(SETTINGS, GYRO)))
    gyro_hz = nearest_rate(_rates(settings), rate_hz)
    units |= yield from _begin(GYRO, settings, gyro_hz)
    rotations = replace(frames, rate_hz=gyro_hz)
    merger = Merger(str(ACC), (str(GYRO),), wait_s=WAIT_S)
    route = _both(frames, rotations, units, merger)
    return PayloadDecoder(Format(IMU, rate_hz, placement=placement), {DATA: route}, rest=merger.finish)


def parse_settings(data: bytes) -> dict[int, tuple[int, ...]]:
    """Settings by kind. Raises `CodecError`."""
    settings: dict[int, tuple[int, ...]] = {}
    at = 0
    while len(data) > 1 and at < len(data):  # a single byte is reserved
        kind, number = data[at], data[at + 1] if at + 1 < len(data) else 0
        size = SIZES.get(kind, 0)
        values = data[at + 2 : at + 2 + size * number]
        if not values or len(values) < size * number:
            raise CodecError(f"not the settings of a Polar device: {data.hex(' ')}")
        settings[kind] = tuple(int.from_bytes(values[i : i + size], "little") for i in range(0, len(values), size))
        at += 2 + len(values)
    return settings


def pack_settings(chosen: Mapping[int, int]) -> bytes:
    """Encode settings with one value each."""
    return b"".join(bytes([kind, 1]) + value.to_bytes(SIZES[kind], "little") for kind, value in chosen.items())


def _rates(settings: Mapping[int, tuple[int, ...]]) -> tuple[float, ...]:
    rates = tuple(float(rate) for rate in settings.get(RATE, ()) if rate)
    if not rates:
        raise CodecError("the Polar device offers no rate")
    return rates


def _converse(command: int, kind: int, rest: bytes = b"") -> Generator[Step, bytes, tuple[int, bytes]]:
    """Send a command -> status and settings of the reply, which may have several parts. Raises `CodecError`."""
    yield Write(CONTROL, bytes([command, kind]) + rest)
    head = bytes([0xF0, command, kind])
    settings = b""
    while len(settings) <= MAX_SETTINGS:
        answer = yield Expect(CONTROL, lambda reply: reply[:3] == head and len(reply) > 3, REPLY_TIMEOUT_S)
        settings += answer[5:]
        if answer[3] or len(answer) < 5 or not answer[4]:
            return answer[3], settings
    raise CodecError("the Polar device's reply does not end")


def _ask(command: int, kind: int, rest: bytes = b"", accept: int = 0) -> Generator[Step, bytes, bytes]:
    """Send a command -> the settings in the reply. Raises `CodecError` if it is refused with a status but `accept`."""
    status, settings = yield from _converse(command, kind, rest)
    if status not in (0, accept):
        why = STATUS[status] if status < len(STATUS) else f"status {status}"
        raise CodecError(f"the Polar device refuses to {COMMANDS[command]} {KINDS[kind]}: {why}")
    return settings


def _begin(
    kind: int, settings: Mapping[int, tuple[int, ...]], rate_hz: float
) -> Generator[Step, bytes, dict[int, float]]:
    """Start a measurement at a rate, with the widest range -> {kind: unit of one count}, if the device states it."""
    chosen = pack_settings({k: max(values) for k, values in settings.items() if k != FACTOR} | {RATE: int(rate_hz)})
    status, answer = yield from _converse(START, kind, chosen)
    if status:
        if status == ALREADY:  # left running by a lost connection, maybe at another rate
            yield from _ask(STOP, kind)
        answer = yield from _ask(START, kind, chosen)
    factors = parse_settings(answer).get(FACTOR)
    if factors is None:
        return {}
    (factor,) = struct.unpack("<f", factors[0].to_bytes(4, "little"))
    if not 1e-9 < factor < 1e9:
        raise CodecError(f"{factor:g} is no plausible unit of a Polar device")
    return {kind: factor}


def _accelerometer(units: Mapping[int, float]) -> Callable[[bytes], list[Packet]]:
    """A decoder of the frames of a device without gyroscope."""

    def route(frame: bytes) -> list[Packet]:
        kind, stamp, xyz = decode(frame, units)
        if kind != ACC:
            raise CodecError(f"a Polar frame of measurement {kind}, which was not requested")
        return [Packet(xyz, tick=stamp)]

    return route


def _both(
    accelerations: Format, rotations: Format, units: Mapping[int, float], merger: Merger
) -> Callable[[bytes], list[Packet]]:
    """A decoder of the frames of a device with gyroscope."""
    checks = {ACC: TimestampFilter(accelerations), GYRO: TimestampFilter(rotations)}
    stamps = {ACC: Stamps(accelerations.rate_hz or 0.0), GYRO: Stamps(rotations.rate_hz or 0.0)}

    def route(frame: bytes) -> list[Packet]:
        kind, stamp, xyz = decode(frame, units)
        good, damage = checks[kind].take(Packet(xyz, tick=stamp))
        rows: list[Packet] = []
        for packet in good:
            assert packet.tick is not None
            rows += merger.feed(str(kind), stamps[kind].times(packet.tick, len(packet.x)), packet.x)
        if damage:
            raise CodecError(damage, rows)
        return rows

    return route


PROFILE = Profile(
    name="polar",
    title="Polar H10, Verity Sense, OH1",
    source="https://github.com/polarofficial/polar-ble-sdk/blob/master/technical_documentation/online_measurement.pdf",
    channels=IMU,
    rates_hz=(25.0, 26.0, 50.0, 52.0, 100.0, 104.0, 200.0, 208.0, 416.0),
    clock="64-bit ns",
    recognize=recognize,
    start=start,
    stop=(
        Write(CONTROL, bytes([STOP, ACC])),
        Write(CONTROL, bytes([STOP, GYRO])),
        Write(CONTROL, bytes([STOP, SDK_MODE])),
    ),
)
