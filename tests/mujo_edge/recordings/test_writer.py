"""The recording sink: rejected input, and the files left after an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mujo_edge.core import CHANNELS, Chunk, DataError, StreamInfo, StreamStats, UsageError
from mujo_edge.recordings.reader import open_recording
from mujo_edge.recordings.writer import SessionWriter
from mujo_edge.sinks import RunInfo, Sink, Summary, Tally, Update
from mujo_edge.sinks.recording import RecordingSink

INFO = StreamInfo("a watch", CHANNELS[:3], 50.0)
TALLY = Tally(StreamStats(), 0, 0, 0, 0.0, None)


def chunk(n: int = 5, start: int = 0, **changes: Any) -> Chunk:
    return Chunk(np.arange(start, start + n) / 50, np.ones((n, 3), np.float32), 0.0, **changes)


def test_recording_sink_writes_all_chunks(tmp_path: Path) -> None:
    sink: Sink = RecordingSink(tmp_path / "deep" / "s", source="a test")
    session = RunInfo(INFO)
    sink.start(session)
    sink.write(Update([chunk(), chunk(3, 5, lost=2)], [], TALLY))
    sink.write(Update([], [], TALLY))
    sink.finish(Summary(session, TALLY, "end"))
    chunks = list(open_recording(tmp_path / "deep" / "s").chunks())
    assert [(len(c.t_s), c.lost) for c in chunks] == [(5, 0), (3, 2)]


def test_sink_that_never_started_can_be_finished(tmp_path: Path) -> None:
    RecordingSink(tmp_path / "s", source="a test").finish(Summary(RunInfo(INFO), TALLY, "error"))
    assert not (tmp_path / "s").exists()


def test_existing_files_are_never_overwritten(tmp_path: Path) -> None:
    with SessionWriter(tmp_path / "s", INFO, source="a test") as writer:
        writer.write(chunk())
    before = {path: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    with pytest.raises(UsageError, match="already holds a recording"):
        SessionWriter(tmp_path / "s", INFO, source="a test")
    assert {path: path.read_bytes() for path in (tmp_path / "s").iterdir()} == before
    with pytest.raises(UsageError, match="already holds files"):
        SessionWriter(tmp_path, INFO, source="a test")
    with pytest.raises(UsageError, match="is not a folder"):
        SessionWriter(tmp_path / "s" / "samples.csv", INFO, source="a test")
    with pytest.raises(DataError, match="cannot record"):
        SessionWriter(tmp_path / "s" / "samples.csv" / "x", INFO, source="a test")
    (tmp_path / "empty").mkdir()
    SessionWriter(tmp_path / "empty", INFO, source="a test").close()


def test_session_json_is_written_at_once(tmp_path: Path) -> None:
    writer = SessionWriter(tmp_path / "s", INFO, source="a test")
    writer.write(chunk())
    recording = open_recording(tmp_path / "s")
    assert recording.info == INFO
    assert sum(len(c.t_s) for c in recording.chunks()) == 5
    writer.close()
    writer.close()
    with pytest.raises(DataError, match="is closed"):
        writer.write(chunk())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Chunk(np.zeros(2), np.zeros((2, 6), np.float32), 0.0), r"shape \(2, 6\).*of 3 channels"),
        (chunk(truth=("a",) * 5), "annotated"),
    ],
)
def test_chunk_of_another_shape_is_rejected_and_the_rest_kept(tmp_path: Path, bad: Chunk, message: str) -> None:
    with SessionWriter(tmp_path / "s", INFO, source="a test") as writer:
        writer.write(chunk())
        with pytest.raises(DataError, match=message):
            writer.write(bad)
        writer.write(chunk(5, 5))
    assert sum(len(c.t_s) for c in open_recording(tmp_path / "s").chunks()) == 10


@pytest.mark.parametrize("label", ["a\nb", "a\rb", "a\0b", "\ud800"])
def test_label_with_a_line_break_rejects_the_whole_chunk(tmp_path: Path, label: str) -> None:
    with SessionWriter(tmp_path / "s", INFO, source="a test") as writer:
        writer.write(chunk(truth=("fine",) * 5))
        with pytest.raises(DataError, match="label"):
            writer.write(chunk(5, 5, truth=("fine", label, "", "", "")))
    assert sum(len(c.t_s) for c in open_recording(tmp_path / "s").chunks()) == 5


def test_unannotated_chunks_in_an_annotated_recording_get_empty_labels(tmp_path: Path) -> None:
    with SessionWriter(tmp_path / "s", INFO, source="a test") as writer:
        writer.write(chunk(2, truth=("a", "b")))
        writer.write(chunk(2, 2))
    assert [c.truth for c in open_recording(tmp_path / "s").chunks()] == [("a", "b", "", "")]


class Full:
    """A file on a disk with `room` bytes left."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def write(self, data: memoryview) -> int:
        if not self._room:
            raise OSError(28, "No space left on device")
        taken = min(len(data), self._room, 100)
        self._room -= taken
        self._file.write(data[:taken])
        return taken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_full_disk_keeps_recorded_samples(tmp_path: Path) -> None:
    with SessionWriter(tmp_path / "s", INFO, source="a test") as writer:
        writer.write(chunk(50))
        writer._file = Full(writer._file, 250)  # type: ignore[assignment]
        with pytest.raises(DataError, match=r"stopped after 50 samples, which are kept: No space left"):
            writer.write(chunk(50, 50))
    recording = open_recording(tmp_path / "s")
    assert sum(len(c.t_s) for c in recording.chunks()) == 50
    assert recording.notes == []


def test_invalid_channel_names_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a valid channel name"):
        SessionWriter(tmp_path / "s", StreamInfo("w", ("a x",), None), source="a test")
    assert not (tmp_path / "s").exists()
