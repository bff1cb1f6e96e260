"""The families of Bluetooth wearables that mujo-edge knows, one module each."""

from __future__ import annotations

from firmware_bridge.profiles import (
    banglejs,
    dot,
    infinitime,
    metamotion,
    microbit,
    movesense,
    mujo,
    polar,
    thingy52,
    witmotion,
)
from firmware_bridge.profiles.base import Advert, Profile

PROFILES: dict[str, Profile] = {
    module.PROFILE.name: module.PROFILE
    for module in (banglejs, dot, metamotion, movesense, mujo, polar, witmotion, infinitime, microbit, thingy52)
}
"""By the name that `--profile` takes; the order is that in which an advertisement is tried."""


def recognize(advert: Advert) -> Profile | None:
    """The profile of an advertising device, None for one that no profile knows."""
    return next((profile for profile in PROFILES.values() if profile.recognize(advert)), None)
