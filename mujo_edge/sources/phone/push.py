"""Server for Sensor Logger's HTTP Push."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from time import monotonic

from aiohttp import web

from firmware_bridge.phone import sensor_logger
from firmware_bridge.phone.sensor_logger import Message, SensorLogger, enough, read, survey
from firmware_bridge.stream import ACC, CodecError
from mujo_edge.core import DataError, Payload
from mujo_edge.sources.phone.base import Announce, PhoneSource, to_stderr
from mujo_edge.sources.phone.server import PhoneServer, is_loopback, only_here

OWNED_S = 10.0
"""Seconds after its last push for which the stream belongs to a phone; then another may take over."""

FIRST = 64
"""Messages within which the sensors of a phone must be known."""

ADVICE = (
    "In Sensor Logger turn on Accelerometer, Gravity and Gyroscope (and Total Acceleration on Android, or "
    "Accelerometer Uncalibrated on an iPhone)"
)


class UnfitError(web.HTTPClientError):
    """The status whose text Sensor Logger shows to the user (awesome-sensor-logger, README.md, Setting Up Server)."""

    status_code = 499


class SensorLoggerSource(PhoneSource):
    """A server for the pushes of one phone, or of its watch. `host` None binds to loopback.

    Raises `UsageError` for an invalid host; on entering `DeviceError` if it cannot listen, `DataError` if the
    first phone sends no gravity.
    """

    def __init__(self, host: str | None = None, port: int | None = None, announce: Announce = to_stderr) -> None:
        super().__init__("Sensor Logger", announce)
        self._state = "waiting for Sensor Logger to push"
        self._local = is_loopback(host)
        self._server = PhoneServer(
            host, port, tls=False, max_body=sensor_logger.MAX_MESSAGE, requests_s=30.0, bytes_s=2.0 * (1 << 20)
        )
        self._server.app.router.add_post("/data", self._pushed)
        self._server.app.router.add_post("/{token}/data", self._pushed)
        self._phone: tuple[str, str] | None = None
        self._pushed_s = 0.0
        self._missed = 0
        self._over: deque[tuple[str, str]] = deque(maxlen=8)
        self._first: deque[tuple[float, bytes, Message]] = deque(maxlen=FIRST)
        self._streaming = False
        self._channels: tuple[str, ...] | None = None
        self._unfit: asyncio.Future[None] | None = None

    @property
    def notes(self) -> list[str]:
        """See `PhoneSource`; also the number of messages that are missing."""
        missing = self._missed + self._missing
        return [*super().notes, *([f"messages of Sensor Logger that are missing: {missing}"] if missing else [])]

    @property
    def _missing(self) -> int:
        return self._decoder.missing if isinstance(self._decoder, SensorLogger) else 0

    def _begin(self, opening: Payload) -> None:
        self._missed += self._missing
        super()._begin(opening)

    @property
    def url(self) -> str:
        """The URL to enter in the app; known once the server listens."""
        return f"{self._server.origin}/{self._server.token}/data"

    async def _run(self) -> None:
        self._unfit = asyncio.get_running_loop().create_future()
        async with self._server.open():
            reach = (
                only_here()
                if self._local
                else "The address holds a token for this run; the data can be read by others on the network (http)."
            )
            self._announce(
                f"In Sensor Logger, Settings > Data Streaming, enable HTTP Push with this Push URL:\n\n  {self.url}\n\n"
                f"{ADVICE}, and start a recording. {reach}"
            )
            await self._unfit

    async def _pushed(self, request: web.Request) -> web.Response:
        data, received_s = await self._server.body(request), monotonic()
        try:
            message = read(data, () if self._streaming else None)
        except CodecError as error:
            if self._streaming:
                self._queue.put(data)  # so that it is counted
            raise web.HTTPBadRequest(text=str(error)) from None
        phone = (message.device, message.session)
        if self._phone and phone[0] != self._phone[0] and received_s - self._pushed_s < OWNED_S:
            raise web.HTTPConflict(text="another phone is streaming")
        if phone != self._phone:
            message = read(data)
            if phone in self._over or not message.samples:
                return web.Response(text="received, but it holds no motion or belongs to a recording that is over")
            if self._streaming:
                self._queue.put(b"", kind="close")
            if self._phone:
                self._over.append(self._phone)
            self._phone, self._streaming = phone, False
            self._first.clear()
        self._pushed_s = received_s
        if self._streaming:
            self._queue.put(data, received_s=received_s)
        else:
            self._first.append((received_s, data, message))
            self._survey(ios="CFNetwork" in request.headers.get("User-Agent", ""))
        return web.Response(text="received")

    def _survey(self, ios: bool) -> None:
        """Begin the stream once the sensors of the phone are known. Raises 499 with advice if they do not suffice."""
        messages = [message for _, _, message in self._first]
        if not enough(messages):
            return
        first = list(self._first)
        self._first.clear()
        try:
            layout, note = survey(messages, ios)
            if self._channels == ACC:
                layout = replace(layout, gyroscope=None)
            if self._channels not in (None, layout.format.channels):
                raise CodecError("the phone sends no gyroscope, but the one before did")
        except CodecError as error:
            self._phone = None
            self._state = f"a phone was refused: {error}"
            if self._unfit and not self._unfit.done() and self._channels is None:
                self._unfit.set_exception(DataError(f"Sensor Logger: {error}. {ADVICE}"))
            raise UnfitError(text=f"{error}. {ADVICE}", reason="Not Usable") from None
        self._channels = layout.format.channels
        if note and note not in self._peculiarities:
            self._peculiarities.append(note)
        about = {"app": "sensor-logger", "device": messages[0].device, "ios": ios, "layout": layout.about()}
        self._opened(about, first[0][0])
        self._streaming = True
        for received_s, data, _ in first:
            self._queue.put(data, received_s=received_s)
