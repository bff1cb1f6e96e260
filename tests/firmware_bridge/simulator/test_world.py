"""Unmodified bleak (its BlueZ backend) against the virtual radio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bleak import BleakClient, BleakScanner
from bleak.backends.device import BLEDevice
from bluetooth import StartWorld, bluetooth

from firmware_bridge.profiles import witmotion

__all__ = ["bluetooth"]

PATIENCE_S = 10.0


async def find(name: str = "WT901BLE67") -> BLEDevice:
    device = await BleakScanner.find_device_by_name(name, timeout=PATIENCE_S)
    assert device is not None
    return device


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that has to happen."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.02)


async def test_bleak_finds_connects_and_is_notified(bluetooth: StartWorld) -> None:
    world = bluetooth("witmotion", "mujo")
    found = await BleakScanner.discover(timeout=0.5, return_adv=True)
    heard = {advert.local_name: (advert.rssi, len(advert.service_uuids)) for _, advert in found.values()}
    assert heard == {"WT901BLE67": (-50, 0), "mujo-edge": (-54, 1)}
    got: list[bytes] = []
    gone = asyncio.Event()
    async with BleakClient(await find(), disconnected_callback=lambda _: gone.set()) as client:
        assert {service.uuid[4:8] for service in client.services} == {"1801", "ffe5"}
        await client.start_notify(witmotion.NOTIFY, lambda _, value: got.append(bytes(value)))
        await until(lambda: len(got) >= 25)
        await client.stop_notify(witmotion.NOTIFY)
        assert world.stats()["witmotion"]["sent"] - len(got) in (0, 1)
    assert gone.is_set()
    assert not world.stats()["witmotion"]["connected"]
    assert all(witmotion.decode(payload) for payload in got)
