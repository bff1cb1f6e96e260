"""A guided session over a live source: name a movement, count down, listen until it is done, and the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from mujo_edge.bundle import ModelBundle
from mujo_edge.bundle.labels import BACKGROUND, check_names
from mujo_edge.bundle.taught import Take
from mujo_edge.core import Chunk, DeviceError, MujoError, Source
from mujo_edge.printable import HIDDEN
from mujo_edge.teaching.takes import TakeCutter, embed

T = TypeVar("T")


class Prompt(Protocol):
    """The teacher's side of a session: a terminal, or a script in tests."""

    async def name(self) -> str:
        """Name of the next movement; "" ends the session."""

    async def countdown(self, label: str) -> None:
        """Return when the movement begins. `label` may be `BACKGROUND`."""

    async def performed(self, listening: Listening) -> None:
        """Return when the movement is done. `listening` grows meanwhile."""

    def received(self, take: Take) -> None:
        """A take that was kept."""

    def note(self, text: str) -> None:
        """Message to the user."""


class Listening:
    """The samples of the take in progress."""

    def __init__(self, bundle: ModelBundle, source: Source, channels: int, label: str) -> None:
        self.label = label
        self.chunks: list[Chunk] = []
        self._cutter = TakeCutter(bundle, source.info, channels)

    @property
    def seconds(self) -> float:
        """Length of the signal so far."""
        return self._cutter.seconds.get(self.label, 0.0)

    @property
    def windows(self) -> int:
        """Windows so far."""
        return self._cutter.windows

    def add(self, chunk: Chunk) -> None:
        """Samples that arrived."""
        if len(chunk.t_s):
            self.chunks.append(chunk)
            self._cutter.update(replace(chunk, truth=(self.label,) * len(chunk.t_s)))

    def takes(self, bundle: ModelBundle, recording: str) -> list[Take]:
        """The takes, one unless there were gaps."""
        return [embed(bundle, part, recording) for part in self._cutter.finish()]


@dataclass(slots=True)
class Session:
    """The takes of a session, and the error that ended it early, if any."""

    takes: list[Take] = field(default_factory=list)
    failure: MujoError | None = None


async def guided_session(
    bundle: ModelBundle, source: Source, prompt: Prompt, channels: int, labels: Sequence[str] = ()
) -> Session:
    """Teach over a source that was entered, until an empty name, the end of the source or Ctrl-C.

    Args:
        bundle, channels: as `TakeCutter`. source: it is read all the time; samples outside takes are not used.
        prompt: the teacher's side. labels: movements to teach; names are asked for if there are none.

    A disconnect ends the session: the takes before it and the part of the one in progress are kept.
    """
    session = Session()
    listening: list[Listening] = []

    async def receive() -> None:
        async for chunk in source.chunks():
            for one in listening:
                one.add(chunk)

    receiver = asyncio.ensure_future(receive())

    async def ask(question: Awaitable[T]) -> T:
        """The answer, or an error if the source ends before it."""
        answer = asyncio.ensure_future(question)
        try:
            await asyncio.wait({answer, receiver}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
        finally:
            answer.cancel()
        receiver.result()
        raise DeviceError("the source ended in the middle of teaching; what was taught before is kept")

    def keep(take: Listening, refused: set[str]) -> None:
        takes = [one for one in take.takes(bundle, source.info.name) if len(one.embeddings) > 1]
        for one in takes:
            if one.still and one.label != BACKGROUND and one.label not in refused:
                refused.add(one.label)
                prompt.note(
                    f"nothing moved in {one.seconds:.0f} s, so it was not kept: is the sensor worn? For a posture, "
                    "give the same name once more"
                )
                return
            session.takes.append(one)
            prompt.received(one)
        if not takes:
            need_s = bundle.input.window / bundle.input.rate_hz
            prompt.note(f"{take.seconds:.1f} s of signal are too short: do it for at least {need_s + 1:g} s")

    async def listen(label: str, refused: set[str]) -> None:
        await ask(prompt.countdown(label))
        take = Listening(bundle, source, channels, label)
        listening.append(take)
        try:
            await ask(prompt.performed(take))
        finally:
            listening.clear()
            keep(take, refused)

    try:
        refused: set[str] = set()
        for label in labels:
            await listen(label, refused)
        while not labels and (label := (await ask(prompt.name())).strip()):
            if problem := _unfit(label):
                prompt.note(problem)
            else:
                await listen(label, refused)
        if session.takes and not labels:
            await listen(BACKGROUND, refused)
    except MujoError as error:
        session.failure = error
    except (asyncio.CancelledError, EOFError):  # Ctrl-C or a closed terminal: what was taught is kept
        if not session.takes:
            raise
    finally:
        receiver.cancel()
        with suppress(asyncio.CancelledError, MujoError):
            await receiver
    return session


def _unfit(label: str) -> str:
    """Why a name cannot be a label; "" if it can."""
    try:
        check_names([label])
    except ValueError as error:
        return str(error)
    return f"{label!a} has a hidden character" if HIDDEN.search(label) or len(label) > 200 else ""
