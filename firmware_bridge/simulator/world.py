"""A complete Bluetooth simulation: a private D-Bus, a simulated bluetoothd with an adapter, and wearables."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from random import Random
from typing import Any, Self
from xml.sax.saxutils import escape

from firmware_bridge.simulator.bluez import Bluez
from firmware_bridge.simulator.faults import KINDS, Fault, in_time
from firmware_bridge.simulator.peripheral import Peripheral, virtual_device
from firmware_bridge.simulator.radio import Carriage, Radio
from firmware_bridge.simulator.tasks import Tasks
from firmware_bridge.simulator.wearable import Wearable

CENTRAL = "C0:00:00:00:00:01"

PR_SET_PDEATHSIG = 1
"""Option of Linux's prctl(2): a signal for the child when its parent dies."""

BUS_CONFIG = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
  </policy>
</busconfig>
"""


class World:
    """Wearables in range of one adapter on a private bus.

    Args:
        wearables: wearables by the names that faults refer to; later ones have a weaker signal.
        bus: path of the socket. Its folder is created, for this user only.
        seed: seed of random faults.
        faults: faults timed from the start; `run` adds further ones.

    Attributes:
        address: value of DBUS_SYSTEM_BUS_ADDRESS for clients.
        peripherals: the wearables on the radio, by name.
    """

    def __init__(
        self, wearables: Mapping[str, Wearable], bus: Path, *, seed: int = 0, faults: Iterable[Fault] = ()
    ) -> None:
        self.address = f"unix:path={bus}"
        self.peripherals: dict[str, Peripheral] = {}
        self._bus, self._faults = bus, tuple(faults)
        self._radio = Radio()
        for number, (name, wearable) in enumerate(wearables.items()):
            carriage = Carriage(Random(f"{seed} {number}"), rssi_dbm=-50 - 5 * number)  # noqa: S311 - reproducible
            address = f"E0:00:00:00:{number >> 8:02X}:{number & 0xFF:02X}"
            self.peripherals[name] = Peripheral(self._radio, wearable, address, carriage)
        self._central, _ = virtual_device(self._radio, "central", CENTRAL)
        self._stack = AsyncExitStack()
        self._tasks = Tasks()
        self._daemon: asyncio.subprocess.Process | None = None
        self._bluez: Bluez | None = None
        self._changing = asyncio.Lock()
        self._dead_until_s = 0.0

    async def __aenter__(self) -> Self:
        """Start everything. Raises `OSError` if dbus-daemon is missing or the bus cannot be created."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._stop_service)
            await self._start_service()
            for peripheral in self.peripherals.values():
                stack.push_async_callback(peripheral.stop)
                await peripheral.start()
            stack.push_async_callback(self._tasks.close)
            await self.run(self._faults)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def run(self, faults: Iterable[Fault]) -> None:
        """Schedule faults, with times relative to now; those at 0 are in effect when this returns.

        Raises `ValueError` for an unknown wearable.
        """
        steps = tuple(faults)
        for fault in steps:
            if fault.target is not None and fault.target not in self.peripherals:
                raise ValueError(f"no wearable is called {fault.target!r}; there are {', '.join(self.peripherals)}")
        for fault in steps:
            if fault.at_s == 0 and fault.every_s is None:
                await self._apply(fault)
        self._tasks.spawn(self._play([fault for fault in steps if fault.at_s > 0 or fault.every_s is not None]))

    def stats(self) -> dict[str, Any]:
        """Counts so far, by wearable.

        Samples `taken` by its sensor and `notified`, and the numbers of the first notified one (`begun`) and after the
        last one that the device did not omit (`ended`); notifications `sent`, of these `lost` and `corrupted` on the
        radio, and `skipped` by the device; whether it is `connected` and `streaming`, and its sampling rate `rate_hz`.
        """
        return {
            name: {
                "name": peripheral.wearable.name,
                "address": peripheral.address,
                "connected": peripheral.connected,
                "streaming": peripheral.wearable.streaming,
                "rate_hz": peripheral.wearable.rate_hz,
                "taken": peripheral.wearable.taken,
                "notified": peripheral.wearable.notified,
                "begun": peripheral.wearable.begun,
                "ended": peripheral.ended,
                "sent": peripheral.carriage.sent,
                "lost": peripheral.carriage.lost,
                "corrupted": peripheral.carriage.corrupted,
                "skipped": peripheral.skipped,
            }
            for name, peripheral in self.peripherals.items()
        }

    async def _play(self, faults: Sequence[Fault]) -> None:
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        for fault in in_time(faults):
            await asyncio.sleep(start_s + fault.at_s - loop.time())
            await self._apply(fault)

    async def _apply(self, fault: Fault) -> None:
        if KINDS[fault.kind].whole:
            await self._apply_to_all(fault.kind, fault.amount)
            return
        for name, peripheral in self.peripherals.items():
            if fault.target in (None, name):
                await _apply_to_one(peripheral, fault.kind, fault.amount)

    async def _apply_to_all(self, kind: str, amount: float) -> None:
        match kind:
            case "refuse" if self._bluez is not None:
                self._bluez.adapter.refuse = int(amount)
            case "adapter-off":
                await self._power(False)
                self._tasks.spawn(self._power_on(amount))
            case "bus-death":
                self._dead_until_s = max(self._dead_until_s, asyncio.get_running_loop().time() + amount)
                await self._stop_service()
                self._tasks.spawn(self._revive())

    async def _power(self, on: bool) -> None:
        async with self._changing:
            if self._bluez is not None:
                await self._bluez.adapter.power(on)

    async def _power_on(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self._power(True)

    async def _revive(self) -> None:
        """Start the service again once no fault wants it dead."""
        loop = asyncio.get_running_loop()
        while (wait_s := self._dead_until_s - loop.time()) > 0:
            await asyncio.sleep(wait_s)
        await self._start_service()

    async def _start_service(self) -> None:
        """Start dbus-daemon, then the simulated bluetoothd on it, unless they run."""
        async with self._changing:
            if self._daemon is not None:
                return
            self._daemon = await _dbus_daemon(self._bus)
            await self._central.power_on()
            bluez = Bluez(self.address, self._central)
            await bluez.start()
            self._bluez = bluez

    async def _stop_service(self) -> None:
        """Kill the daemon, and stop the simulated bluetoothd with every link; after a start that has begun."""
        async with self._changing:
            daemon, self._daemon = self._daemon, None
            bluez, self._bluez = self._bluez, None
            if daemon is not None:
                with suppress(ProcessLookupError):
                    daemon.kill()
                await daemon.wait()
            if bluez is not None:
                await bluez.stop()
            await self._central.power_off()


async def _apply_to_one(peripheral: Peripheral, kind: str, amount: float) -> None:
    carriage, now_s = peripheral.carriage, asyncio.get_running_loop().time()
    match kind:
        case "loss":
            carriage.loss = amount
        case "corrupt":
            carriage.corruption = amount
        case "burst":
            carriage.deaf_until_s = now_s + amount
        case "stall":
            carriage.stalled_until_s = now_s + amount
        case "delay":
            carriage.delay_s = amount
        case "interval":
            carriage.interval_s = amount
        case "slow":
            carriage.answer_s = amount
        case "skip":
            peripheral.skip += int(amount)
        case "disconnect":
            await peripheral.disconnect(amount)


async def _dbus_daemon(bus: Path) -> asyncio.subprocess.Process:
    """A dbus-daemon that listens at `bus`. Raises `OSError`."""
    if shutil.which("dbus-daemon") is None:
        raise OSError("dbus-daemon is not installed.\nInstall it with: sudo apt install dbus")
    bus.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if bus.parent.stat().st_uid != os.getuid():
        raise PermissionError(f"{bus.parent} belongs to another user")
    config = bus.with_suffix(".conf")
    config.write_text(BUS_CONFIG.format(path=escape(str(bus))), encoding="utf-8")
    log = bus.with_suffix(".log")
    arguments = ("dbus-daemon", f"--config-file={config}", "--nofork", "--print-address")
    prctl = ctypes.CDLL(None).prctl
    with log.open("wb") as file:
        daemon = await asyncio.create_subprocess_exec(
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=file,
            preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL),  # else it would outlive a killed simulator
        )
    assert daemon.stdout is not None
    if not await daemon.stdout.readline():
        await daemon.wait()
        raise OSError(f"dbus-daemon does not listen at {bus}:\n{log.read_text(errors='replace').strip()}")
    return daemon
