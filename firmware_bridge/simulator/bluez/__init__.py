"""A simulated bluetoothd: owns `org.bluez` on a private D-Bus and uses bumble as its radio.

It implements what bleak uses: discovery, devices, GATT, notifications by signal and by socket, pairing, power.
"""

from __future__ import annotations

from contextlib import suppress

from bumble.device import Device
from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus

from firmware_bridge.simulator.bluez.adapter import Adapter
from firmware_bridge.simulator.bluez.objects import Objects

DAEMON = "org.freedesktop.DBus"


class Bluez:
    """bluetoothd on the bus at `address`, with `central` as its only adapter."""

    def __init__(self, address: str, central: Device) -> None:
        self._address, self._central = address, central

    async def start(self) -> None:
        """Connect, export the adapter, and own the bus name. Raises `OSError` without a bus."""
        self._bus = await MessageBus(bus_address=self._address, negotiate_unix_fd=True).connect()
        self._objects = Objects(self._bus)
        self.adapter = Adapter(self._objects, self._central)
        self._bus.add_message_handler(self._on_signal)
        await self._bus.call(
            Message(
                destination=DAEMON,
                path="/org/freedesktop/DBus",
                interface=DAEMON,
                member="AddMatch",
                signature="s",
                body=[f"type='signal',sender='{DAEMON}',member='NameOwnerChanged'"],
            )
        )
        await self._bus.request_name("org.bluez")

    async def stop(self) -> None:
        """End every link and leave the bus."""
        self._bus.disconnect()
        with suppress(EOFError, OSError):  # raised if the bus died
            await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
        await self.adapter.close()
        await self._objects.close()

    def _on_signal(self, message: Message) -> None:
        if message.message_type is MessageType.SIGNAL and message.member == "NameOwnerChanged":
            name, _, owner = message.body
            if not owner:
                self._objects.spawn(self.adapter.left(name))
