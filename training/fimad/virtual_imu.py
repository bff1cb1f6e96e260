"""Virtual IMU: the signal of an inertial sensor on a moving skeleton (idea: IMUTube, Kwon et al., IMWUT 2020).

Joints are smoothed and interpolated by quintic splines. A sensor has a fixed position on a segment; its frame R comes
from the joints around it. It measures specific force, R'(a + g up), and angular rate, vee(R' dR/dt), both in its frame.

Axes, right-handed, are those of a watch or phone worn as usual. The axes of the left and the right side are mirror
images in x, so that the mirroring in `training.learn.augment` turns the signal of one side into that of the other:

- wrist: z out of the back of the wrist, y to the little finger, x along the forearm, to the hand on the left and to the
  elbow on the right (a watch that is read upright on either wrist). Joints do not determine pronation: the thumb is
  assumed to point in the direction in which the elbow bends.
- thigh, ankle: y up along the segment, z in the direction of the kneecap, x to the person's left.
- chest, hip: y up the trunk, z forward, x to the person's left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import make_interp_spline
from scipy.linalg import solveh_banded

from mujo_edge.core import F32, F64, STANDARD_GRAVITY, DataError
from training.fimad.clip import IMU_RATE_HZ, JOINTS, PLACEMENTS, Motion

MIN_FRAMES, MIN_S = 8, 0.2
"""Shortest motion: a quintic spline needs six samples, also on the grid of `GRID_HZ`."""
CUTOFFS_HZ = tuple(float(f) for f in np.geomspace(1.5, 30, 16))
"""Candidate cutoff frequencies of the joints' smoothing."""
DERIVATIVE = 0.7
"""Best cutoff for the second derivative of joint positions, relative to that for the positions (from UTD-MHAD)."""
HUBER, JITTER_M = 2.0, 0.001
"""Residual, in medians of at least 1 mm, beyond which a sample's weight in the smoothing falls (Huber)."""
MAX_MPS2, MAX_RADPS = 16 * STANDARD_GRAVITY, float(np.deg2rad(2000))
"""Full scale of the sensors in watches and phones. People do not exceed it; trackers that lose a limb do."""
GRID_HZ = 100.0
"""Minimum rate of the grid on which orientations are interpolated."""
TWIST_S = 0.1
"""Time constant of the smoothing of a limb's twist while the limb is bent at a right angle; it grows as the limb
straightens and shows less of its twist."""
ARM, LEG = 0.6, 1.5
"""Weight of the trunk's direction, relative to the limb's hinge, in the twist of a straight limb, and the sine of the
bend at which this weight has fallen to 1/e. Larger for legs: they rotate little, and the plane of a knee is noisy."""
CHAINS = tuple(
    (f"{side}_{parent}", f"{side}_{child}")
    for side in ("left", "right")
    for parent, child in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
)
"""Bones of constant length, from the trunk outwards."""

Track = Callable[[str], F64]
"""Joint name -> positions (n, 3)."""


def unit(v: F64) -> F64:
    """(n, 3) vectors scaled to length 1."""
    return v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12)


def penalty(n: int) -> F64:
    """(4, n) upper bands, in the layout of `solveh_banded`, of D'D; D are the third differences of n samples."""
    weights = np.array([-1.0, 3.0, -3.0, 1.0])
    bands = np.zeros((4, n))
    for i, a in enumerate(weights):
        for j in range(i, 4):
            bands[3 - (j - i), j : n - 3 + j] += a * weights[j]
    return bands


def smooth(x: F64, rate_hz: float, cutoff_hz: float, weight: F64 | None = None) -> F64:
    """(n, C) smoothed by least squares with `weight` (n,) and a penalty on third differences: zero phase, parabolas
    unchanged, also at the ends, gain 1/2 at `cutoff_hz` (Eilers, Anal. Chem. 75, 2003; the discrete form of Woltring's
    quintic smoothing spline, Adv. Eng. Software 8, 1986)."""
    bands = penalty(len(x)) / (2 * np.sin(np.pi * min(cutoff_hz / rate_hz, 0.5))) ** 6
    weight = np.ones(len(x)) if weight is None else weight
    bands[3] += weight
    return solveh_banded(bands, weight[:, None] * x)


