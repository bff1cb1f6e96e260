"""One connection with a scripted client: the start script is run, and no payload is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from bleak.backends.device import BLEDevice
from bleak.exc import BleakCharacteristicNotFoundError, BleakError, BleakGATTProtocolError

from firmware_bridge.profiles import witmotion
from firmware_bridge.profiles.base import (
    Advert,
    Expect,
    Pause,
    Profile,
    Read,
    Request,
    Script,
    Subscribe,
    Write,
    rehearse,
)
from firmware_bridge.stream import ACC, CodecError, Format, PayloadDecoder
from mujo_edge.sources.ble import gatt
from mujo_edge.sources.ble.gatt import Link, LinkError, RefusedError
from mujo_edge.sources.ble.scan import DiscoveredDevice

CONTROL, DATA = "c0", "da"


class Service:
    """Services as bleak finds them on connecting."""

    uuid = "5E"
    characteristics: ClassVar[list[Any]] = [type("Characteristic", (), {"uuid": uuid}) for uuid in ("C0", "DA")]


class Client:
    """A fake of bleak's client. `act(client, deed, uuid, data)` is called for every action."""

    def __init__(self, device: BLEDevice, gone: Callable[[Client], None], timeout: float) -> None:
        self.act: Callable[[Client, str, str, bytes], Any] = device.details
        self.is_connected = False
        self.deeds: list[str] = []
        self._gone = gone
        self._callbacks: dict[str, Callable[[object, bytearray], None]] = {}

    @property
    def services(self) -> tuple[type[Service], ...]:
        if not self.is_connected:
            raise BleakError("Service Discovery has not been performed yet")
        return (Service,)

    def notify(self, uuid: str, *payloads: bytes) -> None:
        for payload in payloads:
            self._callbacks[uuid](None, bytearray(payload))

    def vanish(self) -> None:
        if self.is_connected:
            self.is_connected = False
            self._gone(self)

    async def _do(self, deed: str, uuid: str = "", data: bytes = b"") -> Any:
        await asyncio.sleep(0)
        self.deeds.append(" ".join(filter(None, (deed, uuid, data.hex()))))
        answer = self.act(self, deed, uuid, data)
        return await answer if asyncio.iscoroutine(answer) else answer

    async def connect(self) -> None:
        self.is_connected = True
        await self._do("connect")

    async def disconnect(self) -> None:
        await self._do("disconnect")
        self.vanish()

    async def start_notify(self, uuid: str, callback: Callable[..., None], bluez: dict[str, bool]) -> None:
        assert bluez == {"use_start_notify": True}
        self._callbacks[uuid] = callback
        await self._do("subscribe", uuid)

    async def write_gatt_char(self, uuid: str, data: bytes, response: bool) -> None:
        await self._do("write" if response else "send", uuid, data)

    async def read_gatt_char(self, uuid: str) -> bytearray:
        return bytearray(await self._do("read", uuid))


def decoder() -> PayloadDecoder:
    return PayloadDecoder(Format(ACC, 50.0), {})


def profile(start: Callable[[Request], Script], *stop: Write) -> Profile:
    return replace(witmotion.PROFILE, name="made", start=start, stop=stop)


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Link]:
    """A link to a device whose actions are scripted."""
    monkeypatch.setattr(gatt, "BleakClient", Client)
    monkeypatch.setattr(gatt, "STOP_S", 0.1)

    def make(profile: Profile, act: Callable[[Client, str, str, bytes], Any] = lambda *_: b"") -> Link:
        device = BLEDevice("E0:00:00:00:00:01", "Made", act)
        return Link(DiscoveredDevice(Advert("E0:00:00:00:00:01", "Made"), profile, device), profile, 25.0)

    return make


def client(link: Link) -> Client:
    return link._client  # type: ignore[return-value]


def script(request: Request) -> Script:
    """A start script with every kind of step."""
    assert request == Request(Advert("E0:00:00:00:00:01", "Made"), 25.0, frozenset({"5e", "c0", "da"}))
    yield Subscribe(CONTROL)
    yield Subscribe(DATA)
    answer = yield Read(CONTROL)
    assert answer == b"read"
    yield Write(CONTROL, b"\x01")
    answer = yield Expect(CONTROL, lambda reply: reply[:1] == b"\x01")
    assert answer == b"\x01yes"
    yield Pause(0.01)
    yield Write(CONTROL, b"\x02", response=False)
    answer = yield Expect(CONTROL, lambda reply: reply[:1] == b"\x02", timeout_s=5)
    assert answer == b"\x02yes"
    return decoder()


