"""PineTime with InfiniTime: the motion service, up to 10 samples a second, sent only when a value changes.

Layout: InfiniTime, doc/MotionService.md and src/components/ble/MotionService.cpp; only on change:
src/components/motion/MotionController.cpp, Update; the 10 Hz of the system task: SystemTask.cpp.

    motion  00030002   notify: int16 LE x, y, z; 1024 = 1 g in every version (src/drivers/Bma421.cpp; discussed in
                       InfiniTime#1950), +-2 g

All three are the negative specific force along 3 o'clock, 12 o'clock and out of the display: flat with the display up
the chip's z is -1036, and its y is -795 with the left side down (wasp-os#185, measured), Bma421.cpp swaps x and y, and
MotionController.cpp waits for y to fall when the wrist is raised. There is no counter and no clock; a still watch may
send nothing, so a pause is no loss. A rate of 10 Hz captures only slow movement.
"""

from __future__ import annotations

from firmware_bridge.profiles.base import Advert, Profile, Request, Script, Subscribe
from firmware_bridge.profiles.microbit import read_values
from firmware_bridge.stream import ACC, Format, Packet, PayloadDecoder, axes

BASE = "-78fc-48fe-8e23-433b3a1942d0"
SERVICE, STEPS, MOTION = (f"0003000{n}{BASE}" for n in (0, 1, 2))
RATE_HZ = 10.0
AXES = axes("-x -y -z")


def decode(payload: bytes) -> list[Packet]:
    """The sample of one notification. Raises `CodecError`."""
    return read_values(payload, 1024, AXES)


def recognize(advert: Advert) -> bool:
    """By its name; the motion service is not advertised."""
    return advert.name in ("InfiniTime", "Pinetime-JF") or SERVICE in advert.services


def start(request: Request) -> Script:
    """Subscribe; there are no settings."""
    yield Subscribe(MOTION)
    return PayloadDecoder(Format(ACC, RATE_HZ, placement="wrist", even=False), {MOTION: decode})


PROFILE = Profile(
    name="infinitime",
    title="PineTime (InfiniTime)",
    source="https://github.com/InfiniTimeOrg/InfiniTime/blob/main/doc/MotionService.md",
    channels=ACC,
    rates_hz=(),
    clock="none",
    recognize=recognize,
    start=start,
)