def smooth_joint(x: F64, rate_hz: float, cutoff_hz: float) -> F64:
    """`smooth` of one joint (n, 3), robust to single outliers of a tracker: Huber weights, four iterations."""
    weight = np.ones(len(x))
    for _ in range(4):
        track = smooth(x, rate_hz, cutoff_hz, weight)
        distance = np.linalg.norm(x - track, axis=1)
        usual = max(float(np.median(distance)), JITTER_M)
        weight = np.minimum(1, HUBER * usual / np.maximum(distance, 1e-12))
    return track


def choose_cutoff(x: F64, rate_hz: float) -> float:
    """The cutoff (Hz) for `x` (n, C) with the lowest generalized cross-validation score (Craven & Wahba, Numer. Math.
    31, 1979)."""
    n = len(x)
    frequencies = 2 * np.sin(np.pi * np.arange(n) / (2 * n))
    scores = []
    for cutoff_hz in CUTOFFS_HZ:
        strength = (2 * np.sin(np.pi * min(cutoff_hz / rate_hz, 0.5))) ** -6
        left = n - (1 / (1 + strength * frequencies**6)).sum()
        scores.append(((x - smooth(x, rate_hz, cutoff_hz)) ** 2).sum() / left**2)
    return CUTOFFS_HZ[int(np.argmin(scores))]


def stiffen(x: F64) -> F64:
    """Joints (n, 20, 3) with each bone of the limbs at its median length; directions stay."""
    rigid = x.copy()
    for parent, child in ((JOINTS.index(a), JOINTS.index(b)) for a, b in CHAINS):
        bone = x[:, child] - x[:, parent]
        rigid[:, child] = rigid[:, parent] + np.median(np.linalg.norm(bone, axis=1)) * unit(bone)
    return rigid


@dataclass(frozen=True, slots=True)
class Mount:
    """Position of a sensor: the fraction `share` along the segment from `start` to `end`, plus `offset_m` in the
    sensor's frame. `frame` computes it from joints at a rate: (n, 3, 3), columns x, y, z in the world frame."""

    start: str
    end: str
    share: float
    offset_m: tuple[float, float, float]
    joints: tuple[str, ...]
    frame: Callable[[Track, float], F64]


def limb_twist(along: F64, seen: F64, rate_hz: float) -> F64:
    """(n, 3) unit vectors perpendicular to `along` (n, 3, unit): the twist of a limb from observations `seen` (n, 3),
    weighted by the length of their component perpendicular to `along`.

    Least squares: the twist follows long observations; where they are short it moves with the segment without rotating
    about it (parallel transport), so that it stays continuous while a limb is straight.
    """
    n = len(along)
    # Any perpendicular frame will do, even with jumps: neighbors are linked by the smallest rotation between them.
    first = unit(np.cross(along, np.eye(3)[np.abs(along).argmin(1)]))
    second = np.cross(along, first)
    a, b, e = along[:-1], along[1:], first[:-1]
    carried = e - (b * e).sum(1, keepdims=True) / np.maximum(1 + (a * b).sum(1, keepdims=True), 1e-6) * (a + b)
    turn = (carried * first[1:]).sum(1) + 1j * (carried * second[1:]).sum(1)
    turn /= np.maximum(np.abs(turn), 1e-12)
    z = (seen * first).sum(1) + 1j * (seen * second).sum(1)
    stiffness = (TWIST_S * rate_hz) ** 4
    # Upper bands of |z|^2 + stiffness D'D, D the second differences along the segment's own frames.
    bands = np.zeros((3, n), complex)
    bands[2] = np.abs(z) ** 2 + 1e-9
    for start, square in enumerate((1, 4, 1)):
        bands[2, start : n - 2 + start] += stiffness * square
    bands[1, 1:-1] -= 2 * stiffness * turn[:-1].conj()
    bands[1, 2:] -= 2 * stiffness * turn[1:].conj()
    bands[0, 2:] = stiffness * (turn[:-1] * turn[1:]).conj()
    twist = solveh_banded(bands, np.abs(z) * z + 1e-9)
    twist /= np.abs(twist)
    return twist.real[:, None] * first + twist.imag[:, None] * second