def act(client: Client, deed: str, uuid: str, data: bytes) -> bytes:
    """Streams from the start; replies to the first write before it is done, and to the second one later."""
    if (deed, uuid) == ("subscribe", DATA):
        client.notify(DATA, b"d0", b"d1")
    if data == b"\x01":
        client.notify(CONTROL, b"\x01yes", b"other")
        client.notify(DATA, b"d2")
    if data == b"\x02":
        asyncio.get_running_loop().call_later(0.05, client.notify, CONTROL, b"\x02yes")
        client.notify(DATA, b"d3")
    return b"read"


async def test_all_payloads_of_the_start_are_kept_in_order(link: Callable[..., Link]) -> None:
    one = await link(profile(script), act).open()
    raws = await one.take(1.0)
    client(one).notify(DATA, b"d4", b"d5")
    raws += await one.take(1.0)
    raws += await one.close()
    assert [(raw.kind, raw.origin, raw.data) for raw in raws[1:]] == [
        ("data", DATA, b"d0"),
        ("data", DATA, b"d1"),
        ("reply", CONTROL, b"read"),
        ("reply", CONTROL, b"\x01yes"),
        ("data", CONTROL, b"other"),
        ("data", DATA, b"d2"),
        ("data", DATA, b"d3"),
        ("reply", CONTROL, b"\x02yes"),
        ("data", DATA, b"d4"),
        ("data", DATA, b"d5"),
        ("close", "", b""),
    ]
    assert [raw.received_s for raw in raws] == sorted(raw.received_s for raw in raws)
    opening = json.loads(raws[0].data)
    assert opening == {
        "kind": "ble",
        "profile": "made",
        "name": "Made",
        "address": "E0:00:00:00:00:01",
        "rate_hz": 25.0,
        "services": ["5e", "c0", "da"],
    }
    request = Request(Advert(opening["address"], opening["name"]), opening["rate_hz"], frozenset(opening["services"]))
    rehearse(script(request), [raw.data for raw in raws if raw.kind == "reply"])


async def test_reply_from_before_the_write_does_not_count(link: Callable[..., Link]) -> None:
    def asks_twice(request: Request) -> Script:
        yield Subscribe(CONTROL)
        for _ in range(2):
            yield Write(CONTROL, b"?")
            yield Expect(CONTROL, lambda reply: reply == b"yes", timeout_s=0.1)
        return decoder()

    def once(client: Client, deed: str, uuid: str, data: bytes) -> None:
        if data and len(client.deeds) == 3:
            client.notify(CONTROL, b"yes", b"yes")

    with pytest.raises(RefusedError, match=r"Made \(E0:.*\) is connected, but does not answer"):
        await link(profile(asks_twice), once).open()


async def test_script_may_continue_without_a_reply(link: Callable[..., Link]) -> None:
    def patient(request: Request) -> Script:
        yield Subscribe(CONTROL)
        try:
            yield Expect(CONTROL, timeout_s=0.05)
        except TimeoutError:
            yield Write(CONTROL, b"again")
        return decoder()

    one = await link(profile(patient)).open()
    await one.close()
    assert client(one).deeds == ["connect", "subscribe c0", f"write c0 {b'again'.hex()}", "disconnect"]


def refuses(request: Request) -> Script:
    yield Subscribe(DATA)
    raise CodecError("it is in its charger")


def plain(request: Request) -> Script:
    yield Subscribe(DATA)
    yield Write(CONTROL, b"\x01")
    return decoder()


def fails(deed: str, error: Exception) -> Callable[..., None]:
    def act(client: Client, done: str, uuid: str, data: bytes) -> None:
        if done == deed:
            raise error

    return act


