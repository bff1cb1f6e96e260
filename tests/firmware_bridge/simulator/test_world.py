"""Unmodified bleak (its BlueZ backend) on the virtual radio: normal operation and every fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path

import pytest
from bleak import BleakClient, BleakScanner
from bleak.backends.device import BLEDevice
from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakDBusError,
    BleakDeviceNotFoundError,
    BleakError,
    BleakGATTProtocolError,
)

from firmware_bridge.profiles import PROFILES, mujo, recognize, witmotion
from firmware_bridge.profiles.base import Advert
from firmware_bridge.protocol import packet
from firmware_bridge.simulator.bluez import adapter
from firmware_bridge.simulator.faults import script
from firmware_bridge.simulator.motion import rest
from firmware_bridge.simulator.wearables import WEARABLES
from firmware_bridge.simulator.world import World

PATIENCE_S = 10.0
RESTING = b"\x55\x61" + bytes.fromhex("0000 0000 0008") + bytes(12)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A WitMotion sensor and a board with our firmware, both at rest."""
    async with World({name: WEARABLES[name](rest) for name in ("witmotion", "mujo")}, tmp_path / "bus") as world:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", world.address)
        yield world


async def find(name: str = "mujo-edge", timeout_s: float = PATIENCE_S) -> BLEDevice:
    device = await BleakScanner.find_device_by_name(name, timeout=timeout_s)
    assert device is not None
    return device


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that has to happen."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.02)