def bent(hinge: F64, usual: F64, straight: float) -> F64:
    """Observation of a limb's twist: `hinge` (n, 3), whose length is the sine of the bend, plus, while the limb is
    straight, the `usual` direction, fading with the bend."""
    return hinge + straight * np.exp(-(hinge**2).sum(1, keepdims=True) / straight**2) * usual


def trunk_left(joints: Track) -> F64:
    """(n, 3) direction to the person's left, from the hips."""
    return unit(joints("left_hip") - joints("right_hip"))


def forearm(side: str) -> Callable[[Track, float], F64]:
    """Frame of a wrist; the elbow's hinge is perpendicular to upper arm and forearm."""
    sign = 1.0 if side == "left" else -1.0

    def frame(joints: Track, rate_hz: float) -> F64:
        shoulder, elbow, wrist = (joints(f"{side}_{name}") for name in ("shoulder", "elbow", "wrist"))
        lower = unit(wrist - elbow)
        hinge = np.cross(unit(elbow - shoulder), lower) * -sign
        # The back of the hand of a straight arm: outwards while the arm hangs, and from there turned by the smallest
        # rotation, so that it is up on an arm stretched out sideways. Overhead that rotation is undefined: weight 0.
        outwards = sign * unit(joints("left_shoulder") - joints("right_shoulder"))
        down = unit(joints("spine") - joints("neck"))
        raised = 1 + (down * lower).sum(1, keepdims=True)
        usual = raised * outwards - (lower * outwards).sum(1, keepdims=True) * (down + lower)
        back = limb_twist(lower, bent(hinge, usual / 2, ARM), rate_hz)
        x = sign * lower
        return np.stack([x, np.cross(back, x), back], 2)

    return frame


def leg(side: str, part: str) -> Callable[[Track, float], F64]:
    """Frame of a thigh or shank; the knee's hinge is perpendicular to both."""

    def frame(joints: Track, rate_hz: float) -> F64:
        hip, knee, ankle = (joints(f"{side}_{name}") for name in ("hip", "knee", "ankle"))
        thigh, shank = unit(knee - hip), unit(ankle - knee)
        y = -(thigh if part == "thigh" else shank)
        x = limb_twist(y, bent(np.cross(thigh, shank), trunk_left(joints), LEG), rate_hz)
        return np.stack([x, y, np.cross(x, y)], 2)

    return frame


def trunk(left: tuple[str, str], up: tuple[str, str]) -> Callable[[Track, float], F64]:
    """Frame of the trunk: y from the first to the second of `up`, x perpendicular to it, to the person's left."""

    def frame(joints: Track, rate_hz: float) -> F64:
        y = unit(joints(up[1]) - joints(up[0]))
        z = unit(np.cross(joints(left[0]) - joints(left[1]), y))
        return np.stack([np.cross(y, z), y, z], 2)

    return frame


def mounts() -> dict[str, Mount]:
    """Placement -> mount. Offsets lead from the joint, inside the body, to the skin."""
    every = {}
    for side in ("left", "right"):
        arm = (*(f"{side}_{name}" for name in ("shoulder", "elbow", "wrist")), "neck", "spine")
        legs = (*(f"{side}_{name}" for name in ("hip", "knee", "ankle")),)
        shoulders, hips = ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")
        every[f"{side}_wrist"] = Mount(
            f"{side}_elbow", f"{side}_wrist", 0.95, (0, 0, 0.03), (*arm, *shoulders), forearm(side)
        )
        every[f"{side}_thigh"] = Mount(
            f"{side}_hip", f"{side}_knee", 0.3, (0, 0, 0.08), (*legs, *hips), leg(side, "thigh")
        )
        out = 0.04 if side == "left" else -0.04
        every[f"{side}_ankle"] = Mount(
            f"{side}_knee", f"{side}_ankle", 0.9, (out, 0, 0), (*legs, *hips), leg(side, "shank")
        )
    every["chest"] = Mount(
        "spine",
        "neck",
        0.6,
        (0, 0, 0.12),
        ("spine", "neck", *shoulders),
        trunk(shoulders, ("spine", "neck")),
    )
    every["hip"] = Mount(
        "right_hip",
        "spine",
        0.0,
        (-0.06, 0.1, 0),
        ("pelvis", "spine", *hips),
        trunk(hips, ("pelvis", "spine")),
    )
    return {placement: every[placement] for placement in PLACEMENTS}


