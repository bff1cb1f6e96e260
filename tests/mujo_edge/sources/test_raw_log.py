"""The raw log of a live source: damaged, truncated, hostile, cut off by a kill or a full disk."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from live_runs import RUNS, board, joined, play

from firmware_bridge.serial import SerialFormat
from mujo_edge.core import CHANNELS, Chunk, DataError, MujoError, Payload, StreamInfo
from mujo_edge.recordings import session
from mujo_edge.recordings.writer import SessionWriter
from mujo_edge.sources.replay import RawReplay

SLOW = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
LINES = [session.raw_line(raw) for raw in board()]


def written(folder: Path, lines: Sequence[str | bytes]) -> Path:
    with SessionWriter(folder, StreamInfo("w", CHANNELS, 50.0), source="a test"):
        pass
    content = b"".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    (folder / session.RAW_FILE).write_bytes(content)
    return folder


def opened(**about: object) -> str:
    return session.raw_line(Payload(0.0, "open", "", json.dumps(about).encode()))


DATA = session.raw_line(Payload(1.0, "data", "", b"\x01\x02"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([LINES[0], "{\n", DATA], "line 2 is damaged"),
        ([LINES[0], "[]\n"], "line 2 is damaged"),
        ([LINES[0], "7\n"], "line 2 is damaged"),
        ([LINES[0], b"\xff\xfe\n"], "line 2 is damaged"),
        ([LINES[0], "[" * 100_000 + "\n"], "line 2 is damaged"),
        ([LINES[0], DATA.replace("received_s", "when")], "line 2 is damaged: 'received_s' is missing"),
        ([LINES[0], DATA.replace("1.0", '"1"')], "line 2 is damaged: received_s: expected a number, got a text"),
        ([LINES[0], DATA.replace("1.0", "NaN")], "line 2 is damaged: .*not finite"),
        ([LINES[0], DATA.replace("1.0", "1e999")], "line 2 is damaged: .*not finite"),
        ([LINES[0], DATA.replace("1.0", "9" * 400)], "line 2 is damaged: received_s: number out of range"),
        ([LINES[0], DATA.replace("1.0", "9" * 5000)], "line 2 is damaged"),
        ([LINES[0], DATA.replace("1.0", "true")], "line 2 is damaged: received_s: expected a number"),
        ([LINES[0], DATA.replace('"data"', '"date"')], "line 2 is damaged: kind: invalid enum value 'date'"),
        ([LINES[0], DATA.replace('"origin":""', '"origin":7')], "line 2 is damaged"),
        ([LINES[0], '{"received_s":1.0,"kind":"data","origin":"","hex":"0g"}\n'], "line 2 is damaged: non-hex"),
        ([LINES[0], '{"received_s":1.0,"kind":"data","origin":"","text":"\\u00e4"}\n'], "line 2 is damaged"),
        ([LINES[0], '{"received_s":1.0,"kind":"data","origin":""}\n'], "line 2 is damaged: either text or hex"),
        ([LINES[0], '{"received_s":1.0,"kind":"overrun","origin":"","text":"x"}\n'], "line 2 is damaged: an overrun"),
        ([LINES[0], f'{{"received_s":1,"kind":"overrun","origin":"","text":"{"9" * 5000}"}}\n'], "line 2.*an overrun"),
        ([DATA, LINES[0]], "line 1: bytes before any connection"),
        ([], "no connection that sent samples"),
        (["\n"], "line 1 is damaged"),
        ([opened(kind="ble", profile="x"), DATA], "line 1: this connection.*no profile is called 'x'; known are"),
        ([opened(kind="ble", profile="polar", rate_hz=None, services=[]), DATA], "line 1: this connection.*no reply"),
        ([opened(kind="ble", profile="mujo", rate_hz="1", services=[]), DATA], "line 1.*rate_hz or services"),
        ([opened(kind="serial", protocol="csv"), DATA], "line 1: this connection.*serial port"),
        ([opened(kind="phone", app="fax"), DATA], "line 1: this connection cannot be decoded"),
        ([opened(kind="fax"), DATA], "line 1: this connection.*unknown kind of connection: 'fax'"),
        ([session.raw_line(Payload(0.0, "open", "", b"[]")), DATA], "line 1: this connection.*does not name a device"),
        ([session.raw_line(Payload(0.0, "open", "", b"\xff")), DATA], "line 1: this connection"),
    ],
)  # fmt: skip
def test_invalid_log_is_a_data_error_that_names_the_line(
    tmp_path: Path, lines: list[str | bytes], message: str
) -> None:
    folder = written(tmp_path / "s", lines)
    with pytest.raises(DataError, match=message) as caught:
        play(folder)
    assert session.RAW_FILE in str(caught.value)
    assert str(caught.value).count("\n") <= 1


def test_other_channels_after_a_reconnect_are_an_error(tmp_path: Path) -> None:
    three = json.dumps(
        {"kind": "serial", "port": "x", "baud": 1, **SerialFormat("packet", False, 50.0).dump()}
    ).encode()
    folder = written(tmp_path / "s", [*LINES, session.raw_line(Payload(90.0, "open", "", three))])
    with pytest.raises(DataError, match="other channels"):
        play(folder)


def test_connection_without_data_is_skipped(tmp_path: Path) -> None:
    attempt = opened(kind="ble", profile="polar", rate_hz=None, services=[])
    closed = session.raw_line(Payload(3.0, "close", "", b""))
    plain, with_it = written(tmp_path / "a", LINES), written(tmp_path / "b", [attempt, closed, *LINES, attempt])
    assert joined(play(with_it))[:4] == joined(play(plain))[:4]


def test_overlong_line_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_MAX_RAW_BYTES", 4096)
    with pytest.raises(DataError, match="line 2: longer than"):
        play(written(tmp_path / "s", [LINES[0], "x" * 5000]))


@pytest.mark.parametrize("cut", [1, 2, 30, 100])
def test_incomplete_last_line_is_dropped_with_a_note(tmp_path: Path, cut: int) -> None:
    folder = written(tmp_path / "s", ["".join(LINES)[:-cut]])
    source = RawReplay(folder, speed=None)

    async def run() -> list[Chunk]:
        return [chunk async for chunk in source.chunks()]

    chunks = asyncio.run(run())
    assert len(joined(chunks)[4]) == "".join(LINES)[:-cut].count("\n") < len(LINES)  # type: ignore[arg-type]
    assert any("incomplete" in note for note in source.notes)


raws = st.builds(
    Payload,
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["open", "reply", "data", "close"]),
    st.text(max_size=20),
    st.binary(max_size=40) | st.text(st.characters(max_codepoint=127), max_size=40).map(str.encode),
)


@SLOW
@given(written_raws=st.lists(raws, max_size=8))
@example([Payload(0.1 + 0.2, "data", "\ud800\n,\"'", b"\0\r\n\x7f")])
def test_records_are_read_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, written_raws: list[Payload]
) -> None:
    path = tmp_path_factory.mktemp("raw") / session.RAW_FILE
    path.write_text("".join(map(session.raw_line, written_raws)))
    notes: list[str] = []
    assert [raw for _, raw in session.load_raw(path, notes)] == written_raws
    assert notes == []


@settings(SLOW, max_examples=200)
@given(name=st.sampled_from(sorted(RUNS)), line=st.integers(0, 9), at=st.integers(0), bit=st.integers(0, 7))
def test_flipped_bit_is_a_clean_error_or_still_read(
    tmp_path_factory: pytest.TempPathFactory, name: str, line: int, at: int, bit: int
) -> None:
    """In the first lines: the record of the connection and the replies of the device."""
    if name not in FIRST:
        FIRST[name] = [session.raw_line(raw).encode() for raw in RUNS[name]()[:60]]
    lines: list[str | bytes] = [*FIRST[name]]
    damaged = bytearray(FIRST[name][line])
    damaged[at % len(damaged)] ^= 1 << bit
    lines[line] = bytes(damaged)
    message = ""
    try:
        play(written(tmp_path_factory.mktemp("session") / "s", lines))
    except MujoError as error:
        message = str(error)
    assert message.count("\n") <= 1


FIRST: dict[str, list[bytes]] = {}


@SLOW
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_a_clean_error_or_still_read(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = written(tmp_path_factory.mktemp("session") / "s", [LINES[0], content])
    message = session.RAW_FILE
    try:
        play(folder)
    except DataError as error:
        message = str(error)
    assert session.RAW_FILE in message


def test_kill_9_loses_no_byte_that_was_written(tmp_path: Path) -> None:
    code = f"""
