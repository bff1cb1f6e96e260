"""Mounting and sensor errors agree with their models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from training.fimad.clip import JOINTS, PLACEMENTS, Motion
from training.fimad.virtual_imu import virtual_imus
from training.learn.sensor_noise import RANGES_DPS, RANGES_G, SensorConfig, along_limb, lowpass, sense

NOTHING = SensorConfig(
    twist_deg=0,
    reverse_probability=0,
    lowpass_probability=0,
    bias_mps2=0,
    bias_radps=0,
    noise_mps2=0,
    noise_radps=0,
    ranges=False,
)
WRIST, ANKLE = along_limb(["left_wrist"]), along_limb(["right_ankle"])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def windows(n: int) -> torch.Tensor:
    """(n, 6, 1, 150) smooth, well inside the clip."""
    phase, rate = np.random.default_rng(0).uniform(0, 6, (2, n, 6, 1))
    return torch.from_numpy((0.5 * np.sin(rate * np.arange(150) / 50 + phase)).astype(np.float32))[:, :, None]


def still(n: int) -> torch.Tensor:
    return torch.zeros(n, 6, 1, 150).index_fill_(1, torch.tensor([1, 3]), 1.0)


def test_zero_settings_change_nothing():
    x = windows(32)
    torch.testing.assert_close(sense(x, WRIST.expand(32, 3), NOTHING, seeded()), x, atol=1e-6, rtol=0)


def test_along_limb_is_the_axis_of_the_virtual_imu():
    """Standing upright with hanging arms, gravity is on that axis, in either direction."""
    standing = {
        "pelvis": (0, 0, 1.0),
        "spine": (0, 0, 1.15),
        "neck": (0, 0, 1.5),
        "head": (0, 0, 1.65),
        "shoulder": (0, 0.2, 1.45),
        "elbow": (0, 0.2, 1.15),
        "wrist": (0, 0.2, 0.9),
        "hand": (0, 0.2, 0.8),
        "hip": (0, 0.1, 0.95),
        "knee": (0, 0.1, 0.5),
        "ankle": (0, 0.1, 0.1),
        "foot": (0.1, 0.1, 0),
    }
    side = {"left": 1, "right": -1}
    joints = [np.array(standing[name.split("_")[-1]]) * [1, side.get(name.split("_")[0], 1), 1] for name in JOINTS]
    actual = virtual_imus(Motion(np.tile(np.float32(joints), (30, 1, 1)), 30.0))
    assert set(actual) == set(PLACEMENTS)
    for placement, x in actual.items():
        (axis,) = along_limb([placement]).numpy()
        assert abs(x[:, :3].mean(0) @ axis) == pytest.approx(9.80665, abs=0.01), placement


def test_twist_keeps_the_component_along_the_limb():
    x = windows(500)
    for along, axis in ((WRIST, 0), (ANKLE, 1)):
        y = sense(x, along.expand(500, 3), replace(NOTHING, twist_deg=40), seeded())
        kept = [axis, 3 + axis]
        torch.testing.assert_close(y[:, kept], x[:, kept], atol=1e-5, rtol=0)
        torch.testing.assert_close(y[:, :3].norm(dim=1), x[:, :3].norm(dim=1), atol=1e-5, rtol=0)
        torch.testing.assert_close((y[:, :3] * y[:, 3:]).sum(1), (x[:, :3] * x[:, 3:]).sum(1), atol=1e-5, rtol=0)
        turned = [
            Rotation.align_vectors(b.T, a.T)[0].magnitude() for a, b in zip(x[:, :3, 0], y[:, :3, 0], strict=True)
        ]
        assert np.sqrt(np.mean(np.square(turned))) == pytest.approx(np.deg2rad(40), rel=0.1)


def test_reversed_sensor_is_turned_by_half_a_turn():
    x = windows(400)
    y = sense(x, WRIST.expand(400, 3), replace(NOTHING, reverse_probability=0.25), seeded())
    turned = (y - x).abs().amax((1, 2, 3)) > 1e-3
    assert 0.18 < turned.float().mean() < 0.32
    half = torch.tensor([-1.0, -1, 1, -1, -1, 1])[:, None, None]
    torch.testing.assert_close(y[turned], x[turned] * half, atol=1e-5, rtol=0)


def test_bias_is_constant_and_noise_is_not():
    x, many = still(4000), WRIST.expand(4000, 3)
    biased = sense(x, many, replace(NOTHING, bias_mps2=0.3, bias_radps=0.02), seeded()) - x
    assert biased.diff(dim=3).abs().max() < 1e-6
    torch.testing.assert_close(biased[:, :3, 0, 0].std(0), torch.full((3,), 0.3 / 9.80665), rtol=0.05, atol=0)
    torch.testing.assert_close(biased[:, 3:, 0, 0].std(0), torch.full((3,), 0.02 / 4), rtol=0.05, atol=0)
    noisy = sense(x, many, replace(NOTHING, noise_mps2=0.05, noise_radps=0.005), seeded()) - x
    torch.testing.assert_close(noisy[:, :3].std((0, 2, 3)), torch.full((3,), 0.05 / 9.80665), rtol=0.05, atol=0)
    torch.testing.assert_close(noisy[:, 3:].std((0, 2, 3)), torch.full((3,), 0.005 / 4), rtol=0.05, atol=0)
    assert noisy.mean(3).abs().max() < 0.01


def test_every_range_clips_at_its_limit():
    x, many = still(2000) * 1e3, WRIST.expand(2000, 3)
    y = sense(x, many, replace(NOTHING, ranges=True), seeded())
    seen = sorted({round(float(v), 4) for v in y[:, 1, 0, 0]})
    assert seen == [g for g in RANGES_G if g < 4] + [4.0]
    rates = sorted({round(float(v), 4) for v in y[:, 3, 0, 0]})
    assert rates == sorted({round(min(np.deg2rad(d) / 4, 4.0), 4) for d in RANGES_DPS})
    quiet = windows(64)
    torch.testing.assert_close(sense(quiet, WRIST.expand(64, 3), replace(NOTHING, ranges=True), seeded()), quiet)


@pytest.mark.parametrize("cutoff_hz", [5.0, 10.0])
def test_lowpass_is_three_decibels_down_at_its_cutoff(cutoff_hz: float):
    t = torch.arange(150) / 50
    for hertz in (1.0, cutoff_hz, 20.0):
        wave = torch.cos(2 * torch.pi * hertz * t)[None, None]
        gain = lowpass(wave, torch.tensor([cutoff_hz]), 50.0).norm() / wave.norm()
        assert gain.item() == pytest.approx((1 + (hertz / cutoff_hz) ** 4) ** -0.5, abs=0.03)
    level = torch.ones(1, 6, 150)
    torch.testing.assert_close(lowpass(level, torch.tensor([cutoff_hz]), 50.0), level)


def test_absent_gyroscope_stays_absent():
    x = windows(50)
    x[::2, 3:] = 0
    y = sense(x, WRIST.expand(50, 3), SensorConfig(), seeded())
    assert not y[::2, 3:].any()
    assert y[1::2, 3:].abs().amax((1, 2, 3)).min() > 0


def test_augmentation_depends_only_on_the_generator():
    x, along = windows(64), along_limb(PLACEMENTS).repeat(8, 1)
    before = x.clone()
    torch.manual_seed(1)
    first = sense(x, along, SensorConfig(), seeded(3))
    torch.manual_seed(2)
    assert torch.equal(first, sense(x, along, SensorConfig(), seeded(3)))
    assert not torch.equal(first, sense(x, along, SensorConfig(), seeded(4)))
    assert torch.equal(x, before)
    assert torch.isfinite(first).all()
    assert first.abs().max() <= 4
