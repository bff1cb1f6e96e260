"""The serial source against boards at pseudo-terminals, over TCP and RFC 2217."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import serial
import serial.rfc2217
from serial.tools import list_ports
from serial_boards import NAMED, collect, joined, raws, signal, usb

from firmware_bridge.simulator import motion
from firmware_bridge.simulator.board import BOOT, Board, Line
from firmware_bridge.simulator.faults import parse
from firmware_bridge.stream import F32, F64, G
from mujo_edge.engine import Engine
from mujo_edge.recordings.session import RAW_FILE, load_raw
from mujo_edge.sinks.recording import RecordingSink
from mujo_edge.sources.replay import RawReplay, ReplaySource, shipped_recording
from mujo_edge.sources.serial import SerialSource
from mujo_edge.sources.serial import port as ports


@pytest.fixture
def link(tmp_path: Path) -> Path:
    return tmp_path / "board"


def is_a_1_hz_sine_with_gravity(t: F64, x: F32, rate_hz: float, rel: float = 0.03) -> None:
    """Units and rate of `motion.sine`: 0.5 g at 1 Hz on x, 1 g on z, 1 rad/s about z."""
    assert (len(t) - 1) / (t[-1] - t[0]) == pytest.approx(rate_hz, rel=rel)
    assert (np.diff(t) > 0).all()
    np.testing.assert_allclose(x[:, 1:3], np.tile([0, G], (len(x), 1)), atol=0.02)
    crossings = np.flatnonzero((x[:-1, 0] < 0) & (x[1:, 0] >= 0))
    assert len(crossings) >= 2
    assert np.diff(t[crossings]) == pytest.approx(1.0, abs=1.6 / rate_hz + 0.01)
    assert x[:, 0].max() == pytest.approx(0.5 * G, rel=0.02)
    if x.shape[1] == 6:
        assert x[:, 5].max() == pytest.approx(1, abs=0.02)
        assert np.hypot(x[:, 0] / (0.5 * G), x[:, 5]) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("protocol", "names", "options", "rate_hz"),
    [
        ("packet", None, {"batch": 4}, 50.0),
        ("packet", None, {"channels": 3, "rate_hz": 104.0}, 104.0),
        ("wit", None, {}, 50.0),
        ("wit", None, {"channels": 3, "rate_hz": 100.0}, 100.0),
        ("csv", NAMED, {"rate_hz": 1000 / 19}, 1000 / 19),
        ("csv", None, {"columns": "ax_mg,ay_mg,az_mg"}, 50.0),
        ("csv", None, {"columns": "t_ms,ax_g,ay_g,az_g"}, 50.0),
        ("csv", None, {"columns": "t_us,ax_g,ay_g,az_g,gx_deg_s,gy_deg_s,gz_deg_s,temp", "header": True}, 50.0),
    ],
)
async def test_format_of_a_board_is_detected(
    link: Path, protocol: str, names: str | None, options: dict[str, Any], rate_hz: float
) -> None:
    board = Board(motion.sine, protocol, **options)
    async with Line(board, link, boot=BOOT, resets=True) as line:
        async with SerialSource(line.port, columns=names) as source:
            chunks = await signal(source, 2.2)
        t, x = joined(chunks)
        is_a_1_hz_sine_with_gravity(t, x, rate_hz)
        assert len(source.info.channels) == x.shape[1]
        assert source.info.name == line.port
        assert source.info.rate_hz is None
        assert sum(chunk.corrupt + chunk.lost for chunk in chunks) == 0


async def test_acceleration_at_rest_is_one_g(link: Path) -> None:
    async with (
        Line(Board(motion.rest, "csv", columns="ax_g,ay_g,az_g"), link) as line,
        SerialSource(line.port) as source,
    ):
        t, x = joined(await collect(source, 0.3))
    np.testing.assert_allclose(x, np.tile([0, 0, G], (len(t), 1)), rtol=1e-4)
    assert source.notes == [
        "lines of 3 numbers are taken as ax ay az",
        "accelerometer unit found from |a| at rest, 1: g; overrule it with --units",
    ]


async def test_gyroscope_unit_is_inferred_once_the_board_moves(link: Path, recording: motion.Motion) -> None:
    async with Line(Board(recording, "csv"), link, resets=True) as line, SerialSource(line.port) as source:
        _, x = joined(await collect(source, 0.5))
    assert "gyroscope unit found from how far gravity turns: deg/s; overrule it with --units" in source.notes
    np.testing.assert_allclose(x, recording(np.arange(1, len(x) + 1) / 50.0), atol=0.001)


@pytest.mark.parametrize(("protocol", "names"), [("packet", None), ("csv", NAMED), ("wit", None)])
async def test_recorded_bytes_decode_to_the_same_samples(
    link: Path, tmp_path: Path, protocol: str, names: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "POLL_S", 0.05)
    faults = [parse("0.8 corrupt 0.002"), parse("1.0 disconnect 0.2")]
    async with Line(Board(motion.sine, protocol), link, faults=faults) as line:
        source = SerialSource(line.port, columns=names)
        sink = RecordingSink(tmp_path / "kept", source=f"serial port {line.port}")
        await Engine(source, [sink], None, duration_s=2.0).run()
    payloads = [raw for _, raw in load_raw(tmp_path / "kept" / RAW_FILE, [])]
    opened = [json.loads(raw.data) for raw in payloads if raw.kind == "open"]
    assert len(opened) == 2
    assert {key: opened[0][key] for key in ("kind", "port", "baud", "protocol")} == {
        "kind": "serial",
        "port": line.port,
        "baud": 115200,
        "protocol": protocol,
    }
    lived = [chunk async for chunk in ReplaySource(tmp_path / "kept", speed=None).chunks()]
    again = [chunk async for chunk in RawReplay(tmp_path / "kept", speed=None).chunks()]
    n = len(joined(lived)[0])  # the live run ended in the middle of a chunk
    assert n > 60
    for one, other in zip(joined(lived), joined(again), strict=True):
        assert one.tobytes() == other[:n].tobytes()


@pytest.mark.parametrize("fault", ["loss", "corrupt"])
async def test_delivered_plus_lost_equals_sent(link: Path, fault: str) -> None:
    board = Board(numbered, "packet", rate_hz=400.0, channels=3, batch=4, first=65_000)
    faults = [parse(f"0.5 {fault} 0.01")]
    async with Line(board, link, faults=faults, seed=1) as line, SerialSource(line.port) as source:
        chunks = await collect(source, 4.0)
    _, x = joined(chunks)
    numbers = 64_000 + np.rint(x[:, 0] * 200).astype(int)
    assert numbers[0] < 65_536 < numbers[-1]  # the counter wrapped
    sent = numbers[-1] - numbers[0] + 1
    lost = sum(chunk.lost for chunk in chunks)
    assert lost > 100
    assert len(numbers) + lost == sent
    assert (np.diff(numbers) > 0).all()
    assert sum(chunk.corrupt for chunk in chunks) > 0
    at = 0
    for before, chunk in pairwise(chunk for chunk in chunks if len(chunk.x)):
        at += len(before.x)
        assert numbers[at] - numbers[at - 1] - 1 == chunk.lost
    assert source.status == ""


def numbered(t_s: F64) -> F32:
    """Sample i at 400 Hz reads i / 200 on x, modulo what the packet can hold."""
    x = np.zeros((len(t_s), 6), np.float32)
    x[:, 0] = np.mod(np.rint(t_s * 400), 32_000) / 200
    return x


async def test_unplugged_board_is_waited_for(link: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "POLL_S", 0.05)
    async with Line(Board(motion.sine, "packet"), link) as line, SerialSource(line.port) as source:
        reading = asyncio.create_task(collect(source, 3.0))
        statuses = set()
        for _ in range(2):
            await asyncio.sleep(0.7)
            line.befall("disconnect", 0.4)
            await asyncio.sleep(0.3)
            statuses.add(source.status)
        chunks = await reading
        assert source.status == ""
    t, _ = joined(chunks)
    assert statuses == {f"{line.port} is unplugged, waiting for it"}
    assert [raw.kind for raw in raws(chunks) if raw.kind != "data"] == ["open", "close", "open", "close", "open"]
    assert (np.diff(t) > 0.01).all()  # nothing is repeated
    assert sum(len(chunk.x) + chunk.lost for chunk in chunks) == pytest.approx((t[-1] - t[0]) * 50 + 1, abs=1)
    assert sum(chunk.lost for chunk in chunks) == pytest.approx(2 * 0.4 * 50, abs=12)


async def test_board_that_restarts_when_plugged_in_continues(link: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "POLL_S", 0.05)
    board = Board(motion.sine, "csv", columns="t_us,ax_g,ay_g,az_g", header=True)
    async with (
        Line(board, link, boot=BOOT, resets=True, faults=[parse("1.5 disconnect 0.3")]) as line,
        SerialSource(line.port) as source,
    ):
        chunks = await collect(source, 2.5)
        assert source.status == ""
    opens = [i for i, chunk in enumerate(chunks) if any(raw.kind == "open" for raw in chunk.raw)]
    after = np.concatenate([chunk.x for chunk in chunks[opens[1] :]])
    assert len(opens) == 2
    assert len(after) > 30
    np.testing.assert_allclose(after[:10], motion.sine(np.arange(10) / 50.0)[:, :3], atol=0.01)
    assert sum(chunk.corrupt for chunk in chunks) == 0


async def test_silent_board_is_asked_to_start_and_stopped_at_the_end(
    link: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "ASK_S", 0.3)
    board = Board(motion.sine, "csv", columns="ax_g,ay_g,az_g", asked=True)
    async with Line(board, link) as line:
        async with SerialSource(line.port, columns="ax_g,ay_g,az_g") as source:
            assert board.streaming
            assert len(joined(await collect(source, 0.3))[0]) > 25
        async with asyncio.timeout(5):
            while board.streaming:
                await asyncio.sleep(0.01)


async def test_board_is_recognized_by_its_usb_serial_number(
    link: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mujo_edge")
    monkeypatch.setattr(ports, "POLL_S", 0.05)
    there = [usb(str(link))]
    monkeypatch.setattr(list_ports, "comports", lambda: there)
    async with Line(Board(motion.sine), link) as line, SerialSource(str(link)) as source:
        reading = asyncio.create_task(collect(source, 3.0))
        await asyncio.sleep(0.3)
        there[:] = [usb(str(link), "other")]
        line.unplug()  # another board appears at the same name, and is ignored
        await asyncio.sleep(0.4)
        assert "unplugged" in source.status
        other = tmp_path / "elsewhere"
        async with Line(Board(motion.sine), other):
            there.append(usb(str(other)))
            chunks = await reading
    opened = [json.loads(raw.data)["port"] for raw in raws(chunks) if raw.kind == "open"]
    assert opened == [str(link), str(other)]
    messages = [record.message for record in caplog.records if record.name.startswith("mujo_edge.sources.serial")]
    assert messages[0] == f"opened {link} at 115200 baud"
    assert messages[1].startswith(f"Nano 33 BLE at {link} sends SerialFormat(protocol='packet'")
    assert messages[2:4] == [f"{link} was unplugged", f"opened {other} at 115200 baud"]


@asynccontextmanager
async def tcp(board: Board) -> AsyncIterator[tuple[str, list[asyncio.Event]]]:
    """The bytes of a board, served over TCP: its address, and for every connection an event that breaks it."""
    ends: list[asyncio.Event] = []
    serving: list[asyncio.Task[None] | None] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        ends.append(end := asyncio.Event())
        board.power(monotonic())
        with suppress(ConnectionError):
            while not end.is_set():
                writer.write(b"".join(payload for _, payload in board.due(monotonic())))
                await writer.drain()
                await asyncio.sleep(0.005)
            writer.close()
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"socket://127.0.0.1:{server.sockets[0].getsockname()[1]}", ends
        for end in ends:
            end.set()
        await asyncio.gather(*filter(None, serving))


async def test_source_reads_tcp_and_reconnects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "POLL_S", 0.05)
    async with tcp(Board(motion.sine, "packet", batch=2)) as (url, ends), SerialSource(url) as source:
        reading = asyncio.create_task(collect(source, 3.5))
        await asyncio.sleep(2.2)
        ends[0].set()
        chunks = await reading
    kinds = [raw.kind for raw in raws(chunks) if raw.kind != "data"]
    assert kinds == ["open", "close", "open"]
    first = next(i for i, chunk in enumerate(chunks) if any(raw.kind == "close" for raw in chunk.raw))
    is_a_1_hz_sine_with_gravity(*joined(chunks[:first]), 50.0)
    assert len(joined(chunks[first:])[0]) > 30


@contextmanager
def rfc2217(board: Board) -> Iterator[str]:
    """A board behind a device server that speaks RFC 2217; its PortManager is pyserial's."""
    ended = threading.Event()
    with serial.serial_for_url("loop://") as wire, socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            manager = serial.rfc2217.PortManager(wire, SimpleNamespace(write=connection.sendall))
            connection.settimeout(0.005)
            board.power(monotonic())
            with closing(connection), suppress(ConnectionError):  # the other side may disconnect first
                while not ended.is_set():
                    with suppress(TimeoutError):
                        b"".join(manager.filter(connection.recv(1024)))
                    wire.write(b"".join(payload for _, payload in board.due(monotonic())))
                    connection.sendall(b"".join(manager.escape(wire.read(wire.in_waiting))))

        serving = threading.Thread(target=serve)
        serving.start()
        yield f"rfc2217://127.0.0.1:{listener.getsockname()[1]}"
        ended.set()
        serving.join()


async def test_source_reads_rfc_2217() -> None:
    with rfc2217(Board(motion.sine, "wit")) as url:
        async with SerialSource(url) as source:
            chunks = await signal(source, 2.2)
    is_a_1_hz_sine_with_gravity(*joined(chunks), 50.0, rel=0.06)  # bytes received while it was opened arrive at once


async def test_exit_closes_the_port_and_ends_the_thread(link: Path) -> None:
    before = threading.active_count()
    async with Line(Board(motion.sine), link) as line:
        for _ in range(2):
            async with SerialSource(line.port) as source:
                await collect(source, 0.2)
        entering = asyncio.create_task(SerialSource(line.port, columns=NAMED).__aenter__())
        await asyncio.sleep(0.02)
        entering.cancel()
        await asyncio.gather(entering, return_exceptions=True)
        async with SerialSource(line.port):
            pass
        assert threading.active_count() <= before + 1  # the pool's own


@pytest.fixture(scope="module")
def recording() -> motion.Motion:
    return motion.recording(shipped_recording())
