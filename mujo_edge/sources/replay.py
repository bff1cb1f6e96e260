"""Recordings played back as if they were devices: in real time, faster, or as fast as possible.

`ReplaySource` plays samples; `RawReplay` decodes the recorded bytes of a live source again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise
from math import isfinite
from pathlib import Path
from time import monotonic
from typing import Self

import numpy as np

from firmware_bridge.stream import CodecError, Decoder
from mujo_edge.core import Chunk, DataError, DeviceError, Payload, StreamInfo, UsageError
from mujo_edge.recordings import session as sessions
from mujo_edge.recordings.reader import Recording, open_recording
from mujo_edge.recordings.units import NOTHING, Answers
from mujo_edge.sources.connections import read_connection
from mujo_edge.sources.live import LIMIT, Assembler, stream_info

CHUNK_S = 0.1
"""Device time of one chunk at a limited speed: about that of a watch's notification."""

LONGEST_WAIT_S = 2.0
"""Longest pause for a gap in a recording at speed 1; times stay as recorded."""

BATCH = 256
"""Payloads that are decoded at a time when played as fast as possible."""


class ReplaySource:
    """A `Source` that plays a recording.

    A chunk is emitted when its last sample would have been taken, on a schedule that does not drift.
    Without a speed, chunks of some thousand samples are emitted as fast as they are consumed.

    Args:
        path: a session folder, a CSV (.csv, .csv.gz) or a Parquet file.
        speed: 1 is real time, 8 eight times as fast, None as fast as possible.
        rate_hz: sample rate of a file without times, or with coarse ones.
        answers: what is known about the columns of a file.

    Raises:
        UsageError: no such file, a speed or rate that is not positive, a rate that is missing or superfluous.
        DataError: not a recording, or one that cannot be read; also while it plays.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        speed: float | None = 1.0,
        rate_hz: float | None = None,
        answers: Answers = NOTHING,
    ) -> None:
        _check_speed(speed)
        self.speed = speed
        self.recording: Recording = open_recording(Path(path), rate_hz, answers)

    def __repr__(self) -> str:
        return f"<ReplaySource of {self.info.name}>"

    @property
    def info(self) -> StreamInfo:
        """The recorded stream; known before the first sample."""
        return self.recording.info

    @property
    def notes(self) -> list[str]:
        """Assumptions, omissions and damage; complete once the chunks have ended."""
        return self.recording.notes

    @property
    def status(self) -> str:
        """Empty: a recording is always there."""
        return ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def chunks(self) -> AsyncIterator[Chunk]:
        """The recording from its start; ends with it."""
        if self.speed is None:
            with closing(self.recording.chunks(1 << 17)) as chunks:
                for chunk in chunks:
                    yield replace(chunk, received_s=monotonic())
                    await asyncio.sleep(0)
            return
        start, played_s = monotonic(), 0.0
        last_s: float | None = None
        with closing(self.recording.chunks(1 << 15)) as chunks:
            for chunk in (part for whole in chunks for part in split(whole)):
                if len(chunk.t_s) and isfinite(end_s := float(chunk.t_s[-1])):
                    # Time that steps back or leaps is handled by `mujo_edge.gaps`; it must not stop playback.
                    before_s = float(chunk.t_s[0]) if last_s is None else last_s
                    played_s += min(max(end_s - before_s, 0.0), LONGEST_WAIT_S)
                    last_s = end_s
                await asyncio.sleep(max(0.0, start + played_s / self.speed - monotonic()))
                yield replace(chunk, received_s=monotonic())


def split(chunk: Chunk, period_s: float = CHUNK_S) -> list[Chunk]:
    """`chunk` in parts of `period_s` of device time, with all its samples and counts."""
    if len(chunk.t_s) < 2:
        return [chunk]
    with np.errstate(over="ignore", invalid="ignore"):
        slot = np.floor((chunk.t_s - chunk.t_s[0]) / period_s)
    cuts = [0, *(np.flatnonzero(slot[1:] != slot[:-1]) + 1).tolist(), len(slot)]
    return [
        Chunk(
            chunk.t_s[a:b],
            chunk.x[a:b],
            chunk.received_s,
            chunk.lost if a == 0 else 0,
            None if chunk.truth is None else chunk.truth[a:b],
        )
        for a, b in pairwise(cuts)
    ]


def shipped_recording() -> Path:
    """The folder of the recording that comes with mujo-edge, played when no source is named.

    Raises `DataError` if the installation lacks it.
    """
    folder = Path(str(files("mujo_edge"))) / "assets" / "recordings"
    folders = sorted(path.parent for path in folder.glob("*/session.json"))
    if not folders:
        raise DataError(f"no recording in {folder}: the installation is incomplete. Install mujo-edge again.")
    return folders[0]


class RawReplay:
    """A `Source` that plays the raw.ndjson of a session folder through the decoders of its connections.

    Times, samples and losses are those of the live run, bit for bit, if the decoders are the same.

    Args:
        path: the session folder.
        speed: 1 is real time, 8 eight times as fast, None as fast as possible.

    Raises:
        UsageError: no such folder, no recorded bytes in it, or a speed that is not positive.
        DataError: not a session folder, or its bytes cannot be decoded; also while it plays.
    """

    def __init__(self, path: str | Path, *, speed: float | None = 1.0) -> None:
        _check_speed(speed)
        folder = Path(path)
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a session folder: only those hold bytes that can be decoded again")
        session = sessions.load(folder)
        self._path = folder / sessions.RAW_FILE
        if not self._path.exists():
            raise UsageError(
                f"{folder} holds samples but no bytes to decode (source: {session.source[:60]}). "
                "Leave --decode-again out"
            )
        self.speed = speed
        self.status = ""
        self.notes: list[str] = []
        first = next((decoder for decoder, _ in self._connections() if decoder), None)
        if first is None:
            raise DataError(f"{self._path} holds no connection that sent samples")
        self._info = stream_info(session.info.name, first.format)

    @property
    def info(self) -> StreamInfo:
        """The stream as the live source described it; known before the first sample."""
        return self._info

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def chunks(self) -> AsyncIterator[Chunk]:
        """The recording from its start; ends with it."""
        assembler: Assembler | None = None
        start_s, played_s = monotonic(), 0.0
        last_s: float | None = None
        self.notes.clear()
        for decoder, payloads in self._connections():
            if decoder and assembler:
                try:
                    assembler.reopen(decoder)
                except DeviceError as error:
                    raise DataError(f"{self._path}: {error}") from None
            elif decoder:
                assembler = Assembler(decoder)
            if assembler is None:
                continue
            if self.speed is not None:
                played_s += min(max(payloads[-1].received_s - (last_s or payloads[-1].received_s), 0.0), LONGEST_WAIT_S)
                last_s = payloads[-1].received_s
                await asyncio.sleep(max(0.0, start_s + played_s / self.speed - monotonic()))
            else:
                await asyncio.sleep(0)
            for chunk in assembler.chunks(payloads):
                yield replace(chunk, received_s=monotonic())

    def _connections(self) -> Iterator[tuple[Decoder | None, list[Payload]]]:
        """Payloads in order, in batches; with a decoder where the first of a batch begins a connection."""
        batch = BATCH if self.speed is None else 1
        ready: list[Payload] = []
        decoder: Decoder | None = None
        opening: _Opening | None = None
        streams = False
        for line, payload in sessions.load_raw(self._path, self.notes):
            if payload.kind == "open":
                self._check_unopened(opening)
                if ready:
                    yield decoder, ready
                ready, decoder = [], None
                opening = _Opening(line)
            if opening:
                if made := opening.add(payload):
                    ready, decoder, opening, streams = opening.payloads, made, None, True
                elif len(opening.payloads) > LIMIT:
                    self._check_unopened(opening)
            elif streams:
                ready.append(payload)
            else:
                raise DataError(f"{self._path}, line {line}: bytes before any connection was opened")
            if len(ready) >= batch:
                yield decoder, ready
                ready, decoder = [], None
        self._check_unopened(opening)
        if ready:
            yield decoder, ready

    def _check_unopened(self, opening: _Opening | None) -> None:
        """Raise `DataError` for a connection with data but no decoder; one without data failed in the live run too."""
        if opening and any(payload.kind == "data" for payload in opening.payloads):
            raise DataError(
                f"{self._path}, line {opening.line}: this connection cannot be decoded: {opening.why[:120]}"
            )


class _Opening:
    """The payloads of a connection, which begins at `line`, until its decoder is known."""

    def __init__(self, line: int) -> None:
        self.line, self.why = line, ""
        self.payloads: list[Payload] = []

    def add(self, payload: Payload) -> Decoder | None:
        """The decoder, once `payload` completes the replies that it needs."""
        self.payloads.append(payload)
        if payload.kind in ("open", "reply"):
            try:
                replies = [payload.data for payload in self.payloads if payload.kind == "reply"]
                return read_connection(self.payloads[0].data).decoder(replies)
            except CodecError as error:
                self.why = str(error)
        return None


def _check_speed(speed: float | None) -> None:
    if speed is not None and not (isfinite(speed) and speed > 0):
        raise UsageError(f"the speed must be a positive number or max, not {speed:g}")
