"""A headless Chromium, driven over the DevTools protocol (chromedevtools.github.io/devtools-protocol)."""

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


FEED = """(rows, sign) => {
  for (const [t, ax, ay, az, ...turns] of rows) {
    const [alpha, beta, gamma] = turns.map((value) => value * 180 / Math.PI);
    const event = new DeviceMotionEvent("devicemotion", {
      accelerationIncludingGravity: { x: sign * ax, y: sign * ay, z: sign * az },
      rotationRate: turns.length ? { alpha, beta, gamma } : null,
      interval: 20,
    });
    Object.defineProperty(event, "timeStamp", { value: 5000 + 1000 * t });
    dispatchEvent(event);
  }
}"""
"""A function of rows [t_s, ax, ay, az, gx, gy, gz] and a sign that dispatches them as motion events. The browser's own
timeStamp cannot be set, so it is replaced."""


class Tab:
    """One page. `call` sends a DevTools command, `run` executes JavaScript.

    `errors` are the errors of its console and scripts, `urls` the requests of the page and its workers so far.
    """

    def __init__(self, socket: ClientWebSocketResponse, process_group: int) -> None:
        self._process_group = process_group
        self.errors: list[str] = []
        self.urls: list[str] = []
        self._socket = socket
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._workers: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._offline = False

    async def listen(self) -> None:
        """Receive messages until Chromium ends: responses go to their commands, events to the lists."""
        async for message in self._socket:
            answer = message.json()
            if "id" in answer:
                waiting = self._answers.pop(answer["id"], None)
                if waiting and not waiting.done():
                    waiting.set_result(answer)
            else:
                self._event(answer["method"], answer["params"])
        for waiting in self._answers.values():
            waiting.cancel()

    def _event(self, method: str, params: dict[str, Any]) -> None:
        if method in ("Runtime.exceptionThrown", "Log.entryAdded") or (
            method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert")
        ):
            self.errors.append(str(params)[:300])
        elif method == "Network.requestWillBeSent":
            self.urls.append(params["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.urls.append(params["url"])
        elif method == "Target.attachedToTarget":
            self._workers.add(params["sessionId"])
            task = asyncio.create_task(self._watch(params["sessionId"]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif method == "Target.detachedFromTarget":
            self._workers.discard(params["sessionId"])

    async def _watch(self, session: str | None) -> None:
        """Monitor the requests of the page or of a worker, offline if set. A new worker is paused and does not respond
        before it is released, so all commands are sent at once; it may have ended already."""
        speed = {"offline": self._offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        await asyncio.gather(
            self._send("Network.enable", {}, session),
            self._send("Network.emulateNetworkConditions", speed, session),
            self._send("Runtime.runIfWaitingForDebugger", {}, session),
            return_exceptions=session is not None,
        )

    async def _send(self, method: str, params: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        self._number += 1
        waiting = self._answers[self._number] = asyncio.get_running_loop().create_future()
        message = {"id": self._number, "method": method, "params": params}
        await self._socket.send_json(message | ({"sessionId": session} if session else {}))
        answer = await waiting
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return dict(answer["result"])

    async def start(self) -> None:
        """Enable the events of the page, its workers and its service workers."""
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.call("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=True, flatten=True)
        await self._watch(None)

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a DevTools command -> its result. Raises `RuntimeError` if Chromium rejects it."""
        async with asyncio.timeout(120):
            return await self._send(method, params)

    async def run(self, script: str) -> Any:
        """Run JavaScript -> its value, awaited if it is a promise. Raises `RuntimeError` if it throws."""
        answer = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", "a script failed"))
        return answer["result"].get("value")

    async def until(self, script: str, timeout_s: float = 20.0) -> Any:
        """Wait until JavaScript evaluates to a true value -> that value."""
        async with asyncio.timeout(timeout_s):
            while not (value := await self.run(script)):
                await asyncio.sleep(0.05)
        return value

    async def open(self, url: str) -> None:
        """Go to `url` and wait until it is loaded."""
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def reload(self) -> None:
        """Load the page again and wait for it."""
        await self.run("window.before = true")
        await self.call("Page.reload")
        await self.until("document.readyState === 'complete' && !window.before")

    async def offline(self, offline: bool) -> None:
        """Disable or enable the network of the page and its workers."""
        self._offline = offline
        for session in (None, *self._workers):
            await self._watch(session)

    async def downloads(self, folder: Path) -> None:
        """Save further downloads of the page in `folder` under their own names."""
        await self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder.resolve()))

    async def accessible(self) -> list[tuple[str, str]]:
        """(role, name) of every node that assistive technology sees."""
        nodes = (await self.call("Accessibility.getFullAXTree"))["nodes"]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]

    def memory_mb(self) -> float:
        """Memory of all Chromium processes, with shared pages counted once (Linux: Pss of proc_pid_smaps(5))."""
        total_kb = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # another process, which may end meanwhile
                if int(stat.read_text().rpartition(")")[2].split()[2]) == self._process_group:
                    total_kb += int(stat.with_name("smaps_rollup").read_text().split("\nPss:")[1].split()[0])
        return total_kb / 1024

    async def picture(self, path: Path) -> None:
        """Save a screenshot as PNG."""
        path.write_bytes(base64.b64decode((await self.call("Page.captureScreenshot"))["data"]))


@asynccontextmanager
async def browser(folder: Path, *flags: str) -> AsyncIterator[Tab]:
    """Context with a running Chromium that has its profile in `folder` and further `flags`."""
    assert PATH is not None
    process = await asyncio.create_subprocess_exec(
        PATH, *FLAGS, *flags, f"--user-data-dir={folder}", "about:blank",
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
                tab = Tab(socket, process.pid)
                listening = asyncio.create_task(tab.listen())
                try:
                    await tab.start()
                    yield tab
                finally:
                    listening.cancel()
                    await asyncio.gather(listening, return_exceptions=True)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        await process.wait()
