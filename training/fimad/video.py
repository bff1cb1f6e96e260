"""Videos: stretches decoded by PyAV, features of their frames by a frozen image tower, and the pose in them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from mujo_edge.core import F32, DataError, MissingExtraError
from training.fimad.clip import DEFAULT_TOWER, VIDEO_RATE_HZ, Motion, Take

if TYPE_CHECKING:
    from av import VideoFrame

    from training.fimad.towers import Tower

SUFFIXES = frozenset({".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v"})
POSE_FRAMES_HZ, LONGEST_PX = 30.0, 640
"""Frames beyond this rate are passed over, larger ones made smaller: the landmark model sees 256 px at most."""
SHORTEST_S, BATCH = 1.0, 16


@dataclass(frozen=True, slots=True)
class Cut:
    """A stretch of a video file in seconds from its first frame; `stop_s` None is its end."""

    path: Path
    start_s: float = 0.0
    stop_s: float | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What is made of videos and photos: features by `tower` (None: none; see `training.fimad.towers.load`) with
    the user's `weights`, and whether their pose is estimated."""

    tower: str | None = DEFAULT_TOWER
    weights: Path | None = None
    pose: bool = True


def frames(cut: Cut, rate_hz: float = POSE_FRAMES_HZ) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds from the cut's start, (h, w, 3) uint8 RGB, upright), at most about `rate_hz` a second, in order.

    Raises `DataError` for what is no video, is damaged, or holds no frame of the cut.
    """
    av, none = _av(), True
    try:
        with av.open(str(cut.path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise DataError(f"{cut.path} holds no video. Is it a recording of sound alone?")
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
                # A frame that comes a little early is not passed over: 30 fps is rounded to milliseconds in some files.
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
        raise MissingExtraError("PyAV is not installed. Install it with: pip install 'mujo-edge[train]'") from None
    return av


def _upright(frame: VideoFrame) -> np.ndarray:
    """A frame as RGB, no side longer than `LONGEST_PX`, turned as its display matrix says."""
    scale = min(1.0, LONGEST_PX / max(frame.width, frame.height))
    size = (max(2, round(side * scale)) for side in (frame.width, frame.height))
    rgb = frame.to_ndarray(format="rgb24", **dict(zip(("width", "height"), size, strict=True)))
    return np.ascontiguousarray(np.rot90(rgb, round(frame.rotation / 90)))


def chapters(path: Path) -> list[tuple[str, Cut]]:
    """Title and cut of each chapter that a video file holds itself. Raises `DataError` for what is no video."""
    av = _av()
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            found = container.chapters()
    except (av.error.FFmpegError, OSError) as error:
        raise DataError(f"{path} cannot be opened ({error}). Fetch or convert the video again") from None
    return [
        (
            chapter["metadata"].get("title", ""),
            Cut(path, float(chapter["start"] * chapter["time_base"]), float(chapter["end"] * chapter["time_base"])),
        )
        for chapter in found
    ]


def watched(
    stream: Iterable[tuple[float, np.ndarray]], tower: Tower, features: list[F32]
) -> Iterator[tuple[float, np.ndarray]]:
    """The stream as it comes. Once it is used up `features` holds rows (k, F) of the frames on show at VIDEO_RATE_HZ,
    from time 0 to the last frame's; a late first frame is on show from time 0."""
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

    One take for every stretch in which a person is seen, numbered behind the clip's id where there are several; where
    nobody is seen, or no pose is asked for, one take of the video alone. Raises `DataError` as `frames` does.
    """
    features: list[F32] = []
    stream = frames(cut, POSE_FRAMES_HZ if options.pose else 2 * VIDEO_RATE_HZ)
    if options.tower:
        from training.fimad.towers import load

        stream = watched(stream, load(options.tower, options.weights), features)
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
    """How many rows of video features a motion lasts."""
    return int(np.ceil(len(motion.x) / motion.rate_hz * VIDEO_RATE_HZ))


def poses(stream: Iterable[tuple[float, np.ndarray]]) -> list[tuple[int, Motion]]:
    """Motions of at least `SHORTEST_S`, each begun at a row of the video features, and that row's number."""
    from training.fimad.pose import pose_of_video

    found = []
    for start_s, motion in pose_of_video(stream):
        row = int(np.ceil(start_s * VIDEO_RATE_HZ - 1e-6))
        begun = motion.x[max(0, round((row / VIDEO_RATE_HZ - start_s) * motion.rate_hz)) :]
        if len(begun) >= SHORTEST_S * motion.rate_hz:
            found.append((row, replace(motion, x=begun)))
    return found
