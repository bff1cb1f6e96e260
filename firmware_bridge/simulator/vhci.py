"""Wearables for this machine's own kernel and bluetoothd: a virtual adapter through /dev/vhci. Linux, as root."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from bumble.transport import open_transport
from dbus_fast import BusType, Message, Variant
from dbus_fast.aio import MessageBus

from firmware_bridge.simulator.faults import Fault
from firmware_bridge.simulator.radio import VirtualController
from firmware_bridge.simulator.wearable import Wearable
from firmware_bridge.simulator.world import World

DEVICE = Path("/dev/vhci")
SYSTEM_BUS = Path("/run/dbus/system_bus_socket")

ADDRESS = "00:1B:DC:00:00:01"
"""A public address: otherwise the kernel uses changing random ones, which bumble's link does not support."""

TIMEOUT_S = 30.0


class KernelWorld(World):
    """A `World` with this machine's next free adapter and BlueZ itself instead of the simulated one.

    The fault "bus-death" removes the adapter, as when it is unplugged; "refuse" is not supported.
    """

    def __init__(self, wearables: Mapping[str, Wearable], *, seed: int = 0, faults: Iterable[Fault] = ()) -> None:
        super().__init__(wearables, SYSTEM_BUS, seed=seed, faults=faults)
        self._adapter = AsyncExitStack()

    async def run(self, faults: Iterable[Fault]) -> None:
        """As `World.run`. Raises `ValueError` for "refuse" too."""
        steps = tuple(faults)
        if any(fault.kind == "refuse" for fault in steps):
            raise ValueError("the kernel's own adapter cannot refuse connections; leave that fault out")
        await super().run(steps)

    async def _apply_to_all(self, kind: str, amount: float) -> None:
        if kind == "adapter-off":
            await self._power(False)
            self._tasks.spawn(self._power_on(amount))
        else:
            await super()._apply_to_all(kind, amount)

    async def _power_on(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self._power(True)

    async def _start_service(self) -> None:
        """Plug in an adapter and switch it on. Raises `OSError` if that fails."""
        async with AsyncExitStack() as stack:
            if not DEVICE.exists():
                raise FileNotFoundError(f"{DEVICE} is missing.\nLoad it: sudo modprobe hci_vhci")
            known = adapters()
            transport = await stack.enter_async_context(await open_transport(f"vhci:{DEVICE}"))
            controller = VirtualController("adapter", self._radio)
            controller.public_address = ADDRESS
            controller.host = transport.sink
            transport.source.set_packet_sink(controller)
            stack.callback(self._radio.remove_controller, controller)
            async with asyncio.timeout(TIMEOUT_S):
                while not (new := adapters() - known):
                    await asyncio.sleep(0.1)
            (self._name,) = new
            await self._power(True)
            self._adapter = stack.pop_all()

    async def _stop_service(self) -> None:
        await self._adapter.aclose()

    async def _power(self, on: bool) -> None:
        """Set the adapter's property, once bluetoothd knows the adapter. Raises `OSError`."""
        bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while reason := await self._refusal(bus, on):
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise OSError(f"bluetoothd does not switch {self._name} on or off: {reason}.\nIs it running?") from None
        finally:
            bus.disconnect()

    async def _refusal(self, bus: MessageBus, on: bool) -> str:
        """Try to set the property -> the error, empty on success."""
        request = Message(
            destination="org.bluez",
            path=f"/org/bluez/{self._name}",
            interface="org.freedesktop.DBus.Properties",
            member="Set",
            signature="ssv",
            body=["org.bluez.Adapter1", "Powered", Variant("b", on)],
        )
        answer = await bus.call(request)
        return f"{answer.error_name} {answer.body}" if answer and answer.error_name else ""


def adapters() -> set[str]:
    """Names of the kernel's Bluetooth adapters, such as hci0."""
    return {path.name for path in Path("/sys/class/bluetooth").glob("hci*") if ":" not in path.name}
