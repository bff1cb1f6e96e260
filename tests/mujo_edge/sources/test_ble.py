"""Real bleak against virtual wearables: every profile from the scan to samples and labels, and every fault."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pytest
from bluetooth import StartWorld, bluetooth
from fakes import ListSink, bundle

from firmware_bridge.packet import decode as decode_packet
from firmware_bridge.profiles import PROFILES
from firmware_bridge.profiles.base import Advert, Request, rehearse
from firmware_bridge.simulator.remote import RemoteWorld
from firmware_bridge.simulator.wearables import WEARABLES
from firmware_bridge.stream import F32, IMU, Format, G
from mujo_edge.core import Chunk, DeviceError, Raw, StreamInfo, UsageError
from mujo_edge.engine import Engine, run_together
from mujo_edge.recognizer import Recognizer
from mujo_edge.sources import ble, scan
from mujo_edge.sources.ble import BleSource
from mujo_edge.sources.scan import Found, find

__all__ = ["bluetooth"]

LISTEN_S = {"rest": 1.5, "sine": 3.0}
PATIENCE_S = 30.0


@dataclass
class Stream:
    """A source that is listened to in the background, and what it gave."""

    found: Found
    rate_hz: float | None = None
    slow_s: float = 0.0
    chunks: list[Chunk] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self.source = BleSource(self.found, rate_hz=self.rate_hz)
        await self.source.__aenter__()
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._watch())]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks)
        await self.source.__aexit__(*exc)

    async def _listen(self) -> None:
        async for chunk in self.source.chunks():
            self.chunks.append(chunk)
            time.sleep(self.slow_s)

    async def _watch(self) -> None:
        while True:
            if [self.source.status] != self.said[-1:]:
                self.said.append(self.source.status)
            await asyncio.sleep(0.01)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that has to happen."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                assert not self._tasks[0].done()
                await asyncio.sleep(0.02)

    async def comes_back(self) -> None:
        """Wait for a second more of samples after one more reconnect."""
        opened = self.kinds.count("open")
        await self.until(lambda: self.kinds.count("open") > opened)
        samples = len(self.x)
        await self.until(lambda: len(self.x) >= samples + 25)

    @property
    def raws(self) -> list[Raw]:
        return [raw for chunk in self.chunks for raw in chunk.raw]

    @property
    def kinds(self) -> list[str]:
        return [raw.kind for raw in self.raws]

    @property
    def data(self) -> list[bytes]:
        return [raw.data for raw in self.raws if raw.kind == "data"]

    @property
    def x(self) -> F32:
        return np.concatenate([np.empty((0, len(self.source.info.channels)), np.float32), *(c.x for c in self.chunks)])

    @property
    def t_s(self) -> np.ndarray:
        return np.concatenate([np.empty(0), *(chunk.t_s for chunk in self.chunks)])


def sequence(stream: Stream) -> list[int]:
    """The sample numbers in the packets of mujo-edge's own service."""
    return [number for data in stream.data for packet in decode_packet(data) for number in range_of(packet)]


def range_of(packet: Any) -> range:
    return range(packet.seq, packet.seq + len(packet.x))


async def near(world: RemoteWorld, name: str, profile: str | None = None) -> Found:
    """That wearable, found by its address."""
    return await find(world.stats()[name]["address"], profile, PATIENCE_S)


@dataclass
class Heard:
    """One wearable that was listened to."""

    found: Found
    stream: Stream
    info: StreamInfo
    format: Format
    counts: dict[str, Any]


def listen(motion: str) -> Iterator[dict[str, Heard]]:
    """All wearables at once, from a scan on."""
    with RemoteWorld(*WEARABLES, options=("--motion", motion)) as world, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBUS_SYSTEM_BUS_ADDRESS", world.address)
        names = dict(zip((one["address"] for one in world.stats().values()), WEARABLES, strict=True))

        async def run() -> dict[str, Heard]:
            found = {names[one.advert.address]: one for one in await scan.scan(1.0)}
            assert sorted(found) == sorted(WEARABLES)
            streams = {name: Stream(one) for name, one in found.items()}
            async with AsyncExitStack() as stack:
                for stream in streams.values():
                    await stack.enter_async_context(stream)
                await asyncio.sleep(LISTEN_S[motion])
                counts = {names[one["address"]]: one for one in world.stats().values()}
                await asyncio.sleep(0.2)
            return {
                name: Heard(found[name], stream, stream.source.info, format_of(stream), counts[name])
                for name, stream in streams.items()
            }

        yield asyncio.run(run())


