"""The HTTP server for phones: bound to loopback by default, behind a one-time token and rate limits."""

from __future__ import annotations

import asyncio
import hmac
import io
import ipaddress
import logging
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

import ifaddr
import segno
import trustme
from aiohttp import web
from aiohttp.typedefs import Handler

from mujo_edge.core import DeviceError, UsageError
from mujo_edge.sources.phone.listener import Listener, RateLimiter

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
AUTO = "auto"
PORT = 8765
"""Default port."""

BODY_S = 10.0
"""Time limit of receiving the body of a request."""

HEADER_S = 10.0
"""Time limit of receiving the head of a request, and of a connection without one."""

LINGER_S = 2.0
"""Seconds for which the rest of a refused request is read, so that the client sees the response."""

VALID = timedelta(days=2)
"""Validity of a certificate, which is made for one run."""

HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "accelerometer=(self), gyroscope=(self), screen-wake-lock=(self)",
    "Referrer-Policy": "no-referrer",
    "Server": "mujo-edge",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Default headers of every response."""

POLICY = "default-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Content security policy, without its connect-src."""


class PhoneServer:
    """An aiohttp application behind a token, given as the first part of a path or in the Authorization header.

    Args:
        host, port: to bind to; None for loopback and for `PORT`, "auto" for this machine's address in its network.
        tls: serve https, with a certificate made for this run (True) or with the given one.
        max_body: bytes per request. requests_s, bytes_s: limits per second. token: None for a new one.

    Attributes:
        app: to add routes to; a path without a token needs the header. Headers set by a handler have precedence.
        token, origin: of this run.

    Raises `UsageError` for an invalid host.
    """

    def __init__(
        self,
        host: str | None,
        port: int | None,
        *,
        tls: bool | ssl.SSLContext,
        max_body: int,
        requests_s: float,
        bytes_s: float,
        token: str | None = None,
    ) -> None:
        self.token = token or new_token()
        self._host, self._port = host or LOOPBACK, PORT if port is None else port
        self._name = reachable(self._host)
        if self._host == AUTO:
            self._host = self._name
        self._max_body = max_body
        self._context = certificate({self._name, "localhost", LOOPBACK}) if tls is True else tls or None
        self._requests, self._bytes, self._untrusted = RateLimiter(requests_s), RateLimiter(bytes_s), RateLimiter(5.0)
        self._listener: Listener
        self.app = web.Application(middlewares=[self._guard], client_max_size=max_body)

    @property
    def origin(self) -> str:
        """Scheme, host and port of the server as seen by the phone."""
        name = f"[{self._name}]" if ":" in self._name else self._name
        return f"{'https' if self._context else 'http'}://{name}:{self._port}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Serve. Raises `DeviceError` if the address cannot be bound to."""
        runner = web.AppRunner(
            self.app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=1.0,
            keepalive_timeout=HEADER_S,
            lingering_time=LINGER_S,
            logger=_request_logger(),
        )
        await runner.setup()
        assert runner.server
        self._listener = Listener(runner.server, self._context)
        try:
            async with AsyncExitStack() as stack:
                try:
                    self._port = await stack.enter_async_context(self._listener.listen(self._host, self._port))
                except OSError as error:
                    raise DeviceError(
                        f"cannot listen on {self._host}, port {self._port}: {error.strerror or error}. "
                        "Choose another --port, or a --host of this machine"
                    ) from None
                yield
        finally:
            await runner.cleanup()

    async def body(self, request: web.Request) -> bytes:
        """The body of a request, uncompressed. Raises 400, 408, 413 or 429."""
        if (request.content_length or 0) > self._max_body:
            raise web.HTTPRequestEntityTooLarge(self._max_body, request.content_length or 0)
        try:
            async with asyncio.timeout(BODY_S):
                data = await request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout(text="the body did not arrive in time") from None
        except web.RequestPayloadError:
            raise web.HTTPBadRequest(text="the body is not as its headers say (length or compression)") from None
        if not self._bytes.take(len(data)):
            raise web.HTTPTooManyRequests(text="too much data in too short a time")
        return data

    def same_origin(self, request: web.Request) -> None:
        """Raise 403 for a request from another page, which a browser names in Origin."""
        if request.headers.get("Origin") != f"{request.scheme}://{request.host}":
            raise web.HTTPForbidden(text="requests of other pages are refused")

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await self._admitted(request, handler)
        except web.HTTPException as refusal:
            response = web.Response(status=refusal.status, text=refusal.text, reason=refusal.reason)
            if request.can_read_body:  # the rest of a body would be read as the next request
                response.force_close()
            for name in ("Allow", "Retry-After"):
                if name in refusal.headers:
                    response.headers[name] = refusal.headers[name]
        if not response.prepared:
            # Older versions of Safari do not count wss: as 'self'.
            own = f"'self' {'wss' if self._context else 'ws'}://{request.host}" if self._known(request) else "'self'"
            for name, value in (*HEADERS.items(), ("Content-Security-Policy", f"{POLICY}; connect-src {own}")):
                response.headers.setdefault(name, value)
        return response

    async def _admitted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The handler's response. Raises 400 to 405 or 429 for a request that is refused."""
        parts = request.match_info
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ").strip() or parts.get("token")
        trusted = sent is not None and hmac.compare_digest(sent.encode("utf-8", "replace"), self.token.encode())
        if not (self._requests if trusted else self._untrusted).take():
            raise web.HTTPTooManyRequests(text="too many requests", headers={"Retry-After": "1"})
        if trusted:
            self._listener.trust(request.transport)
        if not self._known(request):
            raise web.HTTPBadRequest(text="use the address that mujo-edge shows")
        if parts.http_exception is not None:
            return await handler(request)
        if sent is None:
            raise web.HTTPUnauthorized(text="the token is missing: use the address that mujo-edge shows")
        if not trusted:
            raise web.HTTPForbidden(text="wrong token: mujo-edge makes a new one for every run")
        return await handler(request)

    def _known(self, request: web.Request) -> bool:
        """Whether the host of a request is ours or an address; another name may be an attack by DNS rebinding."""
        name = request.host.rpartition(":")[0] if request.host.rpartition(":")[2].isdigit() else request.host
        return name.strip("[]") in (self._name, "localhost") or _is_address(name.strip("[]"))


