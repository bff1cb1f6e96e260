"""D-Bus objects with dynamic properties, served by `org.freedesktop.DBus.ObjectManager` and `Properties`.

dbus-fast's own service classes fix an interface's properties in the class and hide the caller from a method; BlueZ
omits properties while they are unknown, and keeps sessions by caller.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from firmware_bridge.simulator.tasks import Tasks

OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
PROPERTIES = "org.freedesktop.DBus.Properties"
UNKNOWN_OBJECT = "org.freedesktop.DBus.Error.UnknownObject"
UNKNOWN_METHOD = "org.freedesktop.DBus.Error.UnknownMethod"


class RefusedError(Exception):
    """The D-Bus error to reply to a method call with."""

    def __init__(self, name: str, text: str = "") -> None:
        super().__init__(text)
        self.name = name if name.startswith("org.freedesktop") else f"org.bluez.Error.{name}"


@dataclass(frozen=True, slots=True)
class Answer:
    """Reply of a method: values with their D-Bus signature, and file descriptors, which are closed once sent."""

    signature: str = ""
    body: tuple[object, ...] = ()
    fds: tuple[int, ...] = ()


Method = Callable[[Message], Awaitable[Answer | None]]
"""Handles a call and returns the reply, None for no reply. Raises `RefusedError`."""


@dataclass(slots=True)
class Interface:
    """An interface of an object: its current properties, its methods, and setters of writable properties."""

    properties: dict[str, Variant]
    methods: Mapping[str, Method] = field(default_factory=dict)
    settable: Mapping[str, Callable[[Variant], Awaitable[None]]] = field(default_factory=dict)


class Objects:
    """The objects of one D-Bus connection, by path and interface."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus
        self._objects: dict[str, dict[str, Interface]] = {}
        self._tasks = Tasks()
        bus.add_message_handler(self._on_message)

    def __contains__(self, path: object) -> bool:
        return path in self._objects

    def add(self, path: str, name: str, interface: Interface) -> None:
        """Export an interface, with a signal."""
        self._objects.setdefault(path, {})[name] = interface
        self._signal("/", OBJECT_MANAGER, "InterfacesAdded", "oa{sa{sv}}", [path, {name: interface.properties}])

    def remove(self, path: str) -> None:
        """Remove an object and those below it, the deepest first, with signals."""
        for below in sorted((one for one in self._objects if f"{one}/".startswith(f"{path}/")), reverse=True):
            names = list(self._objects.pop(below))
            self._signal("/", OBJECT_MANAGER, "InterfacesRemoved", "oas", [below, names])

    def change(self, path: str, name: str, changed: Mapping[str, Variant], gone: tuple[str, ...] = ()) -> None:
        """Set properties and remove those of `gone`, with a signal."""
        properties = self._objects[path][name].properties
        properties.update(changed)
        for one in gone:
            properties.pop(one, None)
        self._signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [name, dict(changed), list(gone)])

    def value(self, path: str, name: str, property_name: str) -> object:
        """Value of a property, None if it is not set."""
        variant = self._objects[path][name].properties.get(property_name)
        return None if variant is None else variant.value

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run background work until `close`; a `RefusedError` ends it silently."""
        self._tasks.spawn(_quietly(work))

    async def close(self) -> None:
        """Cancel background work."""
        await self._tasks.close()

    def _signal(self, path: str, interface: str, member: str, signature: str, body: list[object]) -> None:
        message = Message(
            message_type=MessageType.SIGNAL,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=body,
        )
        if self._bus.connected:
            self._bus.send(message).add_done_callback(_ignore_error)

    def _on_message(self, message: Message) -> bool:
        if message.message_type is not MessageType.METHOD_CALL:
            return False
        ours = message.path in self._objects or message.interface == OBJECT_MANAGER
        if not ours and not (message.path or "").startswith("/org/bluez"):
            return False
        self.spawn(self._answer(message))
        return True

    async def _answer(self, message: Message) -> None:
        try:
            answer = await self._call(message)
        except RefusedError as error:
            reply = Message.new_error(message, error.name, str(error))
        else:
            if answer is None:
                return
            reply = Message.new_method_return(message, answer.signature, list(answer.body), list(answer.fds))
        if self._bus.connected:
            with suppress(OSError):  # the bus died just now
                await self._bus.send(reply)
        for fd in reply.unix_fds:
            os.close(fd)

    async def _call(self, message: Message) -> Answer | None:
        path, interface, member = message.path or "", message.interface or "", message.member
        if (interface, member) == (OBJECT_MANAGER, "GetManagedObjects"):
            tree = {
                one: {name: exported.properties for name, exported in interfaces.items()}
                for one, interfaces in self._objects.items()
            }
            return Answer("a{oa{sa{sv}}}", (tree,))
        if path not in self._objects:
            raise RefusedError(UNKNOWN_OBJECT, f"Method {member!r} is of an object that does not exist: {path}")
        if interface == PROPERTIES:
            return await self._property(self._objects[path], member or "", message.body)
        exported = self._objects[path].get(interface)
        method = None if exported is None else exported.methods.get(member or "")
        if method is None:
            raise RefusedError(UNKNOWN_METHOD, f"{interface}.{member} does not exist")
        return await method(message)

    async def _property(self, interfaces: dict[str, Interface], member: str, body: list[object]) -> Answer:
        interface = interfaces.get(str(body[0]), Interface({}))
        match member, body[1:]:
            case "GetAll", _:
                return Answer("a{sv}", (interface.properties,))
            case "Get", [str(name)] if name in interface.properties:
                return Answer("v", (interface.properties[name],))
            case "Set", [str(name), Variant() as value] if name in interface.settable:
                await interface.settable[name](value)
                return Answer()
        raise RefusedError("org.freedesktop.DBus.Error.InvalidArgs", f"{member} of {body}")


def _ignore_error(sending: asyncio.Future[Any]) -> None:
    """Ignore that a dead bus does not accept a signal."""
    if not sending.cancelled():
        sending.exception()


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    with suppress(RefusedError):
        await work
