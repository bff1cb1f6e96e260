"""Unread terminals and pipes, and closed or full standard streams, do not damage a recording."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes import CHANNELS, chunked, motion, write_bundle

from mujo_edge.core import StreamInfo
from mujo_edge.recordings.writer import SessionWriter

ROOT = Path(__file__).parents[3]
ENDS_S = 4.0
"""A signal ends a run within this time: two seconds, and as many for a busy machine."""

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "mujo_edge", *map(str, args)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "axis")


def recording(folder: Path, seconds: float) -> Path:
    with SessionWriter(folder, StreamInfo("made", CHANNELS, 50.0), source="a test") as writer:
        for chunk in chunked(*motion([0], seconds), size=500):
            writer.write(chunk)
    return folder


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recording(tmp_path_factory.mktemp("recordings") / "hour", 3600.0)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 s."""
    return recording(tmp_path_factory.mktemp("recordings") / "walk", 12.0)


def rows(folder: Path) -> int:
    samples = folder / "samples.csv"
    return samples.read_bytes().count(b"\n") - 1 if samples.exists() else 0


def closed(folder: Path) -> int | None:
    """Samples of a session that was closed; None for one that was not."""
    samples: int | None = json.loads((folder / "session.json").read_text()).get("samples")
    return samples


def wait_for(folder: Path, count: int, process: subprocess.Popen[Any]) -> None:
    end_s = time.monotonic() + 60
    while rows(folder) < count:
        assert process.poll() is None
        assert time.monotonic() < end_s, f"{rows(folder)} of {count} samples were recorded"
        time.sleep(0.02)


def ends(process: subprocess.Popen[Any], *signals: signal.Signals) -> None:
    """The process ends in time after the signals, as if all had gone well."""
    for number in signals:
        process.send_signal(number)
        time.sleep(0.05)
    assert process.wait(ENDS_S) == 0


