"""Every simulated app through its source and the engine: rate, units, label."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientConnectorError
from fakes import ListSink, bundle

from firmware_bridge.phone import decoder
from firmware_bridge.simulator.motion import rest, sine
from firmware_bridge.simulator.phone import BrowserPhone, PhyphoxPhone, SensorLoggerPhone, SensorServerPhone
from firmware_bridge.simulator.wearable import Motion
from firmware_bridge.stream import G
from mujo_edge.core import Chunk, DataError, DeviceError, StreamInfo
from mujo_edge.engine import Engine
from mujo_edge.recognizer import Recognizer
from mujo_edge.sources.phone.base import PhoneSource
from mujo_edge.sources.phone.browser import BrowserSource
from mujo_edge.sources.phone.client import PhyphoxSource, SensorServerSource
from mujo_edge.sources.phone.push import SensorLoggerSource

APPS = ("sensor-logger", "sensorserver", "phyphox", "browser")
RATES = {"sensor-logger": 100.0, "sensorserver": 50.0, "phyphox": 100.0, "browser": 60.0}


def quiet(text: str) -> None:
    assert "http" in text


async def until(true: Callable[[], object], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not true():
            await asyncio.sleep(0.02)


async def again(run: Callable[[], Awaitable[None]]) -> None:
    """Wait until the server of the source listens."""
    while True:
        try:
            return await run()
        except ClientConnectorError:
            await asyncio.sleep(0.05)


@asynccontextmanager
async def phone(app: str, motion: Motion, **options: Any) -> AsyncIterator[tuple[PhoneSource, Any]]:
    """The source of an app, and a simulated app that streams to it."""
    stand_in: Any
    if app == "sensorserver":
        stand_in = SensorServerPhone(motion, **options)
        async with stand_in.open() as url:
            yield SensorServerSource(url), stand_in
        return
    if app == "phyphox":
        stand_in = PhyphoxPhone(motion, **options)
        async with stand_in.open() as url:
            yield PhyphoxSource(url), stand_in
        return
    source = (
        SensorLoggerSource(port=0, announce=quiet) if app == "sensor-logger" else BrowserSource(port=0, announce=quiet)
    )
    stand_in = (SensorLoggerPhone if app == "sensor-logger" else BrowserPhone)(motion, **options)

    async def stream() -> None:
        await until(lambda: not source.url.split("/")[2].endswith(":0"))
        await again(lambda: stand_in.run(source.url))

    running = asyncio.create_task(stream())
    try:
        yield source, stand_in
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def collect(source: PhoneSource, seconds: float) -> tuple[StreamInfo, list[Chunk]]:
    chunks = []
    async with asyncio.timeout(30), source:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for chunk in source.chunks():
                    chunks.append(chunk)
        return source.info, chunks


def joined(chunks: list[Chunk]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([chunk.t_s for chunk in chunks]), np.concatenate([chunk.x for chunk in chunks])


@pytest.mark.parametrize("app", APPS)
async def test_phone_reads_one_g_at_rest_at_its_rate(app: str) -> None:
    async with phone(app, rest) as (source, _):
        info, chunks = await collect(source, 1.5)
    t_s, x = joined(chunks)
    assert info.channels == ("ax", "ay", "az", "gx", "gy", "gz")
    assert (info.gravity, sum(chunk.lost for chunk in chunks), sum(chunk.corrupt for chunk in chunks)) == (
        "included",
        0,
        0,
    )
    assert len(x) > 0.5 * RATES[app]
    np.testing.assert_allclose(x, np.tile([0, 0, G, 0, 0, 0], (len(x), 1)), atol=1e-5)
    assert 1 / np.median(np.diff(t_s)) == pytest.approx(RATES[app], rel=0.02)


@pytest.mark.parametrize("app", APPS)
async def test_sine_is_recognized_and_its_raw_log_decodes_to_the_same(app: str) -> None:
    sink = ListSink()
    async with phone(app, sine) as (source, stand_in):
        sinks = [sink, source] if isinstance(source, BrowserSource) else [sink]
        engine = Engine(source, sinks, lambda info: Recognizer(bundle(), info, None), duration_s=4.5)
        async with asyncio.timeout(60):
            summary = await engine.run()
        if app == "browser":
            await until(lambda: any("ended" in label for label in stand_in.labels))
            labels = [label["label"] for label in stand_in.labels if "label" in label]
            assert set(labels) == {"z up"}
            assert any(label.get("title") == "axes, wrist" for label in stand_in.labels)
    assert summary.error is None
    assert {prediction.label for prediction in sink.predictions} == {"z up"}
    chunks = [chunk for update in sink.updates for chunk in update.chunks]
    t_s, x = joined(chunks)
    phase = 2 * np.pi * (t_s - t_s[0])
    # Whatever the phase at the start: amplitude of x and of rotation about z, and their quarter of a turn.
    fit = np.linalg.lstsq(np.stack([np.sin(phase), np.cos(phase), np.ones_like(phase)], 1), x, rcond=None)[0]
    assert np.hypot(*fit[:2, 0]) == pytest.approx(0.5 * G, rel=0.02)
    assert np.hypot(*fit[:2, 5]) == pytest.approx(1.0, rel=0.02)
    assert fit[2] == pytest.approx([0, 0, G, 0, 0, 0], abs=0.1)
    assert fit[0, 0] * fit[0, 5] + fit[1, 0] * fit[1, 5] == pytest.approx(0, abs=0.2)
    raws = [raw for chunk in chunks for raw in chunk.raw]
    assert [raw.kind for raw in raws].count("open") == 1
    assert raws[0].kind == "open"
    made = decoder(json.loads(raws[0].data))
    again_x = [packet.x for raw in raws if raw.kind == "data" for packet in made.feed(raw.data, raw.origin)]
    np.testing.assert_array_equal(np.concatenate(again_x)[: len(x)], x)


@pytest.mark.parametrize(
    ("app", "options"),
    [
        ("sensor-logger", {"ios": True}),
        ("sensor-logger", {"ios": True, "sensors": ("accelerometeruncalibrated", "gyroscope")}),
        ("sensor-logger", {"sensors": ("totalacceleration", "gyroscope", "gravity", "accelerometer")}),
        ("sensor-logger", {"sensors": ("wrist motion", "accelerometer")}),
        ("phyphox", {"sensors": ("gyroscope", "linear_acceleration", "gravity")}),
        ("browser", {"ios": True}),
    ],
)
async def test_all_sample_counts_agree(app: str, options: dict[str, Any]) -> None:
    async with phone(app, rest, **options) as (source, _):
        _, chunks = await collect(source, 0.5)
    np.testing.assert_allclose(np.median(joined(chunks)[1], 0), [0, 0, G, 0, 0, 0], atol=1e-5)


async def test_phone_without_gyroscope_has_three_channels() -> None:
    async with phone("sensorserver", rest, gyroscope=False) as (source, _):
        info, chunks = await collect(source, 0.5)
        assert source.notes == ["the phone has no gyroscope"]
    assert info.channels == ("ax", "ay", "az")
    np.testing.assert_allclose(joined(chunks)[1][-1], [0, 0, G])


async def test_low_rate_is_noted() -> None:
    # SensorServer's default is the "normal" 200 ms of Android.
    async with phone("sensorserver", rest, rate_hz=5.0) as (source, _):
        await collect(source, 3.6)
        assert source.notes == [
            "the phone gives 5 Hz; models are made for 50 Hz and may be wrong. In SensorServer's settings set the "
            "sampling rate to 20000 microseconds or less"
        ]


@pytest.mark.parametrize(
    ("app", "options", "reason"),
    [
        ("sensor-logger", {"sensors": ("accelerometer", "gyroscope")}, "without gravity.*\n?.*turn on"),
        ("sensor-logger", {"sensors": ("gyroscope",)}, "no acceleration"),
        ("phyphox", {"sensors": ("linear_acceleration",)}, "without gravity.*Acceleration \\(with g\\)"),
    ],
)
async def test_phone_without_gravity_is_rejected_with_the_reason(
    app: str, options: dict[str, Any], reason: str
) -> None:
    async with phone(app, rest, **options) as (source, stand_in):
        with pytest.raises(DataError, match=reason):
            await collect(source, 1)
    if app == "sensor-logger":
        await until(lambda: stand_in.answers[-1][0] == 499)
        assert "turn on" in stand_in.answers[-1][1]


async def test_messages_out_of_order_are_sorted_and_lost_ones_counted() -> None:
    def order(number: int) -> list[int]:
        """8 before 7, 12 never."""
        return {7: [], 8: [8, 7], 12: []}.get(number, [number])

    chunks: list[Chunk] = []
    made = phone("sensor-logger", rest, order=order, batch_s=0.1)
    async with made as (source, stand_in), asyncio.timeout(30), source:
        async for chunk in source.chunks():
            chunks.append(chunk)
            if len(stand_in.answers) > 22:
                break
        assert source.notes == ["messages of Sensor Logger that are missing: 1"]
    t_s, _ = joined(chunks)
    assert (np.diff(t_s) > 0).all()
    assert sum(chunk.lost for chunk in chunks) > 0
    assert accounted(chunks, 100.0)


async def test_phones_reconnect() -> None:
    chunks: list[Chunk] = []
    async with phone("sensorserver", rest) as (source, stand_in), asyncio.timeout(30), source:
        async for chunk in source.chunks():
            chunks.append(chunk)
            if len(chunks) == 20:
                await stand_in.drop()
                await until(lambda: not stand_in.sockets)
                stand_in.due()  # samples taken meanwhile are lost
            if source.notes and len(chunk.t_s):
                break
        assert source.notes == ["the phone reconnected once"]
        assert source.status == ""
    assert accounted(chunks, 50.0)


async def test_browser_reconnects() -> None:
    source, stand_in, chunks = BrowserSource(port=0, announce=quiet), BrowserPhone(rest), list[Chunk]()

    async def stream() -> None:
        for seconds in (1.0, 20.0):
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await again(lambda: stand_in.run(source.url))
            await asyncio.sleep(0.3)
            stand_in.due()

    async def start() -> None:
        await until(lambda: not source.url.split("/")[2].endswith(":0"))
        await stream()

    running = asyncio.create_task(start())
    async with asyncio.timeout(30), source:
        async for chunk in source.chunks():
            chunks.append(chunk)
            if source.notes and sum(len(chunk.t_s) for chunk in chunks) > 100:
                break
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    last = [raw.data for chunk in chunks for raw in chunk.raw if raw.kind == "data"][-1]
    sent = int.from_bytes(last[4:8], "little") + last[1]
    lost = sum(chunk.lost for chunk in chunks)
    assert lost > 10
    assert sum(len(chunk.t_s) for chunk in chunks) + lost == sent
    assert [raw.kind for chunk in chunks for raw in chunk.raw if raw.kind != "data"] == ["open", "close", "open"]


def accounted(chunks: list[Chunk], rate_hz: float) -> bool:
    """Whether samples delivered and samples reported lost are those of the time between the first and the last."""
    t_s, _ = joined(chunks)
    taken = round((t_s[-1] - t_s[0]) * rate_hz) + 1
    return len(t_s) + sum(chunk.lost for chunk in chunks) == taken


async def test_phyphox_may_be_paused_cleared_and_reopened() -> None:
    async with phone("phyphox", rest) as (source, stand_in), asyncio.timeout(30), source:
        stream = source.chunks()
        stand_in.measuring = False
        await until(lambda: "paused" in source.status)
        stand_in.measuring = True
        await until(lambda: source.status == "")
        stand_in.clear()
        await anext(stream)
        taken = stand_in.taken
        while stand_in.taken < taken + 300 or not len((await anext(stream)).t_s):
            await anext(stream)
        stand_in.session = "another"
        while not source.notes:
            await anext(stream)
        assert source.notes == ["the phone reconnected once"]


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        (
            SensorServerSource("ws://127.0.0.1:9"),
            "cannot connect to ws://127.0.0.1:9: Connection refused. Start the server",
        ),
        (PhyphoxSource("127.0.0.1:9"), "cannot connect to http://127.0.0.1:9: Connection refused. In phyphox open"),
    ],
)
async def test_unreachable_phone_is_a_device_error(source: PhoneSource, advice: str) -> None:
    with pytest.raises(DeviceError, match=advice):
        await collect(source, 1)


async def test_another_server_at_the_address_is_an_error() -> None:
    async with PhyphoxPhone(rest).open() as url:
        with pytest.raises(DeviceError, match="Invalid response status"):
            await collect(SensorServerSource(url.replace("http", "ws")), 1)
    async with SensorServerPhone(rest).open() as url:
        with pytest.raises(DeviceError, match="responds with status 404"):
            await collect(PhyphoxSource(url.replace("ws", "http")), 1)
