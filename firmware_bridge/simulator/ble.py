"""The command `ble`: wearables on a virtual radio, while it runs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from firmware_bridge.simulator.wearable import Motion, Wearable
    from firmware_bridge.simulator.world import World

BUS = Path(f"/tmp/mujo-edge-sim-{os.getuid()}/bus") if sys.platform != "win32" else Path()  # noqa: S108
"""Default socket of the D-Bus: the same for every run, so that docs can name it."""

REFRESH_HZ = 4


def command(
    wearable: Annotated[list[str] | None, typer.Option(help="A wearable, or all. Repeat it for several.")] = None,
    motion: Annotated[str, typer.Option(help="rest, sine, or a session folder that is played in a loop.")] = "sine",
    rate: Annotated[float | None, typer.Option(help="Samples per second, until a client sets another rate.")] = None,
    drift_ppm: Annotated[float, typer.Option(help="How fast the wearables' clocks run, in ppm.")] = 0.0,
    first: Annotated[int, typer.Option(min=0, help="Number of the first sample, for example just before a wrap.")] = 0,
    fault: Annotated[list[str] | None, typer.Option(help='"SECONDS KIND AMOUNT [WEARABLE]", as "10 loss 0.1".')] = None,
    faults: Annotated[Path | None, typer.Option(help="A file of faults, one per line.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of random faults.")] = 0,
    bus: Annotated[Path, typer.Option(help="Socket of the D-Bus to create.")] = BUS,
    vhci: Annotated[bool, typer.Option("--vhci", help="Use this kernel's Bluetooth and bluetoothd; as root.")] = False,
    run: Annotated[str | None, typer.Option(help="A command to run against it; the simulator ends with it.")] = None,
    control: Annotated[bool, typer.Option("--control", help="Read faults and write counts as JSON lines.")] = False,
) -> None:
    """Virtual Bluetooth wearables with a simulated BlueZ, for any Bluetooth client of this machine.

    Kinds of faults: loss, corrupt (fractions); burst, stall, delay, interval, slow, disconnect, adapter-off, bus-death
    (seconds); skip, refuse (counts). "SECONDS/EVERY" repeats one.
    """
    if sys.platform != "linux":
        raise OSError("this simulates BlueZ, which only Linux has.\nRun it on Linux, for example in a virtual machine")
    from firmware_bridge.simulator.faults import parse, script
    from firmware_bridge.simulator.motion import named

    steps = [parse(line) for line in fault or ()]
    if faults is not None:
        steps += script(faults.read_text(encoding="utf-8"))
    worn = dict(_wearables(wearable or ["witmotion"], named(motion), rate, drift_ppm, first))

    def world() -> World:
        if vhci:
            from firmware_bridge.simulator.vhci import KernelWorld

            return KernelWorld(worn, seed=seed, faults=steps)
        from firmware_bridge.simulator.world import World

        return World(worn, bus, seed=seed, faults=steps)

    sys.exit(asyncio.run(_main(world, None if vhci else bus, run, control)))


def _wearables(
    names: list[str], motion: Motion, rate_hz: float | None, drift_ppm: float, first: int
) -> Iterator[tuple[str, Wearable]]:
    """Wearables by the names that faults refer to: a second "polar-h10" is "polar-h10-2"."""
    from firmware_bridge.simulator.wearables import WEARABLES

    worn = Counter[str]()
    for name in names:
        if name != "all" and name not in WEARABLES:
            raise ValueError(f"no wearable is called {name!r}.\nThere are: all, {', '.join(sorted(WEARABLES))}")
        for one in WEARABLES if name == "all" else (name,):
            wearable = WEARABLES[one](motion, drift_ppm=drift_ppm, first=first)
            wearable.rate_hz = rate_hz or wearable.rate_hz
            worn[one] += 1
            yield (one if worn[one] == 1 else f"{one}-{worn[one]}"), wearable


async def _main(make: Callable[[], World], bus: Path | None, run: str | None, control: bool) -> int:
    from firmware_bridge.simulator.remote import serve

    if bus is not None and await _answers(bus):
        raise ValueError(f"a simulator already runs at {bus}.\nEnd it, or choose another socket with --bus")
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with make() as world:
        working: asyncio.Task[int | None]
        if control:
            working = asyncio.create_task(serve(world))
        elif run is not None:
            working = asyncio.create_task(_run(run, world.address))
        else:
            working = asyncio.create_task(_show(world))
        stopping = asyncio.create_task(stopped.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        working.cancel()
        with suppress(asyncio.CancelledError):
            return await working or 0
    return 0


async def _answers(bus: Path) -> bool:
    """Whether a process listens at `bus`."""
    try:
        _, writer = await asyncio.open_unix_connection(bus)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def _run(command: str, address: str) -> int:
    """Run a shell command on the simulated bus -> its exit code."""
    process = await asyncio.create_subprocess_shell(command, env=os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": address})
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _show(world: World) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    console.print("In another terminal:")
    console.print(f"  export DBUS_SYSTEM_BUS_ADDRESS={world.address}", style="bold", soft_wrap=True, highlight=False)
    console.print("  mujo-edge stream --ble", style="bold", end="")
    console.print("      (in a checkout: make demo DEMO=--ble)")
    console.print("Ctrl-C ends it.")
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            live.update(_table(world), refresh=True)
            await asyncio.sleep(1 / REFRESH_HZ)


def _table(world: World) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("wearable", "name", "address", "state"):
        table.add_column(title)
    for title in ("rate", "samples", "lost", "corrupted", "skipped"):
        table.add_column(title, justify="right")
    for name, counts in world.stats().items():
        state = "streaming" if counts["streaming"] else "connected" if counts["connected"] else "advertising"
        rate = f"{counts['rate_hz']:g} Hz"
        numbers = (str(counts[key]) for key in ("notified", "lost", "corrupted", "skipped"))
        table.add_row(name, counts["name"], counts["address"], state, rate, *numbers)
    return table
