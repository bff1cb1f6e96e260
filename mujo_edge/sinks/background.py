"""Writing to a terminal or pipe on a thread of its own, so that a slow reader blocks nothing else."""

from __future__ import annotations

import errno
import io
import threading
from collections import deque
from time import monotonic, sleep
from typing import TYPE_CHECKING, TextIO

from mujo_edge.core import DataError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LIMIT = 16 << 20
"""Bytes that may wait for the reader of a live stream: hours of one stream's predictions."""

LIMIT_OF_A_FILE = 1 << 16
"""Bytes that may wait if the source can wait, too."""

GRACE_S = 0.75
"""Seconds after Ctrl-C for the reader to take the remaining data."""


class BackgroundWriter(io.BufferedIOBase):
    """A binary file whose `write` returns at once; a daemon thread passes the data on.

    A thread that is blocked in a system call cannot be interrupted. At exit it is left behind, which is safe because
    it writes to the raw file under `stream`, whose lock Python does not take at exit.

    Args:
        stream: for example `sys.stdout`. Nothing else may write to it meanwhile.
        name: of the stream, for errors.
        wait: `write` waits for room instead of dropping data. For a source that can wait.
    """

    def __init__(self, stream: TextIO, name: str = "standard output", *, wait: bool = False) -> None:
        stream.flush()
        self.name, self._stream, self._wait = name, stream, wait
        self._raw = getattr(stream.buffer, "raw", stream.buffer)  # `python -u` has no buffer above the raw file
        self._isatty = stream.isatty()
        self._queue: deque[tuple[bytes, bool]] = deque()
        self._size = 0
        self._error: OSError | None = None
        self._hurried = self._finished = False
        self._changed = threading.Condition()
        self.dropped = 0
        """Lines that the reader of a pipe did not get because it was too slow."""
        threading.Thread(target=self._pass_on, name=f"writer of {name}", daemon=True).start()

    def text(self) -> TextIO:
        """A text file on top, with the encoding of the stream; its `write` and `flush` never block or raise."""
        return io.TextIOWrapper(
            self, encoding=self._stream.encoding, errors=self._stream.errors, newline="", write_through=True
        )

    def write(self, data: ReadableBuffer, /, keep: bool = False) -> int:
        """Queue `data` -> its length, or 0 if it was dropped because too much waits already.

        Args:
            data: whole lines, if it is for a program. keep: never drop it; for the last line.
        """
        block = bytes(data)
        with self._changed:
            if self._wait:
                self._changed.wait_for(lambda: self._size < LIMIT_OF_A_FILE or self._hurried or self._error)
            if self._error:
                return 0
            if self._size >= (LIMIT_OF_A_FILE if self._wait else LIMIT) and not keep:
                self.dropped += _lines(block)
                return 0
            self._queue.append((block, keep))
            self._size += len(block)
            self._changed.notify_all()
        return len(block)

    @property
    def idle(self) -> bool:
        """Whether all data was written."""
        return not self._queue

    def check(self) -> None:
        """Raise `BrokenPipeError` if the reader is gone, `DataError` if the stream cannot be written."""
        if self._error is None:
            return
        if self._error.errno == errno.EPIPE or (self._isatty and self._error.errno == errno.EIO):
            raise BrokenPipeError
        raise DataError(f"cannot write to {self.name}: {self._error.strerror}")

    def hurry(self) -> None:
        """Stop `write` from waiting, and `finish` from waiting longer than `GRACE_S`. Callable from any thread."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    def finish(self, grace_s: float = GRACE_S) -> None:
        """Wait until all data is written, at most `grace_s` after `hurry`; after half of it other lines are dropped."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._queue or self._hurried)
            end_s = monotonic() + grace_s
            if not self._changed.wait_for(lambda: not self._queue, grace_s / 2) and not self._isatty:
                begun, *others = self._queue
                self.dropped += sum(_lines(block) for block, keep in others if not keep)
                self._queue = deque([begun, *(each for each in others if each[1])])
            if not self._changed.wait_for(lambda: not self._queue, end_s - monotonic()) and not self._isatty:
                self.dropped += sum(_lines(block) for block, _ in self._queue)

    def writable(self) -> bool:
        """True."""
        return True

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._isatty

    def fileno(self) -> int:
        """The stream's file descriptor."""
        return self._stream.fileno()

    def _pass_on(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._finished)
                if not self._queue:
                    return
                block, _ = self._queue[0]
            try:
                self._write(memoryview(block))
            except OSError as error:
                with self._changed:
                    self._error = error
                    self._queue.clear()
                    self._changed.notify_all()
                return
            with self._changed:
                self._queue.popleft()
                self._size -= len(block)
                self._changed.notify_all()

    def _write(self, data: memoryview) -> None:
        while data:
            written = self._raw.write(data)
            if written is None:  # someone made the stream non-blocking
                sleep(0.01)
            else:
                data = data[written:]


def _lines(block: bytes) -> int:
    return block.count(b"\n")
