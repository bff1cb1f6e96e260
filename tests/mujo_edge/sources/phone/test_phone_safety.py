"""The server for phones: accepted requests, rejected ones and their statuses, and no traffic to other hosts."""

from __future__ import annotations

import asyncio
import hmac
import io
import ipaddress
import json
import ssl
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import ifaddr
import numpy as np
import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, TCPConnector, WSMsgType, WSServerHandshakeError, web
from test_phone_sources import APPS, collect, joined, phone, quiet, until

from firmware_bridge.phone.browser import encode
from firmware_bridge.simulator.motion import rest
from firmware_bridge.simulator.phone import served as app_served
from firmware_bridge.stream import G
from mujo_edge.core import DeviceError, MissingExtraError, UsageError
from mujo_edge.sources.phone import browser, phone_source, push, server
from mujo_edge.sources.phone.browser import BrowserSource
from mujo_edge.sources.phone.client import PhyphoxSource
from mujo_edge.sources.phone.push import SensorLoggerSource

HELLO = json.dumps({"vendor": "", "gyroscope": False, "agent": ""})
BATCH = encode(np.array([[20.0 * i, 0, 0, G] for i in range(3)]), 0)


def push_body(number: int = 0, device: str = "one", samples: int = 20, session: str = "s") -> dict[str, Any]:
    values = {"x": 0, "y": 0, "z": G}
    readings = [
        {"name": "totalacceleration", "time": (100 * number + i) * 10_000_000, "values": values} for i in range(samples)
    ]
    return {"messageId": number, "sessionId": session, "deviceId": device, "payload": readings}


@asynccontextmanager
async def served(source: Any) -> AsyncIterator[ClientSession]:
    """A source that waits for its phone, and an unrelated client."""
    entering = asyncio.create_task(source.__aenter__())
    try:
        await until(lambda: not source.url.split("/")[2].endswith(":0") or entering.done())
        async with ClientSession(connector=TCPConnector(ssl=False)) as http:
            yield http
    finally:
        entering.cancel()
        await asyncio.gather(entering, return_exceptions=True)
        await source.__aexit__()


def root(source: Any) -> str:
    return "/".join(source.url.split("/")[:3])


def test_host_auto_is_the_first_of_this_machines_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = ["192.168.1.10", "127.0.0.1", "169.254.1.1", "10.0.0.3"]
    ips = [ifaddr.IP(address, 24, "eth0") for address in addresses]
    adapters = [ifaddr.Adapter("eth0", "eth0", ips, index=1)]
    monkeypatch.setattr(server.ifaddr, "get_adapters", lambda: adapters)
    monkeypatch.setattr(server, "_outgoing", lambda: "10.0.0.3")
    assert server.own_addresses() == ["192.168.1.10", "10.0.0.3", "169.254.1.1"]
    assert server.reachable("auto") == "10.0.0.3"
    assert "give --host auto, or one of its addresses: 192.168.1.10, 10.0.0.3, 169.254.1.1" in server.only_here()
    monkeypatch.setattr(server, "_outgoing", lambda: server.LOOPBACK)
    assert server.reachable("auto") == "192.168.1.10"
    with pytest.raises(UsageError, match=r"give an address of this machine: auto, 192\.168"):
        server.reachable("http://me")
    monkeypatch.setattr(server.ifaddr, "get_adapters", list)
    with pytest.raises(UsageError, match="no network"):
        server.reachable("auto")


async def test_host_auto_binds_to_that_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_outgoing", lambda: "127.0.0.2")
    source = SensorLoggerSource(host="auto", port=0, announce=quiet)
    async with served(source) as http:
        assert source.url.startswith("http://127.0.0.2:")
        with pytest.raises(OSError, match="Cannot connect"):
            await http.get(source.url.replace("127.0.0.2", "127.0.0.1"))


async def test_server_listens_on_loopback_by_default() -> None:
    there = server.reachable("0.0.0.0")
    source = SensorLoggerSource(port=0, announce=quiet)
    async with served(source) as http:
        assert source.url.startswith("http://127.0.0.1:")
        if there != server.LOOPBACK:
            with pytest.raises(OSError, match="Cannot connect"):
                await http.get(source.url.replace("127.0.0.1", there))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/{token}/data", 405),
        ("PUT", "/data", 405),
        ("POST", "/data", 401),
        ("POST", "/wrong/data", 403),
        ("POST", "/{token}x/data", 403),
        ("POST", "/{token}/other", 404),
        ("POST", "/{token}/data/", 404),
        ("POST", "/{token}/data", 400),
    ],
)
async def test_push_server_rejects_with_a_status(method: str, path: str, status: int) -> None:
    source = SensorLoggerSource(port=0, announce=quiet)
    async with served(source) as http:
        url = root(source) + path.format(token=source.url.split("/")[3])
        async with http.request(method, url, data=b"not JSON") as answer:
            assert answer.status == status
            assert (await answer.text()) != ""
            assert answer.headers["Server"] == "mujo-edge"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'; ")
            assert answer.headers["Cache-Control"] == "no-store"
            assert "token" not in await answer.text() or status in (401, 403)


