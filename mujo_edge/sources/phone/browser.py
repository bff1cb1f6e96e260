"""Our own page: any phone opens it, allows motion access, and sends what it feels; the live label comes back to it."""

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
from mujo_edge.sources.phone.server import PhoneServer, RateLimiter, is_loopback, qr_code

MAX_MESSAGE = 4096
MESSAGES_S = 100.0
"""Of one phone: the page sends twenty messages a second."""

HEARTBEAT_S = 5.0
"""So often is a phone asked whether it is still there; after half of it without an answer it is not."""

OWNED_S = 8.0
"""So long after its last message is the stream kept for a phone that has no open socket; then another may take over."""

TAKEN, UNFIT, TOO_MUCH, BROKEN = 4409, 4400, 4429, 4422
"""Codes that a WebSocket is closed with: another phone streams, other sensors than before, too many messages, no hello
or not what the page sends (4000 to 4999 are for applications, RFC 6455, 7.4.2)."""

PAGE = {
    "": ("index.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
}


class RefusedError(Exception):
    """A phone is turned away, with a WebSocket close code and its reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class BrowserSource(PhoneSource):
    """A `Source` of one phone's browser, and the `Sink` that shows the label on it.

    On loopback (`host` None) it is http, which browsers trust there; else https with a certificate for this run. One
    phone streams at a time: another is refused until the first has left, then it may take over.

    Raises `UsageError` for a host that is none; on entering `DeviceError` if it cannot listen.
    """

    def __init__(self, host: str | None = None, port: int | None = None, announce: Announce = to_stderr) -> None:
        super().__init__("phone's browser", announce)
        self._doing = "waiting for a phone to open the page"
        self._local = is_loopback(host)
        self._door = PhoneServer(
            host, port, tls=not self._local, max_body=MAX_MESSAGE, requests_s=50.0, bytes_s=MESSAGES_S * MAX_MESSAGE
        )
        for path in PAGE:
            self._door.app.router.add_get(f"/{{token}}/{path}", self._file)
        self._door.app.router.add_get("/{token}/stream", self._socket)
        self._door.app.router.add_post("/{token}/samples", self._posted)
        self._door.app.router.add_get("/", self._file)
        self._page: str | None = None
        self._heard_s = 0.0
        self._handling: asyncio.Task[None] | None = None
        self._channels: tuple[str, ...] | None = None
        self._live = False
        self._label: dict[str, Any] = {}
        self._fresh = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        """What the phone opens; known once it listens."""
        return f"{self._door.origin}/{self._door.token}/"

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with self._door.open():
            reach = (
                "Only this machine reaches it (or a phone by USB: adb reverse); for a phone in the same network give "
                "--host with this machine's address."
                if self._local
                else "The certificate was made for this run and nobody vouches for it: the browser warns once; go on."
            )
            self._announce(f"{qr_code(self.url)}\nOpen this on the phone, and tap Start:\n\n  {self.url}\n\n{reach}")
            try:
                await asyncio.Event().wait()
            finally:
                if self._handling:
                    self._handling.cancel()

    # The sink: called on the recognizer's thread.

    def start(self, session: RunInfo) -> None:
        """Say what can be recognized."""
        self._tell({"labels": list(session.labels)})

    def write(self, update: Update) -> None:
        """Show the newest label, and the counts."""
        if not update.events:
            return
        newest = next((event for event in reversed(update.events) if isinstance(event, Prediction)), None)
        stats = update.tally.stats
        news: dict[str, Any] = {"rate_hz": stats.rate_hz, "lost": stats.lost}
        if newest:
            news |= {"label": newest.label, "score": newest.score, "unknown": newest.label == UNKNOWN}
        self._tell(news)

    def finish(self, summary: Summary) -> None:
        """Say that it is over."""
        self._tell({"ended": summary.ended})

    def _tell(self, news: dict[str, Any]) -> None:
        """Hand `news` to the event loop; what is not sent yet is overwritten, so nothing piles up."""
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._merge, news)

    def _merge(self, news: dict[str, Any]) -> None:
        self._label |= news
        self._fresh.set()

    # The page.

    async def _file(self, request: web.Request) -> web.Response:
        name, kind = PAGE[request.path.rpartition("/")[2]]
        text = (files("mujo_edge.sources.phone") / "page" / name).read_text("utf-8")
        return web.Response(text=text, content_type=kind, charset="utf-8")

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        self._door.same_origin(request)
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
                self._leave()
            with suppress(ConnectionError):
                await socket.close(code=code, message=reason.encode()[:120])
        return socket

    async def _listen(self, socket: web.WebSocketResponse, page: str) -> None:
        """Take what comes until the socket closes. Raises `RefusedError`."""
        self._claim(page)
        if self._handling:
            self._handling.cancel()  # the same page: it lost that socket, which we have yet to notice
        self._handling = asyncio.current_task()
        budget = RateLimiter(MESSAGES_S)
        async for message in socket:
            if not budget.take():
                raise RefusedError(TOO_MUCH, "too many messages in too short a time")
            if message.type == WSMsgType.TEXT:
                self._greet(page, message.data.encode())
            elif message.type == WSMsgType.BINARY:
                self._hear(page, message.data)

    async def _posted(self, request: web.Request) -> web.Response:
        """The way for a browser that does not let a WebSocket through, as iOS with a certificate of our own."""
        self._door.same_origin(request)
        page, data = _page(request), await self._door.body(request)
        try:
            self._claim(page)
            if request.content_type == "application/json":
                self._greet(page, data)
            else:
                self._hear(page, data)
        except RefusedError as error:
            status = {TAKEN: 409, UNFIT: 409}.get(error.code, 400)
            return web.json_response({"code": error.code, "reason": str(error)}, status=status)
        return web.json_response(self._label)

    def _claim(self, page: str) -> None:
        """Raises `RefusedError` while another page streams."""
        there = self._handling is not None or monotonic() - self._heard_s < OWNED_S
        if self._page not in (None, page) and there:
            raise RefusedError(TAKEN, "another phone is streaming")

    def _greet(self, page: str, data: bytes) -> None:
        """A connection begins. Raises `RefusedError` if it cannot be used."""
        try:
            about = hello(data)
        except CodecError as error:
            raise RefusedError(BROKEN, str(error)) from None
        if self._channels == Hello("", False).format.channels:
            about = Hello(about.vendor, False, about.agent)
        if self._channels not in (None, about.format.channels):
            raise RefusedError(UNFIT, "this phone has no gyroscope, and the one before had")
        self._channels = about.format.channels
        self._leave()
        self._page, self._heard_s, self._live = page, monotonic(), True
        self._opened({"app": "browser", "vendor": about.vendor, "gyroscope": about.gyroscope, "agent": about.agent})

    def _hear(self, page: str, data: bytes) -> None:
        """Samples. Raises `RefusedError` before a hello."""
        if not self._live or page != self._page:
            raise RefusedError(BROKEN, "a hello comes first")
        self._heard_s = monotonic()
        self._inlet.put(data, received_s=self._heard_s)

    def _leave(self) -> None:
        if self._live:
            self._live = False
            self._inlet.put(b"", kind="close")
            self._doing = "the phone has left; waiting for it to open the page again"

    async def _send(self, socket: web.WebSocketResponse) -> None:
        """Send what is new, as fast as the phone takes it."""
        while not socket.closed:
            with suppress(ConnectionError):
                await socket.send_json(self._label)
            self._fresh.clear()
            await self._fresh.wait()


def _page(request: web.Request) -> str:
    """The name that a page gave itself. Raises 400."""
    page = request.query.get("page", "")
    if not (page.isascii() and page.isalnum() and len(page) <= 32):
        raise web.HTTPBadRequest(text="a page names itself with up to 32 letters and digits")
    return page
