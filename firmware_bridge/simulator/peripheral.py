"""A `Wearable` on the virtual radio: advertising, services, replies, and notifications when they are due."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Any

from bumble import data_types, gatt, hci
from bumble.att import ATT_Error
from bumble.core import UUID, AdvertisingData
from bumble.device import Device, DeviceConfiguration

from firmware_bridge.profiles.base import SIG_BASE
from firmware_bridge.simulator import wearable as model
from firmware_bridge.simulator.radio import Carriage, Radio, VirtualController
from firmware_bridge.simulator.tasks import Tasks

ADVERT_BYTES = 31
"""Most bytes of an advertisement, and of a scan response (Core specification, Vol 6, Part B, 2.3.1)."""

ADVERTISING_MS = 100


def virtual_device(radio: Radio, name: str, address: str) -> tuple[Device, VirtualController]:
    """A bumble host on a virtual controller of its own."""
    controller = VirtualController(name, radio)
    config = DeviceConfiguration(
        name=name,
        address=hci.Address(address),
        advertising_interval_min=ADVERTISING_MS,
        advertising_interval_max=ADVERTISING_MS,
    )
    return Device.from_config_with_hci(config, controller, controller), controller


def air_uuid(text: str) -> UUID:
    """A UUID as it is sent over the air: in 16 bits if it is one of the Bluetooth SIG."""
    return UUID(text[4:8] if text.startswith("0000") and text.endswith(SIG_BASE) else text)


def advertisement(wearable: model.Wearable) -> tuple[bytes, bytes]:
    """Advertisement and scan response: services and manufacturer first, the name where it fits.

    Raises `ValueError` if that is more than 31 bytes each.
    """
    flags = AdvertisingData.Flags.LE_GENERAL_DISCOVERABLE_MODE | AdvertisingData.Flags.BR_EDR_NOT_SUPPORTED
    uuids = [air_uuid(text) for text in wearable.advertised]
    short = [one for one in uuids if len(bytes(one)) == 2]
    long = [one for one in uuids if len(bytes(one)) != 2]
    fields: list[Any] = [data_types.Flags(flags)]
    if short:
        fields.append(data_types.CompleteListOf16BitServiceUUIDs(short))
    if long:
        fields.append(data_types.CompleteListOf128BitServiceUUIDs(long))
    fields += [data_types.ManufacturerSpecificData(company, data) for company, data in wearable.manufacturer.items()]
    fields.append(data_types.CompleteLocalName(wearable.name))
    advert, response = b"", b""
    for field in fields:
        encoded = bytes(AdvertisingData([field]))
        if not response and len(advert + encoded) <= ADVERT_BYTES:
            advert += encoded
        else:
            response += encoded
    if len(response) > ADVERT_BYTES:
        raise ValueError(f"{wearable.name} advertises {len(advert + response)} bytes; 31 and a scan response of 31 fit")
    return advert, response


class Peripheral:
    """One wearable on the radio.

    Attributes:
        wearable: the simulated device. carriage: faults of its radio link, and packet counts.
        skip: number of notifications that the device will omit; skipped: number that it omitted so far.
        ended: number after the last sample that was not omitted.
    """

    def __init__(self, radio: Radio, wearable: model.Wearable, address: str, carriage: Carriage) -> None:
        self.wearable, self.address, self.carriage = wearable, address, carriage
        self.skip = self.skipped = 0
        self.ended = wearable.taken
        self._device, controller = virtual_device(radio, wearable.name, address)
        radio.carriages[controller] = carriage
        self._connection: Any = None
        self._outbox: deque[tuple[str, bytes]] = deque()
        self._wake = asyncio.Event()
        self._tasks = Tasks()
        self._away: asyncio.TimerHandle | None = None
        self._characteristics: dict[str, gatt.Characteristic] = {}
        self._device.add_services([self._service(service) for service in wearable.services])
        self._device.gatt_server.max_mtu = wearable.mtu

    @property
    def connected(self) -> bool:
        """Whether a central is connected."""
        return self._connection is not None

    async def start(self) -> None:
        """Switch it on: it advertises, and again after every connection."""
        self._device.advertising_data, self._device.scan_response_data = advertisement(self.wearable)
        await self._device.power_on()
        self._device.on("connection", self._on_connection)
        await self._device.start_advertising()
        self._tasks.spawn(self._notify())

    async def stop(self) -> None:
        """Switch it off."""
        if self._away is not None:
            self._away.cancel()
        await self._tasks.close()
        await self._device.power_off()

    async def disconnect(self, away_s: float = 0.0) -> None:
        """End the connection from the device's side, and be out of range for `away_s`."""
        if self._away is not None:
            self._away.cancel()
        self._away = asyncio.get_running_loop().call_later(away_s, self._return) if away_s else None
        if self._connection is not None:
            await self._connection.disconnect()
        elif self._away is not None and self._device.is_advertising:
            await self._device.stop_advertising()

    def _return(self) -> None:
        self._away = None
        self._tasks.spawn(self._device.start_advertising())

    def _on_connection(self, connection: Any) -> None:
        self._connection = connection
        connection.on("disconnection", self._on_disconnection)
        self.wearable.connect(asyncio.get_running_loop().time())

    def _on_disconnection(self, reason: int) -> None:
        self._connection = None
        self._outbox.clear()
        self.wearable.disconnect(asyncio.get_running_loop().time())
        if self._away is None:
            self._tasks.spawn(self._device.start_advertising())

    def _service(self, service: model.Service) -> gatt.Service:
        return gatt.Service(air_uuid(service.uuid), [self._characteristic(one) for one in service.characteristics])

    def _characteristic(self, one: model.Characteristic) -> gatt.Characteristic:
        allowed = gatt.Characteristic.Properties
        properties, permissions = allowed(0), gatt.Characteristic.Permissions(0)
        if one.read:
            properties |= allowed.READ
            permissions |= gatt.Characteristic.READABLE
        if one.write:
            properties |= allowed.WRITE | allowed.WRITE_WITHOUT_RESPONSE
            permissions |= gatt.Characteristic.WRITEABLE
        if one.notify:
            properties |= allowed.NOTIFY
        if one.indicate:
            properties |= allowed.INDICATE
        value = gatt.CharacteristicValue(read=partial(self._on_read, one.uuid), write=partial(self._on_write, one.uuid))
        characteristic = gatt.Characteristic(air_uuid(one.uuid), properties, permissions, value)
        characteristic.on("subscription", partial(self._on_subscription, one.uuid))
        self._characteristics[one.uuid] = characteristic
        return characteristic

    def _on_read(self, uuid: str, connection: Any) -> bytes:
        try:
            return self.wearable.read(uuid)
        except model.AttributeRefusedError as error:
            raise ATT_Error(error.code) from error

    def _on_write(self, uuid: str, connection: Any, data: bytes) -> None:
        try:
            self._outbox += self.wearable.write(uuid, bytes(data), asyncio.get_running_loop().time())
        except model.AttributeRefusedError as error:
            raise ATT_Error(error.code) from error
        self._wake.set()

    def _on_subscription(self, uuid: str, bearer: Any, notify: bool, indicate: bool) -> None:
        self.wearable.subscribe(uuid, notify or indicate, asyncio.get_running_loop().time())
        self._wake.set()

    async def _notify(self) -> None:
        """Send replies immediately and samples when they are due, while it is switched on."""
        loop = asyncio.get_running_loop()
        while True:
            next_s = self.wearable.next_s()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(next_s):
                    await self._wake.wait()
            self._wake.clear()
            while self._outbox:
                await self._send(*self._outbox.popleft())
            for uuid, payload in self.wearable.due(loop.time()):
                survived = self._survive(payload) if uuid in self.wearable.subscribed else None
                if survived is not None:
                    await self._send(uuid, survived)

    def _survive(self, payload: bytes) -> bytes | None:
        if self.skip:
            self.skip -= 1
            self.skipped += 1
            return None
        self.ended = self.wearable.taken
        return self.carriage.survive(payload, asyncio.get_running_loop().time())

    async def _send(self, uuid: str, payload: bytes) -> None:
        if self._connection is None:
            return
        characteristic = self._characteristics[uuid]
        if characteristic.properties & gatt.Characteristic.Properties.NOTIFY:
            await self._device.notify_subscriber(self._connection, characteristic, payload)
        else:
            with suppress(TimeoutError):
                await self._device.indicate_subscriber(self._connection, characteristic, payload)