def format_of(stream: Stream) -> Format:
    assert stream.source._link is not None
    return stream.source._link.decoder.format


@pytest.fixture(scope="module")
def still() -> Iterator[dict[str, Heard]]:
    yield from listen("rest")


@pytest.fixture(scope="module")
def swinging() -> Iterator[dict[str, Heard]]:
    yield from listen("sine")


@pytest.mark.parametrize("name", WEARABLES)
def test_at_rest_every_wearable_shows_one_g(name: str, still: dict[str, Heard]) -> None:
    heard = still[name]
    x = heard.stream.x[settled(heard.stream.x)]
    assert heard.found.profile is PROFILES[WEARABLES[name].profile]
    assert heard.info.channels == heard.format.channels
    if heard.format.even:
        assert len(x) > 10
    np.testing.assert_allclose(np.linalg.norm(x[:, :3], axis=1), G, rtol=0.01)
    np.testing.assert_allclose(x[:, 3:], 0, atol=0.02)


@pytest.mark.parametrize("name", WEARABLES)
def test_a_sine_comes_with_its_rate_and_size(name: str, swinging: dict[str, Heard]) -> None:
    heard = swinging[name]
    rows = settled(heard.stream.x)
    t_s, x = heard.stream.t_s[rows], heard.stream.x[rows]
    rate_hz = heard.format.rate_hz
    assert np.all(np.diff(t_s) > 0)
    assert len(t_s) >= 2.5 * (rate_hz or 8)
    if rate_hz is not None and heard.format.even:
        assert (len(t_s) - 1) / (t_s[-1] - t_s[0]) == pytest.approx(rate_hz, rel=0.05)
    frequency_hz, size = sine_of(t_s, x[:, 0])
    assert frequency_hz == pytest.approx(1.0, abs=0.03)
    assert size == pytest.approx(0.5 * G, rel=0.04)
    assert np.mean(x[:, 2]) == pytest.approx(G, rel=0.01)
    if heard.info.channels == IMU:
        frequency_hz, size = sine_of(t_s, x[:, 5])
        assert frequency_hz == pytest.approx(1.0, abs=0.03)
        assert size == pytest.approx(1.0, rel=0.04)


def settled(x: F32) -> np.ndarray:
    """The rows that are whole. A gyroscope that comes apart begins later: the first rows lack it, but no others."""
    whole = np.isfinite(x).all(axis=1)
    begun = int(np.argmax(whole))
    assert begun < 10
    assert whole[begun:].all()
    return whole


