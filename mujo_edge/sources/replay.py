"""A recording played back as if it were a device, in real time, faster, or as fast as it goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Self

import numpy as np

from mujo_edge.core import Chunk, DataError, StreamInfo, UsageError
from mujo_edge.recordings.reader import Recording, open_recording

CHUNK_S = 0.1
"""Device time in one chunk when played at a speed: about what a watch puts into one notification."""

LONGEST_WAIT_S = 2.0
"""A gap in the recording is waited for no longer than this (at speed 1); its times stay as recorded."""


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
        if speed is not None and not (isfinite(speed) and speed > 0):
            raise UsageError(f"the speed must be a positive number or max, not {speed:g}")
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
                    yield replace(chunk, received_s=time.monotonic())
                    await asyncio.sleep(0)
            return
        start, played_s = time.monotonic(), 0.0
        last_s: float | None = None
        with closing(self.recording.chunks(1 << 15)) as chunks:
            for chunk in (part for whole in chunks for part in split(whole)):
                if len(chunk.t_s) and isfinite(end_s := float(chunk.t_s[-1])):
                    # Time that steps back, or leaps, is for the clock stage to judge; it must not stop the show.
                    before_s = float(chunk.t_s[0]) if last_s is None else last_s
                    played_s += min(max(end_s - before_s, 0.0), LONGEST_WAIT_S)
                    last_s = end_s
                await asyncio.sleep(max(0.0, start + played_s / self.speed - time.monotonic()))
                yield replace(chunk, received_s=time.monotonic())


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
