"""Pose from video: MediaPipe's landmarks of one person, cleaned up, placed in the room and mapped to `JOINTS`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from mujo_edge.core import F32, F64, DataError
from training.fimad.clip import JOINTS, Motion
from training.fimad.pose import cleanup, process

SIDES = {
    "shoulders": ((11,), (12,)),
    "arms": ((13, 15, 17, 19, 21), (14, 16, 18, 20, 22)),
    "hips": ((23,), (24,)),
    "legs": ((25, 27, 29, 31), (26, 28, 30, 32)),
}
"""MediaPipe's (left, right) landmarks by group. The model swaps the sides of each group separately: in videos filmed
from the side, the legs but not the hips."""

PARTS: Mapping[str, tuple[int, ...]] = {
    "pelvis": (23, 24),
    "spine": (11, 12, 23, 24),
    "neck": (11, 12),
    "head": (7, 8),
    "left_shoulder": (11,),
    "left_elbow": (13,),
    "left_wrist": (15,),
    "left_hand": (17, 19),
    "right_shoulder": (12,),
    "right_elbow": (14,),
    "right_wrist": (16,),
    "right_hand": (18, 20),
    "left_hip": (23,),
    "left_knee": (25,),
    "left_ankle": (27,),
    "left_foot": (31,),
    "right_hip": (24,),
    "right_knee": (26,),
    "right_ankle": (28,),
    "right_foot": (32,),
}
"""Joint -> the landmarks whose mean it is (mediapipe, `solutions/pose.py`, PoseLandmark): the middle of the skull lies
between the ears, that of the knuckles between those of index and little finger."""

MIN_VISIBILITY = 0.1
"""Visibility below which a joint is unknown. Low, because the far limbs are hidden half of the time in videos filmed
from the side, and the model's estimate of them has the right lengths and twice the jitter."""

MIN_S = 1.0
"""Duration below which a stretch is dropped."""


def pose_of_video(frames: Iterable[tuple[float, npt.NDArray[np.uint8]]]) -> list[tuple[float, Motion]]:
    """Motion of the most prominent person in a video by MediaPipe Pose (model "full"), in stretches of `MIN_S` or more.

    Swapped sides are corrected and gaps of up to 0.5 s filled; longer gaps, cuts and jumps to another person start a
    new stretch. The path through the room is the one that projects the landmarks onto their image positions for a still
    camera with a usual angle of view; a panning camera looks like a walking person. z is the vertical of the image, or
    the direction of the body where the person stands upright.

    Args:
        frames: time in seconds, increasing, and RGB (h, w, 3) uint8; read one at a time, at the rate of the resulting
            motion (25 to 50 Hz).

    Returns:
        (start, motion): seconds on the frames' clock, and `Motion` at the frames' own rate, NaN for joints that are not
        visible; empty if no person is visible.

    Raises:
        MissingExtraError: mediapipe's environment cannot be made.
        DataError: a frame is not an RGB image, times do not increase, or mediapipe's process ended.
    """
    t_s, world, rays, visibility = detect_landmarks(frames)
    if len(t_s) < 2:
        return []
    rate_hz = float(1 / np.median(np.diff(t_s)))
    seen = np.isfinite(world).all((1, 2))
    t_s, world, rays, visibility = t_s[seen], world[seen], rays[seen], visibility[seen]
    if not len(t_s):
        return []
    placed = world + cleanup.root_path(world, rays, visibility)[:, None]
    left, right = (np.concatenate([pair[side] for pair in SIDES.values()]) for side in (0, 1))
    motions = []
    # The means of left and right do not jump when sides swap.
    for part in cleanup.stretches(t_s, (placed[:, left] + placed[:, right]) / 2):
        if t_s[part[-1]] - t_s[part[0]] >= MIN_S:
            times, *stretch = (a[part] for a in (t_s, world, rays, visibility))
            unswap_sides(times, *stretch)
            x = motion_of(times, *stretch, rate_hz)
            if x is not None:
                motions.append((float(times[0]), Motion(x, rate_hz)))
    return motions


def detect_landmarks(frames: Iterable[tuple[float, npt.NDArray[np.uint8]]]) -> tuple[F64, F32, F32, F32]:
    """Times (n,), world landmarks (n, 33, 3), rays (n, 33, 2) and visibility (n, 33); NaN in frames without a person.

    Rays are (x / z, y / z) for a focal length equal to the image diagonal (55 degrees of view), the usual assumption
    for an unknown camera (Li et al., CLIFF, ECCV 2022, section 3.2).
    """
    model = process.landmarker()
    times, rows = [], []
    for t, rgb in frames:
        if not np.isfinite(t) or (times and t <= times[-1]):
            raise DataError(f"the frame times do not increase at {t} s; cut the video again or leave it out")
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
            raise DataError(f"a frame is {rgb.dtype} {rgb.shape}, expected RGB in uint8 (height, width, 3)")
        try:
            landmarks = model.landmarks(rgb)
        except BaseException:
            process.discard()
            raise
        height, width = rgb.shape[:2]
        row = np.full((process.LANDMARKS, process.COLUMNS), np.nan, np.float32)
        if landmarks is not None:
            row[:] = landmarks
            row[:, 3:5] = (landmarks[:, 3:5] - 0.5) * np.array([width, height]) / np.hypot(width, height)
        times.append(float(t))
        rows.append(row)
    all_rows = np.array(rows, np.float32).reshape(-1, process.LANDMARKS, process.COLUMNS)
    return np.array(times), all_rows[..., :3], all_rows[..., 3:5], all_rows[..., 5]


def unswap_sides(t_s: F64, world: F32, rays: F32, visibility: F32) -> None:
    """Exchange left and right in the frames in which the model swapped them, in place."""
    for left, right in SIDES.values():
        frames = np.flatnonzero(cleanup.swapped(t_s, world, left, right))[:, None]
        for x in (world, rays, visibility):
            x[frames, [*left, *right]] = x[frames, [*right, *left]]


def motion_of(t_s: F64, world: F32, rays: F32, visibility: F32, rate_hz: float) -> F32 | None:
    """One stretch as `Motion.x`: along its path, evenly sampled, smoothed and leveled. None if no joint is known.

    The origin is the median of the pelvis, or of all joints if the pelvis is never visible.
    """
    path = cleanup.root_path(world, rays, visibility)
    depth = cleanup.resample(t_s, path[:, None, 2:], rate_hz)
    depth = cleanup.smooth(depth, rate_hz, cleanup.DEPTH_S, order=2)[:, 0, 0]
    even = t_s[0] + np.arange(len(depth)) / rate_hz
    path = cleanup.root_path(world, rays, visibility, np.interp(t_s, even, depth))
    x = np.stack([world[:, PARTS[name]].mean(1) for name in JOINTS], 1) + path[:, None]
    known = np.stack([visibility[:, PARTS[name]].mean(1) for name in JOINTS], 1) >= MIN_VISIBILITY
    known &= ~cleanup.broken(x)
    x = np.stack([x[..., 0], x[..., 2], -x[..., 1]], 2)  # camera: x right, y down, z away; room: x right, y away, z up
    x = cleanup.smooth(cleanup.resample(t_s, np.where(known[..., None], x, np.nan), rate_hz), rate_hz)
    if not np.isfinite(x).any():
        return None
    up = cleanup.up_axis(x, rate_hz)
    if up is not None:
        x = cleanup.level(x, up)
    origin = x[:, 0] if np.isfinite(x[:, 0]).any() else x.reshape(-1, 3)
    return (x - np.nanmedian(origin, axis=0)).astype(np.float32)
