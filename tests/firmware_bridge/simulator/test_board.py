"""The simulated board: its output and its serial line."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import serial

from firmware_bridge.serial.detect import Detector
from firmware_bridge.simulator.board import BOOT, Board, Line
from firmware_bridge.simulator.faults import parse
from firmware_bridge.simulator.motion import rest, sine


def sent(board: Board, seconds: float) -> bytes:
    board.power(100.0)
    times = 100.0 + np.arange(0.01, seconds + 0.001, 0.01)
    return b"".join(payload for now_s in times for _, payload in board.due(now_s))


def test_lines_have_the_requested_columns() -> None:
    assert sent(Board(rest, "csv"), 0.01) == b"0.0000,0.0000,9.8067,0.0000,0.0000,0.0000\r\n"
    board = Board(sine, "csv", columns="t_ms,az_g,gz_deg_s,temp", rate_hz=4.0)
    assert sent(board, 0.3) == b"0,1.0000,57.2958,0.0000\r\n250,1.0000,0.0000,0.0000\r\n"
    assert sent(Board(rest, "csv", columns="t_s,az_g", rate_hz=8.0, first=1), 0.01) == b"0.125000,1.0000\r\n"
    assert sent(Board(rest, "csv", columns="t_us,az_g", first=214_749), 0.01) == b"12704,1.0000\r\n"  # micros() wraps


def test_frames_and_packets_are_valid() -> None:
    assert sent(Board(rest, "wit"), 0.01).hex() == (
        "55510000000000080000ae" "55520000000000000000a7" "55530000000000000000a8"
    )  # fmt: skip
    assert len(sent(Board(rest, "wit", channels=3), 0.01)) == 22
    detector = Detector()
    detector.feed(sent(Board(sine, "packet", batch=16, channels=3), 2.0))
    assert detector.result is not None
    assert (detector.result.protocol, detector.result.gyroscope) == ("packet", False)


def test_rate_is_that_of_whole_milliseconds() -> None:
    assert sent(Board(rest, "csv", rate_hz=1000 / 19), 10.0).count(b"\n") == 527


def test_invalid_arguments_are_errors() -> None:
    with pytest.raises(ValueError, match="no protocol is called 'morse'; there are csv, wit, packet"):
        Board(rest, "morse")
    with pytest.raises(ValueError, match="faults that a board does not have: adapter-off; it has loss, corrupt"):
        Line(Board(rest), Path("board"), faults=[parse("1 adapter-off 2")])


async def test_output_before_opening_is_lost_and_opening_is_detected(tmp_path: Path) -> None:
    board = Board(rest, "csv", header=True, columns="t_ms,az_g")
    async with Line(board, tmp_path / "board", boot=BOOT, resets=True) as line:
        await asyncio.sleep(0.2)
        assert line.unheard > 0
        for _ in range(2):
            with serial.Serial(line.port, 115200, timeout=0) as port:
                await asyncio.sleep(0.2)
                assert port.read(4096).startswith(BOOT + b"t_ms,az_g\r\n0,1.0000\r\n20,1.0000\r\n")
            await asyncio.sleep(0.05)
        assert line.damaged == 0
    assert not (tmp_path / "board").is_symlink()


async def test_faults_affect_the_line(tmp_path: Path) -> None:
    faults = [parse(text) for text in ("0.2 burst 0.2", "0.5 stall 0.3", "1.0 loss 0.2", "1.2 disconnect 0.2")]
    board = Board(rest, "csv", columns="t_ms")
    async with Line(board, tmp_path / "board", resets=False, faults=faults) as line:
        with serial.Serial(line.port, 115200, timeout=0) as port:
            read, times = b"", []
            with suppress(serial.SerialException):
                while True:
                    if data := port.read(4096):
                        times.append((asyncio.get_running_loop().time(), data.count(b"\n")))
                        read += data
                    await asyncio.sleep(0.005)
        assert not Path(line.port).is_symlink()
        await asyncio.sleep(0.4)
        assert Path(line.port).exists()
    gaps = np.diff([when for when, _ in times])
    assert np.sort(gaps)[-2] > 0.15  # burst and stall
    assert max(count for _, count in times) >= 12  # all that was held back
    whole = [line for line in read.split(b"\r\n")[1:-1] if line.isdigit()]
    assert 0 < len(whole) < 60 - 10
    assert line.damaged > 10


async def test_command_prints_the_port_and_ends(tmp_path: Path) -> None:
    port = tmp_path / "board"
    arguments = ["board", "--protocol", "wit", "--motion", "rest", "--baud", "9600", "--port", str(port)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "firmware_bridge.simulator", *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            output = await process.stdout.readline()
            assert f"mujo-edge stream --serial {port} --baud 9600" in output.decode()
            with serial.Serial(str(port), 9600, timeout=5) as board:
                frame = bytes.fromhex("55510000000000080000ae")
                assert (await asyncio.to_thread(board.read_until, frame)).endswith(frame)
            os.kill(process.pid, signal.SIGINT)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert not port.is_symlink()
