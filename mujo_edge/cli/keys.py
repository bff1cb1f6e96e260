"""Labels from the keyboard while recording: `mujo-edge record --label-keys "squat,push-up"`."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from mujo_edge.core import Chunk, Source, StreamInfo


class LabelKeys:
    """The label that was chosen last: key 1 to 9 begins one, the same key or 0 ends it."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels, self.current = labels, ""

    def press(self, key: str) -> None:
        """A key; keys without a label do nothing."""
        if key == "0":
            self.current = ""
        elif key.isdecimal() and int(key) <= len(self.labels):
            label = self.labels[int(key) - 1]
            self.current = "" if label == self.current else label


def parse_keys(text: str) -> LabelKeys:
    """Labels with commas between. Raises `UsageError` for none, more than nine, or a name that cannot be a label."""
    from mujo_edge.bundle.labels import check_names
    from mujo_edge.core import UsageError

    labels = [label.strip() for label in text.split(",")]
    try:
        check_names(labels)
    except ValueError as error:
        raise UsageError(f"--label-keys {text!r}: {error}; give names with commas between") from None
    if len(labels) > 9:
        raise UsageError(f"--label-keys has {len(labels)} labels, and there are nine keys")
    return LabelKeys(labels)


@contextmanager
def reading(keys: LabelKeys) -> Iterator[None]:
    """Keys of standard input reach `keys`: at once from a POSIX terminal, elsewhere with the line that they are in.

    Raises `UsageError` if standard input is closed.
    """
    from mujo_edge.core import UsageError

    if sys.stdin is None or sys.stdin.closed:
        raise UsageError("--label-keys needs a keyboard: standard input is closed")
    descriptor = sys.stdin.fileno()

    def read() -> None:
        while data := os.read(descriptor, 64):
            for key in data.decode("ascii", "ignore"):
                keys.press(key)

    with _unbuffered(descriptor):
        threading.Thread(target=read, name="keyboard", daemon=True).start()
        yield


@contextmanager
def _unbuffered(descriptor: int) -> Iterator[None]:
    """A terminal gives keys at once and does not echo them; on Windows and for pipes nothing changes."""
    try:
        import termios
        import tty
    except ImportError:
        yield
        return
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


class LabeledSource:
    """A `Source` whose samples get the label of the keys at their arrival."""

    def __init__(self, source: Source, keys: LabelKeys) -> None:
        self._source, self._keys = source, keys

    @property
    def info(self) -> StreamInfo:
        """See `Source`."""
        return self._source.info

    @property
    def notes(self) -> Sequence[str]:
        """See `Source`."""
        return self._source.notes

    @property
    def status(self) -> str:
        """See `Source`."""
        return self._source.status

    async def __aenter__(self) -> Self:
        await self._source.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._source.__aexit__(*exc)

    async def chunks(self) -> AsyncIterator[Chunk]:
        """See `Source`."""
        async for chunk in self._source.chunks():
            yield replace(chunk, truth=(self._keys.current,) * len(chunk.t_s))
