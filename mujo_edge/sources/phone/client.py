"""Clients of apps that serve samples on the phone: SensorServer by WebSocket, phyphox by HTTP."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from urllib.parse import urlsplit

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ClientWebSocketResponse,
    WSMsgType,
)

from firmware_bridge.phone import phyphox, sensorserver
from firmware_bridge.stream import CodecError
from mujo_edge.core import DataError, UsageError
from mujo_edge.sources.phone.base import Announce, GoneError, PhoneSource, to_stderr

ANSWER_S = 5.0
"""Time limit of a response, and of the first sample."""

HEARTBEAT_S = 5.0
"""Seconds between pings; without an answer for half as long the phone counts as gone."""

POLL_S = 0.1
"""Pause between requests to phyphox, whose server is slow and answers one at a time."""

STALL_S = 2.0
"""Seconds without new data while phyphox measures, after which its data must have been cleared and its time reset."""


class SensorServerSource(PhoneSource):
    """SensorServer at `url`, ws://PHONE:PORT, with the sensors in its path, else accelerometer and gyroscope.

    Raises `UsageError` for an invalid URL.
    """

    def __init__(self, url: str, announce: Announce = to_stderr) -> None:
        self._url = checked(url, "ws", "wss")
        super().__init__(
            "SensorServer", announce, ". In SensorServer's settings set the sampling rate to 20000 microseconds or less"
        )
        try:
            self._types = sensorserver.types_of(self._url)
        except CodecError as error:
            raise UsageError(f"--url {url}: {error}") from None
        self._asked = self._types or (sensorserver.ACCELEROMETER, sensorserver.GYROSCOPE)

    async def _run(self) -> None:
        async with ClientSession(timeout=ClientTimeout(total=None, sock_connect=ANSWER_S)) as http:
            await self._reconnect(lambda: self._connect(http))

    async def _connect(self, http: ClientSession) -> None:
        try:
            layout = sensorserver.layout_of(self._asked)
        except CodecError as error:
            raise DataError(f"--url {self._url}: {error}. Ask for android.sensor.accelerometer") from None
        where = urlsplit(self._url)
        address = f"{where.scheme}://{where.netloc}{sensorserver.path(self._asked)}"
        with reached(self._url, "Start the server in SensorServer, and give the address that it shows"):
            socket = await http.ws_connect(address, heartbeat=HEARTBEAT_S, max_msg_size=sensorserver.MAX_MESSAGE)
        async with socket:
            if await self._receive(socket, {"app": "sensorserver", "url": self._url, "layout": layout.about()}):
                self._queue.put(b"", kind="close")
            elif socket.close_code == sensorserver.NO_SUCH_SENSOR and not self._types and len(self._asked) > 1:
                self._asked = self._asked[:1]
                self._peculiarities.append("the phone has no gyroscope")
                await self._connect(http)
            else:
                why = f": it closed with {socket.close_code}" if socket.close_code else ""
                raise GoneError(
                    f"{self._url} is SensorServer, but sends no samples{why}. Keep the app open on the phone"
                )

    async def _receive(self, socket: ClientWebSocketResponse, about: dict[str, object]) -> bool:
        """Receive messages until the socket closes -> whether there were any."""
        opened = False
        while True:
            try:
                message = await socket.receive(None if opened else ANSWER_S)
            except TimeoutError:
                return opened
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return opened
            received_s = monotonic()
            if not opened:
                self._opened(about, received_s)
                opened = True
            data = message.data.encode() if message.type == WSMsgType.TEXT else message.data
            self._queue.put(data, received_s=received_s)


class PhyphoxSource(PhoneSource):
    """phyphox at `url`, http://PHONE[:PORT], with an experiment open that has an accelerometer.

    Raises `UsageError` for an invalid URL.
    """

    def __init__(self, url: str, announce: Announce = to_stderr) -> None:
        self._url = checked(url, "http", "https").rstrip("/")
        super().__init__("phyphox", announce)

    async def _run(self) -> None:
        async with ClientSession(timeout=ClientTimeout(total=ANSWER_S)) as http:
            await self._reconnect(lambda: self._connect(http))

    async def _connect(self, http: ClientSession) -> None:
        advice = "In phyphox open Acceleration (with g), and allow remote access in its menu"
        config = await self._get(http, "/config", advice)
        try:
            title, buffers = phyphox.experiment(config)
            layout = phyphox.layout_of(buffers)
        except CodecError as error:
            raise (GoneError if self._connections else DataError)(f"{self._url}: {error}. {advice}") from None
        started = await self._get(http, "/control?cmd=start", advice)
        if b"true" not in started:
            raise GoneError(f"{self._url}: phyphox does not start the experiment. Start it on the phone")
        used = {sensor: buffers[sensor] for sensor in sorted(layout.streams)}
        poll, session, opened, since_s = phyphox.Poll(used), None, False, monotonic()
        while True:
            try:
                body = await self._get(http, poll.path, advice)
                status = poll.answered(body)
            except (GoneError, CodecError) as error:
                if opened:
                    self._queue.put(b"", kind="close")
                    return
                raise GoneError(f"{self._url}: {error}") from None
            received_s = monotonic()
            if session not in (None, status.session):
                self._queue.put(b"", kind="close")
                return  # another experiment was opened
            session = status.session
            if status.new:
                if not opened:
                    self._opened(
                        {"app": "phyphox", "url": self._url, "title": title, "layout": layout.about(), "buffers": used}
                    )
                    opened = True
                since_s = received_s
                self._queue.put(body, received_s=received_s)
            elif received_s - since_s > STALL_S:
                poll.since_s.clear()
                since_s = received_s
            self._state = "" if status.measuring else "phyphox is paused: press play on the phone"
            await asyncio.sleep(POLL_S)

    async def _get(self, http: ClientSession, path: str, advice: str) -> bytes:
        """The body of a response. Raises `GoneError`."""
        with reached(self._url, advice):
            async with http.get(f"{self._url}{path}", allow_redirects=False) as response:
                if response.status != 200:
                    raise GoneError(f"{self._url} responds with status {response.status}. {advice}")
                return await _limited(response)


async def _limited(response: ClientResponse) -> bytes:
    body = bytearray()
    async for part in response.content.iter_chunked(1 << 16):
        body += part
        if len(body) > phyphox.MAX_BODY:
            raise GoneError("a response of phyphox is too long")
    return bytes(body)


def checked(url: str, *schemes: str) -> str:
    """`url`, with the first of `schemes` where it has none. Raises `UsageError`."""
    whole = url if "://" in url else f"{schemes[0]}://{url}"
    try:
        parts = urlsplit(whole)
        good = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise UsageError(f"--url {url}: give the address that the app shows, such as {schemes[0]}://192.168.1.20:8080")
    return whole


@contextmanager
def reached(url: str, advice: str) -> Iterator[None]:
    """Turn the errors of a connection into `GoneError`, with advice."""
    try:
        yield
    except TimeoutError:
        raise GoneError(f"{url} does not answer. {advice}; is the phone on the same network?") from None
    except (ClientError, OSError) as error:
        raise GoneError(f"cannot connect to {url}: {_reason(error)}. {advice}") from None


def _reason(error: Exception) -> str:
    """The system's reason of an error; asyncio puts the address into strerror instead."""
    cause = error.os_error if isinstance(error, ClientConnectorError) else error
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno in errno.errorcode:
        return os.strerror(cause.errno)
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
