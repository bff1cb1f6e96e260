"""A simulated board at a pseudo-terminal.

python -m firmware_bridge.simulator board --protocol csv      prints the port for mujo-edge stream --serial PORT
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import termios
import tty
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Annotated, Self

import numpy as np
import typer

from firmware_bridge.profiles.witmotion import UNIT as WIT_UNIT
from firmware_bridge.protocol import packet
from firmware_bridge.protocol.framing import cobs_encode
from firmware_bridge.serial.lines import START, STOP
from firmware_bridge.serial.witmotion import ACCELERATION, ANGULAR_RATE, HEAD
from firmware_bridge.simulator.faults import Fault, in_time, parse
from firmware_bridge.simulator.motion import named
from firmware_bridge.simulator.wearable import Motion, Wearable
from firmware_bridge.stream import DEG, F32, F64, IMU, G

COLUMNS = ",".join(f"{axis}_m_s2" if axis[0] == "a" else f"{axis}_deg_s" for axis in IMU)
"""Columns that most sketches print, usually without a header."""

UNITS = {"m_s2": 1.0, "g": G, "mg": G / 1000, "rad_s": 1.0, "deg_s": DEG, "s": 1.0, "ms": 1e-3, "us": 1e-6}

FAULTS = ("loss", "corrupt", "burst", "stall", "disconnect")
"""Kinds of `simulator.faults` that apply to a serial line; fractions are of bytes."""

BOOT = b"\x00\xf8\xff\x80ets Jun  8 2016 00:22:57\r\n\r\nrst:0x1 (POWERON_RESET),boot:0x13\r\nStarted\r\n"
"""Boot messages of an ESP32, after line noise."""

PORT = Path(f"/tmp/mujo-edge-sim-{os.getuid()}/board")  # noqa: S108 - a fixed name, in a folder of the user alone
"""Default name of the port: the same for every run, so that docs can name it."""

TICK_S = 0.01
"""Longest time between two steps of the line, in seconds."""


class Board(Wearable):
    """The board's firmware.

    Args:
        protocol: "csv", "wit" or "packet". rate_hz: the data forwarder's sketch has 1000 / 19 Hz instead of 50.
        columns: columns of "csv": t, ax to gz with a unit, as in `COLUMNS`; others are printed as 0.
        header: whether "csv" begins with a line of names. batch: samples per packet. channels: 3 or 6.
        asked: whether it waits for `START`.
    """

    profile = "serial"
    name = "board"
    services = ()

    def __init__(
        self,
        motion: Motion,
        protocol: str = "packet",
        *,
        rate_hz: float = 50.0,
        columns: str = COLUMNS,
        header: bool = False,
        batch: int = 1,
        channels: int = 6,
        asked: bool = False,
        drift_ppm: float = 0.0,
        first: int = 0,
    ) -> None:
        encoders = {"csv": self._line, "wit": self._round, "packet": self._packet}
        if protocol not in encoders:
            raise ValueError(f"no protocol is called {protocol!r}; there are {', '.join(encoders)}")
        super().__init__(motion, drift_ppm=drift_ppm, first=first)
        self.asked, self._start = asked, first
        self.rate_hz, self.batch = rate_hz, batch if protocol == "packet" else 1
        self.greeting = (columns + "\r\n").encode() if header and protocol == "csv" else b""
        self._encode, self._columns, self._channels = encoders[protocol], [*map(_column, columns.split(","))], channels

    def power(self, now_s: float) -> None:
        """Restart from the first sample, as when it is plugged in."""
        self.taken = self._start
        self._restart(now_s)
        self.streaming = not self.asked

    def receive(self, data: bytes, now_s: float) -> None:
        """Handle bytes from the other side."""
        if START in data:
            self.begin(now_s)
        elif STOP in data:
            self.streaming = False

    def encode(self, x: F32, first: int, t_s: F64) -> list[tuple[str, bytes]]:
        """See `Wearable`."""
        return [("", self._encode(x, first, t_s))]

    def _line(self, x: F32, first: int, t_s: F64) -> bytes:
        def text(axis: int, unit: float) -> str:
            if axis >= 0:
                return f"{x[0, axis] / unit:.4f}"
            return f"{t_s[0]:.6f}" if unit == 1 else f"{t_s[0] / unit % 2**32:.0f}"  # Arduino's millis() and micros()

        return (",".join(text(axis, unit) for axis, unit in self._columns) + "\r\n").encode()

    def _round(self, x: F32, first: int, t_s: F64) -> bytes:
        counts = np.clip(np.rint(x[0] / WIT_UNIT), -32768, 32767).astype("<i2")
        kinds = {ACCELERATION: counts[:3], ANGULAR_RATE: counts[3:], 0x53: np.zeros(3, "<i2")}
        if self._channels == 3:
            del kinds[ANGULAR_RATE]
        return b"".join(_frame(kind, values) for kind, values in kinds.items())

    def _packet(self, x: F32, first: int, t_s: F64) -> bytes:
        return cobs_encode(packet.encode(x[:, : self._channels], first, round(t_s[-1] * packet.TICK_HZ)))


class Line:
    """A context manager for a pseudo-terminal with a board at its other end.

    Args:
        board: the sender. link: name of the port; it is the same after the board is unplugged and plugged in again.
        baud: the board's speed; a reader at another one gets random bytes.
        boot: sent first whenever the port is opened.
        resets: whether the board restarts when the port is opened, as boards that are powered by it.
        faults: scheduled faults of the kinds `FAULTS`. seed: of random faults.

    Attributes:
        damaged: bytes that were lost or changed. unheard: bytes that were sent while the port was not open.
    """

    def __init__(
        self,
        board: Board,
        link: Path,
        *,
        baud: int = 115200,
        boot: bytes = b"",
        resets: bool = False,
        faults: Sequence[Fault] = (),
        seed: int = 0,
    ) -> None:
        if other := {fault.kind for fault in faults} - {*FAULTS}:
            raise ValueError(
                f"faults that a board does not have: {', '.join(sorted(other))}; it has {', '.join(FAULTS)}"
            )
        self.board, self.port = board, str(link)
        self.damaged = self.unheard = 0
        self._link, self._baud, self._boot, self._resets = link, baud, boot, resets
        self._faults = in_time(faults)
        self._next = next(self._faults, None)
        self._chance = np.random.default_rng(seed)
        self._fractions = {"loss": 0.0, "corrupt": 0.0}
        self._until = {"burst": 0.0, "stall": 0.0, "disconnect": 0.0}
        self._pending = b""
        self._master = -1
        self._is_open = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._began_s = monotonic()
        self.board.power(self._began_s)
        self.plug()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.unplug()

    def plug(self) -> None:
        """Create the port, unless it exists."""
        if self._master >= 0:
            return
        self._master, slave = os.openpty()
        os.set_blocking(self._master, False)
        tty.setraw(slave)
        self._link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self._link.with_name(f"{self._link.name}.{os.getpid()}")
        new.symlink_to(os.ttyname(slave))
        new.replace(self._link)
        os.close(slave)  # from now on the kernel reports whether the port is open

    def unplug(self) -> None:
        """Remove the port; readers get an error."""
        if self._master >= 0:
            self._link.unlink(missing_ok=True)
            os.close(self._master)
            self._master, self._is_open = -1, False

    def befall(self, kind: str, amount: float) -> None:
        """Apply a fault of `FAULTS` now."""
        if kind in self._fractions:
            self._fractions[kind] = amount
            return
        self._until[kind] = monotonic() + amount
        if kind == "disconnect":
            self.unplug()

    def say(self, data: bytes) -> None:
        """Send further bytes before the next sample."""
        self._pending += data

    async def _run(self) -> None:
        while True:
            now_s = monotonic()
            while self._next and self._next.at_s <= now_s - self._began_s:
                self.befall(self._next.kind, self._next.amount)
                self._next = next(self._faults, None)
            if now_s >= self._until["disconnect"]:
                self.plug()
            self._listen(now_s)
            self._send(b"".join(payload for _, payload in self.board.due(now_s)), now_s)
            wait_s = (self.board.next_s() or now_s + TICK_S) - monotonic()
            await asyncio.sleep(min(max(wait_s, 0.001), TICK_S))

    def _listen(self, now_s: float) -> None:
        """Detect that the port is opened, and receive bytes."""
        if self._master < 0:
            return
        events = select.poll()
        events.register(self._master, select.POLLIN)
        state = events.poll(0)
        is_open = not (state and state[0][1] & select.POLLHUP)
        if is_open and not self._is_open:
            if self._resets:
                self.board.power(now_s)
            self._is_open = True
            self._send(self._boot + self.board.greeting, now_s)
        self._is_open = is_open
        if state and state[0][1] & select.POLLIN:
            with suppress(OSError):
                self.board.receive(os.read(self._master, 4096), now_s)

    def _send(self, data: bytes, now_s: float) -> None:
        data, self._pending = self._pending + data, b""
        if not data:
            return
        if not self._is_open:
            self.unheard += len(data)
        elif now_s < self._until["stall"]:
            self._pending = data
        elif now_s < self._until["burst"]:
            self.damaged += len(data)
        else:
            data = self._damage(data)
            with suppress(BlockingIOError):
                data = data[os.write(self._master, data) :]
            self.damaged += len(data)  # the buffer is full: a serial port loses bytes that are not read in time

    def _damage(self, data: bytes) -> bytes:
        """The bytes of `data` that arrive."""
        if termios.tcgetattr(self._master)[5] != getattr(termios, f"B{self._baud}"):
            return self._chance.bytes(len(data))
        arrived = np.frombuffer(data, np.uint8)
        arrived = arrived[self._chance.random(len(arrived)) >= self._fractions["loss"]].copy()
        corrupted = self._chance.random(len(arrived)) < self._fractions["corrupt"]
        arrived[corrupted] ^= self._chance.integers(1, 256, int(corrupted.sum()), np.uint8)
        self.damaged += len(data) - len(arrived) + int(corrupted.sum())
        return arrived.tobytes()


def _column(name: str) -> tuple[int, float]:
    """Index of the axis (-1 for time) and factor of the unit; an unknown column has an infinite factor, and prints as
    0."""
    axis, _, unit = name.strip().partition("_")
    if axis == "t":
        return -1, UNITS[unit]
    return (IMU.index(axis), UNITS[unit]) if axis in IMU else (0, float("inf"))


def _frame(kind: int, values: np.ndarray) -> bytes:
    body = bytes([HEAD, kind]) + values.tobytes() + b"\0\0"
    return body + bytes([sum(body) & 0xFF])


def command(
    protocol: Annotated[
        str, typer.Option(help="csv (lines of numbers), wit (WitMotion) or packet (mujo-edge's own).")
    ] = "csv",
    motion: Annotated[str, typer.Option(help="rest, sine, or a session folder that is played in a loop.")] = "sine",
    rate: Annotated[float, typer.Option(help="Samples per second; the usual sketch for 50 has 52.63.")] = 50.0,
    columns: Annotated[str, typer.Option(help="Columns of the lines, for example t_us,ax_g,ay_g,az_g.")] = COLUMNS,
    header: Annotated[bool, typer.Option("--header", help="Begin with a line of column names.")] = False,
    baud: Annotated[int, typer.Option(help="Speed of the board; at another one, readers get random bytes.")] = 115200,
    drift_ppm: Annotated[float, typer.Option(help="How fast its clock runs, in ppm.")] = 0.0,
    fault: Annotated[list[str] | None, typer.Option(help='"SECONDS KIND AMOUNT", as "10 disconnect 3".')] = None,
    seed: Annotated[int, typer.Option(help="Seed of random faults.")] = 0,
    port: Annotated[Path, typer.Option(help="The port's name.")] = PORT,
) -> None:
    """A board at a serial port, until Ctrl-C.

    Kinds of faults: loss, corrupt (fractions of bytes); burst, stall, disconnect (seconds). "SECONDS/EVERY" repeats
    one.
    """
    board = Board(named(motion), protocol, rate_hz=rate, columns=columns, header=header, drift_ppm=drift_ppm)
    line = Line(board, port, baud=baud, boot=BOOT, faults=[parse(text) for text in fault or ()], seed=seed)
    asyncio.run(_main(line, baud))


async def _main(line: Line, baud: int) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with line:
        asked = "" if baud == 115200 else f" --baud {baud}"
        typer.echo(f"The board is at {line.port}. In another terminal: mujo-edge stream --serial {line.port}{asked}")
        await ended.wait()