async def test_token_in_the_authorization_header_is_compared_in_constant_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[bytes] = []
    digest = hmac.compare_digest

    def spy(a: bytes, b: bytes) -> bool:
        compared.append(a)
        return digest(a, b)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    source = SensorLoggerSource(port=0, announce=quiet)
    token = source.url.split("/")[3]
    assert len(token) >= 22
    async with served(source) as http:
        for sent, status in ((token, 200), (f"Bearer {token}", 200), ("Bearer x", 403)):
            async with http.post(f"{root(source)}/data", json=push_body(), headers={"Authorization": sent}) as answer:
                assert answer.status == status
    assert compared == [token.encode(), token.encode(), b"x"]


async def test_rate_and_size_limits_are_enforced(monkeypatch: pytest.MonkeyPatch) -> None:
    source = SensorLoggerSource(port=0, announce=quiet)
    async with served(source) as http:
        async with http.post(source.url, data=io.BytesIO(bytes(3 << 20))) as answer:
            assert answer.status == 413

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(80):
                yield bytes(1 << 16)

        async with http.post(source.url, data=chunks()) as answer:  # without a Content-Length
            assert answer.status == 413
        statuses = []
        for i in range(80):
            async with http.post(source.url, json=push_body(i, samples=0)) as answer:
                statuses.append(answer.status)
        assert set(statuses) == {200, 429}
        async with http.get(f"{root(source)}/nothing") as answer:
            assert answer.status == 404  # strangers do not use up the phone's limit
        codes = [(await http.get(f"{root(source)}/nothing")).status for _ in range(30)]
        assert set(codes) == {404, 429}
        await asyncio.sleep(0.2)
        async with http.post(source.url, json=push_body(100, samples=0)) as answer:
            assert answer.status == 200
    source = SensorLoggerSource(port=0, announce=quiet)
    monkeypatch.setattr(server, "BODY_S", 0.2)
    async with served(source):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(root(source).rpartition(":")[2]))
        path = source.url.removeprefix(root(source))
        writer.write(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n".encode())
        assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 408")
        writer.close()


async def test_foreign_host_name_is_rejected() -> None:
    source = BrowserSource(port=0, announce=quiet)
    async with served(source) as http:
        for host, status in (("evil.example", 400), ("evil.example:80", 400), ("localhost", 200), ("127.0.0.1", 200)):
            async with http.get(source.url, headers={"Host": host}) as answer:
                assert answer.status == status


async def test_second_phone_waits_until_the_first_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "OWNED_S", 0.5)
    source = SensorLoggerSource(port=0, announce=quiet)
    async with served(source) as http:
        for number in range(3):
            async with http.post(source.url, json=push_body(number)) as answer:
                assert answer.status == 200
        async with http.post(source.url, json=push_body(0, "two")) as answer:
            assert (answer.status, await answer.text()) == (409, "another phone is streaming")
        await asyncio.sleep(0.6)
        for number in range(3):
            async with http.post(source.url, json=push_body(number, "two")) as answer:
                assert answer.status == 200
        stream = source.chunks()
        async with asyncio.timeout(10):
            while not source.notes:
                await anext(stream)
        assert source.notes == ["the phone reconnected once"]


async def test_new_recording_on_the_same_phone_ignores_late_messages_of_the_old() -> None:
    source = SensorLoggerSource(port=0, announce=quiet)
    async with served(source) as http:
        for number, session in ((0, "s"), (1, "s"), (5, "t"), (2, "s"), (6, "t"), (7, "t")):
            async with http.post(source.url, json=push_body(number, session=session)) as answer:
                assert answer.status == 200
        chunks = []
        async with asyncio.timeout(10):
            async for chunk in source.chunks():
                chunks.append(chunk)
                if sum(len(chunk.t_s) for chunk in chunks) >= 100:
                    break
        kinds = [raw.kind for chunk in chunks for raw in chunk.raw]
        assert kinds == ["open", "data", "data", "close", "open", "data", "data", "data"]
        assert source.notes == ["the phone reconnected once"]


