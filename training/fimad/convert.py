"""Take -> clip and task -> part: the work of one worker of the builder."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, replace
from math import floor

import numpy as np

from mujo_edge.core import F32, DataError, MujoError
from mujo_edge.signal import resample
from training.fimad.clip import POSE_RATE_HZ, Clip, Motion, Take, Task
from training.fimad.shards import Writer, encode
from training.fimad.titles import texts
from training.fimad.virtual_imu import virtual_imus


@dataclass(frozen=True, slots=True)
class Part:
    """Result of one task: `rows` as a Parquet file (`shards.encode`), the number of `clips` in it, (id, reason) of
    every take that could not be used, and the seconds it took."""

    rows: bytes
    clips: int
    failures: tuple[tuple[str, str], ...]
    seconds: float


def read_task(task: Task, license: str = "") -> Part:
    """Read, convert and pack all takes of `task`; those that cannot be used are listed in `failures`.

    Raises `MujoError` for errors that every other task would meet too, such as a package that is not installed.
    """
    start_s = time.perf_counter()
    clips: list[Clip] = []
    failures: list[tuple[str, str]] = []
    try:
        for take in task.read(*task.arguments):
            try:
                clips.append(to_clip(take, license))
            except Exception as error:
                failures.append((take.id, reason(error)))
    except Exception as error:
        failures.append((task.id, reason(error)))
    return pack(task.id, clips, failures, time.perf_counter() - start_s)


def pack(task: str, clips: list[Clip], failures: list[tuple[str, str]], seconds: float) -> Part:
    """The part of a task with these clips; the failures also go into the file's metadata."""
    rows = io.BytesIO()
    with Writer(rows, {"task": task, "clips": len(clips), "failures": failures}) as writer:
        writer.write(encode(clips, task))
    return Part(rows.getvalue(), len(clips), tuple(failures), seconds)


def reason(error: Exception) -> str:
    """One line for the log of failures. Raises `error` again if every other task would meet it too."""
    if isinstance(error, MujoError) and not isinstance(error, DataError):
        raise error
    message = " ".join(str(error).split())
    return message if isinstance(error, DataError) else f"unexpected {type(error).__name__}: {message}"


def to_clip(take: Take, license: str = "") -> Clip:
    """A take with its texts, its motion at `POSE_RATE_HZ`, and the virtual IMU at each placement with known joints.

    Raises `DataError` for a motion without any known joint.
    """
    sentences = texts(take.name, take.descriptions)
    clip = Clip(
        id=take.id,
        corpus=take.corpus,
        title=sentences[0],
        subject=take.subject,
        split=take.split,
        texts=sentences,
        real_imu=take.real_imu,
        video=take.video,
        tower=take.tower,
        license=license,
    )
    if take.motion is None:
        return clip
    if not np.isfinite(take.motion.x).any() or not take.motion.rate_hz > 0:
        raise DataError("its motion has no known joint, or no rate")
    imu = virtual_imus(take.motion)
    return replace(clip, pose=resample_motion(take.motion), flat=take.motion.flat, imu=imu)


def resample_motion(motion: Motion, to_hz: float = POSE_RATE_HZ) -> F32:
    """(n, 20, 3) at the motion's rate -> (m, 20, 3) float32 at `to_hz`, low-pass filtered before downsampling.

    A resampled joint is NaN if it is NaN in either of the two neighboring frames.
    """
    columns = motion.x.reshape(len(motion.x), -1).astype(np.float64)
    known = np.isfinite(columns)
    frames = np.arange(len(columns))
    for column in np.flatnonzero(~known.all(0)):
        there = known[:, column]
        columns[:, column] = np.interp(frames, frames[there], columns[there, column]) if there.any() else 0
    # The filter holds the end values, so the straight line from the first to the last frame is subtracted before it.
    slope = (columns[-1] - columns[0]) / max(1, len(columns) - 1)
    count = floor((len(columns) - 1) * to_hz / motion.rate_hz) + 1
    at = np.arange(count) * motion.rate_hz / to_hz
    line = columns[0] + at[:, None] * slope
    y = resample(columns - columns[0] - frames[:, None] * slope, motion.rate_hz, to_hz) + line
    left = np.minimum(np.floor(at).astype(int), len(columns) - 1)
    right = np.minimum(np.ceil(at).astype(int), len(columns) - 1)
    y[~(known[left] & known[right])] = np.nan
    return y.astype(np.float32).reshape(count, *motion.x.shape[1:])
