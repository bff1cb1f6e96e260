"""Simulated phones for `python -m firmware_bridge.simulator phone APP`: each app's end of its protocol."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from math import floor, log10
from time import monotonic, time_ns
from typing import Annotated, Any, ClassVar
from urllib.parse import unquote

import numpy as np
import typer
from aiohttp import ClientSession, WSMsgType, web

from firmware_bridge.phone import browser
from firmware_bridge.phone.sensorserver import ACCELEROMETER, GYROSCOPE, NO_SUCH_SENSOR, types_of
from firmware_bridge.simulator.motion import named
from firmware_bridge.simulator.wearable import Motion
from firmware_bridge.stream import DEG, F32, F64, G

UP = np.array([0, 0, G])
"""Gravity as estimated by a phone that lies display up; the rest of the acceleration counts as linear."""


class Phone:
    """A phone whose sensors sample `motion` at `rate_hz` from the first call of `due`. `taken` counts samples."""

    def __init__(self, motion: Motion, rate_hz: float) -> None:
        self.taken = 0
        self.rate_hz = rate_hz
        self._motion, self._began_s = motion, 0.0

    def due(self) -> tuple[F64, F32]:
        """Samples since the last call: times (n,) in seconds since the first sample, and values (n, 6)."""
        if not self.taken:
            self._began_s = monotonic()
        numbers = np.arange(self.taken, floor((monotonic() - self._began_s) * self.rate_hz) + 1)
        self.taken += len(numbers)
        t_s = numbers / self.rate_hz
        return t_s, self._motion(t_s)


class SensorLoggerPhone(Phone):
    """Sensor Logger with HTTP Push: a message of all sensors every `batch_s`.

    Args:
        ios: whether it is an iPhone, with Core Motion's sign. sensors: enabled sensors, `wrist motion` for a watch.
        order: number of the newest message -> numbers of the messages that arrive now; others never arrive.
    """

    def __init__(
        self,
        motion: Motion,
        rate_hz: float = 100.0,
        *,
        ios: bool = False,
        sensors: tuple[str, ...] = ("accelerometer", "gravity", "gyroscope"),
        batch_s: float = 0.2,
        order: Callable[[int], list[int]] = lambda number: [number],
    ) -> None:
        super().__init__(motion, rate_hz)
        self.answers: list[tuple[int, str]] = []
        self._sign = -1 if ios else 1
        self._agent = "SensorLogger/1.46 CFNetwork/1490.0.4 Darwin/23.2.0" if ios else "okhttp/4.9.2"
        self._sensors, self._batch_s, self._order = sensors, batch_s, order
        self._ids = {"sessionId": secrets.token_hex(8), "deviceId": secrets.token_hex(8)}

    def message(self, number: int, began_ns: int) -> dict[str, Any]:
        """A message with the readings since the last one, sensor by sensor."""
        t_s, x = self.due()
        streams: dict[str, dict[str, F64 | F32]] = {
            "accelerometer": {"": (x[:, :3] - UP) * self._sign},
            "gravity": {"": np.tile(UP, (len(x), 1)) * self._sign},
            "gyroscope": {"": x[:, 3:]},
            "totalacceleration": {"": x[:, :3]},
            "accelerometeruncalibrated": {"": x[:, :3] / (-G if self._sign < 0 else 1)},
            "wrist motion": {
                "acceleration": (x[:, :3] - UP) / -G,
                "gravity": np.tile(UP, (len(x), 1)) / -G,
                "rotationRate": x[:, 3:],
            },
        }
        payload = [
            {"name": name, "time": began_ns + round(float(t) * 1e9), "values": _values(streams[name], i)}
            for name in self._sensors
            for i, t in enumerate(t_s)
        ]
        return {"messageId": number, **self._ids, "payload": payload}

    async def run(self, url: str) -> None:
        """Push until the receiver refuses. Raises `PermissionError` with its response, which the app displays."""
        async with ClientSession(headers={"User-Agent": self._agent}) as http:
            began_ns, made = time_ns(), dict[int, dict[str, Any]]()
            for number in range(1 << 32):
                made[number] = self.message(number, began_ns)
                for chosen in self._order(number):
                    async with http.post(url, json=made.pop(chosen)) as answer:
                        self.answers.append((answer.status, await answer.text()))
                    if answer.status >= 400:
                        raise PermissionError(f"{answer.status} {self.answers[-1][1]}")
                await asyncio.sleep(self._batch_s)


class SensorServerPhone(Phone):
    """SensorServer: a WebSocket server with an accelerometer and optionally a gyroscope."""

    def __init__(self, motion: Motion, rate_hz: float = 50.0, *, gyroscope: bool = True) -> None:
        super().__init__(motion, rate_hz)
        self.sockets: list[web.WebSocketResponse] = []
        self._has = {ACCELEROMETER: slice(0, 3), **({GYROSCOPE: slice(3, 6)} if gyroscope else {})}
        self._booted_ns = 3_925_657_519_043_709

    @asynccontextmanager
    async def open(self, port: int = 0) -> AsyncIterator[str]:
        """Serve on loopback -> URL."""
        app = web.Application()
        app.router.add_get("/sensor/connect", self._connected)
        app.router.add_get("/sensors/connect", self._connected)
        async with served(app, port) as port:
            yield f"ws://127.0.0.1:{port}"

    async def drop(self) -> None:
        """Close all sockets, as the app does when its server is stopped."""
        for socket in self.sockets:
            await socket.close(code=4004, message=b"Server stopped")

    async def _connected(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        types = types_of(str(request.url))
        if not set(types) <= self._has.keys():
            await socket.close(code=NO_SUCH_SENSOR, message=b"sensor not found")
            return socket
        self.sockets.append(socket)
        sending = asyncio.create_task(self._send(socket, types))
        async for _ in socket:
            pass
        sending.cancel()
        self.sockets.remove(socket)
        return socket

    async def _send(self, socket: web.WebSocketResponse, types: tuple[str, ...]) -> None:
        with suppress(ConnectionError):
            while not socket.closed:
                t_s, x = self.due()
                for i, t in enumerate(t_s):
                    for name in types:
                        values = [float(value) for value in x[i, self._has[name]]]
                        stamp = self._booted_ns + round(float(t) * 1e9)
                        message = {"values": values, "timestamp": stamp, "accuracy": 3}
                        await socket.send_json({**message, "type": name} if len(types) > 1 else message)
                await asyncio.sleep(0.5 / self.rate_hz)


class PhyphoxPhone(Phone):
    """phyphox with remote access, and an experiment of these sensors."""

    NAMES: ClassVar[Mapping[str, str]] = {
        "accelerometer": "acc", "linear_acceleration": "lin", "gravity": "gra", "gyroscope": "gyr"
    }  # fmt: skip

    def __init__(
        self, motion: Motion, rate_hz: float = 100.0, sensors: tuple[str, ...] = ("accelerometer", "gyroscope")
    ) -> None:
        super().__init__(motion, rate_hz)
        self.measuring = False
        self.session = secrets.token_hex(3)
        self._sensors = sensors
        self._buffers: dict[str, list[float]] = {}
        self.clear()

    def clear(self) -> None:
        """Clear the data, which restarts experiment time."""
        self.taken = 0
        self._buffers = {f"{self.NAMES[name]}{axis}": [] for name in self._sensors for axis in ("X", "Y", "Z", "_time")}

    @asynccontextmanager
    async def open(self, port: int = 0) -> AsyncIterator[str]:
        """Serve on loopback -> URL."""
        app = web.Application()
        app.router.add_get("/config", self._config)
        app.router.add_get("/control", self._control)
        app.router.add_get("/get", self._get)
        async with served(app, port) as port:
            yield f"http://127.0.0.1:{port}"

    async def _config(self, _: web.Request) -> web.Response:
        inputs = [
            {
                "source": name,
                "outputs": [{axis: f"{self.NAMES[name]}{axis.upper()}"} for axis in "xyz"]
                + [{"t": f"{self.NAMES[name]}_time"}],
            }
            for name in self._sensors
        ]
        buffers = [{"name": name, "size": 0} for name in self._buffers]
        about = {"crc32": "0", "title": "Simulator", "localTitle": "Simulator", "category": "", "localCategory": ""}
        return web.json_response({**about, "buffers": buffers, "inputs": inputs, "export": []})

    async def _control(self, request: web.Request) -> web.Response:
        known = {"start": True, "stop": False}.get(request.query.get("cmd", ""))
        self.measuring = self.measuring if known is None else known
        return web.json_response({"result": known is not None})

    async def _get(self, request: web.Request) -> web.Response:
        if self.measuring:
            self._measure()
        asked = [part.partition("=") for part in request.rel_url.raw_query_string.split("&")]
        parts = {unquote(name): unquote(value) for name, _, value in asked}
        buffers = {name: self._buffer(name, value) for name, value in parts.items() if name in self._buffers}
        status = {"session": self.session, "measuring": self.measuring, "timedRun": False, "countDown": 0}
        return web.json_response({"buffer": buffers, "status": status})

    def _measure(self) -> None:
        t_s, x = self.due()
        gravity = np.tile(UP, (len(x), 1))
        parts = {
            "accelerometer": x[:, :3],
            "linear_acceleration": x[:, :3] - gravity,
            "gravity": gravity,
            "gyroscope": x[:, 3:],
        }
        for name in self._sensors:
            for axis, column in zip("XYZ", parts[name].T, strict=True):
                self._buffers[f"{self.NAMES[name]}{axis}"] += column.tolist()
            self._buffers[f"{self.NAMES[name]}_time"] += t_s.tolist()

    def _buffer(self, name: str, asked: str) -> dict[str, Any]:
        """A buffer as in RemoteServer.java: eight digits, and a threshold that is increased in the last one."""
        values = self._buffers[name]
        if not asked:
            return {"size": 0, "updateMode": "single", "buffer": _digits(values[-1:]) or [None]}
        after, _, other = asked.partition("|")
        threshold = float(after)
        threshold += 10 ** floor(log10(abs(threshold) / 1e7)) if threshold else 0.0
        newer = [value for value, at in zip(values, self._buffers[other or name], strict=True) if at > threshold]
        return {"size": 0, "updateMode": "partial", "buffer": _digits(newer)}


class BrowserPhone(Phone):
    """A browser with mujo-edge's page. `labels` are the received messages; `show` is called with every label."""

    def __init__(
        self,
        motion: Motion,
        rate_hz: float = 60.0,
        *,
        ios: bool = False,
        show: Callable[[str], object] = lambda label: None,
    ) -> None:
        super().__init__(motion, rate_hz)
        self._show = show
        self.labels: list[dict[str, Any]] = []
        self.closed: tuple[int | None, str] | None = None
        self.page = secrets.token_hex(8)
        self._sign, self._vendor = (-1, "Apple Computer, Inc.") if ios else (1, "Google Inc.")

    def hello(self) -> str:
        """The page's first message."""
        return json.dumps({"vendor": self._vendor, "gyroscope": True, "agent": "simulator"})

    def batches(self) -> list[bytes]:
        """Batches of the samples since the last call."""
        first = self.taken
        t_s, x = self.due()
        rows = np.concatenate([t_s[:, None] * 1e3, x[:, :3] * self._sign, x[:, 3:] / DEG], 1)
        size = browser.MAX_SAMPLES
        return [browser.encode(rows[i : i + size], first + i) for i in range(0, len(rows), size)]

    async def run(self, url: str) -> None:
        """Stream until the socket closes."""
        origin = url.split("/")[0] + "//" + url.split("/")[2]
        async with (
            ClientSession() as http,
            http.ws_connect(f"{url}stream?page={self.page}", origin=origin, ssl=False) as socket,
        ):
            await socket.send_str(self.hello())
            sending = asyncio.create_task(self._send(socket.send_bytes))
            while (message := await socket.receive()).type == WSMsgType.TEXT:
                news = json.loads(message.data)
                self.labels.append(news)
                if "label" in news and "ended" not in news:
                    self._show(f"{news['label']} {news['score']:.0%}")
            sending.cancel()
            self.closed = (socket.close_code, str(message.extra or ""))

    async def _send(self, send: Callable[[bytes], Any]) -> None:
        with suppress(ConnectionError):
            while True:
                for batch in self.batches():
                    await send(batch)
                await asyncio.sleep(0.05)


