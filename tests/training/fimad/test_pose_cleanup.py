"""Pose cleanup on generated trajectories with known truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from training.fimad import pose
from training.fimad.clip import JOINTS
from training.fimad.pose import cleanup

RATE_HZ = 30.0
SKELETON = {  # MediaPipe's landmarks of a standing person: meters, hips at the origin, x right, y down, z away
    0: (0.0, -0.68, -0.12),
    7: (0.08, -0.70, 0.0),
    8: (-0.08, -0.70, 0.0),
    11: (0.18, -0.50, 0.0),
    13: (0.22, -0.22, 0.0),
    15: (0.24, 0.03, -0.03),
    17: (0.25, 0.10, -0.03),
    19: (0.24, 0.11, -0.05),
    21: (0.22, 0.07, -0.06),
    23: (0.10, 0.0, 0.0),
    25: (0.11, 0.40, 0.0),
    27: (0.12, 0.80, 0.02),
    29: (0.12, 0.85, 0.06),
    31: (0.13, 0.87, -0.12),
}
LEFT = tuple(i for i in SKELETON if i % 2 and i != 7)


def person(n: int, rate_hz: float = RATE_HZ) -> tuple[np.ndarray, np.ndarray]:
    """Times (n,) and landmarks (n, 33, 3) of a person swinging arms and legs alternately."""
    t_s = np.arange(n) / rate_hz
    x = np.zeros((n, 33, 3), np.float32)
    for i, place in SKELETON.items():
        x[:, i] = place
        if i in LEFT:
            x[:, i + 1] = np.array(place) * [-1, 1, 1]
    for rows, reach in (((13, 15, 17, 19, 21), 0.3), ((25, 27, 29, 31), 0.2)):
        for side, sign in ((0, 1), (1, -1)):
            share = np.array([abs(SKELETON[i][1] - SKELETON[rows[0] - 2][1]) for i in rows])
            swing = sign * reach * np.sin(2 * np.pi * t_s)[:, None] * share / share[-1]
            x[:, np.array(rows) + side, 2] += swing
    return t_s, x


def seen(world: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Rays (n, 33, 2) of landmarks with the hips at `path` (n, 3)."""
    placed = world + path[:, None]
    return (placed[..., :2] / placed[..., 2:]).astype(np.float32)


def canonical(landmarks: np.ndarray) -> np.ndarray:
    """(n, 33, 3) in the camera's axes -> (n, 20, 3), z up."""
    x = np.stack([landmarks[:, list(pose.PARTS[name])].mean(1) for name in JOINTS], 1)
    return np.stack([x[..., 0], x[..., 2], -x[..., 1]], 2).astype(float)


@pytest.mark.parametrize("group", list(pose.SIDES))
@pytest.mark.parametrize("stretch", [(0, 7), (40, 41), (50, 75), (88, 90)])
def test_swapped_sides_are_detected(group: str, stretch: tuple[int, int]) -> None:
    left, right = pose.SIDES[group]
    t_s, x = person(90)
    x += np.random.default_rng(0).normal(0, 0.01, x.shape).astype(np.float32)
    mixed = np.arange(90)[slice(*stretch), None]
    x[mixed, [*left, *right]] = x[mixed, [*right, *left]]
    actual = cleanup.swapped(t_s, x, left, right)
    assert np.flatnonzero(actual).tolist() == mixed[:, 0].tolist()


@pytest.mark.parametrize("hz", [0.5, 1.5])
def test_crossing_limbs_are_not_a_swap(hz: float) -> None:
    t_s, x = person(300)
    cross = np.sin(2 * np.pi * hz * t_s)
    for rows, reach in (((15, 17, 19, 21), 0.35), ((25,), 0.1), ((27, 29, 31), 0.25)):
        for side, sign in ((0, 1), (1, -1)):
            x[:, np.array(rows) + side, 0] = sign * reach * cross[:, None]
    x += np.random.default_rng(1).normal(0, 0.005, x.shape).astype(np.float32)
    for left, right in pose.SIDES.values():
        assert not cleanup.swapped(t_s, x, left, right).any()


def test_unswap_restores_all_arrays() -> None:
    t_s, x = person(60)
    rays, visibility = x[..., :2].copy(), x[..., 0].copy()
    truth = x.copy(), rays.copy(), visibility.copy()
    for frames, (left, right) in zip(
        (slice(10, 20), slice(15, 40), slice(15, 16), slice(50, 60)), pose.SIDES.values(), strict=True
    ):
        rows = np.arange(60)[frames, None]
        for a in (x, rays, visibility):
            a[rows, [*left, *right]] = a[rows, [*right, *left]]
    pose.unswap_sides(t_s, x, rays, visibility)
    for restored, expected in zip((x, rays, visibility), truth, strict=True):
        np.testing.assert_array_equal(restored, expected)


