"""Virtual wearables, one module per profile: the device's end of each protocol, without a radio."""

from __future__ import annotations

from firmware_bridge.simulator.wearable import Wearable
from firmware_bridge.simulator.wearables.banglejs import BangleBtadv, BangleJs
from firmware_bridge.simulator.wearables.dot import Dot
from firmware_bridge.simulator.wearables.infinitime import InfiniTime
from firmware_bridge.simulator.wearables.metamotion import MetaMotion
from firmware_bridge.simulator.wearables.microbit import MicroBit
from firmware_bridge.simulator.wearables.movesense import Movesense
from firmware_bridge.simulator.wearables.mujo import Mujo
from firmware_bridge.simulator.wearables.polar import PolarH10, PolarVerity
from firmware_bridge.simulator.wearables.thingy52 import Thingy52
from firmware_bridge.simulator.wearables.witmotion import WitMotion

WEARABLES: dict[str, type[Wearable]] = {
    "banglejs": BangleJs,
    "banglejs-btadv": BangleBtadv,
    "dot": Dot,
    "infinitime": InfiniTime,
    "metamotion": MetaMotion,
    "microbit": MicroBit,
    "movesense": Movesense,
    "mujo": Mujo,
    "polar-h10": PolarH10,
    "polar-verity": PolarVerity,
    "thingy52": Thingy52,
    "witmotion": WitMotion,
}
"""Wearables by the name for the simulator's `--wearable`: the profile, or one of its models such as "polar-h10"."""
