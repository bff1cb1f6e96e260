"""Where `stream` and `record` get their samples: one recording, port or phone, or some wearables."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mujo_edge.core import Source
    from mujo_edge.sources.ble.scan import DiscoveredDevice

SOURCE = "Source"

_option = partial(typer.Option, rich_help_panel=SOURCE)

Replay = Annotated[
    Path | None,
    _option("--replay", metavar="FILE|FOLDER", help="Recording to play: session folder, CSV or Parquet."),
]
Speed = Annotated[str, _option(help="Of a replay: 1 is real time, 8 eight times as fast, max as fast as possible.")]
Again = Annotated[
    bool, _option("--decode-again", help="Replay the bytes that a device sent, not what was made of them then.")
]
Ble = Annotated[bool, _option("--ble", help="A Bluetooth wearable: the best known one near; see `devices`.")]
Device = Annotated[
    list[str] | None,
    _option("--device", metavar="NAME|ADDRESS", help="Which wearable; again for several at once. Implies --ble."),
]
Profile = Annotated[
    str | None, _option(metavar="NAME", help="Protocol of the wearable, if it is not recognized. Implies --ble.")
]
Serial = Annotated[
    str | None, _option("--serial", metavar="PORT|auto", help="A board at a serial port or pyserial URL.")
]
Baud = Annotated[int, _option(help="Of the serial port.")]
Columns = Annotated[
    str | None, _option(metavar="NAMES", help="Columns of a board that prints numbers: ax_g,ay_g,az_g ...")
]
Phone = Annotated[
    str | None, _option(metavar="APP", help="browser, sensor-logger, sensorserver or phyphox; see docs/phones.md.")
]
Url = Annotated[str | None, _option(help="Where the phone's sensorserver (ws://) or phyphox (http://) is.")]
Host = Annotated[str | None, _option(help="Address on which the phone finds this machine; loopback only if not given.")]
Port = Annotated[int | None, _option(min=0, max=65535, help="Port for the phone to find this machine at.")]
Rate = Annotated[
    float | None, _option(metavar="HZ", help="Asked of a device; or of a file or board without a time column.")
]


@dataclass(frozen=True, slots=True)
class Choice:
    """The options above, as they were given."""

    replay: Path | None
    speed: str
    again: bool
    ble: bool
    device: list[str] | None
    profile: str | None
    serial: str | None
    baud: int
    columns: str | None
    phone: str | None
    url: str | None
    host: str | None
    port: int | None
    rate_hz: float | None

    def check(self) -> None:
        """Raises `UsageError` for options that contradict each other."""
        from mujo_edge.core import UsageError

        wanted = {
            "--replay": self.replay is not None,
            "--ble": self.bluetooth,
            "--serial": self.serial is not None,
            "--phone": self.phone is not None,
        }
        given = [name for name, is_given in wanted.items() if is_given]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)}: give one source at a time")
        source = given[0] if given else "the recording that comes with mujo-edge"
        belongs = {
            "--speed": (self.speed != "1", (None, "--replay")),
            "--decode-again": (self.again, ("--replay",)),
            "--columns": (self.columns is not None, ("--serial",)),
            "--url": (self.url is not None, ("--phone",)),
            "--host": (self.host is not None, ("--phone",)),
            "--port": (self.port is not None, ("--phone",)),
        }
        for name, (is_given, sources) in belongs.items():
            if is_given and (given[0] if given else None) not in sources:
                raise UsageError(f"{name} has no meaning with {source}")
        if self.rate_hz is not None and not 0 < self.rate_hz < 1e5:
            raise UsageError(f"--rate {self.rate_hz:g}: give a positive number of samples a second")

    @property
    def bluetooth(self) -> bool:
        """Whether the source is a wearable."""
        return self.ble or bool(self.device) or self.profile is not None

    @property
    def waits(self) -> bool:
        """Whether the source can wait for us: a recording at full speed."""
        return self.speed == "max"

    @property
    def several(self) -> bool:
        """Whether several streams were asked for."""
        return len(self.device or ()) > 1

    @property
    def origin(self) -> str:
        """Where the samples come from, for the reader of a recording."""
        if self.bluetooth:
            return "Bluetooth"
        if self.serial is not None:
            return f"serial port {self.serial}"
        if self.phone is not None:
            return f"phone, {self.phone}"
        from mujo_edge.sources.replay import shipped_recording

        return f"replay of {self.replay or shipped_recording()}"

    async def open(self) -> list[Source]:
        """The sources, not entered yet. Raises what finding and opening them raises."""
        if self.bluetooth:
            return await self._wearables()
        if self.serial is not None:
            from mujo_edge.sources.serial import SerialSource

            return [SerialSource(self.serial, baud=self.baud, rate_hz=self.rate_hz, columns=self.columns)]
        if self.phone is not None:
            from mujo_edge.sources.phone import phone_source

            return [phone_source(self.phone, url=self.url, host=self.host, port=self.port, rate_hz=self.rate_hz)]
        return [self._recording()]

    def _recording(self) -> Source:
        from mujo_edge.core import UsageError
        from mujo_edge.sources.replay import ReplaySource, shipped_recording

        try:
            speed = None if self.speed == "max" else float(self.speed)
        except ValueError:
            raise UsageError(f"--speed {self.speed}: give a number such as 1 or 8, or max") from None
        if self.again and self.replay is not None:
            from mujo_edge.sources.replay import RawReplay

            return RawReplay(self.replay, speed=speed)
        path = shipped_recording() if self.replay is None else self.replay
        return ReplaySource(path, speed=speed, rate_hz=self.rate_hz)

    async def _wearables(self) -> list[Source]:
        from mujo_edge.core import UsageError
        from mujo_edge.sources.ble import BleSource, find

        found: list[DiscoveredDevice] = []
        wanted: list[str | None] = [*self.device] if self.device else [None]
        for device in wanted:
            one = await find(device, self.profile, pick=_ask if sys.stdin.isatty() else None)
            if device is None:
                print(f"mujo-edge: streaming from {one.label}", file=sys.stderr)
            if one in found:
                raise UsageError(f"--device {device} is the same wearable as one before it")
            found.append(one)
        return [BleSource(one, rate_hz=self.rate_hz) for one in found]


def _ask(found: list[DiscoveredDevice]) -> DiscoveredDevice:
    """Which of several wearables to take; asked on stderr, as stdout may be a pipe."""
    from rich.console import Console
    from rich.prompt import IntPrompt

    console = Console(stderr=True)
    for number, one in enumerate(found, 1):
        console.print(f"{number}  {one.label}", highlight=False, markup=False)
    choices = [str(number) for number in range(1, len(found) + 1)]
    return found[IntPrompt.ask("Which one", console=console, choices=choices, default=1) - 1]