def test_root_path_projects_landmarks_onto_their_rays() -> None:
    t_s, x = person(60)
    path = np.stack([0.8 * np.sin(t_s), -0.3 * np.abs(np.sin(5 * t_s)), 4 + t_s], 1)
    weight = np.random.default_rng(2).uniform(0, 1, (60, 33)).astype(np.float32)
    np.testing.assert_allclose(cleanup.root_path(x, seen(x, path), weight), path, atol=2e-4)
    np.testing.assert_allclose(cleanup.root_path(x, seen(x, path), weight, path[:, 2]), path, atol=1e-5)


def test_videos_are_split_only_at_cuts_and_long_gaps() -> None:
    t_s, x = person(300)
    x = x.astype(float)
    x[100:] += [1.5, 0.0, 0.0]  # a cut: another person stands there
    x[203:205] += [0.0, 3.0, 0.0]  # a blink
    keep = np.r_[0:150, 162:240, 260:300]  # 0.4 s are missing, then 0.7 s
    t_s, x = t_s[keep], x[keep]
    actual = [(round(t_s[p[0]] * RATE_HZ), round(t_s[p[-1]] * RATE_HZ)) for p in cleanup.stretches(t_s, x)]
    assert actual == [(0, 99), (100, 239), (260, 299)]
    inside = cleanup.stretches(t_s, x)[1]
    assert not {203, 204} & {round(t) for t in t_s[inside] * RATE_HZ}


def test_very_short_stretches_are_dropped() -> None:
    t_s, x = person(30)
    x[::2] += [0.0, 5.0, 0.0]
    assert cleanup.stretches(t_s, x.astype(float)) == []


def test_joints_beyond_a_bone_of_wrong_length_are_unknown() -> None:
    _, x = person(10)
    truth = canonical(x)
    assert not cleanup.broken(truth).any()
    odd = truth.copy()
    knee, hip = JOINTS.index("left_knee"), JOINTS.index("left_hip")
    odd[3, knee] = truth[3, hip] + [0, 0, -0.1]
    odd[5, JOINTS.index("right_wrist")] += [0.6, 0, 0]
    actual = [(int(i), JOINTS[j]) for i, j in np.argwhere(cleanup.broken(odd))]
    assert actual == [(3, "left_knee"), (3, "left_ankle"), (3, "left_foot"), (5, "right_wrist"), (5, "right_hand")]


def test_only_short_gaps_are_filled() -> None:
    t_s = np.arange(120) / RATE_HZ
    x = np.stack([np.sin(2 * np.pi * t_s), np.cos(2 * np.pi * t_s), t_s], 1)[:, None].repeat(2, 1)
    holed = x.copy()
    holed[30:40, 0] = np.nan  # a third of a second
    holed[70:100, 0] = np.nan
    filled = cleanup.resample(t_s, holed, RATE_HZ)
    assert np.isfinite(filled[:, 1]).all()
    assert np.isnan(filled[:, 0, 0]).nonzero()[0].tolist() == list(range(70, 100))
    assert np.nanmax(np.abs(filled - x)) < 0.25
    np.testing.assert_allclose(filled[:30], x[:30], atol=1e-12)


def test_uneven_times_are_resampled_to_an_even_grid() -> None:
    rng = np.random.default_rng(3)
    t_s = np.sort(5.0 + np.arange(200) / 50 + rng.uniform(-0.006, 0.006, 200))
    x = np.sin(2 * np.pi * t_s)[:, None, None].repeat(3, 2)
    even = cleanup.resample(t_s, x, 25.0)
    expected = np.sin(2 * np.pi * (t_s[0] + np.arange(len(even)) / 25))
    assert len(even) == int((t_s[-1] - t_s[0]) * 25) + 1
    np.testing.assert_allclose(even[:, 0, 0], expected, atol=0.01)


def test_joint_known_in_one_frame_is_unknown() -> None:
    x = np.full((60, 1, 3), np.nan)
    x[5] = 1.0
    assert np.isnan(cleanup.resample(np.arange(60) / RATE_HZ, x, RATE_HZ)).all()