@contextmanager
def full_pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe without room."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, bytes(1 << 12))
    except BlockingIOError:
        os.set_blocking(writing, True)
    try:
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a pseudo-terminal."""
    leader, follower = pty.openpty()
    try:
        yield leader, follower
    finally:
        os.close(leader)
        os.close(follower)


def test_unread_pipe_does_not_stop_the_recording(bundle: Path, walk: Path, tmp_path: Path) -> None:
    args = ("stream", "--bundle", bundle, "--runtime", "onnx", "--replay", walk, "--speed", "20")
    with (
        full_pipe() as (_, writing),
        subprocess.Popen(
            command(*args, "--record", tmp_path / "kept"),
            stdout=writing, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
        ) as process,
    ):  # fmt: skip
        wait_for(tmp_path / "kept", 600, process)
        ends(process, signal.SIGINT)
        assert process.stderr
        errors = process.stderr.read()
    assert errors == "mujo-edge: the reader of standard output was too slow: 20 lines were dropped\n"
    assert closed(tmp_path / "kept") == 600


@pytest.mark.parametrize("name", ["stream", "record"])
def test_unread_terminal_does_not_stop_the_recording(bundle: Path, walk: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "kept"
    args = (
        ["stream", "--bundle", bundle, "--runtime", "onnx", "--record", folder] if name == "stream" else [name, folder]
    )
    with terminal() as (_, follower):
        termios.tcflow(follower, termios.TCOOFF)
        process = subprocess.Popen(
            command(*args, "--replay", walk, "--speed", "20"),
            stdin=follower, stdout=follower, stderr=follower, env=ENVIRONMENT,
        )  # fmt: skip
        wait_for(folder, 600, process)
        ends(process, signal.SIGTERM, signal.SIGTERM)
    assert closed(folder) == 600


def test_ctrl_c_ends_the_stream_after_ctrl_s(walk: Path, tmp_path: Path) -> None:
    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    shown: list[bytes] = []

    def read() -> None:
        try:
            while data := os.read(leader, 1 << 16):
                shown.append(data)
        except OSError:  # the other end is closed
            pass

    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command("record", tmp_path / "kept", "--replay", walk, "--speed", "4"),
        stdin=follower, stdout=follower, stderr=follower, env=ENVIRONMENT, preexec_fn=take_terminal,
    )  # fmt: skip
    os.close(follower)
    reader = threading.Thread(target=read)
    reader.start()
    wait_for(tmp_path / "kept", 50, process)
    os.write(leader, b"\x13")
    time.sleep(0.3)
    frames = len(shown)
    wait_for(tmp_path / "kept", 500, process)
    assert len(shown) <= frames + 1
    os.write(leader, b"\x03")
    assert process.wait(ENDS_S) == 0
    reader.join()
    os.close(leader)
    screen, _, after = b"".join(shown).decode().rpartition("\x1b[?1049l")
    assert "\x1b[?1049h" in screen
    assert "recorded to" in after
    assert 500 <= (closed(tmp_path / "kept") or 0) < 600


def test_closed_terminal_leaves_a_complete_session(walk: Path, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command("record", tmp_path / "kept", "--replay", walk), stdout=follower, stderr=follower, env=ENVIRONMENT
    )
    os.close(follower)
    wait_for(tmp_path / "kept", 50, process)
    os.close(leader)
    assert process.wait(10) == 0
    assert 50 <= (closed(tmp_path / "kept") or 0) < 600


def test_paused_reader_gets_every_line(bundle: Path, walk: Path) -> None:
    args = command("stream", "--bundle", bundle, "--runtime", "onnx", "--replay", walk, "--speed", "20")
    with full_pipe() as (reading, writing), subprocess.Popen(args, stdout=writing, env=ENVIRONMENT) as process:
        time.sleep(2)  # the source is at its end before a line is read
        assert process.poll() is None
        text = b""
        while process.poll() is None or select.select([reading], [], [], 0)[0]:
            if select.select([reading], [], [], 0.01)[0]:
                text += os.read(reading, 1 << 12)
    lines = [json.loads(line) for line in text.lstrip(b"\0").splitlines()]
    assert process.returncode == 0
    assert [line["type"] for line in lines] == ["prediction"] * 19 + ["summary"]
    assert (lines[-1]["ended"], lines[-1]["notes"]) == ("end", [])


def test_replay_at_full_speed_waits_for_its_reader(bundle: Path, hour: Path) -> None:
    args = command("stream", "--bundle", bundle, "--runtime", "onnx", "--replay", hour, "--speed", "max")
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT) as process:
        time.sleep(1.5)
        text, errors = process.communicate(timeout=60)
    lines = [json.loads(line) for line in text.splitlines()]
    assert (process.returncode, errors) == (0, b"")
    assert [line["type"] for line in lines] == ["prediction"] * 7195 + ["summary"]
    assert lines[-1]["predictions"] == lines[-1]["windows"] == 7195


def test_waiting_replay_ends_on_ctrl_c(bundle: Path, hour: Path, tmp_path: Path) -> None:
    session = tmp_path / "kept"
    args = command("stream", "--bundle", bundle, "--runtime", "onnx", "--replay", hour, "--speed", "max")
    with full_pipe() as (_, writing):
        process = subprocess.Popen(
            [*args, "--record", str(session)], stdout=writing, stderr=subprocess.DEVNULL, env=ENVIRONMENT
        )
        wait_for(session, 1000, process)
        time.sleep(1)
        assert rows(session) < 180_000
        ends(process, signal.SIGINT)
    assert closed(session) == rows(session)


@pytest.mark.parametrize(
    ("redirection", "code", "message"),
    [
        (">&-", 2, "mujo-edge: standard output is closed. Send it somewhere, for example > /dev/null\n"),
        (">/dev/full", 4, "mujo-edge: cannot write to standard output: No space left on device\n"),
        ("2>&-", 0, ""),
        ("2>/dev/full", 0, ""),
        ("<&-", 0, ""),
        ("<&- >/dev/null 2>&-", 0, ""),
    ],
)
def test_closed_or_full_standard_streams_end_with_one_line_and_a_code(
    bundle: Path, walk: Path, tmp_path: Path, redirection: str, code: int, message: str
) -> None:
    args = command(
        "stream", "--bundle", bundle, "--runtime", "onnx", "--replay", walk, "--speed", "max",
        "--record", tmp_path / "kept",
    )  # fmt: skip
    line = f"{' '.join(args)} {redirection}"
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, env=ENVIRONMENT, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (code, message)
    assert not (tmp_path / "kept").exists() if code == 2 else closed(tmp_path / "kept") == 600


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">/dev/full", "2>/dev/full", ">&- 2>&-"])
@pytest.mark.parametrize("name", ["models list", "--version", "models show nowhere"])
def test_other_commands_print_no_traceback(name: str, redirection: str) -> None:
    line = f"{' '.join(command())} {name} {redirection}"
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, env=ENVIRONMENT, timeout=60, check=False
    )
    if name == "models show nowhere":
        assert done.returncode == 2
        assert done.stderr.count("\n") == (redirection in (">&-", ">/dev/full"))
    elif redirection == ">/dev/full":
        assert (done.returncode, done.stderr) == (
            4, "mujo-edge: cannot write to standard output: No space left on device\n",
        )  # fmt: skip
    else:
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay_s", [0.0, 0.03, 0.1, 0.2])
def test_second_signal_within_a_second_is_ignored(
    bundle: Path, walk: Path, number: signal.Signals, delay_s: float
) -> None:
    args = command("stream", "--bundle", bundle, "--runtime", "onnx", "--replay", walk)
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stdout
        assert process.stdout.readline()
        for _ in range(2):
            process.send_signal(number)
            time.sleep(delay_s)
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert json.loads(out.splitlines()[-1])["ended"] == "interrupted"


@pytest.mark.parametrize("option", ["", "-s INT"])
def test_summary_survives_the_two_signals_of_gnu_timeout(bundle: Path, walk: Path, option: str) -> None:
    args = " ".join(command("stream", "--bundle", bundle, "--runtime", "onnx", "--replay", walk))
    done = subprocess.run(
        ["bash", "-c", f"timeout {option} 3 {args}"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (124, "")
    assert json.loads(done.stdout.splitlines()[-1])["ended"] == "interrupted"
