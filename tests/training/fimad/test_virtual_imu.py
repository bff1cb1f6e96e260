"""Virtual IMU against the equations of mechanics, on motions with known formulas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mujo_edge.core import DataError
from training.fimad.clip import JOINTS, PLACEMENTS, Motion
from training.fimad.virtual_imu import CUTOFFS_HZ, MOUNTS, choose_cutoff, limb_twist, smooth, virtual_imu, virtual_imus

G = 9.80665
STANDING = {
    "pelvis": (0, 0, 1.0),
    "spine": (0, 0, 1.15),
    "neck": (0, 0, 1.5),
    "head": (0, 0, 1.65),
    "left_shoulder": (0, 0.2, 1.45),
    "left_elbow": (0, 0.2, 1.15),
    "left_wrist": (0, 0.2, 0.9),
    "left_hand": (0, 0.2, 0.82),
    "left_hip": (0, 0.1, 0.95),
    "left_knee": (0, 0.1, 0.5),
    "left_ankle": (0, 0.1, 0.1),
    "left_foot": (0.15, 0.1, 0.0),
}
"""A standing person facing along x, so the left is at +y; meters."""

Points = dict[str, np.ndarray]


def standing(t: np.ndarray) -> Points:
    """Every joint's (n, 3), at rest."""
    both = dict(STANDING)
    for name, (x, y, z) in STANDING.items():
        if name.startswith("left_"):
            both[name.replace("left", "right")] = (x, -y, z)
    return {name: np.tile(np.asarray(place, float), (len(t), 1)) for name, place in both.items()}


def crouching(t: np.ndarray) -> Points:
    """The same with elbows at right angles and knees bent by 60 degrees, so that the twist of every limb is defined."""
    points = standing(t)
    for side in ("left", "right"):
        points[f"{side}_wrist"] = points[f"{side}_elbow"] + [0.25, 0, 0]
        points[f"{side}_hand"] = points[f"{side}_elbow"] + [0.33, 0, 0]
        points[f"{side}_knee"] = points[f"{side}_hip"] + [0.22, 0, -0.39]
        points[f"{side}_ankle"] = points[f"{side}_knee"] + [-0.2, 0, -0.35]
    return points


def motion(points: Points, rate_hz: float) -> Motion:
    return Motion(np.stack([points[name] for name in JOINTS], 1).astype(np.float32), rate_hz)


def times(seconds: float, rate_hz: float) -> np.ndarray:
    return np.arange(round(seconds * rate_hz) + 1) / rate_hz


def move(points: Points, turn: Rotation, way: np.ndarray) -> Points:
    """The whole body rotated about the world's origin and translated."""
    return {name: turn.apply(place) + way for name, place in points.items()}


def rigid_body(orientation: Callable[[np.ndarray], Rotation], way: Callable[[np.ndarray], np.ndarray], t: np.ndarray):
    """Placement -> signal on a rigid body, by central differences of the exact motion."""
    h = 1e-4
    still = crouching(np.zeros(3))
    expected = {}
    for placement, mount in MOUNTS.items():
        frame = mount.frame(still.__getitem__, 100.0)[0]
        place = (1 - mount.share) * still[mount.start][0] + mount.share * still[mount.end][0] + frame @ mount.offset_m

        def at(t: np.ndarray, place: np.ndarray = place) -> np.ndarray:
            return orientation(t).apply(place) + way(t)

        acceleration = (at(t + h) - 2 * at(t) + at(t - h)) / h**2 + [0, 0, G]
        sensor = orientation(t).as_matrix() @ frame
        change = (orientation(t - h).inv() * orientation(t + h)).as_rotvec() / (2 * h)
        force = np.einsum("nji,nj->ni", sensor, acceleration)
        expected[placement] = np.concatenate([force, change @ frame], 1)
    return expected


def tumble(t: np.ndarray) -> Rotation:
    return Rotation.from_euler("zyx", np.stack([0.9 * np.sin(2 * t), 0.7 * np.cos(3 * t), 0.8 * t], 1))


