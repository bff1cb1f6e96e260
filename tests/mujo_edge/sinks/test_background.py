"""The writer behind standard output: readers that stall, read slowly, disappear, or resume."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import TextIO

import pytest

from mujo_edge.core import DataError
from mujo_edge.sinks import background
from mujo_edge.sinks.background import BackgroundWriter

LINE = b"x" * 999 + b"\n"


class Pipe:
    """A pipe of the operating system; `fill` leaves it without room."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        self.writing: TextIO = os.fdopen(writing, "w")

    def fill(self) -> int:
        os.set_blocking(self.writing.fileno(), False)
        count = 0
        try:
            while True:
                count += os.write(self.writing.fileno(), bytes(1 << 12))
        except BlockingIOError:
            os.set_blocking(self.writing.fileno(), True)
        return count

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += os.read(self.reading, count - len(data))
        return data


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.set_blocking(made.reading, False)
    try:
        while os.read(made.reading, 1 << 20):  # releases a writer thread that is left behind
            sleep(0.01)
    except BlockingIOError:
        pass
    made.writing.close()
    os.close(made.reading)


def test_all_data_is_written_in_order(pipe: Pipe) -> None:
    writer = BackgroundWriter(pipe.writing)
    sent = [b"%d\n" % i for i in range(10_000)]
    reader = threading.Timer(0.05, lambda: got.append(pipe.read(len(b"".join(sent)))))
    got: list[bytes] = []
    reader.start()
    assert [writer.write(line) for line in sent] == [len(line) for line in sent]
    writer.finish()
    reader.join()
    assert got == [b"".join(sent)]
    assert (writer.dropped, writer.idle) == (0, True)


def test_full_pipe_blocks_nothing_and_dropped_lines_are_counted(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "LIMIT", 10_000)
    filled = pipe.fill()
    writer = BackgroundWriter(pipe.writing)
    begun_s = monotonic()
    assert [writer.write(LINE) for _ in range(15)] == [1000] * 10 + [0] * 5
    assert writer.write(b"last\n", keep=True) == 5
    assert monotonic() - begun_s < 0.5
    assert (writer.dropped, writer.idle) == (5, False)
    pipe.read(filled)
    writer.finish()
    assert pipe.read(10_005) == 10 * LINE + b"last\n"


def test_stalled_reader_gets_only_the_grace_period_after_a_signal(pipe: Pipe) -> None:
    pipe.fill()
    writer = BackgroundWriter(pipe.writing)
    for _ in range(4):
        writer.write(LINE)
    writer.write(b"last\n", keep=True)
    threading.Timer(0.1, writer.hurry).start()
    begun_s = monotonic()
    writer.finish(grace_s=0.3)
    assert 0.35 < monotonic() - begun_s < 1
    assert writer.dropped == 5


def test_reader_that_resumes_within_the_grace_period_gets_the_last_line(pipe: Pipe) -> None:
    filled = pipe.fill()
    writer = BackgroundWriter(pipe.writing)
    writer.write(LINE)
    writer.write(b"left out\n")
    writer.write(b"last\n", keep=True)
    threading.Timer(0.7, lambda: pipe.read(filled)).start()
    writer.hurry()
    writer.finish(grace_s=1.0)
    assert pipe.read(1005) == LINE + b"last\n"
    assert writer.dropped == 1


def test_write_waits_for_room_if_the_source_can_wait(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "LIMIT_OF_A_FILE", 2_000)
    filled = pipe.fill()
    writer = BackgroundWriter(pipe.writing, wait=True)
    written: list[int] = []
    thread = threading.Thread(target=lambda: written.extend(writer.write(LINE) for _ in range(50)))
    thread.start()
    sleep(0.1)
    assert written == [1000, 1000]
    pipe.read(filled)
    assert pipe.read(50_000) == 50 * LINE
    thread.join()
    assert (sum(written), writer.dropped) == (50_000, 0)
    writer.finish()


def test_hurry_releases_a_waiting_write(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "LIMIT_OF_A_FILE", 2_000)
    pipe.fill()
    writer = BackgroundWriter(pipe.writing, wait=True)
    threading.Timer(0.1, writer.hurry).start()
    assert [writer.write(LINE) for _ in range(4)] == [1000, 1000, 0, 0]
    assert writer.dropped == 2
    writer.finish(grace_s=0.0)


def test_closed_reader_is_a_broken_pipe(pipe: Pipe) -> None:
    reading = os.dup(pipe.reading)
    os.close(pipe.reading)
    os.close(reading)
    pipe.reading = os.open(os.devnull, os.O_RDONLY)
    writer = BackgroundWriter(pipe.writing)
    writer.check()
    writer.write(LINE)
    writer.finish()
    with pytest.raises(BrokenPipeError):
        writer.check()
    assert writer.write(LINE) == 0
    assert writer.dropped == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_full_disk_is_a_data_error() -> None:
    with Path("/dev/full").open("w") as full:
        writer = BackgroundWriter(full)
        writer.write(LINE)
        writer.finish()
        with pytest.raises(DataError, match="cannot write to standard output: No space left on device"):
            writer.check()


def test_non_blocking_pipe_loses_nothing(pipe: Pipe) -> None:
    filled = pipe.fill()
    os.set_blocking(pipe.writing.fileno(), False)
    writer = BackgroundWriter(pipe.writing)
    for _ in range(100):
        writer.write(LINE)
    pipe.read(filled)
    assert pipe.read(100_000) == 100 * LINE
    writer.finish()


def test_text_has_the_encoding_of_the_stream() -> None:
    below = io.BytesIO()
    stream = io.TextIOWrapper(below, encoding="ascii", errors="backslashreplace")
    writer = BackgroundWriter(stream)
    text = writer.text()
    print("naïve", file=text, flush=True)
    writer.finish()
    assert below.getvalue() == b"na\\xefve\n"
    assert (text.encoding, text.isatty()) == ("ascii", False)


def test_closed_terminal_is_a_broken_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.BytesIO):
        def isatty(self) -> bool:
            return True

        def write(self, data: object) -> int:
            raise OSError(errno.EIO, "Input/output error")

    stream = io.TextIOWrapper(Gone(), write_through=True)
    writer = BackgroundWriter(stream)
    writer.write(LINE)
    writer.finish()
    with pytest.raises(BrokenPipeError):
        writer.check()