import sys, numpy as np
from mujo_edge.core import Chunk, Payload, StreamInfo
from mujo_edge.recordings.writer import SessionWriter
writer = SessionWriter({str(tmp_path / "s")!r}, StreamInfo("w", ("ax", "ay", "az"), 50.0), source="test")
for i in range(100_000):
    x = np.ones((1, 3), np.float32)
    writer.write(Chunk(np.array([i / 50]), x, 0.0, raw=(Payload(i / 50, "data", "", bytes([255, i % 256])),)))
    print(writer.samples, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process, process.stdout:
        for line in process.stdout:
            if int(line) >= 500:
                break
        process.send_signal(signal.SIGKILL)
    payloads = [raw for _, raw in session.load_raw(tmp_path / "s" / session.RAW_FILE, [])]
    assert len(payloads) >= 500
    assert payloads == [Payload(i / 50, "data", "", bytes([255, i % 256])) for i in range(len(payloads))]


class Full:
    """A file on a disk with `room` bytes left."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def write(self, data: memoryview) -> int:
        if not self._room:
            raise OSError(28, "No space left on device")
        taken = min(len(data), self._room)
        self._room -= taken
        self._file.write(data[:taken])
        return taken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_full_disk_leaves_no_partial_line(tmp_path: Path) -> None:
    chunk = Chunk(np.zeros(0), np.zeros((0, 3), np.float32), 0.0, raw=(Payload(1.0, "data", "", b"\xff" * 50),))
    with SessionWriter(tmp_path / "s", StreamInfo("w", CHANNELS[:3], None), source="a test") as writer:
        writer.write(chunk)
        writer._raw = Full(writer._raw, 80)  # type: ignore[assignment]
        with pytest.raises(DataError, match="No space left"):
            writer.write(chunk)
    notes: list[str] = []
    assert [raw for _, raw in session.load_raw(tmp_path / "s" / session.RAW_FILE, notes)] == list(chunk.raw)
    assert notes == []
