"""Real bleak against virtual wearables: every profile from the scan to samples and labels."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from bluetooth import StartWorld, bluetooth
from fakes import ListSink, bundle
from listening import PATIENCE_S, Stream, near, stall_s

from firmware_bridge.profiles import PROFILES
from firmware_bridge.profiles.base import Advert, Request, rehearse
from firmware_bridge.simulator.remote import RemoteWorld
from firmware_bridge.simulator.wearables import WEARABLES
from firmware_bridge.stream import F32, IMU, Format, G
from mujo_edge.core import StreamInfo
from mujo_edge.engine import Engine, run_together
from mujo_edge.recognizer import Recognizer
from mujo_edge.sources.ble import BleSource, scan
from mujo_edge.sources.ble.scan import DiscoveredDevice

__all__ = ["bluetooth"]

LISTEN_S = {"rest": 1.5, "sine": 3.0}

BUSY_S = 0.05
"""Lateness at which times of arrival no longer show a sine of 1 Hz."""


@dataclass
class Run:
    """The stream of one wearable. `early` samples arrived before all were connected, at `since_s`, while the radio was
    busy."""

    discovered: DiscoveredDevice
    stream: Stream
    info: StreamInfo
    format: Format
    counts: dict[str, Any]
    early: int
    since_s: float


def listen(motion: str) -> Iterator[dict[str, Run]]:
    """All wearables at once, from a scan on."""
    with RemoteWorld(*WEARABLES, options=("--motion", motion)) as world, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBUS_SYSTEM_BUS_ADDRESS", world.address)
        names = dict(zip((one["address"] for one in world.stats().values()), WEARABLES, strict=True))

        async def run() -> dict[str, Run]:
            discovered = {names[one.advert.address]: one for one in await scan.scan(2.0)}
            assert sorted(discovered) == sorted(WEARABLES)
            streams = {name: Stream(one) for name, one in discovered.items()}
            async with AsyncExitStack() as stack:
                for stream in streams.values():
                    await stack.enter_async_context(stream)
                early, since_s = {name: len(stream.x) for name, stream in streams.items()}, time.monotonic()
                await asyncio.sleep(LISTEN_S[motion])
                counts = {names[one["address"]]: one for one in world.stats().values()}
                await asyncio.sleep(0.2)
            return {
                name: Run(
                    discovered[name],
                    stream,
                    stream.source.info,
                    format_of(stream),
                    counts[name],
                    early[name],
                    since_s,
                )
                for name, stream in streams.items()
            }

        yield asyncio.run(run())


def format_of(stream: Stream) -> Format:
    assert stream.source._link is not None
    return stream.source._link.decoder.format


@pytest.fixture(scope="module")
def still() -> Iterator[dict[str, Run]]:
    yield from listen("rest")


@pytest.fixture(scope="module")
def swinging() -> Iterator[dict[str, Run]]:
    yield from listen("sine")


@pytest.mark.parametrize("name", WEARABLES)
def test_every_wearable_reads_one_g_at_rest(name: str, still: dict[str, Run]) -> None:
    run = still[name]
    x = run.stream.x[settled(run.stream.x)]
    assert run.discovered.profile is PROFILES[WEARABLES[name].profile]
    assert run.info.channels == run.format.channels
    if run.format.even:
        assert len(x) >= 0.5 * LISTEN_S["rest"] * (run.format.rate_hz or 8)
    np.testing.assert_allclose(np.linalg.norm(x[:, :3], axis=1), G, rtol=0.01)
    np.testing.assert_allclose(x[:, 3:], 0, atol=0.02)


@pytest.mark.parametrize("name", WEARABLES)
def test_every_wearable_reproduces_a_sine(name: str, swinging: dict[str, Run]) -> None:
    run = swinging[name]
    rows = settled(run.stream.x)
    t_s, x = run.stream.t_s[rows][run.early :], run.stream.x[rows][run.early :]
    rate_hz = run.format.rate_hz
    assert np.all(np.diff(t_s) > 0)
    assert len(t_s) >= 0.6 * LISTEN_S["sine"] * (rate_hz or 8)
    np.testing.assert_allclose(x[:, 1:3], [[0, G]] * len(x), atol=0.1)
    assert np.all(np.abs(x[:, 0]) < 0.52 * G)
    if rate_hz is not None and rate_hz < 3:
        return  # too slow to show a sine of 1 Hz
    if rate_hz is not None and run.format.even:
        tolerance = 0.02 if run.format.tick_hz else 0.1
        assert (len(t_s) - 1) / (t_s[-1] - t_s[0]) == pytest.approx(rate_hz, rel=tolerance)
    late_s = stall_s(raw for raw in run.stream.raws if raw.received_s > run.since_s)
    by_arrival = run.format.tick_hz is None
    if late_s > BUSY_S and by_arrival:
        pytest.skip(f"this machine is busy, and samples that are timed by their arrival were {late_s:.2f} s late")
    frequency_hz, size = sine_of(t_s, x[:, 0])
    assert frequency_hz == pytest.approx(1.0, abs=0.05)
    # A sine at times that are wrong by s seconds seems smaller, by about the factor 1 - (2 pi s)^2 / 2.
    rel = 0.04 + (2 * np.pi * late_s) ** 2 / 2 * by_arrival
    assert size == pytest.approx(0.5 * G, rel=rel)
    if run.info.channels == IMU:
        frequency_hz, size = sine_of(t_s, x[:, 5])
        assert frequency_hz == pytest.approx(1.0, abs=0.05)
        assert size == pytest.approx(1.0, rel=0.04)


def settled(x: F32) -> np.ndarray:
    """Rows without NaN. A gyroscope sent separately begins later: only the first rows lack it."""
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
def test_nothing_is_lost_and_recorded_bytes_decode_to_the_same(name: str, swinging: dict[str, Run]) -> None:
    stream = swinging[name].stream
    assert sum(chunk.lost + chunk.corrupt for chunk in stream.chunks) == 0
    assert len(stream.data) >= swinging[name].counts["sent"]
    opening, *raws = stream.raws
    record = json.loads(opening.data)
    assert (opening.kind, record["kind"], record["profile"]) == ("open", "ble", WEARABLES[name].profile)
    request = Request(Advert(record["address"], record["name"]), record["rate_hz"], frozenset(record["services"]))
    replies = [raw.data for raw in raws if raw.kind == "reply"]
    decoder = rehearse(PROFILES[record["profile"]].start(request), replies)
    packets = [packet for raw in raws if raw.kind == "data" for packet in decoder.feed(raw.data, raw.origin)]
    np.testing.assert_array_equal(np.concatenate([packet.x for packet in packets]), stream.x)
    assert swinging[name].stream.source.notes == stream.source.notes


def test_peculiarities_of_a_device_are_noted(swinging: dict[str, Run]) -> None:
    for run in swinging.values():
        notes = " ".join(run.stream.source.notes)
        slow = run.format.rate_hz is not None and run.format.rate_hz < 45
        assert ("models are made for 50 Hz" in notes) == slow
        assert ("sends only what changes" in notes) == (not run.format.even)


async def test_labels_from_scan_to_reconnect(bluetooth: StartWorld) -> None:
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


async def test_requested_rate_is_set(bluetooth: StartWorld) -> None:
    world = bluetooth("witmotion")
    async with Stream(await near(world, "witmotion"), rate_hz=110.0) as stream:
        await stream.until(lambda: len(stream.x) > 150)
        assert stream.source.info.rate_hz == 100.0
        assert stream.source.notes == ["WT901BLE67 was asked for 110 Hz and gives 100 Hz"]
        measured_hz = (len(stream.t_s) - 1) / (stream.t_s[-1] - stream.t_s[0])
        assert measured_hz == pytest.approx(100, rel=0.1)
