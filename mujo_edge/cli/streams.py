"""The standard streams where they are closed, full or not read: a line at most, never a traceback or a hang."""

from __future__ import annotations

import codecs
import errno
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mujo_edge.printable import printable, substitute


def open_missing() -> None:
    """Put the null device where a standard stream is closed, so that no other file gets its descriptor.

    `sys.stdout` stays None if it was: a command that needs it can say so.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)


def encode_all() -> None:
    """Make the standard streams substitute characters that their encoding lacks, instead of raising an error."""
    codecs.register_error("mujo-edge", substitute)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="mujo-edge")


def say(text: str) -> None:
    """A message on stderr, as far as it takes one."""
    from mujo_edge.sinks.background import BackgroundWriter

    writer = BackgroundWriter(sys.stderr, "standard error")
    lines = [printable(line) for line in f"mujo-edge: {text}".split("\n")]
    writer.text().write("\n".join(lines) + "\n")
    writer.hurry()
    writer.finish(grace_s=0.25)


def ignore_signals() -> None:
    """Ignore Ctrl-C, SIGTERM and hangups from now on; for a process that has done its work and ends."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def checked_stdout() -> Iterator[None]:
    """Flush it at the end. Raises `DataError` if it cannot be written; exits in silence if its reader has left."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        if not _stdout_fails():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or what is left would fail again when Python exits
        if error.errno == errno.EPIPE:
            sys.exit(1)
        from mujo_edge.core import DataError

        raise DataError(f"cannot write to standard output: {error.strerror}") from None


def _stdout_fails() -> bool:
    """Whether the error was that of stdout, whose unwritten data may be discarded."""
    try:
        if sys.stdout is not None:
            print(flush=True)
    except OSError:
        return True
    return False
