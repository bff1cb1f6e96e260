"""Profiles of the supported families of Bluetooth wearables, one module each."""

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
"""Profiles by the name for `--profile`, in the order in which advertisements are matched."""


def recognize(advert: Advert) -> Profile | None:
    """The profile of an advertising device, None if no profile matches."""
    return next((profile for profile in PROFILES.values() if profile.recognize(advert)), None)
