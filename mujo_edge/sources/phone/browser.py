"""mujo-edge's own page: a phone opens it, allows motion access, and sends samples; it shows the live label."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from importlib.resources import files
from time import monotonic
from typing import Any

from aiohttp import WSMsgType, web

from firmware_bridge.phone.browser import Hello, hello
from firmware_bridge.stream import CodecError
from mujo_edge.core import UNKNOWN, Prediction
from mujo_edge.sinks import RunInfo, Summary, Update
from mujo_edge.sources.phone.base import Announce, PhoneSource, to_stderr
from mujo_edge.sources.phone.listener import RateLimiter
from mujo_edge.sources.phone.server import PhoneServer, invitation, is_loopback, only_here

MAX_MESSAGE = 4096
"""Bytes of the longest message."""

MESSAGES_S = 100.0
"""Messages per second allowed for one phone; the page sends twenty."""

HEARTBEAT_S = 5.0
"""Seconds between pings; without an answer for half as long the phone counts as gone."""

OWNED_S = 8.0
"""Seconds after its last message for which the stream belongs to a phone without an open socket; then another may
take over."""

TAKEN, UNFIT, TOO_MUCH, BROKEN = 4409, 4400, 4429, 4422
"""WebSocket close codes: another phone streams, other sensors than before, too many messages, no hello or an invalid
message (4000 to 4999 are for applications, RFC 6455, 7.4.2)."""

PAGE = {
    "": ("index.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
}
"""File and content type of each path."""


class RefusedError(Exception):
    """A phone is refused, with a WebSocket close code and its reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class BrowserSource(PhoneSource):
    """A `Source` of one phone's browser, and the `Sink` that shows the label on it.

    On loopback (`host` None) it is http, which browsers trust there; else https with a certificate for this run. One
    phone streams at a time: another is refused until the first has left, then it may take over.

    Raises `UsageError` for an invalid host; on entering `DeviceError` if it cannot listen.
    """

    def __init__(self, host: str | None = None, port: int | None = None, announce: Announce = to_stderr) -> None:
        super().__init__("phone's browser", announce)
        self._state = "waiting for a phone to open the page"
        self._local = is_loopback(host)
        self._server = PhoneServer(
            host, port, tls=not self._local, max_body=MAX_MESSAGE, requests_s=50.0, bytes_s=MESSAGES_S * MAX_MESSAGE
        )
        for path in PAGE:
            self._server.app.router.add_get(f"/{{token}}/{path}", self._file)
        self._server.app.router.add_get("/{token}/stream", self._socket)
        self._server.app.router.add_post("/{token}/samples", self._posted)
        self._server.app.router.add_get("/", self._file)
        self._page: str | None = None
        self._received_s = 0.0
        self._handling: asyncio.Task[None] | None = None
        self._channels: tuple[str, ...] | None = None
        self._live = False
        self._label: dict[str, Any] = {}
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        """The URL that the phone opens; known once the server listens."""
        return f"{self._server.origin}/{self._server.token}/"

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with self._server.open():
            reach = (
                only_here()
                if self._local
                else "The certificate is self-signed and made for this run: the browser warns once; continue."
            )
            self._announce(f"{invitation(self.url, self._local, 'Open this on the phone, and tap Start')}\n{reach}")
            try:
                await asyncio.Event().wait()
            finally:
                if self._handling:
                    self._handling.cancel()

    # The sink: called on the recognizer's thread.

    def start(self, session: RunInfo) -> None:
        """Send the labels that can be recognized, and what they are about."""
        self._show({"labels": list(session.labels), "title": session.title or session.label_set})

    def write(self, update: Update) -> None:
        """Send the newest label, and the counts."""
        if not update.events:
            return
        newest = next((event for event in reversed(update.events) if isinstance(event, Prediction)), None)
        stats = update.tally.stats
        values: dict[str, Any] = {"rate_hz": stats.rate_hz, "lost": stats.lost}
        if newest:
            values |= {"label": newest.label, "score": newest.score, "unknown": newest.label == UNKNOWN}
        self._show(values)

    def finish(self, summary: Summary) -> None:
        """Send that the run has ended."""
        self._show({"ended": summary.ended})

    def _show(self, values: dict[str, Any]) -> None:
        """Hand `values` to the event loop; those not sent yet are overwritten, so that nothing piles up."""
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._merge, values)

    def _merge(self, values: dict[str, Any]) -> None:
        self._label |= values
        self._changed.set()

    # The page.

    async def _file(self, request: web.Request) -> web.Response:
        name, kind = PAGE[request.path.rpartition("/")[2]]
        text = (files("mujo_edge.sources.phone") / "page" / name).read_text("utf-8")
        return web.Response(text=text, content_type=kind, charset="utf-8")

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        self._server.same_origin(request)
        page = _page(request)
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=MAX_MESSAGE, compress=False, timeout=1.0)
        await socket.prepare(request)
        sender = asyncio.create_task(self._send(socket))
        code, reason = 1001, "mujo-edge has ended"
        try:
            await self._listen(socket, page)
        except RefusedError as error:
            code, reason = error.code, str(error)
        finally:
            sender.cancel()
            if self._handling is asyncio.current_task():
                self._handling = None
                self._disconnect()
            with suppress(ConnectionError):
                await socket.close(code=code, message=reason.encode()[:120])
        return socket

    async def _listen(self, socket: web.WebSocketResponse, page: str) -> None:
        """Receive until the socket closes. Raises `RefusedError`."""
        self._claim(page)
        if self._handling:
            self._handling.cancel()  # the same page: its old socket is dead, but not closed here yet
        self._handling = asyncio.current_task()
        limiter = RateLimiter(MESSAGES_S)
        async for message in socket:
            if not limiter.take():
                raise RefusedError(TOO_MUCH, "too many messages in too short a time")
            if message.type == WSMsgType.TEXT:
                self._greet(page, message.data.encode())
            elif message.type == WSMsgType.BINARY:
                self._receive(page, message.data)

    async def _posted(self, request: web.Request) -> web.Response:
        """Fallback for browsers that do not allow a WebSocket, such as iOS with a self-signed certificate."""
        self._server.same_origin(request)
        page, data = _page(request), await self._server.body(request)
        try:
            self._claim(page)
            if request.content_type == "application/json":
                self._greet(page, data)
            else:
                self._receive(page, data)
        except RefusedError as error:
            status = {TAKEN: 409, UNFIT: 409}.get(error.code, 400)
            return web.json_response({"code": error.code, "reason": str(error)}, status=status)
        return web.json_response(self._label)

    def _claim(self, page: str) -> None:
        """Raise `RefusedError` while another page streams."""
        there = self._handling is not None or monotonic() - self._received_s < OWNED_S
        if self._page not in (None, page) and there:
            raise RefusedError(TAKEN, "another phone is streaming")

    def _greet(self, page: str, data: bytes) -> None:
        """Begin a connection. Raises `RefusedError` if it cannot be used."""
        try:
            about = hello(data)
        except CodecError as error:
            raise RefusedError(BROKEN, str(error)) from None
        if self._channels == Hello("", False).format.channels:
            about = Hello(about.vendor, False, about.agent)
        if self._channels not in (None, about.format.channels):
            raise RefusedError(UNFIT, "this phone has no gyroscope, but the one before did")
        self._channels = about.format.channels
        self._disconnect()
        self._page, self._received_s, self._live = page, monotonic(), True
        self._opened({"app": "browser", "vendor": about.vendor, "gyroscope": about.gyroscope, "agent": about.agent})

    def _receive(self, page: str, data: bytes) -> None:
        """Take samples. Raises `RefusedError` before a hello."""
        if not self._live or page != self._page:
            raise RefusedError(BROKEN, "a hello must come first")
        self._received_s = monotonic()
        self._queue.put(data, received_s=self._received_s)

    def _disconnect(self) -> None:
        if self._live:
            self._live = False
            self._queue.put(b"", kind="close")
            self._state = "the phone disconnected; waiting for it to open the page again"

    async def _send(self, socket: web.WebSocketResponse) -> None:
        """Send changes, as fast as the phone takes them."""
        while not socket.closed:
            with suppress(ConnectionError):
                await socket.send_json(self._label)
            self._changed.clear()
            await self._changed.wait()


def _page(request: web.Request) -> str:
    """The ID that a page gave itself. Raises 400."""
    page = request.query.get("page", "")
    if not (page.isascii() and page.isalnum() and len(page) <= 32):
        raise web.HTTPBadRequest(text="the ID of a page has up to 32 letters and digits")
    return page
