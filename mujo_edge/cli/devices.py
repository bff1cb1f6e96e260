"""`mujo-edge devices`: wearables in range, and serial ports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mujo_edge.cli.arguments import Json, Verbose, print_json

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mujo_edge.sources.ble.scan import DiscoveredDevice

SCHEMA_VERSION = 1


def devices(
    timeout: Annotated[float, typer.Option(metavar="S", min=0.1, max=600, help="Listen for so long.")] = 5.0,
    json: Json = False,
    verbose: Verbose = 0,
) -> None:
    """List the Bluetooth devices that are near, those that mujo-edge knows first, and the serial ports."""
    import asyncio

    from rich.console import Console

    from mujo_edge.core import DeviceError
    from mujo_edge.doctor import serial_ports
    from mujo_edge.sources.ble.scan import scan

    discovered: list[DiscoveredDevice] = []
    failure: DeviceError | None = None
    with Console(stderr=True).status(f"listening for {timeout:g} s"):
        try:
            discovered = asyncio.run(scan(timeout))
        except DeviceError as error:
            failure = error
    ports = serial_ports()
    if json:
        content = {
            "schema_version": SCHEMA_VERSION,
            "bluetooth_error": str(failure) if failure else None,
            "devices": [_summary(one) for one in discovered],
            "serial_ports": ports,
        }
        print_json(content)
    else:
        Console().print(*_tables(discovered, ports, ready=failure is None), sep="\n")
    if failure:
        raise failure


def _summary(one: DiscoveredDevice) -> dict[str, Any]:
    profile = one.profile
    return {
        "name": one.advert.name,
        "address": one.advert.address,
        "rssi_dbm": one.advert.rssi,
        "profile": profile and profile.name,
        "title": profile and profile.title,
        "channels": list(profile.channels) if profile else [],
        "rates_hz": list(profile.rates_hz) if profile else [],
        "clock": profile and profile.clock,
    }


def _tables(discovered: list[DiscoveredDevice], ports: list[dict[str, str]], *, ready: bool) -> list[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    if discovered:
        table = Table(box=None, pad_edge=False)
        for heading in ("name", "address", "dBm", "profile", "channels", "Hz", "clock"):
            table.add_column(heading, overflow="fold", no_wrap=heading not in ("name", "clock"))
        for one in discovered:
            table.add_row(*map(Text, _row(one)))  # not as markup: the name is untrusted
        parts.append(table)
    elif ready:
        parts.append(Text("No Bluetooth device was heard. Switch it on, and close the phone app it is connected to."))
    listed = ", ".join(f"{port['port']} ({port['description']})" for port in ports)
    parts.append(Text(f"Serial ports: {listed or 'none'}"))
    return parts


def _row(one: DiscoveredDevice) -> tuple[str, ...]:
    advert, profile = one.advert, one.profile
    signal = "" if advert.rssi is None else str(advert.rssi)
    if profile is None:
        return (advert.name, advert.address, signal, "-")
    channels = "acc gyro" if len(profile.channels) == 6 else "acc"
    rates = profile.rates_hz
    hz = f"{rates[0]:g}-{rates[-1]:g}" if len(rates) > 3 else " ".join(f"{rate:g}" for rate in rates)
    return (advert.name, advert.address, signal, profile.name, channels, hz, profile.clock)
