"""A Bluetooth source with real bleak, under faults of radio, device and computer."""

from __future__ import annotations

import asyncio
import logging
import time

import numpy as np
import pytest
from bluetooth import StartWorld, bluetooth
from listening import PATIENCE_S, Stream, near, numbers

from mujo_edge.core import DeviceError, UsageError
from mujo_edge.sources import ble
from mujo_edge.sources.ble import BleSource, scan
from mujo_edge.sources.ble.scan import DiscoveredDevice, find

__all__ = ["bluetooth"]


async def test_lost_device_is_reconnected(bluetooth: StartWorld) -> None:
    world = bluetooth("mujo")
    async with Stream(await near(world, "mujo")) as stream:
        for times in (1, 2):
            await stream.until(lambda: len(stream.x) > 20)
            world.fault("0 disconnect 0.7")
            await stream.comes_back()
            assert stream.source.status == ""
            assert len(stream.source.notes) == 1
            assert stream.source.notes[0] == {1: "reconnected once", 2: "reconnected 2 times"}[times]
        sent = world.stats()["mujo"]["sent"]
        await asyncio.sleep(0.2)
    assert "connection lost, looking for it (try 1)" in stream.statuses
    got = numbers(stream)
    assert got == sorted(set(got)), "a notification was taken twice, or out of order"
    assert np.all(np.diff(stream.t_s) > 0)
    kinds = [kind for kind in stream.kinds if kind in ("open", "close")]
    assert kinds == ["open", "close", "open", "close", "open"]
    assert len(stream.data) >= sent - 12  # some were in transit when the link broke, twice
    assert len(stream.x) + sum(chunk.lost for chunk in stream.chunks) == got[-1] - got[0] + 1


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("0 adapter-off 1", "connection lost; Bluetooth is switched off"),
        ("0 bus-death 1", "connection lost; bluetoothd does not run"),
    ],
)
async def test_switched_off_bluetooth_is_waited_for(fault: str, status: str, bluetooth: StartWorld) -> None:
    world = bluetooth("mujo")
    async with Stream(await near(world, "mujo")) as stream:
        await stream.until(lambda: len(stream.x) > 20)
        world.fault(fault)
        await stream.comes_back()
        assert stream.source.status == ""
    assert status in stream.statuses
    got = numbers(stream)
    assert got == sorted(set(got))
    assert stream.source.notes == ["reconnected once"]


async def test_refused_connections_are_retried_and_logged(
    bluetooth: StartWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "mujo_edge")
    monkeypatch.setattr(ble, "BACKOFF_S", 0.1)
    world = bluetooth("mujo")
    discovered = await near(world, "mujo")
    world.fault(f"0 refuse {ble.FIRST_TRIES - 1}")
    async with Stream(discovered) as stream:
        await stream.until(lambda: len(stream.x) > 20)
        assert stream.statuses == [""]
        world.fault("0 refuse 2", "0 disconnect 0.3")
        await stream.comes_back()
    assert "connection lost, looking for it (try 3)" in stream.statuses
    ours = [record for record in caplog.records if record.name.startswith("mujo_edge.")]
    assert max(record.levelno for record in ours) == logging.INFO  # so nothing is printed by default
    info = "\n".join(record.message for record in ours if record.levelno == logging.INFO)
    assert info.count("connecting to mujo-edge (E0:") == ble.FIRST_TRIES + 3
    assert info.count("attempt 1 failed: cannot connect to mujo-edge (E0:") == 2
    assert info.count(" streams ax ay az gx gy gz at ") == 2
    assert "the connection was lost" in info
    assert any(record.message.startswith("connected after ") for record in ours)
    world.fault("0 refuse 100")
    with pytest.raises(DeviceError, match=r"cannot connect to mujo-edge \(E0:.*\): .*\. Bring it near"):
        await BleSource(discovered).__aenter__()


async def test_silent_device_is_reconnected(bluetooth: StartWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ble, "SILENT_S", 1.0)
    world = bluetooth("mujo")
    async with Stream(await near(world, "mujo")) as stream:
        await stream.until(lambda: len(stream.x) > 20)
        world.fault("0 burst 1.5")
        await stream.comes_back()
    got = numbers(stream)
    assert got == sorted(set(got))
    assert max(np.diff(got)) > 40


async def test_connected_device_without_samples_is_an_error(
    bluetooth: StartWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ble, "SILENT_S", 1.0)
    world = bluetooth("witmotion")
    discovered = await near(world, "witmotion")
    world.fault("0 loss 1")
    with pytest.raises(DeviceError, match=r"WT901BLE67 .* is connected, but sends no samples"):
        await BleSource(discovered).__aenter__()
    assert not world.stats()["witmotion"]["connected"]


