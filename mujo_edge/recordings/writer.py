"""Writing a session folder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from mujo_edge.core import Chunk, DataError, StreamInfo, UsageError
from mujo_edge.recordings import session as sessions
from mujo_edge.version import __version__


class SessionWriter:
    """Appends the chunks of one stream, and their payloads, to a new session folder.

    Every chunk is handed to the operating system before `write` returns, so that killing the process
    loses nothing that was written and at worst leaves an incomplete last line, which the reader drops. Only
    `close` (or leaving the `with` block) marks the session as complete.

    Args:
        folder: created, with its parents; must be new or empty.
        info: the stream; written to session.json at once.
        source: description of the source, e.g. "replay walk.csv".
        notes: remarks for the reader of the recording.

    Raises:
        UsageError: `folder` is not empty. A session is never overwritten.
        DataError: the folder cannot be written (no space, no permission).
    """

    def __init__(self, folder: str | Path, info: StreamInfo, *, source: str, notes: Sequence[str] = ()) -> None:
        sessions.sample_columns(info.channels, annotated=False)
        self.folder = Path(folder)
        self.samples = 0
        created = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._session = sessions.Session(info, source, created, __version__, tuple(notes))
        self._file: BinaryIO | None = None
        self._raw: BinaryIO | None = None
        self._annotated: bool | None = None
        self._row = ""
        self._lost = 0
        try:
            if self.folder.is_dir() and any(self.folder.iterdir()):
                kind = "a recording" if (self.folder / sessions.SESSION_FILE).exists() else "files"
                raise UsageError(f"{self.folder} already holds {kind}; it is left as it is. Choose another folder.")
            self.folder.mkdir(parents=True, exist_ok=True)
            sessions.save(self.folder, self._session)
            self._file = self._open(sessions.SAMPLES_FILE)
        except FileExistsError:
            raise UsageError(f"{self.folder} exists and is not a folder. Choose another folder.") from None
        except OSError as error:
            raise DataError(f"cannot record to {self.folder}: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, chunk: Chunk) -> None:
        """Append one chunk. Raises `DataError` if it cannot be written or does not fit the stream."""
        if self._file is None:
            raise DataError(f"the recording {self.folder} is closed")
        if chunk.raw:
            if self._raw is None:
                self._raw = self._open(sessions.RAW_FILE)
            self._append(self._raw, "".join(map(sessions.raw_line, chunk.raw)))
        self._lost += chunk.lost
        if not len(chunk.t_s):
            return
        if self._annotated is None:
            self._annotated = chunk.truth is not None
            self._start(self._file)
        width = len(self._session.info.channels)
        if chunk.x.shape != (len(chunk.t_s), width) or (chunk.truth is not None and not self._annotated):
            raise DataError(
                f"a chunk of shape {chunk.x.shape}{', annotated,' if chunk.truth else ''} does not fit the recording "
                f"{self.folder} of {width} channels{', annotated' if self._annotated else ''}"
            )
        lost = [self._lost] + [0] * (len(chunk.t_s) - 1)
        columns: list[Sequence[object]] = [chunk.t_s.tolist(), *chunk.x.T.tolist(), lost]
        if self._annotated:
            columns.append(_cells(chunk.truth or [""] * len(chunk.t_s)))
        self._append(self._file, "".join([self._row % row for row in zip(*columns, strict=True)]))
        self._lost = 0
        self.samples += len(chunk.t_s)

    def close(self) -> None:
        """Mark the recording as complete in session.json. Closing twice is allowed."""
        if self._file is None:
            return
        for file in filter(None, (self._file, self._raw)):
            file.close()
        self._file = self._raw = None
        self._session = replace(self._session, samples=self.samples, lost_at_end=self._lost)
        try:
            sessions.save(self.folder, self._session)
        except OSError as error:
            raise DataError(f"cannot finish the recording {self.folder}: {error.strerror}") from None

    def _open(self, name: str) -> BinaryIO:
        try:
            # Unbuffered: one system call per chunk is cheap, and no data waits in this process.
            return (self.folder / name).open("xb", buffering=0)
        except OSError as error:
            raise DataError(f"cannot record to {self.folder}: {error.strerror}") from None

    def _start(self, file: BinaryIO) -> None:
        channels = self._session.info.channels
        # %r of a float is its shortest exact form. Nine significant digits restore a float32 exactly,
        # even via float64: they are never near the middle between two float32 numbers.
        self._row = ",".join(["%r", *["%.9g"] * len(channels), "%d", *(["%s"] if self._annotated else [])]) + "\n"
        self._append(file, ",".join(sessions.sample_columns(channels, bool(self._annotated))) + "\n")

    def _append(self, file: BinaryIO, text: str) -> None:
        end = file.tell()
        try:
            data = memoryview(text.encode("utf-8"))
            while data:
                data = data[file.write(data) :]
        except UnicodeEncodeError as error:
            raise DataError(
                f"a label has an incomplete character, which cannot be written: {error.object[error.start]!r}"
            ) from None
        except OSError as error:
            with suppress(OSError):
                file.truncate(end)  # no half row
            raise DataError(
                f"recording to {self.folder} stopped after {self.samples} samples, which are kept: {error.strerror}"
            ) from None


def _cells(labels: Sequence[str]) -> list[str]:
    """Labels as CSV cells. A line break, which would tear the row, is an error."""
    cell: dict[str, str] = {}
    for label in set(labels):
        if set(label) & set("\n\r\0"):
            raise DataError(f"the label {label!r} holds a line break or a NUL, which a recording cannot hold")
        cell[label] = '"' + label.replace('"', '""') + '"' if "," in label or '"' in label else label
    return [cell[label] for label in labels]
