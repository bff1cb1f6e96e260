"""The server for phones under floods of half-open connections and malformed requests: the phone gets through, the
terminal stays clean."""

from __future__ import annotations

import asyncio
import gzip
import sys
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import ClientSession
from hypothesis import given, settings
from hypothesis import strategies as st
from test_phone_safety import push_body, root, served
from test_phone_sources import quiet

from mujo_edge.sources.phone import listener, server
from mujo_edge.sources.phone.browser import BrowserSource
from mujo_edge.sources.phone.push import SensorLoggerSource

STRANGER = "127.0.0.2"
"""Another address of this machine, which only Linux has without configuration."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have one loopback address")

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(source: Any, address: str = STRANGER) -> Connection:
    host, port = root(source).rpartition("/")[2].rsplit(":", 1)
    return await asyncio.open_connection(host, int(port), local_addr=(address, 0))


async def ended(connections: list[Connection], within_s: float) -> int:
    """The number of connections that the server closes."""
    reads = [asyncio.ensure_future(reader.read()) for reader, _ in connections]
    done, waiting = await asyncio.wait(reads, timeout=within_s)
    for read in waiting:
        read.cancel()
    await asyncio.gather(*reads, return_exceptions=True)
    for _, writer in connections:
        writer.close()
    return len(done)


async def pushed(http: ClientSession, source: SensorLoggerSource, number: int = 0) -> int:
    async with asyncio.timeout(5), http.post(source.url, json=push_body(number)) as answer:
        return answer.status


async def test_half_open_connections_do_not_block_the_phone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(listener, "NEW_S", 1e6)
    source = SensorLoggerSource(port=0, announce=quiet)
    async with served(source) as http:
        flood = [await connect(source) for _ in range(300)]
        assert await pushed(http, source) == 200  # its connection is new
        flood += [await connect(source) for _ in range(100)]
        assert await pushed(http, source, 1) == 200  # and is kept
        assert await ended(flood, 0.5) >= 400 - listener.CONNECTIONS
    assert capfd.readouterr() == ("", "")


async def test_flood_of_new_connections_is_limited_for_each_address() -> None:
    source = SensorLoggerSource(port=0, announce=quiet)
    async with served(source) as http:
        flood = [await connect(source) for _ in range(60)]
        assert await pushed(http, source) == 200
        assert await ended(flood, 0.5) >= 60 - 2 * listener.NEW_S - 5


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: y"])
async def test_connection_without_a_whole_request_is_closed(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEADER_S", 0.4)
    source = SensorLoggerSource(port=0, announce=quiet)
    async with served(source):
        reader, writer = await connect(source)
        for byte in sent:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.01)
        assert await ended([(reader, writer)], 3) == 1


async def test_tls_connection_without_a_handshake_is_closed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(listener, "HANDSHAKE_S", 0.3)
    source = BrowserSource("127.0.0.3", 0, announce=quiet)
    monkeypatch.setattr(source._server, "_context", server.certificate({"127.0.0.3"}))
    async with served(source) as http:
        silent, loud = await connect(source), await connect(source)
        loud[1].write(b"GET / HTTP/1.1\r\n\r\n" * 20)
        assert await ended([silent, loud], 3) == 2
        async with http.get(source.url.replace("http:", "https:")) as answer:
            assert answer.status == 200
    assert capfd.readouterr() == ("", "")


MALFORMED = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET\r\n\r\n",
    b"\x1b]0;owned\x07 / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
    b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
    b"POST /data HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /data HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /data HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Encoding: br\r\nContent-Length: 3\r\n\r\nabc",
    b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n",
    b"GET http://[::1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
]


@pytest.mark.parametrize("sent", MALFORMED)
async def test_malformed_request_is_refused_silently(sent: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    source = SensorLoggerSource(port=0, announce=quiet)
    async with served(source) as http:
        reader, writer = await connect(source)
        writer.write(sent)
        async with asyncio.timeout(5):
            answer = await reader.readline()
        assert answer.split()[1].startswith(b"4"), answer
        writer.close()
        assert await pushed(http, source) == 200
    assert capfd.readouterr() == ("", "")


async def test_malformed_requests_use_up_the_budget_of_their_address(capfd: pytest.CaptureFixture[str]) -> None:
    source = SensorLoggerSource(port=0, announce=quiet)
    async with served(source) as http:
        answered = 0
        for _ in range(100):
            reader, writer = await connect(source)
            writer.write(b"nonsense\r\n\r\n")
            with suppress(ConnectionResetError):
                answered += bool(await asyncio.wait_for(reader.readline(), 5))
            writer.close()
        assert 10 <= answered < 60
        assert await pushed(http, source) == 200
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize(
    "body", [b"not compressed", b"", gzip.compress(b"x" * 100, mtime=0)[:-9], b"\x1f\x8b" + bytes(30)]
)
async def test_wrongly_declared_compression_is_a_bad_request(
    coding: str, body: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    source = SensorLoggerSource(port=0, announce=quiet)
    async with served(source) as http:
        headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
        async with http.post(source.url, data=body, headers=headers) as answer:
            assert answer.status == 400
        assert await pushed(http, source) == 200
    assert capfd.readouterr() == ("", "")


async def test_compressed_body_that_expands_beyond_the_limit_is_refused() -> None:
    source = SensorLoggerSource(port=0, announce=quiet)
    async with served(source) as http:
        bomb = gzip.compress(bytes(200 << 20), 9)
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        async with http.post(source.url, data=bomb, headers=headers) as answer:
            assert answer.status == 413


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "phone"]), st.booleans()), max_size=200))
def test_phone_connection_is_never_dropped_for_other_clients(events: list[tuple[str, bool]]) -> None:
    one = listener.Listener(asyncio.Protocol, None)
    closed = []

    class Open(listener.Connection):
        @property
        def is_closed(self) -> bool:
            return self in closed

        def close(self) -> None:
            closed.append(self)

    trusted = Open("phone", None, trusted=True)  # type: ignore[arg-type]
    one._open["phone", 0] = trusted
    for number, (address, _) in enumerate(events):
        assert one._has_room()
        one._open[address, number + 1] = Open(address, None)  # type: ignore[arg-type]
    assert len([each for each in one._open.values() if each not in closed]) <= listener.CONNECTIONS
    assert trusted not in closed