def sine_of(t_s: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Frequency and amplitude of the sine that fits best."""
    fits = []
    for frequency_hz in np.arange(0.8, 1.2, 0.005):
        phase = 2 * np.pi * frequency_hz * (t_s - t_s[0])
        table = np.stack([np.sin(phase), np.cos(phase), np.ones_like(phase)], 1)
        (a, b, _), *_ = solution = np.linalg.lstsq(table, y.astype(float), rcond=None)
        fits.append((float(np.sum((table @ solution[0] - y) ** 2)), float(frequency_hz), float(np.hypot(a, b))))
    return min(fits)[1:]


@pytest.mark.parametrize("name", WEARABLES)
def test_nothing_is_lost_and_the_log_gives_the_same_again(name: str, swinging: dict[str, Heard]) -> None:
    stream = swinging[name].stream
    assert sum(chunk.lost + chunk.corrupt for chunk in stream.chunks) == 0
    assert len(stream.data) >= swinging[name].counts["sent"]
    opening, *raws = stream.raws
    said = json.loads(opening.data)
    assert (opening.kind, said["kind"], said["profile"]) == ("open", "ble", WEARABLES[name].profile)
    request = Request(Advert(said["address"], said["name"]), said["rate_hz"], frozenset(said["services"]))
    replies = [raw.data for raw in raws if raw.kind == "reply"]
    decoder = rehearse(PROFILES[said["profile"]].start(request), replies)
    packets = [packet for raw in raws if raw.kind == "data" for packet in decoder.feed(raw.data, raw.origin)]
    np.testing.assert_array_equal(np.concatenate([packet.x for packet in packets]), stream.x)
    assert swinging[name].stream.source.notes == stream.source.notes


def test_what_is_special_about_a_device_is_said(swinging: dict[str, Heard]) -> None:
    for heard in swinging.values():
        notes = " ".join(heard.stream.source.notes)
        slow = heard.format.rate_hz is not None and heard.format.rate_hz < 45
        assert ("models are made for 50 Hz" in notes) == slow
        assert ("sends only what changes" in notes) == (not heard.format.even)


async def test_from_the_scan_to_labels_also_after_a_return(bluetooth: StartWorld) -> None:
    world = bluetooth("polar-h10", "witmotion", "mujo")
    sinks = {name: ListSink() for name in world.stats()}
    engines = [
        Engine(BleSource(await near(world, name)), [sink], lambda info: Recognizer(bundle(), info))
        for name, sink in sinks.items()
    ]
    running = asyncio.create_task(run_together(engines))

    async def more_labels() -> None:
        before = {name: len(sink.predictions) for name, sink in sinks.items()}
        async with asyncio.timeout(PATIENCE_S):
            while any(len(sink.predictions) < before[name] + 1 for name, sink in sinks.items()):
                assert not running.done()
                await asyncio.sleep(0.02)

    await more_labels()
    world.fault("0 disconnect 0.5")
    await asyncio.sleep(0.3)
    await more_labels()
    for engine in engines:
        engine.stop()
    for summary, sink in zip(await running, sinks.values(), strict=True):
        assert summary.ended == "interrupted"
        assert summary.tally.stats.gaps == 1
        assert "reconnected once" in summary.notes
        assert {prediction.label for prediction in sink.predictions} == {"z up"}


async def test_a_rate_that_is_asked_for(bluetooth: StartWorld) -> None:
    world = bluetooth("witmotion")
    async with Stream(await near(world, "witmotion"), rate_hz=110.0) as stream:
        await stream.until(lambda: len(stream.x) > 150)
        assert stream.source.info.rate_hz == 100.0
        assert stream.source.notes == ["WT901BLE67 was asked for 110 Hz and gives 100 Hz"]
        measured_hz = (len(stream.t_s) - 1) / (stream.t_s[-1] - stream.t_s[0])
        assert measured_hz == pytest.approx(100, rel=0.1)


async def test_a_device_that_went_away_is_fetched_back(bluetooth: StartWorld) -> None:
    world = bluetooth("mujo")
    async with Stream(await near(world, "mujo")) as stream:
        for times in (1, 2):
            await stream.until(lambda: len(stream.data) > 20)
            world.fault("0 disconnect 0.7")
            await stream.comes_back()
            assert stream.source.status == ""
            assert len(stream.source.notes) == 1
            assert stream.source.notes[0] == {1: "reconnected once", 2: "reconnected 2 times"}[times]
        sent = world.stats()["mujo"]["sent"]
        await asyncio.sleep(0.2)
    assert "connection lost, looking for it (try 1)" in stream.said
    numbers = sequence(stream)
    assert numbers == sorted(set(numbers)), "a notification was taken twice, or out of order"
    assert np.all(np.diff(stream.t_s) > 0)
    kinds = [kind for kind in stream.kinds if kind in ("open", "close")]
    assert kinds == ["open", "close", "open", "close", "open"]
    assert 0 <= sent - len(stream.data) <= 6 or len(stream.data) >= sent  # on the air when the link went
    assert len(stream.x) + sum(chunk.lost for chunk in stream.chunks) == numbers[-1] - numbers[0] + 1


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("0 adapter-off 1", "connection lost; Bluetooth is switched off"),
        ("0 bus-death 1", "connection lost; bluetoothd does not run"),
    ],
)
async def test_a_bluetooth_that_went_away_is_waited_for(fault: str, status: str, bluetooth: StartWorld) -> None:
    world = bluetooth("mujo")
    async with Stream(await near(world, "mujo")) as stream:
        await stream.until(lambda: len(stream.data) > 20)
        world.fault(fault)
        await stream.comes_back()
        assert stream.source.status == ""
    assert status in stream.said
    numbers = sequence(stream)
    assert numbers == sorted(set(numbers))
    assert stream.source.notes == ["reconnected once"]


async def test_connects_that_are_refused_are_tried_again(bluetooth: StartWorld) -> None:
    world = bluetooth("mujo")
    found = await near(world, "mujo")
    world.fault(f"0 refuse {ble.FIRST_TRIES - 1}")
    async with Stream(found) as stream:
        await stream.until(lambda: len(stream.data) > 20)
        assert stream.said == [""]
        world.fault("0 refuse 2", "0 disconnect 0.3")
        await stream.comes_back()
    assert "connection lost, looking for it (try 3)" in stream.said
    world.fault("0 refuse 100")
    with pytest.raises(DeviceError, match=r"cannot connect to mujo-edge \(E0:.*\): .*\. Bring it near"):
        await BleSource(found).__aenter__()


async def test_a_silent_device_is_connected_anew(bluetooth: StartWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ble, "SILENT_S", 1.0)
    world = bluetooth("mujo")
    async with Stream(await near(world, "mujo")) as stream:
        await stream.until(lambda: len(stream.data) > 20)
        world.fault("0 burst 1.5")
        await stream.comes_back()
    numbers = sequence(stream)
    assert numbers == sorted(set(numbers))
    assert max(np.diff(numbers)) > 40


async def test_a_device_that_connects_but_sends_nothing(bluetooth: StartWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ble, "SILENT_S", 1.0)
    world = bluetooth("witmotion")
    found = await near(world, "witmotion")
    world.fault("0 loss 1")
    with pytest.raises(DeviceError, match=r"WT901BLE67 .* is connected, but sends no samples"):
        await BleSource(found).__aenter__()
    assert not world.stats()["witmotion"]["connected"]


async def test_the_wrong_profile_is_said(bluetooth: StartWorld) -> None:
    world = bluetooth("witmotion")
    found = await near(world, "witmotion", "mujo")
    with pytest.raises(DeviceError, match=r"it has no characteristic .*--profile right"):
        await BleSource(found).__aenter__()
    assert not world.stats()["witmotion"]["connected"]
    with pytest.raises(UsageError, match="does not say what it speaks"):
        BleSource(Found(found.advert, None, found.device))


async def test_bursts_and_a_slow_listener_lose_nothing(bluetooth: StartWorld) -> None:
    world = bluetooth("mujo", options=("--fault", "0 interval 0.25"))
    async with Stream(await near(world, "mujo"), slow_s=0.1) as stream:
        await stream.until(lambda: len(stream.data) > 50)
        time.sleep(1.0)  # the whole event loop, so that a second's notifications come in one turn of it
        sent = world.stats()["mujo"]["sent"]
        await stream.until(lambda: len(stream.data) >= sent)
    numbers = sequence(stream)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert sum(chunk.lost for chunk in stream.chunks) == 0
    assert stream.source.notes == []


async def test_lost_and_damaged_packets_are_counted_exactly(bluetooth: StartWorld) -> None:
    world = bluetooth("mujo", options=("--fault", "0 loss 0.2", "--fault", "0 corrupt 0.1"))
    async with Stream(await near(world, "mujo")) as stream:
        await stream.until(lambda: len(stream.x) > 200)
    counts = world.stats()["mujo"]
    corrupt = sum(chunk.corrupt for chunk in stream.chunks)
    assert 0 < corrupt <= counts["corrupted"]
    assert counts["lost"] > 0
    good = [packet for data in stream.data for packet in decodable(data)]
    numbers = [number for packet in good for number in range_of(packet)]
    assert len(stream.x) == len(numbers)
    assert len(stream.x) + sum(chunk.lost for chunk in stream.chunks) == numbers[-1] - numbers[0] + 1


def decodable(data: bytes) -> Sequence[Any]:
    with suppress(Exception):
        return decode_packet(data)
    return ()


async def test_two_that_went_away_are_fetched_back_by_one_scan(bluetooth: StartWorld) -> None:
    world = bluetooth("mujo", "witmotion")
    async with Stream(await near(world, "mujo")) as one, Stream(await near(world, "witmotion")) as other:
        await other.until(lambda: len(other.data) > 20)
        world.fault("0 disconnect 0.5 mujo", "0 disconnect 1.5 witmotion")
        await asyncio.gather(one.comes_back(), other.comes_back())
        sent = {name: counts["sent"] for name, counts in world.stats().items()}
        await asyncio.sleep(0.2)
    for stream, name in ((one, "mujo"), (other, "witmotion")):
        assert stream.source.notes == ["reconnected once"]
        assert abs(sent[name] - len(stream.data)) < 30  # not doubled


@pytest.mark.parametrize("fault", [None, "0 disconnect 60", "0 adapter-off 60", "0 bus-death 60"])
async def test_leaving_never_takes_long(fault: str | None, bluetooth: StartWorld) -> None:
    world = bluetooth("witmotion")
    async with Stream(await near(world, "witmotion")) as stream:
        if fault:
            world.fault(fault)
            await stream.until(lambda: stream.source.status)
            await asyncio.sleep(0.3)
        leaving = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - leaving < 10
    assert not world.stats()["witmotion"]["connected"]


async def test_without_bluetooth_the_next_step_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere/bus")
    with pytest.raises(DeviceError, match="bluetoothd does not run"):
        await find(None, None, PATIENCE_S)
    with pytest.raises(DeviceError, match="bluetoothd does not run"):
        await scan.scan(PATIENCE_S)