def wander(t: np.ndarray) -> np.ndarray:
    return np.stack([0.3 * np.sin(4 * t), 0.2 * np.cos(3 * t), 0.1 * np.sin(5 * t + 1)], 1)


@pytest.mark.parametrize("rate_hz", [20.0, 50.0, 104.0])
@pytest.mark.parametrize("frames_hz", [25.0, 30.0, 120.0])
def test_tumbling_rigid_body_has_the_analytic_signal(frames_hz: float, rate_hz: float):
    """Every placement, lever arms included; the ends too, where a spline knows least. A limb's twist is smoothed more
    than the rest, so that limbs are not as exact as the trunk."""
    t = times(3, frames_hz)
    actual = virtual_imus(motion(move(crouching(t), tumble(t), wander(t)), frames_hz), rate_hz=rate_hz)
    assert set(actual) == set(PLACEMENTS)
    expected = rigid_body(tumble, wander, times(3, rate_hz))
    for placement, x in actual.items():
        assert x.dtype == np.float32
        assert x.shape == (round(3 * rate_hz) + 1, 6)
        error = np.abs(x - expected[placement])
        inner = error[len(x) // 6 : -len(x) // 6]
        trunk = placement in ("chest", "hip")
        assert inner[:, :3].max() < (0.01 if trunk else 0.15), placement
        assert inner[:, 3:].max() < (0.003 if trunk else 0.07), placement
        assert error[:, :3].max() < 2.0, placement
        assert error[:, 3:].max() < (0.05 if trunk else 0.6), placement


@pytest.mark.parametrize("rate_hz", [20.0, 50.0, 200.0])
def test_at_rest_gravity_is_on_the_axis_that_points_up(rate_hz: float):
    actual = virtual_imus(motion(standing(times(2, 30)), 30), rate_hz=rate_hz)
    up = dict.fromkeys(PLACEMENTS, (0, G, 0)) | {"left_wrist": (-G, 0, 0), "right_wrist": (G, 0, 0)}
    for placement, x in actual.items():
        np.testing.assert_allclose(x[:, :3], np.tile(up[placement], (len(x), 1)), atol=2e-3)
        np.testing.assert_allclose(x[:, 3:], 0, atol=1e-4)


def test_free_fall_is_weightless():
    t = times(1, 60)
    fall = np.stack([2 * t, 0 * t, -G / 2 * t**2], 1)
    for x in virtual_imus(motion(move(standing(t), Rotation.identity(), fall), 60)).values():
        np.testing.assert_allclose(x, 0, atol=0.02)


def test_forward_acceleration_is_on_the_forward_axis():
    t = times(1, 60)
    way = np.stack([1.5 * t**2, 0 * t, 0 * t], 1)
    actual = virtual_imus(motion(move(standing(t), Rotation.identity(), way), 60))
    for placement in ("chest", "hip", "left_thigh", "right_thigh", "left_ankle", "right_ankle"):
        np.testing.assert_allclose(actual[placement][:, :3], np.tile((0, G, 3.0), (51, 1)), atol=0.02)


def test_circle_at_constant_speed_has_centripetal_acceleration():
    """Circular translation without rotation: the centripetal acceleration rotates at constant magnitude."""
    t, w, r = times(4, 30), 5.0, 0.4
    way = np.stack([r * np.cos(w * t), r * np.sin(w * t), 0 * t], 1)
    x = virtual_imu(motion(move(standing(t), Rotation.identity(), way), 30), "chest")
    s = times(4, 50)
    expected = np.stack([-r * w**2 * np.sin(w * s), G + 0 * s, -r * w**2 * np.cos(w * s)], 1)
    np.testing.assert_allclose(x[10:-10, :3], expected[10:-10], atol=0.02)
    np.testing.assert_allclose(x[:, 3:], 0, atol=2e-3)


@pytest.mark.parametrize("w", [-3.0, 0.5, 6.0])
def test_rotation_about_the_vertical_shows_in_the_gyroscope(w: float):
    """A pirouette: the rate is on the upright axis, the force points inwards with w^2 times the sensor's distance.

    Arms and legs are straight, so that their turn about themselves is known from the trunk alone.
    """
    t = times(4, 60)
    turn = Rotation.from_rotvec(np.stack([0 * t, 0 * t, w * t], 1))
    actual = virtual_imus(motion(move(standing(t), turn, np.zeros(3)), 60))
    middle = slice(50, -50)
    distances = {"chest": 0.12, "left_ankle": 0.14, "right_ankle": 0.14, "hip": 0.16, "left_thigh": np.hypot(0.1, 0.08)}
    for placement, distance in distances.items():
        x = actual[placement][middle]
        np.testing.assert_allclose(x[:, 3:], np.tile((0, w, 0), (len(x), 1)), atol=0.03)
        np.testing.assert_allclose(x[:, 1], G, atol=5e-3)
        np.testing.assert_allclose(np.hypot(x[:, 0], x[:, 2]), distance * w**2, rtol=5e-3, atol=5e-3)
    wrist = actual["right_wrist"][middle]
    np.testing.assert_allclose(wrist[:, 3:], np.tile((w, 0, 0), (len(wrist), 1)), atol=0.03)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("hertz", [0.5, 1.0, 2.0])
def test_swinging_arm_is_a_pendulum(side: str, hertz: float):
    """Swung by theta = A sin(2 pi f t) about the shoulder with the elbow held bent: gravity turns by theta, and a place
    r from the pivot feels -theta'^2 r toward it and theta'' across."""
    amplitude, w, frames_hz, bend = 0.7, 2 * np.pi * hertz, 60.0, 1.5
    t = times(4, frames_hz)
    points = standing(t)
    shoulder = points[f"{side}_shoulder"]
    swing = Rotation.from_rotvec(np.stack([0 * t, -amplitude * np.sin(w * t), 0 * t], 1))
    upper, lower = np.array([0, 0, -0.3]), np.array([np.sin(bend), 0, -np.cos(bend)])
    points[f"{side}_elbow"] = shoulder + swing.apply(upper)
    points[f"{side}_wrist"] = shoulder + swing.apply(upper + 0.25 * lower)
    x = virtual_imu(motion(points, frames_hz), f"{side}_wrist")
    s = times(4, 50)
    theta, rate = amplitude * np.sin(w * s), amplitude * w * np.cos(w * s)
    change = -(w**2) * theta
    # In the arm's own frame, forward and up; the arm turns from down to forward, that is, about -y.
    place = upper + 0.95 * 0.25 * lower
    forward = G * np.sin(theta) - rate**2 * place[0] - change * place[2]
    upward = G * np.cos(theta) - rate**2 * place[2] + change * place[0]
    sign = 1.0 if side == "left" else -1.0
    # x to the hand on the left and to the elbow on the right, y to the little finger, z outwards.
    along = lower[0] * forward + lower[2] * upward
    across = lower[2] * forward - lower[0] * upward
    expected = np.stack([sign * along, across, 0 * s, 0 * s, 0 * s, -sign * rate], 1)
    middle = slice(10, -10)
    np.testing.assert_allclose(x[middle, :3], expected[middle, :3], atol=0.05 * (1 + hertz**2))
    np.testing.assert_allclose(x[middle, 3:], expected[middle, 3:], atol=0.02 * hertz)


def kick(t: np.ndarray, side: str) -> Points:
    """The shank swings back and forth below a fixed knee."""
    points = standing(t)
    knee = points[f"{side}_knee"]
    bend = Rotation.from_rotvec(np.stack([0 * t, 0.8 * (1 - np.cos(2 * np.pi * t)), 0 * t], 1))
    for name in ("ankle", "foot"):
        points[f"{side}_{name}"] = knee + bend.apply(points[f"{side}_{name}"] - knee)
    return points


@pytest.mark.parametrize("side", ["left", "right"])
def test_swinging_shank_rotates_about_the_knee(side: str):
    t, s = times(3, 60), times(3, 50)
    actual = virtual_imus(motion(kick(t, side), 60))
    rate = 0.8 * 2 * np.pi * np.sin(2 * np.pi * s)
    middle = slice(10, -10)
    ankle = actual[f"{side}_ankle"]
    np.testing.assert_allclose(ankle[middle, 3], rate[middle], atol=0.02)
    np.testing.assert_allclose(ankle[middle, 4:], 0, atol=0.01)
    np.testing.assert_allclose(actual[f"{side}_thigh"][:, :3], np.tile((0, G, 0), (len(s), 1)), atol=0.01)


def gymnastics(t: np.ndarray) -> Points:
    """Arms and legs bend and swing out of phase, the trunk leans and rotates."""
    points = standing(t)
    for side, phase in (("left", 0.0), ("right", 1.3)):
        for top, rest, axis in (("shoulder", ("elbow", "wrist", "hand"), -1), ("hip", ("knee", "ankle", "foot"), -1)):
            angles = np.stack([0.3 * np.sin(3 * t + phase), axis * 0.6 * np.sin(4 * t + phase), 0.2 * np.cos(2 * t)], 1)
            swing = Rotation.from_rotvec(angles)
            pivot = points[f"{side}_{top}"]
            for name in rest:
                points[f"{side}_{name}"] = pivot + swing.apply(points[f"{side}_{name}"] - pivot)
            middle, *below = rest
            hinge = np.tile((0.0, -1.0 if top == "shoulder" else 1.0, 0.0), (len(t), 1))
            bend = Rotation.from_rotvec(swing.apply(hinge) * (0.8 + 0.5 * np.sin(5 * t + phase))[:, None])
            pivot = points[f"{side}_{middle}"]
            for name in below:
                points[f"{side}_{name}"] = pivot + bend.apply(points[f"{side}_{name}"] - pivot)
    return move(points, tumble(0.7 * t), wander(t))


def mirrored(points: Points) -> Points:
    """The motion mirrored at the plane y = 0, with sides exchanged."""
    swap = {"left": "right", "right": "left"}
    image = {}
    for name, place in points.items():
        side, _, rest = name.partition("_")
        image[f"{swap[side]}_{rest}" if side in swap else name] = place * [1, -1, 1]
    return image


def test_mirrored_motion_equals_the_mirror_augmentation():
    """`training.learn.augment.MIRROR` applied to one side equals the other side's signal of the mirrored motion."""
    from training.learn.augment import MIRROR

    t = times(4, 60)
    seen = virtual_imus(motion(gymnastics(t), 60))
    image = virtual_imus(motion(mirrored(gymnastics(t)), 60))
    for placement in ("left_wrist", "right_wrist", "left_ankle", "right_ankle", "left_thigh", "right_thigh"):
        side, part = placement.split("_")
        other = seen[f"{'right' if side == 'left' else 'left'}_{part}"]
        np.testing.assert_allclose(image[placement], other * MIRROR.numpy(), atol=0.02)
    np.testing.assert_allclose(image["chest"], seen["chest"] * MIRROR.numpy(), atol=0.02)


@pytest.mark.parametrize("jitter_m", [0.0, 0.01])
def test_frame_is_continuous_through_a_straight_limb(jitter_m: float):
    """An arm that bends, is stretched for a second while it is carried about, and bends again: no flip of the frame."""
    t = times(4, 30)
    points = standing(t)
    bend = np.interp(t, [0, 1, 1.5, 2.5, 3, 4], [1.2, 1.2, 0, 0, 1.2, 1.2])
    swing = Rotation.from_rotvec(np.stack([0 * t, -0.8 * (1 - np.cos(1.5 * t)), 0 * t], 1))
    shoulder, fold = points["right_shoulder"], Rotation.from_rotvec(np.stack([0 * t, -bend, 0 * t], 1))
    points["right_elbow"] = shoulder + swing.apply([0, 0, -0.3])
    points["right_wrist"] = points["right_elbow"] + (swing * fold).apply([0, 0, -0.25])
    rng = np.random.default_rng(0)
    x = virtual_imu(motion({k: v + rng.normal(0, jitter_m, v.shape) for k, v in points.items()}, 30), "right_wrist")
    # All of it happens about one axis: a turn about the forearm itself is the twist's, and a flip of it would be fast.
    assert np.abs(x[:, 3]).max() < (1.0 if jitter_m == 0 else 2.5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_straight_arm_that_is_raised_sideways_does_not_spin(side: str):
    """A jumping jack's arms: hanging, out and almost together overhead. Hanging, the back of the hand looks outwards;
    stretched out, up; and it turns with the arm alone."""
    t = times(4, 60)
    points = standing(t)
    sign = 1.0 if side == "left" else -1.0
    lift = Rotation.from_rotvec(np.stack([sign * 1.45 * (1 - np.cos(np.pi * t)), 0 * t, 0 * t], 1))
    shoulder = points[f"{side}_shoulder"]
    for name in ("elbow", "wrist", "hand"):
        points[f"{side}_{name}"] = shoulder + lift.apply(points[f"{side}_{name}"] - shoulder)
    x = virtual_imu(motion(points, 60), f"{side}_wrist")
    s = times(4, 50)
    rate = 1.45 * np.pi * np.sin(np.pi * s)
    assert np.abs(x[:, 3]).max() < 0.1
    assert np.abs(x[:, 5]).max() < 0.1
    np.testing.assert_allclose(np.abs(x[10:-10, 4]), np.abs(rate[10:-10]), atol=0.1)
    level = np.abs(1.45 * (1 - np.cos(np.pi * s)) - np.pi / 2).argmin()
    assert x[level, 2] > 8


def test_unobserved_twist_is_transported_in_parallel():
    """Observed only at the start; then transported with the rotating segment, without rotation about it."""
    t = times(2, 100)
    turn = Rotation.from_rotvec(np.stack([0 * t, 1.0 * t, 0 * t], 1))
    along, across = turn.apply([0.0, 0, 1]), turn.apply([1.0, 0, 0])
    seen = across * (t < 0.5)[:, None]
    np.testing.assert_allclose(limb_twist(along, seen, 100.0), across, atol=1e-5)


def test_twist_without_observations_is_still_a_frame():
    t = times(1, 100)
    along = Rotation.from_rotvec(np.stack([t, 2 * t, 0 * t], 1)).apply([0.0, 0, 1])
    made = limb_twist(along, 0 * along, 100.0)
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-9)
    np.testing.assert_allclose((made * along).sum(1), 0, atol=1e-9)
    assert np.abs(np.diff(made, axis=0)).max() < 0.05


def test_smoothing_keeps_parabolas_and_halves_at_the_cutoff():
    t = times(3, 30)
    parabola = np.stack([1 + 2 * t, 3 * t**2 - t], 1)
    np.testing.assert_allclose(smooth(parabola, 30, 2.0), parabola, atol=1e-6)
    t = times(20, 30)
    for hertz, gain in ((1.0, 1 / (1 + 0.25**6)), (4.0, 0.5), (10.0, 0.0)):
        wave = np.sin(2 * np.pi * hertz * t)[:, None]
        seen = smooth(wave, 30, 4.0)[150:-150]
        assert np.linalg.norm(seen) / np.linalg.norm(wave[150:-150]) == pytest.approx(gain, abs=0.02)


def test_cutoff_follows_the_noise():
    """More jitter gives a lower cutoff; a clean skeleton gets the highest."""
    t, rng = times(10, 60), np.random.default_rng(1)
    clean = np.stack([gymnastics(t)[name] for name in ("left_wrist", "right_knee", "neck")], 1).reshape(len(t), -1)
    chosen = [choose_cutoff(clean + rng.normal(0, sd, clean.shape), 60) for sd in (0, 0.002, 0.02)]
    assert chosen[0] == CUTOFFS_HZ[-1]
    assert chosen[0] > chosen[1] > chosen[2]


def test_jitter_above_the_motion_is_smoothed():
    """1 cm of jitter at 30 Hz is tens of m/s2 after two derivatives."""
    t, rng = times(6, 30), np.random.default_rng(2)
    points = gymnastics(t)
    noisy = {name: place + rng.normal(0, 0.01, place.shape) for name, place in points.items()}
    truth = virtual_imu(motion(points, 30), "right_thigh")
    raw = virtual_imu(motion(noisy, 30), "right_thigh", cutoff_hz=7.0) - truth
    residual = virtual_imu(motion(noisy, 30), "right_thigh") - truth
    assert raw[:, :3].std() > 5
    assert residual[15:-15, :3].std() < 2.5 < truth[:, :3].std()


def test_single_outliers_of_a_tracker_are_suppressed():
    """One joint is off by 30 cm in one frame of every second."""
    t = times(6, 30)
    points = gymnastics(t)
    truth = virtual_imu(motion(points, 30), "left_wrist", cutoff_hz=6.0)
    points["left_wrist"][10::30] += [0.3, 0, 0]
    seen = virtual_imu(motion(points, 30), "left_wrist", cutoff_hz=6.0)
    linear = smooth(points["left_wrist"], 30, 6.0) - smooth(gymnastics(t)["left_wrist"], 30, 6.0)
    assert np.abs(np.diff(linear, 2, axis=0)).max() * 900 > 40
    assert np.abs(seen - truth)[:, :3].max() < 10


def test_lost_limb_has_no_imu():
    """A wrist that moves 3 m away and back within 0.1 s is a tracking error."""
    t = times(3, 30)
    points = gymnastics(t)
    shoulder = points["left_shoulder"]
    points["left_wrist"][40:43] = shoulder[40:43] + np.array([0, 0, 3])
    points["left_elbow"][40:43] = shoulder[40:43] + np.array([0, 0, -0.3])
    points["left_elbow"][30:40] = shoulder[30:40] + np.array([0, 0.3, 0])
    actual = virtual_imus(motion(points, 30), cutoff_hz=15.0)
    assert set(actual) == set(PLACEMENTS) - {"left_wrist"}


def test_unknown_joints_leave_out_only_their_placements():
    t = times(2, 30)
    points = gymnastics(t)
    points["left_knee"][20] = np.nan
    points["right_hand"][:] = np.nan
    assert set(virtual_imus(motion(points, 30))) == set(PLACEMENTS) - {"left_thigh", "left_ankle"}
    with pytest.raises(DataError, match="left_knee"):
        virtual_imu(motion(points, 30), "left_thigh")


def test_flat_short_and_unknown_motions_have_no_imu():
    t = times(2, 30)
    whole = motion(standing(t), 30)
    flat = Motion(whole.x * [1, np.nan, 1], 30, flat=True)
    assert virtual_imus(flat) == {}
    for frames in (0, 1, 7):
        assert virtual_imus(Motion(whole.x[:frames], 30)) == {}
    assert virtual_imus(Motion(whole.x[:12], 120)) == {}
    assert set(virtual_imus(Motion(whole.x[:8], 30))) == set(PLACEMENTS)
    assert virtual_imus(Motion(np.full_like(whole.x, np.inf), 30)) == {}


def test_coinciding_joints_give_finite_numbers():
    """A broken skeleton, all joints at one point, must not become NaN in a shard."""
    for x in virtual_imus(Motion(np.zeros((60, 20, 3), np.float32), 30)).values():
        assert np.isfinite(x).all()
