"""The firmware on a Cortex-M4 in QEMU, read through a pty and a socket as a board on USB is read."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import serial

from firmware_bridge.protocol import packet
from firmware_bridge.protocol.framing import Splitter, cobs_decode
from firmware_bridge.simulator import qemu
from firmware_bridge.simulator.motion import recording, rest, sine
from firmware_bridge.simulator.wearable import Motion
from firmware_bridge.stream import CodecError, G, Packet
from mujo_edge.sources.replay import shipped_recording

MISSING = ", ".join(qemu.missing())
pytestmark = [pytest.mark.qemu, pytest.mark.skipif(MISSING != "", reason=f"not installed: {MISSING}")]

PATIENCE_S = 30.0


class Reader:
    """The packets that come over a port."""

    def __init__(self, port: str) -> None:
        self.line = serial.serial_for_url(port, 115200, timeout=0.2)
        self.damaged = 0
        self._splitter = Splitter(b"\0")

    def until(self, enough: Callable[[list[Packet]], bool]) -> list[Packet]:
        packets: list[Packet] = []
        give_up_s = time.monotonic() + PATIENCE_S
        while not enough(packets):
            assert time.monotonic() < give_up_s, f"{len(packets)} packets in {PATIENCE_S:g} s"
            for frame in self._splitter.feed(self.line.read(max(1, self.line.in_waiting))):
                try:
                    packets += packet.decode(cobs_decode(frame))
                except CodecError:
                    self.damaged += 1
        return packets

    def take(self, count: int) -> list[Packet]:
        return self.until(lambda packets: len(packets) >= count)


@contextmanager
def reading(motion: Motion, tcp: bool = False) -> Iterator[Reader]:
    with qemu.board(motion, tcp) as port:
        reader = Reader(port)
        try:
            yield reader
        finally:
            reader.line.close()


def number(one: Packet) -> int:
    assert one.seq is not None
    return one.seq


def seconds(start: Packet, end: Packet) -> float:
    """Between two packets, by the board's clock."""
    assert start.tick is not None
    assert end.tick is not None
    return (end.tick - start.tick) % 2**packet.TICK_BITS / packet.TICK_HZ


def measured(motion: Motion, taken: list[Packet], rate_hz: float = 50.0) -> np.ndarray:
    """Expected signal at the numbers of the packets: sample 0 is taken at the end of the first period."""
    return motion((np.array([number(each) for each in taken]) + 1) / rate_hz)


@pytest.mark.parametrize("tcp", [False, True], ids=["pty", "socket"])
def test_board_streams_at_exactly_50_hz_without_gaps(tcp: bool) -> None:
    with reading(sine, tcp) as reader:
        taken = reader.take(150)
    assert reader.damaged <= 1  # a port may be opened in the middle of a frame
    assert {number(b) - number(a) for a, b in pairwise(taken)} == {1}
    assert seconds(taken[0], taken[-1]) == pytest.approx((len(taken) - 1) / 50, abs=1 / packet.TICK_HZ)
    x = np.concatenate([each.x for each in taken])
    np.testing.assert_allclose(x, measured(sine, taken), atol=0.5 / 200 + 1e-6)
    assert np.abs(x[:, 0]).max() == pytest.approx(G / 2, abs=0.01)


