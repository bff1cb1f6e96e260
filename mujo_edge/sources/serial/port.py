"""A serial port that is read on a thread of its own, and reopened whenever it is plugged in again."""

from __future__ import annotations

import asyncio
import errno
import logging
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

logger = logging.getLogger(__name__)

READ_S = 0.1
"""Timeout of a read, after which the thread checks whether it should end."""

POLL_S = 0.5
"""Seconds between checks whether a port is back."""

ASK_S = 2.0
"""Seconds of silence after which a board is asked to start: it may wait for that."""

LARGEST = 4096
"""Bytes of the largest payload: a port that never pauses must not fill one without end."""

Put = Callable[[bytes, str, Any, float | None], None]
"""`PayloadQueue.put`: bytes, origin, kind, time of arrival."""


class Port:
    """Passes the bytes of a port to a queue, with "open" before the first and "close" after the last of a connection.

    A read asks for the bytes that are there, at least one, so that they are timestamped on arrival and not when a
    buffer is full.

    Args:
        asked: name, pyserial URL or "auto". baud: bits per second.
        loop: the event loop on which `put` is called.
        put: takes bytes, origin, kind and time of arrival.

    Attributes:
        name: of the port. title: name of the port and of the board there. status: "" while it is open.
        received_s: when the last bytes arrived. is_lines: whether a silent board may be asked to start.
    """

    def __init__(self, asked: str, baud: int, loop: asyncio.AbstractEventLoop, put: Put) -> None:
        self.name = self.title = asked
        self.status = ""
        self.received_s = monotonic()
        self.is_lines = True
        self._baud, self._loop, self._put = baud, loop, put
        self._identity: tuple[int, int, str] | None = None
        self._opened: asyncio.Future[None] = loop.create_future()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"serial {asked}", daemon=True)

    async def open(self) -> None:
        """Open the port and start reading. Raises `UsageError` or `DeviceError`."""
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
        """The thread's main function."""
        try:
            self._choose()
            port = open_port(self.name, self._baud)
        except (UsageError, DeviceError) as error:
            self._call(self._settle, error)
            return
        self._call(self._settle, None)
        while port is not None:
            logger.info("opened %s at %d baud", self.name, self._baud)
            self._emit("open")
            self.status = ""
            lost = self._read(port)
            self._emit("close")
            logger.info("%s was %s", self.name, "unplugged" if lost else "closed")
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
        """Read until `close` is called or the port is unplugged -> whether it was unplugged."""
        began_s = self.received_s = monotonic()
        received = asked = lost = False
        while not self._ending.is_set() and not lost:
            data = bytearray()
            at_s = monotonic()
            try:
                data += port.read(max(1, min(port.in_waiting, LARGEST)))
                at_s = monotonic()
                while data and len(data) < LARGEST and (more := port.in_waiting):
                    data += port.read(min(more, LARGEST - len(data)))
                if not received and not asked and not data and self.is_lines and at_s - began_s > ASK_S:
                    asked = True
                    logger.debug("nothing from %s for %g s: asking the board to start", self.name, ASK_S)
                    port.write(START)
            except Exception as error:  # pyserial's backends raise more than SerialException when a port is unplugged
                logger.debug("%s: %r", self.name, error)
                lost = True
            if data:
                received, self.received_s = True, at_s
                self._emit("data", bytes(data), at_s)
        with suppress(Exception):
            if asked and not lost:
                port.write(STOP)
        with suppress(Exception):
            port.close()
        return lost

    def _await_return(self) -> Any:
        """The port, opened again; None when `close` is called."""
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
        """Find the port that was asked for, and the board there."""
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

    def _emit(self, kind: str, data: bytes = b"", at_s: float | None = None) -> None:
        self._call(self._put, data, "", kind, monotonic() if at_s is None else at_s)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop was closed before the source was left
            self._loop.call_soon_threadsafe(function, *arguments)


def open_port(name: str, baud: int) -> Any:
    """An open pyserial port, for exclusive use. Raises `UsageError` or `DeviceError` with the next step."""
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
    except Exception as error:  # a pyserial backend that lacks a feature, or met an error of its own
        raise DeviceError(f"cannot open {name}: {error!r}") from None


def _identity(info: Any) -> tuple[int, int, str] | None:
    """Vendor, product and serial number of a USB device that has one."""
    return (info.vid, info.pid, info.serial_number) if info.vid is not None and info.serial_number else None


def _group(name: str) -> str:
    """The group whose members may open a device file; on most systems dialout."""
    try:
        return Path(name).group()
    except (OSError, KeyError, NotImplementedError):
        return "dialout"


def _listed(infos: Any) -> str:
    """The ports to choose from, one per line."""
    lines = [f"\n  {info.device}  {info.product or info.description or ''}".rstrip() for info in sorted(infos)]
    return ".\nThere are:" + "".join(lines) if lines else "."
