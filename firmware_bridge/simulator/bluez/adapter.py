"""The adapter and its known devices, as BlueZ's D-Bus objects (doc/org.bluez.Adapter.rst and Device.rst)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from bumble import hci
from bumble.core import AdvertisingData, BaseBumbleError, PhysicalTransport
from bumble.device import Advertisement, Device
from dbus_fast import Message, Variant

from firmware_bridge.simulator.bluez.gatt import RemoteServices, long_uuid
from firmware_bridge.simulator.bluez.objects import Answer, Interface, Objects, RefusedError

ADAPTER, DEVICE = "org.bluez.Adapter1", "org.bluez.Device1"
PATH = "/org/bluez/hci0"

CONNECT_TIMEOUT_S = 20.0
"""Seconds after which Linux gives up connecting (HCI_LE_CONN_TIMEOUT)."""

FORGET_S = 30.0
"""Seconds after which bluetoothd forgets a device that is not seen, connected or paired (TemporaryTimeout)."""

UUID_LISTS = (
    AdvertisingData.INCOMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS,
    AdvertisingData.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS,
    AdvertisingData.INCOMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS,
    AdvertisingData.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS,
)


class RemoteDevice:
    """One device: its D-Bus object, the link to it and its services."""

    def __init__(self, adapter: Adapter, path: str, address: Any) -> None:
        self.path, self._adapter, self._objects = path, adapter, adapter.objects
        self._address = address
        self._services = RemoteServices(self._objects, path)
        self._connection: Any = None
        self._connecting: asyncio.Task[Any] | None = None
        self._forgetting: asyncio.TimerHandle | None = None
        text = str(address).split("/")[0]
        properties = {
            "Address": Variant("s", text),
            "AddressType": Variant("s", "public" if address.is_public else "random"),
            "Alias": Variant("s", text.replace(":", "-")),
            "Adapter": Variant("o", PATH),
            "UUIDs": Variant("as", []),
            "ServicesResolved": Variant("b", False),
        }
        for name in ("Paired", "Bonded", "Trusted", "Blocked", "LegacyPairing", "Connected"):
            properties[name] = Variant("b", False)
        self._unexported: dict[str, Variant] | None = properties

    def advertised(self, advertisement: Advertisement) -> None:
        """Publish changes from an advertisement, and postpone forgetting the device."""
        data = advertisement.data
        news = {"RSSI": Variant("n", advertisement.rssi)}
        name = data.get(AdvertisingData.COMPLETE_LOCAL_NAME) or data.get(AdvertisingData.SHORTENED_LOCAL_NAME)
        if name:
            news |= {"Name": Variant("s", name), "Alias": Variant("s", name)}
        uuids = [long_uuid(uuid) for kind in UUID_LISTS for part in data.get_all(kind) for uuid in part]
        if uuids:
            known = self._value("UUIDs") or []
            news["UUIDs"] = Variant("as", [*known, *(uuid for uuid in uuids if uuid not in known)])
        manufacturers = data.get_all(AdvertisingData.MANUFACTURER_SPECIFIC_DATA)
        if manufacturers:
            blobs = {int(company): Variant("ay", bytes(blob)) for company, blob in manufacturers}
            news["ManufacturerData"] = Variant("a{qv}", blobs)
        if self._unexported is not None:
            properties, self._unexported = self._unexported | news, None
            self._objects.add(self.path, DEVICE, Interface(properties, self._methods(), {"Trusted": self._trust}))
        else:
            self._publish({name: value for name, value in news.items() if value.value != self._value(name)})
        self._keep()

    def discovery_ended(self) -> None:
        """Remove the signal strength, which is known only during discovery."""
        if self._value("RSSI") is not None:
            self._objects.change(self.path, DEVICE, {}, gone=("RSSI",))

    async def left(self, sender: str) -> None:
        """A client left the bus."""
        await self._services.left(sender)

    async def drop(self) -> None:
        """End the link, or the attempt to connect."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            with suppress(BaseBumbleError):
                await self._connection.disconnect()

    def forget(self) -> None:
        """Remove its objects."""
        if self._forgetting is not None:
            self._forgetting.cancel()
        self._objects.remove(self.path)

    def _methods(self) -> dict[str, Any]:
        return {
            "Connect": self._connect,
            "Disconnect": self._disconnect,
            "Pair": self._pair,
            "CancelPairing": self._disconnect,
        }

    def _value(self, name: str) -> Any:
        return None if self._unexported is not None else self._objects.value(self.path, DEVICE, name)

    def _publish(self, changed: Mapping[str, Variant]) -> None:
        if changed and self.path in self._objects:
            self._objects.change(self.path, DEVICE, changed)

    def _keep(self) -> None:
        if self._forgetting is not None:
            self._forgetting.cancel()
        self._forgetting = asyncio.get_running_loop().call_later(FORGET_S, self._expire)

    def _expire(self) -> None:
        if self._connecting is not None:
            self._keep()
        elif self._connection is None and not self._value("Paired"):
            self._adapter.forget(self.path)

    async def _trust(self, value: Variant) -> None:
        self._publish({"Trusted": value})

    async def _connect(self, message: Message) -> Answer:
        if self._connecting is not None:
            raise RefusedError("InProgress", "Operation already in progress")
        if self._connection is None:
            link = self._connecting = asyncio.create_task(self._link())
            try:
                await asyncio.wait({link})
            finally:
                self._connecting = None
                link.cancel()
            if link.cancelled():
                raise RefusedError("Failed", "br-connection-canceled")
            link.result()
        return Answer()

    async def _link(self) -> None:
        """Connect. Clients see the new state before the reply to their call, and the services later."""
        connection = await self._adapter.link(self._address)
        self._connection = connection
        connection.on("disconnection", self._on_disconnection)
        self._publish({"Connected": Variant("b", True)})
        self._objects.spawn(self._resolve(connection))

    async def _resolve(self, connection: Any) -> None:
        uuids = await self._services.resolve(connection)
        if self._connection is connection:
            self._publish({"UUIDs": Variant("as", uuids)})
            self._publish({"ServicesResolved": Variant("b", True)})

    def _on_disconnection(self, reason: int) -> None:
        self._connection = None
        self._services.disconnected()
        self._publish({"ServicesResolved": Variant("b", False)})
        self._publish({"Connected": Variant("b", False)})
        self._keep()

    async def _disconnect(self, message: Message) -> Answer:
        await self.drop()
        return Answer()

    async def _pair(self, message: Message) -> Answer:
        if self._value("Paired"):
            raise RefusedError("AlreadyExists", "Already Exists")
        await self._connect(message)
        try:
            await self._connection.pair()
        except BaseBumbleError as error:
            raise RefusedError("AuthenticationFailed", "Authentication Failed") from error
        self._publish({"Paired": Variant("b", True), "Bonded": Variant("b", True)})
        return Answer()


