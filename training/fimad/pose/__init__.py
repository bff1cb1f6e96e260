"""Pose from video: MediaPipe's landmarks of one person, mended, placed in the room and mapped to `JOINTS`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from mujo_edge.core import F32, F64, DataError
from training.fimad.clip import JOINTS, Motion
from training.fimad.pose import cleanup as mending
from training.fimad.pose import process as pose_process

SIDES = {
    "shoulders": ((11,), (12,)),
    "arms": ((13, 15, 17, 19, 21), (14, 16, 18, 20, 22)),
    "hips": ((23,), (24,)),
    "legs": ((25, 27, 29, 31), (26, 28, 30, 32)),
}
"""MediaPipe's landmarks of left and right that are swapped as one: in a film from the side, legs without the hips."""

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
"""A joint is the mean of these landmarks (mediapipe, `solutions/pose.py`, PoseLandmark): the skull's middle lies
between the ears, the knuckles' between those of index and little finger."""

VISIBLE = 0.1
"""Below it a joint is unknown. Low, for in films that are seen from the side the far limbs hide half of the time, and
the model's guess of them has the right lengths and twice the jitter."""

LEAST_S = 1.0
"""Shorter pieces are dropped."""


def pose_of_video(frames: Iterable[tuple[float, npt.NDArray[np.uint8]]]) -> list[tuple[float, Motion]]:
    """How the person in a film moves, in pieces of at least `LEAST_S`, each with the time of its first sample.

    The most prominent person, by MediaPipe Pose (model "full"). Sides that swap are mended, gaps up to 0.5 s filled;
    longer ones, cuts and jumps to another person split. The person's way through the room is what puts the landmarks
    onto the picture for a still camera with the usual angle of view; a camera that pans looks like a person who
    walks. z is the picture's vertical, or the line of the standing body where the person stands at all.

    Args:
        frames: time in seconds, increasing, and RGB (h, w, 3); read one at a time, in the rate that the motion
            shall have (25 to 50 a second).

    Returns:
        Start in seconds on the frames' clock and `Motion` at the frames' own rate, NaN for joints out of sight;
        nothing where nobody is seen.

    Raises:
        MissingExtraError: mediapipe's environment cannot be made.
        DataError: frames are no RGB pictures, times do not increase, or mediapipe's process ended.
    """
    t_s, world, rays, visibility = watch(frames)
    if len(t_s) < 2:
        return []
    rate_hz = float(1 / np.median(np.diff(t_s)))
    seen = np.isfinite(world).all((1, 2))
    t_s, world, rays, visibility = t_s[seen], world[seen], rays[seen], visibility[seen]
    if not len(t_s):
        return []
    placed = world + mending.root_path(world, rays, visibility)[:, None]
    left, right = (np.concatenate([pair[side] for pair in SIDES.values()]) for side in (0, 1))
    pieces = []
    for part in mending.stretches(t_s, (placed[:, left] + placed[:, right]) / 2):  # swapped sides are no jump
        if t_s[part[-1]] - t_s[part[0]] >= LEAST_S:
            times, *stretch = (a[part] for a in (t_s, world, rays, visibility))
            swap_back(times, *stretch)
            x = motion_of(times, *stretch, rate_hz)
            if x is not None:
                pieces.append((float(times[0]), Motion(x, rate_hz)))
    return pieces


def watch(frames: Iterable[tuple[float, npt.NDArray[np.uint8]]]) -> tuple[F64, F32, F32, F32]:
    """Times (n,), world landmarks (n, 33, 3), rays (n, 33, 2) and visibility (n, 33); NaN where nobody is seen.

    Rays are (x / z, y / z) for a focal length of the picture's diagonal, 55 degrees of view, which is the guess where
    nothing is known (Li et al., CLIFF, ECCV 2022, section 3.2).
    """
    model = pose_process.landmarker()
    times, rows = [], []
    for t, rgb in frames:
        if not np.isfinite(t) or (times and t <= times[-1]):
            raise DataError(f"the frame times do not increase at {t} s; cut the film anew or leave it out")
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
            raise DataError(f"a frame is {rgb.dtype} {rgb.shape}, expected RGB in uint8 (height, width, 3)")
        try:
            found = model.landmarks(rgb)
        except BaseException:
            pose_process.forget()
            raise
        height, width = rgb.shape[:2]
        row = np.full((pose_process.LANDMARKS, pose_process.COLUMNS), np.nan, np.float32)
        if found is not None:
            row[:] = found
            row[:, 3:5] = (found[:, 3:5] - 0.5) * np.array([width, height]) / np.hypot(width, height)
        times.append(float(t))
        rows.append(row)
    all_rows = np.array(rows, np.float32).reshape(-1, pose_process.LANDMARKS, pose_process.COLUMNS)
    return np.array(times), all_rows[..., :3], all_rows[..., 3:5], all_rows[..., 5]


def swap_back(t_s: F64, world: F32, rays: F32, visibility: F32) -> None:
    """Give left and right limbs their names back, in place."""
    for left, right in SIDES.values():
        frames = np.flatnonzero(mending.swapped(t_s, world, left, right))[:, None]
        for x in (world, rays, visibility):
            x[frames, [*left, *right]] = x[frames, [*right, *left]]


def motion_of(t_s: F64, world: F32, rays: F32, visibility: F32, rate_hz: float) -> F32 | None:
    """One stretch as `Motion.x`: on its path, at an even rate, smooth and level. None if no joint is known.

    The origin is the median of the pelvis, or of all joints where the pelvis is never seen.
    """
    path = mending.root_path(world, rays, visibility)
    depth = mending.resample(t_s, path[:, None, 2:], rate_hz)
    depth = mending.smooth(depth, rate_hz, mending.DEPTH_S, order=2)[:, 0, 0]
    even = t_s[0] + np.arange(len(depth)) / rate_hz
    path = mending.root_path(world, rays, visibility, np.interp(t_s, even, depth))
    x = np.stack([world[:, PARTS[name]].mean(1) for name in JOINTS], 1) + path[:, None]
    known = np.stack([visibility[:, PARTS[name]].mean(1) for name in JOINTS], 1) >= VISIBLE
    known &= ~mending.broken(x)
    x = np.stack([x[..., 0], x[..., 2], -x[..., 1]], 2)  # camera: x right, y down, z away; room: x right, y away, z up
    x = mending.smooth(mending.resample(t_s, np.where(known[..., None], x, np.nan), rate_hz), rate_hz)
    if not np.isfinite(x).any():
        return None
    up = mending.up_axis(x, rate_hz)
    if up is not None:
        x = mending.level(x, up)
    where = x[:, 0] if np.isfinite(x[:, 0]).any() else x.reshape(-1, 3)
    return (x - np.nanmedian(where, axis=0)).astype(np.float32)
