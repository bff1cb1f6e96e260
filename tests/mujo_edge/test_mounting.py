"""How a sensor is worn."""

from __future__ import annotations

import numpy as np
import pytest

from mujo_edge.bundle import ModelBundle
from mujo_edge.core import Chunk, StreamInfo, UsageError
from mujo_edge.mounting import FRAMES, Worn
from mujo_edge.recognizer import Recognizer
from mujo_edge.recordings.reader import open_recording
from mujo_edge.sources.replay import shipped_recording


@pytest.fixture(scope="module")
def recorded() -> Chunk:
    chunks = list(open_recording(shipped_recording()).chunks())
    truth = [label for chunk in chunks for label in chunk.truth or ()]
    return Chunk(np.concatenate([c.t_s for c in chunks]), np.concatenate([c.x for c in chunks]), 0.0, 0, tuple(truth))


def recognized(chunk: Chunk, worn: Worn | None, frame: Worn, part: int = 500) -> tuple[list[str], list[str]]:
    """Labels and notes of the recording as a sensor that is worn in `frame` measures it."""
    recognizer = Recognizer(ModelBundle.load(), StreamInfo("a", ("ax", "ay", "az", "gx", "gy", "gz"), 50.0), None, worn)
    x = chunk.x * np.array(FRAMES[frame] * 2, np.float32)
    predictions = []
    for start in range(0, len(x), part):
        rows = slice(start, start + part)
        predictions += recognizer.update(Chunk(chunk.t_s[rows], x[rows], 0.0, 0))
    return [prediction.label for prediction in predictions], recognizer.stats.notes


@pytest.mark.parametrize("frame", FRAMES)
def test_stated_frame_gives_the_labels_as_worn(recorded: Chunk, frame: Worn) -> None:
    labels, notes = recognized(recorded, frame, frame)
    assert labels == recognized(recorded, "as-trained", "as-trained")[0]
    assert not any("worn" in note for note in notes)


@pytest.mark.parametrize("frame", FRAMES)
def test_frame_is_found_from_the_movements(recorded: Chunk, frame: Worn) -> None:
    expected = recognized(recorded, "as-trained", "as-trained")[0]
    labels, notes = recognized(recorded, "auto", frame)
    assert np.mean([a == b for a, b in zip(labels[80:], expected[80:], strict=True)]) > 0.95
    assert any(f"worn {frame}," in note for note in notes) == (frame != "as-trained")


def test_frame_does_not_depend_on_the_chunks(recorded: Chunk) -> None:
    assert recognized(recorded, "auto", "inside", 73) == recognized(recorded, "auto", "inside", 100_000)


def test_other_frame_is_noted_but_not_taken(recorded: Chunk) -> None:
    labels, notes = recognized(recorded, None, "inside")
    assert labels == recognized(recorded, "as-trained", "inside")[0]
    assert sum("seems to be worn" in note for note in notes) == 1


def test_recording_worn_as_trained_has_no_such_note(recorded: Chunk) -> None:
    assert not any("worn" in note for note in recognized(recorded, None, "as-trained")[1])


def test_unknown_frame_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="--worn sideways: give as-trained, inside"):
        Recognizer(ModelBundle.load(), StreamInfo("a", ("ax", "ay", "az"), 50.0), None, "sideways")  # type: ignore[arg-type]