MOUNTS = mounts()


def virtual_imu(motion: Motion, placement: str, rate_hz: float = IMU_RATE_HZ, cutoff_hz: float | None = None) -> F32:
    """One placement of `virtual_imus`. Raises `DataError` if the motion is too short or the joints are unknown."""
    signals = virtual_imus(motion, (placement,), rate_hz, cutoff_hz)
    if placement not in signals:
        raise DataError(
            f"this motion has no virtual IMU at {placement}: it needs {MIN_FRAMES} frames and {MIN_S} s "
            f"of known 3-D joints {', '.join(MOUNTS[placement].joints)}, without jumps"
        )
    return signals[placement]


def virtual_imus(
    motion: Motion,
    placements: Sequence[str] = PLACEMENTS,
    rate_hz: float = IMU_RATE_HZ,
    cutoff_hz: float | None = None,
) -> dict[str, F32]:
    """Placement -> (m, 6) float32: specific force m/s2 and angular rate rad/s from the first frame to the last.

    A placement is left out if any of its joints is unknown in any frame, or if the signal exceeds the full scale of
    real sensors, as when a tracker loses a limb; flat or very short motions have none. `cutoff_hz` is that of the
    joints' smoothing, by default chosen from the motion, and at most half of `rate_hz`.
    """
    if motion.flat or len(motion.x) < max(MIN_FRAMES, MIN_S * motion.rate_hz):
        return {}
    x = motion.x.astype(np.float64)
    known = {name for i, name in enumerate(JOINTS) if np.isfinite(x[:, i]).all()}
    wanted = {placement: MOUNTS[placement] for placement in placements if known.issuperset(MOUNTS[placement].joints)}
    used = sorted({joint for mount in wanted.values() for joint in mount.joints})
    if not used:
        return {}
    x = stiffen(x)[:, [JOINTS.index(name) for name in used]]
    if cutoff_hz is None:
        cutoff_hz = DERIVATIVE * choose_cutoff(x.reshape(len(x), -1), motion.rate_hz)
    cutoff_hz = min(cutoff_hz, rate_hz / 2)
    tracks = np.stack([smooth_joint(joint, motion.rate_hz, cutoff_hz) for joint in x.swapaxes(0, 1)], 1)
    times = np.arange(len(x)) / motion.rate_hz
    spline = make_interp_spline(times, tracks, k=5)
    every = int(np.ceil(GRID_HZ / rate_hz))
    count = int(np.floor(times[-1] * rate_hz + 1e-6)) + 1
    grid = np.arange((count - 1) * every + 1) / (rate_hz * every)
    at = np.minimum(grid, times[-1])
    places = dict(zip(used, spline(at).swapaxes(0, 1), strict=True))
    pulls = dict(zip(used, spline(at[::every], 2).swapaxes(0, 1), strict=True))
    up = np.array([0, 0, STANDARD_GRAVITY])
    signals = {}
    for placement, mount in wanted.items():
        frames = mount.frame(places.__getitem__, rate_hz * every)
        turning = make_interp_spline(grid, frames, k=5)
        frame, first, second = frames[::every], turning(grid[::every], 1), turning(grid[::every], 2)
        rate = np.einsum("nji,njk->nik", frame, first)
        # The second derivative of the offset from the bone is the centripetal and tangential acceleration.
        pull = (1 - mount.share) * pulls[mount.start] + mount.share * pulls[mount.end] + second @ mount.offset_m
        force = np.einsum("nji,nj->ni", frame, pull + up)
        turn = (rate - rate.swapaxes(1, 2))[:, (2, 0, 1), (1, 2, 0)] / 2
        if np.linalg.norm(force, axis=1).max() <= MAX_MPS2 and np.linalg.norm(turn, axis=1).max() <= MAX_RADPS:
            signals[placement] = np.concatenate([force, turn], 1).astype(np.float32)
    return signals
