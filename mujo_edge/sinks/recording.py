"""The sink of `mujo-edge record`: a session folder that grows while the stream runs."""

from __future__ import annotations

from pathlib import Path

from mujo_edge.recordings.writer import SessionWriter
from mujo_edge.sinks import RunInfo, Summary, Update


class RecordingSink:
    """A `Sink` that writes the samples and payloads of a source to a new session folder; see `SessionWriter`.

    Args:
        folder: of the session. source: description of the source for session.json.
    """

    def __init__(self, folder: str | Path, *, source: str) -> None:
        self._folder, self._source = folder, source
        self._writer: SessionWriter | None = None

    def start(self, session: RunInfo) -> None:
        """Create the folder. Raises as `SessionWriter` does."""
        self._writer = SessionWriter(self._folder, session.info, source=self._source)

    def write(self, update: Update) -> None:
        """Append the chunks. Raises `DataError` if they cannot be written."""
        assert self._writer is not None
        for chunk in update.chunks:
            self._writer.write(chunk)

    def finish(self, summary: Summary) -> None:
        """Close the session. Raises `DataError` if session.json cannot be written."""
        if self._writer is not None:
            self._writer.close()