class Listener:
    """Receives the notifications of our board and lists their sample numbers."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.arrived_s: list[float] = []
        self.gone = asyncio.Event()

    async def listen(self, client: BleakClient) -> None:
        def take(_: object, value: bytearray) -> None:
            self.payloads.append(bytes(value))
            self.arrived_s.append(asyncio.get_running_loop().time())

        await client.start_notify(mujo.DATA, take)
        await until(lambda: self.payloads)

    @property
    def numbers(self) -> list[int]:
        return [one.seq for payload in self.payloads for one in packet.decode(payload) if one.seq is not None]

    @property
    def missing(self) -> int:
        return sum(b - a - 1 for a, b in pairwise(self.numbers))

    async def settle(self, world: World) -> None:
        """Stop sending, and wait for pending notifications."""
        await world.run(script("0 loss 1 mujo"))
        board = world.peripherals["mujo"].carriage
        await until(lambda: len(self.payloads) == board.sent - board.lost)


async def test_scan_gives_name_services_and_signal_strength(world: World) -> None:
    discovered = await BleakScanner.discover(timeout=0.5, return_adv=True)
    adverts = {advert.local_name: advert for _, advert in discovered.values()}
    assert {name: advert.service_uuids for name, advert in adverts.items()} == {
        "WT901BLE67": [],
        "mujo-edge": [mujo.SERVICE],
    }
    assert -52 <= adverts["WT901BLE67"].rssi <= -48
    assert -57 <= adverts["mujo-edge"].rssi <= -53


async def test_notifications_arrive_once_and_in_order(world: World) -> None:
    listener = Listener()
    async with BleakClient(await find(), disconnected_callback=lambda _: listener.gone.set()) as client:
        assert {service.uuid[4:8] for service in client.services if service.uuid.startswith("0000")} == {"1801"}
        assert mujo.SERVICE in {service.uuid for service in client.services}
        await listener.listen(client)
        await until(lambda: len(listener.payloads) >= 20)
        await listener.settle(world)
    assert listener.missing == 0
    assert listener.gone.is_set()
    await until(lambda: not world.stats()["mujo"]["connected"])


async def test_two_wearables_stream_at_once(world: World) -> None:
    board, sensor = Listener(), list[bytes]()
    async with BleakClient(await find()) as one, BleakClient(await find("WT901BLE67")) as other:
        await board.listen(one)
        await other.start_notify(witmotion.NOTIFY, lambda _, value: sensor.append(bytes(value)))
        await until(lambda: len(sensor) >= 10 and len(board.payloads) >= 10)
    assert set(sensor) == {RESTING}
    assert board.missing == 0


async def test_reads_writes_and_refusals(world: World) -> None:
    async with BleakClient(await find()) as client:
        assert mujo.Config.decode(bytes(await client.read_gatt_char(mujo.CONFIG))).rate_hz == 52
        await client.write_gatt_char(mujo.CONFIG, (1040).to_bytes(2, "little"), response=True)
        assert mujo.Config.decode(bytes(await client.read_gatt_char(mujo.CONFIG))).rate_hz == 104
        with pytest.raises(BleakGATTProtocolError, match="Invalid Attribute Value Length"):
            await client.write_gatt_char(mujo.CONFIG, b"\x00", response=True)
        with pytest.raises(BleakGATTProtocolError, match="Read Not Permitted"):
            await client.read_gatt_char(mujo.DATA)


async def test_mtu_is_that_of_the_wearable(world: World) -> None:
    async with BleakClient(await find()) as client:
        config = client.services.get_characteristic(mujo.CONFIG)
        assert config is not None
        assert config.max_write_without_response_size == 247 - 3
        await client._backend._acquire_mtu()
        assert client.mtu_size == 247 == world.peripherals["mujo"].wearable.mtu


async def test_notifications_by_socket(world: World) -> None:
    listener = Listener()
    async with BleakClient(await find()) as client:
        for _ in range(2):  # it can be acquired again once it was given up
            listener.payloads.clear()
            await client.start_notify(
                mujo.DATA, lambda _, value: listener.payloads.append(bytes(value)), bluez={"use_start_notify": False}
            )
            await until(lambda: len(listener.payloads) >= 5)
            await client.stop_notify(mujo.DATA)
            assert listener.missing == 0
            await until(lambda: not world.stats()["mujo"]["streaming"])


async def test_notification_socket_ends_with_the_connection(world: World) -> None:
    listener = Listener()
    for _ in range(2):
        listener.payloads.clear()
        listener.gone.clear()
        async with BleakClient(await find(), disconnected_callback=lambda _: listener.gone.set()) as client:
            await client.start_notify(
                mujo.DATA, lambda _, value: listener.payloads.append(bytes(value)), bluez={"use_start_notify": False}
            )
            await until(lambda: listener.payloads)
            await world.run(script("0 disconnect 0"))
            await until(listener.gone.is_set)


async def test_undisconnected_client_doubles_notifications_as_with_bluez(world: World) -> None:
    """BlueZ keeps a separate session for every client on the bus."""
    old, new = Listener(), Listener()
    forgotten = BleakClient(await find(), disconnected_callback=lambda _: old.gone.set())
    await forgotten.connect()
    await old.listen(forgotten)
    await world.run(script("0 disconnect 0"))
    await old.gone.wait()
    async with BleakClient(await find()) as client:
        await new.listen(client)
        await until(lambda: len(new.payloads) >= 20)
        assert max(new.payloads.count(payload) for payload in new.payloads) == 2
        await forgotten.disconnect()
        new.payloads.clear()
        await until(lambda: len(new.payloads) >= 10)
        assert len(set(new.payloads[2:])) == len(new.payloads[2:])


async def test_lost_notifications_are_missing(world: World) -> None:
    listener = Listener()
    async with BleakClient(await find()) as client:
        await listener.listen(client)
        await world.run(script("0 loss 0.3"))
        await until(lambda: world.stats()["mujo"]["lost"] >= 10)
        await world.run(script("0 loss 0"))
        lost, so_far = world.stats()["mujo"]["lost"], len(listener.payloads)
        await until(lambda: len(listener.payloads) > so_far + 3)
    assert listener.missing == lost


async def test_nothing_arrives_during_a_burst(world: World) -> None:
    listener = Listener()
    async with BleakClient(await find()) as client:
        await listener.listen(client)
        await world.run(script("0 burst 0.4 mujo"))
        before = listener.numbers[-1]
        await until(lambda: listener.numbers[-1] > before + 10)
    holes = [b - a - 1 for a, b in pairwise(listener.numbers) if b != a + 1]
    assert holes == [world.stats()["mujo"]["lost"]]
    assert holes[0] >= 15


@pytest.mark.parametrize("fault", ["stall 0.4", "delay 0.3", "interval 0.1"])
async def test_delayed_notifications_arrive(world: World, fault: str) -> None:
    listener = Listener()
    async with BleakClient(await find()) as client:
        await listener.listen(client)
        await world.run(script(f"0 {fault}"))
        await until(lambda: len(listener.payloads) >= 40)
        await listener.settle(world)
    assert listener.missing == 0
    assert max(b - a for a, b in pairwise(listener.arrived_s)) > 0.06  # at 52 Hz they come every 0.019 s


async def test_skipped_notifications_are_missing(world: World) -> None:
    listener = Listener()
    async with BleakClient(await find()) as client:
        await listener.listen(client)
        await world.run(script("0 skip 5 mujo"))
        await until(lambda: listener.missing)
    assert listener.missing == world.stats()["mujo"]["skipped"] == 5


async def test_corrupt_notifications_differ_in_a_byte(world: World) -> None:
    got: list[bytes] = []
    await world.run(script("0 corrupt 1 witmotion"))
    async with BleakClient(await find("WT901BLE67")) as client:
        await client.start_notify(witmotion.NOTIFY, lambda _, value: got.append(bytes(value)))
        await until(lambda: len(got) >= 10)
    assert all(sum(a != b for a, b in zip(payload, RESTING, strict=True)) == 1 for payload in got)
    assert world.stats()["witmotion"]["corrupted"] >= len(got)


async def test_disconnected_wearable_is_away_and_returns(world: World) -> None:
    listener = Listener()
    async with BleakClient(await find(), disconnected_callback=lambda _: listener.gone.set()) as client:
        await listener.listen(client)
        await world.run(script("0 disconnect 1 mujo"))
        async with asyncio.timeout(PATIENCE_S):
            await listener.gone.wait()
        assert not client.is_connected
    assert await BleakScanner.find_device_by_name("mujo-edge", timeout=0.3) is None
    async with BleakClient(await find()) as client:
        await listener.listen(client)
        last = listener.numbers[-1]
        await until(lambda: listener.numbers[-1] > last)
    assert listener.missing >= 50  # it went on sampling at 52 Hz
    assert len(set(listener.numbers)) == len(listener.numbers)


async def test_refused_connects_fail(world: World) -> None:
    device = await find()
    await world.run(script("0 refuse 2"))
    for _ in range(2):
        with pytest.raises(BleakDBusError, match="le-connection-refused"):
            await BleakClient(device).connect()
    async with BleakClient(device) as client:
        assert client.is_connected


async def test_canceled_connect_leaves_nothing_behind(world: World) -> None:
    device = await find()
    await world.run(script("0 disconnect 1.5 mujo"))
    with pytest.raises(TimeoutError):
        await BleakClient(device, timeout=0.5).connect()
    async with BleakClient(await find()) as client:
        await Listener().listen(client)


async def test_slow_wearable_replies_late(world: World) -> None:
    loop = asyncio.get_running_loop()
    async with BleakClient(await find()) as client:
        await world.run(script("0 slow 0.3"))
        began_s = loop.time()
        await client.read_gatt_char(mujo.CONFIG)
        assert loop.time() - began_s >= 0.3
        reading = asyncio.create_task(client.read_gatt_char(mujo.CONFIG))
        await asyncio.sleep(0.1)
        await world.run(script("0 disconnect 0"))  # fails if the device disconnects meanwhile
        with pytest.raises(BleakGATTProtocolError, match="Unlikely"):
            await reading


async def test_disconnect_during_service_discovery_fails_the_connect(world: World) -> None:
    device = await find()
    await world.run(script("0 slow 0.2"))
    connecting = asyncio.create_task(BleakClient(device).connect())
    await until(lambda: world.stats()["mujo"]["connected"])
    await world.run(script("0 disconnect 0\n0 slow 0"))
    with pytest.raises(BleakError, match="device disconnected"):
        await connecting
    async with BleakClient(await find()) as client:
        await Listener().listen(client)


async def test_switched_off_adapter_refuses(world: World) -> None:
    gone = asyncio.Event()
    client = BleakClient(await find(), disconnected_callback=lambda _: gone.set())
    await client.connect()
    await world.run(script("0 adapter-off 0.5"))
    await until(gone.is_set)
    await asyncio.sleep(0.1)  # the links go first
    with pytest.raises(BleakBluetoothNotAvailableError):
        await BleakScanner.discover(timeout=0.1)
    await client.disconnect()
    await asyncio.sleep(0.6)
    async with BleakClient(await find()) as client:
        await Listener().listen(client)


async def test_dead_bus_returns_at_the_same_address(world: World) -> None:
    listener = Listener()
    client = BleakClient(await find(), disconnected_callback=lambda _: listener.gone.set())
    await client.connect()
    await listener.listen(client)
    await world.run(script("0 bus-death 0.3"))
    await until(listener.gone.is_set)
    await client.disconnect()
    with pytest.raises((OSError, EOFError)):
        await BleakScanner.discover(timeout=0.1)
    await asyncio.sleep(0.5)
    async with BleakClient(await find()) as client:
        await listener.listen(client)
        count = len(listener.payloads)
        await until(lambda: len(listener.payloads) > count)


async def test_forgotten_device_must_be_discovered_again(world: World) -> None:
    device = await find()
    client = BleakClient(device)
    await client.connect()
    await client.unpair()
    with pytest.raises(BleakDeviceNotFoundError):
        await client.unpair()
    await client.disconnect()
    async with BleakClient(await find()) as client:
        assert client.is_connected


async def test_unseen_device_is_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "FORGET_S", 0.2)
    device = await find()
    await world.run(script("0 disconnect 1 mujo"))
    await asyncio.sleep(0.5)
    with pytest.raises(BleakError, match="not found"):
        await BleakClient(device).connect()
    async with BleakClient(await find()) as client:
        await asyncio.sleep(0.5)
        assert client.is_connected  # nor while it is connected and does not advertise


async def test_pairing_works_before_and_after_connecting(world: World) -> None:
    async with BleakClient(await find(), pair=True) as client:
        await Listener().listen(client)
        await client.pair()  # is paired already


async def test_faults_for_unknown_wearables_are_rejected(world: World) -> None:
    with pytest.raises(ValueError, match="no wearable is called 'polar'; there are witmotion, mujo"):
        await world.run(script("0 loss 1 polar"))


async def test_several_wearables_of_a_kind_are_distinguished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with World({name: WEARABLES["mujo"](rest) for name in "abc"}, tmp_path / "bus") as world:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", world.address)
        addresses = {peripheral.address for peripheral in world.peripherals.values()}
        assert {device.address for device in await BleakScanner.discover(timeout=0.5)} == addresses


async def test_every_profile_has_a_simulated_wearable_that_is_recognized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {wearable.profile for wearable in WEARABLES.values()} == set(PROFILES)
    async with World({name: wearable(rest) for name, wearable in WEARABLES.items()}, tmp_path / "bus") as world:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", world.address)
        discovered = await BleakScanner.discover(timeout=1.0, return_adv=True)
        for name, peripheral in world.peripherals.items():
            device, advertised = discovered[peripheral.address]
            advert = Advert(
                device.address,
                advertised.local_name or "",
                frozenset(advertised.service_uuids),
                advertised.manufacturer_data,
                advertised.rssi,
            )
            profile = recognize(advert)
            assert profile is not None, name
            assert profile.name == peripheral.wearable.profile


async def test_bus_that_dies_while_it_starts_comes_back(world: World) -> None:
    """With several faults at once a death can hit the start after the one before; then the bus stayed dead."""
    deaths = "\n".join(f"{0.02 * number} bus-death 0.03" for number in range(1, 20))
    await world.run(script(deaths + "\n0.1 adapter-off 0.05\n0.2 adapter-off 0.1\n"))
    await asyncio.sleep(0.5)
    assert (await find()).name == "mujo-edge"


async def test_death_during_a_longer_one_does_not_shorten_it(world: World, tmp_path: Path) -> None:
    await world.run(script("0 bus-death 1\n0.1 bus-death 0.1"))
    await asyncio.sleep(0.5)
    with pytest.raises(OSError, match=r"refused|No such"):
        await asyncio.open_unix_connection(tmp_path / "bus")
    await asyncio.sleep(1.0)
    assert await find()
