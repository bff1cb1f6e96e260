"""Augmentation agrees with the physics of a moving sensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from training.learn.augment import AugmentConfig, augment, resample_time, rotations

NOTHING = AugmentConfig(
    rotation_deg=0, scale=0, warp=0, shift=0, noise=0, gyro_drop_probability=0, mirror_probability=0
)
GRAVITY = np.array([0, 0, -9.81])
T_S = np.arange(150) / 50

Path = Callable[[np.ndarray], np.ndarray]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def windows(n: int = 64, seed: int = 0) -> torch.Tensor:
    """(n, 6, 1, 150) smooth, well inside the clip."""
    rng = np.random.default_rng(seed)
    phase, rate = rng.uniform(0, 6, (2, n, 6, 1))
    return torch.from_numpy((0.3 * np.sin(rate * T_S + phase) + 0.2)[:, :, None].astype(np.float32))


def imu(orientation: Path, position: Path) -> np.ndarray:
    """(6, 150) signal of a sensor on a rigid body: specific force R'(a - g) and body rate vee(R' dR/dt), by
    central differences of its orientation (n, 3, 3) and position (n, 3) in a world with gravity."""
    h = 1e-4
    r = orientation(T_S)
    rate = (orientation(T_S + h) - orientation(T_S - h)) / (2 * h)
    skew = np.einsum("nji,njk->nik", r, rate)
    acceleration = (position(T_S + h) - 2 * position(T_S) + position(T_S - h)) / h**2
    force = np.einsum("nji,nj->ni", r, acceleration - GRAVITY)
    return np.concatenate([force, np.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], 1)], 1).T


def tumble(t: np.ndarray) -> np.ndarray:
    """(n, 3, 3) orientation of a body that rotates about all axes."""
    return Rotation.from_euler("zyx", np.stack([0.9 * np.sin(2 * t), 0.7 * np.cos(3 * t), 1.3 * t], 1)).as_matrix()


def wander(t: np.ndarray) -> np.ndarray:
    """(n, 3) position in m."""
    return np.stack([0.3 * np.sin(4 * t), 0.2 * np.cos(3 * t), 0.1 * np.sin(5 * t + 1)], 1)


def model_input(x: np.ndarray) -> torch.Tensor:
    """(6, 150) in SI units as model input."""
    return torch.from_numpy((x / np.repeat([[9.80665], [8.0]], 3, 0))[None, :, None].astype(np.float32))


def test_zero_settings_change_nothing():
    x = windows()
    torch.testing.assert_close(augment(x, NOTHING, seeded()), x, atol=1e-6, rtol=0)


def test_rotation_keeps_lengths_and_angles():
    """A tilted sensor: |a|, |w| and a.w are unchanged at every moment, the axes are not."""
    x = windows()
    y = augment(x, replace(NOTHING, rotation_deg=30), seeded())
    for name, invariant in {
        "|a|": lambda v: v[:, :3].norm(dim=1),
        "|w|": lambda v: v[:, 3:].norm(dim=1),
        "a.w": lambda v: (v[:, :3] * v[:, 3:]).sum(1),
        "handedness": lambda v: torch.linalg.det(v[:, :3, 0, 10:130:40]),
    }.items():
        torch.testing.assert_close(invariant(y), invariant(x), atol=1e-5, rtol=0, msg=name)
    assert ((y - x).abs().amax((1, 2, 3)) > 0.01).float().mean() > 0.9


def test_rotations_are_orthogonal_with_the_requested_sd():
    r = rotations(4000, 15, seeded())
    torch.testing.assert_close(r @ r.mT, torch.eye(3).expand(4000, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(r), torch.ones(4000), atol=1e-5, rtol=0)
    vectors = Rotation.from_matrix(r.numpy()).as_rotvec(degrees=True)
    angle = np.linalg.norm(vectors, axis=1)
    assert np.sqrt((angle**2).mean()) == pytest.approx(15, rel=0.05)
    assert np.abs(vectors.mean(0)).max() < 1
    np.testing.assert_allclose(vectors.std(0), 15 / np.sqrt(3), rtol=0.08)


def test_mirroring_equals_the_signal_of_a_mirrored_body():
    """Signal of a sensor on the image of a rigid body in an upright mirror across x."""
    m = np.diag([-1.0, 1, 1])
    seen = imu(tumble, wander)
    image = imu(lambda t: m @ tumble(t) @ m, lambda t: wander(t) @ m)
    assert np.abs(image - seen).max() > 1
    mirrored = augment(model_input(seen), replace(NOTHING, mirror_probability=1), seeded())
    torch.testing.assert_close(mirrored, model_input(image), atol=1e-4, rtol=0)


def test_mirroring_twice_is_the_identity():
    x, twice = windows(), replace(NOTHING, mirror_probability=1)
    once = augment(x, twice, seeded(1))
    assert (once - x).abs().amax((1, 2, 3)).min() > 0.1
    torch.testing.assert_close(augment(once, twice, seeded(2)), x, atol=1e-6, rtol=0)


def test_mirroring_changes_handedness():
    x = windows()
    y = augment(x, replace(NOTHING, mirror_probability=1), seeded())
    torch.testing.assert_close((y[:, :3] * y[:, 3:]).sum(1), -(x[:, :3] * x[:, 3:]).sum(1), atol=1e-5, rtol=0)


def test_chiral_windows_are_never_mirrored():
    x = windows(400)
    chiral = torch.arange(400) % 2 == 0
    always = augment(x, replace(NOTHING, mirror_probability=1), seeded(), chiral)
    changed = (always - x).abs().amax((1, 2, 3)) > 0.01
    assert torch.equal(changed, ~chiral)
    half = (augment(x, replace(NOTHING, mirror_probability=0.5), seeded(), chiral) - x).abs().amax((1, 2, 3)) > 0.01
    assert not (half & chiral).any()
    assert 0.35 < half[~chiral].float().mean() < 0.65


def test_tempo_scales_the_angular_rate():
    """The same movement played faster covers the same angle in less time, so its rate scales with the tempo."""
    ramp = torch.linspace(-1, 1, 150).expand(32, 1, 6, 150).permute(0, 2, 1, 3).clone()
    ramp[:, 3:] = 1.0
    y = augment(ramp, replace(NOTHING, warp=0.2), seeded())
    middle = slice(70, 80)
    tempo = y[:, 0, 0, middle].diff().mean(1) / (2 / 149)
    torch.testing.assert_close(y[:, 3:, 0, 75], tempo[:, None].expand(-1, 3), atol=1e-3, rtol=0)
    assert tempo.std() > 0.1


def test_shift_moves_and_repeats_the_edge():
    x = torch.arange(11.0).expand(1, 2, 11)
    later = resample_time(x, torch.ones(1), torch.tensor([0.2]))
    assert later[0, 1].tolist() == pytest.approx([2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10], abs=1e-5)
    slower = resample_time(x, torch.tensor([0.5]), torch.zeros(1))
    assert slower[0, 0].tolist() == pytest.approx(np.linspace(2.5, 7.5, 11).tolist(), abs=1e-5)


def test_absent_gyroscope_stays_absent():
    x = windows(200)
    x[::2, 3:] = 0
    y = augment(x, AugmentConfig(gyro_drop_probability=0), seeded())
    assert not y[::2, 3:].any()
    assert y[1::2, 3:].abs().amax((1, 2, 3)).min() > 0


def test_only_the_gyroscope_is_dropped_with_the_requested_probability():
    x = windows(2000)
    y = augment(x, AugmentConfig(gyro_drop_probability=0.3), seeded())
    gone = (y[:, 3:] == 0).all(3).all(2).all(1)
    assert 0.25 < gone.float().mean() < 0.35
    assert y[:, :3].abs().amax((1, 2, 3)).min() > 0
    assert not augment(x, AugmentConfig(gyro_drop_probability=1), seeded())[:, 3:].any()


def test_strength_and_noise_have_the_requested_sd():
    x = windows(3000)
    factor = (augment(x, replace(NOTHING, scale=0.1), seeded()) / x)[:, :, 0, 40]
    torch.testing.assert_close(factor, factor[:, :1].expand(-1, 6), atol=1e-2, rtol=1e-2)
    assert factor[:, 0].std().item() == pytest.approx(0.1, rel=0.1)
    noise = augment(x, replace(NOTHING, noise=0.02), seeded()) - x
    assert noise.std().item() == pytest.approx(0.02, rel=0.05)


def test_augmentation_depends_only_on_the_generator():
    x, config = windows(), AugmentConfig()
    before = x.clone()
    torch.manual_seed(1)
    first = augment(x, config, seeded(3))
    torch.manual_seed(2)
    assert torch.equal(first, augment(x, config, seeded(3)))
    assert not torch.equal(first, augment(x, config, seeded(4)))
    assert torch.equal(x, before)
    assert first.shape == x.shape


def test_values_stay_in_the_range_of_the_model_input():
    y = augment(windows() * 1e6, AugmentConfig(), seeded())
    assert y.abs().max() == 4
    assert torch.isfinite(y).all()