async def test_cancel_during_connect_disconnects_the_device(bluetooth: StartWorld) -> None:
    world = bluetooth("witmotion")
    discovered = await near(world, "witmotion")
    world.fault("0 loss 1")  # so that it waits for the first sample
    connecting = asyncio.create_task(BleSource(discovered).__aenter__())
    async with asyncio.timeout(PATIENCE_S):
        while not world.stats()["witmotion"]["streaming"]:
            await asyncio.sleep(0.05)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert not world.stats()["witmotion"]["connected"]


async def test_device_gone_before_the_connect_is_an_error(
    bluetooth: StartWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ble, "SEEK_S", 0.5)
    monkeypatch.setattr(ble, "FIRST_TRIES", 2)
    world = bluetooth("witmotion")
    discovered = await near(world, "witmotion")
    world.fault("0 refuse 1", "0 disconnect 60")
    with pytest.raises(DeviceError, match=r"WT901BLE67 \(E0:.*\) does not advertise any more\. Bring it near"):
        await BleSource(discovered).__aenter__()


async def test_wrong_profile_is_reported(bluetooth: StartWorld) -> None:
    world = bluetooth("witmotion")
    discovered = await near(world, "witmotion", "mujo")
    with pytest.raises(DeviceError, match=r"it has no characteristic .*--profile right"):
        await BleSource(discovered).__aenter__()
    assert not world.stats()["witmotion"]["connected"]
    with pytest.raises(UsageError, match="no profile recognizes"):
        BleSource(DiscoveredDevice(discovered.advert, None, discovered.device))


async def test_bursts_and_a_slow_consumer_lose_nothing(bluetooth: StartWorld) -> None:
    world = bluetooth("mujo", options=("--fault", "0 interval 0.1"))
    async with Stream(await near(world, "mujo"), slow_s=0.05) as stream:
        await stream.until(lambda: len(stream.x) > 40)
        time.sleep(1.0)  # the whole event loop, so that a second's notifications come in one turn of it
        sent = world.stats()["mujo"]["sent"]
        await stream.until(lambda: len(stream.data) >= sent)
    got = numbers(stream)
    assert got == list(range(got[0], got[0] + len(got)))
    assert sum(chunk.lost for chunk in stream.chunks) == 0
    assert stream.source.notes == []


async def test_lost_and_damaged_packets_are_counted_exactly(bluetooth: StartWorld) -> None:
    world = bluetooth("mujo", options=("--fault", "0 loss 0.2", "--fault", "0 corrupt 0.1"))
    async with Stream(await near(world, "mujo")) as stream:
        await stream.until(lambda: len(stream.x) > 120)
    counts = world.stats()["mujo"]
    corrupt = sum(chunk.corrupt for chunk in stream.chunks)
    assert 0 < corrupt <= counts["corrupted"]
    assert counts["lost"] > 0
    got = numbers(stream)
    assert len(stream.x) == len(got)
    assert len(stream.x) + sum(chunk.lost for chunk in stream.chunks) == got[-1] - got[0] + 1


async def test_two_lost_devices_are_reconnected_by_one_scan(bluetooth: StartWorld) -> None:
    world = bluetooth("mujo", "witmotion")
    async with Stream(await near(world, "mujo")) as one, Stream(await near(world, "witmotion")) as other:
        await other.until(lambda: len(other.x) > 20)
        world.fault("0 disconnect 0.3 mujo", "0 disconnect 0.8 witmotion")
        await asyncio.gather(one.comes_back(), other.comes_back())
        sent = {name: counts["sent"] for name, counts in world.stats().items()}
        await asyncio.sleep(0.2)
    for stream, name in ((one, "mujo"), (other, "witmotion")):
        assert stream.source.notes == ["reconnected once"]
        assert len(stream.data) - sent[name] < 20  # the last 0.2 s; repeated notifications would be more


@pytest.mark.parametrize("fault", [None, "0 disconnect 60", "0 adapter-off 60", "0 bus-death 60"])
async def test_exit_is_quick_in_every_state(fault: str | None, bluetooth: StartWorld) -> None:
    world = bluetooth("witmotion")
    async with Stream(await near(world, "witmotion")) as stream:
        if fault:
            world.fault(fault)
            await stream.until(lambda: stream.source.status)
            await asyncio.sleep(0.3)
        leaving = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - leaving < 10
    assert not world.stats()["witmotion"]["connected"]


async def test_error_without_bluetooth_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere/bus")
    with pytest.raises(DeviceError, match="bluetoothd does not run"):
        await find(None, None, PATIENCE_S)
    with pytest.raises(DeviceError, match="bluetoothd does not run"):
        await scan.scan(PATIENCE_S)
