"""Where `stream` and `record` get their samples: one recording, port or phone, or some wearables."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from mujo_edge.core import Source
    from mujo_edge.recordings.units import Answers
    from mujo_edge.sources.ble.scan import DiscoveredDevice

_option = partial(typer.Option, rich_help_panel="Source")


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """The options that say where samples come from, declared once for every command that takes them."""

    ble: Annotated[bool, _option("--ble", help="A Bluetooth wearable: the best known one near; see `devices`.")] = False
    device: Annotated[
        list[str] | None,
        _option("--device", metavar="NAME|ADDRESS", help="Which wearable; again for several at once. Implies --ble."),
    ] = None
    profile: Annotated[
        str | None,
        _option("--profile", metavar="NAME", help="Protocol of the wearable, if not recognized. Implies --ble."),
    ] = None
    serial: Annotated[
        str | None, _option("--serial", metavar="PORT|auto", help="A board at a serial port or pyserial URL.")
    ] = None
    baud: Annotated[int, _option("--baud", envvar="MUJO_EDGE_BAUD", help="Of the serial port.")] = 115200
    columns: Annotated[
        str | None,
        _option("--columns", metavar="NAMES", help="Names of the columns of a file or board: t_ms,ax_g,ay_g,az_g ..."),
    ] = None
    units: Annotated[
        str | None,
        _option("--units", metavar="UNITS", help="Of a file's or board's columns: acc=g,gyro=deg/s or acc=16384/g."),
    ] = None
    time_unit: Annotated[
        str | None,
        _option("--time-unit", metavar="UNIT", help="Of a file's or board's times: s, ms, us, ns or 1/32768."),
    ] = None
    sign: Annotated[
        str | None,
        _option(
            "--sign", metavar="+|-", help="Of gravity in a file or board: - if the axis that points up is negative."
        ),
    ] = None
    phone: Annotated[
        str | None,
        _option(
            "--phone",
            metavar="APP",
            help="browser, sensor-logger, sensorserver or phyphox (extra `phone`); see docs/phones.md.",
        ),
    ] = None
    url: Annotated[
        str | None, _option("--url", help="Where the phone's sensorserver (ws://) or phyphox (http://) is.")
    ] = None
    host: Annotated[
        str | None,
        _option(
            "--host",
            metavar="auto|ADDRESS",
            help="Address on which the phone finds this machine; loopback only if not given.",
        ),
    ] = None
    port: Annotated[
        int | None, _option("--port", min=0, max=65535, help="Port for the phone to find this machine at.")
    ] = None
    replay: Annotated[
        Path | None,
        _option("--replay", metavar="FILE|FOLDER", help="Recording to play: session folder, CSV or Parquet."),
    ] = None
    speed: Annotated[
        str, _option("--speed", help="Of a replay: 1 is real time, 8 eight times as fast, max as fast as possible.")
    ] = "1"
    decode_again: Annotated[
        bool, _option("--decode-again", help="Replay the bytes that a device sent, not what was made of them then.")
    ] = False
    rate: Annotated[
        float | None,
        _option("--rate", metavar="HZ", help="Asked of a device; or of a file or board without a time column."),
    ] = None

    def playing(self, recording: Path | None) -> SourceOptions:
        """These options with a recording that was given without --replay. Raises `UsageError` if that is there, too."""
        from mujo_edge.core import UsageError

        if recording is None:
            return self
        if self.replay is not None:
            raise UsageError(f"{recording} and --replay {self.replay}: give one recording")
        return replace(self, replay=recording)

    def check(self) -> None:
        """Raises `UsageError` for options that contradict each other."""
        from mujo_edge.core import UsageError

        wanted = {
            "--replay": self.replay is not None,
            "--ble": self.bluetooth,
            "--serial": self.serial is not None,
            "--phone": self.phone is not None,
        }
        named = [name for name, is_given in wanted.items() if is_given]
        if len(named) > 1:
            raise UsageError(f"{' and '.join(named)}: give one source at a time")
        source = named[0] if named else "the recording that comes with mujo-edge"
        belongs = {
            "--speed": (self.speed != "1", (None, "--replay")),
            "--decode-again": (self.decode_again, ("--replay",)),
            "--columns": (self.columns is not None, ("--serial", "--replay")),
            "--units": (self.units is not None, ("--serial", "--replay")),
            "--time-unit": (self.time_unit is not None, ("--serial", "--replay")),
            "--sign": (self.sign is not None, ("--serial", "--replay")),
            "--url": (self.url is not None, ("--phone",)),
            "--host": (self.host is not None, ("--phone",)),
            "--port": (self.port is not None, ("--phone",)),
        }
        for name, (is_given, sources) in belongs.items():
            if is_given and (named[0] if named else None) not in sources:
                raise UsageError(f"{name} has no meaning with {source}")
        if self.rate is not None and not 0 < self.rate < 1e5:
            raise UsageError(f"--rate {self.rate:g}: give a positive number of samples a second")

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

            answers = self._answers(None)
            return [SerialSource(self.serial, baud=self.baud, rate_hz=self.rate, columns=self.columns, answers=answers)]
        if self.phone is not None:
            from mujo_edge.sources.phone import phone_source

            return [phone_source(self.phone, url=self.url, host=self.host, port=self.port, rate_hz=self.rate)]
        return [self._recording()]

    def _recording(self) -> Source:
        from mujo_edge.core import UsageError
        from mujo_edge.sources.replay import ReplaySource, shipped_recording

        try:
            speed = None if self.speed == "max" else float(self.speed)
        except ValueError:
            raise UsageError(f"--speed {self.speed}: give a number such as 1 or 8, or max") from None
        if self.decode_again and self.replay is not None:
            from mujo_edge.sources.replay import RawReplay

            return RawReplay(self.replay, speed=speed)
        path = shipped_recording() if self.replay is None else self.replay
        return ReplaySource(path, speed=speed, rate_hz=self.rate, answers=self._answers(self.columns))

    def _answers(self, columns: str | None) -> Answers:
        from mujo_edge.recordings.units import Answers

        return Answers.parse(columns, self.units, self.time_unit, self.sign)

    async def _wearables(self) -> list[Source]:
        from mujo_edge.core import UsageError
        from mujo_edge.sources.ble import BleSource, find

        discovered: list[DiscoveredDevice] = []
        wanted: list[str | None] = [*self.device] if self.device else [None]
        for device in wanted:
            one = await find(device, self.profile, pick=_ask if sys.stdin.isatty() else None)
            if device is None:
                print(f"mujo-edge: streaming from {one.label}", file=sys.stderr)
            if one in discovered:
                raise UsageError(f"--device {device} is the same wearable as one before it")
            discovered.append(one)
        names = [one.name for one in discovered]
        # Wearables of one name are told apart by their addresses, in every line and recording.
        return [
            BleSource(one, rate_hz=self.rate, name=str(one) if names.count(one.name) > 1 else None)
            for one in discovered
        ]


def takes_source(command: Callable[..., None]) -> Callable[..., None]:
    """`command(..., source=SourceOptions(...))` as a command line with the options of `SourceOptions`."""
    hints = get_type_hints(SourceOptions, include_extras=True)
    own = [one for one in signature(command, eval_str=True).parameters.values() if one.name != "source"]
    shared = [Parameter(one.name, Parameter.KEYWORD_ONLY, default=one.default) for one in fields(SourceOptions)]
    names = {one.name for one in shared}
    keywords = [
        *(one.replace(annotation=hints[one.name]) for one in shared),
        *(one.replace(kind=Parameter.KEYWORD_ONLY) for one in own),
    ]

    def run(**options: Any) -> None:
        source = SourceOptions(**{name: options.pop(name) for name in names})
        command(**options, source=source)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = Signature(keywords)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in keywords}
    return run


def _ask(discovered: list[DiscoveredDevice]) -> DiscoveredDevice:
    """Which of several wearables to take; asked on stderr, as stdout may be a pipe."""
    from rich.console import Console
    from rich.prompt import IntPrompt

    console = Console(stderr=True)
    for number, one in enumerate(discovered, 1):
        console.print(f"{number}  {one.label}", highlight=False, markup=False)
    choices = [str(number) for number in range(1, len(discovered) + 1)]
    return discovered[IntPrompt.ask("Which one", console=console, choices=choices, default=1) - 1]
