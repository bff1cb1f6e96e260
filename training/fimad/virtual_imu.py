"""What an inertial sensor would read on a moving skeleton: the idea of IMUTube (Kwon et al., IMWUT 2020), own code.

Joints are smoothed and splined (quintic); a sensor sits at a fixed place of a segment, whose frame R comes from the
joints about it; it reads specific force, R'(a + g up), and angular rate, vee(R' dR/dt), both in that frame.

Axes, right-handed, are those of a watch or phone worn as usual, and those of the left and of the right side are each
other's image in x, so that `training.learn.augment`'s mirroring turns one side's signal into the other's:

- wrist: z out of the back of the wrist, y to the little finger, x along the forearm, to the hand on the left and to the
  elbow on the right (a watch that is read upright on either wrist). Joints do not tell pronation: the thumb is taken to
  point to where the elbow bends.
- thigh, ankle: y up along the segment, z to where the knee points, x to the person's left.
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

LEAST_FRAMES, LEAST_S = 8, 0.2
"""A quintic spline needs six samples, on the grid of `GRID_HZ` too."""
CUTOFFS_HZ = tuple(float(f) for f in np.geomspace(1.5, 30, 16))
DERIVATIVE = 0.7
"""Share of the cutoff that suits the joints' positions which suits their second derivative; measured on UTD-MHAD."""
HUBER, JITTER_M = 2.0, 0.001
"""A joint further from its smooth track than this many median distances is believed less; distances count from 1 mm."""
MOST_MPS2, MOST_RADPS = 16 * STANDARD_GRAVITY, float(np.deg2rad(2000))
"""Full scale of the sensors in watches and phones: people do not exceed it, trackers that lose a limb do."""
GRID_HZ = 100.0
"""Orientations are splined on a grid at least this fine, whatever rate is asked."""
TWIST_S = 0.1
"""Time constant of the smoothing of a limb's twist while the limb is bent at a right angle; it grows as the limb
straightens and tells less of its twist."""
ARM, LEG = 0.6, 1.5
"""How much the trunk, rather than the limb's bend, says of its twist while it is straight, and the sine of the bend at
which that has faded to a third. Legs turn little about themselves, and their knees' planes are seen badly."""
CHAINS = tuple(
    (f"{side}_{parent}", f"{side}_{child}")
    for side in ("left", "right")
    for parent, child in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
)
"""Bones of constant length, from the trunk outwards."""

Track = Callable[[str], F64]
"""(n, 3) of a joint by name."""


def unit(v: F64) -> F64:
    """(n, 3) -> the same directions with length 1."""
    return v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12)


def penalty(n: int) -> F64:
    """(4, n) upper bands (as `solveh_banded` has them) of D'D, D the third differences of n samples."""
    weights = np.array([-1.0, 3.0, -3.0, 1.0])
    bands = np.zeros((4, n))
    for i, a in enumerate(weights):
        for j in range(i, 4):
            bands[3 - (j - i), j : n - 3 + j] += a * weights[j]
    return bands


def smooth(x: F64, rate_hz: float, cutoff_hz: float, weight: F64 | None = None) -> F64:
    """(n, C) -> the same, by least squares with `weight` (n,), penalised on third differences: zero phase, parabolas
    unchanged, also at the ends. An amplitude is halved at `cutoff_hz` (Eilers, Anal. Chem. 75, 2003; the discrete form
    of Woltring's quintic smoothing spline, Adv. Eng. Software 8, 1986)."""
    bands = penalty(len(x)) / (2 * np.sin(np.pi * min(cutoff_hz / rate_hz, 0.5))) ** 6
    weight = np.ones(len(x)) if weight is None else weight
    bands[3] += weight
    return solveh_banded(bands, weight[:, None] * x)


def smooth_joint(x: F64, rate_hz: float, cutoff_hz: float) -> F64:
    """`smooth` of one joint (n, 3) that lets single jumps of a tracker pass by: Huber's weights, four rounds."""
    weight = np.ones(len(x))
    for _ in range(4):
        track = smooth(x, rate_hz, cutoff_hz, weight)
        distance = np.linalg.norm(x - track, axis=1)
        usual = max(float(np.median(distance)), JITTER_M)
        weight = np.minimum(1, HUBER * usual / np.maximum(distance, 1e-12))
    return track


