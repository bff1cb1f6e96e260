"""A serial port that is read on a thread of its own, and opened again whenever it comes back."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import serial
from serial.tools import list_ports

from firmware_bridge.serial.lines import START, STOP
from mujo_edge.core import DeviceError, UsageError

READ_S = 0.1
"""A read without bytes ends after so long, so that the thread can end."""

POLL_S = 0.5
"""A port that went away is looked for so often."""

ASK_S = 2.0
"""A board that is silent for so long may wait to be asked."""

LARGEST = 4096
"""Bytes handed over at once: a port that never pauses must not keep them for itself."""

Put = Callable[[bytes, str, Any, float | None], None]
"""`PayloadQueue.put`: bytes, origin, kind, when they came."""


class Port:
    """Bytes of a port into an inlet, with `open` before the first and `close` after the last of every connection.

    A read asks for what is there, at least one byte: so bytes are stamped as they come, not when a buffer is full.

    Args:
        asked: name, pyserial URL or "auto". baud: bits a second.
        loop: on which `put` is called.
        put: takes bytes, origin, kind and time of arrival.

    Attributes:
        name: of the port. title: with the name of what is plugged in there. status: "" while it is open.
        heard_s: when bytes came last. is_lines: whether a silent board may be asked to start.
    """

    def __init__(self, asked: str, baud: int, loop: asyncio.AbstractEventLoop, put: Put) -> None:
        self.name = self.title = asked
        self.status = ""
        self.heard_s = monotonic()
        self.is_lines = True
        self._baud, self._loop, self._put = baud, loop, put
        self._identity: tuple[int, int, str] | None = None
        self._opened: asyncio.Future[None] = loop.create_future()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"serial {asked}", daemon=True)

    async def open(self) -> None:
        """Open the port and begin to read. Raises `UsageError` or `DeviceError`."""
        self._thread.start()
        await self._opened

    async def close(self) -> None:
        """End the thread, which closes the port."""
        self._ending.set()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join)
        if self._opened.done() and not self._opened.cancelled():
            self._opened.exception()

    def _run(self) -> None:
        """The thread."""
        try:
            self._choose()
            port = open_port(self.name, self._baud)
        except (UsageError, DeviceError) as error:
            self._call(self._settle, error)
            return
        self._call(self._settle, None)
        while port is not None:
            self._tell("open")
            self.status = ""
            lost = self._read(port)
            self._tell("close")
            if lost:
                self.status = f"{self.name} is unplugged, waiting for it"
            port = self._await_return() if lost else None

    def _settle(self, error: Exception | None) -> None:
        if self._opened.done():
            return
        if error:
            self._opened.set_exception(error)
        else:
            self._opened.set_result(None)

    def _read(self, port: Any) -> bool:
        """Read until the end is asked for or the port goes away; whether it went away."""
        began_s = self.heard_s = monotonic()
        heard = asked = lost = False
        while not self._ending.is_set() and not lost:
            data = bytearray()
            came_s = monotonic()
            try:
                data += port.read(max(1, min(port.in_waiting, LARGEST)))
                came_s = monotonic()
                while data and len(data) < LARGEST and (more := port.in_waiting):
                    data += port.read(min(more, LARGEST - len(data)))
                if not heard and not asked and not data and self.is_lines and came_s - began_s > ASK_S:
                    asked = True
                    port.write(START)
            except Exception:  # pyserial's many backends raise more than its own SerialException when a port goes away
                lost = True
            if data:
                heard, self.heard_s = True, came_s
                self._tell("data", bytes(data), came_s)
        with suppress(Exception):
            if asked and not lost:
                port.write(STOP)
        with suppress(Exception):
            port.close()
        return lost

    def _await_return(self) -> Any:
        """The port, open again; None when the end is asked for."""
        while not self._ending.wait(POLL_S):
            if self._identity:
                back = next((info.device for info in list_ports.comports() if _identity(info) == self._identity), None)
                if back is None:
                    continue
                self.name = back
            with suppress(DeviceError):
                return open_port(self.name, self._baud)
        return None

    def _choose(self) -> None:
        """Find the port that was asked for, and what is plugged in there."""
        if "://" in self.name:
            return
        infos = list_ports.comports()
        if self.name == "auto":
            boards = [info for info in infos if info.vid is not None]
            if not boards:
                raise DeviceError(
                    f"no board at a USB port. Plug it in, or name the port: --serial PORT{_listed(infos)}"
                )
            if len(boards) > 1:
                raise UsageError(f"there are several USB ports; name one of them: --serial PORT{_listed(boards)}")
            self.name = boards[0].device
        path = Path(self.name).resolve()
        for info in infos:
            if Path(info.device).resolve() == path:
                self._identity = _identity(info)
                self.title = f"{info.product or info.description or 'board'} at {self.name}"
                return
        self.title = self.name

    def _tell(self, kind: str, data: bytes = b"", came_s: float | None = None) -> None:
        self._call(self._put, data, "", kind, monotonic() if came_s is None else came_s)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop was closed before the source was left
            self._loop.call_soon_threadsafe(function, *arguments)


def open_port(name: str, baud: int) -> Any:
    """An open port of pyserial's, for ourselves alone. Raises `UsageError` or `DeviceError` with the next step."""
    try:
        return serial.serial_for_url(name, baudrate=baud, timeout=READ_S, exclusive=True)
    except ValueError as error:
        raise UsageError(f"--serial {name}: {error}") from None
    except OSError as error:
        reason = str(error)
        if error.errno == errno.ENOENT:
            message = f"there is no port {name}. Plug the board in{_listed(list_ports.comports())}"
        elif error.errno in (errno.EACCES, errno.EPERM):
            group = _group(name)
            message = (
                f"no permission for {name}, which belongs to the group {group}.\n"
                f"Run: sudo usermod -aG {group} $USER, and log out and in again."
            )
        elif error.errno in (errno.EBUSY, errno.EAGAIN):
            message = f"{name} is in use by another program, such as a serial monitor. Close that and start again."
        elif "://" in name:
            message = f"{reason}. Is the other side running, and the address right?"
        else:
            message = f"cannot open {name}: {reason}"
        raise DeviceError(message) from None
    except Exception as error:  # a backend of pyserial's that lacks what we ask of it, or met what it did not expect
        raise DeviceError(f"cannot open {name}: {error!r}") from None


def _identity(info: Any) -> tuple[int, int, str] | None:
    """Vendor, product and serial number of a USB device that has one."""
    return (info.vid, info.pid, info.serial_number) if info.vid is not None and info.serial_number else None


def _group(name: str) -> str:
    """The group whose members may open a device file; dialout is that of most systems."""
    try:
        return Path(name).group()
    except (OSError, KeyError, NotImplementedError):
        return "dialout"


def _listed(infos: Any) -> str:
    """Ports to choose from, a line each."""
    lines = [f"\n  {info.device}  {info.product or info.description or ''}".rstrip() for info in sorted(infos)]
    return ".\nThere are:" + "".join(lines) if lines else "."
