"""The Arduino sketch, compiled against stubs of its libraries and run on this computer, not on a board."""

from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import firmware_bridge
from firmware_bridge.profiles.mujo import Config
from firmware_bridge.protocol import packet
from firmware_bridge.protocol.framing import cobs_decode
from firmware_bridge.stream import DEG, G, Packet

FIRMWARE = Path(firmware_bridge.__file__).parent / "firmware"
STUBS = Path(__file__).parent / "stubs"
BOARDS = {
    "Nano 33 BLE Sense": [],
    "Nano 33 BLE Sense Rev2": ["-DMUJO_REV2"],
    "XIAO nRF52840 Sense": ["-DARDUINO_SEEED_XIAO_NRF52840_SENSE"],
    "ESP32": ["-DARDUINO_ARCH_ESP32"],
}
READING = [0.5 * G, -0.25 * G, G, 100 * DEG, -200 * DEG, 300 * DEG]


class Board:
    """The sketch as a program. `run` returns its packets over serial and over Bluetooth, and its configs."""

    def __init__(self, program: Path) -> None:
        self.program = program

    def run(self, *commands: str, start_us: int = 0) -> tuple[list[Packet], list[Packet], list[Config]]:
        lines = "\n".join(each if " " in each else f"{each} 0" for each in commands) + "\n"
        done = subprocess.run([self.program, str(start_us)], input=lines, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        output = [line.split() for line in done.stdout.splitlines()]
        serial = [bytes.fromhex(data) for kind, data in output if kind == "serial"]
        assert all(frame.endswith(b"\0") for frame in serial)
        return (
            [each for frame in serial for each in packet.decode(cobs_decode(frame[:-1]))],
            [each for kind, data in output if kind == "notify" for each in packet.decode(bytes.fromhex(data))],
            [Config.decode(bytes.fromhex(data)) for kind, data in output if kind == "config"],
        )


@pytest.fixture(scope="module", params=BOARDS)
def board(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Board:
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    program = tmp_path_factory.mktemp("board") / "sketch"
    includes = [f"-I{STUBS}", f"-I{FIRMWARE}", f"-I{FIRMWARE / 'arduino' / 'MujoEdge'}"]
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    call = ["g++", *flags, *includes, *BOARDS[request.param], str(STUBS / "board.cpp"), "-o", str(program)]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Board(program)


def numbers(packets: list[Packet]) -> list[int]:
    return [each.seq for each in packets if each.seq is not None]


def seconds(packets: list[Packet]) -> float:
    first, last = packets[0].tick, packets[-1].tick
    assert first is not None
    assert last is not None
    return (last - first) / packet.TICK_HZ


def test_sketch_streams_its_sensor_at_its_rate(board: Board) -> None:
    serial, air, _ = board.run("run 10000")
    assert numbers(serial) == list(range(len(serial)))
    assert len(serial) == pytest.approx(520, abs=1)
    assert (len(serial) - 1) / seconds(serial) == pytest.approx(52, abs=0.001)
    np.testing.assert_allclose([each.x[0] for each in serial], [READING] * len(serial), atol=0.0026)
    assert air == []


def test_sketch_notifies_while_subscribed_and_keeps_counting(board: Board) -> None:
    serial, air, _ = board.run("run 1000", "listen 1", "run 1000", "leave", "run 1000", "listen 1", "run 1000")
    taken = [number + k for each in air for number, k in zip([each.seq or 0] * len(each.x), range(16), strict=False)]
    assert {len(each.x) for each in air} == {1}
    assert 100 < len(taken) < 106
    (gap,) = [(a, b) for a, b in pairwise(taken) if b != a + 1]
    assert 50 < gap[1] - gap[0] < 55
    ticks = {number: each.tick for number, each in zip(numbers(serial), serial, strict=True)}
    assert all(ticks[each.seq or 0] == each.tick for each in air)


def test_sketch_has_a_config_and_accepts_supported_rates(board: Board) -> None:
    serial, _, configs = board.run("config", "ask 1040", "config", "run 5000", "ask 999", "config", "run 1000")
    assert configs[0] == Config(6, "wrist", 52.0, (26.0, 52.0, 104.0))
    assert [config.rate_hz for config in configs] == [52.0, 104.0, 104.0]
    assert numbers(serial) == list(range(len(serial)))
    assert (len(serial) - 2) / seconds(serial[1:]) == pytest.approx(104, abs=0.1)


def test_missed_samples_are_counted(board: Board) -> None:
    serial, _, _ = board.run("run 1000", "late 500000", "run 1000")
    missed = sorted(b - a - 1 for a, b in pairwise(numbers(serial)))[-1]
    assert missed == pytest.approx(26, abs=1)
    assert numbers(serial)[-1] / seconds(serial) == pytest.approx(52, abs=0.2)


def test_clock_of_the_sketch_wraps(board: Board) -> None:
    ticks = [each.tick or 0 for each in board.run("run 2000", start_us=2**32 - 1_000_000)[0]]
    steps = {(b - a) % 2**packet.TICK_BITS for a, b in pairwise(ticks)}
    assert max(ticks) > min(ticks) + 2**23
    assert len(ticks) == pytest.approx(104, abs=1)
    assert steps <= {300, 301, 302}


@pytest.mark.parametrize("board", ["ESP32"], indirect=True)  # ArduinoBLE does not expose the MTU
def test_larger_mtu_carries_more_samples(board: Board) -> None:
    _, air, _ = board.run(
        "listen 1", "run 500", "mtu 59", "run 500", "mtu 247", "run 1000", "leave", "listen 1", "run 500"
    )
    sizes = [len(each.x) for each in air]
    assert sorted(set(sizes)) == [1, 4, 5]
    assert sizes == [1] * sizes.index(4) + [4] * sizes.count(4) + [5] * sizes.count(5) + [1] * sizes[::-1].index(5)
    ends = [(each.seq or 0) + len(each.x) for each in air]
    lost = sum(b.seq - end for end, b in zip(ends, air[1:], strict=False) if b.seq is not None)
    assert lost < 16