def choose_cutoff(x: F64, rate_hz: float) -> float:
    """The cutoff (Hz) at which what is smoothed away of (n, C) looks most like noise: least generalized
    cross-validation score (Craven & Wahba, Numer. Math. 31, 1979)."""
    n = len(x)
    frequencies = 2 * np.sin(np.pi * np.arange(n) / (2 * n))
    scores = []
    for cutoff_hz in CUTOFFS_HZ:
        strength = (2 * np.sin(np.pi * min(cutoff_hz / rate_hz, 0.5))) ** -6
        left = n - (1 / (1 + strength * frequencies**6)).sum()
        scores.append(((x - smooth(x, rate_hz, cutoff_hz)) ** 2).sum() / left**2)
    return CUTOFFS_HZ[int(np.argmin(scores))]


def stiffen(x: F64) -> F64:
    """Joints (n, 20, 3) with the limbs' bones at their median lengths, each bone's direction kept."""
    rigid = x.copy()
    for parent, child in ((JOINTS.index(a), JOINTS.index(b)) for a, b in CHAINS):
        bone = x[:, child] - x[:, parent]
        rigid[:, child] = rigid[:, parent] + np.median(np.linalg.norm(bone, axis=1)) * unit(bone)
    return rigid


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a sensor sits: `share` of the way along the segment from `start` to `end`, then `offset_m` in the
    sensor's frame, which `frame` makes (n, 3, 3) of joints: columns x, y, z in the world."""

    start: str
    end: str
    share: float
    offset_m: tuple[float, float, float]
    joints: tuple[str, ...]
    frame: Callable[[Track, float], F64]


def limb_twist(along: F64, seen: F64, rate_hz: float) -> F64:
    """(n, 3) unit vectors across `along` (n, 3, unit): the side of a limb, from `seen` (n, 3), which shows it the
    better the longer its part across `along`.

    Least squares: the twist follows what is seen where that is long, and where it is short moves with the segment
    without turning about it (parallel transport), so that it stays continuous while a limb is straight.
    """
    n = len(along)
    # Any frame across the segment does, for it may jump: what links neighbors is the least rotation between them.
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
    """What shows a limb's twist: its hinge (n, 3), as long as the sine of its bend, and while it is straight the
    `usual` direction, fading with the bend."""
    return hinge + straight * np.exp(-(hinge**2).sum(1, keepdims=True) / straight**2) * usual


def trunk_left(joints: Track) -> F64:
    """(n, 3) the person's left, from the hips."""
    return unit(joints("left_hip") - joints("right_hip"))


def forearm(side: str) -> Callable[[Track, float], F64]:
    """Frame of a wrist; the elbow's hinge runs across upper arm and forearm."""
    sign = 1.0 if side == "left" else -1.0

    def frame(joints: Track, rate_hz: float) -> F64:
        shoulder, elbow, wrist = (joints(f"{side}_{name}") for name in ("shoulder", "elbow", "wrist"))
        lower = unit(wrist - elbow)
        hinge = np.cross(unit(elbow - shoulder), lower) * -sign
        # The back of a straight arm's hand: outwards while it hangs, and from there carried by the shortest turn, so
        # that it looks up on an arm stretched out sideways. Overhead there is no shortest turn, and nothing is said.
        outwards = sign * unit(joints("left_shoulder") - joints("right_shoulder"))
        down = unit(joints("spine") - joints("neck"))
        raised = 1 + (down * lower).sum(1, keepdims=True)
        usual = raised * outwards - (lower * outwards).sum(1, keepdims=True) * (down + lower)
        back = limb_twist(lower, bent(hinge, usual / 2, ARM), rate_hz)
        x = sign * lower
        return np.stack([x, np.cross(back, x), back], 2)

    return frame


def leg(side: str, part: str) -> Callable[[Track, float], F64]:
    """Frame of a thigh or shank; the knee's hinge runs across both."""

    def frame(joints: Track, rate_hz: float) -> F64:
        hip, knee, ankle = (joints(f"{side}_{name}") for name in ("hip", "knee", "ankle"))
        thigh, shank = unit(knee - hip), unit(ankle - knee)
        y = -(thigh if part == "thigh" else shank)
        x = limb_twist(y, bent(np.cross(thigh, shank), trunk_left(joints), LEG), rate_hz)
        return np.stack([x, y, np.cross(x, y)], 2)

    return frame


