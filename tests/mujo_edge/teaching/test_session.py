"""The guided session over scripted sources and prompts."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from fakes import INFO, ListSource, bundle, chunked, motion

from mujo_edge.bundle.taught import Take
from mujo_edge.core import DeviceError
from mujo_edge.teaching.session import Listening, Session, guided_session


class Script:
    """Answers names in order; a movement is done after `seconds` of signal."""

    def __init__(self, names: list[str], seconds: float = 8.0) -> None:
        self.names, self.seconds = names, seconds
        self.takes: list[Take] = []
        self.notes: list[str] = []

    async def name(self) -> str:
        return self.names.pop(0)

    async def countdown(self, label: str) -> None:
        await asyncio.sleep(0)

    async def performed(self, listening: Listening) -> None:
        while listening.seconds < self.seconds:
            await asyncio.sleep(0)

    def received(self, take: Take) -> None:
        self.takes.append(take)

    def note(self, text: str) -> None:
        self.notes.append(text)


def source(seconds: float, error: DeviceError | None = None, *, still: bool = False) -> ListSource:
    t_s, x, _ = motion([0], seconds)
    if still:
        x = x - x + np.float32(9.81) * np.eye(6, dtype=np.float32)[0]
        x[:, 1] += np.tile([0, 0.01], len(x) // 2)
    return ListSource(chunked(t_s, x), INFO, error=error, endless=error is None)


def teach(script: Script, over: ListSource, labels: tuple[str, ...] = ()) -> Session:
    return asyncio.run(asyncio.wait_for(guided_session(bundle(), over, script, 6, labels), 60))


def test_movements_and_then_the_background_are_taught() -> None:
    session = teach(Script(["squat", "lunge", ""]), source(60))
    assert [take.label for take in session.takes] == ["squat", "lunge", "background"]
    assert all(7 < take.seconds < 9 and len(take.embeddings) > 8 for take in session.takes)
    assert session.failure is None


def test_given_labels_are_taught_without_asking() -> None:
    session = teach(Script([]), source(60), ("lunge",))
    assert [take.label for take in session.takes] == ["lunge"]


def test_disconnect_keeps_what_was_taught() -> None:
    session = teach(Script(["squat", "lunge", ""]), source(14, DeviceError("gone")))
    assert [take.label for take in session.takes] == ["squat", "lunge"]
    assert session.takes[1].seconds < 7
    assert str(session.failure) == "gone"


def test_movement_without_motion_is_kept_only_when_named_twice() -> None:
    script = Script(["hold", "hold", ""])
    session = teach(script, source(60, still=True))
    assert "nothing moved in 8 s" in script.notes[0]
    assert [take.label for take in session.takes] == ["hold", "background"]


@pytest.mark.parametrize(("name", "word"), [("unknown", "cannot be a label"), ("a\u202eb", "hidden character")])
def test_unfit_name_is_explained_and_asked_again(name: str, word: str) -> None:
    script = Script([name, "squat", ""])
    assert [take.label for take in teach(script, source(60)).takes][:1] == ["squat"]
    assert word in script.notes[0]


def test_short_movement_is_explained_and_not_kept() -> None:
    script = Script(["squat", ""], seconds=2.0)
    assert teach(script, source(60)).takes == []
    assert "too short" in script.notes[0]
