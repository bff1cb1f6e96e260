"""A recording played back as if it were a device, in real time, faster, or as fast as it goes."""

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
from mujo_edge.sources.connections import read_connection
from mujo_edge.sources.live import LIMIT, Assembler, stream_info

CHUNK_S = 0.1
"""Device time in one chunk when played at a speed: about what a watch puts into one notification."""

LONGEST_WAIT_S = 2.0
"""A gap in the recording is waited for no longer than this (at speed 1); its times stay as recorded."""

BATCH = 256
"""Payloads that are decoded at a time when played as fast as possible."""


class ReplaySource:
    """A `Source` that plays a recording.

    Chunks come out when their last sample would have been taken, on a schedule that does not drift.
    Without a speed they come as fast as they are asked for, some thousand samples each.

    Args:
        path: a session folder, a CSV (.csv, .csv.gz) or a Parquet file.
        speed: 1 is real time, 8 eight times as fast, None as fast as possible.
        rate_hz: sample rate of a file without a time column.

    Raises:
        UsageError: no such file, a speed or rate that is not positive, a rate missing or not wanted.
        DataError: not a recording, or one that cannot be understood; also while it plays.
    """

    def __init__(self, path: str | Path, *, speed: float | None = 1.0, rate_hz: float | None = None) -> None:
        _check_speed(speed)
        self.speed = speed
        self.recording: Recording = open_recording(Path(path), rate_hz)

    @property
    def info(self) -> StreamInfo:
        """What the recording says of itself; known before the first sample."""
        return self.recording.info

    @property
    def notes(self) -> list[str]:
        """What was assumed, left out or found torn; complete once the chunks have ended."""
        return self.recording.notes

    @property
    def status(self) -> str:
        """Nothing: a recording is always there."""
        return ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def chunks(self) -> AsyncIterator[Chunk]:
        """The recording from its start; ends with it."""
        if self.speed is None:
            with closing(self.recording.chunks(1 << 18)) as chunks:
                for chunk in chunks:
                    yield replace(chunk, received_s=monotonic())
                    await asyncio.sleep(0)
            return
        start, played_s = monotonic(), 0.0
        last_s: float | None = None
        with closing(self.recording.chunks(1 << 15)) as chunks:
            for chunk in (part for whole in chunks for part in split(whole)):
                if len(chunk.t_s) and isfinite(end_s := float(chunk.t_s[-1])):
                    # Time that steps back, or leaps, is for the clock stage to judge; it must not stop the show.
                    before_s = float(chunk.t_s[0]) if last_s is None else last_s
                    played_s += min(max(end_s - before_s, 0.0), LONGEST_WAIT_S)
                    last_s = end_s
                await asyncio.sleep(max(0.0, start + played_s / self.speed - monotonic()))
                yield replace(chunk, received_s=monotonic())


def split(chunk: Chunk, period_s: float = CHUNK_S) -> list[Chunk]:
    """`chunk` in parts of `period_s` of device time; every sample and count stays."""
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
    """The folder of the real recording that comes with mujo-edge, played when no source is named.

    Raises `DataError` if the installation lacks it.
    """
    folder = Path(str(files("mujo_edge"))) / "assets" / "recordings"
    found = sorted(path.parent for path in folder.glob("*/session.json"))
    if not found:
        raise DataError(f"no recording in {folder}: the installation is incomplete. Install mujo-edge again.")
    return found[0]


class RawReplay:
    """A `Source` that plays the raw.ndjson of a session folder through the decoders of its connections.

    Times, samples and losses are those of the live run, bit for bit, if the decoders are the same.

    Args:
        path: the session folder.
        speed: 1 is real time, 8 eight times as fast, None as fast as possible.

    Raises:
        UsageError: no such folder, no bytes were recorded there, or a speed that is not positive.
        DataError: it is no session, or its bytes cannot be decoded; also while it plays.
    """

    def __init__(self, path: str | Path, *, speed: float | None = 1.0) -> None:
        _check_speed(speed)
        folder = Path(path)
        if not folder.is_dir():
            raise UsageError(f"{folder} is no session folder: only there are bytes that can be decoded again")
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
            raise DataError(f"{self._path} holds no connection that streamed")
        self._info = stream_info(session.info.name, first.format)

    @property
    def info(self) -> StreamInfo:
        """As the live source had it; known before the first sample."""
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
        for decoder, raws in self._connections():
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
                played_s += min(max(raws[-1].received_s - (last_s or raws[-1].received_s), 0.0), LONGEST_WAIT_S)
                last_s = raws[-1].received_s
                await asyncio.sleep(max(0.0, start_s + played_s / self.speed - monotonic()))
            else:
                await asyncio.sleep(0)
            for chunk in assembler.chunks(raws):
                yield replace(chunk, received_s=monotonic())

    def _connections(self) -> Iterator[tuple[Decoder | None, list[Payload]]]:
        """Records in order, some at a time; with a decoder where a connection begins with the first of them."""
        batch = BATCH if self.speed is None else 1
        ready: list[Payload] = []
        fresh: Decoder | None = None
        opening: _Opening | None = None
        streams = False
        for line, raw in sessions.load_raw(self._path, self.notes):
            if raw.kind == "open":
                self._give_up(opening)
                if ready:
                    yield fresh, ready
                ready, fresh = [], None
                opening = _Opening(line)
            if opening:
                if decoder := opening.add(raw):
                    ready, fresh, opening, streams = opening.raws, decoder, None, True
                elif len(opening.raws) > LIMIT:
                    self._give_up(opening)
            elif streams:
                ready.append(raw)
            else:
                raise DataError(f"{self._path}, line {line}: bytes before any connection was opened")
            if len(ready) >= batch:
                yield fresh, ready
                ready, fresh = [], None
        self._give_up(opening)
        if ready:
            yield fresh, ready

    def _give_up(self, opening: _Opening | None) -> None:
        """A connection that had no decoder is an error if it had bytes, else it came to nothing in the live run too."""
        if opening and any(raw.kind == "data" for raw in opening.raws):
            raise DataError(
                f"{self._path}, line {opening.line}: this connection cannot be decoded: {opening.why[:120]}"
            )


class _Opening:
    """The records of a connection from its first, at `line`, until there are enough for its decoder."""

    def __init__(self, line: int) -> None:
        self.line, self.why = line, ""
        self.raws: list[Payload] = []

    def add(self, raw: Payload) -> Decoder | None:
        """The decoder, once `raw` was the last that it takes."""
        self.raws.append(raw)
        if raw.kind in ("open", "reply"):
            try:
                replies = [raw.data for raw in self.raws if raw.kind == "reply"]
                return read_connection(self.raws[0].data).decoder(replies)
            except CodecError as error:
                self.why = str(error)
        return None


def _check_speed(speed: float | None) -> None:
    if speed is not None and not (isfinite(speed) and speed > 0):
        raise UsageError(f"the speed must be a positive number or max, not {speed:g}")