@pytest.mark.parametrize(
    ("script", "act", "kind", "message"),
    [
        (refuses, fails("", OSError()), RefusedError, "does not stream: it is in its charger"),
        (plain, fails("connect", TimeoutError()), LinkError, "cannot connect to Made .*: TimeoutError"),
        (plain, fails("connect", BleakError("abort\nby local")), LinkError, "cannot connect to Made .*: abort$"),
        (plain, fails("subscribe", EOFError()), LinkError, "refuses notifications: EOFError"),
        (plain, fails("subscribe", BleakCharacteristicNotFoundError(DATA)), RefusedError, "characteristic da. Is --pr"),
        (plain, fails("write", BleakGATTProtocolError(0x80)), LinkError, "refuses a command: GATT Protocol Error: App"),
        (
            plain,
            fails("write", BleakGATTProtocolError(0x05)),
            RefusedError,
            "it must be paired first. Pair it in the sy",
        ),
    ],
)
async def test_errors_are_reported_and_the_device_disconnected(
    script: Callable[[Request], Script],
    act: Callable[..., None],
    kind: type[Exception],
    message: str,
    link: Callable[..., Link],
) -> None:
    one = link(profile(script), act)
    with pytest.raises(LinkError, match=message) as caught:
        await one.open()
    assert type(caught.value) is kind
    assert client(one).deeds[-1] == "disconnect"
    assert not client(one).is_connected


async def test_disconnect_during_the_start_script(link: Callable[..., Link]) -> None:
    def waits(request: Request) -> Script:
        yield Subscribe(CONTROL)
        yield Expect(CONTROL, timeout_s=60)
        return decoder()

    def goes(client: Client, deed: str, uuid: str, data: bytes) -> None:
        if deed == "subscribe":
            asyncio.get_running_loop().call_later(0.05, client.vanish)

    with pytest.raises(LinkError, match="the connection was lost") as caught:
        await link(profile(waits), goes).open()
    assert not isinstance(caught.value, RefusedError)


async def test_disconnect_right_after_the_connect(link: Callable[..., Link]) -> None:
    def goes(client: Client, deed: str, uuid: str, data: bytes) -> None:
        client.vanish()

    with pytest.raises(LinkError, match=r"cannot connect to Made .*: Service Discovery"):
        await link(profile(plain), goes).open()


async def test_endless_start_script_times_out(link: Callable[..., Link], monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(request: Request) -> Script:
        while True:
            yield Pause(0.01)

    monkeypatch.setattr(gatt, "START_S", 0.1)
    with pytest.raises(LinkError, match="did not start within"):
        await link(profile(endless)).open()


async def test_payloads_before_the_close_are_returned_first(link: Callable[..., Link]) -> None:
    one = await link(profile(plain)).open()
    await one.take(1.0)
    client(one).notify(DATA, b"d0", b"d1")
    client(one).vanish()
    assert [(raw.kind, raw.data) for raw in await one.take(1.0)] == [("data", b"d0"), ("data", b"d1"), ("close", b"")]
    with pytest.raises(LinkError, match="the connection was lost"):
        await one.take(1.0)
    assert await one.close() == []
    assert client(one).deeds[-1] == "disconnect"  # after it went by itself, too: hbldh/bleak#2002


async def test_silence_is_an_error_and_late_payloads_are_not_lost(link: Callable[..., Link]) -> None:
    def last_word(client: Client, deed: str, uuid: str, data: bytes) -> None:
        if deed == "disconnect":
            client.notify(DATA, b"last")

    one = await link(profile(plain), last_word).open()
    await one.take(1.0)
    with pytest.raises(RefusedError, match="is connected, but sends no samples"):
        await one.take(0.05)
    assert [(raw.kind, raw.data) for raw in await one.close()] == [("data", b"last"), ("close", b"")]
    client(one).notify(DATA, b"too late")
    assert await one.close() == []


async def test_close_stops_the_stream_within_a_time_limit(link: Callable[..., Link]) -> None:
    def stuck(client: Client, deed: str, uuid: str, data: bytes) -> Any:
        return asyncio.sleep(60) if data == b"stop" or deed == "disconnect" else None

    one = await link(profile(plain, Write(CONTROL, b"stop"), Write(CONTROL, b"never")), stuck).open()
    async with asyncio.timeout(10):
        await one.close()
    assert client(one).deeds[-2:] == [f"write c0 {b'stop'.hex()}", "disconnect"]


async def test_canceled_start_disconnects_the_device(link: Callable[..., Link]) -> None:
    def waits(request: Request) -> Script:
        yield Pause(60)
        return decoder()

    one = link(profile(waits))
    opening = asyncio.create_task(one.open())
    while not client(one).is_connected:
        await asyncio.sleep(0.01)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not client(one).is_connected
