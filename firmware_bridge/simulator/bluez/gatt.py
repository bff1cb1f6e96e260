"""The services of a connected device as BlueZ's D-Bus objects: read, write, and notifications by session.

Behavior that clients depend on, after BlueZ's src/gatt-client.c (5.66) and doc/org.bluez.GattCharacteristic.rst: the
objects exist while the device is known, connected or not; a client that called StartNotify has a session until it calls
StopNotify or leaves the bus; sessions are renewed when the device reconnects; and a notification changes `Value` once
for EACH session.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from bumble.att import ATT_Error
from bumble.core import UUID
from bumble.core import TimeoutError as BumbleTimeoutError
from bumble.device import Peer
from dbus_fast import Message, Variant

from firmware_bridge.simulator.bluez.objects import Answer, Interface, Objects, RefusedError

SERVICE = "org.bluez.GattService1"
CHARACTERISTIC = "org.bluez.GattCharacteristic1"
DESCRIPTOR = "org.bluez.GattDescriptor1"

FLAGS = {
    0x01: "broadcast",
    0x02: "read",
    0x04: "write-without-response",
    0x08: "write",
    0x10: "notify",
    0x20: "indicate",
}
"""Property bits of a characteristic (Core specification, Vol 3, Part G, 3.3.1.1) -> BlueZ's names."""

COMMAND, REQUEST, NOTIFY, LISTEN = 0x04, 0x08, 0x10, 0x30

GENERIC_ACCESS = UUID.from_16_bits(0x1800)
"""Service that bluetoothd does not export."""

MTU = 517
"""MTU that bluetoothd requests (ExchangeMTU of its main.conf)."""

UNLIKELY = 0x0E

ERRORS = {
    0x02: ("NotPermitted", "Read not permitted"),
    0x03: ("NotPermitted", "Write not permitted"),
    0x05: ("NotPermitted", "Not paired"),
    0x06: ("NotSupported", "Operation is not supported"),
    0x07: ("InvalidArguments", "Invalid offset"),
    0x08: ("NotAuthorized", "Operation Not Authorized"),
    0x0D: ("InvalidArguments", "Invalid Length"),
    0x0F: ("NotPermitted", "Not paired"),
}
"""ATT errors with D-Bus names of their own in BlueZ (create_gatt_dbus_error)."""


def long_uuid(uuid: Any) -> str:
    """A UUID in lower case with all 128 bits, as BlueZ writes it."""
    digits = bytes(uuid.to_bytes(force_128=True))[::-1].hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


async def attempt(operation: Awaitable[Any]) -> Any:
    """Await an ATT operation. Raises `RefusedError` if the device refuses, does not respond or disconnects."""
    try:
        return await operation
    except ATT_Error as error:
        raise RefusedError(*ERRORS.get(error.error_code, failed(error.error_code))) from error
    except BumbleTimeoutError as error:
        raise RefusedError(*failed(UNLIKELY)) from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # bumble cancels pending requests when the link ends
        raise RefusedError(*failed(UNLIKELY)) from None


def failed(code: int) -> tuple[str, str]:
    """The D-Bus error of an ATT error without a name of its own."""
    return "Failed", f"Operation failed with ATT error: 0x{code:02x}"


