"""mujo-edge's own Bluetooth service, of its firmware (`firmware/mujo_packet.h` and the sketches).

    service  096b0001-6fd0-408f-8523-f279d89c073f, in the advertisement
    data     096b0002-...   notify: exactly one packet of `firmware_bridge.protocol.packet` per notification
    config   096b0003-...   read: channels, placement and rates; write: the requested rate

Config when read, little endian, at most 19 bytes, which fit the smallest ATT MTU:

    offset  0     u8       version of this layout: 1
            1     u8       channels: 3 (accelerometer) or 6 (accelerometer, gyroscope)
            2     u8       placement, an index into `PLACEMENTS`; 0 if unknown
            3     u16      current rate, in 1/10 Hz
            5     u8       k, number of supported rates: 1 to 6
            6     u16 * k  supported rates, in 1/10 Hz, ascending
            6+2k           reserved for later versions; ignored

    01 06 01 08 02 03 04 01 08 02 10 04    six channels at the wrist, currently 52 Hz; supports 26, 52 and 104 Hz

Config when written: u16 LE, the rate in 1/10 Hz; `08 02` requests 52 Hz. Firmware that does not support that rate keeps
the current one (it need not report an error, which not every stack can), so the client reads config again and uses the
rate in it.

The sensor streams while notifications of data are on. It sends the axes of a watch (x to 3 o'clock, y to 12 o'clock,
z out of the display) in m/s2 with gravity and rad/s. Its sample number and its clock continue without a connection and
across changes of the rate; they may start at any value. A packet has at most as many samples as fit the MTU.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from firmware_bridge.profiles.base import Advert, Profile, Read, Request, Script, Subscribe, Write, nearest_rate
from firmware_bridge.protocol import packet
from firmware_bridge.stream import IMU, CodecError, Packet, PayloadDecoder

SERVICE, DATA, CONFIG = (f"096b000{n}-6fd0-408f-8523-f279d89c073f" for n in (1, 2, 3))

VERSION = 1
MAX_RATES = 6
PLACEMENTS = (None, "wrist", "forearm", "arm", "chest", "waist", "pocket", "thigh", "ankle")


@dataclass(frozen=True, slots=True)
class Config:
    """Content of the config characteristic. `placement` is one of `PLACEMENTS`."""

    channels: int
    placement: str | None
    rate_hz: float
    rates_hz: tuple[float, ...]

    def encode(self) -> bytes:
        """The value of the config characteristic."""
        head = struct.pack(
            "<BBBHB",
            VERSION,
            self.channels,
            PLACEMENTS.index(self.placement),
            round(self.rate_hz * 10),
            len(self.rates_hz),
        )
        return head + b"".join(map(encode_rate, self.rates_hz))

    @classmethod
    def decode(cls, value: bytes) -> Config:
        """Decode the value of the config characteristic. Raises `CodecError`."""
        if len(value) < 8 or value[0] != VERSION:
            raise CodecError(f"not a mujo-edge config of version {VERSION}: {value.hex(' ')}")
        _, channels, placement, rate, k = struct.unpack_from("<BBBHB", value)
        if channels not in (3, 6) or not 1 <= k <= MAX_RATES or len(value) < 6 + 2 * k or rate == 0:
            raise CodecError(f"an invalid mujo-edge config: {value.hex(' ')}")
        rates = struct.unpack_from(f"<{k}H", value, 6)
        if 0 in rates:
            raise CodecError(f"a mujo-edge config with a rate of zero: {value.hex(' ')}")
        worn = PLACEMENTS[placement] if placement < len(PLACEMENTS) else None
        return cls(channels, worn, rate / 10, tuple(rate / 10 for rate in rates))


def encode_rate(rate_hz: float) -> bytes:
    """The value to write to config for a rate."""
    return struct.pack("<H", round(rate_hz * 10))


def recognize(advert: Advert) -> bool:
    """By its service."""
    return SERVICE in advert.services


def start(request: Request) -> Script:
    """Read the supported rates, request one, read back the effective one, subscribe."""
    offered = Config.decode((yield Read(CONFIG)))
    wanted_hz = nearest_rate(offered.rates_hz, request.rate_hz)
    yield Write(CONFIG, encode_rate(wanted_hz))
    config = Config.decode((yield Read(CONFIG)))
    yield Subscribe(DATA)

    def decode(payload: bytes) -> list[Packet]:
        packets = packet.decode(payload)
        if packets[0].x.shape[1] != config.channels:
            raise CodecError(f"a packet of {packets[0].x.shape[1]} channels, not {config.channels} as in config")
        return packets

    format = packet.format_of(config.channels == 6, config.rate_hz, config.placement)
    return PayloadDecoder(format, {DATA: decode})


PROFILE = Profile(
    name="mujo",
    title="mujo-edge firmware",
    source="firmware_bridge/profiles/mujo.py",
    channels=IMU,
    rates_hz=(26.0, 52.0, 104.0),  # of the sketches here; a device's config has its own
    clock="24-bit, 64 us, and a 16-bit sample number",
    recognize=recognize,
    start=start,
)
