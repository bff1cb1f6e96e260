"""Videos: cuts decoded by PyAV, features of their frames by a frozen image tower, and the pose of the person shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from mujo_edge.core import F32, DataError, MissingExtraError, pip_install
from training.fimad.clip import DEFAULT_TOWER, VIDEO_RATE_HZ, Motion, Take

if TYPE_CHECKING:
    from av import VideoFrame

    from training.fimad.towers import Tower

SUFFIXES = frozenset({".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v"})
POSE_FRAMES_HZ, LONGEST_PX = 30.0, 640
"""Maximum rate and side length of decoded frames; the input of the landmark model is 256 px."""
SHORTEST_S = 1.0
"""Minimum duration of a motion."""
BATCH = 16
"""Frames per call of the image tower."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A section of a video file, in seconds from its first frame; `stop_s` None is the end of the file."""

    path: Path
    start_s: float = 0.0
    stop_s: float | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """How videos and photos are processed: features by `tower` (None: no features; see `training.fimad.towers.load`)
    with the user's `weights`, and whether the pose is estimated."""

    tower: str | None = DEFAULT_TOWER
    weights: Path | None = None
    pose: bool = True


def frames(cut: Cut, rate_hz: float = POSE_FRAMES_HZ) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds from the cut's start, (h, w, 3) uint8 RGB, upright) in order, at no more than about `rate_hz`.

    Raises `DataError` for a file that is not a video or is damaged, and for a cut without frames.
    """
    av, none = _av(), True
    try:
        with av.open(str(cut.path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise DataError(f"{cut.path} holds no video. Is it an audio recording?")
            stream = container.streams.video[0]
            first_s, last = float((stream.start_time or 0) * stream.time_base), -np.inf
            if cut.start_s > 0:
                container.seek(int((first_s + cut.start_s) / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if frame.time is None:
                    raise DataError(f"{cut.path} has frames without a time. Convert it to mp4 first")
                t_s = frame.time - first_s
                if cut.stop_s is not None and t_s >= cut.stop_s:
                    break
                # Tolerance of 5 %: some files round the frame times of 30 fps to milliseconds.
                if t_s < cut.start_s or t_s - last < 0.95 / rate_hz:
                    continue
                none, last = False, t_s
                yield t_s - cut.start_s, _upright(frame)
    except (av.error.FFmpegError, OSError) as error:
        raise DataError(f"{cut.path} cannot be decoded ({error}). Fetch or convert the video again") from None
    if none:
        raise DataError(f"{cut.path} has no frame from {cut.start_s:g} s on. Is it shorter than its chapters say?")


def _av() -> ModuleType:
    try:
        import av
    except ImportError:
        raise MissingExtraError(f"PyAV is not installed. Install it with: {pip_install('pose')}") from None
    return av


def _upright(frame: VideoFrame) -> np.ndarray:
    """A frame as RGB, no side longer than `LONGEST_PX`, rotated by its display matrix."""
    scale = min(1.0, LONGEST_PX / max(frame.width, frame.height))
    size = (max(2, round(side * scale)) for side in (frame.width, frame.height))
    rgb = frame.to_ndarray(format="rgb24", **dict(zip(("width", "height"), size, strict=True)))
    return np.ascontiguousarray(np.rot90(rgb, round(frame.rotation / 90)))


def chapters(path: Path) -> list[tuple[str, Cut]]:
    """Title and cut of each chapter in a video file's metadata. Raises `DataError` for a file that is not a video."""
    av = _av()
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            listed = container.chapters()
    except (av.error.FFmpegError, OSError) as error:
        raise DataError(f"{path} cannot be opened ({error}). Fetch or convert the video again") from None
    return [
        (
            chapter["metadata"].get("title", ""),
            Cut(path, float(chapter["start"] * chapter["time_base"]), float(chapter["end"] * chapter["time_base"])),
        )
        for chapter in listed
    ]


def with_features(
    stream: Iterable[tuple[float, np.ndarray]], tower: Tower, features: list[F32]
) -> Iterator[tuple[float, np.ndarray]]:
    """Pass a stream of frames through; append features (k, F) of the frames displayed at VIDEO_RATE_HZ to `features`.

    Once the stream is exhausted they cover time 0 to that of the last frame; the first frame counts from time 0 on.
    """
    shown: np.ndarray | None = None
    waiting: list[np.ndarray] = []
    count = 0
    for t_s, rgb in stream:
        while shown is not None and count / VIDEO_RATE_HZ < t_s:
            waiting.append(shown)
            count += 1
            if len(waiting) == BATCH:
                features.append(tower.embed(waiting))
                waiting.clear()
        shown = rgb
        yield t_s, rgb
    if shown is not None and count / VIDEO_RATE_HZ <= t_s:
        waiting.append(shown)
    if waiting:
        features.append(tower.embed(waiting))


def takes(bare: Take, cut: Cut, options: Options) -> Iterator[Take]:
    """The takes of one clip of a video: `bare` (names and texts) with video features and pose.

    One take for each stretch in which a person is visible; if there are several, a number is appended to the clip's id.
    Without a visible person or with `pose=False`, one take with video features only. Raises `DataError` as `frames`.
    """
    features: list[F32] = []
    stream = frames(cut, POSE_FRAMES_HZ if options.pose else 2 * VIDEO_RATE_HZ)
    if options.tower:
        from training.fimad.towers import load

        stream = with_features(stream, load(options.tower, options.weights), features)
    stretches = poses(stream) if options.pose else []
    deque(stream, maxlen=0)
    video = np.concatenate(features) if features else None
    bare = replace(bare, tower=options.tower or "")
    for number, (start, motion) in enumerate(stretches):
        clip = replace(bare, motion=motion, video=None if video is None else video[start:][: rows(motion)])
        yield clip if len(stretches) == 1 else replace(clip, id=f"{bare.id}.{number}")
    if not stretches:
        yield replace(bare, video=video)


def rows(motion: Motion) -> int:
    """Number of rows of video features that a motion spans."""
    return int(np.ceil(len(motion.x) / motion.rate_hz * VIDEO_RATE_HZ))


def poses(stream: Iterable[tuple[float, np.ndarray]]) -> list[tuple[int, Motion]]:
    """(row, motion) of at least `SHORTEST_S`, cut to begin at the time of that row of the video features."""
    from training.fimad.pose import pose_of_video

    motions = []
    for start_s, motion in pose_of_video(stream):
        row = int(np.ceil(start_s * VIDEO_RATE_HZ - 1e-6))
        x = motion.x[max(0, round((row / VIDEO_RATE_HZ - start_s) * motion.rate_hz)) :]
        if len(x) >= SHORTEST_S * motion.rate_hz:
            motions.append((row, replace(motion, x=x)))
    return motions
