"""Names of several sources."""

from __future__ import annotations

from unittest.mock import patch

from bleak.backends.device import BLEDevice

from firmware_bridge.profiles import PROFILES
from firmware_bridge.profiles.base import Advert
from mujo_edge.cli.source import SourceOptions
from mujo_edge.sources.ble.scan import DiscoveredDevice


async def test_wearables_of_one_name_are_told_apart() -> None:
    profile = next(iter(PROFILES.values()))

    async def found(device: str | None, *args: object, **options: object) -> DiscoveredDevice:
        name = "Band" if device != "E0:03" else "Watch"
        return DiscoveredDevice(Advert(device, name), profile, BLEDevice(device, name, {}))

    with patch("mujo_edge.sources.ble.find", found):
        sources = await SourceOptions(device=["E0:01", "E0:02", "E0:03"]).open()
    assert [source.info.name for source in sources] == ["Band (E0:01)", "Band (E0:02)", "Watch"]
