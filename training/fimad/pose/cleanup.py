"""Corrections of a landmark model's errors over time: swapped sides, jumps, gaps, jitter, missing root path, tilt.

World landmarks here are MediaPipe's: meters, centered on the hips, in the camera's axes (x right, y down, z away).
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import Akima1DInterpolator
from scipy.signal import savgol_filter
from scipy.spatial.transform import Rotation

from mujo_edge.core import F32, F64
from training.fimad.clip import JOINTS

SWITCH_M, PREDICT_S = 0.05, 0.1
"""Penalty for a change of sides, and the longest time over which a limb's movement is extrapolated."""

FASTEST_M_S = 6.0
"""Maximum median speed of a body across the image; beyond it there is a cut, or another person."""

BLINK_S, GAP_S = 0.2, 0.5
"""Duration below which a stretch between two jumps is an error, and longest gap that is filled."""

SMOOTH_S, DEPTH_S = 0.3, 1.0
"""Windows of the smoothing polynomial for joints, and for the distance to the camera, the least accurate coordinate."""

LIMBS = (
    (("shoulder", "elbow", "wrist", "hand"), (0.316, 0.248)),
    (("hip", "knee", "ankle", "foot"), (0.417, 0.418)),
)
"""Joints of a limb and the lengths in meters of its first two bones in a person of 1.7 m (Winter, Biomechanics and
Motor Control of Human Movement, 4th edition, figure 4.1, after Drillis and Contini: shares of the height)."""

MIN_BONE, MAX_BONE = 0.5, 1.5
"""Fractions of these lengths outside of which a bone is an error, as in limbs cut off by the edge of the image."""

STRAIGHT_DEG, LEAN_DEG, STANDING_S = 155.0, 35.0, 0.5
"""Standing: minimum angle of hip and knees, maximum lean from the image's vertical, minimum total duration."""


def swapped(t_s: F64, world: F32, left: tuple[int, ...], right: tuple[int, ...]) -> np.ndarray:
    """(n,) bool: the frames in which the landmarks `left` and `right` of `world` (n, 33, 3) are interchanged.

    Each frame is compared with an extrapolation of the last three, so that limbs may cross. The assignment of the
    majority of frames is taken as right.
    """
    pair = np.stack([world[:, left], world[:, right]], 1).astype(float)
    state = np.zeros(len(world), bool)
    for i in range(1, len(world)):
        predicted = pair[i - 1].copy()
        if i >= 3:
            speed = (pair[i - 1] - pair[i - 3]) / (t_s[i - 1] - t_s[i - 3])
            predicted += speed * min(t_s[i] - t_s[i - 1], PREDICT_S)
        stay, cross = (np.linalg.norm(one - predicted, axis=2).sum() for one in (pair[i], pair[i, ::-1]))
        state[i] = cross - stay < (SWITCH_M if state[i - 1] else -SWITCH_M)
        if state[i]:
            pair[i] = pair[i, ::-1].copy()
    return ~state if state.mean() > 0.5 else state


def root_path(world: F32, rays: F32, weight: F32, depth: F64 | None = None) -> F64:
    """(n, 3) meters: the position of the hips in the camera's axes, which world landmarks do not contain.

    It is the translation t that projects the landmarks (n, 33, 3) onto `rays` (n, 33, 2) = (u, v) = (x / z, y / z), by
    least squares with `weight` (n, 33): u (z + t_z) = x + t_x and v (z + t_z) = y + t_y are linear in t. `depth` (n,),
    if not None, is t_z.
    """
    u, v = rays[..., 0].astype(float), rays[..., 1].astype(float)
    x, y, z = np.moveaxis(world.astype(float), 2, 0)
    w = np.maximum(weight.astype(float), 1e-3)
    w /= w.sum(1, keepdims=True)

    def mean(a: F64) -> F64:
        return (w * a).sum(1, keepdims=True)

    if depth is None:
        # t_x = <u (z + t_z) - x> for any t_z; what remains of each equation is linear in t_z alone.
        du, dv = u - mean(u), v - mean(v)
        depth = (mean(du * (x - u * z) + dv * (y - v * z)) / mean(du**2 + dv**2))[:, 0]
    far = z + depth[:, None]
    return np.concatenate([mean(u * far - x), mean(v * far - y), depth[:, None]], 1)


def jumps(t_s: F64, placed: F64) -> np.ndarray:
    """(n,) bool: the frames before which half of the points (n, k, 3) moved too fast across the image."""
    step = np.median(np.linalg.norm(np.diff(placed[..., :2], axis=0), axis=2), axis=1)
    return np.concatenate([[False], step > FASTEST_M_S * np.minimum(np.diff(t_s), PREDICT_S)])