class Adapter:
    """hci0: discovery while a client requests it, one connect at a time, and the known devices.

    `refuse` is how many further connects fail, as with radio interference.
    """

    def __init__(self, objects: Objects, central: Device) -> None:
        self.objects, self.refuse = objects, 0
        self._central, self._devices = central, dict[str, RemoteDevice]()
        self._discoverers: set[str] = set()
        self._dialling = asyncio.Lock()
        central.on("advertisement", self._on_advertisement)
        properties = {
            "Address": Variant("s", str(central.random_address).split("/")[0]),
            "AddressType": Variant("s", "public"),
            "Name": Variant("s", "mujo-edge simulator"),
            "Alias": Variant("s", "mujo-edge simulator"),
            "Class": Variant("u", 0),
            "Powered": Variant("b", True),
            "PowerState": Variant("s", "on"),
            "Discoverable": Variant("b", False),
            "Pairable": Variant("b", True),
            "Discovering": Variant("b", False),
            "UUIDs": Variant("as", []),
            "Modalias": Variant("s", "usb:v1D6Bp0246d0542"),
            "Roles": Variant("as", ["central"]),
        }
        methods = {
            "StartDiscovery": self._start_discovery,
            "StopDiscovery": self._stop_discovery,
            "SetDiscoveryFilter": self._set_discovery_filter,
            "RemoveDevice": self._remove_device,
        }
        objects.add(PATH, ADAPTER, Interface(properties, methods, {"Powered": self._set_powered}))

    async def link(self, address: Any) -> Any:
        """Connect to a device, one at a time. Raises `RefusedError` if it is out of range or `refuse` is set."""
        self._powered()
        if self.refuse:
            self.refuse -= 1
            raise RefusedError("Failed", "le-connection-refused")
        async with self._dialling:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    return await self._central.connect(address, transport=PhysicalTransport.LE, timeout=None)
            except TimeoutError:
                await self._give_up(address)
                raise RefusedError("Failed", "le-connection-unknown") from None
            except asyncio.CancelledError:
                await self._give_up(address)
                raise

    async def power(self, on: bool) -> None:
        """Switch the adapter on or off; off ends every link and discovery."""
        if not on:
            self._discoverers.clear()
            await self._rest()
            for device in list(self._devices.values()):
                await device.drop()
        state = {"Powered": Variant("b", on), "PowerState": Variant("s", "on" if on else "off")}
        self.objects.change(PATH, ADAPTER, state)

    async def left(self, sender: str) -> None:
        """A client left the bus: its discovery and notifications end, its connections stay."""
        if sender in self._discoverers:
            self._discoverers.discard(sender)
            await self._rest()
        for device in list(self._devices.values()):
            await device.left(sender)

    def forget(self, path: str) -> None:
        """Forget a device."""
        self._devices.pop(path).forget()

    async def close(self) -> None:
        """End every link, without signals."""
        self._central.remove_listener("advertisement", self._on_advertisement)
        if self._central.is_scanning:
            await self._central.stop_scanning()
        for device in self._devices.values():
            await device.drop()
            device.forget()

    async def _give_up(self, address: Any) -> None:
        """Cancel an attempt to connect, and end the link if it was made meanwhile."""
        await self._central.send_sync_command(hci.HCI_LE_Create_Connection_Cancel_Command())
        connection = self._central.find_connection_by_bd_addr(address, PhysicalTransport.LE)
        if connection is not None:
            await connection.disconnect()

    def _powered(self) -> None:
        if not self.objects.value(PATH, ADAPTER, "Powered"):
            raise RefusedError("NotReady", "Resource Not Ready")

    def _on_advertisement(self, advertisement: Advertisement) -> None:
        if not self._discoverers:
            return
        text = str(advertisement.address).split("/")[0]
        path = f"{PATH}/dev_{text.replace(':', '_')}"
        if path not in self._devices:
            self._devices[path] = RemoteDevice(self, path, advertisement.address)
        self._devices[path].advertised(advertisement)

    async def _set_powered(self, value: Variant) -> None:
        await self.power(bool(value.value))

    async def _set_discovery_filter(self, message: Message) -> Answer:
        """Accept any filter: clients filter themselves, and all devices are LE."""
        return Answer()

    async def _start_discovery(self, message: Message) -> Answer:
        self._powered()
        if message.sender in self._discoverers:
            raise RefusedError("InProgress", "Operation already in progress")
        self._discoverers.add(message.sender or "")
        self.objects.spawn(self._discover())
        return Answer()

    async def _discover(self) -> None:
        """Scan after the reply to the call, since clients ignore devices that appear earlier."""
        if self._discoverers and not self._central.is_scanning:
            await self._central.start_scanning(filter_duplicates=False)
            self.objects.change(PATH, ADAPTER, {"Discovering": Variant("b", True)})

    async def _stop_discovery(self, message: Message) -> Answer:
        self._powered()
        if message.sender not in self._discoverers:
            raise RefusedError("Failed", "No discovery started")
        self._discoverers.discard(message.sender or "")
        await self._rest()
        return Answer()

    async def _rest(self) -> None:
        """Stop scanning if no client requests discovery."""
        if self._discoverers or not self._central.is_scanning:
            return
        await self._central.stop_scanning()
        for device in self._devices.values():
            device.discovery_ended()
        self.objects.change(PATH, ADAPTER, {"Discovering": Variant("b", False)})

    async def _remove_device(self, message: Message) -> Answer:
        device = self._devices.get(message.body[0])
        if device is None:
            raise RefusedError("DoesNotExist", "Does Not Exist")
        await device.drop()
        self.forget(device.path)
        return Answer()