def _values(parts: Mapping[str, F64 | F32], i: int) -> dict[str, float]:
    return {
        f"{name}{axis.upper()}" if name else axis: float(part[i, k])
        for name, part in parts.items()
        for k, axis in enumerate("xyz")
    }


def _digits(values: list[float]) -> list[float | None]:
    return [float(f"{value:.7e}") for value in values]


@asynccontextmanager
async def served(app: web.Application, port: int) -> AsyncIterator[int]:
    """Serve `app` on loopback -> the port."""
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def command(
    app: Annotated[str, typer.Argument(help="sensor-logger, sensorserver, phyphox or browser.")],
    url: Annotated[
        str | None, typer.Option(help="Address that mujo-edge shows, for sensor-logger and browser.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port to serve on, for sensorserver and phyphox.")] = 8080,
    motion: Annotated[str, typer.Option(help="rest, sine, or a session folder that is played in a loop.")] = "sine",
    rate: Annotated[float, typer.Option(metavar="HZ", min=1, max=400, help="Samples per second.")] = 60.0,
) -> None:
    """A phone that speaks the protocol of an app, until it is stopped."""
    if app not in ("sensor-logger", "sensorserver", "phyphox", "browser"):
        raise ValueError(f"no app is called {app!r}.\nThere are: sensor-logger, sensorserver, phyphox, browser")
    if app in ("sensor-logger", "browser") and url is None:
        raise ValueError(f"{app} needs an address.\nGive --url, as `mujo-edge stream --phone {app}` shows it")
    with suppress(KeyboardInterrupt):
        asyncio.run(_simulate(app, url or "", port, named(motion), rate))


async def _simulate(app: str, url: str, port: int, motion: Motion, rate_hz: float) -> None:
    if app == "sensor-logger":
        await SensorLoggerPhone(motion, rate_hz).run(url)
    elif app == "browser":
        phone = BrowserPhone(motion, rate_hz, show=typer.echo)
        await phone.run(url)
        typer.echo(f"closed: {phone.closed}")
    else:
        made = SensorServerPhone(motion, rate_hz) if app == "sensorserver" else PhyphoxPhone(motion, rate_hz)
        async with made.open(port) as address:
            typer.echo(f"mujo-edge stream --phone {app} --url {address}")
            await asyncio.Event().wait()
