"""A take becomes a clip, and a task a part: what a worker of the builder does, on whatever machine it runs."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, replace
from math import floor

import numpy as np
import pyarrow as pa

from mujo_edge.core import F32, DataError, MujoError
from mujo_edge.signal import resample
from training.fimad.clip import POSE_RATE_HZ, Clip, Motion, Take, Task
from training.fimad.shards import Writer, encode
from training.fimad.titles import texts
from training.fimad.virtual_imu import virtual_imus


@dataclass(frozen=True, slots=True)
class Part:
    """What came of one task: `rows` as Parquet (`shards.encode`; `split` is null where the publisher gives none), how
    many `clips` they hold, (id, what was wrong) of every take that could not be used, and how long it took."""

    rows: bytes
    clips: int
    failures: tuple[tuple[str, str], ...]
    seconds: float


def read_task(task: Task, license: str = "") -> Part:
    """Read, convert and pack everything in `task`; what cannot be used is said in `failures`.

    Raises `MujoError` for what would befall every other task too, such as a package that is not installed.
    """
    start_s = time.perf_counter()
    clips: list[Clip] = []
    splits: list[str | None] = []
    failures: list[tuple[str, str]] = []
    try:
        for take in task.read(*task.arguments):
            try:
                clips.append(to_clip(take, license))
                splits.append(take.split)
            except Exception as error:
                failures.append((take.id, reason(error)))
    except Exception as error:
        failures.append((task.id, reason(error)))
    return pack(task.id, clips, splits, failures, time.perf_counter() - start_s)


def pack(
    task: str, clips: list[Clip], splits: list[str | None], failures: list[tuple[str, str]], seconds: float
) -> Part:
    """The part of a task of these clips and failures; the latter also go into the metadata of its rows."""
    rows = io.BytesIO()
    table = with_splits(encode(clips, task), splits)
    with Writer(rows, {"task": task, "clips": len(clips), "failures": failures}) as writer:
        writer.write(table)
    return Part(rows.getvalue(), len(clips), tuple(failures), seconds)


def with_splits(table: pa.Table, splits: list[str | None]) -> pa.Table:
    """Rows of `shards.encode` with other splits."""
    return table.set_column(table.column_names.index("split"), "split", pa.array(splits, pa.string()))


def reason(error: Exception) -> str:
    """What a failure is logged as, in one line. Raises it again where every other task would meet it too."""
    if isinstance(error, MujoError) and not isinstance(error, DataError):
        raise error
    told = " ".join(str(error).split())
    return told if isinstance(error, DataError) else f"unexpected {type(error).__name__}: {told}"


def to_clip(take: Take, license: str = "") -> Clip:
    """A take with its texts, its motion at `POSE_RATE_HZ` and the virtual IMU at every placement that it shows.

    `split` is "train" where the publisher gives none, until all people of the source are known. Raises `DataError`
    for a motion that holds nothing.
    """
    said = texts(take.name, take.descriptions)
    clip = Clip(
        id=take.id,
        corpus=take.corpus,
        title=said[0],
        subject=take.subject,
        split=take.split or "train",
        texts=said,
        real_imu=take.real_imu,
        video=take.video,
        tower=take.tower,
        license=license,
    )
    if take.motion is None:
        return clip
    if not np.isfinite(take.motion.x).any() or not take.motion.rate_hz > 0:
        raise DataError("its motion has no joint that is known, or no rate")
    imu = virtual_imus(take.motion)
    return replace(clip, pose=resample_motion(take.motion), flat=take.motion.flat, imu=imu)


def resample_motion(motion: Motion, to_hz: float = POSE_RATE_HZ) -> F32:
    """(n, 20, 3) at the motion's rate -> (m, 20, 3) float32 at `to_hz`, low-passed where it was faster.

    A joint is NaN wherever one of the two frames beside it is.
    """
    columns = motion.x.reshape(len(motion.x), -1).astype(np.float64)
    known = np.isfinite(columns)
    frames = np.arange(len(columns))
    for column in np.flatnonzero(~known.all(0)):
        there = known[:, column]
        columns[:, column] = np.interp(frames, frames[there], columns[there, column]) if there.any() else 0
    # The way from the first to the last frame is taken out before the filter, which holds the ends still.
    slope = (columns[-1] - columns[0]) / max(1, len(columns) - 1)
    count = floor((len(columns) - 1) * to_hz / motion.rate_hz) + 1
    at = np.arange(count) * motion.rate_hz / to_hz
    line = columns[0] + at[:, None] * slope
    y = resample(columns - columns[0] - frames[:, None] * slope, motion.rate_hz, to_hz) + line
    left = np.minimum(np.floor(at).astype(int), len(columns) - 1)
    right = np.minimum(np.ceil(at).astype(int), len(columns) - 1)
    y[~(known[left] & known[right])] = np.nan
    return y.astype(np.float32).reshape(count, *motion.x.shape[1:])
