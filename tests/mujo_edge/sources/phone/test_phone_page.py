"""The page in a real browser, whose own sensor emulation makes the motion events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
from fakes import ListSink, bundle

from benchmarks import chromium
from benchmarks.chromium import Tab
from firmware_bridge.stream import G
from mujo_edge.engine import Engine
from mujo_edge.recognizer import Recognizer
from mujo_edge.sources.phone.browser import BrowserSource

pytestmark = pytest.mark.skipif(chromium.PATH is None, reason="Chromium is not installed")

NO_WEBSOCKET = """
WebSocket = class extends EventTarget {
  static OPEN = 1;
  readyState = 3;
  constructor() {
    super();
    setTimeout(() => this.dispatchEvent(new CloseEvent("close", { code: 1006 })), 20);
  }
};
"""
"""WebSocket blocked as on iOS, which does not allow one with a self-signed certificate (WebKit bug 145819)."""

TEXT = "document.getElementById('{}').textContent"


async def feel(tab: Tab, kind: str, x: float, y: float, z: float) -> None:
    await tab.call("Emulation.setSensorOverrideReadings", type=kind, reading={"xyz": {"x": x, "y": y, "z": z}})


async def sine(tab: Tab, began_s: float) -> None:
    """The current value of `simulator.motion.sine`."""
    phase = 2 * np.pi * (monotonic() - began_s)
    await feel(tab, "accelerometer", 0.5 * G * float(np.sin(phase)), 0, G)
    await feel(tab, "gyroscope", 0, 0, float(np.cos(phase)))


@asynccontextmanager
async def opened(source: BrowserSource, folder: Path, before: str = "") -> AsyncIterator[Tab]:
    """A browser of a phone's size with virtual sensors, and the source's page open in it."""
    async with asyncio.timeout(60):
        while source.url.split("/")[2].endswith(":0"):
            await asyncio.sleep(0.05)
        async with chromium.browser(folder) as tab:
            for kind in ("accelerometer", "linear-acceleration", "gyroscope"):
                await tab.call("Emulation.setSensorOverrideEnabled", enabled=True, type=kind)
                await feel(tab, kind, 0, 0, 0)
            await tab.call(
                "Emulation.setDeviceMetricsOverride", width=320, height=640, deviceScaleFactor=2, mobile=True
            )
            if before:
                await tab.call("Page.addScriptToEvaluateOnNewDocument", source=before)
            await tab.open(source.url)
            yield tab


async def tap_start(tab: Tab) -> None:
    await tab.run("document.getElementById('start').click()")


def announced(text: str) -> None:
    assert "http" in text
    assert ("█" in text) is ("127.0.0.1" not in text)  # no phone reaches that address


@pytest.mark.parametrize("blocked", [False, True], ids=["websocket", "posts"])
async def test_page_sends_si_units_and_shows_the_label(tmp_path: Path, blocked: bool) -> None:
    source, sink = BrowserSource("0.0.0.0", 0, announced), ListSink()
    engine = Engine(source, [sink, source], lambda info: Recognizer(bundle(), info, None))
    running = asyncio.create_task(engine.run())
    async with opened(source, tmp_path, NO_WEBSOCKET if blocked else "") as tab:
        assert source.url.startswith("https://")
        began_s = monotonic()
        await sine(tab, began_s)
        await tap_start(tab)
        while await tab.run(TEXT.format("label")) != "z up" or monotonic() - began_s < 6:
            await sine(tab, began_s)
            assert not running.done(), running.result()
        assert await tab.run("document.getElementById('score').value") > 0.5
        assert (await tab.run(TEXT.format("percent"))).endswith(" %")
        assert 50 <= float((await tab.run(TEXT.format("rate"))).removesuffix(" Hz")) <= 65
        assert await tab.run(TEXT.format("state")) == ("connected (by posts)" if blocked else "connected")
        assert await tab.run("document.getElementById('problem').hidden")
        await tab.picture(tmp_path / "running.png")
        running.cancel()
        if not blocked:
            await tab.until(
                f"{TEXT.format('state')}.includes('ended') || {TEXT.format('state')}.includes('not connected')"
            )
        assert not tab.errors
        here = source.url.removeprefix("https://")
        assert {url.partition("://")[2].startswith(here) for url in tab.urls if not url.startswith("data:")} == {True}
    await asyncio.gather(running, return_exceptions=True)
    chunks = [chunk for update in sink.updates for chunk in update.chunks]
    t_s, x = np.concatenate([chunk.t_s for chunk in chunks]), np.concatenate([chunk.x for chunk in chunks])
    assert x.shape[1] == 6
    assert sum(chunk.lost for chunk in chunks) == 0
    assert np.median(np.diff(t_s)) == pytest.approx(1 / 60, rel=0.05)
    phase = 2 * np.pi * (t_s - t_s[0])
    fit = np.linalg.lstsq(np.stack([np.sin(phase), np.cos(phase), np.ones_like(phase)], 1), x, rcond=None)[0]
    # The emulation's readings arrive when they can, so the sine is not exact.
    assert np.hypot(*fit[:2, 0]) == pytest.approx(0.5 * G, rel=0.1)
    assert np.hypot(*fit[:2, 5]) == pytest.approx(1.0, rel=0.1)
    assert fit[2] == pytest.approx([0, 0, G, 0, 0, 0], abs=0.3)


async def test_page_fits_a_small_phone_and_is_accessible(tmp_path: Path) -> None:
    source = BrowserSource(port=0, announce=announced)
    entering = asyncio.create_task(source.__aenter__())
    try:
        async with opened(source, tmp_path) as tab:
            for scheme in ("light", "dark"):
                await tab.call(
                    "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
                )
                assert await tab.run("document.documentElement.scrollWidth") <= 320
                await tab.picture(tmp_path / f"{scheme}.png")
            colors = "getComputedStyle(document.body).backgroundColor"
            dark = await tab.run(colors)
            await tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
            assert await tab.run(colors) != dark
            nodes = (await tab.call("Accessibility.getFullAXTree"))["nodes"]
            names = {(node["role"]["value"], node["name"]["value"]) for node in nodes if node.get("name")}
            assert {("button", "Start"), ("meter", "Confidence"), ("heading", "mujo-edge")} <= names
            assert {("region", "Recognized activity"), ("region", "Connection")} <= names
            assert not [role for role, name in names if role in ("button", "meter", "region", "link") and not name]
            long = "carrying something heavy upstairs while talking"
            await tab.run(f"label({{label: '{long}', score: 0.87, unknown: false, lost: 123456}})")
            assert await tab.run("document.documentElement.scrollWidth") <= 320
            assert await tab.run("document.documentElement.lang") == "en"
    finally:
        entering.cancel()
        await asyncio.gather(entering, return_exceptions=True)


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("Object.defineProperty(window, 'isSecureContext', {value: false})", "opened with https"),
        ("delete window.DeviceMotionEvent", "has no motion events"),
        ("DeviceMotionEvent.requestPermission = async () => 'denied'", "was refused"),
        ("addEventListener('devicemotion', (event) => event.stopImmediatePropagation())", "No motion events come"),
    ],
)
async def test_page_shows_what_is_wrong(tmp_path: Path, before: str, message: str) -> None:
    source = BrowserSource(port=0, announce=announced)
    entering = asyncio.create_task(source.__aenter__())
    try:
        async with opened(source, tmp_path, before) as tab:
            await tap_start(tab)
            await tab.until(f"{TEXT.format('problem')}.includes({message!r})")
            assert await tab.run("getComputedStyle(document.getElementById('problem')).display") == "block"
    finally:
        entering.cancel()
        await asyncio.gather(entering, return_exceptions=True)


async def test_page_reconnects_by_itself(tmp_path: Path) -> None:
    source = BrowserSource(port=0, announce=announced)
    entering = asyncio.create_task(source.__aenter__())
    async with opened(source, tmp_path) as tab:
        await tap_start(tab)
        async with asyncio.timeout(30):
            await entering
        try:
            stream = source.chunks()
            assert source._handling
            source._handling.cancel()
            lost: list[Any] = []
            async with asyncio.timeout(30):
                while not source.notes:
                    lost.append(await anext(stream))
            assert source.notes == ["the phone reconnected once"]
            await tab.until(f"{TEXT.format('state')} === 'connected'")
        finally:
            await source.__aexit__()