def test_busy_host_loses_no_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []
    popen = subprocess.Popen

    def watched(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", watched)
    with reading(sine) as reader:
        before, began_s = reader.take(10), time.monotonic()
        started[-1].send_signal(signal.SIGSTOP)
        time.sleep(2)
        started[-1].send_signal(signal.SIGCONT)
        after = reader.until(lambda packets: seconds(before[-1], packets[-1]) > 2.5 if packets else False)
        took_s = time.monotonic() - began_s
    assert {number(b) - number(a) for a, b in pairwise([*before, *after])} == {1}
    assert seconds(before[0], after[-1]) == pytest.approx((len(before) + len(after) - 1) / 50, abs=1e-4)
    assert took_s < 4  # a board that lost its interrupts would be 2 s late


def test_commands_work_and_number_and_clock_continue() -> None:
    with reading(sine) as reader:
        reader.line.write(b"AT+STARTDATAFWD\r\nrate 1\nrate 9999999999\nrate\ngo on\n" + b"x" * 100 + b"\n")
        before = reader.take(30)
        assert seconds(before[0], before[-1]) == pytest.approx(29 / 50, abs=1e-4)

        reader.line.write(b"pause\n")
        reader.until(lambda _: not reader.line.read(1))  # 0.2 s without a byte: it is quiet
        reader.line.write(b"go\n")
        after = reader.take(5)
        missed = (number(after[0]) - number(before[-1])) % 2**16
        assert missed > 10
        assert seconds(before[-1], after[0]) == pytest.approx(missed / 50, abs=1e-4)

        reader.line.write(b"rate 100\r\n")
        faster = reader.until(lambda packets: len(packets) > 60 and seconds(packets[-51], packets[-1]) < 0.51)
    assert {(number(b) - number(a)) % 2**16 for a, b in pairwise(faster)} == {1}
    assert {round(seconds(a, b) * 100) for a, b in pairwise(faster[-50:])} == {1}
    # The table is interpolated linearly, which differs from a sine of 1 Hz by less than 0.2 %.
    x = np.concatenate([each.x for each in faster[-50:]])
    np.testing.assert_allclose(np.hypot(x[:, 0] / (G / 2), x[:, 5]), 1, atol=0.005)


def test_recording_is_compiled_in() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 30, (qemu.SECONDS * qemu.RATE_HZ, 6)).astype(np.float32)
    with reading(lambda t_s: rows[np.rint(t_s * 50).astype(int) % len(rows)]) as reader:
        taken = reader.take(50)
    expected = np.clip(rows[[number(each) + 1 for each in taken]], -32768 * packet.UNIT, 32767 * packet.UNIT)
    x = np.concatenate([each.x for each in taken])
    np.testing.assert_allclose(x / packet.UNIT, expected / packet.UNIT, atol=0.51)


def test_mujo_edge_recognizes_the_board_motion() -> None:
    folder = shipped_recording()
    with (folder / "samples.csv").open(newline="") as file:
        truths = {row["label"] for row in islice(csv.DictReader(file), 10 * qemu.RATE_HZ)}
    with qemu.board(recording(folder)) as port:
        call = [str(Path(sys.executable).parent / "mujo-edge"), "stream", f"--serial={port}", "--json", "--duration=5"]
        done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *events, summary = map(json.loads, done.stdout.splitlines())
    labels = [event["label"] for event in events if event["type"] == "prediction"]
    assert len(labels) >= 3
    assert set(labels) == truths
    assert (summary["samples"], summary["lost"], summary["gaps"]) == (pytest.approx(250, abs=1), 0, 0)
    assert summary["rate_hz"] == pytest.approx(50, abs=0.01)
    assert summary["corrupt"] <= 1


def test_command_prints_the_port_and_ends() -> None:
    call = [
        sys.executable,
        "-c",
        "import typer; from firmware_bridge.simulator.qemu import command; typer.run(command)",
    ]
    process = subprocess.Popen([*call, "--motion", "rest"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        line = process.stdout.readline()
        port = line.rpartition(" --serial ")[2].strip()
        assert line.startswith(f"The board is at {port}.")
        reader = Reader(port)
        with reader.line:
            (first, *_) = reader.take(1)
            np.testing.assert_allclose(first.x, rest(np.zeros(1)), atol=0.0026)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
            with pytest.raises(OSError):  # QEMU went with it
                reader.take(1000)


def test_missing_programs_are_named_by_debian_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="apt-get install gcc-arm-none-eabi make qemu-system-arm"):
        qemu.build(rest, tmp_path)


def test_compiler_errors_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "table", lambda motion: "#error no table")
    with pytest.raises(OSError, match=r"(?s)cannot be built:.*no table"):
        qemu.build(rest, tmp_path)