def _request_logger() -> logging.Logger:
    """The logger of aiohttp's requests. Anyone can cause its errors, with their tracebacks: they are shown by -vv."""
    requests = logger.getChild("requests")

    def as_debug(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        record.msg, record.args = "%s: %s", (record.getMessage(), str(error or "no reason")[:200])
        record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        record.exc_info = record.exc_text = None
        return requests.isEnabledFor(logging.DEBUG)

    requests.filters = [as_debug]
    return requests


def new_token() -> str:
    """128 random bits, encoded for use in a path."""
    return secrets.token_urlsafe(16)


def qr_code(url: str) -> str:
    """A QR code of `url` for the terminal."""
    text = io.StringIO()
    segno.make(url, micro=False).terminal(out=text, border=2, compact=True)
    return text.getvalue()


def invitation(url: str, local: bool, doing: str = "Open this on the phone") -> str:
    """The text that shows a URL: with a QR code, unless only this machine reaches it."""
    return f"{'' if local else qr_code(url)}\n{doing}:\n\n  {url}\n"


def only_here() -> str:
    """A note that only this machine reaches the server, and which --host a phone in the same network needs."""
    addresses = own_addresses()
    advice = (
        f"give --host auto, or one of its addresses: {', '.join(addresses)}"
        if addresses
        else "connect this machine to it, and give --host auto"
    )
    return f"Only this machine reaches it (or a phone by USB: adb reverse). For a phone in the same network, {advice}."


def own_addresses() -> list[str]:
    """This machine's IPv4 addresses in networks, link-local ones last."""
    addresses = [str(ip.ip) for adapter in ifaddr.get_adapters() for ip in adapter.ips if ip.is_IPv4]
    usable = [each for each in addresses if not ipaddress.ip_address(each).is_loopback]
    return sorted(usable, key=lambda each: ipaddress.ip_address(each).is_link_local)


def certificate(names: Iterable[str]) -> ssl.SSLContext:
    """A TLS context with a self-signed certificate for `names`; its key is in a file (0600) only while it is loaded."""
    issued = trustme.CA().issue_cert(*sorted(set(names)), not_after=datetime.now(UTC) + VALID)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    issued.configure_cert(context)
    return context


def reachable(host: str) -> str:
    """The name or address at which others reach a server bound to `host`. Raises `UsageError`."""
    if host == AUTO:
        for address in (_outgoing(), *own_addresses()):
            if address != LOOPBACK:
                return address
        raise UsageError("--host auto: this machine is in no network. Connect it to that of the phone")
    if not host or any(character in host for character in "/@ \t?#"):
        addresses = ["auto", *own_addresses(), "0.0.0.0"]  # noqa: S104 - shown
        raise UsageError(f"--host {host}: give an address of this machine: {', '.join(addresses)} (all of them)")
    if not _is_address(host) or not ipaddress.ip_address(host).is_unspecified:
        return host
    return _outgoing()


def _outgoing() -> str:
    """This machine's address on the default route; that of loopback without one."""
    # Connecting a datagram socket sends nothing; it only asks which of our addresses would be used (RFC 5737 net).
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return LOOPBACK


def is_loopback(host: str | None) -> bool:
    """Whether a server bound to `host` is open to this machine only."""
    return host in (None, "localhost") or (_is_address(host or "") and ipaddress.ip_address(host or "").is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
