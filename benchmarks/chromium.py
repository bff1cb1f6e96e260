"""A headless Chromium, driven over the DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse

PATH = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--ignore-certificate-errors",
    "--remote-debugging-port=0",
)


class Tab:
    """One page. `call` is a DevTools command, `run` JavaScript.

    `errors` is what its console and scripts complained, `urls` what it asked for.
    """

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.errors: list[str] = []
        self.urls: list[str] = []
        self._socket = socket
        self._number = 0

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A DevTools command -> its result. Raises `RuntimeError` where Chromium refuses it."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        while True:
            answer = await self._socket.receive_json(timeout=30)
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.errors.append(str(answer["params"])[:300])
            if answer.get("method") == "Network.requestWillBeSent":
                self.urls.append(answer["params"]["request"]["url"])
            if answer.get("method") == "Network.webSocketCreated":
                self.urls.append(answer["params"]["url"])
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])

    async def run(self, script: str) -> Any:
        """JavaScript -> its value, awaited if it is a promise. Raises `RuntimeError` where it throws."""
        answer = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", "a script failed"))
        return answer["result"].get("value")

    async def until(self, script: str, timeout_s: float = 20.0) -> Any:
        """Wait until JavaScript gives something true -> it."""
        async with asyncio.timeout(timeout_s):
            while not (value := await self.run(script)):
                await asyncio.sleep(0.05)
        return value

    async def open(self, url: str) -> None:
        """Go to `url` and wait until it is loaded."""
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def picture(self, path: Path) -> None:
        """What one sees, as PNG."""
        path.write_bytes(base64.b64decode((await self.call("Page.captureScreenshot"))["data"]))


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Tab]:
    """Start Chromium with a profile in `folder`, and end it."""
    assert PATH is not None
    process = await asyncio.create_subprocess_exec(
        PATH, *FLAGS, f"--user-data-dir={folder}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            while (
                not (folder / "DevToolsActivePort").exists()
                or len((folder / "DevToolsActivePort").read_text().split()) < 2
            ):
                await asyncio.sleep(0.05)
        port = (folder / "DevToolsActivePort").read_text().split()[0]
        async with ClientSession() as http:
            async with http.get(f"http://127.0.0.1:{port}/json/list") as answer:
                address = next(one["webSocketDebuggerUrl"] for one in await answer.json() if one["type"] == "page")
            async with http.ws_connect(address, max_msg_size=0) as socket:
                tab = Tab(socket)
                for domain in ("Page", "Runtime", "Log", "Network"):
                    await tab.call(f"{domain}.enable")
                yield tab
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        await process.wait()
