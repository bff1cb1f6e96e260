"""A wearable that mujo-edge does not know: describe its bytes in a profile, and it streams like any other.

    python examples/own_device.py [SECONDS]

The bytes here are those of Nordic's Thingy:52 (without hardware: `make sim-ble SIM="--wearable thingy52"`). A profile
opens no connection: it yields steps and is sent their replies. It gives m/s2 with gravity and rad/s, on a watch's axes.
"""

from __future__ import annotations

import sys

import numpy as np

from firmware_bridge.profiles.base import Advert, Profile, Read, Request, Script, Subscribe
from firmware_bridge.stream import IMU, CodecError, Format, Packet, PayloadDecoder
from mujo_edge import MujoError, ble, recognize

BASE = "-9b35-4933-9b10-52ffa9740042"
ADVERTISED, CONFIG, RAW = (f"ef68{number}{BASE}" for number in ("0100", "0401", "0406"))
UNIT = np.array([-9.80665 / 1024] * 3 + [np.pi / 180 / 32] * 3)  # of one count: 1024 = 1 g (inverted), 32 = 1 deg/s
TO_WATCH = np.array([1, -1, -1, 1, -1, -1])  # z points down on this board


def decode(payload: bytes) -> list[Packet]:
    """One notification: six int16, little endian, then a compass. A packet may hold many samples (n, 6)."""
    if len(payload) != 18:
        raise CodecError(f"{len(payload)} bytes instead of 18")  # counted as corrupt; the stream goes on
    return [Packet((np.frombuffer(payload, "<i2", 6) * UNIT * TO_WATCH).astype(np.float32).reshape(1, 6))]


def start(request: Request) -> Script:
    """Ask how fast it samples, then subscribe. `Write`, `Expect` and `Pause` are the other steps."""
    config = yield Read(CONFIG)
    yield Subscribe(RAW)
    return PayloadDecoder(Format(IMU, rate_hz=float(int.from_bytes(config[6:8], "little"))), {RAW: decode})


def is_ours(advert: Advert) -> bool:
    """Whether an advertisement comes from such a device."""
    return ADVERTISED in advert.services


PROFILE = Profile(
    name="my-wearable",
    title="My wearable",
    source="https://nordicsemiconductor.github.io/Nordic-Thingy52-FW/documentation/firmware_architecture.html",
    channels=IMU,
    rates_hz=(),
    clock="none",
    recognize=is_ours,
    start=start,
)

if __name__ == "__main__":
    try:
        for p in recognize(ble(profile=PROFILE), duration_s=float(sys.argv[1]) if sys.argv[1:] else None):
            print(f"{p.end_s:.2f} s  {p.label} {p.score:.2f}", flush=True)
    except MujoError as error:
        sys.exit(f"own_device.py: {error}")
