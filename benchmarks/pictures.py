"""The pictures in docs/ and the summary in README that show the shipped bundle: `make pictures`, after a new bundle.

`docs/stream.svg` is the last live screen of the bundled recording, `docs/web.png` the exported web app in Chromium.
Each names the bundle and its version: the SVG and the summary in their text, the PNG also as the text chunk `Bundle`.
"""

from __future__ import annotations

import asyncio
import json
import re
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from benchmarks import chromium
from benchmarks.chromium import FEED, Tab
from mujo_edge.api import recognize, replay
from mujo_edge.bundle.manifest import read_manifest
from mujo_edge.cli.arguments import run_alone
from mujo_edge.core import MissingExtraError
from mujo_edge.export import export
from mujo_edge.export.web.server import WebServer
from mujo_edge.recordings.reader import open_recording
from mujo_edge.sinks.screen import describe
from mujo_edge.sinks.terminal import PictureSink
from mujo_edge.sources.replay import shipped_recording

ROOT = Path(__file__).parents[1]
STREAM, WEB, README = ROOT / "docs" / "stream.svg", ROOT / "docs" / "web.png", ROOT / "README.md"

SUMMARY = re.compile(r"(?<=\n\$ make demo DEMO=\"--speed 8\"\n).*?(?=```)", re.DOTALL)
"""The summary of the demo in README."""

SCALE = 2
PHONE, WATCH = (390, 844), (200, 200)
MARGIN, CORNER = 30, 28
PAPER = (205, 209, 214)


def shown_bundle() -> str:
    """Name and version of the shipped bundle, as the pictures show it."""
    manifest = read_manifest()
    return f"{manifest.name} {manifest.version}"


def draw_stream() -> None:
    """Play the bundled recording; write the last screen and, into README, the summary."""
    recognition = recognize(replay(speed=8), sinks=[PictureSink(STREAM)])
    for _ in recognition:
        pass
    assert recognition.summary
    text = README.read_text("utf-8")
    README.write_text(SUMMARY.sub(lambda _: describe(recognition.summary) + "\n", text, count=1), "utf-8")


async def draw_web() -> None:
    """Export the web app, run it in Chromium on the bundled recording, and write the picture of it."""
    with TemporaryDirectory() as temporary:
        server = WebServer(export("web", None, Path(temporary))[0], None, 0)
        async with server.open(), chromium.browser(Path(temporary) / "profile") as tab:
            await size(tab, PHONE, "light")
            await tab.open(server.url)
            await tab.until("document.getElementById('label').textContent === 'Ready'")
            await session(tab, 0.0, 60.0)
            await tab.run("document.getElementById('stop').click()")
            await tab.until("document.getElementById('sessions').children.length === 1")
            await session(tab, 36.0, 150.0)
            top = await picture(tab)
            await size(tab, PHONE, "dark")
            await tab.run("document.getElementById('state-title').scrollIntoView()")
            bottom = await picture(tab)
            await size(tab, WATCH, "dark")
            await tab.run("scrollTo(0, 0)")
            watch = await picture(tab)
    parts = [(rounded(top, CORNER), 0), (rounded(bottom, CORNER), 0), (rounded(watch, WATCH[0] // 2), 1)]
    width = sum(part.width for part, _ in parts) + (len(parts) + 1) * MARGIN * SCALE
    height = PHONE[1] * SCALE + 2 * MARGIN * SCALE
    whole, left = Image.new("RGB", (width, height), PAPER), MARGIN * SCALE
    for part, centered in parts:
        whole.paste(part, (left, (height - part.height) // 2 if centered else MARGIN * SCALE), part)
        left += part.width + MARGIN * SCALE
    about = PngInfo()
    about.add_text("Bundle", shown_bundle())
    small = whole.resize((width * 2 // 3, height * 2 // 3), Image.Resampling.LANCZOS)
    small.quantize(256).save(WEB, pnginfo=about, optimize=True)


async def session(tab: Tab, start_s: float, end_s: float) -> None:
    """Start a session in the page and feed it this piece of the recording."""
    await tab.run("document.getElementById('start').click()")
    await tab.until("document.getElementById('phase').textContent === 'running'")
    chunks = list(open_recording(shipped_recording()).chunks(1 << 18))
    t_s, x = np.concatenate([chunk.t_s for chunk in chunks]), np.concatenate([chunk.x for chunk in chunks])
    piece = (t_s >= start_s) & (t_s < end_s)
    rows = np.column_stack([t_s[piece] - start_s, x[piece].astype(np.float64)])
    for part in np.array_split(rows, 40):
        await tab.run(f"({FEED})({json.dumps(part.tolist())}, 1)")
        await asyncio.sleep(0.3)  # longer than a batch of the page
    await tab.until(f"document.getElementById('samples').textContent === '{piece.sum():,}'")


async def size(tab: Tab, pixels: tuple[int, int], scheme: str) -> None:
    """Make the page as large as a device, light or dark."""
    width, height = pixels
    metrics = {"width": width, "height": height, "deviceScaleFactor": SCALE, "mobile": True}
    await tab.call("Emulation.setDeviceMetricsOverride", **metrics)
    await tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])


async def picture(tab: Tab) -> Image.Image:
    """The page as it is, once its transitions are over."""
    await asyncio.sleep(0.5)
    with TemporaryDirectory() as folder:
        await tab.picture(Path(folder) / "page.png")
        return Image.open(BytesIO((Path(folder) / "page.png").read_bytes())).convert("RGBA")


def rounded(image: Image.Image, radius: int) -> Image.Image:
    """`image` with round corners."""
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, *image.size), radius * SCALE, 255)
    image.putalpha(mask)
    return image


def main() -> None:
    """Write docs/stream.svg, docs/web.png and the demo's summary in README, from the shipped bundle."""
    if chromium.PATH is None:
        raise MissingExtraError("Chromium is not installed. Install it with: apt install chromium")
    draw_stream()
    asyncio.run(draw_web())


if __name__ == "__main__":
    run_alone(main)
