"""Driver of the exported page in a real browser, with simulated motion."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import chromium
from benchmarks.chromium import FEED, Tab
from mujo_edge.core import F32, F64
from mujo_edge.export.web.server import WebServer
from mujo_edge.recordings.reader import open_recording
from mujo_edge.sources.replay import shipped_recording

LISTEN = """
if (!window.heard) document.addEventListener("mujo", ({ detail }) => heard.push({
  ...detail, scores: [...detail.scores ?? []], embedding: [...detail.embedding ?? []] }));
window.heard = [];
"""

PRESS = """(text) => {
  const root = document.querySelector("dialog[open]") ?? document;
  const found = [...root.querySelectorAll("button")].find((one) => one.checkVisibility() && one.textContent === text);
  found?.click();
  return found !== undefined;
}"""


def recorded(start_s: float, length_s: float) -> tuple[F64, F32]:
    """A piece of the shipped recording, from time 0."""
    chunks = list(open_recording(shipped_recording(), None).chunks(1 << 18))
    t_s, x = np.concatenate([chunk.t_s for chunk in chunks]), np.concatenate([chunk.x for chunk in chunks])
    piece = (t_s >= start_s) & (t_s < start_s + length_s)
    return t_s[piece] - start_s, x[piece]


@dataclass
class Page:
    """The page in a tab."""

    tab: Tab
    server: WebServer

    async def open(self, before: str = "") -> None:
        """Reload the page after the script `before`, and wait until it is ready or shows an error."""
        script = await self.tab.call("Page.addScriptToEvaluateOnNewDocument", source=before) if before else None
        await self.tab.open(self.server.url)
        await self.ready()
        if script:
            await self.tab.call("Page.removeScriptToEvaluateOnNewDocument", **script)

    async def ready(self) -> None:
        await self.tab.until("['Ready', 'Not working'].includes(document.getElementById('label').textContent)")

    async def start(self) -> None:
        """Tap Start, and listen to the page's events."""
        await self.tab.run(LISTEN)
        await self.click("start")
        await self.tab.until("document.getElementById('phase').textContent === 'running'")

    async def feed(self, t_s: F64, x: F32, sign: int = 1, pieces: int = 1) -> None:
        """Send samples (n,), (n, 3 or 6) as motion events, in `pieces` batches."""
        rows = np.column_stack([t_s, x.astype(np.float64)])
        for piece in np.array_split(rows, pieces):
            await self.tab.run(f"({FEED})({json.dumps(piece.tolist())}, {sign})")

    async def wait_for_events(self, predictions: int) -> list[dict[str, Any]]:
        """The page's events, once there are this many predictions."""
        await self.tab.until(f"heard.filter((event) => event.kind === 'prediction').length >= {predictions}")
        return list(await self.tab.run("heard"))

    async def click(self, name: str) -> None:
        await self.tab.run(f"document.getElementById({name!r}).click()")

    async def press(self, text: str) -> None:
        """Press the first reachable button with this text: in a dialog if one is open."""
        await self.tab.until(f"({PRESS})({text!r})")

    async def key(self, name: str, number: int, text: str = "") -> None:
        """Press a key, given by name and Windows virtual-key code."""
        key = {"key": name, "code": name, "windowsVirtualKeyCode": number}
        await self.tab.call("Input.dispatchKeyEvent", type="keyDown", text=text, **key)
        await self.tab.call("Input.dispatchKeyEvent", type="keyUp", **key)

    async def text(self, name: str) -> str:
        return str(await self.tab.run(f"document.getElementById({name!r}).textContent"))

    async def says(self, name: str, text: str) -> None:
        """Wait until the text of an element contains `text`."""
        await self.tab.until(f"document.getElementById({name!r}).textContent.includes({text!r})")

    async def sessions(self, wanted: int) -> list[str]:
        """Texts of the session list, once it has `wanted` entries."""
        await self.tab.until(f"document.getElementById('sessions').children.length === {wanted}")
        return list(await self.tab.run("[...document.getElementById('sessions').children].map((one) => one.innerText)"))

    async def saved(self, folder: Path) -> Path:
        """Export the newest session and return the file."""
        folder.mkdir()
        await self.tab.downloads(folder)
        await self.press("Export")
        while not (files := list(folder.glob("*.csv"))):
            await self.tab.run("new Promise((done) => setTimeout(done, 50))")
        return files[0]

    async def size(self, width: int, height: int, scheme: str = "light") -> None:
        await self.tab.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2, mobile=True
        )
        await self.tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def complaints(self, *expected: str) -> list[str]:
        """Console errors, except LiteRT.js's warning about a missing GPU and the `expected` ones."""
        quiet = ("No available adapters", *expected)
        return [error for error in self.tab.errors if not any(text in error for text in quiet)]

    def foreign_requests(self) -> Iterable[str]:
        """URLs of requests to other hosts than the server."""
        own = (self.server.url, "data:", "blob:" + self.server.url.partition("/")[0])
        return [url for url in self.tab.urls if not url.startswith(own)]


@asynccontextmanager
async def opened(folder: Path, profile: Path, before: str = "") -> AsyncIterator[Page]:
    """A web folder served on loopback, and the page open in a browser of a phone's size."""
    server = WebServer(folder, None, 0)
    async with server.open(), chromium.browser(profile) as tab:
        page = Page(tab, server)
        await page.size(390, 844)
        await page.open(before)
        yield page