def stretches(t_s: F64, placed: F64) -> list[np.ndarray]:
    """Frame indices of each stretch without a jump or a gap over `GAP_S`; pieces below `BLINK_S` are removed first."""
    keep = np.arange(len(t_s))
    pieces = np.split(keep, np.flatnonzero(jumps(t_s, placed)))
    keep = np.concatenate([p for p in pieces if t_s[p[-1]] - t_s[p[0]] >= BLINK_S] or [keep[:0]])
    breaks = jumps(t_s[keep], placed[keep]) | (np.diff(t_s[keep], prepend=t_s[keep][:1]) > GAP_S)
    return np.split(keep, np.flatnonzero(breaks)) if len(keep) else []


def broken(x: F64) -> np.ndarray:
    """(n, 20) bool: joints of (n, 20, 3) at or beyond the end of a bone of impossible length."""
    bad = np.zeros(x.shape[:2], bool)
    for joints, lengths in LIMBS:
        for side in ("left", "right"):
            columns = [JOINTS.index(f"{side}_{joint}") for joint in joints]
            for i, usual in enumerate(lengths):
                length = np.linalg.norm(x[:, columns[i + 1]] - x[:, columns[i]], axis=1)
                odd = (length < MIN_BONE * usual) | (length > MAX_BONE * usual)
                bad[:, columns[i + 1 :]] |= odd[:, None]
    return bad


def resample(t_s: F64, x: F64, rate_hz: float) -> F64:
    """(n, k, 3) at times `t_s`, NaN where unknown -> (m, k, 3) at `rate_hz` from `t_s[0]` on.

    Gaps of a joint up to `GAP_S` are filled by modified Akima interpolation (smooth, little overshoot); longer ones
    stay NaN.
    """
    grid = t_s[0] + np.arange(int((t_s[-1] - t_s[0]) * rate_hz + 1e-6) + 1) / rate_hz
    out = np.full((len(grid), *x.shape[1:]), np.nan)
    for joint in range(x.shape[1]):
        known = np.flatnonzero(np.isfinite(x[:, joint]).all(1))
        if len(known) < 2:
            continue
        times = t_s[known]
        after = np.searchsorted(times, grid, side="left").clip(1, len(times) - 1)
        inside = (grid >= times[0] - 1e-6) & (grid <= times[-1] + 1e-6)
        inside &= (times[after] - times[after - 1] <= GAP_S) | np.isclose(grid, times[after])
        out[inside, joint] = Akima1DInterpolator(times, x[known, joint], method="makima")(
            grid[inside].clip(times[0], times[-1])
        )
    return out


def smooth(x: F64, rate_hz: float, window_s: float = SMOOTH_S, order: int = 3) -> F64:
    """(n, k, 3) smoothed by a polynomial of `order` around each sample (Savitzky and Golay, 1964), without lag.

    A joint's stretch that is shorter than the window becomes NaN.
    """
    window = max(2 * round(window_s * rate_hz / 2) + 1, order + 2 - order % 2)
    out = np.full_like(x, np.nan)
    for joint in range(x.shape[1]):
        known = np.isfinite(x[:, joint]).all(1)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(int)))
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            if end - start >= window:
                out[start:end, joint] = savgol_filter(x[start:end, joint], window, order, axis=0)
    return out


def up_axis(x: F64, rate_hz: float) -> F64 | None:
    """The up direction (3,) in (n, 20, 3) with z roughly up, from the frames in which the person stands straight.

    A standing person's center of mass is over the feet, so the line from ankles to neck is vertical to within a few
    degrees; the result is the median over these frames. None if the person stands for less than `STANDING_S` in total
    or the feet are not visible.
    """

    def joint(name: str) -> F64:
        return x[:, JOINTS.index(name)]

    def angle(a: F64, b: F64, c: F64) -> F64:
        with np.errstate(invalid="ignore"):
            one, two = a - b, c - b
            cosine = (one * two).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
        return np.rad2deg(np.arccos(cosine.clip(-1, 1)))

    line = joint("neck") - (joint("left_ankle") + joint("right_ankle")) / 2
    line /= np.linalg.norm(line, axis=1, keepdims=True)
    knees = (joint("left_knee") + joint("right_knee")) / 2
    standing = (line[:, 2] > np.cos(np.deg2rad(LEAN_DEG))) & (
        angle(joint("neck"), joint("pelvis"), knees) > STRAIGHT_DEG
    )
    for side in ("left", "right"):
        bend = angle(joint(f"{side}_hip"), joint(f"{side}_knee"), joint(f"{side}_ankle"))
        standing &= bend > STRAIGHT_DEG
    if standing.sum() < STANDING_S * rate_hz:
        return None
    up = np.median(line[standing], axis=0)
    return up / np.linalg.norm(up)


def level(x: F64, up: F64) -> F64:
    """(n, k, 3) rotated by the smallest angle that turns `up` into z."""
    turn, _ = Rotation.align_vectors([[0.0, 0.0, 1.0]], [up])
    return turn.apply(x.reshape(-1, 3)).reshape(x.shape)