class RemoteCharacteristic:
    """One characteristic: its D-Bus object and its subscribers."""

    def __init__(self, objects: Objects, path: str, service: str, remote: Any, mtu: int) -> None:
        self._objects, self._path = objects, path
        self._remote, self._mtu = remote, mtu
        self._sessions: set[str] = set()
        self._acquired: socket.socket | None = None
        flags = [name for bit, name in FLAGS.items() if remote.properties & bit]
        properties = {
            "UUID": Variant("s", long_uuid(remote.uuid)),
            "Service": Variant("o", service),
            "Flags": Variant("as", flags),
            "MTU": Variant("q", mtu),
        }
        if remote.properties & LISTEN:
            properties["Notifying"] = Variant("b", False)
        if remote.properties & NOTIFY:
            properties["NotifyAcquired"] = Variant("b", False)
        if remote.properties & COMMAND:
            properties["WriteAcquired"] = Variant("b", False)
        methods = {
            "ReadValue": self._read,
            "WriteValue": self._write,
            "StartNotify": self._start_notify,
            "StopNotify": self._stop_notify,
            "AcquireNotify": self._acquire_notify,
            "AcquireWrite": self._acquire_write,
        }
        objects.add(path, CHARACTERISTIC, Interface(properties, methods))

    async def connected(self, remote: Any, mtu: int) -> None:
        """The device has reconnected: renew its subscription if there are sessions."""
        self._remote, self._mtu = remote, mtu
        self._change(MTU=Variant("q", mtu))
        if self._sessions:
            await attempt(remote.subscribe(self._notified))

    def disconnected(self) -> None:
        """The device has disconnected; sessions persist, except an acquired one."""
        self._remote = None
        if self._acquired is not None:
            self._hang_up(self._acquired)

    async def left(self, sender: str) -> None:
        """A client left the bus."""
        if sender in self._sessions:
            await self._end(sender)

    def _change(self, **changed: Variant) -> None:
        self._objects.change(self._path, CHARACTERISTIC, changed)

    def _peer(self, needs: int = 0) -> Any:
        if self._remote is None:
            raise RefusedError("Failed", "Not connected")
        if needs and not self._remote.properties & needs:
            raise RefusedError("NotSupported", "Operation is not supported")
        return self._remote

    def _notified(self, value: bytes) -> None:
        for _ in self._sessions:
            self._change(Value=Variant("ay", bytes(value)))
        if self._acquired is not None:
            with suppress(OSError):  # values that the client does not read in time are lost, as with bluetoothd
                self._acquired.send(bytes(value))

    async def _read(self, message: Message) -> Answer:
        value = bytes(await attempt(self._peer().read_value()))
        self._change(Value=Variant("ay", value))
        return Answer("ay", (value,))

    async def _write(self, message: Message) -> Answer:
        value, options = message.body
        peer = self._peer()
        response = options["type"].value == "request" if "type" in options else bool(peer.properties & REQUEST)
        await attempt(peer.write_value(bytes(value), with_response=response))
        return Answer()

    async def _start_notify(self, message: Message) -> Answer:
        if self._acquired is not None:
            raise RefusedError("NotPermitted", "Notify acquired")
        peer, first = self._peer(LISTEN), not self._sessions
        self._sessions.add(message.sender or "")
        try:
            if first:
                await attempt(peer.subscribe(self._notified))
        except RefusedError:
            self._sessions.discard(message.sender or "")
            raise
        self._change(Notifying=Variant("b", True))
        return Answer()

    async def _stop_notify(self, message: Message) -> Answer:
        if self._acquired is not None:
            self._hang_up(self._acquired)
        elif (message.sender or "") not in self._sessions:
            raise RefusedError("Failed", "No notify session started")
        else:
            await self._end(message.sender or "")
        return Answer()

    async def _end(self, sender: str) -> None:
        self._sessions.discard(sender)
        if not self._sessions:
            self._change(Notifying=Variant("b", False))
            await self._unsubscribe()

    async def _unsubscribe(self) -> None:
        if self._remote is not None:
            await attempt(self._remote.unsubscribe(self._notified))

    async def _acquire_notify(self, message: Message) -> Answer:
        peer = self._peer(NOTIFY)
        if self._acquired is not None:
            raise RefusedError("NotPermitted", "Notify acquired")
        if self._sessions:
            raise RefusedError("InProgress", "Operation already in progress")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._acquired = ours
        asyncio.get_running_loop().add_reader(ours, self._hang_up, ours)
        try:
            await attempt(peer.subscribe(self._notified))
        except RefusedError:
            self._hang_up(ours)
            theirs.close()
            raise
        self._change(NotifyAcquired=Variant("b", True))
        return Answer("hq", (0, self._mtu), (theirs.detach(),))

    def _hang_up(self, ours: socket.socket) -> None:
        """Close an acquired notification: the client closed its socket, or the device disconnected."""
        asyncio.get_running_loop().remove_reader(ours)
        ours.close()
        self._acquired = None
        self._change(NotifyAcquired=Variant("b", False))
        self._objects.spawn(self._unsubscribe())

    async def _acquire_write(self, message: Message) -> Answer:
        self._peer(COMMAND)
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)

        def forward() -> None:
            value = b""
            with suppress(OSError):
                value = ours.recv(self._mtu)
            if value and self._remote is not None:
                self._objects.spawn(attempt(self._remote.write_value(value, with_response=False)))
            else:
                loop.remove_reader(ours)
                ours.close()

        loop.add_reader(ours, forward)
        return Answer("hq", (0, self._mtu), (theirs.detach(),))


class RemoteServices:
    """The services of one device, exported from the first resolution until the device is forgotten."""

    def __init__(self, objects: Objects, device: str) -> None:
        self._objects, self._device = objects, device
        self._characteristics: dict[str, RemoteCharacteristic] = {}

    async def resolve(self, connection: Any) -> list[str]:
        """Exchange the MTU, discover and export the services -> their UUIDs."""
        peer = Peer(connection)
        await attempt(peer.request_mtu(MTU))
        await attempt(peer.discover_services())
        for service in peer.services:
            await attempt(service.discover_characteristics())
            for characteristic in service.characteristics:
                await attempt(characteristic.discover_descriptors())
        for service in peer.services:
            if service.uuid != GENERIC_ACCESS:
                await self._export(service, connection.att_mtu)
        return [long_uuid(service.uuid) for service in peer.services]

    def disconnected(self) -> None:
        """The link has ended."""
        for characteristic in self._characteristics.values():
            characteristic.disconnected()

    async def left(self, sender: str) -> None:
        """A client left the bus."""
        for characteristic in self._characteristics.values():
            await characteristic.left(sender)

    async def _export(self, service: Any, mtu: int) -> None:
        """Export a service. Paths contain handles as in bluetoothd; a characteristic's is that of its declaration."""
        path = f"{self._device}/service{service.handle:04x}"
        if path not in self._objects:
            properties = {
                "UUID": Variant("s", long_uuid(service.uuid)),
                "Primary": Variant("b", True),
                "Device": Variant("o", self._device),
                "Includes": Variant("ao", []),
            }
            self._objects.add(path, SERVICE, Interface(properties))
        for remote in service.characteristics:
            below = f"{path}/char{remote.handle - 1:04x}"
            if below in self._objects:
                await self._characteristics[below].connected(remote, mtu)
                continue
            self._characteristics[below] = RemoteCharacteristic(self._objects, below, path, remote, mtu)
            for descriptor in remote.descriptors:
                properties = {
                    "UUID": Variant("s", long_uuid(descriptor.type)),
                    "Characteristic": Variant("o", below),
                }
                self._objects.add(f"{below}/desc{descriptor.handle:04x}", DESCRIPTOR, Interface(properties))