async def test_page_files_are_served_with_their_status_codes() -> None:
    source = BrowserSource(port=0, announce=quiet)
    async with served(source) as http:
        token = source.url.split("/")[3]
        for path, status, kind in (
            ("", 200, "text/html"),
            ("page.js", 200, "text/javascript"),
            ("page.css", 200, "text/css"),
            ("../../core.py", 404, ""),
            ("stream", 403, ""),
        ):
            async with http.get(f"{source.url}{path}") as answer:
                assert answer.status == status
                if status == 200:
                    assert answer.content_type == kind
                    assert "://" not in await answer.text()  # no other host is named
        for path, status in (("/", 401), ("/x/", 403), ("/favicon.ico", 404), (f"/{token}", 404)):
            async with http.get(f"{root(source)}{path}") as answer:
                assert answer.status == status
        async with http.post(source.url) as answer:
            assert answer.status == 405


async def dial(http: ClientSession, source: BrowserSource, page: str = "a", **headers: str) -> ClientWebSocketResponse:
    headers = {"Origin": root(source), **headers}
    return await http.ws_connect(f"{source.url}stream?page={page}", headers=headers)


async def closing(socket: ClientWebSocketResponse) -> tuple[int, str]:
    async with asyncio.timeout(10):
        while (message := await socket.receive()).type not in (WSMsgType.CLOSE, WSMsgType.CLOSED):
            pass
    return int(socket.close_code or 0), str(message.extra or "")


async def test_socket_rejects_other_origins() -> None:
    source = BrowserSource(port=0, announce=quiet)
    async with served(source) as http:
        for origin in ("https://evil.example", "null", root(source).replace("http", "https"), ""):
            with pytest.raises(WSServerHandshakeError) as refusal:
                await dial(http, source, Origin=origin)
            assert refusal.value.status == 403
        for page in ("", "a-b", "x" * 33):
            with pytest.raises(WSServerHandshakeError) as refusal:
                await dial(http, source, page=page)
            assert refusal.value.status == 400
        async with http.post(f"{source.url}samples?page=a", data=BATCH) as answer:
            assert answer.status == 403


async def test_invalid_socket_messages_close_it() -> None:
    source = BrowserSource(port=0, announce=quiet)
    async with served(source) as http:
        socket = await dial(http, source)
        await socket.send_bytes(BATCH)
        assert await closing(socket) == (browser.BROKEN, "a hello must come first")
        socket = await dial(http, source)
        await socket.send_str("{}")
        assert await closing(socket) == (browser.BROKEN, "a hello has vendor, gyroscope and agent")
        socket = await dial(http, source)
        await socket.send_bytes(bytes(browser.MAX_MESSAGE + 1))
        assert (await closing(socket))[0] == 1009
        socket = await dial(http, source)
        await socket.send_str(HELLO)
        for _ in range(400):
            await socket.send_bytes(b"x")
        assert await closing(socket) == (browser.TOO_MUCH, "too many messages in too short a time")


async def test_only_one_page_streams_at_a_time() -> None:
    source = BrowserSource(port=0, announce=quiet)
    async with served(source) as http:
        first = await dial(http, source, "first")
        await first.send_str(HELLO)
        await first.send_bytes(BATCH)
        await until(lambda: source.info.channels)
        second = await dial(http, source, "second")
        assert await closing(second) == (browser.TAKEN, "another phone is streaming")
        headers = {"Origin": root(source), "Content-Type": "application/json"}
        async with http.post(f"{source.url}samples?page=second", data=HELLO, headers=headers) as answer:
            assert (answer.status, (await answer.json())["code"]) == (409, browser.TAKEN)
        again = await dial(http, source, "first")  # its network changed: the old socket is still open here
        await again.send_str(HELLO)
        assert (await closing(first))[0] == 1001
        await again.close()
        source._received_s -= browser.OWNED_S
        third = await dial(http, source, "third")
        await third.send_str(HELLO.replace("false", "true"))
        await third.send_bytes(BATCH)
        await until(lambda: source._queue is not None and source._page == "third")
        assert source.info.channels == ("ax", "ay", "az")
        await third.close()