def trunk(left: tuple[str, str], up: tuple[str, str]) -> Callable[[Track, float], F64]:
    """Frame of the trunk: y from the first to the second of `up`, x across it toward the person's left."""

    def frame(joints: Track, rate_hz: float) -> F64:
        y = unit(joints(up[1]) - joints(up[0]))
        z = unit(np.cross(joints(left[0]) - joints(left[1]), y))
        return np.stack([np.cross(y, z), y, z], 2)

    return frame


def mounts() -> dict[str, Mount]:
    """Every placement's mount. Offsets are from the joint, which is inside the body, to its skin."""
    found = {}
    for side in ("left", "right"):
        arm = (*(f"{side}_{name}" for name in ("shoulder", "elbow", "wrist")), "neck", "spine")
        legs = (*(f"{side}_{name}" for name in ("hip", "knee", "ankle")),)
        shoulders, hips = ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")
        found[f"{side}_wrist"] = Mount(
            f"{side}_elbow", f"{side}_wrist", 0.95, (0, 0, 0.03), (*arm, *shoulders), forearm(side)
        )
        found[f"{side}_thigh"] = Mount(
            f"{side}_hip", f"{side}_knee", 0.3, (0, 0, 0.08), (*legs, *hips), leg(side, "thigh")
        )
        out = 0.04 if side == "left" else -0.04
        found[f"{side}_ankle"] = Mount(
            f"{side}_knee", f"{side}_ankle", 0.9, (out, 0, 0), (*legs, *hips), leg(side, "shank")
        )
    found["chest"] = Mount(
        "spine",
        "neck",
        0.6,
        (0, 0, 0.12),
        ("spine", "neck", *shoulders),
        trunk(shoulders, ("spine", "neck")),
    )
    found["hip"] = Mount(
        "right_hip",
        "spine",
        0.0,
        (-0.06, 0.1, 0),
        ("pelvis", "spine", *hips),
        trunk(hips, ("pelvis", "spine")),
    )
    return {placement: found[placement] for placement in PLACEMENTS}


MOUNTS = mounts()


def virtual_imu(motion: Motion, placement: str, rate_hz: float = IMU_RATE_HZ, cutoff_hz: float | None = None) -> F32:
    """One placement of `virtual_imus`. Raises `DataError` where the motion does not show it."""
    found = virtual_imus(motion, (placement,), rate_hz, cutoff_hz)
    if placement not in found:
        raise DataError(
            f"this motion has no virtual IMU at {placement}: it needs {LEAST_FRAMES} frames and {LEAST_S} s "
            f"of known 3-D joints {', '.join(MOUNTS[placement].joints)}, which may not jump"
        )
    return found[placement]


def virtual_imus(
    motion: Motion,
    placements: Sequence[str] = PLACEMENTS,
    rate_hz: float = IMU_RATE_HZ,
    cutoff_hz: float | None = None,
) -> dict[str, F32]:
    """Placement -> (m, 6) float32: specific force m/s2 and angular rate rad/s from the first frame to the last.

    A placement whose joints are not all known throughout, or which exceeds the full scale of real sensors, as where a
    tracker loses a limb, is left out; so are all for flat or very short motions.
    `cutoff_hz` of the joints' smoothing is chosen from the motion where None; above half of `rate_hz` nothing passes.
    """
    if motion.flat or len(motion.x) < max(LEAST_FRAMES, LEAST_S * motion.rate_hz):
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
    made = {}
    for placement, mount in wanted.items():
        frames = mount.frame(places.__getitem__, rate_hz * every)
        turning = make_interp_spline(grid, frames, k=5)
        frame, first, second = frames[::every], turning(grid[::every], 1), turning(grid[::every], 2)
        rate = np.einsum("nji,njk->nik", frame, first)
        # The sensor is off the bone: the second derivative of its arm holds the centripetal and tangential parts.
        pull = (1 - mount.share) * pulls[mount.start] + mount.share * pulls[mount.end] + second @ mount.offset_m
        force = np.einsum("nji,nj->ni", frame, pull + up)
        turn = (rate - rate.swapaxes(1, 2))[:, (2, 0, 1), (1, 2, 0)] / 2
        if np.linalg.norm(force, axis=1).max() <= MOST_MPS2 and np.linalg.norm(turn, axis=1).max() <= MOST_RADPS:
            made[placement] = np.concatenate([force, turn], 1).astype(np.float32)
    return made
