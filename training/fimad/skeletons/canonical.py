"""Named joints of any source -> the canonical skeleton."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mujo_edge.core import F64, DataError
from training.fimad.clip import JOINTS, Motion

LEG_M = (0.4, 1.3)
"""Range of human leg lengths (thigh and shank); a leg outside it indicates a wrong unit."""
FAR_M = 1e4
"""Maximum coordinate of a joint."""


def motion(joints: Mapping[str, F64], rate_hz: float, trunk: Sequence[F64] = ()) -> Motion:
    """Named joints (n, 3) in meters, z up, right-handed -> `Motion`.

    Joints missing in `joints` are NaN. The pelvis is the middle of the hips. The spine is halfway along the trunk: from
    the pelvis through `trunk`, joints (n, 3) in upward order, to the neck. Raises `DataError` for fewer than two
    frames, non-finite values, a rate that is not positive, and legs of no human length.
    """
    n = len(joints["neck"])
    if n < 2 or not 0 < rate_hz < np.inf:
        raise DataError(f"{n} frames at {rate_hz:g} Hz are not a motion. Leave this file out")
    if not all((np.abs(at) < FAR_M).all() for at in (*joints.values(), *trunk)):
        raise DataError("some joints have no finite position. Leave this file out")
    x = np.full((n, len(JOINTS), 3), np.nan, np.float32)
    pelvis = (joints["left_hip"] + joints["right_hip"]) / 2
    spine = half_way(np.stack([pelvis, *trunk, joints["neck"]]))
    for joint, at in {**joints, "pelvis": pelvis, "spine": spine}.items():
        if joint in JOINTS:
            x[:, JOINTS.index(joint)] = at
    leg_m = float(np.median([leg_length(joints, side) for side in ("left", "right")]))
    if not LEG_M[0] < leg_m < LEG_M[1]:
        raise DataError(f"a leg is {leg_m:.3g} m long: a wrong unit or skeleton. Use the publisher's own files")
    return Motion(x, float(rate_hz))


def leg_length(joints: Mapping[str, F64], side: str) -> float:
    """Length of thigh and shank in m, median over the frames."""
    hip, knee, ankle = (joints[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle"))
    return float(np.median(np.linalg.norm(hip - knee, axis=1) + np.linalg.norm(knee - ankle, axis=1)))


def half_way(points: F64) -> F64:
    """(k, n, 3) -> (n, 3): the midpoint, by length, of the polyline through k points."""
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=2)
    ends = lengths.cumsum(0)
    rows = np.arange(points.shape[1])
    segment = (ends < ends[-1] / 2).sum(0)
    start, length = points[segment, rows], lengths[segment, rows]
    left = ends[-1] / 2 - (ends[segment, rows] - length)
    return start + (left / np.maximum(length, 1e-12))[:, None] * (points[segment + 1, rows] - start)


def z_up(y_up: F64) -> F64:
    """(..., 3) with y up -> z up, by a quarter turn about x: handedness stays."""
    x, y, z = np.moveaxis(y_up, -1, 0)
    return np.stack([x, -z, y], -1)


def sided(left: str, right: str, names: Mapping[str, str]) -> dict[str, str]:
    """Canonical joint -> a source's name for it, for both sides, from `names` such as "shoulder" -> "{}humerus"."""
    return {
        f"{side}_{joint}": name.format(letter)
        for side, letter in (("left", left), ("right", right))
        for joint, name in names.items()
    }