async def test_posts_replace_a_socket() -> None:
    source = BrowserSource(port=0, announce=quiet)
    async with served(source) as http:
        url, headers = f"{source.url}samples?page=a", {"Origin": root(source)}
        async with http.post(url, data=BATCH, headers=headers) as answer:
            assert (answer.status, (await answer.json())["code"]) == (400, browser.BROKEN)
        async with http.post(url, data=HELLO, headers={**headers, "Content-Type": "application/json"}) as answer:
            assert answer.status == 200
        async with http.post(url, data=BATCH, headers=headers) as answer:
            assert (answer.status, await answer.json()) == (200, {})
        async with http.post(url, data=bytes(5000), headers=headers) as answer:
            assert answer.status == 413
        await until(lambda: source.info.channels)


async def test_certificate_is_new_for_each_run_and_its_key_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    load = ssl.SSLContext.load_cert_chain

    def spy(self: ssl.SSLContext, path: str) -> None:
        modes.append(stat.S_IMODE(Path(path).stat().st_mode))
        load(self, path)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", spy)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    prints = set()
    for _ in range(2):
        source = BrowserSource("0.0.0.0", 0, announce=quiet)
        async with served(source) as http:
            host, port = root(source).removeprefix("https://").split(":")
            prints.add(await asyncio.to_thread(ssl.get_server_certificate, (host, int(port))))
            assert source.url.startswith("https://")
            async with http.get(source.url) as answer:
                assert answer.status == 200
    assert modes == [0o600, 0o600]
    assert len(prints) == 2
    assert list(tmp_path.iterdir()) == []


WATCHED: list[Any] = []
WATCHING = [False]


def watch(event: str, details: tuple[Any, ...]) -> None:
    if WATCHING[0] and event in ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo"):
        WATCHED.append(details[1] if event != "socket.getaddrinfo" else details[0])


sys.addaudithook(watch)


@pytest.mark.parametrize("app", APPS)
async def test_no_request_goes_to_another_host(app: str) -> None:
    WATCHED.clear()
    WATCHING[0] = True
    try:
        async with phone(app, rest) as (source, _):
            _, chunks = await collect(source, 0.5)
    finally:
        WATCHING[0] = False
    assert len(joined(chunks)[0]) > 10
    hosts = [address[0] if isinstance(address, tuple) else address for address in WATCHED]
    assert hosts
    assert all(ipaddress.ip_address(host).is_loopback for host in hosts)


async def test_redirect_is_not_followed() -> None:
    async def elsewhere(_: web.Request) -> web.Response:
        raise web.HTTPFound("http://192.0.2.1/config")

    app = web.Application()
    app.router.add_get("/config", elsewhere)
    async with app_served(app, 0) as port:
        with pytest.raises(DeviceError, match="responds with status 302"):
            await collect(PhyphoxSource(f"http://127.0.0.1:{port}"), 1)


async def test_busy_port_is_a_device_error() -> None:
    source = SensorLoggerSource(port=0, announce=quiet)
    async with served(source):
        port = int(root(source).rpartition(":")[2])
        with pytest.raises(DeviceError, match=f"cannot listen on 127.0.0.1, port {port}: .* another --port"):
            await collect(BrowserSource(port=port, announce=quiet), 1)


@pytest.mark.parametrize(
    ("app", "options", "expected"),
    [
        ("walkman", {}, "choose one of browser, sensor-logger"),
        ("browser", {"url": "http://x"}, "--url has no meaning"),
        ("phyphox", {"url": "http://x", "port": 1}, "have no meaning with phyphox"),
        ("sensorserver", {}, "needs the address that the app shows"),
        ("sensorserver", {"url": "http://x"}, "such as ws://"),
        ("phyphox", {"url": "http://"}, "such as http://"),
        ("phyphox", {"url": "http://x:99999"}, "such as http://"),
        ("sensorserver", {"url": "ws://x/sensors/connect?types=1"}, "types must be a list"),
        ("browser", {"host": "a b"}, "give an address of this machine"),
        ("browser", {"rate_hz": 50}, "set in the app"),
    ],
)
def test_invalid_arguments_are_usage_errors(app: str, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        phone_source(app, **options)


def test_missing_extra_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segno", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[phone\]'"):
        phone_source("browser")


def test_each_app_has_its_source() -> None:
    assert isinstance(phone_source("browser"), BrowserSource)
    assert isinstance(phone_source("sensor-logger", host="127.0.0.1", port=0), SensorLoggerSource)
    assert isinstance(phone_source("phyphox", url="192.168.1.20:8080"), PhyphoxSource)
    assert phone_source("sensorserver", url="192.168.1.20:8080").info.name == "SensorServer"