def test_smoothing_removes_jitter_and_keeps_motion() -> None:
    t_s = np.arange(300) / RATE_HZ
    truth = 0.5 * np.sin(2 * np.pi * 1.0 * t_s)[:, None, None].repeat(3, 2)
    noisy = truth + np.random.default_rng(4).normal(0, 0.02, truth.shape)
    smooth = cleanup.smooth(noisy, RATE_HZ)
    acceleration = [np.diff(x[5:-5], 2, axis=0) * RATE_HZ**2 for x in (truth, noisy, smooth)]
    assert np.std(acceleration[2] - acceleration[0]) < np.std(acceleration[1] - acceleration[0]) / 5
    assert np.abs(cleanup.smooth(truth, RATE_HZ) - truth).max() < 0.005


def test_smoothing_keeps_gaps_and_drops_short_stretches() -> None:
    x = np.random.default_rng(5).normal(size=(90, 1, 3))
    x[40:60] = np.nan
    x[65:] = np.nan  # five samples remain between the gaps
    smooth = cleanup.smooth(x, RATE_HZ)
    assert np.isfinite(smooth[:40]).all()
    assert np.isnan(smooth[40:]).all()


@pytest.mark.parametrize(("pitch_deg", "roll_deg"), [(0, 0), (15, 0), (-12, 6), (20, -10)])
def test_up_axis_of_a_tilted_camera(pitch_deg: float, roll_deg: float) -> None:
    _, x = person(90)
    truth = canonical(x)
    tilt = Rotation.from_euler("xy", [pitch_deg, roll_deg], degrees=True)
    tilted = tilt.apply(truth.reshape(-1, 3)).reshape(truth.shape)
    up = cleanup.up_axis(tilted, RATE_HZ)
    assert up is not None
    assert np.rad2deg(np.arccos(up @ tilt.apply([0, 0, 1]))) < 3
    levelled = cleanup.level(tilted, up)
    heights = levelled[..., 2] - levelled[:, :1, 2]
    np.testing.assert_allclose(heights, truth[..., 2] - truth[:, :1, 2], atol=0.05)


def test_no_up_axis_without_a_standing_person_or_feet() -> None:
    _, x = person(90)
    truth = canonical(x)
    lying = Rotation.from_euler("x", 80, degrees=True).apply(truth.reshape(-1, 3)).reshape(truth.shape)
    assert cleanup.up_axis(lying, RATE_HZ) is None
    sitting = truth.copy()
    for side in ("left", "right"):
        sitting[:, JOINTS.index(f"{side}_knee")] = truth[:, JOINTS.index(f"{side}_hip")] + [0, -0.4, 0]
        sitting[:, JOINTS.index(f"{side}_ankle")] = truth[:, JOINTS.index(f"{side}_hip")] + [0, -0.4, -0.4]
    assert cleanup.up_axis(sitting, RATE_HZ) is None
    footless = truth.copy()
    footless[:, JOINTS.index("left_ankle")] = np.nan
    assert cleanup.up_axis(footless, RATE_HZ) is None
    assert cleanup.up_axis(truth[:10], RATE_HZ) is None


def test_stretch_becomes_joints_along_the_path_with_z_up() -> None:
    t_s, x = person(120)
    path = np.stack([0.5 * t_s, -0.25 * np.sin(2 * np.pi * t_s / 2) ** 2, np.full(120, 3.0)], 1)
    visibility = np.ones((120, 33), np.float32)
    visibility[:, 15] = 0.05  # the left wrist is hidden
    got = pose.motion_of(t_s, x, seen(x, path), visibility, RATE_HZ)
    assert got is not None
    assert pose.motion_of(t_s, x, seen(x, path), np.zeros_like(visibility), RATE_HZ) is None
    assert got.dtype == np.float32
    assert np.isnan(got[:, JOINTS.index("left_wrist")]).all()
    known = [i for i, name in enumerate(JOINTS) if name != "left_wrist"]
    truth = canonical(x + path[:, None])
    truth -= np.median(truth[:, :1], axis=0)
    up = cleanup.up_axis(truth, RATE_HZ)
    np.testing.assert_allclose(got[:, known], cleanup.level(truth, up)[:, known], atol=0.02)
    left, right = (got[:, JOINTS.index(f"{side}_hip"), 0] for side in ("left", "right"))
    assert (left > right).all()  # seen from the front, the left side is on the picture's right
    nose_side = got[:, JOINTS.index("left_foot"), 1] - got[:, JOINTS.index("left_ankle"), 1]
    assert (nose_side < 0).all()  # toes point to the camera, y away from it
