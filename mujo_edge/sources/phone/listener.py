"""Listening sockets of the phone server, with limits that hold before a byte of a connection is read."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic

logger = logging.getLogger(__name__)

CONNECTIONS = 64
"""Most open connections. A phone has one to six."""

NEW_S, ADDRESSES = 10.0, 1024
"""New connections per second allowed for an address without the token; addresses that are remembered."""

HANDSHAKE_S = 5.0
"""Time limit of a TLS handshake."""

RETRY_S = 1.0
"""Seconds to wait after a connection could not be accepted, for lack of file descriptors for instance."""


class RateLimiter:
    """Allows `per_s` units per second, and bursts of up to `seconds` as many."""

    def __init__(self, per_s: float, seconds: float = 2.0) -> None:
        self._per_s, self._most = per_s, per_s * seconds
        self._left, self._at_s = self._most, monotonic()

    def take(self, units: float = 1.0) -> bool:
        """Whether `units` are available; if so, they are used up."""
        now_s = monotonic()
        self._left = min(self._most, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < units:
            return False
        self._left -= units
        return True


@dataclass(eq=False, slots=True)
class Connection:
    """An accepted connection; `transport` is None during the TLS handshake. `trusted`: it has shown the token."""

    address: str
    socket: socket.socket
    transport: asyncio.BaseTransport | None = None
    task: asyncio.Task[None] | None = None
    trusted: bool = False
    opened_s: float = field(default_factory=monotonic)

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, here or by the other side."""
        return self.transport.is_closing() if self.transport else self.task is not None and self.task.done()

    def close(self) -> None:
        """Close it without waiting for the other side."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()
        elif self.task:
            self.task.cancel()


class Listener:
    """Accepts connections, at most `CONNECTIONS` at a time.

    For one more, the oldest without the token is closed, of the address that has most of them: whoever opens many
    and sends nothing shuts himself out, not the phone.

    Args:
        protocol: makes the asyncio protocol of a connection. context: for TLS.
    """

    def __init__(self, protocol: Callable[[], asyncio.BaseProtocol], context: ssl.SSLContext | None) -> None:
        self._protocol, self._context = protocol, context
        self._open: dict[tuple[str, int], Connection] = {}
        self._rates: dict[str, RateLimiter] = {}
        self._known: set[str] = set()

    @asynccontextmanager
    async def listen(self, host: str, port: int) -> AsyncIterator[int]:
        """Listen on every address of `host` -> the port, chosen by the system for 0. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        sockets: list[socket.socket] = []
        accepting: list[asyncio.Task[None]] = []
        try:
            for family, *_, address in dict.fromkeys(addresses):
                sockets.append(socket.create_server((address[0], port), family=family, backlog=128))
                port = sockets[0].getsockname()[1]
            for listening in sockets:
                listening.setblocking(False)
                accepting.append(loop.create_task(self._accept(listening)))
            yield port
        finally:
            tasks = [*accepting, *(connection.task for connection in self._open.values() if connection.task)]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for listening in sockets:
                listening.close()

    def trust(self, transport: asyncio.BaseTransport | None) -> None:
        """Note that a connection has shown the token: it is never closed for others."""
        peer = transport.get_extra_info("peername") if transport else None
        if peer and (connection := self._open.get(peer[:2])):
            connection.trusted = True
            self._known.add(connection.address)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(listening)
            except OSError as error:
                logger.info("a connection could not be accepted: %s", error)
                await asyncio.sleep(RETRY_S)
                continue
            address = str(peer[0])
            if not (self._may_connect(address) and self._has_room()):
                accepted.close()
                continue
            connection = Connection(address, accepted)
            connection.task = loop.create_task(self._serve(connection))
            self._open[peer[:2]] = connection

    async def _serve(self, connection: Connection) -> None:
        timeouts = {"ssl_handshake_timeout": HANDSHAKE_S, "ssl_shutdown_timeout": 1.0} if self._context else {}
        try:
            connection.transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol, connection.socket, ssl=self._context, **timeouts
            )
        except OSError as error:
            logger.debug("%s: no connection: %s", connection.address, error)
        finally:
            if connection.transport is None:
                with suppress(OSError):
                    connection.socket.close()

    def _may_connect(self, address: str) -> bool:
        """Whether an address has not made too many connections; one that has shown the token may make any number."""
        if address in self._known:
            return True
        while len(self._rates) >= ADDRESSES and address not in self._rates:
            del self._rates[next(iter(self._rates))]
        return self._rates.setdefault(address, RateLimiter(NEW_S)).take()

    def _has_room(self) -> bool:
        """Whether there is room for a connection, after one was closed for it if need be."""
        self._open = {peer: connection for peer, connection in self._open.items() if not connection.is_closed}
        if len(self._open) < CONNECTIONS:
            return True
        untrusted = [connection for connection in self._open.values() if not connection.trusted]
        if not untrusted:
            return False
        counts = Counter(connection.address for connection in untrusted)
        max(untrusted, key=lambda one: (counts[one.address], -one.opened_s)).close()
        return True
